/* user/pretokenizer: what each step makes of a text; pieces are written with | between them. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/buf.h"
#include "user/pretokenizer.h"

static int collect(void *ctx, const char *piece, size_t len, struct err *err)
{
    struct buf *out = ctx;
    if (out->len > 0)
        buf_put8(out, '|');
    buf_put(out, piece, len);
    return buf_check(out, "pieces", err);
}

static void expect(const char *step, const char *text, bool at_start, const char *pieces)
{
    struct err err = {0};
    struct json_doc *doc = NULL;
    struct pretokenizer *p = NULL;
    struct regex_scan *scan = NULL;
    struct pretok_run *run = NULL;
    struct buf out;
    buf_init(&out, 1 << 16);
    cr_assert_eq(json_parse(&doc, step, strlen(step), false, "step", &err), 0, "%s", err.text);
    cr_assert_eq(pretokenizer_new(&p, doc, json_root(doc), &err), 0, "%s", err.text);
    cr_assert_eq(regex_scan_new(&scan, &err), 0);
    cr_assert_eq(pretok_run_new(&run, p, scan, collect, &out, &err), 0);
    cr_assert_eq(pretok_run_text(run, text, strlen(text), at_start, &err), 0, "%s", err.text);
    cr_expect_str_eq(out.len == 0 ? "" : (const char *)out.data, pieces, "'%s' -> '%s', expected '%s'", text,
                     out.len == 0 ? "" : (const char *)out.data, pieces);
    pretok_run_free(run);
    regex_scan_free(scan);
    pretokenizer_free(p);
    json_free(doc);
    buf_free(&out);
}

#define SPLIT(pattern, behavior) "{\"type\":\"Split\",\"pattern\":" pattern ",\"behavior\":\"" behavior "\",\"invert\":false}"
#define DASH "{\"String\":\"-\"}"

/* Mutation caught: any of the three joining rules changed. */
Test(pretokenizer, split_does_with_delimiters_what_its_behavior_says)
{
    expect(SPLIT(DASH, "Isolated"), "a--b-", true, "a|-|-|b|-");
    expect(SPLIT(DASH, "Removed"), "a--b-", true, "a|b");
    expect(SPLIT(DASH, "MergedWithPrevious"), "a--b-", true, "a-|-|b-");
    expect(SPLIT(DASH, "MergedWithNext"), "a--b-", true, "a|-|-b|-");
    expect(SPLIT(DASH, "Contiguous"), "a--b-", true, "a|--|b|-");
    expect("{\"type\":\"Split\",\"pattern\":" DASH ",\"behavior\":\"Removed\",\"invert\":true}", "a--b-", true, "-|-|-");
}

/* Mutations caught: PCRE2's own \s and \w, whose sets differ from the original's. */
Test(pretokenizer, regular_expressions_mean_what_they_mean_to_the_original)
{
    expect(SPLIT("{\"Regex\":\"\\\\s+\"}", "Removed"),
           "a b\xE1\xA0\x8E"
           "c",
           true,
           "a|b\xE1\xA0\x8E"
           "c"); /* U+180E */
    expect(SPLIT("{\"Regex\":\"[^\\\\s]+\"}", "Isolated"),
           "a\xC2\xA0"
           "b",
           true, "a|\xC2\xA0|b");
    expect(SPLIT("{\"Regex\":\"\\\\w+\"}", "Removed"), "e\xCC\x81!", true, "!"); /* combining marks are word characters */
    expect(SPLIT("{\"Regex\":\"\\\\h\"}", "Removed"), "xFy", true, "x|y");       /* hexadecimal digit, not blank */
    expect(SPLIT("{\"Regex\":\"[x[yz]]\"}", "Isolated"), "axyz", true, "a|x|y|z");
    expect(SPLIT("{\"Regex\":\"^.\"}", "Isolated"), "ab\ncd", true, "a|b\n|c|d");      /* ^ is at every line */
    expect(SPLIT("{\"Regex\":\"(?m:b.c)\"}", "Isolated"), "ab\ncd", true, "a|b\nc|d"); /* m: . takes newlines */
    expect(SPLIT("{\"Regex\":\"x*\"}", "Isolated"), "axxb", true, "a|xx|b");
}

Test(pretokenizer, character_classes)
{
    expect("{\"type\":\"Whitespace\"}", "it's 5\xE2\x82\xAC!", true, "it|'|s|5|\xE2\x82\xAC!");
    expect("{\"type\":\"WhitespaceSplit\"}", " it's\t5 ", true, "it's|5");
    expect("{\"type\":\"BertPreTokenizer\"}", "it's\t5!", true, "it|'|s|5|!");
    expect("{\"type\":\"Digits\",\"individual_digits\":true}", "a12", true, "a|1|2");
    expect("{\"type\":\"Digits\",\"individual_digits\":false}", "a12b", true, "a|12|b");
    expect("{\"type\":\"Punctuation\",\"behavior\":\"Contiguous\"}", "a?!b", true, "a|?!|b");
    expect("{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"-\"}", "a-b", true, "a|b");
}

/* Mutation caught: "first" treated as "always". */
Test(pretokenizer, metaspace_marks_the_beginning_as_its_scheme_says)
{
#define METASPACE(scheme) "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"" scheme "\"}"
    expect(METASPACE("always"), "a b", false, "_a|_b");
    expect(METASPACE("first"), "a b", true, "_a|_b");
    expect(METASPACE("first"), "a b", false, "a|_b");
    expect(METASPACE("never"), "a b", true, "a|_b");
    expect(METASPACE("always"), " a", true, "_a");
    expect("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"}," METASPACE("first") "]}", "a b", true,
           "_a|b");
}

Test(pretokenizer, byte_level_puts_one_space_in_front_if_asked)
{
    expect("{\"type\":\"ByteLevel\",\"add_prefix_space\":true}", "a b", true,
           "\xC4\xA0"
           "a|\xC4\xA0"
           "b");
    expect("{\"type\":\"ByteLevel\",\"add_prefix_space\":true}", " a", true,
           "\xC4\xA0"
           "a");
    expect("{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}", "a b", true,
           "a\xC4\xA0"
           "b");
}
