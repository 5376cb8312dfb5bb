/* base/clock.h - monotonic time for deadlines and timings, wall time for dates.
 *
 * Units       microseconds (us), milliseconds (ms), seconds since 1970.
 * Errors      none.
 * Memory      none.
 * Secrets     none.
 */
#ifndef STIP_BASE_CLOCK_H
#define STIP_BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_us(void); /* monotonic */
static inline uint64_t clock_ms(void)
{
    return clock_us() / 1000;
}
int64_t clock_unix(void);
/* "2026-11-21T09:30:00Z" */
void clock_iso(int64_t unix_seconds, char out[32]);

#endif
