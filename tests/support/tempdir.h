/* tests/support/tempdir.h - a folder for one test, removed at its end.
 *
 * Errors      a step that fails ends the test with a message.
 * Memory      the caller owns the path.
 * Secrets     none.
 */
#ifndef STIP_TESTS_SUPPORT_TEMPDIR_H
#define STIP_TESTS_SUPPORT_TEMPDIR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/file.h"

void tempdir_make(char out[FILE_PATH_MAX]);
void tempdir_remove(const char *dir);
/* For suites whose tests have one folder each: .init = tempdir_own_make, .fini = tempdir_own_remove. */
extern char tempdir_own[FILE_PATH_MAX];
void tempdir_own_make(void);
void tempdir_own_remove(void);
/* dir/name, in one of eight buffers that take turns. */
const char *tempdir_path(const char *dir, const char *name);
/* Number of entries besides . and .., or -1 if there is no such folder. */
int tempdir_count(const char *dir);
/* Whole file; free(). */
char *tempdir_slurp(const char *path, size_t *len);
void tempdir_spill(const char *path, const void *data, size_t len);
/* True if both files have the same bytes. */
bool tempdir_same(const char *a, const char *b);

#endif
