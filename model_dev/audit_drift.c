#include "model_dev/audit_drift.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/threads.h"

#define BLOCK ((size_t)1 << 20) /* elements */
#define TASK ((size_t)1 << 14)
#define CONFIG "config.json"

uint64_t audit_noise(uint64_t key, uint64_t i)
{
    uint64_t z = key * 0x9e3779b97f4a7c15 + (i + 1) * 0xbf58476d1ce4e5b9; /* splitmix64's finish */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

struct item {
    char name[512];
    const struct tensor *src;
    uint64_t key;
};

struct noising {
    float *x;
    size_t n;
    uint64_t key, at;
    double spread;
};

/* Box and Muller: two uniform numbers make two normal ones. */
static void noise_task(void *arg, int task)
{
    const struct noising *s = arg;
    for (size_t i = (size_t)task * TASK; i < s->n && i < ((size_t)task + 1) * TASK; i += 2) {
        uint64_t bits = audit_noise(s->key, s->at + i);
        double u = ((double)(bits >> 32) + 0.5) / 4294967296.0, turn = 2 * M_PI * (double)(uint32_t)bits / 4294967296.0;
        double radius = s->spread * sqrt(-2 * log(u));
        s->x[i] += (float)(radius * cos(turn));
        if (i + 1 < s->n)
            s->x[i + 1] += (float)(radius * sin(turn));
    }
}

static size_t read_block(const struct tensor *t, uint64_t at, float *x)
{
    size_t n = t->count - at < BLOCK ? (size_t)(t->count - at) : BLOCK;
    dtype_to_f32(t->dtype, t->data + at * dtype_size(t->dtype), x, n);
    return n;
}

static int write_item(const struct item *item, double percent, float *x, struct safetensors_out *st, struct err *err)
{
    const struct tensor *t = item->src;
    double square = 0;
    for (uint64_t at = 0; at < t->count; at += BLOCK)
        for (size_t n = read_block(t, at, x), i = 0; i < n; i++)
            square += (double)x[i] * (double)x[i];
    struct noising s = {.x = x, .key = item->key, .spread = percent / 100 * sqrt(square / (double)t->count)};
    for (s.at = 0; s.at < t->count; s.at += BLOCK) {
        s.n = read_block(t, s.at, x);
        threads_for((int)((s.n + TASK - 1) / TASK), noise_task, &s);
        if (safetensors_out_write(st, x, s.n * sizeof *x, err) != 0)
            return -1;
    }
    safetensors_release(t);
    return 0;
}

/* Every tensor once: a tied table is found under two roles, layers may share theirs. */
static int list(struct item *items, size_t *count, const struct checkpoint *cp, struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    for (const struct arch_tensor *row = c->arch->tensors; row->role != ROLE_COUNT; row++)
        for (int l = 0; arch_present(c, row) && l < arch_count(c, row); l++) {
            const struct tensor *t = checkpoint_tensor(cp, row->role, l);
            const bool shared = row->per_layer && l > 0 && checkpoint_tensor(cp, row->role, l - 1) == t;
            if (t == NULL || shared || (row->role == ROLE_LM_HEAD && t == checkpoint_tensor(cp, ROLE_TOKEN_EMBED, 0)))
                continue;
            items[*count] = (struct item){.src = t, .key = (uint64_t)row->role * 65536 + (uint64_t)l};
            if (checkpoint_name(items[*count].name, c, row, l, 0, 0, err) != 0)
                return -1;
            (*count)++;
        }
    return 0;
}

static int write_weights(const struct item *items, size_t count, double percent, const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX];
    struct safetensors_out *st = NULL;
    float *x = malloc(BLOCK * sizeof *x);
    int rc = x == NULL ? err_oom(err, BLOCK * sizeof *x) : file_join(path, dir, "model.safetensors", err);
    if (rc == 0)
        rc = safetensors_out_new(&st, err);
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = safetensors_out_declare(st, items[i].name, DTYPE_F32, items[i].src->rank, items[i].src->dim, err);
    if (rc == 0)
        rc = safetensors_out_begin(st, path, 0600, err);
    for (const char *name; rc == 0 && (name = safetensors_out_next(st)) != NULL;) {
        size_t i = 0;
        while (strcmp(items[i].name, name) != 0)
            i++;
        rc = write_item(&items[i], percent, x, st, err);
    }
    if (rc == 0)
        rc = safetensors_out_commit(st, err);
    safetensors_out_free(st);
    free(x);
    return rc;
}

static int copy_config(const struct checkpoint *cp, const char *dir, struct err *err)
{
    char from[FILE_PATH_MAX], to[FILE_PATH_MAX], *text;
    size_t len;
    if (file_join(from, checkpoint_dir(cp), CONFIG, err) != 0 || file_join(to, dir, CONFIG, err) != 0 ||
        file_read(from, JSON_CAP_CONFIG, &text, &len, err) != 0)
        return -1;
    int rc = file_write(to, text, len, 0600, err);
    free(text);
    return rc;
}

int audit_drift(const struct checkpoint *plain, double percent, const char *dir, struct err *err)
{
    size_t most = (size_t)ROLE_COUNT * (size_t)checkpoint_config(plain)->L * (size_t)config_feeds(checkpoint_config(plain)), count = 0;
    struct item *items = calloc(most, sizeof *items);
    if (items == NULL)
        return err_oom(err, most * sizeof *items);
    int rc = file_mkdirs(dir, 0700, err);
    if (rc == 0)
        rc = copy_config(plain, dir, err);
    if (rc == 0)
        rc = list(items, &count, plain, err);
    if (rc == 0)
        rc = write_weights(items, count, percent, dir, err);
    free(items);
    return rc;
}
