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

/* Pair that turns `turns` times within the original length. */
static double yarn_pair(const struct rope_config *rope, double turns, int rotary)
{
    return rotary * log(rope->original / (turns * 2.0 * M_PI)) / (2.0 * log(rope->theta));
}

/* YaRN: pairs that turn often are kept, slow ones stretched by `factor`, those between blended by their number. */
static double yarn_frequency(double f, const struct rope_config *rope, int rotary, int i)
{
    double low = yarn_pair(rope, rope->beta_fast, rotary), high = yarn_pair(rope, rope->beta_slow, rotary);
    if (rope->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0.0);
    high = fmin(high, rotary - 1.0);
    if (!(low < high) && !(low > high))
        high += 0.001; /* as the original: no division by zero */
    double stretched = fmin(fmax((i - low) / (high - low), 0.0), 1.0);
    return stretched * f / rope->factor + (1.0 - stretched) * f;
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
        case ROPE_YARN:
            f = yarn_frequency(f, rope, rotary, i);
            break;
        case ROPE_LONGROPE:
            f /= rope->stretch[i];
            break;
        }
        frequency[i] = f;
    }
}

void rope_angles(float *cosine, float *sine, const double *frequency, double scale, int rotary, int position)
{
    for (int i = 0; i < rotary / 2; i++) {
        double angle = position * frequency[i], s, c;
        sincos(angle, &s, &c);
        cosine[i] = (float)(scale * c);
        sine[i] = (float)(scale * s);
    }
}

void rope_rotate(float *x, int heads, int K, int rotary, const float *cosine, const float *sine)
{
    kernels_get()->rope_rotate(x, heads, K, rotary, cosine, sine);
}
