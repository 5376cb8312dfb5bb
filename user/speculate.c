#include "user/speculate.h"

#include <stdlib.h>

#include "base/clock.h"
#include "user/lookup.h"

#define AUTO_MOST 16 /* a longer run is two messages */

struct speculate {
    int guesses;
    struct draft *draft;
    struct pace pace;
    enum pace_kind kind; /* of the guesses on their way */
    double draft_us;     /* time of the draft model per guess */
};

int speculate_new(struct speculate **out, int guesses, struct draft *draft, struct err *err)
{
    struct speculate *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_oom(err, sizeof *s);
    s->guesses = guesses;
    s->draft = draft;
    pace_init(&s->pace);
    *out = s;
    return 0;
}

void speculate_free(struct speculate *s)
{
    free(s);
}

int speculate_most(const struct speculate *s)
{
    return s == NULL ? 0 : s->guesses == SPECULATE_AUTO ? AUTO_MOST : s->guesses;
}

static int ask_draft(struct speculate *s, const int32_t *history, int n, int k, int32_t *drafts, int *count, struct err *err)
{
    int rows;
    uint64_t start = clock_us();
    if (draft_next(s->draft, history, n, k, drafts, count, &rows, err) != 0)
        return -1;
    if (rows > 0)
        s->draft_us = (double)(clock_us() - start) / rows;
    s->kind = PACE_MODEL;
    return 0;
}

int speculate_next(struct speculate *s, const int32_t *history, int n, int most, int32_t *drafts, int *k, struct err *err)
{
    *k = 0;
    if (most > speculate_most(s))
        most = speculate_most(s);
    if (most < 1)
        return 0;
    int match = lookup_drafts(history, n, most, drafts);
    struct pace_choice looked_up = {.k = match > 0 ? most : 0}, drafted = {.k = match > 0 || s->draft == NULL ? 0 : most};
    s->kind = match > PACE_LOOKUP_LONG ? PACE_LOOKUP_LONG : match > 0 ? (enum pace_kind)(match - 1) : PACE_LOOKUP_1;
    if (s->guesses == SPECULATE_AUTO && match > 0)
        looked_up = pace_choose(&s->pace, s->kind, most, 0);
    if (s->guesses == SPECULATE_AUTO && s->draft != NULL)
        drafted = pace_choose(&s->pace, PACE_MODEL, most, s->draft_us);
    if (drafted.k > 0 && (looked_up.k == 0 || drafted.rate > looked_up.rate))
        return ask_draft(s, history, n, drafted.k, drafts, k, err);
    *k = looked_up.k;
    return 0;
}

void speculate_prefilled(struct speculate *s, const struct pace_cost *cost)
{
    if (s != NULL)
        pace_prefill(&s->pace, cost);
}

void speculate_answered(struct speculate *s, const struct pace_cost *cost, int held, bool failed)
{
    if (s != NULL)
        pace_step(&s->pace, cost, s->kind, held, failed, s->kind == PACE_MODEL ? s->draft_us : 0);
}
