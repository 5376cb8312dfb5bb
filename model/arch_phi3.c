/* Phi-3 and Phi-4-mini: Llama with query, key and value in one tensor, gate and up in another, maybe partial rotary positions. */
#include "model/arch_read.h"

#define LAYER "layers.%d."

const struct arch_tensor arch_phi3_tensors[] = {
    {ROLE_TOKEN_EMBED, PART_EMBED, AX_TOKEN, AX_D, .names = {"embed_tokens.weight"}},
    {ROLE_ATTN_NORM_W, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "input_layernorm.weight"}},
    {ROLE_QKV, PART_CORE, AX_QKV, AX_D, .per_layer = true, .names = {LAYER "self_attn.qkv_proj.weight"}},
    {ROLE_O, PART_CORE, AX_D, AX_MIX, .per_layer = true, .names = {LAYER "self_attn.o_proj.weight"}},
    {ROLE_MLP_NORM_W, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "post_attention_layernorm.weight"}},
    {ROLE_GATE_UP, PART_CORE, AX_GATE_UP, AX_D, .per_layer = true, .names = {LAYER "mlp.gate_up_proj.weight"}},
    {ROLE_DOWN, PART_CORE, AX_D, AX_F, .per_layer = true, .names = {LAYER "mlp.down_proj.weight"}},
    {ROLE_FINAL_NORM_W, PART_CORE, AX_D, AX_ONE, .names = {"norm.weight"}},
    {ROLE_LM_HEAD, PART_HEAD, AX_V, AX_D, .names = {"lm_head.weight"}, .absolute = true},
    {.role = ROLE_COUNT},
};

int arch_read_phi3(struct config *c, const struct json_doc *doc, struct err *err)
{
    c->norm_eps = 1e-5;
    return arch_read_decoder(c, doc, true, err) == 0 && arch_read_window(c, doc, 0, err) == 0
               ? arch_read_sliding(c, doc, 0, err)
               : -1;
}
