#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "bench/cmd.h"
#include "bench/process.h"

#define START_MS 120000
#define ARGS_MAX 64

/* Everything lives in one temporary folder:
 *   model_dev.id/ server.id/ user.id/   protected/   server.json model_dev.json user.json   server.package/ grant/  *.log */
struct stage {
    char dir[FILE_PATH_MAX - 64];
    char bin[FILE_PATH_MAX - 64];
    char model[FILE_PATH_MAX];
    struct process server, model_dev, user;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

static int path_in(char out[FILE_PATH_MAX], const char *dir, const char *name, struct err *err)
{
    return file_join(out, dir, name, err);
}

/* Runs a program to its end; its stdout goes to the log of the stage. */
static int run(const struct stage *st, char *const argv[], struct err *err)
{
    struct process p;
    char log[FILE_PATH_MAX];
    int status;
    if (path_in(log, st->dir, "setup.log", err) != 0 || process_start(&p, argv[0], argv, true, log, err) != 0 ||
        process_wait(&p, &status, err) != 0)
        return -1;
    process_stop(&p);
    if (status == 0)
        return 0;
    char *text = NULL;
    size_t len = 0;
    struct err ignored;
    if (file_read(log, 1 << 20, &text, &len, &ignored) != 0)
        len = 0;
    err_set(err, status > 0 && status <= ERR_INTERNAL ? (enum err_code)status : ERR_INTERNAL, "%.*s",
            len > 0 ? (int)len - 1 : 0, len > 0 ? text : "");
    free(text);
    return -1;
}

static int keygen(const struct stage *st, const char *program, const char *folder, struct err *err)
{
    char exe[FILE_PATH_MAX], out[FILE_PATH_MAX];
    if (path_in(exe, st->bin, program, err) != 0 || path_in(out, st->dir, folder, err) != 0)
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
    if (path_in(exe, st->bin, "stip-model-dev", err) != 0 || path_in(out, st->dir, "protected", err) != 0 ||
        path_in(id, st->dir, "model_dev.id", err) != 0)
        return -1;
    for (int i = 0; i < 5; i++)
        if (cli_on(cmd, passed[i])) {
            (void)snprintf(flags[i], sizeof flags[i], "--%s", passed[i]);
            argv[n++] = flags[i];
            argv[n++] = (char *)(uintptr_t)cli_str(cmd, passed[i], "");
        }
    return run(st, argv, err);
}

static int write_config(const struct stage *st, const char *name, const char *text, struct err *err)
{
    char path[FILE_PATH_MAX];
    if (path_in(path, st->dir, name, err) != 0)
        return -1;
    return file_write(path, text, strlen(text), 0600, err);
}

static int start(const struct stage *st, struct process *p, const char *program, const char *config, const char *log, struct err *err)
{
    char exe[FILE_PATH_MAX], path[FILE_PATH_MAX], log_path[FILE_PATH_MAX];
    if (path_in(exe, st->bin, program, err) != 0 || path_in(path, st->dir, config, err) != 0 ||
        path_in(log_path, st->dir, log, err) != 0)
        return -1;
    char *argv[] = {exe, "serve", "--config", path, "--json", NULL};
    return process_start(p, program, argv, true, log_path, err);
}

static int start_server(struct stage *st, const char *threads, char endpoint[128], char admin[128], struct err *err)
{
    char text[1024];
    struct json_doc *ready;
    const char *infer, *developers;
    (void)snprintf(text, sizeof text,
                   "{\"role\":\"server\",\"identity\":\"server.id\",\"listen\":\"tcp://127.0.0.1:*\","
                   "\"listen_admin\":\"tcp://127.0.0.1:*\",\"package\":\"server.package\",\"threads\":%s,"
                   "\"allow\":{\"users\":[\"@user.id/identity.pub\"],\"model_devs\":[\"@model_dev.id/identity.pub\"]},"
                   "\"limits\":{\"context\":1048576}}\n",
                   threads);
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
    char model[2 * FILE_PATH_MAX], text[3 * FILE_PATH_MAX];
    struct json_doc *doc = json_new_object("model_dev.json"), *ready;
    struct json *root = json_node(doc);
    const char *listen;
    char *printed = NULL;
    (void)snprintf(model, sizeof model, "%s", st->model);
    json_put_str(doc, root, "role", "model_dev");
    json_put_str(doc, root, "identity", "model_dev.id");
    json_put_str(doc, root, "listen", "tcp://127.0.0.1:*");
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

static int join(const struct stage *st, const char *server, const char *model_dev, const char *threads, struct err *err)
{
    char text[1024], exe[FILE_PATH_MAX], config[FILE_PATH_MAX];
    (void)snprintf(text, sizeof text,
                   "{\"role\":\"user\",\"identity\":\"user.id\",\"grant\":\"grant\",\"threads\":%s,\"peers\":{"
                   "\"server\":{\"endpoint\":\"%s\",\"key\":\"@server.id/identity.pub\"},"
                   "\"model_dev\":{\"endpoint\":\"%s\",\"key\":\"@model_dev.id/identity.pub\"}},\"log\":{\"level\":\"warn\"}}\n",
                   threads, server, model_dev);
    if (write_config(st, "user.json", text, err) != 0 || path_in(exe, st->bin, "stip-user", err) != 0 ||
        path_in(config, st->dir, "user.json", err) != 0)
        return -1;
    char *argv[] = {exe, "join", "--config", config, NULL};
    return run(st, argv, err);
}

/* The user's command: its words, with --config put behind the subcommand. stdin, stdout and stderr are ours. */
static int run_user(struct stage *st, int argc, char **argv, int *status, struct err *err)
{
    char exe[FILE_PATH_MAX], config[FILE_PATH_MAX];
    char *args[ARGS_MAX];
    int n = 0;
    if (argc > ARGS_MAX - 4)
        return err_set(err, ERR_USAGE, "more than %d words for stip-user", ARGS_MAX - 4);
    if (path_in(exe, st->bin, "stip-user", err) != 0 || path_in(config, st->dir, "user.json", err) != 0)
        return -1;
    args[n++] = exe;
    args[n++] = argv[0];
    args[n++] = "--config";
    args[n++] = config;
    for (int i = 1; i < argc; i++)
        args[n++] = argv[i];
    args[n] = NULL;
    (void)fflush(stdout);
    if (process_start(&st->user, "stip-user", args, false, NULL, err) != 0)
        return -1;
    return process_wait(&st->user, status, err);
}

static int play(struct stage *st, const struct cli_cmd *cmd, int argc, char **argv, int *status, struct err *err)
{
    char server[128], admin[128], model_dev[128];
    const char *threads = cli_str(cmd, "threads", "0");
    struct json_doc *serving;
    if (keygen(st, "stip-model-dev", "model_dev.id", err) != 0 || keygen(st, "stip-server", "server.id", err) != 0 ||
        keygen(st, "stip-user", "user.id", err) != 0 || protect(st, cmd, err) != 0 ||
        start_server(st, threads, server, admin, err) != 0 || start_model_dev(st, admin, model_dev, err) != 0 ||
        join(st, server, model_dev, threads, err) != 0 ||
        process_event(&st->server, "serving", START_MS, &serving, err) != 0)
        return -1;
    json_free(serving);
    return interrupted ? err_set(err, ERR_INTERNAL, "interrupted") : run_user(st, argc, argv, status, err);
}

/* The folder of this program: the other three stand beside it. */
static int find_bin(struct stage *st, struct err *err)
{
    char exe[FILE_PATH_MAX], dir[FILE_PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0)
        return err_set(err, ERR_INTERNAL, "cannot find the folder of stip-bench: %s", strerror(errno));
    exe[n] = '\0';
    if (file_dir(dir, exe, err) != 0)
        return -1;
    if (strlen(dir) >= sizeof st->bin)
        return err_set(err, ERR_INPUT, "path too long: %.80s...", dir);
    (void)strcpy(st->bin, dir);
    return 0;
}

int cmd_loopback(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct stage *st = calloc(1, sizeof *st);
    const char *model, *tmp = getenv("TMPDIR");
    struct sigaction action = {.sa_handler = on_signal};
    int rc = -1, status = 0;
    if (st == NULL)
        return err_oom(err, sizeof *st);
    if (cli_need(cmd, "model", &model, err) != 0)
        goto done;
    if (argc < 1) {
        err_set(err, ERR_USAGE, "which stip-user command? for example: %s", cmd->example);
        goto done;
    }
    char *absolute = realpath(model, NULL);
    if (absolute == NULL || strlen(absolute) >= sizeof st->model) {
        err_set(err, ERR_INPUT, "%s: %s", model, strerror(errno));
        free(absolute);
        goto done;
    }
    (void)strcpy(st->model, absolute);
    free(absolute);
    (void)snprintf(st->dir, sizeof st->dir, "%s/stip-loopback-XXXXXX", tmp == NULL || tmp[0] == '\0' ? "/tmp" : tmp);
    if (find_bin(st, err) != 0)
        goto done;
    if (mkdtemp(st->dir) == NULL) {
        err_set(err, ERR_INTERNAL, "cannot make %s: %s", st->dir, strerror(errno));
        goto done;
    }
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    rc = play(st, cmd, argc, argv, &status, err);
    process_stop(&st->user);
    process_stop(&st->model_dev);
    process_stop(&st->server);
    if (cli_on(cmd, "keep")) {
        (void)fprintf(stderr, "kept: %s\n", st->dir);
    } else {
        struct err left;
        if (file_remove_tree(st->dir, &left) != 0)
            (void)fprintf(stderr, "%s\n", left.text);
    }
    free(st);
    /* The user's command has said why: its exit status is ours, without another sentence. */
    return rc == 0 && status != 0 ? err_set(err, (enum err_code)status, "%s", "") : rc;
done:
    free(st);
    return rc;
}
