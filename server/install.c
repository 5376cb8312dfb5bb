#include "server/install.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/expiry.h"
#include "base/file.h"
#include "base/log.h"
#include "model/manifest.h"
#include "transport/blob.h"
#include "transport/channel.h"
#include "transport/msg_blob.h"
#include "transport/msg_error.h"
#include "transport/msg_hello.h"
#include "transport/phase.h"

#define CONNECTIONS 64
#define IDLE_MS 600000
#define CHECK_CHUNKS 8 /* hashed per tick, so that users do not wait for it */

_Static_assert(MANIFEST_CHUNK == WIRE_PAYLOAD_MAX, "a signed chunk is what one CHUNK message carries");

struct connection {
    struct listener_peer peer;
    enum phase phase;
    uint64_t heard_ms;
};

enum state { IDLE, MANIFEST, CHECKING, PULLING };

/* The transfer that is going on. Zeroed while IDLE. */
struct transfer {
    enum state state;
    struct listener_peer from;
    struct msg_offer offer;
    struct blob_memory proof; /* manifest.json and its signature */
    struct manifest manifest;
    struct blob_list list;
    struct blob_sink *sink;
    uint64_t heard_ms;
};

struct install {
    char package[FILE_PATH_MAX], fresh[FILE_PATH_MAX], old[FILE_PATH_MAX];
    struct install_sender sender;
    struct connection connections[CONNECTIONS];
    size_t connected;
    struct transfer t;
    bool installed;
    uint8_t context[WIRE_CONTEXT_BYTES]; /* of the installed package, zero without one */
    uint32_t epoch;
    uint8_t signer[CRYPTO_KEY_LEN];
    bool ready;
};

/* ------------------------------------------------------------------ the folder */

static int rename_to(const char *from, const char *to, struct err *err)
{
    return rename(from, to) == 0 ? 0 : err_set(err, ERR_INTERNAL, "cannot rename %s to %s: %s", from, to, strerror(errno));
}

/* PACKAGE.new is only ever a complete, signed package. At every step of the exchange one whole package is on the disk, and
 * this function goes on from any of them. */
static int exchange(const struct install *in, struct err *err)
{
    char parent[FILE_PATH_MAX];
    if (file_exists(in->fresh)) {
        if (file_exists(in->package) &&
            (file_remove_tree(in->old, err) != 0 || rename_to(in->package, in->old, err) != 0))
            return -1;
        if (rename_to(in->fresh, in->package, err) != 0)
            return -1;
    } else if (!file_exists(in->package) && file_exists(in->old) && rename_to(in->old, in->package, err) != 0) {
        return -1;
    }
    if (file_dir(parent, in->package, err) != 0 || file_fsync_dir(parent, err) != 0)
        return -1;
    return file_remove_tree(in->old, err);
}

static int read_installed(struct install *in, struct err *err)
{
    char path[FILE_PATH_MAX], *text;
    struct manifest m;
    size_t len;
    uint8_t sig[CRYPTO_SIG_LEN];
    if (file_join(path, in->package, MANIFEST_NAME, err) != 0)
        return -1;
    if (!file_exists(path))
        return 0;
    if (manifest_load(&m, in->package, &text, &len, sig, err) != 0)
        return -1;
    int rc = manifest_context_id(text, len, in->context, err);
    in->epoch = m.epoch;
    memcpy(in->signer, m.signer, sizeof in->signer);
    in->installed = rc == 0;
    free(text);
    manifest_free(&m);
    return rc;
}

int install_new(struct install **out, const char *package, struct install_sender sender, struct err *err)
{
    char parent[FILE_PATH_MAX];
    struct install *in = calloc(1, sizeof *in);
    if (in == NULL)
        return err_oom(err, sizeof *in);
    in->sender = sender;
    size_t n = strlen(package);
    while (n > 1 && package[n - 1] == '/')
        n--;
    if (n == 0 || n + sizeof ".new.part" > sizeof in->package) {
        err_set(err, ERR_USAGE, "package folder: expected a path, found '%.80s'", package);
        goto fail;
    }
    memcpy(in->package, package, n);
    (void)snprintf(in->fresh, sizeof in->fresh, "%.*s.new", (int)n, package);
    (void)snprintf(in->old, sizeof in->old, "%.*s.old", (int)n, package);
    if (file_dir(parent, in->package, err) != 0 || file_mkdirs(parent, 0700, err) != 0 || exchange(in, err) != 0 ||
        read_installed(in, err) != 0)
        goto fail;
    *out = in;
    return 0;
fail:
    install_free(in);
    return -1;
}

