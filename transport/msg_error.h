/* transport/msg_error.h - ERROR: a code of five classes and a sentence.
 *
 * Data flow   either side -> the other -> struct err of the command that fails.
 * Errors      decode replaces bytes that a terminal must not see; an unknown code keeps its class.
 * Memory      encode borrows the text; it is cut at WIRE_TEXT_MAX bytes.
 * Secrets     the text never carries values, tensors, tokens or keys.
 */
#ifndef STIP_TRANSPORT_MSG_ERROR_H
#define STIP_TRANSPORT_MSG_ERROR_H

#include "transport/wire.h"

/* session NULL: about the connection. seq: the step it answers, or 0. */
struct frame msg_error_encode(const uint8_t *session, enum wire_code code, uint64_t seq, const char *text);
struct msg_error {
    unsigned code;
    char text[WIRE_TEXT_MAX + 1];
};
void msg_error_decode(struct msg_error *out, const struct frame *f);
/* Fills err with "<who> answers BUSY (101): <text>" and the exit code of the class. Returns -1. */
int msg_error_to_err(const struct frame *f, const char *who, struct err *err);

#endif
