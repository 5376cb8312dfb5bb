#include "tests/fuzz/folder.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/secret.h"

static char at[64];
static bool taken;
static struct held {
    char *path, *data;
    size_t len;
} *files;
static size_t count;

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* ------------------------------------------------------------------ the files */

const char *folder(void)
{
    if (at[0] == '\0') {
        (void)snprintf(at, sizeof at, "%s/stip-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        require(mkdtemp(at) != NULL);
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

/* True for `path` itself and for what is below it. */
static bool below(const char *path, const char *dir)
{
    const size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static bool ours(const char *path)
{
    return taken && below(path, at);
}

static struct held *find(const char *path)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(files[i].path + strlen(at), path + strlen(at)) == 0)
            return &files[i];
    return NULL;
}

static void put(const char *path, const void *data, size_t len)
{
    struct held *f = find(path);
    if (f == NULL) {
        require((files = realloc(files, (count + 1) * sizeof *files)) != NULL);
        f = &files[count++];
        *f = (struct held){.path = strdup(path)};
        require(f->path != NULL);
    }
    char *fresh = malloc(len + 1);
    require(fresh != NULL);
    if (len > 0)
        memcpy(fresh, data, len);
    free(f->data);
    f->data = fresh;
    f->len = len;
}

static void remove_below(const char *dir)
{
    for (size_t i = count; i-- > 0;)
        if (below(files[i].path, dir)) {
            free(files[i].path);
            free(files[i].data);
            files[i] = files[--count];
        }
}

static void drop(void)
{
    remove_below(at);
    free(files);
    (void)!file_remove_tree(at, NULL);
}

static int take_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    struct err err;
    char *data;
    size_t len;
    (void)st;
    (void)ftw;
    if (flag == FTW_F) {
        require(file_read(path, (size_t)64 << 20, &data, &len, &err) == 0);
        put(path, data, len);
        free(data);
    }
    return 0;
}

void folder_take(void)
{
    require(!taken && nftw(folder(), take_one, 16, FTW_PHYS) == 0 && file_remove_tree(at, NULL) == 0 && atexit(drop) == 0);
    taken = true;
}

void folder_put(const char *name, const void *data, size_t len)
{
    require(taken);
    put(folder_path(name), data, len);
}

void folder_drop(const char *name)
{
    remove_below(folder_path(name));
}

size_t folder_count(const char *name)
{
    const char *dir = name[0] == '\0' ? at : folder_path(name);
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += below(files[i].path, dir) ? 1 : 0;
    return n;
}

/* ------------------------------------------------------------------ in the place of base/file */

int __real_file_read(const char *path, size_t cap, char **data, size_t *len, struct err *err);
int __real_file_read_secret(const char *path, size_t cap, uint8_t **data, size_t *len, struct err *err);
int __real_file_map(struct file_map *map, const char *path, struct err *err);
void __real_file_unmap(struct file_map *map);
int __real_file_write(const char *path, const void *data, size_t len, mode_t mode, struct err *err);
bool __real_file_exists(const char *path);
bool __real_file_is_dir(const char *path);
int __real_file_mkdirs(const char *path, mode_t mode, struct err *err);
int __real_file_remove_tree(const char *path, struct err *err);
int __real_file_replace_tree(const char *fresh, const char *dir, struct err *err);
int __wrap_file_read(const char *path, size_t cap, char **data, size_t *len, struct err *err);
int __wrap_file_read_secret(const char *path, size_t cap, uint8_t **data, size_t *len, struct err *err);
int __wrap_file_map(struct file_map *map, const char *path, struct err *err);
void __wrap_file_unmap(struct file_map *map);
int __wrap_file_write(const char *path, const void *data, size_t len, mode_t mode, struct err *err);
bool __wrap_file_exists(const char *path);
bool __wrap_file_is_dir(const char *path);
int __wrap_file_mkdirs(const char *path, mode_t mode, struct err *err);
int __wrap_file_remove_tree(const char *path, struct err *err);
int __wrap_file_replace_tree(const char *fresh, const char *dir, struct err *err);

static const struct held *open_held(const char *path, size_t cap, struct err *err)
{
    const struct held *f = find(path);
    if (f == NULL)
        err_set(err, ERR_INPUT, "cannot open %s: %s", path, strerror(ENOENT));
    else if (f->len > cap)
        err_set(err, ERR_INPUT, "%s: %zu bytes, at most %zu are accepted", path, f->len, cap);
    return f == NULL || f->len > cap ? NULL : f;
}

int __wrap_file_read(const char *path, size_t cap, char **data, size_t *len, struct err *err)
{
    if (!ours(path))
        return __real_file_read(path, cap, data, len, err);
    const struct held *f = open_held(path, cap, err);
    if (f == NULL)
        return -1;
    require((*data = malloc(f->len + 1)) != NULL);
    memcpy(*data, f->data, f->len);
    (*data)[f->len] = '\0';
    *len = f->len;
    return 0;
}

int __wrap_file_read_secret(const char *path, size_t cap, uint8_t **data, size_t *len, struct err *err)
{
    if (!ours(path))
        return __real_file_read_secret(path, cap, data, len, err);
    const struct held *f = open_held(path, cap, err);
    if (f == NULL)
        return -1;
    require((*data = secret_alloc(f->len + 1)) != NULL);
    memcpy(*data, f->data, f->len);
    *len = f->len;
    return 0;
}

int __wrap_file_map(struct file_map *map, const char *path, struct err *err)
{
    if (!taken)
        return __real_file_map(map, path, err);
    require(ours(path));
    const struct held *f = open_held(path, SIZE_MAX, err);
    if (f == NULL)
        return -1;
    uint8_t *copy = f->len == 0 ? NULL : malloc(f->len);
    require(f->len == 0 || copy != NULL);
    if (copy != NULL)
        memcpy(copy, f->data, f->len);
    *map = (struct file_map){.data = copy, .size = f->len};
    return 0;
}

/* Nothing that was mapped before folder_take is unmapped after it. */
void __wrap_file_unmap(struct file_map *map)
{
    if (!taken) {
        __real_file_unmap(map);
        return;
    }
    free((void *)(uintptr_t)map->data);
    *map = (struct file_map){0};
}

int __wrap_file_write(const char *path, const void *data, size_t len, mode_t mode, struct err *err)
{
    if (!ours(path))
        return __real_file_write(path, data, len, mode, err);
    /* There are only FOLDER/name and FOLDER/dir/name: anything else has left its folder. */
    const char *name = strchr(path + strlen(at) + 1, '/');
    require(name == NULL || (strchr(name + 1, '/') == NULL && strcmp(name, "/..") != 0 && strcmp(name, "/.") != 0));
    put(path, data, len);
    return 0;
}

bool __wrap_file_exists(const char *path)
{
    return ours(path) ? find(path) != NULL : __real_file_exists(path);
}

bool __wrap_file_is_dir(const char *path)
{
    if (!ours(path))
        return __real_file_is_dir(path);
    for (size_t i = 0; i < count; i++)
        if (below(files[i].path, path) && files[i].path[strlen(path)] == '/')
            return true;
    return false;
}

int __wrap_file_mkdirs(const char *path, mode_t mode, struct err *err)
{
    return ours(path) ? 0 : __real_file_mkdirs(path, mode, err);
}

int __wrap_file_remove_tree(const char *path, struct err *err)
{
    if (!ours(path))
        return __real_file_remove_tree(path, err);
    remove_below(path);
    return 0;
}

int __wrap_file_replace_tree(const char *fresh, const char *dir, struct err *err)
{
    if (!ours(fresh))
        return __real_file_replace_tree(fresh, dir, err);
    remove_below(dir);
    for (size_t i = 0; i < count; i++)
        if (below(files[i].path, fresh)) {
            char *path;
            require(asprintf(&path, "%s%s", dir, files[i].path + strlen(fresh)) > 0);
            free(files[i].path);
            files[i].path = path;
        }
    return 0;
}
