#include "user/session.h"

#include <stdlib.h>
#include <string.h>

#include "base/bf16.h"
#include "base/clock.h"
#include "base/le.h"
#include "base/log.h"
#include "base/size.h"
#include "model/arch.h"
#include "user/local.h"
#include "user/seal.h"

#define STEP_TIMEOUT_MS 600000 /* a dead peer is noticed long before, by PING */
#define ROWS_PER_MESSAGE 512

struct session {
    struct connection *c;
    uint8_t id[WIRE_SESSION_BYTES];
    uint64_t seq;
    int length, room, rows; /* tokens sent, tokens granted, rows per message */
    int outputs;            /* rows of outputs at once */
    int sent;               /* rows in x_p */
    bool hidden;            /* outputs are hidden rows, not logits */
    const float *pixels;    /* of the image that is under way, the caller's; NULL: tokens are */
    int32_t *ids, *types;   /* [room] what was sent, to send it again */
    uint64_t generation;    /* of the connection that it was opened on; 0: of none */
    bool whole;             /* the server got everything up to `length` under this id */
    float *x, *x_p;         /* [rows, D] */
    float *y_p, *y;         /* [outputs, width], [outputs, D] */
    struct local *local;    /* NULL when the server has all layers */
    void *work;             /* for head_apply; NULL when the server has the head */
    struct session_timing timing;
};

static float *floats(size_t rows, size_t width)
{
    size_t n, bytes;
    return size_mul(rows, width, &n) || size_mul(n, sizeof(float), &bytes) ? NULL : malloc(bytes);
}

/* y_p [n, width] of the wire, finite numbers all (msg_out_recv) -> logits [n, outputs]. */
static int open_outputs(struct session *s, int n, float *logits, struct err *err)
{
    const struct grant *g = s->c->grant;
    if (!g->head_here) {
        unseal_rows(logits, s->y_p, (size_t)n * (size_t)arch_answer_rows(g->config), &g->output); /* each classifier's in the same order */
        return 0;
    }
    unseal_rows(s->hidden ? logits : s->y, s->y_p, (size_t)n, &g->residual);
    if (grant_turn_back(g, s->hidden ? logits : s->y, (size_t)n, err) != 0)
        return -1;
    if (s->hidden)
        return 0;
    head_apply(g->config, g->head, s->y, n, s->work, logits);
    return 0;
}

/* One message: T rows behind the `length` of before, outputs for the asked ones among them. */
static int send_rows(struct session *s, const int32_t *ids, const int32_t *types, int T, int out_from, int out_n, float *logits,
                     struct err *err)
{
    const struct grant *g = s->c->grant;
    uint64_t start = clock_us();
    if ((s->pixels != NULL ? embed_image(g->embed, s->pixels, s->x, err) : embed_rows(g->embed, ids, types, T, s->length, s->x, err)) != 0 ||
        (s->local != NULL && local_rows(s->local, s->length, s->x, T, err) != 0) ||
        grant_turn(g, s->x, (size_t)T, err) != 0)
        return -1;
    struct sealed_rows x_p = (s->c->bf16 ? seal_rows_bf16 : seal_rows)(s->x_p, s->x, (size_t)T, &g->residual);
    struct msg_rows m = {.epoch = s->c->server.epoch, .seq = s->seq + 1, .pos = (uint32_t)s->length, .rows = (uint32_t)T,
                         .out_from = (uint32_t)out_from, .out_n = (uint32_t)out_n};
    struct msg_out got;
    memcpy(m.session, s->id, sizeof m.session);
    uint64_t sent = clock_us();
    channel_heed(s->c->channel, s->c->abandoned);
    int rc = client_rows(s->c->channel, &m, &x_p, s->y_p, s->c->server.out_width, s->c->step_ms > 0 ? s->c->step_ms : STEP_TIMEOUT_MS, &got, err);
    channel_heed(s->c->channel, NULL); /* that the session ends is waited for */
    if (rc != 0)
        return -1;
    uint64_t back = clock_us();
    if (out_n > 0 && open_outputs(s, out_n, logits, err) != 0)
        return -1;
    s->seq++;
    s->length += T;
    s->sent = T;
    uint64_t end = clock_us();
    s->timing.user_us += (sent - start) + (end - back);
    s->timing.server_us += got.server_us;
    s->timing.wall_us += end - start;
    s->timing.bytes += ((uint64_t)T * (unsigned)g->config->D + (uint64_t)out_n * s->c->server.out_width) * (s->c->bf16 ? 2 : 4);
    return 0;
}

