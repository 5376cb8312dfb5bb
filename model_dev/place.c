#include "model_dev/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "model_dev/protect.h"

#define STAGING ".protect.tmp"

static int refuse_existing(const struct place *at, struct err *err)
{
    const char *there = file_exists(at->key) ? at->key : file_exists(at->package) ? at->package : NULL;
    return there == NULL ? 0
                         : err_set(err, ERR_USAGE, "%s is there already; give another --out, or --force to move the old package and "
                                                   "key aside (nothing is deleted)", there);
}

int place_open(struct place *at, const char *out, bool force, struct err *err)
{
    *at = (struct place){.lock = -1, .made_dir = !file_exists(out)};
    if (file_join(at->dir, NULL, out, err) != 0 || file_join(at->staging, out, STAGING, err) != 0 ||
        file_join(at->package, out, PROTECT_PACKAGE, err) != 0 || file_join(at->key, out, PROTECT_KEY, err) != 0 ||
        file_join(at->new_package, at->staging, PROTECT_PACKAGE, err) != 0 ||
        file_join(at->new_key, at->staging, PROTECT_KEY, err) != 0)
        return -1;
    if (file_mkdirs(out, 0700, err) != 0)
        return -1;
    at->lock = open(out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at->lock < 0)
        return err_set(err, ERR_INPUT, "cannot open folder %s: %s", out, strerror(errno));
    if (flock(at->lock, LOCK_EX | LOCK_NB) != 0) {
        close(at->lock); /* what stands in the folder belongs to the other */
        at->lock = -1;
        return err_set(err, ERR_USAGE, "%s: another protect is writing to this folder", out);
    }
    if ((!force && refuse_existing(at, err) != 0) || file_remove_tree(at->staging, err) != 0)
        return -1;
    return file_mkdirs(at->staging, 0700, err);
}

static int move(const char *from, const char *to, struct err *err)
{
    return rename(from, to) == 0 ? 0 : err_set(err, ERR_INTERNAL, "cannot rename %s to %s: %s", from, to, strerror(errno));
}

/* An old key opens what was sealed under it: it is kept, never replaced. */
static int move_aside(struct place *at, struct err *err)
{
    unsigned n = 0;
    do {
        n++;
        (void)snprintf(at->old_package, sizeof at->old_package, "%s.%u", at->package, n);
        (void)snprintf(at->old_key, sizeof at->old_key, "%s.%u", at->key, n);
    } while (file_exists(at->old_package) || file_exists(at->old_key));
    if (file_exists(at->key) && move(at->key, at->old_key, err) != 0)
        return -1;
    return file_exists(at->package) ? move(at->package, at->old_package, err) : 0;
}

/* What may not last is not there, and what was there is there again. */
static void put_back(const struct place *at)
{
    if (!file_exists(at->new_key))
        (void)unlink(at->key);
    if (!file_exists(at->new_package))
        (void)!file_remove_tree(at->package, NULL);
    if (file_exists(at->old_key))
        (void)rename(at->old_key, at->key);
    if (file_exists(at->old_package))
        (void)rename(at->old_package, at->package);
}

/* The key first: a run that dies between the two leaves a key without a package, never a package without its key. */
int place_install(struct place *at, struct err *err)
{
    if (file_fsync_dir(at->new_package, err) != 0 || file_fsync_dir(at->staging, err) != 0)
        return -1;
    if (move_aside(at, err) == 0 && move(at->new_key, at->key, err) == 0 && move(at->new_package, at->package, err) == 0 &&
        file_fsync_dir(at->dir, err) == 0)
        return 0;
    put_back(at);
    return -1;
}

int place_close(struct place *at, int rc, struct err *err)
{
    if (at->lock < 0)
        return rc;
    if (file_remove_tree(at->staging, rc == 0 ? err : NULL) != 0)
        rc = -1;
    if (rc != 0 && at->made_dir)
        (void)rmdir(at->dir); /* fails when something of value is in it, as it should */
    close(at->lock);
    return rc;
}
