#include "user/jinja_parser.h"

#include <string.h>

#define DEPTH_MAX 300u /* of brackets and of tags inside tags */

struct parser {
    struct jinja_arena *arena;
    const struct jinja_token *at;
    const char *name;
    struct err *err;
    unsigned depth, loops; /* loops around this place, inside the macro */
};

/* ------------------------------------------------------------------ tokens and nodes */

static const char *shown(const struct jinja_token *t, char text[48])
{
    static const char *const names[] = {"the end of the template", "text",   "'{{'",     "'}}'",    "'{%'",       "'%}'", "",
                                        "a string",                "a number", "a number", ""};
    if (t->type != JT_NAME && t->type != JT_OP)
        return names[t->type];
    size_t n = t->text.n < 40 ? t->text.n : 40;
    text[0] = '\'';
    memcpy(text + 1, t->text.at, n);
    memcpy(text + 1 + n, "'", 2);
    return text;
}

static void *expected(struct parser *p, const char *what)
{
    char found[48];
    err_set(p->err, ERR_INPUT, "%s: line %u: expected %s, found %s", p->name, p->at->line, what, shown(p->at, found));
    return NULL;
}

static void *refused(struct parser *p, const char *what)
{
    err_set(p->err, ERR_INPUT, "%s: line %u: %s not implemented", p->name, p->at->line, what);
    return NULL;
}

static bool is_op(const struct parser *p, const char *op)
{
    return p->at->type == JT_OP && jinja_text_is(p->at->text, op);
}

static bool is_word(const struct parser *p, const char *word)
{
    return p->at->type == JT_NAME && jinja_text_is(p->at->text, word);
}

static bool skip_op(struct parser *p, const char *op)
{
    bool yes = is_op(p, op);
    p->at += yes;
    return yes;
}

static bool skip_word(struct parser *p, const char *word)
{
    bool yes = is_word(p, word);
    p->at += yes;
    return yes;
}

static bool need_op(struct parser *p, const char *op)
{
    char quoted[8] = "'";
    if (skip_op(p, op))
        return true;
    expected(p, strcat(strcat(quoted, op), "'"));
    return false;
}

static struct jinja_node *node(struct parser *p, enum jinja_kind kind)
{
    struct jinja_node *n = jinja_arena_take(p->arena, sizeof *n);
    if (n == NULL) {
        err_set(p->err, ERR_INPUT, "%s: line %u: the template is too large (more than %zu bytes of working memory)", p->name,
                p->at->line, p->arena->limit);
        return NULL;
    }
    n->kind = kind;
    n->line = p->at->line;
    return n;
}

static struct jinja_node *binary(struct parser *p, enum jinja_kind kind, struct jinja_node *a, struct jinja_text op,
                                 struct jinja_node *b)
{
    struct jinja_node *n = a == NULL || b == NULL ? NULL : node(p, kind);
    if (n == NULL)
        return NULL;
    n->line = a->line;
    n->text = op;
    n->a = a;
    n->b = b;
    return n;
}

static bool enter(struct parser *p)
{
    if (p->depth == DEPTH_MAX) {
        err_set(p->err, ERR_INPUT, "%s: line %u: nested too deep (more than %u levels)", p->name, p->at->line, DEPTH_MAX);
        return false;
    }
    p->depth++;
    return true;
}

/* ------------------------------------------------------------------ expressions */

static struct jinja_node *expression(struct parser *p);
static struct jinja_node *or_expression(struct parser *p);
static struct jinja_node *unary(struct parser *p, bool with_filter);
static struct jinja_node *primary(struct parser *p);

static bool ends_tuple(const struct parser *p, const char *word)
{
    return p->at->type == JT_PRINT_END || p->at->type == JT_BLOCK_END || is_op(p, ")") || (word != NULL && is_word(p, word));
}

