/* model_dev/ledger.h - which user was given which context, and when: what revoking somebody has to know.
 *
 * Data flow   grant, serve -> ledger_add -> PROTECTED/grants.log, a line per grant -> revoke.
 *             A line: date, fingerprint of the user's key, context id (64 hex digits), each followed by one space or the end.
 * Units       none.
 * Errors      names file and line.
 * Memory      none kept; the file is read whole, at most 64 MiB.
 * Secrets     none, but who uses a model is nobody's business: the file is 0600.
 */
#ifndef STIP_MODEL_DEV_LEDGER_H
#define STIP_MODEL_DEV_LEDGER_H

#include <stdbool.h>

#include "base/crypto.h"
#include "base/err.h"
#include "transport/identity.h"

/* Appends a line and sees it onto the disk. */
MUST_CHECK int ledger_add(const char *protected, const struct peer_key *user, const uint8_t context[CRYPTO_HASH_LEN],
                          struct err *err);
/* What is known of the user's grants of this context. `known`: there is a ledger at all; folders of older versions have none.
 * `when`: the last time, "" where it was never given. */
struct ledger_answer {
    bool known;
    char when[32];
};
MUST_CHECK int ledger_find(struct ledger_answer *out, const char *protected, const char *fingerprint,
                           const uint8_t context[CRYPTO_HASH_LEN], struct err *err);

#endif
