/* How long a server needs to get a package into memory, beside what the machine needs to read and to hash the same bytes. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/threads.h"
#include "bench/cmd.h"
#include "bench/stats.h"
#include "engine/kernels/table.h"
#include "server/package.h"

#define ROUNDS_MAX 50

enum way { READ, HASH, LOAD, WAYS };

/* The package's files, a chunk after the other into memory that no one has touched; a task takes one. */
struct reading {
    const struct manifest_file *file;
    struct file_map map;
    uint8_t *to; /* NULL: hashed where it lies */
    atomic_bool failed;
};

static void read_task(void *arg, int i)
{
    struct reading *r = arg;
    size_t at = (size_t)i * MANIFEST_CHUNK, n = r->map.size - at < MANIFEST_CHUNK ? r->map.size - at : MANIFEST_CHUNK;
    uint8_t digest[CRYPTO_HASH_LEN];
    if (r->to != NULL)
        memcpy(r->to + at, r->map.data + at, n);
    else if (crypto_sha256(r->map.data + at, n, digest, NULL) != 0)
        r->failed = true;
}

static int read_file(const struct manifest_file *file, const char *dir, enum way way, struct err *err)
{
    char path[FILE_PATH_MAX];
    struct reading r = {.file = file};
    if (file_join(path, dir, file->name, err) != 0 || file_map(&r.map, path, err) != 0)
        return -1;
    int rc = -1;
    if (way == READ && r.map.size > 0) {
        void *p = mmap(NULL, r.map.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) {
            err_oom(err, r.map.size);
            goto done;
        }
        r.to = p;
        (void)madvise(p, r.map.size, MADV_HUGEPAGE);
    }
    threads_for((int)file->chunk_count, read_task, &r);
    rc = r.failed ? err_set(err, ERR_INTERNAL, "%s: hashing failed", path) : 0;
    if (r.to != NULL)
        (void)munmap(r.to, r.map.size);
done:
    file_unmap(&r.map);
    return rc;
}

static int run(const struct manifest *m, const char *dir, enum way way, double *seconds, struct err *err)
{
    const uint64_t start = clock_us();
    int rc = 0;
    if (way == LOAD) {
        const struct package_limits limits = {0};
        struct peer_key developer = {0};
        struct package *p = NULL;
        memcpy(developer.sign_pub, m->signer, sizeof developer.sign_pub); /* who it is does not matter to the time */
        rc = package_load(&p, dir, &developer, 1, &limits, err);
        *seconds = (double)(clock_us() - start) / 1e6;
        package_free(p);
        return rc;
    }
    for (size_t i = 0; rc == 0 && i < m->file_count; i++)
        rc = read_file(&m->files[i], dir, way, err);
    *seconds = (double)(clock_us() - start) / 1e6;
    return rc;
}

static int measure(const struct manifest *m, const char *dir, int rounds, double median[WAYS], double ratio[WAYS], struct err *err)
{
    double s[WAYS][ROUNDS_MAX], over[WAYS][ROUNDS_MAX], first;
    if (run(m, dir, READ, &first, err) != 0) /* files into the page cache */
        return -1;
    for (int i = 0; i < rounds; i++)
        for (int way = READ; way < WAYS; way++) {
            if (run(m, dir, (enum way)way, &s[way][i], err) != 0)
                return -1;
            over[way][i] = s[way][i] / s[READ][i];
        }
    for (int way = READ; way < WAYS; way++) {
        ratio[way] = stats_median(over[way], (size_t)rounds);
        median[way] = stats_median(s[way], (size_t)rounds);
    }
    return 0;
}

int cmd_start(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    int64_t rounds = 5, threads = 0;
    double s[WAYS], ratio[WAYS];
    struct manifest m = {0};
    char *text = NULL;
    size_t len;
    uint8_t sig[CRYPTO_SIG_LEN];
    const char *dir = cli_str(cmd, "package", "");
    (void)argc;
    (void)argv;
    if (cli_int(cmd, "repeats", 1, ROUNDS_MAX, &rounds, err) != 0 || cli_int(cmd, "threads", 0, 256, &threads, err) != 0 ||
        kernels_choose(NULL, err) != 0 || threads_start(threads_fit((int)threads), err) != 0 ||
        manifest_load(&m, dir, &text, &len, sig, err) != 0)
        return -1;
    int rc = measure(&m, dir, (int)rounds, s, ratio, err);
    if (rc == 0)
        printf(cli_on(cmd, "json") ? "{\"bytes\":%llu,\"threads\":%d,\"read_s\":%.3f,\"hash_s\":%.3f,\"load_s\":%.3f,\"hash_over_read\":%.2f,"
                                     "\"load_over_read\":%.2f}\n"
                                   : "bytes      %llu, %d threads\nread       %.3f s into new memory\nhash       %.3f s where they lie\n"
                                     "load       %.3f s: checked, packed, ready to serve\nhash/read  %.2f\nload/read  %.2f\n",
               (unsigned long long)manifest_bytes(&m), threads_count(), s[READ], s[HASH], s[LOAD], ratio[HASH], ratio[LOAD]);
    free(text);
    manifest_free(&m);
    threads_stop();
    return rc;
}
