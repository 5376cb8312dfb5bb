#include "user/connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "model/arch.h"
#include "model/manifest.h"

#define FAILOVER_CONNECT_MS 1500 /* with another server to turn to, a dead one is not waited for as long */
#define PATIENCE_DOUBLES 2       /* times */

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
    if (m.local_layers != (uint32_t)c->grant->local_layers) {
        err_set(err, ERR_AUTH, "%s serves a package without its first %u layers, this grant has %d; join again",
                channel_endpoint(c->channel), m.local_layers, c->grant->local_layers);
        goto done;
    }
    if (m.epoch != c->server.epoch || m.epoch != c->grant->epoch) {
        err_set(err, ERR_AUTH, "%s announces epoch %u, its manifest is of epoch %u and this grant of %u; join again",
                channel_endpoint(c->channel), c->server.epoch, m.epoch, c->grant->epoch);
        goto done;
    }
    if (manifest_check_time(&m, clock_unix(), "the server's package", err) != 0)
        goto done;
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
    uint32_t width = (uint32_t)(c->grant->head_here ? k->D : config_outputs(k) * arch_answer_rows(k));
    if (c->server.D != (uint32_t)k->D || c->server.out_width != width || c->server.max_rows < 1 || c->server.max_out_rows < 1)
        return err_set(err, ERR_PEER, "%s announces rows of %u and outputs of %u, the grant's model has %d and %u",
                       channel_endpoint(c->channel), c->server.D, c->server.out_width, k->D, width);
    return 0;
}

/* A server whose package or overlap ends between the two forgets that we said HELLO: said again, it tells what it serves now. */
static int introduce(struct connection *c, struct err *err)
{
    int rc = -1;
    for (int tries = 0; rc != 0 && tries < 2; tries++) {
        rc = client_hello(c->channel, c->grant->context, &c->server, err) != 0 || check_manifest(c, err) != 0 ? -1 : 0;
        if (rc != 0 && channel_code(c->channel) != WIRE_BAD_PHASE)
            break;
    }
    return rc;
}

/* Connects to c->peers[at], greets, checks; `timeout_ms` is for the encrypted handshake. */
static int greet(struct connection *c, int at, int timeout_ms, struct err *err)
{
    char path[FILE_PATH_MAX];
    c->at = at;
    if (grant_check_time(c->grant, err) != 0)
        return -1;
    if (channel_open(&c->channel, c->transport, c->peers[at].endpoint, &c->peers[at].key, c->id, timeout_ms, err) != 0)
        return -1;
    if (c->trace != NULL) {
        /* Each connection has a trace of its own: frames of two would not follow one another. */
        int n = c->reconnects == 0 ? snprintf(path, sizeof path, "%s", c->trace)
                                   : snprintf(path, sizeof path, "%s.%d", c->trace, c->reconnects);
        if (n >= (int)sizeof path)
            return err_set(err, ERR_USAGE, "trace: the path is too long: %.80s...", c->trace);
        if (channel_trace(c->channel, path, err) != 0)
            return -1;
    }
    if (introduce(c, err) != 0 || check_shape(c, err) != 0)
        return -1;
    return c->bf16 ? connection_bf16(c, err) : 0;
}

int connection_open(struct connection **out, struct transport *t, const char *endpoint, const struct peer_key *server,
                    const struct identity *id, const struct grant *grant, const char *trace, struct err *err)
{
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_oom(err, sizeof *c);
    *c = (struct connection){.transport = t, .id = id, .grant = grant, .trace = trace, .generation = 1, .peer_count = 1};
    c->peers[0] = (struct role_peer){.endpoint = endpoint, .key = *server};
    if (greet(c, 0, CHANNEL_CONNECT_MS, err) != 0) {
        connection_close(c);
        return -1;
    }
    grant_warn(grant);
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

void connection_keep(struct connection *c, const struct role_peer *peers, int n, int at, int retry_ms)
{
    c->peer_count = n < CONNECTION_PEERS ? n : CONNECTION_PEERS;
    memcpy(c->peers, peers, (size_t)c->peer_count * sizeof *peers);
    c->at = at;
    c->retry_ms = retry_ms;
}

void connection_close(struct connection *c)
{
    if (c == NULL)
        return;
    channel_close(c->channel);
    free(c);
}

struct channel_stats connection_stats(const struct connection *c)
{
    struct channel_stats now = channel_stats(c->channel), sum = c->before;
    sum.bytes_up += now.bytes_up;
    sum.bytes_down += now.bytes_down;
    sum.frames_up += now.frames_up;
    sum.frames_down += now.frames_down;
    sum.round_trips += now.round_trips;
    return sum;
}

/* ------------------------------------------------------------------ again */

/* How long one server is waited for. Of thousands who come back at once the last may be greeted after longer than the first allowance;
 * if all gave up then and came again, nobody would ever be: so the next ones are longer. */
static int patience(const struct connection *c, const struct retry *r, int round)
{
    const int first = c->peer_count > 1 ? FAILOVER_CONNECT_MS : CHANNEL_CONNECT_MS;
    const int ms = first << (round < PATIENCE_DOUBLES ? round : PATIENCE_DOUBLES);
    const uint64_t now = clock_ms(), left = r->end_ms > now ? r->end_ms - now : 0;
    return (uint64_t)ms <= left ? ms : left > (uint64_t)first ? (int)left : first;
}

/* Every server of the list, the last one first: it may have our session yet. A refusal for good by all of them ends it. */
static int reconnect(struct connection *c, struct retry *r, struct err *err)
{
    for (int round = 0;; round++) {
        bool hopeless = true;
        for (int i = 0; i < c->peer_count; i++) {
            struct connection fresh = *c;
            fresh.channel = NULL;
            fresh.reconnects++;
            if (greet(&fresh, (c->at + i) % c->peer_count, patience(c, r, round), err) == 0) {
                fresh.before = connection_stats(c);
                fresh.generation++;
                channel_close(c->channel);
                *c = fresh;
                log_warn("connected again, to %s", channel_endpoint(c->channel));
                return 0;
            }
            channel_close(fresh.channel);
            hopeless = hopeless && err->code != ERR_PEER;
        }
        if (hopeless || retry_wait(r, c->abandoned, err) != 0)
            return -1;
    }
}

int connection_recover(struct connection *c, struct retry *r, bool *rebuild, struct err *err)
{
    const unsigned code = channel_code(c->channel);
    const bool broken = channel_broken(c->channel);
    /* It no longer knows that we greeted it: it took another package, and the word of that was lost. */
    const bool forgotten = code == WIRE_BAD_PHASE;
    if (c->retry_ms == 0 || (err->code != ERR_PEER && !forgotten))
        return -1;
    if (!broken && !forgotten && code != WIRE_BUSY && code != WIRE_NO_CREDIT && code != WIRE_DRAINING && code != WIRE_NO_MODEL &&
        code != WIRE_UNKNOWN_SESSION && code != WIRE_BAD_SEQ && code != WIRE_WORKER_LOST && code != WIRE_EPOCH_CHANGED)
        return -1;
    if (r->end_ms == 0)
        retry_begin(r, c->retry_ms);
    if (retry_wait(r, c->abandoned, err) != 0)
        return -1;
    if (broken || forgotten || code == WIRE_DRAINING || code == WIRE_NO_MODEL || code == WIRE_EPOCH_CHANGED)
        return reconnect(c, r, err);
    if (code != WIRE_BUSY && code != WIRE_NO_CREDIT)
        *rebuild = true;
    return 0;
}
