/* user/verify.h - asks the server what is known already, and looks whether it answers that.
 *
 * Data flow   GRANT/canaries.bin -> verify_open -> verify_next picks one that was not asked yet -> verify_ask: the same generate() and
 *             the same session as any question -> tokens and log-probabilities compared -> struct verify_result.
 * Units       natural logarithms, milliseconds.
 * Errors      no canaries in the grant, a damaged file. What the server does wrong is no error but a result: another token, another
 *             probability, a number that is not finite, no answer in time.
 * Memory      verify_open gives and borrows the grant.
 * Secrets     canaries are nobody's text. Which have been asked is noted in GRANT/canaries.used: one that is asked again
 *             could be answered from memory.
 *
 * Thread      verify_next from any thread.
 */
#ifndef STIP_USER_VERIFY_H
#define STIP_USER_VERIFY_H

#include "transport/canary.h"
#include "user/session.h"
#include "user/speculate.h"

struct verify;

struct verify_result {
    bool passed;
    int tokens;      /* compared */
    double max_diff; /* of log-probabilities */
    char what[400];  /* what was wrong; "" */
};

MUST_CHECK int verify_open(struct verify **out, const char *grant_dir, const struct grant *g, struct err *err);
void verify_close(struct verify *v);
/* The next canary, chosen at random among those not asked before. *again: all have been asked, this one is asked once more. */
MUST_CHECK int verify_next(struct verify *v, const struct canary **out, bool *again, struct err *err);
/* Differences of log-probabilities up to this are honest: of the grant, and of a wire that rounds. */
double verify_tolerance(const struct verify *v, bool bf16);

/* In a session of its own on this connection, with room for so many tokens as other questions ask for. -1 only for errors of this side. */
MUST_CHECK int verify_ask(const struct canary *c, struct connection *conn, struct speculate *speculate, int room, double tolerance,
                          struct verify_result *out, struct err *err);
/* n rows of answers against what the canary says. */
void verify_compare(const struct canary *c, const struct canary_row *got, int n, double tolerance, struct verify_result *out);

#endif
