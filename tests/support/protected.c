#include "tests/support/protected.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_dev/rules.h"
#include "tests/support/tempdir.h"

static void must(int rc, const struct err *err)
{
    if (rc == 0)
        return;
    (void)fprintf(stderr, "tests/support/protected: %s\n", err->text);
    abort();
}

void protected_synth(const char *dir, const char *architecture, const struct synth_shape *shape, uint64_t seed)
{
    struct err err = {0};
    must(synth_checkpoint(tempdir_path(dir, "plain"), architecture, shape, seed, &err), &err);
}

static uint8_t pub[CRYPTO_KEY_LEN], key[CRYPTO_KEY_LEN];

const uint8_t *protected_signer(void)
{
    struct err err = {0};
    static const uint8_t none[CRYPTO_KEY_LEN];
    if (memcmp(pub, none, sizeof none) == 0)
        must(crypto_sign_keypair(pub, key, &err), &err);
    return pub;
}

static const uint8_t *seed_of(uint8_t seed)
{
    static uint8_t bytes[256][CRYPTO_KEY_LEN];
    memset(bytes[seed], seed, CRYPTO_KEY_LEN);
    return bytes[seed];
}

struct protect_opts protected_opts(const char *dir, uint8_t seed)
{
    static char model[FILE_PATH_MAX], out[FILE_PATH_MAX];
    (void)snprintf(model, sizeof model, "%s", tempdir_path(dir, "plain"));
    (void)snprintf(out, sizeof out, "%s", tempdir_path(dir, "out"));
    return (struct protect_opts){
        .model = model, .out = out, .seed = seed_of(seed),
        .sign_pub = protected_signer(), .sign_key = key, .created = 1795253400,
    };
}

struct keyset *protected_keys(const struct config *c, uint8_t seed)
{
    struct keyset *ks = NULL;
    struct err err = {0};
    const struct key_shape shape = rules_shape(c);
    must(keyset_new(&ks, &shape, seed_of(seed), &err), &err);
    return ks;
}

const char *protected_head(const char *dir, const char *head)
{
    struct config c;
    struct err err = {0};
    must(config_read(&c, tempdir_path(dir, "plain"), &err), &err);
    const bool headless = c.head == HEAD_NONE;
    config_free(&c);
    return headless && head != NULL && strcmp(head, "server") == 0 ? "auto" : head;
}
