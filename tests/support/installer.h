/* tests/support/installer.h - a server that only takes packages, in a process of its own on loopback.
 *
 * Data flow   admin listener -> server/install -> PACKAGE folder.
 * Errors      a step that fails ends the test with a message.
 * Memory      the caller owns the struct.
 * Secrets     of a test.
 */
#ifndef STIP_TESTS_SUPPORT_INSTALLER_H
#define STIP_TESTS_SUPPORT_INSTALLER_H

#include <stddef.h>
#include <sys/types.h>

#include "transport/role_config.h"

struct installer {
    pid_t pid;
    char endpoint[256];
    struct role_peer peer; /* for push_to */
};

/* die_at: the process kills itself (SIGKILL) when CHUNK number die_at arrives, counted from 1; 0: never. */
void installer_start(struct installer *s, const char *package, const struct identity *self, const struct peer_key *allow,
                     size_t n, unsigned die_at);
/* The same at a given address. */
void installer_start_at(struct installer *s, const char *endpoint, const char *package, const struct identity *self,
                        const struct peer_key *allow, size_t n, unsigned die_at);
void installer_stop(struct installer *s);

#endif
