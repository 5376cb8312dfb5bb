/* model_dev/rules against the architecture tables: nothing leaves for the server without a key of the right kind. */
#include <criterion/criterion.h>
#include <string.h>

#include "model_dev/rules.h"
#include "tests/support/synth.h"
#include "tests/support/tempdir.h"

/* Said a second time, from the axes alone: what runs along an axis has one order, whichever tensor it stands in. */
static enum key key_of_axis(enum axis axis)
{
    switch (axis) {
    case AX_ONE:
        return KEY_NONE;
    case AX_D:
        return KEY_RESIDUAL;
    case AX_Q:
        return KEY_QUERY;
    case AX_KEY:
        return KEY_KEY;
    case AX_VALUE:
        return KEY_VALUE;
    case AX_QKV:
        return KEY_QKV;
    case AX_QKV_HEADS:
        return KEY_QKV_HEADS;
    case AX_HEAD: /* shared by all heads: none may differ from another */
        return KEY_NONE;
    case AX_EXPERT:
        return KEY_EXPERTS;
    case AX_GATE_UP:
        return KEY_GATE_UP;
    case AX_MIX:
        return KEY_MIX;
    case AX_F:
        return KEY_FFN;
    case AX_POOL:
        return KEY_POOL;
    case AX_MLM:
        return KEY_MLM;
    case AX_V:
    case AX_C:
        return KEY_OUTPUT;
    default:
        cr_assert_fail("an axis of the user's tables reached the server");
        return KEY_NONE;
    }
}

static void check_size(const struct keyset *ks, const struct config *c, enum key key, enum axis axis, const char *what)
{
    struct perm p = {0};
    cr_assert_eq(keyset_perm(ks, key, 0, &p, NULL), 0);
    if (key == KEY_NONE)
        cr_expect(axis == AX_ONE || axis == AX_HEAD, "%s has an axis without a key", what);
    else
        cr_expect_eq((int64_t)p.n, arch_axis_size(c, axis), "%s", what);
    perm_wipe(&p);
}

static void check_architecture(const char *name, const struct synth_shape *shape)
{
    static const uint8_t seed[CRYPTO_KEY_LEN] = {1};
    char dir[FILE_PATH_MAX];
    struct config c;
    struct err err = {0};
    struct keyset *ks = NULL;
    int rules = 0;
    tempdir_make(dir);
    cr_assert_eq(synth_checkpoint(dir, name, shape, 1, &err), 0, "%s", err.text);
    cr_assert_eq(config_read(&c, dir, &err), 0, "%s", err.text);
    const struct key_shape sizes = rules_shape(&c);
    cr_assert_eq(keyset_new(&ks, &sizes, seed, &err), 0, "%s: %s", name, err.text);
    for (const struct arch_tensor *row = c.arch->tensors; row->role != ROLE_COUNT; row++) {
        const struct rule *rule = rules_find(row->role, c.head);
        const char *what = arch_role_name(row->role);
        if (row->part == PART_EMBED) {
            cr_expect_null(rule, "%s: %s belongs to the user", name, what);
            continue;
        }
        if (!arch_present(&c, row))
            continue;
        cr_assert_not_null(rule, "%s: %s has no rule", name, what);
        cr_expect_eq(rule->out, key_of_axis(row->out), "%s: %s, output axis", name, what);
        cr_expect_eq(rule->in, key_of_axis(row->in), "%s: %s, input axis", name, what);
        cr_expect_gt(strlen(rule->why), 10);
        check_size(ks, &c, rule->out, row->out, what);
        check_size(ks, &c, rule->in, row->in, what);
        rules++;
    }
    cr_expect_geq(rules, 8);
    keyset_free(ks);
    config_free(&c);
    tempdir_remove(dir);
}

/* Every family that the registry knows, so a new one cannot come without its rules. Catches the gate without the
 * feed-forward key, the masked-LM decoder with the residual key, O with the key of V (all tried). */
Test(rules, every_tensor_for_the_server_has_a_key_per_axis_and_no_embedding_has_one)
{
    /* All sizes differ, so a wrong key shows by its size too. */
    const struct synth_shape plain = {.D = 24, .H = 6, .L = 2, .V = 50, .F = 40, .classes = 3, .untied = true};
    const struct synth_shape grouped = {.D = 24, .H = 6, .G = 3, .K = 10, .L = 2, .V = 50, .F = 40, .untied = true,
                                        .qkv_bias = true, .mlp_bias = true};
    for (size_t i = 0; arch_at(i) != NULL; i++)
        check_architecture(arch_at(i)->name, &plain);
    check_architecture("LlamaForCausalLM", &grouped);
    check_architecture("MistralForCausalLM", &grouped);
    check_architecture("Qwen2ForCausalLM", &grouped);
    check_architecture("Qwen3ForCausalLM", &grouped);
    check_architecture("Phi3ForCausalLM", &grouped);
}

/* The dims that rotary positions tie must stay; without rotary none is tied. */
Test(rules, rotary_models_keep_the_order_inside_heads_and_others_do_not)
{
    struct config c = {
        .D = 32, .H = 4, .G = 2, .K = 8, .F = 20, .V = 100, .C = 3, .head = HEAD_LM, .position = POSITION_ROPE, .rotary = 8};
    struct key_shape s = rules_shape(&c);
    cr_expect_eq(s.rotary, 8);
    cr_expect_eq(s.outputs, 100);
    c.rotary = 4;
    cr_expect_eq(rules_shape(&c).rotary, 4, "the other half of each head is free");
    c.qk_norm = true;
    cr_expect_eq(rules_shape(&c).rotary, 8, "gains that all heads share tie all dims");
    c.qk_norm = false;
    c.position = POSITION_LEARNED;
    c.rotary = 0;
    c.head = HEAD_CLASSIFY;
    s = rules_shape(&c);
    cr_expect_eq(s.rotary, 0);
    cr_expect_eq(s.outputs, 3);
}
