/* Filters on lists, dicts and whatever else can be gone through. */
#include <string.h>

#include "user/jinja_call.h"
#include "user/jinja_eval.h"
#include "user/jinja_print.h"

#define FILTER(name)                                                                                                               \
    static int name(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, struct jinja_value *out)
#define SHOW(t) (int)((t).n < 80 ? (t).n : 80), (t).at

FILTER(length)
{
    (void)a;
    if (self->type == JV_TEXT)
        *out = jinja_value_int((int64_t)jinja_text_chars(self->text));
    else if (self->type == JV_LIST && self->list->kind != JL_STREAM)
        *out = jinja_value_int((int64_t)self->list->n);
    else if (self->type == JV_DICT)
        *out = jinja_value_int((int64_t)self->dict->n);
    else if (self->type == JV_UNDEFINED)
        *out = jinja_value_int(0);
    else if (self->type == JV_LOOP)
        *out = jinja_value_int((int64_t)self->loop->items->n);
    else
        return jinja_run_fail(r, "a %s has no length", jinja_value_type_name(self));
    return jinja_run_spend_text(r, self->type == JV_TEXT ? self->text.n : 0);
}

/* The only item that is taken from a stream is the first one. */
FILTER(first)
{
    struct jinja_list list;
    (void)a;
    const size_t read = self->type == JV_LIST ? self->list->read : 0;
    if (jinja_value_items(r, self, &list) != 0)
        return -1;
    *out = list.n > 0 ? list.items[0] : jinja_value_undefined(jinja_text_of("the first item of nothing"));
    if (self->type == JV_LIST && self->list->kind == JL_STREAM)
        self->list->read = read + (list.n > 0);
    return 0;
}

FILTER(last)
{
    struct jinja_list list;
    (void)a;
    if (self->type == JV_LIST && self->list->kind == JL_STREAM)
        return jinja_run_fail(r, "a generator has no last item; use the filter list before");
    if (jinja_value_items(r, self, &list) != 0)
        return -1;
    *out = list.n > 0 ? list.items[list.n - 1] : jinja_value_undefined(jinja_text_of("the last item of nothing"));
    return 0;
}

/* item.a.b of "a.b"; numbers count. What is not given leaves the item as it is. */
static int lookup(struct jinja_run *r, const struct jinja_value *path, const struct jinja_value *item, struct jinja_value *out)
{
    struct jinja_value v = *item;
    if (path->type == JV_ABSENT || path->type == JV_NONE) {
        *out = v;
        return 0;
    }
    if (path->type == JV_INT)
        return jinja_eval_item(r, item, path, out);
    if (path->type != JV_TEXT)
        return jinja_run_fail(r, "an attribute is a str or an int, not %s", jinja_value_type_name(path));
    for (size_t at = 0, end; at <= path->text.n; at = end + 1) {
        end = jinja_text_find(path->text, jinja_text_of("."), at);
        if (end == SIZE_MAX)
            end = path->text.n;
        struct jinja_text part = {path->text.at + at, end - at};
        struct jinja_value key = jinja_value_text(part), of = v;
        int64_t number = 0;
        size_t digits = 0;
        for (; digits < part.n && digits < 9 && part.at[digits] >= '0' && part.at[digits] <= '9'; digits++)
            number = 10 * number + (part.at[digits] - '0');
        if (part.n > 0 && digits == part.n)
            key = jinja_value_int(number);
        if (jinja_eval_item(r, &of, &key, &v) != 0)
            return -1;
    }
    *out = v;
    return 0;
}

FILTER(join)
{
    struct jinja_list list;
    struct jinja_text between = {0};
    struct buf b;
    if (jinja_value_items(r, self, &list) != 0 ||
        (a->values[0].type != JV_ABSENT && jinja_print_text(r, &a->values[0], &between) != 0))
        return -1;
    buf_init(&b, JINJA_OUTPUT_MAX);
    for (size_t i = 0; i < list.n; i++) {
        struct jinja_value v;
        if (i > 0)
            buf_put(&b, between.at, between.n);
        if (lookup(r, &a->values[1], &list.items[i], &v) != 0 || jinja_print_value(r, &v, &b) != 0) {
            buf_free(&b);
            return -1;
        }
    }
    return jinja_value_take(r, &b, out);
}

