/* server/install: packages arrive whole and signed or not at all, and what a broken transfer left is used again.
 * The developer's side is played here frame by frame; no sockets. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "server/install.h"
#include "model_dev/protect.h"
#include "tests/support/developer.h"
#include "tests/support/tempdir.h"
#include "transport/blob.h"
#include "transport/msg_blob.h"
#include "transport/msg_error.h"
#include "transport/msg_hello.h"
#include "transport/msg_stats.h"

#define QUEUE 64

static char dir[FILE_PATH_MAX], package[FILE_PATH_MAX];
static struct err err;
static struct developer dev;
static struct install *in;
static uint64_t now = 1000;

/* What the server sent and nobody has read yet. Its frames are small: payloads are HELLO_OK and error texts. */
static struct sent {
    struct listener_peer to;
    struct frame f;
    uint8_t payload[WIRE_TEXT_MAX];
} queue[QUEUE];
static size_t queued;
static enum listener_sent outcome = LISTENER_SENT;

static enum listener_sent capture(void *arg, const struct listener_peer *peer, const struct frame *f)
{
    (void)arg;
    if (outcome != LISTENER_SENT)
        return outcome;
    cr_assert(queued < QUEUE);
    cr_assert(f->h.length <= WIRE_TEXT_MAX);
    queue[queued].to = *peer;
    queue[queued].f = *f;
    if (f->h.length > 0)
        memcpy(queue[queued].payload, f->payload, f->h.length);
    queued++;
    return LISTENER_SENT;
}

/* The oldest unread frame to this peer; false when there is none. */
static bool take(const struct listener_peer *peer, struct sent *out)
{
    for (size_t i = 0; i < queued; i++)
        if (listener_peer_equal(&queue[i].to, peer)) {
            *out = queue[i];
            memmove(&queue[i], &queue[i + 1], (queued - i - 1) * sizeof *queue);
            queued--;
            return true;
        }
    return false;
}

static struct sent expect(const struct listener_peer *peer, enum wire_type type)
{
    struct sent s = {0};
    cr_assert(take(peer, &s), "expected %s, nothing came", wire_type_name(type));
    cr_assert_eq(s.f.h.type, type, "expected %s, got %s %s: %.*s", wire_type_name(type), wire_type_name(s.f.h.type),
                 wire_code_name(s.f.h.code), (int)s.f.h.length, (const char *)s.payload);
    return s;
}

static void expect_error(const struct listener_peer *peer, enum wire_code code, const char *needle)
{
    struct sent s = expect(peer, WIRE_ERROR);
    cr_assert_eq(s.f.h.code, code, "expected %s, got %s: %.*s", wire_code_name(code), wire_code_name(s.f.h.code), (int)s.f.h.length,
                 (const char *)s.payload);
    cr_assert_not_null(memmem(s.payload, s.f.h.length, needle, strlen(needle)), "%.*s", (int)s.f.h.length, (const char *)s.payload);
}

/* ------------------------------------------------------------------ the two sides */

static void start(void)
{
    cr_assert_eq(install_new(&in, package, (struct install_sender){capture, NULL}, &err), 0, "%s", err.text);
}

static void restart(void)
{
    install_free(in);
    queued = 0;
    start();
}

/* About 9 chunks. */
static const struct synth_shape shape = {.D = 256, .H = 4, .L = 2, .V = 300};

static void setup(void)
{
    tempdir_make(dir);
    (void)snprintf(package, sizeof package, "%s", tempdir_path(dir, "package"));
    developer_make(&dev, dir, "LlamaForCausalLM", &shape, 3, NULL);
    start();
}

static void teardown(void)
{
    install_free(in);
    developer_free(&dev);
    tempdir_remove(dir);
}

TestSuite(install, .init = setup, .fini = teardown);

static struct listener_peer peer(const struct identity *id, uint8_t connection)
{
    return (struct listener_peer){.rid = {connection}, .rid_len = 1, .key = identity_public(id)};
}

