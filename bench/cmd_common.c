#include "bench/cmd.h"

int cmd_reads_text(const struct cli_cmd *cmd, const struct config *c, struct err *err)
{
    return config_reads_images(c) ? err_set(err, ERR_USAGE, "%s needs a model of texts, and a %s reads images; equality --image FILE takes it",
                                            cmd->name, c->architecture)
                                  : 0;
}
