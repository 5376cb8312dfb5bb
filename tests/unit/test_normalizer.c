/* user/normalizer: what each step makes of a text. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "user/normalizer.h"

static void expect(const char *step, const char *text, const char *expected)
{
    struct err err = {0};
    struct json_doc *doc = NULL;
    struct normalizer *n = NULL;
    struct regex_scan *scan = NULL;
    struct buf out;
    buf_init(&out, 1 << 16);
    cr_assert_eq(json_parse(&doc, step, strlen(step), false, "step", &err), 0, "%s", err.text);
    cr_assert_eq(normalizer_new(&n, doc, json_root(doc), &err), 0, "%s", err.text);
    cr_assert_eq(regex_scan_new(&scan, &err), 0);
    cr_assert_eq(normalizer_run(n, scan, text, strlen(text), &out, &err), 0, "%s", err.text);
    cr_expect_str_eq(out.len == 0 ? "" : (const char *)out.data, expected, "%s '%s'", step, text);
    regex_scan_free(scan);
    normalizer_free(n);
    json_free(doc);
    buf_free(&out);
}

/* Mutation caught: marks left in the order in which they were typed. */
Test(normalizer, normal_forms)
{
    expect("{\"type\":\"NFC\"}", "a\xCC\x81\xCC\xA3", "\xE1\xBA\xA1\xCC\x81"); /* a, acute, dot below -> a-dot-below, acute */
    expect("{\"type\":\"NFD\"}", "\xC3\xA9", "e\xCC\x81");
    /* U+10F47 is a mark since Unicode 11; the original's normaliser is older and leaves it before U+110B9. */
    expect("{\"type\":\"NFC\"}", "\xF0\x90\xBD\x87\xF0\x91\x82\xB9", "\xF0\x90\xBD\x87\xF0\x91\x82\xB9");
    expect("{\"type\":\"NFKC\"}", "\xEF\xAC\x81\xC2\xB2", "fi2");
    expect("{\"type\":\"NFC\"}", "\xEF\xAC\x81", "\xEF\xAC\x81");
    expect("{\"type\":\"NFC\"}", "\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", "\xED\x95\x9C"); /* Hangul */
}

Test(normalizer, simple_steps)
{
    expect("{\"type\":\"Lowercase\"}", "A\xC3\x89\xC4\xB0", "a\xC3\xA9i\xCC\x87");
    expect("{\"type\":\"StripAccents\"}", "e\xCC\x81", "e");
    expect("{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":false}", " \na ", "a ");
    expect("{\"type\":\"Strip\",\"strip_left\":false,\"strip_right\":true}", " a \xC2\xA0", " a");
    expect("{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true}", " \t ", "");
    expect("{\"type\":\"Prepend\",\"prepend\":\"_\"}", "a", "_a");
    expect("{\"type\":\"Prepend\",\"prepend\":\"_\"}", "", "");
    expect("{\"type\":\"Replace\",\"pattern\":{\"String\":\"aa\"},\"content\":\"b\"}", "aaaca", "baca");
    expect("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\" $0\"}", "a   b c", "a $0b c"); /* no groups */
    expect("{\"type\":\"ByteLevel\"}", " \xC3\xA9", "\xC4\xA0\xC3\x83\xC2\xA9");
    expect("null", "A b", "A b");
    expect("{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"},{\"type\":\"Prepend\",\"prepend\":\"X\"}]}", "A",
           "Xa");
}

/* Mutation caught: strip_accents not following lowercase when it is null. */
Test(normalizer, bert)
{
#define BERT(accents, lower)                                                                                                     \
    "{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,\"strip_accents\":" accents                  \
    ",\"lowercase\":" lower "}"
    expect(BERT("null", "true"), "\xC3\x89\tB\x01\xEF\xBF\xBD\xC2\xAD", "e b");
    expect(BERT("null", "false"), "\xC3\x89", "\xC3\x89");
    expect(BERT("true", "false"), "\xC3\x89", "E");
    expect(BERT("false", "true"), "\xC3\x89", "\xC3\xA9");
    expect(BERT("null", "true"),
           "a\xE4\xB8\x96"
           "b",
           "a \xE4\xB8\x96 b");
}

/* A quarter of a million marks in the wrong order: quadratic ordering would take minutes. */
Test(normalizer, many_marks_take_no_longer_than_other_text)
{
    enum { N = 250000 };
    struct err err = {0};
    struct json_doc *doc = NULL;
    struct normalizer *n = NULL;
    struct regex_scan *scan = NULL;
    struct buf out;
    char *text = malloc(4 * N + 1);
    cr_assert_not_null(text);
    text[0] = 'a';
    for (size_t i = 0; i < 2 * N; i++)
        memcpy(text + 1 + 2 * i, i < N ? "\xCC\x81" : "\xCC\xA3", 2);
    buf_init(&out, 1 << 24);
    cr_assert_eq(json_parse(&doc, "{\"type\":\"NFC\"}", 14, false, "step", &err), 0);
    cr_assert_eq(normalizer_new(&n, doc, json_root(doc), &err), 0);
    cr_assert_eq(regex_scan_new(&scan, &err), 0);
    cr_assert_eq(normalizer_run(n, scan, text, 4 * N + 1, &out, &err), 0, "%s", err.text);
    cr_expect_eq(memcmp(out.data, "\xE1\xBA\xA1\xCC\xA3", 5), 0); /* the first dot below joins the a */
    cr_expect_eq(out.len, 4 * N + 1);                             /* a and one mark, 3 bytes, became one character of 3 bytes */
    regex_scan_free(scan);
    normalizer_free(n);
    json_free(doc);
    buf_free(&out);
    free(text);
}
