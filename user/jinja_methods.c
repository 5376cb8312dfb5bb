/* Methods of Python's str, list and dict. */
#include <string.h>

#include "base/utf8.h"
#include "user/jinja_call.h"
#include "user/jinja_print.h"
#include "user/unicode.h"

#define METHOD(name)                                                                                                               \
    static int name(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, struct jinja_value *out)

/* What 'safe' has marked behaves differently in every method of Markup. */
static int check_mark(struct jinja_run *r, const struct jinja_value *self)
{
    return self->type == JV_TEXT && self->mark ? jinja_run_fail(r, "methods of text that 'safe' has marked are not implemented") : 0;
}

static int strip_side(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, enum jinja_side side,
                      struct jinja_value *out)
{
    struct jinja_text chars = {0};
    if (check_mark(r, self) != 0 ||
        (a->values[0].type != JV_ABSENT && a->values[0].type != JV_NONE && jinja_call_arg_text(r, a, 0, NULL, &chars) != 0))
        return -1;
    *out = jinja_value_text(jinja_text_strip(self->text, side, chars));
    return jinja_run_spend(r, 1 + self->text.n * (1 + chars.n) / 256);
}

METHOD(strip)
{
    return strip_side(r, self, a, JINJA_BOTH, out);
}

METHOD(lstrip)
{
    return strip_side(r, self, a, JINJA_LEFT, out);
}

METHOD(rstrip)
{
    return strip_side(r, self, a, JINJA_RIGHT, out);
}

static int push_text(struct jinja_run *r, struct jinja_value *list, const char *at, size_t n)
{
    return jinja_value_push(r, list->list, jinja_value_text((struct jinja_text){at, n}));
}

static void swap_items(struct jinja_list *list)
{
    for (size_t i = 0; i < list->n / 2; i++) {
        struct jinja_value v = list->items[i];
        list->items[i] = list->items[list->n - 1 - i];
        list->items[list->n - 1 - i] = v;
    }
}

/* By runs of white space; `most` cuts at all. */
static int split_blank(struct jinja_run *r, struct jinja_text t, uint64_t most, bool right, struct jinja_value *out)
{
    const struct jinja_text any = {0};
    for (uint64_t cuts = 0; (t = jinja_text_strip(t, right ? JINJA_RIGHT : JINJA_LEFT, any)).n > 0; cuts++) {
        if (cuts == most) { /* the rest, with the white space at its far end */
            if (push_text(r, out, t.at, t.n) != 0)
                return -1;
            break;
        }
        size_t n = 0, at = right ? t.n : 0;
        while (right ? at > 0 : at < t.n) {
            n = 1;
            while (right ? n < at && ((unsigned char)t.at[at - n] & 0xC0) == 0x80
                         : at + n < t.n && ((unsigned char)t.at[at + n] & 0xC0) == 0x80)
                n++;
            if (jinja_text_blank((struct jinja_text){t.at + (right ? at - n : at), n}))
                break;
            at = right ? at - n : at + n;
        }
        if (right ? push_text(r, out, t.at + at, t.n - at) : push_text(r, out, t.at, at))
            return -1;
        if (!right) {
            t.at += at;
            t.n -= at;
        } else {
            t.n = at;
        }
    }
    if (right)
        swap_items(out->list);
    return 0;
}

/* Searching from the end compares at every place. */
static int spend_rfind(struct jinja_run *r, struct jinja_text t, struct jinja_text what)
{
    return jinja_run_spend(r, (uint64_t)(t.n / 64 + 1) * (what.n / 64 + 1));
}

static int split_text(struct jinja_run *r, struct jinja_text t, struct jinja_text by, uint64_t most, bool right,
                      struct jinja_value *out)
{
    size_t at, from = 0;
    for (uint64_t cuts = 0; cuts < most; cuts++) {
        if (right && spend_rfind(r, t, by) != 0)
            return -1;
        at = right ? jinja_text_rfind(t, by) : jinja_text_find(t, by, from);
        if (at == SIZE_MAX)
            break;
        if (right ? push_text(r, out, t.at + at + by.n, t.n - at - by.n) : push_text(r, out, t.at + from, at - from))
            return -1;
        if (right)
            t.n = at;
        else
            from = at + by.n;
    }
    if (push_text(r, out, t.at + from, t.n - from) != 0)
        return -1;
    if (right)
        swap_items(out->list);
    return 0;
}

