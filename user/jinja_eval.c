#include "user/jinja_eval.h"

#include <math.h>
#include <string.h>

#include "user/jinja_call.h"
#include "user/jinja_exec.h"
#include "user/jinja_print.h"

#define SHOW(t) (int)((t).n < 80 ? (t).n : 80), (t).at

int jinja_eval_undefined(struct jinja_run *r, const struct jinja_value *v)
{
    return jinja_run_fail(r, "'%.*s' is undefined", SHOW(v->text));
}

/* ------------------------------------------------------------------ names */

int jinja_eval_set(struct jinja_run *r, struct jinja_scope *scope, struct jinja_text name, struct jinja_value value)
{
    struct jinja_var *v = scope->vars;
    for (; v != NULL && !jinja_text_same(v->name, name); v = v->next)
        if (jinja_run_spend(r, 1) != 0)
            return -1;
    if (v == NULL) {
        if ((v = jinja_run_take(r, sizeof *v)) == NULL)
            return -1;
        v->name = name;
        v->next = scope->vars;
        scope->vars = v;
    }
    v->value = value;
    return 0;
}

static int name(struct jinja_run *r, const struct jinja_scope *scope, struct jinja_text wanted, struct jinja_value *out)
{
    for (; scope != NULL; scope = scope->parent)
        for (const struct jinja_var *v = scope->vars; v != NULL; v = v->next) {
            if (jinja_run_spend(r, 1) != 0)
                return -1;
            if (jinja_text_same(v->name, wanted)) {
                *out = v->value;
                return 0;
            }
        }
    const struct jinja_def *def = jinja_call_find(jinja_globals, wanted);
    *out = jinja_value_undefined(wanted);
    if (def == NULL)
        return 0;
    struct jinja_method *m = jinja_run_take(r, sizeof *m);
    if (m == NULL)
        return -1;
    m->def = def;
    *out = (struct jinja_value){.type = JV_FUNCTION, .function = m};
    return 0;
}

/* ------------------------------------------------------------------ attributes and items */

static int loop_attribute(struct jinja_run *r, const struct jinja_value *of, struct jinja_text wanted, struct jinja_value *out)
{
    const struct jinja_loop *l = of->loop;
    const size_t i = l->index, n = l->items->n;
    const struct {
        const char *name;
        struct jinja_value value;
    } known[] = {{"index", jinja_value_int((int64_t)i + 1)},
                 {"index0", jinja_value_int((int64_t)i)},
                 {"revindex", jinja_value_int((int64_t)(n - i))},
                 {"revindex0", jinja_value_int((int64_t)(n - i) - 1)},
                 {"first", jinja_value_bool(i == 0)},
                 {"last", jinja_value_bool(i + 1 == n)},
                 {"length", jinja_value_int((int64_t)n)},
                 {"previtem", i > 0 ? l->items->items[i - 1] : jinja_value_undefined(jinja_text_of("there is no previous item"))},
                 {"nextitem", i + 1 < n ? l->items->items[i + 1] : jinja_value_undefined(jinja_text_of("there is no next item"))},
                 {"depth", jinja_value_int(1)}, /* of recursive loops */
                 {"depth0", jinja_value_int(0)}};
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        if (jinja_text_is(wanted, known[k].name)) {
            *out = known[k].value;
            return 0;
        }
    return jinja_call_method(r, of, wanted, out);
}

/* Python's getattr: methods, and what namespaces and loops hold. JV_ABSENT if there is none. */
static int attribute(struct jinja_run *r, const struct jinja_value *of, struct jinja_text wanted, struct jinja_value *out)
{
    *out = (struct jinja_value){0};
    if (of->type == JV_UNDEFINED)
        return jinja_eval_undefined(r, of);
    if (of->type == JV_SPACE) {
        const struct jinja_value *member = jinja_value_member(of->dict, wanted);
        if (member != NULL)
            *out = *member;
        return 0;
    }
    if (of->type == JV_MACRO || of->type == JV_FUNCTION)
        return jinja_run_fail(r, "attributes of a %s are not implemented ('%.*s')", jinja_value_type_name(of), SHOW(wanted));
    if (of->type == JV_LOOP)
        return loop_attribute(r, of, wanted, out);
    return jinja_call_method(r, of, wanted, out);
}

/* Where Python's negative positions count from the end. */
static bool position(int64_t at, size_t n, size_t *out)
{
    if (at < 0)
        at += (int64_t)n;
    *out = (size_t)at;
    return at >= 0 && (uint64_t)at < n;
}

