#include "user/jinja_expression.h"

#include <string.h>

static struct jinja_node *unary(struct jinja_cursor *p, bool with_filter);

static bool ends_tuple(const struct jinja_cursor *p, const char *word)
{
    return p->at->type == JT_PRINT_END || p->at->type == JT_BLOCK_END || jinja_cursor_is_op(p, ")") ||
           (word != NULL && jinja_cursor_is_word(p, word));
}

/* One jinja_expression, or several with commas: a tuple. `word` ends it too. */
struct jinja_node *jinja_expression_tuple(struct jinja_cursor *p, struct jinja_node *(*item)(struct jinja_cursor *), const char *word,
                                          bool may_be_empty)
{
    struct jinja_node *list = jinja_cursor_node(p, JN_TUPLE), **tail = list == NULL ? NULL : &list->body;
    bool comma = false;
    if (list == NULL)
        return NULL;
    while (!ends_tuple(p, word)) {
        if ((*tail = item(p)) == NULL)
            return NULL;
        tail = &(*tail)->next;
        if (!jinja_cursor_skip_op(p, ","))
            break;
        comma = true;
    }
    if (!comma && list->body != NULL)
        return list->body;
    return comma || may_be_empty ? list : jinja_cursor_expected(p, "an expression");
}

static struct jinja_node *constant(struct jinja_cursor *p, struct jinja_value value)
{
    struct jinja_node *n = jinja_cursor_node(p, JN_CONST);
    if (n != NULL)
        n->value = value;
    p->at++;
    return n;
}

static struct jinja_node *string(struct jinja_cursor *p)
{
    struct jinja_node *n = jinja_cursor_node(p, JN_CONST);
    size_t len = 0, count = 0;
    for (; p->at[count].type == JT_STRING; count++)
        len += p->at[count].text.n;
    if (n == NULL)
        return NULL;
    n->value = jinja_value_text(p->at->text);
    if (count > 1) {
        char *joined = jinja_arena_take(p->arena, len + 1);
        if (joined == NULL)
            return jinja_cursor_expected(p, "a smaller template");
        n->value.text = (struct jinja_text){joined, len};
        for (size_t i = 0; i < count; joined += p->at[i++].text.n)
            memcpy(joined, p->at[i].text.at, p->at[i].text.n);
    }
    p->at += count;
    return n;
}

static struct jinja_node *list_literal(struct jinja_cursor *p)
{
    struct jinja_node *n = jinja_cursor_node(p, JN_LIST), **tail = n == NULL ? NULL : &n->body;
    p->at++;
    while (n != NULL && !jinja_cursor_skip_op(p, "]")) {
        if ((*tail = jinja_expression(p)) == NULL || (!jinja_cursor_is_op(p, "]") && !jinja_cursor_need_op(p, ",")))
            return NULL;
        tail = &(*tail)->next;
    }
    return n;
}

static struct jinja_node *dict_literal(struct jinja_cursor *p)
{
    struct jinja_node *n = jinja_cursor_node(p, JN_DICT), **tail = n == NULL ? NULL : &n->body;
    p->at++;
    while (n != NULL && !jinja_cursor_skip_op(p, "}")) {
        struct jinja_node *key = jinja_expression(p);
        struct jinja_node *value = key == NULL || !jinja_cursor_need_op(p, ":") ? NULL : jinja_expression(p);
        if ((*tail = jinja_cursor_binary(p, JN_PAIR, key, (struct jinja_text){0}, value)) == NULL ||
            (!jinja_cursor_is_op(p, "}") && !jinja_cursor_need_op(p, ",")))
            return NULL;
        tail = &(*tail)->next;
    }
    return n;
}

