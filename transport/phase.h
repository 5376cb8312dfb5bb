/* transport/phase.h - which message is legal when: one table for both ends.
 *
 * Data flow   header of a frame to send or just received -> phase_step -> next phase, ignore, or BAD_PHASE.
 *             Both ends keep a phase per connection and one per session and step them on every frame in both directions.
 * Errors      none: the verdict is the answer.
 * Memory      none; pure functions.
 * Secrets     none.
 * Source      docs/PROTOCOL.md shows the same table.
 */
#ifndef STIP_TRANSPORT_PHASE_H
#define STIP_TRANSPORT_PHASE_H

#include "transport/wire.h"

/* infer: user -> server; admin: model_dev -> server; grant: user -> model_dev. The left one connects. */
enum phase_link { PHASE_INFER, PHASE_ADMIN, PHASE_GRANT };
enum phase_sender { PHASE_CLIENT, PHASE_SERVER }; /* the one that connects, the one that listens */

enum phase {
    /* of a connection */
    PHASE_NEW,      /* nothing said yet */
    PHASE_GREETED,  /* HELLO sent */
    PHASE_READY,    /* HELLO_OK sent */
    PHASE_ASKED,    /* GRANT sent */
    PHASE_OFFERED,  /* OFFER sent, chunks are pulled */
    /* of a session */
    PHASE_CLOSED,   /* no such session */
    PHASE_OPENING,  /* OPEN sent */
    PHASE_OPEN,     /* idle */
    PHASE_SENDING,  /* some fragments of ROWS sent */
    PHASE_WAITING,  /* ROWS complete, OUT not */
    PHASE_CANCELLING,
    PHASE_CLOSING,
    PHASE_END
};

enum phase_verdict {
    PHASE_LEGAL,  /* *phase was moved */
    PHASE_IGNORE, /* crossed on the wire with a message of ours: drop it silently */
    PHASE_ILLEGAL /* answer WIRE_BAD_PHASE */
};

/* True for frames that belong to a session's phase, false for those of the connection's. */
bool phase_of_session(const struct wire_header *h);
/* Session frames additionally need their connection in PHASE_READY: the caller checks that. */
MUST_CHECK enum phase_verdict phase_step(enum phase_link link, enum phase *phase, enum phase_sender sender,
                                         const struct wire_header *h);
const char *phase_name(enum phase phase);

#endif
