#include "bench/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define CONNECTIONS 64
#define PIECE 16384
#define LOOK_US 100000 /* how often *stop is looked at */

struct piece {
    struct piece *next;
    uint64_t due_us;
    size_t len, at; /* len 0: the end of the stream */
    char data[PIECE];
};

/* What goes from one socket to another. */
struct flow {
    int from, to;
    struct piece *first, **last;
    size_t queued;
    bool read_all, wrote_all; /* the end was read; and passed on */
};

struct pair {
    int client, server; /* -1: free */
    struct flow up, down;
};

struct link {
    int listener;
    struct sockaddr_in to;
    char endpoint[64];
    uint64_t delay_us;
    double us_per_byte;
    uint64_t free_us[2]; /* when the line is free: up, down */
    struct pair pairs[CONNECTIONS];
};

/* ------------------------------------------------------------------ sockets */

static int parse(const char *endpoint, bool any_port, struct sockaddr_in *out, struct err *err)
{
    char address[64];
    const char *host = endpoint, *colon = strrchr(endpoint, ':');
    char *end = NULL;
    if (strncmp(endpoint, "tcp://", 6) != 0 || colon < endpoint + 6 || (size_t)(colon - endpoint - 6) >= sizeof address)
        return err_set(err, ERR_USAGE, "'%.60s': expected tcp://ADDRESS:PORT", endpoint);
    host += 6;
    (void)snprintf(address, sizeof address, "%.*s", (int)(colon - host), host);
    long port = any_port && strcmp(colon, ":*") == 0 ? 0 : strtol(colon + 1, &end, 10);
    *out = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, address, &out->sin_addr) != 1 || port < 0 || port > 65535 || (end != NULL && (*end != '\0' || port == 0)))
        return err_set(err, ERR_USAGE, "'%.60s': expected a numeric address and a port", endpoint);
    return 0;
}

/* What comes in small pieces leaves so: a line does not wait for more. */
static void no_delay(int fd)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int link_open(struct link **out, const char *listen_at, const char *to, double rtt_ms, double rate_mbit, struct err *err)
{
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    char text[INET_ADDRSTRLEN];
    int on = 1;
    struct link *l = calloc(1, sizeof *l);
    if (l == NULL)
        return err_oom(err, sizeof *l);
    l->listener = -1;
    for (int i = 0; i < CONNECTIONS; i++)
        l->pairs[i].client = l->pairs[i].server = -1;
    l->delay_us = (uint64_t)(rtt_ms * 500);
    l->us_per_byte = rate_mbit > 0 ? 8 / rate_mbit : 0;
    if (parse(listen_at, true, &at, err) != 0 || parse(to, false, &l->to, err) != 0)
        goto fail;
    l->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->listener < 0 || setsockopt(l->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(l->listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(l->listener, CONNECTIONS) != 0 ||
        getsockname(l->listener, (struct sockaddr *)&at, &len) != 0) {
        err_set(err, ERR_PEER, "cannot listen on %s: %s", listen_at, strerror(errno));
        goto fail;
    }
    (void)inet_ntop(AF_INET, &at.sin_addr, text, sizeof text);
    (void)snprintf(l->endpoint, sizeof l->endpoint, "tcp://%s:%u", text, ntohs(at.sin_port));
    *out = l;
    return 0;
fail:
    link_close(l);
    return -1;
}

const char *link_endpoint(const struct link *l)
{
    return l->endpoint;
}

/* ------------------------------------------------------------------ one direction */

static void flow_start(struct flow *f, int from, int to)
{
    *f = (struct flow){.from = from, .to = to};
    f->last = &f->first;
}

static void pop(struct flow *f)
{
    struct piece *p = f->first;
    f->first = p->next;
    if (f->first == NULL)
        f->last = &f->first;
    f->queued -= p->len;
    free(p);
}

static bool wants_to_read(const struct flow *f)
{
    return !f->read_all && f->queued < LINK_QUEUE;
}

static bool due(const struct flow *f, uint64_t now)
{
    return f->first != NULL && f->first->due_us <= now;
}

/* All that there is to read now. False: the connection is broken. */
static bool take(struct link *l, struct flow *f, uint64_t *free_us, uint64_t now)
{
    while (wants_to_read(f)) {
        struct piece *p = malloc(sizeof *p);
        if (p == NULL)
            return false;
        ssize_t n = recv(f->from, p->data, sizeof p->data, MSG_DONTWAIT);
        if (n < 0) {
            free(p);
            return errno == EAGAIN || errno == EINTR;
        }
        uint64_t start = *free_us > now ? *free_us : now;
        *free_us = start + (uint64_t)((double)n * l->us_per_byte);
        p->next = NULL;
        p->due_us = *free_us + l->delay_us;
        p->len = (size_t)n;
        p->at = 0;
        *f->last = p;
        f->last = &p->next;
        f->queued += p->len;
        f->read_all = n == 0;
    }
    return true;
}

static bool give(struct flow *f, uint64_t now)
{
    while (due(f, now)) {
        struct piece *p = f->first;
        if (p->len == 0) {
            (void)shutdown(f->to, SHUT_WR);
            f->wrote_all = true;
        }
        while (p->at < p->len) {
            ssize_t n = send(f->to, p->data + p->at, p->len - p->at, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n < 0)
                return errno == EAGAIN || errno == EINTR;
            p->at += (size_t)n;
        }
        pop(f);
    }
    return true;
}

/* ------------------------------------------------------------------ connections */

static void drop(struct pair *c)
{
    if (c->client < 0)
        return;
    while (c->up.first != NULL)
        pop(&c->up);
    while (c->down.first != NULL)
        pop(&c->down);
    (void)close(c->client);
    (void)close(c->server);
    c->client = c->server = -1;
}

static void admit(struct link *l)
{
    int client = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC), server = -1;
    struct pair *c = l->pairs;
    while (c < l->pairs + CONNECTIONS && c->client >= 0)
        c++;
    if (client < 0)
        return;
    if (c < l->pairs + CONNECTIONS)
        server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server < 0 || connect(server, (struct sockaddr *)&l->to, sizeof l->to) != 0) {
        if (server >= 0)
            (void)close(server);
        (void)close(client);
        return;
    }
    no_delay(client);
    no_delay(server);
    c->client = client;
    c->server = server;
    flow_start(&c->up, client, server);
    flow_start(&c->down, server, client);
}

