/* Whole conversations over real sockets, byte by byte where they are deterministic. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bf16.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "tests/support/tempdir.h"
#include "tests/support/toy_server.h"
#include "transport/client.h"
#include "transport/trace.h"
#include "user/session.h"

#define WAIT_MS 60000

static struct identity *server_id, *user_id;
static struct transport *transport;
static struct toy_server *server;
static struct channel *ch;
static struct err err;
static const uint8_t SESSION[WIRE_SESSION_BYTES] = "session 16 bytes";

static void make(void)
{
    cr_assert_eq(identity_generate(&server_id, &err), 0);
    cr_assert_eq(identity_generate(&user_id, &err), 0);
    cr_assert_eq(transport_open(&transport, &err), 0);
    struct peer_key user = identity_public(user_id), key = identity_public(server_id);
    server = toy_server_start("tcp://127.0.0.1:*", server_id, &user, 1, &(struct toy_config){.link = PHASE_INFER});
    cr_assert_eq(channel_open(&ch, transport, toy_server_endpoint(server), &key, user_id, WAIT_MS, &err), 0, "%s", err.text);
}

static void drop(void)
{
    channel_close(ch);
    toy_server_stop(server);
    transport_close(transport);
    identity_free(server_id);
    identity_free(user_id);
}

TestSuite(session, .init = make, .fini = drop);

static void greet(void)
{
    struct msg_hello_ok ok;
    struct msg_open open = {.max_tokens = 100};
    struct msg_opened opened;
    memcpy(open.session, SESSION, sizeof SESSION);
    cr_assert_eq(client_hello(ch, NULL, &ok, &err), 0, "%s", err.text);
    cr_assert_eq(client_session_open(ch, &open, &opened, &err), 0, "%s", err.text);
    cr_expect(opened.cached == 0 && opened.seq == 0);
}

static struct msg_rows step(uint64_t seq, uint32_t pos, uint32_t out_from, uint32_t out_n)
{
    struct msg_rows m = {.epoch = 3, .seq = seq, .pos = pos, .out_from = out_from, .out_n = out_n};
    memcpy(m.session, SESSION, sizeof SESSION);
    return m;
}

/* The file of golden lines: direction, type, hex of the frame. */
static char *transcript(const char *path)
{
    struct trace_entries e;
    struct buf b;
    size_t len;
    cr_assert_eq(trace_read(&e, path, &err), 0, "%s", err.text);
    buf_init(&b, (size_t)1 << 20);
    for (size_t i = 0; i < e.count; i++) {
        char *hex = malloc(2 * e.entry[i].len + 1);
        crypto_hex(e.entry[i].data, e.entry[i].len, hex);
        buf_printf(&b, "%c %s %s\n", e.entry[i].direction, wire_type_name(e.entry[i].data[5]), hex);
        free(hex);
    }
    trace_entries_free(&e);
    cr_assert_eq(buf_check(&b, "transcript", &err), 0);
    char *text = buf_take(&b, &len);
    buf_free(&b);
    return text;
}

