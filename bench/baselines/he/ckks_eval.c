#include "bench/baselines/he/ckks_eval.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/crypto.h"

const char *ckks_op_name(enum ckks_op op)
{
    static const char *const names[CKKS_OPS] = {"encode", "encode_weights", "encrypt", "seal", "decrypt", "decode", "add", "add_plain", "mul_plain",
                                                "mul_constant", "mul", "relin", "rescale", "rotate"};
    return names[op];
}

int ckks_eval_init(struct ckks_eval *e, const struct ckks *c, struct ckks_keys *keys, struct err *err)
{
    *e = (struct ckks_eval){.c = c, .keys = keys};
    if (keys == NULL)
        return 0;
    e->digits = malloc(((size_t)c->count + 2) * c->n * sizeof *e->digits);
    e->sums = malloc(2 * c->n * sizeof *e->sums);
    if (e->digits == NULL || e->sums == NULL) {
        ckks_eval_free(e);
        return err_oom(err, ((size_t)c->count + 6) * c->n * sizeof *e->digits);
    }
    return 0;
}

void ckks_eval_free(struct ckks_eval *e)
{
    free(e->digits);
    free(e->sums);
    e->digits = NULL;
    e->sums = NULL;
}

int ckks_check(const struct ckks_eval *e, struct err *err)
{
    return e->failed ? err_set(err, e->first.code, "%s", e->first.text) : 0;
}

/* True if there are numbers to work on. */
static bool real(const struct ckks_eval *e)
{
    return e->keys != NULL && !e->failed;
}

/* Processor time: these machines are shared, and a price is to hold when they are not. */
double ckks_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void done(struct ckks_eval *e, enum ckks_op op, int level, double start)
{
    e->tally.count[op][level]++;
    if (real(e))
        e->tally.us[op][level] += ckks_clock() - start;
}

static bool alike(double a, double b)
{
    return fabs(a / b - 1) < 0x1p-16;
}

static uint64_t *row(const struct ckks_eval *e, const struct ckks_cipher *x, int part, int l)
{
    return x->data + ((size_t)part * (size_t)x->level + (size_t)l) * e->c->n;
}

static struct ckks_cipher fresh(struct ckks_eval *e, int parts, int level, double scale)
{
    struct ckks_cipher x = {NULL, parts, level, scale};
    if (real(e)) {
        size_t bytes = ckks_cipher_bytes(e->c, parts, level);
        x.data = malloc(bytes);
        if (x.data == NULL) {
            e->failed = true;
            err_oom(&e->first, bytes);
        }
    }
    return x;
}

static void give(struct ckks_cipher *out, struct ckks_cipher x)
{
    free(out->data);
    *out = x;
}

static void encode(struct ckks_eval *e, enum ckks_op op, struct ckks_plain *p, const double *re, int level, double scale)
{
    double start = ckks_clock();
    if (real(e) && ckks_encode(e->c, p, re, NULL, level, scale, &e->first) != 0)
        e->failed = true;
    done(e, op, level, start);
}

/* ------------------------------------------------------------------ client */

size_t ckks_sealed_bytes(const struct ckks *c, int level)
{
    return ckks_cipher_bytes(c, 1, level) + CRYPTO_KEY_LEN;
}

void ckks_seal(struct ckks_eval *e, struct ckks_cipher *out, const double *re, int level)
{
    struct ckks_plain p = {0};
    encode(e, CKKS_ENCODE, &p, re, level, e->c->scale);
    double start = ckks_clock();
    if (real(e)) {
        if (ckks_encrypt_own(e->keys, out, &p, NULL, &e->first) != 0)
            e->failed = true;
    } else
        give(out, fresh(e, 2, level, e->c->scale));
    done(e, CKKS_SEAL, level, start);
    ckks_wipe_plain(&p);
    e->tally.up += ckks_sealed_bytes(e->c, level);
}

