#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "user/chat_template.h"
#include "user/cmd.h"
#include "user/line.h"
#include "user/report.h"
#include "user/talk.h"
#include "user/verifier.h"

#define PEEK_TOKENS 24

static void print_piece(const char *text, size_t len)
{
    (void)fwrite(text, 1, len, stdout);
    (void)fflush(stdout);
}

static bool not_interrupted(void)
{
    return !line_interrupted();
}

/* ------------------------------------------------------------------ what a person reads */

static void print_help(void)
{
    (void)fprintf(stderr, "  /reset         forget what was said\n"
                          "  /system TEXT   another system message, and a new talk; without TEXT none\n"
                          "  /save FILE     the talk as {\"messages\": [...]}\n"
                          "  /peek          the last tokens, and the numbers that the server received for them\n"
                          "  /help          this\n"
                          "  /quit          or Ctrl-D\n"
                          "A text of several lines: a backslash at the end of each but the last, or \"\"\" before and after.\n"
                          "Ctrl-C stops an answer. Arrow keys and Ctrl-R find earlier lines; they are not kept on disk.\n");
}

/* What this answer cost. */
static void print_figures(const struct generated *r, const struct channel_stats *before, const struct channel_stats *after)
{
    (void)fprintf(stderr, "  [%d tokens, %.1f tok/s, %llu bytes up, %llu down, %llu round trips%s]\n", r->count,
                  r->decode_us == 0 ? 0 : r->count * 1e6 / (double)r->decode_us, (unsigned long long)(after->bytes_up - before->bytes_up),
                  (unsigned long long)(after->bytes_down - before->bytes_down),
                  (unsigned long long)(after->round_trips - before->round_trips),
                  strcmp(r->finish_reason, "cancelled") == 0 ? ", stopped" : "");
}

/* ------------------------------------------------------------------ what a program reads */

static int print_json(const struct generated *r, const struct channel_stats *before, const struct channel_stats *after, struct err *err)
{
    struct json_doc *doc = json_new_object("answer");
    struct json *root = json_node(doc), *list = json_put_array(doc, root, "tokens");
    for (int i = 0; i < r->count; i++)
        json_put_int(doc, list, NULL, r->tokens[i]);
    json_put_text(doc, root, "text", r->text, r->text_len);
    json_put_str(doc, root, "finish_reason", r->finish_reason);
    struct json *wire = json_put_object(doc, root, "wire");
    json_put_int(doc, wire, "bytes_up", (int64_t)(after->bytes_up - before->bytes_up));
    json_put_int(doc, wire, "bytes_down", (int64_t)(after->bytes_down - before->bytes_down));
    json_put_int(doc, wire, "round_trips", (int64_t)(after->round_trips - before->round_trips));
    return report_print(doc, err);
}

/* ------------------------------------------------------------------ lines */

static int one_turn(struct talk *t, const char *line, size_t n, struct err *err)
{
    struct generated r = {0};
    const struct channel_stats before = talk_stats(t);
    if (talk_turn(t, line, n, &r, err) != 0) {
        generate_free(&r);
        return -1;
    }
    const struct channel_stats after = talk_stats(t);
    int rc = 0;
    if (t->piece == NULL)
        rc = print_json(&r, &before, &after, err);
    else
        putchar('\n');
    (void)fflush(stdout);
    if (t->piece != NULL && isatty(STDERR_FILENO) == 1)
        print_figures(&r, &before, &after);
    generate_free(&r);
    if (rc != 0)
        return -1;
    (void)verifier_turn(t->verifier, t->set->connection, t->set->speculate, t->max_tokens);
    return verifier_check(t->verifier, err);
}

/* The rest of a line that is this command, NULL if it is another one. */
static const char *is(const char *line, const char *command)
{
    const size_t n = strlen(command);
    if (strncmp(line, command, n) != 0 || (line[n] != '\0' && line[n] != ' '))
        return NULL;
    return line + n + strspn(line + n, " ");
}

/* Commands of a terminal. *known: the line was one. */
static int command(struct talk *t, const char *line, bool *known, struct err *err)
{
    const char *rest;
    *known = true;
    if ((rest = is(line, "/system")) != NULL)
        return talk_system(t, rest[0] == '\0' ? NULL : rest, err);
    if ((rest = is(line, "/save")) != NULL)
        return rest[0] == '\0' ? err_set(err, ERR_INPUT, "/save needs the name of a new file") : talk_save(t, rest, err);
    if (is(line, "/peek") != NULL)
        return talk_peek(t, stderr, PEEK_TOKENS, err);
    if (is(line, "/help") != NULL)
        print_help();
    else if (line[0] == '/' && line[1] >= 'a' && line[1] <= 'z' && line[1 + strspn(line + 1, "abcdefghijklmnopqrstuvwxyz")] == '\0')
        return err_set(err, ERR_INPUT, "%.20s is not a command; /help lists them. A blank before it makes it a text", line);
    else
        *known = false;
    return 0;
}