/* of[key]; JV_ABSENT where Python raises LookupError or TypeError. */
static int item(struct jinja_run *r, const struct jinja_value *of, const struct jinja_value *key, struct jinja_value *out)
{
    int64_t at;
    size_t i;
    *out = (struct jinja_value){0};
    if (of->type == JV_UNDEFINED)
        return jinja_eval_undefined(r, of);
    if (of->type == JV_DICT && key->type < JV_LIST) {
        struct jinja_value *found;
        if (jinja_value_find(r, of->dict, key, &found) != 0)
            return -1;
        if (found != NULL)
            *out = *found;
        return 0;
    }
    if (!jinja_value_whole(key, &at))
        return 0;
    if (of->type == JV_LIST && of->list->kind <= JL_RANGE && position(at, of->list->n, &i))
        *out = of->list->items[i];
    if (of->type == JV_TEXT && jinja_run_spend_text(r, of->text.n) != 0)
        return -1;
    if (of->type == JV_TEXT && position(at, jinja_text_chars(of->text), &i)) {
        size_t from = jinja_text_at(of->text, i);
        struct jinja_text rest = {of->text.at + from, of->text.n - from};
        *out = *of;
        out->text = (struct jinja_text){rest.at, jinja_text_at(rest, 1)};
    }
    return 0;
}

int jinja_eval_item(struct jinja_run *r, const struct jinja_value *of, const struct jinja_value *key, struct jinja_value *out)
{
    if (item(r, of, key, out) != 0)
        return -1;
    if (out->type == JV_ABSENT && key->type == JV_TEXT && attribute(r, of, key->text, out) != 0)
        return -1;
    if (out->type == JV_ABSENT) {
        struct jinja_text shown = {0};
        if (key->type == JV_TEXT || key->type == JV_INT)
            if (jinja_print_text(r, key, &shown) != 0)
                return -1;
        *out = jinja_value_undefined(shown);
    }
    return 0;
}

static int getattr(struct jinja_run *r, const struct jinja_value *of, struct jinja_text wanted, struct jinja_value *out)
{
    const struct jinja_value key = jinja_value_text(wanted);
    if (attribute(r, of, wanted, out) != 0)
        return -1;
    if (out->type == JV_ABSENT && item(r, of, &key, out) != 0)
        return -1;
    if (out->type == JV_ABSENT)
        *out = jinja_value_undefined(wanted);
    return 0;
}

static int slice_bound(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n, int64_t *out, bool *given)
{
    struct jinja_value v = jinja_value_none();
    if (n != NULL && jinja_eval(r, scope, n, &v) != 0)
        return -1;
    *given = v.type != JV_NONE;
    if (*given && !jinja_value_whole(&v, out))
        return jinja_run_fail(r, "slices are made with whole numbers, not %s", jinja_value_type_name(&v));
    return 0;
}

static int64_t clamp(int64_t at, int64_t n, int64_t low, int64_t high)
{
    if (at < 0 && (at += n) < 0)
        return low;
    return at > high ? high : at;
}

static int slice(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_value *of, const struct jinja_node *n,
                 struct jinja_value *out)
{
    int64_t from = 0, to = 0, step = 1;
    bool has_from, has_to, has_step;
    if (slice_bound(r, scope, n->a, &from, &has_from) != 0 || slice_bound(r, scope, n->b, &to, &has_to) != 0 ||
        slice_bound(r, scope, n->c, &step, &has_step) != 0)
        return -1;
    const bool text = of->type == JV_TEXT;
    if (of->type == JV_UNDEFINED)
        return jinja_eval_undefined(r, of);
    if (!text && !(of->type == JV_LIST && of->list->kind <= JL_TUPLE))
        return jinja_run_fail(r, "a slice of a %s is not possible", jinja_value_type_name(of));
    if (step == 0)
        return jinja_run_fail(r, "the step of a slice cannot be 0");
    if (step < -INT32_MAX || step > INT32_MAX) /* beyond every length: the same as the longest step */
        step = step < 0 ? -INT32_MAX : INT32_MAX;
    if (text && jinja_run_spend_text(r, of->text.n) != 0)
        return -1;
    const int64_t count = (int64_t)(text ? jinja_text_chars(of->text) : of->list->n);
    const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? count : count - 1;
    from = has_from ? clamp(from, count, low, high) : step > 0 ? low : high;
    to = has_to ? clamp(to, count, low, high) : step > 0 ? high : low;
    if (text && step == 1) {
        size_t start = jinja_text_at(of->text, (size_t)from), end = jinja_text_at(of->text, (size_t)to);
        *out = *of;
        out->text = (struct jinja_text){of->text.at + start, end > start ? end - start : 0};
        return 0;
    }
    struct jinja_list items;
    struct jinja_value picked;
    if (jinja_value_items(r, of, &items) != 0 || jinja_value_list(r, text ? JL_LIST : of->list->kind, &picked) != 0)
        return -1;
    for (int64_t i = from; step > 0 ? i < to : i > to; i += step)
        if (jinja_value_push(r, picked.list, items.items[i]) != 0)
            return -1;
    if (!text) {
        *out = picked;
        return 0;
    }
    struct buf b;
    buf_init(&b, JINJA_OUTPUT_MAX);
    for (size_t i = 0; i < picked.list->n; i++)
        buf_put(&b, picked.list->items[i].text.at, picked.list->items[i].text.n);
    int rc = jinja_value_take(r, &b, out);
    out->mark = of->mark;
    return rc;
}

