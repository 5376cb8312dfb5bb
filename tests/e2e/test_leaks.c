/* A canary prompt through every role at every log level: its text, its ids, its plain rows and the keys are looked for in all that the
 * other parties have: logs, metrics, files, frames, memory. None may be there. What the search finds is proven beside it, on the user's
 * own side. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bf16.h"
#include "base/buf.h"
#include "base/crypto.h"
#include "engine/embed.h"
#include "model/checkpoint.h"
#include "tests/support/gateway.h"
#include "tests/support/tempdir.h"
#include "transport/identity.h"

#define PROMPT "Lily found a secret zebra under the violet staircase and whispered marmalade"
#define PROMPT_BYTES 8  /* pieces of the text that are looked for */
#define ANSWER_BYTES 16 /* its words are common ones, which stand in the help of a figure, too */

/* ------------------------------------------------------------------ what is looked for */

struct needle {
    const char *what;
    size_t len;
    uint8_t bytes[256];
};

struct needles {
    struct needle *list;
    size_t n;
};

static void add(struct needles *all, const char *what, const void *bytes, size_t len)
{
    all->list = realloc(all->list, (all->n + 1) * sizeof *all->list);
    struct needle *x = &all->list[all->n++];
    cr_assert(all->list != NULL && len >= 6 && len <= sizeof x->bytes);
    *x = (struct needle){.what = what, .len = len};
    memcpy(x->bytes, bytes, len);
}

/* As it is, and as people and programs write it down. */
static void add_key(struct needles *all, const char *what, const uint8_t key[32])
{
    char text[128];
    add(all, what, key, 32);
    crypto_hex(key, 32, text);
    add(all, what, text, 64);
    (void)crypto_base64(key, 32, text);
    add(all, what, text, 42); /* without its last quantum: padding and neighbours differ */
}

static void add_text(struct needles *all, const char *what, const char *text, size_t bytes)
{
    for (size_t at = 0; at + bytes <= strlen(text); at += 4)
        add(all, what, text + at, bytes);
}

/* Six ids of a prompt that follow one another: the developer's own canaries may well have three that are the same. */
static void add_runs(struct needles *all, const int32_t *ids, int n)
{
    for (int t = 1; t + 6 <= n; t++) {
        int64_t wide[6];
        uint16_t narrow[6];
        for (int i = 0; i < 6; i++) {
            wide[i] = ids[t + i];
            narrow[i] = (uint16_t)ids[t + i];
        }
        add(all, "ids in 32 bits", ids + t, 6 * sizeof *ids);
        add(all, "ids in 64 bits", wide, sizeof wide);
        add(all, "ids in 16 bits", narrow, sizeof narrow);
    }
}

/* Three ids that follow one another, in each width that programs use, and in decimal. */
static void add_ids(struct needles *all, const int32_t *ids, int n)
{
    char text[64];
    for (int t = 1; t + 3 <= n; t++) { /* the first is the same in every text */
        const int64_t wide[3] = {ids[t], ids[t + 1], ids[t + 2]};
        const uint16_t narrow[3] = {(uint16_t)ids[t], (uint16_t)ids[t + 1], (uint16_t)ids[t + 2]};
        add(all, "ids in 32 bits", ids + t, 3 * sizeof *ids);
        add(all, "ids in 64 bits", wide, sizeof wide);
        if ((narrow[0] | narrow[1]) > 255) /* else six bytes that stand anywhere */
            add(all, "ids in 16 bits", narrow, sizeof narrow);
        static const char *const joins[] = {"%d,%d,%d", "%d, %d, %d", "%d %d %d"};
        for (size_t j = 0; j < 3; j++) {
            const int len = snprintf(text, sizeof text, joins[j], ids[t], ids[t + 1], ids[t + 2]);
            if (len >= 9)
                add(all, "ids in decimal", text, (size_t)len);
        }
    }
}

