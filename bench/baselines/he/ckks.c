#include "bench/baselines/he/ckks.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

int ckks_secure_bits(int log_n)
{
    static const int bits[] = {27, 54, 109, 218, 438, 881}; /* N = 1024 ... 32768 */
    return log_n >= 10 && log_n <= 15 ? bits[log_n - 10] : 0;
}

static int check(const struct ckks_params *p, struct err *err)
{
    if (p->log_n < 3 || p->log_n > 15)
        return err_set(err, ERR_USAGE, "ring of degree 2^%d: expected 2^3 to 2^15", p->log_n);
    if (p->count < 1 || p->count > CKKS_PRIMES_MAX)
        return err_set(err, ERR_USAGE, "%d data primes: expected 1 to %d", p->count, CKKS_PRIMES_MAX);
    const int bits_min = p->log_n + 4 > 28 ? p->log_n + 4 : 28;
    const int bits[] = {p->first_bits, p->scale_bits, p->special_bits};
    for (int i = 0; i < 3; i++)
        if (bits[i] < bits_min || bits[i] > RING_BITS_MAX)
            return err_set(err, ERR_USAGE, "primes of %d bits: expected %d to %d", bits[i], bits_min, RING_BITS_MAX);
    if (p->special_bits < p->first_bits || p->special_bits < p->scale_bits)
        return err_set(err, ERR_USAGE, "a special prime of %d bits is smaller than the data primes", p->special_bits);
    int sum = p->first_bits + (p->count - 1) * p->scale_bits + p->special_bits;
    if (!p->toy && sum > ckks_secure_bits(p->log_n))
        return err_set(err, ERR_USAGE, "primes of %d bits in all: N = %d has 128-bit security up to %d", sum, 1 << p->log_n,
                       ckks_secure_bits(p->log_n));
    return 0;
}

static int make_rings(struct ckks *c, struct err *err)
{
    const struct ckks_params *p = &c->params;
    uint64_t q[CKKS_PRIMES_MAX + 1];
    uint64_t taken[2]; /* the special prime and the first */
    bool ok = ring_primes(p->log_n, p->special_bits, 1, NULL, 0, &taken[0]) &&
              ring_primes(p->log_n, p->first_bits, 1, taken, 1, &taken[1]) &&
              ring_primes(p->log_n, p->scale_bits, c->count - 1, taken, 2, q + 1);
    q[0] = taken[1];
    q[c->count] = taken[0];
    if (!ok)
        return err_set(err, ERR_USAGE, "too few primes of %d bits = 1 mod 2^%d", p->scale_bits, p->log_n + 1);
    for (int i = 0; i <= c->count; i++) {
        if (ring_init(&c->ring[i], p->log_n, q[i], err) != 0)
            return -1;
        c->log_qp += log2((double)q[i]);
    }
    for (int i = 0; i <= c->count; i++)
        for (int j = 0; j < c->count; j++)
            if (i != j) {
                c->inverse[i][j] = ring_invert(q[i] % q[j], q[j]);
                c->inverse_quotient[i][j] = ring_shoup(c->inverse[i][j], q[j]);
            }
    return 0;
}

/* The embedding's butterflies of length `len` need the points of order 4 len in the order of the powers of 5. */
static void make_turns(struct ckks *c)
{
    for (size_t len = 2; len <= c->slots; len *= 2) {
        size_t power = 1;
        for (size_t j = 0; j < len / 2; j++) {
            double angle = 2 * M_PI * (double)power / (double)(4 * len);
            c->turn[len / 2 + j] = (struct ckks_turn){cos(angle), sin(angle)};
            power = power * 5 % (4 * len);
        }
    }
}

int ckks_new(struct ckks **out, const struct ckks_params *params, struct err *err)
{
    if (check(params, err) != 0)
        return -1;
    struct ckks *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_oom(err, sizeof *c);
    c->params = *params;
    c->n = (size_t)1 << params->log_n;
    c->slots = c->n / 2;
    c->count = params->count;
    c->scale = ldexp(1, params->scale_bits);
    c->turn = malloc(c->slots * sizeof *c->turn);
    c->reversed = malloc(c->n * sizeof *c->reversed);
    int rc = c->turn == NULL || c->reversed == NULL ? err_oom(err, c->n * 12) : make_rings(c, err);
    if (rc != 0) {
        ckks_free(c);
        return -1;
    }
    make_turns(c);
    c->reversed[0] = 0;
    for (uint32_t i = 1; i < c->n; i++)
        c->reversed[i] = c->reversed[i >> 1] >> 1 | (i & 1) << (params->log_n - 1);
    *out = c;
    return 0;
}

void ckks_free(struct ckks *c)
{
    if (c == NULL)
        return;
    for (int i = 0; i <= c->count; i++)
        ring_free(&c->ring[i]);
    free(c->turn);
    free(c->reversed);
    free(c);
}

size_t ckks_cipher_bytes(const struct ckks *c, int parts, int level)
{
    return (size_t)parts * (size_t)level * c->n * sizeof(uint64_t);
}

void ckks_wipe_plain(struct ckks_plain *p)
{
    free(p->data);
    *p = (struct ckks_plain){0};
}

void ckks_wipe_cipher(struct ckks_cipher *x)
{
    free(x->data);
    *x = (struct ckks_cipher){0};
}
