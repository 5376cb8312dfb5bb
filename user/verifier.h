/* user/verifier.h - known questions among the real ones of a long talk, or of the gateway.
 *
 * Data flow   verify_rate of user.json -> after a real answer, with that probability, a canary on the same connection -> verifier_failed.
 * Units       questions.
 * Errors      a rate that is no probability; a grant without canaries.
 * Memory      verifier_open gives, NULL where the rate is 0: every function takes that. Borrows the setup.
 * Secrets     none.
 *
 * Thread      any.
 */
#ifndef STIP_USER_VERIFIER_H
#define STIP_USER_VERIFIER_H

#include "user/setup.h"
#include "user/verify.h"

struct verifier;
MUST_CHECK int verifier_open(struct verifier **out, const struct setup *set, struct err *err);
void verifier_close(struct verifier *v);
/* After a real question on this connection; `room` as that one had it. Logs what it finds. Returns false when the connection is not to
 * be used again. */
bool verifier_turn(struct verifier *v, struct connection *c, struct speculate *speculate, int room);
/* ERR_CHECK once an answer was wrong: nothing more should be asked of that server. */
MUST_CHECK int verifier_check(struct verifier *v, struct err *err);
/* Asked and failed so far. */
void verifier_counts(struct verifier *v, unsigned long long *asked, unsigned long long *failed);

#endif
