/* engine/route.h - which experts a row goes through, and with what weights.
 *
 * Data flow   scores of a row (router) -> softmax over all experts -> the `used` largest -> weights.
 * Shapes      w [E], in place: scores on entry, weights on exit, 0 for experts that the row does not go through.
 * Errors      none; a NaN score gives NaN weights to all.
 * Memory      none.
 * Secrets     none of its own: scores come in the secret order of the experts.
 * Source      transformers, Mixtral and Qwen3-MoE; Shazeer et al. 2017.
 *
 * The choice must not depend on the order of the experts, which protect changes. Experts of exactly equal weight that compete for
 * fewer places share these places evenly; without such ties this is the usual top-k.
 */
#ifndef STIP_ENGINE_ROUTE_H
#define STIP_ENGINE_ROUTE_H

#include <stdbool.h>

/* renormalise: the weights are divided by their sum. */
void route(float *w, int E, int used, bool renormalise);

#endif
