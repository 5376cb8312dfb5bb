#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "user/chat_template.h"
#include "user/cmd.h"
#include "user/report.h"
#include "user/setup.h"

#define LINE_MAX_BYTES ((size_t)1 << 20)

static void print_piece(void *arg, const char *text, size_t len)
{
    (void)arg;
    (void)fwrite(text, 1, len, stdout);
    (void)fflush(stdout);
}

/* The line in the place of the first %s of the turn. */
static int make_turn(const char *format, const char *line, size_t len, char **out, size_t *out_len, struct err *err)
{
    const char *mark = strstr(format, "%s");
    struct buf b;
    buf_init(&b, LINE_MAX_BYTES + strlen(format));
    buf_put(&b, format, mark == NULL ? strlen(format) : (size_t)(mark - format));
    buf_put(&b, line, len);
    if (mark != NULL)
        buf_put_str(&b, mark + 2);
    if (buf_check(&b, "turn", err) != 0) {
        buf_free(&b);
        return -1;
    }
    *out = buf_take(&b, out_len);
    return 0;
}

/* ------------------------------------------------------------------ what has been said */

struct said {
    const char *role; /* static */
    char *text;
};

struct talk {
    struct setup *set;
    const struct chat_template *template; /* NULL: turns are made with `format` */
    const char *format, *system;
    struct session *session;
    struct token_ids ids;  /* all tokens of the talk; the session holds the first session_length() of them */
    struct said *said;     /* with a template only: it is rendered anew for each turn */
    size_t said_n, said_cap;
};

static int say(struct talk *t, const char *role, const char *text, size_t len, struct err *err)
{
    if (t->said_n == t->said_cap) {
        size_t cap = t->said_cap == 0 ? 16 : 2 * t->said_cap;
        struct said *more = realloc(t->said, cap * sizeof *more);
        if (more == NULL)
            return err_oom(err, cap * sizeof *more);
        t->said = more;
        t->said_cap = cap;
    }
    char *copy = malloc(len + 1);
    if (copy == NULL)
        return err_oom(err, len + 1);
    memcpy(copy, text, len);
    copy[len] = '\0';
    t->said[t->said_n++] = (struct said){role, copy};
    return 0;
}

static void unsay(struct talk *t, size_t n)
{
    while (t->said_n > n)
        free(t->said[--t->said_n].text);
}

static int forget(struct talk *t, struct err *err)
{
    session_close(t->session);
    t->session = NULL;
    token_ids_free(&t->ids);
    t->ids = (struct token_ids){0};
    unsay(t, 0);
    return t->system == NULL ? 0 : say(t, "system", t->system, strlen(t->system), err);
}

/* ------------------------------------------------------------------ the prompt of a turn */

/* All messages through the template: the tokens of the whole talk. */
static int prompt_by_template(const struct talk *t, struct token_ids *out, struct err *err)
{
    struct json_doc *doc = json_new_object("messages");
    struct json *list = json_put_array(doc, json_node(doc), "messages");
    struct buf text;
    char *check = NULL;
    for (size_t i = 0; i < t->said_n; i++) {
        struct json *message = json_put_object(doc, list, NULL);
        json_put_str(doc, message, "role", t->said[i].role);
        json_put_str(doc, message, "content", t->said[i].text);
    }
    buf_init(&text, TOKENIZER_TEXT_MAX);
    int rc = json_print(doc, false, &check, err); /* says whether memory was enough */
    if (rc == 0)
        rc = chat_template_render(t->template, json_get(json_root(doc), "messages"), true, NULL, &text, err);
    if (rc == 0) /* the template has written the special tokens itself */
        rc = generate_prompt(t->set->grant, (const char *)text.data, text.len, false, out, err);
    free(check);
    buf_free(&text);
    json_free(doc);
    return rc;
}

