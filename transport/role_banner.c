#include "transport/role_banner.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

void role_banner(const char *whose, const char *before, const char *endpoint, const struct identity *id)
{
    static const char *const all[] = {"tcp://0.0.0.0:", "tcp://[::]:", "tcp://*:"};
    struct peer_key self = identity_public(id);
    char key[PEER_KEY_TEXT], host[256] = "this-machine", reachable[320];
    if (isatty(STDERR_FILENO) != 1)
        return;
    peer_key_text(&self, key);
    (void)snprintf(reachable, sizeof reachable, "%s", endpoint);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strncmp(endpoint, all[i], strlen(all[i])) == 0) {
            (void)gethostname(host, sizeof host - 1);
            (void)snprintf(reachable, sizeof reachable, "tcp://%.200s:%.16s", host, endpoint + strlen(all[i]));
        }
    (void)fprintf(stderr, "  %-16s %s{ \"endpoint\": \"%s\", \"key\": \"%s\" }\n", whose, before, reachable, key);
}