/* ------------------------------------------------------------------ again */

/* All that was said so far, once more, in a session that has nothing yet. */
static int replay(struct session *s, struct err *err)
{
    const int length = s->length;
    int rc = 0;
    s->seq = 0;
    for (s->length = 0; rc == 0 && s->length < length;) {
        int n = length - s->length < s->rows ? length - s->length : s->rows;
        rc = send_rows(s, s->ids + s->length, s->types + s->length, n, 0, 0, NULL, err);
    }
    s->length = length;
    return rc;
}

static int open_id(struct session *s, struct msg_opened *opened, struct err *err)
{
    struct msg_open open = {.max_tokens = (uint32_t)s->room};
    memcpy(open.session, s->id, sizeof open.session);
    if (client_session_open(s->c->channel, &open, opened, err) != 0)
        return -1;
    if (opened->max_tokens < (uint32_t)s->room)
        return err_set(err, ERR_INPUT, "%d tokens are needed, %s gives this session %u", s->room, channel_endpoint(s->c->channel),
                       opened->max_tokens);
    return 0;
}

/* Takes the session up where the server has it still, else builds it again. One that is built again gets an id of its own:
 * of a server that comes back later, an old id would show steps of the same numbers and other rows. */
static int join(struct session *s, struct err *err)
{
    struct msg_opened opened;
    if (s->generation == s->c->generation && s->whole)
        return 0;
    if (open_id(s, &opened, err) != 0)
        return -1;
    /* One step more than we know of: the answer was lost on its way, and will be given again. */
    bool same = opened.seq == s->seq || opened.seq == s->seq + 1;
    if (!s->whole || !same || opened.cached < (uint32_t)s->length) {
        s->whole = false;
        if (client_session_close(s->c->channel, s->id, err) != 0 || crypto_random(s->id, sizeof s->id, err) != 0 ||
            open_id(s, &opened, err) != 0 || replay(s, err) != 0)
            return -1;
        s->whole = true;
    }
    s->generation = s->c->generation;
    return 0;
}

static int recover(struct session *s, struct retry *r, struct err *err)
{
    bool rebuild = false;
    if (connection_recover(s->c, r, &rebuild, err) != 0)
        return -1;
    if (rebuild)
        s->whole = false;
    return 0;
}

/* A message that arrives, whatever happens on the way: the same seq with the same rows gets the same answer. */
static int step(struct session *s, const int32_t *ids, const int32_t *types, int T, int out_from, int out_n, float *logits,
                struct err *err)
{
    const int at = s->length;
    struct retry retry = {0};
    while (join(s, err) != 0 || send_rows(s, ids, types, T, out_from, out_n, logits, err) != 0)
        if (recover(s, &retry, err) != 0)
            return -1;
    if (s->pixels != NULL) /* nothing follows an image: there is nothing to send again */
        return 0;
    memcpy(s->ids + at, ids, (size_t)T * sizeof *ids);
    if (types != NULL)
        memcpy(s->types + at, types, (size_t)T * sizeof *types);
    else
        memset(s->types + at, 0, (size_t)T * sizeof *s->types);
    return 0;
}

/* ------------------------------------------------------------------ a session */

/* The next bucket for n rows, n itself without buckets. */
static int64_t padded(const struct connection_pad *pad, int n)
{
    for (int i = 0; i < pad->n; i++)
        if (n <= pad->to[i])
            return pad->to[i];
    const int64_t largest = pad->n > 0 ? pad->to[pad->n - 1] : 1;
    return (n + largest - 1) / largest * largest;
}

