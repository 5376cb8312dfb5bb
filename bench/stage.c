#include "bench/stage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "bench/interrupt.h"

#define START_MS 120000
#define ARGS_MAX 64

struct stage {
    char dir[FILE_PATH_MAX - 64];
    char model[FILE_PATH_MAX];
    struct process server, model_dev, link, user;
    const struct tunnel *tunnel; /* NULL: all is here */
};

/* What is started and connected from now on is at that end. */
static void stand(const struct stage *st, int end)
{
    if (st->tunnel != NULL)
        tunnel_enter(st->tunnel, end);
}

static int wait_for(struct process *p, int *status, struct err *err)
{
    interrupt_child(p->pid);
    int rc = process_wait(p, status, err);
    interrupt_child(0);
    return rc;
}

/* Runs a program to its end; its stdout goes to the log of the stage. */
static int run(const struct stage *st, char *const argv[], struct err *err)
{
    struct process p;
    char log[FILE_PATH_MAX];
    int status;
    if (file_join(log, st->dir, "setup.log", err) != 0 || process_start(&p, argv[0], argv, true, log, err) != 0 ||
        wait_for(&p, &status, err) != 0)
        return -1;
    process_stop(&p);
    if (status == 0)
        return 0;
    char *text = NULL;
    size_t len = 0;
    struct err ignored;
    if (file_read(log, 1 << 20, &text, &len, &ignored) != 0)
        len = 0;
    if (len > 0)
        err_set(err, status > 0 && status <= ERR_INTERNAL ? (enum err_code)status : ERR_INTERNAL, "%.*s", (int)len - 1, text);
    else
        err_set(err, ERR_INTERNAL, "%s %s ended with status %d and said nothing%s", argv[0], argv[1], status,
                status == 127 ? ": it is not there (expected beside stip-bench)" : "");
    free(text);
    return -1;
}

static int keygen(const struct stage *st, const char *program, const char *folder, struct err *err)
{
    char exe[FILE_PATH_MAX], out[FILE_PATH_MAX];
    if (stage_program(exe, program, err) != 0 || file_join(out, st->dir, folder, err) != 0)
        return -1;
    char *argv[] = {exe, "keygen", "--out", out, NULL};
    return run(st, argv, err);
}

static int protect(const struct stage *st, const struct cli_cmd *cmd, struct err *err)
{
    static const char *const passed[] = {"profile", "head", "local-layers", "dtype", "seed"};
    char exe[FILE_PATH_MAX], out[FILE_PATH_MAX], id[FILE_PATH_MAX], flags[5][24], model[FILE_PATH_MAX];
    char *argv[ARGS_MAX] = {exe, "protect", "--model", model, "--out", out, "--identity", id};
    int n = 8;
    (void)snprintf(model, sizeof model, "%s", st->model);
    if (stage_program(exe, "stip-model-dev", err) != 0 || file_join(out, st->dir, "protected", err) != 0 ||
        file_join(id, st->dir, "model_dev.id", err) != 0)
        return -1;
    for (int i = 0; i < 5; i++)
        if (cli_on(cmd, passed[i])) {
            (void)snprintf(flags[i], sizeof flags[i], "--%s", passed[i]);
            argv[n++] = flags[i];
            argv[n++] = (char *)(uintptr_t)cli_str(cmd, passed[i], "");
        }
    return run(st, argv, err);
}

/* The short form: what a user is told is the same. */
static int audit(const struct stage *st, const struct cli_cmd *cmd, struct err *err)
{
    char exe[FILE_PATH_MAX], protected[FILE_PATH_MAX], model[FILE_PATH_MAX];
    if (!cli_on(cmd, "audit"))
        return 0;
    (void)snprintf(model, sizeof model, "%s", st->model);
    if (stage_program(exe, "stip-model-dev", err) != 0 || file_join(protected, st->dir, "protected", err) != 0)
        return -1;
    char sample[] = "16", drift[] = "none";
    char *argv[] = {exe, "audit", "--protected", protected, "--model", model, "--sample", sample, "--drift", drift, "--skip-slow", "--save", NULL};
    return run(st, argv, err);
}

