#include "bench/baselines/smpc/material.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/baselines/smpc/ring.h"

#define CHUNK ((size_t)1 << 19) /* words of a message of the dealer: 4 MB */
#define SINE_WORDS (2 * (size_t)MATERIAL_SINES)

/* ------------------------------------------------------------------ parties */

/* Words that may be anything. */
static const uint64_t *any(struct party *p, size_t n)
{
    p->cost.random += n;
    if (!party_runs(p))
        return p->memory;
    if (n > p->random_n - p->random_at) {
        party_fail(p, ERR_INTERNAL, "the plan had %zu random words, this needs %zu more", p->random_n, n);
        return p->memory;
    }
    p->random_at += n;
    return p->random + p->random_at - n;
}

/* Words that are determined by the others. */
static const uint64_t *fixed(struct party *p, size_t n)
{
    p->cost.fixed += n;
    if (!party_runs(p))
        return p->memory;
    if (p->index == 0) {
        p->cost.random -= n; /* counted as fixed */
        return any(p, n);
    }
    if (n > p->fixed_n - p->fixed_at) {
        party_fail(p, ERR_INTERNAL, "the plan had %zu words of the dealer, this needs %zu more", p->fixed_n, n);
        return p->memory;
    }
    p->fixed_at += n;
    return p->fixed + p->fixed_at - n;
}

/* Grows a buffer, whose old words are not needed. */
static void reserve(struct party *p, uint64_t **words, size_t *cap, size_t n)
{
    if (n <= *cap || p->err.code != ERR_NONE)
        return;
    free(*words);
    *words = aligned_alloc(64, (n + 7) / 8 * 64);
    *cap = *words == NULL ? 0 : n;
    if (*words == NULL)
        party_fail(p, ERR_INTERNAL, "no memory for %zu bytes of correlated randomness", n * sizeof **words);
}

void material_begin(struct party *p, const struct party_cost *cost)
{
    if (!party_runs(p) || p->parties != 2)
        return;
    uint64_t go = 0;
    p->random_n = cost->random + (p->index == 0 ? cost->fixed : 0);
    p->fixed_n = p->index == 0 ? 0 : cost->fixed;
    p->random_at = p->fixed_at = 0;
    reserve(p, &p->random, &p->random_cap, p->random_n);
    reserve(p, &p->fixed, &p->fixed_cap, p->fixed_n);
    if (p->index == 1)
        party_send(p, p->parties, &go, 1);
    party_stream(p, p->seed[0], p->random, p->random_n);
    for (size_t at = 0; at < p->fixed_n; at += CHUNK)
        party_recv(p, p->parties, p->fixed + at, p->fixed_n - at < CHUNK ? p->fixed_n - at : CHUNK);
}

/* ------------------------------------------------------------------ the dealer */

static void flush(struct party *p)
{
    if (p->chunk_n > 0)
        party_send(p, 1, p->chunk, p->chunk_n);
    p->chunk_n = 0;
}

static void emit(struct party *p, const uint64_t *words, size_t n)
{
    size_t cap = p->chunk == NULL ? 0 : CHUNK;
    reserve(p, &p->chunk, &cap, CHUNK);
    while (n > 0 && p->err.code == ERR_NONE) {
        size_t part = n < CHUNK - p->chunk_n ? n : CHUNK - p->chunk_n;
        memcpy(p->chunk + p->chunk_n, words, part * sizeof *words);
        p->chunk_n += part;
        words += part;
        n -= part;
        if (p->chunk_n == CHUNK)
            flush(p);
    }
}

void material_deal_begin(struct party *p)
{
    uint64_t go;
    party_recv(p, 1, &go, 1);
}

void material_deal_end(struct party *p)
{
    flush(p);
}

/* What both parties draw for one request: `any_n` words each, then party 0 `fixed_n` more. Gives the first [any_n] of party 0,
 * then its [fixed_n], then party 1's [any_n]; NULL after a failure. */
static uint64_t *draw(struct party *p, size_t any_n, size_t fixed_n, size_t scratch)
{
    reserve(p, &p->deal, &p->deal_cap, 2 * any_n + fixed_n + scratch);
    if (p->err.code != ERR_NONE)
        return NULL;
    party_stream(p, p->seed[0], p->deal, any_n + fixed_n);
    party_stream(p, p->seed[1], p->deal + any_n + fixed_n, any_n);
    return p->err.code == ERR_NONE ? p->deal : NULL;
}

