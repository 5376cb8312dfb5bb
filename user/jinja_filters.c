/* Filters on one value. Those on lists: jinja_list_filters.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "user/jinja_call.h"
#include "user/jinja_eval.h"
#include "user/jinja_print.h"

#define FILTER(name)                                                                                                               \
    static int name(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, struct jinja_value *out)

static int change_case(struct jinja_run *r, const struct jinja_value *self, enum jinja_case how, struct jinja_value *out)
{
    struct jinja_text t;
    struct buf b;
    buf_init(&b, JINJA_OUTPUT_MAX);
    if (jinja_print_text(r, self, &t) != 0)
        return -1;
    uint32_t odd = jinja_text_case(t, how, &b);
    if (odd != 0) {
        buf_free(&b);
        return jinja_run_fail(r, "changing the case of U+%04X is not implemented", (unsigned)odd);
    }
    if (jinja_value_take(r, &b, out) != 0)
        return -1;
    out->mark = self->type == JV_TEXT && self->mark;
    return 0;
}

FILTER(upper)
{
    (void)a;
    return change_case(r, self, JINJA_UPPER, out);
}

FILTER(lower)
{
    (void)a;
    return change_case(r, self, JINJA_LOWER, out);
}

FILTER(capitalize)
{
    (void)a;
    return change_case(r, self, JINJA_CAPITALIZE, out);
}

/* Jinja's own rule: a word starts after blanks, hyphens and opening brackets; str.title() is another. */
FILTER(title)
{
    struct jinja_text t;
    struct buf b;
    (void)a;
    if (jinja_print_text(r, self, &t) != 0)
        return -1;
    buf_init(&b, JINJA_OUTPUT_MAX);
    bool start = true;
    uint32_t odd = 0;
    for (size_t at = 0, n; at < t.n && odd == 0; at += n) {
        struct jinja_text one = {t.at + at, t.n - at};
        n = jinja_text_at(one, 1);
        one.n = n;
        odd = jinja_text_case(one, start ? JINJA_UPPER : JINJA_LOWER, &b);
        start = jinja_text_blank(one) || (n == 1 && strchr("-({[<", one.at[0]) != NULL && one.at[0] != '\0');
    }
    if (odd != 0) {
        buf_free(&b);
        return jinja_run_fail(r, "changing the case of U+%04X is not implemented", (unsigned)odd);
    }
    return jinja_value_take(r, &b, out);
}

FILTER(trim)
{
    struct jinja_text t, chars = {0};
    if (jinja_print_text(r, self, &t) != 0)
        return -1;
    if (a->values[0].type != JV_ABSENT && a->values[0].type != JV_NONE && jinja_call_arg_text(r, a, 0, NULL, &chars) != 0)
        return -1;
    *out = jinja_value_text(jinja_text_strip(t, JINJA_BOTH, chars));
    out->mark = self->type == JV_TEXT && self->mark;
    return jinja_run_spend(r, 1 + t.n * (1 + chars.n) / 256);
}

FILTER(string)
{
    struct jinja_text t;
    (void)a;
    if (jinja_print_text(r, self, &t) != 0)
        return -1;
    *out = self->type == JV_TEXT ? *self : jinja_value_text(t);
    return 0;
}

FILTER(safe)
{
    if (string(r, self, a, out) != 0)
        return -1;
    out->mark = true;
    return 0;
}

FILTER(replace)
{
    struct jinja_value text, args[3] = {{0}};
    struct jinja_args b = {.values = args, .n = 3};
    struct jinja_text t;
    for (size_t i = 0; i < 2; i++) {
        if (jinja_print_text(r, &a->values[i], &t) != 0)
            return -1;
        args[i] = jinja_value_text(t);
    }
    if (jinja_print_text(r, self, &t) != 0)
        return -1;
    text = jinja_value_text(t);
    args[2] = a->values[2].type == JV_NONE ? (struct jinja_value){0} : a->values[2];
    return jinja_call_find(jinja_text_methods, jinja_text_of("replace"))->fn(r, &text, &b, out);
}

FILTER(default_value)
{
    (void)r;
    if (self->type != JV_UNDEFINED && !(jinja_call_arg_true(a, 1, false) && !jinja_value_truth(self)))
        *out = *self;
    else
        *out = a->values[0].type == JV_ABSENT ? jinja_value_text(jinja_text_of("")) : a->values[0];
    return 0;
}

/* A number as float() and int() read it: blanks around, no hexadecimal digits. */
static bool read_number(struct jinja_text t, double *number, int64_t *whole, bool *is_whole)
{
    char text[64], *end;
    t = jinja_text_strip(t, JINJA_BOTH, (struct jinja_text){0});
    if (t.n == 0 || t.n >= sizeof text || memchr(t.at, '\0', t.n) != NULL)
        return false;
    memcpy(text, t.at, t.n);
    text[t.n] = '\0';
    if (strspn(text, "+-0123456789.eE") != t.n)
        return false; /* "inf", "nan", "1_000": the caller refuses these */
    *whole = strtoll(text, &end, 10);
    *is_whole = *end == '\0' && *whole != INT64_MAX && *whole != INT64_MIN;
    *number = strtod(text, &end);
    return *end == '\0';
}

