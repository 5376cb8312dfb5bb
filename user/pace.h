/* user/pace.h - how many guesses to send with the next token, so that tokens per second are most.
 *
 * Data flow   what steps took and how many guesses held -> pace_step -> estimates -> pace_choose -> k.
 *             A step of 1 + k rows takes   base + k row   microseconds: base is the round trip, the server's step and our own
 *             part; row is what one more row costs the server and the link. If a guess holds with probability a and is tested
 *             only when those before it held, a step gives   1 + a + a^2 + .. + a^k   tokens. The k of the largest quotient is
 *             chosen; 0 when none pays.
 *               base   moving average of steps, less their guesses.
 *               row    regression through base over steps with guesses. Starts at what a row of the prefill cost in server time and
 *                      per byte, and never falls below half of that.
 *               a      of each kind of guess (length of the match, or the draft model) share of those that held. Fades to a prior,
 *                      so that what failed long ago is tried again.
 *             Nothing is sent on credit: guesses may cost what guesses have earned, one hundredth of all time, and a
 *             quarter of a step to begin with. So a text in which nothing repeats takes about one hundredth longer, whatever the
 *             estimates say.
 * Units       microseconds of wall time, bytes on the wire both ways.
 * Errors      none.
 * Memory      the caller's; zero-initialise, then pace_init.
 * Secrets     counts and times; they say how predictable the text is, and the server sees k anyway.
 * Source      Leviathan et al. 2023 (2211.17192), expected tokens of a speculative step.
 */
#ifndef STIP_USER_PACE_H
#define STIP_USER_PACE_H

#include <stdbool.h>

enum pace_kind { PACE_LOOKUP_1, PACE_LOOKUP_2, PACE_LOOKUP_3, PACE_LOOKUP_4, PACE_LOOKUP_LONG, PACE_MODEL, PACE_KINDS };

struct pace {
    double base_us, row_us, least_row_us;
    double prefill_rows, prefill_us, prefill_server_us, prefill_bytes; /* of the last one */
    double xx, xy;    /* regression: sums of k^2 and of k (time - base) */
    double credit_us; /* what may be lost on guesses that fail */
    struct {
        double tested, held; /* faded counts */
    } kinds[PACE_KINDS];
};

/* One answered message. */
struct pace_cost {
    int rows;
    double wall_us, server_us, bytes;
};

struct pace_choice {
    int k;
    double rate; /* expected tokens per microsecond */
};

void pace_init(struct pace *p);
void pace_prefill(struct pace *p, const struct pace_cost *cost);
/* A step of cost->rows - 1 guesses of one kind, `held` of which held; the next was `failed`, or nothing more was tested. draft_us:
 * what making each guess took. */
void pace_step(struct pace *p, const struct pace_cost *cost, enum pace_kind kind, int held, bool failed, double draft_us);
/* At most `most` guesses that take draft_us each to make. */
struct pace_choice pace_choose(const struct pace *p, enum pace_kind kind, int most, double draft_us);

#endif
