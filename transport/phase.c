#include "transport/phase.h"

#include <stddef.h>

/* What a row of the table asks of the frame beyond its type. */
enum when {
    ANY,
    MORE,   /* FIRST, more follow */
    WHOLE,  /* FIRST and LAST */
    MIDDLE, /* neither */
    LAST,   /* LAST only */
    TO_BE_CONTINUED, /* not LAST */
    ENDING, /* LAST, whether FIRST or not */
    SOFT,   /* an error after which the session goes on */
    HARD,   /* an error that ends the session */
};

enum { I = 1u << PHASE_INFER, A = 1u << PHASE_ADMIN, G = 1u << PHASE_GRANT, ALL = I | A | G };

#define DROP PHASE_END /* in place of the next phase: PHASE_IGNORE */

static const struct row {
    unsigned links;
    enum phase phase;
    enum phase_sender sender;
    enum wire_type type;
    enum when when;
    enum phase next;
} TABLE[] = {
    /* connection */
    {ALL, PHASE_NEW, PHASE_CLIENT, WIRE_HELLO, ANY, PHASE_GREETED},
    {ALL, PHASE_NEW, PHASE_SERVER, WIRE_ERROR, ANY, PHASE_NEW},
    {ALL, PHASE_GREETED, PHASE_SERVER, WIRE_HELLO_OK, ANY, PHASE_READY},
    {ALL, PHASE_GREETED, PHASE_SERVER, WIRE_ERROR, ANY, PHASE_NEW},
    {ALL, PHASE_READY, PHASE_SERVER, WIRE_ERROR, ANY, PHASE_READY},
    {I | A, PHASE_READY, PHASE_CLIENT, WIRE_STATS_GET, ANY, PHASE_READY},
    {I | A, PHASE_READY, PHASE_SERVER, WIRE_STATS, ANY, PHASE_READY},
    {I, PHASE_READY, PHASE_CLIENT, WIRE_GET, ANY, PHASE_READY},
    {I, PHASE_READY, PHASE_SERVER, WIRE_CHUNK, ANY, PHASE_READY},
    /* a package */
    {A, PHASE_READY, PHASE_CLIENT, WIRE_OFFER, ANY, PHASE_OFFERED},
    {A, PHASE_OFFERED, PHASE_SERVER, WIRE_GET, ANY, PHASE_OFFERED},
    {A, PHASE_OFFERED, PHASE_CLIENT, WIRE_CHUNK, ANY, PHASE_OFFERED},
    {A, PHASE_OFFERED, PHASE_SERVER, WIRE_DONE, ANY, PHASE_READY},
    {A, PHASE_READY, PHASE_SERVER, WIRE_GET, ANY, DROP},
    {A, PHASE_READY, PHASE_CLIENT, WIRE_CHUNK, ANY, DROP},
    /* a grant */
    {G, PHASE_READY, PHASE_CLIENT, WIRE_GRANT, ANY, PHASE_ASKED},
    {G, PHASE_ASKED, PHASE_SERVER, WIRE_OFFER, ANY, PHASE_OFFERED},
    {G, PHASE_ASKED, PHASE_SERVER, WIRE_ERROR, ANY, PHASE_READY},
    {G, PHASE_OFFERED, PHASE_CLIENT, WIRE_GET, ANY, PHASE_OFFERED},
    {G, PHASE_OFFERED, PHASE_SERVER, WIRE_CHUNK, ANY, PHASE_OFFERED},
    {G, PHASE_OFFERED, PHASE_CLIENT, WIRE_DONE, ANY, PHASE_READY},
    {G, PHASE_READY, PHASE_CLIENT, WIRE_GET, ANY, DROP},
    {G, PHASE_READY, PHASE_SERVER, WIRE_CHUNK, ANY, DROP},
    /* either side gives a transfer up; the other's last messages may be on their way */
    {A | G, PHASE_OFFERED, PHASE_SERVER, WIRE_ERROR, ANY, PHASE_READY},
    {A | G, PHASE_OFFERED, PHASE_CLIENT, WIRE_ERROR, ANY, PHASE_READY},
    {A | G, PHASE_READY, PHASE_CLIENT, WIRE_ERROR, ANY, DROP},
    /* session: opening */
    {I, PHASE_CLOSED, PHASE_CLIENT, WIRE_OPEN, ANY, PHASE_OPENING},
    {I, PHASE_CLOSED, PHASE_SERVER, WIRE_ERROR, ANY, DROP},
    {I, PHASE_OPENING, PHASE_SERVER, WIRE_OPENED, ANY, PHASE_OPEN},
    {I, PHASE_OPENING, PHASE_SERVER, WIRE_ERROR, ANY, PHASE_CLOSED},
    /* session: idle. Fragments without their first belong to ROWS that were refused, ACKs to an OUT that is done. */
    {I, PHASE_OPEN, PHASE_CLIENT, WIRE_ROWS, MORE, PHASE_SENDING},
    {I, PHASE_OPEN, PHASE_CLIENT, WIRE_ROWS, WHOLE, PHASE_WAITING},
    {I, PHASE_OPEN, PHASE_CLIENT, WIRE_ROWS, MIDDLE, DROP},
    {I, PHASE_OPEN, PHASE_CLIENT, WIRE_ROWS, LAST, DROP},
    {I, PHASE_OPEN, PHASE_CLIENT, WIRE_ACK, ANY, DROP},
    {I, PHASE_OPEN, PHASE_CLIENT, WIRE_CANCEL, ANY, PHASE_CANCELLING},
    {I, PHASE_OPEN, PHASE_CLIENT, WIRE_CLOSE, ANY, PHASE_CLOSING},
    {I, PHASE_OPEN, PHASE_SERVER, WIRE_ERROR, SOFT, PHASE_OPEN},
    {I, PHASE_OPEN, PHASE_SERVER, WIRE_ERROR, HARD, PHASE_CLOSED},
    /* session: a step */
    {I, PHASE_SENDING, PHASE_CLIENT, WIRE_ROWS, MIDDLE, PHASE_SENDING},
    {I, PHASE_SENDING, PHASE_CLIENT, WIRE_ROWS, LAST, PHASE_WAITING},
    {I, PHASE_SENDING, PHASE_SERVER, WIRE_ACK, ANY, PHASE_SENDING},
    {I, PHASE_SENDING, PHASE_CLIENT, WIRE_CANCEL, ANY, PHASE_CANCELLING},
    {I, PHASE_SENDING, PHASE_CLIENT, WIRE_CLOSE, ANY, PHASE_CLOSING},
    {I, PHASE_SENDING, PHASE_SERVER, WIRE_ERROR, SOFT, PHASE_OPEN},
    {I, PHASE_SENDING, PHASE_SERVER, WIRE_ERROR, HARD, PHASE_CLOSED},
    {I, PHASE_WAITING, PHASE_SERVER, WIRE_ACK, ANY, PHASE_WAITING},
    {I, PHASE_WAITING, PHASE_SERVER, WIRE_OUT, TO_BE_CONTINUED, PHASE_WAITING},
    {I, PHASE_WAITING, PHASE_SERVER, WIRE_OUT, ENDING, PHASE_OPEN},
    {I, PHASE_WAITING, PHASE_CLIENT, WIRE_ACK, ANY, PHASE_WAITING},
    {I, PHASE_WAITING, PHASE_CLIENT, WIRE_CANCEL, ANY, PHASE_CANCELLING},
    {I, PHASE_WAITING, PHASE_CLIENT, WIRE_CLOSE, ANY, PHASE_CLOSING},
    {I, PHASE_WAITING, PHASE_SERVER, WIRE_ERROR, SOFT, PHASE_OPEN},
    {I, PHASE_WAITING, PHASE_SERVER, WIRE_ERROR, HARD, PHASE_CLOSED},
    /* session: taking back, ending. What crosses is dropped. */
    {I, PHASE_CANCELLING, PHASE_SERVER, WIRE_CANCELLED, ANY, PHASE_OPEN},
    {I, PHASE_CANCELLING, PHASE_SERVER, WIRE_ERROR, HARD, PHASE_CLOSED},
    {I, PHASE_CANCELLING, PHASE_SERVER, WIRE_ERROR, SOFT, DROP},
    {I, PHASE_CANCELLING, PHASE_SERVER, WIRE_OUT, ANY, DROP},
    {I, PHASE_CANCELLING, PHASE_SERVER, WIRE_ACK, ANY, DROP},
    {I, PHASE_CANCELLING, PHASE_CLIENT, WIRE_CLOSE, ANY, PHASE_CLOSING},
    {I, PHASE_CLOSING, PHASE_SERVER, WIRE_CLOSED, ANY, PHASE_CLOSED},
    {I, PHASE_CLOSING, PHASE_SERVER, WIRE_ERROR, HARD, PHASE_CLOSED},
    {I, PHASE_CLOSING, PHASE_SERVER, WIRE_ERROR, SOFT, DROP},
    {I, PHASE_CLOSING, PHASE_SERVER, WIRE_OUT, ANY, DROP},
    {I, PHASE_CLOSING, PHASE_SERVER, WIRE_ACK, ANY, DROP},
    {I, PHASE_CLOSING, PHASE_SERVER, WIRE_CANCELLED, ANY, DROP},
};