/* The tokens up to now, then the line in its turn. */
static int prompt_by_format(const struct talk *t, const char *line, size_t n, struct token_ids *out, struct err *err)
{
    char *text = NULL;
    size_t len;
    if (token_ids_append(out, &t->ids, 0, err) != 0 || make_turn(t->format, line, n, &text, &len, err) != 0)
        return -1;
    int rc = generate_prompt(t->set->grant, text, len, t->ids.n == 0, out, err);
    free(text);
    return rc;
}

/* A session that holds nothing but a beginning of these tokens, and not all of them. A template may write what was said
 * differently afterwards (it drops a model's reasoning, for example): then all goes up again. */
static int fit_session(struct talk *t, const struct token_ids *prompt, struct err *err)
{
    if (t->session != NULL) {
        const size_t held = (size_t)session_length(t->session);
        if (held < prompt->n && held <= t->ids.n && memcmp(t->ids.ids, prompt->ids, held * sizeof *prompt->ids) == 0)
            return 0;
        session_close(t->session);
        t->session = NULL;
    }
    return session_open(&t->session, t->set->connection, (int)t->set->connection->server.max_tokens,
                        1 + speculate_most(t->set->speculate), err);
}

/* ------------------------------------------------------------------ one turn */

static void report(const struct talk *t, const struct generated *r)
{
    putchar('\n');
    if (isatty(STDERR_FILENO) == 1)
        (void)fprintf(stderr, "  [%d tokens, %.1f tok/s, %llu bytes up and %llu down so far]\n", r->count,
                      r->decode_us == 0 ? 0 : r->count * 1e6 / (double)r->decode_us,
                      (unsigned long long)connection_stats(t->set->connection).bytes_up,
                      (unsigned long long)connection_stats(t->set->connection).bytes_down);
}

/* Takes over *prompt, also on an error; then the talk is as before. */
static int answer(struct talk *t, struct token_ids *prompt, int max_tokens, const struct sample_opts *sample, struct err *err)
{
    struct generated r = {0};
    struct generate_opts opts = {.max_tokens = max_tokens, .sample = *sample, .logprobs = -1, .speculate = t->set->speculate,
                                 .piece = print_piece};
    struct token_ids before = t->ids;
    const int room = (int)t->set->connection->server.max_tokens - (int)prompt->n;
    int rc = room >= 1 ? fit_session(t, prompt, err)
                       : err_set(err, ERR_INPUT, "the talk has filled the context of %u tokens; /reset starts a new one",
                                 t->set->connection->server.max_tokens);
    if (rc != 0) {
        token_ids_free(prompt);
        return rc;
    }
    if (opts.max_tokens > room)
        opts.max_tokens = room;
    t->ids = *prompt;
    /* The last token of an answer was never sent: it goes up with the next prompt. */
    const int pending = (int)t->ids.n - session_length(t->session);
    rc = generate(&r, t->session, t->set->grant, t->ids.ids, (int)t->ids.n, pending, &opts, err);
    for (int i = 0; rc == 0 && i < r.count; i++)
        rc = token_ids_push(&t->ids, r.tokens[i], 0, err);
    if (rc == 0 && r.stop_token >= 0) /* the model's own end of its turn */
        rc = token_ids_push(&t->ids, r.stop_token, 0, err);
    if (rc == 0 && t->template != NULL)
        rc = say(t, "assistant", r.text, r.text_len, err);
    if (rc == 0)
        report(t, &r);
    if (rc != 0) { /* what the session holds by now is not certain */
        session_close(t->session);
        t->session = NULL;
        token_ids_free(&t->ids);
        t->ids = before;
    } else {
        token_ids_free(&before);
    }
    generate_free(&r);
    return rc;
}

