/* transport/hops.h - doctor's checks on the way to a peer, hop by hop, so that the first line that fails names the culprit.
 *
 * Data flow   config -> hops_identity; endpoint and pinned key -> name service, TCP, encrypted handshake -> a line each.
 * Units       milliseconds.
 * Errors      become lines of base/doctor.h.
 * Memory      none kept.
 * Secrets     the identity proves itself in a handshake; only public keys are printed.
 */
#ifndef STIP_TRANSPORT_HOPS_H
#define STIP_TRANSPORT_HOPS_H

#include "base/doctor.h"
#include "transport/channel.h"
#include "transport/role_config.h"

/* The file is JSON, and the identity it names can be read by its owner alone. False: nothing else can be checked. */
bool hops_identity(struct doctor *d, const char *config);
/* Lines "NAME dns", "NAME tcp", "NAME handshake", "NAME key"; the first failure is the last line. Gives the channel, NULL then.
 * needed: a failure is a failure; else a warning, for a peer that is needed now and then. */
void hops_peer(struct doctor *d, const char *name, const struct role_peer *peer, const struct identity *id, struct transport *t,
               bool needed, struct channel **out);
/* The first two of them only, for what is no stip daemon. True: it can be reached. */
bool hops_reach(struct doctor *d, const char *name, const char *endpoint, bool needed);
/* An endpoint to listen on: free, or in use, perhaps by the daemon itself. */
void hops_listen(struct doctor *d, const char *name, const char *endpoint);
/* The same for ADDRESS:PORT of `metrics`; nothing for NULL. */
void hops_metrics(struct doctor *d, const char *listen);
/* How many keys may come in. */
void hops_allow(struct doctor *d, const char *name, const char *key, size_t count, const char *consequence);

#endif
