/* The n-th call of a kind fails, for every n on the main paths: a sentence and a documented exit status, nothing half-made under
 * its final name, and the next run succeeds. A sample of n in every run; all of them with STIP_LONG=1 (make test-long), in pieces with
 * STIP_FAULTS (tests/support/fault.h). */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "tests/support/fault.h"
#include "tests/support/synth.h"
#include "tests/support/tempdir.h"
#include "tests/support/trio.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"
/* Numbers of one kind on one path: the first, the last, and some between. */
#ifdef __SANITIZE_ADDRESS__
#define SAMPLE 3
#define SERVER_SAMPLE 2
#else
#define SAMPLE 6
#define SERVER_SAMPLE 4
#endif
#define BYTES 260  /* special tokens and bytes; then one token per merge */
#define TOKENS 280

static char home[FILE_PATH_MAX], model[FILE_PATH_MAX + 16], tally[FILE_PATH_MAX + 16];
static struct trio trio;

/* The demo's tokenizer with its first TOKENS tokens: each more would be six more allocations to try on every path, in the same loop. */
static void small_tokenizer(const char *path)
{
    static const char merges[] = "\"merges\": [";
    char number[32];
    size_t len;
    struct buf b;
    char *text = tempdir_slurp(DEMO_LM "/tokenizer.json", &len);
    (void)snprintf(number, sizeof number, ": %d,", TOKENS - 1);
    char *last = strstr(text, number), *list = strstr(text, merges), *end = list;
    cr_assert(last != NULL && list != NULL && last < list);
    for (int i = 0; i < TOKENS - BYTES; i++)
        cr_assert_not_null(end = strstr(end + 1, "\",\n"));
    buf_init(&b, len);
    buf_put(&b, text, (size_t)(last - text) + strlen(number) - 1);
    buf_put_str(&b, "},");
    buf_put(&b, list, (size_t)(end - list) + 1);
    buf_put_str(&b, strstr(end, "]"));
    tempdir_spill(path, b.data, b.len);
    buf_free(&b);
    free(text);
}

static void make(void)
{
    const struct synth_shape shape = {.D = 16, .H = 2, .L = 1, .V = TOKENS, .F = 24, .positions = 64, .bos = 1};
    struct err err = {0};
    tempdir_make(home);
    (void)snprintf(model, sizeof model, "%s/model", home);
    (void)snprintf(tally, sizeof tally, "%s/tally", home);
    cr_assert_eq(synth_checkpoint(model, "LlamaForCausalLM", &shape, 3, &err), 0, "%s", err.text);
    small_tokenizer(tempdir_path(model, "tokenizer.json"));
    trio = (struct trio){.server.out = -1, .model_dev.out = -1};
}

static void drop(void)
{
    fault_disarm();
    tempdir_remove(home);
}

TestSuite(faults, .init = make, .fini = drop);

static const char *at(const char *name)
{
    return tempdir_path(home, name);
}

/* ------------------------------------------------------------------ one path, all its calls */

struct path {
    const char *name, *program; /* program: what stands in front of its sentences */
    void (*clear)(void);        /* before each run with a fault */
    void (*run)(struct shell *s);
    bool (*whole)(const struct shell *s); /* the result is there and complete */
    bool (*nothing)(void);                /* nothing lies under its final name; NULL: stdout is all there is */
    bool moves; /* what is there is moved aside; when nothing can be renamed any more it cannot be moved back either */
};

struct counts {
    unsigned runs, errors, survived;
};

/* The sentence is there, and is no leftover of a crash. */
static void named(const struct path *p, const struct shell *s, const char *what)
{
    const char *line = strstr(s->err, p->program);
    cr_expect(s->status >= 1 && s->status <= 6, "%s, %s: exit status %d: %s", p->name, what, s->status, s->err);
    cr_expect(line != NULL && strlen(line) > strlen(p->program) + 10, "%s, %s: nothing is said: %s", p->name, what, s->err);
    cr_expect_null(strstr(s->err, "Sanitizer"), "%s, %s: %s", p->name, what, s->err);
    cr_expect(p->nothing == NULL || p->nothing() || p->whole(s), "%s, %s: something half-made was left: %s", p->name, what, s->err);
}

