/* Real sockets on 127.0.0.1: who gets in, what is said when something is wrong, what a bad peer costs. */
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/toy_server.h"
#include "transport/client.h"
#include "transport/msg_ping.h"

#define WAIT_MS 60000

static struct identity *server_id, *user_id;
static struct peer_key server_key, user_key;
static struct transport *transport;
static struct err err;

static void make_parties(void)
{
    cr_assert_eq(identity_generate(&server_id, &err), 0, "%s", err.text);
    cr_assert_eq(identity_generate(&user_id, &err), 0, "%s", err.text);
    server_key = identity_public(server_id);
    user_key = identity_public(user_id);
    cr_assert_eq(transport_open(&transport, &err), 0, "%s", err.text);
}

static void drop_parties(void)
{
    transport_close(transport);
    identity_free(server_id);
    identity_free(user_id);
}

TestSuite(channel, .init = make_parties, .fini = drop_parties);

static struct toy_server *start(const struct toy_config *config)
{
    return toy_server_start("tcp://127.0.0.1:*", server_id, &user_key, 1, config);
}

static struct channel *join(const char *endpoint)
{
    struct channel *ch = NULL;
    cr_assert_eq(channel_open(&ch, transport, endpoint, &server_key, user_id, WAIT_MS, &err), 0, "%s", err.text);
    return ch;
}

static const struct toy_config INFER = {.link = PHASE_INFER};

Test(channel, a_known_key_is_greeted)
{
    struct toy_server *s = start(&INFER);
    struct channel *ch = join(toy_server_endpoint(s));
    struct msg_hello_ok ok;
    cr_assert_eq(client_hello(ch, NULL, &ok, &err), 0, "%s", err.text);
    cr_expect_eq(ok.D, TOY_D);
    cr_expect_eq(ok.epoch, 3);
    struct channel_stats st = channel_stats(ch);
    cr_expect_eq(st.round_trips, 1);
    cr_expect_eq(st.bytes_up, WIRE_HEADER_BYTES + MSG_HELLO_BYTES);
    cr_expect_eq(st.bytes_down, WIRE_HEADER_BYTES + MSG_HELLO_OK_BYTES);
    channel_close(ch);
    toy_server_stop(s);
}