/* One expression, or several with commas: a tuple. `word` ends it too. */
static struct jinja_node *tuple(struct parser *p, struct jinja_node *(*item)(struct parser *), const char *word, bool may_be_empty)
{
    struct jinja_node *list = node(p, JN_TUPLE), **tail = list == NULL ? NULL : &list->body;
    bool comma = false;
    if (list == NULL)
        return NULL;
    while (!ends_tuple(p, word)) {
        if ((*tail = item(p)) == NULL)
            return NULL;
        tail = &(*tail)->next;
        if (!skip_op(p, ","))
            break;
        comma = true;
    }
    if (!comma && list->body != NULL)
        return list->body;
    return comma || may_be_empty ? list : expected(p, "an expression");
}

static struct jinja_node *constant(struct parser *p, struct jinja_value value)
{
    struct jinja_node *n = node(p, JN_CONST);
    if (n != NULL)
        n->value = value;
    p->at++;
    return n;
}

static struct jinja_node *string(struct parser *p)
{
    struct jinja_node *n = node(p, JN_CONST);
    size_t len = 0, count = 0;
    for (; p->at[count].type == JT_STRING; count++)
        len += p->at[count].text.n;
    if (n == NULL)
        return NULL;
    n->value = jinja_value_text(p->at->text);
    if (count > 1) {
        char *joined = jinja_arena_take(p->arena, len + 1);
        if (joined == NULL)
            return expected(p, "a smaller template");
        n->value.text = (struct jinja_text){joined, len};
        for (size_t i = 0; i < count; joined += p->at[i++].text.n)
            memcpy(joined, p->at[i].text.at, p->at[i].text.n);
    }
    p->at += count;
    return n;
}

static struct jinja_node *list_literal(struct parser *p)
{
    struct jinja_node *n = node(p, JN_LIST), **tail = n == NULL ? NULL : &n->body;
    p->at++;
    while (n != NULL && !skip_op(p, "]")) {
        if ((*tail = expression(p)) == NULL || (!is_op(p, "]") && !need_op(p, ",")))
            return NULL;
        tail = &(*tail)->next;
    }
    return n;
}

static struct jinja_node *dict_literal(struct parser *p)
{
    struct jinja_node *n = node(p, JN_DICT), **tail = n == NULL ? NULL : &n->body;
    p->at++;
    while (n != NULL && !skip_op(p, "}")) {
        struct jinja_node *key = expression(p), *value = key == NULL || !need_op(p, ":") ? NULL : expression(p);
        if ((*tail = binary(p, JN_PAIR, key, (struct jinja_text){0}, value)) == NULL || (!is_op(p, "}") && !need_op(p, ",")))
            return NULL;
        tail = &(*tail)->next;
    }
    return n;
}

static struct jinja_node *primary_inside(struct parser *p)
{
    const struct jinja_token *t = p->at;
    if (t->type == JT_INT)
        return constant(p, jinja_value_int(t->whole));
    if (t->type == JT_FLOAT)
        return constant(p, jinja_value_float(t->number));
    if (t->type == JT_STRING)
        return string(p);
    if (is_op(p, "["))
        return list_literal(p);
    if (is_op(p, "{"))
        return dict_literal(p);
    if (skip_op(p, "(")) {
        struct jinja_node *n = tuple(p, expression, NULL, true);
        return n != NULL && need_op(p, ")") ? n : NULL;
    }
    if (t->type != JT_NAME)
        return expected(p, "an expression");
    if (is_word(p, "true") || is_word(p, "True") || is_word(p, "false") || is_word(p, "False"))
        return constant(p, jinja_value_bool(t->text.at[0] == 't' || t->text.at[0] == 'T'));
    if (is_word(p, "none") || is_word(p, "None"))
        return constant(p, jinja_value_none());
    struct jinja_node *n = node(p, JN_NAME);
    if (n != NULL)
        n->text = t->text;
    p->at++;
    return n;
}

/* Every way down passes here or through unary(). */
static struct jinja_node *primary(struct parser *p)
{
    if (!enter(p))
        return NULL;
    struct jinja_node *n = primary_inside(p);
    p->depth--;
    return n;
}