static void hello(const struct listener_peer *p, struct msg_hello_ok *ok)
{
    uint8_t body[MSG_HELLO_BYTES];
    struct msg_hello h = {.protocol_min = MSG_PROTOCOL_MIN, .protocol_max = MSG_PROTOCOL_MAX};
    struct frame f = msg_hello_encode(&h, body);
    install_frame(in, now, p, &f);
    struct sent s = expect(p, WIRE_HELLO_OK);
    s.f.payload = s.payload;
    cr_assert_eq(msg_hello_ok_decode(ok, &s.f, &err), WIRE_OK, "%s", err.text);
}

/* What a developer offers and answers from. */
struct offered {
    struct msg_offer offer;
    struct blob_list list;
    uint8_t *proof;
    size_t proof_len;
    struct blob_source *source;
};

static void prepare(struct offered *o, const struct release *r)
{
    *o = (struct offered){.proof_len = r->len + CRYPTO_SIG_LEN};
    o->proof = malloc(o->proof_len);
    memcpy(o->proof, r->text, r->len);
    memcpy(o->proof + r->len, r->sig, CRYPTO_SIG_LEN);
    for (size_t i = 0; i < r->manifest.file_count; i++) {
        struct blob_file f;
        cr_assert_eq(blob_file_hash(&f, r->package, r->manifest.files[i].name, &err), 0, "%s", err.text);
        cr_assert_eq(blob_list_add(&o->list, &f, &err), 0, "%s", err.text);
    }
    o->offer = (struct msg_offer){.manifest_bytes = o->proof_len, .files = (uint32_t)o->list.count, .epoch = r->manifest.epoch};
    memcpy(o->offer.context, r->context, sizeof o->offer.context);
    cr_assert_eq(blob_source_open(&o->source, r->package, &o->list, o->proof, o->proof_len, &err), 0, "%s", err.text);
}

static void done_with(struct offered *o)
{
    blob_source_close(o->source);
    blob_list_free(&o->list);
    free(o->proof);
}

static void offer(const struct listener_peer *p, const struct offered *o)
{
    uint8_t body[MSG_OFFER_BYTES];
    struct frame f = msg_offer_encode(&o->offer, body);
    install_frame(in, now, p, &f);
}

static void settle(void)
{
    while (install_tick(in, now) == 0)
        continue;
}

/* Answers GETs until something else comes, or `most` file chunks were answered. Returns how many were. `flip`: number of the
 * file chunk (from 1) that is changed on the way, 0: none. */
static unsigned answer(const struct listener_peer *p, struct offered *o, unsigned most, unsigned flip, struct sent *last)
{
    static uint8_t changed[WIRE_PAYLOAD_MAX];
    unsigned chunks = 0;
    *last = (struct sent){0};
    for (;;) {
        struct frame chunk;
        settle();
        if (chunks == most || !take(p, last) || last->f.h.type != WIRE_GET)
            return chunks;
        cr_assert_eq(blob_source_answer(o->source, &last->f, &chunk, &err), WIRE_OK, "%s", err.text);
        if (msg_get_decode(&last->f).file != BLOB_MANIFEST && ++chunks == flip) {
            memcpy(changed, chunk.payload, chunk.h.length);
            changed[chunk.h.length / 2] ^= 1;
            chunk.payload = changed;
        }
        install_frame(in, now, p, &chunk);
    }
}

static unsigned total_chunks(const struct offered *o)
{
    unsigned n = 0;
    for (size_t i = 0; i < o->list.count; i++)
        n += blob_chunks(o->list.file[i].size);
    return n;
}

/* Greets, offers, transfers all. */
static unsigned deliver(const struct listener_peer *p, struct offered *o)
{
    struct msg_hello_ok ok;
    struct sent last;
    hello(p, &ok);
    offer(p, o);
    unsigned n = answer(p, o, 1000, 0, &last);
    cr_assert_eq(last.f.h.type, WIRE_DONE, "%s %.*s", wire_type_name(last.f.h.type), (int)last.f.h.length, (char *)last.payload);
    return n;
}

