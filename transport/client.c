#include "transport/client.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "transport/msg_error.h"

/* A server that hashes again what an earlier attempt left is alive (it answers PINGs) and silent for long. */
#define PUSH_MS 3600000

static uint64_t after(int ms)
{
    return clock_ms() + (uint64_t)ms;
}

static int ask(struct channel *ch, const struct frame *question, enum wire_type type, struct frame *answer, struct err *err)
{
    if (channel_send(ch, question, err) != 0)
        return -1;
    return channel_expect(ch, type, answer, after(CHANNEL_HELLO_MS), err);
}

static int at_peer(struct channel *ch, struct err *err)
{
    return err_wrap(err, "%s", channel_endpoint(ch));
}

/* ------------------------------------------------------------------ greeting */

int client_hello(struct channel *ch, const uint8_t *context, struct msg_hello_ok *ok, struct err *err)
{
    struct msg_hello hello = {.protocol_min = MSG_PROTOCOL_MIN, .protocol_max = MSG_PROTOCOL_MAX};
    struct msg_hello_ok got;
    struct frame f;
    uint8_t body[MSG_HELLO_BYTES];
    char id[17];
    if (context != NULL)
        memcpy(hello.context, context, sizeof hello.context);
    f = msg_hello_encode(&hello, body);
    if (ask(ch, &f, WIRE_HELLO_OK, &f, err) != 0)
        return -1;
    if (msg_hello_ok_decode(&got, &f, err) != WIRE_OK)
        return at_peer(ch, err);
    if (got.protocol < MSG_PROTOCOL_MIN || got.protocol > MSG_PROTOCOL_MAX)
        return err_set(err, ERR_PEER, "%s: the server chose protocol %u, which was not offered", channel_endpoint(ch),
                       got.protocol);
    if (context != NULL && memcmp(context, got.context, sizeof got.context) != 0) {
        crypto_hex(got.context, 8, id);
        return err_set(err, ERR_AUTH, "%s: serves context %s..., and this key belongs to another; join again for a new key",
                       channel_endpoint(ch), id);
    }
    *ok = got;
    return 0;
}

int client_manifest(struct channel *ch, uint64_t bytes, char **out, size_t *len, struct err *err)
{
    struct blob_memory m;
    struct frame f;
    if (blob_memory_open(&m, bytes, err) != 0)
        return at_peer(ch, err);
    while (!blob_memory_complete(&m)) {
        while (blob_memory_next(&m, &f))
            if (channel_send(ch, &f, err) != 0)
                goto fail;
        if (channel_expect(ch, WIRE_CHUNK, &f, after(CHANNEL_CHUNK_MS), err) != 0)
            goto fail;
        if (blob_memory_take(&m, &f, err) != WIRE_OK) {
            at_peer(ch, err);
            goto fail;
        }
    }
    *out = (char *)m.data;
    *len = m.size;
    return 0;
fail:
    blob_memory_close(&m);
    return -1;
}

int client_stats(struct channel *ch, struct msg_stats *out, struct err *err)
{
    struct frame f = msg_stats_get_encode();
    if (ask(ch, &f, WIRE_STATS, &f, err) != 0)
        return -1;
    return msg_stats_decode(out, &f, err) == WIRE_OK ? 0 : at_peer(ch, err);
}

/* ------------------------------------------------------------------ a session */

static int other_session(struct channel *ch, const struct frame *f, struct err *err)
{
    return err_set(err, ERR_PEER, "%s: a %s that belongs to another session", channel_endpoint(ch), wire_type_name(f->h.type));
}

static bool same_session(const struct frame *f, const uint8_t *session)
{
    return memcmp(f->h.session, session, WIRE_SESSION_BYTES) == 0;
}

int client_session_open(struct channel *ch, const struct msg_open *open, struct msg_opened *opened, struct err *err)
{
    struct msg_opened got;
    struct frame f = msg_open_encode(open);
    if (ask(ch, &f, WIRE_OPENED, &f, err) != 0)
        return -1;
    if (msg_opened_decode(&got, &f, err) != WIRE_OK)
        return at_peer(ch, err);
    if (!same_session(&f, open->session))
        return other_session(ch, &f, err);
    *opened = got;
    return 0;
}

static int send_fragments(struct channel *ch, struct frag_out *rows, struct err *err)
{
    struct frame f;
    while (frag_out_peek(rows, &f)) {
        if (channel_send(ch, &f, err) != 0)
            return -1;
        frag_out_sent(rows);
    }
    return 0;
}

/* A fragment of the answer: the first is checked against the question, all are put together. */
static int take_out(struct channel *ch, const struct msg_rows *m, uint32_t width, struct frag_in *in, const struct frame *f,
                    struct msg_out *got, float *out, bool *complete, struct err *err)
{
    if ((f->h.flags & WIRE_FIRST) && msg_out_decode(got, f, m, width, err) != WIRE_OK)
        return at_peer(ch, err);
    if (msg_out_recv(in, f, out, complete, err) != WIRE_OK)
        return at_peer(ch, err);
    if (*complete)
        return 0;
    struct frame ack = frag_in_ack(in);
    return channel_send(ch, &ack, err);
}

