/* model/arch: the tables agree with themselves. */
#include <criterion/criterion.h>
#include <string.h>

#include "model/arch.h"
#include "model/checkpoint.h"

Test(arch, every_row_has_a_name_a_role_of_its_own_and_known_axes)
{
    for (size_t i = 0; arch_at(i) != NULL; i++) {
        const struct arch *a = arch_at(i);
        unsigned char seen[ROLE_COUNT] = {0};
        cr_expect(arch_find(a->name) == a);
        cr_expect_not_null(strstr(arch_names(), a->name));
        cr_expect_not_null(a->read);
        for (const struct arch_tensor *t = a->tensors; t->role != ROLE_COUNT; t++) {
            cr_expect_not(seen[t->role], "%s: '%s' twice", a->name, arch_role_name(t->role));
            seen[t->role] = 1;
            cr_expect_not_null(arch_role_name(t->role));
            cr_expect_not_null(t->names[0]);
            for (int n = 0; n < 3 && t->names[n] != NULL; n++) {
                const char *mark = strchr(t->names[n], '%');
                cr_expect_eq(mark != NULL, t->per_layer, "%s", t->names[n]);
                const char *second = mark == NULL ? NULL : strchr(mark + 1, '%');
                cr_expect(mark == NULL || mark[1] == 'd', "%s", t->names[n]);
                cr_expect_eq(second != NULL, t->per_expert, "%s", t->names[n]);
                cr_expect(second == NULL || (second[1] == 'd' && strchr(second + 1, '%') == NULL), "%s", t->names[n]);
            }
        }
        /* What all of them have. */
        static const enum role everywhere[] = {ROLE_ATTN_NORM_W, ROLE_MLP_NORM_W, ROLE_O, ROLE_DOWN};
        for (size_t r = 0; r < sizeof everywhere / sizeof *everywhere; r++)
            cr_expect(seen[everywhere[r]], "%s has no '%s'", a->name, arch_role_name(everywhere[r]));
        cr_expect(seen[ROLE_TOKEN_EMBED] != seen[ROLE_PATCH], "%s reads texts or images", a->name);
        cr_expect(seen[ROLE_UP] || seen[ROLE_GATE_UP], "%s", a->name);
        cr_expect(seen[ROLE_QKV] || seen[ROLE_QKV_HEADS] || (seen[ROLE_Q] && seen[ROLE_K] && seen[ROLE_V]), "%s", a->name);
    }
    cr_expect_null(arch_find("GPT2Model"));
    cr_expect_null(arch_find(""));
}

Test(arch, conditions_follow_the_config)
{
    struct config c = {.arch = arch_find("LlamaForCausalLM"), .head = HEAD_LM, .D = 12, .H = 6, .G = 2, .K = 4, .F = 20, .V = 30, .C = 3};
    cr_expect_null(arch_tensor(&c, ROLE_Q_BIAS));
    cr_expect_null(arch_tensor(&c, ROLE_O_BIAS));
    cr_expect_null(arch_tensor(&c, ROLE_GATE), "not gated in this made-up config");
    cr_expect_null(arch_tensor(&c, ROLE_POSITION_EMBED), "not in the table at all");
    c.qkv_bias = c.gated = true;
    cr_expect_not_null(arch_tensor(&c, ROLE_Q_BIAS));
    cr_expect_null(arch_tensor(&c, ROLE_O_BIAS), "Qwen2 has biases on q, k, v only");
    cr_expect_not_null(arch_tensor(&c, ROLE_GATE));
    cr_expect_null(arch_tensor(&c, ROLE_GATE_BIAS));
    c.mlp_bias = true;
    cr_expect_not_null(arch_tensor(&c, ROLE_GATE_BIAS));
    cr_expect_not_null(arch_tensor(&c, ROLE_LM_HEAD));
    c.head = HEAD_NONE;
    cr_expect_null(arch_tensor(&c, ROLE_LM_HEAD));
    c.arch = arch_find("BertForSequenceClassification");
    c.head = HEAD_CLASSIFY;
    cr_expect_not_null(arch_tensor(&c, ROLE_POOL));
    cr_expect_null(arch_tensor(&c, ROLE_MLM_DENSE));
    c.head = HEAD_MLM;
    cr_expect_null(arch_tensor(&c, ROLE_POOL));
    cr_expect_not_null(arch_tensor(&c, ROLE_MLM_DENSE));
}

Test(arch, axes_have_the_sizes_of_the_config)
{
    struct config c = {
        .channels = 3, .image = {20, 30}, .patch = {4, 5}, .D = 10, .experts = 7, .H = 6, .G = 2, .K = 4, .F = 20, .V = 30, .C = 3, .positions = 48, .position_offset = 2, .type_vocab = 2};
    static const struct {
        enum axis axis;
        int64_t size;
    } want[] = {{AX_ONE, 1},  {AX_D, 10}, {AX_Q, 24},         {AX_KEY, 8},    {AX_VALUE, 8},     {AX_QKV, 40},
                {AX_MIX, 24}, {AX_F, 20}, {AX_QKV_HEADS, 72}, {AX_HEAD, 4},   {AX_GATE_UP, 40}, {AX_EXPERT, 7},  {AX_POOL, 10},
                {AX_MLM, 10}, {AX_V, 30}, {AX_C, 3},          {AX_TOKEN, 30}, {AX_POSITION, 50}, {AX_TYPE, 2}, {AX_PATCH, 60}};
    cr_expect_eq(config_patches(&c), 30);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        cr_expect_eq(arch_axis_size(&c, want[i].axis), want[i].size, "axis %d", (int)want[i].axis);
}

Test(arch, tensor_names_are_spelled_as_checkpoints_spell_them)
{
    struct config c = {.arch = arch_find("LlamaForCausalLM"), .head = HEAD_LM, .gated = true, .L = 2};
    char name[512];
    cr_assert_eq(checkpoint_name(name, &c, arch_tensor(&c, ROLE_GATE), 11, 0, 0, NULL), 0);
    cr_expect_str_eq(name, "model.layers.11.mlp.gate_proj.weight");
    cr_assert_eq(checkpoint_name(name, &c, arch_tensor(&c, ROLE_GATE), 0, 1, 0, NULL), 0);
    cr_expect_str_eq(name, "layers.0.mlp.gate_proj.weight");
    cr_assert_eq(checkpoint_name(name, &c, arch_tensor(&c, ROLE_LM_HEAD), 0, 1, 0, NULL), 0);
    cr_expect_str_eq(name, "lm_head.weight", "absolute names take no prefix");
    c.arch = arch_find("BertForMaskedLM");
    c.head = HEAD_MLM;
    cr_assert_eq(checkpoint_name(name, &c, arch_tensor(&c, ROLE_MLP_NORM_W), 1, 0, 1, NULL), 0);
    cr_expect_str_eq(name, "bert.encoder.layer.1.output.LayerNorm.gamma");
}
