#include "user/talk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "user/chat_template.h"

#define TURN_MAX_BYTES ((size_t)1 << 20)

struct said {
    const char *role; /* static */
    char *text;
};

/* ------------------------------------------------------------------ what has been said */

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

int talk_reset(struct talk *t, struct err *err)
{
    session_close(t->session);
    t->session = NULL;
    token_ids_free(&t->ids);
    t->ids = (struct token_ids){0};
    unsay(t, 0);
    peek_cut(t->peek, 0);
    return t->system == NULL ? 0 : say(t, "system", t->system, strlen(t->system), err);
}

/* ------------------------------------------------------------------ the prompt of a turn */

/* {"messages": [{"role", "content"}]} */
static struct json_doc *messages(const struct talk *t)
{
    struct json_doc *doc = json_new_object("messages");
    struct json *list = json_put_array(doc, json_node(doc), "messages");
    for (size_t i = 0; i < t->said_n; i++) {
        struct json *message = json_put_object(doc, list, NULL);
        json_put_str(doc, message, "role", t->said[i].role);
        json_put_str(doc, message, "content", t->said[i].text);
    }
    return doc;
}

/* All messages through the template: the tokens of the whole talk. */
static int prompt_by_template(const struct talk *t, struct token_ids *out, struct err *err)
{
    struct json_doc *doc = messages(t);
    struct buf text;
    char *check = NULL;
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

/* The line in the place of the first %s of the turn. */
static int make_turn(const char *format, const char *line, size_t len, char **out, size_t *out_len, struct err *err)
{
    const char *mark = strstr(format, "%s");
    struct buf b;
    buf_init(&b, TURN_MAX_BYTES + strlen(format));
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

static bool still_wanted(void *arg)
{
    const struct talk *t = arg;
    return t->go_on == NULL || t->go_on();
}

static bool on_token(void *arg, const struct generated *so_far)
{
    struct talk *t = arg;
    struct err err;
    (void)so_far;
    if (t->session != NULL && peek_take(t->peek, t->session, &err) != 0) /* memory: the answer is worth more than the picture */
        peek_cut(t->peek, 0);
    return still_wanted(t);
}

static void on_piece(void *arg, const char *text, size_t len)
{
    const struct talk *t = arg;
    if (t->piece != NULL)
        t->piece(text, len);
}

static bool by_engine(const struct talk *t)
{
    return t->set->grant->engine;
}

static int context_of(const struct talk *t)
{
    return by_engine(t) ? t->set->grant->config->positions : (int)t->set->connection->server.max_tokens;
}

/* From t->ids on, which end with the prompt. */
static int generate_on(struct talk *t, struct generated *r, const struct generate_opts *opts, struct err *err)
{
    struct backend_wire w = {0};
    if (!by_engine(t)) /* the last token of an answer was never sent: it goes up with the next prompt */
        return generate(r, t->session, t->set->grant, t->ids.ids, (int)t->ids.n, (int)t->ids.n - session_length(t->session), opts, err);
    int rc = backend_generate(r, t->set->grant, &t->set->backend, t->ids.ids, (int)t->ids.n, opts, &w, err);
    t->by_engine.bytes_up += w.bytes_up;
    t->by_engine.bytes_down += w.bytes_down;
    t->by_engine.round_trips += w.round_trips;
    return rc;
}

/* Takes over *prompt, also on an error; then the talk is as before. */
static int answer(struct talk *t, struct token_ids *prompt, struct generated *r, struct err *err)
{
    struct generate_opts opts = {.max_tokens = t->max_tokens, .sample = t->sample, .logprobs = -1, .speculate = t->set->speculate,
                                 .piece = on_piece, .token = on_token, .wanted = still_wanted, .arg = t};
    struct token_ids before = t->ids;
    const int room = context_of(t) - (int)prompt->n;
    int rc = room < 1 ? err_set(err, ERR_INPUT, "the talk has filled the context of %d tokens; /reset starts a new one", context_of(t))
             : by_engine(t) ? 0
                            : fit_session(t, prompt, err);
    if (rc != 0) {
        token_ids_free(prompt);
        return rc;
    }
    if (opts.max_tokens > room)
        opts.max_tokens = room;
    t->ids = *prompt;
    rc = generate_on(t, r, &opts, err);
    for (int i = 0; rc == 0 && i < r->count; i++)
        rc = token_ids_push(&t->ids, r->tokens[i], 0, err);
    if (rc == 0 && r->stop_token >= 0) /* the model's own end of its turn */
        rc = token_ids_push(&t->ids, r->stop_token, 0, err);
    if (rc == 0)
        rc = say(t, "assistant", r->text, r->text_len, err);
    if (rc != 0) { /* what the session holds by now is not certain */
        session_close(t->session);
        t->session = NULL;
        token_ids_free(&t->ids);
        t->ids = before;
    } else {
        if (!by_engine(t))
            peek_cut(t->peek, session_length(t->session));
        token_ids_free(&before);
    }
    return rc;
}

int talk_turn(struct talk *t, const char *line, size_t n, struct generated *r, struct err *err)
{
    struct token_ids prompt = {0};
    const size_t said = t->said_n;
    if (n > TURN_MAX_BYTES)
        return err_set(err, ERR_INPUT, "a line has at most %zu bytes", TURN_MAX_BYTES);
    if (!utf8_valid(line, n, NULL) || memchr(line, '\0', n) != NULL)
        return err_set(err, ERR_INPUT, "the line is not valid UTF-8, or has a NUL byte");
    if (say(t, "user", line, n, err) != 0)
        return -1;
    int rc = t->template != NULL ? prompt_by_template(t, &prompt, err) : prompt_by_format(t, line, n, &prompt, err);
    if (rc != 0)
        token_ids_free(&prompt);
    else
        rc = answer(t, &prompt, r, err);
    if (rc != 0)
        unsay(t, said);
    return rc;
}

/* ------------------------------------------------------------------ around it */

int talk_system(struct talk *t, const char *text, struct err *err)
{
    if (text != NULL && t->template == NULL)
        return err_set(err, ERR_INPUT, "a system message needs a model with a chat template");
    if (text != NULL && !utf8_valid(text, strlen(text), NULL))
        return err_set(err, ERR_INPUT, "the text is not valid UTF-8");
    char *copy = text == NULL ? NULL : strdup(text);
    if (text != NULL && copy == NULL)
        return err_oom(err, strlen(text));
    free(t->system);
    t->system = copy;
    return talk_reset(t, err);
}

int talk_save(const struct talk *t, const char *path, struct err *err)
{
    char *text = NULL;
    if (file_exists(path))
        return err_set(err, ERR_INPUT, "%s is there already; take another name", path);
    struct json_doc *doc = messages(t);
    int rc = json_print(doc, true, &text, err);
    json_free(doc);
    if (rc == 0)
        rc = file_write(path, text, strlen(text), 0600, err);
    free(text);
    return rc;
}

struct channel_stats talk_stats(const struct talk *t)
{
    return by_engine(t) ? t->by_engine : connection_stats(t->set->connection);
}

int talk_peek(struct talk *t, FILE *to, int tokens, struct err *err)
{
    if (by_engine(t))
        return err_set(err, ERR_INPUT, "an engine gets no rows of numbers: it gets each token's number in the secret order");
    const int n = (int)t->ids.n, from = n > tokens ? n - tokens : 0;
    return peek_print(t->peek, to, t->ids.ids, from, n, err);
}

void talk_close(struct talk *t)
{
    session_close(t->session);
    token_ids_free(&t->ids);
    unsay(t, 0);
    free(t->said);
    free(t->system);
    peek_close(t->peek);
    *t = (struct talk){0};
}
