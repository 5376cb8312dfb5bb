#include "model_dev/audit_text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "model_dev/audit_drift.h"

#define FILE_CAP ((size_t)256 << 20)
#define MADE_UP 8 /* times the traffic is the corpus */

/* Token of rank r is as frequent as 1/(r+1), as in most texts; the ranks are scattered over the vocabulary. */
static void make_up(int32_t *ids, size_t n, int V)
{
    for (size_t i = 0; i < n; i++) {
        double u = (double)(audit_noise(3, i) >> 11) / 9007199254740992.0;
        uint64_t r = (uint64_t)(exp(u * log((double)V + 1)) - 1);
        ids[i] = (int32_t)(r * 2654435761u % (uint64_t)V); /* a prime above every V */
    }
}

/* "1 2 3", "1,2,3", "[1, 2, 3]" or {"ids": [...]}: all that is between the numbers is punctuation and the key. */
static int parse(int32_t *ids, size_t *n, const char *text, const char *path, const struct config *c, struct err *err)
{
    const char *at = text;
    if (strncmp(at, "{\"ids\":", 7) == 0)
        at += 7;
    while (*(at += strspn(at, " ,[]{}\t\r\n")) != '\0') {
        char *end;
        errno = 0;
        long v = strtol(at, &end, 10);
        if (end == at || errno != 0)
            return err_set(err, ERR_INPUT, "%s: byte %zu: expected token ids such as \"1 2 3\"; make the file with stip-user tokenize",
                           path, (size_t)(at - text));
        if (v < 0 || v >= c->V)
            return err_set(err, ERR_INPUT, "%s: byte %zu: the model has %d tokens; do the ids belong to it?", path, (size_t)(at - text),
                           c->V);
        ids[(*n)++] = (int32_t)v;
        at = end;
    }
    return 0;
}

static int read_ids(int32_t **ids, size_t *n, const char *path, const struct config *c, struct err *err)
{
    char *text;
    size_t len;
    *n = 0;
    if (file_read(path, FILE_CAP, &text, &len, err) != 0)
        return -1;
    int32_t *all = malloc((len / 2 + 1) * sizeof *all); /* a number and what ends it are two bytes */
    int rc = all == NULL ? err_oom(err, (len / 2 + 1) * sizeof *all) : parse(all, n, text, path, c, err);
    if (rc == 0 && *n < 2)
        rc = err_set(err, ERR_INPUT, "%s: expected at least 2 token ids, found %zu", path, *n);
    free(text);
    if (rc == 0)
        *ids = all;
    else
        free(all);
    return rc;
}

int audit_text_open(struct audit_text *out, const char *path, const struct config *c, size_t sample, struct err *err)
{
    struct audit_text t = {0};
    size_t all = (MADE_UP + 1) * sample;
    if (path != NULL) {
        if (read_ids(&t.corpus, &all, path, c, err) != 0)
            return -1;
    } else {
        if ((t.corpus = calloc(all, sizeof *t.corpus)) == NULL)
            return err_oom(err, all * sizeof *t.corpus);
        make_up(t.corpus, all, c->V);
    }
    t.n = sample < all / 2 ? sample : all / 2;
    t.corpus_n = all - t.n;
    t.traffic = t.corpus + t.corpus_n;
    t.sequence = calloc(t.n, sizeof *t.sequence);
    t.position = calloc(t.n, sizeof *t.position);
    if (t.sequence == NULL || t.position == NULL) {
        audit_text_close(&t);
        return err_oom(err, t.n * sizeof *t.sequence);
    }
    const size_t length = c->positions < AUDIT_SEQUENCE ? (size_t)c->positions : AUDIT_SEQUENCE;
    for (size_t i = 0; i < t.n; i++) {
        t.sequence[i] = (int)(i / length);
        t.position[i] = (int)(i % length);
    }
    *out = t;
    return 0;
}

void audit_text_close(struct audit_text *t)
{
    free(t->corpus); /* the traffic is its end */
    free(t->sequence);
    free(t->position);
    *t = (struct audit_text){0};
}
