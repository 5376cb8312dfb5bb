/* tests/support/toy_server.h - the smallest listening party that keeps the protocol: answers every row with its double.
 *
 * Data flow   channel of a test -> listener in a thread -> HELLO_OK, OPENED, OUT = 2 * rows, a manifest, packages into a
 *             folder, grants out of one.
 * Shapes      D == out_width == TOY_D.
 * Errors      a failure that is not the peer's ends the process with a message.
 * Memory      toy_server_start gives; toy_server_stop releases.
 * Secrets     none.
 */
#ifndef STIP_TESTS_SUPPORT_TOY_SERVER_H
#define STIP_TESTS_SUPPORT_TOY_SERVER_H

#include "transport/blob.h"
#include "transport/listener.h"
#include "transport/msg_hello.h"
#include "transport/phase.h"

#define TOY_D 8u
#define TOY_MAX_ROWS 400000u
#define TOY_MANIFEST_BYTES 1500000u /* two chunks */

struct toy_config {
    enum phase_link link;
    const char *folder;           /* admin: packages go there; grant: files come from there; may be NULL */
    const struct blob_list *list; /* of those files */
    bool mute;                    /* accept the connection, answer nothing but PING */
    bool nan;                     /* answers rows with what is no number */
    bool silent;                  /* takes rows and never answers them; PING is answered */
    unsigned late_ms;             /* thinks for so long about every step */
    unsigned corrupt_chunk;       /* grant: flips one bit of the n-th chunk it sends (from 1); 0: none */
    const struct msg_hello_ok *hello; /* what it says of itself; NULL: the toy's own */
    const void *manifest;             /* what it shows, of hello's length; NULL: the toy's own */
};

struct toy_server;
struct toy_server *toy_server_start(const char *endpoint, const struct identity *id, const struct peer_key *allow, size_t n,
                                    const struct toy_config *config);
const char *toy_server_endpoint(const struct toy_server *s);
struct listener *toy_server_listener(struct toy_server *s);
/* Ends its thread: from then on its listener may be asked from here. */
void toy_server_halt(struct toy_server *s);
void toy_server_stop(struct toy_server *s);
/* Byte i of the manifest that HELLO_OK announces. */
uint8_t toy_server_manifest(size_t i);

#endif