void ckks_open(struct ckks_eval *e, double *re, const struct ckks_cipher *x)
{
    struct ckks_plain p = {0};
    double start = ckks_clock();
    if (real(e) && ckks_decrypt(e->keys, &p, x, &e->first) != 0)
        e->failed = true;
    done(e, CKKS_DECRYPT, x->level, start);
    start = ckks_clock();
    if (real(e) && ckks_decode(e->c, &p, re, NULL, &e->first) != 0)
        e->failed = true;
    done(e, CKKS_DECODE, x->level, start);
    ckks_wipe_plain(&p);
    e->tally.down += ckks_cipher_bytes(e->c, x->parts, x->level);
}

/* ------------------------------------------------------------------ sums and products */

void ckks_copy(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *x)
{
    struct ckks_cipher y = fresh(e, x->parts, x->level, x->scale);
    if (real(e))
        memcpy(y.data, x->data, ckks_cipher_bytes(e->c, x->parts, x->level));
    give(out, y);
}

static void sum(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *a, const struct ckks_cipher *b, bool minus)
{
    assert(a->parts == b->parts && a->level <= b->level && alike(a->scale, b->scale));
    double start = ckks_clock();
    struct ckks_cipher x = out == a ? *out : fresh(e, a->parts, a->level, a->scale);
    for (int part = 0; real(e) && part < a->parts; part++)
        for (int l = 0; l < a->level; l++) {
            const uint64_t q = e->c->ring[l].q, *u = row(e, a, part, l), *v = row(e, b, part, l);
            uint64_t *w = row(e, &x, part, l);
            for (size_t i = 0; i < e->c->n; i++)
                w[i] = minus ? ring_sub(u[i], v[i], q) : ring_add(u[i], v[i], q);
        }
    done(e, CKKS_ADD, a->level, start);
    if (out != a)
        give(out, x);
}

void ckks_add(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *a, const struct ckks_cipher *b)
{
    sum(e, out, a, b, false);
}

void ckks_sub(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *a, const struct ckks_cipher *b)
{
    sum(e, out, a, b, true);
}

void ckks_add_plain(struct ckks_eval *e, struct ckks_cipher *x, const double *re)
{
    struct ckks_plain p = {0};
    encode(e, CKKS_WEIGHT, &p, re, x->level, x->scale);
    double start = ckks_clock();
    for (int l = 0; real(e) && l < x->level; l++) {
        uint64_t *u = row(e, x, 0, l);
        const uint64_t *m = p.data + (size_t)l * e->c->n;
        for (size_t i = 0; i < e->c->n; i++)
            u[i] = ring_add(u[i], m[i], e->c->ring[l].q);
    }
    done(e, CKKS_ADD_PLAIN, x->level, start);
    ckks_wipe_plain(&p);
}

/* Residue of a whole number that a double holds. */
static uint64_t whole(const struct ring *r, double v)
{
    uint64_t a = ring_reduce(r, (ring_wide)fabs(v));
    return v < 0 && a != 0 ? r->q - a : a;
}

void ckks_add_constant(struct ckks_eval *e, struct ckks_cipher *x, double v)
{
    double m = rint(v * x->scale);
    assert(fabs(m) < 0x1p100);
    double start = ckks_clock();
    for (int l = 0; real(e) && l < x->level; l++) {
        uint64_t *u = row(e, x, 0, l), add = whole(&e->c->ring[l], m);
        for (size_t i = 0; i < e->c->n; i++)
            u[i] = ring_add(u[i], add, e->c->ring[l].q);
    }
    done(e, CKKS_ADD_PLAIN, x->level, start);
}

void ckks_mul_plain(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *x, const double *re, int level, double scale,
                    bool add)
{
    struct ckks_plain p = {0};
    encode(e, CKKS_WEIGHT, &p, re, level, scale);
    ckks_mul_encoded(e, out, x, &p, level, scale, add);
    ckks_wipe_plain(&p);
}

