/* engine/kernels/impl/activation.h - feed-forward activations for one instruction set; contract in engine/kernels/activation.h.
 *
 * Data flow   included by table.c.
 * Errors      none.
 * Memory      none.
 * Secrets     none.
 *
 * An element's bits do not depend on where it stands: what does not fill a vector is computed in one that is filled up.
 */
#ifndef STIP_ENGINE_KERNELS_IMPL_ACTIVATION_H
#define STIP_ENGINE_KERNELS_IMPL_ACTIVATION_H

#include "engine/kernels/activation.h"
#include "engine/kernels/impl/simd.h"

INLINE vf act_silu(vf x)
{
    return x / (1.0f + vf_exp(-x));
}

/* 0.5 x (1 + tanh(u)) = x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3): no cancellation on the negative side. */
INLINE vf act_gelu_tanh(vf x)
{
    vf u = 0.797884561f * (x + 0.044715f * x * x * x);
    return x / (1.0f + vf_exp(-2.0f * u));
}

/* x times the normal distribution function of x. Its tail at a = |x| is
 *     q(a) = exp(-a^2/2) g(u) / (a + 3.5),   u = (a - 3.5) / (a + 3.5),
 * with g smooth on [-1,1]: the Chebyshev interpolant of degree 10 of 0.5 erfcx(a/sqrt 2) (a + 3.5), relative error 1.2e-8. */
INLINE vf act_gelu_erf(vf x)
{
    vf a = (vf)(vf_bits(x) & 0x7fffffff), inverse = 1.0f / (a + 3.5f), u = (a - 3.5f) * inverse;
    vf g = vf_all(-4.976688932e-05f);
    g = g * u + 3.463520074e-05f;
    g = g * u + 4.526939196e-04f;
    g = g * u - 4.177685980e-04f;
    g = g * u - 3.178985900e-03f;
    g = g * u + 6.465234077e-03f;
    g = g * u + 1.740605873e-02f;
    g = g * u - 1.160490454e-01f;
    g = g * u + 3.154250580e-01f;
    g = g * u - 5.655619087e-01f;
    g = g * u + 7.444160754e-01f;
    vf q = vf_exp(-0.5f * a * a) * inverse * g;
    return x * vf_select(x > 0.0f, 1.0f - q, q);
}

INLINE vf act_relu(vf x)
{
    return vf_select(x < 0.0f, vf_all(0.0f), x); /* NaN stays */
}

INLINE vf act_apply(enum act_kind kind, vf x)
{
    switch (kind) {
    case ACT_SILU:
        return act_silu(x);
    case ACT_GELU:
        return act_gelu_erf(x);
    case ACT_GELU_TANH:
        return act_gelu_tanh(x);
    case ACT_RELU:
        return act_relu(x);
    case ACT_TANH:
        return vf_tanh(x);
    }
    return x;
}

/* y = act(x) * factor; factor NULL: 1. `kind` is a constant where this is inlined. */
INLINE void act_row(enum act_kind kind, float *y, const float *x, const float *factor, size_t n)
{
    size_t i = 0;
    for (; i + ISA_LANES <= n; i += ISA_LANES) {
        vf v = act_apply(kind, vf_load(x + i));
        vf_store(y + i, factor == NULL ? v : v * vf_load(factor + i));
    }
    if (i == n)
        return;
    float part[ISA_LANES] = {0};
    memcpy(part, x + i, (n - i) * sizeof *x);
    vf_store(part, act_apply(kind, vf_load(part)));
    for (size_t j = 0; i + j < n; j++)
        y[i + j] = factor == NULL ? part[j] : part[j] * factor[i + j];
}

static void act_any(enum act_kind kind, float *y, const float *x, const float *factor, size_t n)
{
    switch (kind) {
    case ACT_SILU:
        act_row(ACT_SILU, y, x, factor, n);
        return;
    case ACT_GELU:
        act_row(ACT_GELU, y, x, factor, n);
        return;
    case ACT_GELU_TANH:
        act_row(ACT_GELU_TANH, y, x, factor, n);
        return;
    case ACT_RELU:
        act_row(ACT_RELU, y, x, factor, n);
        return;
    case ACT_TANH:
        act_row(ACT_TANH, y, x, factor, n);
        return;
    }
}

static void impl_exponentials(float *y, const float *x, size_t n, float max, float scale)
{
    for (size_t i = 0; i < n; i += ISA_LANES) {
        float part[ISA_LANES] = {0};
        size_t count = n - i < ISA_LANES ? n - i : ISA_LANES;
        if (count < ISA_LANES)
            memcpy(part, x + i, count * sizeof *x);
        vf d = (count < ISA_LANES ? vf_load(part) : vf_load(x + i)) - max;
        d = vf_select(d < -3e38f, vf_all(-3e38f), d); /* infinity times a scale of 0 would be no number */
        vf_store(part, vf_exp(d * scale));
        memcpy(y + i, part, count * sizeof *y);
    }
}

static void impl_activate(enum act_kind kind, float *x, size_t n)
{
    act_any(kind, x, x, NULL, n);
}

static void impl_activate_gated(enum act_kind kind, float *y, const float *up, int rows, int F)
{
    for (int r = 0; r < rows; r++, y += F, up += 2 * (size_t)F)
        act_any(kind, y, up, up + F, (size_t)F);
}

#endif
