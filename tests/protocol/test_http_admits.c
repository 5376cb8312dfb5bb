/* transport/http: whom it lets through to the handler, by Host, Origin, key and size. Each request is written by hand, on a connection of
 * its own. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/http.h"

#define BODY_MAX 1000

static struct http *server;
static struct err err;
static atomic_int handled;
static char answer[4096];

static void handle(void *arg, struct http_request *r)
{
    (void)arg;
    cr_assert_leq(r->body_len, BODY_MAX);
    atomic_fetch_add(&handled, 1);
    http_reply(r, 200, "text/plain", strdup("ok\n"), 3);
}

static void open_with(const char *key, const char *hosts, const char *origins)
{
    static const char *const open_paths[] = {"/health", NULL};
    const struct http_opts opts = {.listen = "127.0.0.1:0", .key = key, .open_paths = open_paths, .hosts = hosts, .origins = origins,
                                   .body_max = BODY_MAX, .connections = 4, .handle = handle};
    cr_assert_eq(http_open(&server, &opts, &err), 0, "%s", err.text);
}

static void drop(void)
{
    http_close(server);
}

TestSuite(http_admits, .fini = drop);

/* The status of the answer; that the handler was called says the same. */
static int ask(const char *request)
{
    const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)http_port(server)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), before = atomic_load(&handled);
    const struct timeval patience = {.tv_sec = 60};
    size_t len = 0;
    int status = 0;
    cr_assert(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0 &&
              connect(fd, (const struct sockaddr *)&to, sizeof to) == 0);
    cr_assert_eq(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    for (ssize_t n; len < sizeof answer - 1 && (n = recv(fd, answer + len, sizeof answer - 1 - len, 0)) > 0;)
        len += (size_t)n;
    close(fd);
    answer[len] = '\0';
    cr_assert_eq(sscanf(answer, "HTTP/1.%*d %d", &status), 1, "%s: %s", request, answer);
    cr_expect_eq(atomic_load(&handled) - before, status == 200, "%s", request);
    return status;
}

/* GET with these headers; the connection ends behind it. */
static int get(const char *path, const char *format, const char *value)
{
    char headers[512], request[1024];
    (void)snprintf(headers, sizeof headers, format, value);
    (void)snprintf(request, sizeof request, "GET %s HTTP/1.1\r\n%sConnection: close\r\n\r\n", path, headers);
    return ask(request);
}

struct one {
    const char *value;
    int status;
};

/* Mutations: a name compared by its beginning or its end, in either direction; what follows an address or a name; no Host at all; a
 * bracket that is not closed (it was so: the byte behind the text was looked at). */
Test(http_admits, by_host)
{
    static const struct one hosts[] = {
        {"localhost", 200}, {"LOCALHOST:80", 200}, {"127.0.0.1", 200}, {"10.1.2.3:7847", 200}, {"[::1]", 200}, {"[::1]:7847", 200},
        {"box.local", 200}, {"BOX.local:80", 200}, {"chat.example", 200},
        {"", 403}, {"evil.example", 403}, {"localhost.evil.example", 403}, {"127.0.0.1.evil.example", 403}, {"xbox.local", 403},
        {"box.locals", 403}, {"box.loca", 403}, {"box.local.evil.example", 403}, {"chat.example.evil", 403}, {"box.local,chat.example", 403}, {"box", 403},
        {",", 403}, {"[::1]x", 403}, {"[::1", 403}, {"[box.local]", 403}, {"::1", 403}, {"127.0.0.1@evil.example", 403}, {"127.1", 403}};
    open_with(NULL, "box.local,chat.example", NULL);
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        cr_expect_eq(get("/", "Host: %s\r\n", hosts[i].value), hosts[i].status, "Host: %s", hosts[i].value);
    cr_expect_eq(ask("GET / HTTP/1.0\r\n\r\n"), 403, "no Host");
    char request[512], name[300];
    memset(name, 'a', sizeof name);
    (void)snprintf(request, sizeof request, "%.*s", 299, name);
    cr_expect_eq(get("/", "Host: %s\r\n", request), 403, "a long name");
}

