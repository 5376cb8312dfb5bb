/* user/tokenizer: files that are wrong, each with the field that the message must name. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "tests/support/tempdir.h"
#include "user/tokenizer.h"

static void expect_refused(const char *json, size_t len, const char *said)
{
    struct err err = {0};
    struct tokenizer *t = NULL;
    cr_expect_eq(tokenizer_parse(&t, json, len, "some.json", &err), -1, "accepted, expected '%s'", said);
    cr_expect_null(t);
    cr_expect_eq(err.code, ERR_INPUT, "'%s'", err.text);
    cr_expect_not_null(strstr(err.text, said), "expected '%s' in '%s'", said, err.text);
    cr_expect_not_null(strstr(err.text, "some.json"), "no file name in '%s'", err.text);
}

#define BPE(vocab, merges) "\"model\":{\"type\":\"BPE\",\"vocab\":{" vocab "},\"merges\":[" merges "]}"
#define AB "\"a\":0,\"b\":1,\"ab\":2"
#define GOOD BPE(AB, "\"a b\"")

static void expect(const char *json, const char *said)
{
    expect_refused(json, strlen(json), said);
}

Test(tokenizer_malformed, the_frame_of_these_tests_is_accepted)
{
    struct err err = {0};
    struct tokenizer *t = NULL;
    static const char json[] = "{" GOOD "}";
    cr_assert_eq(tokenizer_parse(&t, json, strlen(json), "some.json", &err), 0, "%s", err.text);
    tokenizer_free(t);
}

Test(tokenizer_malformed, a_file_cut_anywhere)
{
    size_t len;
    char *json = tempdir_slurp(STIP_SOURCE_DIR "/tests/vectors/tokenizer/byte_fallback/tokenizer.json", &len);
    while (len > 0 && json[len - 1] != '}')
        len--;
    for (size_t cut = 0; cut < len; cut += 1 + cut / 100)
        expect_refused(json, cut, "some.json");
    free(json);
}

Test(tokenizer_malformed, model)
{
    expect("[]", "expected an object");
    expect("{}", "field 'model'");
    expect("{\"model\":7}", "field 'model'");
    expect("{\"model\":{\"type\":7}}", "field 'type'");
    expect("{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0}}}", "'WordLevel' is not supported");
    expect("{\"model\":{\"vocab\":{\"a\":0}}}", "field 'model.type'");
    expect("{\"model\":{\"type\":\"BPE\",\"vocab\":[],\"merges\":[]}}", "field 'model.vocab'");
    expect("{" BPE("", "") "}", "field 'model.vocab'");
    expect("{" BPE("\"a\":0,\"b\":0", "") "}", "id 0 belongs to two tokens");
    expect("{" BPE("\"a\":0,\"a\":1", "") "}", "stands twice");
    expect("{" BPE("\"a\":-1", "") "}", "found -1");
    expect("{" BPE("\"a\":4194304", "") "}", "found 4194304");
    expect("{" BPE("\"a\":1e300", "") "}", "field 'model.vocab'");
    expect("{" BPE("\"a\":0.5", "") "}", "found 0.5");
    expect("{" BPE("\"a\":\"0\"", "") "}", "found a string");
    expect("{" BPE(AB, "\"a c\"") "}", "'c' is not in the vocabulary");
    expect("{" BPE(AB, "\"b a\"") "}", "its result 'ba' is not in the vocabulary");
    expect("{" BPE(AB, "\"ab\"") "}", "merge 0: expected two tokens");
    expect("{" BPE(AB, "\"a b c\"") "}", "merge 0: expected two tokens");
    expect("{" BPE(AB, "[\"a\"]") "}", "merge 0: expected");
    expect("{" BPE(AB, "[\"a\",1]") "}", "merge 0: expected");
    expect("{" BPE(AB, "{\"a\":\"b\"}") "}", "merge 0: expected");
    expect("{\"model\":{\"type\":\"BPE\",\"vocab\":{" AB "}}}", "field 'model.merges'");
    expect("{\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{" AB "},\"merges\":[]}}", "field 'dropout'");
    expect("{\"model\":{\"type\":\"BPE\",\"unk_token\":\"x\",\"vocab\":{" AB "},\"merges\":[]}}", "field 'unk_token'");
    expect("{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0}}}", "'[UNK]' is not in the vocabulary");
    expect("{\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"a\",\"max_input_chars_per_word\":-1,\"vocab\":{\"a\":0}}}",
           "field 'max_input_chars_per_word'");
    expect("{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", "field 'model.vocab'");
    expect("{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", "entry 0");
    expect("{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]],\"unk_id\":1}}", "field 'unk_id'");
}

Test(tokenizer_malformed, added_tokens)
{
    expect("{\"added_tokens\":{}," GOOD "}", "field 'added_tokens'");
    expect("{\"added_tokens\":[7]," GOOD "}", "expected an object");
    expect("{\"added_tokens\":[{\"id\":3}]," GOOD "}", "field 'content'");
    expect("{\"added_tokens\":[{\"content\":\"x\"}]," GOOD "}", "field 'id'");
    expect("{\"added_tokens\":[{\"content\":\"\",\"id\":3}]," GOOD "}", "1 to 1024 bytes");
    expect("{\"added_tokens\":[{\"content\":\"a\",\"id\":3}]," GOOD "}", "the vocabulary says 0");
    expect("{\"added_tokens\":[{\"content\":\"x\",\"id\":0}]," GOOD "}", "belongs to two tokens");
    expect("{\"added_tokens\":[{\"content\":\"x\",\"id\":99999999999}]," GOOD "}", "field 'id'");
    expect("{\"added_tokens\":[{\"content\":\"x\",\"id\":3,\"lstrip\":1}]," GOOD "}", "field 'lstrip'");
    expect("{\"added_tokens\":[{\"content\":\"x\",\"id\":3},{\"content\":\"x\",\"id\":3}]," GOOD "}", "stands twice");
}

Test(tokenizer_malformed, steps_are_refused_by_name)
{
    expect("{\"normalizer\":{\"type\":\"Nmt\"}," GOOD "}", "'Nmt' is not supported");
    expect("{\"normalizer\":{}," GOOD "}", "field 'type'");
    expect("{\"normalizer\":7," GOOD "}", "field 'normalizer'");
    expect("{\"normalizer\":{\"type\":\"Sequence\"}," GOOD "}", "normalizer.normalizers");
    expect("{\"normalizer\":{\"type\":\"Prepend\"}," GOOD "}", "field 'prepend'");
    expect("{\"normalizer\":{\"type\":\"Replace\",\"content\":\"\"}," GOOD "}", "field 'pattern'");
    expect("{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"x\"}," GOOD "}", "field 'precompiled_charsmap'");
    expect("{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////w==\"}," GOOD "}",
           "field 'precompiled_charsmap'");
    expect("{\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}," GOOD "}", "'UnicodeScripts' is not supported");
    expect("{\"pre_tokenizer\":{\"type\":\"ByteLevel\"}," GOOD "}", "field 'add_prefix_space'");
    expect("{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"__\"}," GOOD "}", "field 'replacement'");
    expect("{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"-\"},\"behavior\":\"Sideways\"}," GOOD "}",
           "field 'behavior'");
    expect("{\"post_processor\":{\"type\":\"Other\"}," GOOD "}", "'Other' is not supported");
    expect("{\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"a\",0],\"cls\":[\"x\",9]}," GOOD "}", "field 'cls'");
    expect("{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\",\"type_id\":0}}],"
           "\"pair\":[],\"special_tokens\":{}}," GOOD "}",
           "field 'special_tokens'");
    expect("{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"B\",\"type_id\":0}}],"
           "\"pair\":[],\"special_tokens\":{}}," GOOD "}",
           "field 'single'");
    expect("{\"decoder\":{\"type\":\"CTC\"}," GOOD "}", "'CTC' is not supported");
    expect("{\"decoder\":{\"type\":\"Strip\",\"content\":\"ab\",\"start\":1,\"stop\":0}," GOOD "}", "field 'content'");
    expect("{\"decoder\":{\"type\":\"Strip\",\"content\":\" \",\"start\":-1,\"stop\":0}," GOOD "}", "field 'start'");
}

Test(tokenizer_malformed, sequences_deeper_or_longer_than_the_limit)
{
    struct buf deep, wide;
    buf_init(&deep, 1 << 16);
    buf_init(&wide, 1 << 16);
    buf_put_str(&deep, "{\"normalizer\":");
    for (int i = 0; i < 100; i++)
        buf_put_str(&deep, "{\"type\":\"Sequence\",\"normalizers\":[");
    for (int i = 0; i < 100; i++)
        buf_put_str(&deep, "]}");
    buf_put_str(&deep, "," GOOD "}");
    buf_put_str(&wide, "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[");
    for (int i = 0; i < 20; i++) /* each BertPreTokenizer is two steps inside */
        buf_put_str(&wide, i == 0 ? "{\"type\":\"BertPreTokenizer\"}" : ",{\"type\":\"BertPreTokenizer\"}");
    buf_put_str(&wide, "]}," GOOD "}");
    expect((const char *)deep.data, "nested");
    expect((const char *)wide.data, "at most 32 steps");
    buf_free(&deep);
    buf_free(&wide);
}

