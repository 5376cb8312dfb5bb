#include "tests/support/tempdir.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Without Criterion, so that fuzzers and tools may link this too. */
static void must(bool ok, const char *what, const char *why)
{
    if (ok)
        return;
    (void)fprintf(stderr, "tests/support/tempdir: %s: %s\n", what, why);
    abort();
}

void tempdir_make(char out[FILE_PATH_MAX])
{
    const char *base = getenv("TMPDIR");
    (void)snprintf(out, FILE_PATH_MAX, "%s/stip-test-XXXXXX", base != NULL && base[0] != '\0' ? base : "/tmp");
    must(mkdtemp(out) != NULL, out, "cannot be made");
}

void tempdir_remove(const char *dir)
{
    struct err err = {0};
    must(file_remove_tree(dir, &err) == 0, dir, err.text);
}

char tempdir_own[FILE_PATH_MAX];

void tempdir_own_make(void)
{
    tempdir_make(tempdir_own);
}

void tempdir_own_remove(void)
{
    tempdir_remove(tempdir_own);
}

const char *tempdir_path(const char *dir, const char *name)
{
    static char paths[8][FILE_PATH_MAX];
    static unsigned turn;
    char *out = paths[turn++ % 8];
    must(file_join(out, dir, name, NULL) == 0, name, "too long");
    return out;
}

int tempdir_count(const char *dir)
{
    DIR *d = opendir(dir);
    int n = 0;
    if (d == NULL)
        return -1;
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}

char *tempdir_slurp(const char *path, size_t *len)
{
    char *data = NULL;
    struct err err = {0};
    must(file_read(path, (size_t)1 << 30, &data, len, &err) == 0, path, err.text);
    return data;
}

void tempdir_spill(const char *path, const void *data, size_t len)
{
    struct err err = {0};
    must(file_write(path, data, len, 0644, &err) == 0, path, err.text);
}

bool tempdir_same(const char *a, const char *b)
{
    size_t na, nb;
    char *x = tempdir_slurp(a, &na), *y = tempdir_slurp(b, &nb);
    bool same = na == nb && memcmp(x, y, na) == 0;
    free(x);
    free(y);
    return same;
}