/* A new list of what can be gone through. */
static int copy_items(struct jinja_run *r, const struct jinja_value *self, enum jinja_list_kind kind, struct jinja_value *out)
{
    struct jinja_list list;
    if (jinja_value_items(r, self, &list) != 0 || jinja_value_list(r, kind, out) != 0)
        return -1;
    for (size_t i = 0; i < list.n; i++)
        if (jinja_value_push(r, out->list, list.items[i]) != 0)
            return -1;
    return 0;
}

FILTER(list_of)
{
    (void)a;
    return copy_items(r, self, JL_LIST, out);
}

FILTER(items)
{
    (void)a;
    if (self->type == JV_UNDEFINED)
        return jinja_value_list(r, JL_STREAM, out);
    if (self->type != JV_DICT)
        return jinja_run_fail(r, "items is for a dict, not %s", jinja_value_type_name(self));
    if (jinja_call_find(jinja_dict_methods, jinja_text_of("items"))->fn(r, self, a, out) != 0)
        return -1;
    out->list->kind = JL_STREAM;
    return 0;
}

FILTER(reverse)
{
    struct jinja_value list;
    (void)a;
    if (copy_items(r, self, JL_STREAM, &list) != 0)
        return -1;
    for (size_t i = 0; i < list.list->n / 2; i++) {
        struct jinja_value *x = &list.list->items[i], *y = &list.list->items[list.list->n - 1 - i], z = *x;
        *x = *y;
        *y = z;
    }
    if (self->type != JV_TEXT) {
        *out = list;
        return 0;
    }
    struct jinja_args none = {.values = (struct jinja_value[2]){{0}}, .n = 2};
    return join(r, &list, &none, out);
}

/* ------------------------------------------------------------------ map, select, reject */

/* The arguments behind the first `skip` ones. */
static struct jinja_args rest(const struct jinja_args *a, size_t skip)
{
    return (struct jinja_args){a->values + skip, a->n - skip, a->named};
}

FILTER(map)
{
    struct jinja_list list;
    struct jinja_value path = {0}, fallback = {0}, v;
    if (a->n == 0) {
        for (const struct jinja_var *n = a->named; n != NULL; n = n->next) {
            if (!jinja_text_is(n->name, "attribute") && !jinja_text_is(n->name, "default"))
                return jinja_run_fail(r, "map has no argument '%.*s'", SHOW(n->name));
            *(jinja_text_is(n->name, "attribute") ? &path : &fallback) = n->value;
        }
        if (path.type == JV_ABSENT)
            return jinja_run_fail(r, "map needs the name of a filter, or attribute=");
    } else if (a->values[0].type != JV_TEXT) {
        return jinja_run_fail(r, "map: the name of a filter is a str, not %s", jinja_value_type_name(&a->values[0]));
    }
    const struct jinja_args others = a->n == 0 ? (struct jinja_args){0} : rest(a, 1);
    if (jinja_value_items(r, self, &list) != 0 || jinja_value_list(r, JL_STREAM, out) != 0)
        return -1;
    for (size_t i = 0; i < list.n; i++) {
        int rc = a->n == 0 ? lookup(r, &path, &list.items[i], &v)
                           : jinja_call_filter(r, a->values[0].text, &list.items[i], &others, &v);
        if (rc == 0 && a->n == 0 && v.type == JV_UNDEFINED && fallback.type != JV_ABSENT)
            v = fallback;
        if (rc != 0 || jinja_value_push(r, out->list, v) != 0)
            return -1;
    }
    return 0;
}

