#include "bench/baselines/he/systems.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "bench/baselines/he/poly_net.h"
#include "bench/baselines/he/the_x.h"

#define PRICE_REPEATS 3

/* ------------------------------------------------------------------ what differs between the systems */

union fit {
    struct the_x_fit the_x;
    struct poly_net_fit poly;
};

static int the_x_twin_of(const struct encoder *m, int layer, double *x, int T, union fit *fit, struct err *err)
{
    return the_x_twin(m, layer, x, T, &fit->the_x, err);
}

static int the_x_layer_of(struct ckks_eval *e, const struct encoder *m, int layer, const union fit *fit, struct packed *x, struct err *err)
{
    return the_x_layer(e, m, layer, fit == NULL ? NULL : &fit->the_x, x, err);
}

static void the_x_free_of(union fit *fit)
{
    the_x_fit_free(&fit->the_x);
}

static int poly_twin_of(const struct encoder *m, int layer, double *x, int T, union fit *fit, struct err *err)
{
    return poly_net_twin(m, layer, x, T, &fit->poly, err);
}

static int poly_layer_of(struct ckks_eval *e, const struct encoder *m, int layer, const union fit *fit, struct packed *x, struct err *err)
{
    return poly_net_layer(e, m, layer, fit == NULL ? NULL : &fit->poly, x, err);
}

static void poly_free_of(union fit *fit)
{
    poly_net_fit_free(&fit->poly);
}

static const struct system {
    const char *name, *protects, *note;
    bool (*params)(struct ckks_params *out, int T, int D, int K, bool toy);
    int (*twin)(const struct encoder *m, int layer, double *x, int T, union fit *fit, struct err *err);
    int (*layer)(struct ckks_eval *e, const struct encoder *m, int layer, const union fit *fit, struct packed *x, struct err *err);
    void (*free)(union fit *fit);
} systems[SYSTEMS_COUNT] = {
    [SYSTEMS_THE_X] = {"the-x", "input and output from a semi-honest server; weights from a client that does not use the hidden values it opens",
                       "CKKS; client takes ReLU and refreshes; norms and reciprocal fitted, not fine-tuned", the_x_params, the_x_twin_of,
                       the_x_layer_of, the_x_free_of},
    [SYSTEMS_POLY] = {"polynomial", "input, all hidden values and output from a semi-honest server; weights from the client, where bootstrapping is done",
                      "CKKS; client refresh in place of bootstrapping (not implemented); polynomials fitted, not fine-tuned", poly_net_params,
                      poly_twin_of, poly_layer_of, poly_free_of},
};

const char *systems_name(enum systems_kind kind)
{
    return systems[kind].name;
}

/* ------------------------------------------------------------------ rows */

static const bool online_ops[CKKS_OPS] = {
    [CKKS_ENCODE] = true, [CKKS_SEAL] = true, [CKKS_DECRYPT] = true, [CKKS_DECODE] = true, [CKKS_ADD] = true, [CKKS_ADD_PLAIN] = true,
    [CKKS_MUL_PLAIN] = true, [CKKS_MUL_CONSTANT] = true, [CKKS_MUL] = true, [CKKS_RELIN] = true, [CKKS_RESCALE] = true, [CKKS_ROTATE] = true};
static const bool weight_ops[CKKS_OPS] = {[CKKS_WEIGHT] = true};

static uint64_t counted(const struct ckks_tally *t, enum ckks_op op)
{
    uint64_t n = 0;
    for (int l = 0; l <= CKKS_PRIMES_MAX; l++)
        n += t->count[op][l];
    return n;
}

static void describe(struct compare_row *row, const struct system *s, const char *shape, int T, const struct ckks_params *p,
                     const struct ckks_tally *t)
{
    snprintf(row->system, sizeof row->system, "%s", s->name);
    snprintf(row->shape, sizeof row->shape, "%s, %d tokens", shape, T);
    snprintf(row->protects, sizeof row->protects, "%s", s->protects);
    snprintf(row->note, sizeof row->note,
             "%s; N %d, %d primes; %llu rotations, %llu + %llu plain and cipher products, %llu relinearisations, %llu + %llu sealed and opened",
             s->note, 1 << p->log_n, p->count + 1, (unsigned long long)counted(t, CKKS_ROTATE), (unsigned long long)counted(t, CKKS_MUL_PLAIN),
             (unsigned long long)counted(t, CKKS_MUL), (unsigned long long)counted(t, CKKS_RELIN),
             (unsigned long long)counted(t, CKKS_SEAL), (unsigned long long)counted(t, CKKS_DECRYPT));
    row->bytes = (double)(t->up + t->down);
    row->rounds = (double)t->messages;
    row->tokens = T;
}