static void assert_installed(const struct release *r)
{
    struct manifest m;
    char *text;
    size_t len;
    uint8_t sig[CRYPTO_SIG_LEN];
    static const char *const gone[] = {"package.new", "package.new.part", "package.old"};
    char path[FILE_PATH_MAX];
    cr_assert_eq(manifest_load(&m, package, &text, &len, sig, &err), 0, "%s", err.text);
    cr_assert_eq(len, r->len);
    cr_assert_eq(memcmp(text, r->text, len), 0);
    cr_assert_eq(memcmp(sig, r->sig, sizeof sig), 0);
    cr_assert_eq(manifest_check_files(&m, package, &err), 0, "%s", err.text);
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) {
        cr_assert_eq(file_join(path, dir, gone[i], &err), 0);
        cr_assert_not(file_exists(path), "%s is left", gone[i]);
    }
    free(text);
    manifest_free(&m);
}

/* ------------------------------------------------------------------ the good way */

/* Catches: an announced context of an absent package; files not swapped into place; ready never or twice. */
Test(install, a_package_arrives_is_installed_and_announced)
{
    struct listener_peer p = peer(dev.identity, 1), q = peer(dev.identity, 2);
    struct offered o;
    struct msg_hello_ok ok;
    static const uint8_t none[32];
    prepare(&o, &dev.release);
    cr_assert(total_chunks(&o) > WIRE_CREDIT, "the test needs more chunks than fly at once");
    hello(&p, &ok);
    cr_assert_eq(memcmp(ok.context, none, sizeof none), 0);
    offer(&p, &o);
    cr_assert_eq(answer(&p, &o, 1000, 0, &(struct sent){0}), total_chunks(&o));
    assert_installed(&dev.release);
    cr_assert(install_take_ready(in));
    cr_assert_not(install_take_ready(in));
    hello(&q, &ok);
    cr_assert_eq(memcmp(ok.context, dev.release.context, sizeof ok.context), 0);
    cr_assert_eq(ok.epoch, 1);
    done_with(&o);
}

Test(install, the_same_package_again_is_done_at_once_also_after_a_restart)
{
    struct listener_peer p = peer(dev.identity, 1);
    struct offered o;
    prepare(&o, &dev.release);
    (void)deliver(&p, &o);
    cr_assert(install_take_ready(in));
    offer(&p, &o);
    (void)expect(&p, WIRE_DONE);
    cr_assert_not(install_take_ready(in));
    restart();
    cr_assert_eq(deliver(&p, &o), 0);
    cr_assert_not(install_take_ready(in));
    done_with(&o);
}

Test(install, another_package_takes_the_place_of_the_first)
{
    struct listener_peer p = peer(dev.identity, 1);
    struct offered o;
    prepare(&o, &dev.release);
    (void)deliver(&p, &o);
    done_with(&o);
    developer_protect_again(&dev, NULL);
    prepare(&o, &dev.release);
    offer(&p, &o);
    struct sent last;
    (void)answer(&p, &o, 1000, 0, &last);
    cr_assert_eq(last.f.h.type, WIRE_DONE);
    assert_installed(&dev.release);
    done_with(&o);
}

Test(install, an_older_epoch_of_the_same_developer_does_not_come_back)
{
    struct listener_peer p = peer(dev.identity, 1), q = peer(dev.identity, 2);
    struct offered first, second;
    struct sent last;
    prepare(&first, &dev.release);
    (void)deliver(&p, &first);
    uint8_t *old = malloc(first.proof_len);
    memcpy(old, first.proof, first.proof_len);
    struct msg_offer replay = first.offer;
    done_with(&first);
    developer_protect_again(&dev, NULL); /* epoch 2 */
    prepare(&second, &dev.release);
    (void)deliver(&q, &second);
    restart(); /* what is known of it is on the disk */
    struct msg_hello_ok ok;
    hello(&p, &ok);
    cr_assert_eq(ok.epoch, 2);
    struct offered again = second;
    again.offer = replay;
    again.proof = old;
    again.proof_len = replay.manifest_bytes;
    cr_assert_eq(blob_source_open(&again.source, dev.release.package, &again.list, old, again.proof_len, &err), 0, "%s", err.text);
    offer(&p, &again);
    cr_expect_eq(answer(&p, &again, 1000, 0, &last), 0, "no file is asked for");
    cr_assert_eq(last.f.h.type, WIRE_ERROR);
    cr_expect_eq(last.f.h.code, WIRE_WRONG_EPOCH);
    cr_expect_not_null(memmem(last.payload, last.f.h.length, "epoch 2 is installed here, epoch 1 is offered", 45));
    assert_installed(&dev.release);
    blob_source_close(again.source);
    free(old);
    done_with(&second);
}

