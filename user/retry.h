/* user/retry.h - how long to wait before asking again, and when to give up.
 *
 * Data flow   failure -> retry_wait -> the same question again.
 * Units       milliseconds.
 * Errors      retry_wait keeps the text of the last failure and says how long it was tried.
 * Memory      none.
 * Secrets     none.
 */
#ifndef STIP_USER_RETRY_H
#define STIP_USER_RETRY_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/err.h"

struct retry {
    uint64_t start_ms, end_ms; /* end 0: nothing has failed yet */
    int wait_ms;
};

void retry_begin(struct retry *r, int retry_ms);
/* Sleeps: 50 ms, then twice as long each time up to 5 s, less up to half of it by chance, so that users whom one server
 * refused do not come back together. The first time says on stderr why. -1 when the time is over, or once *abandoned (may be NULL):
 * nobody waits for the answer any more. */
MUST_CHECK int retry_wait(struct retry *r, const atomic_bool *abandoned, struct err *err);

#endif
