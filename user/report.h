/* user/report.h - the figures that every answer carries: timings and bytes on the wire.
 *
 * Data flow   session, channel -> JSON members or one line for people.
 * Units       milliseconds, tokens per second, bytes.
 * Errors      none.
 * Memory      none kept.
 * Secrets     figures only.
 */
#ifndef STIP_USER_REPORT_H
#define STIP_USER_REPORT_H

#include "base/json.h"
#include "user/generate.h"

/* "wire": {"bytes_up", "bytes_down", "round_trips"} of this connection and those it took the place of. */
void report_wire(struct json_doc *doc, struct json *parent, const struct connection *c);
/* "timings": prompt_ms, prompt_tok_s, decode_tok_s, user_ms, server_ms; drafted and accepted guesses. */
void report_timings(struct json_doc *doc, struct json *parent, const struct generated *g, const struct session *s);
/* Prints the document as one line on stdout and frees it. */
MUST_CHECK int report_print(struct json_doc *doc, struct err *err);

#endif
