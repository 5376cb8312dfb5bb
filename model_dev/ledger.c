#include "model_dev/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

#define LEDGER "grants.log"
#define CAP ((size_t)64 << 20)

/* A whole line or nothing: half of one would make the file unreadable. grant and serve may write at the same time. */
static int append(int fd, const char *line, size_t n)
{
    struct stat before;
    if (flock(fd, LOCK_EX) != 0 || fstat(fd, &before) != 0)
        return -1;
    for (size_t at = 0; at < n;) {
        const ssize_t some = write(fd, line + at, n - at);
        if (some < 0 && errno == EINTR)
            continue;
        if (some < 0)
            goto undo;
        at += (size_t)some;
    }
    if (fsync(fd) == 0)
        return 0;
undo:;
    const int error = errno;
    (void)!ftruncate(fd, before.st_size);
    errno = error;
    return -1;
}

int ledger_add(const char *protected, const struct peer_key *user, const uint8_t context[CRYPTO_HASH_LEN], struct err *err)
{
    char path[FILE_PATH_MAX], line[160], when[32], who[FINGERPRINT_TEXT], hex[2 * CRYPTO_HASH_LEN + 1];
    if (file_join(path, protected, LEDGER, err) != 0)
        return -1;
    clock_iso(clock_unix(), when);
    peer_key_fingerprint(user, who);
    crypto_hex(context, CRYPTO_HASH_LEN, hex);
    const int n = snprintf(line, sizeof line, "%s %s %s\n", when, who, hex);
    const int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = fd < 0 || append(fd, line, (size_t)n) != 0
                 ? err_set(err, ERR_INTERNAL, "cannot note the grant in %s: %s", path, strerror(errno))
                 : 0;
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

int ledger_find(struct ledger_answer *out, const char *protected, const char *fingerprint, const uint8_t context[CRYPTO_HASH_LEN],
                struct err *err)
{
    char path[FILE_PATH_MAX], hex[2 * CRYPTO_HASH_LEN + 1], *text = NULL;
    struct ledger_answer answer = {0};
    size_t len;
    if (file_join(path, protected, LEDGER, err) != 0)
        return -1;
    crypto_hex(context, CRYPTO_HASH_LEN, hex);
    if (!file_exists(path)) {
        *out = answer;
        return 0;
    }
    if (file_read(path, CAP, &text, &len, err) != 0)
        return -1;
    int rc = 0, number = 1;
    answer.known = true;
    for (char *line = text, *end; rc == 0 && *line != '\0'; line = end + 1, number++) {
        char when[32], who[32], what[2 * CRYPTO_HASH_LEN + 1];
        if ((end = strchr(line, '\n')) == NULL || sscanf(line, "%31s %31s %64s", when, who, what) != 3 ||
            strlen(what) != 2 * CRYPTO_HASH_LEN) {
            rc = err_set(err, ERR_INPUT, "%s: line %d: expected date, fingerprint and context", path, number);
            break;
        }
        if (strcmp(who, fingerprint) == 0 && strcmp(what, hex) == 0)
            memcpy(answer.when, when, sizeof when);
    }
    free(text);
    if (rc == 0)
        *out = answer;
    return rc;
}
