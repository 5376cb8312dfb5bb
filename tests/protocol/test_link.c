/* bench/link: what passes comes late, at the rate that was asked for, whole and in order. The relay and an echo are processes of
 * their own. Mutations: half the delay; one line for both directions; the end of a stream not passed on. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/link.h"

static pid_t echo_pid, link_pid;
static struct err err;

static pid_t child(void)
{
    pid_t pid = fork();
    if (pid == 0)
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    return pid;
}

/* Answers every byte, one connection after the other; gives its port. */
static int start_echo(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int s = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert(s >= 0 && bind(s, (struct sockaddr *)&at, sizeof at) == 0 && listen(s, 4) == 0 &&
              getsockname(s, (struct sockaddr *)&at, &len) == 0);
    echo_pid = child();
    while (echo_pid == 0) {
        static char data[65536];
        int c = accept(s, NULL, NULL);
        for (ssize_t n; (n = recv(c, data, sizeof data, 0)) > 0;)
            for (ssize_t done = 0, sent; done < n; done += sent)
                if ((sent = send(c, data + done, (size_t)(n - done), MSG_NOSIGNAL)) < 0)
                    _exit(1);
        (void)close(c);
    }
    (void)close(s);
    return ntohs(at.sin_port);
}

/* A connection to the echo over a line. */
static int over(double rtt_ms, double rate_mbit)
{
    static const int never;
    struct link *l;
    char to[64];
    unsigned port;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    (void)snprintf(to, sizeof to, "tcp://127.0.0.1:%d", start_echo());
    cr_assert_eq(link_open(&l, "tcp://127.0.0.1:*", to, rtt_ms, rate_mbit, &err), 0, "%s", err.text);
    cr_assert_eq(sscanf(link_endpoint(l), "tcp://127.0.0.1:%u", &port), 1);
    link_pid = child();
    if (link_pid == 0)
        _exit(link_run(l, &never, &err) == 0 ? 0 : 1);
    link_close(l);
    at.sin_port = htons((uint16_t)port);
    int s = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert(s >= 0 && connect(s, (struct sockaddr *)&at, sizeof at) == 0);
    return s;
}

static void end(void)
{
    if (link_pid > 0)
        (void)kill(link_pid, SIGKILL);
    if (echo_pid > 0)
        (void)kill(echo_pid, SIGKILL);
}

TestSuite(link, .fini = end);

static double ping_ms(int s)
{
    char c = 'x';
    uint64_t start = clock_us();
    cr_assert(send(s, &c, 1, 0) == 1 && recv(s, &c, 1, 0) == 1);
    return (double)(clock_us() - start) / 1e3;
}

Test(link, a_round_trip_takes_as_long_as_asked)
{
    int s = over(40, 0);
    double best = 1e9;
    for (int i = 0; i < 9; i++) {
        double ms = ping_ms(s);
        cr_expect_geq(ms, 40);
        best = ms < best ? ms : best;
    }
    cr_expect_lt(best, 70); /* a busy machine adds to some, not to all; each way twice would be 80 */
    (void)close(s);
}

Test(link, bytes_come_whole_in_order_and_at_the_rate)
{
    enum { BYTES = 500000 };
    static unsigned char out[BYTES], in[BYTES];
    int s = over(20, 40);
    double best = 1e9;
    for (int round = 0; round < 2 || (best >= 180 && round < 40); round++) { /* a busy machine is not busy all the time */
        for (int i = 0; i < BYTES; i++)
            out[i] = (unsigned char)((i + round) * 31 >> 3);
        uint64_t start = clock_us();
        pid_t sender = child();
        if (sender == 0) {
            for (size_t at = 0; at < BYTES;)
                at += (size_t)send(s, out + at, BYTES - at, 0);
            _exit(0);
        }
        for (size_t at = 0; at < BYTES;) {
            ssize_t n = recv(s, in + at, BYTES - at, 0);
            cr_assert_gt(n, 0);
            at += (size_t)n;
        }
        double ms = (double)(clock_us() - start) / 1e3;
        (void)waitpid(sender, NULL, 0);
        cr_expect_eq(memcmp(in, out, BYTES), 0);
        cr_expect_gt(ms, 110.0);
        best = ms < best ? ms : best;
    }
    cr_expect_lt(best, 180.0, "4 Mbit at 40 Mbit/s, both directions at a time: %g ms", best);
    cr_expect(shutdown(s, SHUT_WR) == 0 && recv(s, in, 1, 0) == 0, "the end comes back too");
    (void)close(s);
}

Test(link, endpoints_that_are_none_are_refused)
{
    struct link *l;
    static const char *const bad[] = {"127.0.0.1:1", "tcp://127.0.0.1", "tcp://localhost:80", "tcp://127.0.0.1:*", "tcp://127.0.0.1:70000",
                                      "tcp://127.0.0.1:1x", "tcp://"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(link_open(&l, "tcp://127.0.0.1:*", bad[i], 10, 0, &err), -1, "%s", bad[i]);
        cr_expect_eq(err.code, ERR_USAGE);
    }
}