static bool one(const struct path *p, enum fault_kind kind, uint64_t n, const char *mode, struct counts *c)
{
    struct shell s;
    char what[64];
    (void)snprintf(what, sizeof what, "%s %llu %s", FAULT_NAMES[kind], (unsigned long long)n, mode);
    p->clear();
    fault_arm(tally, kind, n, mode);
    p->run(&s);
    fault_disarm();
    bool hit = fault_hit(tally), harmless = strcmp(mode, "interrupted") == 0 || strcmp(mode, "short") == 0;
    c->runs++;
    if (s.status == 0) {
        cr_expect(p->whole(&s), "%s, %s: exit status 0, and the result is not complete: %s", p->name, what, s.err);
        c->survived += hit ? 1 : 0;
    } else {
        cr_expect(hit, "%s, %s: failed without a fault: %s", p->name, what, s.err);
        cr_expect_not(harmless, "%s, %s: such a call is to be repeated: %s", p->name, what, s.err);
        named(p, &s, what);
        shell_free(&s);
        p->run(&s);
        cr_expect(s.status == 0 && p->whole(&s), "%s, the run after %s: exit status %d: %s", p->name, what, s.status, s.err);
        c->errors++;
    }
    shell_free(&s);
    return hit;
}

static uint64_t count(const struct path *p, enum fault_kind kind)
{
    struct shell s;
    p->clear();
    fault_arm(tally, kind, 0, "once");
    p->run(&s);
    fault_disarm();
    cr_assert(s.status == 0 && p->whole(&s), "%s: exit status %d without any fault: %s", p->name, s.status, s.err);
    shell_free(&s);
    return fault_calls(tally);
}

static void every_call(const struct path *p)
{
    struct counts all = {0};
    for (enum fault_kind kind = 0; kind < FAULT_KINDS; kind++) {
        struct counts c = {0};
        const uint64_t start = clock_ms();
        const uint64_t calls = count(p, kind);
        const uint64_t step = fault_all() || calls <= SAMPLE ? 1 : (calls - 1) / (SAMPLE - 1);
        for (uint64_t n = 1; n <= calls; n += step) {
            if (!fault_wanted(kind, n))
                continue;
            (void)one(p, kind, n, n / step % 2 == 0 && !(p->moves && kind == FAULT_RENAME) ? "on" : "once", &c);
            if (kind == FAULT_READ || kind == FAULT_WRITE)
                (void)one(p, kind, n, n / step % 2 == 0 ? "interrupted" : "short", &c);
        }
        (void)fprintf(stderr, "faults: %s, %s: %llu calls, %u runs, %u errors, %u survived, %llu ms\n", p->name,
                      FAULT_NAMES[kind], (unsigned long long)calls, c.runs, c.errors, c.survived,
                      (unsigned long long)(clock_ms() - start));
        all.errors += c.errors;
    }
    cr_expect(all.errors > 4 || getenv("STIP_FAULTS") != NULL, "%s: hardly a fault had any effect: the test tests nothing", p->name);
}

/* ------------------------------------------------------------------ the developer's commands */

static void remove_out(void)
{
    struct err err;
    cr_assert_eq(file_remove_tree(at("out"), &err), 0, "%s", err.text);
}

static void protect(struct shell *s)
{
    shell_run(s, SHELL_ARGV("stip-model-dev", "protect", "--model", model, "--out", at("out"), "--identity", at("model_dev.id")));
}

static bool protected(const struct shell *s)
{
    (void)s;
    return tempdir_count(at("out/package")) >= 4 && file_exists(at("out/context.key"));
}

static bool not_protected(void)
{
    return !file_exists(at("out/package")) && !file_exists(at("out/context.key"));
}

static void keygen(const char *program, const char *out)
{
    struct shell s;
    shell_run(&s, SHELL_ARGV(program, "keygen", "--out", out));
    cr_assert_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
}

Test(faults, protect)
{
    keygen("stip-model-dev", at("model_dev.id"));
    every_call(&(struct path){"protect", "stip-model-dev", remove_out, protect, protected, not_protected, false});
}

/* A new package where one is: either the new one is there and the old one beside it, or all is as before. */
static void protect_again(void)
{
    struct shell s;
    remove_out();
    protect(&s);
    cr_assert_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
}

static void rotate(struct shell *s)
{
    shell_run(s, SHELL_ARGV("stip-model-dev", "rotate", "--protected", at("out"), "--model", model, "--identity", at("model_dev.id")));
}

static bool whole(void)
{
    struct shell s;
    shell_run(&s, SHELL_ARGV("stip-model-dev", "inspect", "--check", at("out")));
    const bool ok = s.status == 0 && strstr(s.out, "belongs to this package") != NULL;
    shell_free(&s);
    return ok;
}

static bool rotated(const struct shell *s)
{
    (void)s;
    return whole() && file_exists(at("out/package.1")) && file_exists(at("out/context.key.1"));
}

static bool not_rotated(void)
{
    return whole() && !file_exists(at("out/package.1")) && !file_exists(at("out/context.key.1"));
}