static int split_side(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, bool right,
                      struct jinja_value *out)
{
    struct jinja_text by;
    int64_t most;
    if (check_mark(r, self) != 0 || jinja_call_arg_int(r, a, 1, -1, &most) != 0 || jinja_value_list(r, JL_LIST, out) != 0 ||
        jinja_run_spend_text(r, self->text.n) != 0)
        return -1;
    const uint64_t limit = most < 0 ? UINT64_MAX : (uint64_t)most;
    if (a->values[0].type == JV_ABSENT || a->values[0].type == JV_NONE)
        return split_blank(r, self->text, limit, right, out);
    if (jinja_call_arg_text(r, a, 0, NULL, &by) != 0)
        return -1;
    return by.n == 0 ? jinja_run_fail(r, "split: empty separator") : split_text(r, self->text, by, limit, right, out);
}

METHOD(split)
{
    return split_side(r, self, a, false, out);
}

METHOD(rsplit)
{
    return split_side(r, self, a, true, out);
}

METHOD(splitlines)
{
    struct jinja_text line;
    size_t at = 0, start = 0;
    const bool ends = jinja_call_arg_true(a, 0, false);
    if (check_mark(r, self) != 0 || jinja_value_list(r, JL_LIST, out) != 0 || jinja_run_spend_text(r, self->text.n) != 0)
        return -1;
    for (; jinja_text_line(self->text, &at, &line); start = at)
        if (push_text(r, out, line.at, ends ? at - start : line.n) != 0)
            return -1;
    return 0;
}

/* startswith and endswith take one text or a tuple of them. */
static int has_end(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, bool at_end, struct jinja_value *out)
{
    const struct jinja_value *given = &a->values[0];
    struct jinja_list one = {.n = 1, .items = a->values};
    const struct jinja_list *list = given->type == JV_LIST && given->list->kind == JL_TUPLE ? given->list : &one;
    bool yes = false;
    for (size_t i = 0; i < list->n && !yes; i++) {
        if (list->items[i].type != JV_TEXT)
            return jinja_run_fail(r, "startswith and endswith take a str or a tuple of str, not %s", jinja_value_type_name(given));
        const struct jinja_text t = self->text, end = list->items[i].text;
        yes = end.n <= t.n && memcmp(at_end ? t.at + t.n - end.n : t.at, end.at, end.n) == 0;
    }
    *out = jinja_value_bool(yes);
    return jinja_run_spend(r, list->n);
}

METHOD(startswith)
{
    return has_end(r, self, a, false, out);
}

METHOD(endswith)
{
    return has_end(r, self, a, true, out);
}

static int remove_end(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, bool at_end,
                      struct jinja_value *out)
{
    struct jinja_text end, t = self->text;
    if (check_mark(r, self) != 0 || jinja_call_arg_text(r, a, 0, NULL, &end) != 0)
        return -1;
    if (end.n <= t.n && memcmp(at_end ? t.at + t.n - end.n : t.at, end.at, end.n) == 0) {
        t.at += at_end ? 0 : end.n;
        t.n -= end.n;
    }
    *out = jinja_value_text(t);
    return 0;
}

METHOD(removeprefix)
{
    return remove_end(r, self, a, false, out);
}

METHOD(removesuffix)
{
    return remove_end(r, self, a, true, out);
}

METHOD(replace)
{
    struct jinja_text t = self->text, from, to;
    int64_t count;
    struct buf b;
    if (check_mark(r, self) != 0 || jinja_call_arg_text(r, a, 0, NULL, &from) != 0 ||
        jinja_call_arg_text(r, a, 1, NULL, &to) != 0 || jinja_call_arg_int(r, a, 2, -1, &count) != 0)
        return -1;
    buf_init(&b, JINJA_OUTPUT_MAX);
    size_t at = 0;
    for (uint64_t done = 0; count < 0 || done < (uint64_t)count; done++) {
        size_t found = jinja_text_find(t, from, at), step = from.n;
        if (found == SIZE_MAX)
            break;
        if (from.n == 0) { /* before every character, and at the end */
            if (done > 0 && at == t.n)
                break;
            found = done == 0 ? 0 : at + jinja_text_at((struct jinja_text){t.at + at, t.n - at}, 1);
            step = 0;
        }
        buf_put(&b, t.at + at, found - at);
        buf_put(&b, to.at, to.n);
        at = found + step;
        if (jinja_run_spend_text(r, to.n) != 0) {
            buf_free(&b);
            return -1;
        }
    }
    buf_put(&b, t.at + at, t.n - at);
    return jinja_value_take(r, &b, out);
}

static int by_filter(struct jinja_run *r, const char *filter, const struct jinja_value *self, struct jinja_value *out)
{
    const struct jinja_args none = {0};
    return check_mark(r, self) != 0 ? -1 : jinja_call_filter(r, jinja_text_of(filter), self, &none, out);
}