/* Texts that Python reads as a number and read_number does not. */
static int check_odd_number(struct jinja_run *r, struct jinja_text t)
{
    bool digit = false;
    for (size_t i = 0; i < t.n; i++)
        digit = digit || (t.at[i] >= '0' && t.at[i] <= '9') || ((unsigned char)t.at[i] & 0x80) != 0;
    t = jinja_text_strip(t, JINJA_BOTH, (struct jinja_text){0});
    if (t.n > 0 && strchr("+-", t.at[0]) != NULL && t.at[0] != '\0') {
        t.at++;
        t.n--;
    }
    const bool word = (t.n == 3 && (strncasecmp(t.at, "inf", 3) == 0 || strncasecmp(t.at, "nan", 3) == 0)) ||
                      (t.n == 8 && strncasecmp(t.at, "infinity", 8) == 0);
    if (word || (digit && (t.n >= 64 || jinja_text_find(t, jinja_text_of("_"), 0) != SIZE_MAX)))
        return jinja_run_fail(r, "this form of a number in a text is not implemented");
    return 0;
}

FILTER(to_int)
{
    double number = 0;
    int64_t whole = 0;
    bool is_whole = false, found = false;
    if (a->values[1].type != JV_ABSENT && !(a->values[1].type == JV_INT && a->values[1].whole == 10))
        return jinja_run_fail(r, "int with a base other than 10 is not implemented");
    if (self->type == JV_UNDEFINED)
        return jinja_eval_undefined(r, self);
    if (self->type == JV_TEXT) {
        found = read_number(self->text, &number, &whole, &is_whole);
        if (!found && check_odd_number(r, self->text) != 0)
            return -1;
    } else if (jinja_value_whole(self, &whole)) {
        found = is_whole = true;
    } else if (self->type == JV_FLOAT) {
        number = self->number;
        found = isfinite(number);
    }
    if (!found)
        *out = a->values[0].type == JV_ABSENT ? jinja_value_int(0) : a->values[0];
    else if (is_whole)
        *out = jinja_value_int(whole);
    else if (!(fabs(number) < 0x1p63))
        return jinja_run_fail(r, "whole numbers beyond 64 bits are not implemented");
    else
        *out = jinja_value_int((int64_t)number);
    return 0;
}

FILTER(to_float)
{
    double number = 0;
    int64_t whole;
    bool is_whole, found = jinja_value_number(self, &number);
    if (self->type == JV_UNDEFINED)
        return jinja_eval_undefined(r, self);
    if (self->type == JV_TEXT) {
        found = read_number(self->text, &number, &whole, &is_whole);
        if (!found && check_odd_number(r, self->text) != 0)
            return -1;
    }
    *out = found ? jinja_value_float(number) : a->values[0].type == JV_ABSENT ? jinja_value_float(0) : a->values[0];
    return 0;
}

FILTER(absolute)
{
    int64_t whole;
    (void)a;
    if (jinja_value_whole(self, &whole) && whole != INT64_MIN)
        *out = jinja_value_int(whole < 0 ? -whole : whole);
    else if (self->type == JV_FLOAT)
        *out = jinja_value_float(fabs(self->number));
    else
        return jinja_run_fail(r, "abs is not possible for %s", jinja_value_type_name(self));
    return 0;
}

FILTER(round_to)
{
    int64_t precision;
    struct jinja_text method;
    double number;
    char text[400];
    if (jinja_call_arg_int(r, a, 0, 0, &precision) != 0 || jinja_call_arg_text(r, a, 1, "common", &method) != 0)
        return -1;
    if (precision < 0 || precision > 15 || !jinja_value_number(self, &number))
        return jinja_run_fail(r, "round of a %s to %lld places is not implemented", jinja_value_type_name(self), (long long)precision);
    const bool common = jinja_text_is(method, "common"), up = jinja_text_is(method, "ceil");
    if (!common && !up && !jinja_text_is(method, "floor"))
        return jinja_run_fail(r, "round: the method must be common, ceil or floor");
    if (common && self->type != JV_FLOAT) {
        *out = jinja_value_int((int64_t)(self->type == JV_INT ? self->whole : self->truth));
        return 0;
    }
    const double scale = pow(10, (double)precision);
    if (common) { /* printf rounds the exact decimal value, as Python does */
        (void)snprintf(text, sizeof text, "%.*f", (int)precision, number);
        number = strtod(text, NULL);
    } else {
        number = (up ? ceil(number * scale) : floor(number * scale)) / scale;
    }
    *out = jinja_value_float(number);
    return 0;
}

