/* What a server in its sandbox cannot do, by trying it, and what it still can. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/sandbox.h"
#include "tests/support/tempdir.h"

#define SKIP 77

static char dir[FILE_PATH_MAX];
static struct err err;

static void make(void)
{
    struct identity *id = NULL;
    static const char config[] = "{\"role\":\"server\",\"identity\":\"server.id\",\"listen\":\"tcp://127.0.0.1:*\","
                                 "\"listen_admin\":\"tcp://127.0.0.1:*\",\"package\":\"var/package\","
                                 "\"allow\":{\"users\":[\"@keys/user.pub\"]},\"log\":{\"level\":\"error\"}}";
    char text[PEER_KEY_TEXT + 1];
    tempdir_make(dir);
    cr_assert_eq(identity_generate(&id, &err), 0);
    cr_assert_eq(identity_save(id, tempdir_path(dir, "server.id"), &err), 0, "%s", err.text);
    const struct peer_key key = identity_public(id);
    peer_key_text(&key, text);
    cr_assert(mkdir(tempdir_path(dir, "var"), 0700) == 0 && mkdir(tempdir_path(dir, "keys"), 0700) == 0);
    tempdir_spill(tempdir_path(dir, "keys/user.pub"), text, strlen(text));
    tempdir_spill(tempdir_path(dir, "server.json"), config, sizeof config - 1);
    identity_free(id);
}

static void drop(void)
{
    tempdir_remove(dir);
}

TestSuite(sandbox, .init = make, .fini = drop);

static void *idle(void *arg)
{
    *(bool *)arg = true;
    return NULL;
}

static int connect_to(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    return fd < 0 ? -1 : connect(fd, (const struct sockaddr *)&to, sizeof to);
}

/* In a child: goes into the sandbox and tries `attempt`, whose result is the exit status. */
static int inside(int (*attempt)(void), bool on)
{
    const pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        struct settings s;
        struct err why;
        if (settings_read(&s, tempdir_path(dir, "server.json"), &why) != 0)
            _exit(90);
        s.sandbox = on;
        if (sandbox_files(&s, &why) != 0 || sandbox_calls(&s, &why) != 0)
            _exit(91);
        _exit(attempt());
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

static bool denied(int rc)
{
    return rc < 0 && (errno == EPERM || errno == EACCES);
}

/* Each gives 0 when it is forbidden, a number of its own when it is not. */
static int forbidden_files(void)
{
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 1 && errno == ENOSYS)
        return SKIP;
    if (!denied(open("/etc/passwd", O_RDONLY)))
        return 1;
    if (!denied(open(tempdir_path(dir, "server.json"), O_WRONLY)))
        return 2;
    if (!denied(open("/tmp/stip-sandbox-test", O_CREAT | O_WRONLY, 0600)))
        return 3;
    if (!denied(open("/proc/1/environ", O_RDONLY)))
        return 4;
    if (!denied(symlink("/etc/passwd", tempdir_path(dir, "var/link"))))
        return 5;
    return denied(rename(tempdir_path(dir, "server.json"), tempdir_path(dir, "var/server.json"))) ? 0 : 6;
}

static int forbidden_calls(void)
{
    char *const argv[] = {(char *)(uintptr_t)"/bin/true", NULL};
    if (!denied(execve("/bin/true", argv, NULL)))
        return 1;
    if (!denied(fork()))
        return 2;
    if (!denied(connect_to(9)))
        return 3;
    if (!denied(socket(AF_UNIX, SOCK_STREAM, 0)))
        return 4;
    if (!denied((int)ptrace(PTRACE_TRACEME, 0, NULL, NULL)))
        return 5;
    if (!denied((int)syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0)))
        return 6;
    if (!denied(kill(getppid(), 0)))
        return 7;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return 8;
    struct rlimit core;
    return getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur == 0 && core.rlim_max == 0 ? 0 : 9;
}

static int allowed(void)
{
    char text[8];
    pthread_t thread;
    bool ran = false;
    struct settings again;
    struct err why;
    if (settings_read(&again, tempdir_path(dir, "server.json"), &why) != 0) /* SIGHUP */
        return 1;
    if (file_write(tempdir_path(dir, "var/x"), "abc", 3, 0600, &why) != 0)
        return 2;
    if (file_mkdirs(tempdir_path(dir, "var/package.next"), 0700, &why) != 0 ||
        rename(tempdir_path(dir, "var/x"), tempdir_path(dir, "var/package.next/x")) != 0 ||
        rename(tempdir_path(dir, "var/package.next"), tempdir_path(dir, "var/package")) != 0)
        return 3;
    const int fd = open(tempdir_path(dir, "var/package/x"), O_RDWR);
    if (fd < 0 || read(fd, text, sizeof text) != 3 || ftruncate(fd, 1) != 0 || fsync(fd) != 0)
        return 4;
    if (file_remove_tree(tempdir_path(dir, "var/package"), &why) != 0)
        return 5;
    if (pthread_create(&thread, NULL, idle, &ran) != 0 || pthread_join(thread, NULL) != 0 || !ran)
        return 6;
    settings_free(&again);
    return 0;
}

Test(sandbox, files_outside_are_out_of_reach)
{
    const int rc = inside(forbidden_files, true);
    if (rc == SKIP)
        cr_skip("no Landlock here");
    cr_expect_eq(rc, 0, "attempt %d was not refused", rc);
    cr_expect_eq(inside(forbidden_files, false), 1, "the attempt is no attempt");
}

Test(sandbox, programs_sockets_and_other_processes_are_out_of_reach)
{
    const int rc = inside(forbidden_calls, true);
    cr_expect_eq(rc, 0, "attempt %d was not refused", rc);
    cr_expect_eq(inside(forbidden_calls, false), 0, "true was run"); /* execve replaces the child, whose status is true's */
}

Test(sandbox, what_a_server_does_is_still_possible)
{
    const int rc = inside(allowed, true);
    cr_expect_eq(rc, 0, "attempt %d failed", rc);
}
