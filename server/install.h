/* server/install.h - a developer's package arrives: the admin link as a state machine, no sockets, no threads, no clock.
 *
 * Data flow   frame + time -> install_frame -> answers through `send`: HELLO_OK, then per OFFER the manifest is pulled, its
 *             signature checked with the key of the very peer, its time and its epoch (WRONG_EPOCH: this developer has
 *             installed a later one already), the files pulled chunk by chunk into PACKAGE.new.part, and
 *             when all are right PACKAGE.new takes the place of PACKAGE. install_take_ready tells the role to load it.
 * Units       milliseconds (any monotonic clock), bytes.
 * Errors      a peer's mistake and a full disk are answered with an ERROR frame; the old package stays and what has
 *             arrived is kept for the next OFFER. install_new: memory, a folder that cannot be put in order.
 * Memory      install_new gives. One transfer at a time; others get BUSY. At most 64 connections are remembered.
 * Secrets     permuted weights only.
 */
#ifndef STIP_SERVER_INSTALL_H
#define STIP_SERVER_INSTALL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "transport/listener.h"

struct install_sender {
    enum listener_sent (*send)(void *arg, const struct listener_peer *peer, const struct frame *f);
    void *arg;
};

struct install;
/* Finishes an exchange of packages that a crash cut short. `package` need not exist, its parent folder must be writable. */
MUST_CHECK int install_new(struct install **out, const char *package, struct install_sender sender, struct err *err);
void install_free(struct install *in);

/* Peers are those that the admin listener let in: their keys are the developers'. */
void install_frame(struct install *in, uint64_t now_ms, const struct listener_peer *peer, const struct frame *f);
/* Goes on checking what an earlier transfer left, and forgets silent peers. Returns in how many milliseconds it wants to be
 * called again (0: at once), -1 when nothing is going on. */
int install_tick(struct install *in, uint64_t now_ms);
/* True once after each new package. */
bool install_take_ready(struct install *in);

#endif
