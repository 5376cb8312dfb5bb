#include "bench/baselines/he/bfv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void constants(struct bfv *b)
{
    const struct ckks *c = b->c;
    b->rest = 1;
    for (int i = 0; i < c->count; i++) {
        const uint64_t q = c->ring[i].q;
        uint64_t others = 1;
        for (int j = 0; j < c->count; j++)
            if (j != i)
                others = (uint64_t)((ring_wide)others * (c->ring[j].q % q) % q);
        b->digit[i] = ring_invert(others, q);
        b->inverse[i] = ring_invert(b->t.q % q, q);
        b->rest = (uint64_t)((ring_wide)b->rest * (q % b->t.q) % b->t.q);
    }
}

int bfv_new(struct bfv **out, const struct ckks_params *params, int t_bits, struct err *err)
{
    struct bfv *b = calloc(1, sizeof *b);
    uint64_t t, taken[CKKS_PRIMES_MAX + 1];
    if (b == NULL)
        return err_oom(err, sizeof *b);
    int rc = ckks_new(&b->c, params, err);
    for (int i = 0; rc == 0 && i <= b->c->count; i++)
        taken[i] = b->c->ring[i].q;
    double q_bits = params->first_bits + (params->count - 1.0) * params->scale_bits;
    if (rc == 0 && q_bits < 2.0 * t_bits + params->log_n + 10) /* a product of t-bit numbers, summed N times, and room for its noise */
        rc = err_set(err, ERR_USAGE, "%g bits of data primes are too few for integers of %d bits; expected at least %d", q_bits, t_bits,
                     2 * t_bits + params->log_n + 10);
    if (rc == 0 && !ring_primes(params->log_n, t_bits, 1, taken, b->c->count + 1, &t))
        rc = err_set(err, ERR_USAGE, "no prime of %d bits = 1 mod 2^%d", t_bits, params->log_n + 1);
    if (rc == 0)
        rc = ring_init(&b->t, params->log_n, t, err);
    if (rc == 0 && (b->slot = malloc(b->c->n * sizeof *b->slot)) == NULL)
        rc = err_oom(err, b->c->n * sizeof *b->slot);
    if (rc != 0) {
        bfv_free(b);
        return -1;
    }
    constants(b);
    uint64_t power = 1;
    for (size_t j = 0; j < b->c->slots; j++) {
        b->slot[j] = b->c->reversed[(power - 1) / 2];
        b->slot[j + b->c->slots] = b->c->reversed[(2 * b->c->n - power - 1) / 2];
        power = power * 5 % (2 * b->c->n);
    }
    *out = b;
    return 0;
}

void bfv_free(struct bfv *b)
{
    if (b == NULL)
        return;
    ring_free(&b->t);
    free(b->slot);
    ckks_free(b->c);
    free(b);
}

int bfv_encode(const struct bfv *b, struct ckks_plain *out, const int64_t *v, bool to_encrypt, struct err *err)
{
    const struct ckks *c = b->c;
    const uint64_t t = b->t.q;
    size_t bytes = (size_t)c->count * c->n * sizeof(uint64_t);
    uint64_t *m = malloc(c->n * sizeof *m), *data = malloc(bytes);
    if (m == NULL || data == NULL) {
        free(m);
        free(data);
        return err_oom(err, bytes);
    }
    for (size_t i = 0; i < c->n; i++) {
        int64_t r = v[i] % (int64_t)t;
        m[b->slot[i]] = (uint64_t)(r < 0 ? r + (int64_t)t : r);
    }
    ring_inverse(&b->t, m);
    /* round(Q m / t) = (Q m - [Q m]) / t with [] the rest around zero, and Q is 0 modulo each prime. A multiple floor(Q / t) of m would not do: t
     * times that is not Q, and a product with a factor as large as t would show the difference. */
    for (size_t i = 0; to_encrypt && i < c->n; i++)
        m[i] = ring_sub(0, ring_mul(&b->t, m[i], b->rest), t);
    for (int l = 0; l < c->count; l++) {
        const struct ring *r = &c->ring[l];
        const uint64_t by = to_encrypt ? b->inverse[l] : 1, quotient = ring_shoup(by, r->q);
        uint64_t *row = data + (size_t)l * c->n;
        for (size_t i = 0; i < c->n; i++) {
            uint64_t lifted = m[i] > t / 2 ? ring_sub(0, ring_reduce(r, t - m[i]), r->q) : ring_reduce(r, m[i]);
            row[i] = ring_mul_constant(lifted, by, quotient, r->q);
        }
        ring_forward(r, row);
    }
    free(m);
    free(out->data);
    *out = (struct ckks_plain){data, c->count, 1};
    return 0;
}