METHOD(upper)
{
    (void)a;
    return by_filter(r, "upper", self, out);
}

METHOD(lower)
{
    (void)a;
    return by_filter(r, "lower", self, out);
}

METHOD(capitalize)
{
    (void)a;
    return by_filter(r, "capitalize", self, out);
}

METHOD(title)
{
    struct buf b;
    (void)a;
    buf_init(&b, JINJA_OUTPUT_MAX);
    uint32_t odd = jinja_text_case(self->text, JINJA_TITLE, &b);
    if (odd != 0 || check_mark(r, self) != 0) {
        buf_free(&b);
        return odd == 0 ? -1 : jinja_run_fail(r, "changing the case of U+%04X is not implemented", (unsigned)odd);
    }
    return jinja_value_take(r, &b, out);
}

METHOD(join)
{
    struct jinja_list list;
    struct buf b;
    if (check_mark(r, self) != 0 || jinja_value_items(r, &a->values[0], &list) != 0)
        return -1;
    buf_init(&b, JINJA_OUTPUT_MAX);
    for (size_t i = 0; i < list.n; i++) {
        if (list.items[i].type != JV_TEXT || list.items[i].mark) {
            buf_free(&b);
            return jinja_run_fail(r, "join: item %zu is no str but %s", i, jinja_value_type_name(&list.items[i]));
        }
        if (i > 0)
            buf_put(&b, self->text.at, self->text.n);
        buf_put(&b, list.items[i].text.at, list.items[i].text.n);
    }
    return jinja_value_take(r, &b, out);
}

static int find_side(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, bool right,
                     struct jinja_value *out)
{
    struct jinja_text what;
    if (jinja_call_arg_text(r, a, 0, NULL, &what) != 0 || spend_rfind(r, self->text, what) != 0)
        return -1;
    size_t at = right ? jinja_text_rfind(self->text, what) : jinja_text_find(self->text, what, 0);
    *out = jinja_value_int(at == SIZE_MAX ? -1 : (int64_t)jinja_text_chars((struct jinja_text){self->text.at, at}));
    return 0;
}

METHOD(find)
{
    return find_side(r, self, a, false, out);
}

METHOD(rfind)
{
    return find_side(r, self, a, true, out);
}

METHOD(count)
{
    struct jinja_text what;
    int64_t n = 0;
    if (jinja_call_arg_text(r, a, 0, NULL, &what) != 0 || jinja_run_spend_text(r, self->text.n) != 0)
        return -1;
    if (what.n == 0)
        n = (int64_t)jinja_text_chars(self->text) + 1;
    for (size_t at = 0; what.n > 0 && (at = jinja_text_find(self->text, what, at)) != SIZE_MAX; at += what.n)
        n++;
    *out = jinja_value_int(n);
    return 0;
}

/* Of ASCII; what Unicode calls a letter or digit is a table of its own. */
static int all_of(struct jinja_run *r, const struct jinja_value *self, const char *chars, const char *name, struct jinja_value *out)
{
    bool yes = self->text.n > 0;
    for (size_t i = 0; i < self->text.n; i++) {
        if ((unsigned char)self->text.at[i] > 0x7F)
            return jinja_run_fail(r, "%s of text outside ASCII is not implemented", name);
        yes = yes && self->text.at[i] != '\0' && strchr(chars, self->text.at[i]) != NULL;
    }
    *out = jinja_value_bool(yes);
    return jinja_run_spend_text(r, self->text.n);
}

#define DIGITS "0123456789"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

METHOD(is_digit)
{
    (void)a;
    return all_of(r, self, DIGITS, "isdigit", out);
}

METHOD(is_alpha)
{
    (void)a;
    return all_of(r, self, LETTERS, "isalpha", out);
}

METHOD(is_alnum)
{
    (void)a;
    return all_of(r, self, DIGITS LETTERS, "isalnum", out);
}

METHOD(is_space)
{
    (void)a;
    *out = jinja_value_bool(self->text.n > 0 && jinja_text_blank(self->text));
    return jinja_run_spend_text(r, self->text.n);
}

METHOD(is_lower)
{
    (void)a;
    *out = jinja_value_bool(jinja_text_has_case(self->text, false));
    return jinja_run_spend_text(r, self->text.n);
}

METHOD(is_upper)
{
    (void)a;
    *out = jinja_value_bool(jinja_text_has_case(self->text, true));
    return jinja_run_spend_text(r, self->text.n);
}

