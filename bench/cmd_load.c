#include <stdio.h>

#include "base/memory.h"
#include "base/threads.h"
#include "bench/cmd.h"
#include "bench/interrupt.h"
#include "bench/load_report.h"
#include "bench/shapes.h"
#include "bench/stage.h"

static int read_flags(struct load_opts *o, const struct cli_cmd *cmd, struct err *err)
{
    int64_t sessions = 32, prompt = 128, max = 64;
    double rps = 0, duration = 30;
    if (cli_int(cmd, "sessions", 1, LOAD_SESSIONS_MAX, &sessions, err) != 0 || cli_num(cmd, "rps", 1e-3, 1e4, &rps, err) != 0 ||
        cli_num(cmd, "duration", 0.1, 86400, &duration, err) != 0 || cli_int(cmd, "prompt-tokens", 1, 1 << 20, &prompt, err) != 0 ||
        cli_int(cmd, "max-tokens", 1, 1 << 20, &max, err) != 0)
        return -1;
    *o = (struct load_opts){.sessions = (int)sessions, .rps = rps, .duration_s = duration, .prompt_tokens = (int)prompt,
                            .max_tokens = (int)max};
    return 0;
}

static int report(const struct load_result *r, const struct load_opts *o, const struct cli_cmd *cmd, struct err *err)
{
    const char *plot = cli_str(cmd, "plot", NULL);
    if (r->finished == 0 && r->error_count > 0)
        return err_set(err, ERR_PEER, "no request was answered; the first of %llu that failed: %s", (unsigned long long)r->failed,
                       r->errors[0].text);
    if (plot != NULL && load_report_plot(plot, r, o, err) != 0)
        return -1;
    if (cli_on(cmd, "json"))
        return load_report_json(r, o, err);
    load_report_text(r, o);
    return 0;
}

/* Loads the server of a user.json. */
static int load_config(const char *config, struct load_opts *o, const struct cli_cmd *cmd, struct err *err)
{
    struct cli_opt opts[] = {{"config", "FILE", "", config, false}, {NULL, NULL, NULL, NULL, false}};
    const struct cli_cmd user = {.name = cmd->name, .example = cmd->example, .opts = opts};
    struct setup setup = {0};
    struct load_result r = {0};
    int rc = -1;
    memory_keep_freed();
    if (setup_read(&setup, &user, err) != 0)
        return -1;
    /* Each user has a thread already. */
    if (threads_start(1, err) != 0 || setup_connect(&setup, &user, err) != 0)
        goto done;
    if (!setup.grant->config->causal)
        o->max_tokens = 1; /* a classifier answers once */
    if ((uint64_t)o->prompt_tokens + (uint64_t)o->max_tokens > setup.connection->server.max_tokens) {
        err_set(err, ERR_USAGE, "--prompt-tokens and --max-tokens: %d and %d, this server takes %u together", o->prompt_tokens,
                o->max_tokens, setup.connection->server.max_tokens);
        goto done;
    }
    if (load_run(&r, &setup, o, err) != 0)
        goto done;
    rc = report(&r, o, cmd, err);
done:
    load_free(&r);
    setup_close(&setup);
    return rc;
}

/* Makes the three roles first; `shape` NULL: of the checkpoint `model`. */
static int load_stage(const char *model, const char *shape, struct load_opts *o, const struct cli_cmd *cmd, struct err *err)
{
    char dir[FILE_PATH_MAX] = "", config[FILE_PATH_MAX];
    struct stage *st = NULL;
    int rc = -1;
    if (shape != NULL && (shapes_temp_dir(dir, err) != 0 || shapes_checkpoint(shape, 0, dir, err) != 0))
        goto done;
    if (stage_open(&st, shape != NULL ? dir : model, cmd, err) != 0 || file_join(config, stage_dir(st), "user.json", err) != 0)
        goto done;
    o->stop = interrupt_seen;
    rc = load_config(config, o, cmd, err);
done:
    stage_close(st, false);
    shapes_drop_dir(dir);
    return rc;
}

int cmd_load(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    const char *config = cli_str(cmd, "config", NULL), *model = cli_str(cmd, "model", NULL), *shape = cli_str(cmd, "shape", NULL);
    struct load_opts opts;
    (void)argc;
    (void)argv;
    if ((config != NULL) + (model != NULL) + (shape != NULL) != 1)
        return err_set(err, ERR_USAGE, "load needs one of --config FILE, --model HFDIR and --shape NAME; for example: %s", cmd->example);
    if (read_flags(&opts, cmd, err) != 0)
        return -1;
    return config != NULL ? load_config(config, &opts, cmd, err) : load_stage(model, shape, &opts, cmd, err);
}