/* Mutations: an equal epoch is refused; the epochs of all developers are compared. */
Test(install, an_equal_epoch_and_another_developers_older_one_are_taken)
{
    struct listener_peer p = peer(dev.identity, 1), q = peer(dev.identity, 2);
    struct protect_report report;
    struct developer other;
    struct offered o;
    char elsewhere[FILE_PATH_MAX];
    developer_protect_again(&dev, NULL); /* epoch 2 */
    prepare(&o, &dev.release);
    (void)deliver(&p, &o);
    done_with(&o);
    const struct protect_opts opts = {.model = dev.plain, .out = dev.out, .sign_pub = dev.identity->sign_pub,
                                      .sign_key = dev.identity->sign_key, .force = true, .epoch = 2};
    cr_assert_eq(protect_checkpoint(&opts, &report, &err), 0, "%s", err.text);
    release_close(&dev.release);
    cr_assert_eq(release_open(&dev.release, dev.out, dev.identity->sign_pub, &err), 0, "%s", err.text);
    prepare(&o, &dev.release);
    (void)deliver(&q, &o);
    done_with(&o);
    assert_installed(&dev.release);
    (void)snprintf(elsewhere, sizeof elsewhere, "%s", tempdir_path(dir, "elsewhere"));
    cr_assert_eq(file_mkdirs(elsewhere, 0700, &err), 0, "%s", err.text);
    developer_make(&other, elsewhere, "LlamaForCausalLM", &shape, 4, NULL); /* epoch 1 */
    struct listener_peer r = peer(other.identity, 3);
    prepare(&o, &other.release);
    (void)deliver(&r, &o);
    done_with(&o);
    assert_installed(&other.release);
    developer_free(&other);
}

Test(install, a_package_past_its_day_is_refused_before_any_file)
{
    struct listener_peer p = peer(dev.identity, 1);
    struct protect_report report;
    struct offered o;
    struct sent last;
    struct msg_hello_ok ok;
    const struct protect_opts opts = {.model = dev.plain, .out = dev.out, .sign_pub = dev.identity->sign_pub,
                                      .sign_key = dev.identity->sign_key, .force = true, .expires = 1000000000};
    cr_assert_eq(protect_checkpoint(&opts, &report, &err), 0, "%s", err.text);
    release_close(&dev.release);
    cr_assert_eq(release_open(&dev.release, dev.out, dev.identity->sign_pub, &err), 0, "%s", err.text);
    prepare(&o, &dev.release);
    hello(&p, &ok);
    offer(&p, &o);
    cr_expect_eq(answer(&p, &o, 1000, 0, &last), 0, "no file is asked for");
    cr_expect_eq(last.f.h.code, WIRE_EXPIRED);
    cr_expect_not_null(memmem(last.payload, last.f.h.length, "expired on 2001-09-09T01:46:40Z", 31));
    cr_expect_not(file_exists(package));
    done_with(&o);
}

/* ------------------------------------------------------------------ the signature */

