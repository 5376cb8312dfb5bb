#include "bench/baselines/he/packed.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int packed_per(const struct ckks *c, int tokens)
{
    int per = (int)c->slots / (2 * tokens);
    assert(per >= 1 && per * 2 * tokens == (int)c->slots);
    return per;
}

void packed_free(struct packed *x)
{
    for (int i = 0; i < x->parts; i++)
        ckks_wipe_cipher(&x->part[i]);
    *x = (struct packed){0};
}

static int parts_of(const struct ckks *c, int tokens, int features)
{
    int per = packed_per(c, tokens), parts = (features + per - 1) / per;
    assert(parts <= PACKED_PARTS_MAX);
    return parts;
}

static struct packed shaped(const struct ckks *c, int features, int tokens)
{
    return (struct packed){.features = features, .tokens = tokens, .parts = parts_of(c, tokens, features)};
}

/* Room for slots; NULL in a counted run, or after a failure. */
static double *room(struct ckks_eval *e)
{
    double *p = e->keys == NULL || e->failed ? NULL : malloc(e->c->slots * sizeof *p);
    if (e->keys != NULL && !e->failed && p == NULL) {
        e->failed = true;
        err_oom(&e->first, e->c->slots * sizeof *p);
    }
    return p;
}

void packed_lay(const struct ckks *c, double *slots, const double *x, int features, int tokens, int part)
{
    int per = packed_per(c, tokens);
    for (int f = 0; f < per; f++)
        for (int t = 0; t < 2 * tokens; t++) {
            int feature = part * per + f;
            slots[f * 2 * tokens + t] = feature < features ? x[(size_t)(t % tokens) * (size_t)features + (size_t)feature] : 0;
        }
}

void packed_seal(struct ckks_eval *e, struct packed *out, const double *x, int features, int tokens, int level)
{
    struct packed y = shaped(e->c, features, tokens);
    double *slots = room(e);
    for (int i = 0; i < y.parts; i++) {
        if (slots != NULL)
            packed_lay(e->c, slots, x, features, tokens, i);
        ckks_seal(e, &y.part[i], slots, level);
    }
    free(slots);
    packed_free(out);
    *out = y;
    e->tally.messages++;
}

void packed_open(struct ckks_eval *e, double *x, const struct packed *p)
{
    int per = packed_per(e->c, p->tokens);
    double *slots = room(e);
    for (int i = 0; i < p->parts; i++) {
        ckks_open(e, slots, &p->part[i]);
        for (int f = i * per; slots != NULL && f < (i + 1) * per && f < p->features; f++)
            for (int t = 0; t < p->tokens; t++)
                x[(size_t)t * (size_t)p->features + (size_t)f] = slots[(f - i * per) * 2 * p->tokens + t];
    }
    free(slots);
    e->tally.messages++;
}

int packed_refresh(struct ckks_eval *e, struct packed *x, bool relu, int level, double *opened, struct err *err)
{
    size_t n = (size_t)x->features * (size_t)x->tokens;
    double *v = e->keys == NULL ? NULL : malloc(n * sizeof *v);
    if (e->keys != NULL && v == NULL)
        return err_oom(err, n * sizeof *v);
    packed_open(e, v, x);
    if (v != NULL && opened != NULL)
        memcpy(opened, v, n * sizeof *v);
    for (size_t i = 0; v != NULL && relu && i < n; i++)
        v[i] = fmax(0, v[i]);
    packed_seal(e, x, v, x->features, x->tokens, level);
    free(v);
    return 0;
}

/* ------------------------------------------------------------------ products */

int packed_baby(const struct ckks *c, int tokens, int in, int out)
{
    int per = packed_per(c, tokens), best = 1;
    for (int baby = 1; baby <= per; baby *= 2)
        if (in * (baby - 1) + out * (per / baby - 1) < in * (best - 1) + out * (per / best - 1))
            best = baby;
    return best;
}

void packed_turn(struct ckks_eval *e, struct packed_turns *out, const struct packed *x, int baby)
{
    struct packed_turns y = {x->features, x->tokens, x->parts, baby, calloc((size_t)x->parts * (size_t)baby, sizeof *y.copy)};
    if (y.copy == NULL) {
        e->failed = true;
        err_oom(&e->first, (size_t)x->parts * (size_t)baby * sizeof *y.copy);
    }
    for (int i = 0; y.copy != NULL && i < x->parts; i++) {
        ckks_copy(e, &y.copy[i * baby], &x->part[i]);
        for (int a = 1; a < baby; a++) /* from copy to copy: one key serves all */
            ckks_rotate(e, &y.copy[i * baby + a], &y.copy[i * baby + a - 1], 2 * x->tokens);
    }
    packed_turns_free(out);
    *out = y;
}

