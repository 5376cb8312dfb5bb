/* bench/baselines/he/circuit.h - Boolean circuits on words, many alike side by side: counted, computed in clear, garbled, evaluated.
 *
 * FOR MEASUREMENT, NOT FOR PROTECTING DATA.
 *
 * Data flow   one walk (bench/baselines/he/primer_circuits.h) calls circuit_in, the operations and circuit_out. What they do is the mode's:
 *   CIRCUIT_COUNT     touches no wire; counts gates, inputs, outputs. Where a port has both, values become bits (in) and bits values (out).
 *   CIRCUIT_CLEAR     computes with bits: what a test holds the others to.
 *   CIRCUIT_GARBLE    labels of 0 -> tables, in pieces, to `sink`; colours of the outputs.
 *   CIRCUIT_EVALUATE  labels and tables -> colours of the outputs; a colour XOR the garbler's is the bit.
 *             Walks do not branch on wires, so all take the same gates in the same order.
 * Shapes      a bit is `lanes` labels; a word is bits, lowest first, two's complement when signed. Ports hold [word][bit][lane] in walk order.
 * Units       AND gates; NOT and XOR are free, gates with a constant vanish.
 * Errors      sticky (`failed`, `err`): randomness, AES, the sink, tables or memory that the count did not foresee.
 * Memory      circuit_open gives wires for `high` labels (from a count); ports and tables are the caller's.
 * Secrets     labels, and the garbler's difference.
 * Source      free XOR: Kolesnikov, Schneider (ICALP 2008); one AND for a bit of an adder: Boyar, Peralta (2000).
 */
#ifndef STIP_BENCH_BASELINES_HE_CIRCUIT_H
#define STIP_BENCH_BASELINES_HE_CIRCUIT_H

#include <stdbool.h>
#include <stddef.h>

#include "bench/baselines/he/garble.h"

#define CIRCUIT_BITS 64
#define CIRCUIT_CHUNK 32768 /* tables that go to the sink at once */

enum circuit_mode { CIRCUIT_COUNT, CIRCUIT_CLEAR, CIRCUIT_GARBLE, CIRCUIT_EVALUATE };
/* Client's inputs; the server's that it knows before any input; the server's shares. */
enum circuit_owner { CIRCUIT_CLIENT, CIRCUIT_WEIGHTS, CIRCUIT_SERVER, CIRCUIT_OWNERS };

struct circuit_port {
    struct garble_label *label; /* in, GARBLE and EVALUATE */
    uint8_t *bit;               /* in, COUNT: filled; out: colours that are filled, COUNT: bits that are read */
    uint64_t *value;            /* CLEAR and COUNT */
    size_t at;                  /* bits so far */
};

struct circuit {
    enum circuit_mode mode;
    size_t lanes, used, high, cap;
    struct garble_label *memory;
    struct garble g; /* EVALUATE: without the difference */
    uint64_t ands;
    struct garble_label (*table)[2]; /* GARBLE: a piece of the circuit's own; EVALUATE: all, borrowed */
    size_t table_at, table_n;
    int (*sink)(void *to, const void *tables, size_t bytes, struct err *err);
    void *to;
    struct circuit_port in[CIRCUIT_OWNERS], out;
    bool failed;
    struct err err;
};

struct circuit_bit {
    int constant; /* 0, 1, or -1: wires */
    size_t at;
};
struct circuit_word {
    int bits;
    bool is_signed;
    struct circuit_bit bit[CIRCUIT_BITS];
};

/* high: of the count; 0 for a count. Ports, sink and tables are set afterwards. */
MUST_CHECK int circuit_open(struct circuit *c, enum circuit_mode mode, size_t high, struct err *err);
/* Sends what is left of the tables, and says what went wrong on the way. */
MUST_CHECK int circuit_end(struct circuit *c, struct err *err);
void circuit_close(struct circuit *c);

/* ------------------------------------------------------------------ wires */

/* Lane i is value[index + i stride] of the owner. */
void circuit_in(struct circuit *c, struct circuit_word *w, enum circuit_owner owner, size_t index, size_t stride, int bits, bool is_signed);
void circuit_out(struct circuit *c, const struct circuit_word *w, size_t index, size_t stride);
struct circuit_bit circuit_xor(struct circuit *c, struct circuit_bit a, struct circuit_bit b);
struct circuit_bit circuit_and(struct circuit *c, struct circuit_bit a, struct circuit_bit b);
struct circuit_bit circuit_not(struct circuit *c, struct circuit_bit a);
struct circuit_bit circuit_choose(struct circuit *c, struct circuit_bit s, struct circuit_bit one, struct circuit_bit zero); /* s ? one : zero */
/* Releases all wires made since `mark` (c->used then) but those of w, which move. */
void circuit_keep(struct circuit *c, size_t mark, struct circuit_word *w);

/* ------------------------------------------------------------------ words; out may be an input */

struct circuit_word circuit_constant(int64_t v, int bits, bool is_signed);
/* Bits from..from+bits-1; what lies above the word is its sign, or 0. */
struct circuit_word circuit_part(const struct circuit_word *w, int from, int bits, bool is_signed);
void circuit_add(struct circuit *c, struct circuit_word *out, const struct circuit_word *a, const struct circuit_word *b, int bits);
void circuit_sub(struct circuit *c, struct circuit_word *out, const struct circuit_word *a, const struct circuit_word *b, int bits);
struct circuit_bit circuit_less(struct circuit *c, const struct circuit_word *a, const struct circuit_word *b); /* both signed or both not */
void circuit_select(struct circuit *c, struct circuit_word *out, struct circuit_bit s, const struct circuit_word *one, const struct circuit_word *zero);
void circuit_mask(struct circuit *c, struct circuit_word *w, struct circuit_bit keep);
/* All a->bits + b->bits of the product. */
void circuit_multiply(struct circuit *c, struct circuit_word *out, const struct circuit_word *a, const struct circuit_word *b);
/* floor(2^top / d), which has at most `bits` bits: d > 2^(top - bits). */
void circuit_reciprocal(struct circuit *c, struct circuit_word *out, int top, const struct circuit_word *d, int bits);
/* floor(sqrt(x)), x not signed. */
void circuit_root(struct circuit *c, struct circuit_word *out, const struct circuit_word *x);
/* values[s], with s the word of n bits at `s`. */
void circuit_lookup(struct circuit *c, struct circuit_word *out, const struct circuit_word *s, const int64_t *values, int bits, bool is_signed);
/* x >> s, x not signed. */
void circuit_shift(struct circuit *c, struct circuit_word *out, const struct circuit_word *x, const struct circuit_word *s);

#endif
