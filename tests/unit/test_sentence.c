/* model/sentence: the folders of sentence-transformers as its versions write them, and what is refused by name. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "model/sentence.h"
#include "tests/support/tempdir.h"

enum { D = 24 };

static char dir[FILE_PATH_MAX];
static struct err err;

static void setup(void)
{
    tempdir_make(dir);
    cr_assert_eq(file_mkdirs(tempdir_path(dir, "1_Pooling"), 0755, &err), 0, "%s", err.text);
}

static void teardown(void)
{
    tempdir_remove(dir);
}

TestSuite(sentence, .init = setup, .fini = teardown);

static void spill(const char *name, const char *text)
{
    tempdir_spill(tempdir_path(dir, name), text, strlen(text));
}

#define TRANSFORMER "{\"idx\":0,\"name\":\"0\",\"path\":\"\",\"type\":\"sentence_transformers.models.Transformer\"}"
#define POOLING ",{\"idx\":1,\"name\":\"1\",\"path\":\"1_Pooling\",\"type\":\"sentence_transformers.models.Pooling\"}"
#define NORMALIZE ",{\"idx\":2,\"name\":\"2\",\"path\":\"2_Normalize\",\"type\":\"sentence_transformers.models.Normalize\"}"

static struct sentence read_it(void)
{
    struct sentence s = {0};
    cr_assert_eq(sentence_read(&s, dir, D, &err), 0, "%s", err.text);
    return s;
}

static void expect_refused(const char *why)
{
    struct sentence s = {.max_tokens = 77};
    cr_expect_eq(sentence_read(&s, dir, D, &err), -1, "expected: %s", why);
    cr_expect_eq(err.code, ERR_INPUT);
    cr_expect_not_null(strstr(err.text, why), "%s", err.text);
    cr_expect(s.max_tokens == 77 && s.prompts == NULL, "an error leaves the struct alone");
}

Test(sentence, a_checkpoint_without_modules_gets_mean_and_length_1)
{
    struct sentence s = read_it();
    cr_expect(!s.present && s.pooling == POOL_MEAN && s.normalise && s.max_tokens == 0 && s.usual == NULL);
    sentence_free(&s);
}

/* Mutation: normalise whether or not the module is there; the switches' order taken for their names (both tried). */
Test(sentence, poolings_of_all_versions)
{
    static const struct {
        const char *config;
        enum pooling want;
    } cases[] = {
        {"{\"word_embedding_dimension\":24,\"pooling_mode_cls_token\":false,\"pooling_mode_mean_tokens\":true,"
         "\"pooling_mode_max_tokens\":false,\"pooling_mode_mean_sqrt_len_tokens\":false}", POOL_MEAN},
        {"{\"word_embedding_dimension\":24,\"pooling_mode_cls_token\":true,\"pooling_mode_mean_tokens\":false}", POOL_CLS},
        {"{\"pooling_mode_max_tokens\":true}", POOL_MAX},
        {"{\"word_embedding_dimension\":24,\"pooling_mode_lasttoken\":true,\"include_prompt\":true}", POOL_LAST},
        {"{\"embedding_dimension\":24,\"pooling_mode\":\"lasttoken\"}", POOL_LAST},
        {"{\"embedding_dimension\":24,\"pooling_mode\":\"mean\"}", POOL_MEAN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        spill("modules.json", i % 2 == 0 ? "[" TRANSFORMER POOLING NORMALIZE "]" : "[" TRANSFORMER POOLING "]");
        spill("1_Pooling/config.json", cases[i].config);
        struct sentence s = read_it();
        cr_expect(s.present && s.pooling == cases[i].want && s.normalise == (i % 2 == 0), "case %zu", i);
        sentence_free(&s);
    }
    /* Version 5 has its classes elsewhere. */
    spill("modules.json", "[{\"path\":\"\",\"type\":\"sentence_transformers.base.modules.transformer.Transformer\"},"
                          "{\"path\":\"1_Pooling\",\"type\":\"sentence_transformers.sentence_transformer.modules.pooling.Pooling\"}]");
    struct sentence s = read_it();
    cr_expect(s.present && s.pooling == POOL_MEAN && !s.normalise);
    sentence_free(&s);
}

/* What a grant carries is what the folder said. Mutation: the usual prompt lost on the way (tried). */
Test(sentence, lengths_and_prompts_go_through_a_grant)
{
    spill("modules.json", "[" TRANSFORMER POOLING NORMALIZE "]");
    spill("1_Pooling/config.json", "{\"pooling_mode_lasttoken\":true}");
    spill("sentence_bert_config.json", "{\"max_seq_length\":40,\"do_lower_case\":false}");
    spill("config_sentence_transformers.json", "{\"__version__\":{\"pytorch\":\"2\"},\"prompts\":{\"query\":\"Instruct: x\\nQuery:\",\"document\":\"\"},"
                                               "\"default_prompt_name\":\"query\",\"similarity_fn_name\":\"cosine\"}");
    struct sentence s = read_it(), back;
    cr_expect(s.max_tokens == 40 && s.prompt_count == 2 && s.usual != NULL);
    struct json_doc *doc = json_new_object("grant.json");
    sentence_put(&s, doc, json_put_object(doc, json_node(doc), "embedding"));
    cr_assert_eq(sentence_parse(&back, doc, json_get(json_root(doc), "embedding"), &err), 0, "%s", err.text);
    cr_expect(back.present && back.pooling == POOL_LAST && back.normalise && back.max_tokens == 40);
    cr_expect_str_eq(back.usual->text, "Instruct: x\nQuery:");
    cr_expect_str_eq(sentence_prompt(&back, "document")->text, "");
    cr_expect_null(sentence_prompt(&back, "passage"));
    sentence_free(&back);
    cr_assert_eq(sentence_parse(&back, doc, NULL, &err), 0);
    cr_expect(!back.present && back.pooling == POOL_MEAN && back.normalise);
    json_free(doc);
    sentence_free(&s);
    /* null: as long as the model goes */
    spill("sentence_bert_config.json", "{\"max_seq_length\":null}");
    s = read_it();
    cr_expect_eq(s.max_tokens, 0);
    sentence_free(&s);
}

Test(sentence, what_is_not_implemented_is_refused_by_name)
{
    spill("modules.json", "{}");
    expect_refused("expected a list of modules");
    spill("modules.json", "[" TRANSFORMER "]");
    expect_refused("expected at least Transformer and Pooling");
    spill("modules.json", "[" TRANSFORMER POOLING "]");
    expect_refused("there is no config.json, which modules.json promises");
    spill("1_Pooling/config.json", "{\"pooling_mode_mean_tokens\":true}");
    spill("modules.json", "[" TRANSFORMER POOLING ",{\"path\":\"2_Dense\",\"type\":\"sentence_transformers.models.Dense\"}" NORMALIZE "]");
    expect_refused("module 2, 'Dense', is not implemented");
    spill("modules.json", "[" TRANSFORMER POOLING NORMALIZE NORMALIZE "]");
    expect_refused("module 3, 'Normalize'");
    spill("modules.json", "[{\"path\":\"0_BERT\",\"type\":\"sentence_transformers.models.Transformer\"}" POOLING "]");
    expect_refused("'0_BERT'");
    spill("modules.json", "[" TRANSFORMER ",{\"path\":\"../x\",\"type\":\"sentence_transformers.models.Pooling\"}]");
    expect_refused("expected the name of a folder, found '../x'");
    spill("modules.json", "[" TRANSFORMER POOLING "]");
    spill("1_Pooling/config.json", "{\"pooling_mode_mean_tokens\":true,\"pooling_mode_cls_token\":true}");
    expect_refused("a second pooling beside it");
    spill("1_Pooling/config.json", "{\"pooling_mode_weightedmean_tokens\":true}");
    expect_refused("'pooling_mode_weightedmean_tokens'");
    spill("1_Pooling/config.json", "{\"pooling_mode\":\"weightedmean\"}");
    expect_refused("weightedmean is not implemented");
    spill("1_Pooling/config.json", "{\"pooling_mode_mean_tokens\":false}");
    expect_refused("no pooling is switched on");
    spill("1_Pooling/config.json", "{\"pooling_mode_mean_tokens\":true,\"word_embedding_dimension\":25}");
    expect_refused("expected the model's 24, found 25");
    spill("1_Pooling/config.json", "{\"pooling_mode_mean_tokens\":true,\"include_prompt\":false}");
    spill("config_sentence_transformers.json", "{\"prompts\":{\"query\":\"q: \"}}");
    expect_refused("include_prompt false");
    spill("1_Pooling/config.json", "{\"pooling_mode_mean_tokens\":true}");
    spill("config_sentence_transformers.json", "{\"prompts\":{\"query\":3}}");
    expect_refused("expected texts, found");
    spill("config_sentence_transformers.json", "{\"prompts\":{},\"default_prompt_name\":\"query\"}");
    expect_refused("'query' is not one of 'prompts'");
    spill("sentence_bert_config.json", "{\"do_lower_case\":true}");
    expect_refused("do_lower_case");
}
