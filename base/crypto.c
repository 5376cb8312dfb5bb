#include "base/crypto.h"

#include <limits.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"

static int failed(const char *what, struct err *err)
{
    return err_set(err, ERR_INTERNAL, "OpenSSL: %s failed", what);
}

int crypto_random(void *out, size_t n, struct err *err)
{
    if (n > INT_MAX || RAND_bytes(out, (int)n) != 1) {
        memset(out, 0, n);
        return failed("random bytes", err);
    }
    return 0;
}

/* ------------------------------------------------------------------ SHA-256 */

struct crypto_hash {
    EVP_MD_CTX *ctx;
};

int crypto_sha256(const void *data, size_t n, uint8_t out[CRYPTO_HASH_LEN], struct err *err)
{
    if (EVP_Digest(data, n, out, NULL, EVP_sha256(), NULL) != 1) {
        memset(out, 0, CRYPTO_HASH_LEN);
        return failed("SHA-256", err);
    }
    return 0;
}

int crypto_hash_new(struct crypto_hash **out, struct err *err)
{
    struct crypto_hash *h = calloc(1, sizeof *h);
    if (h == NULL)
        return err_oom(err, sizeof *h);
    h->ctx = EVP_MD_CTX_new();
    if (h->ctx == NULL || EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) != 1) {
        crypto_hash_free(h);
        return failed("SHA-256", err);
    }
    *out = h;
    return 0;
}

int crypto_hash_add(struct crypto_hash *h, const void *data, size_t n, struct err *err)
{
    return EVP_DigestUpdate(h->ctx, data, n) == 1 ? 0 : failed("SHA-256", err);
}

int crypto_hash_end(struct crypto_hash *h, uint8_t out[CRYPTO_HASH_LEN], struct err *err)
{
    if (EVP_DigestFinal_ex(h->ctx, out, NULL) != 1 || EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) != 1) {
        memset(out, 0, CRYPTO_HASH_LEN);
        return failed("SHA-256", err);
    }
    return 0;
}

void crypto_hash_free(struct crypto_hash *h)
{
    if (h == NULL)
        return;
    EVP_MD_CTX_free(h->ctx);
    free(h);
}

/* ------------------------------------------------------------------ HKDF-SHA-256 */

int crypto_hkdf(const void *secret, size_t secret_len, const void *salt, size_t salt_len, const char *label, void *out,
                size_t out_len, struct err *err)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);
    size_t len = out_len;
    bool ok = ctx != NULL && secret_len <= INT_MAX && salt_len <= INT_MAX && EVP_PKEY_derive_init(ctx) > 0 &&
              EVP_PKEY_CTX_set_hkdf_md(ctx, EVP_sha256()) > 0 &&
              EVP_PKEY_CTX_set1_hkdf_key(ctx, secret, (int)secret_len) > 0 &&
              (salt_len == 0 || EVP_PKEY_CTX_set1_hkdf_salt(ctx, salt, (int)salt_len) > 0) &&
              EVP_PKEY_CTX_add1_hkdf_info(ctx, (const unsigned char *)label, (int)strlen(label)) > 0 &&
              EVP_PKEY_derive(ctx, out, &len) > 0 && len == out_len;
    EVP_PKEY_CTX_free(ctx);
    if (!ok) {
        secret_wipe(out, out_len);
        return failed("HKDF", err);
    }
    return 0;
}

/* ------------------------------------------------------------------ Ed25519, X25519 */

static int keypair(int type, const char *what, uint8_t pub[CRYPTO_KEY_LEN], uint8_t key[CRYPTO_KEY_LEN], struct err *err)
{
    size_t pub_len = CRYPTO_KEY_LEN, key_len = CRYPTO_KEY_LEN;
    EVP_PKEY *pair = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(type, NULL);
    bool ok = ctx != NULL && EVP_PKEY_keygen_init(ctx) > 0 && EVP_PKEY_keygen(ctx, &pair) > 0 &&
              EVP_PKEY_get_raw_public_key(pair, pub, &pub_len) > 0 &&
              EVP_PKEY_get_raw_private_key(pair, key, &key_len) > 0;
    EVP_PKEY_free(pair);
    EVP_PKEY_CTX_free(ctx);
    if (!ok) {
        secret_wipe(key, CRYPTO_KEY_LEN);
        return failed(what, err);
    }
    return 0;
}

int crypto_sign_keypair(uint8_t pub[CRYPTO_KEY_LEN], uint8_t key[CRYPTO_KEY_LEN], struct err *err)
{
    return keypair(EVP_PKEY_ED25519, "Ed25519 key generation", pub, key, err);
}

