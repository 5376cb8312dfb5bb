/* engine/kernels/impl/rope.h - rotary positions for one instruction set; contract in engine/kernels/rope.h.
 *
 * Data flow   included by table.c.
 * Errors      none.
 * Memory      none.
 * Secrets     none.
 */
#ifndef STIP_ENGINE_KERNELS_IMPL_ROPE_H
#define STIP_ENGINE_KERNELS_IMPL_ROPE_H

static void impl_rope_rotate(float *x, int heads, int K, int rotary, const float *cosine, const float *sine)
{
    int half = rotary / 2;
    for (int h = 0; h < heads; h++, x += K)
        for (int i = 0; i < half; i++) {
            float a = x[i], b = x[i + half];
            x[i] = a * cosine[i] - b * sine[i];
            x[i + half] = b * cosine[i] + a * sine[i];
        }
}

#endif
