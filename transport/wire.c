#include "transport/wire.h"

#include <string.h>

#include "base/le.h"

static const uint8_t MAGIC[4] = {'S', 'T', 'I', 'P'};

/* ------------------------------------------------------------------ the table of types */

enum needs { NO, YES, MAY };

struct rule {
    const char *name;
    enum needs session, seq;
    bool tensor; /* rank 2, f32 or bf16, may be cut into fragments */
    unsigned args;
    uint64_t min, max; /* payload bytes of the whole message */
};

static const struct rule RULES[WIRE_TYPE_END] = {
    /* type              name         session seq  tensor args min max */
    [WIRE_HELLO]     = {"HELLO",     NO,  NO,  false, 0, 36, 36},
    [WIRE_HELLO_OK]  = {"HELLO_OK",  NO,  NO,  false, 0, 76, 76},
    [WIRE_OPEN]      = {"OPEN",      YES, NO,  false, 1, 0, 0},
    [WIRE_OPENED]    = {"OPENED",    YES, MAY, false, 2, 0, 0},
    [WIRE_CLOSE]     = {"CLOSE",     YES, NO,  false, 0, 0, 0},
    [WIRE_CLOSED]    = {"CLOSED",    YES, NO,  false, 0, 0, 0},
    [WIRE_CANCEL]    = {"CANCEL",    YES, NO,  false, 0, 0, 0},
    [WIRE_CANCELLED] = {"CANCELLED", YES, NO,  false, 0, 0, 0},
    [WIRE_ROWS]      = {"ROWS",      YES, YES, true,  3, 2, WIRE_TENSOR_MAX},
    [WIRE_OUT]       = {"OUT",       YES, YES, true,  2, 0, WIRE_TENSOR_MAX},
    [WIRE_ACK]       = {"ACK",       YES, YES, false, 1, 0, 0},
    [WIRE_ERROR]     = {"ERROR",     MAY, MAY, false, 0, 0, WIRE_TEXT_MAX},
    [WIRE_PING]      = {"PING",      NO,  MAY, false, 0, 0, 0},
    [WIRE_PONG]      = {"PONG",      NO,  MAY, false, 0, 0, 0},
    [WIRE_GRANT]     = {"GRANT",     NO,  NO,  false, 0, WIRE_CONTEXT_BYTES, WIRE_CONTEXT_BYTES},
    [WIRE_OFFER]     = {"OFFER",     NO,  NO,  false, 0, 48, 48},
    [WIRE_GET]       = {"GET",       NO,  NO,  false, 2, 0, 0},
    [WIRE_CHUNK]     = {"CHUNK",     NO,  NO,  false, 2, 1, WIRE_PAYLOAD_MAX},
    [WIRE_DONE]      = {"DONE",      NO,  NO,  false, 0, 0, 0},
    [WIRE_STATS_GET] = {"STATS_GET", NO,  NO,  false, 0, 0, 0},
    [WIRE_STATS]     = {"STATS",     NO,  NO,  false, 0, 8, 4096},
};

static const struct code {
    unsigned code;
    const char *name;
    enum err_code exit;
    bool ends_session;
} CODES[] = {
    {WIRE_BUSY, "BUSY", ERR_PEER, false},
    {WIRE_NO_CREDIT, "NO_CREDIT", ERR_PEER, false},
    {WIRE_DRAINING, "DRAINING", ERR_PEER, false},
    {WIRE_UNKNOWN_SESSION, "UNKNOWN_SESSION", ERR_PEER, true},
    {WIRE_BAD_SEQ, "BAD_SEQ", ERR_PEER, false},
    {WIRE_EPOCH_CHANGED, "EPOCH_CHANGED", ERR_PEER, true},
    {WIRE_WORKER_LOST, "WORKER_LOST", ERR_PEER, true},
    {WIRE_OVERFLOW, "OVERFLOW", ERR_INPUT, true},
    {WIRE_BAD_FRAME, "BAD_FRAME", ERR_PEER, false},
    {WIRE_BAD_VERSION, "BAD_VERSION", ERR_PEER, false},
    {WIRE_BAD_SHAPE, "BAD_SHAPE", ERR_INPUT, false},
    {WIRE_NONFINITE, "NONFINITE", ERR_INPUT, false},
    {WIRE_TOO_LARGE, "TOO_LARGE", ERR_INPUT, false},
    {WIRE_CONTEXT_FULL, "CONTEXT_FULL", ERR_INPUT, false},
    {WIRE_BAD_PHASE, "BAD_PHASE", ERR_PEER, false},
    {WIRE_BAD_CHUNK, "BAD_CHUNK", ERR_INPUT, false},
    {WIRE_UNKNOWN_FILE, "UNKNOWN_FILE", ERR_INPUT, false},
    {WIRE_UNKNOWN_KEY, "UNKNOWN_KEY", ERR_AUTH, true},
    {WIRE_REVOKED, "REVOKED", ERR_AUTH, true},
    {WIRE_WRONG_EPOCH, "WRONG_EPOCH", ERR_AUTH, true},
    {WIRE_NOT_OWNER, "NOT_OWNER", ERR_AUTH, true},
    {WIRE_WRONG_CONTEXT, "WRONG_CONTEXT", ERR_AUTH, true},
    {WIRE_BAD_SIGNATURE, "BAD_SIGNATURE", ERR_AUTH, false},
    {WIRE_NOT_GRANTED, "NOT_GRANTED", ERR_AUTH, false},
    {WIRE_EXPIRED, "EXPIRED", ERR_AUTH, true},
    {WIRE_INTERNAL, "INTERNAL", ERR_PEER, false},
    {WIRE_OOM, "OOM", ERR_PEER, false},
    {WIRE_DISK_FULL, "DISK_FULL", ERR_PEER, false},
    {WIRE_MODEL_CORRUPT, "MODEL_CORRUPT", ERR_PEER, true},
    {WIRE_NO_MODEL, "NO_MODEL", ERR_PEER, false},
};