int client_rows(struct channel *ch, const struct msg_rows *m, const struct sealed_rows *x_p, float *out, uint32_t width,
                int timeout_ms, struct msg_out *got, struct err *err)
{
    struct frag_out rows;
    struct frag_in in = {0};
    struct msg_out answer = {0};
    struct frame f;
    struct msg_rows asked = *m;
    uint64_t deadline = after(timeout_ms);
    bool complete = false;
    asked.bf16 = x_p->bf16;
    if (msg_rows_send(&rows, m, x_p, err) != WIRE_OK || send_fragments(ch, &rows, err) != 0)
        return -1;
    while (!complete) {
        if (channel_answer(ch, &f, deadline, err) != 0)
            return -1;
        if (!same_session(&f, m->session))
            return other_session(ch, &f, err);
        if (f.h.type == WIRE_ACK && frag_out_ack(&rows, &f)) {
            if (send_fragments(ch, &rows, err) != 0)
                return -1;
        } else if (f.h.type == WIRE_OUT && frag_out_all_sent(&rows)) {
            if (take_out(ch, &asked, width, &in, &f, &answer, out, &complete, err) != 0)
                return -1;
        } else
            return err_set(err, ERR_PEER, "%s: an %s that was not due", channel_endpoint(ch), wire_type_name(f.h.type));
    }
    if (got != NULL)
        *got = answer;
    return 0;
}

/* Waits for the word that ends a step or a session; what crosses it on the way is dropped. */
static int settle(struct channel *ch, const struct frame *word, enum wire_type type, struct err *err)
{
    uint64_t deadline = after(CHANNEL_HELLO_MS);
    struct frame f;
    if (channel_send(ch, word, err) != 0)
        return -1;
    for (;;) {
        if (channel_answer(ch, &f, deadline, err) == 0) {
            if (f.h.type == type && same_session(&f, word->h.session))
                return 0;
        } else if (channel_code(ch) == WIRE_OK || wire_code_ends_session(channel_code(ch)))
            return -1;
    }
}

int client_cancel(struct channel *ch, const uint8_t session[WIRE_SESSION_BYTES], struct err *err)
{
    struct frame f = msg_cancel_encode(session);
    return settle(ch, &f, WIRE_CANCELLED, err);
}

int client_session_close(struct channel *ch, const uint8_t session[WIRE_SESSION_BYTES], struct err *err)
{
    struct frame f = msg_close_encode(session);
    return settle(ch, &f, WIRE_CLOSED, err);
}

/* ------------------------------------------------------------------ files */

/* Tells the peer, so that it stops waiting; our own error is the one to report. */
static int give_up(struct channel *ch, enum wire_code code, struct err *err)
{
    struct frame f = msg_error_encode(NULL, code, 0, wire_code_name(code));
    (void)!channel_send(ch, &f, NULL);
    return at_peer(ch, err);
}

int client_push(struct channel *ch, const struct msg_offer *offer, struct blob_source *source, client_progress progress,
                void *arg, uint64_t total, struct err *err)
{
    uint8_t body[MSG_OFFER_BYTES];
    uint64_t sent = 0;
    struct frame f = msg_offer_encode(offer, body), chunk;
    if (channel_send(ch, &f, err) != 0)
        return -1;
    for (;;) {
        if (channel_answer(ch, &f, after(PUSH_MS), err) != 0)
            return -1;
        if (f.h.type == WIRE_DONE)
            return 0;
        if (f.h.type != WIRE_GET)
            return err_set(err, ERR_PEER, "%s: a %s during a transfer", channel_endpoint(ch), wire_type_name(f.h.type));
        enum wire_code code = blob_source_answer(source, &f, &chunk, err);
        if (code != WIRE_OK)
            return give_up(ch, code, err);
        if (channel_send(ch, &chunk, err) != 0)
            return -1;
        if (msg_get_decode(&f).file != BLOB_MANIFEST)
            sent += chunk.h.length;
        if (progress != NULL)
            progress(arg, sent, total);
    }
}

int client_grant(struct channel *ch, const uint8_t *context, struct msg_offer *offer, struct err *err)
{
    static const uint8_t any[WIRE_CONTEXT_BYTES];
    struct frame f = msg_grant_encode(context != NULL ? context : any);
    if (ask(ch, &f, WIRE_OFFER, &f, err) != 0)
        return -1;
    return msg_offer_decode(offer, &f, err) == WIRE_OK ? 0 : at_peer(ch, err);
}

int client_pull(struct channel *ch, struct blob_sink *sink, client_progress progress, void *arg, uint64_t total,
                struct err *err)
{
    struct frame f;
    for (bool checked = false; !checked;)
        if (blob_sink_check(sink, 64, &checked, err) != 0)
            return give_up(ch, WIRE_INTERNAL, err);
    while (!blob_sink_complete(sink)) {
        while (blob_sink_next(sink, &f))
            if (channel_send(ch, &f, err) != 0)
                return -1;
        if (channel_expect(ch, WIRE_CHUNK, &f, after(CHANNEL_CHUNK_MS), err) != 0)
            return -1;
        enum wire_code code = blob_sink_take(sink, &f, err);
        if (code != WIRE_OK)
            return give_up(ch, code, err);
        if (progress != NULL)
            progress(arg, blob_sink_bytes(sink), total);
    }
    f = msg_done_encode();
    return channel_send(ch, &f, err);
}
