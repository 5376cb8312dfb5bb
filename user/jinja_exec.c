#include "user/jinja_exec.h"

#include "user/jinja_eval.h"
#include "user/jinja_print.h"

static struct jinja_scope *inner(struct jinja_run *r, struct jinja_scope *parent)
{
    struct jinja_scope *s = jinja_run_take(r, sizeof *s);
    if (s != NULL)
        s->parent = parent;
    return s;
}

/* Runs a body and gives its text instead of writing it. */
static enum jinja_exec_result capture(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *body,
                                      struct jinja_value *out)
{
    struct buf *const before = r->out;
    struct buf b;
    buf_init(&b, JINJA_OUTPUT_MAX);
    r->out = &b;
    enum jinja_exec_result rc = jinja_exec(r, scope, body);
    r->out = before;
    if (rc == JINJA_EXEC_FAILED) {
        buf_free(&b);
        return rc;
    }
    return jinja_value_take(r, &b, out) != 0 ? JINJA_EXEC_FAILED : rc;
}

/* ------------------------------------------------------------------ assignments */

static int assign(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *target, const struct jinja_value *v)
{
    struct jinja_list items;
    size_t i = 0, n = 0;
    if (target->kind == JN_NAME)
        return jinja_eval_set(r, scope, target->text, *v);
    if (target->kind == JN_NSREF) {
        struct jinja_node space = {.kind = JN_NAME, .line = target->line, .text = target->text};
        struct jinja_value ns;
        if (jinja_eval(r, scope, &space, &ns) != 0)
            return -1;
        if (ns.type != JV_SPACE)
            return jinja_run_fail(r, "cannot assign to an attribute of a %s: only namespace() objects have such",
                                  jinja_value_type_name(&ns));
        return jinja_value_put(r, ns.dict, target->value, *v);
    }
    if (v->type == JV_UNDEFINED)
        return jinja_eval_undefined(r, v);
    if (jinja_value_items(r, v, &items) != 0)
        return -1;
    for (const struct jinja_node *c = target->body; c != NULL; c = c->next)
        n++;
    if (items.n != n)
        return jinja_run_fail(r, "%zu values for %zu names", items.n, n);
    for (const struct jinja_node *c = target->body; c != NULL; c = c->next)
        if (assign(r, scope, c, &items.items[i++]) != 0)
            return -1;
    return 0;
}

static enum jinja_exec_result set_block(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n)
{
    struct jinja_scope *own = inner(r, scope);
    struct jinja_value v;
    enum jinja_exec_result rc = own == NULL ? JINJA_EXEC_FAILED : capture(r, own, n->body, &v);
    if (rc != JINJA_EXEC_DONE)
        return rc;
    if ((n->b != NULL && jinja_eval_filters(r, scope, n->b, &v, &v) != 0) || assign(r, scope, n->a, &v) != 0)
        return JINJA_EXEC_FAILED;
    return JINJA_EXEC_DONE;
}

static enum jinja_exec_result filtered(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n)
{
    struct jinja_scope *own = inner(r, scope);
    struct jinja_value v;
    struct jinja_text text;
    enum jinja_exec_result rc = own == NULL ? JINJA_EXEC_FAILED : capture(r, own, n->body, &v);
    if (rc != JINJA_EXEC_DONE)
        return rc;
    if (jinja_eval_filters(r, scope, n->b, &v, &v) != 0 || jinja_print_text(r, &v, &text) != 0 || jinja_run_write(r, text) != 0)
        return JINJA_EXEC_FAILED;
    return JINJA_EXEC_DONE;
}

static enum jinja_exec_result with(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n)
{
    struct jinja_scope *own = inner(r, scope);
    if (own == NULL)
        return JINJA_EXEC_FAILED;
    for (const struct jinja_node *s = n->args; s != NULL; s = s->next) {
        struct jinja_value v;
        /* The values do not see each other's names. */
        if (jinja_eval(r, scope, s->b, &v) != 0 || assign(r, own, s->a, &v) != 0)
            return JINJA_EXEC_FAILED;
    }
    return jinja_exec(r, own, n->body);
}

/* ------------------------------------------------------------------ loops */

