/* Everything that can be wrong between three parties: the documented exit status, and a sentence that names the thing. */
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/kernels/table.h"
#include "tests/support/tempdir.h"
#include "tests/support/trio.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"

/* The program ends with this status and says this on stderr, in one line and without what a person cannot use. */
static void ends(struct shell *s, int status, const char *sentence)
{
    cr_expect_eq(s->status, status, "%s: exit status %d, expected %d: %s", s->command, s->status, status, s->err);
    cr_expect_not_null(strstr(s->err, sentence), "%s: expected '%s' in: %s", s->command, sentence, s->err);
    cr_expect_null(strstr(s->err, "Sanitizer"), "%s", s->err);
    shell_free(s);
}

static void refused(const struct trio *t, int status, const char *sentence, const char *const words[])
{
    struct shell s;
    trio_user(t, &s, words);
    cr_expect_eq(s.out_len, 0, "%s: stdout is for results: %s", s.command, s.out);
    ends(&s, status, sentence);
}

/* user.json with one text replaced by another. */
static void edit_user(const struct trio *t, const char *from, const char *to)
{
    size_t len;
    trio_write_user(t, "user");
    char *text = tempdir_slurp(trio_path(t, "user.json"), &len), *at = strstr(text, from), out[4096];
    cr_assert_not_null(at, "%s", from);
    int n = snprintf(out, sizeof out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    tempdir_spill(trio_path(t, "user.json"), out, (size_t)n);
    free(text);
}

#define HELLO SHELL_ARGV("generate", "--prompt", "Once", "--max-tokens", "4")

static void works(const struct trio *t)
{
    struct shell s;
    trio_write_user(t, "user");
    trio_user(t, &s, HELLO);
    cr_expect_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
}

Test(errors, configs_and_keys_that_are_wrong_are_named)
{
    struct trio t;
    struct shell s;
    trio_open(&t, DEMO_LM, "server");
    shell_run(&s, SHELL_ARGV("stip-user", "generate", "--config", "/nowhere/user.json", "--prompt", "x"));
    ends(&s, 3, "/nowhere/user.json");
    shell_run(&s, SHELL_ARGV("stip-user", "generate", "--prompt", "x"));
    ends(&s, 2, "--config");
    shell_run(&s, SHELL_ARGV("stip-server", "serve", "--config", trio_path(&t, "user.json")));
    ends(&s, 2, "user.json");
    shell_run(&s, SHELL_ARGV("stip-model-dev", "serve", "--config", trio_path(&t, "server.json")));
    ends(&s, 2, "server.json");
    edit_user(&t, "\"role\":\"user\"", "\"role\":\"server\"");
    refused(&t, 2, "role 'server'", HELLO);
    edit_user(&t, "\"threads\"", "\"colour\"");
    refused(&t, 2, "unknown key 'colour'", HELLO);
    edit_user(&t, "\"threads\":1", "\"threads\":-3");
    refused(&t, 2, "'threads'", HELLO);
    edit_user(&t, "{", "[");
    refused(&t, 2, "not valid JSON", HELLO);
    edit_user(&t, "\"identity\":\"user.id\"", "\"identity\":\"nobody.id\"");
    refused(&t, 3, "nobody.id/identity.key", HELLO);
    edit_user(&t, "@server.id/identity.pub", "stip1:abc");
    refused(&t, 2, "field 'key'", HELLO);
    trio_write_user(&t, "user");
    cr_assert_eq(chmod(trio_path(&t, "user.id/identity.key"), 0644), 0);
    refused(&t, 3, "open to others", HELLO);
    cr_assert_eq(chmod(trio_path(&t, "user.id/identity.key"), 0600), 0);
    cr_assert_eq(truncate(trio_path(&t, "other.id/identity.key"), 100), 0);
    edit_user(&t, "user.id", "other.id");
    refused(&t, 3, "identity.key", HELLO);
    works(&t);
    trio_close(&t);
}

Test(errors, a_peer_that_is_not_there_or_is_another_is_named)
{
    struct trio t;
    struct shell s;
    trio_open(&t, DEMO_LM, "server");
    edit_user(&t, "@server.id/", "@other.id/");
    refused(&t, 4, "does not hold the key", HELLO);
    cr_assert_eq(rename(trio_path(&t, "other.id"), trio_path(&t, "allowed.id")), 0);
    shell_run(&s, SHELL_ARGV("stip-user", "keygen", "--out", trio_path(&t, "other.id")));
    cr_assert_eq(s.status, 0);
    shell_free(&s);
    edit_user(&t, "user.id", "other.id"); /* a stranger now */
    refused(&t, 4, "does not know this key", HELLO);
    edit_user(&t, "user.id", "other.id");
    refused(&t, 4, "does not know this key", SHELL_ARGV("join"));
    trio_write_user(&t, "other");
    trio_start_as(&t, "other", &s, HELLO);
    shell_wait(&s);
    ends(&s, 3, "there is no grant here");
    works(&t);
    process_stop(&t.model_dev);
    refused(&t, 5, t.grants_at, SHELL_ARGV("join"));
    works(&t); /* the grant that was there is still there */
    process_stop(&t.server);
    refused(&t, 5, t.users_at, HELLO);
    trio_close(&t);
}

Test(errors, a_port_in_use_is_named)
{
    struct trio t;
    struct shell s;
    trio_open(&t, DEMO_LM, "server");
    size_t len;
    char *text = tempdir_slurp(trio_path(&t, "server.json"), &len), out[4096], *star = strstr(text, "tcp://127.0.0.1:*");
    int n = snprintf(out, sizeof out, "%.*s%s%s", (int)(star - text), text, t.users_at, star + strlen("tcp://127.0.0.1:*"));
    tempdir_spill(trio_path(&t, "server.json"), out, (size_t)n);
    free(text);
    shell_run(&s, SHELL_ARGV("stip-server", "serve", "--config", trio_path(&t, "server.json")));
    cr_expect_not_null(strstr(s.err, t.users_at), "%s", s.err);
    ends(&s, 2, "Address already in use");
    works(&t);
    trio_close(&t);
}

/* Mutations: a wrong name taken for none; a level that the CPU has not, taken (an illegal instruction). */
Test(errors, instructions_that_are_asked_for_and_are_not_there_are_named)
{
    struct trio t;
    struct shell s;
    const char *best = NULL;
    for (int i = 0; kernels_level(i) != NULL; i++)
        best = kernels_level(i);
    trio_open(&t, DEMO_LM, "user");
    for (int i = 0; i < 2; i++) {
        const char *name = i == 0 ? "sse9" : "amx", *sentence = i == 0 ? "'sse9' is none of portable" : best;
        if (strcmp(name, best) == 0) /* it is there */
            continue;
        (void)setenv("STIP_ISA", name, 1);
        refused(&t, 2, sentence, HELLO);
        shell_run(&s, SHELL_ARGV("stip-server", "serve", "--config", trio_path(&t, "server.json")));
        ends(&s, 2, sentence);
    }
    (void)setenv("STIP_ISA", "portable", 1);
    works(&t);
    (void)unsetenv("STIP_ISA");
    trio_close(&t);
}

Test(errors, prompts_that_cannot_be_answered_are_refused_before_anything_is_sent)
{
    enum { TEN_MB = 10000000 };
    struct trio t;
    struct shell s;
    char *big = malloc(TEN_MB);
    memset(big, 'a', TEN_MB);
    trio_open(&t, DEMO_LM, "server");
    const char *file = trio_path(&t, "prompt");
    char path[FILE_PATH_MAX];
    (void)snprintf(path, sizeof path, "%s", file);
    tempdir_spill(path, big, TEN_MB);
    refused(&t, 3, "the context holds 512", SHELL_ARGV("generate", "--file", path));
    for (int i = 0; i < 4000; i++)
        memcpy(big + i * 4, "the ", 4);
    tempdir_spill(path, big, 16000);
    refused(&t, 3, "shorten it", SHELL_ARGV("generate", "--file", path));
    tempdir_spill(path, "ab\xff\xfe", 4);
    refused(&t, 3, "UTF-8 at byte 2", SHELL_ARGV("generate", "--file", path));
    refused(&t, 3, "UTF-8", SHELL_ARGV("generate", "--prompt", "caf\xc3"));
    refused(&t, 3, "/nowhere/prompt", SHELL_ARGV("generate", "--file", "/nowhere/prompt"));
    refused(&t, 2, "classifier", SHELL_ARGV("classify", "--text", "x"));
    refused(&t, 2, "--max-tokens", SHELL_ARGV("generate", "--prompt", "x", "--max-tokens", "0"));
    refused(&t, 2, "--temperature", SHELL_ARGV("generate", "--prompt", "x", "--temperature", "nan"));
    refused(&t, 3, "at least 2", SHELL_ARGV("score", "--text", "a"));
    /* A NUL byte is a character like any other to a byte-level tokenizer. */
    tempdir_spill(path, "ab\0cd", 5);
    trio_user(&t, &s, SHELL_ARGV("generate", "--file", path, "--max-tokens", "2", "--json"));
    struct json_doc *doc = shell_json(&s);
    cr_expect_geq(json_count(json_get(json_root(doc), "prompt_tokens")), 3);
    json_free(doc);
    shell_free(&s);
    /* An empty prompt starts where the model's texts start. */
    trio_user(&t, &s, SHELL_ARGV("generate", "--prompt", "", "--max-tokens", "2", "--json"));
    doc = shell_json(&s);
    cr_expect_eq(json_count(json_get(json_root(doc), "prompt_tokens")), 1);
    json_free(doc);
    shell_free(&s);
    free(big);
    trio_close(&t);
}

/* Two packages of one checkpoint: the old grant's keys would give nonsense. Mutation: no check of the context
 * by the server (test_core has that alone) and none by the user. */
Test(errors, a_grant_of_another_context_is_refused_before_a_row_is_sent)
{
    struct trio t;
    struct shell s;
    trio_open_limited(&t, DEMO_LM, "server", "\"overlap_s\":0");
    process_stop(&t.model_dev);
    shell_run(&s, SHELL_ARGV("stip-model-dev", "protect", "--model", DEMO_LM, "--out", trio_path(&t, "protected"), "--identity",
                             trio_path(&t, "model_dev.id"), "--head", "server"));
    ends(&s, 2, "package"); /* not without --force */
    shell_run(&s, SHELL_ARGV("stip-model-dev", "protect", "--model", DEMO_LM, "--out", trio_path(&t, "protected"), "--identity",
                             trio_path(&t, "model_dev.id"), "--head", "server", "--force"));
    cr_assert_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
    trio_start_model_dev(&t);
    trio_wait_serving(&t);
    refused(&t, 4, "join again", HELLO);
    trio_write_user(&t, "user");
    trio_user(&t, &s, SHELL_ARGV("join"));
    cr_assert_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
    works(&t);
    trio_close(&t);
}

/* ------------------------------------------------------------------ processes that die */

/* Starts a long answer and waits for its first words. */
static void in_the_middle(const struct trio *t, struct shell *s)
{
    struct stat st = {0};
    trio_start_as(t, "user", s, SHELL_ARGV("generate", "--prompt", "Once upon a time", "--max-tokens", "4000", "--ignore-eos"));
    for (int i = 0; i < 6000 && fstat(s->out_fd, &st) == 0 && st.st_size == 0; i++)
        (void)poll(NULL, 0, 10);
    cr_assert_gt(st.st_size, 0, "no answer began");
    cr_assert_eq(waitpid(s->pid, NULL, WNOHANG), 0, "it ended too early");
}

Test(errors, a_server_killed_in_the_middle_of_an_answer_ends_the_user_soon)
{
    char dir[FILE_PATH_MAX], model[FILE_PATH_MAX];
    struct trio t;
    struct shell s;
    tempdir_make(dir);
    trio_slow_model(model, dir, DEMO_LM "/tokenizer.json");
    trio_open(&t, model, "server");
    in_the_middle(&t, &s);
    (void)kill(t.server.pid, SIGKILL);
    uint64_t start = clock_ms();
    shell_wait(&s);
    (void)fprintf(stderr, "errors: the user ends %llu ms after its server was killed\n", (unsigned long long)(clock_ms() - start));
    cr_expect_null(strstr(s.err, "silent"), "only a time-out told: %s", s.err);
    ends(&s, 5, t.users_at);
    process_stop(&t.server);
    trio_start_server(&t, NULL); /* the package is still whole, no developer is needed */
    works(&t);
    trio_close(&t);
    tempdir_remove(dir);
}

/* The connection stays open: only the missing PONG tells. */
Test(errors, a_server_that_hangs_ends_the_user)
{
    char dir[FILE_PATH_MAX], model[FILE_PATH_MAX];
    struct trio t;
    struct shell s;
    tempdir_make(dir);
    trio_slow_model(model, dir, DEMO_LM "/tokenizer.json");
    trio_open(&t, model, "server");
    in_the_middle(&t, &s);
    (void)kill(t.server.pid, SIGSTOP);
    uint64_t start = clock_ms();
    shell_wait(&s); /* for which SHELL_MS is the limit */
    (void)fprintf(stderr, "errors: the user ends %llu ms after its server stopped\n", (unsigned long long)(clock_ms() - start));
    ends(&s, 5, t.users_at);
    (void)kill(t.server.pid, SIGCONT);
    works(&t);
    trio_close(&t);
    tempdir_remove(dir);
}

/* Users that vanish leave their sessions; the server goes on. */
Test(errors, users_killed_in_the_middle_of_answers_do_not_harm_the_next)
{
    char dir[FILE_PATH_MAX], model[FILE_PATH_MAX];
    struct trio t;
    tempdir_make(dir);
    trio_slow_model(model, dir, DEMO_LM "/tokenizer.json");
    trio_open(&t, model, "server");
    for (int i = 0; i < 5; i++) {
        struct shell s;
        in_the_middle(&t, &s);
        (void)kill(s.pid, SIGKILL);
        shell_wait(&s);
        cr_expect_eq(s.status, 128 + SIGKILL);
        shell_free(&s);
    }
    works(&t);
    trio_close(&t);
    tempdir_remove(dir);
}

/* ------------------------------------------------------------------ packages */

/* Any of these comes into the log. */
static bool log_says(const struct trio *t, const char *name, const char *const texts[])
{
    bool found = false;
    for (uint64_t end = clock_ms() + 60000; !found && clock_ms() < end; (void)poll(NULL, 0, 20)) {
        size_t len;
        char *log = file_exists(trio_path(t, name)) ? tempdir_slurp(trio_path(t, name), &len) : NULL;
        for (size_t i = 0; log != NULL && texts[i] != NULL; i++)
            found = found || strstr(log, texts[i]) != NULL;
        free(log);
    }
    return found;
}

/* The largest file may not grow beyond 1 MiB: both sides say so, nothing is installed, and room makes it whole. */
Test(errors, a_full_disk_while_a_package_arrives_is_named_and_survived)
{
    struct rlimit before, small;
    struct trio t;
    struct shell s;
    trio_make(&t, DEMO_LM, "server");
    trio_start_server(&t, NULL);
    cr_assert_eq(prlimit(t.server.pid, RLIMIT_FSIZE, NULL, &before), 0);
    small = (struct rlimit){.rlim_cur = 1 << 20, .rlim_max = before.rlim_max};
    cr_assert_eq(prlimit(t.server.pid, RLIMIT_FSIZE, &small, NULL), 0);
    trio_start_model_dev(&t);
    cr_expect(log_says(&t, "model_dev.log", SHELL_ARGV("DISK_FULL")), "the developer is told");
    cr_expect(log_says(&t, "server.log", SHELL_ARGV("disk", "space", "too large")), "the operator is told");
    cr_expect(!file_exists(trio_path(&t, "server.package")));
    cr_assert_eq(prlimit(t.server.pid, RLIMIT_FSIZE, &before, NULL), 0);
    trio_wait_serving(&t); /* the developer tries again */
    trio_write_user(&t, "user");
    trio_user(&t, &s, SHELL_ARGV("join"));
    cr_expect_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
    works(&t);
    trio_close(&t);
}

static void flip(const char *path, off_t at)
{
    size_t len;
    char *data = tempdir_slurp(path, &len);
    data[at < 0 ? (off_t)len + at : at] ^= 1;
    tempdir_spill(path, data, len);
    free(data);
}

/* One bit of any file. Mutation: hashes not compared, or the signature not checked. */
Test(errors, a_package_with_one_wrong_bit_is_not_served)
{
    static const struct {
        const char *file;
        off_t at;
    } flips[] = {{"model.safetensors", -5}, {"config.json", 20}, {"manifest.json", 40}, {"manifest.sig", 3}};
    struct trio t;
    struct shell s;
    trio_open(&t, DEMO_LM, "server");
    process_stop(&t.server);
    for (size_t i = 0; i < sizeof flips / sizeof *flips; i++) {
        char path[FILE_PATH_MAX];
        (void)snprintf(path, sizeof path, "%s/server.package/%s", t.dir, flips[i].file);
        flip(path, flips[i].at);
        shell_run(&s, SHELL_ARGV("stip-server", "serve", "--config", trio_path(&t, "server.json")));
        cr_expect(s.status == 1 || s.status == 3 || s.status == 4, "%s: %d", flips[i].file, s.status);
        ends(&s, s.status, i < 2 ? flips[i].file : "manifest");
        flip(path, flips[i].at);
    }
    trio_start_server(&t, NULL);
    works(&t);
    trio_close(&t);
}
