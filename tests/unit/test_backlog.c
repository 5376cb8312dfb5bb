/* Connections of which more came than was given on are ended, others never. Here a plain socket plays libzmq. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/backlog.h"

#define PIECE ((size_t)16 << 10)

static struct backlog *backlog;
static struct err err;
static int listening = -1, theirs = -1, ours = -1;
static unsigned port;
static uint64_t now;

static void dial(unsigned to, int from, int *connected, int *accepted)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)to), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    cr_assert((*connected = socket(AF_INET, SOCK_STREAM, 0)) >= 0);
    cr_assert_eq(connect(*connected, (const struct sockaddr *)&a, sizeof a), 0);
    cr_assert((*accepted = accept(from, NULL, NULL)) >= 0);
}

static int listen_anywhere(unsigned *at)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert(fd >= 0 && bind(fd, (const struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 8) == 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    *at = ntohs(a.sin_port);
    return fd;
}

static void setup(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    listening = listen_anywhere(&port);
    cr_assert_eq(backlog_new(&backlog, port, &err), 0);
    dial(port, listening, &theirs, &ours);
}

static void teardown(void)
{
    (void)close(theirs);
    (void)close(ours);
    (void)close(listening);
    backlog_free(backlog);
}

TestSuite(backlog, .init = setup, .fini = teardown);

static void look(void)
{
    now += (uint64_t)backlog_look(backlog, now);
    now += (uint64_t)backlog_look(backlog, now);
}

/* Bytes that pass, of which `told` in a thousand are given on, until the connection is ended or `most` have passed. */
static uint64_t pass(uint64_t most, unsigned told)
{
    static uint8_t bytes[PIECE];
    uint64_t passed = 0;
    while (passed < most) {
        if (send(theirs, bytes, PIECE, MSG_NOSIGNAL) != (ssize_t)PIECE || recv(ours, bytes, PIECE, MSG_WAITALL) != (ssize_t)PIECE)
            break;
        passed += PIECE;
        if (told > 0)
            backlog_took(backlog, ours, PIECE * told / 1000);
        if (passed % (1 << 20) == 0)
            look();
    }
    return passed;
}

Test(backlog, what_is_given_on_may_be_any_amount)
{
    cr_expect_eq(pass(8 * BACKLOG_MAX, 1000), 8 * BACKLOG_MAX);
}

/* Encryption and framing: a part of 64 bytes is 106 on the wire. */
Test(backlog, small_parts_given_on_may_be_any_number)
{
    static uint8_t wire[106];
    for (unsigned i = 0; i < 3 * BACKLOG_MAX / sizeof wire; i++) {
        cr_assert_eq(send(theirs, wire, sizeof wire, MSG_NOSIGNAL), (ssize_t)sizeof wire);
        cr_assert_eq(recv(ours, wire, sizeof wire, MSG_WAITALL), (ssize_t)sizeof wire);
        backlog_took(backlog, ours, 64);
        if (i % 10000 == 0)
            look();
    }
}

Test(backlog, a_connection_that_gives_nothing_on_is_ended)
{
    const uint64_t passed = pass(2 * BACKLOG_MAX, 0);
    cr_expect(passed >= BACKLOG_MAX && passed <= BACKLOG_MAX + (2 << 20), "%llu", (unsigned long long)passed);
}

/* Mutation: `taken` is left above what came. */
Test(backlog, what_was_told_too_much_is_no_credit)
{
    cr_assert_eq(pass(2 * BACKLOG_MAX, 1500), 2 * BACKLOG_MAX);
    const uint64_t passed = pass(2 * BACKLOG_MAX, 0);
    cr_expect(passed >= BACKLOG_MAX && passed <= BACKLOG_MAX + (2 << 20), "%llu", (unsigned long long)passed);
}

/* Mutation: a new cookie leaves the counts of the old connection. */
Test(backlog, a_connection_with_the_number_of_an_old_one_begins_anew)
{
    cr_assert_eq(pass(2 * BACKLOG_MAX, 1000), 2 * BACKLOG_MAX);
    const int before = ours;
    (void)close(ours);
    (void)close(theirs);
    dial(port, listening, &theirs, &ours);
    cr_assert_eq(ours, before);
    const uint64_t passed = pass(2 * BACKLOG_MAX, 0);
    /* What came up to the first look, 1 MiB, would be taken as given on. */
    cr_expect(passed >= BACKLOG_MAX && passed < BACKLOG_MAX + (2 << 20), "%llu", (unsigned long long)passed);
}

/* Mutation: ours() always true. */
Test(backlog, connections_of_other_ports_are_let_be)
{
    unsigned other;
    const int door = listen_anywhere(&other);
    (void)close(ours);
    (void)close(theirs);
    dial(other, door, &theirs, &ours);
    cr_expect_eq(pass(2 * BACKLOG_MAX, 0), 2 * BACKLOG_MAX);
    (void)close(door);
}

/* ------------------------------------------------------------------ those that say nothing */

static bool ended(void)
{
    uint8_t byte;
    return recv(theirs, &byte, 1, MSG_DONTWAIT) == 0;
}

static void say(size_t bytes)
{
    static const uint8_t zero[512];
    cr_assert_eq(send(theirs, zero, bytes, MSG_NOSIGNAL), (ssize_t)bytes);
}

/* Until `until`, in looks as far apart as they come. */
static void look_until(uint64_t until)
{
    while (now < until)
        now += (uint64_t)backlog_look(backlog, now);
}

/* Mutation: silence after the first byte counts too. */
Test(backlog, one_that_has_begun_has_time)
{
    say(64);
    look_until(60000);
    cr_expect_not(ended());
}

/* Mutations: they are not counted; they are counted for ever; no end; an end at once; the time is counted from each byte. */
Test(backlog, one_that_has_begun_has_none_when_too_many_have)
{
    enum { MANY = BACKLOG_BEGUN + 10 };
    static int far[MANY], near[MANY];
    const struct rlimit limit = {2 * MANY + 100, 2 * MANY + 100};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        cr_skip_test("not enough descriptors");
    say(64);
    look_until(20000);
    for (int i = 0; i < MANY; i++) {
        dial(port, listening, &far[i], &near[i]);
        cr_assert_eq(send(far[i], "\377", 1, MSG_NOSIGNAL), 1);
    }
    const uint64_t start = now;
    look_until(start + BACKLOG_SILENT_MS);
    uint8_t byte;
    cr_expect(ended());
    cr_expect_eq(recv(far[MANY - 1], &byte, 1, MSG_DONTWAIT), -1, "ended at once");
    look_until(now + 20000);
    int left = 0;
    for (int i = 0; i < MANY; i++) {
        left += recv(far[i], &byte, 1, MSG_DONTWAIT) != 0;
        (void)close(far[i]);
        (void)close(near[i]);
    }
    cr_expect_eq(left, 0);
}

/* Mutation: one byte more is wanted. */
Test(backlog, one_that_has_proved_itself_is_let_be)
{
    say(266);
    look_until(60000);
    cr_expect_not(ended());
}

/* Here the kernel counts. Mutation: it is let be. */
Test(backlog, one_that_says_nothing_at_all_is_ended)
{
    while (!ended()) {
        (void)backlog_look(backlog, now += BACKLOG_LOOK_MS);
        (void)poll(NULL, 0, 10);
    }
}
