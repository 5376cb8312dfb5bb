#include "tests/support/trio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/slow.h"
#include "tests/support/synth.h"
#include "tests/support/tempdir.h"

#define READY_MS 120000
#define NOWHERE "tcp://127.0.0.1:1"

static void must(int rc, const struct err *err)
{
    if (rc == 0)
        return;
    (void)fprintf(stderr, "tests/support/trio: %s\n", err->text);
    abort();
}

static void run(const char *const argv[])
{
    struct shell s;
    shell_run(&s, argv);
    if (s.status != 0) {
        (void)fprintf(stderr, "tests/support/trio: %s: exit status %d: %s\n", s.command, s.status, s.err);
        abort();
    }
    shell_free(&s);
}

const char *trio_path(const struct trio *t, const char *name)
{
    return tempdir_path(t->dir, name);
}

static void make(struct trio *t, const char *model, const char *const flags[])
{
    const char *protect[32] = {"stip-model-dev", "protect"};
    size_t n = 2;
    char dir[FILE_PATH_MAX];
    *t =
        (struct trio){.server.out = -1, .model_dev.out = -1, .second.out = -1, .package = "server.package", .users_at = NOWHERE, .developers_at = NOWHERE, .grants_at = NOWHERE};
    tempdir_make(dir);
    (void)snprintf(t->dir, sizeof t->dir, "%s", dir);
    (void)snprintf(t->model, sizeof t->model, "%s", model);
    run(SHELL_ARGV("stip-model-dev", "keygen", "--out", trio_path(t, "model_dev.id")));
    run(SHELL_ARGV("stip-server", "keygen", "--out", trio_path(t, "server.id")));
    run(SHELL_ARGV("stip-user", "keygen", "--out", trio_path(t, "user.id")));
    run(SHELL_ARGV("stip-user", "keygen", "--out", trio_path(t, "other.id")));
    const char *const fixed[] = {"--model", model, "--out", trio_path(t, "protected"), "--identity", trio_path(t, "model_dev.id")};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        protect[n++] = fixed[i];
    for (size_t i = 0; flags[i] != NULL && n < 31; i++)
        protect[n++] = flags[i];
    run(protect);
}

void trio_make(struct trio *t, const char *model, const char *head)
{
    make(t, model, SHELL_ARGV("--head", head));
}

void trio_close(struct trio *t)
{
    (void)process_stop(&t->model_dev);
    (void)process_stop(&t->server);
    (void)process_stop(&t->second);
    tempdir_remove(t->dir);
}

static void take_endpoint(const struct json_doc *event, const char *key, char out[128])
{
    const char *value;
    struct err err;
    must(json_get_str(event, json_root(event), key, &value, &err), &err);
    (void)snprintf(out, 128, "%s", value);
}

static void start(struct trio *t, struct process *p, const char *program, const char *config, const char *log,
                  struct json_doc **ready)
{
    char exe[FILE_PATH_MAX], path[FILE_PATH_MAX];
    struct err err;
    (void)snprintf(exe, sizeof exe, "%s", shell_program(program));
    (void)snprintf(path, sizeof path, "%s", trio_path(t, config));
    char *argv[] = {exe, "serve", "--config", path, "--json", NULL};
    must(process_start(p, program, argv, true, trio_path(t, log), &err), &err);
    must(process_event(p, "ready", READY_MS * (int)slow_times(), ready, &err), &err);
}

static const char *metrics_key(const struct trio *t)
{
    return t->metrics ? "\"metrics\":\"127.0.0.1:0\"," : "";
}

static int server_config(const struct trio *t, char text[2048], const char *listen, const char *package, const char *limits)
{
    return snprintf(text, 2048,
                    "{\"role\":\"server\",\"identity\":\"server.id\",\"listen\":\"%s\",%s"
                    "\"listen_admin\":\"tcp://127.0.0.1:*\",\"package\":\"%s\",\"threads\":1,"
                    "\"allow\":{\"users\":[\"@user.id/identity.pub\",\"@other.id/"
                    "identity.pub\"],\"model_devs\":[\"@model_dev.id/identity.pub\"]},"
                    "\"limits\":{%s}}\n",
                    listen, metrics_key(t), package, limits == NULL ? "" : limits);
}

void trio_start_server(struct trio *t, const char *limits)
{
    char text[2048];
    struct json_doc *ready;
    const char *listen = strcmp(t->users_at, NOWHERE) == 0 ? "tcp://127.0.0.1:*" : t->users_at;
    const int n = server_config(t, text, listen, t->package, limits);
    tempdir_spill(trio_path(t, "server.json"), text, (size_t)n);
    start(t, &t->server, "stip-server", "server.json", "server.log", &ready);
    take_endpoint(ready, "endpoint", t->users_at);
    take_endpoint(ready, "admin", t->developers_at);
    take_endpoint(ready, "metrics", t->server_metrics);
    json_free(ready);
}

