#include "tests/support/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/shell.h"
#include "tests/support/tempdir.h"

static void set(const char *name, const char *value)
{
    if (setenv(name, value, 1) == 0)
        return;
    (void)fprintf(stderr, "tests/support/fault: cannot set %s\n", name);
    abort();
}

void fault_arm(const char *tally, enum fault_kind kind, uint64_t n, const char *mode)
{
    char want[64];
    const struct tally zero = {0};
    const char *asan = getenv("ASAN_OPTIONS");
    tempdir_spill(tally, &zero, sizeof zero);
    (void)snprintf(want, sizeof want, "%s %llu %s", FAULT_NAMES[kind], (unsigned long long)n, mode);
    set("STIP_FAULT", want);
    set("STIP_FAULT_COUNT", tally);
    set("LD_PRELOAD", shell_program("libstip_fault.so"));
    if (asan != NULL && strstr(asan, "verify_asan_link_order") == NULL) {
        char options[512]; /* the shim stands in front of the sanitizer's allocator */
        (void)snprintf(options, sizeof options, "%s:verify_asan_link_order=0", asan);
        set("ASAN_OPTIONS", options);
    }
}

void fault_disarm(void)
{
    (void)unsetenv("STIP_FAULT");
    (void)unsetenv("STIP_FAULT_COUNT");
    (void)unsetenv("LD_PRELOAD");
}

static struct tally look(const char *path)
{
    struct tally t;
    size_t len;
    char *bytes = tempdir_slurp(path, &len);
    if (len != sizeof t)
        abort();
    memcpy(&t, bytes, sizeof t);
    free(bytes);
    return t;
}

uint64_t fault_calls(const char *tally)
{
    struct tally t = look(tally);
    return t.calls;
}

bool fault_hit(const char *tally)
{
    struct tally t = look(tally);
    return t.hit != 0;
}

bool fault_wanted(enum fault_kind kind, uint64_t n)
{
    const char *want = getenv("STIP_FAULTS");
    const size_t len = strlen(FAULT_NAMES[kind]);
    unsigned from, step;
    if (want == NULL)
        return true;
    if (strncmp(want, FAULT_NAMES[kind], len) != 0 || (want[len] != '\0' && want[len] != ':'))
        return false;
    return sscanf(want + len, ":%u/%u", &from, &step) != 2 || step == 0 || n % step == from % step;
}

bool fault_all(void)
{
    return getenv("STIP_LONG") != NULL;
}
