#include "user/sample.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/le.h"
#include "engine/kernels/activation.h"

#define BUCKETS ((0x3f800000 >> 18) + 1)
#define BLOCK 64
#define SCALE_MAX 1e30 /* colder is greedy */

struct sampler {
    struct sample_opts opts;
    int vocab;
    float *weight;  /* [vocab] of the draw, the most probable has 1 */
    double *block;  /* [vocab / BLOCK, rounded up] sums of weights */
    uint64_t *rank; /* [vocab] */
    bool *seen;     /* [vocab] for the penalty */
    int32_t *drawn; /* [vocab] how often */
    struct crypto_stream *stream;
};

int sampler_new(struct sampler **out, const struct sample_opts *opts, int vocab, struct err *err)
{
    static const char label[] = "stip sampler v1";
    uint8_t text[sizeof label + 8], key[CRYPTO_KEY_LEN];
    struct sampler *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_oom(err, sizeof *s);
    s->opts = *opts;
    s->vocab = vocab;
    s->weight = calloc((size_t)vocab, sizeof *s->weight);
    s->block = calloc((size_t)vocab / BLOCK + 1, sizeof *s->block);
    s->rank = calloc((size_t)vocab, sizeof *s->rank);
    s->seen = calloc((size_t)vocab, sizeof *s->seen);
    s->drawn = calloc((size_t)vocab, sizeof *s->drawn);
    memcpy(text, label, sizeof label);
    le_put64(text + sizeof label, opts->seed);
    if (s->weight == NULL || s->block == NULL || s->rank == NULL || s->seen == NULL || s->drawn == NULL) {
        sampler_free(s);
        return err_oom(err, (size_t)vocab * sizeof *s->rank);
    }
    if (crypto_sha256(text, sizeof text, key, err) != 0 || crypto_stream_new(&s->stream, key, err) != 0) {
        sampler_free(s);
        return -1;
    }
    *out = s;
    return 0;
}

void sampler_free(struct sampler *s)
{
    if (s == NULL)
        return;
    crypto_stream_free(s->stream);
    free(s->weight);
    free(s->block);
    free(s->rank);
    free(s->seen);
    free(s->drawn);
    free(s);
}

#define LANES 32 /* maxima of every 32nd number: loops that compilers vectorise */

/* The largest; NaN only where the first is one. */
static float largest(const float *v, int n)
{
    float lane[LANES], most = v[0];
    int i = 0;
    for (int k = 0; k < LANES; k++)
        lane[k] = v[0];
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++)
            lane[k] = v[i + k] > lane[k] ? v[i + k] : lane[k];
    for (int k = 0; k < LANES; k++)
        most = lane[k] > most ? lane[k] : most;
    for (; i < n; i++)
        most = v[i] > most ? v[i] : most;
    return most;
}

int32_t sample_argmax(const float *logits, int n)
{
    const float most = largest(logits, n);
    for (int32_t i = 0; i < n; i++)
        if (logits[i] >= most)
            return i;
    return 0;
}

double sample_logprob(const float *logits, int n, int32_t token)
{
    double max = logits[sample_argmax(logits, n)], sum = 0;
    for (int i = 0; i < n; i++)
        sum += exp((double)logits[i] - max);
    return (double)logits[token] - max - log(sum);
}