void packed_turns_free(struct packed_turns *x)
{
    for (int i = 0; x->copy != NULL && i < x->parts * x->baby; i++)
        ckks_wipe_cipher(&x->copy[i]);
    free(x->copy);
    *x = (struct packed_turns){0};
}

/* What copy `a` of input part `in` is multiplied with for output part `out`, in the giant step that is turned by g features afterwards:
 * at feature r the weight of output r - g for input r + a, indices within the parts. */
static void diagonal(const struct ckks *c, double *slots, const struct packed_turns *x, const double *w, int features, int out, int in, int a,
                     int g)
{
    const int per = packed_per(c, x->tokens), width = 2 * x->tokens;
    for (int r = 0; r < per; r++) {
        int o = out * per + (r - g + per) % per, i = in * per + (r + a) % per;
        double v = o < features && i < x->features ? w[(size_t)o * (size_t)x->features + (size_t)i] : 0;
        for (int t = 0; t < width; t++)
            slots[r * width + t] = v;
    }
}

static void one_part(struct ckks_eval *e, struct ckks_cipher *out, const struct packed_turns *x, const double *w, int features, int part,
                     int level, double *slots)
{
    const int per = packed_per(e->c, x->tokens), giants = per / x->baby;
    const double scale = ckks_plain_scale(e, &x->copy[0], level);
    struct ckks_cipher sum = {0}, inner = {0};
    for (int g = giants - 1; g >= 0; g--) { /* Horner: one key serves all giant steps */
        for (int i = 0; i < x->parts; i++)
            for (int a = 0; a < x->baby; a++) {
                if (slots != NULL)
                    diagonal(e->c, slots, x, w, features, part, i, a, g * x->baby);
                ckks_mul_plain(e, &inner, &x->copy[i * x->baby + a], slots, level, scale, i + a > 0);
            }
        if (g == giants - 1) {
            sum = inner;
            inner = (struct ckks_cipher){0};
        } else {
            ckks_rotate(e, &sum, &sum, x->baby * 2 * x->tokens);
            ckks_add(e, &sum, &sum, &inner);
        }
    }
    ckks_wipe_cipher(&inner);
    *out = sum;
}

void packed_product(struct ckks_eval *e, struct packed *out, const struct packed_turns *x, const double *w, const double *b, int features,
                    int level)
{
    const int per = packed_per(e->c, x->tokens);
    struct packed y = shaped(e->c, features, x->tokens);
    double *slots = room(e);
    for (int j = 0; x->copy != NULL && j < y.parts; j++) {
        one_part(e, &y.part[j], x, w, features, j, level, slots);
        if (b != NULL) {
            for (int i = 0; slots != NULL && i < (int)e->c->slots; i++) {
                int f = j * per + i / (2 * x->tokens);
                slots[i] = f < features ? b[f] : 0;
            }
            ckks_add_plain(e, &y.part[j], slots);
        }
        ckks_rescale(e, &y.part[j]);
    }
    free(slots);
    packed_free(out);
    *out = y;
}

void packed_affine(struct ckks_eval *e, struct packed *out, const struct packed *x, const double *g, const double *b, int level)
{
    const int per = packed_per(e->c, x->tokens);
    struct packed y = shaped(e->c, x->features, x->tokens);
    double *slots = room(e);
    for (int j = 0; j < x->parts; j++) {
        for (int k = 0; k < (b == NULL ? 1 : 2); k++) {
            const double *v = k == 0 ? g : b;
            for (int i = 0; slots != NULL && i < (int)e->c->slots; i++) {
                int f = j * per + i / (2 * x->tokens);
                slots[i] = f < x->features ? v[f] : 0;
            }
            if (k == 0)
                ckks_mul_plain(e, &y.part[j], &x->part[j], slots, level, ckks_plain_scale(e, &x->part[j], level), false);
            else
                ckks_add_plain(e, &y.part[j], slots);
        }
        ckks_rescale(e, &y.part[j]);
    }
    free(slots);
    packed_free(out);
    *out = y;
}

void packed_add(struct ckks_eval *e, struct packed *x, const struct packed *y)
{
    assert(x->parts == y->parts);
    for (int i = 0; i < x->parts; i++)
        ckks_add(e, &x->part[i], &x->part[i], &y->part[i]);
}