const struct jinja_def jinja_text_methods[] = {
    {"capitalize", "", capitalize},
    {"count", "/sub ", count},
    {"endswith", "/suffix ", endswith},
    {"find", "/sub ", find},
    {"isalnum", "", is_alnum},
    {"isalpha", "", is_alpha},
    {"isdigit", "", is_digit},
    {"islower", "", is_lower},
    {"isspace", "", is_space},
    {"isupper", "", is_upper},
    {"join", "/iterable ", join},
    {"lower", "", lower},
    {"lstrip", "/chars? ", lstrip},
    {"removeprefix", "/prefix ", removeprefix},
    {"removesuffix", "/suffix ", removesuffix},
    {"replace", "/old new count? ", replace},
    {"rfind", "/sub ", rfind},
    {"rsplit", "sep? maxsplit? ", rsplit},
    {"rstrip", "/chars? ", rstrip},
    {"split", "sep? maxsplit? ", split},
    {"splitlines", "keepends? ", splitlines},
    {"startswith", "/prefix ", startswith},
    {"strip", "/chars? ", strip},
    {"title", "", title},
    {"upper", "", upper},
    {"casefold", NULL, NULL},
    {"center", NULL, NULL},
    {"encode", NULL, NULL},
    {"expandtabs", NULL, NULL},
    {"format", NULL, NULL},
    {"format_map", NULL, NULL},
    {"index", NULL, NULL},
    {"isascii", NULL, NULL},
    {"isdecimal", NULL, NULL},
    {"isidentifier", NULL, NULL},
    {"isnumeric", NULL, NULL},
    {"isprintable", NULL, NULL},
    {"istitle", NULL, NULL},
    {"ljust", NULL, NULL},
    {"maketrans", NULL, NULL},
    {"partition", NULL, NULL},
    {"rindex", NULL, NULL},
    {"rjust", NULL, NULL},
    {"rpartition", NULL, NULL},
    {"swapcase", NULL, NULL},
    {"translate", NULL, NULL},
    {"zfill", NULL, NULL},
    {NULL, NULL, NULL},
};

/* ------------------------------------------------------------------ lists and dicts */

METHOD(list_count)
{
    int64_t n = 0;
    for (size_t i = 0; i < self->list->n; i++) {
        bool same;
        if (jinja_value_equal(r, &self->list->items[i], &a->values[0], &same) != 0)
            return -1;
        n += same;
    }
    *out = jinja_value_int(n);
    return 0;
}

METHOD(list_index)
{
    for (size_t i = 0; i < self->list->n; i++) {
        bool same;
        if (jinja_value_equal(r, &self->list->items[i], &a->values[0], &same) != 0)
            return -1;
        if (same) {
            *out = jinja_value_int((int64_t)i);
            return 0;
        }
    }
    return jinja_run_fail(r, "index: not in the list");
}

const struct jinja_def jinja_list_methods[] = {
    {"count", "/value ", list_count},
    {"index", "/value ", list_index},
    {"copy", NULL, NULL},
    {NULL, NULL, NULL},
};

METHOD(get)
{
    struct jinja_value *found;
    if (a->values[0].type >= JV_LIST)
        return jinja_run_fail(r, "a %s cannot be the key of a dict", jinja_value_type_name(&a->values[0]));
    if (jinja_value_find(r, self->dict, &a->values[0], &found) != 0)
        return -1;
    *out = found != NULL ? *found : a->values[1].type == JV_ABSENT ? jinja_value_none() : a->values[1];
    return 0;
}

static int view(struct jinja_run *r, const struct jinja_value *self, bool keys, bool values, struct jinja_value *out)
{
    if (jinja_value_list(r, JL_VIEW, out) != 0)
        return -1;
    for (size_t i = 0; i < self->dict->n; i++) {
        const struct jinja_pair *p = &self->dict->pairs[i];
        struct jinja_value v = keys ? p->key : p->value;
        if (keys && values &&
            (jinja_value_list(r, JL_TUPLE, &v) != 0 || jinja_value_push(r, v.list, p->key) != 0 ||
             jinja_value_push(r, v.list, p->value) != 0))
            return -1;
        if (jinja_value_push(r, out->list, v) != 0)
            return -1;
    }
    return 0;
}

METHOD(items)
{
    (void)a;
    return view(r, self, true, true, out);
}

METHOD(keys)
{
    (void)a;
    return view(r, self, true, false, out);
}

METHOD(values)
{
    (void)a;
    return view(r, self, false, true, out);
}

const struct jinja_def jinja_dict_methods[] = {
    {"get", "/key default? ", get},
    {"items", "", items},
    {"keys", "", keys},
    {"values", "", values},
    {"copy", NULL, NULL},
    {"fromkeys", NULL, NULL},
    {NULL, NULL, NULL},
};
