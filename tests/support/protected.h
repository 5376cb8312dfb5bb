/* tests/support/protected.h - a random checkpoint and its package side by side, for tests of protect and of equality.
 *
 * Data flow   architecture + shape -> DIR/plain -> protect with a fixed seed -> DIR/out/package.
 * Errors      the functions that give int are protect's own; the rest ends the test with a message.
 * Memory      the paths in the options are borrowed until the next call.
 * Secrets     the seed and the signing key are fixed and worthless.
 */
#ifndef STIP_TESTS_SUPPORT_PROTECTED_H
#define STIP_TESTS_SUPPORT_PROTECTED_H

#include "model_dev/protect.h"
#include "permute/keyset.h"
#include "tests/support/synth.h"

/* Writes DIR/plain. */
void protected_synth(const char *dir, const char *architecture, const struct synth_shape *shape, uint64_t seed);
/* Options that protect DIR/plain into DIR/out with seed byte `seed` at a fixed date; the caller may change them. */
struct protect_opts protected_opts(const char *dir, uint8_t seed);
/* `head` as an option for DIR/plain: a model without head has none to leave on the server, and takes "auto" for it. */
const char *protected_head(const char *dir, const char *head);
/* The key set of protected_opts' seed for a model. */
struct keyset *protected_keys(const struct config *c, uint8_t seed);
const uint8_t *protected_signer(void);

#endif
