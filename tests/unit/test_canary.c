/* transport/canary, model_dev/canary, user/verify, bench/cheats: questions with known answers, and who is caught by them. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "bench/cheats.h"
#include "model_dev/canary.h"
#include "tests/support/synth.h"
#include "tests/support/tempdir.h"
#include "user/verify.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"
#define DEMO_CLASSIFIER STIP_SOURCE_DIR "/examples/demo-classifier"

static struct err err;
static const struct release plain = {.manifest = {.profile = "stip", .compute = COMPUTE_F32}};

static struct canary_list made(const char *model, size_t n)
{
    struct canary_maker *m = NULL;
    struct canary_list list = {0};
    cr_assert_eq(canary_maker_open(&m, model, &plain, &err), 0, "%s", err.text);
    cr_assert_eq(canary_make(m, &list, n, &err), 0, "%s", err.text);
    canary_maker_close(m);
    return list;
}

Test(canary, a_list_comes_back_as_it_was_written)
{
    struct canary_list list = made(DEMO_LM, 12), back = {0};
    uint8_t *bytes = NULL;
    size_t len;
    cr_assert_eq(canary_encode(&list, &bytes, &len, &err), 0, "%s", err.text);
    cr_assert_eq(canary_decode(&back, bytes, len, 2048, 2048, "x", &err), 0, "%s", err.text);
    cr_assert_eq(back.count, 12);
    cr_expect_eq(back.tolerance, list.tolerance);
    for (size_t i = 0; i < list.count; i++) {
        const struct canary *a = &list.item[i], *b = &back.item[i];
        cr_expect(a->prompt_n == b->prompt_n && a->answer == b->answer && a->at == b->at);
        cr_expect_arr_eq(a->prompt, b->prompt, a->prompt_n * sizeof *a->prompt);
        cr_expect_arr_eq(a->row, b->row, a->answer * sizeof *a->row);
    }
    canary_free(&list);
    canary_free(&back);
    free(bytes);
}

/* Every byte counts, and what a digest cannot catch is caught by the fields. */
Test(canary, what_is_damaged_or_of_another_model_is_refused)
{
    struct canary_list list = made(DEMO_LM, 2), back = {0};
    uint8_t *bytes = NULL;
    size_t len;
    cr_assert_eq(canary_encode(&list, &bytes, &len, &err), 0, "%s", err.text);
    for (size_t i = 0; i < len; i += 13) {
        bytes[i] ^= 4;
        cr_expect_eq(canary_decode(&back, bytes, len, 2048, 2048, "x", &err), -1, "byte %zu", i);
        bytes[i] ^= 4;
    }
    for (size_t n = 0; n < len; n += 29)
        cr_expect_eq(canary_decode(&back, bytes, n, 2048, 2048, "x", &err), -1, "%zu bytes", n);
    cr_expect_eq(canary_decode(&back, bytes, len, 50, 2048, "x", &err), -1);
    cr_expect_not_null(strstr(err.text, "does not fit this model"), "%s", err.text);
    cr_expect_eq(canary_decode(&back, bytes, len, 2048, 50, "x", &err), -1, "tokens that the model cannot answer");
    cr_expect_not_null(strstr(err.text, "does not fit this model"), "%s", err.text);
    const size_t row = 28 + 4 * (size_t)list.item[0].prompt_n; /* id and log-probability of the token, then of the most probable ones */
    const struct {
        size_t at;
        uint32_t value;
    } wrong[] = {{8, 0x7fc00000}, {8, 0xbf800000}, {12, 0}, {12, 1025}, {12, 1}, {16, 0}, {16, 513}, {20, 0}, {20, 65}, {24, 64},
                 {28, UINT32_MAX}, {28, 2048}, {row, UINT32_MAX}, {row, 2048}, {row + 4, 0x7fc00000}, {row + 8, UINT32_MAX - 1}, {row + 12, 0xff800000}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        uint8_t *changed = malloc(len);
        memcpy(changed, bytes, len);
        memcpy(changed + wrong[i].at, &wrong[i].value, 4);
        cr_assert_eq(crypto_sha256(changed, len - CRYPTO_HASH_LEN, changed + len - CRYPTO_HASH_LEN, &err), 0);
        cr_expect_eq(canary_decode(&back, changed, len, 2048, 2048, "x", &err), -1, "%zu at %zu", i, wrong[i].at);
        free(changed);
    }
    cr_expect_null(back.item);
    canary_free(&list);
    free(bytes);
}

/* No two alike, none longer than others' prompts, none with a token that would end a text. */
Test(canary, prompts_are_all_different_and_look_like_texts)
{
    struct canary_list list = made(DEMO_LM, 40);
    size_t lengths = 0;
    for (size_t i = 0; i < list.count; i++) {
        const struct canary *c = &list.item[i];
        cr_expect(c->prompt_n >= 8 && c->prompt_n <= 64 && c->answer >= 1 && c->answer <= 16 && c->at == c->prompt_n - 1);
        lengths += c->prompt_n != list.item[0].prompt_n ? 1 : 0;
        for (size_t j = 0; j < i; j++)
            cr_expect(c->prompt_n != list.item[j].prompt_n || memcmp(c->prompt, list.item[j].prompt, c->prompt_n * 4) != 0);
        for (uint32_t a = 0; a < c->answer; a++) {
            cr_expect_eq(c->row[a].id[0], c->row[a].id[1]);
            for (int k = 1; k <= CANARY_TOP; k++)
                cr_expect(c->row[a].logprob[k] <= 0 && (k == 1 || c->row[a].logprob[k] <= c->row[a].logprob[k - 1]));
        }
    }
    cr_expect_gt(lengths, 20);
    canary_free(&list);
}

