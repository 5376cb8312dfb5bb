#include "server/budget.h"

#define SHARE 0.25 /* of the newest value in an estimate */

static void blend(double *estimate, double value)
{
    *estimate = *estimate == 0 ? value : *estimate + SHARE * (value - *estimate);
}

void budget_learn(struct budget *b, int tokens, int prompts, uint32_t us)
{
    if (prompts == 0) {
        blend(&b->pass_us, us);
        return;
    }
    /* What few rows cost is mostly the pass itself: they say nothing about one more. */
    double added = us - (tokens > 0 ? b->pass_us : 0);
    if (prompts >= BUDGET_LEAST && added > 0)
        blend(&b->row_us, added / prompts);
}

int budget_rows(const struct budget *b, int chunk)
{
    if (b->pass_us == 0 || b->row_us == 0)
        return chunk;
    double rows = BUDGET_STRETCH * b->pass_us / b->row_us;
    rows = rows < BUDGET_LEAST ? BUDGET_LEAST : rows;
    return rows < chunk ? (int)rows : chunk;
}