static struct jinja_node *primary_inside(struct jinja_cursor *p)
{
    const struct jinja_token *t = p->at;
    if (t->type == JT_INT)
        return constant(p, jinja_value_int(t->whole));
    if (t->type == JT_FLOAT)
        return constant(p, jinja_value_float(t->number));
    if (t->type == JT_STRING)
        return string(p);
    if (jinja_cursor_is_op(p, "["))
        return list_literal(p);
    if (jinja_cursor_is_op(p, "{"))
        return dict_literal(p);
    if (jinja_cursor_skip_op(p, "(")) {
        struct jinja_node *n = jinja_expression_tuple(p, jinja_expression, NULL, true);
        return n != NULL && jinja_cursor_need_op(p, ")") ? n : NULL;
    }
    if (t->type != JT_NAME)
        return jinja_cursor_expected(p, "an expression");
    if (jinja_cursor_is_word(p, "true") || jinja_cursor_is_word(p, "True") || jinja_cursor_is_word(p, "false") ||
        jinja_cursor_is_word(p, "False"))
        return constant(p, jinja_value_bool(t->text.at[0] == 't' || t->text.at[0] == 'T'));
    if (jinja_cursor_is_word(p, "none") || jinja_cursor_is_word(p, "None"))
        return constant(p, jinja_value_none());
    struct jinja_node *n = jinja_cursor_node(p, JN_NAME);
    if (n != NULL)
        n->text = t->text;
    p->at++;
    return n;
}

/* Every way down passes here or through unary(). */
struct jinja_node *jinja_expression_primary(struct jinja_cursor *p)
{
    if (!jinja_cursor_enter(p))
        return NULL;
    struct jinja_node *n = primary_inside(p);
    p->depth--;
    return n;
}

/* Arguments in brackets; p stands at "(". */
static bool arguments(struct jinja_cursor *p, struct jinja_node **tail)
{
    bool named = false;
    p->at++;
    while (!jinja_cursor_skip_op(p, ")")) {
        struct jinja_node *arg = jinja_cursor_node(p, JN_ARG);
        if (arg == NULL)
            return false;
        if (jinja_cursor_is_op(p, "*") || jinja_cursor_is_op(p, "**")) {
            jinja_cursor_refused(p, "arguments from a list or dict ('*', '**') are");
            return false;
        }
        if (p->at->type == JT_NAME && p->at[1].type == JT_OP && jinja_text_is(p->at[1].text, "=")) {
            arg->text = p->at->text;
            p->at += 2;
            named = true;
        } else if (named) {
            jinja_cursor_expected(p, "a keyword argument");
            return false;
        }
        if ((arg->a = jinja_expression(p)) == NULL || (!jinja_cursor_is_op(p, ")") && !jinja_cursor_need_op(p, ",")))
            return false;
        *tail = arg;
        tail = &arg->next;
    }
    return true;
}

static struct jinja_node *call(struct jinja_cursor *p, struct jinja_node *what)
{
    struct jinja_node *n = jinja_cursor_node(p, JN_CALL);
    if (n == NULL || !arguments(p, &n->args))
        return NULL;
    n->a = what;
    return n;
}

static struct jinja_node *slice_or_index(struct jinja_cursor *p)
{
    struct jinja_node *first = NULL, *n;
    if (!jinja_cursor_is_op(p, ":") && ((first = jinja_expression(p)) == NULL || !jinja_cursor_is_op(p, ":")))
        return first;
    p->at++;
    if ((n = jinja_cursor_node(p, JN_SLICE)) == NULL)
        return NULL;
    n->a = first;
    if (!jinja_cursor_is_op(p, ":") && !jinja_cursor_is_op(p, "]") && (n->b = jinja_expression(p)) == NULL)
        return NULL;
    if (jinja_cursor_skip_op(p, ":") && !jinja_cursor_is_op(p, "]") && (n->c = jinja_expression(p)) == NULL)
        return NULL;
    return n;
}

static struct jinja_node *subscript(struct jinja_cursor *p, struct jinja_node *of)
{
    struct jinja_node *n = jinja_cursor_node(p, JN_GETITEM);
    const bool dot = jinja_cursor_is_op(p, ".");
    p->at++;
    if (n == NULL)
        return NULL;
    n->a = of;
    if (!dot) {
        n->b = slice_or_index(p);
        if (n->b != NULL && jinja_cursor_is_op(p, ","))
            return jinja_cursor_refused(p, "several positions in one pair of brackets are");
        return n->b != NULL && jinja_cursor_need_op(p, "]") ? n : NULL;
    }
    if (p->at->type == JT_INT) {
        n->b = constant(p, jinja_value_int(p->at->whole));
        return n->b == NULL ? NULL : n;
    }
    if (p->at->type != JT_NAME)
        return jinja_cursor_expected(p, "a name or a number");
    n->kind = JN_GETATTR;
    n->text = p->at++->text;
    return n;
}

