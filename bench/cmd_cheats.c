#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/threads.h"
#include "bench/cheats.h"
#include "bench/cmd.h"
#include "engine/kernels/table.h"
#include "model/hub.h"

#define Z 1.959964 /* 95 % */

struct tally {
    int noticed;
    double least, most, sum;
};

/* Wilson's interval of k of n. */
static void interval(int k, int n, double out[2])
{
    const double p = (double)k / n, z2 = Z * Z / n, mid = (p + z2 / 2) / (1 + z2);
    const double half = Z * sqrt(p * (1 - p) / n + z2 / (4 * n)) / (1 + z2);
    out[0] = k == 0 ? 0 : fmax(0, mid - half);
    out[1] = k == n ? 1 : fmin(1, mid + half);
}

static int print(const struct cheats *c, const struct tally *t, int n, double seconds, bool as_json, struct err *err)
{
    char *text = NULL;
    struct json_doc *doc = json_new_object("cheats");
    struct json *list = json_put_array(doc, json_node(doc), "servers");
    json_put_int(doc, json_node(doc), "trials", n);
    json_put_num(doc, json_node(doc), "tolerance", cheats_tolerance(c));
    json_put_num(doc, json_node(doc), "seconds", seconds);
    if (!as_json)
        printf("%-34s %10s %17s   %s\n", "server", "noticed", "95 % interval", "largest difference in a canary: least, mean, most");
    for (size_t i = 0; i < cheats_count(c); i++) {
        double ci[2];
        interval(t[i].noticed, n, ci);
        struct json *node = json_put_object(doc, list, NULL);
        json_put_str(doc, node, "server", cheats_name(c, i));
        json_put_int(doc, node, "noticed", t[i].noticed);
        json_put_num(doc, node, "rate", (double)t[i].noticed / n);
        json_put_num(doc, node, "low", ci[0]);
        json_put_num(doc, node, "high", ci[1]);
        json_put_num(doc, node, "least_diff", t[i].least);
        json_put_num(doc, node, "mean_diff", t[i].sum / n);
        json_put_num(doc, node, "most_diff", t[i].most);
        if (!as_json)
            printf("%-34s %5d/%-5d %7.4f - %6.4f   %.3g, %.3g, %.3g\n", cheats_name(c, i), t[i].noticed, n, ci[0], ci[1], t[i].least,
                   t[i].sum / n, t[i].most);
    }
    int rc = as_json ? json_print(doc, false, &text, err) : 0;
    json_free(doc);
    if (rc == 0 && as_json)
        printf("%s\n", text);
    else if (rc == 0)
        printf("honest up to %.3g; %d questions, each new, in %.1f s\n", cheats_tolerance(c), n, seconds);
    free(text);
    return rc;
}

int cmd_cheats(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct tally t[CHEATS_MAX] = {0};
    struct cheats_trial trial;
    struct cheats *c = NULL;
    struct progress bar;
    char model[FILE_PATH_MAX];
    int64_t trials = 1000, threads = 0;
    (void)argc;
    (void)argv;
    if (hub_option(model, cmd, err) != 0 || cli_int(cmd, "trials", 1, 1000000, &trials, err) != 0 ||
        cli_int(cmd, "threads", 0, 1024, &threads, err) != 0 || kernels_choose(NULL, err) != 0 ||
        threads_start(threads_fit((int)threads), err) != 0)
        return -1;
    int rc = cheats_open(&c, model, cmd, err);
    const uint64_t start = clock_us();
    progress_start(&bar, "trials", "trials", (uint64_t)trials);
    for (int64_t n = 0; rc == 0 && n < trials; n++) {
        rc = cheats_try(c, &trial, err);
        for (size_t i = 0; rc == 0 && i < cheats_count(c); i++) {
            t[i].noticed += trial.noticed[i] ? 1 : 0;
            t[i].sum += trial.diff[i];
            t[i].most = fmax(t[i].most, trial.diff[i]);
            t[i].least = n == 0 ? trial.diff[i] : fmin(t[i].least, trial.diff[i]);
        }
        progress_at(&bar, (uint64_t)n + 1);
    }
    progress_end(&bar);
    if (rc == 0)
        rc = print(c, t, (int)trials, (double)(clock_us() - start) / 1e6, cli_on(cmd, "json"), err);
    cheats_close(c);
    threads_stop();
    return rc;
}
