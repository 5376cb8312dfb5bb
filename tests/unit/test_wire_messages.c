/* Each message: both ends agree, and bodies that make no sense are refused. No sockets. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bf16.h"
#include "transport/blob.h"
#include "transport/msg_blob.h"
#include "transport/msg_error.h"
#include "transport/msg_hello.h"
#include "transport/msg_ping.h"
#include "transport/msg_rows.h"
#include "transport/msg_session.h"
#include "transport/msg_stats.h"

static struct err err;
static const uint8_t SESSION[WIRE_SESSION_BYTES] = {4, 5, 6};

Test(messages, hello_and_hello_ok_come_back)
{
    uint8_t body[MSG_HELLO_BYTES], body_ok[MSG_HELLO_OK_BYTES];
    struct msg_hello h = {.protocol_min = 1, .protocol_max = 3, .context = {1, 2, 3}}, h2;
    struct msg_hello_ok ok = {.protocol = 1, .head_kind = 2, .head_at_server = 1, .max_tokens = 11, .max_sessions = 12, .max_rows = 13,
                              .max_out_rows = 14, .D = 15, .out_width = 16, .session_ttl_s = 17, .epoch = 18,
                              .manifest_bytes = 1ull << 40, .context = {9}}, ok2;
    struct frame f = msg_hello_encode(&h, body);
    cr_assert_eq(wire_check(&f.h, &err), WIRE_OK, "%s", err.text);
    cr_assert_eq(msg_hello_decode(&h2, &f, &err), WIRE_OK);
    cr_expect(h2.protocol_min == 1 && h2.protocol_max == 3 && memcmp(h2.context, h.context, sizeof h.context) == 0);
    f = msg_hello_ok_encode(&ok, body_ok);
    cr_assert_eq(wire_check(&f.h, &err), WIRE_OK, "%s", err.text);
    cr_assert_eq(msg_hello_ok_decode(&ok2, &f, &err), WIRE_OK, "%s", err.text);
    cr_expect(ok2.protocol == 1 && ok2.head_kind == 2 && ok2.head_at_server == 1 && ok2.max_tokens == 11 && ok2.max_sessions == 12);
    cr_expect(ok2.max_rows == 13 && ok2.max_out_rows == 14 && ok2.D == 15 && ok2.out_width == 16 && ok2.session_ttl_s == 17);
    cr_expect(ok2.epoch == 18 && ok2.manifest_bytes == 1ull << 40 && memcmp(ok2.context, ok.context, sizeof ok.context) == 0);
    body_ok[3] = 2;
    cr_expect_eq(msg_hello_ok_decode(&ok2, &f, &err), WIRE_BAD_FRAME, "a head that is neither here nor there");
    body_ok[3] = 1;
    f.h.epoch++;
    cr_expect_eq(msg_hello_ok_decode(&ok2, &f, &err), WIRE_BAD_FRAME, "two epochs");
}

Test(messages, versions_without_overlap_are_refused)
{
    uint16_t v = 0;
    struct msg_hello h = {.protocol_min = 3, .protocol_max = 9};
    cr_expect_eq(msg_hello_version(&h, &v, &err), WIRE_BAD_VERSION);
    h.protocol_min = 1;
    cr_expect_eq(msg_hello_version(&h, &v, &err), WIRE_OK);
    cr_expect_eq(v, 2);
    h.protocol_max = 1;
    cr_expect_eq(msg_hello_version(&h, &v, &err), WIRE_OK);
    cr_expect_eq(v, 1, "a program from before bfloat16");
    uint8_t body[MSG_HELLO_BYTES];
    h = (struct msg_hello){.protocol_min = 3, .protocol_max = 2};
    struct frame f = msg_hello_encode(&h, body);
    cr_expect_eq(msg_hello_decode(&h, &f, &err), WIRE_BAD_FRAME);
    h = (struct msg_hello){.protocol_min = 0, .protocol_max = 2};
    f = msg_hello_encode(&h, body);
    cr_expect_eq(msg_hello_decode(&h, &f, &err), WIRE_BAD_FRAME);
}

/* Mutation: any one bound left out; what is announced is allocated. */
Test(messages, an_offer_has_files_and_a_manifest_that_is_not_too_large)
{
    static const struct {
        uint64_t bytes;
        uint32_t files;
        enum wire_code code;
    } offers[] = {{1, 1, WIRE_OK}, {BLOB_MANIFEST_MAX, BLOB_FILES_MAX, WIRE_OK}, {0, 1, WIRE_BAD_FRAME}, {BLOB_MANIFEST_MAX + 1, 1, WIRE_BAD_FRAME},
                  {1, 0, WIRE_BAD_FRAME}, {1, BLOB_FILES_MAX + 1, WIRE_BAD_FRAME}};
    for (size_t i = 0; i < sizeof offers / sizeof *offers; i++) {
        uint8_t body[MSG_OFFER_BYTES];
        const struct msg_offer offer = {.manifest_bytes = offers[i].bytes, .files = offers[i].files};
        struct msg_offer got;
        struct frame f = msg_offer_encode(&offer, body);
        cr_expect_eq(msg_offer_decode(&got, &f, &err), offers[i].code, "%zu", i);
    }
}