static void add_rows(struct needles *all, const int32_t *ids, int n)
{
    struct checkpoint *cp = NULL;
    struct embed *embed = NULL;
    struct err err = {0};
    cr_assert_eq(checkpoint_open(&cp, DEMO_LM, CHECKPOINT_ALL, &err), 0, "%s", err.text);
    cr_assert_eq(embed_load(&embed, cp, &err), 0, "%s", err.text);
    const size_t D = (size_t)checkpoint_config(cp)->D;
    float *x = malloc((size_t)n * D * sizeof *x);
    cr_assert_eq(embed_rows(embed, ids, NULL, n, 0, x, &err), 0, "%s", err.text);
    for (int t = 1; t < n; t++)
        for (size_t d = 0; d + 8 <= D; d += 48) {
            uint16_t half[8];
            for (size_t k = 0; k < 8; k++) {
                uint32_t bits;
                memcpy(&bits, &x[(size_t)t * D + d + k], 4);
                half[k] = (uint16_t)(bits >> 16);
            }
            add(all, "a plain row in f32", x + (size_t)t * D + d, 4 * sizeof *x);
            add(all, "a plain row in bf16", half, sizeof half);
        }
    free(x);
    embed_free(embed);
    checkpoint_close(cp);
}

static void add_identity(struct needles *all, const struct trio *t, const char *dir, const char *what)
{
    char path[FILE_PATH_MAX];
    size_t len;
    (void)snprintf(path, sizeof path, "%s/%s/identity.key", t->dir, dir);
    uint8_t *bytes = (uint8_t *)tempdir_slurp(path, &len);
    cr_assert_eq(len, IDENTITY_FILE_BYTES);
    add_key(all, what, bytes + 8 + 32);  /* curve_key */
    add_key(all, what, bytes + 8 + 96);  /* sign_key */
    free(bytes);
}

static uint32_t start_of(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v * 2654435761U >> 12;
}

/* Hundreds of needles in hundreds of megabytes: what cannot begin one is passed over with one look at a table of beginnings. */
static bool found(const struct needles *all, const void *hay, size_t n, const char *where, bool expected)
{
    static uint8_t begins[1 << 20];
    const uint8_t *p = hay;
    memset(begins, 0, sizeof begins);
    for (size_t i = 0; i < all->n; i++)
        begins[start_of(all->list[i].bytes)] = 1;
    for (size_t at = 0; at + 6 <= n; at++) {
        if (!begins[start_of(p + at)])
            continue;
        for (size_t i = 0; i < all->n; i++)
            if (all->list[i].len <= n - at && memcmp(all->list[i].bytes, p + at, all->list[i].len) == 0) {
                cr_expect(expected, "%s is in %s", all->list[i].what, where);
                return true;
            }
    }
    return false;
}

/* ------------------------------------------------------------------ where it is looked for */

static void search_file(const struct needles *all, const char *path)
{
    size_t n;
    char *data = tempdir_slurp(path, &n);
    (void)found(all, data, n, path, false);
    free(data);
}

static void search_tree(const struct needles *all, const char *path)
{
    struct stat st;
    cr_assert_eq(lstat(path, &st), 0, "%s", path);
    if (!S_ISDIR(st.st_mode)) {
        search_file(all, path);
        return;
    }
    DIR *d = opendir(path);
    cr_assert_not_null(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        char inner[FILE_PATH_MAX];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        (void)snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
        search_tree(all, inner);
    }
    closedir(d);
}

/* Everything that a process could write down, if it may be read at all (root may). Gives how many bytes. */
static size_t search_memory(const struct needles *all, pid_t pid, const char *who)
{
    char path[64], line[512];
    size_t sum = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
    const int mem = open(path, O_RDONLY | O_CLOEXEC);
    (void)snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *maps = mem < 0 ? NULL : fopen(path, "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        unsigned long from, to;
        char mode[8];
        if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) != 3 || mode[1] != 'w' || to - from > (512UL << 20))
            continue;
        char *copy = malloc(to - from);
        const ssize_t n = copy == NULL ? -1 : pread(mem, copy, to - from, (off_t)from);
        if (n > 0) {
            (void)found(all, copy, (size_t)n, who, false);
            sum += (size_t)n;
        }
        free(copy);
    }
    if (maps != NULL)
        (void)fclose(maps);
    if (mem >= 0)
        (void)close(mem);
    return sum;
}

static void no_core(pid_t pid)
{
    char path[64], line[256];
    bool seen = false;
    (void)snprintf(path, sizeof path, "/proc/%d/limits", (int)pid);
    FILE *f = fopen(path, "r");
    cr_assert_not_null(f);
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "Max core file size", 18) == 0) {
            unsigned long soft = 1, hard = 1;
            seen = sscanf(line + 18, "%lu %lu", &soft, &hard) == 2 && soft == 0 && hard == 0;
        }
    (void)fclose(f);
    cr_expect(seen, "process %d may leave a core", (int)pid);
}

