/* user/jinja: bounds, refusals by name with their line, and what the vectors cannot hold (bytes that JSON refuses, memory). */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "user/jinja.h"
#include "user/jinja_run.h"

static struct err err;

static char *render_with(const char *source, const struct jinja_input *inputs, size_t n)
{
    struct jinja *t = NULL;
    struct buf out;
    char *text = NULL;
    err = (struct err){0};
    buf_init(&out, (size_t)64 << 20);
    if (jinja_parse(&t, source, strlen(source), "t", &err) == 0 && jinja_render(t, inputs, n, 0, &out, &err) == 0)
        text = buf_take(&out, NULL);
    buf_free(&out);
    jinja_free(t);
    return text;
}

static void gives(const char *source, const char *expected)
{
    char *text = render_with(source, NULL, 0);
    cr_expect(text != NULL && strcmp(text, expected) == 0, "%s: expected '%s', found '%s' %s", source, expected, text, err.text);
    free(text);
}

static void refuses(const char *source, const char *why)
{
    char *text = render_with(source, NULL, 0);
    cr_expect_null(text, "%s: expected a refusal, found '%s'", source, text);
    cr_expect(strstr(err.text, why) != NULL, "%s: expected '%s' in: %s", source, why, err.text);
    cr_expect_eq(err.code, ERR_INPUT);
    free(text);
}

/* `before` n times, then `after`. */
static char *many(const char *before, size_t n, const char *after)
{
    char *text = malloc(n * strlen(before) + strlen(after) + 1), *at = text;
    cr_assert_not_null(text);
    for (size_t i = 0; i < n; i++)
        at = stpcpy(at, before);
    strcpy(at, after);
    return text;
}

Test(jinja, what_is_not_implemented_is_refused_by_name_and_line)
{
    refuses("a\n{% include 'x' %}", "t: line 2: the tag 'include' is not implemented");
    refuses("{{ 1 }}\n\n{{ 1|urlize }}", "t: line 3: the filter 'urlize' is not implemented");
    refuses("{{ 1 is escaped }}", "t: line 1: the test 'escaped' is not implemented");
    refuses("{{ 'a'.zfill(3) }}", "'zfill' of a str is not implemented");
    refuses("{{ {}.copy() }}", "'copy' of a dict is not implemented");
    refuses("{{ cycler(1) }}", "'cycler' of a");
    refuses("{% for x in [1] recursive %}{% endfor %}", "recursive loops are not implemented");
    refuses("{{ f(*a) }}", "arguments from a list or dict ('*', '**') are not implemented");
    refuses("{{ 99999999999999999999 }}", "whole numbers beyond 64 bits are not implemented");
    refuses("{{ 0x10 }}", "this form of a number is not implemented");
    refuses("{{ '\\N{DASH}' }}", "this escape in a string is not implemented");
    refuses("{{ 9223372036854775807 + 1 }}", "whole numbers beyond 64 bits are not implemented");
    refuses("{{ '\xC3\x9F'|upper }}", "changing the case of U+00DF is not implemented");
    refuses("{{ strftime_now('%Q') }}", "strftime_now: '%Q' is not implemented");
    refuses("{{ [1]|map('upper') }}", "printing a generator is not implemented");
}

Test(jinja, a_refusal_in_a_branch_that_is_not_taken_does_no_harm)
{
    gives("{% if false %}{{ 1|urlize }}{% endif %}ok", "ok");
}

Test(jinja, mistakes_are_named_with_their_line)
{
    refuses("{% if x %}", "the template ends before 'endif'");
    refuses("{% for x in y %}", "the template ends before 'endfor'");
    refuses("x\n{{ 'a }}", "t: line 2: a string without its closing quote");
    refuses("{# x", "a comment without '#}'");
    refuses("{% raw %}x", "'raw' without 'endraw'");
    refuses("{{ (1 }}", "a closing bracket without its opening one");
    refuses("{{ 1", "an expression without '}}'");
    refuses("{% set x", "a tag without '%}'");
    refuses("{{ 1) }}", "a closing bracket without its opening one");
    refuses("{{ 1 2 }}", "expected '}}', found a number");
    refuses("{{ }}", "expected an expression, found '}}'");
    refuses("{% break %}", "a loop around 'break' or 'continue'");
    refuses("{% for i in [1] %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}", "a loop around 'break' or 'continue'");
    refuses("{% set 1 = 2 %}", "a name to assign to");
    refuses("{{ a ! b }}", "this character is not part of any expression");
    refuses("{{ a\xC3\xA9 }}", "this character is not part of any expression");
    refuses("{{ messages[0].role }}", "'messages' is undefined");
    refuses("{{ raise_exception('no') }}", "t: line 1: the template refuses these messages: no");
    refuses("{% macro m(a) %}\n{{ a.b.c }}\n{% endmacro %}\n{{ m({}) }}", "t: line 2: 'b' is undefined");
}

