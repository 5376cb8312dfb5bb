/* model_dev/push against server/install over real sockets on loopback. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "model_dev/push.h"
#include "tests/support/developer.h"
#include "tests/support/installer.h"
#include "tests/support/tempdir.h"
#include "transport/channel.h"

static char dir[FILE_PATH_MAX], package[FILE_PATH_MAX];
static struct err err;
static struct developer dev;
static struct identity *server;
static struct installer installer;
static struct transport *transport;
static struct push *push;

/* About 9 chunks. */
static const struct synth_shape shape = {.D = 256, .H = 4, .L = 2, .V = 300};

static void setup(void)
{
    tempdir_make(dir);
    (void)snprintf(package, sizeof package, "%s", tempdir_path(dir, "package"));
    developer_make(&dev, dir, "LlamaForCausalLM", &shape, 3, NULL);
    cr_assert_eq(identity_generate(&server, &err), 0, "%s", err.text);
}

static void close_push(void)
{
    push_close(push);
    transport_close(transport);
    push = NULL;
    transport = NULL;
}

static void teardown(void)
{
    close_push();
    installer_stop(&installer);
    identity_free(server);
    developer_free(&dev);
    tempdir_remove(dir);
}

TestSuite(push, .init = setup, .fini = teardown);

/* The server knows the developer. */
static void start(unsigned die_at)
{
    struct peer_key known = identity_public(dev.identity);
    installer_start(&installer, package, server, &known, 1, die_at);
}

static void open_push(void)
{
    cr_assert_eq(push_open(&push, &dev.release, &err), 0, "%s", err.text);
    cr_assert_eq(transport_open(&transport, &err), 0, "%s", err.text);
}

static void assert_installed(void)
{
    struct manifest m;
    char *text;
    size_t len;
    uint8_t sig[CRYPTO_SIG_LEN];
    cr_assert_eq(manifest_load(&m, package, &text, &len, sig, &err), 0, "%s", err.text);
    cr_assert_eq(memcmp(text, dev.release.text, len), 0);
    cr_assert_eq(manifest_check_files(&m, package, &err), 0, "%s", err.text);
    free(text);
    manifest_free(&m);
}

Test(push, a_package_reaches_the_server_and_the_second_push_sends_nothing)
{
    bool there = true;
    start(0);
    open_push();
    cr_assert_eq(push_to(push, transport, &installer.peer, dev.identity, &there, &err), 0, "%s", err.text);
    cr_assert_not(there);
    assert_installed();
    cr_assert_eq(push_to(push, transport, &installer.peer, dev.identity, &there, &err), 0, "%s", err.text);
    cr_assert(there);
}

Test(push, a_developer_that_the_server_does_not_know_is_refused)
{
    struct identity *stranger = NULL;
    bool there;
    cr_assert_eq(identity_generate(&stranger, &err), 0);
    start(0);
    open_push();
    cr_assert_neq(push_to(push, transport, &installer.peer, stranger, &there, &err), 0);
    cr_assert_eq(err.code, ERR_AUTH, "%s", err.text);
    identity_free(stranger);
}

/* The key on the allow-list has the developer's CURVE half and another signing half. */
Test(push, a_developer_whose_signing_key_is_another_is_refused)
{
    struct peer_key known = identity_public(dev.identity);
    bool there;
    known.sign_pub[0] ^= 1;
    installer_start(&installer, package, server, &known, 1, 0);
    open_push();
    cr_assert_neq(push_to(push, transport, &installer.peer, dev.identity, &there, &err), 0);
    cr_assert_eq(err.code, ERR_AUTH, "%s", err.text);
    cr_assert_not_null(strstr(err.text, "BAD_SIGNATURE"), "%s", err.text);
    cr_assert_not(file_exists(package));
}

Test(push, a_file_that_changed_on_the_developers_disk_is_refused_by_the_server)
{
    bool there;
    char path[FILE_PATH_MAX];
    cr_assert_eq(file_join(path, dev.release.package, "model.safetensors", &err), 0);
    FILE *f = fopen(path, "r+b");
    cr_assert_not_null(f);
    cr_assert_eq(fseek(f, 3 << 20, SEEK_SET), 0);
    int byte = fgetc(f);
    cr_assert_eq(fseek(f, 3 << 20, SEEK_SET), 0);
    cr_assert_eq(fputc(byte ^ 1, f) == EOF ? -1 : fclose(f), 0);
    start(0);
    open_push();
    cr_assert_neq(push_to(push, transport, &installer.peer, dev.identity, &there, &err), 0);
    cr_assert_not_null(strstr(err.text, "BAD_CHUNK"), "%s", err.text);
    cr_assert_not_null(strstr(err.text, "model.safetensors"), "%s", err.text);
    cr_assert_not(file_exists(package));
}

/* Every server process dies after its fourth chunk; the tries add up to a whole package. */
Test(push, servers_that_are_killed_in_the_middle_add_up_to_a_package)
{
    int tries = 0, rc = -1;
    uint64_t soonest = UINT64_MAX;
    while (rc != 0) {
        bool there;
        cr_assert(++tries < 20, "%s", err.text);
        close_push(); /* fork() wants a process without threads */
        start(4);
        open_push();
        uint64_t from = clock_ms();
        rc = push_to(push, transport, &installer.peer, dev.identity, &there, &err);
        if (rc != 0) {
            cr_assert_eq(err.code, ERR_PEER, "%s", err.text);
            if (clock_ms() - from < soonest)
                soonest = clock_ms() - from;
        }
        installer_stop(&installer);
    }
    cr_expect_lt(soonest, CHANNEL_DEAD_MS, "a dead server is noticed at once, if the machine is not busy each time");
    cr_assert(tries > 2, "it was done in %d tries: nothing was killed", tries);
    assert_installed();
}

/* The developer's process is killed while it sends, over and over, by time. */
Test(push, developers_that_are_killed_in_the_middle_are_taken_up_again)
{
    bool there;
    start(0);
    for (int ms = 1; ms <= 20; ms++) {
        pid_t pid = fork();
        cr_assert(pid >= 0);
        if (pid == 0) {
            open_push();
            _exit(push_to(push, transport, &installer.peer, dev.identity, &there, &err));
        }
        struct timespec wait = {.tv_nsec = ms * 2000000};
        (void)nanosleep(&wait, NULL);
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
    open_push();
    cr_assert_eq(push_to(push, transport, &installer.peer, dev.identity, &there, &err), 0, "%s", err.text);
    assert_installed();
}

Test(push, a_server_that_is_not_there_is_said_to_be_so)
{
    struct role_peer nobody = {.endpoint = "tcp://127.0.0.1:1", .key = identity_public(server)};
    bool there;
    open_push();
    cr_assert_neq(push_to(push, transport, &nobody, dev.identity, &there, &err), 0);
    cr_assert_eq(err.code, ERR_PEER, "%s", err.text);
}