static int choose(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, bool by_attribute, bool wanted,
                  struct jinja_value *out)
{
    struct jinja_list list;
    const size_t name = by_attribute;
    if (by_attribute && a->n == 0)
        return jinja_run_fail(r, "selectattr and rejectattr need an attribute");
    if (a->n > name && a->values[name].type != JV_TEXT)
        return jinja_run_fail(r, "the name of a test is a str, not %s", jinja_value_type_name(&a->values[name]));
    const struct jinja_args others = a->n > name ? rest(a, name + 1) : (struct jinja_args){0};
    if (jinja_value_items(r, self, &list) != 0 || jinja_value_list(r, JL_STREAM, out) != 0)
        return -1;
    for (size_t i = 0; i < list.n; i++) {
        struct jinja_value v = list.items[i];
        if (by_attribute && lookup(r, &a->values[0], &list.items[i], &v) != 0)
            return -1;
        bool yes = jinja_value_truth(&v);
        if (a->n > name && jinja_call_test(r, a->values[name].text, &v, &others, &yes) != 0)
            return -1;
        if (yes == wanted && jinja_value_push(r, out->list, list.items[i]) != 0)
            return -1;
    }
    return 0;
}

FILTER(select_items)
{
    return choose(r, self, a, false, true, out);
}

FILTER(reject_items)
{
    return choose(r, self, a, false, false, out);
}

FILTER(select_by)
{
    return choose(r, self, a, true, true, out);
}

FILTER(reject_by)
{
    return choose(r, self, a, true, false, out);
}

/* ------------------------------------------------------------------ order */

struct keyed {
    struct jinja_value key, item;
};

/* What an item is ordered by: its attribute, small letters for texts. */
static int key_of(struct jinja_run *r, const struct jinja_value *path, bool with_case, const struct jinja_value *item,
                  struct jinja_value *out)
{
    struct jinja_value v;
    if (path->type == JV_TEXT && jinja_text_find(path->text, jinja_text_of(","), 0) != SIZE_MAX)
        return jinja_run_fail(r, "several attributes ('%.*s') are not implemented", SHOW(path->text));
    if (lookup(r, path, item, &v) != 0)
        return -1;
    *out = v;
    const struct jinja_args none = {0};
    return v.type == JV_TEXT && !with_case ? jinja_call_filter(r, jinja_text_of("lower"), &v, &none, out) : 0;
}

static int keyed_items(struct jinja_run *r, const struct jinja_value *self, const struct jinja_value *path, bool with_case,
                       struct keyed **out, size_t *n)
{
    struct jinja_list list;
    if (jinja_value_items(r, self, &list) != 0)
        return -1;
    struct keyed *k = jinja_run_take(r, (list.n + 1) * sizeof *k);
    if (k == NULL)
        return -1;
    for (size_t i = 0; i < list.n; i++) {
        k[i].item = list.items[i];
        if (key_of(r, path, with_case, &list.items[i], &k[i].key) != 0)
            return -1;
    }
    *out = k;
    *n = list.n;
    return 0;
}

/* The keys of sort are lists of attributes, and Python asks whether items of lists are equal before it orders them: keys that
 * have no order may be sorted where all are the same. */
static int order_keys(struct jinja_run *r, const struct jinja_value *a, const struct jinja_value *b, bool as_lists, int *out)
{
    bool same = false;
    *out = 0;
    if (as_lists && jinja_value_equal(r, a, b, &same) != 0)
        return -1;
    return same ? 0 : jinja_value_order(r, a, b, out);
}

/* Stable, from runs of one upwards. `spare` has room for n. */
static int merge_sort(struct jinja_run *r, struct keyed *k, struct keyed *spare, size_t n, bool as_lists, bool down)
{
    for (size_t run = 1; run < n; run *= 2) {
        for (size_t low = 0; low < n; low += 2 * run) {
            size_t mid = low + run < n ? low + run : n, high = mid + run < n ? mid + run : n, i = low, j = mid;
            for (size_t to = low; to < high; to++) {
                int order = 0;
                if (i < mid && j < high && order_keys(r, &k[i].key, &k[j].key, as_lists, &order) != 0)
                    return -1;
                const bool left = i < mid && (j == high || (down ? order >= 0 : order <= 0));
                spare[to] = left ? k[i++] : k[j++];
            }
        }
        memcpy(k, spare, n * sizeof *k);
    }
    return 0;
}

