/* Frames: what goes out comes back, and every field that is changed is refused. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "transport/wire.h"

static struct err err;

static struct frame rows_frame(uint8_t *payload)
{
    static const uint8_t session[WIRE_SESSION_BYTES] = {9, 8, 7};
    struct frame f = wire_frame(WIRE_ROWS, session, payload, 64);
    f.h.dtype = WIRE_F32;
    f.h.rank = 2;
    f.h.last_dim = 4;
    f.h.epoch = 0x01020304;
    f.h.seq = 0x1112131415161718;
    f.h.arg[0] = 5;
    f.h.arg[1] = 1;
    f.h.arg[2] = 3;
    return f;
}

static size_t put(const struct frame *f, uint8_t *out)
{
    wire_put(&f->h, out);
    if (f->h.length > 0)
        memcpy(out + WIRE_HEADER_BYTES, f->payload, f->h.length);
    return WIRE_HEADER_BYTES + f->h.length;
}

/* Mutation: any le_put offset in wire_put moved by one. */
Test(wire, a_frame_comes_back_as_it_was)
{
    uint8_t payload[64], bytes[WIRE_HEADER_BYTES + 64];
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (uint8_t)i;
    struct frame f = rows_frame(payload), g;
    size_t n = put(&f, bytes);
    cr_assert_eq(wire_get(&g, bytes, n, &err), WIRE_OK, "%s", err.text);
    cr_expect_eq(memcmp(&g.h, &f.h, sizeof g.h), 0);
    cr_expect_eq(memcmp(g.payload, payload, sizeof payload), 0);
}

/* The layout that docs/PROTOCOL.md draws, written down once more by hand. */
Test(wire, the_header_has_its_documented_bytes)
{
    uint8_t payload[64] = {0}, bytes[WIRE_HEADER_BYTES + 64];
    static const uint8_t expected[WIRE_HEADER_BYTES] = {
        'S', 'T', 'I', 'P', 1, 9, 3, 1, 2, 0, 0, 0, 4, 3, 2, 1,                 /* magic .. epoch */
        9, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,                         /* session */
        0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, /* seq, offset */
        64, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0,                        /* total, last dim, arg 0 */
        1, 0, 0, 0, 3, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0,                        /* arg 1, arg 2, length */
    };
    struct frame f = rows_frame(payload);
    (void)put(&f, bytes);
    for (size_t i = 0; i < WIRE_HEADER_BYTES; i++)
        cr_expect_eq(bytes[i], expected[i], "byte %zu: %u, expected %u", i, bytes[i], expected[i]);
}

struct change {
    const char *what;
    size_t at;
    uint8_t value;
    enum wire_code code;
};

/* Every field once. Mutation: any one check of wire.c taken out. */
Test(wire, every_changed_field_is_refused)
{
    static const struct change changes[] = {
        {"magic", 0, 'X', WIRE_BAD_FRAME},
        {"version", 4, 2, WIRE_BAD_VERSION},
        {"type 0", 5, 0, WIRE_BAD_FRAME},
        {"type beyond the table", 5, WIRE_TYPE_END, WIRE_BAD_FRAME},
        {"another type", 5, WIRE_CHUNK, WIRE_BAD_FRAME},
        {"a flag that does not exist", 6, 7, WIRE_BAD_FRAME},
        {"FIRST missing", 6, WIRE_LAST, WIRE_BAD_FRAME},
        {"LAST missing", 6, WIRE_FIRST, WIRE_BAD_FRAME},
        {"dtype", 7, 0, WIRE_BAD_FRAME},
        {"dtype unknown", 7, 9, WIRE_BAD_FRAME},
        {"rank", 8, 1, WIRE_BAD_FRAME},
        {"reserved byte", 9, 1, WIRE_BAD_FRAME},
        {"code outside ERROR", 10, 101, WIRE_BAD_FRAME},
        {"seq", 32, 0, WIRE_OK}, /* another seq is another step */
        {"offset", 40, 4, WIRE_BAD_FRAME},
        {"offset high", 47, 0xff, WIRE_BAD_FRAME},
        {"total larger than the frame", 48, 128, WIRE_BAD_FRAME},
        {"total smaller than the frame", 48, 32, WIRE_BAD_FRAME},
        {"total enormous", 55, 0xff, WIRE_BAD_FRAME},
        {"last dim 0", 56, 0, WIRE_BAD_FRAME},
        {"last dim no divisor", 56, 3, WIRE_BAD_FRAME},
        {"last dim enormous", 59, 0xff, WIRE_BAD_FRAME},
        {"length", 72, 63, WIRE_BAD_FRAME},
        {"length enormous", 75, 0xff, WIRE_BAD_FRAME},
        {"reserved word", 76, 1, WIRE_BAD_FRAME},
    };
    uint8_t payload[64] = {0}, bytes[WIRE_HEADER_BYTES + 64];
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct frame f = rows_frame(payload), g = {.payload = NULL};
        size_t n = put(&f, bytes);
        bytes[changes[i].at] = changes[i].value;
        cr_expect_eq(wire_get(&g, bytes, n, &err), changes[i].code, "%s", changes[i].what);
        if (changes[i].code != WIRE_OK)
            cr_expect_null(g.payload, "%s: the output was touched", changes[i].what);
    }
}

