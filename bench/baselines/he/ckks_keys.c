#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "bench/baselines/he/ckks.h"

#define CHUNK 4096 /* random bytes taken at once */

/* ------------------------------------------------------------------ sampling */

static int uniform(const struct ring *r, uint64_t *out, struct crypto_stream *s, struct err *err)
{
    const uint64_t mask = UINT64_MAX >> (64 - r->bits);
    uint64_t word[CHUNK / sizeof(uint64_t)];
    for (size_t i = 0; i < r->n;) {
        if (crypto_stream_read(s, word, sizeof word, err) != 0)
            return -1;
        for (size_t w = 0; w < sizeof word / sizeof *word && i < r->n; w++)
            if ((word[w] & mask) < r->q)
                out[i++] = word[w] & mask;
    }
    return 0;
}

/* -1, 0 and 1 alike. */
static int ternary(size_t n, int8_t *out, struct crypto_stream *s, struct err *err)
{
    uint8_t byte[CHUNK];
    for (size_t i = 0; i < n;) {
        if (crypto_stream_read(s, byte, sizeof byte, err) != 0)
            return -1;
        for (size_t b = 0; b < sizeof byte && i < n; b++)
            if (byte[b] < 255) /* 85 of each */
                out[i++] = (int8_t)(byte[b] % 3 - 1);
    }
    return 0;
}

/* The difference of two sums of 21 bits: deviation 3.24, where the standard asks for 3.2. */
static int noise(size_t n, int8_t *out, struct crypto_stream *s, struct err *err)
{
    uint64_t word[CHUNK / sizeof(uint64_t)];
    for (size_t i = 0; i < n;) {
        if (crypto_stream_read(s, word, sizeof word, err) != 0)
            return -1;
        for (size_t w = 0; w < sizeof word / sizeof *word && i < n; w++)
            out[i++] = (int8_t)(__builtin_popcountll(word[w] & 0x1fffff) - __builtin_popcountll(word[w] >> 32 & 0x1fffff));
    }
    return 0;
}

static void spread(const struct ring *r, const int8_t *small, uint64_t *out)
{
    for (size_t i = 0; i < r->n; i++)
        out[i] = small[i] < 0 ? r->q - (uint64_t)-small[i] : (uint64_t)small[i];
    ring_forward(r, out);
}

/* ------------------------------------------------------------------ keys */

/* b = -a s + e at one prime, a drawn from `from`. */
static int pair(const struct ckks_keys *k, int prime, const int8_t *e, uint64_t *b, uint64_t *a, struct crypto_stream *from, struct err *err)
{
    const struct ring *r = &k->c->ring[prime];
    const uint64_t *secret = k->secret + (size_t)prime * r->n;
    if (uniform(r, a, from, err) != 0)
        return -1;
    spread(r, e, b);
    for (size_t i = 0; i < r->n; i++)
        b[i] = ring_sub(b[i], ring_mul(r, a[i], secret[i]), r->q);
    return 0;
}

/* The value at the root's power p becomes the one at its power p element. */
static void sources(const struct ckks *c, uint32_t *from, uint64_t element)
{
    for (uint32_t i = 0; i < c->n; i++)
        from[i] = c->reversed[((2 * (uint64_t)c->reversed[i] + 1) * element % (2 * c->n) - 1) / 2];
}

static int make_switch(const struct ckks_keys *k, struct ckks_switch *out, uint64_t element, const uint64_t *target, struct err *err)
{
    const struct ckks *c = k->c;
    size_t primes = (size_t)c->count + 1, words = ckks_switch_words(c);
    uint64_t *data = malloc(words * sizeof *data);
    uint32_t *from = malloc(c->n * sizeof *from);
    int8_t *e = malloc(c->n);
    int rc = data == NULL || from == NULL || e == NULL ? err_oom(err, words * sizeof *data) : 0;
    for (int digit = 0; rc == 0 && digit < c->count; digit++) {
        uint64_t *b = data + (size_t)digit * 2 * primes * c->n, *a = b + primes * c->n;
        rc = noise(c->n, e, k->random, err);
        for (size_t p = 0; rc == 0 && p < primes; p++)
            rc = pair(k, (int)p, e, b + p * c->n, a + p * c->n, k->random, err);
        const struct ring *r = &c->ring[digit];
        uint64_t special = c->ring[c->count].q % r->q, quotient = ring_shoup(special, r->q);
        uint64_t *at = b + (size_t)digit * c->n;
        const uint64_t *t = target + (size_t)digit * c->n;
        for (size_t i = 0; rc == 0 && i < c->n; i++)
            at[i] = ring_add(at[i], ring_mul_constant(t[i], special, quotient, r->q), r->q);
    }
    free(e);
    if (rc != 0) {
        free(data);
        free(from);
        return -1;
    }
    sources(c, from, element);
    *out = (struct ckks_switch){element, data, from};
    return 0;
}

