#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/threads.h"
#include "engine/kernels/table.h"
#include "model/hub.h"
#include "model_dev/audit_report.h"
#include "model_dev/audited.h"
#include "model_dev/cmd.h"

/* "0,1,5.5", percent each; "none". */
static int parse_drifts(struct audit_options *o, const char *text, struct err *err)
{
    if (strcmp(text, "none") == 0)
        return 0;
    for (const char *at = text;; at++) {
        char *end;
        double v = strtod(at, &end);
        if (end == at || !(v >= 0) || v > 1000 || (*end != ',' && *end != '\0'))
            return err_set(err, ERR_USAGE, "--drift: expected percents such as 0,1,5 or none, found '%.40s'", text);
        if (o->drift_count == AUDIT_DRIFTS)
            return err_set(err, ERR_USAGE, "--drift: at most %d percents", AUDIT_DRIFTS);
        o->drifts[o->drift_count++] = v;
        at = end;
        if (*end == '\0')
            return 0;
    }
}

static int print(const struct cli_cmd *cmd, const struct audit_report *r, struct err *err)
{
    struct json_doc *doc = NULL;
    if (!cli_on(cmd, "json")) {
        audit_print(stdout, r);
        return 0;
    }
    int rc = audit_json(&doc, r, err);
    if (rc == 0)
        rc = cmd_print(doc, err);
    json_free(doc);
    return rc;
}

int cmd_audit(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    char model[FILE_PATH_MAX], base[FILE_PATH_MAX], what[128];
    const char *given_base = cli_str(cmd, "base", NULL);
    struct audit_options o = {.ids = cli_str(cmd, "ids", NULL), .model = model, .only = cli_str(cmd, "only", NULL),
                              .skip_slow = cli_on(cmd, "skip-slow")};
    const char *plot = cli_str(cmd, "plot", NULL);
    int64_t sample = 512, places = 0, threads = 0;
    double limit = 100;
    (void)argc;
    (void)argv;
    if (cli_need(cmd, "protected", &o.protected, err) != 0 || hub_option(model, cmd, err) != 0 ||
        cli_int(cmd, "sample", 16, 1 << 20, &sample, err) != 0 || cli_int(cmd, "places", 1, 1 << 20, &places, err) != 0 ||
        cli_int(cmd, "threads", 1, 1024, &threads, err) != 0 || cli_num(cmd, "fail-above", 0, 100, &limit, err) != 0 ||
        parse_drifts(&o, cli_str(cmd, "drift", "0,1,5,10,20"), err) != 0)
        return -1;
    if (cli_on(cmd, "save") && o.only != NULL)
        return err_set(err, ERR_USAGE, "--save: a verdict on one attack alone would mislead users; leave --only out");
    if (given_base != NULL) {
        if (hub_find(base, given_base, err) != 0)
            return -1;
        o.base = base;
    }
    o.sample = (size_t)sample;
    o.places = (size_t)places;
    struct audit_report *r = calloc(1, sizeof *r);
    if (r == NULL)
        return err_oom(err, sizeof *r);
    int rc = kernels_choose(NULL, err);
    if (rc == 0)
        rc = threads_start(threads_fit((int)threads), err);
    if (rc == 0)
        rc = audit_run(&o, r, err);
    threads_stop();
    if (rc == 0)
        rc = print(cmd, r, err);
    if (rc == 0 && plot != NULL)
        rc = audit_chart(plot, r, err);
    if (rc == 0 && cli_on(cmd, "save"))
        rc = audited_save(o.protected, r, err);
    if (rc == 0 && cli_str(cmd, "fail-above", NULL) != NULL) {
        double worst = 100 * audit_worst(r, what);
        if (worst > limit)
            rc = err_set(err, ERR_CHECK, "%.1f %% recovered (%s); --fail-above allows %g %%", worst, what, limit);
    }
    free(r);
    return rc;
}