/* Each token counts once, however often it was said. */
static void penalise(struct sampler *s, float *logits, const int32_t *history, size_t n)
{
    float penalty = (float)s->opts.repeat_penalty;
    for (size_t i = 0; i < n; i++) {
        int32_t id = history[i];
        if (id < 0 || id >= s->vocab || s->seen[id])
            continue;
        s->seen[id] = true;
        logits[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
    }
    for (size_t i = 0; i < n; i++)
        if (history[i] >= 0 && history[i] < s->vocab)
            s->seen[history[i]] = false;
}

static void add_bias(const struct sampler *s, float *logits)
{
    const struct sample_opts *o = &s->opts;
    for (int i = 0; i < o->bias_count; i++)
        if (o->bias[i].id >= 0 && o->bias[i].id < s->vocab)
            logits[o->bias[i].id] += o->bias[i].add;
    if (o->frequency_penalty == 0 && o->presence_penalty == 0)
        return;
    for (int i = 0; i < s->vocab; i++)
        if (s->drawn[i] > 0)
            logits[i] -= (float)(o->frequency_penalty * s->drawn[i] + o->presence_penalty);
}

/* Bucket of a weight, the more probable first: 32 for each halving. Only the bucket in which the last kept one lies is sorted. */
static int bucket_of(float weight)
{
    uint32_t bits, one = 0x3f800000;
    memcpy(&bits, &weight, sizeof bits);
    return bits > one ? 0 : (int)((one - bits) >> 18);
}

/* All weights of this bucket and of those after it are at most this. */
static float bucket_top(int bucket)
{
    uint32_t bits = 0x3f800000;
    float top;
    bits -= (uint32_t)bucket << 18;
    memcpy(&top, &bits, sizeof top);
    return bucket == BUCKETS ? -1 : top;
}

static int by_rank(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Sorts what is in one bucket: the more probable first, of equals the smaller id. Gives how many. */
static int rank_bucket(struct sampler *s, int bucket, float least)
{
    const float top = bucket == 0 ? INFINITY : bucket_top(bucket), below = bucket_top(bucket + 1);
    int n = 0;
    for (int i = 0; i < s->vocab; i++) {
        const float weight = s->weight[i];
        /* One question instead of three: about half of the weights are above any bound, and a wrong guess costs more than comparing. */
        if ((weight > below) & (weight <= top) & (weight >= least)) {
            uint32_t bits;
            memcpy(&bits, &weight, sizeof bits);
            s->rank[n++] = (uint64_t)~bits << 32 | (uint32_t)i;
        }
    }
    qsort(s->rank, (size_t)n, sizeof *s->rank, by_rank);
    return n;
}

/* Neighbours are often in one bucket, and an addition would wait for the one before it: they are counted side by side. */
#define SIDES 4

/* How many weights are in each bucket, and their sum. */
static void count_buckets(const struct sampler *s, int count[BUCKETS], double part[BUCKETS])
{
    int side_count[SIDES][BUCKETS] = {{0}}, i = 0;
    double side_part[SIDES][BUCKETS] = {{0}};
    for (; i + SIDES <= s->vocab; i += SIDES)
        for (int k = 0; k < SIDES; k++) {
            const int b = bucket_of(s->weight[i + k]);
            side_count[k][b]++;
            side_part[k][b] += (double)s->weight[i + k];
        }
    for (; i < s->vocab; i++) {
        const int b = bucket_of(s->weight[i]);
        side_count[0][b]++;
        side_part[0][b] += (double)s->weight[i];
    }
    for (int b = 0; b < BUCKETS; b++) {
        count[b] = side_count[0][b] + side_count[1][b] + side_count[2][b] + side_count[3][b];
        part[b] = (side_part[0][b] + side_part[1][b]) + (side_part[2][b] + side_part[3][b]);
    }
}

/* Keeps the `want` most probable, or as many as reach `mass` together; the weights of the others become 0. None below `least`
 * is among them. */
static void keep_top(struct sampler *s, int want, double mass, float least)
{
    double sum = 0, part[BUCKETS];
    int count[BUCKETS], taken = 0, last = 0;
    count_buckets(s, count, part);
    for (; last < BUCKETS - 1 && taken + count[last] < want && sum + part[last] < mass; last++) {
        taken += count[last];
        sum += part[last];
    }
    const int n = rank_bucket(s, last, least);
    int k = 0;
    for (; k < n && taken < want && sum < mass; k++, taken++)
        sum += (double)s->weight[s->rank[k] & UINT32_MAX];
    for (; k < n; k++)
        s->weight[s->rank[k] & UINT32_MAX] = 0;
    const float below = bucket_top(last + 1);
    for (int i = 0; i < s->vocab; i++)
        s->weight[i] = s->weight[i] > below ? s->weight[i] : 0;
}

/* Sums of BLOCK weights each; gives the sum of all. */
static double sum_blocks(struct sampler *s)
{
    double total = 0;
    for (int i = 0, b = 0; i < s->vocab; i += BLOCK, b++) {
        double lane[8] = {0};
        int n = s->vocab - i < BLOCK ? s->vocab - i : BLOCK, j = 0;
        for (; j + 8 <= n; j += 8)
            for (int k = 0; k < 8; k++)
                lane[k] += (double)s->weight[i + j + k];
        for (; j < n; j++)
            lane[0] += (double)s->weight[i + j];
        s->block[b] = ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
        total += s->block[b];
    }
    return total;
}

/* The token at `u` of the sum of all weights. What rounding leaves at the end belongs to the last one. */
static int32_t token_at(const struct sampler *s, double u, int32_t best)
{
    int32_t token = best;
    for (int i = 0, b = 0; i < s->vocab; i += BLOCK, b++) {
        const int end = s->vocab - i < BLOCK ? s->vocab : i + BLOCK;
        if (u >= s->block[b] && end < s->vocab) {
            u -= s->block[b];
            continue;
        }
        for (int k = i; k < end; k++) {
            u -= (double)s->weight[k];
            token = s->weight[k] > 0 ? k : token;
            if (u < 0)
                return token;
        }
    }
    return token;
}

static int draw(struct sampler *s, double *u, struct err *err)
{
    uint8_t bytes[8];
    if (crypto_stream_read(s->stream, bytes, sizeof bytes, err) != 0)
        return -1;
    *u = (double)(le_get64(bytes) >> 11) * 0x1p-53;
    return 0;
}

static int next(struct sampler *s, float *logits, const int32_t *history, size_t n, int32_t *token, struct err *err)
{
    const struct sample_opts *o = &s->opts;
    double u;
    add_bias(s, logits);
    if (o->repeat_penalty != 1)
        penalise(s, logits, history, n);
    int32_t best = sample_argmax(logits, s->vocab);
    if (o->temperature <= 0) {
        *token = best;
        return 0;
    }
    const double scale = 1 / o->temperature;
    activate_exponentials(s->weight, logits, (size_t)s->vocab, logits[best], (float)(scale < SCALE_MAX ? scale : SCALE_MAX));
    if (o->top_k > 0 && o->top_k < s->vocab)
        keep_top(s, o->top_k, INFINITY, FLT_MIN);
    double total = sum_blocks(s);
    if (o->top_p < 1) {
        /* All that are less than this together are not what top_p needs. */
        const double little = (1 - o->top_p) * total / s->vocab * (1 - 1e-6);
        keep_top(s, s->vocab, o->top_p * total, little > FLT_MIN ? (float)little : FLT_MIN);
    }
    for (int i = 0; o->min_p > 0 && i < s->vocab; i++) /* the most probable has weight 1, so the bound is min_p itself */
        s->weight[i] = (double)s->weight[i] < o->min_p ? 0 : s->weight[i];
    if (o->top_p < 1 || o->min_p > 0)
        total = sum_blocks(s);
    if (draw(s, &u, err) != 0)
        return -1;
    *token = token_at(s, u * total, best);
    return 0;
}

int sampler_next(struct sampler *s, float *logits, const int32_t *history, size_t n, int32_t *token, struct err *err)
{
    if (next(s, logits, history, n, token, err) != 0)
        return -1;
    s->drawn[*token]++;
    return 0;
}
