#include "model_dev/fold.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "base/secret.h"

#define STRIP 64 /* rows or columns of a tile that no head ties together */

struct fold {
    const struct checkpoint *cp;
    const struct config *c;
    const struct keyset *keys;
    const char *dir;
    struct gauge_end end;
    int layer;                /* whose heads these are; -1: none */
    struct gauge_head *heads; /* [G] */
    int feed;                 /* whose ups these are: a layer's, or an expert's as KEY_FFN counts them; -1: none */
    double *ups;              /* [F] secret memory */
};

/* ------------------------------------------------------------------ which norm, which bias */

/* What reads the rows that a norm has made, and the bias that can take what is left of the norm's own. */
static const struct reader {
    enum role weight, bias, norm_w, norm_b;
} readers[] = {
    {ROLE_Q, ROLE_Q_BIAS, ROLE_ATTN_NORM_W, ROLE_ATTN_NORM_B},
    {ROLE_K, ROLE_K_BIAS, ROLE_ATTN_NORM_W, ROLE_ATTN_NORM_B},
    {ROLE_V, ROLE_V_BIAS, ROLE_ATTN_NORM_W, ROLE_ATTN_NORM_B},
    {ROLE_QKV, ROLE_QKV_BIAS, ROLE_ATTN_NORM_W, ROLE_ATTN_NORM_B},
    {ROLE_QKV_HEADS, ROLE_QKV_HEADS_BIAS, ROLE_ATTN_NORM_W, ROLE_ATTN_NORM_B},
    {ROLE_GATE, ROLE_GATE_BIAS, ROLE_MLP_NORM_W, ROLE_MLP_NORM_B},
    {ROLE_UP, ROLE_UP_BIAS, ROLE_MLP_NORM_W, ROLE_MLP_NORM_B},
    {ROLE_GATE_UP, ROLE_COUNT, ROLE_MLP_NORM_W, ROLE_MLP_NORM_B},
    {ROLE_ROUTER, ROLE_COUNT, ROLE_MLP_NORM_W, ROLE_MLP_NORM_B},
    {ROLE_LM_HEAD, ROLE_COUNT, ROLE_FINAL_NORM_W, ROLE_FINAL_NORM_B},
};
#define READERS (sizeof readers / sizeof *readers)

static const struct reader *reader_of(enum role role)
{
    for (size_t i = 0; i < READERS; i++)
        if (readers[i].weight == role || (readers[i].bias == role && role != ROLE_COUNT))
            return &readers[i];
    return NULL;
}

int fold_check(const struct config *c, bool head_user, struct err *err)
{
    if (c->post_norm)
        return err_set(err, ERR_USAGE, "--profile gauge: %s has its norms on the residual itself, and their gains would show the rotation; "
                                       "use --profile stip", c->architecture);
    if (c->head != HEAD_LM && c->head != HEAD_NONE)
        return err_set(err, ERR_USAGE, "--profile gauge: known for language models, not for a %s; use --profile stip", c->architecture);
    if (c->post_norms)
        return err_set(err, ERR_USAGE, "--profile gauge: %s norms what its layers add, and the gains of these norms let no rotation pass "
                                       "(docs/decisions/0013-gauge.md); use --profile stip", c->architecture);
    if (c->norm == NORM_RMS)
        return 0;
    if (!head_user)
        return err_set(err, ERR_USAGE, "--profile gauge: the bias of the final LayerNorm of a %s has no place on the server; use --head user",
                       c->architecture);
    for (size_t i = 0; i < READERS; i++)
        if (readers[i].weight != ROLE_LM_HEAD && arch_tensor(c, readers[i].weight) != NULL &&
            (readers[i].bias == ROLE_COUNT || arch_tensor(c, readers[i].bias) == NULL))
            return err_set(err, ERR_USAGE, "--profile gauge: the biases of this model's LayerNorms have no place, since its %s has none; use "
                                           "--profile stip", arch_role_name(readers[i].weight));
    return 0;
}

/* ------------------------------------------------------------------ keys */

