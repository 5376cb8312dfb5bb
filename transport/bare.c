#include "transport/bare.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/zmq_door.h"

struct bare {
    void *socket;
};

static int new_pair(struct bare **out, struct transport *t, int queue, struct err *err)
{
    /* Nothing is lost at the end, and nothing waits for a peer that died. */
    const struct zmq_option options[] = {{ZMQ_LINGER, 1000}, {ZMQ_SNDHWM, queue}, {ZMQ_RCVHWM, queue}, {ZMQ_SNDTIMEO, BARE_SEND_MS}};
    struct bare *l = calloc(1, sizeof *l);
    if (l == NULL)
        return err_oom(err, sizeof *l);
    l->socket = zmq_socket(transport_context(t), ZMQ_PAIR);
    if (l->socket == NULL) {
        free(l);
        return err_set(err, ERR_INTERNAL, "cannot make a socket: %s", zmq_strerror(errno));
    }
    if (transport_options(l->socket, options, sizeof options / sizeof *options, err) != 0) {
        bare_close(l);
        return -1;
    }
    *out = l;
    return 0;
}

/* "tcp://ADDRESS:" of this machine, or of namespaces of it. */
static int stays_here(const char *endpoint, struct err *err)
{
    static const char here[] = "tcp://" BARE_HERE ":", *const kept[] = {"tcp://198.18.", "tcp://198.19."};
    if (strncmp(endpoint, here, sizeof here - 1) == 0 || strncmp(endpoint, kept[0], strlen(kept[0])) == 0 || strncmp(endpoint, kept[1], strlen(kept[1])) == 0)
        return 0;
    return err_set(err, ERR_USAGE, "address \"%.200s\": a line without encryption stays on 127.0.0.1, or on addresses kept for measurements (198.18.0.0/15)",
                   endpoint);
}

int bare_listen(struct bare **out, struct transport *t, const char *at, int queue, char endpoint[BARE_ENDPOINT], struct err *err)
{
    struct bare *l = NULL;
    size_t size = BARE_ENDPOINT;
    char wanted[BARE_ENDPOINT];
    (void)snprintf(wanted, sizeof wanted, "tcp://%.40s:*", at);
    if (stays_here(wanted, err) != 0 || new_pair(&l, t, queue, err) != 0)
        return -1;
    if (zmq_bind(l->socket, wanted) != 0 || zmq_getsockopt(l->socket, ZMQ_LAST_ENDPOINT, endpoint, &size) != 0) {
        err_set(err, ERR_INTERNAL, "cannot listen on %.40s: %s", at, zmq_strerror(errno));
        bare_close(l);
        return -1;
    }
    *out = l;
    return 0;
}

int bare_connect(struct bare **out, struct transport *t, const char *endpoint, int queue, struct err *err)
{
    struct bare *l = NULL;
    if (transport_endpoint(endpoint, false, err) != 0 || stays_here(endpoint, err) != 0 || new_pair(&l, t, queue, err) != 0)
        return -1;
    if (zmq_connect(l->socket, endpoint) != 0) {
        err_set(err, ERR_PEER, "cannot connect to %s: %s", endpoint, zmq_strerror(errno));
        bare_close(l);
        return -1;
    }
    *out = l;
    return 0;
}

void bare_close(struct bare *l)
{
    if (l == NULL)
        return;
    zmq_close(l->socket);
    free(l);
}

int bare_send(struct bare *l, const void *data, size_t n, struct err *err)
{
    while (zmq_send(l->socket, data, n, 0) < 0)
        if (errno != EINTR)
            return err_set(err, ERR_PEER, "sending %zu bytes: %s", n, errno == EAGAIN ? "the peer takes none" : zmq_strerror(errno));
    return 0;
}

int bare_recv(struct bare *l, void *data, size_t n, int timeout_ms, struct err *err)
{
    zmq_pollitem_t item = {.socket = l->socket, .events = ZMQ_POLLIN};
    zmq_msg_t message;
    int ready;
    while ((ready = zmq_poll(&item, 1, timeout_ms)) < 0 && errno == EINTR)
        continue;
    if (ready <= 0)
        return err_set(err, ERR_PEER, "nothing came from the peer within %d s", timeout_ms / 1000);
    if (zmq_msg_init(&message) != 0 || zmq_msg_recv(&message, l->socket, 0) < 0)
        return err_set(err, ERR_PEER, "receiving: %s", zmq_strerror(errno));
    int rc = 0;
    if (zmq_msg_size(&message) == n)
        memcpy(data, zmq_msg_data(&message), n);
    else
        rc = err_set(err, ERR_PEER, "the peer sent %zu bytes where %zu were expected: it runs another version or another job",
                     zmq_msg_size(&message), n);
    zmq_msg_close(&message);
    return rc;
}
