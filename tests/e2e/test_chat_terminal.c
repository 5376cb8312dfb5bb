/* stip-user chat on a terminal: editing, several lines, commands, Ctrl-C; and stip-user peek against the trace of its connection.
 * Mutations: keep the backslash in the text; let Ctrl-C pass to the default action; print embedded numbers as the received ones;
 * peek at the rows of position 0 whatever the position is. Each fails one of these. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/tempdir.h"
#include "tests/support/terminal.h"
#include "tests/support/trio.h"
#include "transport/trace.h"
#include "transport/wire.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"
#define UP "\x1b[A"
#define CTRL_C "\x03"
#define CTRL_D "\x04"

static struct json_doc *saved(const char *path)
{
    struct json_doc *doc;
    struct err err;
    cr_assert_eq(json_load(&doc, path, JSON_CAP_CONFIG, false, &err), 0, "%s", err.text);
    return doc;
}

static void is_message(const struct json_doc *doc, int i, const char *role, const char *content)
{
    const struct json *m = json_first(json_get(json_root(doc), "messages"));
    for (; m != NULL && i > 0; i--)
        m = json_next(m);
    cr_assert_not_null(m);
    cr_expect_str_eq(json_string(json_get(m, "role")), role);
    if (content != NULL)
        cr_expect_str_eq(json_string(json_get(m, "content")), content);
}

Test(chat_terminal, lines_are_edited_joined_and_remembered_and_commands_work)
{
    static struct terminal term;
    struct trio t;
    struct stat st;
    char file[FILE_PATH_MAX], keys[FILE_PATH_MAX + 16];
    trio_open(&t, DEMO_LM, "user");
    (void)snprintf(file, sizeof file, "%s", trio_path(&t, "talk.json"));
    (void)snprintf(keys, sizeof keys, "/save %s\r", file);
    terminal_open(&term, SHELL_ARGV("stip-user", "chat", "--config", trio_path(&t, "user.json"), "--max-tokens", "12"));
    terminal_expect(&term, "/help lists the commands");
    terminal_type(&term, "/help\r");
    terminal_expect(&term, "/save FILE");
    terminal_type(&term, "Helloo\x7f there\r"); /* with a key that deletes */
    terminal_expect(&term, " tok/s, ");
    terminal_expect(&term, " bytes up, ");
    terminal_type(&term, "one\\\rtwo\r");
    terminal_expect(&term, " tok/s, ");
    terminal_type(&term, "\"\"\"three\r\rfour \xc3\xa4\"\"\"\r");
    terminal_expect(&term, " tok/s, ");
    terminal_type(&term, UP UP UP UP UP "\r"); /* four", an empty line is not kept, "three, two, one\, Hello there */
    terminal_expect(&term, " tok/s, ");
    terminal_type(&term, "/peek\r");
    terminal_expect(&term, "the row that the server got");
    terminal_expect(&term, "stand in the secret order");
    terminal_type(&term, "/rest\r");
    terminal_expect(&term, "/rest is not a command");
    terminal_type(&term, keys);
    terminal_type(&term, keys);
    terminal_expect(&term, "is there already");
    terminal_type(&term, "/reset\r/system be brief\r");
    (void)snprintf(keys, sizeof keys, "/save %s.2\r", file);
    terminal_type(&term, keys);
    terminal_type(&term, "/save\r");
    terminal_expect(&term, "/save needs the name");
    terminal_type(&term, "half a line" CTRL_C);
    terminal_expect(&term, "^C");
    cr_expect_eq(terminal_end(&term, CTRL_D), 0, "%s", term.seen + term.from);
    struct json_doc *doc = saved(file);
    is_message(doc, 0, "user", "Hello there");
    is_message(doc, 1, "assistant", NULL);
    is_message(doc, 2, "user", "one\ntwo");
    is_message(doc, 4, "user", "three\n\nfour \xc3\xa4");
    is_message(doc, 6, "user", "Hello there");
    json_free(doc);
    cr_expect_eq(stat(file, &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0600);
    (void)snprintf(keys, sizeof keys, "%s.2", file);
    doc = saved(keys);
    cr_expect_eq(json_count(json_get(json_root(doc), "messages")), 1);
    is_message(doc, 0, "system", "be brief");
    json_free(doc);
    trio_close(&t);
}

