/* Functions that every template can call. */
#include <string.h>
#include <time.h>

#include "user/jinja_call.h"
#include "user/jinja_print.h"

#define FUNCTION(name)                                                                                                             \
    static int name(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *a, struct jinja_value *out)

#define RANGE_MAX 100000 /* of Jinja's sandbox */

FUNCTION(range)
{
    int64_t from = 0, to, step = 1;
    uint64_t n = 0;
    (void)self;
    for (size_t i = 0; i < a->n; i++)
        if (a->values[i].type == JV_NONE)
            return jinja_run_fail(r, "range takes whole numbers");
    if (jinja_call_arg_int(r, a, 0, 0, &to) != 0 || jinja_call_arg_int(r, a, 2, 1, &step) != 0)
        return -1;
    if (a->values[1].type != JV_ABSENT) {
        from = to;
        if (jinja_call_arg_int(r, a, 1, 0, &to) != 0)
            return -1;
    }
    if (step == 0)
        return jinja_run_fail(r, "the step of a range cannot be 0");
    if (step > 0 ? from < to : from > to) {
        const uint64_t span = step > 0 ? (uint64_t)to - (uint64_t)from : (uint64_t)from - (uint64_t)to;
        const uint64_t by = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
        n = (span - 1) / by + 1;
    }
    if (n > RANGE_MAX)
        return jinja_run_fail(r, "a range has at most %d items", RANGE_MAX);
    if (jinja_value_list(r, JL_RANGE, out) != 0)
        return -1;
    for (uint64_t i = 0; i < n; i++)
        if (jinja_value_push(r, out->list, jinja_value_int((int64_t)((uint64_t)from + i * (uint64_t)step))) != 0)
            return -1;
    return 0;
}

/* dict(other, a=1): the pairs of another one, then the named ones. */
FUNCTION(dict)
{
    (void)self;
    if (a->n > 1 || (a->n == 1 && a->values[0].type != JV_DICT))
        return jinja_run_fail(r, "dict() and namespace() take one dict and keyword arguments");
    if (jinja_value_dict(r, out) != 0)
        return -1;
    for (size_t i = 0; a->n == 1 && i < a->values[0].dict->n; i++)
        if (jinja_value_put(r, out->dict, a->values[0].dict->pairs[i].key, a->values[0].dict->pairs[i].value) != 0)
            return -1;
    for (const struct jinja_var *v = a->named; v != NULL; v = v->next)
        if (jinja_value_put(r, out->dict, jinja_value_text(v->name), v->value) != 0)
            return -1;
    return 0;
}

FUNCTION(namespace)
{
    if (dict(r, self, a, out) != 0)
        return -1;
    out->type = JV_SPACE;
    return 0;
}

FUNCTION(raise_exception)
{
    struct jinja_text why;
    (void)self;
    (void)out;
    if (jinja_print_text(r, &a->values[0], &why) != 0)
        return -1;
    return jinja_run_fail(r, "the template refuses these messages: %.*s", (int)(why.n < 400 ? why.n : 400), why.at);
}

FUNCTION(strftime_now)
{
    struct jinja_text format;
    char pattern[256], text[1024];
    struct tm tm;
    const time_t now = (time_t)r->now;
    (void)self;
    if (jinja_call_arg_text(r, a, 0, NULL, &format) != 0)
        return -1;
    if (format.n >= sizeof pattern || memchr(format.at, '\0', format.n) != NULL || localtime_r(&now, &tm) == NULL)
        return jinja_run_fail(r, "strftime_now: the format is too long, or not text");
    memcpy(pattern, format.at, format.n);
    pattern[format.n] = '\0';
    for (const char *p = pattern; (p = strchr(p, '%')) != NULL; p += 2) {
        p += p[1] == '-'; /* no zero in front */
        if (p[1] == '\0' || strchr("aAwdbBmyYHIMSpjUWcxXZz%eFTDRnt", p[1]) == NULL)
            return jinja_run_fail(r, "strftime_now: '%%%c' is not implemented", p[1] == '\0' ? '%' : p[1]);
    }
    return jinja_value_copy(r, text, format.n == 0 ? 0 : strftime(text, sizeof text, pattern, &tm), out);
}

const struct jinja_def jinja_globals[] = {
    {"dict", NULL, dict},
    {"namespace", NULL, namespace},
    {"raise_exception", "message ", raise_exception},
    {"range", "/start stop? step? ", range},
    {"strftime_now", "format ", strftime_now},
    {"cycler", NULL, NULL},
    {"joiner", NULL, NULL},
    {"lipsum", NULL, NULL},
    {"self", NULL, NULL},
    {NULL, NULL, NULL},
};
