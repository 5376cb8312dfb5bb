/* user/draft: the small model guesses what it would write itself, whatever was asked before. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/plain.h"
#include "tests/support/synth.h"
#include "tests/support/tempdir.h"
#include "user/draft.h"

#define LONGEST 300

static const struct synth_shape shape = {.D = 32, .H = 4, .G = 2, .L = 2, .V = 60, .F = 48, .positions = 320};
static char dir[FILE_PATH_MAX];
static struct plain plain;
static struct err err;

static void make(void)
{
    tempdir_make(dir);
    cr_assert_eq(synth_checkpoint(tempdir_path(dir, "small"), "LlamaForCausalLM", &shape, 3, &err), 0, "%s", err.text);
    cr_assert_eq(plain_open(&plain, tempdir_path(dir, "small"), true, LONGEST, COMPUTE_F32, &err), 0, "%s", err.text);
}

static void drop(void)
{
    plain_close(&plain);
    tempdir_remove(dir);
}

TestSuite(draft, .init = make, .fini = drop);

static void guesses_are_greedy(struct draft *d, const int32_t *history, int n, int k, int want)
{
    int32_t own[LONGEST + 16], got[16];
    int count, rows;
    memcpy(own, history, (size_t)n * sizeof *own);
    kvcache_truncate(plain.kv, 0);
    cr_assert_eq(plain_greedy(&plain, own, n, n + want, &err), 0, "%s", err.text);
    cr_assert_eq(draft_next(d, history, n, k, got, &count, &rows, &err), 0, "%s", err.text);
    cr_assert_eq(count, want, "%d guesses behind %d tokens", count, n);
    for (int i = 0; i < want; i++)
        cr_assert_eq(got[i], own[n + i], "guess %d behind %d tokens", i, n);
}

/* Mutations: the cache is not cut where the texts part; the last token is not sent again when it is in the cache. */
Test(draft, texts_that_go_on_part_and_return_are_followed)
{
    struct draft *d;
    int32_t text[LONGEST];
    cr_assert_eq(draft_open(&d, tempdir_path(dir, "small"), plain.config, LONGEST, &err), 0, "%s", err.text);
    synth_ids(text, LONGEST, shape.V, 5);
    guesses_are_greedy(d, text, 280, 4, 4); /* more than one pass */
    guesses_are_greedy(d, text, 283, 4, 4);
    guesses_are_greedy(d, text, 283, 4, 4);
    guesses_are_greedy(d, text, 20, 8, 8);
    text[10] = (text[10] + 1) % shape.V;
    guesses_are_greedy(d, text, 20, 8, 8);
    guesses_are_greedy(d, text, 1, 2, 2);
    draft_close(d);
}

Test(draft, it_stops_guessing_at_the_end_of_its_context)
{
    struct draft *d;
    int32_t text[LONGEST], got[8];
    int count, rows;
    cr_assert_eq(draft_open(&d, tempdir_path(dir, "small"), plain.config, 100, &err), 0, "%s", err.text);
    synth_ids(text, LONGEST, shape.V, 6);
    guesses_are_greedy(d, text, 98, 8, 3); /* the last guess does not enter the cache */
    guesses_are_greedy(d, text, 100, 8, 1);
    cr_assert_eq(draft_next(d, text, 101, 8, got, &count, &rows, &err), 0);
    cr_expect_eq(count, 0);
    guesses_are_greedy(d, text, 50, 4, 4);
    draft_close(d);
}

Test(draft, another_vocabulary_or_a_classifier_is_refused_by_name)
{
    struct draft *d;
    struct config large = *plain.config;
    const struct synth_shape bert = {.D = 32, .H = 4, .L = 1, .V = 60, .F = 48};
    large.V = 61;
    cr_expect_eq(draft_open(&d, tempdir_path(dir, "small"), &large, 100, &err), -1);
    cr_expect_eq(err.code, ERR_INPUT);
    cr_expect(strstr(err.text, "60 tokens") != NULL && strstr(err.text, "61") != NULL, "%s", err.text);
    cr_assert_eq(synth_checkpoint(tempdir_path(dir, "bert"), "BertForSequenceClassification", &bert, 3, &err), 0, "%s", err.text);
    cr_expect_eq(draft_open(&d, tempdir_path(dir, "bert"), plain.config, 100, &err), -1);
    cr_expect(strstr(err.text, "BertForSequenceClassification") != NULL, "%s", err.text);
    cr_expect_eq(draft_open(&d, tempdir_path(dir, "nothing"), plain.config, 100, &err), -1);
}