int fold_open(struct fold **out, const struct checkpoint *cp, const struct keyset *keys, const char *dir, struct err *err)
{
    uint8_t key[CRYPTO_KEY_LEN];
    struct fold *f = calloc(1, sizeof *f);
    if (f == NULL)
        return err_oom(err, sizeof *f);
    *f = (struct fold){.cp = cp, .c = checkpoint_config(cp), .keys = keys, .dir = dir, .layer = -1, .feed = -1};
    int rc = keyset_end_key(keys, KEY_RESIDUAL, key, err);
    if (rc == 0)
        rc = gauge_end_new(&f->end, f->c->D, f->c->norm == NORM_LAYER, key, err);
    secret_wipe(key, sizeof key);
    if (rc == 0 && ((f->heads = calloc((size_t)f->c->G, sizeof *f->heads)) == NULL ||
                    (f->ups = secret_alloc((size_t)f->c->F * sizeof *f->ups)) == NULL))
        rc = err_oom(err, (size_t)f->c->F * sizeof *f->ups);
    if (rc != 0)
        fold_close(f);
    else
        *out = f;
    return rc;
}

void fold_close(struct fold *f)
{
    if (f == NULL)
        return;
    for (int g = 0; f->heads != NULL && g < f->c->G; g++)
        gauge_head_wipe(&f->heads[g]);
    free(f->heads);
    secret_free(f->ups);
    gauge_end_wipe(&f->end);
    free(f);
}

double fold_eps(const struct fold *f)
{
    return f->end.c * f->end.c * f->c->norm_eps;
}

static int head_keys(struct fold *f, int layer, struct err *err)
{
    const struct config *c = f->c;
    if (f->layer == layer)
        return 0;
    f->layer = -1;
    for (int g = 0; g < c->G; g++) {
        gauge_head_wipe(&f->heads[g]);
        if (gauge_head_new(&f->heads[g], f->keys, c->K, c->rotary, layer, g, err) != 0)
            return -1;
    }
    f->layer = layer;
    return 0;
}

/* Of the experts of a layer each has its own. */
static int up_keys(struct fold *f, int feed, struct err *err)
{
    if (f->feed == feed)
        return 0;
    f->feed = -1;
    if (gauge_ups(f->ups, f->keys, f->c->F, feed, err) != 0)
        return -1;
    f->feed = feed;
    return 0;
}

/* Whose norm is before it. */
static int layer_of(const struct fold *f, const struct contents_item *item)
{
    return item->row->per_expert ? item->layer / f->c->experts : item->layer;
}

static int item_keys(struct fold *f, const struct contents_item *item, struct err *err)
{
    if (!item->row->per_layer)
        return 0;
    if (item->row->in == AX_F || item->row->out == AX_F || item->row->out == AX_GATE_UP)
        return up_keys(f, item->layer, err);
    return head_keys(f, layer_of(f, item), err);
}

/* ------------------------------------------------------------------ tiles */

/* A rectangle of a matrix, or a part of a vector (ins is 1): x [outs][ins]. */
struct tile {
    uint64_t out, in; /* where it starts */
    uint64_t outs, ins;
    double *x, *column; /* column: [outs] */
    float *run;
};

static int load(const struct contents_item *item, const struct tile *t, struct err *err)
{
    const struct tensor *src = item->src;
    const bool across = item->row->conv1d; /* stored rows are inputs */
    const uint64_t rows = across ? t->ins : t->outs, n = across ? t->outs : t->ins;
    const uint64_t width = src->rank == 1 ? 1 : src->dim[1];
    for (uint64_t r = 0; r < rows; r++) {
        const uint64_t at = ((across ? t->in : t->out) + r) * width + (across ? t->out : src->rank == 1 ? 0 : t->in);
        const uint8_t *from = src->data + at * dtype_size(src->dtype);
        const size_t bad = dtype_first_nonfinite(src->dtype, from, n);
        if (bad < n)
            return err_set(err, ERR_INPUT, "tensor '%s': NaN or infinity at element %" PRIu64 "; the model cannot be protected", src->name,
                           at + bad);
        dtype_to_f32(src->dtype, from, t->run, n);
        for (uint64_t i = 0; i < n; i++)
            t->x[across ? i * t->ins + r : r * t->ins + i] = (double)t->run[i];
    }
    return 0;
}

static void store(const struct contents_item *item, const struct tile *t, float *to)
{
    const bool across = item->row->conv1d;
    const uint64_t rows = across ? t->ins : t->outs, n = across ? t->outs : t->ins;
    const uint64_t width = item->src->rank == 1 ? 1 : item->src->dim[1];
    for (uint64_t r = 0; r < rows; r++) {
        float *dst = to + ((across ? t->in : t->out) + r) * width + (across ? t->out : item->src->rank == 1 ? 0 : t->in);
        for (uint64_t i = 0; i < n; i++)
            dst[i] = (float)t->x[across ? i * t->ins + r : r * t->ins + i];
    }
}

/* ------------------------------------------------------------------ the two sides of a matrix */

