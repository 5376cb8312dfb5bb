/* model/arch_read.h - what the families' config readers share.
 *
 * Data flow   config.json -> arch_*.c -> struct config.
 * Errors      as model/config.h.
 * Memory      none kept.
 * Secrets     none.
 */
#ifndef STIP_MODEL_ARCH_READ_H
#define STIP_MODEL_ARCH_READ_H

#include "model/arch.h"

/* A required size between 1 and max. */
MUST_CHECK int arch_read_size(const struct json_doc *doc, const char *key, int64_t max, int *out, struct err *err);
/* The activation under `key` (or `fallback` when absent), refused by name when unknown. */
MUST_CHECK int arch_read_act(const struct json_doc *doc, const char *key, const char *fallback, enum act_kind *out,
                             struct err *err);
/* Refuses an option that changes the computation and is not implemented: a true switch. */
MUST_CHECK int arch_refuse(const struct json_doc *doc, const char *key, struct err *err);
/* rope_theta + rope_scaling (transformers 4) or rope_parameters (5) to c->rope and, with c->two_ropes, c->rope_sliding. theta of
 * both and *partial, the part of a head's dims that positions turn, come with the family's defaults, c->positions is read already.
 * arch_check_rope: once c->rotary is known. */
MUST_CHECK int arch_read_rope(struct config *c, const struct json_doc *doc, double *partial, struct err *err);
MUST_CHECK int arch_check_rope(const struct config *c, const struct rope_config *r, const struct json_doc *doc, struct err *err);
/* hidden_size, num_hidden_layers and so on, where every head has its own keys and the heads make up the hidden size. */
MUST_CHECK int arch_read_sizes(struct config *c, const struct json_doc *doc, struct err *err);
/* The fields that Llama's family shares; *partial as for arch_read_rope, refused here unless it is 1 or `may_be_partial`. */
MUST_CHECK int arch_read_decoder(struct config *c, const struct json_doc *doc, bool may_be_partial, struct err *err);
/* Layers from `from` on slide, or those that "layer_types" of transformers 5 names. */
MUST_CHECK int arch_read_sliding(struct config *c, const struct json_doc *doc, int from, struct err *err);
/* sliding_window; `fallback` where the key is absent, none where it is null. */
MUST_CHECK int arch_read_window(struct config *c, const struct json_doc *doc, int fallback, struct err *err);

extern const struct arch_tensor arch_llama_tensors[], arch_mixtral_tensors[], arch_qwen3_moe_tensors[], arch_phi3_tensors[], arch_gemma2_tensors[], arch_neox_tensors[], arch_gpt2_tensors[],
    arch_bert_tensors[], arch_roberta_tensors[], arch_distilbert_tensors[], arch_albert_tensors[], arch_vit_tensors[], arch_deit_tensors[];
MUST_CHECK int arch_read_llama(struct config *c, const struct json_doc *doc, struct err *err);
MUST_CHECK int arch_read_mistral(struct config *c, const struct json_doc *doc, struct err *err);
MUST_CHECK int arch_read_qwen2(struct config *c, const struct json_doc *doc, struct err *err);
MUST_CHECK int arch_read_qwen3(struct config *c, const struct json_doc *doc, struct err *err);
MUST_CHECK int arch_read_mixtral(struct config *c, const struct json_doc *doc, struct err *err);
MUST_CHECK int arch_read_qwen3_moe(struct config *c, const struct json_doc *doc, struct err *err);
MUST_CHECK int arch_read_phi3(struct config *c, const struct json_doc *doc, struct err *err);
MUST_CHECK int arch_read_gemma(struct config *c, const struct json_doc *doc, struct err *err);
MUST_CHECK int arch_read_gemma2(struct config *c, const struct json_doc *doc, struct err *err);
MUST_CHECK int arch_read_gemma3(struct config *c, const struct json_doc *doc, struct err *err);
MUST_CHECK int arch_read_neox(struct config *c, const struct json_doc *doc, struct err *err);
MUST_CHECK int arch_read_gpt2(struct config *c, const struct json_doc *doc, struct err *err);
MUST_CHECK int arch_read_bert(struct config *c, const struct json_doc *doc, struct err *err);
MUST_CHECK int arch_read_roberta(struct config *c, const struct json_doc *doc, struct err *err);
MUST_CHECK int arch_read_distilbert(struct config *c, const struct json_doc *doc, struct err *err);
MUST_CHECK int arch_read_albert(struct config *c, const struct json_doc *doc, struct err *err);
MUST_CHECK int arch_read_vit(struct config *c, const struct json_doc *doc, struct err *err);
MUST_CHECK int arch_read_deit(struct config *c, const struct json_doc *doc, struct err *err);

#endif