/* ------------------------------------------------------------------ the run */

/* said: what was asked and answered; rows: the same as the model's embeddings, which the developer has anyway. */
static void collect(struct needles *said, struct needles *secret, struct needles *keys, const struct trio *t,
                    const struct json_doc *answer)
{
    int32_t ids[256];
    int n = 0, prompt;
    size_t len;
    const struct json *root = json_root(answer);
    for (const struct json *j = json_first(json_get(root, "prompt_tokens")); j != NULL; j = json_next(j))
        ids[n++] = (int32_t)json_number(j);
    prompt = n;
    for (const struct json *j = json_first(json_get(root, "tokens")); j != NULL; j = json_next(j))
        ids[n++] = (int32_t)json_number(j);
    cr_assert_gt(n, 20);
    struct needles *both[] = {said, secret};
    for (size_t i = 0; i < 2; i++) {
        add_text(both[i], "the prompt", PROMPT, PROMPT_BYTES);
        add_text(both[i], "the answer", json_string(json_get(root, "text")), ANSWER_BYTES);
    }
    add_runs(said, ids, prompt);
    add_ids(secret, ids, n);
    add_rows(secret, ids, n);
    uint8_t *end = (uint8_t *)tempdir_slurp(trio_path(t, "user.grant/keys.bin"), &len);
    add_key(keys, "the residual sub-key", end + 8);
    add_key(keys, "the output sub-key", end + 40);
    free(end);
    uint8_t *seed = (uint8_t *)tempdir_slurp(trio_path(t, "protected/context.key"), &len);
    add_key(keys, "the seed", seed + 12);
    free(seed);
    add_identity(keys, t, "user.id", "a secret key of the user");
    add_identity(keys, t, "model_dev.id", "a secret key of the developer");
}

static void metrics(const struct needles *secret, const struct needles *keys, int port, const char *who)
{
    struct web w;
    web_call(port, "/metrics", "", NULL, &w);
    cr_assert_eq(w.status, 200);
    (void)found(secret, w.body, w.len, who, false);
    (void)found(keys, w.body, w.len, who, false);
    web_free(&w);
}

/* Requests that go wrong in the middle of a secret: what the gateway says of them is the client's, what it logs is not. */
static void go_wrong(const struct trio *t, const struct gateway *g)
{
    static const char *const bodies[] = {"{\"messages\":[{\"role\":\"user\",\"content\":\"" PROMPT "\"}],\"temperature\":\"" PROMPT "\"}",
                                         "{\"messages\":[{\"role\":\"" PROMPT "\",\"content\":\"x\"}]}",
                                         "{\"messages\":\"" PROMPT "\"}", "{" PROMPT, "{\"" PROMPT "\":1}"};
    struct shell s;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        cr_expect_eq(gateway_status(g, CHAT, "", bodies[i]), 400);
    trio_user(t, &s, SHELL_ARGV("classify", "--text", PROMPT));
    cr_expect_neq(s.status, 0);
    cr_expect_null(strstr(s.err, "zebra"), "%s", s.err);
    shell_free(&s);
}

static int port_of(const char *listen)
{
    return atoi(strrchr(listen, ':') + 1);
}

/* A command that tells of keys and packages: what it prints has none of them. */
static void tells_nothing(const struct needles *secret, const struct needles *keys, const char *const argv[])
{
    struct shell s;
    shell_run(&s, argv);
    cr_expect_eq(s.status, 0, "%s: %s", s.command, s.err);
    cr_expect_gt(s.out_len, 100, "%s: %s", s.command, s.out);
    (void)found(secret, s.out, s.out_len, s.command, false);
    (void)found(keys, s.out, s.out_len, s.command, false);
    (void)found(keys, s.err, strlen(s.err), s.command, false);
    shell_free(&s);
}

/* A server and a developer with figures, and a user that joined. */
static void open_with_metrics(struct trio *t)
{
    struct shell s;
    trio_make(t, DEMO_LM, "user");
    t->metrics = true;
    trio_start_server(t, NULL);
    trio_start_model_dev(t);
    trio_wait_serving(t);
    trio_write_user(t, "user");
    trio_user(t, &s, SHELL_ARGV("join"));
    cr_assert_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
}

