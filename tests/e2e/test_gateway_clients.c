/* stip-user serve among clients that leave, and among more of them than it takes. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/fault.h"
#include "tests/support/gateway.h"
#include "tests/support/proc.h"
#include "transport/http.h"

/* ------------------------------------------------------------------ one that leaves */

#define RTT "400" /* milliseconds */
#define STORY "{\"prompt\":\"Once upon a time\",\"temperature\":0,\"stream\":true,\"max_tokens\":%d}"

/* A line between user and server on which a token takes so long: what is computed after a hang-up can be counted. */
static void slow_line(struct trio *t, struct process *link)
{
    char exe[FILE_PATH_MAX], to[128];
    char *argv[] = {exe, (char *)(uintptr_t) "link", (char *)(uintptr_t) "--json", (char *)(uintptr_t) "--to", to, (char *)(uintptr_t) "--rtt",
                    (char *)(uintptr_t)RTT, NULL};
    struct json_doc *ready;
    const char *near;
    struct err err;
    (void)snprintf(exe, sizeof exe, "%s", shell_program("stip-bench"));
    (void)snprintf(to, sizeof to, "%s", t->users_at);
    *link = (struct process){.out = -1};
    cr_assert_eq(process_start(link, "stip-bench link", argv, true, NULL, &err), 0, "%s", err.text);
    cr_assert_eq(process_event(link, "ready", 60000, &ready, &err), 0, "%s", err.text);
    cr_assert_eq(json_get_str(ready, json_root(ready), "endpoint", &near, &err), 0);
    (void)snprintf(t->users_at, sizeof t->users_at, "%s", near);
    json_free(ready);
    trio_write_user(t, "user");
}

/* Reads until so many events have come; the connection is left open. */
static void read_events(int fd, int n)
{
    char all[65536];
    size_t len = 0;
    for (int seen = 0; seen < n; seen = 0) {
        ssize_t got = recv(fd, all + len, sizeof all - 1 - len, 0);
        cr_assert_gt(got, 0, "the stream ended early");
        len += (size_t)got;
        all[len] = '\0';
        for (const char *at = all; (at = strstr(at, "\ndata: ")) != NULL; at++)
            seen++;
        if (seen >= n)
            return;
    }
}

/* On a busy machine a hang-up may be noticed a token late, but not each time.
 * Mutation: the job is not told that its client has gone (all 60 tokens are computed), or only when the next event cannot be sent. */
Test(gateway_clients, after_a_hang_up_nothing_is_computed_but_the_token_under_way)
{
    struct trio t;
    struct gateway g;
    struct process link;
    struct heard h;
    char body[256];
    trio_open(&t, DEMO_LM, "server");
    slow_line(&t, &link);
    gateway_open(&g, &t, SHELL_ARGV("--speculate", "off"));
    /* A whole answer of 6 tokens: what an answer costs beside its tokens. */
    double before = gateway_metric(&g, "round_trips_total");
    (void)snprintf(body, sizeof body, STORY, 6);
    gateway_stream(&g, TEXT, body, &h);
    buf_free(&h.text);
    const double around = gateway_metric(&g, "round_trips_total") - before - 6;
    (void)snprintf(body, sizeof body, STORY, 60);
    double tokens = 60;
    for (int hung_up = 1; tokens > 5 && hung_up <= 5; hung_up++) {
        before = gateway_metric(&g, "round_trips_total");
        int fd = web_send(g.port, "POST", TEXT, "", body, strlen(body));
        read_events(fd, 3);
        close(fd);
        gateway_wait_metric(&g, "cancelled_total", hung_up);
        gateway_wait_metric(&g, "connections_busy", 0);
        tokens = gateway_metric(&g, "round_trips_total") - before - around;
    }
    cr_expect(tokens >= 3 && tokens <= 5, "%g tokens were computed, 3 had been seen and one was under way", tokens);
    cr_expect_eq(gateway_close(&g), 0);
    (void)process_stop(&link);
    trio_close(&t);
}

/* Of a prompt that goes up in twenty messages.
 * Mutation: only between two tokens is it looked whether anybody still waits. */
Test(gateway_clients, a_hang_up_ends_a_prompt_too)
{
    enum { PROMPT = 320, ROWS = 16 };
    struct trio t;
    struct gateway g;
    struct process link;
    char body[4096];
    trio_open_limited(&t, DEMO_LM, "server", "\"rows\":16");
    slow_line(&t, &link);
    gateway_open(&g, &t, SHELL_ARGV("--speculate", "off"));
    size_t n = (size_t)snprintf(body, sizeof body, "{\"max_tokens\":1,\"prompt\":[7");
    for (int i = 1; i < PROMPT; i++)
        n += (size_t)snprintf(body + n, sizeof body - n, ",%d", 5 + i % 90);
    n += (size_t)snprintf(body + n, sizeof body - n, "]}");
    double messages = PROMPT / ROWS;
    for (int hung_up = 1; messages > PROMPT / ROWS / 2 && hung_up <= 5; hung_up++) {
        const double before = gateway_metric(&g, "round_trips_total");
        int fd = web_send(g.port, "POST", TEXT, "", body, n);
        gateway_wait_metric(&g, "connections_busy", 1);
        close(fd);
        gateway_wait_metric(&g, "cancelled_total", hung_up);
        gateway_wait_metric(&g, "connections_busy", 0);
        messages = gateway_metric(&g, "round_trips_total") - before;
    }
    cr_expect(messages <= PROMPT / ROWS / 2, "%g messages were sent of %d", messages, PROMPT / ROWS);
    cr_expect_eq(gateway_close(&g), 0);
    (void)process_stop(&link);
    trio_close(&t);
}

