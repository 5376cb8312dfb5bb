#include "user/jinja_print.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

/* The shortest text that reads back as the same number, in Python's form; `words` for what is no number. */
static void put_float(double v, const char *const words[3], struct buf *out)
{
    char text[40], *e;
    int precision = 0, exponent;
    if (!isfinite(v)) {
        buf_put_str(out, isnan(v) ? words[0] : v > 0 ? words[1] : words[2]);
        return;
    }
    do
        (void)snprintf(text, sizeof text, "%.*e", precision, v);
    while (strtod(text, NULL) != v && ++precision < 17);
    e = strchr(text, 'e');
    exponent = atoi(e + 1);
    if (exponent < -4 || exponent >= 16) {
        *e = '\0';
        buf_printf(out, "%se%c%02d", text, exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    int after = precision - exponent; /* digits behind the point */
    buf_printf(out, "%.*f", after < 1 ? 1 : after, v);
}

static int check_exact(struct jinja_run *r, const struct jinja_value *v)
{
    if (v->type == JV_FLOAT && v->mark)
        return jinja_run_fail(r, "a whole number of 2^53 or more in the messages cannot be written exactly; give it as a string");
    return 0;
}

static int put_repr(struct jinja_run *r, const struct jinja_value *v, struct buf *out);

static int put_items(struct jinja_run *r, const struct jinja_list *list, struct buf *out)
{
    const bool tuple = list->kind == JL_TUPLE;
    buf_put8(out, tuple ? '(' : '[');
    for (size_t i = 0; i < list->n; i++) {
        if (i > 0)
            buf_put_str(out, ", ");
        if (put_repr(r, &list->items[i], out) != 0)
            return -1;
    }
    buf_put_str(out, tuple ? list->n == 1 ? ",)" : ")" : "]");
    return 0;
}

static int put_dict(struct jinja_run *r, const struct jinja_dict *d, struct buf *out)
{
    buf_put8(out, '{');
    for (size_t i = 0; i < d->n; i++) {
        if (i > 0)
            buf_put_str(out, ", ");
        if (put_repr(r, &d->pairs[i].key, out) != 0)
            return -1;
        buf_put_str(out, ": ");
        if (put_repr(r, &d->pairs[i].value, out) != 0)
            return -1;
    }
    buf_put8(out, '}');
    return 0;
}

int jinja_print_value(struct jinja_run *r, const struct jinja_value *v, struct buf *out)
{
    static const char *const words[] = {"nan", "inf", "-inf"};
    int rc = 0;
    if (jinja_run_spend(r, 1) != 0 || jinja_run_enter(r) != 0)
        return -1;
    switch (v->type) {
    case JV_ABSENT:
    case JV_UNDEFINED:
        break;
    case JV_NONE:
        buf_put_str(out, "None");
        break;
    case JV_BOOL:
        buf_put_str(out, v->truth ? "True" : "False");
        break;
    case JV_INT:
        buf_printf(out, "%lld", (long long)v->whole);
        break;
    case JV_FLOAT:
        rc = check_exact(r, v);
        if (rc == 0)
            put_float(v->number, words, out);
        break;
    case JV_TEXT:
        buf_put(out, v->text.at, v->text.n);
        rc = jinja_run_spend_text(r, v->text.n);
        break;
    case JV_DICT:
        rc = put_dict(r, v->dict, out);
        break;
    case JV_LIST:
        if (v->list->kind <= JL_TUPLE) {
            rc = put_items(r, v->list, out);
            break;
        }
        rc = jinja_run_fail(r, "printing a %s is not implemented; use its items, or the filter list", jinja_value_type_name(v));
        break;
    case JV_SPACE:
    case JV_MACRO:
    case JV_FUNCTION:
    case JV_LOOP:
        rc = jinja_run_fail(r, "printing a %s is not implemented", jinja_value_type_name(v));
        break;
    }
    jinja_run_leave(r);
    return rc == 0 ? jinja_run_check(r, out) : -1;
}

static int put_repr(struct jinja_run *r, const struct jinja_value *v, struct buf *out)
{
    if (v->type == JV_UNDEFINED) {
        buf_put_str(out, "Undefined");
        return 0;
    }
    if (v->type != JV_TEXT)
        return jinja_print_value(r, v, out);
    if (v->mark)
        return jinja_run_fail(r, "printing a list with text that 'safe' has marked is not implemented");
    jinja_text_repr(v->text, out);
    return jinja_run_spend_text(r, v->text.n);
}

int jinja_print_text(struct jinja_run *r, const struct jinja_value *v, struct jinja_text *out)
{
    struct buf b;
    struct jinja_value made;
    if (v->type == JV_TEXT) {
        *out = v->text;
        return 0;
    }
    buf_init(&b, JINJA_OUTPUT_MAX);
    if (jinja_print_value(r, v, &b) != 0) {
        buf_free(&b);
        return -1;
    }
    if (jinja_value_take(r, &b, &made) != 0)
        return -1;
    *out = made.text;
    return 0;
}

/* ------------------------------------------------------------------ JSON */

struct json_writer {
    struct jinja_run *r;
    const struct jinja_print_style *style;
    struct buf *out;
    unsigned level;
};

static void put_string(const struct json_writer *w, struct jinja_text t)
{
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    size_t n;
    uint32_t cp = 0;
    buf_put8(w->out, '"');
    for (size_t at = 0; at < t.n && (n = utf8_decode(t.at + at, t.n - at, &cp)) > 0; at += n) {
        const char *simple = cp == 0 || cp > 0x7F ? NULL : strchr(from, (int)cp);
        if (simple != NULL)
            buf_printf(w->out, "\\%c", to[simple - from]);
        else if (cp < 0x20 || (w->style->ascii && cp >= 0x7F && cp < 0x10000 && cp != 0x7F))
            buf_printf(w->out, "\\u%04x", (unsigned)cp);
        else if (w->style->ascii && cp >= 0x10000)
            buf_printf(w->out, "\\u%04x\\u%04x", (unsigned)(0xD7C0 + (cp >> 10)), (unsigned)(0xDC00 + (cp & 0x3FF)));
        else
            buf_put(w->out, t.at + at, n);
    }
    buf_put8(w->out, '"');
}

static void new_line(const struct json_writer *w)
{
    if (!w->style->lines)
        return;
    buf_put8(w->out, '\n');
    for (unsigned i = 0; i < w->level; i++)
        buf_put(w->out, w->style->indent.at, w->style->indent.n);
}

static int put_json(struct json_writer *w, const struct jinja_value *v);

static int put_array(struct json_writer *w, const struct jinja_list *list)
{
    if (list->n == 0) {
        buf_put_str(w->out, "[]");
        return 0;
    }
    buf_put8(w->out, '[');
    w->level++;
    for (size_t i = 0; i < list->n; i++) {
        if (i > 0)
            buf_put(w->out, w->style->comma.at, w->style->comma.n);
        new_line(w);
        if (put_json(w, &list->items[i]) != 0)
            return -1;
    }
    w->level--;
    new_line(w);
    buf_put8(w->out, ']');
    return 0;
}

static int put_key(struct json_writer *w, const struct jinja_value *key)
{
    struct jinja_text text;
    if (key->type == JV_TEXT) {
        put_string(w, key->text);
        return 0;
    }
    if (key->type == JV_BOOL || key->type == JV_NONE)
        text = jinja_text_of(key->type == JV_NONE ? "null" : key->truth ? "true" : "false");
    else if (key->type == JV_UNDEFINED)
        return jinja_run_fail(w->r, "tojson: the key of a dict is undefined");
    else if (jinja_print_text(w->r, key, &text) != 0)
        return -1;
    put_string(w, text);
    return 0;
}

static int by_key(const void *a, const void *b)
{
    return jinja_text_compare((*(const struct jinja_pair *const *)a)->key.text, (*(const struct jinja_pair *const *)b)->key.text);
}

static int put_object(struct json_writer *w, const struct jinja_dict *d)
{
    if (d->n == 0) {
        buf_put_str(w->out, "{}");
        return 0;
    }
    const struct jinja_pair **order = jinja_run_take(w->r, d->n * sizeof *order);
    if (order == NULL)
        return -1;
    for (size_t i = 0; i < d->n; i++) {
        order[i] = &d->pairs[i];
        if (w->style->sort && d->pairs[i].key.type != JV_TEXT)
            return jinja_run_fail(w->r, "tojson: sort_keys with keys that are not str is not implemented");
    }
    if (w->style->sort)
        qsort(order, d->n, sizeof *order, by_key);
    buf_put8(w->out, '{');
    w->level++;
    for (size_t i = 0; i < d->n; i++) {
        if (i > 0)
            buf_put(w->out, w->style->comma.at, w->style->comma.n);
        new_line(w);
        if (put_key(w, &order[i]->key) != 0)
            return -1;
        buf_put(w->out, w->style->colon.at, w->style->colon.n);
        if (put_json(w, &order[i]->value) != 0)
            return -1;
    }
    w->level--;
    new_line(w);
    buf_put8(w->out, '}');
    return 0;
}

static int put_json(struct json_writer *w, const struct jinja_value *v)
{
    static const char *const words[] = {"NaN", "Infinity", "-Infinity"};
    struct jinja_run *r = w->r;
    int rc = 0;
    if (jinja_run_spend(r, 1) != 0 || jinja_run_enter(r) != 0)
        return -1;
    if (v->type == JV_NONE)
        buf_put_str(w->out, "null");
    else if (v->type == JV_BOOL)
        buf_put_str(w->out, v->truth ? "true" : "false");
    else if (v->type == JV_INT)
        buf_printf(w->out, "%lld", (long long)v->whole);
    else if (v->type == JV_FLOAT && (rc = check_exact(r, v)) == 0)
        put_float(v->number, words, w->out);
    else if (v->type == JV_TEXT && (rc = jinja_run_spend_text(r, v->text.n)) == 0)
        put_string(w, v->text);
    else if (v->type == JV_LIST && v->list->kind <= JL_TUPLE)
        rc = put_array(w, v->list);
    else if (v->type == JV_DICT)
        rc = put_object(w, v->dict);
    else if (rc == 0)
        rc = jinja_run_fail(r, "tojson: %s%s%.*s cannot be written as JSON", jinja_value_type_name(v),
                            v->type == JV_UNDEFINED && v->text.n > 0 ? " " : "",
                            v->type == JV_UNDEFINED ? (int)(v->text.n < 80 ? v->text.n : 80) : 0,
                            v->type == JV_UNDEFINED && v->text.n > 0 ? v->text.at : "");
    jinja_run_leave(r);
    return rc == 0 ? jinja_run_check(r, w->out) : -1;
}

int jinja_print_json(struct jinja_run *r, const struct jinja_value *v, const struct jinja_print_style *style, struct buf *out)
{
    struct json_writer w = {.r = r, .style = style, .out = out};
    return put_json(&w, v);
}
