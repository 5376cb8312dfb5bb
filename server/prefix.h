/* server/prefix.h - pages of keys and values that several sessions can use, found by the rows that made them.
 *
 * Data flow   rows of a step -> prefix_name -> one id per token; full pages -> prefix_publish -> index; rows that come again
 *             -> prefix_adopt -> pages from the index in place of computing.
 * Shapes      rows [T,D]; ids[t] names the first t rows of a sequence: SHA-256(ids[t-1], row t). ids[0] is the scope: nothing,
 *             or the user's key, so that only sequences of the same scope have equal ids. Page i is known by ids[(i+1) KV_PAGE].
 * Units       tokens, pages.
 * Errors      prefix_new: memory. All else does less when memory or hashing fails: nothing is shared then.
 * Memory      prefix_new gives; pages in the index count in the pool's budget like all others and are given up, the one that
 *             was used longest ago first, when a session needs memory (prefix_evict). The ids say nothing about
 *             weights: another model needs prefix_reset.
 * Secrets     hashes of permuted rows. Whether a prefix was there shows in the time an answer takes: docs/SECURITY.md.
 */
#ifndef STIP_SERVER_PREFIX_H
#define STIP_SERVER_PREFIX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/crypto.h"
#include "engine/kvcache.h"
#include "transport/identity.h"

enum prefix_scope { PREFIX_OFF, PREFIX_USER, PREFIX_CONTEXT };

struct prefix;
MUST_CHECK int prefix_new(struct prefix **out, enum prefix_scope scope, struct err *err);
void prefix_free(struct prefix *p);
/* Forgets everything: from now on pages are of this pool, which is borrowed (NULL: of none). */
void prefix_reset(struct prefix *p, struct kvpool *pool);

/* ids[0]. */
void prefix_begin(const struct prefix *p, const struct peer_key *user, uint8_t id[CRYPTO_HASH_LEN]);
/* ids[from+1 .. from+T] of rows x [T,D] after the first `from`. Gives how many ids hold now, ids[0] included. */
int prefix_name(struct prefix *p, uint8_t (*ids)[CRYPTO_HASH_LEN], int from, const float *x, int T, int D);
/* Appends the pages that follow kv->len (a multiple of KV_PAGE, else none) and end at `limit` tokens or before. Gives tokens. */
int prefix_adopt(struct prefix *p, struct kvcache *kv, uint8_t (*ids)[CRYPTO_HASH_LEN], int limit);
/* The full pages of kv that end behind `from` tokens, so far as they have ids, can be found from now on. */
void prefix_publish(struct prefix *p, const struct kvcache *kv, uint8_t (*ids)[CRYPTO_HASH_LEN], int named, int from);
/* Gives back one page that no session uses. False: there is none. */
bool prefix_evict(struct prefix *p);

#endif