/* Catches: verifying with the key that the manifest itself names. */
Test(install, a_manifest_that_the_peer_did_not_sign_is_refused_before_any_file)
{
    struct identity *other = NULL;
    struct msg_hello_ok ok;
    struct sent last;
    struct offered o;
    cr_assert_eq(identity_generate(&other, &err), 0);
    struct listener_peer p = peer(other, 1);
    prepare(&o, &dev.release);
    hello(&p, &ok);
    offer(&p, &o);
    cr_assert_eq(answer(&p, &o, 1000, 0, &last), 0);
    cr_assert_eq(last.f.h.code, WIRE_BAD_SIGNATURE, "%s", wire_code_name(last.f.h.code));
    cr_assert_not(file_exists(tempdir_path(dir, "package.new.part")));
    cr_assert_not(file_exists(package));
    identity_free(other);
    done_with(&o);
}

Test(install, a_changed_manifest_is_refused)
{
    struct listener_peer p = peer(dev.identity, 1);
    struct msg_hello_ok ok;
    struct sent last;
    struct offered o;
    prepare(&o, &dev.release);
    o.proof[10] ^= 1;
    hello(&p, &ok);
    offer(&p, &o);
    (void)answer(&p, &o, 1000, 0, &last);
    cr_assert_eq(last.f.h.code, WIRE_BAD_SIGNATURE);
    done_with(&o);
}

Test(install, a_signed_manifest_that_was_not_offered_is_refused)
{
    struct listener_peer p = peer(dev.identity, 1);
    struct msg_hello_ok ok;
    struct sent last;
    struct offered o;
    prepare(&o, &dev.release);
    hello(&p, &ok);
    o.offer.context[0] ^= 1;
    offer(&p, &o);
    (void)answer(&p, &o, 1000, 0, &last);
    cr_assert_eq(last.f.h.code, WIRE_WRONG_CONTEXT);
    o.offer.context[0] ^= 1;
    o.offer.files++;
    offer(&p, &o);
    (void)answer(&p, &o, 1000, 0, &last);
    cr_assert_eq(last.f.h.code, WIRE_BAD_FRAME);
    o.offer.files--;
    memset(o.offer.context, 0, sizeof o.offer.context); /* what an empty server announces, not what it has */
    offer(&p, &o);
    (void)answer(&p, &o, 1000, 0, &last);
    cr_assert_eq(last.f.h.code, WIRE_WRONG_CONTEXT);
    o.offer.manifest_bytes = CRYPTO_SIG_LEN; /* no manifest in front of the signature */
    offer(&p, &o);
    struct sent get = expect(&p, WIRE_GET);
    struct frame chunk = msg_chunk_encode(BLOB_MANIFEST, 0, o.proof, CRYPTO_SIG_LEN);
    (void)get;
    install_frame(in, now, &p, &chunk);
    expect_error(&p, WIRE_BAD_FRAME, "manifest");
    done_with(&o);
}

/* ------------------------------------------------------------------ broken transfers */

Test(install, a_chunk_changed_on_the_way_is_named_and_only_the_rest_is_pulled_again)
{
    struct listener_peer p = peer(dev.identity, 1);
    struct msg_hello_ok ok;
    struct sent last;
    struct offered o;
    prepare(&o, &dev.release);
    hello(&p, &ok);
    offer(&p, &o);
    unsigned n = answer(&p, &o, 1000, 5, &last);
    while (last.f.h.type == WIRE_GET)
        (void)take(&p, &last);
    cr_assert_eq(last.f.h.code, WIRE_BAD_CHUNK, "%s", wire_code_name(last.f.h.code));
    cr_assert_not_null(memmem(last.payload, last.f.h.length, "model.safetensors", 17));
    cr_assert_not(file_exists(package));
    cr_assert_not(install_take_ready(in));
    queued = 0;
    offer(&p, &o);
    cr_assert_eq(answer(&p, &o, 1000, 0, &last), total_chunks(&o) - 4, "4 of %u were good", n);
    assert_installed(&dev.release);
    done_with(&o);
}