/* Mutations: origins by their beginning or end, a page of another port, no look at them; the header that lets a page read, for every page. */
Test(http_admits, by_origin)
{
    static const struct one origins[] = {
        {"https://app.example", 200}, {"http://localhost:3000", 200}, {"http://127.0.0.1:7847", 200},
        {"https://app.example.evil", 403}, {"https://app.exampl", 403}, {"http://app.example", 403}, {"https://evil.example", 403},
        {"http://127.0.0.1:78471", 403}, {"http://127.0.0.1:784", 403}, {"http://127.0.0.1", 403}, {"https://127.0.0.1:7847", 403}, {"null", 403}};
    open_with(NULL, NULL, "https://app.example,http://localhost:3000");
    for (size_t i = 0; i < sizeof origins / sizeof *origins; i++) {
        char allowed[256];
        (void)snprintf(allowed, sizeof allowed, "Access-Control-Allow-Origin: %s\r\n", origins[i].value);
        cr_expect_eq(get("/", "Host: 127.0.0.1:7847\r\nOrigin: %s\r\n", origins[i].value), origins[i].status, "Origin: %s", origins[i].value);
        cr_expect_eq(strstr(answer, allowed) != NULL, origins[i].status == 200, "Origin: %s: %s", origins[i].value, answer);
        cr_expect(strstr(answer, "X-Content-Type-Options: nosniff\r\n") != NULL && strstr(answer, "Cache-Control: no-store\r\n") != NULL, "%s", answer);
    }
}

/* Mutations: a key compared by its beginning, in either direction, or its length; another scheme; paths that begin as one that is open. */
Test(http_admits, by_key)
{
    static const struct one keys[] = {{"Bearer a-long-secret", 200}, {"bearer a-long-secret", 200}, {"Bearer a-long-secreT", 401},
                                      {"Bearer a-long-secret2", 401}, {"Bearer a-long-secre", 401}, {"Bearer ", 401}, {"a-long-secret", 401},
                                      {"Basic a-long-secret", 401}, {"Bearera-long-secret", 401}, {"Bearer  a-long-secret", 401}};
    open_with("a-long-secret", NULL, "https://app.example");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        cr_expect_eq(get("/v1", "Host: localhost\r\nAuthorization: %s\r\n", keys[i].value), keys[i].status, "%s", keys[i].value);
    cr_expect_eq(get("/v1", "Host: localhost\r\n", ""), 401, "none");
    cr_expect_eq(get("/health", "Host: localhost\r\n", ""), 200);
    cr_expect_eq(get("/healthy", "Host: localhost\r\n", ""), 401);
    cr_expect_eq(get("/heal", "Host: localhost\r\n", ""), 401);
    cr_expect_eq(get("/health/../v1", "Host: localhost\r\n", ""), 401);
    cr_expect_eq(ask("OPTIONS /v1 HTTP/1.1\r\nHost: localhost\r\nOrigin: https://app.example\r\nConnection: close\r\n\r\n"), 204, "browsers ask without");
    cr_expect_eq(ask("OPTIONS /v1 HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\nConnection: close\r\n\r\n"), 403);
}

/* Mutations: one byte more; the rest of a body that was too long given to the handler; no word to a client that asks first. */
Test(http_admits, by_size)
{
    static const int sizes[] = {0, 1, BODY_MAX, BODY_MAX + 1, 20 * BODY_MAX};
    open_with(NULL, NULL, NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *request = malloc((size_t)sizes[i] + 200);
        const int head = sprintf(request, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", sizes[i]);
        memset(request + head, 'x', (size_t)sizes[i]);
        request[head + sizes[i]] = '\0';
        cr_expect_eq(ask(request), sizes[i] > BODY_MAX ? 413 : 200, "%d bytes", sizes[i]);
        free(request);
    }
    cr_expect_eq(ask("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"), 413);
}

/* Mutations: 128.0.0.1 and 126.0.0.1, or any IPv4 address in an IPv6 one, taken for this machine. */
Test(http_admits, what_is_this_machine)
{
    static const struct {
        const char *listen;
        bool loopback;
    } addresses[] = {{"127.0.0.1:1", true}, {"127.255.0.9:1", true}, {"localhost:1", true}, {"[::1]:1", true}, {"[::ffff:127.0.0.1]:1", true},
                     {"0.0.0.0:1", false}, {"126.0.0.1:1", false}, {"128.0.0.1:1", false}, {"[::]:1", false}, {"[::ffff:10.0.0.1]:1", false},
                     {"[::2]:1", false}};
    server = NULL;
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        bool loopback = !addresses[i].loopback;
        cr_expect_eq(http_check_listen(addresses[i].listen, &loopback, &err), 0, "%s", addresses[i].listen);
        cr_expect_eq(loopback, addresses[i].loopback, "%s", addresses[i].listen);
    }
}
