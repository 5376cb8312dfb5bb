/* engine/route: the choice of experts, worked out by hand. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "engine/route.h"

static float sum(const float *w, int E)
{
    float s = 0;
    for (int e = 0; e < E; e++)
        s += w[e];
    return s;
}

/* Catches a softmax over the chosen ones only, the smallest instead of the largest, one too many (each tried). */
Test(route, the_largest_keep_their_share_of_all)
{
    float w[4] = {logf(1), logf(4), logf(2), logf(3)};
    route(w, 4, 2, false);
    cr_expect_float_eq(w[1], 0.4f, 1e-6f);
    cr_expect_float_eq(w[3], 0.3f, 1e-6f);
    cr_expect(w[0] == 0.0f && w[2] == 0.0f);
    float v[4] = {logf(1), logf(4), logf(2), logf(3)};
    route(v, 4, 2, true);
    cr_expect_float_eq(v[1], 4.0f / 7, 1e-6f);
    cr_expect_float_eq(v[3], 3.0f / 7, 1e-6f);
    float all[3] = {500.0f, -500.0f, 499.0f};
    route(all, 3, 3, false);
    cr_expect_float_eq(sum(all, 3), 1, 1e-6f, "scores far from zero do not overflow");
}

/* Equal scores: whatever order the experts are in, each gets the same. Catches the first of equals taken (tried). */
Test(route, ties_are_shared_and_do_not_depend_on_the_order)
{
    static const float scores[5] = {1.0f, 2.0f, 1.0f, 0.0f, 1.0f};
    float want[5];
    memcpy(want, scores, sizeof want);
    route(want, 5, 3, true);
    cr_expect(want[0] == want[2] && want[2] == want[4] && want[0] > 0.0f && want[3] == 0.0f, "two places for three of them");
    cr_expect_float_eq(sum(want, 5), 1, 1e-6f);
    for (int shift = 1; shift < 5; shift++) {
        float w[5];
        for (int e = 0; e < 5; e++)
            w[e] = scores[(e + shift) % 5];
        route(w, 5, 3, true);
        for (int e = 0; e < 5; e++)
            cr_expect_float_eq(w[e], want[(e + shift) % 5], 1e-7f, "shift %d, expert %d", shift, e);
    }
    float equal[4] = {0.5f, 0.5f, 0.5f, 0.5f};
    route(equal, 4, 1, false);
    for (int e = 0; e < 4; e++)
        cr_expect_float_eq(equal[e], 1.0f / 16, 1e-7f, "one place of a quarter, shared by four");
}

Test(route, nan_spoils_the_row)
{
    float w[3] = {1.0f, NAN, 0.0f};
    route(w, 3, 2, true);
    for (int e = 0; e < 3; e++)
        cr_expect(isnan(w[e]));
}
