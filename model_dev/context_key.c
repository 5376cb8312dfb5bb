#include "model_dev/context_key.h"

#include <assert.h>
#include <string.h>

#include "base/file.h"
#include "base/le.h"
#include "base/reader.h"
#include "base/secret.h"

static const uint8_t magic[8] = {'S', 'T', 'I', 'P', 'K', 'E', 'Y', '1'};
#define VERSION 1
#define PROFILE_STIP 0
#define BODY (CONTEXT_KEY_LEN - CRYPTO_HASH_LEN)

static uint8_t *put32(uint8_t *p, uint32_t v)
{
    le_put32(p, v);
    return p + 4;
}

static uint8_t *put_bytes(uint8_t *p, const void *data, size_t n)
{
    memcpy(p, data, n);
    return p + n;
}

int context_key_write(const char *path, const struct context_key *key, struct err *err)
{
    uint8_t bytes[CONTEXT_KEY_LEN], *p = bytes;
    const struct key_shape *s = &key->shape;
    const int sizes[] = {s->D, s->H, s->G, s->K, s->F, s->outputs, s->rotary};
    p = put_bytes(p, magic, sizeof magic);
    p = put32(p, VERSION);
    p = put_bytes(p, key->seed, sizeof key->seed);
    p = put_bytes(p, key->context_id, sizeof key->context_id);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        p = put32(p, (uint32_t)sizes[i]);
    p = put32(p, key->head_user ? 1 : 0);
    p = put32(p, PROFILE_STIP);
    p = put32(p, key->epoch);
    assert(p == bytes + BODY);
    int rc = crypto_sha256(bytes, BODY, p, err);
    if (rc == 0)
        rc = file_write(path, bytes, sizeof bytes, 0600, err);
    secret_wipe(bytes, sizeof bytes);
    return rc;
}

int context_key_parse(struct context_key *out, const uint8_t *data, size_t len, const char *name, struct err *err)
{
    uint8_t digest[CRYPTO_HASH_LEN];
    struct reader r;
    reader_init(&r, data, len);
    const uint8_t *found = reader_bytes(&r, sizeof magic);
    if (found == NULL || memcmp(found, magic, sizeof magic) != 0)
        return err_set(err, ERR_INPUT, "%s: not a context key (it does not start with STIPKEY1)", name);
    uint32_t version = reader_u32(&r);
    if (!r.failed && version != VERSION)
        return err_set(err, ERR_INPUT, "%s: context key of version %u, this program reads version %d", name, version, VERSION);
    if (len != CONTEXT_KEY_LEN)
        return err_set(err, ERR_INPUT, "%s: expected %d bytes, found %zu: truncated or not a context key", name, CONTEXT_KEY_LEN,
                       len);
    if (crypto_sha256(data, BODY, digest, err) != 0)
        return -1;
    if (!secret_equal(digest, data + BODY, sizeof digest))
        return err_set(err, ERR_INPUT, "%s: the checksum does not match: the file is damaged; take it from the backup", name);

    struct context_key key = {0};
    int *sizes[] = {&key.shape.D, &key.shape.H,       &key.shape.G,     &key.shape.K,
                    &key.shape.F, &key.shape.outputs, &key.shape.rotary};
    bool ok = true;
    reader_copy(&r, key.seed, sizeof key.seed);
    reader_copy(&r, key.context_id, sizeof key.context_id);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint32_t size = reader_u32(&r);
        ok = ok && size <= INT32_MAX;
        *sizes[i] = (int)(size & INT32_MAX);
    }
    uint32_t head_user = reader_u32(&r), profile = reader_u32(&r);
    key.head_user = head_user == 1;
    key.epoch = reader_u32(&r);
    int rc = ok && !r.failed && head_user <= 1 && profile == PROFILE_STIP && key.epoch >= 1
                 ? 0
                 : err_set(err, ERR_INPUT, "%s: a field is out of range: written by another program", name);
    if (rc == 0)
        *out = key;
    context_key_wipe(&key);
    return rc;
}

int context_key_read(struct context_key *out, const char *path, struct err *err)
{
    uint8_t *data;
    size_t len;
    if (file_read_secret(path, 4096, &data, &len, err) != 0)
        return -1;
    int rc = context_key_parse(out, data, len, path, err);
    secret_free(data);
    return rc;
}

int context_key_check(const struct context_key *key, const uint8_t context_id[CRYPTO_HASH_LEN], const char *name,
                      const char *package, struct err *err)
{
    char mine[2 * CRYPTO_HASH_LEN + 1], theirs[2 * CRYPTO_HASH_LEN + 1];
    if (memcmp(key->context_id, context_id, CRYPTO_HASH_LEN) == 0)
        return 0;
    crypto_hex(key->context_id, CRYPTO_HASH_LEN, mine);
    crypto_hex(context_id, CRYPTO_HASH_LEN, theirs);
    return err_set(err, ERR_INPUT, "%s: this key belongs to context %.16s..., the package %s is %.16s...", name, mine, package,
                   theirs);
}

void context_key_wipe(struct context_key *key)
{
    secret_wipe(key, sizeof *key);
}
