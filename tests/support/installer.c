#include "tests/support/installer.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/install.h"
#include "transport/listener.h"

static void must(int rc, const struct err *err)
{
    if (rc == 0)
        return;
    (void)fprintf(stderr, "tests/support/installer: %s\n", err->text);
    abort();
}

static enum listener_sent send_frame(void *arg, const struct listener_peer *peer, const struct frame *f)
{
    return listener_send(arg, peer, f);
}

static void serve(struct listener *l, struct install *in, unsigned die_at)
{
    struct listener_peer peer;
    struct frame f;
    struct err err = {0};
    unsigned chunks = 0;
    for (;;) {
        bool ready = false, woken = false;
        enum listener_got got = LISTENER_FRAME;
        int wait = install_tick(in, clock_ms());
        must(listener_poll(&l, 1, -1, wait, &ready, &woken, &err), &err);
        while (got == LISTENER_FRAME) {
            must(listener_recv(l, &got, &peer, &f, &err), &err);
            if (got != LISTENER_FRAME)
                break;
            if (f.h.type == WIRE_CHUNK && ++chunks == die_at)
                (void)raise(SIGKILL);
            install_frame(in, clock_ms(), &peer, &f);
        }
    }
}

void installer_start(struct installer *s, const char *package, const struct identity *self, const struct peer_key *allow,
                     size_t n, unsigned die_at)
{
    installer_start_at(s, "tcp://127.0.0.1:*", package, self, allow, n, die_at);
}

void installer_start_at(struct installer *s, const char *endpoint, const char *package, const struct identity *self,
                        const struct peer_key *allow, size_t n, unsigned die_at)
{
    struct err err = {0};
    int up[2];
    if (pipe(up) != 0)
        abort();
    *s = (struct installer){.pid = fork()};
    if (s->pid == 0) {
        struct transport *t = NULL;
        struct listener *l = NULL;
        struct install *in = NULL;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        must(transport_open(&t, &err), &err);
        must(listener_open(&l, t, "admin", endpoint, self, allow, n, &err), &err);
        must(install_new(&in, package, (struct install_sender){send_frame, l}, &err), &err);
        const char *bound = listener_endpoint(l);
        if (write(up[1], bound, strlen(bound) + 1) < 0)
            abort();
        serve(l, in, die_at);
    }
    close(up[1]);
    if (s->pid < 0 || read(up[0], s->endpoint, sizeof s->endpoint - 1) <= 0)
        abort();
    close(up[0]);
    s->peer.endpoint = s->endpoint;
    s->peer.key = identity_public(self);
}

void installer_stop(struct installer *s)
{
    if (s->pid <= 0)
        return;
    (void)kill(s->pid, SIGKILL);
    (void)waitpid(s->pid, NULL, 0);
    s->pid = 0;
}
