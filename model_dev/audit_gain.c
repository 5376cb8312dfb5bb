/* A1: a residual column carries its gains through every norm of the model, and these name it. */
#include <stdlib.h>

#include "engine/floats.h"
#include "model_dev/audit_match.h"

static const enum role layer_roles[] = {ROLE_ATTN_NORM_W, ROLE_ATTN_NORM_B, ROLE_MLP_NORM_W, ROLE_MLP_NORM_B};
static const enum role final_roles[] = {ROLE_FINAL_NORM_W, ROLE_FINAL_NORM_B};

#define PER_LAYER (sizeof layer_roles / sizeof *layer_roles)
#define FINAL (sizeof final_roles / sizeof *final_roles)

static int add_gains(float *features, size_t width, size_t at, const struct checkpoint *cp, enum role role, int layer,
                     struct err *err)
{
    float *gains;
    if (audit_vector(&gains, cp, role, layer, err) != 0)
        return -1;
    for (size_t d = 0; gains != NULL && d < (size_t)checkpoint_config(cp)->D; d++)
        features[d * width + at] = gains[d];
    free(gains);
    return 0;
}

/* [D, width] all gains of each column from layer `first` on; those that a model does not have stay 0. */
static int gains_of(float **out, size_t width, const struct checkpoint *cp, int first, struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    float *features = calloc((size_t)c->D, width * sizeof *features);
    int rc = features == NULL ? err_oom(err, (size_t)c->D * width * sizeof *features) : 0;
    const size_t layers = (size_t)(c->L - first);
    for (size_t l = 0; rc == 0 && l < layers; l++)
        for (size_t i = 0; rc == 0 && i < PER_LAYER; i++)
            rc = add_gains(features, width, l * PER_LAYER + i, cp, layer_roles[i], first + (int)l, err);
    for (size_t i = 0; rc == 0 && i < FINAL; i++)
        rc = add_gains(features, width, layers * PER_LAYER + i, cp, final_roles[i], 0, err);
    *out = features;
    return rc;
}

int audit_gain(const struct audit_known *k, struct audit_answer *a, struct err *err)
{
    const size_t D = (size_t)k->c->D, width = (size_t)k->c->L * PER_LAYER + FINAL;
    float *package = NULL, *base = NULL;
    int rc = -1;
    if ((a->channel = calloc(D, sizeof *a->channel)) == NULL)
        return err_oom(err, D * sizeof *a->channel);
    if (gains_of(&package, width, k->package, 0, err) != 0 || gains_of(&base, width, k->base, k->first, err) != 0)
        goto done;
    audit_standardise(package, D, width);
    audit_standardise(base, D, width);
    rc = audit_nearest(a->channel, package, D, base, D, width, err);
    if (rc == 0)
        rc = audit_use_key(k, a, err);
done:
    free(package);
    free(base);
    return rc;
}