FILTER(wordcount)
{
    struct jinja_text t;
    int64_t words = 0;
    (void)a;
    if (jinja_print_text(r, self, &t) != 0)
        return -1;
    for (size_t i = 0; i < t.n; i++)
        if ((unsigned char)t.at[i] > 0x7F)
            return jinja_run_fail(r, "wordcount of text outside ASCII is not implemented");
    for (size_t i = 0; i < t.n; i++) {
        const char c = t.at[i], before = i == 0 ? ' ' : t.at[i - 1];
        static const char word[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
        words += memchr(word, c, sizeof word - 1) != NULL && memchr(word, before, sizeof word - 1) == NULL;
    }
    *out = jinja_value_int(words);
    return jinja_run_spend_text(r, t.n);
}

/* A number of blanks, or the text itself. */
static int indent_of(struct jinja_run *r, const struct jinja_value *v, int64_t fallback, struct jinja_text *out)
{
    int64_t width = fallback;
    struct jinja_value made;
    static const char blanks[65] = "                                                                ";
    if (v->type == JV_TEXT) {
        *out = v->text;
        return 0;
    }
    if (v->type != JV_ABSENT && !jinja_value_whole(v, &width))
        return jinja_run_fail(r, "an indent is an int or a str, not %s", jinja_value_type_name(v));
    if (width > 64)
        return jinja_run_fail(r, "an indent of more than 64 blanks is not implemented");
    if (jinja_value_copy(r, blanks, width < 0 ? 0 : (size_t)width, &made) != 0)
        return -1;
    *out = made.text;
    return 0;
}

FILTER(indent)
{
    struct jinja_text by, line;
    struct jinja_value text;
    struct buf b;
    const bool first = jinja_call_arg_true(a, 1, false), blank = jinja_call_arg_true(a, 2, false);
    if (self->type != JV_TEXT)
        return jinja_run_fail(r, "indent is for str, not %s", jinja_value_type_name(self));
    if (indent_of(r, &a->values[0], 4, &by) != 0)
        return -1;
    /* Jinja adds a newline before it splits: a text that ends with one gets an empty last line. */
    buf_init(&b, JINJA_OUTPUT_MAX);
    buf_put(&b, self->text.at, self->text.n);
    buf_put8(&b, '\n');
    if (jinja_value_take(r, &b, &text) != 0)
        return -1;
    buf_init(&b, JINJA_OUTPUT_MAX);
    size_t at = 0, count = 0;
    while (jinja_text_line(text.text, &at, &line)) {
        if (count++ > 0)
            buf_put8(&b, '\n');
        if (count == 1 ? first : blank || line.n > 0)
            buf_put(&b, by.at, by.n);
        buf_put(&b, line.at, line.n);
    }
    if (jinja_value_take(r, &b, out) != 0)
        return -1;
    out->mark = self->mark;
    return 0;
}

/* transformers' own: json.dumps without ASCII escapes, and nothing escaped for HTML. */
FILTER(tojson)
{
    const struct jinja_value *separators = &a->values[2], *width = &a->values[1];
    struct jinja_print_style style = {.ascii = jinja_call_arg_true(a, 0, false), .sort = jinja_call_arg_true(a, 3, false)};
    struct buf b;
    style.lines = width->type != JV_ABSENT && width->type != JV_NONE;
    if (style.lines && indent_of(r, width, 0, &style.indent) != 0)
        return -1;
    style.comma = jinja_text_of(style.lines ? "," : ", ");
    style.colon = jinja_text_of(": ");
    if (separators->type != JV_ABSENT && separators->type != JV_NONE) {
        struct jinja_list list;
        if (jinja_value_items(r, separators, &list) != 0)
            return -1;
        if (list.n != 2 || list.items[0].type != JV_TEXT || list.items[1].type != JV_TEXT)
            return jinja_run_fail(r, "tojson: separators are two texts");
        style.comma = list.items[0].text;
        style.colon = list.items[1].text;
    }
    buf_init(&b, JINJA_OUTPUT_MAX);
    if (jinja_print_json(r, self, &style, &b) != 0) {
        buf_free(&b);
        return -1;
    }
    return jinja_value_take(r, &b, out);
}

const struct jinja_def jinja_filters[] = {
    {"abs", "", absolute},
    {"capitalize", "", capitalize},
    {"d", "default_value? boolean? ", default_value},
    {"default", "default_value? boolean? ", default_value},
    {"float", "default? ", to_float},
    {"indent", "width? first? blank? ", indent},
    {"int", "default? base? ", to_int},
    {"lower", "", lower},
    {"replace", "old new count? ", replace},
    {"round", "precision? method? ", round_to},
    {"safe", "", safe},
    {"string", "", string},
    {"title", "", title},
    {"tojson", "ensure_ascii? indent? separators? sort_keys? ", tojson},
    {"trim", "chars? ", trim},
    {"upper", "", upper},
    {"wordcount", "", wordcount},
    {NULL, NULL, NULL},
};
