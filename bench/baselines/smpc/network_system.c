#include <string.h>

#include "bench/baselines/smpc/network.h"

#define TWO_AND_DEALER                                                                                                             \
    "weights and inputs from both parties, who follow the protocol and do not collude with each other or with the dealer"

static const struct network_system systems[] = {
    {"crypten", 2, approx_gelu_tanh, approx_softmax_exact, approx_norm_sqrt, true, TWO_AND_DEALER},
    {"mpcformer", 2, approx_gelu_quad, approx_softmax_quad, approx_norm_newton, false, TWO_AND_DEALER},
    {"secformer", 2, approx_gelu_fourier, approx_softmax_quad_goldschmidt, approx_norm_goldschmidt, false, TWO_AND_DEALER},
    {"puma", 3, approx_gelu_pieces, approx_softmax_clipped, approx_norm_newton, true,
     "weights and inputs from three parties, who follow the protocol and of whom no two collude"},
};

const struct network_system *network_system(const char *name)
{
    for (size_t i = 0; i < sizeof systems / sizeof *systems; i++)
        if (strcmp(systems[i].name, name) == 0)
            return &systems[i];
    return NULL;
}
