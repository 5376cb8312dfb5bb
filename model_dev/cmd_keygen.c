#include "model_dev/cmd.h"
#include "transport/role_keygen.h"

int cmd_keygen(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    const char *dir;
    return cli_need(cmd, "out", &dir, err) == 0 ? role_keygen(dir, cli_on(cmd, "json"), err) : -1;
}
