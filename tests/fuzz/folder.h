/* tests/fuzz/folder.h - a folder in memory for targets whose parser reads files.
 *
 * Errors      a file that cannot be written ends the target.
 * Memory      none.
 * Secrets     none.
 */
#ifndef STIP_TESTS_FUZZ_FOLDER_H
#define STIP_TESTS_FUZZ_FOLDER_H

#include <stddef.h>

/* The target's own folder, made at the first call and removed at exit. */
const char *folder(void);
/* FOLDER/name, in one of four buffers that take turns. */
const char *folder_path(const char *name);
void folder_put(const char *name, const void *data, size_t len);
void folder_drop(const char *name);

#endif
