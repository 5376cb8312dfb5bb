/* transport/http: clients that take their time. What it answers, and to whom, is tested with the gateway (tests/e2e/test_gateway*). */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "transport/http.h"

static atomic_int handled;

static void handle(void *arg, struct http_request *r)
{
    (void)arg;
    atomic_fetch_add(&handled, 1);
    if (strcmp(r->path, "/slow") == 0)
        (void)poll(NULL, 0, 1500);
    http_reply(r, 200, "text/plain", strdup("ok\n"), 3);
}

static int dial(int port)
{
    const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof to) == 0);
    return fd;
}

/* The server has closed, or answered. */
static bool something_comes(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) > 0;
}

static void say(int fd, const char *text)
{
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static bool is_answered(int fd)
{
    char got[1024] = "";
    size_t len = 0;
    while (something_comes(fd, 60000)) {
        ssize_t n = recv(fd, got + len, sizeof got - 1 - len, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
        got[len] = '\0';
        if (strstr(got, "\r\n\r\nok\n") != NULL)
            return memcmp(got, "HTTP/1.1 200", 12) == 0;
    }
    return false;
}

static bool is_closed(int fd)
{
    char got[64];
    return something_comes(fd, 60000) && recv(fd, got, sizeof got, 0) <= 0;
}

/* A byte now and then keeps a connection from being idle; it must not keep it for ever.
 * Mutation: the time counted from the last byte, or not at all. */
Test(http, a_body_that_trickles_in_is_cut_when_its_time_is_over)
{
    const struct http_opts opts = {.listen = "127.0.0.1:0", .any_host = true, .body_max = 4096, .request_s = 1, .connections = 4, .handle = handle};
    const struct http_opts patient = {.listen = "127.0.0.1:0", .any_host = true, .body_max = 4096, .request_s = 60, .connections = 4, .handle = handle};
    static const char head[] = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n";
    struct http *h;
    struct err err;
    char got[64];
    cr_assert_eq(http_open(&h, &opts, &err), 0, "%s", err.text);
    int fd = dial(http_port(h));
    const uint64_t start = clock_ms();
    cr_assert_eq(send(fd, head, sizeof head - 1, MSG_NOSIGNAL), (ssize_t)(sizeof head - 1));
    while (!something_comes(fd, 50) && clock_ms() < start + 40000) /* 800 bytes at most: never a whole body */
        (void)send(fd, "x", 1, MSG_NOSIGNAL);
    cr_expect_leq(recv(fd, got, sizeof got, 0), 0, "an answer to half a body");
    cr_expect(clock_ms() >= start + 1000, "cut after %d ms", (int)(clock_ms() - start));
    cr_expect_eq(atomic_load(&handled), 0);
    close(fd);
    http_close(h);
    /* The same body in two pieces, and soon enough, is answered. */
    cr_assert_eq(http_open(&h, &patient, &err), 0, "%s", err.text);
    fd = dial(http_port(h));
    cr_assert_eq(send(fd, head, sizeof head - 1, MSG_NOSIGNAL), (ssize_t)(sizeof head - 1));
    char body[1000];
    memset(body, 'x', sizeof body);
    cr_assert_eq(send(fd, body, 300, MSG_NOSIGNAL), 300);
    (void)poll(NULL, 0, 100);
    cr_assert_eq(send(fd, body, 700, MSG_NOSIGNAL), 700);
    cr_expect(is_answered(fd));
    cr_expect_eq(atomic_load(&handled), 1);
    close(fd);
    http_close(h);
}

/* Mutation: only the body has a time; the time begins anew with every byte; it does not begin anew after an answer. */
Test(http, headers_that_trickle_in_are_cut_when_their_time_is_over)
{
    const struct http_opts opts = {.listen = "127.0.0.1:0", .any_host = true, .body_max = 4096, .request_s = 3, .connections = 4, .handle = handle};
    struct http *h;
    struct err err;
    cr_assert_eq(http_open(&h, &opts, &err), 0, "%s", err.text);
    int fd = dial(http_port(h));
    uint64_t start = clock_ms();
    say(fd, "GET / HTTP/1.1\r\nHost: x\r\nX-Long: ");
    while (!something_comes(fd, 100) && clock_ms() < start + 60000)
        (void)send(fd, "x", 1, MSG_NOSIGNAL);
    cr_expect(is_closed(fd));
    cr_expect_geq(clock_ms(), start + 3000);
    close(fd);
    /* Likewise with the second request of a connection, whose time begins after the first. */
    fd = dial(http_port(h));
    (void)poll(NULL, 0, 300);
    start = clock_ms();
    say(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_assert(is_answered(fd));
    while (!something_comes(fd, 100) && clock_ms() < start + 60000)
        (void)send(fd, "G", 1, MSG_NOSIGNAL);
    cr_expect(is_closed(fd));
    cr_expect_geq(clock_ms(), start + 3000, "the second request had %d ms", (int)(clock_ms() - start));
    cr_expect_eq(atomic_load(&handled), 1);
    close(fd);
    http_close(h);
}

/* Mutation: the time goes on while the answer is being made. */
Test(http, an_answer_may_take_longer_than_a_request)
{
    const struct http_opts opts = {.listen = "127.0.0.1:0", .any_host = true, .body_max = 4096, .request_s = 1, .connections = 4, .handle = handle};
    struct http *h;
    struct err err;
    cr_assert_eq(http_open(&h, &opts, &err), 0, "%s", err.text);
    const int fd = dial(http_port(h));
    say(fd, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_expect(is_answered(fd));
    close(fd);
    http_close(h);
}

/* Connections that say nothing do not keep others out, and who is sending a request is not cut for them. (More connections at once than
 * http.c lets in beyond the limit would be turned away.)
 * Mutation: nobody is cut; the youngest is; the one that is sending is. */
Test(http, with_too_many_connections_the_one_idle_for_longest_goes)
{
    enum { IDLE = 20, MOST = 4 };
    const struct http_opts opts = {.listen = "127.0.0.1:0", .any_host = true, .body_max = 4096, .request_s = 600, .connections = MOST, .handle = handle};
    struct http *h;
    struct err err;
    int idle[IDLE];
    cr_assert_eq(http_open(&h, &opts, &err), 0, "%s", err.text);
    int sending = dial(http_port(h));
    char got[64];
    say(sending, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n");
    cr_assert(something_comes(sending, 60000) && recv(sending, got, sizeof got, 0) > 0, "its headers are there");
    say(sending, "abc");
    for (int i = 0; i < IDLE; i++)
        idle[i] = dial(http_port(h));
    const int next = dial(http_port(h));
    say(next, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_expect(is_answered(next));
    for (int i = 0; i < IDLE - (MOST - 2); i++)
        cr_expect(is_closed(idle[i]), "%d is still there", i);
    for (int i = IDLE - (MOST - 2); i < IDLE; i++)
        cr_expect_not(something_comes(idle[i], 0), "%d was cut", i);
    say(idle[IDLE - 1], "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_expect(is_answered(idle[IDLE - 1]));
    say(sending, "def");
    cr_expect(is_answered(sending));
    for (int i = 0; i < IDLE; i++)
        close(idle[i]);
    close(next);
    close(sending);
    http_close(h);
}

/* Mutation: the port goes to getaddrinfo unchecked, which takes 99999 for 34463. */
Test(http, addresses_that_cannot_be_are_refused)
{
    static const char *const bad[] = {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:99999", "::1:80", "[::1]", "name:80", ":80"};
    struct err err;
    bool loopback;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(http_check_listen(bad[i], &loopback, &err), -1, "%s", bad[i]);
        cr_expect_eq(err.code, ERR_USAGE);
    }
    cr_expect(http_check_listen("127.0.0.1:65535", &loopback, &err) == 0 && loopback);
    cr_expect(http_check_listen("[::1]:0", &loopback, &err) == 0 && loopback);
    cr_expect(http_check_listen("[::]:80", &loopback, &err) == 0 && !loopback);
}