static void expect_regex(const char *regex, const char *said)
{
    char json[1024];
    (void)snprintf(json, sizeof json,
                   "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"%s\"},\"behavior\":\"Isolated\"}," GOOD "}",
                   regex);
    expect(json, said);
}

/* Each of these means something else in the original's dialect, or nothing. */
Test(tokenizer_malformed, regular_expressions_that_cannot_be_right)
{
    expect_regex("(", "does not compile");
    expect_regex("[a", "does not compile");
    expect_regex("\\\\p{NoSuchThing}", "does not compile");
    expect_regex("a\\\\", "ends with a backslash");
    expect_regex("[a-z&&[^b]]", "intersection");
    expect_regex("[[:alpha:]]", "POSIX");
    expect_regex("[a[^b]]", "negated class inside");
    expect_regex("[]a]", "empty class");
    expect_regex("[\\\\W]", "escape '\\W' in a class");
    expect_regex("\\\\Q", "escape '\\Q'");
    expect_regex("\\\\K", "escape '\\K'");
    expect_regex("\\\\C", "escape '\\C'");
    expect_regex("(*COMMIT)", "verb");
    expect_regex("(?R)", "unusual group");
    expect_regex("(?P<n>a)", "unusual group");
    expect_regex("a(?i)b", "option in the middle");
    expect_regex("a{1,2}+", "interval");
    expect_regex("\\\\u12", "\\u");
}

