#include "transport/backlog.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/log.h"

#define OVERHEAD 48   /* of a part on the wire: framing and encryption take 35 to 42 bytes */
#define PROVED 266    /* a greeting of 64 bytes and the HELLO of CURVE, which libzmq refuses from who has not our public key */
#define LOOK_SHARE 25 /* of all time, looking takes at most one in so many */
#define LOOK_AT 1024  /* descriptors in one go, so that nobody waits long for us; glibc reads as many at once */

/* What is known of a descriptor. `taken` may hold bytes of a connection that had the number before: it is never too small for an honest
 * one, and what is too large is forgotten at the next look. */
struct line {
    uint64_t cookie; /* the kernel's name of the connection; 0: none was seen */
    uint64_t taken, looked; /* looked: of taken, at the last look */
    uint64_t since_ms;      /* when it was seen first */
};

struct backlog {
    unsigned port;
    uint64_t next_ms;
    long place;         /* in /proc/self/fd, where the next look goes on; 0: at its beginning */
    unsigned begun, begun_now; /* connections that have begun a handshake and are not PROVED: when all had been looked at, so far */
    uint64_t ending_us; /* of this look, what ending connections took: once for each, however often we look */
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

/* Of this thread: on a machine that has other work our share of it is what counts, not how long we were kept from it. */
static uint64_t cpu_us(void)
{
    struct timespec t = {0};
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Between the look and this the number may have become that of another connection, which then comes again. */
static void end(struct backlog *b, int fd)
{
    const uint64_t start = cpu_us();
    (void)shutdown(fd, SHUT_RDWR);
    b->ending_us += cpu_us() - start;
}

/* Of who is silent the kernel knows since when. Who has begun a handshake has the time that libzmq gives it, for thousands may come at
 * once and their machines may be slow, unless there are too many of them. */
static bool out_of_time(struct backlog *b, const struct line *l, const struct tcp_info *info, uint64_t now_ms)
{
    if (info->tcpi_bytes_received == 0)
        return info->tcpi_last_data_recv >= BACKLOG_SILENT_MS;
    if (info->tcpi_bytes_received >= PROVED)
        return false;
    b->begun_now++;
    return b->begun > BACKLOG_BEGUN && now_ms - l->since_ms >= BACKLOG_SILENT_MS;
}

static void look_at(struct backlog *b, int fd, uint64_t now_ms)
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
        *l = (struct line){.cookie = cookie, .taken = l->taken - l->looked, .since_ms = now_ms};
    if (out_of_time(b, l, &info, now_ms)) {
        end(b, fd);
        return;
    }
    const uint64_t got = info.tcpi_bytes_received;
    l->looked = l->taken = l->taken < got ? l->taken : got;
    if (got - l->taken <= BACKLOG_MAX)
        return;
    end(b, fd);
    log_warn("a connection was ended: %llu bytes came that make no whole message", (unsigned long long)(got - l->taken));
}

int backlog_look(struct backlog *b, uint64_t now_ms)
{
    if (now_ms < b->next_ms)
        return (int)(b->next_ms - now_ms);
    const uint64_t start = cpu_us();
    DIR *d = opendir("/proc/self/fd");
    b->ending_us = 0;
    if (d != NULL) {
        const struct dirent *e = NULL;
        if (b->place != 0)
            seekdir(d, b->place); /* the kernel's places are descriptors: they mean the same in another stream */
        for (int n = 0; n < LOOK_AT && (e = readdir(d)) != NULL; n++)
            if (e->d_name[0] != '.')
                look_at(b, atoi(e->d_name), now_ms);
        b->place = e == NULL ? 0 : telldir(d);
        (void)closedir(d);
    }
    if (b->place == 0) {
        b->begun = b->begun_now;
        b->begun_now = 0;
    }
    const uint64_t pause = (cpu_us() - start - b->ending_us) * LOOK_SHARE / 1000, least = b->place != 0 ? 1 : BACKLOG_LOOK_MS;
    b->next_ms = now_ms + (pause > least ? pause : least);
    return (int)(b->next_ms - now_ms);
}
