#include "bench/baselines/he/circuit.h"

#include <stdlib.h>
#include <string.h>

#define LANES_MAX 256 /* of a word that is moved */

static const struct circuit_bit zero = {0, 0}, one = {1, 0};

int circuit_open(struct circuit *c, enum circuit_mode mode, size_t high, struct err *err)
{
    static const uint8_t key[CRYPTO_BLOCK_LEN] = GARBLE_KEY;
    *c = (struct circuit){.mode = mode, .cap = high};
    if (mode == CIRCUIT_COUNT)
        return 0;
    c->memory = malloc((high + 1) * sizeof *c->memory);
    if (mode == CIRCUIT_GARBLE)
        c->table = malloc((CIRCUIT_CHUNK + LANES_MAX) * sizeof *c->table);
    if (c->memory == NULL || (mode == CIRCUIT_GARBLE && c->table == NULL)) {
        circuit_close(c);
        return err_oom(err, high * sizeof *c->memory);
    }
    if (mode != CIRCUIT_CLEAR && crypto_blocks_new(&c->g.aes, key, err) != 0) {
        circuit_close(c);
        return -1;
    }
    return 0;
}

void circuit_close(struct circuit *c)
{
    free(c->memory);
    if (c->mode == CIRCUIT_GARBLE)
        free(c->table);
    garble_free(&c->g);
    c->memory = NULL;
    c->table = NULL;
}

static void fail(struct circuit *c)
{
    c->failed = true;
}

static void flush(struct circuit *c, size_t n)
{
    if (n > 0 && !c->failed && c->sink(c->to, c->table, n * sizeof *c->table, &c->err) != 0)
        fail(c);
    memmove(c->table, c->table + n, (c->table_at - n) * sizeof *c->table);
    c->table_at -= n;
}

int circuit_end(struct circuit *c, struct err *err)
{
    if (c->mode == CIRCUIT_GARBLE)
        flush(c, c->table_at);
    return c->failed ? err_set(err, c->err.code, "%s", c->err.text) : 0;
}

/* ------------------------------------------------------------------ wires */

static bool live(const struct circuit *c)
{
    return c->mode != CIRCUIT_COUNT && !c->failed;
}

static struct circuit_bit fresh(struct circuit *c)
{
    const struct circuit_bit b = {-1, c->used};
    c->used += c->lanes;
    if (c->used > c->high)
        c->high = c->used;
    if (c->mode != CIRCUIT_COUNT && c->used > c->cap && !c->failed) {
        err_set(&c->err, ERR_INTERNAL, "a circuit takes more than the %zu labels that were counted", c->cap);
        fail(c);
    }
    return b;
}

void circuit_in(struct circuit *c, struct circuit_word *w, enum circuit_owner owner, size_t index, size_t stride, int bits, bool is_signed)
{
    struct circuit_port *p = &c->in[owner];
    w->bits = bits;
    w->is_signed = is_signed;
    for (int b = 0; b < bits; b++) {
        w->bit[b] = fresh(c);
        for (size_t i = 0; c->mode == CIRCUIT_COUNT && p->bit != NULL && i < c->lanes; i++)
            p->bit[p->at + i] = p->value[index + i * stride] >> b & 1;
        for (size_t i = 0; live(c) && i < c->lanes; i++)
            c->memory[w->bit[b].at + i] =
                c->mode == CIRCUIT_CLEAR ? (struct garble_label){p->value[index + i * stride] >> b & 1, 0} : p->label[p->at + i];
        p->at += c->lanes;
    }
}

void circuit_out(struct circuit *c, const struct circuit_word *w, size_t index, size_t stride)
{
    struct circuit_port *p = &c->out;
    for (int b = 0; b < w->bits; b++) {
        const struct circuit_bit wire = w->bit[b];
        for (size_t i = 0; i < c->lanes && !c->failed; i++) {
            const uint64_t colour = wire.constant < 0 && c->mode != CIRCUIT_COUNT ? c->memory[wire.at + i].low & 1 :
                                    c->mode == CIRCUIT_EVALUATE                   ? 0 :
                                                                                    (uint64_t)(wire.constant > 0);
            const uint64_t bit = c->mode == CIRCUIT_COUNT && p->bit != NULL ? p->bit[p->at + i] : colour;
            if (c->mode == CIRCUIT_GARBLE || c->mode == CIRCUIT_EVALUATE)
                p->bit[p->at + i] = (uint8_t)colour;
            else if (p->value != NULL)
                p->value[index + i * stride] = (b == 0 ? 0 : p->value[index + i * stride]) | bit << b;
        }
        p->at += c->lanes;
    }
}