static bool has_ipv6(void)
{
    const struct sockaddr_in6 here = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    const int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool ok = fd >= 0 && bind(fd, (const struct sockaddr *)&here, sizeof here) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

/* Mutation: transport_ipv6 always 0, at either end. */
Test(channel, an_ipv6_address_is_one)
{
    if (!has_ipv6())
        cr_skip_test("this machine has no IPv6");
    struct toy_server *s = toy_server_start("tcp://[::1]:*", server_id, &user_key, 1, &INFER);
    struct channel *ch = join(toy_server_endpoint(s));
    struct msg_hello_ok ok;
    cr_expect_eq(strncmp(toy_server_endpoint(s), "tcp://[::1]:", 12), 0, "%s", toy_server_endpoint(s));
    cr_expect_eq(client_hello(ch, NULL, &ok, &err), 0, "%s", err.text);
    channel_close(ch);
    toy_server_stop(s);
}

Test(channel, endpoints_that_cannot_be_are_refused)
{
    static const char *const bad[] = {"", "tcp://", "tcp://:1", "tcp://h", "tcp://h:", "tcp://h:0", "tcp://h:65536", "tcp://h:99999", "tcp://h:1x",
                                      "tcp://h:+1", "tcp://h: 1", "tcp://h:000001", "tcp://h:*", "ipc:///tmp/x", "h:1", "udp://h:1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(transport_endpoint(bad[i], false, &err), -1, "%s", bad[i]);
        cr_expect_eq(err.code, ERR_USAGE);
    }
    cr_expect_eq(transport_endpoint("tcp://h:65535", false, &err), 0);
    cr_expect_eq(transport_endpoint("tcp://[::1]:1", false, &err), 0);
    cr_expect_eq(transport_endpoint("tcp://[::1]:*", true, &err), 0);
}

/* Mutation: the gatekeeper's `admits` returns true. */
Test(channel, an_unknown_key_is_refused_and_told_what_to_do)
{
    struct toy_server *s = start(&INFER);
    struct identity *stranger = NULL;
    struct channel *ch = NULL;
    char print[FINGERPRINT_TEXT];
    cr_assert_eq(identity_generate(&stranger, &err), 0);
    struct peer_key key = identity_public(stranger);
    peer_key_fingerprint(&key, print);
    uint64_t start_ms = clock_ms();
    cr_assert_eq(channel_open(&ch, transport, toy_server_endpoint(s), &server_key, stranger, WAIT_MS, &err), -1);
    cr_expect_eq(err.code, ERR_AUTH);
    cr_expect(strstr(err.text, "does not know this key") != NULL && strstr(err.text, print) != NULL, "%s", err.text);
    cr_expect_lt(clock_ms() - start_ms, WAIT_MS / 2, "not only at the deadline");
    cr_expect_eq(listener_stats(toy_server_listener(s)).keys_refused, 1, "this one; the self-check's key does not count");
    identity_free(stranger);
    toy_server_stop(s);
}

Test(channel, another_server_key_than_the_pinned_one_is_refused)
{
    struct toy_server *s = start(&INFER);
    struct channel *ch = NULL;
    cr_assert_eq(channel_open(&ch, transport, toy_server_endpoint(s), &user_key, user_id, WAIT_MS, &err), -1);
    cr_expect_eq(err.code, ERR_AUTH);
    cr_expect(strstr(err.text, "does not hold the key") != NULL, "%s", err.text);
    toy_server_stop(s);
}

/* Mutation: the gatekeeper says 200 to everybody, or the probe is not recorded. */
Test(channel, the_self_check_wants_proof_that_a_stranger_is_refused)
{
    struct listener *l = NULL;
    cr_assert_eq(listener_open(&l, transport, "open", "tcp://127.0.0.1:*", server_id, NULL, 0, &err), 0, "%s", err.text);
    cr_expect_eq(listener_self_check(l, &err), 0, "%s", err.text);
    listener_close(l);
}

Test(channel, nothing_listening_is_told_apart_from_no_answer)
{
    char endpoint[64] = "tcp://127.0.0.1:1";
    struct channel *ch = NULL;
    cr_assert_eq(channel_open(&ch, transport, endpoint, &server_key, user_id, 1500, &err), -1);
    cr_expect_eq(err.code, ERR_PEER);
    cr_expect(strstr(err.text, "nothing listens") != NULL && strstr(err.text, endpoint) != NULL, "%s", err.text);
    /* A socket that accepts and stays silent. */
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&a, n) == 0 && listen(fd, 4) == 0 &&
              getsockname(fd, (struct sockaddr *)&a, &n) == 0);
    (void)snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", ntohs(a.sin_port));
    cr_assert_eq(channel_open(&ch, transport, endpoint, &server_key, user_id, 1500, &err), -1);
    cr_expect_eq(err.code, ERR_PEER);
    cr_expect(strstr(err.text, "connected, but no answer") != NULL, "%s", err.text);
    close(fd);
}

Test(channel, a_malformed_address_is_a_usage_error)
{
    struct channel *ch = NULL;
    static const char *const bad[] = {"localhost:5555", "tcp://", "ipc:///tmp/x", "tcp://127.0.0.1:notaport"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_eq(channel_open(&ch, transport, bad[i], &server_key, user_id, 200, &err), -1, "%s", bad[i]);
        cr_expect_eq(err.code, ERR_USAGE, "%s: %s", bad[i], err.text);
    }
    struct listener *l = NULL;
    cr_assert_eq(listener_open(&l, transport, "x", "tcp://127.0.0.1:99999", server_id, NULL, 0, &err), -1);
    cr_expect_eq(err.code, ERR_USAGE, "%s", err.text);
}

Test(channel, a_port_in_use_is_named)
{
    struct toy_server *s = start(&INFER);
    struct listener *l = NULL;
    cr_assert_eq(listener_open(&l, transport, "x", toy_server_endpoint(s), server_id, NULL, 0, &err), -1);
    cr_expect(strstr(err.text, "in use") != NULL && strstr(err.text, toy_server_endpoint(s)) != NULL, "%s", err.text);
    toy_server_stop(s);
}

/* Mutation: peer_of without allow_find. */
Test(channel, a_revoked_key_is_refused_on_its_next_frame)
{
    struct toy_server *s = start(&INFER);
    struct channel *ch = join(toy_server_endpoint(s));
    struct msg_hello_ok ok;
    struct msg_stats stats;
    cr_assert_eq(client_hello(ch, NULL, &ok, &err), 0, "%s", err.text);
    cr_assert_eq(listener_allow(toy_server_listener(s), NULL, 0, &err), 0);
    cr_assert_eq(client_stats(ch, &stats, &err), -1);
    cr_expect_eq(err.code, ERR_AUTH, "%s", err.text);
    cr_expect_eq(channel_code(ch), WIRE_REVOKED);
    channel_close(ch);
    toy_server_stop(s);
}

