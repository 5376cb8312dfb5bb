#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
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

/* One line in, one answer out. All tokens of the talk stay in the session's cache. */
static int turn(struct setup *set, struct session *s, struct token_ids *talk, const char *text, size_t len, bool first,
                int max_tokens, const struct sample_opts *sample, struct err *err)
{
    struct generated r = {0};
    struct generate_opts opts = {.max_tokens = max_tokens, .sample = *sample, .logprobs = -1, .speculate = set->speculate,
                                 .piece = print_piece};
    if (generate_prompt(set->grant, text, len, first, talk, err) != 0)
        return -1;
    /* The last token of an answer was never sent: it goes up with the next prompt. */
    int pending = (int)talk->n - session_length(s);
    int room = (int)set->connection->server.max_tokens - (int)talk->n;
    if (room < 1)
        return err_set(err, ERR_INPUT, "the talk has filled the context of %u tokens; /reset starts a new one",
                       set->connection->server.max_tokens);
    if (opts.max_tokens > room)
        opts.max_tokens = room;
    int rc = generate(&r, s, set->grant, talk->ids, (int)talk->n, pending, &opts, err);
    for (int i = 0; rc == 0 && i < r.count; i++)
        rc = token_ids_push(talk, r.tokens[i], 0, err);
    if (rc == 0 && r.stop_token >= 0) /* the model's own end of its turn */
        rc = token_ids_push(talk, r.stop_token, 0, err);
    if (rc == 0) {
        putchar('\n');
        if (isatty(STDERR_FILENO) == 1)
            (void)fprintf(stderr, "  [%d tokens, %.1f tok/s, %llu bytes up and %llu down so far]\n", r.count,
                          r.decode_us == 0 ? 0 : r.count * 1e6 / (double)r.decode_us,
                          (unsigned long long)connection_stats(set->connection).bytes_up,
                          (unsigned long long)connection_stats(set->connection).bytes_down);
    }
    generate_free(&r);
    return rc;
}

static int talk(struct setup *set, const char *format, int max_tokens, const struct sample_opts *sample, struct err *err)
{
    struct token_ids ids = {0};
    struct session *s = NULL;
    char *line = NULL;
    size_t cap = 0;
    const bool tty = isatty(STDIN_FILENO) == 1;
    int rc = 0;
    if (tty)
        (void)fprintf(stderr, "A private talk with %s. /reset forgets it, /quit or Ctrl-D ends it.\n", set->grant->config->architecture);
    for (;;) {
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
            session_close(s);
            s = NULL;
            token_ids_free(&ids);
            ids = (struct token_ids){0};
            continue;
        }
        if (n == 0)
            continue;
        char *text = NULL;
        size_t len;
        struct err local = {0};
        rc = (size_t)n > LINE_MAX_BYTES ? err_set(&local, ERR_INPUT, "a line has at most %zu bytes", LINE_MAX_BYTES)
                                        : make_turn(format, line, (size_t)n, &text, &len, &local);
        if (rc == 0 && s == NULL)
            rc = session_open(&s, set->connection, (int)set->connection->server.max_tokens, 1 + speculate_most(set->speculate), &local);
        size_t before = ids.n;
        if (rc == 0)
            rc = turn(set, s, &ids, text, len, ids.n == 0, max_tokens, sample, &local);
        free(text);
        if (rc != 0 && local.code != ERR_INPUT) {
            *err = local;
            break;
        }
        if (rc != 0) {
            /* The line was at fault: the talk goes on as if it had not been said. */
            ids.n = before;
            (void)fprintf(stderr, "%s\n", local.text);
            rc = 0;
        }
    }
    session_close(s);
    token_ids_free(&ids);
    free(line);
    return rc;
}

int cmd_chat(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct setup set = {0};
    struct sample_opts sample;
    const char *format = "%s";
    int64_t max_tokens = 256;
    int rc = -1;
    (void)argc;
    (void)argv;
    if (cli_int(cmd, "max-tokens", 1, 1 << 24, &max_tokens, err) != 0 || cmd_sampling(cmd, &sample, err) != 0 ||
        setup_read(&set, cmd, err) != 0 || setup_connect(&set, cmd, err) != 0 ||
        json_opt_str(set.config.doc, json_root(set.config.doc), "chat_turn", &format, err) != 0)
        goto done;
    format = cli_str(cmd, "turn", format);
    if (strstr(format, "%s") == NULL)
        err_set(err, ERR_USAGE, "chat_turn (--turn): expected a text with %%s, which stands for the line, found '%.60s'", format);
    else if (set.grant->config->head != HEAD_LM)
        err_set(err, ERR_USAGE, "%s does not generate text", set.grant->config->architecture);
    else if (setup_speculation(&set, cmd, err) == 0)
        rc = talk(&set, format, (int)max_tokens, &sample, err);
done:
    setup_close(&set);
    return rc;
}