int crypto_x25519_keypair(uint8_t pub[CRYPTO_KEY_LEN], uint8_t key[CRYPTO_KEY_LEN], struct err *err)
{
    return keypair(EVP_PKEY_X25519, "X25519 key generation", pub, key, err);
}

int crypto_sign(const uint8_t key[CRYPTO_KEY_LEN], const void *msg, size_t n, uint8_t sig[CRYPTO_SIG_LEN], struct err *err)
{
    size_t len = CRYPTO_SIG_LEN;
    EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, key, CRYPTO_KEY_LEN);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = pkey != NULL && ctx != NULL && EVP_DigestSignInit(ctx, NULL, NULL, NULL, pkey) > 0 &&
              EVP_DigestSign(ctx, sig, &len, msg, n) > 0 && len == CRYPTO_SIG_LEN;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    if (!ok) {
        memset(sig, 0, CRYPTO_SIG_LEN);
        return failed("Ed25519 signing", err);
    }
    return 0;
}

int crypto_verify(const uint8_t pub[CRYPTO_KEY_LEN], const void *msg, size_t n, const uint8_t sig[CRYPTO_SIG_LEN],
                  struct err *err)
{
    EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, pub, CRYPTO_KEY_LEN);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ready = pkey != NULL && ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) > 0;
    bool ok = ready && EVP_DigestVerify(ctx, sig, CRYPTO_SIG_LEN, msg, n) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    if (!ready)
        return failed("Ed25519 verification", err);
    return ok ? 0 : err_set(err, ERR_AUTH, "the signature does not match");
}

int crypto_x25519(const uint8_t key[CRYPTO_KEY_LEN], const uint8_t peer[CRYPTO_KEY_LEN], uint8_t shared[CRYPTO_KEY_LEN],
                  struct err *err)
{
    size_t len = CRYPTO_KEY_LEN;
    EVP_PKEY *mine = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, key, CRYPTO_KEY_LEN);
    EVP_PKEY *theirs = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, peer, CRYPTO_KEY_LEN);
    EVP_PKEY_CTX *ctx = mine == NULL ? NULL : EVP_PKEY_CTX_new(mine, NULL);
    bool ok = ctx != NULL && theirs != NULL && EVP_PKEY_derive_init(ctx) > 0 &&
              EVP_PKEY_derive_set_peer(ctx, theirs) > 0 && EVP_PKEY_derive(ctx, shared, &len) > 0 &&
              len == CRYPTO_KEY_LEN;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(theirs);
    EVP_PKEY_free(mine);
    if (!ok) {
        secret_wipe(shared, CRYPTO_KEY_LEN);
        return err_set(err, ERR_AUTH, "the public key is not a usable X25519 key");
    }
    return 0;
}

/* ------------------------------------------------------------------ AES-256-GCM */

int crypto_aead_seal(const uint8_t key[CRYPTO_KEY_LEN], const uint8_t nonce[12], const void *aad, size_t aad_len,
                     const void *in, size_t n, void *out, struct err *err)
{
    int len = 0, tail = 0;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool ok = ctx != NULL && n <= INT_MAX && aad_len <= INT_MAX &&
              EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce) > 0 &&
              (aad_len == 0 || EVP_EncryptUpdate(ctx, NULL, &len, aad, (int)aad_len) > 0) &&
              EVP_EncryptUpdate(ctx, out, &len, in, (int)n) > 0 &&
              EVP_EncryptFinal_ex(ctx, (uint8_t *)out + len, &tail) > 0 && (size_t)(len + tail) == n &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, CRYPTO_TAG_LEN, (uint8_t *)out + n) > 0;
    EVP_CIPHER_CTX_free(ctx);
    if (!ok) {
        memset(out, 0, n + CRYPTO_TAG_LEN);
        return failed("AES-256-GCM", err);
    }
    return 0;
}

int crypto_aead_open(const uint8_t key[CRYPTO_KEY_LEN], const uint8_t nonce[12], const void *aad, size_t aad_len,
                     const void *in, size_t n, void *out, struct err *err)
{
    int len = 0, tail = 0;
    uint8_t tag[CRYPTO_TAG_LEN];
    memcpy(tag, (const uint8_t *)in + n, sizeof tag);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool ok = ctx != NULL && n <= INT_MAX && aad_len <= INT_MAX &&
              EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce) > 0 &&
              (aad_len == 0 || EVP_DecryptUpdate(ctx, NULL, &len, aad, (int)aad_len) > 0) &&
              EVP_DecryptUpdate(ctx, out, &len, in, (int)n) > 0 &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, CRYPTO_TAG_LEN, tag) > 0 &&
              EVP_DecryptFinal_ex(ctx, (uint8_t *)out + len, &tail) > 0 && (size_t)(len + tail) == n;
    EVP_CIPHER_CTX_free(ctx);
    if (!ok) {
        secret_wipe(out, n);
        return err_set(err, ERR_AUTH, "sealed bytes do not open: they were changed, or sealed for another key");
    }
    return 0;
}