static void fold_inputs(const struct fold *f, enum axis axis, const float *gain, const struct tile *t)
{
    const uint64_t per_group = (uint64_t)(f->c->H / f->c->G);
    for (uint64_t o = 0; o < t->outs; o++) {
        double *row = t->x + o * t->ins;
        if (axis == AX_D) {
            for (uint64_t i = 0; i < t->ins; i++)
                row[i] *= (double)gain[i];
            gauge_end_turn(&f->end, row);
        } else if (axis == AX_MIX) {
            gauge_mix(&f->heads[t->in / (uint64_t)f->c->K / per_group], row);
        } else if (axis == AX_F && f->c->gated) {
            for (uint64_t i = 0; i < t->ins; i++)
                row[i] /= f->ups[t->in + i];
        }
    }
}

static void fold_head(const struct fold *f, enum axis axis, uint64_t head, double *x)
{
    const uint64_t H = (uint64_t)f->c->H, G = (uint64_t)f->c->G, per_group = H / G;
    switch (axis) {
    case AX_Q:
    case AX_KEY:
        if (f->c->qk_norm) { /* gains per dim leave no other freedom; c, because these norms have the epsilon of the others */
            for (int k = 0; k < f->c->K; k++)
                x[k] *= f->end.c;
        } else if (axis == AX_Q) {
            gauge_query(&f->heads[head / per_group], x);
        } else {
            gauge_key(&f->heads[head], x);
        }
        break;
    case AX_VALUE:
        gauge_value(&f->heads[head], x);
        break;
    case AX_QKV:
        if (head < H)
            fold_head(f, AX_Q, head, x);
        else
            fold_head(f, head < H + G ? AX_KEY : AX_VALUE, (head - H) % G, x);
        break;
    default: /* AX_QKV_HEADS: each head's query, key, value */
        fold_head(f, head % 3 == 0 ? AX_Q : head % 3 == 1 ? AX_KEY : AX_VALUE, head / 3, x);
        break;
    }
}

static bool has_heads(enum axis axis)
{
    return axis == AX_Q || axis == AX_KEY || axis == AX_VALUE || axis == AX_QKV || axis == AX_QKV_HEADS;
}

static void fold_column(const struct fold *f, const struct contents_item *item, const struct tile *t, double *x)
{
    const enum axis axis = item->row->out;
    if (axis == AX_D) {
        gauge_end_turn(&f->end, x);
        for (uint64_t o = 0; o < t->outs; o++)
            x[o] *= f->end.c;
    } else if (has_heads(axis)) {
        fold_head(f, axis, t->out / (uint64_t)f->c->K, x);
    }
}

static void fold_outputs(const struct fold *f, const struct contents_item *item, const struct tile *t)
{
    const enum role role = item->row->role;
    const uint64_t F = (uint64_t)f->c->F, first_up = role == ROLE_GATE_UP ? F : 0;
    if (item->row->out == AX_D || has_heads(item->row->out))
        for (uint64_t i = 0; i < t->ins; i++) {
            for (uint64_t o = 0; o < t->outs; o++)
                t->column[o] = t->x[o * t->ins + i];
            fold_column(f, item, t, t->column);
            for (uint64_t o = 0; o < t->outs; o++)
                t->x[o * t->ins + i] = t->column[o];
        }
    if (!f->c->gated || (role != ROLE_UP && role != ROLE_UP_BIAS && role != ROLE_GATE_UP))
        return;
    for (uint64_t o = 0; o < t->outs; o++)
        for (uint64_t i = 0; t->out + o >= first_up && i < t->ins; i++)
            t->x[o * t->ins + i] *= f->ups[t->out + o - first_up];
}

/* ------------------------------------------------------------------ one tensor */

/* b += W beta, so that the norm's own bias need not be there. */
static int add_norm_bias(const struct fold *f, const struct contents_item *bias, const struct tile *t, const float *beta, struct err *err)
{
    const struct reader *r = reader_of(bias->row->role);
    const uint64_t D = (uint64_t)f->c->D;
    const struct contents_item weight = {.row = arch_tensor(f->c, r->weight), .src = checkpoint_tensor(f->cp, r->weight, bias->layer)};
    struct tile w = {.out = t->out, .outs = t->outs, .ins = D};
    w.x = malloc(w.outs * D * sizeof *w.x);
    w.run = malloc((w.outs > D ? w.outs : D) * sizeof *w.run);
    int rc = w.x == NULL || w.run == NULL ? err_oom(err, w.outs * D * sizeof *w.x) : load(&weight, &w, err);
    for (uint64_t o = 0; rc == 0 && o < w.outs; o++)
        for (uint64_t i = 0; i < D; i++)
            t->x[o] += w.x[o * D + i] * (double)beta[i];
    free(w.x);
    free(w.run);
    return rc;
}

