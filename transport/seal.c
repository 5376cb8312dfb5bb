#include "transport/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/file.h"
#include "base/le.h"
#include "base/secret.h"

static const char MAGIC[8] = {'S', 'T', 'I', 'P', 'S', 'E', 'A', '1'};
static const char LABEL[] = "stip grant seal v1";
#define SEALED_MAX (SEAL_CHUNK + CRYPTO_TAG_LEN)

/* Everything that must be wiped, in one piece of secret memory. */
struct seal_secret {
    uint8_t key[CRYPTO_KEY_LEN];
    uint8_t plain[SEAL_CHUNK];
};

static int derive(const uint8_t *own_key, const uint8_t *other_pub, const uint8_t *ephemeral_pub, const uint8_t *recipient_pub,
                  uint8_t out[CRYPTO_KEY_LEN], struct err *err)
{
    uint8_t shared[CRYPTO_KEY_LEN], salt[64];
    memcpy(salt, ephemeral_pub, 32);
    memcpy(salt + 32, recipient_pub, 32);
    int rc = crypto_x25519(own_key, other_pub, shared, err);
    if (rc == 0)
        rc = crypto_hkdf(shared, sizeof shared, salt, sizeof salt, LABEL, out, CRYPTO_KEY_LEN, err);
    secret_wipe(shared, sizeof shared);
    return rc;
}

static void make_nonce(uint64_t chunk, bool last, uint8_t out[12])
{
    memset(out, 0, 3);
    le_put64(out + 3, chunk);
    out[11] = last ? 1 : 0;
}

static void make_header(const struct peer_key *to, const uint8_t ephemeral_pub[32], uint8_t out[SEAL_HEADER_BYTES])
{
    uint8_t sum[CRYPTO_HASH_LEN] = {0};
    (void)!crypto_sha256(to, sizeof *to, sum, NULL); /* names the recipient, secures nothing */
    memcpy(out, MAGIC, sizeof MAGIC);
    memcpy(out + 8, sum, 8);
    memcpy(out + 16, ephemeral_pub, 32);
}

/* ------------------------------------------------------------------ writing */

struct seal_writer {
    struct file_out file;
    struct seal_secret *secret;
    size_t have; /* plain bytes that wait: a chunk goes out when it is known whether it is the last */
    uint64_t chunk;
    uint8_t header[SEAL_HEADER_BYTES], sealed[SEALED_MAX];
};

int seal_writer_open(struct seal_writer **out, const char *path, const struct peer_key *to, struct err *err)
{
    uint8_t pub[CRYPTO_KEY_LEN], key[CRYPTO_KEY_LEN];
    struct seal_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return err_oom(err, sizeof *w);
    w->file.fd = -1;
    if ((w->secret = secret_alloc(sizeof *w->secret)) == NULL) {
        err_oom(err, sizeof *w->secret);
        goto fail;
    }
    if (crypto_x25519_keypair(pub, key, err) != 0)
        goto fail;
    make_header(to, pub, w->header);
    int rc = derive(key, to->curve_pub, pub, to->curve_pub, w->secret->key, err);
    secret_wipe(key, sizeof key);
    if (rc != 0 || file_out_open(&w->file, path, 0600, err) != 0 ||
        file_out_write(&w->file, w->header, sizeof w->header, err) != 0)
        goto fail;
    *out = w;
    return 0;
fail:
    seal_writer_free(w);
    return err_wrap(err, "sealing to %s", path);
}

static int put_chunk(struct seal_writer *w, bool last, struct err *err)
{
    uint8_t nonce[12];
    make_nonce(w->chunk++, last, nonce);
    if (crypto_aead_seal(w->secret->key, nonce, w->header, sizeof w->header, w->secret->plain, w->have, w->sealed, err) != 0)
        return -1;
    int rc = file_out_write(&w->file, w->sealed, w->have + CRYPTO_TAG_LEN, err);
    w->have = 0;
    return rc;
}

int seal_writer_add(struct seal_writer *w, const void *data, size_t n, struct err *err)
{
    const uint8_t *p = data;
    while (n > 0) {
        if (w->have == SEAL_CHUNK && put_chunk(w, false, err) != 0)
            return -1;
        size_t room = SEAL_CHUNK - w->have, take = n < room ? n : room;
        memcpy(w->secret->plain + w->have, p, take);
        w->have += take;
        p += take;
        n -= take;
    }
    return 0;
}

int seal_writer_commit(struct seal_writer *w, struct err *err)
{
    if (put_chunk(w, true, err) != 0)
        return -1;
    return file_out_commit(&w->file, err);
}

void seal_writer_free(struct seal_writer *w)
{
    if (w == NULL)
        return;
    file_out_drop(&w->file);
    secret_free(w->secret);
    free(w);
}

/* ------------------------------------------------------------------ reading */

struct seal_reader {
    int fd;
    char path[FILE_PATH_MAX];
    struct seal_secret *secret;
    uint64_t left; /* sealed bytes not read yet */
    uint64_t chunk;
    bool ended;
    uint8_t header[SEAL_HEADER_BYTES], sealed[SEALED_MAX];
};