/* Items of the loop: those that pass the condition. */
static int loop_items(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n, struct jinja_list *out)
{
    struct jinja_value of, yes;
    struct jinja_list all;
    if (jinja_eval(r, scope, n->b, &of) != 0 || jinja_value_items(r, &of, &all) != 0)
        return -1;
    if (n->c == NULL) {
        *out = all;
        return 0;
    }
    *out = (struct jinja_list){0};
    for (size_t i = 0; i < all.n; i++) {
        struct jinja_scope *own = inner(r, scope);
        if (own == NULL || assign(r, own, n->a, &all.items[i]) != 0 || jinja_eval(r, own, n->c, &yes) != 0)
            return -1;
        if (jinja_value_truth(&yes) && jinja_value_push(r, out, all.items[i]) != 0)
            return -1;
    }
    return 0;
}

static enum jinja_exec_result loop(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n)
{
    struct jinja_list *items = jinja_run_take(r, sizeof *items);
    struct jinja_loop *l = jinja_run_take(r, sizeof *l);
    if (items == NULL || l == NULL || loop_items(r, scope, n, items) != 0)
        return JINJA_EXEC_FAILED;
    l->items = items;
    for (l->index = 0; l->index < items->n; l->index++) {
        /* Each turn starts anew: what the last one has set is gone. */
        struct jinja_scope *own = inner(r, scope);
        const struct jinja_value self = {.type = JV_LOOP, .loop = l};
        r->line = n->line;
        if (own == NULL || jinja_run_spend(r, 1) != 0 || jinja_eval_set(r, own, jinja_text_of("loop"), self) != 0 ||
            assign(r, own, n->a, &items->items[l->index]) != 0)
            return JINJA_EXEC_FAILED;
        enum jinja_exec_result rc = jinja_exec(r, own, n->body);
        if (rc == JINJA_EXEC_FAILED || rc == JINJA_EXEC_BREAK)
            return rc == JINJA_EXEC_BREAK ? JINJA_EXEC_DONE : rc;
    }
    struct jinja_scope *own = items->n > 0 ? NULL : inner(r, scope);
    return items->n > 0 ? JINJA_EXEC_DONE : own == NULL ? JINJA_EXEC_FAILED : jinja_exec(r, own, n->other);
}

static enum jinja_exec_result condition(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n)
{
    for (;;) {
        struct jinja_value yes;
        if (jinja_eval(r, scope, n->a, &yes) != 0)
            return JINJA_EXEC_FAILED;
        if (jinja_value_truth(&yes))
            return jinja_exec(r, scope, n->body);
        if (n->other == NULL || n->other->kind != JN_ELIF)
            return jinja_exec(r, scope, n->other);
        n = n->other;
    }
}

/* ------------------------------------------------------------------ macros */

static int make_macro(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n, struct jinja_value *out)
{
    struct jinja_macro *m = jinja_run_take(r, sizeof *m);
    if (m == NULL)
        return -1;
    *m = (struct jinja_macro){n, scope};
    *out = (struct jinja_value){.type = JV_MACRO, .macro = m};
    return 0;
}

/* Takes a keyword argument out of the list; NULL if it was not given. */
static struct jinja_var *take_named(struct jinja_var **list, struct jinja_text name)
{
    for (; *list != NULL; list = &(*list)->next)
        if (jinja_text_same((*list)->name, name)) {
            struct jinja_var *found = *list;
            *list = found->next;
            return found;
        }
    return NULL;
}

#define SHOW(t) (int)((t).n < 80 ? (t).n : 80), (t).at

static int bind(struct jinja_run *r, struct jinja_scope *own, const struct jinja_node *macro, const struct jinja_args *args)
{
    struct jinja_var *named = args->named, *given;
    size_t i = 0;
    for (const struct jinja_node *p = macro->args; p != NULL; p = p->next, i++) {
        struct jinja_value v = jinja_value_undefined(p->text);
        if ((given = take_named(&named, p->text)) != NULL && i < args->n)
            return jinja_run_fail(r, "macro '%.*s' got two values for '%.*s'", SHOW(macro->text), SHOW(p->text));
        if (given != NULL)
            v = given->value;
        else if (i < args->n)
            v = args->values[i];
        else if (p->a != NULL && jinja_eval(r, own, p->a, &v) != 0)
            return -1;
        if (jinja_eval_set(r, own, p->text, v) != 0)
            return -1;
    }
    if (args->n > i)
        return jinja_run_fail(r, "macro '%.*s' takes at most %zu arguments, got %zu ('varargs' is not implemented)", SHOW(macro->text),
                              i, args->n);
    if ((given = take_named(&named, jinja_text_of("caller"))) != NULL && jinja_eval_set(r, own, given->name, given->value) != 0)
        return -1;
    if (named != NULL)
        return jinja_run_fail(r, "macro '%.*s' has no argument '%.*s' ('kwargs' is not implemented)", SHOW(macro->text),
                              SHOW(named->name));
    return 0;
}

