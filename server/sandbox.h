/* server/sandbox.h - what a server that was taken over could still do: little.
 *
 * Data flow   settings -> Landlock (files: reads its configuration, reads and writes beside its package) for this thread and those it
 *             starts; then, with the sockets bound, a seccomp filter for all threads: no programs, no new sockets, no connecting,
 *             no looking into other processes, no mounting, no kernel modules.
 * Units       none.
 * Errors      a rule that cannot be made. A kernel without one of the two is a warning in the log, not an error.
 * Memory      none kept.
 * Secrets     none.
 * Source      Linux 5.13 (Landlock, landlock(7)), seccomp(2), libseccomp 2.5.
 */
#ifndef STIP_SERVER_SANDBOX_H
#define STIP_SERVER_SANDBOX_H

#include "server/settings.h"

/* Before the threads that shall be bound by it are started. The package's folder must be there. */
MUST_CHECK int sandbox_files(const struct settings *s, struct err *err);
/* Once everything is bound and connected. */
MUST_CHECK int sandbox_calls(const struct settings *s, struct err *err);

#endif