static struct jinja_node *postfix(struct jinja_cursor *p, struct jinja_node *n)
{
    while (n != NULL && (jinja_cursor_is_op(p, ".") || jinja_cursor_is_op(p, "[") || jinja_cursor_is_op(p, "(")))
        n = jinja_cursor_is_op(p, "(") ? call(p, n) : subscript(p, n);
    return n;
}

/* | name or | name(arguments), as often as it comes; `n` may be NULL: then the first "|" is missing if `inlined`. */
struct jinja_node *jinja_expression_filters(struct jinja_cursor *p, struct jinja_node *n, bool inlined)
{
    while (inlined || jinja_cursor_skip_op(p, "|")) {
        struct jinja_node *f = jinja_cursor_node(p, JN_FILTER);
        inlined = false;
        if (f == NULL || p->at->type != JT_NAME)
            return f == NULL ? NULL : jinja_cursor_expected(p, "the name of a filter");
        f->a = n;
        f->text = p->at++->text;
        if (jinja_cursor_is_op(p, "(") && !arguments(p, &f->args))
            return NULL;
        n = f;
    }
    return n;
}

static struct jinja_node *test(struct jinja_cursor *p, struct jinja_node *of)
{
    struct jinja_node *n = jinja_cursor_node(p, JN_TEST);
    p->at++;
    const bool negated = jinja_cursor_skip_word(p, "not");
    if (n == NULL || p->at->type != JT_NAME)
        return n == NULL ? NULL : jinja_cursor_expected(p, "the name of a test");
    n->a = of;
    n->text = p->at++->text;
    const enum jinja_token_type t = p->at->type;
    if (jinja_cursor_is_op(p, "(")) {
        if (!arguments(p, &n->args))
            return NULL;
    } else if (t == JT_STRING || t == JT_INT || t == JT_FLOAT || jinja_cursor_is_op(p, "[") || jinja_cursor_is_op(p, "{") ||
               (t == JT_NAME && !jinja_cursor_is_word(p, "else") && !jinja_cursor_is_word(p, "or") &&
                !jinja_cursor_is_word(p, "and"))) {
        if (jinja_cursor_is_word(p, "is"))
            return jinja_cursor_expected(p, "no second 'is'");
        if ((n->args = jinja_cursor_node(p, JN_ARG)) == NULL || (n->args->a = postfix(p, jinja_expression_primary(p))) == NULL)
            return NULL;
    }
    return negated ? jinja_cursor_binary(p, JN_NOT, n, (struct jinja_text){0}, n) : n;
}

static struct jinja_node *unary_inside(struct jinja_cursor *p, bool with_filter)
{
    struct jinja_node *n;
    if (jinja_cursor_is_op(p, "-") || jinja_cursor_is_op(p, "+")) {
        n = jinja_cursor_node(p, jinja_cursor_is_op(p, "-") ? JN_NEG : JN_POS);
        p->at++;
        if (n == NULL || (n->a = unary(p, false)) == NULL)
            return NULL;
    } else {
        n = jinja_expression_primary(p);
    }
    n = postfix(p, n);
    while (n != NULL && with_filter && (jinja_cursor_is_op(p, "|") || jinja_cursor_is_word(p, "is") || jinja_cursor_is_op(p, "(")))
        n = jinja_cursor_is_op(p, "|")   ? jinja_expression_filters(p, n, false)
            : jinja_cursor_is_op(p, "(") ? call(p, n)
                                         : test(p, n);
    return n;
}

static struct jinja_node *unary(struct jinja_cursor *p, bool with_filter)
{
    if (!jinja_cursor_enter(p))
        return NULL;
    struct jinja_node *n = unary_inside(p, with_filter);
    p->depth--;
    return n;
}

static struct jinja_node *filtered_unary(struct jinja_cursor *p)
{
    return unary(p, true);
}

/* next (op next)*, from the left */
static struct jinja_node *chain(struct jinja_cursor *p, struct jinja_node *(*next)(struct jinja_cursor *), const char *const *ops)
{
    struct jinja_node *n = next(p);
    while (n != NULL) {
        const char *const *op = ops;
        while (*op != NULL && !jinja_cursor_is_op(p, *op))
            op++;
        if (*op == NULL)
            break;
        p->at++;
        n = jinja_cursor_binary(p, JN_BINARY, n, jinja_text_of(*op), next(p));
    }
    return n;
}

