/* transport/role_banner.h - what a daemon's operator pastes into the configs of the others, shown when it starts on a terminal.
 *
 * Data flow   endpoint that is really bound, own public key -> lines of a config on stderr. Without a terminal nothing is printed.
 * Errors      none.
 * Memory      none.
 * Secrets     the public key only.
 */
#ifndef STIP_TRANSPORT_ROLE_BANNER_H
#define STIP_TRANSPORT_ROLE_BANNER_H

#include "transport/identity.h"

/* One line: `whose` config gets it, `before` stands in front of { "endpoint", "key" }. An endpoint of all addresses shows the name of
 * this machine, which the others must be able to resolve. */
void role_banner(const char *whose, const char *before, const char *endpoint, const struct identity *id);

#endif
