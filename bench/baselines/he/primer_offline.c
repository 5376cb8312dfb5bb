#include "bench/baselines/he/primer_state.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"

/* The time since *since is that of a step. */
static void spent(uint64_t *step_us, uint64_t *since)
{
    const uint64_t now = clock_us();
    *step_us += now - *since;
    *since = now;
}

static int send_tables(void *to, const void *tables, size_t bytes, struct err *err)
{
    struct primer_line *l = to;
    primer_send(l, tables, bytes);
    return primer_line_check(l, err);
}

static void garble_stage(struct primer_state *p, struct primer_half *h, struct garble_label *theirs, struct garble_label *gains)
{
    struct circuit c;
    struct err err;
    const size_t mine = primer_server_bits(&h->stage), out = primer_out_bits(&h->stage);
    h->label[CIRCUIT_SERVER] = primer_state_room(p, mine * sizeof *theirs);
    h->out = primer_state_room(p, out);
    if (p->l->failed)
        return;
    primer_line_fail(p->l, crypto_stream_read(p->random, h->label[CIRCUIT_SERVER], mine * sizeof *theirs, &err), &err);
    if (p->l->failed || circuit_open(&c, CIRCUIT_GARBLE, h->high, &err) != 0) {
        primer_line_fail(p->l, -1, &err);
        return;
    }
    c.g.difference = p->l->difference;
    c.sink = send_tables;
    c.to = p->l;
    c.in[CIRCUIT_CLIENT].label = theirs;
    c.in[CIRCUIT_WEIGHTS].label = gains;
    c.in[CIRCUIT_SERVER].label = h->label[CIRCUIT_SERVER];
    c.out.bit = h->out;
    primer_line_fail(p->l, primer_walk(&c, &h->stage, &err), &err);
    circuit_close(&c);
}

static void take_tables(struct primer_state *p, struct primer_half *h)
{
    h->table = primer_state_raw(p, h->gates * sizeof *h->table);
    for (size_t at = 0; at < h->gates && !p->l->failed; at += CIRCUIT_CHUNK)
        primer_recv(p->l, h->table + at, (h->gates - at < CIRCUIT_CHUNK ? h->gates - at : CIRCUIT_CHUNK) * sizeof *h->table);
}

static void offline_stage(struct primer_state *p, int layer, int stage)
{
    struct primer_half *h = &p->half[stage];
    const size_t n = primer_client_bits(&h->stage), gains = primer_weight_bits(&h->stage), D = (size_t)p->m->D;
    uint8_t *bits = primer_state_room(p, n > gains ? n : gains);
    uint64_t *values = primer_state_room(p, 2 * (h->n > D ? h->n : D) * sizeof *values);
    struct garble_label *labels = primer_state_room(p, n * sizeof *labels), *gain = primer_state_room(p, gains * sizeof *gain);
    uint64_t since = clock_us();
    struct err err;
    for (size_t i = 0; p->role == PRIMER_CLIENT && !p->l->failed && i < h->n; i++) {
        values[i] = h->share[i];
        values[h->n + i] = primer_state_reduce(p, -(primer_wide)h->mask[i]);
    }
    if (p->role == PRIMER_CLIENT && !p->l->failed)
        primer_state_bits(p, h, CIRCUIT_CLIENT, values, bits);
    primer_transfer(p->l, bits, labels, n);
    spent(&p->sums.transfers_us, &since);
    if (p->role == PRIMER_SERVER && !p->l->failed) {
        primer_line_fail(p->l, crypto_stream_read(p->random, gain, gains * sizeof *gain, &err), &err);
        garble_stage(p, h, labels, gain);
    } else if (!p->l->failed)
        take_tables(p, h);
    if (p->role == PRIMER_SERVER && gains > 0 && !p->l->failed) {
        const struct encoder_layer *y = &p->m->layer[layer];
        int64_t whole_gain[2];
        for (size_t i = 0; i < D; i++) {
            primer_state_whole(whole_gain, (stage == PRIMER_AT_NORM_1 ? y->g1 : y->g2) + i, 1, 1 << PRIMER_FRACTION);
            primer_state_whole(whole_gain + 1, (stage == PRIMER_AT_NORM_1 ? y->b1 : y->b2) + i, 1, 1 << PRIMER_FRACTION);
            values[i] = (uint64_t)whole_gain[0];
            values[D + i] = (uint64_t)whole_gain[1];
        }
        primer_state_bits(p, h, CIRCUIT_WEIGHTS, values, bits);
        primer_state_choose(p, gain, bits, gains);
    }
    if (gains > 0)
        primer_pass(p->l, PRIMER_SERVER, gain, gains * sizeof *gain);
    spent(&p->sums.tables_us, &since);
    if (p->role == PRIMER_CLIENT) {
        h->label[CIRCUIT_CLIENT] = labels;
        h->label[CIRCUIT_WEIGHTS] = gain;
    } else {
        free(labels);
        free(gain);
    }
    free(bits);
    free(values);
}

void primer_offline(struct primer_state *p, int layer)
{
    struct primer_stage stages[PRIMER_STAGES];
    struct err err;
    primer_stages(p->m, p->T, p->t, stages);
    for (int i = 0; i < PRIMER_STAGES && !p->l->failed; i++) {
        struct primer_half *h = &p->half[i];
        double gates = 0;
        h->stage = stages[i];
        h->n = stages[i].rows * stages[i].cols;
        primer_line_fail(p->l, primer_count(&h->stage, &gates, &h->high, &err), &err);
        h->gates = (size_t)llround(gates);
        p->sums.gates += h->gates;
        h->share = primer_state_room(p, h->n * sizeof *h->share);
        h->mask = primer_state_room(p, h->n * sizeof *h->mask);
        if (p->role == PRIMER_CLIENT && !p->l->failed) {
            primer_state_draw(p, h->mask, h->n);
            primer_state_draw(p, h->share, h->n); /* of products of shared matrices: handed over online; of the others: opened below */
        }
    }
    uint64_t since = clock_us();
    for (int i = PRIMER_BY_QKV; i <= PRIMER_BY_DOWN && !p->l->failed; i++)
        primer_masked_weights(p, layer, i);
    primer_masked_online(p);
    spent(&p->sums.products_us, &since);
    for (int i = 0; i < PRIMER_STAGES && !p->l->failed; i++)
        offline_stage(p, layer, i);
}
