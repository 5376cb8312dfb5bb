#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret.h"

static enum err_code code_of(int error)
{
    return error == ENOSPC || error == EIO || error == EDQUOT || error == ENOMEM || error == EMFILE ? ERR_INTERNAL : ERR_INPUT;
}

static int sys_fail(const char *verb, const char *path, struct err *err)
{
    int error = errno;
    return err_set(err, code_of(error), "cannot %s %s: %s", verb, path, strerror(error));
}

/* Opens a regular file for reading and gives its size. */
static int open_regular(const char *path, int flags, struct stat *st, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags);
    if (fd < 0)
        return sys_fail("open", path, err);
    if (fstat(fd, st) != 0) {
        sys_fail("stat", path, err);
        close(fd);
        return -1;
    }
    if (!S_ISREG(st->st_mode)) {
        close(fd);
        return err_set(err, ERR_INPUT, "%s: not a regular file", path);
    }
    return fd;
}

static int read_all(int fd, uint8_t *dst, size_t len, const char *path, struct err *err)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = read(fd, dst + at, len - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sys_fail("read", path, err);
        if (n == 0)
            return err_set(err, ERR_INPUT, "%s: the file became shorter while it was read", path);
        at += (size_t)n;
    }
    return 0;
}

int file_read(const char *path, size_t cap, char **data, size_t *len, struct err *err)
{
    struct stat st;
    int fd = open_regular(path, 0, &st, err);
    if (fd < 0)
        return -1;
    int rc = -1;
    char *text = NULL;
    if ((uint64_t)st.st_size > cap) {
        err_set(err, ERR_INPUT, "%s: %lld bytes, at most %zu are accepted", path, (long long)st.st_size, cap);
        goto done;
    }
    if ((text = malloc((size_t)st.st_size + 1)) == NULL) {
        err_oom(err, (unsigned long long)st.st_size + 1);
        goto done;
    }
    if (read_all(fd, (uint8_t *)text, (size_t)st.st_size, path, err) != 0)
        goto done;
    text[st.st_size] = '\0';
    *data = text;
    *len = (size_t)st.st_size;
    text = NULL;
    rc = 0;
done:
    free(text);
    close(fd);
    return rc;
}

int file_read_secret(const char *path, size_t cap, uint8_t **data, size_t *len, struct err *err)
{
    struct stat st;
    int fd = open_regular(path, O_NOFOLLOW, &st, err);
    if (fd < 0)
        return -1;
    int rc = -1;
    uint8_t *bytes = NULL;
    if (st.st_uid != geteuid() && st.st_uid != 0)
        err_set(err, ERR_INPUT, "%s: key file belongs to another user (uid %u)", path, (unsigned)st.st_uid);
    else if ((st.st_mode & 077) != 0)
        err_set(err, ERR_INPUT, "%s: key file is open to others (mode %03o); run: chmod 600 %s", path,
                (unsigned)(st.st_mode & 0777), path);
    else if (st.st_nlink != 1)
        err_set(err, ERR_INPUT, "%s: key file has %lu hard links, expected 1", path, (unsigned long)st.st_nlink);
    else if ((uint64_t)st.st_size > cap)
        err_set(err, ERR_INPUT, "%s: %lld bytes, a key file has at most %zu", path, (long long)st.st_size, cap);
    else if ((bytes = secret_alloc((size_t)st.st_size + 1)) == NULL)
        err_oom(err, (unsigned long long)st.st_size);
    else
        rc = read_all(fd, bytes, (size_t)st.st_size, path, err);
    if (rc == 0) {
        *data = bytes;
        *len = (size_t)st.st_size;
        bytes = NULL;
    }
    secret_free(bytes);
    close(fd);
    return rc;
}

int file_map(struct file_map *map, const char *path, struct err *err)
{
    struct stat st;
    int fd = open_regular(path, 0, &st, err);
    if (fd < 0)
        return -1;
    struct file_map m = {.size = (size_t)st.st_size};
    if (m.size > 0) {
        void *p = mmap(NULL, m.size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            sys_fail("map", path, err);
            close(fd);
            return -1;
        }
        m.data = p;
    }
    close(fd);
    *map = m;
    return 0;
}

void file_unmap(struct file_map *map)
{
    if (map->data != NULL)
        munmap((void *)(uintptr_t)map->data, map->size);
    *map = (struct file_map){0};
}

int file_in_open(struct file_in *in, const char *path, struct err *err)
{
    struct stat st;
    in->fd = -1;
    if (strlen(path) >= sizeof in->path)
        return err_set(err, ERR_INPUT, "path too long: %.80s...", path);
    if ((in->fd = open_regular(path, 0, &st, err)) < 0)
        return -1;
    (void)strcpy(in->path, path);
    in->size = (uint64_t)st.st_size;
    return 0;
}

int file_in_read(const struct file_in *in, uint64_t at, void *dst, size_t n, struct err *err)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(in->fd, (uint8_t *)dst + done, n - done, (off_t)(at + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return sys_fail("read", in->path, err);
        if (got == 0)
            return err_set(err, ERR_INPUT, "%s: the file became shorter while it was read", in->path);
        done += (size_t)got;
    }
    return 0;
}

void file_in_close(struct file_in *in)
{
    if (in->fd >= 0)
        close(in->fd);
    in->fd = -1;
}

/* ------------------------------------------------------------------ writing */

