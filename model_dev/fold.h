/* model_dev/fold.h - profile "gauge": what goes into a tensor before its rows and columns are permuted.
 *
 * Data flow   tensor of the plain checkpoint -> gains and biases of the norm before it folded in, residual turned and scaled, heads
 *             and ups bent (permute/gauge.h) -> a float32 tensor of the same shape, in plain order -> transform.
 * Shapes      as stored; [out,in] or, conv1d, [in,out].
 * Units       arithmetic in double, each element rounded once, to float32.
 * Errors      fold_check: what this profile cannot be exact for, with the reason. NaN and infinity (tensor named), disk.
 * Memory      tiles of some MB; the result is a mapped file without a name in the staging folder, which the system may write out.
 * Secrets     plain weights and all inner keys.
 * Source      docs/decisions/0013-gauge.md.
 */
#ifndef STIP_MODEL_DEV_FOLD_H
#define STIP_MODEL_DEV_FOLD_H

#include "model_dev/contents.h"
#include "permute/gauge.h"

/* head_user: the output head stays with the users. */
MUST_CHECK int fold_check(const struct config *c, bool head_user, struct err *err);

struct fold;
/* dir: where results lie; not needed to compare. Checkpoint, keys and dir are borrowed. */
MUST_CHECK int fold_open(struct fold **out, const struct checkpoint *cp, const struct keyset *keys, const char *dir, struct err *err);
void fold_close(struct fold *f);
/* epsilon of the package's norms */
double fold_eps(const struct fold *f);
MUST_CHECK int fold_tensor(struct fold *f, const struct contents_item *item, struct tensor *out, struct err *err);
/* *same: the first neuron of a layer of the package, which has the layers from `first` on, is what this checkpoint and these keys
 * give, up to the rounding of its dtype. */
MUST_CHECK int fold_compare(struct fold *f, const struct checkpoint *packed, int layer, int first, bool *same, struct err *err);
void fold_release(struct tensor *t); /* fine on a zeroed struct */

#endif