/* Arguments in brackets; p stands at "(". */
static bool arguments(struct parser *p, struct jinja_node **tail)
{
    bool named = false;
    p->at++;
    while (!skip_op(p, ")")) {
        struct jinja_node *arg = node(p, JN_ARG);
        if (arg == NULL)
            return false;
        if (is_op(p, "*") || is_op(p, "**")) {
            refused(p, "arguments from a list or dict ('*', '**') are");
            return false;
        }
        if (p->at->type == JT_NAME && p->at[1].type == JT_OP && jinja_text_is(p->at[1].text, "=")) {
            arg->text = p->at->text;
            p->at += 2;
            named = true;
        } else if (named) {
            expected(p, "a keyword argument");
            return false;
        }
        if ((arg->a = expression(p)) == NULL || (!is_op(p, ")") && !need_op(p, ",")))
            return false;
        *tail = arg;
        tail = &arg->next;
    }
    return true;
}

static struct jinja_node *call(struct parser *p, struct jinja_node *what)
{
    struct jinja_node *n = node(p, JN_CALL);
    if (n == NULL || !arguments(p, &n->args))
        return NULL;
    n->a = what;
    return n;
}

static struct jinja_node *slice_or_index(struct parser *p)
{
    struct jinja_node *first = NULL, *n;
    if (!is_op(p, ":") && ((first = expression(p)) == NULL || !is_op(p, ":")))
        return first;
    p->at++;
    if ((n = node(p, JN_SLICE)) == NULL)
        return NULL;
    n->a = first;
    if (!is_op(p, ":") && !is_op(p, "]") && (n->b = expression(p)) == NULL)
        return NULL;
    if (skip_op(p, ":") && !is_op(p, "]") && (n->c = expression(p)) == NULL)
        return NULL;
    return n;
}

static struct jinja_node *subscript(struct parser *p, struct jinja_node *of)
{
    struct jinja_node *n = node(p, JN_GETITEM);
    const bool dot = is_op(p, ".");
    p->at++;
    if (n == NULL)
        return NULL;
    n->a = of;
    if (!dot) {
        n->b = slice_or_index(p);
        if (n->b != NULL && is_op(p, ","))
            return refused(p, "several positions in one pair of brackets are");
        return n->b != NULL && need_op(p, "]") ? n : NULL;
    }
    if (p->at->type == JT_INT) {
        n->b = constant(p, jinja_value_int(p->at->whole));
        return n->b == NULL ? NULL : n;
    }
    if (p->at->type != JT_NAME)
        return expected(p, "a name or a number");
    n->kind = JN_GETATTR;
    n->text = p->at++->text;
    return n;
}

static struct jinja_node *postfix(struct parser *p, struct jinja_node *n)
{
    while (n != NULL && (is_op(p, ".") || is_op(p, "[") || is_op(p, "(")))
        n = is_op(p, "(") ? call(p, n) : subscript(p, n);
    return n;
}

/* | name or | name(arguments), as often as it comes; `n` may be NULL: then the first "|" is missing if `inlined`. */
static struct jinja_node *filters(struct parser *p, struct jinja_node *n, bool inlined)
{
    while (inlined || skip_op(p, "|")) {
        struct jinja_node *f = node(p, JN_FILTER);
        inlined = false;
        if (f == NULL || p->at->type != JT_NAME)
            return f == NULL ? NULL : expected(p, "the name of a filter");
        f->a = n;
        f->text = p->at++->text;
        if (is_op(p, "(") && !arguments(p, &f->args))
            return NULL;
        n = f;
    }
    return n;
}

