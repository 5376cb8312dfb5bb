#include "tests/support/developer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_dev/protect.h"
#include "tests/support/tempdir.h"

static void must(int rc, const struct err *err)
{
    if (rc == 0)
        return;
    (void)fprintf(stderr, "tests/support/developer: %s\n", err->text);
    abort();
}

static void protect(struct developer *d, const char *head)
{
    struct protect_report report;
    struct err err = {0};
    const struct protect_opts o = {.model = d->plain, .out = d->out, .head = head, .sign_pub = d->identity->sign_pub,
                                   .sign_key = d->identity->sign_key, .force = true};
    must(protect_checkpoint(&o, &report, &err), &err);
    must(release_open(&d->release, d->out, d->identity->sign_pub, &err), &err);
}

void developer_make(struct developer *d, const char *dir, const char *architecture, const struct synth_shape *shape,
                    uint64_t seed, const char *head)
{
    struct err err = {0};
    *d = (struct developer){0};
    (void)snprintf(d->plain, sizeof d->plain, "%s/plain", dir);
    (void)snprintf(d->out, sizeof d->out, "%s/out", dir);
    must(synth_checkpoint(d->plain, architecture, shape, seed, &err), &err);
    tempdir_spill(tempdir_path(d->plain, "tokenizer.json"), "{\"version\":\"1.0\"}", 17);
    tempdir_spill(tempdir_path(d->plain, "merges.txt"), "a b\n", 4);
    tempdir_spill(tempdir_path(d->plain, "training_notes.txt"), "not for users", 13);
    must(identity_generate(&d->identity, &err), &err);
    protect(d, head);
}

void developer_protect_again(struct developer *d, const char *head)
{
    release_close(&d->release);
    protect(d, head);
}

void developer_free(struct developer *d)
{
    release_close(&d->release);
    identity_free(d->identity);
    *d = (struct developer){0};
}