Test(messages, session_words_come_back)
{
    struct msg_open o = {.max_tokens = 77}, o2;
    struct msg_opened d = {.max_tokens = 77, .cached = 70, .seq = 5}, d2;
    memcpy(o.session, SESSION, sizeof SESSION);
    memcpy(d.session, SESSION, sizeof SESSION);
    struct frame f = msg_open_encode(&o);
    cr_assert_eq(wire_check(&f.h, &err), WIRE_OK, "%s", err.text);
    cr_assert_eq(msg_open_decode(&o2, &f, &err), WIRE_OK);
    cr_expect_eq(memcmp(&o, &o2, sizeof o), 0);
    f = msg_opened_encode(&d);
    cr_assert_eq(wire_check(&f.h, &err), WIRE_OK, "%s", err.text);
    cr_assert_eq(msg_opened_decode(&d2, &f, &err), WIRE_OK);
    cr_expect(d2.max_tokens == 77 && d2.cached == 70 && d2.seq == 5);
    d.cached = 78;
    f = msg_opened_encode(&d);
    cr_expect_eq(msg_opened_decode(&d2, &f, &err), WIRE_BAD_FRAME, "more cached than room");
    o.max_tokens = 0;
    f = msg_open_encode(&o);
    cr_expect_eq(msg_open_decode(&o2, &f, &err), WIRE_BAD_FRAME);
}

static struct msg_rows rows_of(uint32_t pos, uint32_t out_from, uint32_t out_n)
{
    struct msg_rows m = {.epoch = 1, .seq = 1, .pos = pos, .out_from = out_from, .out_n = out_n};
    memcpy(m.session, SESSION, sizeof SESSION);
    return m;
}

static enum wire_code decode(struct msg_rows m, size_t rows, size_t D, const float *data)
{
    static const struct msg_rows_limits limits = {.D = 8, .max_tokens = 100, .max_rows = 50, .max_out_rows = 10};
    const struct sealed_rows x = {.rows = rows, .D = D, .data = data};
    struct frag_out out;
    struct frame f;
    struct msg_rows got;
    cr_assert_eq(msg_rows_send(&out, &m, &x, &err), WIRE_OK, "%s", err.text);
    cr_assert(frag_out_peek(&out, &f));
    return msg_rows_decode(&got, &f, &limits, &err);
}

/* Each line catches one check of msg_rows_decode taken out. */
Test(messages, rows_outside_the_limits_are_refused_from_the_header)
{
    static float data[60 * 8];
    cr_expect_eq(decode(rows_of(0, 0, 1), 5, 8, data), WIRE_OK, "%s", err.text);
    cr_expect_eq(decode(rows_of(50, 40, 10), 50, 8, data), WIRE_OK, "%s", err.text);
    cr_expect_eq(decode(rows_of(0, 0, 1), 5, 7, data), WIRE_BAD_SHAPE, "width");
    cr_expect_eq(decode(rows_of(0, 0, 1), 51, 8, data), WIRE_TOO_LARGE, "rows");
    cr_expect_eq(decode(rows_of(0, 0, 11), 50, 8, data), WIRE_TOO_LARGE, "outputs");
    cr_expect_eq(decode(rows_of(96, 0, 1), 5, 8, data), WIRE_CONTEXT_FULL, "position");
    cr_expect_eq(decode(rows_of(UINT32_MAX, 0, 1), 5, 8, data), WIRE_CONTEXT_FULL, "position that would overflow");
    cr_expect_eq(decode(rows_of(0, 3, 3), 5, 8, data), WIRE_BAD_SHAPE, "outputs of rows that are not there");
    cr_expect_eq(decode(rows_of(0, UINT32_MAX, 2), 5, 8, data), WIRE_BAD_SHAPE, "outputs that would overflow");
}

