/* base/file.h - whole files, maps, and atomic writing.
 *
 * Data flow   disk -> memory; memory -> PATH.part -> fsync -> rename -> PATH, so a reader never sees half a file.
 * Units       bytes.
 * Errors      each names the path and the reason. A failed write or fsync removes the .part and reports; it is never
 *             retried.
 * Memory      file_read gives (free()); file_map is released by file_unmap.
 * Secrets     file_read_secret refuses files that others can read, links, and other owners; the bytes come in
 *             locked memory (base/secret.h). file_write with mode 0600 for key files.
 */
#ifndef STIP_BASE_FILE_H
#define STIP_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define FILE_PATH_MAX 4096

/* Reads all of a regular file of at most `cap` bytes; a NUL follows the last byte. */
MUST_CHECK int file_read(const char *path, size_t cap, char **data, size_t *len, struct err *err);
/* The same for key files: gives secret_alloc'ed memory (secret_free). */
MUST_CHECK int file_read_secret(const char *path, size_t cap, uint8_t **data, size_t *len, struct err *err);
/* Atomic: PATH has the old content or the new one. */
MUST_CHECK int file_write(const char *path, const void *data, size_t len, mode_t mode, struct err *err);

struct file_map {
    const uint8_t *data;
    size_t size;
};
/* Read-only map. Only for files that nobody is writing (a shrinking file raises SIGBUS). */
MUST_CHECK int file_map(struct file_map *map, const char *path, struct err *err);
void file_unmap(struct file_map *map);

/* A file read piece by piece, at any place and from any thread. */
struct file_in {
    int fd; /* -1: not open */
    uint64_t size;
    char path[FILE_PATH_MAX];
};
MUST_CHECK int file_in_open(struct file_in *in, const char *path, struct err *err);
/* All n bytes from `at` on, or an error. */
MUST_CHECK int file_in_read(const struct file_in *in, uint64_t at, void *dst, size_t n, struct err *err);
void file_in_close(struct file_in *in); /* no-op when not open */

/* A file written piece by piece, then committed or dropped. */
struct file_out {
    int fd;
    uint64_t size; /* written so far */
    char path[FILE_PATH_MAX], part[FILE_PATH_MAX];
};
MUST_CHECK int file_out_open(struct file_out *out, const char *path, mode_t mode, struct err *err);
MUST_CHECK int file_out_write(struct file_out *out, const void *data, size_t len, struct err *err);
/* fsync, rename, fsync of the folder. The struct is closed either way. */
MUST_CHECK int file_out_commit(struct file_out *out, struct err *err);
void file_out_drop(struct file_out *out); /* no-op when closed */

bool file_exists(const char *path);
bool file_is_dir(const char *path);
MUST_CHECK int file_size(const char *path, uint64_t *size, struct err *err);
/* mkdir -p. */
MUST_CHECK int file_mkdirs(const char *path, mode_t mode, struct err *err);
/* dir + "/" + name into out, or name alone when it is absolute or dir is NULL or empty. */
MUST_CHECK int file_join(char out[FILE_PATH_MAX], const char *dir, const char *name, struct err *err);
/* The folder part of a path ("." when there is none). */
MUST_CHECK int file_dir(char out[FILE_PATH_MAX], const char *path, struct err *err);
/* A plain file name: not empty, no '/', not "." or "..", no control characters, at most 200 bytes. */
bool file_name_ok(const char *name);
MUST_CHECK int file_fsync_dir(const char *dir, struct err *err);
/* Removes a folder and everything in it; does not follow links. A missing folder is fine. */
MUST_CHECK int file_remove_tree(const char *path, struct err *err);
/* Puts a finished folder in the place of an old one, or of none, in one step where the file system can, so that a kill leaves one
 * of them, whole. The old one takes the name `fresh` and is removed. */
MUST_CHECK int file_replace_tree(const char *fresh, const char *dir, struct err *err);

#endif
