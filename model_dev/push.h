/* model_dev/push.h - the package, from the developer to servers.
 *
 * Data flow   package folder -> OFFER -> the server pulls manifest and files -> DONE. The manifest travels as the bytes of
 *             manifest.json followed by the 64 bytes of manifest.sig.
 * Units       bytes.
 * Errors      ERR_PEER, ERR_AUTH as the server answers; a package that changes on disk while it is read.
 * Memory      push_open gives (push_close); borrows the protected folder. One push serves any number of servers, one at a time.
 * Secrets     none: a package is what the server may see.
 */
#ifndef STIP_MODEL_DEV_PUSH_H
#define STIP_MODEL_DEV_PUSH_H

#include <stdbool.h>

#include "base/err.h"
#include "model_dev/release.h"
#include "transport/role_config.h"
#include "transport/transport.h"

struct push;
MUST_CHECK int push_open(struct push **out, const struct release *p, struct err *err);
void push_close(struct push *p);
/* *there: the server announced this very package, nothing was sent. */
MUST_CHECK int push_to(struct push *p, struct transport *t, const struct role_peer *server, const struct identity *id,
                       bool *there, struct err *err);

/* Tries again, waiting longer each time, until all servers of the list have the package; logs each outcome once per try.
 * For a process of its own: returns only when done. */
MUST_CHECK int push_all(struct push *p, struct transport *t, const struct role_peer *servers, size_t n,
                        const struct identity *id, struct err *err);

#endif
