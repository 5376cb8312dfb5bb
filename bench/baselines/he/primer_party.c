#include "bench/baselines/he/primer_party.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"
#include "bench/baselines/he/primer_state.h"

#define LOG_N 13
#define TOY_LOG_N 10

static int fits(const struct encoder *m, int T, struct err *err)
{
    const double there = (double)memory_physical();
    double needed;
    if (primer_memory(m, T, &needed, err) != 0)
        return -1;
    return needed <= there ? 0 : err_set(err, ERR_USAGE, "primer: a layer's circuits need %.0f bytes of memory for %d tokens, this machine has %.0f",
                                         needed, T, there);
}

/* ------------------------------------------------------------------ set-up */

/* The client's rotation keys; both know from the products which. */
static void pass_keys(struct primer_state *p)
{
    const struct ckks *c = p->b->c;
    const size_t words = ckks_switch_words(c);
    uint64_t *sent = primer_state_room(p, words * sizeof *sent);
    int have[2 * PRIMER_PRODUCTS], n = 0;
    struct err err;
    for (int i = 0; i < PRIMER_PRODUCTS; i++) {
        int steps[2], count = primer_steps(c, &p->product[i], steps);
        for (int k = 0; k < count && !p->l->failed; k++) {
            bool known = false;
            for (int j = 0; j < n; j++)
                known = known || have[j] == steps[k];
            if (known)
                continue;
            have[n++] = steps[k];
            const struct ckks_switch *key = NULL;
            if (p->role == PRIMER_CLIENT)
                primer_line_fail(p->l, ckks_keys_rotation(p->keys, steps[k], &key, &err), &err);
            if (key != NULL)
                memcpy(sent, key->data, words * sizeof *sent);
            primer_pass(p->l, PRIMER_CLIENT, sent, words * sizeof *sent);
            if (p->role == PRIMER_SERVER && !p->l->failed)
                primer_line_fail(p->l, ckks_keys_take(p->keys, steps[k], sent, &err), &err);
        }
    }
    free(sent);
}

static int open_party(struct primer_state *p, struct bare *bare, bool toy, int timeout_ms, struct err *err)
{
    char what[160];
    uint8_t seed[CRYPTO_KEY_LEN];
    const struct encoder *m = p->m;
    (void)snprintf(what, sizeof what, "%d layers, %d wide, %d heads, %d hidden, %d tokens%s", m->L, m->D, m->H, m->F, p->T, toy ? ", toy" : "");
    primer_products(m, p->T, p->product);
    if (primer_new(&p->b, toy ? TOY_LOG_N : LOG_N, toy, err) != 0 || primer_line_new(&p->l, p->role, bare, p->b, what, timeout_ms, err) != 0 ||
        crypto_random(seed, sizeof seed, err) != 0 || crypto_stream_new(&p->random, seed, err) != 0 ||
        (p->role == PRIMER_CLIENT ? ckks_keys_new(&p->keys, p->b->c, err) : ckks_keys_of_server(&p->keys, p->b->c, err)) != 0 ||
        ckks_eval_init(&p->e, p->b->c, p->keys, err) != 0)
        return -1;
    p->t = p->b->t.q;
    pass_keys(p);
    primer_transfer_base(p->l, &p->e);
    p->input = primer_state_room(p, (size_t)p->T * (size_t)m->D * sizeof *p->input);
    if (p->role == PRIMER_CLIENT && !p->l->failed)
        primer_state_draw(p, p->input, (size_t)p->T * (size_t)m->D);
    return primer_line_check(p->l, err);
}

/* ------------------------------------------------------------------ all layers */

static uint64_t cpu_us(void)
{
    struct timespec t;
    return clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0 ? (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000 : 0;
}

static void layers(struct primer_state *p, double *x)
{
    const size_t n = (size_t)p->T * (size_t)p->m->D;
    const double one = 1 << PRIMER_FRACTION;
    uint64_t *values = primer_state_room(p, n * sizeof *values);
    for (int layer = 0; layer < p->m->L && !p->l->failed; layer++) {
        const uint64_t start = clock_us(), sent = p->l->sent;
        uint8_t meet = 0;
        primer_offline(p, layer);
        primer_pass(p->l, PRIMER_SERVER, &meet, 1); /* so that one's offline work is not the other's online waiting */
        primer_pass(p->l, PRIMER_CLIENT, &meet, 1);
        p->l->direction = 0; /* that the meeting was no message of the protocol */
        const uint64_t ready = clock_us(), ready_cpu = cpu_us(), ready_sent = p->l->sent, messages = p->l->messages, waited = p->l->wait_us;
        for (size_t i = 0; layer == 0 && p->role == PRIMER_CLIENT && !p->l->failed && i < n; i++)
            values[i] = primer_state_reduce(p, (primer_wide)llround(x[i] * one) - p->input[i]);
        if (layer == 0 && !p->l->failed)
            primer_pass_numbers(p->l, PRIMER_CLIENT, p->role == PRIMER_CLIENT ? values : p->input, n);
        primer_online(p, layer);
        if (layer == p->m->L - 1 && !p->l->failed)
            primer_pass_numbers(p->l, PRIMER_SERVER, p->role == PRIMER_SERVER ? p->input : values, n);
        p->sums.offline_us += ready - start;
        p->sums.offline_sent += ready_sent - sent;
        p->sums.online_us += clock_us() - ready;
        p->sums.online_cpu_us += cpu_us() - ready_cpu;
        p->sums.online_sent += p->l->sent - ready_sent;
        p->sums.messages += p->l->messages - messages;
        p->sums.wait_us += p->l->wait_us - waited;
        primer_state_drop_layer(p);
    }
    for (size_t i = 0; p->role == PRIMER_CLIENT && !p->l->failed && i < n; i++)
        x[i] = (double)primer_state_centred(p, (values[i] + p->input[i]) % p->t) / one;
    free(values);
}

int primer_party(enum primer_role role, struct bare *bare, const struct encoder *m, int T, double *x, bool toy, int timeout_ms,
                 struct primer_sums *sums, struct err *err)
{
    struct primer_state p = {.role = role, .m = m, .T = T};
    const uint64_t start = clock_us();
    int rc = fits(m, T, err) != 0 ? -1 : open_party(&p, bare, toy, timeout_ms, err);
    if (rc == 0) {
        p.sums.setup_us = clock_us() - start;
        p.sums.setup_sent = p.l->sent;
        layers(&p, x);
        rc = primer_line_check(p.l, err);
    }
    for (int op = 0; op < CKKS_OPS; op++)
        for (int l = 0; l <= CKKS_PRIMES_MAX; l++)
            p.sums.he_us += p.e.tally.us[op][l];
    if (rc == 0)
        *sums = p.sums;
    primer_state_drop_layer(&p);
    free(p.input);
    ckks_eval_free(&p.e);
    ckks_keys_free(p.keys);
    crypto_stream_free(p.random);
    primer_line_free(p.l);
    bfv_free(p.b);
    return rc;
}
