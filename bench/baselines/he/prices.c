#include "bench/baselines/he/prices.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/stats.h"

#define REPEATS_MAX 101

static const struct prices_set sets[] = {
    {"8192-200", {.log_n = 13, .first_bits = 56, .scale_bits = 44, .count = 3, .special_bits = 56},
     {[CKKS_ENCODE] = 0.52, [CKKS_ENCRYPT] = 3.1, [CKKS_MUL_PLAIN] = 0.16, [CKKS_MUL] = 0.26, [CKKS_RELIN] = 2.1, [CKKS_RESCALE] = 0.47,
      [CKKS_ROTATE] = 2.0}},
    {"8192-218", {.log_n = 13, .first_bits = 39, .scale_bits = 35, .count = 5, .special_bits = 39},
     {[CKKS_ENCODE] = 0.73, [CKKS_ENCRYPT] = 4.2, [CKKS_MUL_PLAIN] = 0.25, [CKKS_MUL] = 0.45, [CKKS_RELIN] = 8.2, [CKKS_RESCALE] = 0.85,
      [CKKS_ROTATE] = 8.1}},
    {"16384-436", {.log_n = 14, .first_bits = 50, .scale_bits = 42, .count = 9, .special_bits = 50},
     {[CKKS_ENCODE] = 2.3, [CKKS_ENCRYPT] = 17, [CKKS_MUL_PLAIN] = 0.89, [CKKS_MUL] = 1.6, [CKKS_RELIN] = 37, [CKKS_RESCALE] = 3.5,
      [CKKS_ROTATE] = 31}},
    {"32768-840", {.log_n = 15, .first_bits = 50, .scale_bits = 41, .count = 19, .special_bits = 52},
     {[CKKS_ENCODE] = 12, [CKKS_ENCRYPT] = 77, [CKKS_MUL_PLAIN] = 5.1, [CKKS_MUL] = 8.2, [CKKS_RELIN] = 231, [CKKS_RESCALE] = 17,
      [CKKS_ROTATE] = 225}},
};

const struct prices_set *prices_set(size_t i)
{
    return i < sizeof sets / sizeof *sets ? &sets[i] : NULL;
}

/* Encryption with the public key is in no system here, but it is what SEAL's rows mean. */
static void encrypt(struct ckks_eval *e, int level, const double *re)
{
    struct ckks_plain p = {0};
    struct ckks_cipher x = {0};
    if (e->failed || ckks_encode(e->c, &p, re, NULL, level, e->c->scale, &e->first) != 0) {
        e->failed = true;
        return;
    }
    double start = ckks_clock();
    e->failed = ckks_encrypt(e->keys, &x, &p, &e->first) != 0;
    e->tally.us[CKKS_ENCRYPT][level] += ckks_clock() - start;
    e->tally.count[CKKS_ENCRYPT][level]++;
    ckks_wipe_plain(&p);
    ckks_wipe_cipher(&x);
}

/* One round of every operation at one level; each is done once, so the tally's growth is its time. */
static void once(struct ckks_eval *e, int level, double *re, struct prices *p)
{
    const size_t slots = e->c->slots;
    struct ckks_cipher a = {0}, b = {0};
    double *got = re + slots;
    encrypt(e, level, re);
    ckks_seal(e, &a, re, level);
    ckks_rotate(e, &b, &a, 1);
    ckks_add(e, &b, &b, &a);
    ckks_mul(e, &b, &b, &a, false);
    ckks_relin(e, &b);
    if (level > 1) {
        ckks_rescale(e, &b);
        ckks_open(e, got, &b);
        for (size_t i = 0; i < slots; i++)
            p->max_error = fmax(p->max_error, fabs(got[i] - re[i] * (re[i] + re[(i + 1) % slots])));
        memcpy(p->first, got, sizeof p->first);
    }
    /* Beside what was checked: its result may not fit the last prime. */
    ckks_mul_constant(e, &b, &a, 0.5, 2);
    ckks_mul_plain(e, &b, &a, re, level, e->c->scale, false);
    ckks_add_plain(e, &b, re);
    if (level == 1)
        ckks_open(e, got, &a);
    ckks_wipe_cipher(&a);
    ckks_wipe_cipher(&b);
}

static int measure_level(struct prices *p, struct ckks_eval *e, int level, int repeats, double *re, struct err *err)
{
    double us[CKKS_OPS][REPEATS_MAX] = {{0}};
    once(e, level, re, p); /* keys and pages */
    for (int i = 0; i < repeats; i++) {
        memset(&e->tally, 0, sizeof e->tally);
        once(e, level, re, p);
        for (int op = 0; op < CKKS_OPS; op++) {
            /* decrypting and decoding came after a rescale, one level below */
            int at = level > 1 && (op == CKKS_DECRYPT || op == CKKS_DECODE) ? level - 1 : level;
            us[op][i] = e->tally.us[op][at] / (double)(e->tally.count[op][at] == 0 ? 1 : e->tally.count[op][at]);
        }
    }
    for (int op = 0; op < CKKS_OPS; op++)
        p->us[op][level > 1 && (op == CKKS_DECRYPT || op == CKKS_DECODE) ? level - 1 : level] = stats_median(us[op], (size_t)repeats);
    return ckks_check(e, err);
}

int prices_measure(struct prices *out, const struct ckks_params *params, int from, int to, int repeats, struct err *err)
{
    struct prices p = {0};
    struct ckks *c = NULL;
    struct ckks_keys *keys = NULL;
    struct ckks_eval e = {0};
    const struct ckks_switch *key;
    double *re = NULL;
    int rc = -1;
    repeats = repeats < 1 ? 1 : repeats > REPEATS_MAX ? REPEATS_MAX : repeats;
    if (ckks_new(&c, params, err) != 0)
        return -1;
    if ((re = malloc(2 * c->slots * sizeof *re)) == NULL) {
        err_oom(err, 2 * c->slots * sizeof *re);
        goto done;
    }
    for (size_t i = 0; i < c->slots; i++)
        re[i] = sin((double)i);
    double start = ckks_clock();
    if (ckks_keys_new(&keys, c, err) != 0)
        goto done;
    p.keys_us = ckks_clock() - start;
    start = ckks_clock();
    if (ckks_keys_rotation(keys, 1, &key, err) != 0 || ckks_eval_init(&e, c, keys, err) != 0)
        goto done;
    p.rotation_key_us = ckks_clock() - start;
    for (int level = from; level >= to; level--)
        if (measure_level(&p, &e, level, repeats, re, err) != 0)
            goto done;
    *out = p;
    rc = 0;
done:
    ckks_eval_free(&e);
    ckks_keys_free(keys);
    ckks_free(c);
    free(re);
    return rc;
}

double prices_of(const struct prices *p, const struct ckks_tally *t, const bool ops[CKKS_OPS])
{
    double us = 0;
    for (int op = 0; op < CKKS_OPS; op++)
        for (int l = 0; ops[op] && l <= CKKS_PRIMES_MAX; l++)
            if (t->count[op][l] != 0)
                us += p->us[op][l] > 0 ? (double)t->count[op][l] * p->us[op][l] : NAN;
    return us;
}
