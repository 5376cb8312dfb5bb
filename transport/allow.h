/* transport/allow.h - the keys that may talk to one listener; replaced while it runs.
 *
 * Data flow   config -> allow_set -> gatekeeper thread (handshakes) and listener (every frame) -> allow_find.
 * Errors      memory only.
 * Memory      allow_new gives. Keys are copied in and out.
 * Secrets     public keys only.
 *
 * Thread      any.
 */
#ifndef STIP_TRANSPORT_ALLOW_H
#define STIP_TRANSPORT_ALLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "transport/identity.h"

struct allow;
MUST_CHECK int allow_new(struct allow **out, struct err *err);
void allow_free(struct allow *a);
MUST_CHECK int allow_set(struct allow *a, const struct peer_key *keys, size_t n, struct err *err);
/* True with the whole key that this CURVE key is half of. `key` may be NULL. */
bool allow_find(struct allow *a, const uint8_t curve_pub[32], struct peer_key *key);
/* Handshakes that were refused. False for the probe: that one is no news. */
bool allow_count_refused(struct allow *a, const uint8_t *curve_pub);
uint64_t allow_refused(struct allow *a);
/* The key that a self-check knocks with, and whether it was refused since. */
void allow_probe(struct allow *a, const uint8_t curve_pub[32]);
bool allow_probe_refused(struct allow *a);

#endif