/* The client seals x; layers; what the client opens at the end is in `opened`. twin, exact NULL in a counted run. */
static int encoder_run(struct ckks_eval *e, const struct system *s, const struct encoder *m, const double *start, double *opened, double *twin,
                       double *exact, int T, uint64_t *aside_us, double *aside_cpu_us, struct err *err)
{
    struct packed x = {0};
    int rc = 0, top = e->c->count;
    packed_seal(e, &x, start, m->D, T, top);
    for (int l = 0; rc == 0 && l < m->L; l++) {
        union fit fit;
        uint64_t begin = clock_us();
        double begin_cpu = ckks_clock();
        if (twin != NULL && (s->twin(m, l, twin, T, &fit, err) != 0 || encoder_exact(m, l, exact, T, err) != 0)) {
            rc = -1;
            break;
        }
        *aside_us += clock_us() - begin;
        *aside_cpu_us += ckks_clock() - begin_cpu;
        if (l > 0)
            rc = packed_refresh(e, &x, false, top, NULL, err);
        if (rc == 0)
            rc = s->layer(e, m, l, twin == NULL ? NULL : &fit, &x, err);
        if (twin != NULL)
            s->free(&fit);
    }
    if (rc == 0) {
        packed_open(e, opened, &x);
        rc = ckks_check(e, err);
    }
    packed_free(&x);
    return rc;
}

static void compare(double *most, double *mean, const double *a, const double *b, size_t n)
{
    *most = *mean = 0;
    for (size_t i = 0; i < n; i++) {
        double d = isnan(a[i] - b[i]) ? INFINITY : fabs(a[i] - b[i]);
        *most = fmax(*most, d);
        *mean += d / (double)n;
    }
}

bool systems_params(struct ckks_params *out, enum systems_kind kind, const struct encoder *m, int T)
{
    return T >= 1 && (T & (T - 1)) == 0 && systems[kind].params(out, T, m->D, m->K, false) &&
           ((long)m->F + m->D) * 4 * T <= (long)PACKED_PARTS_MAX << out->log_n;
}

/* Copies for the widest product, THE-X's weights of all distances, and twelve keys. */
double systems_bytes(enum systems_kind kind, const struct encoder *m, int T, const struct ckks_params *p)
{
    const double n = ldexp(1, p->log_n), row = n * sizeof(uint64_t), per = n / 4 / T;
    const double parts = ceil(m->D / per), wide = ceil(m->F / per), cipher = 2 * p->count * row, keys = 12.0 * p->count * 2 * (p->count + 1) * row;
    return keys + cipher * (wide * (sqrt(per) + 1) + 6 * parts + (kind == SYSTEMS_THE_X ? parts * T : 0));
}

static int prepared(enum systems_kind kind, struct ckks_params *p, const struct encoder *m, const char *shape, int T, struct err *err)
{
    if (!systems_params(p, kind, m, T))
        return err_set(err, ERR_USAGE,
                       "%s: %s with %d tokens: expected a power of two, heads of width %d that fill ciphertexts of 2^14 or 2^15 coefficients, and few of those",
                       systems[kind].name, shape, T, m->K);
    return 0;
}