void ckks_mul_encoded(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *x, const struct ckks_plain *p, int level, double scale,
                      bool add)
{
    assert(level >= 1 && level <= x->level);
    assert(!add || (out != x && out->parts == x->parts && out->level == level && alike(out->scale, x->scale * scale)));
    double start = ckks_clock();
    struct ckks_cipher y = add ? *out : fresh(e, x->parts, level, x->scale * scale);
    for (int part = 0; real(e) && part < x->parts; part++)
        for (int l = 0; l < level; l++) {
            const struct ring *r = &e->c->ring[l];
            const uint64_t *u = row(e, x, part, l), *m = p->data + (size_t)l * e->c->n;
            uint64_t *w = row(e, &y, part, l);
            if (add)
                for (size_t i = 0; i < e->c->n; i++)
                    w[i] = ring_reduce(r, (ring_wide)u[i] * m[i] + w[i]);
            else
                for (size_t i = 0; i < e->c->n; i++)
                    w[i] = ring_mul(r, u[i], m[i]);
        }
    done(e, CKKS_MUL_PLAIN, level, start);
    if (!add)
        give(out, y);
}

void ckks_mul_constant(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *x, double v, double scale)
{
    double m = rint(v * scale);
    assert(fabs(m) < 0x1p100);
    double start = ckks_clock();
    struct ckks_cipher y = fresh(e, x->parts, x->level, x->scale * scale);
    for (int part = 0; real(e) && part < x->parts; part++)
        for (int l = 0; l < x->level; l++) {
            const struct ring *r = &e->c->ring[l];
            const uint64_t *u = row(e, x, part, l), by = whole(r, m), quotient = ring_shoup(by, r->q);
            uint64_t *w = row(e, &y, part, l);
            for (size_t i = 0; i < e->c->n; i++)
                w[i] = ring_mul_constant(u[i], by, quotient, r->q);
        }
    done(e, CKKS_MUL_CONSTANT, x->level, start);
    give(out, y);
}

void ckks_mul(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *a, const struct ckks_cipher *b, bool add)
{
    const int level = a->level < b->level ? a->level : b->level;
    assert(a->parts == 2 && b->parts == 2);
    assert(!add || (out->parts == 3 && out->level == level && alike(out->scale, a->scale * b->scale)));
    double start = ckks_clock();
    struct ckks_cipher y = add ? *out : fresh(e, 3, level, a->scale * b->scale);
    for (int l = 0; real(e) && l < level; l++) {
        const struct ring *r = &e->c->ring[l];
        const uint64_t *a0 = row(e, a, 0, l), *a1 = row(e, a, 1, l), *b0 = row(e, b, 0, l), *b1 = row(e, b, 1, l);
        uint64_t *y0 = row(e, &y, 0, l), *y1 = row(e, &y, 1, l), *y2 = row(e, &y, 2, l);
        for (size_t i = 0; i < e->c->n; i++) {
            ring_wide z0 = (ring_wide)a0[i] * b0[i], z1 = (ring_wide)a0[i] * b1[i] + (ring_wide)a1[i] * b0[i], z2 = (ring_wide)a1[i] * b1[i];
            y0[i] = ring_reduce(r, add ? z0 + y0[i] : z0);
            y1[i] = ring_reduce(r, add ? z1 + y1[i] : z1);
            y2[i] = ring_reduce(r, add ? z2 + y2[i] : z2);
        }
    }
    done(e, CKKS_MUL, level, start);
    if (!add)
        give(out, y);
}

/* ------------------------------------------------------------------ dropping a prime, switching keys */