static void at_level(const char *level)
{
    struct trio t;
    struct gateway g;
    struct shell s;
    struct needles said = {0}, secret = {0}, keys = {0}, developers = {0};
    char trace[FILE_PATH_MAX], sealed[FILE_PATH_MAX];
    cr_assert_eq(setenv("STIP_LOG", level, 1), 0);
    open_with_metrics(&t);
    (void)snprintf(trace, sizeof trace, "%s", trio_path(&t, "trace"));
    (void)snprintf(sealed, sizeof sealed, "%s", trio_path(&t, "sealed.grant"));
    trio_user(&t, &s, SHELL_ARGV("generate", "--prompt", PROMPT, "--max-tokens", "24", "--trace", trace, "--json"));
    struct json_doc *answer = shell_json(&s);
    collect(&said, &secret, &keys, &t, answer);
    cr_expect(found(&secret, s.out, s.out_len, "the user's own stdout", true), "the search finds nothing where it must");
    (void)found(&secret, s.err, strlen(s.err), "the user's log", false);
    shell_free(&s);
    gateway_open(&g, &t, SHELL_ARGV("--turn", TURN));
    json_free(gateway_ask(&g, TEXT, "{\"prompt\":\"" PROMPT "\",\"max_tokens\":8," GREEDY "\"logprobs\":2}"));
    go_wrong(&t, &g);
    metrics(&secret, &keys, g.port, "the gateway's metrics");
    metrics(&secret, &keys, port_of(t.server_metrics), "the server's metrics");
    metrics(&secret, &keys, port_of(t.model_dev_metrics), "the developer's metrics");
    tells_nothing(&secret, &keys, SHELL_ARGV("stip-model-dev", "inspect", "--check", trio_path(&t, "protected")));
    tells_nothing(&secret, &keys, SHELL_ARGV("stip-model-dev", "inspect", "--json", trio_path(&t, "protected")));
    tells_nothing(&secret, &keys, SHELL_ARGV("stip-server", "inspect", "--json", trio_path(&t, "protected/package")));
    shell_run(&s, SHELL_ARGV("stip-model-dev", "grant", "--config", trio_path(&t, "model_dev.json"), "--user",
                             trio_path(&t, "user.id/identity.pub"), "--out", sealed));
    cr_assert_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
    /* While they run: what a dump or a swap of them would hold. The developer may know its keys and the end keys, and no text. */
    no_core(t.server.pid);
    no_core(t.model_dev.pid);
    no_core(g.process.pid);
    const size_t seen = search_memory(&secret, t.server.pid, "the server's memory");
    (void)search_memory(&keys, t.server.pid, "the server's memory");
    (void)search_memory(&said, t.model_dev.pid, "the developer's memory");
    cr_expect(seen == 0 || seen > 4000000, "%zu bytes of memory were read", seen);
    cr_expect_eq(gateway_close(&g), 0);
    static const char *const outside[] = {"server.log", "server.json", "server.package", "trace", "sealed.grant"};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        search_tree(&secret, trio_path(&t, outside[i]));
        search_tree(&keys, trio_path(&t, outside[i]));
    }
    search_tree(&secret, trio_path(&t, "model_dev.log"));
    search_tree(&keys, trio_path(&t, "model_dev.log"));
    search_tree(&said, trio_path(&t, "protected"));
    search_tree(&secret, trio_path(&t, "gateway.log"));
    search_tree(&keys, trio_path(&t, "gateway.log"));
    /* The seed, and the developer's own keys, are not in what users get either. */
    size_t len;
    uint8_t *seed = (uint8_t *)tempdir_slurp(trio_path(&t, "protected/context.key"), &len);
    add_key(&developers, "the seed", seed + 12);
    free(seed);
    add_identity(&developers, &t, "model_dev.id", "a secret key of the developer");
    search_tree(&developers, trio_path(&t, "user.grant"));
    json_free(answer);
    free(said.list);
    free(secret.list);
    free(keys.list);
    free(developers.list);
    trio_close(&t);
}

/* Mutations, tried: seal_rows that copies; log_debug of the prompt in generate_prompt; secret_harden_process left out of the server. */
Test(leaks, at_debug_nothing_leaves_the_user)
{
    at_level("debug");
}

Test(leaks, at_info_nothing_leaves_the_user)
{
    at_level("info");
}

Test(leaks, at_warn_and_error_nothing_leaves_the_user)
{
    at_level("warn");
    at_level("error");
}
