/* user/tokenizer: small tokenizers whose every id was worked out by hand from their merges, pieces and scores. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "tests/support/tempdir.h"
#include "user/tokenizer.h"

static struct tokenizer *load(const char *name)
{
    struct err err = {0};
    struct tokenizer *t = NULL;
    char dir[FILE_PATH_MAX];
    cr_assert_eq(file_join(dir, STIP_SOURCE_DIR "/tests/vectors/tokenizer", name, &err), 0);
    cr_assert_eq(tokenizer_load(&t, dir, &err), 0, "%s", err.text);
    return t;
}

static void expect_pair(const struct tokenizer *t, const char *text, const char *pair, bool special, const int32_t *ids,
                        const int32_t *types, size_t n)
{
    struct err err = {0};
    struct token_ids out = {0};
    cr_assert_eq(tokenizer_encode(t, text, strlen(text), pair, pair == NULL ? 0 : strlen(pair), special, &out, &err), 0, "%s",
                 err.text);
    cr_expect_eq(out.n, n, "'%s': %zu ids, expected %zu", text, out.n, n);
    for (size_t i = 0; i < n && i < out.n; i++) {
        cr_expect_eq(out.ids[i], ids[i], "'%s': id %zu is %d, expected %d", text, i, out.ids[i], ids[i]);
        if (types != NULL)
            cr_expect_eq(out.type_ids[i], types[i], "'%s': type %zu", text, i);
    }
    token_ids_free(&out);
}

static void expect_text(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip, const char *expected)
{
    struct err err = {0};
    struct tokenizer_stream *s = NULL;
    char *text = NULL;
    const char *piece;
    size_t len, at = 0;
    cr_assert_eq(tokenizer_decode(t, ids, n, skip, &text, &len, &err), 0, "%s", err.text);
    cr_expect_str_eq(text, expected);
    cr_expect_eq(len, strlen(expected));
    cr_assert_eq(tokenizer_stream_new(&s, t, skip, &err), 0);
    for (size_t i = 0; i <= n; i++) {
        size_t piece_len;
        cr_assert_eq(i < n ? tokenizer_stream_feed(s, ids[i], &piece, &piece_len, &err)
                           : tokenizer_stream_end(s, &piece, &piece_len, &err),
                     0);
        cr_expect(utf8_valid(piece, piece_len, NULL), "a piece of '%s' ends inside a character", expected);
        cr_assert(at + piece_len <= len && memcmp(piece, text + at, piece_len) == 0, "streaming '%s' differs", expected);
        at += piece_len;
    }
    cr_expect_eq(at, len);
    tokenizer_stream_free(s);
    free(text);
}

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define IDS(...) ((const int32_t[]){__VA_ARGS__}), COUNT(((const int32_t[]){__VA_ARGS__}))
#define EXPECT_IDS(t, text, ...)                                                                                                 \
    expect_pair(t, text, NULL, true, ((const int32_t[]){__VA_ARGS__}), NULL, COUNT(((const int32_t[]){__VA_ARGS__})))

/* Mutations caught: ties in the heap taken from the right (hellld), leftmost pair before best rank (ell), NFC left out. */
Test(tokenizer, byte_level_bpe_merges_by_rank_and_from_the_left)
{
    struct tokenizer *t = load("byte_level");
    EXPECT_IDS(t, "hello world", 14, 19);
    EXPECT_IDS(t, "hello  world", 14, 10, 19); /* the last space of a run goes with the word */
    EXPECT_IDS(t, "he's", 11, 1, 8);
    EXPECT_IDS(t, "ell", 3, 12); /* "l l" ranks before "e l" */
    EXPECT_IDS(t, "held", 11, 18);
    EXPECT_IDS(t, "hellld", 13, 18);
    EXPECT_IDS(t, "worl", 9, 16, 5);
    EXPECT_IDS(t, "hello\n", 14, 20);
    EXPECT_IDS(t, "\xC3\xA9", 21, 22);
    EXPECT_IDS(t, "e\xCC\x81", 21, 22); /* e + combining acute: NFC first */
    EXPECT_IDS(t, "hello<|end|>hello", 14, 23, 14);
    expect_text(t, IDS(14, 23, 19), false, "hello<|end|> world");
    expect_text(t, IDS(14, 23, 19), true, "hello world");
    expect_text(t, IDS(14, 21, 22, 0), true, "hello\xC3\xA9!");
    expect_text(t, IDS(14, 21, 0), true, "hello\xEF\xBF\xBD!");
    expect_text(t, IDS(14, 21), true, "hello\xEF\xBF\xBD");
    tokenizer_free(t);
}

