/* model_dev/audit_pictures.h - the audit of models that read images: what stands in the place of a text, and of a dictionary.
 *
 * Data flow   made-up images -> rows + patches (the judge's); rows that a key opened + tables -> pixels (the attacker's).
 *             A row is the projection of its patch, plus a vector that is the place's: who has the projection computes backwards.
 * Shapes      rows [n,D], patches [n,M], M = channels high wide of a patch. Letters of model/shape.h.
 * Units       pixels as they enter the projection, in [-1,1).
 * Errors      memory; an embedding part that is missing.
 * Memory      audit_pictures_open fills (audit_text_close, free()).
 * Secrets     what it makes up stands for users' images: only the judge and the embedding get it.
 */
#ifndef STIP_MODEL_DEV_AUDIT_PICTURES_H
#define STIP_MODEL_DEV_AUDIT_PICTURES_H

#include "engine/embed.h"
#include "model_dev/audit.h"
#include "model_dev/audit_text.h"

/* Whole images, at least two and about `sample` rows. The upper half of all of them is the same, as a fixed camera's background is.
 * The traffic are numbers of patches: equal ones have one number, -1 is a row that no patch made. */
MUST_CHECK int audit_pictures_open(struct audit_text *out, float **patches, float **rows, const struct embed *e,
                                   const struct config *c, size_t sample, struct err *err);
/* Floats of a patch. */
size_t audit_patch_width(const struct config *c);
/* Fills a->pixels by the key that was found (a->channel, a->matrix) or is known (k->residual); without one says why not. */
MUST_CHECK int audit_pictures(const struct audit_known *k, struct audit_answer *a, struct err *err);

#endif
