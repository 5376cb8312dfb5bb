/* Rotary positions: rope_theta and rope_scaling as transformers 4 writes them, rope_parameters as 5 does. */
#include <math.h>
#include <string.h>

#include "model/arch_read.h"
#include "model/shape.h"

static int read_llama3(struct rope_config *r, const struct json_doc *doc, const struct json *dict, struct err *err)
{
    if (json_get_num(doc, dict, "factor", &r->factor, err) != 0 ||
        json_get_num(doc, dict, "low_freq_factor", &r->low_freq_factor, err) != 0 ||
        json_get_num(doc, dict, "high_freq_factor", &r->high_freq_factor, err) != 0 ||
        json_get_num(doc, dict, "original_max_position_embeddings", &r->original, err) != 0)
        return err_wrap(err, "rope_scaling");
    if (!(r->low_freq_factor > 0 && r->high_freq_factor > r->low_freq_factor && r->original > 0))
        return err_set(err, ERR_INPUT, "%s: field 'rope_scaling': llama3 needs 0 < low_freq_factor < high_freq_factor "
                                       "and a positive original_max_position_embeddings", json_name(doc));
    return 0;
}

/* original_max_position_embeddings stands here, or (Phi-3) beside max_position_embeddings. The stretch that is left out is how many
 * times the one goes into the other. */
static int read_original(struct rope_config *r, const struct config *c, const struct json_doc *doc, const struct json *dict,
                         struct err *err)
{
    r->original = c->positions;
    if (json_opt_num(doc, json_root(doc), "original_max_position_embeddings", &r->original, err) != 0 ||
        json_opt_num(doc, dict, "original_max_position_embeddings", &r->original, err) != 0)
        return err_wrap(err, "rope_scaling");
    if (!(r->original >= 2 && r->original <= SHAPE_MAX_POSITIONS))
        return err_set(err, ERR_INPUT, "%s: field 'original_max_position_embeddings': expected 2 to %d, found %g", json_name(doc),
                       SHAPE_MAX_POSITIONS, r->original);
    r->factor = c->positions / r->original;
    return json_opt_num(doc, dict, "factor", &r->factor, err) == 0 ? 0 : err_wrap(err, "rope_scaling");
}

static double yarn_scale(double factor, double by)
{
    return factor <= 1 ? 1 : 0.1 * by * log(factor) + 1;
}

/* 0 and null are as good as absent. */
static int read_positive(const struct json_doc *doc, const struct json *dict, const char *key, double fallback, double *out,
                         struct err *err)
{
    *out = 0;
    if (json_opt_num(doc, dict, key, out, err) != 0)
        return err_wrap(err, "rope_scaling");
    if (*out < 0)
        return err_set(err, ERR_INPUT, "%s: field '%s': expected a positive number, found %g", json_name(doc), key, *out);
    if (!(*out > 0))
        *out = fallback;
    return 0;
}

static int read_yarn(struct rope_config *r, struct config *c, const struct json_doc *doc, const struct json *dict, struct err *err)
{
    double scale, all_dim;
    r->truncate = true;
    if (read_original(r, c, doc, dict, err) != 0 || read_positive(doc, dict, "beta_fast", 32, &r->beta_fast, err) != 0 ||
        read_positive(doc, dict, "beta_slow", 1, &r->beta_slow, err) != 0 ||
        read_positive(doc, dict, "mscale", 0, &scale, err) != 0 || read_positive(doc, dict, "mscale_all_dim", 0, &all_dim, err) != 0 ||
        read_positive(doc, dict, "attention_factor", 0, &r->attention_factor, err) != 0 ||
        json_opt_bool(doc, dict, "truncate", &r->truncate, err) != 0)
        return -1;
    if (!(r->attention_factor > 0))
        r->attention_factor = scale > 0 && all_dim > 0 ? yarn_scale(r->factor, scale) / yarn_scale(r->factor, all_dim)
                                                       : yarn_scale(r->factor, 1);
    /* Many configs keep the length before stretching. */
    double longest = r->original * r->factor;
    if (longest > c->positions && longest <= SHAPE_MAX_POSITIONS)
        c->positions = (int)longest;
    return 0;
}

/* The short list serves texts up to the original length, the long one longer texts: a token's rotation would change when its text
 * grows beyond. So texts end at the original length here, and are computed as transformers computes them. */
static int read_longrope(struct rope_config *r, struct config *c, const struct json_doc *doc, const struct json *dict, struct err *err)
{
    const struct json *list = json_get(dict, "short_factor");
    size_t n = 0;
    if (read_original(r, c, doc, dict, err) != 0 ||
        read_positive(doc, dict, "attention_factor", 0, &r->attention_factor, err) != 0)
        return -1;
    if (json_type(list) != JSON_ARRAY || json_count(list) > ROPE_MAX_PAIRS)
        return err_set(err, ERR_INPUT, "%s: field 'short_factor': expected a list of up to %d numbers, found %s", json_name(doc),
                       ROPE_MAX_PAIRS, json_type_name(list));
    for (const struct json *m = json_first(list); m != NULL; m = json_next(m)) {
        if (json_type(m) != JSON_NUMBER || !(json_number(m) > 0))
            return err_set(err, ERR_INPUT, "%s: field 'short_factor': expected positive numbers, found %s", json_name(doc),
                           json_type_name(m));
        r->stretch[n++] = json_number(m);
    }
    r->truncate = false;
    if (!(r->attention_factor > 0))
        r->attention_factor = r->factor <= 1 ? 1 : sqrt(1 + log(r->factor) / log(r->original));
    if (c->positions > r->original)
        c->positions = (int)r->original;
    return 0;
}

