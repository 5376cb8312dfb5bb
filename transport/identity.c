#include "transport/identity.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

#include "base/crypto.h"
#include "base/file.h"
#include "base/secret.h"

static const char MAGIC[8] = {'S', 'T', 'I', 'P', 'I', 'D', 'N', '1'};
static const char PREFIX[] = "stip1:";
#define PUBLIC_BYTES sizeof(struct peer_key)
#define BASE64_LEN 88 /* of 64 bytes, with the two '=' that the text form leaves out */
#define BODY_BYTES (IDENTITY_FILE_BYTES - CRYPTO_HASH_LEN)

_Static_assert(sizeof(struct peer_key) == 64 && sizeof(struct identity) == 128, "the structs are written as they are");
_Static_assert(sizeof(MAGIC) + sizeof(struct identity) + CRYPTO_HASH_LEN == IDENTITY_FILE_BYTES, "file layout");

/* ------------------------------------------------------------------ secret half */

int identity_generate(struct identity **out, struct err *err)
{
    struct identity *id = secret_alloc(sizeof *id);
    if (id == NULL)
        return err_oom(err, sizeof *id);
    if (crypto_x25519_keypair(id->curve_pub, id->curve_key, err) != 0 ||
        crypto_sign_keypair(id->sign_pub, id->sign_key, err) != 0) {
        secret_free(id);
        return err_wrap(err, "making an identity");
    }
    *out = id;
    return 0;
}

int identity_save(const struct identity *id, const char *dir, struct err *err)
{
    char key_path[FILE_PATH_MAX], pub_path[FILE_PATH_MAX], text[PEER_KEY_TEXT + 1];
    if (file_mkdirs(dir, 0700, err) != 0 || file_join(key_path, dir, IDENTITY_KEY_FILE, err) != 0 ||
        file_join(pub_path, dir, IDENTITY_PUB_FILE, err) != 0)
        return -1;
    if (file_exists(key_path))
        return err_set(err, ERR_INPUT, "%s: there is an identity already; move it away to make a new one", key_path);
    uint8_t *bytes = secret_alloc(IDENTITY_FILE_BYTES);
    if (bytes == NULL)
        return err_oom(err, IDENTITY_FILE_BYTES);
    memcpy(bytes, MAGIC, sizeof MAGIC);
    memcpy(bytes + sizeof MAGIC, id, sizeof *id);
    int rc = crypto_sha256(bytes, BODY_BYTES, bytes + BODY_BYTES, err);
    if (rc == 0)
        rc = file_write(key_path, bytes, IDENTITY_FILE_BYTES, 0600, err);
    secret_free(bytes);
    struct peer_key pub = identity_public(id);
    peer_key_text(&pub, text);
    size_t n = strlen(text);
    text[n] = '\n';
    if (rc == 0)
        rc = file_write(pub_path, text, n + 1, 0644, err);
    if (rc != 0)
        (void)unlink(key_path); /* nobody has seen it yet, and it would stand in the way of the next attempt */
    return rc;
}

/* A file whose halves do not belong together would fail much later, as a peer that cannot decrypt. */
static int check_pairs(const struct identity *id, const char *name, struct err *err)
{
    static const uint8_t base_point[32] = {9};
    uint8_t pub[32], sig[CRYPTO_SIG_LEN];
    if (crypto_x25519(id->curve_key, base_point, pub, err) != 0 || crypto_sign(id->sign_key, MAGIC, sizeof MAGIC, sig, err) != 0)
        return err_wrap(err, "%s", name);
    if (memcmp(pub, id->curve_pub, sizeof pub) != 0 || crypto_verify(id->sign_pub, MAGIC, sizeof MAGIC, sig, NULL) != 0)
        return err_set(err, ERR_INPUT, "%s: the public keys do not belong to the secret ones; make a new identity", name);
    return 0;
}

int identity_parse(struct identity **out, const uint8_t *data, size_t len, const char *name, struct err *err)
{
    uint8_t sum[CRYPTO_HASH_LEN];
    if (len < sizeof MAGIC || memcmp(data, MAGIC, sizeof MAGIC) != 0)
        return err_set(err, ERR_INPUT, "%s: not an identity file (it does not begin with STIPIDN1)", name);
    if (len != IDENTITY_FILE_BYTES)
        return err_set(err, ERR_INPUT, "%s: %zu bytes, an identity has %u; the file was cut or changed", name, len,
                       IDENTITY_FILE_BYTES);
    if (crypto_sha256(data, BODY_BYTES, sum, err) != 0)
        return -1;
    if (!secret_equal(sum, data + BODY_BYTES, sizeof sum))
        return err_set(err, ERR_INPUT, "%s: the checksum is wrong: the file was changed; restore it from a copy", name);
    struct identity *id = secret_alloc(sizeof *id);
    if (id == NULL)
        return err_oom(err, sizeof *id);
    memcpy(id, data + sizeof MAGIC, sizeof *id);
    if (check_pairs(id, name, err) != 0) {
        secret_free(id);
        return -1;
    }
    *out = id;
    return 0;
}

