#include "model_dev/rotate.h"

#include <string.h>

#include "base/clock.h"
#include "base/expiry.h"
#include "model_dev/grant.h"

static const char *dtype_of(const struct manifest *m)
{
    switch (m->compute) {
    case COMPUTE_BF16: return "bf16";
    case COMPUTE_INT8: return "int8";
    case COMPUTE_F32: break;
    }
    return strcmp(m->dtype, "F32") == 0 ? "f32" : "keep";
}

/* From now on, as long as the old one had from the day it was made. */
static int64_t renewed(const struct manifest *m, int64_t now)
{
    int64_t created;
    return m->expires == EXPIRY_NEVER || !expiry_parse(&created, m->created) || m->expires <= created
               ? EXPIRY_NEVER
               : now + (m->expires - created);
}

int rotate(const struct rotate_opts *o, struct protect_report *out, uint8_t previous[CRYPTO_HASH_LEN], struct err *err)
{
    struct release old = {0};
    if (release_open(&old, o->dir, o->identity->sign_pub, err) != 0)
        return -1;
    const struct protect_opts p = {
        .model = o->model, .out = o->dir, .head = old.manifest.head, .profile = old.manifest.profile,
        .local_layers = (int)old.manifest.local_layers,
        .dtype = o->dtype != NULL ? o->dtype : dtype_of(&old.manifest),
        .sign_pub = o->identity->sign_pub, .sign_key = o->identity->sign_key, .force = true,
        .expires = o->expires != EXPIRY_NEVER ? o->expires : renewed(&old.manifest, clock_unix())};
    int rc = grant_check(&(struct grant_source){.model = o->model, .from = &old, .identity = o->identity}, err);
    if (rc == 0)
        rc = protect_checkpoint(&p, out, err);
    if (rc == 0)
        memcpy(previous, old.context, CRYPTO_HASH_LEN);
    release_close(&old);
    return rc;
}