static int sorted(struct jinja_run *r, struct keyed *k, size_t n, bool as_lists, bool down, struct jinja_value *out)
{
    struct keyed *spare = jinja_run_take(r, (n + 1) * sizeof *spare);
    if (spare == NULL || merge_sort(r, k, spare, n, as_lists, down) != 0 || jinja_value_list(r, JL_LIST, out) != 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (jinja_value_push(r, out->list, k[i].item) != 0)
            return -1;
    return 0;
}

FILTER(sort)
{
    struct keyed *k;
    size_t n;
    if (keyed_items(r, self, &a->values[2], jinja_call_arg_true(a, 1, false), &k, &n) != 0)
        return -1;
    return sorted(r, k, n, true, jinja_call_arg_true(a, 0, false), out);
}

FILTER(dictsort)
{
    struct jinja_text by;
    struct jinja_value pairs, position;
    struct keyed *k;
    size_t n;
    struct jinja_args none = {0};
    if (self->type != JV_DICT)
        return jinja_run_fail(r, "dictsort is for a dict, not %s", jinja_value_type_name(self));
    if (jinja_call_arg_text(r, a, 1, "key", &by) != 0 || items(r, self, &none, &pairs) != 0)
        return -1;
    if (!jinja_text_is(by, "key") && !jinja_text_is(by, "value"))
        return jinja_run_fail(r, "dictsort: by is key or value");
    position = jinja_value_int(jinja_text_is(by, "value"));
    if (keyed_items(r, &pairs, &position, jinja_call_arg_true(a, 0, false), &k, &n) != 0)
        return -1;
    return sorted(r, k, n, false, jinja_call_arg_true(a, 2, false), out);
}

FILTER(unique)
{
    struct keyed *k;
    size_t n;
    if (keyed_items(r, self, &a->values[1], jinja_call_arg_true(a, 0, false), &k, &n) != 0 ||
        jinja_value_list(r, JL_STREAM, out) != 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        bool seen = false;
        for (size_t j = 0; j < i && !seen; j++)
            if (jinja_value_equal(r, &k[i].key, &k[j].key, &seen) != 0)
                return -1;
        if (!seen && jinja_value_push(r, out->list, k[i].item) != 0)
            return -1;
    }
    return 0;
}

static int extreme(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, bool max, struct jinja_value *out)
{
    struct keyed *k;
    size_t n, best = 0;
    if (keyed_items(r, self, &a->values[1], jinja_call_arg_true(a, 0, false), &k, &n) != 0)
        return -1;
    for (size_t i = 1; i < n; i++) {
        int order;
        if (jinja_value_order(r, &k[i].key, &k[best].key, &order) != 0)
            return -1;
        if (max ? order > 0 : order < 0)
            best = i;
    }
    *out = n > 0 ? k[best].item : jinja_value_undefined(jinja_text_of("the extreme of nothing"));
    return 0;
}

FILTER(min)
{
    return extreme(r, self, a, false, out);
}

FILTER(max)
{
    return extreme(r, self, a, true, out);
}

FILTER(sum)
{
    struct jinja_list list;
    struct jinja_value total = a->values[1].type == JV_ABSENT ? jinja_value_int(0) : a->values[1], v;
    if (jinja_value_items(r, self, &list) != 0)
        return -1;
    for (size_t i = 0; i < list.n; i++) {
        const struct jinja_value before = total;
        if (lookup(r, &a->values[0], &list.items[i], &v) != 0 || jinja_eval_binary(r, jinja_text_of("+"), &before, &v, &total) != 0)
            return -1;
    }
    *out = total;
    return 0;
}

const struct jinja_def jinja_list_filters[] = {
    {"count", "", length},
    {"dictsort", "case_sensitive? by? reverse? ", dictsort},
    {"first", "", first},
    {"items", "", items},
    {"join", "d? attribute? ", join},
    {"last", "", last},
    {"length", "", length},
    {"list", "", list_of},
    {"map", NULL, map},
    {"max", "case_sensitive? attribute? ", max},
    {"min", "case_sensitive? attribute? ", min},
    {"reject", NULL, reject_items},
    {"rejectattr", NULL, reject_by},
    {"reverse", "", reverse},
    {"select", NULL, select_items},
    {"selectattr", NULL, select_by},
    {"sort", "reverse? case_sensitive? attribute? ", sort},
    {"sum", "attribute? start? ", sum},
    {"unique", "case_sensitive? attribute? ", unique},
    {NULL, NULL, NULL},
};
