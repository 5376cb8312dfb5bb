#include "tests/support/terminal.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/shell.h"

#define WAIT_MS 120000

void terminal_open(struct terminal *t, const char *const argv[])
{
    char *args[32];
    size_t n = 0;
    *t = (struct terminal){0};
    for (; argv[n] != NULL && n < 31; n++)
        args[n] = (char *)(uintptr_t)argv[n];
    args[n] = NULL;
    args[0] = (char *)(uintptr_t)shell_program(argv[0]);
    cr_assert_eq(setenv("TERM", "xterm", 1), 0);
    cr_assert_eq(unsetenv("LC_ALL"), 0);
    t->pid = forkpty(&t->fd, NULL, NULL, NULL);
    cr_assert_geq(t->pid, 0);
    if (t->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        execv(args[0], args);
        _exit(127);
    }
}

void terminal_type(struct terminal *t, const char *keys)
{
    cr_assert_eq(write(t->fd, keys, strlen(keys)), (ssize_t)strlen(keys));
}

/* False when the other side is closed, or the time is over. */
static bool read_more(struct terminal *t, uint64_t deadline)
{
    struct pollfd p = {.fd = t->fd, .events = POLLIN};
    const uint64_t now = clock_ms();
    if (now >= deadline || t->n + 1 >= sizeof t->seen || poll(&p, 1, (int)(deadline - now)) <= 0)
        return false;
    ssize_t n = read(t->fd, t->seen + t->n, sizeof t->seen - 1 - t->n);
    t->n += n > 0 ? (size_t)n : 0;
    return n > 0;
}

void terminal_expect(struct terminal *t, const char *text)
{
    const uint64_t deadline = clock_ms() + WAIT_MS;
    for (;;) {
        const char *at = memmem(t->seen + t->from, t->n - t->from, text, strlen(text));
        if (at != NULL) {
            t->from = (size_t)(at - t->seen) + strlen(text);
            return;
        }
        if (!read_more(t, deadline)) {
            (void)kill(t->pid, SIGKILL);
            cr_assert(false, "expected '%s' in: %s", text, t->seen + t->from);
        }
    }
}

void terminal_grows(struct terminal *t, size_t bytes)
{
    const uint64_t deadline = clock_ms() + WAIT_MS;
    const size_t enough = t->n + bytes;
    while (t->n < enough)
        cr_assert(read_more(t, deadline), "nothing more came than: %s", t->seen + t->from);
}

int terminal_end(struct terminal *t, const char *keys)
{
    const uint64_t deadline = clock_ms() + WAIT_MS;
    int raw = 0;
    while (waitpid(t->pid, &raw, WNOHANG) == 0) {
        if (clock_ms() >= deadline)
            (void)kill(t->pid, SIGKILL);
        else if (keys != NULL)
            (void)!write(t->fd, keys, strlen(keys));
        while (read_more(t, clock_ms() + 200))
            ;
    }
    close(t->fd);
    return WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
}
