/* user/embedding: the arithmetic and the lengths; the way to a server is in tests/e2e/test_embed.c. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "user/embedding.h"
#include "user/grant.h"

/* Mutation: the largest absolute value for the largest, the first row for the last (both tried). */
Test(embedding, poolings_by_hand)
{
    static const float rows[3][2] = {{1, -8}, {4, -2}, {-2, 1}};
    float x[2];
    embedding_pool(x, rows[0], 3, 2, POOL_MEAN);
    cr_expect(x[0] == 1 && x[1] == -3, "%g %g", (double)x[0], (double)x[1]);
    embedding_pool(x, rows[0], 3, 2, POOL_MAX);
    cr_expect(x[0] == 4 && x[1] == 1, "%g %g", (double)x[0], (double)x[1]);
    embedding_pool(x, rows[0], 3, 2, POOL_CLS);
    cr_expect(x[0] == 1 && x[1] == -8, "%g %g", (double)x[0], (double)x[1]);
    embedding_pool(x, rows[0], 3, 2, POOL_LAST);
    cr_expect(x[0] == -2 && x[1] == 1, "%g %g", (double)x[0], (double)x[1]);
    cr_expect(embedding_outputs(POOL_MEAN, 7) == 7 && embedding_outputs(POOL_MAX, 7) == 7 && embedding_outputs(POOL_CLS, 7) == 1 &&
              embedding_outputs(POOL_LAST, 7) == 1);
}

Test(embedding, length_1_and_zeros_stay_zeros)
{
    float x[3] = {3, 0, -4}, zero[2] = {0, 0};
    embedding_normalise(x, 3);
    cr_expect(fabsf(x[0] - 0.6f) < 1e-7f && x[1] == 0 && fabsf(x[2] + 0.8f) < 1e-7f);
    embedding_normalise(zero, 2);
    cr_expect(zero[0] == 0 && zero[1] == 0);
}

/* [CLS] a b c d [SEP] of at most 4 is [CLS] a b [SEP]. Mutation: the last token lost with the rest (tried). */
Test(embedding, shortened_texts_keep_the_tokens_that_stand_around_them)
{
    static const char tokenizer[] =
        "{\"version\":\"1.0\",\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","
        "\"max_input_chars_per_word\":100,\"vocab\":{\"[UNK]\":0,\"[CLS]\":1,\"[SEP]\":2,\"a\":3,\"b\":4,\"c\":5,\"d\":6,\"q\":7}},"
        "\"added_tokens\":[],\"normalizer\":null,\"decoder\":null,\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
        "\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",2],\"cls\":[\"[CLS]\",1]}}";
    static const int32_t whole[] = {1, 7, 3, 4, 5, 6, 2}, cut[] = {1, 7, 3, 2};
    struct config c = {.positions = 9, .bos = -1, .arch = NULL};
    struct grant g = {.config = &c, .sentence = {.present = true, .max_tokens = 4}};
    struct token_ids ids = {0};
    struct err err = {0};
    cr_assert_eq(tokenizer_parse(&g.tokenizer, tokenizer, strlen(tokenizer), "t", &err), 0, "%s", err.text);
    cr_expect_eq(embedding_most(&g), 4);
    cr_assert_eq(embedding_encode(&g, "q ", "a b c d", 7, &ids, &err), 0, "%s", err.text);
    cr_assert_eq(ids.n, 7);
    cr_expect_arr_eq(ids.ids, whole, sizeof whole);
    cr_assert_eq(embedding_shorten(&g, &ids, &err), 0, "%s", err.text);
    cr_assert_eq(ids.n, 4);
    cr_expect_arr_eq(ids.ids, cut, sizeof cut);
    cr_assert_eq(embedding_shorten(&g, &ids, &err), 0, "%s", err.text);
    cr_expect_eq(ids.n, 4, "what fits stays");
    g.sentence.max_tokens = 512;
    cr_expect_eq(embedding_most(&g), 9, "the model has no more positions");
    token_ids_free(&ids);
    tokenizer_free(g.tokenizer);
}