static void deal_products(struct party *p, size_t n, bool square)
{
    size_t any_n = square ? n : 2 * n;
    uint64_t *w = draw(p, any_n, n, 0);
    if (w == NULL)
        return;
    uint64_t *c = w + any_n, *w1 = c + n;
    for (size_t i = 0; i < n; i++) {
        uint64_t a = w[i] + w1[i], b = square ? a : w[n + i] + w1[n + i];
        c[i] = a * b - c[i];
    }
    emit(p, c, n);
}

static void deal_ands(struct party *p, size_t n)
{
    uint64_t *w = draw(p, 2 * n, n, 0);
    if (w == NULL)
        return;
    uint64_t *c = w + 2 * n, *w1 = c + n;
    for (size_t i = 0; i < n; i++)
        c[i] ^= (w[i] ^ w1[i]) & (w[n + i] ^ w1[n + i]);
    emit(p, c, n);
}

static void deal_matrix(struct party *p, size_t batch, size_t m, size_t k, size_t n)
{
    size_t any_n = batch * (m * k + k * n), fixed_n = batch * m * n, scratch = fixed_n + 8 + ring_matmul_words(k);
    uint64_t *w = draw(p, any_n, fixed_n, scratch);
    if (w == NULL)
        return;
    uint64_t *c0 = w + any_n, *w1 = c0 + fixed_n, *c = w1 + any_n, *work = c + fixed_n;
    work += (64 - (uintptr_t)work % 64) % 64 / sizeof *work;
    for (size_t i = 0; i < any_n; i++)
        w[i] += w1[i];
    memset(c, 0, fixed_n * sizeof *c);
    for (size_t i = 0; i < batch; i++)
        ring_matmul_add(c + i * m * n, w + i * m * k, w + batch * m * k + i * k * n, m, k, n, work, 1);
    for (size_t i = 0; i < fixed_n; i++)
        c[i] -= c0[i];
    emit(p, c, fixed_n);
}

static void deal_bits(struct party *p, size_t n)
{
    uint64_t *w = draw(p, n, n, 0);
    for (size_t i = 0; w != NULL && i < n; i++)
        w[n + i] = ((w[i] ^ w[2 * n + i]) & 1) - w[n + i];
    if (w != NULL)
        emit(p, w + n, n);
}

static void deal_sines(struct party *p, size_t n)
{
    uint64_t *w = draw(p, n, SINE_WORDS * n, 0);
    if (w == NULL)
        return;
    uint64_t *out = w + n, *w1 = out + SINE_WORDS * n;
    for (size_t i = 0; i < n; i++) {
        const double t = 2 * M_PI * ldexp((double)((w[i] + w1[i]) & 0xffffffffu), -MATERIAL_PHASE_BITS);
        for (size_t k = 0; k < MATERIAL_SINES; k++) {
            uint64_t *s = out + k * n + i, *c = out + (MATERIAL_SINES + k) * n + i;
            *s = ring_of(sin((double)(k + 1) * t)) - *s;
            *c = ring_of(cos((double)(k + 1) * t)) - *c;
        }
    }
    emit(p, out, SINE_WORDS * n);
}

/* ------------------------------------------------------------------ requests */

static bool deals(const struct party *p)
{
    return p->mode == PARTY_DEAL && p->err.code == ERR_NONE;
}

struct material material_triple(struct party *p, size_t n)
{
    if (deals(p))
        deal_products(p, n, false);
    const uint64_t *a = any(p, n), *b = any(p, n);
    return (struct material){a, b, fixed(p, n)};
}

struct material material_square(struct party *p, size_t n)
{
    if (deals(p))
        deal_products(p, n, true);
    const uint64_t *a = any(p, n);
    return (struct material){a, NULL, fixed(p, n)};
}

struct material material_and(struct party *p, size_t n)
{
    if (deals(p))
        deal_ands(p, n);
    const uint64_t *a = any(p, n), *b = any(p, n);
    return (struct material){a, b, fixed(p, n)};
}

struct material material_matrix(struct party *p, size_t batch, size_t m, size_t k, size_t n)
{
    if (deals(p))
        deal_matrix(p, batch, m, k, n);
    const uint64_t *a = any(p, batch * m * k), *b = any(p, batch * k * n);
    return (struct material){a, b, fixed(p, batch * m * n)};
}

struct material material_bit(struct party *p, size_t n)
{
    if (deals(p))
        deal_bits(p, n);
    const uint64_t *a = any(p, n);
    return (struct material){a, NULL, fixed(p, n)};
}

struct material material_sine(struct party *p, size_t n)
{
    if (deals(p))
        deal_sines(p, n);
    const uint64_t *a = any(p, n);
    return (struct material){a, NULL, fixed(p, SINE_WORDS * n)};
}
