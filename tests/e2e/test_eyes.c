/* What the server sees. The trace of the user's channel is what arrives there, before encryption for the wire. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/embed.h"
#include "model/checkpoint.h"
#include "model/safetensors.h"
#include "tests/support/tempdir.h"
#include "tests/support/trio.h"
#include "transport/trace.h"
#include "transport/wire.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"
#define DEMO_CLASSIFIER STIP_SOURCE_DIR "/examples/demo-classifier"

#define DEMO_D 192

static int by_value(const void *a, const void *b)
{
    float x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static bool holds(const void *hay, size_t n, const void *needle, size_t m)
{
    return memmem(hay, n, needle, m) != NULL;
}

/* Ids as any program might lay them down. */
static void no_ids(const uint8_t *seen, size_t n, const int32_t *ids, size_t count, const char *what)
{
    int64_t wide[64];
    uint16_t narrow[64];
    cr_assert(count >= 4 && count <= 64);
    for (size_t i = 0; i < count; i++) {
        wide[i] = ids[i];
        narrow[i] = (uint16_t)ids[i];
    }
    for (size_t at = 0; at + 3 <= count; at++) {
        cr_expect(!holds(seen, n, ids + at, 3 * sizeof *ids), "%s: ids in 32 bits", what);
        cr_expect(!holds(seen, n, wide + at, 3 * sizeof *wide), "%s: ids in 64 bits", what);
        cr_expect(!holds(seen, n, narrow + at, 3 * sizeof *narrow), "%s: ids in 16 bits", what);
    }
}

/* Every frame that went to the server: one buffer of all bytes, and the rows that stood in the end at each position: guesses that
 * failed were taken back. */
struct sight {
    uint8_t *bytes;
    size_t n, rows;
    float *row; /* [rows,D] */
};

static struct sight look(const char *path, int D)
{
    struct trace_entries e;
    struct err err = {0};
    struct sight s = {0};
    cr_assert_eq(trace_read(&e, path, &err), 0, "%s", err.text);
    for (size_t i = 0; i < e.count; i++)
        s.n += e.entry[i].direction == '>' ? e.entry[i].len : 0;
    s.bytes = malloc(s.n);
    s.row = malloc(s.n);
    s.n = 0;
    for (size_t i = 0; i < e.count; i++) {
        struct frame f;
        if (e.entry[i].direction != '>')
            continue;
        memcpy(s.bytes + s.n, e.entry[i].data, e.entry[i].len);
        s.n += e.entry[i].len;
        cr_assert_eq(wire_get(&f, e.entry[i].data, e.entry[i].len, &err), WIRE_OK);
        if (f.h.type != WIRE_ROWS)
            continue;
        cr_assert(f.h.last_dim == (uint32_t)D && (f.h.flags & WIRE_LAST) != 0);
        cr_assert_leq(f.h.arg[0], s.rows);
        memcpy(s.row + f.h.arg[0] * (size_t)D, f.payload, f.h.length);
        s.rows = f.h.arg[0] + f.h.length / 4 / (uint32_t)D;
    }
    trace_entries_free(&e);
    return s;
}

