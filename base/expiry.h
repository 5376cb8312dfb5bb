/* base/expiry.h - the day on which something that was signed stops to hold.
 *
 * Data flow   flag (days or a date) -> seconds since 1970 -> text in a signed file -> seconds -> compared with this machine's clock.
 * Units       seconds since 1970, UTC; 0: never.
 * Errors      ERR_USAGE, ERR_INPUT: no date, naming what is expected; ERR_AUTH: the time is over.
 * Memory      none.
 * Secrets     none.
 */
#ifndef STIP_BASE_EXPIRY_H
#define STIP_BASE_EXPIRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define EXPIRY_NEVER INT64_C(0)
#define EXPIRY_DAY INT64_C(86400)
#define EXPIRY_WARN_DAYS 14 /* before the end: so long everybody who starts something is told */

/* What a person writes: "90" (days from now), "2027-03-01" (its beginning, UTC) or "2027-03-01T12:00:00Z". The past is refused. */
MUST_CHECK int expiry_option(int64_t *out, const char *text, int64_t now, struct err *err);
/* What a file says: "2027-03-01T12:00:00Z" and nothing else. False for anything else. */
bool expiry_parse(int64_t *out, const char *text);
/* ERR_AUTH when it is over: "WHAT expired on DATE (now it is DATE); DO". */
MUST_CHECK int expiry_check(int64_t expires, int64_t now, const char *what, const char *to_do, struct err *err);
/* Whole days that are left, rounded down; a large number where there is no end. */
int64_t expiry_days(int64_t expires, int64_t now);
/* True when EXPIRY_WARN_DAYS or fewer are left. */
bool expiry_near(int64_t expires, int64_t now);
/* The earlier of the two. */
int64_t expiry_first(int64_t a, int64_t b);

#endif