/* One line in, one answer out. */
static int turn(struct talk *t, const char *line, size_t n, int max_tokens, const struct sample_opts *sample, struct err *err)
{
    struct token_ids prompt = {0};
    if (n > LINE_MAX_BYTES)
        return err_set(err, ERR_INPUT, "a line has at most %zu bytes", LINE_MAX_BYTES);
    if (!utf8_valid(line, n, NULL) || memchr(line, '\0', n) != NULL)
        return err_set(err, ERR_INPUT, "the line is not valid UTF-8, or has a NUL byte");
    if (t->template != NULL && say(t, "user", line, n, err) != 0)
        return -1;
    int rc = t->template != NULL ? prompt_by_template(t, &prompt, err) : prompt_by_format(t, line, n, &prompt, err);
    if (rc != 0) {
        token_ids_free(&prompt);
        return rc;
    }
    return answer(t, &prompt, max_tokens, sample, err);
}

static int talk(struct talk *t, int max_tokens, const struct sample_opts *sample, struct err *err)
{
    char *line = NULL;
    size_t cap = 0;
    const bool tty = isatty(STDIN_FILENO) == 1;
    int rc = forget(t, err);
    if (tty)
        (void)fprintf(stderr, "A private talk with %s. /reset forgets it, /quit or Ctrl-D ends it.\n",
                      t->set->grant->config->architecture);
    while (rc == 0) {
        if (tty) {
            (void)fprintf(stderr, "> ");
            (void)fflush(stderr);
        }
        ssize_t n = getline(&line, &cap, stdin);
        if (n < 0)
            break;
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            line[--n] = '\0';
        if (strcmp(line, "/quit") == 0)
            break;
        if (strcmp(line, "/reset") == 0) {
            rc = forget(t, err);
            continue;
        }
        if (n == 0)
            continue;
        const size_t said = t->said_n;
        struct err local = {0};
        rc = turn(t, line, (size_t)n, max_tokens, sample, &local);
        if (rc != 0 && local.code == ERR_INPUT) {
            /* The line was at fault: the talk goes on as if it had not been said. */
            unsay(t, said);
            (void)fprintf(stderr, "%s\n", local.text);
            rc = 0;
        } else if (rc != 0) {
            *err = local;
        }
    }
    t->system = NULL;
    (void)forget(t, err);
    free(t->said);
    free(line);
    return rc;
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
    t->system = cli_str(cmd, "system", NULL);
    t->format = flag != NULL ? flag : format != NULL ? format : "%s";
    if (t->template != NULL)
        return 0;
    (void)fprintf(stderr, flag != NULL ? "chat: turns are made as --turn says, not by a chat template\n"
                          : format != NULL
                              ? "chat: this model has no chat template; turns are made as chat_turn of the config says\n"
                              : "chat: this model has no chat template and the config no chat_turn; lines go in as they are\n");
    if (t->system != NULL)
        return err_set(err, ERR_USAGE, "--system needs a model with a chat template");
    return strstr(t->format, "%s") != NULL
               ? 0
               : err_set(err, ERR_USAGE, "chat_turn (--turn): expected a text with %%s, which stands for the line, found '%.60s'",
                         t->format);
}

int cmd_chat(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct setup set = {0};
    struct talk t = {.set = &set};
    struct chat_template *template = NULL;
    struct sample_opts sample;
    int64_t max_tokens = 256;
    int rc = -1;
    (void)argc;
    (void)argv;
    if (cli_int(cmd, "max-tokens", 1, 1 << 24, &max_tokens, err) != 0 || cmd_sampling(cmd, &sample, err) != 0 ||
        setup_read(&set, cmd, err) != 0 || setup_connect(&set, cmd, err) != 0 || choose_form(&t, &template, cmd, err) != 0)
        goto done;
    if (set.grant->config->head != HEAD_LM)
        err_set(err, ERR_USAGE, "%s does not generate text", set.grant->config->architecture);
    else if (setup_speculation(&set, cmd, err) == 0)
        rc = talk(&t, (int)max_tokens, &sample, err);
done:
    chat_template_free(template);
    setup_close(&set);
    return rc;
}
