/* user/jinja_value.h - the values of a chat template: Python's, as far as templates meet them.
 *
 * Data flow   messages, tools, literals -> values -> printed text.
 * Units       whole numbers are 64 bits; texts as user/jinja_text.h.
 * Errors      what Python would raise: names type and line. Nesting, memory and steps are bounded (user/jinja_run.h).
 * Memory      values are copied freely; what they point to lives in the arena of the template or of the rendering.
 * Secrets     values hold prompts; messages carry types and names from the template only.
 * Source      Python 3 semantics under Jinja 3.1 with autoescape off.
 */
#ifndef STIP_USER_JINJA_VALUE_H
#define STIP_USER_JINJA_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/json.h"
#include "user/jinja_text.h"

enum jinja_type {
    JV_ABSENT, /* no value: an argument that was not given */
    JV_UNDEFINED,
    JV_NONE,
    JV_BOOL,
    JV_INT,
    JV_FLOAT,
    JV_TEXT,
    JV_LIST,
    JV_DICT,
    JV_SPACE,    /* namespace(): the only value that changes */
    JV_MACRO,
    JV_FUNCTION, /* global, or method with its object */
    JV_LOOP,
};

enum jinja_list_kind {
    JL_LIST,
    JL_TUPLE,
    JL_RANGE,
    JL_VIEW,   /* keys(), values(), items(): has a length, but no positions */
    JL_STREAM, /* what map, select, ... give: read once, no length, always true */
};

struct jinja_list {
    enum jinja_list_kind kind;
    size_t n, cap, read; /* read: how much of a stream is used up */
    struct jinja_value *items;
};

struct jinja_value {
    enum jinja_type type;
    /* JV_TEXT: marked by "safe". JV_FLOAT: stands for a whole number that JSON reading could not keep exactly.
     * JV_UNDEFINED: text names what is missing. */
    bool mark;
    union {
        bool truth;
        int64_t whole;
        double number;
        struct jinja_text text;
        struct jinja_list *list;
        struct jinja_dict *dict; /* JV_DICT and JV_SPACE */
        const struct jinja_macro *macro;
        const struct jinja_method *function;
        struct jinja_loop *loop;
    };
};

struct jinja_pair {
    struct jinja_value key, value;
};

struct jinja_dict {
    size_t n, cap;
    struct jinja_pair *pairs; /* in the order of insertion */
};

struct jinja_run;

static inline struct jinja_value jinja_value_none(void)
{
    return (struct jinja_value){.type = JV_NONE};
}

static inline struct jinja_value jinja_value_bool(bool b)
{
    return (struct jinja_value){.type = JV_BOOL, .truth = b};
}

static inline struct jinja_value jinja_value_int(int64_t v)
{
    return (struct jinja_value){.type = JV_INT, .whole = v};
}

static inline struct jinja_value jinja_value_float(double v)
{
    return (struct jinja_value){.type = JV_FLOAT, .number = v};
}

static inline struct jinja_value jinja_value_text(struct jinja_text t)
{
    return (struct jinja_value){.type = JV_TEXT, .text = t};
}

static inline struct jinja_value jinja_value_undefined(struct jinja_text name)
{
    return (struct jinja_value){.type = JV_UNDEFINED, .text = name};
}

const char *jinja_value_type_name(const struct jinja_value *v);
bool jinja_value_truth(const struct jinja_value *v);
/* Whole numbers and booleans, which Python counts with. */
bool jinja_value_whole(const struct jinja_value *v, int64_t *out);
bool jinja_value_number(const struct jinja_value *v, double *out);

MUST_CHECK int jinja_value_list(struct jinja_run *r, enum jinja_list_kind kind, struct jinja_value *out);
MUST_CHECK int jinja_value_push(struct jinja_run *r, struct jinja_list *list, struct jinja_value item);
MUST_CHECK int jinja_value_dict(struct jinja_run *r, struct jinja_value *out);
/* Adds or replaces. */
MUST_CHECK int jinja_value_put(struct jinja_run *r, struct jinja_dict *d, struct jinja_value key, struct jinja_value value);
/* *found is NULL if there is no such key. */
MUST_CHECK int jinja_value_find(struct jinja_run *r, const struct jinja_dict *d, const struct jinja_value *key,
                                struct jinja_value **found);
/* The same for a key that is text. */
struct jinja_value *jinja_value_member(const struct jinja_dict *d, struct jinja_text key);
/* Copies a text into the arena. */
MUST_CHECK int jinja_value_copy(struct jinja_run *r, const void *at, size_t n, struct jinja_value *out);
/* The same of a buffer, which is freed either way. */
MUST_CHECK int jinja_value_take(struct jinja_run *r, struct buf *b, struct jinja_value *out);

MUST_CHECK int jinja_value_equal(struct jinja_run *r, const struct jinja_value *a, const struct jinja_value *b, bool *out);
/* Below, equal or above 0; types that Python cannot order are an error. */
MUST_CHECK int jinja_value_order(struct jinja_run *r, const struct jinja_value *a, const struct jinja_value *b, int *out);
/* b in a */
MUST_CHECK int jinja_value_contains(struct jinja_run *r, const struct jinja_value *a, const struct jinja_value *b, bool *out);
/* What a for loop goes over, as a list to be read only; a stream is used up by this. */
MUST_CHECK int jinja_value_items(struct jinja_run *r, const struct jinja_value *v, struct jinja_list *out);

MUST_CHECK int jinja_value_from_json(struct jinja_run *r, const struct json *node, struct jinja_value *out);

#endif
