/* permute/gather against the definition, element by element. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "permute/gather.h"

enum { MAX_ROWS = 9, N = 37 };

static void make(struct perm *p)
{
    uint8_t key[CRYPTO_KEY_LEN] = {42};
    cr_assert_eq(perm_random(p, N, key, NULL), 0);
}

static void fill(float x[MAX_ROWS * N])
{
    for (int i = 0; i < MAX_ROWS * N; i++)
        x[i] = (float)i;
}

/* Every row count around the block of four. Catches gather and scatter exchanged, and a row skipped between the block
 * and the rest (both tried). */
Test(gather, columns_follow_the_definition_for_every_row_count)
{
    float x[MAX_ROWS * N], y[MAX_ROWS * N], back[MAX_ROWS * N];
    struct perm p = {0};
    make(&p);
    fill(x);
    for (size_t rows = 0; rows <= MAX_ROWS; rows++) {
        memset(y, 0xff, sizeof y);
        memset(back, 0xff, sizeof back);
        gather_cols(y, x, rows, &p);
        for (size_t t = 0; t < rows; t++)
            for (size_t j = 0; j < N; j++)
                cr_assert_eq(y[t * N + j], x[t * N + p.to[j]]);
        if (rows < MAX_ROWS)
            cr_assert(y[rows * N] != y[rows * N], "wrote past the last row");
        scatter_cols(back, y, rows, &p);
        cr_assert_arr_eq(back, x, rows * N * sizeof *x);
    }
    perm_wipe(&p);
}

/* Stored tensors start at any byte of a file. */
Test(gather, stored_elements_move_bit_for_bit_from_any_alignment)
{
    struct perm p = {0};
    make(&p);
    for (size_t size = 2; size <= 4; size += 2)
        for (size_t shift = 0; shift < 4; shift++) {
            uint8_t src[4 * N + 4], dst[4 * N + 4];
            for (size_t i = 0; i < sizeof src; i++)
                src[i] = (uint8_t)(i * 7 + 3);
            memset(dst, 0, sizeof dst);
            gather_row_bytes(dst + shift, src + shift, N, size, &p);
            for (size_t j = 0; j < N; j++)
                cr_assert_arr_eq(dst + shift + j * size, src + shift + p.to[j] * size, size);
            memset(dst, 0, sizeof dst);
            gather_row_bytes(dst, src + shift, N, size, NULL);
            cr_assert_arr_eq(dst, src + shift, N * size);
            cr_assert_eq(dst[N * size], 0);
        }
    perm_wipe(&p);
}
