#include "bench/peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "bench/process.h"

#define RUN_MS 600000
#define OUTPUT_MAX ((size_t)1 << 20)
#define ARGS_MAX 24
#define NUMBER_MAX 16
#define CONTEXT_SPARE 16 /* tokens that llama-batched-bench keeps beside those of the sequences */

struct peer_kind {
    const char *name, *label;
    bool gguf;
    bool (*can)(const struct peer_work *w);
    void (*arguments)(const struct peer_work *w, char *argv[ARGS_MAX], char numbers[][NUMBER_MAX]);
    /* The figure in what was printed; false if it is not there. */
    bool (*read)(const char *out, const char *log, double *tok_s);
};

/* ------------------------------------------------------------------ argument lists */

struct words {
    char **argv;
    char (*numbers)[NUMBER_MAX];
    int count, number_count;
};

static void add(struct words *w, const char *word)
{
    w->argv[w->count++] = (char *)(uintptr_t)word;
}

static void add_number(struct words *w, const char *flag, int value)
{
    (void)snprintf(w->numbers[w->number_count], NUMBER_MAX, "%d", value);
    add(w, flag);
    add(w, w->numbers[w->number_count++]);
}

/* ------------------------------------------------------------------ llama-bench */

static bool llama_can(const struct peer_work *w)
{
    return !w->decode || w->batch == 1;
}

static void llama_arguments(const struct peer_work *w, char *argv[ARGS_MAX], char numbers[][NUMBER_MAX])
{
    struct words words = {argv, numbers, 1, 0};
    add(&words, "-m");
    add(&words, w->gguf);
    add_number(&words, "-p", w->decode ? 0 : w->tokens);
    add_number(&words, "-n", w->decode ? w->tokens : 0);
    add_number(&words, "-t", w->threads);
    add_number(&words, "-ngl", 0);
    add_number(&words, "-r", 1);
    add(&words, "-o");
    add(&words, "json");
}

static bool json_figure(const char *out, const char *key, double *tok_s)
{
    struct json_doc *doc;
    struct err ignored;
    if (json_parse(&doc, out, strlen(out), false, "output", &ignored) != 0)
        return false;
    const struct json *root = json_root(doc);
    *tok_s = json_number(json_get(json_type(root) == JSON_ARRAY ? json_first(root) : root, key));
    json_free(doc);
    return *tok_s > 0;
}

static bool llama_read(const char *out, const char *log, double *tok_s)
{
    (void)log;
    return json_figure(out, "avg_ts", tok_s);
}

/* ------------------------------------------------------------------ llama-batched-bench */

static bool batched_can(const struct peer_work *w)
{
    return w->decode;
}

static void batched_arguments(const struct peer_work *w, char *argv[ARGS_MAX], char numbers[][NUMBER_MAX])
{
    struct words words = {argv, numbers, 1, 0};
    add(&words, "-m");
    add(&words, w->gguf);
    add_number(&words, "-c", (w->tokens + 1) * w->batch + CONTEXT_SPARE);
    add_number(&words, "-npp", 1);
    add_number(&words, "-ntg", w->tokens);
    add_number(&words, "-npl", w->batch);
    add_number(&words, "-t", w->threads);
    add_number(&words, "-ngl", 0);
}

/* | PP | TG | B | N_KV | T_PP s | S_PP t/s | T_TG s | S_TG t/s | T s | S t/s |: the eighth number of the only row of numbers. */
static bool table_figure(const char *text, double *tok_s)
{
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        double v[8];
        line += *line == '\n';
        if (sscanf(line, "|%lf |%lf |%lf |%lf |%lf |%lf |%lf |%lf |", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]) == 8) {
            *tok_s = v[7];
            return v[7] > 0;
        }
    }
    return false;
}

/* Versions differ in whether the table is output or log. */
static bool batched_read(const char *out, const char *log, double *tok_s)
{
    return table_figure(out, tok_s) || table_figure(log, tok_s);
}

/* ------------------------------------------------------------------ torch */

static bool torch_can(const struct peer_work *w)
{
    return strcmp(w->dtype, "int8") != 0;
}

static void torch_arguments(const struct peer_work *w, char *argv[ARGS_MAX], char numbers[][NUMBER_MAX])
{
    struct words words = {argv, numbers, 1, 0};
    add(&words, "--shape");
    add(&words, w->shape);
    add(&words, "--dtype");
    add(&words, w->dtype);
    add(&words, "--phase");
    add(&words, w->decode ? "decode" : "prefill");
    add_number(&words, "--tokens", w->tokens);
    add_number(&words, "--batch", w->batch);
    add_number(&words, "--threads", w->threads);
}

static bool torch_read(const char *out, const char *log, double *tok_s)
{
    (void)log;
    return json_figure(out, "tok_s", tok_s);
}

/* ------------------------------------------------------------------ specifications */

static const struct peer_kind kinds[] = {
    {"llama-bench", "llama.cpp", true, llama_can, llama_arguments, llama_read},
    {"llama-batched-bench", "llama.cpp", true, batched_can, batched_arguments, batched_read},
    {"torch", "torch", false, torch_can, torch_arguments, torch_read},
};
#define KINDS (sizeof kinds / sizeof *kinds)

