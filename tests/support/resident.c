#include "tests/support/resident.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>

long resident_kb(pid_t pid)
{
    char path[64], line[256];
    long kb = -1;
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    cr_assert_not_null(f, "process %d is gone", (int)pid);
    while (kb < 0 && fgets(line, sizeof line, f) != NULL)
        (void)!sscanf(line, "VmRSS: %ld", &kb);
    (void)fclose(f);
    cr_assert_gt(kb, 0, "process %d has ended", (int)pid);
    return kb;
}

int resident_descriptors(pid_t pid)
{
    char path[64];
    int n = -2; /* . and .. */
    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *d = opendir(path);
    cr_assert_not_null(d, "process %d is gone", (int)pid);
    while (readdir(d) != NULL)
        n++;
    (void)closedir(d);
    return n;
}
