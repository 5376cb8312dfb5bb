#include "bench/cmd.h"
#include "bench/stage.h"
#include "model/hub.h"

int cmd_loopback(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct stage *st;
    char model[FILE_PATH_MAX];
    int status = 0;
    if (hub_option(model, cmd, err) != 0)
        return -1;
    if (argc < 1)
        return err_set(err, ERR_USAGE, "which stip-user command? for example: %s", cmd->example);
    if (stage_open(&st, model, cmd, err) != 0)
        return -1;
    int rc = stage_user(st, argc, argv, NULL, 0, &status, err);
    stage_close(st, cli_on(cmd, "keep"));
    /* The user's command has said why: its exit status is ours, without another sentence. */
    return rc == 0 && status != 0 ? err_set(err, (enum err_code)status, "%s", "") : rc;
}
