#include "tests/fuzz/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"

static char at[64];

static void drop(void)
{
    (void)!file_remove_tree(at, NULL);
}

const char *folder(void)
{
    if (at[0] == '\0') {
        (void)snprintf(at, sizeof at, "%s/stip-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        if (mkdtemp(at) == NULL || atexit(drop) != 0)
            abort();
    }
    return at;
}

const char *folder_path(const char *name)
{
    static char paths[4][256];
    static unsigned turn;
    char *out = paths[turn++ % 4];
    (void)snprintf(out, sizeof paths[0], "%s/%s", folder(), name);
    return out;
}

/* Not file_write: no fsync, no rename, a thousand times a second. */
void folder_put(const char *name, const void *data, size_t len)
{
    FILE *f = fopen(folder_path(name), "wb");
    if (f == NULL || fwrite(data, 1, len, f) != len || fclose(f) != 0)
        abort();
}

void folder_drop(const char *name)
{
    (void)unlink(folder_path(name));
}
