/* model_dev/serve.h - the developer's daemon: brings the package to the servers, gives grants to allowed users.
 *
 * Data flow   config -> one process per server that pushes until the package is there, a thread that makes the grants, and a listener:
 *             user HELLO -> HELLO_OK, GRANT -> OFFER (a blob list with grant.bundle, and canaries.bundle of that user) -> GET,
 *             CHUNK ... -> DONE. Until the grants are made GRANT is answered with BUSY.
 * Units       milliseconds, bytes.
 * Errors      a bad config or package before anything listens; a checkpoint that is not the package's ends serve_run. A user's mistake
 *             costs its connection.
 * Memory      serve_open gives. The grant is built once, in PROTECTED/serve.tmp, which is removed at the end.
 * Secrets     the identity, and the grant's file (0600 in a 0700 folder).
 */
#ifndef STIP_MODEL_DEV_SERVE_H
#define STIP_MODEL_DEV_SERVE_H

#include "base/err.h"
#include "model_dev/dev_config.h"

struct serve;
/* Listens, and begins to make the grants. Starts the pushing processes first: they must not inherit sockets. */
MUST_CHECK int serve_open(struct serve **out, const struct dev_config *config, struct err *err);
void serve_close(struct serve *s);
const char *serve_endpoint(const struct serve *s);
/* ADDRESS:PORT of /metrics, "" for none. */
const char *serve_figures(const struct serve *s);
enum serve_news {
    SERVE_GRANTS, /* the grants are made, users get them from now on: run on */
    SERVE_OTHER,  /* another package lies in the folder: close, and open anew */
    SERVE_SIGNAL, /* wake_fd is readable; the caller reads it */
};
/* Serves until there is news. */
MUST_CHECK int serve_run(struct serve *s, int wake_fd, enum serve_news *news, struct err *err);

#endif