/* The gain, as what is multiplied by, or the bias of the norm before a tensor; *out stays NULL where there is none. */
static int read_norm(const struct fold *f, enum role role, int layer, float **out, struct err *err)
{
    const struct tensor *t = arch_tensor(f->c, role) == NULL ? NULL : checkpoint_tensor(f->cp, role, layer);
    if (t == NULL)
        return 0;
    if ((*out = malloc(t->count * sizeof **out)) == NULL)
        return err_oom(err, t->count * sizeof **out);
    if (checkpoint_rows_f32(t, 0, t->count, *out, err) != 0)
        return -1;
    for (uint64_t i = 0; f->c->gain_plus_one && i < t->count; i++)
        (*out)[i] += 1; /* in float32, as engines do */
    return 0;
}

static int fold_tiles(struct fold *f, const struct contents_item *item, float *to, struct err *err)
{
    const struct arch_tensor *row = item->row;
    const struct reader *reader = reader_of(row->role);
    const bool vector = row->in == AX_ONE;
    const uint64_t outs = (uint64_t)arch_axis_size(f->c, row->out), ins = vector ? 1 : (uint64_t)arch_axis_size(f->c, row->in);
    const uint64_t K = (uint64_t)f->c->K, strip = row->in == AX_MIX || has_heads(row->out) ? K : STRIP;
    /* What adds to the residual is turned along its outputs: whole columns. All else has whole rows. */
    struct tile t = {.outs = row->out == AX_D ? outs : strip, .ins = row->out == AX_D && !vector ? strip : ins};
    float *gain = NULL, *beta = NULL;
    int rc = 0;
    t.x = malloc(t.outs * t.ins * sizeof *t.x);
    t.column = malloc(t.outs * sizeof *t.column);
    t.run = malloc((t.outs > t.ins ? t.outs : t.ins) * sizeof *t.run);
    if (t.x == NULL || t.column == NULL || t.run == NULL)
        rc = err_oom(err, t.outs * t.ins * sizeof *t.x);
    if (rc == 0 && reader != NULL)
        rc = read_norm(f, reader->norm_w, layer_of(f, item), &gain, err);
    if (rc == 0 && reader != NULL && vector)
        rc = read_norm(f, reader->norm_b, layer_of(f, item), &beta, err);
    const uint64_t down = t.outs, right = t.ins;
    for (t.out = 0; rc == 0 && t.out < outs; t.out += down)
        for (t.in = 0; rc == 0 && t.in < ins; t.in += right) {
            t.outs = outs - t.out < down ? outs - t.out : down;
            t.ins = ins - t.in < right ? ins - t.in : right;
            rc = load(item, &t, err);
            if (rc == 0 && beta != NULL)
                rc = add_norm_bias(f, item, &t, beta, err);
            if (rc != 0)
                break;
            if (!vector)
                fold_inputs(f, row->in, gain, &t);
            fold_outputs(f, item, &t);
            store(item, &t, to);
        }
    free(t.x);
    free(t.column);
    free(t.run);
    free(gain);
    free(beta);
    return rc;
}

