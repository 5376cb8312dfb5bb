#include "tests/support/shell.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "tests/support/slow.h"

static void die(const struct shell *s, const char *what)
{
    (void)fprintf(stderr, "tests/support/shell: %s: %s\n", s->command, what);
    abort();
}

/* The build puts tests and programs into one folder. */
const char *shell_program(const char *name)
{
    static char paths[4][FILE_PATH_MAX];
    static unsigned turn;
    char exe[FILE_PATH_MAX], dir[FILE_PATH_MAX];
    char *out = paths[turn++ % 4];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = '\0';
    if (file_dir(dir, exe, NULL) != 0 || file_join(out, dir, name, NULL) != 0)
        abort();
    return out;
}

static void child(const struct shell *s, pid_t parent, size_t file_max, char *const *argv)
{
    const struct rlimit limit = {.rlim_cur = file_max, .rlim_max = file_max};
    int none = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || getppid() != parent || none < 0 || dup2(none, STDIN_FILENO) < 0 ||
        dup2(s->out_fd, STDOUT_FILENO) < 0 || dup2(s->err_fd, STDERR_FILENO) < 0)
        _exit(127);
    /* A write beyond the limit shall fail like one to a full disk, and not kill. */
    if (file_max > 0 && (signal(SIGXFSZ, SIG_IGN) == SIG_ERR || setrlimit(RLIMIT_FSIZE, &limit) != 0))
        _exit(127);
    execv(argv[0], argv);
    _exit(127);
}

void shell_start_limited(struct shell *s, size_t bytes, const char *const argv[])
{
    char *args[64];
    size_t n = 0;
    *s = (struct shell){.status = -1};
    for (; argv[n] != NULL && n < 63; n++) {
        size_t have = strlen(s->command);
        (void)snprintf(s->command + have, sizeof s->command - have, "%s%.60s", n == 0 ? "" : " ", argv[n]);
        args[n] = (char *)(uintptr_t)argv[n];
    }
    args[n] = NULL;
    if (strchr(argv[0], '/') == NULL)
        args[0] = (char *)(uintptr_t)shell_program(argv[0]);
    s->out_fd = memfd_create("out", MFD_CLOEXEC);
    s->err_fd = memfd_create("err", MFD_CLOEXEC);
    if (s->out_fd < 0 || s->err_fd < 0)
        die(s, strerror(errno));
    pid_t parent = getpid();
    if ((s->pid = fork()) < 0)
        die(s, strerror(errno));
    if (s->pid == 0)
        child(s, parent, bytes, args);
}

void shell_start(struct shell *s, const char *const argv[])
{
    shell_start_limited(s, 0, argv);
}

static char *slurp(struct shell *s, int fd, size_t *len)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        die(s, strerror(errno));
    size_t size = (size_t)st.st_size, have = 0;
    char *text = malloc(size + 1);
    if (text == NULL)
        die(s, "out of memory");
    while (have < size) {
        ssize_t n = pread(fd, text + have, size - have, (off_t)have);
        if (n <= 0)
            die(s, "its output cannot be read");
        have += (size_t)n;
    }
    text[size] = '\0';
    close(fd);
    *len = size;
    return text;
}

void shell_wait(struct shell *s)
{
    int raw;
    size_t ignored;
    uint64_t deadline = clock_ms() + SHELL_MS * slow_times();
    while (waitpid(s->pid, &raw, WNOHANG) == 0) {
        if (clock_ms() > deadline) {
            (void)kill(s->pid, SIGKILL);
            die(s, "did not end in time");
        }
        (void)poll(NULL, 0, 2);
    }
    s->status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
    s->out = slurp(s, s->out_fd, &s->out_len);
    s->err = slurp(s, s->err_fd, &ignored);
    if (s->status == 127)
        die(s, "cannot be started");
}

void shell_run(struct shell *s, const char *const argv[])
{
    shell_start(s, argv);
    shell_wait(s);
}

void shell_free(struct shell *s)
{
    free(s->out);
    free(s->err);
    s->out = s->err = NULL;
}

struct json_doc *shell_json(const struct shell *s)
{
    struct json_doc *doc = NULL;
    struct err err = {0};
    if (s->status != 0) {
        (void)snprintf(err.text, sizeof err.text, "exit status %d: %.900s", s->status, s->err);
        die(s, err.text);
    }
    if (json_parse(&doc, s->out, s->out_len, false, "stdout", &err) != 0)
        die(s, err.text);
    return doc;
}