void trio_start_second(struct trio *t)
{
    char text[2048];
    struct json_doc *ready;
    if (t->second_at[0] == '\0')
        run(SHELL_ARGV("/bin/cp", "-a", trio_path(t, t->package), trio_path(t, "second.package")));
    const int n = server_config(t, text, t->second_at[0] == '\0' ? "tcp://127.0.0.1:*" : t->second_at, "second.package", NULL);
    tempdir_spill(trio_path(t, "second.json"), text, (size_t)n);
    start(t, &t->second, "stip-server", "second.json", "second.log", &ready);
    take_endpoint(ready, "endpoint", t->second_at);
    json_free(ready);
}

void trio_start_model_dev(struct trio *t)
{
    char text[3 * FILE_PATH_MAX];
    struct json_doc *ready;
    int n =
        snprintf(text, sizeof text,
                 "{\"role\":\"model_dev\",\"identity\":\"model_dev.id\",\"listen\":\"tcp://127.0.0.1:*\",%s"
                 "\"protected\":\"protected\",\"model\":\"%s\",\"allow\":[\"@user.id/identity.pub\",\"@other.id/identity.pub\"],"
                 "\"peers\":{\"servers\":[{\"endpoint\":\"%s\",\"key\":\"@server.id/identity.pub\"}]}}\n",
                 metrics_key(t), t->model, t->developers_at);
    tempdir_spill(trio_path(t, "model_dev.json"), text, (size_t)n);
    start(t, &t->model_dev, "stip-model-dev", "model_dev.json", "model_dev.log", &ready);
    take_endpoint(ready, "endpoint", t->grants_at);
    take_endpoint(ready, "metrics", t->model_dev_metrics);
    json_free(ready);
}

void trio_wait_serving(struct trio *t)
{
    struct json_doc *serving;
    struct err err;
    must(process_event(&t->server, "serving", READY_MS * (int)slow_times(), &serving, &err), &err);
    json_free(serving);
}

void trio_write_user(const struct trio *t, const char *name)
{
    char text[2048], file[64], second[256] = "";
    if (t->second_at[0] != '\0')
        (void)snprintf(second, sizeof second, ",{\"endpoint\":\"%s\",\"key\":\"@server.id/identity.pub\"}", t->second_at);
    int n =
        snprintf(text, sizeof text,
                 "{\"role\":\"user\",\"identity\":\"%s.id\",\"grant\":\"%s.grant\",\"threads\":1,\"retry_s\":%d,\"log\":{\"level\":\"warn\"},"
                 "\"peers\":{\"server\":[{\"endpoint\":\"%s\",\"key\":\"@server.id/identity.pub\"}%s],"
                 "\"model_dev\":{\"endpoint\":\"%s\",\"key\":\"@model_dev.id/identity.pub\"}}}\n",
                 name, name, t->retry_s, t->users_at, second, t->grants_at);
    (void)snprintf(file, sizeof file, "%s.json", name);
    tempdir_spill(trio_path(t, file), text, (size_t)n);
}

static void open_made(struct trio *t, const char *limits)
{
    struct shell s;
    trio_start_server(t, limits);
    trio_start_model_dev(t);
    trio_wait_serving(t);
    trio_write_user(t, "user");
    trio_user(t, &s, SHELL_ARGV("join"));
    if (s.status != 0) {
        (void)fprintf(stderr, "tests/support/trio: %s\n", s.err);
        abort();
    }
    shell_free(&s);
}

void trio_open_limited(struct trio *t, const char *model, const char *head, const char *limits)
{
    trio_make(t, model, head);
    open_made(t, limits);
}

void trio_open_protected(struct trio *t, const char *model, const char *const flags[])
{
    make(t, model, flags);
    open_made(t, NULL);
}

void trio_open(struct trio *t, const char *model, const char *head)
{
    trio_open_limited(t, model, head, NULL);
}

void trio_open_at(struct trio *t, const char *model, const char *head, const char *users_at)
{
    trio_make(t, model, head);
    (void)snprintf(t->users_at, sizeof t->users_at, "%s", users_at);
    open_made(t, NULL);
}

void trio_start_as(const struct trio *t, const char *name, struct shell *s, const char *const words[])
{
    char config[64];
    (void)snprintf(config, sizeof config, "%s.json", name);
    const char *argv[64] = {"stip-user", words[0], "--config", trio_path(t, config)};
    size_t n = 4;
    for (size_t i = 1; words[i] != NULL && n < 63; i++)
        argv[n++] = words[i];
    shell_start(s, argv);
}

void trio_user(const struct trio *t, struct shell *s, const char *const words[])
{
    trio_start_as(t, "user", s, words);
    shell_wait(s);
}

void trio_slow_model(char model[FILE_PATH_MAX], const char *dir, const char *tokenizer_path)
{
    const struct synth_shape shape = {.D = 256, .H = 8, .L = 8, .V = 2048, .F = 1024, .positions = 4096, .bos = 1};
    struct err err;
    size_t len;
    (void)snprintf(model, FILE_PATH_MAX, "%s/slow", dir);
    must(synth_checkpoint(model, "LlamaForCausalLM", &shape, 5, &err), &err);
    char *tokenizer = tempdir_slurp(tokenizer_path, &len);
    tempdir_spill(tempdir_path(model, "tokenizer.json"), tokenizer, len);
    free(tokenizer);
}