static struct jinja_node *test(struct parser *p, struct jinja_node *of)
{
    struct jinja_node *n = node(p, JN_TEST);
    p->at++;
    const bool negated = skip_word(p, "not");
    if (n == NULL || p->at->type != JT_NAME)
        return n == NULL ? NULL : expected(p, "the name of a test");
    n->a = of;
    n->text = p->at++->text;
    const enum jinja_token_type t = p->at->type;
    if (is_op(p, "(")) {
        if (!arguments(p, &n->args))
            return NULL;
    } else if (t == JT_STRING || t == JT_INT || t == JT_FLOAT || is_op(p, "[") || is_op(p, "{") ||
               (t == JT_NAME && !is_word(p, "else") && !is_word(p, "or") && !is_word(p, "and"))) {
        if (is_word(p, "is"))
            return expected(p, "no second 'is'");
        if ((n->args = node(p, JN_ARG)) == NULL || (n->args->a = postfix(p, primary(p))) == NULL)
            return NULL;
    }
    return negated ? binary(p, JN_NOT, n, (struct jinja_text){0}, n) : n;
}

static struct jinja_node *unary_inside(struct parser *p, bool with_filter)
{
    struct jinja_node *n;
    if (is_op(p, "-") || is_op(p, "+")) {
        n = node(p, is_op(p, "-") ? JN_NEG : JN_POS);
        p->at++;
        if (n == NULL || (n->a = unary(p, false)) == NULL)
            return NULL;
    } else {
        n = primary(p);
    }
    n = postfix(p, n);
    while (n != NULL && with_filter && (is_op(p, "|") || is_word(p, "is") || is_op(p, "(")))
        n = is_op(p, "|") ? filters(p, n, false) : is_op(p, "(") ? call(p, n) : test(p, n);
    return n;
}

static struct jinja_node *unary(struct parser *p, bool with_filter)
{
    if (!enter(p))
        return NULL;
    struct jinja_node *n = unary_inside(p, with_filter);
    p->depth--;
    return n;
}

static struct jinja_node *filtered_unary(struct parser *p)
{
    return unary(p, true);
}

/* next (op next)*, from the left */
static struct jinja_node *chain(struct parser *p, struct jinja_node *(*next)(struct parser *), const char *const *ops)
{
    struct jinja_node *n = next(p);
    while (n != NULL) {
        const char *const *op = ops;
        while (*op != NULL && !is_op(p, *op))
            op++;
        if (*op == NULL)
            break;
        p->at++;
        n = binary(p, JN_BINARY, n, jinja_text_of(*op), next(p));
    }
    return n;
}

static struct jinja_node *power(struct parser *p)
{
    static const char *const ops[] = {"**", NULL};
    return chain(p, filtered_unary, ops);
}

static struct jinja_node *product(struct parser *p)
{
    static const char *const ops[] = {"*", "/", "//", "%", NULL};
    return chain(p, power, ops);
}

static struct jinja_node *concat(struct parser *p)
{
    struct jinja_node *first = product(p), *n;
    if (first == NULL || !is_op(p, "~"))
        return first;
    if ((n = node(p, JN_CONCAT)) == NULL)
        return NULL;
    n->body = first;
    while (skip_op(p, "~")) {
        if ((first->next = product(p)) == NULL)
            return NULL;
        first = first->next;
    }
    return n;
}

static struct jinja_node *sum(struct parser *p)
{
    static const char *const ops[] = {"+", "-", NULL};
    return chain(p, concat, ops);
}

static bool comparison(struct parser *p, struct jinja_text *op)
{
    static const char *const ops[] = {"==", "!=", "<", "<=", ">", ">=", NULL};
    const char *const *o = ops;
    while (*o != NULL && !is_op(p, *o))
        o++;
    if (*o != NULL || is_word(p, "in")) {
        *op = jinja_text_of(*o != NULL ? *o : "in");
        p->at++;
        return true;
    }
    if (!is_word(p, "not") || p->at[1].type != JT_NAME || !jinja_text_is(p->at[1].text, "in"))
        return false;
    *op = jinja_text_of("not in");
    p->at += 2;
    return true;
}

