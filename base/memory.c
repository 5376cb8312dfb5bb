#include "base/memory.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS "/sys/fs/cgroup"

static uint64_t read_max(const char *folder)
{
    char path[4352], text[32] = "";
    uint64_t limit = UINT64_MAX;
    (void)snprintf(path, sizeof path, GROUPS "%s/memory.max", folder);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return limit;
    if (fgets(text, sizeof text, f) != NULL && text[0] >= '0' && text[0] <= '9')
        limit = strtoull(text, NULL, 10);
    (void)fclose(f);
    return limit;
}

uint64_t memory_group_limit(void)
{
    char line[4200], *slash;
    uint64_t least = UINT64_MAX;
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (f == NULL)
        return least;
    while (fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, "0::/", 4) != 0)
            continue;
        line[strcspn(line, "\n")] = '\0';
        /* A group is bound by its parents too; inside a container the root is the container's own. */
        for (char *path = line + 3; path[0] != '\0'; *slash = '\0') {
            uint64_t limit = read_max(path);
            least = limit < least ? limit : least;
            slash = strrchr(path, '/');
        }
        uint64_t limit = read_max("");
        least = limit < least ? limit : least;
    }
    (void)fclose(f);
    return least;
}

void memory_keep_freed(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, MEMORY_KEEP / 16); /* a fragment of a message and what the library adds are less */
    (void)mallopt(M_TRIM_THRESHOLD, MEMORY_KEEP);
}