/* ------------------------------------------------------------------ arithmetic */

static int whole_op(struct jinja_run *r, char op, bool twice, int64_t a, int64_t b, struct jinja_value *out)
{
    int64_t v = 0;
    bool over = false;
    if ((op == '/' || op == '%') && b == 0)
        return jinja_run_fail(r, "division by zero");
    if (op == '/' && !twice) {
        *out = jinja_value_float((double)a / (double)b);
        return 0;
    }
    if (op == '+')
        over = __builtin_add_overflow(a, b, &v);
    else if (op == '-')
        over = __builtin_sub_overflow(a, b, &v);
    else if (op == '*' && !twice)
        over = __builtin_mul_overflow(a, b, &v);
    else if (op == '*') {
        v = 1;
        for (int64_t i = 0; i < b && !over && (i < 64 || (a != 0 && a != 1 && a != -1)); i++)
            over = __builtin_mul_overflow(v, a, &v);
        if (b > 64 && (a == 0 || a == 1 || a == -1))
            v = a == -1 ? (b % 2 == 0 ? 1 : -1) : a;
    } else if (b == -1) { /* the smallest number has no positive counterpart */
        over = op == '/' && __builtin_sub_overflow(0, a, &v);
    } else { /* Python rounds down, C towards zero */
        int64_t q = a / b, m = a % b;
        bool down = m != 0 && (m < 0) != (b < 0);
        v = op == '/' ? q - down : m + (down ? b : 0);
    }
    *out = jinja_value_int(v);
    return over ? jinja_run_fail(r, "whole numbers beyond 64 bits are not implemented") : 0;
}

static int float_op(struct jinja_run *r, char op, bool twice, double a, double b, struct jinja_value *out)
{
    double v;
    if ((op == '/' || op == '%') && b == 0)
        return jinja_run_fail(r, "division by zero");
    if (op == '*' && twice && ((a == 0 && b < 0) || (a < 0 && b != floor(b))))
        return jinja_run_fail(r, "this power is not implemented");
    if (op == '/' || op == '%') {
        double m = fmod(a, b);
        if (m != 0 && (m < 0) != (b < 0))
            m += b;
        else if (m == 0)
            m = copysign(0, b);
        double q = (a - m) / b, whole = floor(q);
        whole = q - whole > 0.5 ? whole + 1 : whole;
        v = op == '%' ? m : !twice ? a / b : q == 0 ? copysign(0, a / b) : whole;
    } else {
        v = op == '+' ? a + b : op == '-' ? a - b : twice ? pow(a, b) : a * b;
    }
    *out = jinja_value_float(v);
    return isinf(v) && !isinf(a) && !isinf(b) && twice && op == '*' ? jinja_run_fail(r, "the power is too large") : 0;
}

/* What 'safe' has marked escapes the text that it is joined with; only where that changes nothing can it be done here. */
static int check_marks(struct jinja_run *r, const struct jinja_value *a, const struct jinja_value *b)
{
    const struct jinja_value *plain = a->mark ? b : a;
    for (size_t i = 0; a->mark != b->mark && i < plain->text.n; i++)
        if (strchr("&<>'\"", plain->text.at[i]) != NULL && plain->text.at[i] != '\0')
            return jinja_run_fail(r, "adding to text that 'safe' has marked escapes & < > ' \", which is not implemented");
    return 0;
}