/* ------------------------------------------------------------------ ChaCha20 keystream */

struct crypto_stream {
    EVP_CIPHER_CTX *ctx;
};

int crypto_stream_new(struct crypto_stream **out, const uint8_t key[CRYPTO_KEY_LEN], struct err *err)
{
    static const uint8_t iv[16]; /* block counter 0, nonce 0 */
    struct crypto_stream *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_oom(err, sizeof *s);
    s->ctx = EVP_CIPHER_CTX_new();
    if (s->ctx == NULL || EVP_EncryptInit_ex(s->ctx, EVP_chacha20(), NULL, key, iv) <= 0) {
        crypto_stream_free(s);
        return failed("ChaCha20", err);
    }
    *out = s;
    return 0;
}

int crypto_stream_read(struct crypto_stream *s, void *out, size_t n, struct err *err)
{
    int len = 0;
    memset(out, 0, n);
    if (n > INT_MAX || EVP_EncryptUpdate(s->ctx, out, &len, out, (int)n) <= 0 || (size_t)len != n) {
        secret_wipe(out, n);
        return failed("ChaCha20", err);
    }
    return 0;
}

void crypto_stream_free(struct crypto_stream *s)
{
    if (s == NULL)
        return;
    EVP_CIPHER_CTX_free(s->ctx);
    free(s);
}

/* ------------------------------------------------------------------ AES blocks */

struct crypto_blocks {
    EVP_CIPHER_CTX *ctx;
};

int crypto_blocks_new(struct crypto_blocks **out, const uint8_t key[CRYPTO_BLOCK_LEN], struct err *err)
{
    struct crypto_blocks *b = calloc(1, sizeof *b);
    if (b == NULL)
        return err_oom(err, sizeof *b);
    b->ctx = EVP_CIPHER_CTX_new();
    if (b->ctx == NULL || EVP_EncryptInit_ex(b->ctx, EVP_aes_128_ecb(), NULL, key, NULL) <= 0 || EVP_CIPHER_CTX_set_padding(b->ctx, 0) <= 0) {
        crypto_blocks_free(b);
        return failed("AES", err);
    }
    *out = b;
    return 0;
}

int crypto_blocks_apply(struct crypto_blocks *b, const void *in, void *out, size_t blocks, struct err *err)
{
    int len = 0;
    if (blocks > INT_MAX / CRYPTO_BLOCK_LEN || EVP_EncryptUpdate(b->ctx, out, &len, in, (int)(blocks * CRYPTO_BLOCK_LEN)) <= 0 ||
        (size_t)len != blocks * CRYPTO_BLOCK_LEN)
        return failed("AES", err);
    return 0;
}

void crypto_blocks_free(struct crypto_blocks *b)
{
    if (b == NULL)
        return;
    EVP_CIPHER_CTX_free(b->ctx);
    free(b);
}

/* ------------------------------------------------------------------ text forms */

void crypto_hex(const void *data, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = data;
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * n] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool crypto_unhex(const char *text, void *out, size_t n)
{
    if (strlen(text) != 2 * n)
        return false;
    uint8_t *p = out;
    for (size_t i = 0; i < n; i++) {
        int hi = hex_digit(text[2 * i]), lo = hex_digit(text[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        p[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

size_t crypto_base64(const void *data, size_t n, char *out)
{
    out[0] = '\0';
    if (n == 0 || n > INT_MAX)
        return 0;
    return (size_t)EVP_EncodeBlock((unsigned char *)out, data, (int)n);
}

bool crypto_unbase64(const char *text, void *out, size_t n)
{
    size_t len = strlen(text);
    if (len != 4 * ((n + 2) / 3) || len > INT_MAX)
        return false;
    uint8_t *raw = malloc(2 * len + 1); /* the bytes, then their text again */
    if (raw == NULL)
        return false;
    /* OpenSSL takes '=' anywhere and loose last bits; only the text that encoding gives is right. */
    bool ok = EVP_DecodeBlock(raw, (const unsigned char *)text, (int)len) >= (int)n &&
              crypto_base64(raw, n, (char *)raw + len) == len && memcmp(raw + len, text, len) == 0;
    if (ok)
        memcpy(out, raw, n);
    secret_wipe(raw, 2 * len + 1);
    free(raw);
    return ok;
}
