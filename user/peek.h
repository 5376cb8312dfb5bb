/* user/peek.h - side by side: a token as the user knows it, and the numbers that the server received for it.
 *
 * Data flow   id, position -embed-> x [D]; session_sent_row -> x_p [D]; the first numbers of both -> a line.
 * Shapes      PEEK_NUMBERS of D numbers.
 * Errors      memory; ids out of range.
 * Memory      peek_open gives.
 * Secrets     prints the user's own text and embedding: for the user's eyes.
 */
#ifndef STIP_USER_PEEK_H
#define STIP_USER_PEEK_H

#include <stdio.h>

#include "base/json.h"
#include "user/session.h"

#define PEEK_NUMBERS 4

struct peek;
MUST_CHECK int peek_open(struct peek **out, const struct grant *g, struct err *err);
void peek_close(struct peek *p);
/* Keeps what the session's last message held; before any of it is taken back. */
MUST_CHECK int peek_take(struct peek *p, const struct session *s, struct err *err);
/* Rows from `position` on were taken back. */
void peek_cut(struct peek *p, int position);
/* Lines of ids[from..to), where they were sent; a head line first. */
MUST_CHECK int peek_print(struct peek *p, FILE *to_file, const int32_t *ids, int from, int to, struct err *err);
/* The same as "tokens" of `parent`: id, token, embedded, received. */
MUST_CHECK int peek_json(struct peek *p, struct json_doc *doc, struct json *parent, const int32_t *ids, int from, int to, struct err *err);

#endif
