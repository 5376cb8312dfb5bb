#include "user/jinja_value.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "user/jinja_run.h"

const char *jinja_value_type_name(const struct jinja_value *v)
{
    static const char *const names[] = {"nothing", "undefined", "none",      "bool",  "int",      "float", "str",
                                        "list",    "dict",      "namespace", "macro", "function", "loop"};
    static const char *const lists[] = {"list", "tuple", "range", "view of a dict", "generator"};
    return v->type == JV_LIST ? lists[v->list->kind] : names[v->type];
}

bool jinja_value_truth(const struct jinja_value *v)
{
    switch (v->type) {
    case JV_ABSENT:
    case JV_UNDEFINED:
    case JV_NONE:
        return false;
    case JV_BOOL:
        return v->truth;
    case JV_INT:
        return v->whole != 0;
    case JV_FLOAT:
        return v->number != 0;
    case JV_TEXT:
        return v->text.n != 0;
    case JV_LIST:
        return v->list->kind == JL_STREAM || v->list->n != 0;
    case JV_DICT:
        return v->dict->n != 0;
    case JV_SPACE:
    case JV_MACRO:
    case JV_FUNCTION:
    case JV_LOOP:
        break;
    }
    return true;
}

bool jinja_value_whole(const struct jinja_value *v, int64_t *out)
{
    if (v->type != JV_INT && v->type != JV_BOOL)
        return false;
    *out = v->type == JV_INT ? v->whole : v->truth;
    return true;
}

bool jinja_value_number(const struct jinja_value *v, double *out)
{
    int64_t whole;
    if (v->type == JV_FLOAT)
        *out = v->number;
    else if (jinja_value_whole(v, &whole))
        *out = (double)whole;
    else
        return false;
    return true;
}

/* ------------------------------------------------------------------ making */

int jinja_value_list(struct jinja_run *r, enum jinja_list_kind kind, struct jinja_value *out)
{
    struct jinja_list *list = jinja_run_take(r, sizeof *list);
    if (list == NULL)
        return -1;
    list->kind = kind;
    *out = (struct jinja_value){.type = JV_LIST, .list = list};
    return 0;
}

int jinja_value_push(struct jinja_run *r, struct jinja_list *list, struct jinja_value item)
{
    if (list->n == list->cap) {
        size_t cap = list->cap == 0 ? 4 : 2 * list->cap;
        struct jinja_value *more = jinja_run_take(r, cap * sizeof *more);
        if (more == NULL)
            return -1;
        if (list->n > 0)
            memcpy(more, list->items, list->n * sizeof *more);
        list->items = more;
        list->cap = cap;
    }
    list->items[list->n++] = item;
    return jinja_run_spend(r, 1);
}

int jinja_value_dict(struct jinja_run *r, struct jinja_value *out)
{
    struct jinja_dict *dict = jinja_run_take(r, sizeof *dict);
    if (dict == NULL)
        return -1;
    *out = (struct jinja_value){.type = JV_DICT, .dict = dict};
    return 0;
}

struct jinja_value *jinja_value_member(const struct jinja_dict *d, struct jinja_text key)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->pairs[i].key.type == JV_TEXT && jinja_text_same(d->pairs[i].key.text, key))
            return &d->pairs[i].value;
    return NULL;
}

int jinja_value_find(struct jinja_run *r, const struct jinja_dict *d, const struct jinja_value *key, struct jinja_value **found)
{
    *found = NULL;
    if (jinja_run_spend(r, 1 + d->n / 16) != 0)
        return -1;
    if (key->type == JV_TEXT) {
        *found = jinja_value_member(d, key->text);
        return 0;
    }
    for (size_t i = 0; i < d->n && *found == NULL; i++) {
        bool same;
        if (jinja_value_equal(r, &d->pairs[i].key, key, &same) != 0)
            return -1;
        if (same)
            *found = &d->pairs[i].value;
    }
    return 0;
}

static int put_new(struct jinja_run *r, struct jinja_dict *d, struct jinja_value key, struct jinja_value value)
{
    if (d->n == d->cap) {
        size_t cap = d->cap == 0 ? 4 : 2 * d->cap;
        struct jinja_pair *more = jinja_run_take(r, cap * sizeof *more);
        if (more == NULL)
            return -1;
        if (d->n > 0)
            memcpy(more, d->pairs, d->n * sizeof *more);
        d->pairs = more;
        d->cap = cap;
    }
    d->pairs[d->n++] = (struct jinja_pair){key, value};
    return jinja_run_spend(r, 1);
}

int jinja_value_put(struct jinja_run *r, struct jinja_dict *d, struct jinja_value key, struct jinja_value value)
{
    struct jinja_value *old;
    if (key.type >= JV_LIST)
        return jinja_run_fail(r, "a %s cannot be the key of a dict", jinja_value_type_name(&key));
    if (jinja_value_find(r, d, &key, &old) != 0)
        return -1;
    if (old == NULL)
        return put_new(r, d, key, value);
    *old = value;
    return 0;
}