static struct jinja_node *compare(struct parser *p)
{
    struct jinja_node *first = sum(p), *n = NULL, **tail = NULL;
    struct jinja_text op;
    while (first != NULL && comparison(p, &op)) {
        if (n == NULL) {
            if ((n = node(p, JN_COMPARE)) == NULL)
                return NULL;
            n->a = first;
            tail = &n->body;
        }
        struct jinja_node *right = sum(p);
        if ((*tail = binary(p, JN_OPERAND, right, op, right)) == NULL)
            return NULL;
        tail = &(*tail)->next;
    }
    return n == NULL ? first : n;
}

static struct jinja_node *not_expression(struct parser *p)
{
    if (!is_word(p, "not"))
        return compare(p);
    if (!enter(p))
        return NULL;
    p->at++;
    struct jinja_node *of = not_expression(p);
    p->depth--;
    return binary(p, JN_NOT, of, (struct jinja_text){0}, of);
}

static struct jinja_node *and_expression(struct parser *p)
{
    struct jinja_node *n = not_expression(p);
    while (n != NULL && skip_word(p, "and"))
        n = binary(p, JN_AND, n, (struct jinja_text){0}, not_expression(p));
    return n;
}

static struct jinja_node *or_expression(struct parser *p)
{
    struct jinja_node *n = and_expression(p);
    while (n != NULL && skip_word(p, "or"))
        n = binary(p, JN_OR, n, (struct jinja_text){0}, and_expression(p));
    return n;
}

static struct jinja_node *expression(struct parser *p)
{
    struct jinja_node *n;
    if (!enter(p))
        return NULL;
    n = or_expression(p);
    while (n != NULL && skip_word(p, "if")) {
        struct jinja_node *cond = node(p, JN_COND);
        if (cond == NULL || (cond->b = or_expression(p)) == NULL)
            return NULL;
        if (skip_word(p, "else") && (cond->c = expression(p)) == NULL)
            return NULL;
        cond->a = n;
        n = cond;
    }
    p->depth--;
    return n;
}

/* ------------------------------------------------------------------ statements */

static bool body(struct parser *p, const char *const *ends, struct jinja_node **out);

static bool need_block_end(struct parser *p)
{
    if (p->at->type == JT_BLOCK_END) {
        p->at++;
        return true;
    }
    expected(p, "'%}'");
    return false;
}

/* After the tag's own words: the body up to one of the end words, which is left as the current token. */
static bool block(struct parser *p, const char *const *ends, struct jinja_node **out)
{
    (void)skip_op(p, ":");
    return need_block_end(p) && body(p, ends, out);
}

/* The same with a single end word, which is skipped. */
static bool block_to(struct parser *p, const char *end, struct jinja_node **out)
{
    const char *const ends[] = {end, NULL};
    if (!block(p, ends, out))
        return false;
    p->at++;
    return true;
}

static bool assignable(struct parser *p, const struct jinja_node *n)
{
    bool ok = n->kind == JN_NAME || n->kind == JN_TUPLE;
    for (const struct jinja_node *c = n->kind == JN_TUPLE ? n->body : NULL; ok && c != NULL; c = c->next)
        if (!assignable(p, c))
            return false;
    if (!ok)
        expected(p, "a name to assign to, before this");
    return ok;
}

static struct jinja_node *target(struct parser *p, const char *word)
{
    if (word == NULL && p->at->type == JT_NAME && p->at[1].type == JT_OP && jinja_text_is(p->at[1].text, ".") &&
        p->at[2].type == JT_NAME) {
        struct jinja_node *n = node(p, JN_NSREF);
        if (n == NULL)
            return NULL;
        n->text = p->at[0].text;
        n->value = jinja_value_text(p->at[2].text);
        p->at += 3;
        return n;
    }
    struct jinja_node *n = tuple(p, primary, word, false);
    return n != NULL && assignable(p, n) ? n : NULL;
}

