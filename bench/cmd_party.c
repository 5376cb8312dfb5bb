#include "bench/baselines/he/primer_run.h"
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
    int rc = job_party(dir, (int)index, cli_str(cmd, "at", BARE_HERE), cli_str(cmd, "connect", ""), err);
    /* The party has said why, in its last line. */
    return rc == 0 ? 0 : err_set(err, err->code, "%s", "");
}

/* Client or server of a run of Primer, which `compare --he` and `he --system primer` start. */
int cmd_primer_party(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    const char *model;
    int64_t tokens = 0;
    (void)argc;
    (void)argv;
    if (cli_need(cmd, "model", &model, err) != 0 || cli_int(cmd, "tokens", 1, 512, &tokens, err) != 0)
        return -1;
    int rc = primer_process(model, cli_str(cmd, "rows", ""), (int)tokens, cli_str(cmd, "at", BARE_HERE), cli_str(cmd, "connect", NULL), err);
    return rc == 0 ? 0 : err_set(err, err->code, "%s", "");
}