static int take_line(struct talk *t, const struct line *l, const char *line, size_t n, struct err *err)
{
    bool known = false;
    if (n == 0)
        return 0;
    if (strcmp(line, "/reset") == 0)
        return talk_reset(t, err);
    if (line_terminal(l) && command(t, line, &known, err) != 0)
        return -1;
    return known ? 0 : one_turn(t, line, n, err);
}

static int lines(struct talk *t, struct line *l, struct err *err)
{
    if (line_terminal(l))
        (void)fprintf(stderr, "A private talk with %s. /help lists the commands, Ctrl-D ends it.\n", t->set->grant->config->architecture);
    for (;;) {
        const char *line;
        size_t n;
        enum line_got got;
        struct err local = {0};
        int rc = line_read(l, &got, &line, &n, &local);
        if (rc == 0 && got == LINE_DROPPED)
            continue;
        if (rc == 0 && (got == LINE_END || strcmp(line, "/quit") == 0))
            return 0;
        (void)line_interrupted();
        if (rc == 0)
            rc = take_line(t, l, line, n, &local);
        if (rc != 0 && local.code != ERR_INPUT) {
            *err = local;
            return -1;
        }
        if (rc != 0) /* the line was at fault: the talk goes on as if it had not been said */
            (void)fprintf(stderr, "%s\n", local.text);
    }
}

/* The model's template, or the format of --turn or of the config; says which of the two where it matters. */
static int choose_form(struct talk *t, struct chat_template **template, const struct cli_cmd *cmd, struct err *err)
{
    const char *format = NULL, *flag = cli_str(cmd, "turn", NULL);
    if (json_opt_str(t->set->config.doc, json_root(t->set->config.doc), "chat_turn", &format, err) != 0)
        return -1;
    if (flag == NULL && chat_template_load(template, t->set->grant_dir, err) != 0)
        return -1;
    t->template = *template;
    t->format = flag != NULL ? flag : format != NULL ? format : "%s";
    if (t->template != NULL)
        return 0;
    (void)fprintf(stderr, flag != NULL ? "chat: turns are made as --turn says, not by a chat template\n"
                          : format != NULL
                              ? "chat: this model has no chat template; turns are made as chat_turn of the config says\n"
                              : "chat: this model has no chat template and the config no chat_turn; lines go in as they are\n");
    if (cli_str(cmd, "system", NULL) != NULL)
        return err_set(err, ERR_USAGE, "--system needs a model with a chat template");
    return strstr(t->format, "%s") != NULL
               ? 0
               : err_set(err, ERR_USAGE, "chat_turn (--turn): expected a text with %%s, which stands for the line, found '%.60s'",
                         t->format);
}

int cmd_chat(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct setup set = {0};
    struct talk t = {.set = &set, .piece = cli_on(cmd, "json") ? NULL : print_piece};
    struct chat_template *template = NULL;
    struct line *l = NULL;
    int64_t max_tokens = 256;
    int rc = -1;
    (void)argc;
    (void)argv;
    if (cli_int(cmd, "max-tokens", 1, 1 << 24, &max_tokens, err) != 0 || cmd_sampling(cmd, &t.sample, err) != 0 ||
        setup_read(&set, cmd, err) != 0 || setup_computer(&set, cmd, err) != 0 || choose_form(&t, &template, cmd, err) != 0)
        goto done;
    t.max_tokens = (int)max_tokens;
    if (set.grant->config->head != HEAD_LM) {
        err_set(err, ERR_USAGE, "%s does not generate text", set.grant->config->architecture);
        goto done;
    }
    if (verifier_open(&t.verifier, &set, err) != 0)
        goto done;
    if ((!set.grant->engine && setup_speculation(&set, cmd, err) != 0) || peek_open(&t.peek, set.grant, err) != 0 ||
        talk_system(&t, cli_str(cmd, "system", NULL), err) != 0 || line_open(&l, err) != 0)
        goto done;
    if (line_terminal(l))
        t.go_on = not_interrupted;
    rc = lines(&t, l, err);
done:
    talk_close(&t);
    verifier_close(t.verifier);
    line_close(l);
    chat_template_free(template);
    setup_close(&set);
    return rc;
}