static const struct code *code_find(unsigned code)
{
    for (size_t i = 0; i < sizeof CODES / sizeof *CODES; i++)
        if (CODES[i].code == code)
            return &CODES[i];
    return NULL;
}

unsigned wire_dtype_bytes(unsigned dtype)
{
    return dtype == WIRE_F32 ? 4 : dtype == WIRE_BF16 ? 2 : 1;
}

const char *wire_type_name(unsigned type)
{
    return type > 0 && type < WIRE_TYPE_END ? RULES[type].name : "?";
}

const char *wire_code_name(unsigned code)
{
    const struct code *c = code_find(code);
    return c == NULL ? "?" : c->name;
}

enum err_code wire_code_exit(unsigned code)
{
    const struct code *c = code_find(code);
    if (c != NULL)
        return c->exit;
    return code / 100 == 4 ? ERR_AUTH : code / 100 == 3 ? ERR_INPUT : ERR_PEER;
}

bool wire_code_retry(unsigned code)
{
    return code / 100 == 1;
}

bool wire_code_ends_session(unsigned code)
{
    const struct code *c = code_find(code);
    return c != NULL && c->ends_session;
}

bool wire_session_zero(const uint8_t session[WIRE_SESSION_BYTES])
{
    static const uint8_t zero[WIRE_SESSION_BYTES];
    return memcmp(session, zero, sizeof zero) == 0;
}

/* ------------------------------------------------------------------ bytes */

struct frame wire_frame(enum wire_type type, const uint8_t *session, const void *payload, size_t length)
{
    struct frame f = {
        .h = {.type = (uint8_t)type, .flags = WIRE_FIRST | WIRE_LAST, .total = length, .length = (uint32_t)length},
        .payload = payload,
    };
    if (session != NULL)
        memcpy(f.h.session, session, WIRE_SESSION_BYTES);
    return f;
}

void wire_put(const struct wire_header *h, uint8_t out[WIRE_HEADER_BYTES])
{
    memset(out, 0, WIRE_HEADER_BYTES);
    memcpy(out, MAGIC, sizeof MAGIC);
    out[4] = WIRE_VERSION;
    out[5] = h->type;
    out[6] = h->flags;
    out[7] = h->dtype;
    out[8] = h->rank;
    le_put16(out + 10, h->code);
    le_put32(out + 12, h->epoch);
    memcpy(out + 16, h->session, WIRE_SESSION_BYTES);
    le_put64(out + 32, h->seq);
    le_put64(out + 40, h->offset);
    le_put64(out + 48, h->total);
    le_put32(out + 56, h->last_dim);
    for (size_t i = 0; i < 3; i++)
        le_put32(out + 60 + 4 * i, h->arg[i]);
    le_put32(out + 72, h->length);
}

static enum wire_code bad(struct err *err, const char *type, const char *field, uint64_t found, const char *expected)
{
    (void)err_set(err, ERR_PEER, "%s frame: %s is %llu, expected %s", type, field, (unsigned long long)found, expected);
    return WIRE_BAD_FRAME;
}

