#include "model_dev/release.h"

#include <stdlib.h>
#include <string.h>

#include "model_dev/protect.h"

int release_open(struct release *out, const char *dir, const uint8_t *signer, struct err *err)
{
    struct release p = {0};
    char manifest[FILE_PATH_MAX];
    if (file_join(p.dir, NULL, dir, err) != 0 || file_join(p.package, dir, PROTECT_PACKAGE, err) != 0 ||
        file_join(p.key, dir, PROTECT_KEY, err) != 0 || file_join(manifest, p.package, MANIFEST_NAME, err) != 0)
        return -1;
    if (!file_exists(manifest))
        return err_set(err, ERR_INPUT, "%s: there is no %s/%s; make it with: stip-model-dev protect --model HFDIR --out %s", dir,
                       PROTECT_PACKAGE, MANIFEST_NAME, dir);
    if (manifest_load(&p.manifest, p.package, &p.text, &p.len, p.sig, err) != 0 ||
        manifest_verify(p.text, p.len, p.sig, signer == NULL ? p.manifest.signer : signer, err) != 0 ||
        manifest_context_id(p.text, p.len, p.context, err) != 0) {
        release_close(&p);
        return err_wrap(err, "%s", p.package);
    }
    *out = p;
    return 0;
}

int release_key(const struct release *p, struct context_key *out, struct err *err)
{
    if (context_key_read(out, p->key, err) != 0)
        return -1;
    if (context_key_check(out, p->context, p->key, p->package, err) == 0)
        return 0;
    context_key_wipe(out);
    return -1;
}

void release_close(struct release *p)
{
    manifest_free(&p->manifest);
    free(p->text);
    p->text = NULL;
}
