/* engine/kernels/impl/avx512.h - what the AVX-512 product kernels share.
 *
 * Data flow   included by product_bf16dot.c and product_vnni.c.
 * Units       lanes.
 * Errors      none.
 * Memory      none.
 * Secrets     none.
 */
#ifndef STIP_ENGINE_KERNELS_IMPL_AVX512_H
#define STIP_ENGINE_KERNELS_IMPL_AVX512_H

#include <immintrin.h>

/* The first n lanes of 16; n may be below 0 or above 16. */
static inline __mmask16 lanes_mask(int n)
{
    return (__mmask16)(n >= 16 ? 0xffffu : n <= 0 ? 0u : (1u << n) - 1u);
}

#endif