int jinja_value_copy(struct jinja_run *r, const void *at, size_t n, struct jinja_value *out)
{
    char *copy = jinja_run_take(r, n + 1);
    if (copy == NULL || jinja_run_spend_text(r, n) != 0)
        return -1;
    if (n > 0)
        memcpy(copy, at, n);
    *out = jinja_value_text((struct jinja_text){copy, n});
    return 0;
}

int jinja_value_take(struct jinja_run *r, struct buf *b, struct jinja_value *out)
{
    int rc = jinja_run_check(r, b);
    if (rc == 0)
        rc = jinja_value_copy(r, b->data, b->len, out);
    buf_free(b);
    return rc;
}

/* JSON that was read is valid UTF-8; what a caller has built need not be. */
static int from_string(struct jinja_run *r, const char *s, struct jinja_value *out)
{
    const size_t n = strlen(s);
    if (!utf8_valid(s, n, NULL))
        return jinja_run_fail(r, "a text of the messages is not valid UTF-8");
    return jinja_value_copy(r, s, n, out);
}

int jinja_value_from_json(struct jinja_run *r, const struct json *node, struct jinja_value *out)
{
    int rc = 0;
    int64_t whole;
    double number;
    struct jinja_value item;
    if (node == NULL) {
        *out = jinja_value_none();
        return 0;
    }
    if (jinja_run_enter(r) != 0)
        return -1;
    switch (json_type(node)) {
    case JSON_NULL:
        *out = jinja_value_none();
        break;
    case JSON_BOOL:
        *out = jinja_value_bool(json_true(node));
        break;
    case JSON_NUMBER:
        number = json_number(node);
        *out = json_integer(node, &whole) ? jinja_value_int(whole) : jinja_value_float(number);
        out->mark = out->type == JV_FLOAT && number == floor(number);
        break;
    case JSON_STRING:
        rc = from_string(r, json_string(node), out);
        break;
    case JSON_ARRAY:
        rc = jinja_value_list(r, JL_LIST, out);
        for (const struct json *c = json_first(node); rc == 0 && c != NULL; c = json_next(c))
            if ((rc = jinja_value_from_json(r, c, &item)) == 0)
                rc = jinja_value_push(r, out->list, item);
        break;
    case JSON_OBJECT:
        rc = jinja_value_dict(r, out);
        for (const struct json *c = json_first(node); rc == 0 && c != NULL; c = json_next(c)) {
            struct jinja_value key;
            rc = from_string(r, json_key(c), &key);
            if (rc == 0 && (rc = jinja_value_from_json(r, c, &item)) == 0)
                rc = put_new(r, out->dict, key, item); /* base/json has refused keys that stand twice */
        }
        break;
    }
    jinja_run_leave(r);
    return rc;
}

/* ------------------------------------------------------------------ comparing */

static int equal_lists(struct jinja_run *r, const struct jinja_list *a, const struct jinja_list *b, bool *out)
{
    *out = a == b || (a->kind == b->kind && a->n == b->n && a->kind != JL_STREAM && a->kind != JL_VIEW);
    for (size_t i = 0; a != b && *out && i < a->n; i++)
        if (jinja_value_equal(r, &a->items[i], &b->items[i], out) != 0)
            return -1;
    return 0;
}

static int equal_dicts(struct jinja_run *r, const struct jinja_dict *a, const struct jinja_dict *b, bool *out)
{
    *out = a->n == b->n;
    for (size_t i = 0; *out && i < a->n; i++) {
        struct jinja_value *other;
        if (jinja_value_find(r, b, &a->pairs[i].key, &other) != 0)
            return -1;
        if (other == NULL)
            *out = false;
        else if (jinja_value_equal(r, &a->pairs[i].value, other, out) != 0)
            return -1;
    }
    return 0;
}

int jinja_value_equal(struct jinja_run *r, const struct jinja_value *a, const struct jinja_value *b, bool *out)
{
    int64_t i, j;
    double x, y;
    int rc = 0;
    if (jinja_run_spend(r, 1) != 0 || jinja_run_enter(r) != 0)
        return -1;
    if (jinja_value_whole(a, &i) && jinja_value_whole(b, &j))
        *out = i == j;
    else if (jinja_value_number(a, &x) && jinja_value_number(b, &y))
        *out = x == y;
    else if (a->type != b->type)
        *out = false;
    else if (a->type == JV_TEXT)
        *out = jinja_text_same(a->text, b->text);
    else if (a->type == JV_LIST)
        rc = equal_lists(r, a->list, b->list, out);
    else if (a->type == JV_DICT)
        rc = equal_dicts(r, a->dict, b->dict, out);
    else if (a->type == JV_SPACE)
        *out = a->dict == b->dict;
    else if (a->type >= JV_MACRO)
        *out = (const void *)a->macro == (const void *)b->macro;
    else
        *out = true; /* undefined, none */
    jinja_run_leave(r);
    return rc;
}