/* As a shell would find it. */
static bool find_program(char out[FILE_PATH_MAX], const char *name)
{
    const char *path = getenv("PATH");
    struct err ignored;
    if (strchr(name, '/') != NULL)
        return file_join(out, NULL, name, &ignored) == 0 && access(out, X_OK) == 0 && !file_is_dir(out);
    while (path != NULL && *path != '\0') {
        size_t n = strcspn(path, ":");
        if (n > 0 && (size_t)snprintf(out, FILE_PATH_MAX, "%.*s/%s", (int)n, path, name) < FILE_PATH_MAX && access(out, X_OK) == 0)
            return true;
        path += n + (path[n] == ':');
    }
    return false;
}

static int parse_one(const char *text, size_t len, struct peer *out, struct err *err)
{
    char spec[FILE_PATH_MAX], found[FILE_PATH_MAX];
    if (len >= sizeof spec)
        return err_set(err, ERR_USAGE, "--peer: '%.40s...' is too long", text);
    memcpy(spec, text, len);
    spec[len] = '\0';
    char *path = strchr(spec, '='), *label = NULL;
    if (path == NULL || path[1] == '\0')
        return err_set(err, ERR_USAGE, "--peer: expected KIND=PATH or KIND:LABEL=PATH, found '%.80s'", spec);
    *path++ = '\0';
    if ((label = strchr(spec, ':')) != NULL)
        *label++ = '\0';
    for (size_t i = 0; i < KINDS; i++)
        if (strcmp(spec, kinds[i].name) == 0)
            out->kind = &kinds[i];
    if (out->kind == NULL)
        return err_set(err, ERR_USAGE, "--peer: '%.40s' is not a kind of peer; known: llama-bench, llama-batched-bench, torch", spec);
    (void)snprintf(out->label, sizeof out->label, "%s", label != NULL && *label != '\0' ? label : out->kind->label);
    if (!find_program(found, path) || realpath(found, out->path) == NULL)
        return err_set(err, ERR_USAGE, "--peer %s: there is no program %.200s", spec, path);
    return 0;
}

int peer_parse(const char *text, struct peer out[PEERS_MAX], int *count, struct err *err)
{
    struct peer list[PEERS_MAX] = {0};
    int n = 0;
    for (const char *p = text; *p != '\0';) {
        size_t len = strcspn(p, ",");
        if (n == PEERS_MAX)
            return err_set(err, ERR_USAGE, "--peer: at most %d", PEERS_MAX);
        if (parse_one(p, len, &list[n++], err) != 0)
            return -1;
        p += len + (p[len] == ',');
    }
    memcpy(out, list, sizeof list);
    *count = n;
    return 0;
}

const char *peer_kind_name(const struct peer *p)
{
    return p->kind->name;
}

bool peer_needs_gguf(const struct peer *p)
{
    return p->kind->gguf;
}

bool peer_can(const struct peer *p, const struct peer_work *w)
{
    return p->kind->can(w);
}

/* ------------------------------------------------------------------ one run */

/* The last line that says something, for the error. */
static const char *last_line(char *text)
{
    size_t n = strlen(text);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
        text[--n] = '\0';
    const char *line = strrchr(text, '\n');
    return line == NULL ? text : line + 1;
}

int peer_run(const struct peer *p, const struct peer_work *w, double *tok_s, struct err *err)
{
    char path[FILE_PATH_MAX], log_path[FILE_PATH_MAX], numbers[ARGS_MAX][NUMBER_MAX], *argv[ARGS_MAX] = {path}, *log = NULL;
    char *out = malloc(OUTPUT_MAX);
    struct process child = {.out = -1};
    struct err ignored;
    double figure;
    size_t len;
    int status = 0, rc = -1;
    if (out == NULL)
        return err_oom(err, OUTPUT_MAX);
    memcpy(path, p->path, sizeof path);
    p->kind->arguments(w, argv, numbers);
    if (file_join(log_path, w->dir, "peer.log", err) != 0)
        goto done;
    (void)unlink(log_path);
    if (process_start_in(&child, p->label, argv, w->dir, true, log_path, err) != 0 ||
        process_output(&child, out, OUTPUT_MAX, RUN_MS, &status, err) != 0) {
        err_wrap(err, "peer %s (%s)", p->label, p->kind->name);
        goto done;
    }
    if (file_read(log_path, OUTPUT_MAX, &log, &len, &ignored) != 0 && (log = calloc(1, 1)) == NULL) {
        err_oom(err, 1);
        goto done;
    }
    if (status != 0)
        err_set(err, ERR_INTERNAL, "peer %s: %s ended with status %d: %.300s", p->label, p->path, status, last_line(log));
    else if (!p->kind->read(out, log, &figure))
        err_set(err, ERR_INTERNAL, "peer %s: no figure in what %s printed: %.300s", p->label, p->path, last_line(out));
    else
        rc = 0;
    if (rc == 0)
        *tok_s = figure;
done:
    (void)process_stop(&child);
    free(log);
    free(out);
    return rc;
}