#define BIG_ROWS 100000u /* x 8 floats: 3.05 fragments */

/* Mutation: frag_in_add without its offset check, frag_out without credit. */
Test(messages, large_rows_travel_in_fragments_with_credit)
{
    float *x = malloc((size_t)3 * BIG_ROWS * 8 * sizeof *x), *y = calloc((size_t)3 * BIG_ROWS * 8, sizeof *y);
    for (size_t i = 0; i < (size_t)3 * BIG_ROWS * 8; i++)
        x[i] = (float)i;
    struct msg_rows m = rows_of(0, 0, 1);
    const struct sealed_rows sealed = {.rows = 3 * BIG_ROWS, .D = 8, .data = x};
    struct frag_out out;
    struct frag_in in = {0};
    struct frame f, ack;
    bool complete = false;
    cr_assert_eq(msg_rows_send(&out, &m, &sealed, &err), WIRE_OK, "%s", err.text);
    unsigned sent = 0;
    while (frag_out_peek(&out, &f)) {
        cr_assert_eq(wire_check(&f.h, &err), WIRE_OK, "%s", err.text);
        cr_assert_eq(msg_rows_recv(&in, &f, y, &complete, &err), WIRE_OK, "%s", err.text);
        frag_out_sent(&out);
        sent++;
    }
    cr_expect_eq(sent, WIRE_CREDIT, "stops without acknowledgement");
    cr_expect_not(complete);
    ack = frag_in_ack(&in);
    cr_assert_eq(wire_check(&ack.h, &err), WIRE_OK, "%s", err.text);
    cr_expect(frag_out_ack(&out, &ack));
    while (frag_out_peek(&out, &f)) {
        cr_assert_eq(msg_rows_recv(&in, &f, y, &complete, &err), WIRE_OK, "%s", err.text);
        frag_out_sent(&out);
    }
    cr_expect(complete && frag_out_all_sent(&out));
    cr_expect_eq(memcmp(x, y, (size_t)3 * BIG_ROWS * 8 * sizeof *x), 0);
    ack.h.arg[0] = 1000;
    cr_expect_not(frag_out_ack(&out, &ack), "acknowledges what was never sent");
    ack.h.arg[0] = WIRE_CREDIT - 1;
    cr_expect_not(frag_out_ack(&out, &ack), "takes back what it acknowledged");
    free(x);
    free(y);
}

/* Mutations: rows counted in fours of bytes, fragments widened to the place of the first, values not checked. */
Test(messages, bf16_rows_travel_in_half_the_bytes_and_arrive_as_f32)
{
    const size_t n = (size_t)3 * BIG_ROWS * 8;
    uint16_t *x = malloc(n * sizeof *x);
    float *y = calloc(n, sizeof *y);
    for (size_t i = 0; i < n; i++)
        x[i] = (uint16_t)(i % 0x7F80); /* every finite one */
    struct msg_rows m = rows_of(0, 0, 1), got;
    const struct msg_rows_limits limits = {.D = 8, .max_tokens = 4 * BIG_ROWS, .max_rows = 4 * BIG_ROWS, .max_out_rows = 10};
    const struct sealed_rows sealed = {.rows = 3 * BIG_ROWS, .D = 8, .data = x, .bf16 = true};
    struct frag_out out;
    struct frag_in in = {0};
    struct frame f;
    bool complete = false;
    unsigned sent = 0;
    cr_assert_eq(msg_rows_send(&out, &m, &sealed, &err), WIRE_OK, "%s", err.text);
    for (; frag_out_peek(&out, &f); sent++) {
        cr_assert_eq(wire_check(&f.h, &err), WIRE_OK, "%s", err.text);
        if (sent == 0)
            cr_assert(msg_rows_decode(&got, &f, &limits, &err) == WIRE_OK && got.bf16 && got.rows == 3 * BIG_ROWS, "%s", err.text);
        cr_assert_eq(msg_rows_recv(&in, &f, y, &complete, &err), WIRE_OK, "%s", err.text);
        cr_expect(msg_rows_repeats(&f, 2 * n, y));
        frag_out_sent(&out);
    }
    cr_expect(complete && sent == 5, "%u frames", sent);
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(bf16_from_f32(y[i]), x[i], "element %zu", i);
    y[n - 1] += 1;
    cr_expect_not(msg_rows_repeats(&f, 2 * n, y));
    x[5] = 0x7FC0;
    in = (struct frag_in){0};
    const struct sealed_rows few = {.rows = 2, .D = 8, .data = x, .bf16 = true};
    cr_assert_eq(msg_rows_send(&out, &m, &few, &err), WIRE_OK);
    cr_assert(frag_out_peek(&out, &f));
    cr_expect_eq(msg_rows_recv(&in, &f, y, &complete, &err), WIRE_NONFINITE);
    free(x);
    free(y);
}

