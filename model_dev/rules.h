/* model_dev/rules.h - which secret key orders which axis of which tensor: the protocol as one table.
 *
 * Data flow   arch table row (role) -> rule -> keyset_perm for rows and columns -> transform.
 * Shapes      out is the output axis, in the input axis (KEY_NONE for vectors), whichever way the tensor is stored.
 * Errors      none: tensors that stay with the user have no rule.
 * Memory      a static table.
 * Secrets     none: the table is public, the keys are not.
 * Source      ePrint 2023/1763 and NDSS 2026, corrected: the gate carries the feed-forward key, norm gains follow the
 *             residual, heads move whole.
 */
#ifndef STIP_MODEL_DEV_RULES_H
#define STIP_MODEL_DEV_RULES_H

#include "model/arch.h"
#include "permute/keyset.h"

struct rule {
    enum role role;
    enum head_kind head; /* HEAD_NONE: whatever stands on top */
    enum key out, in;
    const char *why;
};

/* NULL: this tensor never leaves for the server. */
const struct rule *rules_find(enum role role, enum head_kind head);
/* Tables that are the user's in every profile but "engine". NULL: not even there. */
const struct rule *rules_engine(enum role role);
/* The sizes of all keys of a model. */
struct key_shape rules_shape(const struct config *c);

#endif
