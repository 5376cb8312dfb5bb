#include "user/session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bf16.h"
#include "base/clock.h"
#include "base/le.h"
#include "base/log.h"
#include "base/size.h"
#include "model/manifest.h"
#include "user/seal.h"

#define STEP_TIMEOUT_MS 600000 /* a dead peer is noticed long before, by PING */
#define ROWS_PER_MESSAGE 512

/* ------------------------------------------------------------------ connection */

/* Nothing is sent to a server before it has shown a manifest that our developer signed and our grant names. */
static int check_manifest(const struct connection *c, struct err *err)
{
    char *proof = NULL;
    size_t len = 0;
    uint8_t context[CRYPTO_HASH_LEN];
    struct manifest m = {0};
    int rc = -1;
    if (c->server.manifest_bytes <= CRYPTO_SIG_LEN)
        return err_set(err, ERR_AUTH, "%s shows no manifest", channel_endpoint(c->channel));
    if (client_manifest(c->channel, c->server.manifest_bytes, &proof, &len, err) != 0)
        return -1;
    size_t text = len - CRYPTO_SIG_LEN;
    if (manifest_verify(proof, text, (const uint8_t *)proof + text, c->grant->model_dev.sign_pub, err) != 0 ||
        manifest_context_id(proof, text, context, err) != 0)
        goto done;
    if (memcmp(context, c->grant->context, sizeof context) != 0) {
        err_set(err, ERR_AUTH, "%s serves another package than this grant is for; join again", channel_endpoint(c->channel));
        goto done;
    }
    if (manifest_parse(&m, proof, text, "manifest", err) != 0)
        goto done;
    if ((strcmp(m.head, "server") == 0) == c->grant->head_here || (c->server.head_at_server != 0) == c->grant->head_here) {
        err_set(err, ERR_PEER, "%s: server and grant do not agree on who computes the head", channel_endpoint(c->channel));
        goto done;
    }
    if (m.compute != c->grant->compute) {
        err_set(err, ERR_AUTH, "%s computes in %s, this grant is for %s; join again", channel_endpoint(c->channel),
                compute_name(m.compute), compute_name(c->grant->compute));
        goto done;
    }
    rc = 0;
done:
    manifest_free(&m);
    free(proof);
    return rc;
}

static int check_shape(const struct connection *c, struct err *err)
{
    const struct config *k = c->grant->config;
    uint32_t width = (uint32_t)(c->grant->head_here ? k->D : config_outputs(k));
    if (c->server.D != (uint32_t)k->D || c->server.out_width != width || c->server.max_rows < 1 || c->server.max_out_rows < 1)
        return err_set(err, ERR_PEER, "%s announces rows of %u and outputs of %u, the grant's model has %d and %u",
                       channel_endpoint(c->channel), c->server.D, c->server.out_width, k->D, width);
    return 0;
}

int connection_open(struct connection **out, struct transport *t, const char *endpoint, const struct peer_key *server,
                    const struct identity *id, const struct grant *grant, const char *trace, struct err *err)
{
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_oom(err, sizeof *c);
    c->grant = grant;
    if (channel_open(&c->channel, t, endpoint, server, id, CHANNEL_CONNECT_MS, err) != 0 ||
        (trace != NULL && channel_trace(c->channel, trace, err) != 0) ||
        client_hello(c->channel, grant->context, &c->server, err) != 0 || check_manifest(c, err) != 0 ||
        check_shape(c, err) != 0) {
        connection_close(c);
        return -1;
    }
    *out = c;
    return 0;
}

int connection_bf16(struct connection *c, struct err *err)
{
    if (c->server.protocol < MSG_PROTOCOL_BF16)
        return err_set(err, ERR_PEER, "%s speaks protocol %u, and wire: bf16 needs %d; update the server or use wire: f32",
                       channel_endpoint(c->channel), c->server.protocol, MSG_PROTOCOL_BF16);
    c->bf16 = true;
    return 0;
}

