/* Feeds files to a fuzz target, without a fuzzer: what it once found stays found. A target without files gets a few of its own. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t count;

static void feed(const char *path)
{
    struct err err;
    char *data;
    size_t len;
    if (file_read(path, (size_t)64 << 20, &data, &len, &err) != 0) {
        (void)fprintf(stderr, "replay: %s\n", err.text);
        exit(1);
    }
    (void)LLVMFuzzerTestOneInput((const uint8_t *)data, len);
    free(data);
    count++;
}

static void feed_all(const char *dir)
{
    char path[FILE_PATH_MAX];
    DIR *d = opendir(dir);
    if (d == NULL)
        return;
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.' && file_join(path, dir, e->d_name, NULL) == 0)
            feed(path);
    (void)closedir(d);
}

int main(int argc, char **argv)
{
    static const char *const always[] = {"", "{", "{}", "[]", "\x01{}", "0\n1\n", "\x02{\"a\":1}", "\xff\xff\xff\xff\xff\xff\xff\xff{}"};
    for (size_t i = 0; i < sizeof always / sizeof *always; i++) {
        size_t len = 0;
        while (always[i][len] != '\0')
            len++;
        (void)LLVMFuzzerTestOneInput((const uint8_t *)always[i], len);
    }
    for (int i = 1; i < argc; i++)
        feed_all(argv[i]);
    printf("%zu files\n", count);
    return 0;
}
