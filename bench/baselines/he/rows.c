#include "bench/baselines/he/rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/baselines/he/primer.h"
#include "bench/baselines/he/systems.h"

/* The modelled row, and the measured one behind it where it is quick enough. */
static int system_rows(struct compare_row *rows, size_t *n, enum systems_kind kind, const struct checkpoint *cp, const struct encoder *m,
                       const char *shape, const int32_t *ids, int T, double run_up_to_s, struct err *err)
{
    struct systems_detail d;
    struct ckks_params p;
    if (!systems_params(&p, kind, m, T))
        return 0;
    if (systems_model(&rows[*n], kind, m, shape, T, &d, err) != 0)
        return -1;
    (*n)++;
    if (d.priced_s + d.weights_s > run_up_to_s)
        return 0;
    if (systems_measure(&rows[*n], kind, cp, shape, ids, T, NULL, err) != 0)
        return err_wrap(err, "%s", systems_name(kind));
    (*n)++;
    return 0;
}

int rows_he(struct compare_row rows[ROWS_HE_MAX], size_t *n, const char *dir, const char *shape, const int32_t *ids, int T, double run_up_to_s,
            struct err *err)
{
    struct checkpoint *cp = NULL;
    int whole = 1, rc = 0;
    size_t got = 0;
    if (checkpoint_open(&cp, dir, CHECKPOINT_EMBED | CHECKPOINT_CORE, err) != 0)
        return -1;
    const struct config *c = checkpoint_config(cp);
    const struct encoder m = {.L = c->L, .D = c->D, .H = c->H, .K = c->K, .F = c->F};
    const bool bert = c->post_norm && !c->causal;
    while (whole < T)
        whole *= 2;
    int32_t *filled = calloc((size_t)whole, sizeof *filled);
    if (filled == NULL)
        rc = err_oom(err, (size_t)whole * sizeof *filled);
    else if (bert && whole <= c->positions) {
        for (int t = 0; t < whole; t++)
            filled[t] = ids[t % T];
        for (int kind = 0; rc == 0 && kind < SYSTEMS_COUNT; kind++)
            rc = system_rows(rows, &got, (enum systems_kind)kind, cp, &m, shape, filled, whole, run_up_to_s, err);
        if (rc == 0 && primer_takes(&m, whole) && (rc = primer_row(&rows[got], &m, shape, whole, false, NULL, err)) == 0)
            got++;
    }
    free(filled);
    checkpoint_close(cp);
    if (rc == 0)
        *n = got;
    return rc;
}