/* Mutation: what was moved aside stays aside. */
Test(faults, rotate)
{
    keygen("stip-model-dev", at("model_dev.id"));
    every_call(&(struct path){"rotate", "stip-model-dev", protect_again, rotate, rotated, not_rotated, true});
}

static void make_key(struct shell *s)
{
    shell_run(s, SHELL_ARGV("stip-user", "keygen", "--out", at("out")));
}

static bool have_key(const struct shell *s)
{
    (void)s;
    return file_exists(at("out/identity.key")) && file_exists(at("out/identity.pub"));
}

Test(faults, keygen)
{
    every_call(&(struct path){"keygen", "stip-user", remove_out, make_key, have_key, NULL, false});
}

static void remove_grant(void)
{
    (void)remove(at("user.grant"));
}

static void grant(struct shell *s)
{
    shell_run(s, SHELL_ARGV("stip-model-dev", "grant", "--user", at("user.id/identity.pub"), "--out", at("user.grant"),
                            "--protected", at("out"), "--model", model, "--identity", at("model_dev.id")));
}

static bool granted(const struct shell *s)
{
    uint64_t size;
    (void)s;
    return file_size(at("user.grant"), &size, NULL) == 0 && size > 20000;
}

static bool not_granted(void)
{
    return !file_exists(at("user.grant"));
}

Test(faults, grant)
{
    struct shell s;
    keygen("stip-model-dev", at("model_dev.id"));
    keygen("stip-user", at("user.id"));
    protect(&s);
    cr_assert_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
    every_call(&(struct path){"grant", "stip-model-dev", remove_grant, grant, granted, not_granted, false});
}

/* ------------------------------------------------------------------ the user's commands */

static void leave(void)
{
}

static void tokenize(struct shell *s)
{
    shell_run(s, SHELL_ARGV("stip-user", "tokenize", "--model", model, "--text", "Once upon a time"));
}

static bool tokenized(const struct shell *s)
{
    return s->out_len > 10;
}

Test(faults, tokenize)
{
    every_call(&(struct path){"tokenize", "stip-user", leave, tokenize, tokenized, NULL, false});
}

static char answer[256];

static void generate(struct shell *s)
{
    trio_user(&trio, s, SHELL_ARGV("generate", "--prompt", "Once upon", "--max-tokens", "3"));
}

static bool generated(const struct shell *s)
{
    return strcmp(s->out, answer) == 0;
}

static void remove_joined(void)
{
    struct err err;
    cr_assert_eq(file_remove_tree(trio_path(&trio, "user.grant"), &err), 0, "%s", err.text);
}

static void join(struct shell *s)
{
    trio_user(&trio, s, SHELL_ARGV("join"));
}

static bool joined(const struct shell *s)
{
    (void)s;
    return tempdir_count(trio_path(&trio, "user.grant")) >= 4;
}

static bool not_joined(void)
{
    return !file_exists(trio_path(&trio, "user.grant"));
}

Test(faults, join)
{
    trio_open(&trio, model, "server");
    every_call(&(struct path){"join", "stip-user", remove_joined, join, joined, not_joined, false});
    trio_close(&trio);
}

Test(faults, generate)
{
    struct shell s;
    trio_open(&trio, model, "server");
    generate(&s);
    cr_assert(s.status == 0 && s.out_len > 0 && s.out_len < sizeof answer, "%s", s.err);
    (void)snprintf(answer, sizeof answer, "%s", s.out);
    shell_free(&s);
    every_call(&(struct path){"generate", "stip-user", leave, generate, generated, NULL, false});
    trio_close(&trio);
}

/* ------------------------------------------------------------------ the server */

static const char *said_by_server(char text[4096])
{
    size_t len;
    char *log = tempdir_slurp(trio_path(&trio, "faulty.log"), &len);
    (void)snprintf(text, 4096, "%s", len > 4000 ? log + len - 4000 : log);
    free(log);
    return text;
}

/* The exit status is one of ours, and a failure says something. */
static void ended(const char *what, const char *who, int status, const char *text)
{
    cr_expect(status >= 0 && status <= 6, "%s: %s: exit status %d: %s", what, who, status, text);
    cr_expect(status == 0 || strlen(text) > 20, "%s: %s says nothing", what, who);
    cr_expect_null(strstr(text, "Sanitizer"), "%s: %s: %s", what, who, text);
}