/* round(t x / Q) = round(sum over the primes of digit t / q): whole parts exactly, fractions as doubles. */
int bfv_decode(const struct bfv *b, const struct ckks_plain *p, int64_t *v, struct err *err)
{
    const struct ckks *c = b->c;
    const uint64_t t = b->t.q;
    uint64_t *m = calloc(c->n, sizeof *m), *row = malloc(c->n * sizeof *row);
    double *fraction = calloc(c->n, sizeof *fraction);
    int rc = m == NULL || row == NULL || fraction == NULL ? err_oom(err, 3 * c->n * sizeof *m) : 0;
    for (int l = 0; rc == 0 && l < c->count; l++) {
        const struct ring *r = &c->ring[l];
        memcpy(row, p->data + (size_t)l * c->n, c->n * sizeof *row);
        ring_inverse(r, row);
        for (size_t i = 0; i < c->n; i++) {
            ring_wide z = (ring_wide)ring_mul(r, row[i], b->digit[l]) * t;
            uint64_t whole = (uint64_t)(z / r->q);
            m[i] = (m[i] + whole) % t;
            fraction[i] += (double)(uint64_t)(z - (ring_wide)whole * r->q) / (double)r->q;
        }
    }
    for (size_t i = 0; rc == 0 && i < c->n; i++)
        m[i] = (m[i] + (uint64_t)(fraction[i] + 0.5)) % t;
    if (rc == 0)
        ring_forward(&b->t, m);
    for (size_t i = 0; rc == 0 && i < c->n; i++) {
        uint64_t x = m[b->slot[i]];
        v[i] = x > t / 2 ? -(int64_t)(t - x) : (int64_t)x;
    }
    free(m);
    free(row);
    free(fraction);
    return rc;
}

/* ------------------------------------------------------------------ counted and timed */

static void failed(struct ckks_eval *e, int rc)
{
    if (rc != 0)
        e->failed = true;
}

static bool real(const struct ckks_eval *e)
{
    return e->keys != NULL && !e->failed;
}

static void done(struct ckks_eval *e, enum ckks_op op, double start)
{
    e->tally.count[op][e->c->count]++;
    if (real(e))
        e->tally.us[op][e->c->count] += ckks_clock() - start;
}

static void encode(struct ckks_eval *e, const struct bfv *b, enum ckks_op op, struct ckks_plain *p, const int64_t *v, bool to_encrypt)
{
    double start = ckks_clock();
    if (real(e))
        failed(e, bfv_encode(b, p, v, to_encrypt, &e->first));
    done(e, op, start);
}

void bfv_seal(struct ckks_eval *e, const struct bfv *b, struct ckks_cipher *out, const int64_t *v, uint8_t *seed)
{
    struct ckks_plain p = {0};
    encode(e, b, CKKS_ENCODE, &p, v, true);
    double start = ckks_clock();
    if (real(e))
        failed(e, ckks_encrypt_own(e->keys, out, &p, seed, &e->first));
    else
        *out = (struct ckks_cipher){NULL, 2, e->c->count, 1};
    done(e, CKKS_SEAL, start);
    ckks_wipe_plain(&p);
    e->tally.up += ckks_sealed_bytes(e->c, e->c->count);
}

void bfv_open(struct ckks_eval *e, const struct bfv *b, int64_t *v, const struct ckks_cipher *x)
{
    struct ckks_plain p = {0};
    double start = ckks_clock();
    if (real(e))
        failed(e, ckks_decrypt(e->keys, &p, x, &e->first));
    done(e, CKKS_DECRYPT, start);
    start = ckks_clock();
    if (real(e))
        failed(e, bfv_decode(b, &p, v, &e->first));
    done(e, CKKS_DECODE, start);
    ckks_wipe_plain(&p);
    e->tally.down += ckks_cipher_bytes(e->c, 2, e->c->count);
}

void bfv_mul(struct ckks_eval *e, const struct bfv *b, struct ckks_cipher *out, const struct ckks_cipher *x, const int64_t *v, bool add)
{
    struct ckks_plain p = {0};
    encode(e, b, CKKS_WEIGHT, &p, v, false);
    ckks_mul_encoded(e, out, x, &p, e->c->count, 1, add);
    ckks_wipe_plain(&p);
}

void bfv_sub(struct ckks_eval *e, const struct bfv *b, struct ckks_cipher *x, const int64_t *v)
{
    struct ckks_plain p = {0};
    encode(e, b, CKKS_ENCODE, &p, v, true);
    double start = ckks_clock();
    for (int l = 0; real(e) && l < x->level; l++)
        for (size_t i = 0; i < e->c->n; i++) {
            uint64_t *at = x->data + (size_t)l * e->c->n + i;
            *at = ring_sub(*at, p.data[(size_t)l * e->c->n + i], e->c->ring[l].q);
        }
    done(e, CKKS_ADD_PLAIN, start);
    ckks_wipe_plain(&p);
}