static int join_texts(struct jinja_run *r, const struct jinja_value *a, const struct jinja_value *b, struct jinja_value *out)
{
    if (check_marks(r, a, b) != 0)
        return -1;
    const size_t n = a->text.n + b->text.n;
    char *text = jinja_run_take(r, n + 1);
    if (text == NULL || jinja_run_spend_text(r, n) != 0)
        return -1;
    memcpy(text, a->text.at, a->text.n);
    memcpy(text + a->text.n, b->text.at, b->text.n);
    *out = jinja_value_text((struct jinja_text){text, n});
    out->mark = a->mark || b->mark;
    return 0;
}

static int join_lists(struct jinja_run *r, const struct jinja_list *a, const struct jinja_list *b, struct jinja_value *out)
{
    if (jinja_value_list(r, a->kind, out) != 0)
        return -1;
    for (size_t i = 0; i < a->n + b->n; i++)
        if (jinja_value_push(r, out->list, i < a->n ? a->items[i] : b->items[i - a->n]) != 0)
            return -1;
    return 0;
}

static int repeat(struct jinja_run *r, const struct jinja_value *what, int64_t times, struct jinja_value *out)
{
    const size_t n = what->type == JV_TEXT ? what->text.n : what->list->n;
    if (times < 0 || n == 0)
        times = 0;
    if ((uint64_t)times > JINJA_MEMORY_MAX || (n > 0 && (size_t)times > JINJA_MEMORY_MAX / n))
        return jinja_run_fail(r, "the result of '*' is too large");
    if (what->type == JV_LIST) {
        if (jinja_value_list(r, what->list->kind, out) != 0)
            return -1;
        for (size_t i = 0; i < n * (size_t)times; i++)
            if (jinja_value_push(r, out->list, what->list->items[i % n]) != 0)
                return -1;
        return 0;
    }
    char *text = jinja_run_take(r, n * (size_t)times + 1);
    if (text == NULL || jinja_run_spend_text(r, n * (size_t)times) != 0 || jinja_run_spend(r, (uint64_t)times / 64) != 0)
        return -1;
    for (size_t i = 0; i < (size_t)times; i++)
        memcpy(text + i * n, what->text.at, n);
    *out = *what;
    out->text = (struct jinja_text){text, n * (size_t)times};
    return 0;
}

static bool repeats(const struct jinja_value *v)
{
    return v->type == JV_TEXT || (v->type == JV_LIST && v->list->kind <= JL_TUPLE);
}

int jinja_eval_binary(struct jinja_run *r, struct jinja_text op, const struct jinja_value *a, const struct jinja_value *b,
                      struct jinja_value *out)
{
    int64_t i, j;
    double x, y;
    const char c = op.at[0];
    const bool twice = op.n == 2;
    if (a->type == JV_UNDEFINED || b->type == JV_UNDEFINED)
        return jinja_eval_undefined(r, a->type == JV_UNDEFINED ? a : b);
    if (jinja_value_whole(a, &i) && jinja_value_whole(b, &j) && !(c == '*' && twice && j < 0))
        return whole_op(r, c, twice, i, j, out);
    if (jinja_value_number(a, &x) && jinja_value_number(b, &y))
        return float_op(r, c, twice, x, y, out);
    if (c == '+' && a->type == JV_TEXT && b->type == JV_TEXT)
        return join_texts(r, a, b, out);
    if (c == '+' && a->type == JV_LIST && b->type == JV_LIST && a->list->kind == b->list->kind && a->list->kind <= JL_TUPLE)
        return join_lists(r, a->list, b->list, out);
    if (c == '*' && !twice && repeats(a) && jinja_value_whole(b, &j))
        return repeat(r, a, j, out);
    if (c == '*' && !twice && repeats(b) && jinja_value_whole(a, &i))
        return repeat(r, b, i, out);
    if (c == '%' && a->type == JV_TEXT)
        return jinja_run_fail(r, "formatting with '%%' is not implemented");
    return jinja_run_fail(r, "'%.*s' is not possible between %s and %s", SHOW(op), jinja_value_type_name(a),
                          jinja_value_type_name(b));
}