/* Mutations: any one field that is not compared; a message that goes on after a fragment that was refused. */
Test(messages, fragments_that_do_not_fit_together_are_refused)
{
    float *x = calloc((size_t)BIG_ROWS * 8, sizeof *x), *y = calloc((size_t)BIG_ROWS * 8, sizeof *y);
    struct msg_rows m = rows_of(0, 0, 1);
    const struct sealed_rows sealed = {.rows = BIG_ROWS, .D = 8, .data = x};
    for (int how = 0; how < 10; how++) {
        struct frag_out out;
        struct frag_in in = {0};
        struct frame f;
        bool complete = false;
        cr_assert_eq(msg_rows_send(&out, &m, &sealed, &err), WIRE_OK);
        cr_assert(frag_out_peek(&out, &f));
        if (how > 0)
            cr_assert_eq(msg_rows_recv(&in, &f, y, &complete, &err), WIRE_OK);
        frag_out_sent(&out);
        if (how == 1)
            frag_out_sent(&out); /* one is skipped */
        cr_assert(frag_out_peek(&out, &f));
        if (how == 2)
            f.h.seq++;
        if (how == 3)
            f.h.arg[1]++;
        if (how == 4)
            f.h.dtype = WIRE_BF16;
        if (how == 5)
            f.h.session[15] ^= 1;
        if (how == 6)
            f.h.epoch++;
        if (how == 7)
            f.h.total -= 32;
        if (how == 8)
            f.h.last_dim = 16;
        if (how == 9)
            f.h.type = WIRE_OUT;
        cr_expect_eq(msg_rows_recv(&in, &f, y, &complete, &err), WIRE_BAD_FRAME, "case %d", how);
        cr_assert(frag_out_peek(&out, &f));
        cr_expect_eq(msg_rows_recv(&in, &f, y, &complete, &err), WIRE_BAD_FRAME, "case %d: what was refused is over", how);
    }
    free(x);
    free(y);
}

Test(messages, values_that_are_no_numbers_are_refused_in_any_place)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3 * 16; i++) {
        float x[16] = {0}, y[16];
        struct msg_rows m = rows_of(0, 0, 1);
        const struct sealed_rows sealed = {.rows = 2, .D = 8, .data = x};
        struct frag_out out;
        struct frag_in in = {0};
        struct frame f;
        bool complete = false;
        x[i % 16] = bad[i / 16];
        cr_assert_eq(msg_rows_send(&out, &m, &sealed, &err), WIRE_OK);
        cr_assert(frag_out_peek(&out, &f));
        cr_expect_eq(msg_rows_recv(&in, &f, y, &complete, &err), WIRE_NONFINITE, "value %zu", i);
        cr_expect_not(complete);
    }
}

Test(messages, out_must_be_what_was_asked_for)
{
    float y[24] = {1, 2, 3};
    struct msg_rows asked = rows_of(0, 0, 3);
    struct msg_out m = {.epoch = 1, .seq = 4, .server_us = 99, .cached = 12, .rows = 3, .width = 8}, got;
    struct frag_out out;
    struct frame f;
    memcpy(m.session, SESSION, sizeof SESSION);
    cr_assert_eq(msg_out_send(&out, &m, y, &err), WIRE_OK, "%s", err.text);
    cr_assert(frag_out_peek(&out, &f));
    asked.seq = 4;
    cr_assert_eq(msg_out_decode(&got, &f, &asked, 8, &err), WIRE_OK, "%s", err.text);
    cr_expect(got.server_us == 99 && got.cached == 12 && got.rows == 3);
    asked.seq = 5;
    cr_expect_eq(msg_out_decode(&got, &f, &asked, 8, &err), WIRE_BAD_SEQ);
    asked.seq = 4;
    asked.out_n = 2;
    cr_expect_eq(msg_out_decode(&got, &f, &asked, 8, &err), WIRE_BAD_SHAPE);
    asked.out_n = 6;
    cr_expect_eq(msg_out_decode(&got, &f, &asked, 4, &err), WIRE_BAD_SHAPE);
    asked.out_n = 6;
    asked.bf16 = true;
    cr_expect_eq(msg_out_decode(&got, &f, &asked, 8, &err), WIRE_BAD_SHAPE, "as many bytes, of another type");
    asked = rows_of(0, 0, 0);
    asked.seq = 4;
    m.rows = 0;
    cr_assert_eq(msg_out_send(&out, &m, y, &err), WIRE_OK, "%s", err.text);
    cr_assert(frag_out_peek(&out, &f));
    cr_expect_eq(f.h.length, 0);
    cr_expect_eq(msg_out_decode(&got, &f, &asked, 8, &err), WIRE_OK, "an empty answer is one frame: %s", err.text);
    frag_out_sent(&out);
    cr_expect(frag_out_all_sent(&out));
}