Test(channel, another_frame_version_is_refused_by_name)
{
    struct toy_server *s = start(&INFER);
    struct channel *ch = join(toy_server_endpoint(s));
    struct msg_hello hello = {.protocol_min = 7, .protocol_max = 9};
    uint8_t body[MSG_HELLO_BYTES];
    struct frame f = msg_hello_encode(&hello, body), answer;
    cr_assert_eq(channel_send(ch, &f, &err), 0);
    cr_assert_eq(channel_expect(ch, WIRE_HELLO_OK, &answer, clock_ms() + WAIT_MS, &err), -1);
    cr_expect_eq(channel_code(ch), WIRE_BAD_VERSION);
    cr_expect(strstr(err.text, "protocol 7 to 9") != NULL, "%s", err.text);
    channel_close(ch);
    toy_server_stop(s);
}

Test(channel, an_oversized_frame_costs_its_sender_the_connection)
{
    struct toy_server *s = start(&INFER);
    struct channel *bad = join(toy_server_endpoint(s)), *good = join(toy_server_endpoint(s));
    size_t n = WIRE_PAYLOAD_MAX + 8192;
    uint8_t *big = calloc(n, 1);
    struct frame f = wire_frame(WIRE_HELLO, NULL, big, n), answer;
    cr_assert_eq(channel_send(bad, &f, &err), 0);
    cr_assert_eq(channel_recv(bad, &answer, clock_ms() + WAIT_MS, &err), -1);
    cr_expect(strstr(err.text, "lost") != NULL, "%s", err.text);
    struct msg_hello_ok ok;
    cr_expect_eq(client_hello(good, NULL, &ok, &err), 0, "%s", err.text);
    channel_close(bad);
    channel_close(good);
    free(big);
    toy_server_stop(s);
}

Test(channel, a_malformed_frame_is_answered_and_does_not_reach_the_role)
{
    struct toy_server *s = start(&INFER);
    struct channel *ch = join(toy_server_endpoint(s));
    struct frame f = wire_frame(WIRE_HELLO, NULL, "x", 1), answer;
    cr_assert_eq(channel_send(ch, &f, &err), 0);
    cr_assert_eq(channel_expect(ch, WIRE_HELLO_OK, &answer, clock_ms() + WAIT_MS, &err), -1);
    cr_expect_eq(channel_code(ch), WIRE_BAD_FRAME);
    cr_expect_eq(listener_stats(toy_server_listener(s)).frames_refused, 1);
    channel_close(ch);
    toy_server_stop(s);
}

Test(channel, a_deadline_ends_the_wait_and_names_the_endpoint)
{
    struct toy_server *s = start(&(struct toy_config){.link = PHASE_INFER, .mute = true});
    struct channel *ch = join(toy_server_endpoint(s));
    struct frame f;
    uint64_t start_ms = clock_ms();
    cr_assert_eq(channel_recv(ch, &f, start_ms + 300, &err), -1);
    cr_expect_eq(err.code, ERR_PEER);
    cr_expect(strstr(err.text, "no answer") != NULL && strstr(err.text, toy_server_endpoint(s)) != NULL, "%s", err.text);
    uint64_t took = clock_ms() - start_ms;
    cr_expect(took >= 300 && took < CHANNEL_DEAD_MS, "%llu", (unsigned long long)took);
    channel_close(ch);
    toy_server_stop(s);
}

/* Mutation: no PINGs; the count of frames stays 0. */
Test(channel, silence_is_filled_with_pings)
{
    struct toy_server *s = start(&(struct toy_config){.link = PHASE_INFER, .mute = true});
    struct channel *ch = join(toy_server_endpoint(s));
    struct frame f;
    cr_assert_eq(channel_recv(ch, &f, clock_ms() + CHANNEL_PING_MS + CHANNEL_PING_MS * 9 / 10, &err), -1);
    for (int i = 0; channel_stats(ch).frames_down == 0 && i < 100; i++) /* too short for another PING */
        cr_assert_eq(channel_recv(ch, &f, clock_ms() + CHANNEL_PING_MS / 2, &err), -1);
    struct channel_stats st = channel_stats(ch);
    cr_expect_eq(st.frames_up, 1);
    cr_expect_eq(st.frames_down, 1, "the PONG");
    cr_expect_eq(st.round_trips, 0);
    channel_close(ch);
    toy_server_stop(s);
}