int jinja_exec_macro(struct jinja_run *r, const struct jinja_macro *m, const struct jinja_args *args, struct jinja_value *out)
{
    struct jinja_scope *own = inner(r, m->scope);
    const unsigned line = r->line;
    if (own == NULL || bind(r, own, m->node, args) != 0 || capture(r, own, m->node->body, out) != JINJA_EXEC_DONE)
        return -1;
    r->line = line;
    return 0;
}

/* {% call(x) m() %}: m gets the body as caller(). */
static enum jinja_exec_result call_block(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n)
{
    struct jinja_value what, v;
    struct jinja_args args;
    struct jinja_text text;
    struct jinja_var *caller = jinja_run_take(r, sizeof *caller);
    if (caller == NULL || jinja_eval(r, scope, n->a->a, &what) != 0 || jinja_eval_args(r, scope, n->a->args, &args) != 0 ||
        make_macro(r, scope, n, &caller->value) != 0)
        return JINJA_EXEC_FAILED;
    caller->name = n->text;
    caller->next = args.named;
    args.named = caller;
    if (jinja_eval_call(r, &what, &args, &v) != 0 || jinja_print_text(r, &v, &text) != 0 || jinja_run_write(r, text) != 0)
        return JINJA_EXEC_FAILED;
    return JINJA_EXEC_DONE;
}

/* ------------------------------------------------------------------ lists of statements */

static int print(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n)
{
    struct jinja_value v;
    struct jinja_text text;
    if (jinja_eval(r, scope, n->a, &v) != 0 || jinja_print_text(r, &v, &text) != 0)
        return -1;
    return jinja_run_write(r, text);
}

static enum jinja_exec_result statement(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n)
{
    struct jinja_scope *own;
    struct jinja_value v;
    int rc;
    switch (n->kind) {
    case JN_DATA:
        rc = jinja_run_write(r, n->text);
        break;
    case JN_PRINT:
        rc = print(r, scope, n);
        break;
    case JN_SET:
        rc = jinja_eval(r, scope, n->b, &v) != 0 ? -1 : assign(r, scope, n->a, &v);
        break;
    case JN_MACRO:
        rc = make_macro(r, scope, n, &v) != 0 ? -1 : jinja_eval_set(r, scope, n->text, v);
        break;
    case JN_SET_BLOCK:
        return set_block(r, scope, n);
    case JN_FILTERED:
        return filtered(r, scope, n);
    case JN_WITH:
        return with(r, scope, n);
    case JN_FOR:
        return loop(r, scope, n);
    case JN_IF:
        return condition(r, scope, n);
    case JN_CALL_BLOCK:
        return call_block(r, scope, n);
    case JN_BREAK:
        return JINJA_EXEC_BREAK;
    case JN_CONTINUE:
        return JINJA_EXEC_CONTINUE;
    default: /* JN_SCOPE: the parser makes no other kind of statement */
        own = inner(r, scope);
        return own == NULL ? JINJA_EXEC_FAILED : jinja_exec(r, own, n->body);
    }
    return rc == 0 ? JINJA_EXEC_DONE : JINJA_EXEC_FAILED;
}

enum jinja_exec_result jinja_exec(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *list)
{
    enum jinja_exec_result rc = JINJA_EXEC_DONE;
    if (jinja_run_enter(r) != 0)
        return JINJA_EXEC_FAILED;
    for (const struct jinja_node *n = list; n != NULL && rc == JINJA_EXEC_DONE; n = n->next) {
        r->line = n->line;
        rc = jinja_run_spend(r, 1) != 0 ? JINJA_EXEC_FAILED : statement(r, scope, n);
    }
    jinja_run_leave(r);
    return rc;
}