static enum wire_code check_fragment(const struct wire_header *h, const struct rule *r, struct err *err)
{
    if (h->flags & ~(unsigned)(WIRE_FIRST | WIRE_LAST))
        return bad(err, r->name, "flags", h->flags, "FIRST and LAST only");
    if (h->total < r->min || h->total > r->max)
        return bad(err, r->name, "total length", h->total, "a length that this message can have");
    if (h->length > WIRE_PAYLOAD_MAX)
        return bad(err, r->name, "payload length", h->length, "at most 1 MiB");
    if (h->offset > h->total || h->length > h->total - h->offset)
        return bad(err, r->name, "fragment offset", h->offset, "offset + length within the total length");
    bool last = h->offset + h->length == h->total;
    if (((h->flags & WIRE_FIRST) != 0) != (h->offset == 0))
        return bad(err, r->name, "flags", h->flags, "FIRST exactly at offset 0");
    if (((h->flags & WIRE_LAST) != 0) != last)
        return bad(err, r->name, "flags", h->flags, "LAST exactly on the fragment that ends the message");
    /* Only full fragments may precede the last: otherwise a peer could cut a message into single bytes. */
    if (h->offset % WIRE_PAYLOAD_MAX != 0 || (!last && h->length != WIRE_PAYLOAD_MAX) || (h->length == 0 && h->total != 0))
        return bad(err, r->name, "fragment offset", h->offset, "full fragments of 1 MiB before the last");
    if (!r->tensor && h->total != h->length)
        return bad(err, r->name, "total length", h->total, "one frame only");
    return WIRE_OK;
}

static enum wire_code check_shape(const struct wire_header *h, const struct rule *r, struct err *err)
{
    if (r->tensor ? h->dtype != WIRE_F32 && h->dtype != WIRE_BF16 : h->dtype != WIRE_BYTES)
        return bad(err, r->name, "dtype", h->dtype, r->tensor ? "1 (f32) or 2 (bf16)" : "0");
    if (h->rank != (r->tensor ? 2 : 0))
        return bad(err, r->name, "rank", h->rank, r->tensor ? "2" : "0");
    if (!r->tensor)
        return h->last_dim == 0 ? WIRE_OK : bad(err, r->name, "last dim", h->last_dim, "0");
    if (h->last_dim == 0 || h->total % ((uint64_t)h->last_dim * wire_dtype_bytes(h->dtype)) != 0)
        return bad(err, r->name, "last dim", h->last_dim, "a divisor of the number of elements");
    return WIRE_OK;
}

enum wire_code wire_check(const struct wire_header *h, struct err *err)
{
    if (h->type == 0 || h->type >= WIRE_TYPE_END)
        return bad(err, "unknown", "type", h->type, "a type of this protocol");
    const struct rule *r = &RULES[h->type];
    bool zero = wire_session_zero(h->session);
    if (r->session != MAY && zero != (r->session == NO))
        return bad(err, r->name, "session", zero ? 0 : 1, r->session == NO ? "none" : "an id");
    if (r->seq != MAY && (h->seq == 0) != (r->seq == NO))
        return bad(err, r->name, "seq", h->seq, r->seq == NO ? "0" : "1 or more");
    for (unsigned i = r->args; i < 3; i++)
        if (h->arg[i] != 0)
            return bad(err, r->name, "an unused argument", h->arg[i], "0");
    bool error = h->type == WIRE_ERROR;
    if (error ? h->code < 100 || h->code > 599 : h->code != 0)
        return bad(err, r->name, "code", h->code, error ? "100 to 599" : "0");
    enum wire_code code = check_fragment(h, r, err);
    return code != WIRE_OK ? code : check_shape(h, r, err);
}

enum wire_code wire_get(struct frame *out, const uint8_t *data, size_t len, struct err *err)
{
    if (len < WIRE_HEADER_BYTES)
        return bad(err, "short", "size", len, "at least the 80 bytes of a header");
    if (memcmp(data, MAGIC, sizeof MAGIC) != 0)
        return bad(err, "foreign", "first word", le_get32(data), "the letters STIP");
    if (data[4] != WIRE_VERSION) {
        (void)err_set(err, ERR_PEER, "frame version %u, this program speaks %u; use the same release on both ends", data[4],
                      WIRE_VERSION);
        return WIRE_BAD_VERSION;
    }
    struct frame f = {
        .h = {.type = data[5], .flags = data[6], .dtype = data[7], .rank = data[8], .code = le_get16(data + 10),
              .epoch = le_get32(data + 12), .seq = le_get64(data + 32), .offset = le_get64(data + 40),
              .total = le_get64(data + 48), .last_dim = le_get32(data + 56), .length = le_get32(data + 72)},
        .payload = data + WIRE_HEADER_BYTES,
    };
    memcpy(f.h.session, data + 16, WIRE_SESSION_BYTES);
    for (size_t i = 0; i < 3; i++)
        f.h.arg[i] = le_get32(data + 60 + 4 * i);
    if (data[9] != 0 || le_get32(data + 76) != 0)
        return bad(err, wire_type_name(f.h.type), "a reserved field", 1, "0");
    if (f.h.length != len - WIRE_HEADER_BYTES)
        return bad(err, wire_type_name(f.h.type), "payload length", f.h.length, "what the frame holds");
    enum wire_code code = wire_check(&f.h, err);
    if (code == WIRE_OK)
        *out = f;
    return code;
}
