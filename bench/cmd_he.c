#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "bench/baselines/he/prices.h"
#include "bench/cmd.h"

#define REPEATS 7

static const enum ckks_op shown[] = {CKKS_ENCODE, CKKS_ENCRYPT, CKKS_MUL_PLAIN, CKKS_MUL, CKKS_RELIN, CKKS_RESCALE, CKKS_ROTATE};
#define SHOWN (sizeof shown / sizeof *shown)

static void put(struct json_doc *doc, const struct prices_set *set, const struct prices *p)
{
    const int top = set->params.count;
    struct json *row = json_put_object(doc, json_node(doc), set->name), *ms = json_put_object(doc, row, "ms"),
                *seal = json_put_object(doc, row, "seal_ms");
    json_put_int(doc, row, "levels", top - 1);
    json_put_int(doc, row, "ciphertext_bytes", (int64_t)2 * top * (8 << set->params.log_n));
    json_put_num(doc, row, "keys_ms", p->keys_us / 1e3);
    json_put_num(doc, row, "rotation_key_ms", p->rotation_key_us / 1e3);
    json_put_num(doc, row, "max_error", p->max_error);
    for (int op = 0; op < CKKS_OPS; op++) {
        if (p->us[op][top] > 0)
            json_put_num(doc, ms, ckks_op_name((enum ckks_op)op), p->us[op][top] / 1e3);
        if (set->seal_ms[op] > 0)
            json_put_num(doc, seal, ckks_op_name((enum ckks_op)op), set->seal_ms[op]);
    }
}

static void show(const struct prices_set *set, const struct prices *p)
{
    const int top = set->params.count;
    printf("%-10s", set->name);
    for (size_t i = 0; i < SHOWN; i++)
        printf("  %9.3f", p->us[shown[i]][top] / 1e3);
    printf("  %.1e\n%-10s", p->max_error, "  / SEAL");
    for (size_t i = 0; i < SHOWN; i++)
        printf("  %9.2f", p->us[shown[i]][top] / 1e3 / set->seal_ms[shown[i]]);
    printf("\n");
}

static int run(const char *which, struct json_doc *doc, struct err *err)
{
    int found = 0;
    for (size_t i = 0; prices_set(i) != NULL; i++) {
        const struct prices_set *set = prices_set(i);
        struct prices p;
        if (strncmp(set->name, which, strlen(which)) != 0)
            continue;
        found++;
        if (prices_measure(&p, &set->params, set->params.count, set->params.count, REPEATS, err) != 0)
            return -1;
        if (doc != NULL)
            put(doc, set, &p);
        else
            show(set, &p);
    }
    return found != 0 ? 0 : err_set(err, ERR_USAGE, "--params %s: expected 8192-200, 8192-218, 16384-436, 32768-840 or the start of one", which);
}

int cmd_he(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    const char *which = cli_str(cmd, "params", "");
    struct json_doc *doc = cli_on(cmd, "json") ? json_new_object("he") : NULL;
    char *text = NULL;
    (void)argc;
    (void)argv;
    if (cli_on(cmd, "json") && doc == NULL)
        return err_oom(err, 1024);
    if (doc == NULL) {
        printf("milliseconds on one thread, and as a part of SEAL's without AVX-512\n%-10s", "N-bits");
        for (size_t i = 0; i < SHOWN; i++)
            printf("  %9s", ckks_op_name(shown[i]));
        printf("  max error\n");
    }
    int rc = run(which, doc, err);
    if (rc == 0 && doc != NULL && (rc = json_print(doc, false, &text, err)) == 0)
        printf("%s\n", text);
    free(text);
    json_free(doc);
    return rc;
}
