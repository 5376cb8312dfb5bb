#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "user/cmd.h"
#include "user/report.h"
#include "user/tokenizer.h"

/* "1 2 3", "1,2,3" or "[1, 2, 3]". */
static int parse_ids(const char *text, struct token_ids *out, struct err *err)
{
    while (*(text += strspn(text, " ,[]\t\n")) != '\0') {
        char *end;
        errno = 0;
        long v = strtol(text, &end, 10);
        if (end == text || errno != 0 || v < 0 || v > INT32_MAX)
            return err_set(err, ERR_USAGE, "--ids: expected token ids such as \"1 2 3\", found '%.20s'", text);
        if (token_ids_push(out, (int32_t)v, 0, err) != 0)
            return -1;
        text = end;
    }
    return 0;
}

static int to_text(const struct tokenizer *t, const char *list, bool as_json, struct err *err)
{
    struct token_ids ids = {0};
    char *text = NULL;
    size_t len;
    int rc = -1;
    if (parse_ids(list, &ids, err) != 0 || tokenizer_decode(t, ids.ids, ids.n, false, &text, &len, err) != 0)
        goto done;
    if (as_json) {
        struct json_doc *doc = json_new_object("result");
        json_put_str(doc, json_node(doc), "text", text);
        rc = report_print(doc, err);
    } else {
        rc = fwrite(text, 1, len, stdout) == len && putchar('\n') != EOF ? 0 : err_set(err, ERR_INTERNAL, "cannot write to stdout");
    }
done:
    free(text);
    token_ids_free(&ids);
    return rc;
}

static int to_ids(const struct tokenizer *t, const struct cli_cmd *cmd, struct err *err)
{
    struct token_ids ids = {0};
    char *text = NULL;
    size_t len;
    if (cmd_text(cmd, "text", &text, &len, err) != 0)
        return -1;
    int rc = tokenizer_encode(t, text, len, NULL, 0, !cli_on(cmd, "no-special"), &ids, err);
    if (rc == 0 && cli_on(cmd, "json")) {
        struct json_doc *doc = json_new_object("result");
        struct json *list = json_put_array(doc, json_node(doc), "ids");
        for (size_t i = 0; i < ids.n; i++)
            json_put_int(doc, list, NULL, ids.ids[i]);
        rc = report_print(doc, err);
    } else if (rc == 0) {
        for (size_t i = 0; i < ids.n; i++)
            printf("%s%d", i == 0 ? "" : " ", (int)ids.ids[i]);
        putchar('\n');
    }
    token_ids_free(&ids);
    free(text);
    return rc;
}

int cmd_tokenize(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    const char *dir, *list = cli_str(cmd, "ids", NULL);
    struct tokenizer *t;
    (void)argc;
    (void)argv;
    if (cli_need(cmd, "model", &dir, err) != 0 || tokenizer_load(&t, dir, err) != 0)
        return -1;
    int rc = list != NULL ? to_text(t, list, cli_on(cmd, "json"), err) : to_ids(t, cmd, err);
    tokenizer_free(t);
    return rc;
}