/* Starts the server, gives it a package, asks it something. */
static bool serve_once(const char *what, bool faulty)
{
    char exe[FILE_PATH_MAX], config[FILE_PATH_MAX], log[FILE_PATH_MAX], said[4096], to[128];
    struct process p;
    struct json_doc *ready = NULL;
    struct shell s;
    struct err err = {0};
    const char *value = NULL;
    bool good = false;
    (void)snprintf(exe, sizeof exe, "%s", shell_program("stip-server"));
    (void)snprintf(config, sizeof config, "%s", trio_path(&trio, "server.json"));
    (void)snprintf(log, sizeof log, "%s", trio_path(&trio, "faulty.log"));
    char *argv[] = {exe, "serve", "--config", config, "--json", NULL};
    (void)remove(log);
    cr_assert_eq(process_start(&p, "stip-server", argv, true, log, &err), 0, "%s", err.text);
    fault_disarm();
    if (process_event(&p, "ready", 60000, &ready, &err) == 0) {
        cr_assert_eq(json_get_str(ready, json_root(ready), "admin", &value, &err), 0);
        (void)snprintf(to, sizeof to, "%s", value);
        bool loaded = json_true(json_get(json_root(ready), "model")); /* the package of the run before */
        json_free(ready);
        shell_run(&s, SHELL_ARGV("stip-model-dev", "push", "--protected", trio_path(&trio, "protected"), "--identity",
                                 trio_path(&trio, "model_dev.id"), "--to", to, "--key",
                                 trio_path(&trio, "server.id/identity.pub")));
        good = s.status == 0;
        ended(what, "push", s.status, s.err);
        shell_free(&s);
        /* A package is loaded after it is installed: users are told to wait meanwhile. */
        if (good && !faulty && !loaded) {
            cr_assert_eq(process_event(&p, "serving", 60000, &ready, &err), 0, "%s: %s", what, err.text);
            json_free(ready);
        }
        generate(&s);
        ended(what, "generate", s.status, s.err);
        good = good && s.status == 0 && generated(&s);
        cr_expect(s.status != 0 || generated(&s), "%s: another answer: %s", what, s.out);
        shell_free(&s);
        int status = process_stop(&p);
        ended(what, "server", status, said_by_server(said));
    } else {
        const char *number = strstr(err.text, "with status ");
        int status = p.pid == 0 && number != NULL ? atoi(number + strlen("with status ")) : -1;
        status = p.pid == 0 ? status : process_stop(&p);
        cr_expect_neq(status, 0, "%s", what);
        ended(what, "server", status, said_by_server(said));
    }
    return good;
}

/* It is started again and again at the same address: one of this process alone, for others may be doing the same. */
static const char *own_address(void)
{
    static char at[64];
    const unsigned pid = (unsigned)getpid();
    (void)snprintf(at, sizeof at, "tcp://127.%u.%u.%u:*", 1 + (pid >> 16) % 250, (pid >> 8) & 255, 1 + (pid & 255) % 250);
    return at;
}

Test(faults, server)
{
    struct shell s;
    struct err err;
    trio_open_at(&trio, model, "server", own_address());
    generate(&s);
    cr_assert(s.status == 0 && s.out_len > 0 && s.out_len < sizeof answer, "%s", s.err);
    (void)snprintf(answer, sizeof answer, "%s", s.out);
    shell_free(&s);
    (void)process_stop(&trio.model_dev);
    (void)process_stop(&trio.server);
    trio_start_server(&trio, NULL); /* writes the config with the address that the user has */
    (void)process_stop(&trio.server);
    for (enum fault_kind kind = 0; kind < FAULT_KINDS; kind++) {
        char what[64];
        const uint64_t start = clock_ms();
        unsigned hits = 0, refused = 0;
        uint64_t calls = 0, step = 1;
        for (uint64_t n = 0; n <= calls; n += n == 0 ? 1 : step) {
            if (n > 0 && !fault_wanted(kind, n))
                continue;
            (void)snprintf(what, sizeof what, "server, %s %llu", FAULT_NAMES[kind], (unsigned long long)n);
            cr_assert_eq(file_remove_tree(trio_path(&trio, "server.package"), &err), 0, "%s", err.text);
            fault_arm(tally, kind, n, n / step % 2 == 0 ? "on" : "once");
            bool good = serve_once(what, n > 0);
            hits += fault_hit(tally) ? 1 : 0;
            refused += good ? 0 : 1;
            if (n == 0) {
                cr_assert(good, "no fault, and yet it failed");
                calls = fault_calls(tally);
                step = fault_all() || calls <= SERVER_SAMPLE ? 1 : (calls - 1) / (SERVER_SAMPLE - 1);
            } else if (!good)
                cr_expect(serve_once(what, false), "%s: the server after it does not work", what);
        }
        (void)fprintf(stderr, "faults: server, %s: %llu calls, %u hits, %u without an answer, %llu ms\n", FAULT_NAMES[kind],
                      (unsigned long long)calls, hits, refused, (unsigned long long)(clock_ms() - start));
    }
    trio_close(&trio);
}
