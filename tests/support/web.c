#include "tests/support/web.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "tests/support/slow.h"

#define ANSWER_MS 120000
#define ANSWER_MAX ((size_t)256 << 20)

_Noreturn static void die(const char *what)
{
    (void)fprintf(stderr, "tests/support/web: %s\n", what);
    abort();
}

/* ------------------------------------------------------------------ the gateway */

void gateway_open(struct gateway *g, const struct trio *t, const char *const words[])
{
    char exe[FILE_PATH_MAX], config[FILE_PATH_MAX];
    char *argv[40] = {exe,
                      (char *)(uintptr_t) "serve",
                      (char *)(uintptr_t) "--config",
                      config,
                      (char *)(uintptr_t) "--json",
                      (char *)(uintptr_t) "--listen",
                      (char *)(uintptr_t) "127.0.0.1:0"};
    size_t n = 7;
    int64_t port;
    struct json_doc *ready;
    struct err err;
    (void)snprintf(exe, sizeof exe, "%s", shell_program("stip-user"));
    (void)snprintf(config, sizeof config, "%s", trio_path(t, "user.json"));
    for (size_t i = 0; words[i] != NULL && n < 39; i++)
        argv[n++] = (char *)(uintptr_t)words[i];
    *g = (struct gateway){.process.out = -1};
    if (process_start(&g->process, "stip-user", argv, true, trio_path(t, "gateway.log"), &err) != 0 ||
        process_event(&g->process, "ready", 60000, &ready, &err) != 0 ||
        json_get_int(ready, json_root(ready), "port", 1, 65535, &port, &err) != 0)
        die(err.text);
    json_free(ready);
    g->port = (int)port;
}

int gateway_close(struct gateway *g)
{
    return process_stop(&g->process);
}

/* ------------------------------------------------------------------ sending */

static int dial(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof to) != 0)
        die(strerror(errno));
    return fd;
}

/* A peer that has closed early is not our failure: its answer may have come. */
static void send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        data += n;
        len -= (size_t)n;
    }
}

int web_send(int port, const char *method, const char *path, const char *headers, const char *body, size_t len)
{
    char head[8192], host[64] = "";
    int fd = dial(port);
    if (strncasecmp(headers, "Host:", 5) != 0 && strcasestr(headers, "\nHost:") == NULL)
        (void)snprintf(host, sizeof host, "Host: 127.0.0.1:%d\r\n", port);
    int n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\n%s%sConnection: close\r\n", method, path, host, headers);
    if (n < 0 || (size_t)n + 64 > sizeof head)
        die("headers too long");
    n += snprintf(head + n, sizeof head - (size_t)n,
                  body == NULL ? "\r\n" : "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", len);
    send_all(fd, head, (size_t)n);
    if (body != NULL)
        send_all(fd, body, len);
    return fd;
}

/* ------------------------------------------------------------------ receiving */

/* False at the end, or when time is over. */
static bool more(int fd, struct buf *b, uint64_t deadline)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    uint64_t now = clock_ms();
    if (now >= deadline || poll(&p, 1, (int)(deadline - now)) <= 0)
        return false;
    uint8_t *at = buf_extend(b, 65536);
    if (at == NULL)
        die("an answer too large");
    ssize_t n = recv(fd, at, 65536, 0);
    b->len -= 65536 - (n > 0 ? (size_t)n : 0);
    return n > 0;
}

bool web_comes(int fd, const char *text)
{
    static char seen[65536];
    for (const uint64_t end = clock_ms() + ANSWER_MS * slow_times(); clock_ms() < end; (void)poll(NULL, 0, 2)) {
        const ssize_t n = recv(fd, seen, sizeof seen, MSG_PEEK);
        if (n <= 0)
            return false;
        if (memmem(seen, (size_t)n, text, strlen(text)) != NULL)
            return true;
    }
    return false;
}

/* Takes the chunk lines out; true if the last chunk was there. */
static bool dechunk(struct web *w)
{
    size_t from = 0, to = 0;
    for (;;) {
        char *end;
        if (from >= w->len)
            break;
        size_t n = strtoul(w->body + from, &end, 16);
        size_t start = (size_t)(end - w->body) + 2;
        if (n == 0 && end > w->body + from) {
            w->len = to;
            w->body[to] = '\0';
            return true;
        }
        if (n == 0 || start + n > w->len)
            break;
        memmove(w->body + to, w->body + start, n);
        to += n;
        from = start + n + 2;
    }
    w->len = to;
    w->body[to] = '\0';
    return false;
}

void web_finish(int fd, struct web *out)
{
    struct buf b;
    uint64_t deadline = clock_ms() + ANSWER_MS * slow_times();
    buf_init(&b, ANSWER_MAX);
    while (more(fd, &b, deadline))
        continue;
    close(fd);
    *out = (struct web){0};
    size_t len = 0;
    char *all = buf_take(&b, &len);
    if (all == NULL)
        die("out of memory");
    char *gap = memmem(all, len, "\r\n\r\n", 4);
    if (gap == NULL || sscanf(all, "HTTP/1.%*d %d", &out->status) != 1) {
        free(all);
        out->head = calloc(1, 1);
        out->body = calloc(1, 1);
        return;
    }
    out->head = strndup(all, (size_t)(gap - all) + 2);
    out->len = len - (size_t)(gap + 4 - all);
    out->body = malloc(out->len + 1);
    if (out->head == NULL || out->body == NULL)
        die("out of memory");
    memcpy(out->body, gap + 4, out->len);
    out->body[out->len] = '\0';
    free(all);
    const char *length = strcasestr(out->head, "\r\nContent-Length:");
    if (strcasestr(out->head, "\r\nTransfer-Encoding: chunked") != NULL)
        out->whole = dechunk(out);
    else
        out->whole = length != NULL && strtoul(length + 17, NULL, 10) == out->len;
}

void web_request(int port, const char *method, const char *path, const char *headers, const char *body, size_t len,
                 struct web *out)
{
    web_finish(web_send(port, method, path, headers, body, len), out);
}

void web_call(int port, const char *path, const char *headers, const char *body, struct web *out)
{
    web_request(port, body == NULL ? "GET" : "POST", path, headers, body, body == NULL ? 0 : strlen(body), out);
}

void web_free(struct web *w)
{
    free(w->head);
    free(w->body);
    *w = (struct web){0};
}

struct json_doc *web_json(const struct web *w)
{
    struct json_doc *doc = NULL;
    struct err err = {0};
    if (json_parse(&doc, w->body, w->len, false, "answer", &err) != 0) {
        (void)fprintf(stderr, "tests/support/web: status %d: %.400s\n", w->status, w->body);
        die(err.text);
    }
    return doc;
}