/* ------------------------------------------------------------------ connections */

static struct connection *find(struct install *in, const struct listener_peer *peer)
{
    for (size_t i = 0; i < in->connected; i++)
        if (listener_peer_equal(&in->connections[i].peer, peer))
            return &in->connections[i];
    return NULL;
}

static bool sends(const struct install *in, const struct listener_peer *peer)
{
    return in->t.state != IDLE && listener_peer_equal(&in->t.from, peer);
}

/* A new one takes the place of the one that has been silent for longest, but never of the one that sends. */
static struct connection *enter(struct install *in, const struct listener_peer *peer)
{
    struct connection *c = find(in, peer), *oldest = NULL;
    if (c != NULL)
        return c;
    for (size_t i = 0; i < in->connected; i++) {
        struct connection *other = &in->connections[i];
        if (!sends(in, &other->peer) && (oldest == NULL || other->heard_ms < oldest->heard_ms))
            oldest = other;
    }
    c = in->connected < CONNECTIONS ? &in->connections[in->connected++] : oldest;
    *c = (struct connection){.peer = *peer, .phase = PHASE_NEW};
    return c;
}

static void drop(struct install *in)
{
    blob_sink_close(in->t.sink);
    blob_list_free(&in->t.list);
    manifest_free(&in->t.manifest);
    blob_memory_close(&in->t.proof);
    in->t = (struct transfer){.state = IDLE};
}

void install_free(struct install *in)
{
    if (in == NULL)
        return;
    drop(in);
    free(in);
}

/* False when the peer is gone or does not read: it is forgotten, and its transfer with it. */
static bool post(struct install *in, const struct listener_peer *peer, const struct frame *f)
{
    struct connection *c = find(in, peer);
    if (c == NULL || phase_step(PHASE_ADMIN, &c->phase, PHASE_SERVER, &f->h) != PHASE_LEGAL)
        return false;
    if (in->sender.send(in->sender.arg, peer, f) == LISTENER_SENT)
        return true;
    const struct listener_peer to = *peer; /* may lie in what drop wipes */
    struct frame last = msg_error_encode(NULL, WIRE_INTERNAL, 0, "an answer could not be sent");
    if (sends(in, peer)) {
        log_warn("admin: the developer is gone; what has arrived is kept");
        drop(in);
    }
    (void)in->sender.send(in->sender.arg, &to, &last); /* if it is there after all it would wait for an hour, for DONE too */
    *c = in->connections[--in->connected];
    return false;
}

/* Ends the peer's transfer, if it has one. */
static void refuse(struct install *in, const struct listener_peer *peer, enum wire_code code, const char *text)
{
    struct listener_peer to = *peer; /* may lie in what drop wipes */
    struct frame f = msg_error_encode(NULL, code, 0, text);
    if (sends(in, &to)) {
        log_warn("admin: transfer given up: %s", text);
        drop(in);
    }
    (void)post(in, &to, &f);
}

/* ------------------------------------------------------------------ a transfer */

static enum wire_code code_of(const struct err *why)
{
    /* Only the text still knows the reason here. */
    static const int full[] = {ENOSPC, EDQUOT, EFBIG};
    for (size_t i = 0; i < sizeof full / sizeof *full; i++)
        if (strstr(why->text, strerror(full[i])) != NULL)
            return WIRE_DISK_FULL;
    return WIRE_INTERNAL;
}

/* A context that was left behind does not come back: who kept an old package of this developer could bring users' old keys back
 * to life with it. Other developers count their own epochs. */