Test(messages, error_texts_cannot_drive_a_terminal)
{
    struct frame f = msg_error_encode(SESSION, WIRE_BUSY, 3, "a\033[2Jb\xff" "c\xc2\x9b" "d\ne\xc3\xa4");
    struct msg_error m;
    cr_assert_eq(wire_check(&f.h, &err), WIRE_OK, "%s", err.text);
    msg_error_decode(&m, &f);
    cr_expect_str_eq(m.text, "a?[2Jb?c??d?e\xc3\xa4");
    cr_expect_eq(msg_error_to_err(&f, "tcp://x:1", &err), -1);
    cr_expect_eq(err.code, ERR_PEER);
    cr_expect(strstr(err.text, "tcp://x:1 answers BUSY (101): a?") != NULL, "%s", err.text);
    char *longtext = malloc(5000);
    memset(longtext, 'x', 4999);
    longtext[4999] = '\0';
    f = msg_error_encode(NULL, WIRE_INTERNAL, 0, longtext);
    cr_expect_eq(f.h.length, WIRE_TEXT_MAX);
    msg_error_decode(&m, &f);
    cr_expect_eq(strlen(m.text), WIRE_TEXT_MAX);
    free(longtext);
}

Test(messages, blob_ping_and_stats_come_back)
{
    uint8_t body[MSG_OFFER_BYTES], stats_body[MSG_STATS_BYTES];
    struct msg_offer o = {.context = {7}, .manifest_bytes = 1000, .files = 3, .epoch = 2}, o2;
    struct frame f = msg_offer_encode(&o, body);
    cr_assert_eq(wire_check(&f.h, &err), WIRE_OK, "%s", err.text);
    cr_assert_eq(msg_offer_decode(&o2, &f, &err), WIRE_OK);
    cr_expect(o2.manifest_bytes == 1000 && o2.files == 3 && o2.epoch == 2 && o2.context[0] == 7);
    o.manifest_bytes = BLOB_MANIFEST_MAX + 1;
    f = msg_offer_encode(&o, body);
    cr_expect_eq(msg_offer_decode(&o2, &f, &err), WIRE_BAD_FRAME);
    f = msg_get_encode(5, 6);
    struct msg_get g = msg_get_decode(&f);
    cr_expect(g.file == 5 && g.chunk == 6 && wire_check(&f.h, &err) == WIRE_OK);
    f = msg_ping_encode(12);
    f = msg_pong_encode(&f);
    cr_expect(f.h.seq == 12 && wire_check(&f.h, &err) == WIRE_OK);
    struct msg_stats s = {.uptime_ms = 1, .sessions_open = 2, .peers_dropped = 11, .rows_reused = 12, .kv_used = 13}, s2;
    f = msg_stats_encode(&s, stats_body);
    cr_assert_eq(msg_stats_decode(&s2, &f, &err), WIRE_OK);
    cr_expect_eq(memcmp(&s, &s2, sizeof s), 0);
    f.h.length = MSG_STATS_MIN; /* of an older peer */
    cr_assert_eq(msg_stats_decode(&s2, &f, &err), WIRE_OK);
    cr_expect(s2.peers_dropped == 11 && s2.rows_reused == 0 && s2.kv_used == 0);
    f.h.length -= 8;
    cr_expect_eq(msg_stats_decode(&s2, &f, &err), WIRE_BAD_FRAME);
}