static bool set_tag(struct parser *p, struct jinja_node *n)
{
    if ((n->a = target(p, NULL)) == NULL)
        return false;
    n->kind = JN_SET;
    if (skip_op(p, "="))
        return (n->b = tuple(p, expression, NULL, false)) != NULL;
    n->kind = JN_SET_BLOCK;
    if (is_op(p, "|") && (n->b = filters(p, NULL, false)) == NULL)
        return false;
    return block_to(p, "endset", &n->body);
}

static bool for_tag(struct parser *p, struct jinja_node *n)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    n->kind = JN_FOR;
    if ((n->a = target(p, "in")) == NULL)
        return false;
    if (!skip_word(p, "in")) {
        expected(p, "'in'");
        return false;
    }
    if ((n->b = tuple(p, or_expression, "recursive", false)) == NULL || (skip_word(p, "if") && (n->c = expression(p)) == NULL))
        return false;
    if (is_word(p, "recursive")) {
        refused(p, "recursive loops are");
        return false;
    }
    p->loops++;
    bool ok = block(p, ends, &n->body);
    p->loops--;
    if (!ok)
        return false;
    if (skip_word(p, "else"))
        return block_to(p, "endfor", &n->other);
    p->at++;
    return true;
}

static bool if_tag(struct parser *p, struct jinja_node *n)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    n->kind = JN_IF;
    for (;;) {
        if ((n->a = tuple(p, or_expression, NULL, false)) == NULL || !block(p, ends, &n->body))
            return false;
        if (skip_word(p, "else"))
            return block_to(p, "endif", &n->other);
        if (skip_word(p, "endif"))
            return true;
        p->at++;
        if ((n->other = node(p, JN_ELIF)) == NULL)
            return false;
        n = n->other;
    }
}

static bool parameters(struct parser *p, struct jinja_node **tail)
{
    bool defaults = false;
    if (!need_op(p, "("))
        return false;
    while (!skip_op(p, ")")) {
        struct jinja_node *n = node(p, JN_PARAM);
        if (n == NULL || p->at->type != JT_NAME) {
            expected(p, "the name of a parameter");
            return false;
        }
        n->text = p->at++->text;
        if (skip_op(p, "=")) {
            defaults = true;
            if ((n->a = expression(p)) == NULL)
                return false;
        } else if (defaults) {
            expected(p, "a default, as the parameters before have one,");
            return false;
        }
        if (!is_op(p, ")") && !need_op(p, ","))
            return false;
        *tail = n;
        tail = &n->next;
    }
    return true;
}

/* A body that is called from elsewhere: loops around it are not its own. */
static bool called_body(struct parser *p, const char *end, struct jinja_node **out)
{
    const unsigned loops = p->loops;
    p->loops = 0;
    bool ok = block_to(p, end, out);
    p->loops = loops;
    return ok;
}

static bool macro_tag(struct parser *p, struct jinja_node *n)
{
    n->kind = JN_MACRO;
    if (p->at->type != JT_NAME) {
        expected(p, "the name of the macro");
        return false;
    }
    n->text = p->at++->text;
    return parameters(p, &n->args) && called_body(p, "endmacro", &n->body);
}

static bool call_tag(struct parser *p, struct jinja_node *n)
{
    n->kind = JN_CALL_BLOCK;
    n->text = jinja_text_of("caller");
    if ((is_op(p, "(") && !parameters(p, &n->args)) || (n->a = expression(p)) == NULL)
        return false;
    if (n->a->kind != JN_CALL) {
        expected(p, "a call of a macro, before this");
        return false;
    }
    return called_body(p, "endcall", &n->body);
}

static bool with_tag(struct parser *p, struct jinja_node *n)
{
    struct jinja_node **tail = &n->args;
    n->kind = JN_WITH;
    while (p->at->type != JT_BLOCK_END) {
        struct jinja_node *set = node(p, JN_SET);
        if (set == NULL || (n->args != NULL && !need_op(p, ",")) || (set->a = primary(p)) == NULL || !assignable(p, set->a) ||
            !need_op(p, "=") || (set->b = expression(p)) == NULL)
            return false;
        *tail = set;
        tail = &set->next;
    }
    return block_to(p, "endwith", &n->body);
}