int session_open(struct session **out, struct connection *c, int tokens, int outputs, struct err *err)
{
    const struct config *k = c->grant->config;
    if (grant_check_time(c->grant, err) != 0) /* a connection may live for months */
        return -1;
    if (tokens < 1 || (uint32_t)tokens > c->server.max_tokens)
        return err_set(err, ERR_INPUT, "%d tokens are needed, the server gives a session at most %u", tokens, c->server.max_tokens);
    const int64_t room = padded(&c->pad, tokens); /* how long an answer may get says something too */
    tokens = room < (int64_t)c->server.max_tokens ? (int)room : (int)c->server.max_tokens;
    struct session *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_oom(err, sizeof *s);
    s->c = c;
    s->rows = (int)c->server.max_rows;
    if (k->causal && s->rows > ROWS_PER_MESSAGE)
        s->rows = ROWS_PER_MESSAGE;
    if (s->rows > tokens)
        s->rows = tokens;
    s->outputs = outputs < (int)c->server.max_out_rows ? outputs : (int)c->server.max_out_rows;
    s->x = floats((size_t)s->rows, (size_t)k->D);
    s->x_p = floats((size_t)s->rows, (size_t)k->D);
    s->y_p = floats((size_t)s->outputs, c->server.out_width);
    s->y = floats((size_t)s->outputs, (size_t)k->D);
    if (s->x == NULL || s->x_p == NULL || s->y_p == NULL || s->y == NULL) {
        err_oom(err, (unsigned long long)s->rows * (unsigned)k->D * sizeof(float));
        goto fail;
    }
    if (c->grant->head_here && head_work_new(&s->work, c->grant->head, s->outputs, err) != 0)
        goto fail;
    if (c->grant->local != NULL && local_new(&s->local, c->grant->local, KV_F32, tokens, s->rows, err) != 0)
        goto fail;
    if ((s->ids = calloc((size_t)tokens, sizeof *s->ids)) == NULL || (s->types = calloc((size_t)tokens, sizeof *s->types)) == NULL) {
        err_oom(err, (unsigned long long)tokens * sizeof *s->ids);
        goto fail;
    }
    s->room = tokens;
    s->whole = true;
    struct retry retry = {0};
    if (crypto_random(s->id, sizeof s->id, err) != 0)
        goto fail;
    while (join(s, err) != 0)
        if (recover(s, &retry, err) != 0)
            goto fail;
    *out = s;
    return 0;
fail:
    s->c = NULL;
    session_close(s);
    return -1;
}

void session_close(struct session *s)
{
    if (s == NULL)
        return;
    struct err err;
    if (s->c != NULL && client_session_close(s->c->channel, s->id, &err) != 0)
        log_debug("closing the session: %s", err.text);
    free(s->x);
    free(s->x_p);
    free(s->y_p);
    free(s->y);
    local_free(s->local);
    free(s->work);
    free(s->ids);
    free(s->types);
    free(s);
}

int session_forward(struct session *s, const int32_t *ids, const int32_t *types, int T, int out_from, int out_n, float *logits,
                    struct err *err)
{
    const struct config *k = s->c->grant->config;
    size_t outputs = (size_t)(s->hidden ? k->D : config_outputs(k));
    if (T < 1 || T > s->room - s->length)
        return err_set(err, ERR_INPUT, "%d tokens do not fit: %d of %d are used", T, s->length, s->room);
    if (!k->causal && (T > s->rows || out_n > s->outputs))
        return err_set(err, ERR_INPUT, "the text has %d tokens and %d outputs, this server takes at most %d and %d", T, out_n,
                       s->rows, s->outputs);
    for (int first = 0; first < T;) {
        int n = T - first < s->rows ? T - first : s->rows;
        /* Asked rows inside [first, first+n); a message carries at most s->outputs of them. */
        int from = out_from > first ? out_from : first, end = out_from + out_n;
        if (end > from + s->outputs && first + n > from + s->outputs)
            n = from + s->outputs - first;
        int to = end < first + n ? end : first + n;
        int asked = to > from ? to - from : 0;
        float *dst = logits == NULL ? NULL : logits + (asked > 0 ? (size_t)(from - out_from) * outputs : 0);
        if (step(s, ids + first, types == NULL ? NULL : types + first, n, asked > 0 ? from - first : 0, asked, dst, err) != 0)
            return -1;
        first += n;
    }
    return 0;
}