/* Every start goes on where the killed one was: in all, each chunk travels once. Catches: a part folder thrown away. */
Test(install, a_process_killed_after_every_chunk_still_finishes)
{
    struct listener_peer p = peer(dev.identity, 1);
    struct offered o;
    unsigned starts = 0, chunks = 0;
    struct sent last = {0};
    prepare(&o, &dev.release);
    while (last.f.h.type != WIRE_DONE) {
        struct msg_hello_ok ok;
        restart();
        hello(&p, &ok);
        offer(&p, &o);
        chunks += answer(&p, &o, 1, 0, &last);
        (void)take(&p, &last); /* DONE after the last chunk, another GET before */
        cr_assert(++starts < 100);
    }
    cr_assert_eq(chunks, total_chunks(&o));
    assert_installed(&dev.release);
    done_with(&o);
}

/* Catches: trusting what lies in the part folder. */
Test(install, what_was_damaged_on_the_disk_in_between_is_pulled_again)
{
    struct listener_peer p = peer(dev.identity, 1);
    struct msg_hello_ok ok;
    struct offered o;
    struct sent last;
    prepare(&o, &dev.release);
    hello(&p, &ok);
    offer(&p, &o);
    (void)answer(&p, &o, total_chunks(&o) - 2, 0, &last);
    restart();
    FILE *f = fopen(tempdir_path(dir, "package.new.part/model.safetensors"), "r+b");
    cr_assert_not_null(f);
    cr_assert_eq(fseek(f, 100, SEEK_SET), 0);
    cr_assert_eq(fputc(0xff, f) == EOF ? -1 : fclose(f), 0);
    tempdir_spill(tempdir_path(dir, "package.new.part/stray.bin"), "x", 1);
    cr_assert_eq(deliver(&p, &o), 3);
    assert_installed(&dev.release);
    done_with(&o);
}