static bool filter_tag(struct parser *p, struct jinja_node *n)
{
    n->kind = JN_FILTERED;
    return (n->b = filters(p, NULL, true)) != NULL && called_body(p, "endfilter", &n->body);
}

/* transformers' mark around what the model says: for training only, the text is the same. */
static bool generation_tag(struct parser *p, struct jinja_node *n)
{
    n->kind = JN_SCOPE;
    return called_body(p, "endgeneration", &n->body);
}

static bool loop_control(struct parser *p, struct jinja_node *n)
{
    n->kind = jinja_text_is(p->at[-1].text, "break") ? JN_BREAK : JN_CONTINUE;
    if (p->loops == 0)
        expected(p, "a loop around 'break' or 'continue'");
    return p->loops > 0;
}

static struct jinja_node *statement(struct parser *p)
{
    static const struct {
        const char *name;
        bool (*parse)(struct parser *p, struct jinja_node *n);
    } tags[] = {{"set", set_tag},       {"for", for_tag},   {"if", if_tag},         {"macro", macro_tag},
                {"call", call_tag},     {"with", with_tag}, {"filter", filter_tag}, {"generation", generation_tag},
                {"break", loop_control}, {"continue", loop_control}};
    struct jinja_node *n = node(p, JN_SCOPE);
    if (n == NULL || p->at->type != JT_NAME)
        return n == NULL ? NULL : expected(p, "the name of a tag");
    const struct jinja_text name = p->at->text;
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        if (jinja_text_is(name, tags[i].name)) {
            p->at++;
            return tags[i].parse(p, n) && need_block_end(p) ? n : NULL;
        }
    err_set(p->err, ERR_INPUT, "%s: line %u: the tag '%.*s' is not implemented, or does not belong here", p->name, p->at->line,
            (int)(name.n < 40 ? name.n : 40), name.at);
    return NULL;
}

static bool at_end(const struct parser *p, const char *const *ends)
{
    for (; ends != NULL && *ends != NULL; ends++)
        if (is_word(p, *ends))
            return true;
    return false;
}

static bool body_inside(struct parser *p, const char *const *ends, struct jinja_node **out)
{
    for (struct jinja_node *n; p->at->type != JT_END; *out = n, out = &n->next) {
        const enum jinja_token_type t = p->at->type;
        if (t == JT_BLOCK_BEGIN) {
            p->at++;
            if (at_end(p, ends))
                return true;
            if ((n = statement(p)) == NULL)
                return false;
            continue;
        }
        if ((n = node(p, t == JT_DATA ? JN_DATA : JN_PRINT)) == NULL)
            return false;
        n->text = p->at++->text;
        if (t == JT_DATA)
            continue;
        if ((n->a = tuple(p, expression, NULL, false)) == NULL)
            return false;
        if (p->at->type != JT_PRINT_END) {
            expected(p, "'}}'");
            return false;
        }
        p->at++;
    }
    if (ends == NULL)
        return true;
    err_set(p->err, ERR_INPUT, "%s: line %u: the template ends before '%s'", p->name, p->at->line,
            ends[1] == NULL ? ends[0] : strcmp(ends[0], "endfor") == 0 ? "endfor" : "endif");
    return false;
}

static bool body(struct parser *p, const char *const *ends, struct jinja_node **out)
{
    if (!enter(p))
        return false;
    bool ok = body_inside(p, ends, out);
    p->depth--;
    return ok;
}

int jinja_parser_run(struct jinja_arena *arena, const struct jinja_token *tokens, const char *name, struct jinja_node **out,
                     struct err *err)
{
    struct parser p = {.arena = arena, .at = tokens, .name = name, .err = err};
    struct jinja_node *list = NULL;
    if (!body(&p, NULL, &list))
        return -1;
    *out = list;
    return 0;
}
