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
    float *logits;    /* [1 + most, outputs] */
    float *scratch;   /* [outputs] sampling changes its logits in place; logprobs are the model's own */
    int32_t *history; /* context, then what was generated; behind that the guesses on their way */
    int history_count;
    int guesses, most; /* on their way; at most */
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
    st->most = speculate_most(o->speculate);
    if (st->most > session_outputs(st->session) - 1)
        st->most = session_outputs(st->session) - 1;
    st->logits = malloc((1 + (size_t)st->most) * (size_t)outputs * sizeof *st->logits);
    st->scratch = malloc((size_t)outputs * sizeof *st->scratch);
    st->history = malloc((total + (size_t)st->most + 1) * sizeof *st->history);
    out->tokens = malloc((max + 1) * sizeof *out->tokens);
    if (o->logprobs >= 0)
        out->logprobs = malloc((max + 1) * ((size_t)o->logprobs + 1) * sizeof *out->logprobs);
    if (st->logits == NULL || st->scratch == NULL || st->history == NULL || out->tokens == NULL ||
        (o->logprobs >= 0 && out->logprobs == NULL))
        return err_oom(err, total * sizeof *st->history);
    memcpy(st->history, context, (size_t)context_count * sizeof *context);
    st->history_count = context_count;
    if (sampler_new(&st->sampler, &o->sample, outputs, err) != 0)
        return -1;
    return start_stream(st, err);
}

/* The chosen token and the k most probable, by repeated selection: k is small. */
static void record_logprobs(const struct state *st, const float *logits, struct token_logprob *row, int32_t token)
{
    int outputs = config_outputs(st->grant->config);
    row[0] = (struct token_logprob){token, sample_logprob(logits, outputs, token)};
    for (int k = 1; k <= st->opts->logprobs; k++) {
        int32_t best = -1;
        for (int32_t i = 0; i < outputs; i++) {
            bool taken = false;
            for (int j = 1; j < k; j++)
                taken = taken || row[j].id == i;
            if (!taken && (best < 0 || logits[i] > logits[best]))
                best = i;
        }
        row[k] = best < 0 ? (struct token_logprob){-1, 0} : (struct token_logprob){best, sample_logprob(logits, outputs, best)};
    }
}

/* Sends the prompt, or the last token and the guesses behind it; the outputs of the last token and of the guesses come back. */
static int forward_rows(struct state *st, bool prompt, int T, struct pace_cost *cost, struct err *err)
{
    struct session_timing before = session_timing(st->session), after;
    const int32_t *ids = st->history + st->history_count - T;
    int rows = T + st->guesses;
    if ((prompt ? session_prompt(st->session, ids, T, st->logits, &rows, err)
                : session_forward(st->session, ids, NULL, rows, T - 1, 1 + st->guesses, st->logits, err)) != 0)
        return -1;
    after = session_timing(st->session);
    *cost = (struct pace_cost){.rows = rows,
                               .wall_us = (double)(after.wall_us - before.wall_us),
                               .server_us = (double)(after.server_us - before.server_us),
                               .bytes = (double)(after.bytes - before.bytes)};
    return 0;
}

/* One token from one row of logits. *end: it was the last, or the model's end token. */
static int take(struct state *st, struct generated *out, const float *logits, int32_t *token, bool *end, struct err *err)
{
    const struct generate_opts *o = st->opts;
    const char *piece;
    size_t len;
    memcpy(st->scratch, logits, (size_t)config_outputs(st->grant->config) * sizeof *st->scratch);
    if (sampler_next(st->sampler, st->scratch, st->history, (size_t)st->history_count, token, err) != 0)
        return -1;
    if (!o->ignore_eos && grant_is_eos(st->grant, *token)) {
        out->finish_reason = "stop";
        out->stop_token = *token;
        *end = true;
        return 0;
    }
    if (out->logprobs != NULL)
        record_logprobs(st, logits, out->logprobs + (size_t)out->count * ((size_t)o->logprobs + 1), *token);
    out->tokens[out->count++] = *token;
    *end = out->count == o->max_tokens;
    if (tokenizer_stream_feed(st->stream, *token, &piece, &len, err) != 0)
        return -1;
    emit(st, piece, len);
    if (o->token != NULL && !o->token(o->arg, out)) {
        out->finish_reason = "cancelled";
        *end = true;
    }
    return 0;
}

/* Tokens of the rows that were answered, as long as each is the guess that the next row was computed for. The guesses stand
 * behind the history: one that holds is counted in. What the session was sent beyond that is taken back. */
static int take_rows(struct state *st, struct generated *out, int *held, bool *end, struct err *err)
{
    const int sent = session_length(st->session) - st->guesses, outputs = config_outputs(st->grant->config);
    bool holds = true;
    *held = 0;
    for (int row = 0; holds && !*end; row++) {
        int32_t token;
        if (take(st, out, st->logits + (size_t)row * (size_t)outputs, &token, end, err) != 0)
            return -1;
        if (out->stop_token >= 0) /* not part of the text, guessed or not */
            break;
        holds = row < st->guesses && st->history[st->history_count] == token;
        *held += holds ? 1 : 0;
        st->history[st->history_count++] = token;
    }
    session_rewind(st->session, sent + *held);
    out->drafted += st->guesses;
    out->accepted += *held;
    return 0;
}

static int loop(struct state *st, struct generated *out, int prompt_count, struct err *err)
{
    struct speculate *guess = st->opts->speculate;
    struct pace_cost cost;
    int held;
    bool end = false;
    uint64_t start = clock_us();
    if (forward_rows(st, true, prompt_count, &cost, err) != 0)
        return -1;
    speculate_prefilled(guess, &cost);
    out->prompt_us = clock_us() - start;
    start = clock_us();
    out->finish_reason = "length";
    if (take_rows(st, out, &held, &end, err) != 0)
        return -1;
    while (!end) {
        /* The token that is drawn behind the guesses needs room too. */
        int room = st->opts->max_tokens - out->count - 1;
        if (speculate_next(guess, st->history, st->history_count, room < st->most ? room : st->most, st->history + st->history_count,
                           &st->guesses, err) != 0 ||
            forward_rows(st, false, 1, &cost, err) != 0 || take_rows(st, out, &held, &end, err) != 0)
            return -1;
        speculate_answered(guess, &cost, held, !end && held < st->guesses);
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