void connection_close(struct connection *c)
{
    if (c == NULL)
        return;
    channel_close(c->channel);
    free(c);
}

/* ------------------------------------------------------------------ session */

struct session {
    struct connection *c;
    uint8_t id[WIRE_SESSION_BYTES];
    uint64_t seq;
    int length, room, rows; /* tokens sent, tokens granted, rows per message */
    int outputs;            /* rows of outputs at once */
    int sent;               /* rows in x_p */
    bool hidden;            /* outputs are hidden rows, not logits */
    float *x, *x_p;         /* [rows, D] */
    float *y_p, *y;         /* [outputs, width], [outputs, D] */
    void *work;             /* for head_apply; NULL when the server has the head */
    struct session_timing timing;
};

static float *floats(size_t rows, size_t width)
{
    size_t n, bytes;
    return size_mul(rows, width, &n) || size_mul(n, sizeof(float), &bytes) ? NULL : malloc(bytes);
}

int session_open(struct session **out, struct connection *c, int tokens, int outputs, struct err *err)
{
    const struct config *k = c->grant->config;
    if (tokens < 1 || (uint32_t)tokens > c->server.max_tokens)
        return err_set(err, ERR_INPUT, "%d tokens are needed, the server gives a session at most %u", tokens, c->server.max_tokens);
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
    struct msg_open open = {.max_tokens = (uint32_t)tokens};
    struct msg_opened opened;
    if (crypto_random(s->id, sizeof s->id, err) != 0)
        goto fail;
    memcpy(open.session, s->id, sizeof open.session);
    if (client_session_open(c->channel, &open, &opened, err) != 0)
        goto fail;
    s->room = (int)opened.max_tokens;
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
    free(s->work);
    free(s);
}

/* y_p [n, width] of the wire -> logits [n, outputs]. */
static int open_outputs(struct session *s, int n, float *logits, struct err *err)
{
    const struct grant *g = s->c->grant;
    size_t count = (size_t)n * s->c->server.out_width;
    for (size_t i = 0; i < count; i++)
        if (!isfinite(s->y_p[i]))
            return err_set(err, ERR_PEER, "%s answered with a number that is not finite", channel_endpoint(s->c->channel));
    if (!g->head_here) {
        unseal_rows(logits, s->y_p, (size_t)n, &g->output);
        return 0;
    }
    unseal_rows(s->hidden ? logits : s->y, s->y_p, (size_t)n, &g->residual);
    if (s->hidden)
        return 0;
    head_apply(g->config, g->head, s->y, n, s->work, logits);
    return 0;
}

/* One message: rows first..first+T-1 of this call, outputs for the asked ones among them. */
static int step(struct session *s, const int32_t *ids, const int32_t *types, int T, int out_from, int out_n, float *logits,
                struct err *err)
{
    const struct grant *g = s->c->grant;
    uint64_t start = clock_us();
    if (embed_rows(g->embed, ids, types, T, s->length, s->x, err) != 0)
        return -1;
    struct sealed_rows x_p = (s->c->bf16 ? seal_rows_bf16 : seal_rows)(s->x_p, s->x, (size_t)T, &g->residual);
    struct msg_rows m = {.epoch = s->c->server.epoch, .seq = s->seq + 1, .pos = (uint32_t)s->length, .rows = (uint32_t)T,
                         .out_from = (uint32_t)out_from, .out_n = (uint32_t)out_n};
    struct msg_out got;
    memcpy(m.session, s->id, sizeof m.session);
    uint64_t sent = clock_us();
    if (client_rows(s->c->channel, &m, &x_p, s->y_p, s->c->server.out_width, STEP_TIMEOUT_MS, &got, err) != 0)
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

int session_hidden(struct session *s, const int32_t *ids, int T, float *x, struct err *err)
{
    return session_hidden_rows(s, ids, T, 0, T, x, err);
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
