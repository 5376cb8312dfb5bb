/* server/patience.h - whether the next pass waits for sessions that were just answered.
 *
 * Data flow   end of a pass -> patience_begin; before the next one -> patience_wait -> the pass, or a moment of patience.
 * Units       microseconds and milliseconds of a monotonic clock.
 * Errors      none.
 * Memory      none of its own.
 * Secrets     none: times and counts.
 *
 * Sessions that one pass answered come back together a moment later, and one pass for all of them takes little longer than one for
 * the first few. So it waits for them a part of what the last pass took; where those who are away stayed away that was in vain, and
 * it is not tried again for a while.
 */
#ifndef STIP_SERVER_PATIENCE_H
#define STIP_SERVER_PATIENCE_H

#include <stdint.h>

#define PATIENCE_SHARE 2       /* of the last pass a half, */
#define PATIENCE_MOST_US 20000 /* or so long, */
#define PATIENCE_LEAST_US 1000 /* or not at all: a shorter wait cannot be told from none */
#define PATIENCE_REST 16       /* passes that wait for nobody, after one that waited in vain */

struct patience {
    uint64_t until_us; /* 0: nobody is waited for */
    int rest;          /* passes left that wait for nobody */
};

/* A pass ended that took pass_us. */
void patience_begin(struct patience *g, uint64_t now_us, uint32_t pass_us);
/* Milliseconds to wait at most, or until something happens; 0: now. away: sessions that the last pass answered and that have not
 * come back; waiting: sessions that could be computed. */
int patience_wait(struct patience *g, uint64_t now_us, int away, int waiting);

#endif
