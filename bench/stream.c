#include "bench/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"

#define READ_BYTES 65536
#define BYTES_MAX ((size_t)64 << 20)

struct stream {
    int port, fd;           /* -1: not connected */
    struct buf out, in;     /* a request; received, and not yet read beyond in_at */
    size_t in_at;
};

int stream_open(struct stream **out, int port, struct err *err)
{
    struct stream *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_oom(err, sizeof *s);
    s->port = port;
    s->fd = -1;
    buf_init(&s->out, BYTES_MAX);
    buf_init(&s->in, BYTES_MAX);
    *out = s;
    return 0;
}

static void hang_up(struct stream *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    s->in.len = s->in_at = 0;
}

void stream_close(struct stream *s)
{
    if (s == NULL)
        return;
    hang_up(s);
    buf_free(&s->out);
    buf_free(&s->in);
    free(s);
}

/* ------------------------------------------------------------------ the request */

static int dial(struct stream *s, struct err *err)
{
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)s->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (s->fd >= 0)
        return 0;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->fd >= 0 && connect(s->fd, (const struct sockaddr *)&to, sizeof to) == 0)
        return 0;
    err_set(err, ERR_PEER, "the gateway at 127.0.0.1:%d: %s", s->port, strerror(errno));
    hang_up(s);
    return -1;
}

static int send_request(struct stream *s, const int32_t *prompt, int n, int max_tokens, const int *never, int never_n,
                        struct err *err)
{
    struct buf body;
    buf_init(&body, BYTES_MAX);
    buf_printf(&body, "{\"stream\":true,\"temperature\":0,\"max_tokens\":%d,\"logit_bias\":{", max_tokens);
    for (int i = 0; i < never_n; i++)
        buf_printf(&body, "%s\"%d\":-100", i == 0 ? "" : ",", never[i]);
    buf_put_str(&body, "},\"prompt\":[");
    for (int i = 0; i < n; i++)
        buf_printf(&body, "%s%d", i == 0 ? "" : ",", (int)prompt[i]);
    buf_put_str(&body, "]}");
    s->out.len = 0;
    buf_printf(&s->out, "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
               "Content-Length: %zu\r\n\r\n", s->port, body.len);
    buf_put(&s->out, body.data, body.len);
    int rc = buf_check(&body, "request", err) != 0 || buf_check(&s->out, "request", err) != 0 ? -1 : 0;
    buf_free(&body);
    for (size_t at = 0; rc == 0 && at < s->out.len;) {
        ssize_t sent = send(s->fd, s->out.data + at, s->out.len - at, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            rc = err_set(err, ERR_PEER, "sending to the gateway: %s", strerror(errno));
        at += sent > 0 ? (size_t)sent : 0;
    }
    return rc;
}

/* ------------------------------------------------------------------ the answer, line by line */

/* The next line without its end; *line is valid until the next call. */
static int next_line(struct stream *s, const char **line, size_t *len, struct err *err)
{
    for (;;) {
        const uint8_t *rest = s->in.data + s->in_at, *end = s->in.len > s->in_at ? memchr(rest, '\n', s->in.len - s->in_at) : NULL;
        if (end != NULL) {
            *line = (const char *)rest;
            *len = (size_t)(end - rest);
            *len -= *len > 0 && rest[*len - 1] == '\r' ? 1 : 0;
            s->in_at += (size_t)(end - rest) + 1;
            return 0;
        }
        if (s->in_at > 0) {
            memmove(s->in.data, rest, s->in.len - s->in_at);
            s->in.len -= s->in_at;
            s->in_at = 0;
        }
        uint8_t *at = buf_extend(&s->in, READ_BYTES);
        if (at == NULL)
            return buf_check(&s->in, "answer of the gateway", err);
        ssize_t n = recv(s->fd, at, READ_BYTES, 0);
        s->in.len -= READ_BYTES - (n > 0 ? (size_t)n : 0);
        if (n == 0 || (n < 0 && errno != EINTR))
            return err_set(err, ERR_PEER, "the gateway broke off: %s", n == 0 ? "end of stream" : strerror(errno));
    }
}

static bool begins(const char *line, size_t len, const char *with)
{
    return len >= strlen(with) && memcmp(line, with, strlen(with)) == 0;
}

/* The status line and all headers. */
static int read_head(struct stream *s, struct err *err)
{
    char status[128];
    const char *line;
    size_t len;
    if (next_line(s, &line, &len, err) != 0)
        return -1;
    (void)snprintf(status, sizeof status, "%.*s", (int)(len < 100 ? len : 100), line);
    do
        if (next_line(s, &line, &len, err) != 0)
            return -1;
    while (len > 0);
    if (strncmp(status, "HTTP/1.1 200", 12) == 0)
        return 0;
    const char *rest = (const char *)s->in.data + s->in_at;
    return err_set(err, ERR_PEER, "the gateway: %s: %.*s", status, (int)(s->in.len - s->in_at), rest);
}

static int read_events(struct stream *s, bool (*event)(void *arg), void *arg, bool *whole, struct err *err)
{
    static const char finish[] = "\"finish_reason\":\"";
    const char *line;
    size_t len;
    bool done = false;
    for (;;) {
        if (next_line(s, &line, &len, err) != 0)
            return -1;
        if (done && len == 1 && line[0] == '0') /* the last chunk; an empty line ends it */
            break;
        if (!begins(line, len, "data: "))
            continue;
        done = begins(line, len, "data: [DONE]");
        if (begins(line, len, "data: {\"error\""))
            return err_set(err, ERR_PEER, "%.*s", (int)len, line);
        if (!done && memmem(line, len, finish, sizeof finish - 1) == NULL && !event(arg)) {
            *whole = false;
            return 0;
        }
    }
    *whole = true;
    return next_line(s, &line, &len, err);
}

int stream_ask(struct stream *s, const int32_t *prompt, int n, int max_tokens, const int *never, int never_n,
               bool (*event)(void *arg), void *arg, bool *whole, struct err *err)
{
    bool all = false;
    int rc = dial(s, err) != 0 || send_request(s, prompt, n, max_tokens, never, never_n, err) != 0 || read_head(s, err) != 0
                 ? -1
                 : read_events(s, event, arg, &all, err);
    if (rc != 0 || !all)
        hang_up(s);
    if (rc == 0)
        *whole = all;
    return rc;
}