static int sign(struct jinja_run *r, bool minus, const struct jinja_value *v, struct jinja_value *out)
{
    int64_t whole, zero = 0;
    if (v->type == JV_UNDEFINED)
        return jinja_eval_undefined(r, v);
    if (jinja_value_whole(v, &whole))
        return whole_op(r, minus ? '-' : '+', false, zero, whole, out);
    if (v->type != JV_FLOAT)
        return jinja_run_fail(r, "a %s has no sign", jinja_value_type_name(v));
    *out = jinja_value_float(minus ? -v->number : v->number);
    return 0;
}

static int compare_step(struct jinja_run *r, struct jinja_text op, const struct jinja_value *a, const struct jinja_value *b, bool *out)
{
    int order = 0;
    const char c = op.at[0], last = op.at[op.n - 1];
    if (c == '=' || c == '!') {
        if (jinja_value_equal(r, a, b, out) != 0)
            return -1;
        *out = *out != (c == '!');
        return 0;
    }
    if (c == 'i' || c == 'n') {
        if (jinja_value_contains(r, b, a, out) != 0)
            return -1;
        *out = *out != (c == 'n');
        return 0;
    }
    if (a->type == JV_UNDEFINED || b->type == JV_UNDEFINED)
        return jinja_eval_undefined(r, a->type == JV_UNDEFINED ? a : b);
    if (jinja_value_order(r, a, b, &order) != 0)
        return -1;
    *out = c == '<' ? order < 0 : order > 0;
    if (last == '=' && order == 0)
        *out = true;
    return 0;
}

/* ------------------------------------------------------------------ composed values */

static int compare(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n, struct jinja_value *out)
{
    struct jinja_value left, right;
    bool yes = true;
    if (jinja_eval(r, scope, n->a, &left) != 0)
        return -1;
    for (const struct jinja_node *o = n->body; o != NULL && yes; o = o->next) {
        if (jinja_eval(r, scope, o->a, &right) != 0 || compare_step(r, o->text, &left, &right, &yes) != 0)
            return -1;
        left = right;
    }
    *out = jinja_value_bool(yes);
    return 0;
}

static int concat(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n, struct jinja_value *out)
{
    struct buf b;
    buf_init(&b, JINJA_OUTPUT_MAX);
    for (const struct jinja_node *o = n->body; o != NULL; o = o->next) {
        struct jinja_value v;
        if (jinja_eval(r, scope, o, &v) != 0 || jinja_print_value(r, &v, &b) != 0) {
            buf_free(&b);
            return -1;
        }
    }
    return jinja_value_take(r, &b, out);
}

static int sequence(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n, struct jinja_value *out)
{
    if (jinja_value_list(r, n->kind == JN_LIST ? JL_LIST : JL_TUPLE, out) != 0)
        return -1;
    for (const struct jinja_node *c = n->body; c != NULL; c = c->next) {
        struct jinja_value v;
        if (jinja_eval(r, scope, c, &v) != 0 || jinja_value_push(r, out->list, v) != 0)
            return -1;
    }
    return 0;
}

static int dict(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n, struct jinja_value *out)
{
    if (jinja_value_dict(r, out) != 0)
        return -1;
    for (const struct jinja_node *c = n->body; c != NULL; c = c->next) {
        struct jinja_value key, value;
        if (jinja_eval(r, scope, c->a, &key) != 0 || jinja_eval(r, scope, c->b, &value) != 0 ||
            jinja_value_put(r, out->dict, key, value) != 0)
            return -1;
    }
    return 0;
}

/* ------------------------------------------------------------------ calls */

int jinja_eval_args(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *args, struct jinja_args *out)
{
    struct jinja_var **tail = &out->named;
    size_t n = 0;
    *out = (struct jinja_args){0};
    for (const struct jinja_node *a = args; a != NULL; a = a->next)
        n += a->text.at == NULL;
    if (n > 0 && (out->values = jinja_run_take(r, n * sizeof *out->values)) == NULL)
        return -1;
    for (const struct jinja_node *a = args; a != NULL; a = a->next) {
        struct jinja_value v;
        if (jinja_eval(r, scope, a->a, &v) != 0)
            return -1;
        if (a->text.at == NULL) {
            out->values[out->n++] = v;
            continue;
        }
        struct jinja_var *named = jinja_run_take(r, sizeof *named);
        if (named == NULL)
            return -1;
        *named = (struct jinja_var){.name = a->text, .value = v};
        *tail = named;
        tail = &named->next;
    }
    return 0;
}