Test(jinja, invalid_utf8_is_refused_wherever_it_comes_from)
{
    refuses("a\xFF", "not valid UTF-8 at byte 1");
    struct json_doc *doc = json_new_object("built");
    json_put_str(doc, json_node(doc), "x", "a\xC3");
    const struct jinja_input input = {"x", json_get(json_root(doc), "x")};
    cr_expect_null(render_with("{{ x }}", &input, 1));
    cr_expect(strstr(err.text, "not valid UTF-8") != NULL, "%s", err.text);
    json_free(doc);
}

Test(jinja, numbers_that_json_could_not_keep_are_not_written)
{
    static const char text[] = "{\"big\":9223372036854775807,\"half\":0.5,\"one\":1.0}";
    struct json_doc *doc = NULL;
    cr_assert_eq(json_parse(&doc, text, sizeof text - 1, false, "n", &err), 0, "%s", err.text);
    struct jinja_input inputs[] = {{"big", json_get(json_root(doc), "big")}, {"half", json_get(json_root(doc), "half")},
                                   {"one", json_get(json_root(doc), "one")}};
    char *fine = render_with("{{ half }}{{ one }}{{ big > 5 }}", inputs, 3);
    cr_expect_str_eq(fine, "0.51True");
    cr_expect_null(render_with("{{ big }}", inputs, 3));
    cr_expect_null(render_with("{{ {'a': big}|tojson }}", inputs, 3));
    cr_expect(strstr(err.text, "2^53 or more in the messages cannot be written exactly") != NULL, "%s", err.text);
    free(fine);
    json_free(doc);
}

Test(jinja, of_inputs_with_one_name_the_last_counts)
{
    static const char text[] = "[1,2]";
    struct json_doc *doc = NULL;
    cr_assert_eq(json_parse(&doc, text, sizeof text - 1, false, "n", &err), 0);
    const struct json *one = json_first(json_root(doc));
    const struct jinja_input inputs[] = {{"x", one}, {"x", json_next(one)}, {"y", NULL}};
    char *out = render_with("{{ x }}{{ y }}{{ y is none }}", inputs, 3);
    cr_expect_str_eq(out, "2NoneTrue");
    free(out);
    json_free(doc);
}

Test(jinja, nothing_is_written_when_a_template_fails_late)
{
    struct jinja *t = NULL;
    struct buf out;
    buf_init(&out, 1000);
    buf_put_str(&out, "before");
    cr_assert_eq(jinja_parse(&t, "text {{ x.y }}", 14, "t", &err), 0);
    cr_expect_eq(jinja_render(t, NULL, 0, 0, &out, &err), -1);
    cr_expect_eq(out.len, 6);
    jinja_free(t);
    buf_free(&out);
}

Test(jinja, one_template_renders_again_and_again)
{
    struct jinja *t = NULL;
    struct buf out;
    static const char source[] = "{% set ns = namespace(n=0) %}{% for i in range(3) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}";
    buf_init(&out, 1000);
    cr_assert_eq(jinja_parse(&t, source, sizeof source - 1, "t", &err), 0);
    for (int i = 0; i < 3; i++)
        cr_expect_eq(jinja_render(t, NULL, 0, 0, &out, &err), 0);
    buf_put8(&out, 0);
    cr_expect_str_eq((const char *)out.data, "333");
    jinja_free(t);
    buf_free(&out);
}

