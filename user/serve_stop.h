/* user/serve_stop.h - texts that end an answer: how much of what was generated may be shown.
 *
 * Data flow   all text so far -> stop_scan -> bytes that may be sent now.
 * Units       bytes.
 * Errors      none.
 * Memory      none.
 * Secrets     reads the answer, keeps nothing.
 */
#ifndef STIP_USER_SERVE_STOP_H
#define STIP_USER_SERVE_STOP_H

#include <stdbool.h>
#include <stddef.h>

/* `seen` bytes were scanned before. With a stop text among text[0, len) *found is set and the result is where the first one
 * begins. Else the result leaves out the longest end of the text that may be the beginning of one. */
size_t stop_scan(const char *text, size_t len, size_t seen, const char *const *stop, int count, bool *found);

#endif