/* fork() while this process has no threads: a child that inherits a lock somebody else held would wait for it forever. */
static pid_t fork_alone(void)
{
    transport_close(transport);
    transport = NULL;
    pid_t pid = fork();
    if (pid == 0)
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    else
        cr_assert_eq(transport_open(&transport, &err), 0);
    return pid;
}

/* The server in a process of its own that is killed. */
Test(channel, a_killed_server_is_noticed_at_once)
{
    char endpoint[64] = "";
    int ready[2];
    cr_assert_eq(pipe(ready), 0);
    pid_t pid = fork_alone();
    if (pid == 0) {
        const struct toy_config mute = {.link = PHASE_INFER, .mute = true};
        const char *at = toy_server_endpoint(toy_server_start("tcp://127.0.0.1:*", server_id, &user_key, 1, &mute));
        (void)!write(ready[1], at, strlen(at));
        for (;;)
            pause();
    }
    cr_assert_gt(read(ready[0], endpoint, sizeof endpoint - 1), 0);
    struct channel *ch = join(endpoint);
    struct frame f;
    cr_assert_eq(kill(pid, SIGKILL), 0);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    uint64_t start_ms = clock_ms();
    cr_assert_eq(channel_recv(ch, &f, start_ms + WAIT_MS, &err), -1);
    cr_expect(strstr(err.text, "lost") != NULL, "%s", err.text); /* by the connection's end, not by silence */
    channel_close(ch);
}

static long resident_kib(void)
{
    long pages = 0, skip = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    cr_assert(f != NULL && fscanf(f, "%ld %ld", &skip, &pages) == 2);
    (void)fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void wait_frame(struct listener *l, enum listener_got *got, struct listener_peer *peer, struct frame *f)
{
    *got = LISTENER_NONE;
    for (bool ready, woken; *got == LISTENER_NONE;)
        cr_assert(listener_poll(&l, 1, -1, 5000, &ready, &woken, &err) == 0 && listener_recv(l, got, peer, f, &err) == 0);
}

/* Mutation: ZMQ_SNDHWM 0 (no limit): LISTENER_FULL never comes. */
Test(channel, a_reader_that_does_not_read_costs_bounded_memory)
{
    struct listener *l = NULL;
    cr_assert_eq(listener_open(&l, transport, "slow", "tcp://127.0.0.1:*", server_id, &user_key, 1, &err), 0, "%s", err.text);
    struct channel *ch = join(listener_endpoint(l));
    struct frame hello = msg_ping_encode(1), f;
    struct listener_peer peer;
    enum listener_got got;
    hello.h.type = WIRE_STATS_GET;
    hello.h.seq = 0;
    cr_assert_eq(channel_send(ch, &hello, &err), 0);
    wait_frame(l, &got, &peer, &f);
    uint8_t *chunk = calloc(WIRE_PAYLOAD_MAX, 1);
    struct frame big = wire_frame(WIRE_CHUNK, NULL, chunk, WIRE_PAYLOAD_MAX);
    long before = resident_kib();
    unsigned sent = 0;
    uint64_t end = clock_ms() + 1500;
    while (clock_ms() < end) {
        enum listener_sent r = listener_send(l, &peer, &big);
        cr_assert_neq(r, LISTENER_GONE);
        if (r == LISTENER_SENT)
            sent++;
        else
            usleep(1000);
    }
    cr_expect_lt(sent, 150, "%u MiB accepted", sent);
    cr_expect_gt(listener_stats(l).sends_full, 0);
    /* Both ends are in this process: 64 frames queued at the reader, 16 at the writer, and what the kernel holds. */
#ifdef __SANITIZE_ADDRESS__
    const long allowed = 256 + 256 + 64; /* the sanitizer keeps 256 MiB of freed memory */
#else
    const long allowed = 256;
#endif
    cr_expect_lt(resident_kib() - before, allowed * 1024, "%ld KiB", resident_kib() - before);
    channel_close(ch);
    uint64_t until = clock_ms() + WAIT_MS;
    enum listener_sent r;
    while ((r = listener_send(l, &peer, &big)) != LISTENER_GONE && clock_ms() < until) {
        bool ready, woken;
        cr_assert_eq(listener_poll(&l, 1, -1, 1, &ready, &woken, &err), 0);
    }
    cr_expect_eq(r, LISTENER_GONE, "a peer that left is reported");
    free(chunk);
    listener_close(l);
}

/* Mutation: listener_send without the second look. libzmq counts what the peer has taken only now and then; a listener that
 * answered more than 16 frames without waiting in between was told that the queue is full. */
Test(channel, a_reader_that_reads_is_never_called_slow)
{
    struct listener *l = NULL;
    cr_assert_eq(listener_open(&l, transport, "burst", "tcp://127.0.0.1:*", server_id, &user_key, 1, &err), 0, "%s", err.text);
    struct channel *ch = join(listener_endpoint(l));
    struct frame ask = msg_get_encode(0, 0), answer = msg_chunk_encode(0, 0, "x", 1), f;
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 40; i++)
            cr_assert_eq(channel_send(ch, &ask, &err), 0, "%s", err.text);
        struct listener_peer peer;
        for (int i = 0; i < 40; i++) {
            enum listener_got got;
            wait_frame(l, &got, &peer, &f);
            cr_assert_eq(got, LISTENER_FRAME);
        }
        for (int i = 0; i < 40; i++) {
            cr_assert_eq(listener_send(l, &peer, &answer), LISTENER_SENT, "round %d, frame %d", round, i);
            for (int k = 0; i % 8 == 7 && k < 8; k++)
                cr_assert_eq(channel_recv(ch, &f, clock_ms() + WAIT_MS, &err), 0, "%s", err.text);
        }
    }
    channel_close(ch);
    listener_close(l);
}

