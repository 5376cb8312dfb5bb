#include "bench/baselines/smpc/job.h"
#include "bench/cmd.h"

/* One party of a run of `stip-bench compare`, which starts it. */
int cmd_party(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    const char *dir;
    int64_t index = -1;
    (void)argc;
    (void)argv;
    if (cli_need(cmd, "job", &dir, err) != 0 || cli_int(cmd, "index", 0, PARTY_MAX - 1, &index, err) != 0)
        return -1;
    int rc = job_party(dir, (int)index, cli_str(cmd, "connect", ""), err);
    /* The party has said why, in its last line. */
    return rc == 0 ? 0 : err_set(err, err->code, "%s", "");
}