/* Row for row: the same numbers, in another order, and that order nowhere in the stream. Mutation: seal_rows that copies. */
static void rows_are_hidden(const char *model, const struct sight *s, const int32_t *ids, int n)
{
    struct checkpoint *cp = NULL;
    struct embed *embed = NULL;
    struct err err = {0};
    cr_assert_eq(checkpoint_open(&cp, model, CHECKPOINT_ALL, &err), 0, "%s", err.text);
    cr_assert_eq(embed_load(&embed, cp, &err), 0, "%s", err.text);
    size_t D = (size_t)checkpoint_config(cp)->D;
    float *x = malloc((size_t)n * D * sizeof *x), *sorted = malloc(D * sizeof *sorted);
    cr_assert_eq(embed_rows(embed, ids, NULL, n, 0, x, &err), 0, "%s", err.text);
    cr_assert_geq(s->rows, (size_t)n);
    for (size_t t = 0; t < (size_t)n; t++) {
        float *plain = x + t * D, *seen = s->row + t * D;
        size_t fixed = 0;
        for (size_t d = 0; d + 4 <= D; d += 4)
            cr_expect(!holds(s->bytes, s->n, plain + d, 4 * sizeof(float)), "row %zu: four plain numbers in a row", t);
        for (size_t d = 0; d < D; d++)
            fixed += plain[d] == seen[d] ? 1 : 0;
        cr_expect_lt(fixed, D / 4, "row %zu: %zu of %zu numbers stay in place", t, fixed, D);
        memcpy(sorted, seen, D * sizeof *sorted);
        qsort(sorted, D, sizeof *sorted, by_value);
        qsort(plain, D, sizeof *plain, by_value);
        cr_expect_arr_eq(sorted, plain, D * sizeof *plain, "row %zu: this test looks at the right rows", t);
    }
    free(x);
    free(sorted);
    embed_free(embed);
    checkpoint_close(cp);
}

static char *all_logs(const struct trio *t)
{
    size_t a, b;
    char *x = tempdir_slurp(trio_path(t, "server.log"), &a), *y = tempdir_slurp(trio_path(t, "model_dev.log"), &b);
    char *both = malloc(a + b + 1);
    memcpy(both, x, a);
    memcpy(both + a, y, b + 1);
    free(x);
    free(y);
    return both;
}

static void prompt_is_hidden(const char *head)
{
    static const char prompt[] = "Lily found a secret zebra under the violet staircase";
    struct trio t;
    struct shell s;
    int32_t ids[128];
    int n = 0, m = 0;
    char trace[FILE_PATH_MAX];
    cr_assert_eq(setenv("STIP_LOG", "debug", 1), 0); /* the most that logs can say */
    trio_open(&t, DEMO_LM, head);
    (void)snprintf(trace, sizeof trace, "%s", trio_path(&t, "trace"));
    trio_user(&t, &s, SHELL_ARGV("generate", "--prompt", prompt, "--max-tokens", "24", "--speculate", "5", "--trace", trace, "--json"));
    struct json_doc *doc = shell_json(&s);
    const struct json *root = json_root(doc);
    for (const struct json *j = json_first(json_get(root, "prompt_tokens")); j != NULL; j = json_next(j))
        ids[n++] = (int32_t)json_number(j);
    for (const struct json *j = json_first(json_get(root, "tokens")); j != NULL; j = json_next(j), m++)
        ids[n + m] = (int32_t)json_number(j);
    struct sight seen = look(trace, DEMO_D);
    cr_expect_geq(seen.rows, (size_t)(n + m - 1), "prompt and answer went through");
    for (size_t at = 0; at + 6 < sizeof prompt; at++)
        cr_expect(!holds(seen.bytes, seen.n, prompt + at, 6), "'%.6s' is in what the server received", prompt + at);
    no_ids(seen.bytes, seen.n, ids, (size_t)(n + m), head);
    rows_are_hidden(DEMO_LM, &seen, ids, n + m - 1);
    char *logs = all_logs(&t);
    static const char *const words[] = {"secret", "zebra", "violet", "stair"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        cr_expect_null(strstr(logs, words[i]), "'%s' is in a log", words[i]);
        cr_expect_null(strstr(s.err, words[i]), "'%s' is in the user's log", words[i]);
    }
    cr_expect_not_null(strstr(logs, "serving"), "these are the logs");
    free(logs);
    free(seen.bytes);
    free(seen.row);
    json_free(doc);
    shell_free(&s);
    trio_close(&t);
}

Test(eyes, the_server_sees_no_text_no_ids_and_no_plain_row)
{
    prompt_is_hidden("server");
    prompt_is_hidden("user");
}

/* ------------------------------------------------------------------ the package */