Test(canary, a_model_without_probabilities_says_so)
{
    struct canary_maker *m = NULL;
    char dir[FILE_PATH_MAX];
    const struct synth_shape shape = {.D = 16, .H = 2, .L = 1, .V = 40, .F = 16, .positions = 8};
    tempdir_make(dir);
    cr_assert_eq(synth_checkpoint(dir, "LlamaForCausalLM", &shape, 3, &err), 0, "%s", err.text);
    cr_expect_eq(canary_maker_open(&m, dir, &plain, &err), -1);
    cr_expect_not_null(strstr(err.text, "--canaries 0"), "%s", err.text);
    tempdir_remove(dir);
}

/* ------------------------------------------------------------------ comparing */

static struct canary_row rows[2] = {{{7, 7, 8, 9, 10}, {-0.5F, -0.5F, -2, -3, -4}}, {{3, 3, 4, 5, 6}, {-1, -1, -1.0001F, -3, -5}}};
static const struct canary two = {.prompt_n = 8, .answer = 2, .at = 7, .row = rows};

static struct verify_result compare(int row, int k, float add, int32_t id)
{
    struct canary_row got[2] = {rows[0], rows[1]};
    struct verify_result r;
    got[row].logprob[k] += add;
    if (id >= 0)
        got[row].id[k] = id;
    verify_compare(&two, got, 2, 0.01, &r);
    return r;
}

/* Mutations: fabs left out; only the chosen token compared; the last row not. */
Test(canary, one_number_that_is_off_is_enough)
{
    cr_expect(compare(0, 1, 0, -1).passed);
    cr_expect(compare(0, 2, 0.009F, -1).passed && compare(0, 2, -0.009F, -1).passed);
    cr_expect(!compare(0, 2, 0.011F, -1).passed && !compare(0, 2, -0.011F, -1).passed);
    cr_expect(!compare(1, 4, 0.02F, -1).passed);
    cr_expect(!compare(1, 3, 0, 77).passed, "another token among the probable ones");
    cr_expect_not_null(strstr(compare(1, 3, 0, 77).what, "step 2"));
    cr_expect(!compare(0, 0, 0, 8).passed, "another choice where one was clear");
    cr_expect_eq(compare(0, 1, 0, -1).tokens, 2);
}

Test(canary, of_two_tokens_as_good_as_equal_either_may_be_chosen)
{
    struct canary_row got[2] = {rows[0], rows[1]};
    struct verify_result r;
    got[1].id[0] = 4;
    got[1].logprob[0] = -1.0001F;
    verify_compare(&two, got, 2, 0.01, &r);
    cr_expect(r.passed);
    verify_compare(&two, got, 0, 0.01, &r);
    cr_expect(!r.passed, "nothing is no answer");
}

/* ------------------------------------------------------------------ who is caught */

static void caught(const char *model, const char *profile, const char *dtype, int trials, const double least[CHEATS_MAX])
{
    struct cli_opt opts[] = {{"profile", "NAME", "", profile, false}, {"dtype", "TYPE", "", dtype, false}, {NULL, NULL, NULL, NULL, false}};
    const struct cli_cmd cmd = {.name = "cheats", .opts = opts};
    struct cheats *c = NULL;
    int noticed[CHEATS_MAX] = {0};
    cr_assert_eq(cheats_open(&c, model, &cmd, &err), 0, "%s", err.text);
    for (int i = 0; i < trials; i++) {
        struct cheats_trial t;
        cr_assert_eq(cheats_try(c, &t, &err), 0, "%s", err.text);
        for (size_t k = 0; k < cheats_count(c); k++)
            noticed[k] += t.noticed[k] ? 1 : 0;
    }
    cr_expect_eq(noticed[0], 0, "the honest server was blamed %d times", noticed[0]);
    for (size_t k = 1; k < cheats_count(c); k++)
        cr_expect_geq(noticed[k], (int)(least[k] * trials), "%s %s: %s: noticed %d of %d", profile, dtype, cheats_name(c, k), noticed[k], trials);
    cheats_close(c);
}

/* Rates far below those of docs/SECURITY.md, so that chance does not fail the test. Mutation: a canary asked of the honest server
 * only. */
Test(canary, other_weights_cheaper_arithmetic_and_fewer_layers_are_noticed)
{
    /* honest; weights 1 % off, 0.1 % off; the cheaper ones; one layer less */
    caught(DEMO_LM, "stip", "keep", 20, (const double[CHEATS_MAX]){0, 0.9, 0.7, 0.7, 0.9, 0.9});
    caught(DEMO_LM, "stip", "bf16", 20, (const double[CHEATS_MAX]){0, 0.4, 0, 0.4, 0.8});
    caught(DEMO_LM, "stip", "int8", 20, (const double[CHEATS_MAX]){0, 0.6, 0.4, 0.8});
    caught(DEMO_CLASSIFIER, "stip", "keep", 20, (const double[CHEATS_MAX]){0, 0.6, 0.1, 0.3, 0.6, 0.9});
}

/* Rotated weights that were rounded: plain answers would blame the honest server. Mutation: canaries of the plain model (the honest
 * one is blamed at once); the package's answers without the final norm, or without the way back. */
Test(canary, rounded_gauge_is_held_against_its_own_package)
{
    caught(DEMO_LM, "gauge", "f32", 10, (const double[CHEATS_MAX]){0, 0.8, 0.5, 0.5, 0.8, 0.8});
    caught(DEMO_LM, "gauge", "bf16", 20, (const double[CHEATS_MAX]){0, 0.4, 0, 0.4, 0.8});
    caught(DEMO_LM, "gauge", "int8", 20, (const double[CHEATS_MAX]){0, 0.6, 0.4, 0.8});
}
