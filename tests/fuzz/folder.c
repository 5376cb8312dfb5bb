#include "tests/fuzz/folder.h"

#include <fcntl.h>
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

/* Not file_write: no fsync, no rename, thousands of times a second. */
void folder_put(const char *name, const void *data, size_t len)
{
    const int fd = open(folder_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || (len > 0 && write(fd, data, len) != (ssize_t)len) || close(fd) != 0)
        abort();
}

void folder_drop(const char *name)
{
    (void)unlink(folder_path(name));
}