Test(wire, a_session_and_a_seq_are_there_exactly_where_they_belong)
{
    uint8_t payload[64] = {0}, bytes[WIRE_HEADER_BYTES + 64];
    static const uint8_t session[WIRE_SESSION_BYTES] = {1};
    struct frame f = rows_frame(payload), g;
    memset(f.h.session, 0, sizeof f.h.session);
    cr_expect_eq(wire_get(&g, bytes, put(&f, bytes), &err), WIRE_BAD_FRAME);
    f = rows_frame(payload);
    f.h.seq = 0;
    cr_expect_eq(wire_get(&g, bytes, put(&f, bytes), &err), WIRE_BAD_FRAME);
    f = wire_frame(WIRE_GET, session, NULL, 0);
    cr_expect_eq(wire_get(&g, bytes, put(&f, bytes), &err), WIRE_BAD_FRAME);
    f = wire_frame(WIRE_GET, NULL, NULL, 0);
    f.h.arg[2] = 1;
    cr_expect_eq(wire_get(&g, bytes, put(&f, bytes), &err), WIRE_BAD_FRAME, "an unused argument");
}

Test(wire, frames_that_are_cut_are_refused_at_every_length)
{
    uint8_t payload[64] = {0}, bytes[WIRE_HEADER_BYTES + 64];
    struct frame f = rows_frame(payload), g;
    size_t n = put(&f, bytes);
    for (size_t len = 0; len < n; len++) {
        uint8_t *copy = malloc(len + 1); /* exact size: the sanitizer sees one byte too many */
        memcpy(copy, bytes, len);
        cr_expect_eq(wire_get(&g, copy, len, &err), WIRE_BAD_FRAME, "%zu", len);
        free(copy);
    }
}

/* Mutation: without the rule of full fragments a message could be cut into single bytes. */
Test(wire, only_full_fragments_may_precede_the_last)
{
    static uint8_t payload[WIRE_PAYLOAD_MAX];
    struct frame f = rows_frame(payload);
    f.h.total = 3u * WIRE_PAYLOAD_MAX;
    f.h.length = WIRE_PAYLOAD_MAX;
    f.h.flags = WIRE_FIRST;
    cr_expect_eq(wire_check(&f.h, &err), WIRE_OK, "%s", err.text);
    f.h.length = 16;
    cr_expect_eq(wire_check(&f.h, &err), WIRE_BAD_FRAME);
    f.h.length = WIRE_PAYLOAD_MAX;
    f.h.flags = 0;
    f.h.offset = WIRE_PAYLOAD_MAX;
    cr_expect_eq(wire_check(&f.h, &err), WIRE_OK, "%s", err.text);
    f.h.offset = WIRE_PAYLOAD_MAX / 2;
    cr_expect_eq(wire_check(&f.h, &err), WIRE_BAD_FRAME);
    f.h.offset = 2u * WIRE_PAYLOAD_MAX;
    f.h.flags = WIRE_LAST;
    cr_expect_eq(wire_check(&f.h, &err), WIRE_OK, "%s", err.text);
    f.h.offset = UINT64_MAX - 15;
    f.h.length = 16;
    cr_expect_eq(wire_check(&f.h, &err), WIRE_BAD_FRAME);
    f.h.offset = UINT64_MAX - WIRE_PAYLOAD_MAX + 1;
    f.h.length = WIRE_PAYLOAD_MAX;
    f.h.flags = 0;
    cr_expect_eq(wire_check(&f.h, &err), WIRE_BAD_FRAME, "offset + length is 0 again");
}