/* How many numbers longrope's list should have is known when the head's width is. */
int arch_check_rope(const struct config *c, const struct rope_config *r, const struct json_doc *doc, struct err *err)
{
    int n = 0;
    while (r->kind == ROPE_LONGROPE && n < ROPE_MAX_PAIRS && r->stretch[n] > 0)
        n++;
    if (r->kind == ROPE_LONGROPE && n != c->rotary / 2)
        return err_set(err, ERR_INPUT, "%s: field 'short_factor': expected %d numbers, found %d", json_name(doc), c->rotary / 2, n);
    return 0;
}

/* dict NULL: no scaling. r comes with theta. */
static int read_rope(struct rope_config *r, struct config *c, const struct json_doc *doc, const struct json *dict, double *partial,
                     struct err *err)
{
    const char *type = "default";
    int rc = 0;
    *r = (struct rope_config){.theta = r->theta, .factor = 1};
    if (dict != NULL) {
        if (json_opt_num(doc, dict, "rope_theta", &r->theta, err) != 0 || json_opt_str(doc, dict, "type", &type, err) != 0 ||
            json_opt_str(doc, dict, "rope_type", &type, err) != 0 ||
            json_opt_num(doc, dict, "partial_rotary_factor", partial, err) != 0)
            return err_wrap(err, "rope_scaling");
        if (strcmp(type, "linear") == 0) {
            r->kind = ROPE_LINEAR;
            rc = json_get_num(doc, dict, "factor", &r->factor, err) == 0 ? 0 : err_wrap(err, "rope_scaling");
        } else if (strcmp(type, "llama3") == 0) {
            r->kind = ROPE_LLAMA3;
            rc = read_llama3(r, doc, dict, err);
        } else if (strcmp(type, "yarn") == 0) {
            r->kind = ROPE_YARN;
            rc = read_yarn(r, c, doc, dict, err);
        } else if (strcmp(type, "longrope") == 0 || strcmp(type, "su") == 0) { /* "su": Phi-3's first name for it */
            r->kind = ROPE_LONGROPE;
            rc = read_longrope(r, c, doc, dict, err);
        } else if (strcmp(type, "default") != 0 && strcmp(type, "dynamic") != 0) {
            /* "dynamic" stretches texts longer than max_position_embeddings only, and there are none. */
            rc = err_set(err, ERR_INPUT, "%s: field 'rope_scaling': rope type '%.40s' is not implemented; known: default, "
                                         "linear, dynamic, llama3, yarn, longrope", json_name(doc), type);
        }
    }
    if (rc == 0 && (!(r->theta > 1) || !(r->factor > 0)))
        rc = err_set(err, ERR_INPUT, "%s: rope_theta must be larger than 1 and the rope factor positive, found %g and %g",
                     json_name(doc), r->theta, r->factor);
    return rc;
}

int arch_read_rope(struct config *c, const struct json_doc *doc, double *partial, struct err *err)
{
    const struct json *root = json_root(doc), *dict = json_get(root, "rope_parameters");
    if (json_opt_num(doc, root, "rope_theta", &c->rope.theta, err) != 0 ||
        json_opt_num(doc, root, "partial_rotary_factor", partial, err) != 0)
        return -1;
    if (json_is_null(dict))
        dict = json_get(root, "rope_scaling");
    if (json_is_null(dict))
        dict = NULL;
    else if (json_type(dict) != JSON_OBJECT)
        return err_set(err, ERR_INPUT, "%s: field 'rope_scaling': expected an object, found %s", json_name(doc), json_type_name(dict));
    const struct json *full = json_get(dict, "full_attention"), *sliding = json_get(dict, "sliding_attention");
    bool nested = json_type(full) == JSON_OBJECT && json_type(sliding) == JSON_OBJECT;
    for (const struct json *m = dict == NULL ? NULL : json_first(dict); m != NULL; m = json_next(m))
        if (json_type(m) == JSON_OBJECT && !(nested && c->two_ropes))
            return err_set(err, ERR_INPUT, "%s: rope parameters per kind of layer ('%.40s') are not implemented for %s",
                           json_name(doc), json_key(m), c->architecture);
    if (c->two_ropes && read_rope(&c->rope_sliding, c, doc, nested ? sliding : NULL, partial, err) != 0)
        return err_wrap(err, "of sliding layers");
    return read_rope(&c->rope, c, doc, nested ? full : dict, partial, err);
}