int session_image(struct session *s, const float *pixels, float *logits, struct err *err)
{
    const struct config *k = s->c->grant->config;
    const int T = k->positions, n = arch_answer_rows(k);
    if (s->length > 0 || T > s->room)
        return err_set(err, ERR_INTERNAL, "an image has %d rows; the session has %d of %d", T, s->length, s->room);
    if (T > s->rows || n > s->outputs)
        return err_set(err, ERR_INPUT, "an image has %d rows and %d outputs, this server takes at most %d and %d", T, n, s->rows, s->outputs);
    float *rows = floats((size_t)n * (size_t)n, (size_t)k->C);
    if (rows == NULL)
        return err_oom(err, (unsigned long long)n * (unsigned)n * (unsigned)k->C * sizeof *rows);
    s->pixels = pixels;
    int rc = step(s, NULL, NULL, T, 0, n, rows, err);
    s->pixels = NULL;
    if (rc == 0)
        head_average(k, rows, logits);
    free(rows);
    return rc;
}

int session_prompt(struct session *s, const int32_t *ids, int T, float *logits, int *rows, struct err *err)
{
    const int64_t want = padded(&s->c->pad, T), room = s->room - s->length;
    const int all = (int)(want < room ? want : room);
    if (rows != NULL)
        *rows = all > T ? all : T;
    if (all <= T)
        return session_forward(s, ids, NULL, T, T - 1, 1, logits, err);
    uint32_t *draw = malloc((size_t)all * sizeof *draw);
    int32_t *padded_ids = malloc((size_t)all * sizeof *padded_ids);
    int rc = -1;
    if (draw == NULL || padded_ids == NULL)
        err_oom(err, (unsigned long long)all * sizeof *draw);
    else if (crypto_random(draw, (size_t)all * sizeof *draw, err) == 0) {
        memcpy(padded_ids, ids, (size_t)T * sizeof *ids);
        for (int i = T; i < all; i++)
            padded_ids[i] = (int32_t)(draw[i] % (uint32_t)s->c->grant->config->V);
        rc = session_forward(s, padded_ids, NULL, all, T - 1, 1, logits, err);
    }
    if (rc == 0)
        session_rewind(s, s->length - (all - T));
    free(draw);
    free(padded_ids);
    return rc;
}

int session_hidden_rows(struct session *s, const int32_t *ids, int T, int out_from, int out_n, float *x, struct err *err)
{
    if (!s->c->grant->head_here)
        return err_set(err, ERR_INPUT, "the server computes the head of this model and gives no hidden rows");
    s->hidden = true;
    int rc = session_forward(s, ids, NULL, T, out_from, out_n, x, err);
    s->hidden = false;
    return rc;
}

void session_rewind(struct session *s, int length)
{
    if (length < s->length)
        s->length = length;
}

int session_length(const struct session *s)
{
    return s->length;
}

uint64_t session_sent(const struct session *s, int *T)
{
    *T = s->sent;
    return s->seq;
}

void session_sent_row(const struct session *s, int row, float *x_p)
{
    const size_t D = (size_t)s->c->grant->config->D, at = (size_t)row * D;
    const uint8_t *narrow = (const uint8_t *)s->x_p;
    for (size_t d = 0; d < D; d++)
        x_p[d] = s->c->bf16 ? bf16_to_f32(le_get16(narrow + 2 * (at + d))) : s->x_p[at + d];
}

int session_outputs(const struct session *s)
{
    return s->outputs;
}

struct session_timing session_timing(const struct session *s)
{
    return s->timing;
}
