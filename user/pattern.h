/* user/pattern.h - what a Split or Replace step looks for: a plain string or a regular expression.
 *
 * Data flow   {"String": s} or {"Regex": r} of tokenizer.json -> struct pattern -> matches in prompt or token.
 * Units       bytes.
 * Errors      pattern_read names the file and what is wrong; pattern_next as regex_find.
 * Memory      zero-initialise ({0}); pattern_free releases. Finding needs a struct regex_scan of the caller's thread.
 * Secrets     reads prompts; keeps nothing.
 */
#ifndef STIP_USER_PATTERN_H
#define STIP_USER_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/json.h"
#include "user/regex.h"

struct pattern {
    char *literal; /* NULL: a regular expression */
    size_t literal_len;
    struct regex *regex;
};

/* Reads the member "pattern" of a step. */
MUST_CHECK int pattern_read(struct pattern *p, const struct json_doc *doc, const struct json *step, struct err *err);
MUST_CHECK int pattern_from_regex(struct pattern *p, const char *regex, struct err *err);
void pattern_free(struct pattern *p);

/* Successive matches in one text, left to right; an empty match right behind another match does not count. */
struct pattern_cursor {
    size_t from;
    size_t last_end;
    bool any;
};
/* 1 and the place, 0 at the end, -1 on error. */
MUST_CHECK int pattern_next(const struct pattern *p, struct regex_scan *scan, const char *text, size_t len,
                            struct pattern_cursor *c, size_t *start, size_t *end, struct err *err);
/* Appends text with every match replaced. */
struct buf;
MUST_CHECK int pattern_replace(const struct pattern *p, struct regex_scan *scan, const char *text, size_t len, const char *with,
                               size_t with_len, struct buf *out, struct err *err);

#endif
