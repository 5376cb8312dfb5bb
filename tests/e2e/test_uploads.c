/* Packages on their way to the server, with both programs killed at random moments and with a disk that is really full: in the end every
 * file is the developer's byte for byte, and until then the old package serves. 100 kills with STIP_LONG=1 (make test-long). */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "tests/support/fault.h"
#include "tests/support/tempdir.h"
#include "tests/support/trio.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"

#define SMALL "50m"  /* room for one package and a half */
#define ENOUGH "100m"

TestSuite(uploads, .timeout = 86400);

/* Two packages of one model, with keys of their own; "user" has a grant for the first, "other" for the second. */
enum { FIRST, SECOND, PACKAGES, NEITHER = PACKAGES };
static const char *const PROTECTED[PACKAGES] = {"protected", "protected2"}, *const USERS[PACKAGES] = {"user", "other"},
                         *const CONFIGS[PACKAGES] = {"push1.json", "push2.json"};
static const char *const ASK[] = {"generate", "--prompt", "Once upon a time", "--max-tokens", "12", "--ignore-eos", NULL};

static struct trio trio;
static char dir[FILE_PATH_MAX], model[FILE_PATH_MAX], *answer;

static void run_well(const char *const argv[])
{
    struct shell s;
    shell_run(&s, argv);
    cr_assert_eq(s.status, 0, "%s: %s", s.command, s.err);
    shell_free(&s);
}

/* The server's admin address is another after each start. */
static void write_configs(void)
{
    char text[3 * FILE_PATH_MAX];
    for (int i = 0; i < PACKAGES; i++) {
        const int n = snprintf(text, sizeof text,
                               "{\"role\":\"model_dev\",\"identity\":\"model_dev.id\",\"listen\":\"tcp://127.0.0.1:*\",\"protected\":\"%s\","
                               "\"model\":\"%s\",\"allow\":[\"@user.id/identity.pub\",\"@other.id/identity.pub\"],"
                               "\"peers\":{\"servers\":[{\"endpoint\":\"%s\",\"key\":\"@server.id/identity.pub\"}]}}\n",
                               PROTECTED[i], model, trio.developers_at);
        tempdir_spill(trio_path(&trio, CONFIGS[i]), text, (size_t)n);
    }
}

static void start_push(int package, struct shell *s)
{
    shell_start(s, SHELL_ARGV("stip-model-dev", "push", "--config", trio_path(&trio, CONFIGS[package])));
}

/* A disk of its own for the server, in a mount namespace of this process and the programs it starts: it ends with them. */
static void small_disk(void)
{
    const char *at = trio_path(&trio, "disk");
    cr_assert_eq(mkdir(at, 0700), 0);
    cr_assert_eq(mount("none", at, "tmpfs", MS_NODEV | MS_NOSUID, "mode=0700,size=" SMALL), 0, "%s", strerror(errno));
    (void)snprintf(trio.package, sizeof trio.package, "disk/server.package");
}

/* Both packages, both grants; the server serves the first. */
static void open_both(bool on_small_disk)
{
    struct shell s;
    tempdir_make(dir);
    trio_slow_model(model, dir, DEMO_LM "/tokenizer.json");
    trio_make(&trio, model, "server");
    run_well(SHELL_ARGV("stip-model-dev", "protect", "--model", model, "--out", trio_path(&trio, PROTECTED[SECOND]), "--identity",
                        trio_path(&trio, "model_dev.id"), "--head", "server"));
    if (on_small_disk)
        small_disk();
    trio_start_server(&trio, NULL);
    write_configs();
    for (int i = 0; i < PACKAGES; i++) {
        char file[64];
        (void)snprintf(file, sizeof file, "%s.grant", USERS[i]);
        const char *sealed = trio_path(&trio, "sealed");
        char pub[64];
        (void)snprintf(pub, sizeof pub, "%s.id/identity.pub", USERS[i]);
        run_well(SHELL_ARGV("stip-model-dev", "grant", "--config", trio_path(&trio, CONFIGS[i]), "--user", trio_path(&trio, pub), "--out", sealed));
        trio_write_user(&trio, USERS[i]);
        trio_start_as(&trio, USERS[i], &s, SHELL_ARGV("join", "--grant", sealed));
        shell_wait(&s);
        cr_assert_eq(s.status, 0, "%s", s.err);
        shell_free(&s);
    }
    start_push(FIRST, &s);
    shell_wait(&s);
    cr_assert_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
    trio_wait_serving(&trio);
    trio_start_as(&trio, USERS[FIRST], &s, ASK);
    shell_wait(&s);
    cr_assert_eq(s.status, 0, "%s", s.err);
    answer = strdup(s.out);
    shell_free(&s);
}

static void close_both(void)
{
    free(answer);
    if (strncmp(trio.package, "disk/", 5) == 0) {
        (void)process_stop(&trio.server);
        cr_expect_eq(umount2(trio_path(&trio, "disk"), MNT_DETACH), 0);
    }
    trio_close(&trio);
    tempdir_remove(dir);
}

static const char *inside(const char *folder, const char *file)
{
    char name[FILE_PATH_MAX];
    (void)snprintf(name, sizeof name, "%s/%s", folder, file);
    return trio_path(&trio, name);
}

