#include "permute/walk.h"

#include <math.h>
#include <stdio.h>

#include "base/le.h"
#include "base/secret.h"

/* Twice what spreads a single coordinate over all n, and some more for small n. */
static uint32_t rounds_of(uint32_t n)
{
    uint32_t log = 0;
    while (((uint64_t)1 << log) < n)
        log++;
    return n < 2 ? 0 : 2 * log + 8;
}

static int subkey(const uint8_t key[CRYPTO_KEY_LEN], const char *what, uint32_t round, uint8_t out[CRYPTO_KEY_LEN], struct err *err)
{
    char label[64];
    (void)snprintf(label, sizeof label, "stip v1 walk %s %u", what, round);
    return crypto_hkdf(key, CRYPTO_KEY_LEN, NULL, 0, label, out, CRYPTO_KEY_LEN, err);
}

static int draw_pairs(struct walk *w, uint32_t round, const uint8_t key[CRYPTO_KEY_LEN], struct err *err)
{
    struct perm p = {0};
    if (perm_random(&p, w->n, key, err) != 0)
        return -1;
    for (uint32_t i = 0; i < w->n; i++)
        w->place[(size_t)round * w->n + i] = p.to[i];
    perm_wipe(&p);
    return 0;
}

static int draw_angles(struct walk *w, uint32_t round, const uint8_t key[CRYPTO_KEY_LEN], struct err *err)
{
    struct walk_angle *angle = w->angle + (size_t)round * (w->n / 2);
    struct crypto_stream *stream = NULL;
    uint8_t word[8];
    int rc = crypto_stream_new(&stream, key, err);
    for (uint32_t i = 0; rc == 0 && i < w->n / 2; i++)
        if ((rc = crypto_stream_read(stream, word, sizeof word, err)) == 0) {
            double turn = (double)(le_get64(word) & (((uint64_t)1 << 53) - 1)) * 0x1p-53 * 2 * M_PI;
            angle[i] = (struct walk_angle){.c = cos(turn), .s = sin(turn)};
        }
    crypto_stream_free(stream);
    secret_wipe(word, sizeof word);
    return rc;
}

int walk_random(struct walk *out, uint32_t n, const uint8_t key[CRYPTO_KEY_LEN], struct err *err)
{
    struct walk w = {.n = n, .rounds = rounds_of(n)};
    uint8_t sub[CRYPTO_KEY_LEN];
    int rc = 0;
    w.place = secret_alloc((size_t)w.rounds * n * sizeof *w.place + 1);
    w.angle = secret_alloc((size_t)w.rounds * (n / 2) * sizeof *w.angle + 1);
    if (w.place == NULL || w.angle == NULL)
        rc = err_oom(err, (size_t)w.rounds * n * 12);
    for (uint32_t r = 0; rc == 0 && r < w.rounds; r++) {
        rc = subkey(key, "pairs", r, sub, err);
        if (rc == 0)
            rc = draw_pairs(&w, r, sub, err);
        if (rc == 0)
            rc = subkey(key, "angles", r, sub, err);
        if (rc == 0)
            rc = draw_angles(&w, r, sub, err);
    }
    secret_wipe(sub, sizeof sub);
    if (rc != 0)
        walk_wipe(&w);
    else
        *out = w;
    return rc;
}

void walk_wipe(struct walk *w)
{
    secret_free(w->place);
    secret_free(w->angle);
    *w = (struct walk){0};
}

void walk_turn(const struct walk *w, double *x)
{
    for (uint32_t r = 0; r < w->rounds; r++) {
        const uint32_t *place = w->place + (size_t)r * w->n;
        const struct walk_angle *angle = w->angle + (size_t)r * (w->n / 2);
        for (uint32_t i = 0; i < w->n / 2; i++) {
            double *a = &x[place[2 * i]], *b = &x[place[2 * i + 1]], c = angle[i].c, s = angle[i].s, was = *a;
            *a = was * c - *b * s;
            *b = was * s + *b * c;
        }
    }
}

void walk_back(const struct walk *w, double *x)
{
    for (uint32_t r = w->rounds; r-- > 0;) {
        const uint32_t *place = w->place + (size_t)r * w->n;
        const struct walk_angle *angle = w->angle + (size_t)r * (w->n / 2);
        for (uint32_t i = 0; i < w->n / 2; i++) {
            double *a = &x[place[2 * i]], *b = &x[place[2 * i + 1]], c = angle[i].c, s = angle[i].s, was = *a;
            *a = was * c + *b * s;
            *b = *b * c - was * s;
        }
    }
}