static int write_config(const struct stage *st, const char *name, const char *text, struct err *err)
{
    char path[FILE_PATH_MAX];
    if (file_join(path, st->dir, name, err) != 0)
        return -1;
    return file_write(path, text, strlen(text), 0600, err);
}

static int start(const struct stage *st, struct process *p, const char *program, const char *config, const char *log, struct err *err)
{
    char exe[FILE_PATH_MAX], path[FILE_PATH_MAX], log_path[FILE_PATH_MAX];
    if (stage_program(exe, program, err) != 0 || file_join(path, st->dir, config, err) != 0 ||
        file_join(log_path, st->dir, log, err) != 0)
        return -1;
    char *argv[] = {exe, "serve", "--config", path, "--json", NULL};
    return process_start(p, program, argv, true, log_path, err);
}

/* Where the user reaches the server and the developer, who reach each other on loopback. */
static const char *server_address(const struct stage *st)
{
    return st->tunnel == NULL ? "127.0.0.1" : tunnel_address(TUNNEL_SERVER);
}

static int start_server(struct stage *st, const struct cli_cmd *cmd, char endpoint[128], char admin[128], struct err *err)
{
    char text[1024];
    struct json_doc *ready;
    const char *infer, *developers;
    char memory[64] = "";
    int64_t memory_mb = 0;
    if (cli_int(cmd, "memory-mb", 1, 1 << 24, &memory_mb, err) != 0)
        return -1;
    if (memory_mb > 0)
        (void)snprintf(memory, sizeof memory, ",\"memory_mb\":%lld", (long long)memory_mb);
    (void)snprintf(text, sizeof text,
                   "{\"role\":\"server\",\"identity\":\"server.id\",\"listen\":\"tcp://%s:*\","
                   "\"listen_admin\":\"tcp://127.0.0.1:*\",\"package\":\"server.package\",\"threads\":%s,\"kv_dtype\":\"%s\","
                   "\"allow\":{\"users\":[\"@user.id/identity.pub\"],\"model_devs\":[\"@model_dev.id/identity.pub\"]},"
                   "\"limits\":{\"context\":1048576,\"sessions\":1024,\"user_sessions\":1024%s}}\n",
                   server_address(st), cli_str(cmd, "threads", "0"), cli_str(cmd, "kv", "f32"), memory);
    if (write_config(st, "server.json", text, err) != 0 ||
        start(st, &st->server, "stip-server", "server.json", "server.log", err) != 0 ||
        process_event(&st->server, "ready", START_MS, &ready, err) != 0)
        return -1;
    int rc = json_get_str(ready, json_root(ready), "endpoint", &infer, err);
    if (rc == 0)
        rc = json_get_str(ready, json_root(ready), "admin", &developers, err);
    if (rc == 0) {
        (void)snprintf(endpoint, 128, "%s", infer);
        (void)snprintf(admin, 128, "%s", developers);
    }
    json_free(ready);
    return rc;
}

static int start_model_dev(struct stage *st, const char *admin, char endpoint[128], struct err *err)
{
    char model[2 * FILE_PATH_MAX], text[3 * FILE_PATH_MAX], at[64];
    struct json_doc *doc = json_new_object("model_dev.json"), *ready;
    struct json *root = json_node(doc);
    const char *listen;
    char *printed = NULL;
    (void)snprintf(model, sizeof model, "%s", st->model);
    json_put_str(doc, root, "role", "model_dev");
    json_put_str(doc, root, "identity", "model_dev.id");
    (void)snprintf(at, sizeof at, "tcp://%s:*", server_address(st));
    json_put_str(doc, root, "listen", at);
    json_put_str(doc, root, "protected", "protected");
    json_put_str(doc, root, "model", model);
    json_put_str(doc, json_put_array(doc, root, "allow"), NULL, "@user.id/identity.pub");
    struct json *server = json_put_object(doc, json_put_array(doc, json_put_object(doc, root, "peers"), "servers"), NULL);
    json_put_str(doc, server, "endpoint", admin);
    json_put_str(doc, server, "key", "@server.id/identity.pub");
    int rc = json_print(doc, true, &printed, err);
    json_free(doc);
    if (rc == 0) {
        (void)snprintf(text, sizeof text, "%s\n", printed);
        rc = write_config(st, "model_dev.json", text, err);
    }
    free(printed);
    if (rc != 0 || start(st, &st->model_dev, "stip-model-dev", "model_dev.json", "model_dev.log", err) != 0 ||
        process_event(&st->model_dev, "ready", START_MS, &ready, err) != 0)
        return -1;
    rc = json_get_str(ready, json_root(ready), "endpoint", &listen, err);
    if (rc == 0)
        (void)snprintf(endpoint, 128, "%s", listen);
    json_free(ready);
    return rc;
}

