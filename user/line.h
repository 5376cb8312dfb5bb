/* user/line.h - what a person types: on a terminal with line editing, a history of this talk and several lines at once; from a pipe
 * plain lines. The one door to libedit.
 *
 * Data flow   stdin -> line_read -> text of one turn. On a terminal a backslash at the end of a line, or """ around several, make
 *             them one text.
 * Units       bytes, UTF-8 as it was typed; not checked here.
 * Errors      line_open: memory. Too long a text is cut off by LINE_MOST with ERR_INPUT.
 * Memory      line_open gives; texts are borrowed until the next line_read.
 * Secrets     what was typed. The history is never written to a file.
 */
#ifndef STIP_USER_LINE_H
#define STIP_USER_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define LINE_MOST ((size_t)1 << 20)

enum line_got { LINE_TEXT, LINE_END, LINE_DROPPED /* Ctrl-C while typing */ };

struct line;
/* On a terminal Ctrl-C is from now on what line_interrupted says; a second one before it was asked ends the program. */
MUST_CHECK int line_open(struct line **out, struct err *err);
void line_close(struct line *l);
bool line_terminal(const struct line *l);
MUST_CHECK int line_read(struct line *l, enum line_got *got, const char **text, size_t *len, struct err *err);
/* True once after each Ctrl-C. */
bool line_interrupted(void);

#endif
