/* base/json.h - the one door to cJSON: strict reading, checked building.
 *
 * Data flow   file or text -> strict scan (UTF-8, grammar) -> cJSON -> typed getters; and results -> builder -> text.
 * Errors      every getter names document and field, what was expected and what was found: ERR_INPUT, and ERR_USAGE of a
 *             document that may have comments, which is a config. Documents larger than
 *             the cap, invalid UTF-8, duplicate keys, trailing text, "\u0000", control characters, numbers that overflow or
 *             break the grammar are refused: cJSON alone accepts them all.
 * Memory      json_parse/json_load give a document (json_free). Nodes and strings are borrowed from it.
 *             Building is sticky: the first failed allocation is reported by json_print.
 * Secrets     never for keys: cJSON's memory is neither locked nor wiped.
 */
#ifndef STIP_BASE_JSON_H
#define STIP_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct json;     /* a node */
struct json_doc; /* owns the nodes and knows the name for messages */

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

#define JSON_CAP_CONFIG ((size_t)4 << 20)

/* `name` is how messages call the document, for example its path. `comments` allows // and slash-star comments. */
MUST_CHECK int json_parse(struct json_doc **out, const char *text, size_t len, bool comments, const char *name,
                          struct err *err);
MUST_CHECK int json_load(struct json_doc **out, const char *path, size_t cap, bool comments, struct err *err);
void json_free(struct json_doc *doc);
const char *json_name(const struct json_doc *doc);
const struct json *json_root(const struct json_doc *doc);

enum json_type json_type(const struct json *node);
const char *json_type_name(const struct json *node); /* "nothing" for NULL */
/* Member by exact key, NULL if absent or `obj` is no object. Linear: iterate over large objects instead. */
const struct json *json_get(const struct json *obj, const char *key);
const struct json *json_first(const struct json *node); /* first child of an array or object */
const struct json *json_next(const struct json *node);
const char *json_key(const struct json *node);   /* key of a member of an object */
size_t json_count(const struct json *node);      /* children */
const char *json_string(const struct json *node); /* NULL unless a string */
double json_number(const struct json *node);     /* NaN unless a number */
bool json_true(const struct json *node);
bool json_is_null(const struct json *node);       /* absent or null */
/* An integer that a double holds exactly; false otherwise. */
bool json_integer(const struct json *node, int64_t *out);

/* Required members. On error *out is untouched. */
MUST_CHECK int json_get_str(const struct json_doc *doc, const struct json *obj, const char *key, const char **out,
                            struct err *err);
MUST_CHECK int json_get_int(const struct json_doc *doc, const struct json *obj, const char *key, int64_t min, int64_t max,
                            int64_t *out, struct err *err);
MUST_CHECK int json_get_num(const struct json_doc *doc, const struct json *obj, const char *key, double *out,
                            struct err *err);
MUST_CHECK int json_get_bool(const struct json_doc *doc, const struct json *obj, const char *key, bool *out,
                             struct err *err);
/* Optional members: absent or null leaves *out as it is (the default); a wrong type is an error all the same. */
MUST_CHECK int json_opt_str(const struct json_doc *doc, const struct json *obj, const char *key, const char **out,
                            struct err *err);
MUST_CHECK int json_opt_int(const struct json_doc *doc, const struct json *obj, const char *key, int64_t min, int64_t max,
                            int64_t *out, struct err *err);
MUST_CHECK int json_opt_num(const struct json_doc *doc, const struct json *obj, const char *key, double *out,
                            struct err *err);
MUST_CHECK int json_opt_bool(const struct json_doc *doc, const struct json *obj, const char *key, bool *out,
                             struct err *err);
/* Refuses members of obj whose key is not in the NULL-terminated list, by name, and what is neither an object nor absent. */
MUST_CHECK int json_only(const struct json_doc *doc, const struct json *obj, const char *const *keys, struct err *err);

/* Building. key NULL appends to an array. A NULL parent is ignored, so failures need no checks before json_print. */
struct json_doc *json_new_object(const char *name); /* NULL when out of memory; the other builders accept that */
struct json *json_node(struct json_doc *doc);        /* the root, for building */
struct json *json_put_object(struct json_doc *doc, struct json *parent, const char *key);
struct json *json_put_array(struct json_doc *doc, struct json *parent, const char *key);
void json_put_str(struct json_doc *doc, struct json *parent, const char *key, const char *value); /* NULL: null */
/* The same for bytes that may hold NULs, which become \u0000; valid UTF-8. */
void json_put_text(struct json_doc *doc, struct json *parent, const char *key, const char *text, size_t len);
void json_put_int(struct json_doc *doc, struct json *parent, const char *key, int64_t value);
void json_put_num(struct json_doc *doc, struct json *parent, const char *key, double value);
void json_put_null(struct json_doc *doc, struct json *parent, const char *key);
void json_put_bool(struct json_doc *doc, struct json *parent, const char *key, bool value);
/* Copies a node of another document. */
void json_put_copy(struct json_doc *doc, struct json *parent, const char *key, const struct json *node);
void json_remove(struct json_doc *doc, struct json *parent, const char *key);
/* An editable copy of a document. */
MUST_CHECK int json_dup(struct json_doc **out, const struct json_doc *doc, struct err *err);
/* Appends a text as a JSON string with its quotes, as json_print would: for what is written too often for a document each time. */
void json_quote(struct buf *to, const char *text, size_t len);
/* Gives the text (free()). */
MUST_CHECK int json_print(const struct json_doc *doc, bool pretty, char **out, struct err *err);

#endif
