/* What may stand behind "is". */
#include "user/jinja_call.h"
#include "user/jinja_eval.h"
#include "user/jinja_print.h"

#define TEST(name, condition)                                                                                                      \
    static int name(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, struct jinja_value *out)      \
    {                                                                                                                              \
        (void)r;                                                                                                                   \
        (void)a;                                                                                                                   \
        *out = jinja_value_bool(condition);                                                                                        \
        return 0;                                                                                                                  \
    }
#define COMPARISON(name, condition)                                                                                                \
    static int name(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, struct jinja_value *out)      \
    {                                                                                                                              \
        int order;                                                                                                                 \
        if (jinja_value_order(r, self, &a->values[0], &order) != 0)                                                                \
            return -1;                                                                                                             \
        *out = jinja_value_bool(condition);                                                                                        \
        return 0;                                                                                                                  \
    }

/* As Python's Undefined answers: it can be gone through, has a length and can be called. */
TEST(is_defined, self->type != JV_UNDEFINED)
TEST(is_undefined, self->type == JV_UNDEFINED)
TEST(is_none, self->type == JV_NONE)
TEST(is_boolean, self->type == JV_BOOL)
TEST(is_true, self->type == JV_BOOL && self->truth)
TEST(is_false, self->type == JV_BOOL && !self->truth)
TEST(is_integer, self->type == JV_INT)
TEST(is_float, self->type == JV_FLOAT)
TEST(is_number, self->type == JV_INT || self->type == JV_FLOAT || self->type == JV_BOOL)
TEST(is_string, self->type == JV_TEXT)
TEST(is_mapping, self->type == JV_DICT)
TEST(is_iterable, self->type == JV_LIST || self->type == JV_DICT || self->type == JV_TEXT || self->type == JV_UNDEFINED ||
                      self->type == JV_LOOP)
TEST(is_sequence, (self->type == JV_LIST && self->list->kind <= JL_RANGE) || self->type == JV_DICT || self->type == JV_TEXT ||
                      self->type == JV_UNDEFINED)
TEST(is_callable, self->type == JV_MACRO || self->type == JV_FUNCTION || self->type == JV_UNDEFINED || self->type == JV_LOOP)
COMPARISON(is_lt, order < 0)
COMPARISON(is_le, order <= 0)
COMPARISON(is_gt, order > 0)
COMPARISON(is_ge, order >= 0)

static int has_case(struct jinja_run *r, const struct jinja_value *self, bool upper, struct jinja_value *out)
{
    struct jinja_text t;
    if (jinja_print_text(r, self, &t) != 0)
        return -1;
    *out = jinja_value_bool(jinja_text_has_case(t, upper));
    return jinja_run_spend_text(r, t.n);
}

static int is_lower(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, struct jinja_value *out)
{
    (void)a;
    return has_case(r, self, false, out);
}

static int is_upper(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, struct jinja_value *out)
{
    (void)a;
    return has_case(r, self, true, out);
}

static int is_equal(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, struct jinja_value *out)
{
    bool same;
    if (jinja_value_equal(r, self, &a->values[0], &same) != 0)
        return -1;
    *out = jinja_value_bool(same);
    return 0;
}

static int is_not_equal(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, struct jinja_value *out)
{
    if (is_equal(r, self, a, out) != 0)
        return -1;
    out->truth = !out->truth;
    return 0;
}

static int is_in(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, struct jinja_value *out)
{
    bool found;
    if (jinja_value_contains(r, &a->values[0], self, &found) != 0)
        return -1;
    *out = jinja_value_bool(found);
    return 0;
}

/* Python's "is": certain only for what exists once. */
static int is_same(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, struct jinja_value *out)
{
    const struct jinja_value *b = &a->values[0];
    if (self->type == b->type && (self->type == JV_INT || self->type == JV_FLOAT || self->type == JV_TEXT))
        return jinja_run_fail(r, "sameas between two of type %s is not implemented", jinja_value_type_name(self));
    if (self->type == b->type && self->type == JV_LIST)
        *out = jinja_value_bool(self->list == b->list);
    else if (self->type == b->type && self->type == JV_DICT)
        *out = jinja_value_bool(self->dict == b->dict);
    else
        return is_equal(r, self, a, out) != 0 ? -1 : (out->truth = out->truth && self->type == b->type, 0);
    return 0;
}

/* value % by == 0 */
static int divisible(struct jinja_run *r, const struct jinja_value *self, const struct jinja_value *by, struct jinja_value *out)
{
    struct jinja_value rest;
    const struct jinja_value zero = jinja_value_int(0);
    bool same;
    if (jinja_eval_binary(r, jinja_text_of("%"), self, by, &rest) != 0 || jinja_value_equal(r, &rest, &zero, &same) != 0)
        return -1;
    *out = jinja_value_bool(same);
    return 0;
}

static int is_even(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, struct jinja_value *out)
{
    const struct jinja_value two = jinja_value_int(2);
    (void)a;
    return divisible(r, self, &two, out);
}

/* value % 2 == 1, which for 2.5 is as false as is_even. */
static int is_odd(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, struct jinja_value *out)
{
    const struct jinja_value two = jinja_value_int(2), one = jinja_value_int(1);
    struct jinja_value rest;
    bool same;
    (void)a;
    if (jinja_eval_binary(r, jinja_text_of("%"), self, &two, &rest) != 0 || jinja_value_equal(r, &rest, &one, &same) != 0)
        return -1;
    *out = jinja_value_bool(same);
    return 0;
}

static int is_divisible(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, struct jinja_value *out)
{
    return divisible(r, self, &a->values[0], out);
}

const struct jinja_def jinja_tests[] = {
    {"!=", "/other ", is_not_equal},
    {"<", "/other ", is_lt},
    {"<=", "/other ", is_le},
    {"==", "/other ", is_equal},
    {">", "/other ", is_gt},
    {">=", "/other ", is_ge},
    {"boolean", "", is_boolean},
    {"callable", "", is_callable},
    {"defined", "", is_defined},
    {"divisibleby", "num ", is_divisible},
    {"eq", "/other ", is_equal},
    {"equalto", "/other ", is_equal},
    {"even", "", is_even},
    {"false", "", is_false},
    {"float", "", is_float},
    {"ge", "/other ", is_ge},
    {"greaterthan", "/other ", is_gt},
    {"gt", "/other ", is_gt},
    {"in", "seq ", is_in},
    {"integer", "", is_integer},
    {"iterable", "", is_iterable},
    {"le", "/other ", is_le},
    {"lessthan", "/other ", is_lt},
    {"lower", "", is_lower},
    {"lt", "/other ", is_lt},
    {"mapping", "", is_mapping},
    {"ne", "/other ", is_not_equal},
    {"none", "", is_none},
    {"number", "", is_number},
    {"odd", "", is_odd},
    {"sameas", "other ", is_same},
    {"sequence", "", is_sequence},
    {"string", "", is_string},
    {"true", "", is_true},
    {"undefined", "", is_undefined},
    {"upper", "", is_upper},
    {NULL, NULL, NULL},
};