/* [targets][N] rows of a poly, and its residue modulo the prime `dropped`, which is overwritten: rows become (poly / prime), rounded. */
static void divide(const struct ckks_eval *e, uint64_t *rows, int targets, uint64_t *last, int dropped, uint64_t *work)
{
    const struct ckks *c = e->c;
    const struct ring *d = &c->ring[dropped];
    const uint64_t half = d->q / 2;
    ring_inverse(d, last);
    for (size_t i = 0; i < c->n; i++)
        last[i] = ring_add(last[i], half, d->q);
    for (int l = 0; l < targets; l++) {
        const struct ring *r = &c->ring[l];
        const uint64_t q = r->q, half_here = ring_reduce(r, half), by = c->inverse[dropped][l], quotient = c->inverse_quotient[dropped][l];
        uint64_t *x = rows + (size_t)l * c->n;
        for (size_t i = 0; i < c->n; i++)
            work[i] = ring_sub(ring_reduce(r, last[i]), half_here, q);
        ring_forward(r, work);
        for (size_t i = 0; i < c->n; i++)
            x[i] = ring_mul_constant(ring_sub(x[i], work[i], q), by, quotient, q);
    }
}

/* Adds to y's two parts what `poly` [level][N] under the key's target is under the secret. */
static void switch_key(struct ckks_eval *e, struct ckks_cipher *y, const uint64_t *poly, const struct ckks_switch *key)
{
    const struct ckks *c = e->c;
    const size_t n = c->n, level = (size_t)y->level, primes = (size_t)c->count + 1;
    uint64_t *digits = e->digits, *work = e->digits + primes * n, *rows = malloc(2 * (level + 1) * n * sizeof *rows);
    if (rows == NULL) {
        e->failed = true;
        err_oom(&e->first, 2 * (level + 1) * n * sizeof *rows);
        return;
    }
    memcpy(digits, poly, level * n * sizeof *digits);
    for (size_t d = 0; d < level; d++)
        ring_inverse(&c->ring[d], digits + d * n);
    for (size_t t = 0; t <= level; t++) {
        size_t prime = t == level ? (size_t)c->count : t;
        const struct ring *r = &c->ring[prime];
        ring_wide *s0 = e->sums, *s1 = e->sums + n;
        memset(s0, 0, 2 * n * sizeof *s0);
        for (size_t d = 0; d < level; d++) {
            const uint64_t *b = key->data + (d * 2 * primes + prime) * n, *a = b + primes * n, *digit = poly + d * n;
            if (d != prime) {
                for (size_t i = 0; i < n; i++)
                    work[i] = ring_reduce(r, digits[d * n + i]);
                ring_forward(r, work);
                digit = work;
            }
            for (size_t i = 0; i < n; i++) {
                s0[i] += (ring_wide)digit[i] * b[i];
                s1[i] += (ring_wide)digit[i] * a[i];
            }
        }
        for (size_t i = 0; i < n; i++) {
            rows[t * n + i] = ring_reduce(r, s0[i]);
            rows[(level + 1 + t) * n + i] = ring_reduce(r, s1[i]);
        }
    }
    for (int part = 0; part < 2; part++) {
        uint64_t *x = rows + (size_t)part * (level + 1) * n;
        divide(e, x, y->level, x + level * n, c->count, work);
        for (int l = 0; l < y->level; l++) {
            uint64_t *to = row(e, y, part, l);
            for (size_t i = 0; i < n; i++)
                to[i] = ring_add(to[i], x[(size_t)l * n + i], c->ring[l].q);
        }
    }
    free(rows);
}

void ckks_relin(struct ckks_eval *e, struct ckks_cipher *x)
{
    assert(x->parts == 3);
    double start = ckks_clock();
    x->parts = 2;
    if (real(e))
        switch_key(e, x, x->data + 2 * (size_t)x->level * e->c->n, &e->keys->relin);
    done(e, CKKS_RELIN, x->level, start);
}

void ckks_rescale(struct ckks_eval *e, struct ckks_cipher *x)
{
    assert(x->level > 1);
    double start = ckks_clock();
    const int last = x->level - 1;
    struct ckks_cipher y = fresh(e, x->parts, last, x->scale / (double)e->c->ring[last].q);
    for (int part = 0; real(e) && part < x->parts; part++) {
        memcpy(row(e, &y, part, 0), row(e, x, part, 0), (size_t)last * e->c->n * sizeof(uint64_t));
        divide(e, row(e, &y, part, 0), last, row(e, x, part, last), last, e->digits);
    }
    done(e, CKKS_RESCALE, x->level, start);
    give(x, y);
}