/* A mapped float32 tensor of the item's shape, in a file that has no name any more. */
static int plane(const struct fold *f, const struct contents_item *item, struct tensor *out, struct err *err)
{
    char path[FILE_PATH_MAX];
    struct tensor t = *item->src;
    t.dtype = DTYPE_F32;
    t.bytes = t.count * sizeof(float);
    if (file_join(path, f->dir, "fold.XXXXXX", err) != 0)
        return -1;
    const int fd = mkstemp(path);
    if (fd < 0)
        return err_set(err, ERR_INPUT, "cannot make a file in %s: %s", f->dir, strerror(errno));
    (void)unlink(path);
    /* Room is taken now: a full disk is an error here, not a signal while the map is written. */
    int room;
    do
        room = posix_fallocate(fd, 0, (off_t)t.bytes);
    while (room == EINTR);
    void *map = room != 0 ? MAP_FAILED : mmap(NULL, t.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        return err_set(err, ERR_INPUT, "%s: no room for %" PRIu64 " bytes: %s", f->dir, t.bytes, strerror(room != 0 ? room : errno));
    t.data = map;
    *out = t;
    return 0;
}

void fold_release(struct tensor *t)
{
    if (t->data != NULL)
        (void)munmap((void *)(uintptr_t)t->data, t->bytes);
    *t = (struct tensor){0};
}

/* A norm that is left with nothing to do, and the number that says so. */
static bool is_norm(const struct config *c, enum role role, float *value)
{
    switch (role) {
    case ROLE_ATTN_NORM_W:
    case ROLE_MLP_NORM_W:
    case ROLE_FINAL_NORM_W:
        *value = c->gain_plus_one ? 0 : 1;
        return true;
    case ROLE_ATTN_NORM_B:
    case ROLE_MLP_NORM_B:
    case ROLE_FINAL_NORM_B:
        *value = 0;
        return true;
    default:
        return false;
    }
}

int fold_tensor(struct fold *f, const struct contents_item *item, struct tensor *out, struct err *err)
{
    struct tensor t = {0};
    float value;
    if (item_keys(f, item, err) != 0 || plane(f, item, &t, err) != 0)
        return -1;
    float *to = (float *)(uintptr_t)t.data;
    int rc = 0;
    if (is_norm(f->c, item->row->role, &value))
        for (uint64_t i = 0; i < t.count; i++)
            to[i] = value;
    else if (item->row->out == AX_HEAD) /* Q/K norms: one gain per dim for all heads, as they are */
        rc = checkpoint_rows_f32(item->src, 0, t.count, to, err);
    else
        rc = fold_tiles(f, item, to, err);
    safetensors_release(item->src);
    if (rc != 0)
        fold_release(&t);
    else
        *out = t;
    return rc;
}

/* ------------------------------------------------------------------ is it that package */

static double packed_element(const struct checkpoint *packed, const struct arch_tensor *row, const struct tensor *t, uint64_t in)
{
    const uint64_t at = row->conv1d ? in * t->dim[1] : in; /* of output 0 */
    float value, scale;
    if (t->dtype != DTYPE_I8) {
        dtype_to_f32(t->dtype, t->data + at * dtype_size(t->dtype), &value, 1);
        return (double)value;
    }
    dtype_to_f32(DTYPE_F32, checkpoint_scale(packed, t)->data, &scale, 1);
    return (double)scale * (int8_t)t->data[at];
}

int fold_compare(struct fold *f, const struct checkpoint *packed, int layer, int first, bool *same, struct err *err)
{
    const enum role role = arch_tensor(f->c, ROLE_GATE) != NULL ? ROLE_GATE : arch_tensor(f->c, ROLE_GATE_UP) != NULL ? ROLE_GATE_UP : ROLE_UP;
    const struct arch_tensor *row = arch_tensor(f->c, role);
    const int feed = row->per_expert ? layer * f->c->experts : layer; /* of experts the one that comes first in the package */
    struct contents_item item = {.row = row, .layer = feed};
    const struct tensor *t = checkpoint_tensor(packed, role, feed - arch_below(f->c, row, first));
    const uint64_t D = (uint64_t)f->c->D;
    struct tile w = {.outs = 1, .ins = D, .x = malloc(D * sizeof *w.x), .run = malloc(D * sizeof *w.run)};
    struct perm neurons = {0}, residual = {0}, experts = {0};
    float *gain = NULL;
    int rc = w.x == NULL || w.run == NULL ? err_oom(err, D * sizeof *w.x) : 0;
    if (rc == 0)
        rc = keyset_perm(f->keys, KEY_FFN, feed, &neurons, err);
    if (rc == 0)
        rc = keyset_perm(f->keys, KEY_RESIDUAL, 0, &residual, err);
    if (rc == 0 && row->per_expert)
        rc = keyset_perm(f->keys, KEY_EXPERTS, layer, &experts, err);
    if (rc == 0)
        rc = read_norm(f, ROLE_MLP_NORM_W, layer, &gain, err);
    if (rc == 0) {
        item.src = checkpoint_tensor(f->cp, role, feed + (row->per_expert ? (int)experts.to[0] : 0));
        w.out = neurons.to[0];
        rc = load(&item, &w, err);
    }
    if (rc == 0) {
        double off = 0, most = 0;
        fold_inputs(f, AX_D, gain, &w);
        for (uint64_t i = 0; i < D; i++) {
            most = fmax(most, fabs(w.x[i]));
            off = fmax(off, fabs(w.x[residual.to[i]] - packed_element(packed, item.row, t, i)));
        }
        *same = off <= most / 64; /* half a step of int8 is 1/254 of the largest */
    }
    perm_wipe(&neurons);
    perm_wipe(&residual);
    perm_wipe(&experts);
    free(gain);
    free(w.x);
    free(w.run);
    return rc;
}