/* Mutation: wire_check without the range of total lengths. */
Test(wire, every_type_has_its_range_of_lengths)
{
    static uint8_t payload[WIRE_PAYLOAD_MAX];
    static const uint8_t session[WIRE_SESSION_BYTES] = {1};
    static const struct {
        enum wire_type type;
        size_t good, bad;
    } lengths[] = {{WIRE_HELLO, 36, 35},   {WIRE_HELLO, 36, 37},  {WIRE_HELLO_OK, 76, 77}, {WIRE_PING, 0, 1},   {WIRE_GRANT, 32, 33},
                   {WIRE_OFFER, 48, 47},   {WIRE_CHUNK, 1, 0},    {WIRE_STATS, 88, 5000},  {WIRE_DONE, 0, 8},   {WIRE_GET, 0, 4},
                   {WIRE_STATS_GET, 0, 1}, {WIRE_STATS, 4096, 0}, {WIRE_CLOSE, 0, 1},      {WIRE_CANCEL, 0, 1}, {WIRE_OPEN, 0, 4}};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        bool in_session = lengths[i].type == WIRE_CLOSE || lengths[i].type == WIRE_CANCEL || lengths[i].type == WIRE_OPEN;
        struct frame f = wire_frame(lengths[i].type, in_session ? session : NULL, payload, lengths[i].good);
        cr_expect_eq(wire_check(&f.h, &err), WIRE_OK, "%zu: %s", i, err.text);
        f = wire_frame(lengths[i].type, in_session ? session : NULL, payload, lengths[i].bad);
        cr_expect_eq(wire_check(&f.h, &err), WIRE_BAD_FRAME, "%zu", i);
    }
    struct frame f = rows_frame(payload);
    f.h.flags = WIRE_FIRST;
    f.h.length = WIRE_PAYLOAD_MAX;
    f.h.total = WIRE_TENSOR_MAX;
    cr_expect_eq(wire_check(&f.h, &err), WIRE_OK, "%s", err.text);
    f.h.total = WIRE_TENSOR_MAX + 16;
    cr_expect_eq(wire_check(&f.h, &err), WIRE_BAD_FRAME);
}

/* Mutation: either end of the range of codes, or of the length of one frame, left out. */
Test(wire, an_error_has_a_code_and_no_frame_is_longer_than_allowed)
{
    static uint8_t payload[WIRE_PAYLOAD_MAX + 16];
    struct frame f = wire_frame(WIRE_ERROR, NULL, payload, 1);
    static const unsigned codes[][2] = {{100, WIRE_OK}, {599, WIRE_OK}, {0, WIRE_BAD_FRAME}, {99, WIRE_BAD_FRAME}, {600, WIRE_BAD_FRAME}};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        f.h.code = (uint16_t)codes[i][0];
        cr_expect_eq(wire_check(&f.h, &err), codes[i][1], "code %u", codes[i][0]);
    }
    f = rows_frame(payload);
    f.h.total = f.h.length = WIRE_PAYLOAD_MAX;
    cr_expect_eq(wire_check(&f.h, &err), WIRE_OK, "%s", err.text);
    f.h.total = f.h.length = WIRE_PAYLOAD_MAX + 16;
    cr_expect_eq(wire_check(&f.h, &err), WIRE_BAD_FRAME);
}

Test(wire, codes_have_names_classes_and_exit_codes)
{
    cr_expect_str_eq(wire_code_name(WIRE_BUSY), "BUSY");
    cr_expect_str_eq(wire_code_name(999), "?");
    cr_expect_eq(wire_code_exit(WIRE_UNKNOWN_KEY), ERR_AUTH);
    cr_expect_eq(wire_code_exit(WIRE_CONTEXT_FULL), ERR_INPUT);
    cr_expect_eq(wire_code_exit(WIRE_OOM), ERR_PEER);
    cr_expect_eq(wire_code_exit(499), ERR_AUTH, "an unknown code keeps its class");
    cr_expect(wire_code_retry(WIRE_DRAINING) && !wire_code_retry(WIRE_BAD_SEQ));
    cr_expect(wire_code_ends_session(WIRE_UNKNOWN_SESSION) && !wire_code_ends_session(WIRE_NONFINITE));
    for (unsigned t = 1; t < WIRE_TYPE_END; t++)
        cr_expect_str_neq(wire_type_name(t), "?");
}