Test(channel, two_listeners_have_separate_allow_lists)
{
    struct listener *a = NULL, *b = NULL;
    struct channel *ch = NULL;
    cr_assert_eq(listener_open(&a, transport, "infer", "tcp://127.0.0.1:*", server_id, &user_key, 1, &err), 0, "%s", err.text);
    cr_assert_eq(listener_open(&b, transport, "admin", "tcp://127.0.0.1:*", server_id, NULL, 0, &err), 0, "%s", err.text);
    ch = join(listener_endpoint(a));
    channel_close(ch);
    cr_assert_eq(channel_open(&ch, transport, listener_endpoint(b), &server_key, user_id, WAIT_MS, &err), -1);
    cr_expect_eq(err.code, ERR_AUTH);
    listener_close(a);
    listener_close(b);
}

#define CLIENTS 20

/* Waits for the endpoint, then asks until it is killed. */
static void ask_forever(int from)
{
    char endpoint[64];
    struct transport *own = NULL;
    struct channel *ch = NULL;
    struct msg_hello_ok ok;
    if (read(from, endpoint, sizeof endpoint) != sizeof endpoint || transport_open(&own, NULL) != 0 ||
        channel_open(&ch, own, endpoint, &server_key, user_id, WAIT_MS, NULL) != 0 || client_hello(ch, NULL, &ok, NULL) != 0)
        _exit(1);
    for (;;) {
        struct frame f = msg_get_encode(BLOB_MANIFEST, 0);
        if (channel_send(ch, &f, NULL) != 0)
            _exit(1);
    }
}

Test(channel, killed_clients_do_not_hurt_the_server)
{
    int say[CLIENTS][2];
    pid_t pid[CLIENTS];
    char endpoint[64] = "";
    for (int i = 0; i < CLIENTS; i++) { /* all of them before the server has threads */
        cr_assert_eq(pipe(say[i]), 0);
        if ((pid[i] = fork_alone()) == 0)
            ask_forever(say[i][0]);
    }
    struct toy_server *s = start(&INFER);
    (void)snprintf(endpoint, sizeof endpoint, "%s", toy_server_endpoint(s));
    for (int i = 0; i < CLIENTS; i++) {
        int status = 0;
        cr_assert_eq(write(say[i][1], endpoint, sizeof endpoint), (ssize_t)sizeof endpoint);
        usleep(60000);
        cr_assert_eq(kill(pid[i], SIGKILL), 0);
        cr_assert_eq(waitpid(pid[i], &status, 0), pid[i]);
        cr_expect(WIFSIGNALED(status), "the client ended by itself");
    }
    struct channel *ch = join(toy_server_endpoint(s));
    struct msg_hello_ok ok;
    cr_expect_eq(client_hello(ch, NULL, &ok, &err), 0, "%s", err.text);
    channel_close(ch);
    toy_server_stop(s);
}
