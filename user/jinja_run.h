/* user/jinja_run.h - one rendering of a chat template, and its bounds.
 *
 * Data flow   tree + variables -> statements and expressions -> output buffer.
 * Units       steps count evaluated nodes, items touched and text moved (256 bytes each); written counts bytes.
 * Errors      jinja_run_fail puts template and line in front and returns -1. Functions of this folder that take a run report
 *             through it.
 * Memory      values of a rendering live in its arena.
 * Secrets     holds prompts.
 */
#ifndef STIP_USER_JINJA_RUN_H
#define STIP_USER_JINJA_RUN_H

#include "user/jinja_arena.h"
#include "user/jinja_ast.h"

#ifndef STIP_FUZZ
#define JINJA_STEPS_MAX ((uint64_t)8 << 20)
#define JINJA_OUTPUT_MAX ((size_t)32 << 20) /* of all macros and blocks together, and of the result */
#define JINJA_MEMORY_MAX ((size_t)256 << 20)
#else /* the same ways through the code, a thousand times as often: a fuzzer soon finds templates that take as long as they may */
#define JINJA_STEPS_MAX ((uint64_t)8 << 10)
#define JINJA_OUTPUT_MAX ((size_t)64 << 10)
#define JINJA_MEMORY_MAX ((size_t)1 << 20)
#endif
#define JINJA_DEPTH_MAX 500u

struct jinja_var {
    struct jinja_text name;
    struct jinja_value value;
    struct jinja_var *next;
};

struct jinja_scope {
    struct jinja_scope *parent;
    struct jinja_var *vars;
};

struct jinja_run {
    const char *name;
    unsigned line, depth;
    uint64_t steps;
    size_t written;
    int64_t now; /* seconds since 1970, for strftime_now */
    struct jinja_arena arena;
    struct buf *out;
    struct err *err;
};

struct jinja_macro {
    const struct jinja_node *node; /* text, args, body */
    struct jinja_scope *scope;     /* where it was made */
};

struct jinja_args {
    struct jinja_value *values; /* positional ones */
    size_t n;
    struct jinja_var *named; /* list */
};

struct jinja_loop {
    const struct jinja_list *items;
    size_t index;
    struct jinja_value *seen; /* of changed(): what it saw last */
};

/* A filter, test, method or global function by its name. `params` are the names that Python has, with a space behind each:
 * "old new count? " (a question mark: may be left out); a slash first: not by keyword; NULL: any, the function looks itself.
 * fn NULL: known to Python but not implemented here. */
struct jinja_def {
    const char *name, *params;
    int (*fn)(struct jinja_run *r, const struct jinja_value *self, const struct jinja_args *args, struct jinja_value *out);
};

struct jinja_method {
    const struct jinja_def *def;
    struct jinja_value self;
};

int jinja_run_fail(struct jinja_run *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Counts; fails beyond the limit. */
MUST_CHECK int jinja_run_spend(struct jinja_run *r, uint64_t steps);
/* The same for `bytes` of text looked at or moved. */
MUST_CHECK int jinja_run_spend_text(struct jinja_run *r, size_t bytes);
/* NULL has been reported. */
void *jinja_run_take(struct jinja_run *r, size_t n);
/* One level deeper in anything that calls itself; jinja_run_leave afterwards, also after an error in between. */
MUST_CHECK int jinja_run_enter(struct jinja_run *r);
static inline void jinja_run_leave(struct jinja_run *r)
{
    r->depth--;
}
/* A buffer that has reached its ceiling. */
MUST_CHECK int jinja_run_check(struct jinja_run *r, const struct buf *b);
MUST_CHECK int jinja_run_write(struct jinja_run *r, struct jinja_text t);

#endif