static enum wire_code check_life(const struct install *in, const struct manifest *m, struct err *err)
{
    if (expiry_check(m->expires, clock_unix(), "the offered package", "make another one", err) != 0)
        return WIRE_EXPIRED;
    if (!in->installed || memcmp(in->signer, m->signer, sizeof in->signer) != 0 || m->epoch >= in->epoch)
        return WIRE_OK;
    err_set(err, ERR_AUTH, "epoch %u is installed here, epoch %u is offered: an older one does not replace it; protect with "
                           "--epoch %u or more", in->epoch, m->epoch, in->epoch);
    return WIRE_WRONG_EPOCH;
}

/* The manifest is here: is it the developer's, and the one that was offered? */
static enum wire_code check_manifest(const struct install *in, struct transfer *t, struct err *err)
{
    uint8_t context[CRYPTO_HASH_LEN];
    if (t->proof.size <= CRYPTO_SIG_LEN) {
        err_set(err, ERR_PEER, "a manifest of %zu bytes", t->proof.size);
        return WIRE_BAD_FRAME;
    }
    const char *text = (const char *)t->proof.data;
    size_t len = t->proof.size - CRYPTO_SIG_LEN;
    if (manifest_verify(text, len, t->proof.data + len, t->from.key.sign_pub, err) != 0)
        return WIRE_BAD_SIGNATURE;
    if (manifest_context_id(text, len, context, err) != 0)
        return WIRE_INTERNAL;
    if (memcmp(context, t->offer.context, sizeof context) != 0) {
        err_set(err, ERR_AUTH, "the manifest is not the one that was offered");
        return WIRE_WRONG_CONTEXT;
    }
    if (manifest_parse(&t->manifest, text, len, MANIFEST_NAME, err) != 0 || manifest_for_server(&t->manifest, err) != 0)
        return WIRE_BAD_FRAME;
    if (t->manifest.file_count != t->offer.files || t->manifest.epoch != t->offer.epoch) {
        err_set(err, ERR_PEER, "%u files of epoch %u were offered, the manifest has %zu of epoch %u", t->offer.files, t->offer.epoch,
                t->manifest.file_count, t->manifest.epoch);
        return WIRE_BAD_FRAME;
    }
    const struct manifest_file *f = t->manifest.files;
    for (size_t i = 0; i < t->manifest.file_count; i++)
        if (blob_list_known(&t->list, f[i].name, f[i].size, f[i].sha256, f[i].chunks, f[i].chunk_count, err) != 0)
            return WIRE_BAD_FRAME;
    return check_life(in, &t->manifest, err);
}

/* Both files go in last: a folder with a manifest is complete. */
static int write_manifest(const struct transfer *t, struct err *err)
{
    char path[FILE_PATH_MAX], sig_path[FILE_PATH_MAX];
    const char *dir = blob_sink_folder(t->sink);
    size_t len = t->proof.size - CRYPTO_SIG_LEN;
    if (file_join(path, dir, MANIFEST_NAME, err) != 0 || file_join(sig_path, dir, MANIFEST_SIG_NAME, err) != 0 ||
        file_write(sig_path, t->proof.data + len, CRYPTO_SIG_LEN, 0600, err) != 0)
        return -1;
    return file_write(path, t->proof.data, len, 0600, err);
}

static void finish(struct install *in)
{
    struct transfer *t = &in->t;
    struct listener_peer from = t->from;
    struct frame done = msg_done_encode();
    struct err err;
    if (write_manifest(t, &err) != 0 || blob_sink_install(t->sink, &err) != 0 || exchange(in, &err) != 0) {
        log_error("admin: %s", err.text);
        refuse(in, &from, code_of(&err), "the server cannot put the package in place; its log says why");
        return;
    }
    memcpy(in->context, t->offer.context, sizeof in->context);
    in->epoch = t->offer.epoch;
    memcpy(in->signer, t->manifest.signer, sizeof in->signer);
    in->installed = in->ready = true;
    log_info("admin: package %02x%02x%02x%02x installed, %" PRIu64 " bytes", in->context[0], in->context[1], in->context[2],
             in->context[3], blob_list_bytes(&t->list));
    drop(in);
    (void)post(in, &from, &done);
}

