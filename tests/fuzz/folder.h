/* tests/fuzz/folder.h - a folder for targets whose parser reads files.
 *
 * Data flow   a target makes its files in folder(), then folder_take(): from then on the folder is in this process' memory, and
 *             what base/file reads, writes or removes below it is there. The linker puts these functions in the place of
 *             base/file's (tests/CMakeLists.txt), so that an execution makes no system calls for its files; base/file has
 *             tests of its own. What the parser gets is the same, in a block of exactly its length, which the sanitizer watches.
 * Errors      a file that cannot be written ends the target.
 * Memory      the files, until the target ends.
 * Secrets     none.
 */
#ifndef STIP_TESTS_FUZZ_FOLDER_H
#define STIP_TESTS_FUZZ_FOLDER_H

#include <stddef.h>

/* The target's own folder, made at the first call and removed at exit. */
const char *folder(void);
/* FOLDER/name, in one of four buffers that take turns. */
const char *folder_path(const char *name);
void folder_take(void);
/* All of these after folder_take. */
void folder_put(const char *name, const void *data, size_t len);
void folder_drop(const char *name);
/* How many files are below FOLDER/name ("" for all). */
size_t folder_count(const char *name);

#endif
