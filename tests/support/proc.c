#include "tests/support/proc.h"

#include <dirent.h>
#include <stdio.h>

bool proc_look(pid_t pid, struct proc *out)
{
    char path[64], line[256];
    struct proc p = {.descriptors = -2}; /* . and .. */
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return false;
    while (fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "VmRSS: %ld", &p.memory_kb) == 1 || sscanf(line, "VmHWM: %ld", &p.peak_kb) == 1 ||
            sscanf(line, "Threads: %d", &p.threads) == 1)
            continue;
    (void)fclose(f);
    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *d = opendir(path);
    if (d == NULL)
        return false;
    while (readdir(d) != NULL)
        p.descriptors++;
    (void)closedir(d);
    if (p.memory_kb == 0) /* a zombie */
        return false;
    *out = p;
    return true;
}
