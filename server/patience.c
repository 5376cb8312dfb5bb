#include "server/patience.h"

void patience_begin(struct patience *g, uint64_t now_us, uint32_t pass_us)
{
    const uint64_t share = pass_us / PATIENCE_SHARE, us = share < PATIENCE_MOST_US ? share : PATIENCE_MOST_US;
    g->until_us = g->rest == 0 && us >= PATIENCE_LEAST_US ? now_us + us : 0;
    g->rest -= g->rest > 0 ? 1 : 0;
}

int patience_wait(struct patience *g, uint64_t now_us, int away, int waiting)
{
    if (g->until_us == 0 || away == 0)
        return 0;
    if (now_us < g->until_us)
        return (int)((g->until_us - now_us) / 1000) + 1;
    g->until_us = 0;
    g->rest = away > waiting ? PATIENCE_REST : 0;
    return 0;
}