static int order_lists(struct jinja_run *r, const struct jinja_list *a, const struct jinja_list *b, int *out)
{
    size_t n = a->n < b->n ? a->n : b->n;
    for (size_t i = 0; i < n; i++) {
        bool same;
        if (jinja_value_equal(r, &a->items[i], &b->items[i], &same) != 0)
            return -1;
        if (!same)
            return jinja_value_order(r, &a->items[i], &b->items[i], out);
    }
    *out = (a->n > b->n) - (a->n < b->n);
    return 0;
}

int jinja_value_order(struct jinja_run *r, const struct jinja_value *a, const struct jinja_value *b, int *out)
{
    int64_t i, j;
    double x, y;
    if (jinja_run_spend(r, 1) != 0)
        return -1;
    if (jinja_value_whole(a, &i) && jinja_value_whole(b, &j)) {
        *out = (i > j) - (i < j);
        return 0;
    }
    if (jinja_value_number(a, &x) && jinja_value_number(b, &y)) {
        if (isnan(x) || isnan(y))
            return jinja_run_fail(r, "ordering NaN is not implemented");
        *out = (x > y) - (x < y);
        return 0;
    }
    if (a->type == JV_TEXT && b->type == JV_TEXT) {
        *out = jinja_text_compare(a->text, b->text);
        return jinja_run_spend_text(r, a->text.n < b->text.n ? a->text.n : b->text.n);
    }
    if (a->type == JV_LIST && b->type == JV_LIST && a->list->kind == b->list->kind && a->list->kind <= JL_TUPLE) {
        if (jinja_run_enter(r) != 0)
            return -1;
        int rc = order_lists(r, a->list, b->list, out);
        jinja_run_leave(r);
        return rc;
    }
    return jinja_run_fail(r, "'<' is not supported between %s and %s", jinja_value_type_name(a), jinja_value_type_name(b));
}

int jinja_value_contains(struct jinja_run *r, const struct jinja_value *a, const struct jinja_value *b, bool *out)
{
    struct jinja_value *found;
    *out = false;
    if (a->type == JV_TEXT) {
        if (b->type != JV_TEXT)
            return jinja_run_fail(r, "'in <str>' requires str on the left, not %s", jinja_value_type_name(b));
        *out = jinja_text_find(a->text, b->text, 0) != SIZE_MAX;
        return jinja_run_spend_text(r, a->text.n);
    }
    if (a->type == JV_DICT) {
        const bool frozen = b->type == JV_LIST && (b->list->kind == JL_TUPLE || b->list->kind == JL_RANGE);
        if (b->type >= JV_LIST && !frozen)
            return jinja_run_fail(r, "a %s cannot be the key of a dict", jinja_value_type_name(b));
        if (jinja_value_find(r, a->dict, b, &found) != 0)
            return -1;
        *out = found != NULL;
        return 0;
    }
    if (a->type == JV_UNDEFINED)
        return 0;
    if (a->type != JV_LIST)
        return jinja_run_fail(r, "'in' needs a str, list or dict on the right, not %s", jinja_value_type_name(a));
    struct jinja_list *list = a->list;
    for (size_t i = list->read; i < list->n && !*out; i++) {
        if (list->kind == JL_STREAM)
            list->read = i + 1;
        if (jinja_value_equal(r, &list->items[i], b, out) != 0)
            return -1;
    }
    return 0;
}

int jinja_value_items(struct jinja_run *r, const struct jinja_value *v, struct jinja_list *out)
{
    struct jinja_list list = {0};
    if (v->type == JV_LIST) {
        list = *v->list;
        if (list.read > 0)
            list.items += list.read;
        list.n -= list.read;
        list.read = 0;
        if (list.kind == JL_STREAM)
            v->list->read = v->list->n;
    } else if (v->type == JV_DICT) {
        for (size_t i = 0; i < v->dict->n; i++)
            if (jinja_value_push(r, &list, v->dict->pairs[i].key) != 0)
                return -1;
    } else if (v->type == JV_TEXT) {
        for (size_t at = 0, n; at < v->text.n; at += n) {
            for (n = 1; at + n < v->text.n && ((unsigned char)v->text.at[at + n] & 0xC0) == 0x80; n++)
                ;
            if (jinja_value_push(r, &list, jinja_value_text((struct jinja_text){v->text.at + at, n})) != 0)
                return -1;
        }
    } else if (v->type != JV_UNDEFINED) {
        return jinja_run_fail(r, "%s is not iterable", jinja_value_type_name(v));
    }
    list.cap = 0; /* borrowed: never grown in place */
    *out = list;
    return 0;
}
