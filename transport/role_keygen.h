/* transport/role_keygen.h - the `keygen` command, the same for all three roles.
 *
 * Data flow   randomness -> DIR/identity.key (0600) and DIR/identity.pub; the public line and fingerprint -> stdout.
 * Errors      an identity that is there is never replaced.
 * Memory      none kept.
 * Secrets     the new identity, in secret memory, then its file.
 */
#ifndef STIP_TRANSPORT_ROLE_KEYGEN_H
#define STIP_TRANSPORT_ROLE_KEYGEN_H

#include <stdbool.h>

#include "base/err.h"

MUST_CHECK int role_keygen(const char *dir, bool json, struct err *err);

#endif
