#include "bench/process.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

#define PAGE 4096
#define STOP_MS 30000 /* of a program that was asked to end; a busy machine takes its time */

int process_start(struct process *p, const char *name, char *const argv[], bool capture, const char *log, struct err *err)
{
    return process_start_in(p, name, argv, NULL, capture, log, err);
}

int process_start_in(struct process *p, const char *name, char *const argv[], const char *dir, bool capture, const char *log,
                     struct err *err)
{
    int pipe_fd[2] = {-1, -1};
    *p = (struct process){.name = name, .out = -1};
    if (capture && pipe2(pipe_fd, O_CLOEXEC) != 0)
        return err_set(err, ERR_INTERNAL, "pipe: %s", strerror(errno));
    pid_t parent = getpid(), pid = fork();
    if (pid < 0) {
        if (capture) {
            close(pipe_fd[0]);
            close(pipe_fd[1]);
        }
        return err_set(err, ERR_INTERNAL, "cannot start %s: %s", name, strerror(errno));
    }
    if (pid == 0) {
        int log_fd = log == NULL ? -1 : open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) != 0 || getppid() != parent ||
            (capture && dup2(pipe_fd[1], STDOUT_FILENO) < 0) || (log_fd >= 0 && dup2(log_fd, STDERR_FILENO) < 0) ||
            (dir != NULL && chdir(dir) != 0))
            _exit(127);
        execv(argv[0], argv);
        _exit(127);
    }
    if (capture) {
        close(pipe_fd[1]);
        p->out = pipe_fd[0];
    }
    p->pid = pid;
    return 0;
}

int process_start_at(struct process *p, const char *name, char *const argv[], const struct tunnel *tunnel, int end, struct err *err)
{
    if (tunnel != NULL)
        tunnel_enter(tunnel, end);
    int rc = process_start(p, name, argv, true, NULL, err);
    if (tunnel != NULL)
        tunnel_leave(tunnel);
    return rc;
}

static int status_of(int raw)
{
    return WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
}

/* One line of stdout without its end, NULL at a time-out or the end of the stream. */
static const char *read_line(struct process *p, uint64_t deadline, char *line, size_t cap)
{
    for (;;) {
        char *end = memchr(p->line, '\n', p->have);
        if (end != NULL) {
            size_t n = (size_t)(end - p->line), copy = n < cap - 1 ? n : cap - 1;
            memcpy(line, p->line, copy);
            line[copy] = '\0';
            memmove(p->line, end + 1, p->have - n - 1);
            p->have -= n + 1;
            return line;
        }
        if (p->have == sizeof p->line)
            p->have = 0; /* no event is that long */
        uint64_t now = clock_ms();
        struct pollfd poll_fd = {.fd = p->out, .events = POLLIN};
        if (now >= deadline || poll(&poll_fd, 1, (int)(deadline - now)) <= 0)
            return NULL;
        ssize_t n = read(p->out, p->line + p->have, sizeof p->line - p->have);
        if (n <= 0)
            return NULL;
        p->have += (size_t)n;
    }
}

int process_event(struct process *p, const char *event, int timeout_ms, struct json_doc **out, struct err *err)
{
    uint64_t deadline = clock_ms() + (uint64_t)timeout_ms;
    char line[sizeof p->line];
    while (read_line(p, deadline, line, sizeof line) != NULL) {
        struct json_doc *doc;
        if (json_parse(&doc, line, strlen(line), false, p->name, err) != 0)
            return -1;
        const char *name = json_string(json_get(json_root(doc), "event"));
        if (name != NULL && strcmp(name, event) == 0) {
            *out = doc;
            return 0;
        }
        json_free(doc);
    }
    int raw;
    if (p->pid != 0 && waitpid(p->pid, &raw, WNOHANG) == p->pid) {
        p->pid = 0;
        return err_set(err, ERR_INTERNAL, "%s ended with status %d before it said '%s'", p->name, status_of(raw), event);
    }
    return err_set(err, ERR_INTERNAL, "%s did not say '%s' within %d ms", p->name, event, timeout_ms);
}

int process_wait(struct process *p, int *status, struct err *err)
{
    int raw;
    while (waitpid(p->pid, &raw, 0) < 0)
        if (errno != EINTR)
            return err_set(err, ERR_INTERNAL, "waiting for %s: %s", p->name, strerror(errno));
    p->pid = 0;
    *status = status_of(raw);
    return 0;
}

int process_output(struct process *p, char *out, size_t cap, int timeout_ms, int *status, struct err *err)
{
    uint64_t deadline = clock_ms() + (uint64_t)timeout_ms;
    char rest[4096];
    size_t have = 0;
    for (;;) {
        uint64_t now = clock_ms();
        struct pollfd poll_fd = {.fd = p->out, .events = POLLIN};
        if (now >= deadline || poll(&poll_fd, 1, (int)(deadline - now)) == 0) {
            (void)process_stop(p);
            return err_set(err, ERR_INTERNAL, "%s did not end within %d ms", p->name, timeout_ms);
        }
        bool full = have + 1 >= cap;
        ssize_t n = read(p->out, full ? rest : out + have, full ? sizeof rest : cap - 1 - have);
        if (n == 0 || (n < 0 && errno != EINTR))
            break;
        if (n > 0 && !full)
            have += (size_t)n;
    }
    out[have] = '\0';
    return process_wait(p, status, err);
}

int process_stop(struct process *p)
{
    int raw = 0, status = -1;
    if (p->pid != 0) {
        (void)kill(p->pid, SIGTERM);
        const uint64_t end = clock_ms() + STOP_MS;
        while (waitpid(p->pid, &raw, WNOHANG) == 0) {
            (void)poll(NULL, 0, 5);
            if (clock_ms() >= end) {
                (void)kill(p->pid, SIGKILL);
                (void)waitpid(p->pid, &raw, 0);
                break;
            }
        }
        status = status_of(raw);
        p->pid = 0;
    }
    if (p->out >= 0)
        close(p->out);
    p->out = -1;
    return status;
}

void process_keep_pages(void)
{
    (void)mallopt(M_ARENA_MAX, 1); /* the library's thread allocates what another one releases */
    (void)mallopt(M_MMAP_MAX, 0);
    (void)mallopt(M_TRIM_THRESHOLD, -1); /* never: a number would end at 2 GB, and tables of a layer of Primer are more */
}

void process_take_pages(double bytes)
{
    const size_t n = bytes > (double)memory_physical() / 2 ? 0 : (size_t)bytes; /* who needs more than there is says so itself */
    volatile char *p = malloc(n + 1);
    for (size_t i = 0; p != NULL && i < n; i += PAGE)
        p[i] = 1;
    free((void *)(uintptr_t)p);
}