static struct jinja_node *power(struct jinja_cursor *p)
{
    static const char *const ops[] = {"**", NULL};
    return chain(p, filtered_unary, ops);
}

static struct jinja_node *product(struct jinja_cursor *p)
{
    static const char *const ops[] = {"*", "/", "//", "%", NULL};
    return chain(p, power, ops);
}

static struct jinja_node *concat(struct jinja_cursor *p)
{
    struct jinja_node *first = product(p), *n;
    if (first == NULL || !jinja_cursor_is_op(p, "~"))
        return first;
    if ((n = jinja_cursor_node(p, JN_CONCAT)) == NULL)
        return NULL;
    n->body = first;
    while (jinja_cursor_skip_op(p, "~")) {
        if ((first->next = product(p)) == NULL)
            return NULL;
        first = first->next;
    }
    return n;
}

static struct jinja_node *sum(struct jinja_cursor *p)
{
    static const char *const ops[] = {"+", "-", NULL};
    return chain(p, concat, ops);
}

static bool comparison(struct jinja_cursor *p, struct jinja_text *op)
{
    static const char *const ops[] = {"==", "!=", "<", "<=", ">", ">=", NULL};
    const char *const *o = ops;
    while (*o != NULL && !jinja_cursor_is_op(p, *o))
        o++;
    if (*o != NULL || jinja_cursor_is_word(p, "in")) {
        *op = jinja_text_of(*o != NULL ? *o : "in");
        p->at++;
        return true;
    }
    if (!jinja_cursor_is_word(p, "not") || p->at[1].type != JT_NAME || !jinja_text_is(p->at[1].text, "in"))
        return false;
    *op = jinja_text_of("not in");
    p->at += 2;
    return true;
}

static struct jinja_node *compare(struct jinja_cursor *p)
{
    struct jinja_node *first = sum(p), *n = NULL, **tail = NULL;
    struct jinja_text op;
    while (first != NULL && comparison(p, &op)) {
        if (n == NULL) {
            if ((n = jinja_cursor_node(p, JN_COMPARE)) == NULL)
                return NULL;
            n->a = first;
            tail = &n->body;
        }
        struct jinja_node *right = sum(p);
        if ((*tail = jinja_cursor_binary(p, JN_OPERAND, right, op, right)) == NULL)
            return NULL;
        tail = &(*tail)->next;
    }
    return n == NULL ? first : n;
}

static struct jinja_node *not_expression(struct jinja_cursor *p)
{
    if (!jinja_cursor_is_word(p, "not"))
        return compare(p);
    if (!jinja_cursor_enter(p))
        return NULL;
    p->at++;
    struct jinja_node *of = not_expression(p);
    p->depth--;
    return jinja_cursor_binary(p, JN_NOT, of, (struct jinja_text){0}, of);
}

static struct jinja_node *and_expression(struct jinja_cursor *p)
{
    struct jinja_node *n = not_expression(p);
    while (n != NULL && jinja_cursor_skip_word(p, "and"))
        n = jinja_cursor_binary(p, JN_AND, n, (struct jinja_text){0}, not_expression(p));
    return n;
}

struct jinja_node *jinja_expression_or(struct jinja_cursor *p)
{
    struct jinja_node *n = and_expression(p);
    while (n != NULL && jinja_cursor_skip_word(p, "or"))
        n = jinja_cursor_binary(p, JN_OR, n, (struct jinja_text){0}, and_expression(p));
    return n;
}

struct jinja_node *jinja_expression(struct jinja_cursor *p)
{
    struct jinja_node *n;
    if (!jinja_cursor_enter(p))
        return NULL;
    n = jinja_expression_or(p);
    while (n != NULL && jinja_cursor_skip_word(p, "if")) {
        struct jinja_node *cond = jinja_cursor_node(p, JN_COND);
        if (cond == NULL || (cond->b = jinja_expression_or(p)) == NULL)
            return NULL;
        if (jinja_cursor_skip_word(p, "else") && (cond->c = jinja_expression(p)) == NULL)
            return NULL;
        cond->a = n;
        n = cond;
    }
    p->depth--;
    return n;
}
