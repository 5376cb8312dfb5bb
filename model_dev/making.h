/* model_dev/making.h - grants are made in a thread of their own, while the developer's daemon answers users.
 *
 * Data flow   making_start -> thread: offers_open -> making_take.
 * Units       none.
 * Errors      those of offers_open.
 * Memory      making_start gives; making_close ends what is under way, at its next canary. making_take gives (offers_close).
 * Secrets     none of its own.
 */
#ifndef STIP_MODEL_DEV_MAKING_H
#define STIP_MODEL_DEV_MAKING_H

#include "model_dev/offers.h"

struct making;
/* As offers_open, of which everything is borrowed but *src. */
MUST_CHECK int making_start(struct making **out, const char *dir, const struct grant_source *src, const struct peer_key *users, size_t n,
                            struct err *err);
void making_close(struct making *m);
/* True once it has ended: *rc says how, *offers is given when that is 0, *err is set when it is not. */
bool making_take(struct making *m, struct offers **offers, int *rc, struct err *err);

#endif
