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

/* A byte now and then keeps a connection from being idle; it must not keep it for ever.
 * Mutation: the time counted from the last byte, or not at all. */
Test(http, a_body_that_trickles_in_is_cut_when_its_time_is_over)
{
    const struct http_opts opts = {.listen = "127.0.0.1:0", .any_host = true, .body_max = 4096, .body_s = 1, .connections = 4, .handle = handle};
    const struct http_opts patient = {.listen = "127.0.0.1:0", .any_host = true, .body_max = 4096, .body_s = 60, .connections = 4, .handle = handle};
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
    cr_expect(something_comes(fd, 60000) && recv(fd, got, sizeof got, 0) > 12 && memcmp(got, "HTTP/1.1 200", 12) == 0);
    cr_expect_eq(atomic_load(&handled), 1);
    close(fd);
    http_close(h);
}
