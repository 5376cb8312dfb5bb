#include "engine/route.h"

#include <assert.h>
#include <math.h>

static void softmax(float *w, int E)
{
    double sum = 0;
    float most = w[0];
    for (int e = 1; e < E; e++)
        most = fmaxf(most, w[e]);
    for (int e = 0; e < E; e++) {
        w[e] = expf(w[e] - most);
        sum += (double)w[e];
    }
    for (int e = 0; e < E; e++)
        w[e] = (float)((double)w[e] / sum);
}

/* The smallest weight that is among the `used` largest, and how many are larger and equal. */
static float border(const float *w, int E, int used, int *larger, int *equal)
{
    for (int e = 0; e < E; e++) {
        *larger = *equal = 0;
        for (int i = 0; i < E; i++) {
            *larger += w[i] > w[e] ? 1 : 0;
            *equal += w[i] >= w[e] && w[i] <= w[e] ? 1 : 0;
        }
        if (*larger < used && *larger + *equal >= used)
            return w[e];
    }
    *larger = 0; /* NaN compares with nothing */
    *equal = used;
    return w[0];
}

void route(float *w, int E, int used, bool renormalise)
{
    int larger, equal;
    assert(used >= 1 && used <= E);
    softmax(w, E);
    const float last = border(w, E, used, &larger, &equal);
    const float share = (float)(used - larger) / (float)equal; /* 1 without ties */
    double sum = 0;
    for (int e = 0; e < E; e++) {
        if (w[e] < last)
            w[e] = 0.0f;
        else if (w[e] <= last)
            w[e] *= share;
        sum += (double)w[e];
    }
    for (int e = 0; renormalise && e < E; e++)
        w[e] = (float)((double)w[e] / sum);
}
