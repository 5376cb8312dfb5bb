#include "transport/backlog.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"

#define OVERHEAD 48   /* of a part on the wire: framing and encryption take 35 to 42 bytes */
#define LOOK_SHARE 50 /* of all time, looking takes at most one in so many */

/* What is known of a descriptor. `taken` may hold bytes of a connection that had the number before: it is never too small for an honest
 * one, and what is too large is forgotten at the next look. */
struct line {
    uint64_t cookie; /* the kernel's name of the connection; 0: none was seen */
    uint64_t taken, looked; /* looked: of taken, at the last look */
};

struct backlog {
    unsigned port;
    uint64_t next_ms;
    struct line *line; /* by descriptor */
    size_t lines;
};

int backlog_new(struct backlog **out, unsigned port, struct err *err)
{
    struct backlog *b = calloc(1, sizeof *b);
    if (b == NULL)
        return err_oom(err, sizeof *b);
    b->port = port;
    *out = b;
    return 0;
}

void backlog_free(struct backlog *b)
{
    if (b == NULL)
        return;
    free(b->line);
    free(b);
}

/* NULL: no memory, or no descriptor. */
static struct line *line_of(struct backlog *b, int fd)
{
    if (fd < 0)
        return NULL;
    if ((size_t)fd >= b->lines) {
        const size_t n = 2 * ((size_t)fd + 8);
        struct line *more = realloc(b->line, n * sizeof *more);
        if (more == NULL)
            return NULL;
        memset(more + b->lines, 0, (n - b->lines) * sizeof *more);
        b->line = more;
        b->lines = n;
    }
    return &b->line[fd];
}

void backlog_took(struct backlog *b, int fd, size_t bytes)
{
    struct line *l = line_of(b, fd);
    if (l != NULL)
        l->taken += bytes + OVERHEAD;
}

/* A connection that was accepted at our port. */
static bool ours(const struct backlog *b, int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t size = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &size) != 0)
        return false;
    return (a.ss_family == AF_INET && ntohs(((const struct sockaddr_in *)&a)->sin_port) == b->port) ||
           (a.ss_family == AF_INET6 && ntohs(((const struct sockaddr_in6 *)&a)->sin6_port) == b->port);
}

static void look_at(struct backlog *b, int fd)
{
    uint64_t cookie = 0;
    struct tcp_info info = {0};
    socklen_t cookie_size = sizeof cookie, size = sizeof info;
    if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &cookie_size) != 0)
        return;
    struct line *l = line_of(b, fd);
    if (l == NULL || (l->cookie != cookie && !ours(b, fd)) || getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
        return;
    if (l->cookie != cookie)
        *l = (struct line){.cookie = cookie, .taken = l->taken - l->looked};
    const uint64_t got = info.tcpi_bytes_received;
    l->looked = l->taken = l->taken < got ? l->taken : got;
    if (got - l->taken <= BACKLOG_MAX)
        return;
    /* The number may by now be that of another connection only if that one has brought as much. */
    (void)shutdown(fd, SHUT_RDWR);
    log_warn("a connection was ended: %llu bytes came that make no whole message", (unsigned long long)(got - l->taken));
}

int backlog_look(struct backlog *b, uint64_t now_ms)
{
    if (now_ms < b->next_ms)
        return (int)(b->next_ms - now_ms);
    const uint64_t start = clock_ms();
    DIR *d = opendir("/proc/self/fd");
    if (d != NULL) {
        for (const struct dirent *e; (e = readdir(d)) != NULL;)
            if (e->d_name[0] != '.')
                look_at(b, atoi(e->d_name));
        (void)closedir(d);
    }
    const uint64_t pause = (clock_ms() - start) * LOOK_SHARE;
    b->next_ms = now_ms + (pause > BACKLOG_LOOK_MS ? pause : BACKLOG_LOOK_MS);
    return (int)(b->next_ms - now_ms);
}
