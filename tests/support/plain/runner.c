/* Runs the tests that registered themselves, each in a process of its own, as Criterion does.
 *   PROGRAM [--filter GLOB]   GLOB over SUITE/NAME, "!(...)" too; other arguments are Criterion's and have no meaning here */
#include <criterion/criterion.h>

#include <fnmatch.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS 300.0
#define SLOWER 10.0 /* the thread sanitizer */

static struct plain_test *tests;
static atomic_int failures;

void plain_register(struct plain_test *test)
{
    struct plain_test **last = &tests;
    while (*last != NULL)
        last = &(*last)->next;
    *last = test;
}

void plain_fail(bool fatal, const char *file, int line, const char *what, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    flockfile(stderr);
    (void)fprintf(stderr, "%s:%d: %s:", file, line, what);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    funlockfile(stderr);
    va_end(args);
    atomic_fetch_add(&failures, 1);
    if (fatal)
        _exit(1); /* with other threads in the middle of things nothing can be cleaned up */
}

void plain_skip(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fputs("skipped:", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    _exit(0);
}

static void call(void (*f)(void))
{
    if (f != NULL)
        f();
}

/* The suite's part of what a test has; none if there is no TestSuite. */
static struct plain_options suite_options(const struct plain_test *of)
{
    for (const struct plain_test *t = tests; t != NULL; t = t->next)
        if (t->run == NULL && strcmp(t->suite, of->suite) == 0)
            return t->options;
    return (struct plain_options){0};
}

static _Noreturn void run(const struct plain_test *t)
{
    const struct plain_options suite = suite_options(t);
    const double own = t->options.timeout > 0 ? t->options.timeout : suite.timeout;
    (void)alarm((unsigned)(SLOWER * (own > 0 ? own : SECONDS)));
    call(suite.init);
    call(t->options.init);
    t->run();
    call(t->options.fini);
    call(suite.fini);
    exit(atomic_load(&failures) == 0 ? 0 : 1); /* or the sanitizer's own status */
}

static bool passes(const struct plain_test *t)
{
    int status;
    (void)fflush(NULL);
    const pid_t child = fork();
    if (child == 0)
        run(t);
    if (child < 0 || waitpid(child, &status, 0) != child)
        return false;
    if (WIFSIGNALED(status))
        (void)fprintf(stderr, "%s/%s: signal %d\n", t->suite, t->name, WTERMSIG(status));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int argc, char **argv)
{
    const char *glob = "*";
    int ran = 0, failed = 0;
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], "--filter") == 0)
            glob = argv[i + 1];
    for (const struct plain_test *t = tests; t != NULL; t = t->next) {
        char name[512];
        (void)snprintf(name, sizeof name, "%s/%s", t->suite, t->name);
        if (t->run == NULL || fnmatch(glob, name, FNM_EXTMATCH) != 0)
            continue;
        ran++;
        if (!passes(t)) {
            failed++;
            (void)fprintf(stderr, "FAILED: %s\n", name);
        }
    }
    printf("%s: %d tests, %d failed\n", argv[0], ran, failed);
    return ran == 0 || failed > 0;
}