void ckks_lower(struct ckks_eval *e, struct ckks_cipher *x, int level)
{
    assert(level >= 1 && level <= x->level);
    for (int part = 1; real(e) && part < x->parts; part++)
        memmove(x->data + (size_t)part * (size_t)level * e->c->n, row(e, x, part, 0), (size_t)level * e->c->n * sizeof(uint64_t));
    x->level = level;
}

void ckks_rotate(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *x, int step)
{
    assert(x->parts == 2);
    const struct ckks_switch *key = NULL;
    const size_t n = e->c->n, level = (size_t)x->level;
    double start = ckks_clock();
    if (real(e) && ckks_keys_rotation(e->keys, step, &key, &e->first) != 0)
        e->failed = true;
    double made = ckks_clock();
    e->tally.keys_us += made - start;
    start = made;
    struct ckks_cipher y = fresh(e, 2, x->level, x->scale), turned = fresh(e, 1, x->level, x->scale);
    if (real(e)) {
        for (size_t l = 0; l < 2 * level; l++) {
            const uint64_t *from = x->data + l * n;
            uint64_t *to = l < level ? y.data + l * n : turned.data + (l - level) * n;
            for (size_t i = 0; i < n; i++)
                to[i] = from[key->from[i]];
        }
        memset(y.data + level * n, 0, level * n * sizeof *y.data);
        switch_key(e, &y, turned.data, key);
    }
    done(e, CKKS_ROTATE, x->level, start);
    free(turned.data);
    give(out, y);
}

void ckks_times(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *a, const struct ckks_cipher *b)
{
    ckks_mul(e, out, a, b, false);
    ckks_relin(e, out);
    ckks_rescale(e, out);
}

double ckks_plain_scale(const struct ckks_eval *e, const struct ckks_cipher *x, int level)
{
    return e->c->scale * (double)e->c->ring[level - 1].q / x->scale;
}

/* ------------------------------------------------------------------ polynomials */

/* p = low + x^m high with m the largest power of two up to the degree; powers[i] = x^(2^i). Degree 0 is left to the caller. */
static void poly(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *powers, const double *c, int degree)
{
    assert(degree >= 1);
    int bit = 31 - __builtin_clz((unsigned)degree), m = 1 << bit;
    const struct ckks_cipher *top = &powers[bit];
    struct ckks_cipher high = {0}, low = {0};
    if (degree == m)
        ckks_mul_constant(e, &high, top, c[m], ckks_plain_scale(e, top, top->level));
    else {
        poly(e, &high, powers, c + m, degree - m);
        ckks_mul(e, &high, &high, top, false);
        ckks_relin(e, &high);
    }
    ckks_rescale(e, &high);
    if (m > 1) {
        poly(e, &low, powers, c, m - 1);
        int level = low.level < high.level ? low.level : high.level;
        ckks_lower(e, &low, level);
        ckks_lower(e, &high, level);
        ckks_add(e, &high, &high, &low);
    } else
        ckks_add_constant(e, &high, c[0]);
    ckks_wipe_cipher(&low);
    ckks_wipe_cipher(out);
    *out = high;
}

void ckks_poly(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *x, const double *c, int degree)
{
    struct ckks_cipher powers[16] = {{0}}, y = {0};
    assert(degree >= 1 && degree < 1 << 16);
    ckks_copy(e, &powers[0], x);
    for (int i = 1; degree >> i != 0; i++)
        ckks_times(e, &powers[i], &powers[i - 1], &powers[i - 1]);
    poly(e, &y, powers, c, degree);
    for (int i = 0; degree >> i != 0; i++)
        ckks_wipe_cipher(&powers[i]);
    give(out, y);
}