/* Puts a line of the wanted round trip and rate between user and server; `endpoint` becomes its near end. */
static int start_link(struct stage *st, const struct cli_cmd *cmd, char endpoint[128], struct err *err)
{
    char exe[FILE_PATH_MAX], log[FILE_PATH_MAX], to[128];
    struct json_doc *ready;
    const char *near;
    if (!cli_on(cmd, "rtt") && !cli_on(cmd, "rate"))
        return 0;
    (void)snprintf(to, sizeof to, "%s", endpoint);
    char *argv[] = {exe, "link", "--json", "--to", to, "--rtt", (char *)(uintptr_t)cli_str(cmd, "rtt", "0"),
                    "--rate", (char *)(uintptr_t)cli_str(cmd, "rate", "0"), NULL};
    if (stage_program(exe, "stip-bench", err) != 0 || file_join(log, st->dir, "link.log", err) != 0 ||
        process_start(&st->link, "stip-bench link", argv, true, log, err) != 0 ||
        process_event(&st->link, "ready", START_MS, &ready, err) != 0)
        return -1;
    int rc = json_get_str(ready, json_root(ready), "endpoint", &near, err);
    if (rc == 0)
        (void)snprintf(endpoint, 128, "%s", near);
    json_free(ready);
    return rc;
}

static int join(const struct stage *st, const char *server, const char *model_dev, const char *threads, struct err *err)
{
    char text[1024], exe[FILE_PATH_MAX], config[FILE_PATH_MAX];
    (void)snprintf(text, sizeof text,
                   "{\"role\":\"user\",\"identity\":\"user.id\",\"grant\":\"grant\",\"threads\":%s,\"peers\":{"
                   "\"server\":{\"endpoint\":\"%s\",\"key\":\"@server.id/identity.pub\"},"
                   "\"model_dev\":{\"endpoint\":\"%s\",\"key\":\"@model_dev.id/identity.pub\"}},\"log\":{\"level\":\"warn\"}}\n",
                   threads, server, model_dev);
    if (write_config(st, "user.json", text, err) != 0 || stage_program(exe, "stip-user", err) != 0 ||
        file_join(config, st->dir, "user.json", err) != 0)
        return -1;
    char *argv[] = {exe, "join", "--config", config, NULL};
    return run(st, argv, err);
}

static int set_up(struct stage *st, const struct cli_cmd *cmd, struct err *err)
{
    char server[128], admin[128], model_dev[128];
    const char *threads = cli_str(cmd, "threads", "0");
    struct json_doc *serving;
    if (keygen(st, "stip-model-dev", "model_dev.id", err) != 0 || keygen(st, "stip-server", "server.id", err) != 0 ||
        keygen(st, "stip-user", "user.id", err) != 0 || protect(st, cmd, err) != 0 || audit(st, cmd, err) != 0)
        return -1;
    stand(st, TUNNEL_SERVER);
    if (start_server(st, cmd, server, admin, err) != 0 || start_model_dev(st, admin, model_dev, err) != 0)
        return -1;
    stand(st, TUNNEL_USER);
    if (start_link(st, cmd, server, err) != 0 || join(st, server, model_dev, threads, err) != 0 ||
        process_event(&st->server, "serving", START_MS, &serving, err) != 0)
        return -1;
    json_free(serving);
    return interrupt_seen() ? err_set(err, ERR_INTERNAL, "interrupted") : 0;
}

