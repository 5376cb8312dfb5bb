/* stip-user chat over three processes: turns are made by the model's own chat template, and the talk goes on in one session.
 * Mutation: leave the answer out of the messages, or keep the session whatever the template made of the past: the second answer
 * changes, or the number of sessions. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/tempdir.h"
#include "tests/support/trio.h"
#include "transport/trace.h"
#include "transport/wire.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"

/* stdin: the lines; what comes on stdout, a line per answer. */
static void chat(const struct trio *t, struct shell *s, const char *lines, const char *flags)
{
    char command[FILE_PATH_MAX * 3];
    (void)snprintf(command, sizeof command, "printf '%%s\\n' %s | '%s' chat --config '%s' --max-tokens 40 %s", lines,
                   shell_program("stip-user"), trio_path(t, "user.json"), flags);
    shell_run(s, SHELL_ARGV("/bin/sh", "-c", command));
    cr_expect_eq(s->status, 0, "%s", s->err);
}

/* Sessions that were opened while the trace was written. */
static int sessions(const char *trace)
{
    struct trace_entries entries;
    struct err err;
    int n = 0;
    cr_assert_eq(trace_read(&entries, trace, &err), 0, "%s", err.text);
    for (size_t i = 0; i < entries.count; i++) {
        struct frame f;
        n += entries.entry[i].direction == '>' && wire_get(&f, entries.entry[i].data, entries.entry[i].len, &err) == WIRE_OK &&
             f.h.type == WIRE_OPEN;
    }
    trace_entries_free(&entries);
    return n;
}

/* The greedy text after a prompt that is written out by hand. */
static char *generated(const struct trio *t, const char *prompt)
{
    struct shell s;
    trio_user(t, &s, SHELL_ARGV("generate", "--prompt", prompt, "--max-tokens", "40", "--json"));
    struct json_doc *doc = shell_json(&s);
    char *text = strdup(json_string(json_get(json_root(doc), "text")));
    json_free(doc);
    shell_free(&s);
    cr_assert_not_null(text);
    return text;
}

Test(chat, turns_are_made_by_the_model_s_template_and_remember_the_talk)
{
    struct trio t;
    struct shell s;
    char prompt[4096], expected[4096], trace[FILE_PATH_MAX + 32];
    trio_open(&t, DEMO_LM, "auto");
    /* demo-lm's template: <|user|> line <|end|> <|assistant|> answer <|end|>; the start token is not in it. */
    char *first = generated(&t, "<|user|>Who are you?<|end|><|assistant|>");
    (void)snprintf(prompt, sizeof prompt, "<|user|>Who are you?<|end|><|assistant|>%s<|end|><|user|>And who am I?<|end|><|assistant|>",
                   first);
    char *second = generated(&t, prompt), *alone = generated(&t, "<|user|>And who am I?<|end|><|assistant|>");
    (void)snprintf(expected, sizeof expected, "%s\n%s\n", first, second);
    (void)snprintf(trace, sizeof trace, "--trace '%s'", trio_path(&t, "trace"));
    chat(&t, &s, "'Who are you?' 'And who am I?'", trace);
    cr_expect_str_eq(s.out, expected);
    cr_expect_str_eq(s.err, "", "%s", s.err);
    cr_expect_eq(sessions(trio_path(&t, "trace")), 1, "what the server has is not sent again");
    shell_free(&s);
    (void)snprintf(expected, sizeof expected, "%s\n%s\n", first, alone);
    chat(&t, &s, "'Who are you?' /reset 'And who am I?'", "");
    cr_expect_str_eq(s.out, expected, "/reset forgets");
    shell_free(&s);
    chat(&t, &s, "'Who are you?'", "--json");
    struct json_doc *doc = shell_json(&s);
    cr_expect_str_eq(json_string(json_get(json_root(doc), "text")), first);
    cr_expect_gt(json_count(json_get(json_root(doc), "tokens")), 1);
    cr_expect_not_null(json_string(json_get(json_root(doc), "finish_reason")));
    cr_expect_gt(json_number(json_get(json_get(json_root(doc), "wire"), "round_trips")), 1);
    json_free(doc);
    shell_free(&s);
    free(first);
    free(second);
    free(alone);
    trio_close(&t);
}