static void pull(struct install *in)
{
    struct frame get;
    while (in->t.state == PULLING && blob_sink_next(in->t.sink, &get))
        if (!post(in, &in->t.from, &get))
            return;
    if (in->t.state == PULLING && blob_sink_complete(in->t.sink))
        finish(in);
}

static void check_some(struct install *in, uint64_t now_ms)
{
    struct err err;
    bool done = false;
    if (blob_sink_check(in->t.sink, CHECK_CHUNKS, &done, &err) != 0) {
        log_error("admin: %s", err.text);
        refuse(in, &in->t.from, code_of(&err), "the server cannot read what an earlier transfer left; its log says why");
        return;
    }
    if (!done)
        return;
    if (blob_sink_bytes(in->t.sink) > 0)
        log_info("admin: going on after %" PRIu64 " of %" PRIu64 " bytes", blob_sink_bytes(in->t.sink),
                 blob_list_bytes(&in->t.list));
    in->t.state = PULLING;
    in->t.heard_ms = now_ms;
    pull(in);
}

static void pull_manifest(struct install *in)
{
    struct frame get;
    while (in->t.state == MANIFEST && blob_memory_next(&in->t.proof, &get))
        if (!post(in, &in->t.from, &get))
            return;
}

static void manifest_chunk(struct install *in, uint64_t now_ms, const struct frame *f)
{
    struct transfer *t = &in->t;
    struct err err = {0};
    enum wire_code code = blob_memory_take(&t->proof, f, &err);
    if (code == WIRE_OK && !blob_memory_complete(&t->proof)) {
        pull_manifest(in);
        return;
    }
    if (code == WIRE_OK)
        code = check_manifest(in, t, &err);
    if (code != WIRE_OK) {
        refuse(in, &t->from, code, err.text);
        return;
    }
    /* What stands there is the rest of an exchange that failed; the offer is for another package. */
    if (file_remove_tree(in->fresh, &err) != 0 || blob_sink_open(&t->sink, in->fresh, &t->list, &err) != 0) {
        log_error("admin: %s", err.text);
        code = code_of(&err);
        refuse(in, &t->from, code,
               code == WIRE_DISK_FULL ? "the server's disk has no room for the package" : "the server cannot store the package");
        return;
    }
    t->state = CHECKING;
    check_some(in, now_ms);
}

static void file_chunk(struct install *in, const struct frame *f)
{
    struct err err = {0};
    enum wire_code code = blob_sink_take(in->t.sink, f, &err);
    if (code == WIRE_OK) {
        pull(in);
    } else if (code == WIRE_DISK_FULL || code == WIRE_INTERNAL) {
        log_error("admin: %s", err.text);
        refuse(in, &in->t.from, code, "the server cannot write the package; its log says why");
    } else {
        refuse(in, &in->t.from, code, err.text);
    }
}

static void on_chunk(struct install *in, uint64_t now_ms, const struct listener_peer *peer, const struct frame *f)
{
    if (!sends(in, peer))
        return; /* crossed on the wire with the end of its transfer */
    in->t.heard_ms = now_ms;
    if (in->t.state == MANIFEST)
        manifest_chunk(in, now_ms, f);
    else if (in->t.state == PULLING)
        file_chunk(in, f);
    /* CHECKING: asked for on a connection that this one has taken over from. */
}

/* The same developer comes back on another connection: what is being done for it goes on there. */
static void take_over(struct install *in, const struct listener_peer *peer)
{
    struct listener_peer before = in->t.from;
    struct frame f = msg_error_encode(NULL, WIRE_BUSY, 0, "another connection with your key goes on with this transfer");
    in->t.from = *peer;
    (void)post(in, &before, &f);
    if (in->t.state == PULLING) {
        blob_sink_forget(in->t.sink);
        pull(in);
    }
}