Test(chat_terminal, ctrl_c_stops_the_answer_and_not_the_program)
{
    static struct terminal term;
    struct trio t;
    char model[FILE_PATH_MAX], dir[FILE_PATH_MAX];
    tempdir_make(dir);
    trio_slow_model(model, dir, DEMO_LM "/tokenizer.json");
    trio_open(&t, model, "server");
    terminal_open(&term, SHELL_ARGV("stip-user", "chat", "--config", trio_path(&t, "user.json"), "--max-tokens", "4000", "--speculate", "off"));
    terminal_expect(&term, "> ");
    terminal_type(&term, "Once\r");
    terminal_expect(&term, "Once\r\n");
    terminal_grows(&term, 20); /* some tokens */
    terminal_type(&term, CTRL_C);
    terminal_expect(&term, "round trips, stopped]");
    terminal_expect(&term, "> ");
    terminal_type(&term, "/peek\r");
    terminal_expect(&term, "secret order");
    terminal_type(&term, "/quit\r");
    cr_expect_eq(terminal_end(&term, NULL), 0);
    trio_close(&t);
    tempdir_remove(dir);
}

/* ------------------------------------------------------------------ peek */

/* First numbers of each row that stands in the frames to the server. */
static size_t traced(const char *path, size_t D, double first[][4], size_t most)
{
    struct trace_entries e;
    struct err err;
    size_t rows = 0;
    cr_assert_eq(trace_read(&e, path, &err), 0, "%s", err.text);
    for (size_t i = 0; i < e.count; i++) {
        struct frame f;
        if (e.entry[i].direction != '>' || wire_get(&f, e.entry[i].data, e.entry[i].len, &err) != WIRE_OK || f.h.type != WIRE_ROWS)
            continue;
        for (size_t at = 0; at < f.h.length / (4 * D) && rows < most; at++, rows++)
            for (size_t k = 0; k < 4; k++) {
                float x;
                memcpy(&x, f.payload + 4 * (at * D + k), sizeof x);
                first[rows][k] = (double)x;
            }
    }
    trace_entries_free(&e);
    return rows;
}

static void peek_tells_the_truth(const char *model, const char *head, size_t D)
{
    static double sent[600][4];
    static char text[2400];
    struct trio t;
    struct shell s;
    size_t i = 0, moved = 0;
    char trace[FILE_PATH_MAX];
    trio_open(&t, model, head);
    (void)snprintf(trace, sizeof trace, "%s", trio_path(&t, "trace"));
    text[0] = '\0';
    while (strlen(text) < (D == 192 ? 1400 : 60))
        (void)strcat(text, "the cat sat there. ");
    trio_user(&t, &s, SHELL_ARGV("peek", "--text", text, "--trace", trace, "--json"));
    struct json_doc *doc = shell_json(&s);
    const size_t rows = traced(trace, D, sent, 600);
    for (const struct json *j = json_first(json_get(json_root(doc), "tokens")); j != NULL; j = json_next(j), i++) {
        const struct json *got = json_first(json_get(j, "received")), *own = json_first(json_get(j, "embedded"));
        cr_assert_lt(i, rows);
        for (int k = 0; k < 4; k++, got = json_next(got), own = json_next(own)) {
            cr_expect_float_eq(json_number(got), sent[i][k], 1e-7, "row %zu", i);
            moved += fabs(json_number(own) - sent[i][k]) > 1e-6;
        }
    }
    cr_expect_eq(i, rows);
    cr_expect_gt(moved, 2 * rows, "embedded rows are shown as received ones");
    json_free(doc);
    shell_free(&s);
    trio_user(&t, &s, SHELL_ARGV("peek", "--text", "the cat"));
    cr_expect_eq(s.status, 0, "%s", s.err);
    cr_expect_not_null(strstr(s.out, "the row that the server got"));
    shell_free(&s);
    trio_close(&t);
}

Test(chat_terminal, peek_shows_the_rows_that_are_in_the_trace)
{
    peek_tells_the_truth(DEMO_LM, "user", 192);
    peek_tells_the_truth(STIP_SOURCE_DIR "/examples/demo-classifier", "server", 96);
}