struct circuit_bit circuit_xor(struct circuit *c, struct circuit_bit a, struct circuit_bit b)
{
    if (a.constant >= 0 && b.constant >= 0)
        return a.constant != b.constant ? one : zero;
    if (a.constant >= 0)
        return circuit_xor(c, b, a);
    if (b.constant == 0 || (b.constant == 1 && c->mode == CIRCUIT_EVALUATE)) /* the garbler turns the meaning round */
        return a;
    const struct circuit_bit y = fresh(c);
    if (!live(c))
        return y;
    const struct garble_label flip = c->mode == CIRCUIT_GARBLE ? c->g.difference : (struct garble_label){1, 0};
    struct garble_label *to = c->memory + y.at;
    const struct garble_label *x = c->memory + a.at, *z = c->memory + b.at;
    for (size_t i = 0; b.constant < 0 && i < c->lanes; i++)
        to[i] = (struct garble_label){x[i].low ^ z[i].low, x[i].high ^ z[i].high};
    for (size_t i = 0; b.constant == 1 && i < c->lanes; i++)
        to[i] = (struct garble_label){x[i].low ^ flip.low, x[i].high ^ flip.high};
    return y;
}

struct circuit_bit circuit_not(struct circuit *c, struct circuit_bit a)
{
    return circuit_xor(c, a, one);
}

struct circuit_bit circuit_and(struct circuit *c, struct circuit_bit a, struct circuit_bit b)
{
    if (a.constant >= 0)
        return a.constant == 0 ? zero : b;
    if (b.constant >= 0)
        return b.constant == 0 ? zero : a;
    const struct circuit_bit y = fresh(c);
    const uint64_t first = c->ands;
    c->ands += c->lanes;
    if (!live(c))
        return y;
    struct garble_label *to = c->memory + y.at;
    const struct garble_label *x = c->memory + a.at, *z = c->memory + b.at;
    if (c->mode == CIRCUIT_CLEAR) {
        for (size_t i = 0; i < c->lanes; i++)
            to[i] = (struct garble_label){x[i].low & z[i].low, 0};
    } else if (c->mode == CIRCUIT_GARBLE) {
        if (garble_ands(&c->g, x, z, c->lanes, first, c->table + c->table_at, to, &c->err) != 0)
            fail(c);
        c->table_at += c->lanes;
        if (c->table_at >= CIRCUIT_CHUNK)
            flush(c, CIRCUIT_CHUNK);
    } else if (c->table_at + c->lanes > c->table_n) {
        err_set(&c->err, ERR_INTERNAL, "a circuit takes more than the %zu tables that were counted", c->table_n);
        fail(c);
    } else {
        if (garble_evaluate(c->g.aes, x, z, c->lanes, first, (const struct garble_label(*)[2])(c->table + c->table_at), to, &c->err) != 0)
            fail(c);
        c->table_at += c->lanes;
    }
    return y;
}

struct circuit_bit circuit_choose(struct circuit *c, struct circuit_bit s, struct circuit_bit yes, struct circuit_bit no)
{
    return circuit_xor(c, no, circuit_and(c, s, circuit_xor(c, yes, no)));
}

/* By a copy: a wire's new place may be another one's old. */
void circuit_keep(struct circuit *c, size_t mark, struct circuit_word *w)
{
    struct garble_label old[CIRCUIT_BITS * LANES_MAX];
    size_t at = mark;
    for (int b = 0; b < w->bits && live(c); b++)
        if (w->bit[b].constant < 0)
            memcpy(old + (size_t)b * c->lanes, c->memory + w->bit[b].at, c->lanes * sizeof *old);
    for (int b = 0; b < w->bits; b++) {
        if (w->bit[b].constant >= 0 || w->bit[b].at < mark)
            continue;
        if (live(c))
            memcpy(c->memory + at, old + (size_t)b * c->lanes, c->lanes * sizeof *old);
        w->bit[b].at = at;
        at += c->lanes;
    }
    c->used = at;
}