int stage_program(char out[FILE_PATH_MAX], const char *name, struct err *err)
{
    char exe[FILE_PATH_MAX], dir[FILE_PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0)
        return err_set(err, ERR_INTERNAL, "cannot find the folder of stip-bench: %s", strerror(errno));
    exe[n] = '\0';
    return file_dir(dir, exe, err) != 0 ? -1 : file_join(out, dir, name, err);
}

int stage_open(struct stage **out, const char *model, const struct cli_cmd *cmd, struct err *err)
{
    return stage_open_at(out, model, cmd, NULL, err);
}

int stage_open_at(struct stage **out, const char *model, const struct cli_cmd *cmd, const struct tunnel *tunnel, struct err *err)
{
    const char *tmp = getenv("TMPDIR");
    struct stage *st = calloc(1, sizeof *st);
    if (st == NULL)
        return err_oom(err, sizeof *st);
    st->tunnel = tunnel;
    st->server.out = st->model_dev.out = st->link.out = st->user.out = -1;
    char *absolute = realpath(model, NULL);
    if (absolute == NULL || strlen(absolute) >= sizeof st->model) {
        err_set(err, ERR_INPUT, "%s: %s", model, strerror(errno));
        free(absolute);
        free(st);
        return -1;
    }
    (void)strcpy(st->model, absolute);
    free(absolute);
    (void)snprintf(st->dir, sizeof st->dir, "%s/stip-stage-XXXXXX", tmp == NULL || tmp[0] == '\0' ? "/tmp" : tmp);
    interrupt_catch();
    if (mkdtemp(st->dir) == NULL) {
        err_set(err, ERR_INTERNAL, "cannot make %s: %s", st->dir, strerror(errno));
        free(st);
        return -1;
    }
    int rc = set_up(st, cmd, err);
    if (tunnel != NULL)
        tunnel_leave(tunnel);
    if (rc != 0) {
        stage_close(st, false);
        return -1;
    }
    *out = st;
    return 0;
}

void stage_close(struct stage *st, bool keep)
{
    struct err left;
    if (st == NULL)
        return;
    (void)process_stop(&st->user);
    (void)process_stop(&st->link);
    (void)process_stop(&st->model_dev);
    (void)process_stop(&st->server);
    if (keep)
        (void)fprintf(stderr, "kept: %s\n", st->dir);
    else if (file_remove_tree(st->dir, &left) != 0)
        (void)fprintf(stderr, "%s\n", left.text);
    free(st);
}

const char *stage_dir(const struct stage *st)
{
    return st->dir;
}

pid_t stage_pid(const struct stage *st, const char *role)
{
    return strcmp(role, "server") == 0 ? st->server.pid : st->model_dev.pid;
}

int stage_user(struct stage *st, int argc, char *const *argv, char *out, size_t cap, int *status, struct err *err)
{
    char exe[FILE_PATH_MAX], config[FILE_PATH_MAX];
    char *args[ARGS_MAX];
    size_t have = 0;
    int n = 0;
    if (argc > ARGS_MAX - 4)
        return err_set(err, ERR_USAGE, "more than %d words for stip-user", ARGS_MAX - 4);
    if (stage_program(exe, "stip-user", err) != 0 || file_join(config, st->dir, "user.json", err) != 0)
        return -1;
    args[n++] = exe;
    args[n++] = argv[0];
    args[n++] = "--config";
    args[n++] = config;
    for (int i = 1; i < argc; i++)
        args[n++] = argv[i];
    args[n] = NULL;
    (void)fflush(stdout);
    if (process_start(&st->user, "stip-user", args, out != NULL, NULL, err) != 0)
        return -1;
    interrupt_child(st->user.pid);
    for (ssize_t got = 1; out != NULL && got > 0 && have + 1 < cap; have += (size_t)(got > 0 ? got : 0))
        got = read(st->user.out, out + have, cap - 1 - have);
    if (out != NULL)
        out[have] = '\0';
    int rc = wait_for(&st->user, status, err);
    (void)process_stop(&st->user);
    return rc;
}
