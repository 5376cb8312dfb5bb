#include "user/jinja_run.h"

#include <stdarg.h>
#include <stdio.h>

int jinja_run_fail(struct jinja_run *r, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(r->err, ERR_INPUT, "%s: line %u: %s", r->name, r->line, text);
}

int jinja_run_spend(struct jinja_run *r, uint64_t steps)
{
    if (steps > JINJA_STEPS_MAX - r->steps)
        return jinja_run_fail(r, "the template runs for too long (more than %llu steps)", (unsigned long long)JINJA_STEPS_MAX);
    r->steps += steps;
    return 0;
}

int jinja_run_spend_text(struct jinja_run *r, size_t bytes)
{
    return jinja_run_spend(r, 1 + bytes / 256);
}

void *jinja_run_take(struct jinja_run *r, size_t n)
{
    void *p = jinja_arena_take(&r->arena, n);
    if (p == NULL)
        jinja_run_fail(r, "the template needs too much memory (more than %zu MiB)", JINJA_MEMORY_MAX >> 20);
    return p;
}

int jinja_run_enter(struct jinja_run *r)
{
    if (r->depth == JINJA_DEPTH_MAX)
        return jinja_run_fail(r, "nested too deep (more than %u levels)", JINJA_DEPTH_MAX);
    r->depth++;
    return 0;
}

static int too_long(struct jinja_run *r)
{
    return jinja_run_fail(r, "the text is too long (more than %zu MiB)", JINJA_OUTPUT_MAX >> 20);
}

int jinja_run_check(struct jinja_run *r, const struct buf *b)
{
    return b->failed ? too_long(r) : 0;
}

int jinja_run_write(struct jinja_run *r, struct jinja_text t)
{
    if (t.n > JINJA_OUTPUT_MAX - r->written)
        return too_long(r);
    r->written += t.n;
    buf_put(r->out, t.at, t.n);
    return jinja_run_check(r, r->out);
}