int jinja_eval_call(struct jinja_run *r, const struct jinja_value *what, const struct jinja_args *args, struct jinja_value *out)
{
    if (what->type == JV_FUNCTION)
        return jinja_call_def(r, what->function->def, &what->function->self, args, out);
    if (what->type == JV_MACRO)
        return jinja_exec_macro(r, what->macro, args, out);
    if (what->type == JV_UNDEFINED)
        return jinja_eval_undefined(r, what);
    return jinja_run_fail(r, "%s cannot be called", jinja_value_type_name(what));
}

int jinja_eval_filters(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n, const struct jinja_value *self,
                       struct jinja_value *out)
{
    struct jinja_value of = *self;
    struct jinja_args args;
    if (jinja_run_enter(r) != 0)
        return -1;
    int rc = n->a == NULL ? 0 : jinja_eval_filters(r, scope, n->a, self, &of);
    if (rc == 0)
        rc = jinja_eval_args(r, scope, n->args, &args);
    if (rc == 0)
        rc = jinja_call_filter(r, n->text, &of, &args, out);
    jinja_run_leave(r);
    return rc;
}

/* A call, filter or test: what it applies to, then the arguments. */
static int apply(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n, struct jinja_value *out)
{
    struct jinja_value of;
    struct jinja_args args;
    bool yes = false;
    if (jinja_eval(r, scope, n->a, &of) != 0 || jinja_eval_args(r, scope, n->args, &args) != 0)
        return -1;
    r->line = n->line;
    if (n->kind == JN_CALL)
        return jinja_eval_call(r, &of, &args, out);
    if (n->kind == JN_FILTER)
        return jinja_call_filter(r, n->text, &of, &args, out);
    if (jinja_call_test(r, n->text, &of, &args, &yes) != 0)
        return -1;
    *out = jinja_value_bool(yes);
    return 0;
}

/* and, or, if: the other side is evaluated only where it counts. */
static int branch(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n, struct jinja_value *out)
{
    struct jinja_value test;
    if (jinja_eval(r, scope, n->kind == JN_COND ? n->b : n->a, &test) != 0)
        return -1;
    const bool yes = jinja_value_truth(&test);
    if (n->kind == JN_COND && !yes && n->c == NULL) {
        *out = jinja_value_undefined(jinja_text_of("the 'if' without 'else'"));
        return 0;
    }
    if (n->kind == JN_COND)
        return jinja_eval(r, scope, yes ? n->a : n->c, out);
    if (yes == (n->kind == JN_AND))
        return jinja_eval(r, scope, n->b, out);
    *out = test;
    return 0;
}

static int eval(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n, struct jinja_value *out)
{
    struct jinja_value a, b;
    switch (n->kind) {
    case JN_CONST:
        *out = n->value;
        return 0;
    case JN_NAME:
        return name(r, scope, n->text, out);
    case JN_LIST:
    case JN_TUPLE:
        return sequence(r, scope, n, out);
    case JN_DICT:
        return dict(r, scope, n, out);
    case JN_AND:
    case JN_OR:
    case JN_COND:
        return branch(r, scope, n, out);
    case JN_CONCAT:
        return concat(r, scope, n, out);
    case JN_COMPARE:
        return compare(r, scope, n, out);
    case JN_CALL:
    case JN_FILTER:
    case JN_TEST:
        return apply(r, scope, n, out);
    default:
        break;
    }
    if (jinja_eval(r, scope, n->a, &a) != 0)
        return -1;
    r->line = n->line;
    switch (n->kind) {
    case JN_NOT:
        *out = jinja_value_bool(!jinja_value_truth(&a));
        return 0;
    case JN_NEG:
    case JN_POS:
        return sign(r, n->kind == JN_NEG, &a, out);
    case JN_GETATTR:
        return getattr(r, &a, n->text, out);
    case JN_GETITEM:
        if (n->b->kind == JN_SLICE)
            return slice(r, scope, &a, n->b, out);
        return jinja_eval(r, scope, n->b, &b) != 0 ? -1 : jinja_eval_item(r, &a, &b, out);
    default: /* JN_BINARY: the parser makes no other kind of expression */
        return jinja_eval(r, scope, n->b, &b) != 0 ? -1 : jinja_eval_binary(r, n->text, &a, &b, out);
    }
}

int jinja_eval(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n, struct jinja_value *out)
{
    r->line = n->line;
    if (jinja_run_spend(r, 1) != 0 || jinja_run_enter(r) != 0)
        return -1;
    int rc = eval(r, scope, n, out);
    jinja_run_leave(r);
    return rc;
}
