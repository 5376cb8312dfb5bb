/* engine/kernels/products.h - the product kernels that are not part of a vector level.
 *
 * Data flow   choose.c puts them into the table of the level that has their instructions.
 * Shapes      engine/kernels/table.h.
 * Errors      none.
 * Memory      static.
 * Secrets     none.
 */
#ifndef STIP_ENGINE_KERNELS_PRODUCTS_H
#define STIP_ENGINE_KERNELS_PRODUCTS_H

#include "engine/kernels/table.h"

extern const struct product product_blas;                       /* OpenBLAS, rows as they are */
extern const struct product product_bf16dot, product_vnni;      /* AVX512-BF16, AVX512-VNNI */
extern const struct product product_amx_bf16, product_amx_int8; /* AMX */

/* All blocks of x [rows,in], by one thread. */
void product_pack(const struct product *product, void *packed, const float *x, int rows, int in, int groups);
/* Largest difference of two kernels on x [rows,in] times w [out,in]; infinity where memory does not suffice or a result is no number. */
double product_agree(const struct product *a, const struct product *b, enum weight_format format, const float *x, const float *w,
                     int rows, int out, int in);

#endif