static int make_relin(struct ckks_keys *k, struct err *err)
{
    size_t n = k->c->n, words = (size_t)(k->c->count + 1) * n;
    uint64_t *square = malloc(words * sizeof *square);
    if (square == NULL)
        return err_oom(err, words * sizeof *square);
    for (size_t i = 0; i < words; i++)
        square[i] = ring_mul(&k->c->ring[i / n], k->secret[i], k->secret[i]);
    int rc = make_switch(k, &k->relin, 1, square, err);
    free(square);
    return rc;
}

int ckks_keys_new(struct ckks_keys **out, const struct ckks *c, struct err *err)
{
    struct ckks_keys *k = calloc(1, sizeof *k);
    uint8_t seed[CRYPTO_KEY_LEN];
    int8_t *small = malloc(c->n);
    size_t count = (size_t)c->count, bytes = (3 * count + 1) * c->n * sizeof(uint64_t);
    int rc = k == NULL || small == NULL ? err_oom(err, bytes) : 0;
    if (rc == 0) {
        k->c = c;
        k->secret = malloc((count + 1) * c->n * sizeof *k->secret);
        k->public = malloc(2 * count * c->n * sizeof *k->public);
        rc = k->secret == NULL || k->public == NULL ? err_oom(err, bytes) : crypto_random(seed, sizeof seed, err);
    }
    if (rc == 0)
        rc = crypto_stream_new(&k->random, seed, err);
    if (rc == 0)
        rc = ternary(c->n, small, k->random, err);
    for (size_t p = 0; rc == 0 && p <= count; p++)
        spread(&c->ring[p], small, k->secret + p * c->n);
    if (rc == 0)
        rc = noise(c->n, small, k->random, err);
    for (size_t p = 0; rc == 0 && p < count; p++)
        rc = pair(k, (int)p, small, k->public + p * c->n, k->public + (count + p) * c->n, k->random, err);
    if (rc == 0)
        rc = make_relin(k, err);
    free(small);
    if (rc != 0) {
        ckks_keys_free(k);
        return -1;
    }
    *out = k;
    return 0;
}

void ckks_keys_free(struct ckks_keys *k)
{
    if (k == NULL)
        return;
    free(k->secret);
    free(k->public);
    free(k->relin.data);
    free(k->relin.from);
    for (int i = 0; i < k->turn_count; i++) {
        free(k->turn[i].data);
        free(k->turn[i].from);
    }
    crypto_stream_free(k->random);
    free(k);
}

static uint64_t element_of(const struct ckks *c, int step)
{
    size_t slots = c->slots, turns = (size_t)((step % (int)slots + (int)slots) % (int)slots);
    uint64_t element = 1;
    for (size_t i = 0; i < turns; i++)
        element = element * 5 % (2 * c->n);
    return element;
}

int ckks_keys_rotation(struct ckks_keys *k, int step, const struct ckks_switch **out, struct err *err)
{
    const struct ckks *c = k->c;
    const uint64_t element = element_of(c, step);
    for (int i = 0; i < k->turn_count; i++)
        if (k->turn[i].element == element) {
            *out = &k->turn[i];
            return 0;
        }
    if (k->turn_count == CKKS_KEYS_MAX || k->secret == NULL)
        return err_set(err, ERR_INTERNAL, k->secret == NULL ? "no key for a rotation by %d slots was sent" : "more than %d rotation keys",
                       k->secret == NULL ? step : CKKS_KEYS_MAX);
    size_t words = (size_t)(c->count + 1) * c->n;
    uint64_t *turned = malloc(words * sizeof *turned);
    if (turned == NULL)
        return err_oom(err, words * sizeof *turned);
    for (size_t i = 0; i < words; i++) {
        uint64_t power = 2 * (uint64_t)c->reversed[i % c->n] + 1;
        turned[i] = k->secret[i / c->n * c->n + c->reversed[(power * element % (2 * c->n) - 1) / 2]];
    }
    int rc = make_switch(k, &k->turn[k->turn_count], element, turned, err);
    free(turned);
    if (rc != 0)
        return -1;
    *out = &k->turn[k->turn_count++];
    return 0;
}

size_t ckks_switch_words(const struct ckks *c)
{
    return (size_t)c->count * 2 * ((size_t)c->count + 1) * c->n;
}

int ckks_keys_of_server(struct ckks_keys **out, const struct ckks *c, struct err *err)
{
    struct ckks_keys *k = calloc(1, sizeof *k);
    if (k == NULL)
        return err_oom(err, sizeof *k);
    k->c = c;
    *out = k;
    return 0;
}

int ckks_keys_take(struct ckks_keys *k, int step, const uint64_t *words, struct err *err)
{
    const struct ckks *c = k->c;
    const size_t bytes = ckks_switch_words(c) * sizeof *words;
    struct ckks_switch key = {element_of(c, step), malloc(bytes), malloc(c->n * sizeof *key.from)};
    if (k->turn_count == CKKS_KEYS_MAX || key.data == NULL || key.from == NULL) {
        free(key.data);
        free(key.from);
        return k->turn_count == CKKS_KEYS_MAX ? err_set(err, ERR_PEER, "more than %d rotation keys", CKKS_KEYS_MAX) : err_oom(err, bytes);
    }
    memcpy(key.data, words, bytes);
    sources(c, key.from, key.element);
    k->turn[k->turn_count++] = key;
    return 0;
}