/* Each would run for hours, or need all memory, without its bound. Mutation caught: any spend() or limit left out there. */
Test(jinja, everything_that_could_run_away_is_bounded)
{
    static const char *const bad[][2] = {
        {"{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", ""},
        {"{% for i in range(99999) %}{% set x %}{% for j in 'abcdefghijklmnopqrstuvwxyz' %}{{ i ** 2 }}{% endfor %}{% endset %}{% endfor %}", ""},
        {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "nested too deep"},
        {"{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}", "too much memory"},
        {"{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}", ""},
        {"{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}{% endfor %}", ""},
        {"{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}", "nested too deep"},
        {"{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l|tojson }}", "nested too deep"},
        {"{% set a = namespace(l=[], m=[]) %}{% for i in range(9999) %}{% set a.l = [a.l] %}{% set a.m = [a.m] %}{% endfor %}{{ a.l == a.m }}",
         "nested too deep"},
        {"{% set a = namespace(l=[], m=[]) %}{% for i in range(9999) %}{% set a.l = [a.l] %}{% set a.m = [a.m] %}{% endfor %}{{ a.l < a.m }}",
         "nested too deep"},
        {"{{ 'x' * 999999999999 }}", "too large"},
        {"{{ [0] * 999999999999 }}", "too large"},
        {"{{ '' * 999999999999 }}{{ 2 ** 99999999999 }}", "beyond 64 bits"},
        {"{% set x = 'a' * 30000000 %}{{ x }}{{ x }}", "the text is too long"},
        {"{% set x = 'a' * 4000000 %}{{ x.rsplit('a' * 2000000 ~ 'b', 9) }}", "runs for too long"},
        {"{% set x = 'a' * 4000000 %}{{ x.rfind('b' ~ 'a' * 2000000) }}", "runs for too long"},
        {"{% set x = 'ab' * 9000000 %}{{ x.strip('cdefgh' * 1000 ~ 'ba') }}", "runs for too long"},
        {"{{ (range(9999)|list)|unique|list|length }}", "runs for too long"},
        {"{{ 'x' * 9000000 is in (('y' * 9000000 ~ ',') * 3).split(',') }}{% for i in range(9999) %}{{ 'x' in 'y' * 9000000 }}{% endfor %}", ""},
        {"{{ range(100001) }}", "at most 100000 items"},
        {"{{ 1.5 ** 99999 }}", "too large"},
        {"{{ '%a' * 200 }}{{ strftime_now('%A' * 200) }}", "too long"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const uint64_t start = clock_ms();
        refuses(bad[i][0], bad[i][1]);
        cr_expect_lt(clock_ms() - start, 60000, "%s took too long", bad[i][0]);
    }
    gives("{{ 1 ** 99999999999 }}{{ (-1) ** 99999999999 }}{{ 0 ** 99999999999 }}{{ 2 ** 62 }}", "1-104611686018427387904");
}

Test(jinja, sources_are_bounded_in_size_and_nesting)
{
    static const char *const parts[][2] = {{"(", "1"}, {"[", "1"}, {"-", "1"}, {"not ", "1"}, {"{'a':", "1"}, {"1 if ", "1"}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char *inside = many(parts[i][0], 20000, parts[i][1]), *source = many("{{ ", 1, inside);
        cr_expect_null(render_with(source, NULL, 0));
        cr_expect_eq(err.code, ERR_INPUT);
        free(inside);
        free(source);
    }
    char *tags = many("{% if 1 %}", 20000, ""), *sum = many("1 + ", 2000, "1 }}"), *chain = many("{{ ", 1, sum);
    refuses(tags, "nested too deep");
    refuses(chain, "nested too deep");
    char *elifs = many("{% elif 0 %}", 50000, "{% else %}last{% endif %}"), *long_if = many("{% if 0 %}", 1, elifs);
    gives(long_if, "last");
    char *large = many("x", JINJA_SOURCE_MAX + 1, "");
    refuses(large, "a template has at most");
    free(tags);
    free(sum);
    free(chain);
    free(elifs);
    free(long_if);
    free(large);
}

Test(jinja, nul_bytes_are_text)
{
    struct jinja *t = NULL;
    struct buf out;
    static const char source[] = "a\0b{{ '\\0' }}{{ 'x\\0y'|length }}{{ 'x\\0y'.split('\\0') }}";
    static const char expected[] = "a\0b\0" "3['x', 'y']";
    buf_init(&out, 1000);
    cr_assert_eq(jinja_parse(&t, source, sizeof source - 1, "t", &err), 0, "%s", err.text);
    cr_expect_eq(jinja_render(t, NULL, 0, 0, &out, &err), 0, "%s", err.text);
    cr_expect(out.len == sizeof expected - 1 && memcmp(out.data, expected, out.len) == 0);
    jinja_free(t);
    buf_free(&out);
}