static int read_exactly(struct seal_reader *r, uint8_t *dst, size_t n, struct err *err)
{
    for (size_t at = 0; at < n;) {
        ssize_t got = read(r->fd, dst + at, n - at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return err_set(err, ERR_INPUT, "%s: %s", r->path, got == 0 ? "became shorter while it was read" : strerror(errno));
        at += (size_t)got;
    }
    return 0;
}

static int open_header(struct seal_reader *r, const struct identity *self, struct err *err)
{
    struct stat st;
    struct peer_key me = identity_public(self);
    uint8_t mine[SEAL_HEADER_BYTES];
    if (fstat(r->fd, &st) != 0 || !S_ISREG(st.st_mode))
        return err_set(err, ERR_INPUT, "%s: not a regular file", r->path);
    if (st.st_size < (off_t)(SEAL_HEADER_BYTES + CRYPTO_TAG_LEN))
        return err_set(err, ERR_INPUT, "%s: %lld bytes, too short for a sealed file", r->path, (long long)st.st_size);
    if (read_exactly(r, r->header, sizeof r->header, err) != 0)
        return -1;
    if (memcmp(r->header, MAGIC, sizeof MAGIC) != 0)
        return err_set(err, ERR_INPUT, "%s: not a sealed file (it does not begin with STIPSEA1)", r->path);
    r->left = (uint64_t)st.st_size - SEAL_HEADER_BYTES;
    make_header(&me, r->header + 16, mine);
    if (memcmp(mine, r->header, sizeof mine) != 0) {
        char hex[17];
        crypto_hex(r->header + 8, 8, hex);
        return err_set(err, ERR_AUTH, "%s: sealed for another key (fingerprint %.4s-%.4s-%.4s-%.4s)", r->path, hex, hex + 4,
                       hex + 8, hex + 12);
    }
    return derive(self->curve_key, r->header + 16, r->header + 16, self->curve_pub, r->secret->key, err);
}

int seal_reader_open(struct seal_reader **out, const char *path, const struct identity *self, struct err *err)
{
    struct seal_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return err_oom(err, sizeof *r);
    (void)snprintf(r->path, sizeof r->path, "%s", path);
    r->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (r->fd < 0) {
        err_set(err, ERR_INPUT, "cannot open %s: %s", path, strerror(errno));
        goto fail;
    }
    if ((r->secret = secret_alloc(sizeof *r->secret)) == NULL) {
        err_oom(err, sizeof *r->secret);
        goto fail;
    }
    if (open_header(r, self, err) != 0)
        goto fail;
    *out = r;
    return 0;
fail:
    seal_reader_free(r);
    return -1;
}

int seal_reader_next(struct seal_reader *r, const uint8_t **data, size_t *n, struct err *err)
{
    uint8_t nonce[12];
    if (r->ended) {
        *n = 0;
        return 0;
    }
    size_t len = r->left < SEALED_MAX ? (size_t)r->left : SEALED_MAX;
    bool last = r->left == len;
    if (len < CRYPTO_TAG_LEN)
        return err_set(err, ERR_INPUT, "%s: truncated in chunk %llu", r->path, (unsigned long long)r->chunk + 1);
    if (read_exactly(r, r->sealed, len, err) != 0)
        return -1;
    make_nonce(r->chunk++, last, nonce);
    if (crypto_aead_open(r->secret->key, nonce, r->header, sizeof r->header, r->sealed, len - CRYPTO_TAG_LEN, r->secret->plain,
                         err) != 0)
        return err_set(err, ERR_AUTH, "%s: chunk %llu does not open: the file was changed, reordered or truncated", r->path,
                       (unsigned long long)r->chunk);
    r->left -= len;
    r->ended = last;
    *data = r->secret->plain;
    *n = len - CRYPTO_TAG_LEN;
    return 0;
}

void seal_reader_free(struct seal_reader *r)
{
    if (r == NULL)
        return;
    if (r->fd >= 0)
        close(r->fd);
    secret_free(r->secret);
    free(r);
}

/* ------------------------------------------------------------------ whole files */

int seal_file(const char *in_path, const char *out_path, const struct peer_key *to, struct err *err)
{
    struct seal_writer *w = NULL;
    uint8_t *buffer = NULL;
    int rc = -1, fd = open(in_path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_INPUT, "cannot open %s: %s", in_path, strerror(errno));
    if ((buffer = secret_alloc(SEAL_CHUNK)) == NULL) {
        err_oom(err, SEAL_CHUNK);
        goto done;
    }
    if (seal_writer_open(&w, out_path, to, err) != 0)
        goto done;
    for (;;) {
        ssize_t n = read(fd, buffer, SEAL_CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            err_set(err, ERR_INPUT, "cannot read %s: %s", in_path, strerror(errno));
            goto done;
        }
        if (n == 0)
            break;
        if (seal_writer_add(w, buffer, (size_t)n, err) != 0)
            goto done;
    }
    rc = seal_writer_commit(w, err);
done:
    seal_writer_free(w);
    secret_free(buffer);
    close(fd);
    return rc;
}

int seal_open_file(const char *in_path, const char *out_path, const struct identity *self, struct err *err)
{
    struct seal_reader *r = NULL;
    struct file_out out = {.fd = -1};
    const uint8_t *data = NULL;
    size_t n = 0;
    int rc = -1;
    if (seal_reader_open(&r, in_path, self, err) != 0 || file_out_open(&out, out_path, 0600, err) != 0)
        goto done;
    do {
        if (seal_reader_next(r, &data, &n, err) != 0 || file_out_write(&out, data, n, err) != 0)
            goto done;
    } while (n == SEAL_CHUNK);
    rc = file_out_commit(&out, err);
done:
    file_out_drop(&out);
    seal_reader_free(r);
    return rc;
}
