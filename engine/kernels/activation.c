#include "engine/kernels/activation.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "engine/kernels/clones.h"
#include "engine/kernels/fast_exp.h"

static inline float silu(float x)
{
    return x / (1.0f + fast_exp(-x));
}

/* 0.5 x (1 + tanh(u)) = x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3): no cancellation on the negative side. */
static inline float gelu_tanh(float x)
{
    float u = 0.797884561f * (x + 0.044715f * x * x * x);
    return x / (1.0f + fast_exp(-2.0f * u));
}

/* x times the normal distribution function of x. Its tail at a = |x| is
 *     q(a) = exp(-a^2/2) g(u) / (a + 3.5),   u = (a - 3.5) / (a + 3.5),
 * with g smooth on [-1,1]: the Chebyshev interpolant of degree 10 of 0.5 erfcx(a/sqrt 2) (a + 3.5), relative error 1.2e-8. */
static inline float gelu_erf(float x)
{
    float a = fabsf(x), inverse = 1.0f / (a + 3.5f), u = (a - 3.5f) * inverse;
    float g = -4.976688932e-05f;
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
    float q = fast_exp(-0.5f * a * a) * inverse * g;
    return x * (x > 0.0f ? 1.0f - q : q);
}

static inline float relu(float x)
{
    return x < 0.0f ? 0.0f : x; /* NaN stays */
}

KERNEL void activate(enum act_kind kind, float *x, size_t n)
{
    switch (kind) {
    case ACT_SILU:
        for (size_t i = 0; i < n; i++)
            x[i] = silu(x[i]);
        return;
    case ACT_GELU:
        for (size_t i = 0; i < n; i++)
            x[i] = gelu_erf(x[i]);
        return;
    case ACT_GELU_TANH:
        for (size_t i = 0; i < n; i++)
            x[i] = gelu_tanh(x[i]);
        return;
    case ACT_RELU:
        for (size_t i = 0; i < n; i++)
            x[i] = relu(x[i]);
        return;
    }
    assert(false && "every kind returns above");
}

KERNEL void activate_gated(enum act_kind kind, float *y, const float *up, int rows, int F)
{
    assert(rows >= 0 && F > 0);
    for (int r = 0; r < rows; r++, y += F, up += 2 * (size_t)F) {
        memcpy(y, up, (size_t)F * sizeof *y);
        activate(kind, y, (size_t)F);
        for (int f = 0; f < F; f++)
            y[f] *= up[F + f];
    }
}

void activate_tanh(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = tanhf(x[i]);
}
