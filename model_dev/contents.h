/* model_dev/contents.h - what goes into a package: which tensors under which names, and the config.json beside them.
 *
 * Data flow   checkpoint -> list of tensors with their rules -> protect; config.json -> config.json without names.
 * Errors      memory; a config.json that would not describe the same network without the fields that are left out.
 * Memory      contents_list fills a struct (contents_free); contents_config gives text (free()).
 * Secrets     none: names and shapes are public. Labels, paths and other text of the source stay with the developer.
 */
#ifndef STIP_MODEL_DEV_CONTENTS_H
#define STIP_MODEL_DEV_CONTENTS_H

#include "model/checkpoint.h"
#include "model/compute.h"
#include "model_dev/rules.h"

struct contents_item {
    char *name; /* as packages spell it */
    const struct arch_tensor *row;
    const struct rule *rule;
    int layer; /* of the model; of an expert: as arch_count numbers them, by its place */
    const struct tensor *src;
    size_t file; /* index of the checkpoint's weight file */
};

struct contents {
    struct contents_item *items; /* sorted by name */
    size_t count;
    uint64_t bytes; /* of the sources */
};

/* first: layers before it stay out; the package counts from there, so that it is a whole model of fewer layers.
 * parts: CHECKPOINT_CORE for the server, with CHECKPOINT_HEAD the output head; CHECKPOINT_ALL for an engine of others. */
MUST_CHECK int contents_list(struct contents *out, const struct checkpoint *cp, unsigned parts, int first,
                             struct err *err);
/* What users get with their grants: how many tensors of this row, counted from layer 0; 0 for none. A tied output table is the
 * token embedding, which is there already. Under gauge the final norm's gain goes with the head. */
int contents_granted(const struct config *c, const struct arch_tensor *row, bool head_user, int local_layers, bool gauge);
/* The experts of each layer in the order of KEY_EXPERTS: place e of the package, also its place in the files, gets expert to[e]. */
MUST_CHECK int contents_mix_experts(struct contents *list, const struct checkpoint *cp, const struct keyset *keys, struct err *err);
const struct contents_item *contents_find(const struct contents *c, const char *name);
void contents_free(struct contents *c);

/* The package's config.json: numbers and switches, and the text fields that the network depends on; no labels, no paths.
 * `dtype` is NULL when weights keep theirs; int8 matrices are declared the way compressed-tensors does. eps 0: the model's own. */
MUST_CHECK int contents_config(const struct checkpoint *cp, bool head, int first, double eps, const char *dtype, enum compute compute,
                               char **text, struct err *err);

#endif