static void file_lacks(const char *path, const char *word)
{
    size_t n;
    char *data = tempdir_slurp(path, &n);
    cr_expect(!holds(data, n, word, strlen(word)), "%s holds '%s'", path, word);
    free(data);
}

/* Only these files, none with a name of a label, a token or the plain folder. */
static void files_are_public(const struct trio *t, const char *const *words)
{
    static const char *const known[] = {"config.json", "model.safetensors", "manifest.json", "manifest.sig"};
    DIR *d = opendir(trio_path(t, "server.package"));
    size_t files = 0;
    cr_assert_not_null(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        size_t k = 0;
        char path[FILE_PATH_MAX];
        if (e->d_name[0] == '.')
            continue;
        while (k < 4 && strcmp(known[k], e->d_name) != 0)
            k++;
        cr_expect_lt(k, 4, "%s is in the package", e->d_name);
        (void)snprintf(path, sizeof path, "%s/server.package/%s", t->dir, e->d_name);
        for (const char *const *w = words; *w != NULL; w++)
            file_lacks(path, *w);
        files++;
    }
    closedir(d);
    cr_expect_eq(files, 4);
}

/* Every tensor of the package lies in another order than the plain one of its name. Mutation: one rule row without its key. */
static void weights_are_permuted(const struct trio *t, const char *model, size_t least)
{
    struct safetensors *plain = NULL, *package = NULL;
    struct err err = {0};
    char path[FILE_PATH_MAX];
    size_t compared = 0;
    (void)snprintf(path, sizeof path, "%s/model.safetensors", model);
    cr_assert_eq(safetensors_open(&plain, path, &err), 0, "%s", err.text);
    cr_assert_eq(safetensors_open(&package, trio_path(t, "server.package/model.safetensors"), &err), 0, "%s", err.text);
    for (size_t i = 0; i < safetensors_count(package); i++) {
        const struct tensor *b = safetensors_at(package, i), *a = safetensors_find(plain, b->name);
        cr_expect_null(strstr(b->name, "embed"), "the package holds %s", b->name);
        if (a == NULL)
            continue;
        compared++;
        cr_expect(a->dtype == b->dtype && a->bytes == b->bytes, "%s", b->name);
        /* Two classes have two orders: half of all keys leave them as they are. */
        cr_expect(a->count < 16 || memcmp(a->data, b->data, a->bytes) != 0, "%s is the plain one", b->name);
        /* Nor is any row of a matrix whole, whatever row it became. */
        if (a->rank == 2 && a->dim[1] >= 16) {
            size_t row = (size_t)(a->bytes / a->dim[0]);
            for (uint64_t r = 0; r < a->dim[0]; r += 1 + a->dim[0] / 16)
                cr_expect(!holds(b->data, b->bytes, a->data + r * row, row), "%s: row %llu is plain", b->name,
                          (unsigned long long)r);
        }
    }
    cr_expect_geq(compared, least, "%zu tensors were compared", compared);
    safetensors_close(plain);
    safetensors_close(package);
}

Test(eyes, the_installed_package_has_no_tokenizer_embedding_label_or_plain_tensor)
{
    static const char *const lm[] = {"tokenizer", "merges", "embed_tokens", "zebra", "examples", NULL};
    static const char *const classifier[] = {"tokenizer", "embeddings.w", "POSITIVE", "NEGATIVE", "examples", NULL};
    struct trio t;
    trio_open(&t, DEMO_LM, "server");
    files_are_public(&t, lm);
    weights_are_permuted(&t, DEMO_LM, 20);
    trio_close(&t);
    trio_open(&t, DEMO_LM, "user");
    files_are_public(&t, lm);
    weights_are_permuted(&t, DEMO_LM, 20);
    trio_close(&t);
    trio_open(&t, DEMO_CLASSIFIER, "server");
    files_are_public(&t, classifier);
    weights_are_permuted(&t, DEMO_CLASSIFIER, 20);
    trio_close(&t);
}
