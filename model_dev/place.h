/* model_dev/place.h - where protect writes: a folder of its own beside the result, exchanged for it when all is there.
 *
 * Data flow   OUT -> lock, OUT/.protect.tmp -> new_package and new_key are written there -> place_install: the old ones go aside under
 *             a number, the new ones take their names -> place_close.
 * Errors      what is there already, without force; another protect in the same folder; disk. What fails leaves what was there.
 * Memory      plain struct; the lock is a file descriptor until place_close.
 * Secrets     paths only.
 */
#ifndef STIP_MODEL_DEV_PLACE_H
#define STIP_MODEL_DEV_PLACE_H

#include "base/file.h"

struct place {
    char dir[FILE_PATH_MAX], staging[FILE_PATH_MAX];
    char package[FILE_PATH_MAX], key[FILE_PATH_MAX];         /* where they will be */
    char new_package[FILE_PATH_MAX], new_key[FILE_PATH_MAX]; /* in staging */
    char old_package[FILE_PATH_MAX + 16], old_key[FILE_PATH_MAX + 16]; /* where those that were there go */
    bool made_dir;
    int lock; /* -1: not open */
};

/* Makes the folder, takes its lock and an empty staging folder inside it. */
MUST_CHECK int place_open(struct place *at, const char *out, bool force, struct err *err);
MUST_CHECK int place_install(struct place *at, struct err *err);
/* Gives rc back, or -1 when the staging folder cannot be removed. After a failure nothing of it is left. */
MUST_CHECK int place_close(struct place *at, int rc, struct err *err);

#endif