/* demo-lm without its tokenizer_config.json, and with a template if there is one; a folder of the test's. */
static void copy_model(char model[FILE_PATH_MAX], const char *template)
{
    static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.json"};
    char from[FILE_PATH_MAX], *text;
    size_t len;
    struct err err;
    tempdir_make(model);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(from, sizeof from, DEMO_LM "/%s", names[i]);
        cr_assert_eq(file_read(from, (size_t)64 << 20, &text, &len, &err), 0, "%s", err.text);
        tempdir_spill(tempdir_path(model, names[i]), text, len);
        free(text);
    }
    if (template != NULL)
        tempdir_spill(tempdir_path(model, "chat_template.jinja"), template, strlen(template));
}

Test(chat, a_template_that_rewrites_the_past_gets_a_new_session)
{
    struct trio t;
    struct shell s;
    char model[FILE_PATH_MAX], prompt[4096], expected[4096], trace[FILE_PATH_MAX + 32];
    /* Longer than the first turn with its answer, so that only the tokens tell that the session does not fit. */
    static const char line[] = "And who am I? Tell me who I am, and where I am, and what I am, and why I am here, and how I came here, "
                               "and when I came here, and who came with me, and who I was before, and who I shall be afterwards.";
    copy_model(model, "{{ '<|user|>' + messages[-1].content + '<|end|><|assistant|>' }}");
    trio_open(&t, model, "auto");
    char *first = generated(&t, "<|user|>Who are you?<|end|><|assistant|>");
    (void)snprintf(prompt, sizeof prompt, "<|user|>%s<|end|><|assistant|>", line);
    char *alone = generated(&t, prompt);
    (void)snprintf(expected, sizeof expected, "%s\n%s\n", first, alone);
    (void)snprintf(prompt, sizeof prompt, "'Who are you?' '%s'", line);
    (void)snprintf(trace, sizeof trace, "--trace '%s'", trio_path(&t, "trace"));
    chat(&t, &s, prompt, trace);
    cr_expect_str_eq(s.out, expected);
    cr_expect_eq(sessions(trio_path(&t, "trace")), 2);
    shell_free(&s);
    free(first);
    free(alone);
    trio_close(&t);
    tempdir_remove(model);
}

Test(chat, a_line_that_the_template_refuses_is_as_if_not_said)
{
    struct trio t;
    struct shell s;
    char model[FILE_PATH_MAX], expected[4096];
    copy_model(model, "{% if 'bad' in messages[-1].content %}{{ raise_exception('no bad words') }}{% endif %}"
                      "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>");
    trio_open(&t, model, "auto");
    char *first = generated(&t, "<|user|>Who are you?<|end|><|assistant|>");
    (void)snprintf(expected, sizeof expected, "%s\n", first);
    chat(&t, &s, "'a bad line' 'Who are you?'", "");
    cr_expect_str_eq(s.out, expected);
    cr_expect(strstr(s.err, "chat_template.jinja: line 1: the template refuses these messages: no bad words") != NULL, "%s", s.err);
    shell_free(&s);
    free(first);
    trio_close(&t);
    tempdir_remove(model);
}

Test(chat, without_a_template_it_says_so_and_takes_chat_turn)
{
    struct trio t;
    struct shell s;
    char model[FILE_PATH_MAX];
    copy_model(model, NULL);
    trio_open(&t, model, "auto");
    char *answer = generated(&t, "<|user|>Hello<|end|><|assistant|>");
    chat(&t, &s, "Hello", "--turn '<|user|>%s<|end|><|assistant|>'");
    cr_expect(strncmp(s.out, answer, strlen(answer)) == 0, "expected %s, found %s", answer, s.out);
    cr_expect(strstr(s.err, "turns are made as --turn says") != NULL, "%s", s.err);
    shell_free(&s);
    chat(&t, &s, "Hello", "");
    cr_expect(strstr(s.err, "this model has no chat template and the config no chat_turn; lines go in as they are") != NULL, "%s", s.err);
    shell_free(&s);
    trio_user(&t, &s, SHELL_ARGV("chat", "--system", "be brief"));
    cr_expect_eq(s.status, 2);
    cr_expect(strstr(s.err, "--system needs a model with a chat template") != NULL, "%s", s.err);
    shell_free(&s);
    free(answer);
    trio_close(&t);
    tempdir_remove(model);
}
