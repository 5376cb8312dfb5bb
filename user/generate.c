#include "user/generate.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"

#define TEXT_MAX (64 << 20)

int generate_prompt(const struct grant *g, const char *text, size_t len, bool first, struct token_ids *ids, struct err *err)
{
    size_t before = ids->n;
    if (tokenizer_encode(g->tokenizer, text, len, NULL, 0, first, ids, err) != 0)
        return -1;
    if (ids->dropped > 0)
        log_warn("%zu characters are not in the model's vocabulary and were left out", ids->dropped);
    if (ids->n > before)
        return 0;
    if (first && g->config->bos >= 0)
        return token_ids_push(ids, g->config->bos, 0, err);
    return err_set(err, ERR_INPUT, "the prompt is empty and this model has no token that starts a text");
}

struct state {
    struct session *session;
    const struct grant *grant;
    const struct generate_opts *opts;
    struct sampler *sampler;
    struct tokenizer_stream *stream;
    float *logits, *scratch; /* sampling changes its logits in place; logprobs are the model's own */
    int32_t *history; /* context, then what was generated */
    int history_count;
    struct buf text; /* what was emitted */
};

static void emit(struct state *st, const char *text, size_t len)
{
    buf_put(&st->text, text, len);
    if (st->opts->piece != NULL && len > 0)
        st->opts->piece(st->opts->arg, text, len);
}

/* The stream reads the context first, so that the first new piece joins it as it would in one text (spaces, bytes of one
 * character). */
static int start_stream(struct state *st, struct err *err)
{
    const char *piece;
    size_t len;
    if (tokenizer_stream_new(&st->stream, st->grant->tokenizer, true, err) != 0)
        return -1;
    for (int i = 0; i < st->history_count; i++)
        if (tokenizer_stream_feed(st->stream, st->history[i], &piece, &len, err) != 0)
            return -1;
    return 0;
}

static int allocate(struct state *st, struct generated *out, const int32_t *context, int context_count, struct err *err)
{
    const struct generate_opts *o = st->opts;
    size_t max = (size_t)o->max_tokens, total = (size_t)context_count + max;
    int outputs = config_outputs(st->grant->config);
    st->logits = malloc((size_t)outputs * sizeof *st->logits);
    st->scratch = malloc((size_t)outputs * sizeof *st->scratch);
    st->history = malloc((total + 1) * sizeof *st->history);
    out->tokens = malloc((max + 1) * sizeof *out->tokens);
    if (o->logprobs >= 0)
        out->logprobs = malloc((max + 1) * ((size_t)o->logprobs + 1) * sizeof *out->logprobs);
    if (st->logits == NULL || st->scratch == NULL || st->history == NULL || out->tokens == NULL || (o->logprobs >= 0 && out->logprobs == NULL))
        return err_oom(err, total * sizeof *st->history);
    memcpy(st->history, context, (size_t)context_count * sizeof *context);
    st->history_count = context_count;
    if (sampler_new(&st->sampler, &o->sample, outputs, err) != 0)
        return -1;
    return start_stream(st, err);
}

/* The chosen token and the k most probable, by repeated selection: k is small. */
static void record_logprobs(const struct state *st, struct token_logprob *row, int32_t token)
{
    int outputs = config_outputs(st->grant->config);
    row[0] = (struct token_logprob){token, sample_logprob(st->logits, outputs, token)};
    for (int k = 1; k <= st->opts->logprobs; k++) {
        int32_t best = -1;
        for (int32_t i = 0; i < outputs; i++) {
            bool taken = false;
            for (int j = 1; j < k; j++)
                taken = taken || row[j].id == i;
            if (!taken && (best < 0 || st->logits[i] > st->logits[best]))
                best = i;
        }
        row[k] = best < 0 ? (struct token_logprob){-1, 0} : (struct token_logprob){best, sample_logprob(st->logits, outputs, best)};
    }
}

static int loop(struct state *st, struct generated *out, int prompt_count, struct err *err)
{
    const struct generate_opts *o = st->opts;
    uint64_t start = clock_us();
    if (session_forward(st->session, st->history + st->history_count - prompt_count, NULL, prompt_count, prompt_count - 1, 1,
                        st->logits, err) != 0)
        return -1;
    out->prompt_us = clock_us() - start;
    start = clock_us();
    out->finish_reason = "length";
    while (out->count < o->max_tokens) {
        int32_t token;
        const char *piece;
        size_t len;
        memcpy(st->scratch, st->logits, (size_t)config_outputs(st->grant->config) * sizeof *st->scratch);
        if (sampler_next(st->sampler, st->scratch, st->history, (size_t)st->history_count, &token, err) != 0)
            return -1;
        if (!o->ignore_eos && grant_is_eos(st->grant, token)) {
            out->finish_reason = "stop";
            out->stop_token = token;
            break;
        }
        if (out->logprobs != NULL)
            record_logprobs(st, out->logprobs + (size_t)out->count * ((size_t)o->logprobs + 1), token);
        out->tokens[out->count++] = token;
        st->history[st->history_count++] = token;
        if (tokenizer_stream_feed(st->stream, token, &piece, &len, err) != 0)
            return -1;
        emit(st, piece, len);
        if (o->token != NULL && !o->token(o->arg, out)) {
            out->finish_reason = "cancelled";
            break;
        }
        if (out->count == o->max_tokens)
            break;
        if (session_forward(st->session, &token, NULL, 1, 0, 1, st->logits, err) != 0)
            return -1;
    }
    out->decode_us = clock_us() - start;
    return 0;
}

int generate(struct generated *out, struct session *s, const struct grant *g, const int32_t *context, int context_count,
             int prompt_count, const struct generate_opts *opts, struct err *err)
{
    struct state st = {.session = s, .grant = g, .opts = opts};
    struct generated result = {.prompt_count = prompt_count, .stop_token = -1};
    const char *piece;
    size_t len;
    int rc = -1;
    buf_init(&st.text, TEXT_MAX);
    if (allocate(&st, &result, context, context_count, err) != 0 || loop(&st, &result, prompt_count, err) != 0 ||
        tokenizer_stream_end(st.stream, &piece, &len, err) != 0)
        goto done;
    emit(&st, piece, len);
    result.text = buf_take(&st.text, &result.text_len);
    rc = result.text != NULL ? 0 : err_set(err, ERR_INTERNAL, "out of memory, or an answer of more than %d bytes", TEXT_MAX);
done:
    sampler_free(st.sampler);
    tokenizer_stream_free(st.stream);
    free(st.logits);
    free(st.scratch);
    free(st.history);
    buf_free(&st.text);
    if (rc != 0)
        generate_free(&result);
    else
        *out = result;
    return rc;
}

void generate_free(struct generated *g)
{
    free(g->tokens);
    free(g->text);
    free(g->logprobs);
    *g = (struct generated){0};
}
