#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "model/hub.h"
#include "user/chat_template.h"
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
        json_put_text(doc, json_node(doc), "text", text, len);
        rc = report_print(doc, err);
    } else {
        rc = fwrite(text, 1, len, stdout) == len && putchar('\n') != EOF ? 0 : err_set(err, ERR_INTERNAL, "cannot write to stdout");
    }
done:
    free(text);
    token_ids_free(&ids);
    return rc;
}

/* ------------------------------------------------------------------ messages */

/* The file, or the text as one message; always as an object with "messages". */
static int read_messages(struct json_doc **out, const struct cli_cmd *cmd, struct err *err)
{
    const char *path = cli_str(cmd, "chat", NULL);
    struct json_doc *file = NULL, *doc;
    char *text = NULL;
    size_t len;
    if (path != NULL) {
        if (cli_str(cmd, "text", NULL) != NULL || cli_str(cmd, "file", NULL) != NULL)
            return err_set(err, ERR_USAGE, "--chat brings the text: leave out --text and --file");
        if (json_load(&file, path, TOKENIZER_TEXT_MAX, false, err) != 0)
            return -1;
        if (json_type(json_root(file)) == JSON_OBJECT) {
            *out = file;
            return 0;
        }
        doc = json_new_object(path);
        json_put_copy(doc, json_node(doc), "messages", json_root(file));
        json_free(file);
    } else {
        if (cmd_text(cmd, "text", &text, &len, err) != 0)
            return -1;
        doc = json_new_object("the text");
        struct json *message = json_put_object(doc, json_put_array(doc, json_node(doc), "messages"), NULL);
        json_put_str(doc, message, "role", "user");
        json_put_str(doc, message, "content", text);
        const bool nul = strlen(text) != len;
        free(text);
        if (nul) {
            json_free(doc);
            return err_set(err, ERR_INPUT, "a message cannot hold NUL bytes");
        }
    }
    *out = doc;
    return doc == NULL ? err_oom(err, sizeof(void *)) : 0;
}

static int apply_template(const char *dir, const struct cli_cmd *cmd, char **text, size_t *len, struct err *err)
{
    struct chat_template *t = NULL;
    struct json_doc *doc = NULL, *extra = NULL;
    struct buf b;
    bool prompt = true;
    int rc = -1;
    buf_init(&b, TOKENIZER_TEXT_MAX);
    if (read_messages(&doc, cmd, err) != 0 || chat_template_load(&t, dir, err) != 0)
        goto done;
    if (t == NULL) {
        err_set(err, ERR_INPUT, "%s: this model has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json)",
                dir);
        goto done;
    }
    if (json_opt_bool(doc, json_root(doc), "add_generation_prompt", &prompt, err) != 0 || json_dup(&extra, doc, err) != 0)
        goto done;
    json_remove(extra, json_node(extra), "messages");
    json_remove(extra, json_node(extra), "add_generation_prompt");
    if (chat_template_render(t, json_get(json_root(doc), "messages"), prompt, json_root(extra), &b, err) != 0)
        goto done;
    *text = buf_take(&b, len);
    rc = *text == NULL ? err_oom(err, 1) : 0;
done:
    buf_free(&b);
    json_free(doc);
    json_free(extra);
    chat_template_free(t);
    return rc;
}

static int to_ids(const struct tokenizer *t, const char *dir, const struct cli_cmd *cmd, struct err *err)
{
    struct token_ids ids = {0};
    const bool chat = cli_str(cmd, "chat", NULL) != NULL || cli_on(cmd, "apply-template");
    char *text = NULL;
    size_t len;
    if ((chat ? apply_template(dir, cmd, &text, &len, err) : cmd_text(cmd, "text", &text, &len, err)) != 0)
        return -1;
    /* A template has written the special tokens itself. */
    int rc = tokenizer_encode(t, text, len, NULL, 0, !chat && !cli_on(cmd, "no-special"), &ids, err);
    if (rc == 0 && cli_on(cmd, "json")) {
        struct json_doc *doc = json_new_object("result");
        struct json *list = json_put_array(doc, json_node(doc), "ids");
        for (size_t i = 0; i < ids.n; i++)
            json_put_int(doc, list, NULL, ids.ids[i]);
        if (chat)
            json_put_text(doc, json_node(doc), "text", text, len);
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
    const char *list = cli_str(cmd, "ids", NULL);
    char dir[FILE_PATH_MAX];
    struct tokenizer *t;
    (void)argc;
    (void)argv;
    if (hub_option(dir, cmd, err) != 0 || tokenizer_load(&t, dir, err) != 0)
        return -1;
    int rc = list != NULL ? to_text(t, list, cli_on(cmd, "json"), err) : to_ids(t, dir, cmd, err);
    tokenizer_free(t);
    return rc;
}