int file_out_open(struct file_out *out, const char *path, mode_t mode, struct err *err)
{
    out->fd = -1;
    out->size = 0;
    if (strlen(path) + sizeof ".XXXXXX.part" > sizeof out->part)
        return err_set(err, ERR_INPUT, "path too long: %.80s...", path);
    (void)snprintf(out->path, sizeof out->path, "%s", path);
    (void)snprintf(out->part, sizeof out->part, "%s.XXXXXX.part", path);
    out->fd = mkostemps(out->part, 5, O_CLOEXEC);
    if (out->fd < 0)
        return sys_fail("create", path, err);
    if (fchmod(out->fd, mode) != 0) {
        sys_fail("set the mode of", out->part, err);
        file_out_drop(out);
        return -1;
    }
    return 0;
}

int file_out_write(struct file_out *out, const void *data, size_t len, struct err *err)
{
    const uint8_t *p = data;
    while (len > 0) {
        ssize_t n = write(out->fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sys_fail("write", out->part, err);
        p += n;
        len -= (size_t)n;
        out->size += (uint64_t)n;
    }
    return 0;
}

int file_out_commit(struct file_out *out, struct err *err)
{
    char dir[FILE_PATH_MAX];
    int fd = out->fd;
    if (fsync(fd) != 0) {
        sys_fail("fsync", out->part, err);
        file_out_drop(out);
        return -1;
    }
    out->fd = -1;
    if (close(fd) != 0 || rename(out->part, out->path) != 0) {
        sys_fail("rename into place", out->path, err);
        (void)unlink(out->part);
        return -1;
    }
    if (file_dir(dir, out->path, err) != 0)
        return -1;
    return file_fsync_dir(dir, err);
}

void file_out_drop(struct file_out *out)
{
    if (out->fd < 0)
        return;
    close(out->fd);
    (void)unlink(out->part);
    out->fd = -1;
}

int file_write(const char *path, const void *data, size_t len, mode_t mode, struct err *err)
{
    struct file_out out;
    if (file_out_open(&out, path, mode, err) != 0)
        return -1;
    if (file_out_write(&out, data, len, err) != 0) {
        file_out_drop(&out);
        return -1;
    }
    return file_out_commit(&out, err);
}

int file_fsync_dir(const char *dir, struct err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return sys_fail("open folder", dir, err);
    int rc = fsync(fd) == 0 ? 0 : sys_fail("fsync folder", dir, err);
    close(fd);
    return rc;
}

/* ------------------------------------------------------------------ names and folders */

bool file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool file_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int file_size(const char *path, uint64_t *size, struct err *err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return sys_fail("stat", path, err);
    *size = (uint64_t)st.st_size;
    return 0;
}

int file_mkdirs(const char *path, mode_t mode, struct err *err)
{
    char part[FILE_PATH_MAX];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part)
        return err_set(err, ERR_INPUT, "folder name is empty or too long");
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (part[i] != '/' && part[i] != '\0')
            continue;
        char keep = part[i];
        part[i] = '\0';
        if (mkdir(part, mode) != 0 && errno != EEXIST)
            return sys_fail("make folder", part, err);
        part[i] = keep;
    }
    return file_is_dir(path) ? 0 : err_set(err, ERR_INPUT, "%s: not a folder", path);
}

int file_join(char out[FILE_PATH_MAX], const char *dir, const char *name, struct err *err)
{
    int n = dir == NULL || dir[0] == '\0' || name[0] == '/' ? snprintf(out, FILE_PATH_MAX, "%s", name)
                                                             : snprintf(out, FILE_PATH_MAX, "%s/%s", dir, name);
    if (n < 0 || n >= FILE_PATH_MAX)
        return err_set(err, ERR_INPUT, "path too long: %.80s...", name);
    return 0;
}

int file_dir(char out[FILE_PATH_MAX], const char *path, struct err *err)
{
    if (strlen(path) >= FILE_PATH_MAX)
        return err_set(err, ERR_INPUT, "path too long: %.80s...", path);
    (void)strcpy(out, path);
    char *slash = strrchr(out, '/');
    if (slash == NULL)
        (void)strcpy(out, ".");
    else
        slash[slash == out ? 1 : 0] = '\0';
    return 0;
}

bool file_name_ok(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > 200 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return false;
    for (size_t i = 0; i < n; i++)
        if (name[i] == '/' || name[i] == '\\' || (unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return false;
    return true;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    return flag == FTW_DP || flag == FTW_DNR ? rmdir(path) : unlink(path);
}

int file_remove_tree(const char *path, struct err *err)
{
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
        return sys_fail("remove", path, err);
    return 0;
}

int file_replace_tree(const char *fresh, const char *dir, struct err *err)
{
    char parent[FILE_PATH_MAX];
    bool swapped = renameat2(AT_FDCWD, fresh, AT_FDCWD, dir, RENAME_EXCHANGE) == 0;
    /* No folder yet, or a file system that cannot swap (NFS). */
    if (!swapped && ((errno != ENOENT && errno != EINVAL) || file_remove_tree(dir, err) != 0 || rename(fresh, dir) != 0))
        return err_set(err, ERR_INTERNAL, "cannot move %s into place: %s", fresh, strerror(errno));
    if (file_dir(parent, dir, err) != 0 || file_fsync_dir(parent, err) != 0)
        return -1;
    return swapped ? file_remove_tree(fresh, err) : 0;
}
