/* user/jinja_text.h - what Python does to text: white space, positions, case, splitting.
 *
 * Data flow   template source and values of a rendering -> pieces of them, or new text in a buffer.
 * Units       texts are valid UTF-8 with a length (NUL bytes are text); positions and lengths of the functions below are bytes,
 *             of jinja_text_chars and jinja_text_at code points.
 * Errors      none, but for the sticky failure of the output buffer; changing case says which character it does not know.
 * Memory      pieces borrow from the text; nothing is allocated.
 * Secrets     reads prompts; keeps nothing.
 * Source      Python 3 str; white space is str.isspace().
 */
#ifndef STIP_USER_JINJA_TEXT_H
#define STIP_USER_JINJA_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct jinja_text {
    const char *at;
    size_t n;
};

struct jinja_text jinja_text_of(const char *s);
bool jinja_text_is(struct jinja_text t, const char *s);
bool jinja_text_same(struct jinja_text a, struct jinja_text b);
/* By code points, which is by bytes in UTF-8: below, equal or above 0. */
int jinja_text_compare(struct jinja_text a, struct jinja_text b);
/* Byte offset of the first `what` at or after `from`, or SIZE_MAX. An empty one is found at `from`. */
size_t jinja_text_find(struct jinja_text t, struct jinja_text what, size_t from);
size_t jinja_text_rfind(struct jinja_text t, struct jinja_text what);

size_t jinja_text_chars(struct jinja_text t);
/* Byte offset of code point number i (at most all of them). */
size_t jinja_text_at(struct jinja_text t, size_t i);

bool jinja_text_is_space(uint32_t cp);
bool jinja_text_blank(struct jinja_text t); /* white space only; true when empty */
enum jinja_side { JINJA_LEFT = 1, JINJA_RIGHT = 2, JINJA_BOTH = 3 };
/* chars.at NULL: white space. */
struct jinja_text jinja_text_strip(struct jinja_text t, enum jinja_side side, struct jinja_text chars);
/* The next line from *at, without its end; false at the end of the text. */
bool jinja_text_line(struct jinja_text t, size_t *at, struct jinja_text *line);

enum jinja_case { JINJA_LOWER, JINJA_UPPER, JINJA_CAPITALIZE, JINJA_TITLE };
/* 0, or the code point whose case cannot be changed one by one (as German sharp s), which is not implemented. */
uint32_t jinja_text_case(struct jinja_text t, enum jinja_case how, struct buf *out);
/* str.islower and str.isupper. */
bool jinja_text_has_case(struct jinja_text t, bool upper);
/* Quoted as Python's repr() does. */
void jinja_text_repr(struct jinja_text t, struct buf *out);

#endif