static short events_of(const struct flow *reads, const struct flow *writes, uint64_t now)
{
    return (short)((wants_to_read(reads) ? POLLIN : 0) | (due(writes, now) ? POLLOUT : 0));
}

static uint64_t next_due(const struct link *l, uint64_t now)
{
    uint64_t at = now + LOOK_US;
    for (const struct pair *c = l->pairs; c < l->pairs + CONNECTIONS; c++)
        for (int i = 0; c->client >= 0 && i < 2; i++) {
            const struct piece *p = i == 0 ? c->up.first : c->down.first;
            if (p != NULL && p->due_us > now && p->due_us < at)
                at = p->due_us;
        }
    return at;
}

int link_run(struct link *l, volatile const int *stop, struct err *err)
{
    struct pollfd fds[1 + 2 * CONNECTIONS];
    while (!*stop) {
        uint64_t now = clock_us();
        fds[0] = (struct pollfd){.fd = l->listener, .events = POLLIN};
        for (int i = 0; i < CONNECTIONS; i++) {
            struct pair *c = &l->pairs[i];
            fds[1 + 2 * i] = (struct pollfd){.fd = c->client};
            fds[2 + 2 * i] = (struct pollfd){.fd = c->server};
            if (c->client < 0)
                continue;
            fds[1 + 2 * i].events = events_of(&c->up, &c->down, now);
            fds[2 + 2 * i].events = events_of(&c->down, &c->up, now);
        }
        uint64_t wait_us = next_due(l, now) - now;
        const struct timespec wait = {.tv_sec = (time_t)(wait_us / 1000000), .tv_nsec = (long)(wait_us % 1000000) * 1000};
        if (ppoll(fds, sizeof fds / sizeof *fds, &wait, NULL) < 0 && errno != EINTR)
            return err_set(err, ERR_PEER, "waiting for the line: %s", strerror(errno));
        now = clock_us();
        for (int i = 0; i < CONNECTIONS; i++) {
            struct pair *c = &l->pairs[i];
            if (c->client >= 0 && (!take(l, &c->up, &l->free_us[0], now) || !take(l, &c->down, &l->free_us[1], now) ||
                                   !give(&c->up, now) || !give(&c->down, now) || (c->up.wrote_all && c->down.wrote_all)))
                drop(c);
        }
        if (fds[0].revents != 0)
            admit(l);
    }
    return 0;
}

void link_close(struct link *l)
{
    if (l == NULL)
        return;
    for (int i = 0; i < CONNECTIONS; i++)
        drop(&l->pairs[i]);
    if (l->listener >= 0)
        (void)close(l->listener);
    free(l);
}
