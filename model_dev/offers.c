#include "model_dev/offers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/threads.h"
#include "model_dev/canary.h"
#include "transport/bundle.h"
#include "transport/msg_blob.h"

struct offer {
    struct peer_key user;
    uint8_t *list; /* as it travels */
    size_t len;
    uint32_t files, canaries; /* how many; number of the second in `all` */
};

struct offers {
    char dir[FILE_PATH_MAX];
    struct blob_list all; /* grant.bundle, then the canaries of each user, under names that tell them apart */
    struct blob_source *source;
    struct offer *offer;
    size_t count;
};

void offers_close(struct offers *o)
{
    if (o == NULL)
        return;
    blob_source_close(o->source);
    blob_list_free(&o->all);
    for (size_t i = 0; i < o->count; i++)
        free(o->offer[i].list);
    free(o->offer);
    free(o);
}

static int add_file(struct offers *o, const char *name, struct err *err)
{
    struct blob_file file;
    if (blob_file_hash(&file, o->dir, name, err) != 0)
        return -1;
    if (blob_list_add(&o->all, &file, err) == 0)
        return 0;
    free(file.chunk);
    return -1;
}

/* canaries.bin of one user, signed as a bundle; the folder lives meanwhile. */
static int make_canaries(struct offers *o, struct canary_maker *maker, const struct grant_source *src, const char *name, struct err *err)
{
    char folder[FILE_PATH_MAX], path[FILE_PATH_MAX], context[2 * CRYPTO_HASH_LEN + 1];
    crypto_hex(src->from->context, sizeof src->from->context, context);
    if (file_join(folder, o->dir, "canaries.tmp", err) != 0 || file_join(path, o->dir, name, err) != 0 ||
        file_mkdirs(folder, 0700, err) != 0 || canary_write(maker, folder, src->canaries, err) != 0 ||
        bundle_write(path, folder, OFFERS_CANARIES_KIND, context, src->identity->sign_key, err) != 0)
        return -1;
    return file_remove_tree(folder, err);
}

/* The user's own list: the first file of all, and its second under the name that users know. */
static int make_list(struct offers *o, struct offer *f, struct err *err)
{
    struct blob_file files[2];
    const struct blob_list list = {.file = files, .count = f->files};
    files[0] = o->all.file[0];
    if (f->files == 2) {
        files[1] = o->all.file[f->canaries];
        (void)snprintf(files[1].name, sizeof files[1].name, "%s", OFFERS_CANARIES);
    }
    return blob_list_encode(&list, &f->list, &f->len, err);
}

static int make_offer(struct offers *o, struct canary_maker *maker, const struct grant_source *src, const struct peer_key *user,
                      struct err *err)
{
    struct offer *f = &o->offer[o->count];
    char name[64], fingerprint[FINGERPRINT_TEXT];
    *f = (struct offer){.user = *user, .files = 1};
    if (maker != NULL) {
        peer_key_fingerprint(user, fingerprint);
        (void)snprintf(name, sizeof name, "canaries-%s.bundle", fingerprint);
        f->files = 2;
        f->canaries = (uint32_t)o->all.count;
        if (make_canaries(o, maker, src, name, err) != 0 || add_file(o, name, err) != 0)
            return -1;
    }
    o->count++;
    return make_list(o, f, err);
}

static int make_all(struct offers *o, const struct grant_source *src, const struct peer_key *users, size_t n, struct err *err)
{
    struct grant_source plain = *src; /* canaries go to each user separately */
    struct canary_maker *maker = NULL;
    char path[FILE_PATH_MAX];
    const uint64_t start = clock_ms();
    struct grant_source source = *src;
    plain.canaries = 0;
    int rc = grant_canaries(&source.canaries, src, err);
    if (rc == 0)
        rc = file_join(path, o->dir, OFFERS_GRANT, err);
    if (rc == 0)
        rc = grant_make(&plain, path, err);
    if (rc == 0)
        rc = add_file(o, OFFERS_GRANT, err);
    if (rc == 0 && source.canaries > 0 && n > 0)
        rc = canary_maker_open(&maker, src->model, src->from, err);
    if (maker != NULL)
        canary_maker_heed(maker, src->stop);
    if (rc == 0 && maker != NULL)
        rc = threads_start(threads_fit(0), err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = make_offer(o, maker, &source, &users[i], err);
    if (rc == 0 && maker != NULL)
        log_info("%zu canaries for each of %zu users, %.1f s", source.canaries, n, (double)(clock_ms() - start) / 1000);
    if (maker != NULL)
        threads_stop(); /* whoever forks later must be alone */
    canary_maker_close(maker);
    return rc;
}

int offers_open(struct offers **out, const char *dir, const struct grant_source *src, const struct peer_key *users, size_t n,
                struct err *err)
{
    struct offers *o = calloc(1, sizeof *o);
    if (o == NULL)
        return err_oom(err, sizeof *o);
    if (snprintf(o->dir, sizeof o->dir, "%s", dir) >= (int)sizeof o->dir) {
        err_set(err, ERR_INPUT, "path too long: %.80s...", dir);
        goto fail;
    }
    if ((o->offer = calloc(n + 1, sizeof *o->offer)) == NULL) {
        err_oom(err, n * sizeof *o->offer);
        goto fail;
    }
    if (make_all(o, src, users, n, err) != 0 || blob_source_open(&o->source, o->dir, &o->all, NULL, 0, err) != 0)
        goto fail;
    *out = o;
    return 0;
fail:
    offers_close(o);
    return -1;
}

static const struct offer *find(const struct offers *o, const struct peer_key *user)
{
    for (size_t i = 0; i < o->count; i++)
        if (peer_key_equal(&o->offer[i].user, user))
            return &o->offer[i];
    return NULL;
}

bool offers_list(const struct offers *o, const struct peer_key *user, size_t *bytes, uint32_t *files)
{
    const struct offer *f = find(o, user);
    if (f == NULL)
        return false;
    *bytes = f->len;
    *files = f->files;
    return true;
}

enum wire_code offers_answer(struct offers *o, const struct peer_key *user, const struct frame *get, struct frame *chunk, struct err *err)
{
    const struct msg_get want = msg_get_decode(get);
    const struct offer *f = find(o, user);
    if (f != NULL && want.file == BLOB_MANIFEST && want.chunk < blob_chunks(f->len)) {
        *chunk = msg_chunk_encode(want.file, want.chunk, f->list + (size_t)want.chunk * WIRE_PAYLOAD_MAX,
                                  blob_chunk_bytes(f->len, want.chunk));
        return WIRE_OK;
    }
    if (f == NULL || want.file >= f->files) {
        (void)err_set(err, ERR_INPUT, "there is no chunk %u of file %u", want.chunk, want.file);
        return WIRE_UNKNOWN_FILE;
    }
    struct frame ask = *get;
    ask.h.arg[0] = want.file == 0 ? 0 : f->canaries;
    const enum wire_code code = blob_source_answer(o->source, &ask, chunk, err);
    if (code == WIRE_OK)
        chunk->h.arg[0] = want.file;
    return code;
}