Test(install, a_full_disk_is_said_by_name_and_the_old_package_stays)
{
    struct listener_peer p = peer(dev.identity, 1);
    struct offered o;
    struct msg_hello_ok ok;
    struct sent last;
    struct release first;
    prepare(&o, &dev.release);
    (void)deliver(&p, &o);
    done_with(&o);
    first = dev.release;
    dev.release = (struct release){0};
    developer_protect_again(&dev, NULL);
    prepare(&o, &dev.release);
    struct rlimit before;
    (void)signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit small = {.rlim_cur = 2 << 20, .rlim_max = before.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    offer(&p, &o);
    (void)answer(&p, &o, 1000, 0, &last);
    cr_assert_eq(last.f.h.code, WIRE_DISK_FULL, "%s: %.*s", wire_code_name(last.f.h.code), (int)last.f.h.length,
                 (char *)last.payload);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    hello(&(struct listener_peer){.rid = {9}, .rid_len = 1, .key = p.key}, &ok);
    cr_assert_eq(memcmp(ok.context, first.context, sizeof ok.context), 0);
    struct manifest m;
    char *text;
    size_t len;
    uint8_t sig[CRYPTO_SIG_LEN];
    cr_assert_eq(manifest_load(&m, package, &text, &len, sig, &err), 0, "%s", err.text);
    cr_assert_eq(manifest_check_files(&m, package, &err), 0, "%s", err.text);
    free(text);
    manifest_free(&m);
    offer(&p, &o);
    (void)answer(&p, &o, 1000, 0, &last);
    cr_assert_eq(last.f.h.type, WIRE_DONE, "with room again it goes through");
    assert_installed(&dev.release);
    release_close(&first);
    done_with(&o);
}

/* Each state that a crash can leave between the renames. Catches: the only whole package deleted, an old one preferred. */
Test(install, an_exchange_cut_short_is_finished_at_the_next_start)
{
    struct listener_peer p = peer(dev.identity, 1);
    struct offered o;
    struct msg_hello_ok ok;
    const char *fresh = tempdir_path(dir, "package.new"), *old = tempdir_path(dir, "package.old");
    prepare(&o, &dev.release);
    (void)deliver(&p, &o);
    for (int state = 0; state < 4; state++) {
        const struct {
            bool package, fresh, old;
        } at[] = {{true, true, false}, {false, true, true}, {false, false, true}, {true, false, true}};
        /* The right package stands where the state says it is; a decoy stands in the other places. */
        const char *right = at[state].fresh ? fresh : at[state].package ? package : old;
        if (right != package)
            cr_assert_eq(rename(package, right), 0);
        if (at[state].package && right != package)
            cr_assert_eq(file_mkdirs(package, 0700, &err), 0);
        if (at[state].old && right != old)
            cr_assert_eq(file_mkdirs(old, 0700, &err), 0);
        restart();
        assert_installed(&dev.release);
        hello(&p, &ok);
        cr_assert_eq(memcmp(ok.context, dev.release.context, sizeof ok.context), 0, "state %d", state);
    }
    done_with(&o);
}

/* ------------------------------------------------------------------ several peers */

Test(install, a_second_developer_waits_and_the_first_is_not_disturbed)
{
    struct identity *other = NULL;
    struct msg_hello_ok ok;
    struct sent last;
    struct offered o;
    cr_assert_eq(identity_generate(&other, &err), 0);
    struct listener_peer p = peer(dev.identity, 1), q = peer(other, 2);
    prepare(&o, &dev.release);
    hello(&p, &ok);
    hello(&q, &ok);
    offer(&p, &o);
    (void)answer(&p, &o, 3, 0, &last);
    o.offer.context[5] ^= 1;
    offer(&q, &o);
    expect_error(&q, WIRE_BUSY, "another developer");
    o.offer.context[5] ^= 1;
    (void)answer(&p, &o, 1000, 0, &last);
    cr_assert_eq(last.f.h.type, WIRE_DONE);
    assert_installed(&dev.release);
    identity_free(other);
    done_with(&o);
}

Test(install, the_same_developer_on_a_new_connection_goes_on)
{
    struct listener_peer p = peer(dev.identity, 1), q = peer(dev.identity, 2);
    struct msg_hello_ok ok;
    struct sent last;
    struct offered o;
    prepare(&o, &dev.release);
    hello(&p, &ok);
    offer(&p, &o);
    cr_assert_eq(answer(&p, &o, 4, 0, &last), 4);
    while (take(&p, &last))
        continue;
    hello(&q, &ok);
    offer(&q, &o);
    expect_error(&p, WIRE_BUSY, "goes on");
    cr_assert_eq(answer(&q, &o, 1000, 0, &last), total_chunks(&o) - 4);
    cr_assert_eq(last.f.h.type, WIRE_DONE);
    assert_installed(&dev.release);
    done_with(&o);
}

Test(install, a_silent_developer_is_given_up_and_makes_room)
{
    struct identity *other = NULL;
    struct msg_hello_ok ok;
    struct sent last;
    struct offered o;
    cr_assert_eq(identity_generate(&other, &err), 0);
    struct listener_peer p = peer(dev.identity, 1), q = peer(other, 2);
    prepare(&o, &dev.release);
    hello(&p, &ok);
    hello(&q, &ok);
    offer(&p, &o);
    (void)answer(&p, &o, 3, 0, &last);
    while (take(&p, &last))
        continue;
    now += 29000;
    cr_assert(install_tick(in, now) > 0);
    cr_assert_eq(queued, 0);
    now += 1000;
    cr_assert_eq(install_tick(in, now), -1);
    expect_error(&p, WIRE_BUSY, "30 s");
    offer(&q, &o);
    (void)expect(&q, WIRE_GET);
    identity_free(other);
    done_with(&o);
}

Test(install, a_developer_that_left_is_forgotten)
{
    struct listener_peer p = peer(dev.identity, 1), q = peer(dev.identity, 2);
    struct msg_hello_ok ok;
    struct sent last;
    struct offered o;
    prepare(&o, &dev.release);
    hello(&p, &ok);
    offer(&p, &o);
    (void)answer(&p, &o, 1, 0, &last);
    cr_assert(take(&p, &last));
    struct frame chunk;
    cr_assert_eq(blob_source_answer(o.source, &last.f, &chunk, &err), WIRE_OK);
    outcome = LISTENER_GONE;
    install_frame(in, now, &p, &chunk);
    outcome = LISTENER_SENT;
    cr_assert_eq(install_tick(in, now), -1, "no transfer is left");
    queued = 0;
    cr_assert_eq(deliver(&q, &o), total_chunks(&o) - 2);
    done_with(&o);
}

/* Catches: the connection that sends thrown out because others came later. */
Test(install, a_thousand_connections_are_greeted_and_the_busy_one_survives)
{
    struct listener_peer p = peer(dev.identity, 1);
    struct msg_hello_ok ok;
    struct sent last;
    struct offered o;
    prepare(&o, &dev.release);
    hello(&p, &ok);
    offer(&p, &o);
    for (unsigned i = 0; i < 1000; i++) {
        struct listener_peer other = p;
        other.rid_len = 5;
        memcpy(other.rid + 1, &i, sizeof i);
        now++;
        hello(&other, &ok);
    }
    (void)answer(&p, &o, 1000, 0, &last);
    cr_assert_eq(last.f.h.type, WIRE_DONE, "%s", wire_type_name(last.f.h.type));
    done_with(&o);
}

/* ------------------------------------------------------------------ frames that are not due */

Test(install, frames_out_of_turn_are_refused_by_phase)
{
    struct listener_peer p = peer(dev.identity, 1);
    struct msg_hello_ok ok;
    struct offered o;
    prepare(&o, &dev.release);
    offer(&p, &o);
    expect_error(&p, WIRE_BAD_PHASE, "OFFER is not due in phase NEW");
    struct frame chunk = msg_chunk_encode(0, 0, "x", 1), done = msg_done_encode(), stats = msg_stats_get_encode();
    hello(&p, &ok);
    install_frame(in, now, &p, &done);
    expect_error(&p, WIRE_BAD_PHASE, "DONE is not due in phase READY");
    install_frame(in, now, &p, &chunk);
    cr_assert_eq(queued, 0, "a chunk may have crossed the end of its transfer");
    install_frame(in, now, &p, &stats);
    expect_error(&p, WIRE_BAD_PHASE, "counters");
    offer(&p, &o);
    (void)expect(&p, WIRE_GET);
    install_frame(in, now, &p, &chunk);
    expect_error(&p, WIRE_BAD_FRAME, "not asked for");
    offer(&p, &o);
    (void)expect(&p, WIRE_GET);
    struct msg_hello h = {.protocol_min = 1, .protocol_max = 1};
    uint8_t body[MSG_HELLO_BYTES];
    struct frame again = msg_hello_encode(&h, body);
    install_frame(in, now, &p, &again);
    expect_error(&p, WIRE_BAD_PHASE, "HELLO is not due in phase OFFERED");
    cr_assert_eq(install_tick(in, now), -1, "and its transfer is over");
    done_with(&o);
}

Test(install, a_developer_of_another_protocol_version_is_told_so)
{
    struct listener_peer p = peer(dev.identity, 1);
    struct msg_hello h = {.protocol_min = 7, .protocol_max = 9};
    uint8_t body[MSG_HELLO_BYTES];
    struct frame f = msg_hello_encode(&h, body);
    install_frame(in, now, &p, &f);
    expect_error(&p, WIRE_BAD_VERSION, "protocol 7 to 9");
}

Test(install, a_developer_that_gives_up_frees_the_place)
{
    struct listener_peer p = peer(dev.identity, 1);
    struct msg_hello_ok ok;
    struct sent last;
    struct offered o;
    prepare(&o, &dev.release);
    hello(&p, &ok);
    offer(&p, &o);
    (void)answer(&p, &o, 2, 0, &last);
    struct frame f = msg_error_encode(NULL, WIRE_INTERNAL, 0, "disk");
    install_frame(in, now, &p, &f);
    cr_assert_eq(install_tick(in, now), -1);
    queued = 0;
    offer(&p, &o);
    cr_assert_eq(answer(&p, &o, 1000, 0, &last), total_chunks(&o) - 2);
    cr_assert_eq(last.f.h.type, WIRE_DONE);
    done_with(&o);
}
