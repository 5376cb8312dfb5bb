/* model_dev/rotate.h - a new key for the same model: the next context of a chain.
 *
 * Data flow   PROTECTED/{package, context.key} + plain checkpoint -> new seed -> a package streamed into PROTECTED/.protect.tmp ->
 *             exchange: the old two become package.N and context.key.N. The new manifest names the old context and has the next
 *             epoch. Profile, head, local layers, dtype and lifetime stay what they were.
 * Units       seconds since 1970.
 * Errors      everything of protect; a checkpoint that the old package was not made from, an old package of another identity.
 *             The old package stays in place until the new one is whole.
 * Memory      as protect: constant, whatever the model.
 * Secrets     reads the old context key, to see that the checkpoint is the right one; draws the new seed.
 */
#ifndef STIP_MODEL_DEV_ROTATE_H
#define STIP_MODEL_DEV_ROTATE_H

#include "model_dev/protect.h"
#include "transport/identity.h"

struct rotate_opts {
    const char *dir, *model; /* the protected folder, the plain checkpoint */
    const char *dtype;       /* NULL: as it was */
    const struct identity *identity;
    int64_t expires;         /* 0: lives as long as the old one was meant to; an old one without end gives one without end */
};

MUST_CHECK int rotate(const struct rotate_opts *o, struct protect_report *out, uint8_t previous[CRYPTO_HASH_LEN], struct err *err);

#endif