/* Mutation caught: without the limits this runs for longer than anyone waits. */
Test(tokenizer_malformed, a_hostile_regular_expression_ends_with_an_error)
{
    static const char json[] =
        "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a|a)*(a|a)*[b-d]\"},\"behavior\":\"Isolated\"}," GOOD
        "}";
    struct err err = {0};
    struct tokenizer *t = NULL;
    struct token_ids out = {0};
    char text[4000];
    memset(text, 'a', sizeof text);
    cr_assert_eq(tokenizer_parse(&t, json, strlen(json), "some.json", &err), 0, "%s", err.text);
    cr_expect_eq(tokenizer_encode(t, text, sizeof text, NULL, 0, true, &out, &err), -1);
    cr_expect_eq(err.code, ERR_INPUT);
    cr_expect_not_null(strstr(err.text, "regular expression"), "%s", err.text);
    cr_expect_eq(out.n, 0);
    tokenizer_free(t);
}

static void spill(const char *dir, const char *name, const char *text)
{
    tempdir_spill(tempdir_path(dir, name), text, strlen(text));
}

static void expect_folder_refused(const char *dir, const char *said)
{
    struct err err = {0};
    struct tokenizer *t = NULL;
    cr_expect_eq(tokenizer_load(&t, dir, &err), -1, "accepted, expected '%s'", said);
    cr_expect_not_null(strstr(err.text, said), "expected '%s' in '%s'", said, err.text);
}

Test(tokenizer_malformed, folders_with_older_files)
{
    char dir[FILE_PATH_MAX];
    tempdir_make(dir);
    expect_folder_refused(dir, "there is no tokenizer.json");
    spill(dir, "vocab.json", "{\"a\":0}");
    expect_folder_refused(dir, "there is no tokenizer.json");
    spill(dir, "merges.txt", "#version: 0.2\na b\n");
    expect_folder_refused(dir, "merges.txt: merge 0: the token 'b' is not in the vocabulary");
    spill(dir, "vocab.json", "[1]");
    expect_folder_refused(dir, "vocab.json");
    spill(dir, "tokenizer_config.json", "{\"tokenizer_class\":\"CLIPTokenizer\"}");
    expect_folder_refused(dir, "'CLIPTokenizer'");
    spill(dir, "tokenizer_config.json", "{\"tokenizer_class\":\"RobertaTokenizer\"}");
    spill(dir, "vocab.json", "{\"a\":0}");
    expect_folder_refused(dir, "lacks the token '<s>'");
    spill(dir, "tokenizer_config.json", "{\"added_tokens_decoder\":{\"x\":{\"content\":\"a\"}}}");
    expect_folder_refused(dir, "expected ids as keys");
    spill(dir, "tokenizer.json", "{");
    expect_folder_refused(dir, "tokenizer.json");
    tempdir_remove(dir);
}
