#include "user/sample.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/le.h"

struct candidate {
    double p;
    int32_t id;
};

struct sampler {
    struct sample_opts opts;
    int vocab;
    struct candidate *heap; /* [vocab] */
    bool *seen;             /* [vocab] for the penalty */
    int32_t *drawn;         /* [vocab] how often */
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
    s->heap = calloc((size_t)vocab, sizeof *s->heap);
    s->seen = calloc((size_t)vocab, sizeof *s->seen);
    s->drawn = calloc((size_t)vocab, sizeof *s->drawn);
    memcpy(text, label, sizeof label);
    le_put64(text + sizeof label, opts->seed);
    if (s->heap == NULL || s->seen == NULL || s->drawn == NULL) {
        sampler_free(s);
        return err_oom(err, (size_t)vocab * sizeof *s->heap);
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
    free(s->heap);
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

/* The more probable first; of equals the smaller id, so that a draw does not depend on the order of the heap. */
static bool before(const struct candidate *a, const struct candidate *b)
{
    return a->p != b->p ? a->p > b->p : a->id < b->id;
}

static void sift(struct candidate *heap, int n, int i)
{
    for (;;) {
        int child = 2 * i + 1;
        if (child >= n)
            return;
        if (child + 1 < n && before(&heap[child + 1], &heap[child]))
            child++;
        if (!before(&heap[child], &heap[i]))
            return;
        struct candidate t = heap[i];
        heap[i] = heap[child];
        heap[child] = t;
        i = child;
    }
}

/* Sorts the `want` most probable to the end of the array, most probable last, until their sum reaches `mass`. Gives how
 * many. A heap leaves the long tail unsorted. */
static int take_top(struct candidate *heap, int n, int want, double mass, double *sum)
{
    int taken = 0;
    *sum = 0;
    for (int i = n / 2 - 1; i >= 0; i--)
        sift(heap, n, i);
    while (taken < want && n > 0 && *sum < mass) {
        struct candidate top = heap[0];
        heap[0] = heap[n - 1];
        heap[n - 1] = top;
        sift(heap, --n, 0);
        *sum += top.p;
        taken++;
    }
    return taken;
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
    int first = 0, count = s->vocab;
    double u, total = 0;
    add_bias(s, logits);
    if (o->repeat_penalty != 1)
        penalise(s, logits, history, n);
    int32_t best = sample_argmax(logits, s->vocab);
    if (o->temperature <= 0) {
        *token = best;
        return 0;
    }
    double max = logits[best];
    for (int i = 0; i < s->vocab; i++) {
        s->heap[i] = (struct candidate){exp(((double)logits[i] - max) / o->temperature), i};
        total += s->heap[i].p;
    }
    if (o->top_k > 0 && o->top_k < s->vocab) {
        count = take_top(s->heap, s->vocab, o->top_k, INFINITY, &total);
        first = s->vocab - count;
        if (o->top_p < 1) {
            /* The kept ones are sorted, most probable last. */
            double sum = 0;
            int keep = 0;
            while (keep < count && sum < o->top_p * total)
                sum += s->heap[s->vocab - 1 - keep++].p;
            first = s->vocab - keep;
            count = keep;
            total = sum;
        }
    } else if (o->top_p < 1) {
        count = take_top(s->heap, s->vocab, s->vocab, o->top_p * total, &total);
        first = s->vocab - count;
    }
    if (o->min_p > 0) {
        /* The most probable has p = 1 here, so the bound is min_p itself. */
        total = 0;
        for (int i = first; i < first + count; i++) {
            if (s->heap[i].p < o->min_p)
                s->heap[i].p = 0;
            total += s->heap[i].p;
        }
    }
    if (draw(s, &u, err) != 0)
        return -1;
    *token = best;
    for (int i = first; i < first + count; i++) {
        u -= s->heap[i].p / total;
        if (s->heap[i].p > 0) {
            *token = s->heap[i].id;
            if (u < 0)
                break;
        }
    }
    return 0;
}

int sampler_next(struct sampler *s, float *logits, const int32_t *history, size_t n, int32_t *token, struct err *err)
{
    if (next(s, logits, history, n, token, err) != 0)
        return -1;
    s->drawn[*token]++;
    return 0;
}