size_t ckks_keys_bytes(const struct ckks_keys *k)
{
    size_t count = (size_t)k->c->count, row = k->c->n * sizeof(uint64_t);
    return 2 * count * row + (size_t)(k->turn_count + 1) * count * 2 * (count + 1) * row;
}

/* ------------------------------------------------------------------ encryption */

int ckks_encrypt(struct ckks_keys *k, struct ckks_cipher *out, const struct ckks_plain *p, struct err *err)
{
    const struct ckks *c = k->c;
    size_t bytes = ckks_cipher_bytes(c, 2, p->level), level = (size_t)p->level;
    uint64_t *data = malloc(bytes), *u = malloc(c->n * sizeof *u);
    int8_t *small = malloc(3 * c->n);
    int rc = data == NULL || u == NULL || small == NULL ? err_oom(err, bytes) : 0;
    if (rc == 0 && (ternary(c->n, small, k->random, err) != 0 || noise(2 * c->n, small + c->n, k->random, err) != 0))
        rc = -1;
    for (size_t l = 0; rc == 0 && l < level; l++) {
        const struct ring *r = &c->ring[l];
        uint64_t *c0 = data + l * c->n, *c1 = data + (level + l) * c->n;
        const uint64_t *b = k->public + l * c->n, *a = k->public + ((size_t)c->count + l) * c->n, *m = p->data + l * c->n;
        spread(r, small, u);
        spread(r, small + c->n, c0);
        spread(r, small + 2 * c->n, c1);
        for (size_t i = 0; i < c->n; i++) {
            c0[i] = ring_add(ring_reduce(r, (ring_wide)b[i] * u[i] + c0[i]), m[i], r->q);
            c1[i] = ring_reduce(r, (ring_wide)a[i] * u[i] + c1[i]);
        }
    }
    free(u);
    free(small);
    if (rc != 0) {
        free(data);
        return -1;
    }
    free(out->data);
    *out = (struct ckks_cipher){data, 2, p->level, p->scale};
    return 0;
}

int ckks_encrypt_own(struct ckks_keys *k, struct ckks_cipher *out, const struct ckks_plain *p, uint8_t *seed_out, struct err *err)
{
    const struct ckks *c = k->c;
    size_t bytes = ckks_cipher_bytes(c, 2, p->level), level = (size_t)p->level;
    uint64_t *data = malloc(bytes);
    int8_t *small = malloc(c->n);
    uint8_t seed[CRYPTO_KEY_LEN];
    struct crypto_stream *from = NULL;
    int rc = data == NULL || small == NULL ? err_oom(err, bytes) : crypto_stream_read(k->random, seed, sizeof seed, err);
    if (rc == 0)
        rc = crypto_stream_new(&from, seed, err);
    if (rc == 0)
        rc = noise(c->n, small, k->random, err);
    for (size_t l = 0; rc == 0 && l < level; l++) {
        uint64_t *c0 = data + l * c->n;
        rc = pair(k, (int)l, small, c0, data + (level + l) * c->n, from, err);
        for (size_t i = 0; rc == 0 && i < c->n; i++)
            c0[i] = ring_add(c0[i], p->data[l * c->n + i], c->ring[l].q);
    }
    crypto_stream_free(from);
    free(small);
    if (rc != 0) {
        free(data);
        return -1;
    }
    free(out->data);
    if (seed_out != NULL)
        memcpy(seed_out, seed, sizeof seed);
    *out = (struct ckks_cipher){data, 2, p->level, p->scale};
    return 0;
}

int ckks_expand(const struct ckks *c, struct ckks_cipher *x, const uint8_t *seed, struct err *err)
{
    struct crypto_stream *from = NULL;
    int rc = crypto_stream_new(&from, seed, err);
    for (size_t l = 0; rc == 0 && l < (size_t)x->level; l++)
        rc = uniform(&c->ring[l], x->data + ((size_t)x->level + l) * c->n, from, err);
    crypto_stream_free(from);
    return rc;
}

int ckks_decrypt(const struct ckks_keys *k, struct ckks_plain *out, const struct ckks_cipher *x, struct err *err)
{
    const struct ckks *c = k->c;
    size_t level = (size_t)x->level;
    uint64_t *data = malloc(level * c->n * sizeof *data);
    if (data == NULL)
        return err_oom(err, level * c->n * sizeof *data);
    for (size_t l = 0; l < level; l++) {
        const struct ring *r = &c->ring[l];
        const uint64_t *s = k->secret + l * c->n;
        for (size_t i = 0; i < c->n; i++) {
            uint64_t sum = 0; /* Horner in s: a product before relinearisation has three parts */
            for (int part = x->parts; part-- > 0;)
                sum = ring_add(ring_mul(r, sum, s[i]), x->data[((size_t)part * level + l) * c->n + i], r->q);
            data[l * c->n + i] = sum;
        }
    }
    free(out->data);
    *out = (struct ckks_plain){data, x->level, x->scale};
    return 0;
}