static bool holds(enum when when, const struct wire_header *h)
{
    bool first = (h->flags & WIRE_FIRST) != 0, last = (h->flags & WIRE_LAST) != 0;
    switch (when) {
    case ANY: return true;
    case MORE: return first && !last;
    case WHOLE: return first && last;
    case MIDDLE: return !first && !last;
    case LAST: return !first && last;
    case TO_BE_CONTINUED: return !last;
    case ENDING: return last;
    case SOFT: return !wire_code_ends_session(h->code);
    case HARD: return wire_code_ends_session(h->code);
    }
    return false;
}

bool phase_of_session(const struct wire_header *h)
{
    return !wire_session_zero(h->session);
}

enum phase_verdict phase_step(enum phase_link link, enum phase *phase, enum phase_sender sender, const struct wire_header *h)
{
    /* Alive or not is asked in every phase of a connection. */
    if (*phase < PHASE_CLOSED && h->type == (sender == PHASE_CLIENT ? WIRE_PING : WIRE_PONG))
        return PHASE_LEGAL;
    if (phase_of_session(h) != (*phase >= PHASE_CLOSED))
        return PHASE_ILLEGAL;
    for (size_t i = 0; i < sizeof TABLE / sizeof *TABLE; i++) {
        const struct row *r = &TABLE[i];
        if ((r->links & 1u << link) == 0 || r->phase != *phase || r->sender != sender || r->type != h->type ||
            !holds(r->when, h))
            continue;
        if (r->next == DROP)
            return PHASE_IGNORE;
        *phase = r->next;
        return PHASE_LEGAL;
    }
    return PHASE_ILLEGAL;
}

const char *phase_name(enum phase phase)
{
    static const char *const names[PHASE_END] = {"NEW",  "GREETED", "READY",   "ASKED",      "OFFERED", "CLOSED", "OPENING",
                                                 "OPEN", "SENDING", "WAITING", "CANCELLING", "CLOSING"};
    return phase < PHASE_END ? names[phase] : "?";
}