static void on_offer(struct install *in, uint64_t now_ms, const struct listener_peer *peer, const struct frame *f)
{
    struct msg_offer offer;
    struct err err = {0};
    struct frame done = msg_done_encode();
    enum wire_code code = msg_offer_decode(&offer, f, &err);
    if (code != WIRE_OK) {
        refuse(in, peer, code, err.text);
        return;
    }
    if (in->installed && memcmp(offer.context, in->context, sizeof in->context) == 0) {
        (void)post(in, peer, &done);
        return;
    }
    if (in->t.state != IDLE) {
        bool same_key = peer_key_equal(&in->t.from.key, &peer->key);
        if (same_key && in->t.sink != NULL && memcmp(offer.context, in->t.offer.context, sizeof offer.context) == 0) {
            in->t.heard_ms = now_ms;
            take_over(in, peer);
            return;
        }
        if (!same_key) {
            refuse(in, peer, WIRE_BUSY, "another developer's package is arriving");
            return;
        }
        struct listener_peer before = in->t.from;
        refuse(in, &before, WIRE_BUSY, "another connection with your key has made another offer");
    }
    in->t = (struct transfer){.state = MANIFEST, .from = *peer, .offer = offer, .heard_ms = now_ms};
    if (blob_memory_open(&in->t.proof, offer.manifest_bytes, &err) != 0)
        refuse(in, peer, WIRE_OOM, err.text);
    else
        pull_manifest(in);
}

/* ------------------------------------------------------------------ the link */

static void on_hello(struct install *in, const struct listener_peer *peer, const struct frame *f)
{
    struct msg_hello hello;
    struct msg_hello_ok ok = {.epoch = in->epoch};
    uint8_t body[MSG_HELLO_OK_BYTES];
    struct err err = {0};
    enum wire_code code = msg_hello_decode(&hello, f, &err);
    if (code == WIRE_OK)
        code = msg_hello_version(&hello, &ok.protocol, &err);
    if (code != WIRE_OK) {
        refuse(in, peer, code, err.text);
        return;
    }
    memcpy(ok.context, in->context, sizeof ok.context);
    struct frame answer = msg_hello_ok_encode(&ok, body);
    (void)post(in, peer, &answer);
}

void install_frame(struct install *in, uint64_t now_ms, const struct listener_peer *peer, const struct frame *f)
{
    char text[96];
    struct connection *c = enter(in, peer);
    c->heard_ms = now_ms;
    enum phase_verdict verdict = phase_step(PHASE_ADMIN, &c->phase, PHASE_CLIENT, &f->h);
    if (verdict == PHASE_IGNORE)
        return;
    if (verdict == PHASE_ILLEGAL) {
        (void)snprintf(text, sizeof text, "%s is not due in phase %s", wire_type_name(f->h.type), phase_name(c->phase));
        refuse(in, peer, WIRE_BAD_PHASE, text);
        return;
    }
    switch (f->h.type) {
    case WIRE_HELLO: on_hello(in, peer, f); break;
    case WIRE_OFFER: on_offer(in, now_ms, peer, f); break;
    case WIRE_CHUNK: on_chunk(in, now_ms, peer, f); break;
    case WIRE_ERROR:
        if (sends(in, peer)) {
            log_warn("admin: the developer gave its transfer up; what has arrived is kept");
            drop(in);
        }
        break;
    default: refuse(in, peer, WIRE_BAD_PHASE, "this address takes packages; ask for counters where users connect"); break;
    }
}

int install_tick(struct install *in, uint64_t now_ms)
{
    if (in->t.state == CHECKING)
        check_some(in, now_ms);
    else if (in->t.state != IDLE && now_ms - in->t.heard_ms >= CHANNEL_CHUNK_MS)
        refuse(in, &in->t.from, WIRE_BUSY, "nothing has come for 30 s; offer again to go on");
    for (size_t i = 0; i < in->connected;) {
        const struct connection *c = &in->connections[i];
        if (now_ms - c->heard_ms >= IDLE_MS && !sends(in, &c->peer))
            in->connections[i] = in->connections[--in->connected];
        else
            i++;
    }
    return in->t.state == CHECKING ? 0 : in->t.state == IDLE ? -1 : 1000;
}

bool install_take_ready(struct install *in)
{
    bool ready = in->ready;
    in->ready = false;
    return ready;
}
