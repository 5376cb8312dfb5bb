#include "user/pace.h"

#define FADE 0.97        /* per step, of counts and sums */
#define SMOOTH 0.1       /* of the moving average */
#define PRIOR_TESTED 2.0 /* guesses that the prior weighs as much as */
#define PRIOR_XX 16.0    /* of the first value of row_us: as much as a step of four guesses */
#define FLOOR 0.5        /* of that value: steps that happen to be short make no row free */
#define SHARE 0.01       /* of all time that may be lost */
#define START 0.25       /* of a step that may be lost to begin with */
#define CREDIT_STEPS 8   /* earnings beyond this are not saved up */

static const double PRIOR[PACE_KINDS] = {0.3, 0.4, 0.5, 0.6, 0.75, 0.6};

void pace_init(struct pace *p)
{
    *p = (struct pace){0};
    for (int i = 0; i < PACE_KINDS; i++) {
        p->kinds[i].tested = PRIOR_TESTED;
        p->kinds[i].held = PRIOR_TESTED * PRIOR[i];
    }
}

void pace_prefill(struct pace *p, const struct pace_cost *cost)
{
    p->prefill_rows = cost->rows;
    p->prefill_us = cost->wall_us;
    p->prefill_server_us = cost->server_us;
    p->prefill_bytes = cost->bytes;
}

/* The first step is plain: it is what all others are compared with. */
static void first_step(struct pace *p, const struct pace_cost *cost)
{
    double link_us = p->prefill_us - p->prefill_server_us - (cost->wall_us - cost->server_us);
    p->base_us = cost->wall_us > 1 ? cost->wall_us : 1;
    p->row_us = p->prefill_rows > 0 ? p->prefill_server_us / p->prefill_rows : cost->server_us;
    if (link_us > 0 && p->prefill_bytes > 0)
        p->row_us += cost->bytes * link_us / p->prefill_bytes;
    if (p->row_us > p->base_us)
        p->row_us = p->base_us;
    p->least_row_us = FLOOR * p->row_us;
    p->xx = PRIOR_XX;
    p->xy = PRIOR_XX * p->row_us;
    p->credit_us = START * p->base_us;
}

static void learn_cost(struct pace *p, int k, double wall_us)
{
    double over = wall_us - p->base_us - k * p->row_us;
    /* A pause of link or machine is not the price of a row. */
    over = over > p->base_us ? p->base_us : over < -p->base_us ? -p->base_us : over;
    if (k > 0) {
        p->xx = FADE * p->xx + (double)k * k;
        p->xy = FADE * p->xy + k * (k * p->row_us + over);
        p->row_us = p->xy > p->least_row_us * p->xx ? p->xy / p->xx : p->least_row_us;
    } else
        p->base_us += SMOOTH * over;
}

void pace_step(struct pace *p, const struct pace_cost *cost, enum pace_kind kind, int held, bool failed, double draft_us)
{
    const int k = cost->rows - 1;
    if (p->base_us <= 0) {
        if (k == 0)
            first_step(p, cost);
        return;
    }
    learn_cost(p, k, cost->wall_us);
    for (int i = 0; i < PACE_KINDS; i++) {
        p->kinds[i].tested = FADE * p->kinds[i].tested + (1 - FADE) * PRIOR_TESTED;
        p->kinds[i].held = FADE * p->kinds[i].held + (1 - FADE) * PRIOR_TESTED * PRIOR[i];
    }
    if (k > 0) {
        p->kinds[kind].tested += held + (failed ? 1 : 0);
        p->kinds[kind].held += held;
    }
    p->credit_us += SHARE * cost->wall_us + held * p->base_us - k * (p->row_us + draft_us);
    if (p->credit_us > CREDIT_STEPS * p->base_us)
        p->credit_us = CREDIT_STEPS * p->base_us;
}

struct pace_choice pace_choose(const struct pace *p, enum pace_kind kind, int most, double draft_us)
{
    struct pace_choice best = {0};
    if (p->base_us <= 0)
        return best;
    const double a = p->kinds[kind].held / p->kinds[kind].tested, each_us = p->row_us + draft_us;
    double tokens = 1, next = 1;
    best.rate = 1 / p->base_us;
    for (int k = 1; k <= most && k * each_us <= p->credit_us; k++) {
        next *= a;
        tokens += next;
        double rate = tokens / (p->base_us + k * each_us);
        if (rate > best.rate)
            best = (struct pace_choice){k, rate};
    }
    return best;
}