int identity_load(struct identity **out, const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX];
    uint8_t *bytes = NULL;
    size_t len = 0;
    if (file_join(path, dir, IDENTITY_KEY_FILE, err) != 0)
        return -1;
    if (file_read_secret(path, 4096, &bytes, &len, err) != 0)
        return err_wrap(err, "loading the identity (made by the keygen command)");
    int rc = identity_parse(out, bytes, len, path, err);
    secret_free(bytes);
    return rc;
}

void identity_free(struct identity *id)
{
    secret_free(id);
}

struct peer_key identity_public(const struct identity *id)
{
    struct peer_key key;
    memcpy(key.curve_pub, id->curve_pub, sizeof key.curve_pub);
    memcpy(key.sign_pub, id->sign_pub, sizeof key.sign_pub);
    return key;
}

/* ------------------------------------------------------------------ public half */

static void swap_chars(char *text, const char *from, const char *to)
{
    for (; *text != '\0'; text++)
        for (int i = 0; i < 2; i++)
            if (*text == from[i]) {
                *text = to[i];
                break;
            }
}

void peer_key_text(const struct peer_key *key, char out[PEER_KEY_TEXT])
{
    char base64[BASE64_LEN + 1];
    (void)crypto_base64(key, PUBLIC_BYTES, base64);
    swap_chars(base64, "+/", "-_");
    base64[BASE64_LEN - 2] = '\0';
    memcpy(out, PREFIX, sizeof PREFIX - 1);
    memcpy(out + sizeof PREFIX - 1, base64, BASE64_LEN - 1);
}

int peer_key_parse(struct peer_key *out, const char *text, struct err *err)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t n = strlen(text);
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        n--;
    if (n < sizeof PREFIX - 1 || strncmp(text, PREFIX, sizeof PREFIX - 1) != 0)
        return err_set(err, ERR_INPUT, "public key: expected \"stip1:\" and 86 characters, or \"@file.pub\"");
    text += sizeof PREFIX - 1;
    n -= sizeof PREFIX - 1;
    if (n != BASE64_LEN - 2)
        return err_set(err, ERR_INPUT, "public key: %zu characters after \"stip1:\", expected %d", n, BASE64_LEN - 2);
    char base64[BASE64_LEN + 1];
    memcpy(base64, text, n);
    memcpy(base64 + n, "==", 3);
    if (memchr(base64, '+', n) != NULL || memchr(base64, '/', n) != NULL)
        return err_set(err, ERR_INPUT, "public key: a character that does not belong there; copy the line again");
    swap_chars(base64, "-_", "+/");
    struct peer_key key;
    if (!crypto_unbase64(base64, &key, sizeof key))
        return err_set(err, ERR_INPUT, "public key: a character that does not belong there; copy the line again");
    *out = key;
    return 0;
}

int peer_key_load(struct peer_key *out, const char *path, struct err *err)
{
    char *text = NULL;
    size_t len = 0;
    if (file_read(path, 4096, &text, &len, err) != 0)
        return -1;
    int rc = memchr(text, '\0', len) != NULL ? err_set(err, ERR_INPUT, "public key: a NUL byte in the file")
                                             : peer_key_parse(out, text, err);
    free(text);
    return rc == 0 ? 0 : err_wrap(err, "%s", path);
}

int peer_key_config(struct peer_key *out, const char *value, const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX];
    if (value[0] != '@') {
        const int rc = peer_key_parse(out, value, err);
        if (rc != 0 && err != NULL)
            err->code = ERR_USAGE; /* no file is at fault */
        return rc;
    }
    if (file_join(path, dir, value + 1, err) != 0)
        return -1;
    return peer_key_load(out, path, err);
}

bool peer_key_equal(const struct peer_key *a, const struct peer_key *b)
{
    return memcmp(a, b, sizeof(struct peer_key)) == 0;
}

void peer_key_fingerprint(const struct peer_key *key, char out[FINGERPRINT_TEXT])
{
    uint8_t sum[CRYPTO_HASH_LEN] = {0};
    char hex[2 * 8 + 1];
    (void)!crypto_sha256(key, PUBLIC_BYTES, sum, NULL);
    crypto_hex(sum, 8, hex);
    for (size_t group = 0; group < 4; group++) {
        memcpy(out + 5 * group, hex + 4 * group, 4);
        out[5 * group + 4] = group == 3 ? '\0' : '-';
    }
}
