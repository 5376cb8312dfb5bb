/* model_dev/offers.h - what each allowed user may fetch: the grant, which is the same for all, and canaries of its own.
 *
 * Data flow   checkpoint + context key -> DIR/grant.bundle; per user canary_make -> DIR/canaries-FINGERPRINT.bundle; a list of the two
 *             per user -> OFFER -> GET -> chunk.
 * Units       bytes; file numbers as the user's list has them: 0 the grant, 1 the canaries.
 * Errors      those of grant_make and canary_maker_open. A user asks for what is not its own: as if it were not there.
 * Memory      offers_open gives; a list of a few hundred bytes per user, and one chunk for all of them.
 * Secrets     the files (0600) are secrets of their users.
 */
#ifndef STIP_MODEL_DEV_OFFERS_H
#define STIP_MODEL_DEV_OFFERS_H

#include "model_dev/grant.h"
#include "transport/blob.h"

#define OFFERS_GRANT "grant.bundle"
#define OFFERS_CANARIES "canaries.bundle"
#define OFFERS_CANARIES_KIND "canaries"

struct offers;
/* dir: an empty folder. src->canaries: of each user; 0: none. */
MUST_CHECK int offers_open(struct offers **out, const char *dir, const struct grant_source *src, const struct peer_key *users,
                           size_t n, struct err *err);
void offers_close(struct offers *o);
/* The list that OFFER announces to this user; false for a key that none was made for. */
bool offers_list(const struct offers *o, const struct peer_key *user, size_t *bytes, uint32_t *files);
/* Answers a GET of this user: 0, or the code to refuse with. The chunk lives until the next call. */
MUST_CHECK enum wire_code offers_answer(struct offers *o, const struct peer_key *user, const struct frame *get, struct frame *chunk,
                                        struct err *err);

#endif
