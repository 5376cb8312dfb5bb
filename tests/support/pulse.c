#include "tests/support/pulse.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

struct shared {
    atomic_uint_least64_t at_us, longest_us; /* at: of the last byte so far; 0: none came */
};

struct pulse {
    pid_t program, watcher;
    int out_fd;
    struct shared *shared;
};

static void watch(const struct pulse *p)
{
    struct stat st;
    for (off_t bytes = 0; fstat(p->out_fd, &st) == 0; (void)poll(NULL, 0, 1)) {
        if (st.st_size == bytes)
            continue;
        const uint64_t now = clock_us(), last = p->shared->at_us;
        bytes = st.st_size;
        if (last > 0 && now - last > p->shared->longest_us)
            p->shared->longest_us = now - last;
        p->shared->at_us = now;
    }
    _exit(0);
}

struct pulse *pulse_start(const struct shell *s)
{
    const pid_t parent = getpid();
    struct pulse *p = calloc(1, sizeof *p);
    if (p == NULL)
        abort();
    *p = (struct pulse){.program = s->pid, .out_fd = s->out_fd};
    p->shared = mmap(NULL, sizeof *p->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p->shared == MAP_FAILED || (p->watcher = fork()) < 0) {
        perror("tests/support/pulse");
        abort();
    }
    if (p->watcher == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        if (getppid() == parent)
            watch(p);
        _exit(1);
    }
    return p;
}

double pulse_longest(struct pulse *p)
{
    const uint64_t now = clock_us(), at = p->shared->at_us, silent = at > 0 && pulse_running(p) && now > at ? now - at : 0;
    const uint64_t longest = atomic_exchange(&p->shared->longest_us, 0);
    return (double)(silent > longest ? silent : longest) / 1000;
}

long pulse_bytes(const struct pulse *p)
{
    struct stat st;
    return fstat(p->out_fd, &st) == 0 ? (long)st.st_size : 0;
}

bool pulse_running(const struct pulse *p)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)p->program, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

bool pulse_wait(const struct pulse *p, long bytes)
{
    while (pulse_bytes(p) <= bytes && pulse_running(p))
        (void)poll(NULL, 0, 1);
    return pulse_bytes(p) > bytes;
}

void pulse_stop(struct pulse *p)
{
    (void)kill(p->watcher, SIGKILL);
    (void)waitpid(p->watcher, NULL, 0);
    (void)munmap(p->shared, sizeof *p->shared);
    free(p);
}
