/* engine/kernels/table.h - the kernels of this machine, chosen once.
 *
 * Data flow   CPUID (and STIP_ISA) -> kernels_get -> norm.c, activation.c, attention.c, matmul.c call through the table.
 * Shapes      a product is done in two steps: `pack` brings the rows x [rows,in] into the kernel's order (and dtype), `multiply`
 *             computes panels first..last-1 of the output for all of them. Rows are taken in blocks of PRODUCT_ROWS, and those in
 *             sub-blocks, each packed on its own.
 * Errors      kernels_choose: STIP_ISA names what does not exist or what this CPU has not.
 * Memory      static tables.
 * Secrets     none.
 *
 * Levels, each with what is below it: portable (the compiler's baseline, OpenBLAS for float products), avx2 (with FMA), avx512
 * (F, BW, DQ, VL), avx512vnni (int8 dot products), avx512bf16 (bf16 dot products), amx (tile units for bf16 and int8).
 */
#ifndef STIP_ENGINE_KERNELS_TABLE_H
#define STIP_ENGINE_KERNELS_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "engine/kernels/attention.h"
#include "engine/weights.h"

#define PRODUCT_ROWS 48 /* a multiple of every kernel's row block */

/* Rows of a packed block are taken in sub-blocks of equal size, as large as the registers (most) allow. */
static inline int product_rows_together(int rows, int most)
{
    int parts = (rows + most - 1) / most;
    return (rows + parts - 1) / parts;
}

/* The inputs of a long sum are taken in chunks of equal size, `most` or less; a multiple of 16. */
static inline int product_chunk(int inputs, int most)
{
    int parts = (inputs + most - 1) / most;
    return ((inputs + parts - 1) / parts + 15) / 16 * 16;
}

/* Panels that many rows pass over together: a chunk of them stays in the second-level cache. */
#define PRODUCT_TOGETHER 4

/* What a kernel asks memory for while it multiplies a sub-block by a chunk of a panel. */
struct product_ahead {
    const unsigned char *panel; /* and 64 bytes further */
    size_t panel_step;          /* per panel row */
    const unsigned char *rows;
    size_t rows_step;
};
#define PRODUCT_AHEAD 2048

/* Where the kernel is: a chunk of `groups` panel rows at `now`, the one that comes after it at `next`; sub-block number `part` of `parts`
 * that pass over it, the packed rows after it at `rows_next`, `rows_bytes` for each panel row; panel number `panel` of `panels` that
 * it meets. One sub-block alone asks for the weights that it needs itself a moment later. Of several each asks for its share of the
 * next chunk: what the first one would wait for is there. The same for rows, which many rows do not find in the second-level cache. */
static inline struct product_ahead product_ahead(const unsigned char *now, const unsigned char *next, int groups, int part, int parts,
                                                 const void *rows_next, size_t rows_bytes, int panel, int panels)
{
    size_t step = (WEIGHT_PANEL * 4 + (size_t)parts - 1) / (size_t)parts, rows_step = (rows_bytes + (size_t)panels - 1) / (size_t)panels;
    struct product_ahead a = {now + PRODUCT_AHEAD, WEIGHT_PANEL * 4, rows_next, rows_step};
    if (parts > 1) {
        a.panel = next + (size_t)part * (size_t)groups * step;
        a.panel_step = step;
        a.rows += (size_t)panel * (size_t)groups * rows_step;
    }
    return a;
}

/* Where a panel's outputs of so many rows will go. */
static inline void product_expect(const float *y, size_t stride, int rows)
{
    for (int r = 0; r < rows; r++, y += stride) {
        __builtin_prefetch(y, 1);
        __builtin_prefetch(y + WEIGHT_PANEL / 2, 1);
    }
}

struct product {
    int sub_rows; /* of a sub-block, at most; a divisor of PRODUCT_ROWS */
    /* Bytes of one packed block of PRODUCT_ROWS rows; a multiple of 64. */
    size_t (*block_bytes)(int groups);
    /* Rows first..first+n-1, one sub-block, of a block of `rows` <= PRODUCT_ROWS; x begins with the first of these n. */
    void (*pack)(void *block, const float *x, int rows, int first, int n, int in, int groups);
    /* y [rows,out]; `packed` holds all blocks. */
    void (*multiply)(float *y, const void *packed, const struct weights *w, const float *bias, int rows, int first, int last);
};

/* Sub-block `part` of a block of `rows` rows: where it begins, and how many rows it has. */
static inline int product_part(const struct product *p, int rows, int part, int *first)
{
    int together = product_rows_together(rows, p->sub_rows);
    *first = part * together;
    return rows - *first < together ? rows - *first : together;
}

static inline int product_parts(const struct product *p, int rows)
{
    int together = product_rows_together(rows, p->sub_rows);
    return (rows + together - 1) / together;
}

struct kernels {
    const char *name;
    bool f32_by_blas;
    struct product f32, bf16_by_f32, bf16, int8;
    void (*norm_rms)(float *y, const float *x, const float *w, double eps, int rows, int D);
    void (*norm_layer)(float *y, const float *x, const float *w, const float *b, double eps, int rows, int D);
    void (*activate)(enum act_kind kind, float *x, size_t n);
    void (*exponentials)(float *y, const float *x, size_t n, float max, float scale);
    void (*activate_gated)(enum act_kind kind, float *y, const float *up, int rows, int F);
    void (*rope_rotate)(float *x, int heads, int K, int rotary, const float *cosine, const float *sine);
    void (*attention_head)(const struct attention *a, int g, float *y, const float *q, size_t stride, struct kvpage *const *pages,
                           size_t offset, int S, int T, int from, int to);
};

/* Takes the best level that this CPU has, or the one that `name` (NULL: the environment's STIP_ISA) asks for. Programs call it at
 * their start, so that a wrong name is an error; without a call kernels_get chooses, and takes a wrong name for none. */
MUST_CHECK int kernels_choose(const char *name, struct err *err);
const struct kernels *kernels_get(void);
/* Level i of those that this CPU has, from portable up; NULL after the last. */
const char *kernels_level(int i);

#endif
