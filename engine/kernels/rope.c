#include "engine/kernels/rope.h"

#include <assert.h>
#include <math.h>

#include "engine/kernels/table.h"

/* Llama 3: long waves are stretched by `factor`, short ones kept, those between blended. */
static double llama3_frequency(double f, const struct rope_config *rope)
{
    double wave = 2.0 * M_PI / f;
    if (wave < rope->original / rope->high_freq_factor)
        return f;
    if (wave > rope->original / rope->low_freq_factor)
        return f / rope->factor;
    double smooth = (rope->original / wave - rope->low_freq_factor) / (rope->high_freq_factor - rope->low_freq_factor);
    return (1.0 - smooth) * f / rope->factor + smooth * f;
}

void rope_frequencies(double *frequency, const struct rope_config *rope, int rotary)
{
    assert(rotary > 0 && rotary % 2 == 0);
    for (int i = 0; i < rotary / 2; i++) {
        double f = pow(rope->theta, -2.0 * i / rotary);
        switch (rope->kind) {
        case ROPE_DEFAULT:
            break;
        case ROPE_LINEAR: /* positions are divided by the factor */
            f /= rope->factor;
            break;
        case ROPE_LLAMA3:
            f = llama3_frequency(f, rope);
            break;
        }
        frequency[i] = f;
    }
}

void rope_angles(float *cosine, float *sine, const double *frequency, int rotary, int position)
{
    for (int i = 0; i < rotary / 2; i++) {
        double angle = position * frequency[i], s, c;
        sincos(angle, &s, &c);
        cosine[i] = (float)c;
        sine[i] = (float)s;
    }
}

void rope_rotate(float *x, int heads, int K, int rotary, const float *cosine, const float *sine)
{
    kernels_get()->rope_rotate(x, heads, K, rotary, cosine, sine);
}