/* Mutation: any byte of any encoder. A change here is a change of the protocol: raise WIRE_VERSION, then store anew. */
Test(session, a_whole_session_is_the_stored_one_byte_by_byte)
{
    char dir[FILE_PATH_MAX];
    struct stat st;
    float x[3 * TOY_D], y[TOY_D];
    struct msg_out got;
    struct msg_stats stats;
    tempdir_make(dir);
    const char *path = tempdir_path(dir, "trace");
    for (size_t i = 0; i < 3 * TOY_D; i++)
        x[i] = (float)i / 4;
    cr_assert_eq(channel_trace(ch, path, &err), 0, "%s", err.text);
    greet();
    struct sealed_rows three = {.rows = 3, .D = TOY_D, .data = x}, one = {.rows = 1, .D = TOY_D, .data = x};
    struct msg_rows m = step(1, 0, 2, 1);
    cr_assert_eq(client_rows(ch, &m, &three, y, TOY_D, WAIT_MS, &got, &err), 0, "%s", err.text);
    cr_expect_eq(y[1], 2 * x[2 * TOY_D + 1]);
    m = step(2, 3, 0, 1);
    cr_assert_eq(client_rows(ch, &m, &one, y, TOY_D, WAIT_MS, &got, &err), 0, "%s", err.text);
    cr_expect_eq(got.cached, 4);
    m = step(9, 4, 0, 1);
    cr_assert_eq(client_rows(ch, &m, &one, y, TOY_D, WAIT_MS, &got, &err), -1);
    cr_expect_eq(channel_code(ch), WIRE_BAD_SEQ);
    m = step(3, 2, 0, 0);
    cr_assert_eq(client_rows(ch, &m, &one, NULL, TOY_D, WAIT_MS, &got, &err), 0, "rows whose output nobody wants: %s", err.text);
    uint16_t half[TOY_D];
    for (size_t i = 0; i < TOY_D; i++)
        half[i] = bf16_from_f32(x[i]);
    const struct sealed_rows narrow = {.rows = 1, .D = TOY_D, .data = half, .bf16 = true};
    m = step(4, 3, 0, 1);
    cr_assert_eq(client_rows(ch, &m, &narrow, y, TOY_D, WAIT_MS, &got, &err), 0, "%s", err.text);
    cr_expect(got.bf16 && y[7] == 2 * x[7]);
    cr_assert_eq(client_stats(ch, &stats, &err), 0, "%s", err.text);
    cr_assert_eq(client_cancel(ch, SESSION, &err), 0, "%s", err.text);
    cr_assert_eq(client_session_close(ch, SESSION, &err), 0, "%s", err.text);
    cr_assert_eq(stat(path, &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0600);
    size_t n = 0;
    char *now = transcript(path), *stored = tempdir_slurp(STIP_SOURCE_DIR "/tests/vectors/wire/session.txt", &n);
    cr_expect_str_eq(now, stored, "the conversation is now:\n%s", now);
    free(now);
    free(stored);
    tempdir_remove(dir);
}

/* 12.2 MiB up and down: 13 fragments each way with acknowledgements. */
Test(session, large_messages_go_both_ways_in_fragments)
{
    const uint32_t rows = TOY_MAX_ROWS;
    size_t n = (size_t)rows * TOY_D;
    float *x = malloc(n * sizeof *x), *y = calloc(n, sizeof *y);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(i % 1000);
    greet();
    const uint64_t start_ms = clock_ms();
    struct channel_stats before = channel_stats(ch);
    struct sealed_rows all = {.rows = rows, .D = TOY_D, .data = x};
    struct msg_rows m = step(1, 0, 0, rows);
    struct msg_out got;
    cr_assert_eq(client_rows(ch, &m, &all, y, TOY_D, 20000, &got, &err), 0, "%s", err.text);
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(y[i], 2 * x[i], "value %zu", i);
    struct channel_stats after = channel_stats(ch);
    const uint64_t up = after.frames_up - before.frames_up, down = after.frames_down - before.frames_down;
    const bool silence = clock_ms() - start_ms >= CHANNEL_PING_MS; /* on a slow machine, and PINGs in it */
    cr_expect(up == 13 + 12 || (silence && up > 13 + 12), "13 ROWS, 12 ACK, not %llu frames", (unsigned long long)up);
    cr_expect(down == 13 + 12 || (silence && down > 13 + 12), "13 OUT, 12 ACK, not %llu frames", (unsigned long long)down);
    cr_expect_eq(after.bytes_up - before.bytes_up, n * 4 + up * WIRE_HEADER_BYTES);
    cr_expect_eq(after.bytes_down - before.bytes_down, n * 4 + down * WIRE_HEADER_BYTES);
    free(x);
    free(y);
}

Test(session, a_step_is_one_round_trip)
{
    float x[TOY_D] = {1}, y[TOY_D];
    greet();
    struct channel_stats before = channel_stats(ch);
    struct sealed_rows one = {.rows = 1, .D = TOY_D, .data = x};
    for (uint32_t i = 0; i < 50; i++) {
        struct msg_rows m = step(i + 1, i, 0, 1);
        cr_assert_eq(client_rows(ch, &m, &one, y, TOY_D, WAIT_MS, NULL, &err), 0, "%s", err.text);
    }
    struct channel_stats after = channel_stats(ch);
    cr_expect_eq(after.round_trips - before.round_trips, 50);
    cr_expect_eq(after.bytes_up - before.bytes_up, 50 * (WIRE_HEADER_BYTES + TOY_D * 4));
}

Test(session, the_manifest_is_pulled_whole)
{
    char *text = NULL;
    size_t len = 0;
    struct msg_hello_ok ok;
    cr_assert_eq(client_hello(ch, NULL, &ok, &err), 0, "%s", err.text);
    cr_assert_eq(client_manifest(ch, ok.manifest_bytes, &text, &len, &err), 0, "%s", err.text);
    cr_expect_eq(len, TOY_MANIFEST_BYTES);
    for (size_t i = 0; i < len; i++)
        cr_assert_eq((uint8_t)text[i], toy_server_manifest(i), "byte %zu", i);
    free(text);
    cr_expect_eq(client_manifest(ch, BLOB_MANIFEST_MAX + 1, &text, &len, &err), -1, "refused before allocation");
}

Test(session, another_context_is_refused_before_any_row)
{
    const uint8_t mine[WIRE_CONTEXT_BYTES] = {7, 7};
    struct msg_hello_ok ok;
    cr_assert_eq(client_hello(ch, mine, &ok, &err), -1);
    cr_expect_eq(err.code, ERR_AUTH);
    cr_expect(strstr(err.text, "context") != NULL, "%s", err.text);
}

Test(session, bf16_is_not_sent_to_a_server_that_is_too_old_for_it)
{
    struct connection c = {.channel = ch, .server = {.protocol = 1}};
    cr_expect_eq(connection_bf16(&c, &err), -1);
    cr_expect_eq(err.code, ERR_PEER);
    cr_expect(strstr(err.text, "speaks protocol 1") != NULL && strstr(err.text, "wire: bf16") != NULL && !c.bf16, "%s", err.text);
    c.server.protocol = 2;
    cr_expect_eq(connection_bf16(&c, &err), 0, "%s", err.text);
    cr_expect(c.bf16);
}

/* Every illegal first word is answered with BAD_PHASE or UNKNOWN_SESSION, and the server lives on. */
Test(session, words_out_of_turn_are_refused_by_name)
{
    static const enum wire_type early[] = {WIRE_OPEN, WIRE_CLOSE, WIRE_CANCEL, WIRE_STATS_GET, WIRE_GET, WIRE_DONE, WIRE_CANCELLED};
    struct frame answer;
    for (size_t i = 0; i < sizeof early / sizeof *early; i++) {
        bool session = early[i] == WIRE_OPEN || early[i] == WIRE_CLOSE || early[i] == WIRE_CANCEL || early[i] == WIRE_CANCELLED;
        struct frame f = wire_frame(early[i], session ? SESSION : NULL, NULL, 0);
        if (early[i] == WIRE_OPEN)
            f.h.arg[0] = 5;
        cr_assert_eq(channel_send(ch, &f, &err), 0);
        cr_assert_eq(channel_expect(ch, WIRE_HELLO_OK, &answer, clock_ms() + WAIT_MS, &err), -1);
        cr_expect(channel_code(ch) == WIRE_BAD_PHASE || channel_code(ch) == WIRE_UNKNOWN_SESSION, "%s: %s",
                  wire_type_name(early[i]), err.text);
    }
    greet();
}

/* The server refuses in the middle of a message; what is still on its way is dropped and the session goes on. */
Test(session, a_message_refused_midway_does_not_poison_the_session)
{
    size_t n = (size_t)TOY_MAX_ROWS * TOY_D;
    float *x = calloc(n, sizeof *x), y[TOY_D];
    greet();
    struct sealed_rows all = {.rows = TOY_MAX_ROWS, .D = TOY_D, .data = x}, one = {.rows = 1, .D = TOY_D, .data = x};
    struct msg_rows m = step(5, 0, 0, 1);
    cr_assert_eq(client_rows(ch, &m, &all, y, TOY_D, WAIT_MS, NULL, &err), -1);
    cr_expect_eq(channel_code(ch), WIRE_BAD_SEQ, "%s", err.text);
    m = step(1, 0, 0, 1);
    cr_expect_eq(client_rows(ch, &m, &one, y, TOY_D, WAIT_MS, NULL, &err), 0, "%s", err.text);
    free(x);
}