/* ------------------------------------------------------------------ ten thousand that say nothing */

static int dial_idle(int port)
{
    const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    cr_assert_geq(fd, 0, "%s", strerror(errno));
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) != 0)
        cr_assert_eq(errno, EINPROGRESS, "%s", strerror(errno));
    return fd;
}

/* One for each connection that is in. */
static void wait_threads(const struct gateway *g, int n)
{
    struct proc p;
    for (const uint64_t end = clock_ms() + 60000; proc_look(g->process.pid, &p) && p.threads < n && clock_ms() < end;)
        (void)usleep(10000);
}

/* The stacks and arenas of its threads; the more cores, the more arenas. */
#ifdef __SANITIZE_ADDRESS__
#define IDLE_KB (512 * 1024) /* freed memory is kept back, stacks are larger */
#else
#define IDLE_KB (96 * 1024)
#endif

#define DOOR 32 /* of transport/http.c */

/* Until all but so many were shut by the other side. */
static void await_cut(const int *fds, int n, int left)
{
    int open = n;
    for (uint64_t end = clock_ms() + 60000; open > left && clock_ms() < end; (void)usleep(20000)) {
        open = 0;
        for (int i = 0; i < n; i++) {
            struct pollfd p = {.fd = fds[i], .events = POLLIN | POLLRDHUP};
            open += poll(&p, 1, 0) == 0;
        }
    }
    cr_expect_leq(open, left, "%d connections are open", open);
}

/* Who is in is answered, who comes is too, what they cost is bounded by --connections, and when they go all is as before.
 * Mutation: no limit of connections; a descriptor kept of each that has gone; nobody is cut for another one (test_http has more). */
Test(gateway_clients, idle_connections_without_number_cost_what_was_allowed)
{
    enum { MOST = 10000 };
    static int idle[MOST];
    static const char ask[] = "{" GREEDY SAY("What colour is the sky?") "}";
    const int n = fault_all() ? MOST : 1000, allowed = fault_all() ? 256 : 32;
    struct rlimit files;
    struct proc before, during, after;
    struct trio t;
    struct gateway g;
    struct web w;
    char length[64];
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
    if (files.rlim_max < (rlim_t)n + 256)
        cr_skip_test("not so many descriptors are allowed here");
    trio_open(&t, DEMO_LM, "user");
    gateway_open(&g, &t, SHELL_ARGV("--turn", TURN, "--connections", fault_all() ? "256" : "32"));
    files.rlim_cur = files.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
    cr_assert_eq(gateway_status(&g, CHAT, "", ask), 200);
    cr_assert(proc_look(g.process.pid, &before));
    (void)snprintf(length, sizeof length, "Content-Length: %zu\r\n", sizeof ask - 1);
    const uint64_t began = clock_ms();
    int in = web_send(g.port, "POST", CHAT, length, NULL, 0);
    wait_threads(&g, before.threads + 1);
    for (int i = 0; i < n; i++)
        idle[i] = dial_idle(g.port);
    await_cut(idle, n, allowed);
    cr_assert(proc_look(g.process.pid, &during));
    cr_expect_leq(during.threads - before.threads, allowed + DOOR + 8);
    cr_expect_leq(during.descriptors - before.descriptors, allowed + DOOR + 16);
    cr_expect_leq(during.memory_kb - before.memory_kb, IDLE_KB);
    const bool in_time = clock_ms() - began < HTTP_KEEPALIVE_S * 1000 / 2; /* who is that late is an idle one too */
    cr_expect_eq(send(in, ask, sizeof ask - 1, MSG_NOSIGNAL), (ssize_t)(sizeof ask - 1));
    web_finish(in, &w);
    cr_expect(!in_time || (w.status == 200 && strstr(w.body, "The sky is blue.") != NULL), "%d %s", w.status, w.body);
    web_free(&w);
    /* Another one, in the place of one that was idle. */
    uint64_t start = clock_ms();
    cr_expect_eq(gateway_status(&g, CHAT, "", ask), 200);
    const int among = (int)(clock_ms() - start);
    for (int i = 0; i < n; i++)
        close(idle[i]);
    start = clock_ms();
    cr_expect_eq(gateway_status(&g, CHAT, "", ask), 200, "the next client is answered");
    const int alone = (int)(clock_ms() - start);
    for (uint64_t end = clock_ms() + 60000; proc_look(g.process.pid, &after) && after.descriptors > before.descriptors + 8 && clock_ms() < end;)
        (void)usleep(50000);
    cr_expect_leq(after.descriptors, before.descriptors + 8);
    (void)fprintf(stderr, "gateway: %d idle connections: %d threads, %d descriptors, %ld KB more; another client is answered in %d ms, without them in %d\n", n, during.threads,
                  during.descriptors, during.memory_kb - before.memory_kb, among, alone);
    gateway_both_close(&t, &g);
}
