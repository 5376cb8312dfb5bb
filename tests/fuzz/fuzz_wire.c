/* Any bytes as a frame: refused, or a frame that obeys its rules and whose message decoders stay in bounds. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "transport/blob.h"
#include "transport/msg_blob.h"
#include "transport/msg_error.h"
#include "transport/msg_hello.h"
#include "transport/msg_rows.h"
#include "transport/msg_session.h"
#include "transport/msg_stats.h"
#include "transport/phase.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(const struct frame *f)
{
    static const struct msg_rows_limits limits = {.D = 4, .max_tokens = 64, .max_rows = 32, .max_out_rows = 32};
    union {
        struct msg_hello hello;
        struct msg_hello_ok ok;
        struct msg_open open;
        struct msg_opened opened;
        struct msg_rows rows;
        struct msg_out out;
        struct msg_error error;
        struct msg_offer offer;
        struct msg_stats stats;
        uint8_t context[WIRE_CONTEXT_BYTES];
    } m;
    struct err err;
    switch (f->h.type) {
    case WIRE_HELLO: (void)!msg_hello_decode(&m.hello, f, &err); break;
    case WIRE_HELLO_OK: (void)!msg_hello_ok_decode(&m.ok, f, &err); break;
    case WIRE_OPEN: (void)!msg_open_decode(&m.open, f, &err); break;
    case WIRE_OPENED: (void)!msg_opened_decode(&m.opened, f, &err); break;
    case WIRE_ERROR: msg_error_decode(&m.error, f); assert(strlen(m.error.text) <= WIRE_TEXT_MAX); break;
    case WIRE_OFFER: (void)!msg_offer_decode(&m.offer, f, &err); break;
    case WIRE_GRANT: msg_grant_decode(m.context, f); break;
    case WIRE_STATS: (void)!msg_stats_decode(&m.stats, f, &err); break;
    case WIRE_OUT: (void)!msg_out_decode(&m.out, f, &(struct msg_rows){.seq = f->h.seq, .out_n = 3, .bf16 = f->h.dtype == WIRE_BF16}, 4, &err); break;
    case WIRE_ROWS:
        if (msg_rows_decode(&m.rows, f, &limits, &err) == WIRE_OK) {
            /* The buffer that the limits promise is large enough, exactly. */
            float *x_p = malloc((size_t)limits.max_rows * limits.D * sizeof *x_p);
            struct frag_in in = {0};
            bool complete = false;
            if (x_p != NULL && (f->h.flags & WIRE_FIRST))
                (void)!msg_rows_recv(&in, f, x_p, &complete, &err);
            free(x_p);
        }
        break;
    default: break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame f;
    struct err err;
    struct blob_list list;
    if (wire_get(&f, data, size, &err) == WIRE_OK) {
        uint8_t again[WIRE_HEADER_BYTES];
        assert(wire_check(&f.h, &err) == WIRE_OK && f.h.length == size - WIRE_HEADER_BYTES);
        wire_put(&f.h, again);
        assert(memcmp(again, data, sizeof again) == 0);
        for (unsigned link = 0; link < 3; link++)
            for (enum phase from = PHASE_NEW; from < PHASE_END; from++)
                for (unsigned who = 0; who < 2; who++) {
                    enum phase at = from;
                    (void)!phase_step((enum phase_link)link, &at, (enum phase_sender)who, &f.h);
                    assert(at < PHASE_END);
                }
        decode(&f);
    }
    if (blob_list_decode(&list, data, size, &err) == 0)
        blob_list_free(&list);
    return 0;
}
