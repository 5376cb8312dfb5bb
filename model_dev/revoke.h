/* model_dev/revoke.h - takes a user off the allow-list of a model_dev.json, and leaves all else in that file as it was written.
 *
 * Data flow   file's text -> each entry of `allow` that is this user's key -> cut out with its comma -> read again and compared ->
 *             the file, in one step.
 * Units       entries.
 * Errors      ERR_INPUT: the text is written in a way that is not understood well enough to be changed by a program (says which
 *             entry to remove by hand). The file is then as it was.
 * Memory      the text and its two documents meanwhile.
 * Secrets     public keys only.
 */
#ifndef STIP_MODEL_DEV_REVOKE_H
#define STIP_MODEL_DEV_REVOKE_H

#include <stddef.h>

#include "base/err.h"
#include "transport/identity.h"

/* Whose entries go: those with this fingerprint. *removed counts them; none is no error. `user` (may be NULL) gets the key, where one
 * was removed. */
MUST_CHECK int revoke_user(const char *config, const char *fingerprint, size_t *removed, struct peer_key *user, struct err *err);

#endif
