#include "user/jinja_call.h"

#include <string.h>

#define SHOW(t) (int)((t).n < 80 ? (t).n : 80), (t).at

const struct jinja_def *jinja_call_find(const struct jinja_def *table, struct jinja_text name)
{
    for (; table->name != NULL; table++)
        if (jinja_text_is(name, table->name))
            return table;
    return NULL;
}

/* One parameter of "old new count? " from *at on; false at the end. */
static bool parameter(const char **at, struct jinja_text *name, bool *optional)
{
    const size_t n = strcspn(*at, " ");
    if (n == 0)
        return false;
    *optional = (*at)[n - 1] == '?';
    *name = (struct jinja_text){*at, n - *optional};
    *at += n + 1;
    return true;
}

static int bind(struct jinja_run *r, const struct jinja_def *def, const struct jinja_args *args, struct jinja_args *out)
{
    const bool by_name = def->params[0] != '/';
    const char *at = def->params + !by_name;
    struct jinja_text name;
    size_t i = 0, used = 0, named = 0;
    bool optional;
    for (; parameter(&at, &name, &optional); i++) {
        const struct jinja_var *v = by_name ? args->named : NULL;
        while (v != NULL && !jinja_text_same(v->name, name))
            v = v->next;
        if (v != NULL && i < args->n)
            return jinja_run_fail(r, "%s() got two values for '%.*s'", def->name, SHOW(name));
        if (v == NULL && i >= args->n && !optional)
            return jinja_run_fail(r, "%s() needs '%.*s'", def->name, SHOW(name));
        out->values[i] = v != NULL ? v->value : i < args->n ? args->values[i] : (struct jinja_value){0};
        used += v != NULL;
    }
    for (const struct jinja_var *v = args->named; v != NULL; v = v->next)
        named++;
    if (args->n > i)
        return jinja_run_fail(r, "%s() takes at most %zu arguments, got %zu", def->name, i, args->n);
    if (named > used)
        return jinja_run_fail(r, "%s() got a keyword argument that it does not know, or one twice", def->name);
    out->n = i;
    return 0;
}

int jinja_call_def(struct jinja_run *r, const struct jinja_def *def, const struct jinja_value *self, const struct jinja_args *args,
                   struct jinja_value *out)
{
    struct jinja_value values[JINJA_CALL_PARAMS_MAX];
    struct jinja_args bound = {.values = values};
    struct jinja_value result;
    if (def->fn == NULL)
        return jinja_run_fail(r, "'%s' of a %s is not implemented", def->name, jinja_value_type_name(self));
    if (jinja_run_spend(r, 1) != 0 || jinja_run_enter(r) != 0)
        return -1;
    int rc = def->params == NULL ? 0 : bind(r, def, args, &bound);
    if (rc == 0)
        rc = def->fn(r, self, def->params == NULL ? args : &bound, &result);
    jinja_run_leave(r);
    if (rc == 0)
        *out = result;
    return rc;
}

int jinja_call_filter(struct jinja_run *r, struct jinja_text name, const struct jinja_value *self, const struct jinja_args *args,
                      struct jinja_value *out)
{
    const struct jinja_def *def = jinja_call_find(jinja_filters, name);
    if (def == NULL)
        def = jinja_call_find(jinja_list_filters, name);
    if (def == NULL)
        return jinja_run_fail(r, "the filter '%.*s' is not implemented", SHOW(name));
    return jinja_call_def(r, def, self, args, out);
}

int jinja_call_test(struct jinja_run *r, struct jinja_text name, const struct jinja_value *self, const struct jinja_args *args,
                    bool *out)
{
    const struct jinja_def *def = jinja_call_find(jinja_tests, name);
    struct jinja_value v;
    if (def == NULL)
        return jinja_run_fail(r, "the test '%.*s' is not implemented", SHOW(name));
    if (jinja_call_def(r, def, self, args, &v) != 0)
        return -1;
    *out = jinja_value_truth(&v);
    return 0;
}

/* Methods that the immutable sandbox hides. */
static bool hidden(enum jinja_type type, struct jinja_text name)
{
    static const char *const of_lists[] = {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort", NULL};
    static const char *const of_dicts[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
    const char *const *n = type == JV_LIST ? of_lists : of_dicts;
    for (; (type == JV_LIST || type == JV_DICT) && *n != NULL; n++)
        if (jinja_text_is(name, *n))
            return true;
    return name.n > 1 && memcmp(name.at, "__", 2) == 0;
}

int jinja_call_method(struct jinja_run *r, const struct jinja_value *of, struct jinja_text name, struct jinja_value *out)
{
    static const struct jinja_def loop_methods[] = {{"cycle", NULL, NULL}, {"changed", NULL, NULL}, {NULL, NULL, NULL}};
    static const struct jinja_def none[] = {{NULL, NULL, NULL}};
    const struct jinja_def *table = of->type == JV_TEXT   ? jinja_text_methods
                                    : of->type == JV_DICT ? jinja_dict_methods
                                    : of->type == JV_LOOP ? loop_methods
                                    : of->type == JV_LIST && of->list->kind <= JL_TUPLE ? jinja_list_methods
                                                                                        : none;
    const struct jinja_def *def = jinja_call_find(table, name);
    *out = (struct jinja_value){0};
    if (def == NULL) {
        if ((of->type != JV_LIST || of->list->kind == JL_LIST) && hidden(of->type, name))
            *out = jinja_value_undefined(name);
        return 0;
    }
    struct jinja_method *m = jinja_run_take(r, sizeof *m);
    if (m == NULL)
        return -1;
    *m = (struct jinja_method){def, *of};
    *out = (struct jinja_value){.type = JV_FUNCTION, .function = m};
    return 0;
}

int jinja_call_arg_text(struct jinja_run *r, const struct jinja_args *a, size_t i, const char *fallback, struct jinja_text *out)
{
    const struct jinja_value *v = &a->values[i];
    if (v->type == JV_ABSENT && fallback != NULL)
        *out = jinja_text_of(fallback);
    else if (v->type == JV_TEXT)
        *out = v->text;
    else
        return jinja_run_fail(r, "expected a str as argument %zu, found %s", i + 1, jinja_value_type_name(v));
    return 0;
}

int jinja_call_arg_int(struct jinja_run *r, const struct jinja_args *a, size_t i, int64_t fallback, int64_t *out)
{
    const struct jinja_value *v = &a->values[i];
    if (v->type == JV_ABSENT || v->type == JV_NONE)
        *out = fallback;
    else if (!jinja_value_whole(v, out))
        return jinja_run_fail(r, "expected an int as argument %zu, found %s", i + 1, jinja_value_type_name(v));
    return 0;
}

bool jinja_call_arg_true(const struct jinja_args *a, size_t i, bool fallback)
{
    return a->values[i].type == JV_ABSENT ? fallback : jinja_value_truth(&a->values[i]);
}