/* Whose manifest is in the server's folder. */
static int installed(void)
{
    for (int i = 0; i < PACKAGES; i++)
        if (tempdir_same(inside(trio.package, "manifest.json"), inside(PROTECTED[i], "package/manifest.json")))
            return i;
    return NEITHER;
}

/* Every file is the developer's. */
static void whole(int package)
{
    char theirs[FILE_PATH_MAX];
    (void)snprintf(theirs, sizeof theirs, "%s/package", PROTECTED[package]);
    struct shell s;
    shell_run(&s, SHELL_ARGV("/usr/bin/diff", "-r", trio_path(&trio, theirs), trio_path(&trio, trio.package)));
    cr_expect_eq(s.status, 0, "%s%s", s.out, s.err);
    shell_free(&s);
    run_well(SHELL_ARGV("stip-server", "inspect", trio_path(&trio, trio.package))); /* hashes and signature, as the server sees them */
}

static bool answered(int package)
{
    struct shell s;
    trio_start_as(&trio, USERS[package], &s, ASK);
    shell_wait(&s);
    const bool ok = s.status == 0;
    if (ok)
        cr_expect_str_eq(s.out, answer);
    else
        cr_expect(s.status == 4 || s.status == 5, "exit status %d: %s", s.status, s.err);
    shell_free(&s);
    return ok;
}

/* What is installed is served: the old package at once, a new one as soon as it is loaded. */
static void serving(int old)
{
    const int before = installed();
    cr_assert_neq(before, NEITHER, "there is no whole package");
    const bool ok = answered(before);
    if (before == old && installed() == old)
        cr_expect(ok, "the old package is not served");
    const uint64_t end = clock_ms() + 90000;
    bool good = ok || answered(installed());
    while (!good && clock_ms() < end)
        good = answered(installed());
    cr_expect(good, "nobody is served");
}

static void wait_at_most(struct shell *s, unsigned ms)
{
    siginfo_t info = {0};
    for (const uint64_t end = clock_ms() + ms; clock_ms() < end; (void)poll(NULL, 0, 1))
        if (waitid(P_PID, (id_t)s->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != 0)
            return;
}

Test(uploads, both_programs_killed_at_random_moments)
{
    const unsigned wanted = fault_all() ? 100 : 4;
    unsigned kills = 0, installs = 0, seed = 4;
    int old = FIRST;
    open_both(false);
    uint64_t length = 0;
    while (kills < wanted || old != FIRST) {
        struct shell s;
        const int was = old, target = 1 - old;
        siginfo_t info = {0};
        const uint64_t start = clock_ms();
        start_push(target, &s);
        if (length > 0 && kills < wanted)
            wait_at_most(&s, 5 + (unsigned)rand_r(&seed) % (unsigned)length);
        else
            wait_at_most(&s, SHELL_MS);
        const bool over = waitid(P_PID, (id_t)s.pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != 0;
        const bool server = rand_r(&seed) % 2 == 0;
        if (!over) {
            (void)kill(server ? trio.server.pid : s.pid, SIGKILL);
            kills++;
        }
        if (!over && server) {
            (void)process_stop(&trio.server);
            trio_start_server(&trio, NULL);
            write_configs();
        }
        shell_wait(&s);
        if (s.status == 0) {
            const uint64_t took = clock_ms() - start;
            length = length == 0 || took < length ? took : length; /* others begin where they were killed */
            cr_expect_eq(installed(), target);
            whole(target);
            installs++;
            old = target;
        } else
            cr_expect(s.status == 5 || s.status == 128 + SIGKILL, "exit status %d: %s", s.status, s.err);
        shell_free(&s);
        serving(was);
    }
    (void)fprintf(stderr, "uploads: %u kills at random moments of a push of %llu ms: %u installs, all whole\n", kills, (unsigned long long)length,
                  installs);
    cr_expect_geq(installs, 2);
    close_both();
}

/* ------------------------------------------------------------------ a full disk */

static void push_ends(int package, int status, const char *said)
{
    struct shell s;
    start_push(package, &s);
    shell_wait(&s);
    cr_expect_eq(s.status, status, "exit status %d: %s", s.status, s.err);
    cr_expect_not_null(strstr(s.err, said), "%s", s.err);
    shell_free(&s);
}

Test(uploads, a_disk_that_is_full_is_named_and_the_old_package_serves_until_there_is_room)
{
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        cr_skip_test("no mount namespaces here (needs root): %s", strerror(errno));
    open_both(true);
    for (int i = 0; i < 2; i++) {
        push_ends(SECOND, 5, "DISK_FULL");
        cr_expect_eq(installed(), FIRST);
        cr_expect(answered(FIRST), "the old package is not served");
    }
    /* Also after a start, with what was left of the upload. */
    (void)kill(trio.server.pid, SIGKILL);
    (void)process_stop(&trio.server);
    trio_start_server(&trio, NULL);
    write_configs();
    cr_expect(answered(FIRST), "the old package is not served");
    push_ends(SECOND, 5, "DISK_FULL");
    cr_assert_eq(mount("none", trio_path(&trio, "disk"), NULL, MS_REMOUNT | MS_NODEV | MS_NOSUID, "size=" ENOUGH), 0, "%s", strerror(errno));
    push_ends(SECOND, 0, "");
    cr_expect_eq(installed(), SECOND);
    whole(SECOND);
    serving(FIRST);
    close_both();
}