/* Mutation caught: any of the three flags ignored. */
Test(tokenizer, an_added_token_takes_the_spaces_and_stands_alone_if_it_says_so)
{
    struct tokenizer *t = load("byte_level");
    EXPECT_IDS(t, "he  <sum>\n held", 11, 24, 11, 18);
    EXPECT_IDS(t, "<sum>", 24);
    EXPECT_IDS(t, "<sum>he", 8, 11); /* no single word: <, u, m, > are unknown here */
    tokenizer_free(t);
}

Test(tokenizer, characters_that_no_token_expresses_are_counted)
{
    struct err err = {0};
    struct token_ids out = {0};
    struct tokenizer *t = load("byte_level");
    cr_assert_eq(tokenizer_encode(t, "hxxe", 4, NULL, 0, true, &out, &err), 0);
    cr_expect_eq(out.n, 1); /* the x vanish before merging, as in the original */
    cr_expect_eq(out.ids[0], 11);
    cr_expect_eq(out.dropped, 2);
    token_ids_free(&out);
    tokenizer_free(t);
}

/* Mutations caught: fuse_unk ignored, Strip in every token and not in the whole text, bytes passed on one by one. */
Test(tokenizer, byte_fallback_bpe_falls_back_to_bytes_and_then_to_one_unknown)
{
    struct tokenizer *t = load("byte_fallback");
    EXPECT_IDS(t, "hi", 1, 10);
    EXPECT_IDS(t, "hi hi", 1, 10, 10);
    EXPECT_IDS(t, "\xC3\xA9", 1, 6, 4, 5);
    EXPECT_IDS(t, "zz", 1, 6, 0);
    EXPECT_IDS(t, "hi\n", 1, 10, 3);
    EXPECT_IDS(t, "hi<s>hi", 1, 10, 1, 10);
    EXPECT_IDS(t, "", 1);
    expect_pair(t, "hi", "hi", true, (const int32_t[]){1, 10, 1, 10}, (const int32_t[]){0, 0, 1, 1}, 4);
    expect_pair(t, "hi", "hi", false, (const int32_t[]){10, 10}, (const int32_t[]){0, 1}, 2);
    expect_text(t, IDS(10, 10), true, "hi hi");
    expect_text(t, IDS(1, 10, 10), false, "<s> hi hi");
    expect_text(t, IDS(6, 10), true, " hi");
    expect_text(t, IDS(10, 4, 5, 10), true, "hi\xC3\xA9 hi");
    expect_text(t, IDS(10, 4, 10), true, "hi\xEF\xBF\xBD hi");
    expect_text(t, IDS(4, 5, 4), true, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"); /* one bad byte spoils its run */
    expect_text(t, IDS(10, 999), true, "hi");
    tokenizer_free(t);
}

/* Mutation caught: unknown characters joined although fuse_unk is false. */
Test(tokenizer, unknown_characters_stay_apart_unless_fused)
{
    static const char json[] = "{\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"vocab\":{\"?\":0,\"a\":1},\"merges\":[]}}";
    struct err err = {0};
    struct tokenizer *t = NULL;
    cr_assert_eq(tokenizer_parse(&t, json, strlen(json), "inline", &err), 0, "%s", err.text);
    EXPECT_IDS(t, "xxaxx", 0, 0, 1, 0, 0);
    expect_text(t, IDS(1, 0), true, "a ?"); /* no decoder: a space between tokens */
    tokenizer_free(t);
}

Test(tokenizer, a_stream_gives_text_as_soon_as_it_is_final)
{
    static const int32_t ids[] = {10, 4, 5, 10};
    static const char *const pieces[] = {"hi", "", "", "\xC3\xA9 hi"};
    struct err err = {0};
    struct tokenizer *t = load("byte_fallback");
    struct tokenizer_stream *s = NULL;
    const char *text;
    size_t len;
    cr_assert_eq(tokenizer_stream_new(&s, t, true, &err), 0);
    for (size_t i = 0; i < COUNT(ids); i++) {
        cr_assert_eq(tokenizer_stream_feed(s, ids[i], &text, &len, &err), 0);
        cr_expect(len == strlen(pieces[i]) && memcmp(text, pieces[i], len) == 0, "piece %zu", i);
    }
    tokenizer_stream_free(s);
    tokenizer_free(t);
}

/* Mutations caught: greedy matching from the right, accents kept, max_input_chars_per_word off by one. */
Test(tokenizer, wordpiece_takes_the_longest_piece_or_gives_the_word_up)
{
    struct tokenizer *t = load("wordpiece");
    EXPECT_IDS(t, "UnaffABLE", 2, 4, 5, 6, 3);
    EXPECT_IDS(t, "Caf\xC3\xA9!", 2, 9, 8, 3);
    EXPECT_IDS(t, "\xE4\xB8\x96\xE4\xB8\x96", 2, 10, 10, 3);
    EXPECT_IDS(t, "unaffx the", 2, 1, 7, 3);
    EXPECT_IDS(t, "aaaaaaaaaa", 2, 11, 12, 12, 12, 12, 12, 12, 12, 12, 12, 3);
    EXPECT_IDS(t, "aaaaaaaaaaa", 2, 1, 3);
    expect_pair(t, "the", "the", true, (const int32_t[]){2, 7, 3, 7, 3}, (const int32_t[]){0, 0, 0, 1, 1}, 5);
    expect_text(t, IDS(2, 4, 5, 6, 8, 7, 3), true, "unaffable! the");
    expect_text(t, IDS(2, 7, 3), false, "[CLS] the [SEP]");
    tokenizer_free(t);
}

/* Mutation caught: the first path kept instead of the best (ba). */
Test(tokenizer, unigram_takes_the_most_likely_pieces)
{
    struct tokenizer *t = load("unigram");
    EXPECT_IDS(t, "ab", 1, 4); /* -2 - 4 beats -3.5 - 3 */
    EXPECT_IDS(t, "a", 5);
    EXPECT_IDS(t, "ba", 1, 3, 2); /* "ba" is found first, but -7 loses to -3 - 3 */
    EXPECT_IDS(t, "a ab", 5, 1, 4);
    EXPECT_IDS(t, "xyb", 1, 0, 3);
    expect_text(t, IDS(5, 1, 4), true, "a ab");
    tokenizer_free(t);
}

Test(tokenizer, older_files_give_the_same_tokenizers)
{
    struct tokenizer *t = load("gpt2_files");
    EXPECT_IDS(t, "ab ab<|endoftext|>", 3, 4, 5);
    cr_expect(tokenizer_is_special(t, 5));
    expect_text(t, IDS(3, 4), true, "ab ab");
    tokenizer_free(t);
    t = load("bert_files");
    EXPECT_IDS(t, "The them THE", 2, 4, 5, 6, 1, 3); /* do_lower_case false */
    tokenizer_free(t);
}

Test(tokenizer, the_vocabulary_can_be_asked)
{
    struct tokenizer *t = load("byte_level");
    size_t len;
    cr_expect_eq(tokenizer_vocab_size(t), 26);
    cr_expect_eq(tokenizer_id(t, "hello"), 14);
    cr_expect_eq(tokenizer_id(t, "<|end|>"), 23);
    cr_expect_eq(tokenizer_id(t, "nothing"), -1);
    cr_expect_str_eq(tokenizer_token(t, 14, &len), "hello");
    cr_expect_eq(len, 5);
    cr_expect_null(tokenizer_token(t, 26, &len));
    cr_expect_null(tokenizer_token(t, -1, &len));
    cr_expect(tokenizer_is_special(t, 23) && !tokenizer_is_special(t, 24) && !tokenizer_is_special(t, -1));
    tokenizer_free(t);
}

Test(tokenizer, bad_text_is_refused_with_its_place_and_leaves_the_output_alone)
{
    struct err err = {0};
    struct tokenizer *t = load("byte_level");
    struct token_ids out = {0};
    cr_assert_eq(tokenizer_encode(t, "he", 2, NULL, 0, true, &out, &err), 0);
    cr_expect_eq(tokenizer_encode(t, "hell\xC3", 5, NULL, 0, true, &out, &err), -1);
    cr_expect_eq(err.code, ERR_INPUT);
    cr_expect_not_null(strstr(err.text, "byte 4"), "%s", err.text);
    cr_expect_eq(tokenizer_encode(t, "he", 2, "\xED\xA0\x80", 3, true, &out, &err), -1);
    cr_expect_not_null(strstr(err.text, "second text"), "%s", err.text);
    cr_expect_eq(out.n, 1);
    char *big = calloc(TOKENIZER_TEXT_MAX + 1, 1);
    cr_assert_not_null(big);
    cr_expect_eq(tokenizer_encode(t, big, TOKENIZER_TEXT_MAX + 1, NULL, 0, true, &out, &err), -1);
    cr_expect_not_null(strstr(err.text, "at most"), "%s", err.text);
    cr_expect_eq(out.n, 1);
    free(big);
    token_ids_free(&out);
    tokenizer_free(t);
}

Test(tokenizer, a_nul_byte_is_text)
{
    struct err err = {0};
    struct tokenizer *t = load("byte_fallback");
    struct token_ids out = {0};
    cr_assert_eq(tokenizer_encode(t, "hi\0hi", 5, NULL, 0, true, &out, &err), 0, "%s", err.text);
    cr_expect_eq(out.n, 5); /* <s> _hi unk h i */
    cr_expect(out.n == 5 && out.ids[1] == 10 && out.ids[2] == 0 && out.ids[3] == 7 && out.ids[4] == 8);
    token_ids_free(&out);
    tokenizer_free(t);
}

/* Mutation caught: merging in a list by repeated search is quadratic; this would take hours. */
Test(tokenizer, megabytes_without_a_space_take_seconds)
{
#ifdef __SANITIZE_ADDRESS__
    enum { SIZE = 2 << 20 };
#else
    enum { SIZE = 10 << 20 };
#endif
    struct err err = {0};
    struct tokenizer *t = load("byte_level");
    struct token_ids out = {0};
    char *text = malloc(SIZE);
    cr_assert_not_null(text);
    for (size_t i = 0; i < SIZE; i++)
        text[i] = "hellohelloheld!!"[i % 16];
    cr_assert_eq(tokenizer_encode(t, text, SIZE, NULL, 0, true, &out, &err), 0, "%s", err.text);
    cr_expect_eq(out.n, (size_t)SIZE / 16 * 6);
    memset(text, 'l', SIZE);
    out.n = 0;
    cr_assert_eq(tokenizer_encode(t, text, SIZE, NULL, 0, true, &out, &err), 0, "%s", err.text);
    cr_expect_eq(out.n, (size_t)SIZE / 2);
    free(text);
    token_ids_free(&out);
    tokenizer_free(t);
}