int systems_measure(struct compare_row *row, enum systems_kind kind, const struct checkpoint *cp, const char *shape, const int32_t *ids, int T,
                    double *hidden, struct systems_detail *detail, struct err *err)
{
    const struct system *s = &systems[kind];
    struct encoder m = {0};
    struct ckks_params p;
    struct ckks *c = NULL;
    struct ckks_keys *keys = NULL;
    struct ckks_eval e = {0};
    double *x = NULL;
    int rc = -1;
    if (encoder_read(&m, cp, err) != 0)
        return -1;
    size_t n = (size_t)T * (size_t)m.D;
    if (prepared(kind, &p, &m, shape, T, err) != 0)
        goto done;
    double bytes = systems_bytes(kind, &m, T, &p);
    if (bytes > (double)memory_physical()) {
        err_set(err, ERR_INTERNAL, "%s: %s with %d tokens needs about %.0f bytes, and this machine has %llu; use fewer tokens, or --shape for a model of it",
                s->name, shape, T, bytes, (unsigned long long)memory_physical());
        goto done;
    }
    x = malloc(4 * n * sizeof *x);
    if (x == NULL) {
        err_oom(err, 4 * n * sizeof *x);
        goto done;
    }
    double *twin = x + n, *exact = twin + n, *opened = exact + n;
    if (encoder_embed(cp, ids, T, x, err) != 0)
        goto done;
    memcpy(twin, x, n * sizeof *x);
    memcpy(exact, x, n * sizeof *x);
    uint64_t start = clock_us(), aside = 0;
    if (ckks_new(&c, &p, err) != 0 || ckks_keys_new(&keys, c, err) != 0 || ckks_eval_init(&e, c, keys, err) != 0)
        goto done;
    double keys_us = (double)(clock_us() - start);
    double cpu_us = ckks_clock(), aside_cpu_us = 0;
    start = clock_us();
    if (encoder_run(&e, s, &m, x, opened, twin, exact, T, &aside, &aside_cpu_us, err) != 0)
        goto done;
    cpu_us = ckks_clock() - cpu_us - aside_cpu_us;
    double wall_us = (double)(clock_us() - start - aside), weights_us = 0;
    for (int l = 0; l <= CKKS_PRIMES_MAX; l++)
        weights_us += e.tally.us[CKKS_WEIGHT][l];
    struct compare_row got = compare_row_empty(COMPARE_MEASURED);
    describe(&got, s, shape, T, &p, &e.tally);
    const double busy = wall_us / cpu_us, before_us = (weights_us + e.tally.keys_us) * busy; /* the tally is processor time */
    got.online_s = (wall_us - before_us) / 1e6;
    got.offline_s = (keys_us + before_us) / 1e6;
    got.offline_bytes = (double)ckks_keys_bytes(keys);
    got.wait_s = 0;
    const double cpu_s = (cpu_us - weights_us - e.tally.keys_us) / 1e6;
    const size_t used = strlen(got.note);
    snprintf(got.note + used, sizeof got.note - used, "; %.3g s of processor time", cpu_s);
    compare(&got.max_err, &got.mean_err, opened, exact, n);
    compare(&got.own_max_err, &got.own_mean_err, opened, twin, n);
    if (detail != NULL) {
        *detail = (struct systems_detail){.params = p, .tally = e.tally, .weights_s = weights_us / 1e6,
                                          .cpu_s = cpu_s, .keys_bytes = ckks_keys_bytes(keys)};
        if (prices_measure(&detail->prices, &p, p.count, 1, PRICE_REPEATS, err) != 0)
            goto done;
        detail->priced_s = prices_of(&detail->prices, &e.tally, online_ops) / 1e6;
    }
    if (hidden != NULL)
        memcpy(hidden, opened, n * sizeof *hidden);
    *row = got;
    rc = 0;
done:
    ckks_eval_free(&e);
    ckks_keys_free(keys);
    ckks_free(c);
    free(x);
    encoder_free(&m);
    return rc;
}

int systems_model(struct compare_row *row, enum systems_kind kind, const struct encoder *m, const char *shape, int T,
                  struct systems_detail *detail, struct err *err)
{
    const struct system *s = &systems[kind];
    struct systems_detail d = {0};
    struct ckks *c = NULL;
    struct ckks_eval e;
    uint64_t aside = 0;
    double aside_cpu = 0;
    if (prepared(kind, &d.params, m, shape, T, err) != 0 || ckks_new(&c, &d.params, err) != 0)
        return -1;
    int rc = ckks_eval_init(&e, c, NULL, err);
    if (rc == 0)
        rc = encoder_run(&e, s, m, NULL, NULL, NULL, NULL, T, &aside, &aside_cpu, err);
    ckks_free(c);
    if (rc != 0 || prices_measure(&d.prices, &d.params, d.params.count, 1, PRICE_REPEATS, err) != 0)
        return -1;
    d.tally = e.tally;
    d.priced_s = prices_of(&d.prices, &d.tally, online_ops) / 1e6;
    d.weights_s = prices_of(&d.prices, &d.tally, weight_ops) / 1e6;
    *row = compare_row_empty(COMPARE_MODELLED);
    describe(row, s, shape, T, &d.params, &d.tally);
    row->online_s = d.priced_s;
    row->offline_s = d.weights_s + d.prices.keys_us / 1e6;
    if (detail != NULL)
        *detail = d;
    return 0;
}
