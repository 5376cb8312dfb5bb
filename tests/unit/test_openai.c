/* user/openai: what requests become, which fields are refused, and errors in the API's shape. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "user/openai.h"

#define SAY "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"

static struct openai_request good(enum openai_kind kind, const char *body)
{
    struct openai_request r;
    struct openai_error e = {0};
    cr_assert_eq(openai_parse(&r, kind, body, strlen(body), &e), 0, "%s: %s", body, e.message);
    return r;
}

static struct openai_error bad(enum openai_kind kind, const char *body)
{
    struct openai_request r = {.logprobs = 4711};
    struct openai_error e = {0};
    cr_assert_eq(openai_parse(&r, kind, body, strlen(body), &e), -1, "%s was taken", body);
    cr_expect_eq(r.logprobs, 4711, "the request is untouched");
    cr_expect(e.message[0] != '\0' && e.type != NULL && e.status == 400, "%s", body);
    return e;
}

/* Mutation: temperature 0 as default, max_tokens over max_completion_tokens, usage without being asked. */
Test(openai, a_bare_request_has_the_defaults_of_the_api)
{
    struct openai_request r = good(OPENAI_CHAT, "{" SAY "}");
    cr_expect_eq(r.sample.temperature, 1);
    cr_expect_eq(r.sample.top_p, 1);
    cr_expect_eq(r.sample.repeat_penalty, 1);
    cr_expect(r.max_tokens == 0 && r.logprobs == -1 && r.stop_count == 0 && r.sample.bias_count == 0 && r.model == NULL);
    cr_expect(!r.stream && !r.include_usage && !r.seeded && !r.trace);
    openai_request_free(&r);
    r = good(OPENAI_CHAT, "{" SAY ",\"max_tokens\":5,\"max_completion_tokens\":6,\"temperature\":null,\"seed\":-1,\"top_k\":-1,"
                          "\"stream\":true,\"stream_options\":{\"include_usage\":true},\"stop\":\"a\"}");
    cr_expect(r.max_tokens == 6 && r.seeded && r.sample.top_k == 0 && r.stream && r.include_usage && r.stop_count == 1);
    cr_expect_eq(r.sample.temperature, 1);
    openai_request_free(&r);
    r = good(OPENAI_COMPLETION, "{\"prompt\":\"x\",\"logprobs\":0}");
    cr_expect_eq(r.logprobs, 0);
    openai_request_free(&r);
}

Test(openai, prompts_come_in_four_forms)
{
    struct openai_request r = good(OPENAI_COMPLETION, "{\"prompt\":[\"a\",\"b\"]}");
    cr_expect(r.input_count == 2 && strcmp(r.inputs[1].text, "b") == 0);
    openai_request_free(&r);
    r = good(OPENAI_COMPLETION, "{\"prompt\":[7,8,9]}");
    cr_expect(r.input_count == 1 && r.inputs[0].text == NULL && r.inputs[0].n == 3 && r.inputs[0].ids[2] == 9);
    openai_request_free(&r);
    r = good(OPENAI_EMBEDDINGS, "{\"input\":[[7],[8,9]],\"encoding_format\":\"base64\"}");
    cr_expect(r.input_count == 2 && r.inputs[1].n == 2 && r.base64);
    openai_request_free(&r);
    r = good(OPENAI_COMPLETION, "{\"prompt\":\"\"}");
    cr_expect(r.input_count == 1 && strcmp(r.inputs[0].text, "") == 0);
    openai_request_free(&r);
    static const char *const wrong[] = {"{}",
                                        "{\"prompt\":null}",
                                        "{\"prompt\":3}",
                                        "{\"prompt\":[]}",
                                        "{\"prompt\":[[]]}",
                                        "{\"prompt\":[\"a\",1]}",
                                        "{\"prompt\":[1,\"a\"]}",
                                        "{\"prompt\":[1.5]}",
                                        "{\"prompt\":[-1]}",
                                        "{\"prompt\":[2147483648]}",
                                        "{\"prompt\":{\"a\":1}}",
                                        "{\"prompt\":[[1],\"a\",null]}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        cr_expect_str_eq(bad(OPENAI_COMPLETION, wrong[i]).param, "prompt", "%s", wrong[i]);
}

Test(openai, contents_of_parts_are_joined_and_other_parts_refused)
{
    struct openai_request r =
        good(OPENAI_CHAT, "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":["
                          "{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]},"
                          "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":null}]}");
    cr_expect(r.message_count == 3 && strcmp(r.messages[1].content, "ab") == 0 && strcmp(r.messages[2].role, "assistant") == 0);
    openai_request_free(&r);
    static const struct {
        const char *body, *param;
    } wrong[] = {
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}", "messages[0].content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[1]}]}", "messages[0].content"},
        {"{\"messages\":[{\"role\":\"user\"}]}", "messages[0].content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"x\",\"content\":\"a\"}]}", "messages[1].role"},
        {"{\"messages\":[{\"content\":\"a\"}]}", "messages[0].role"},
        {"{\"messages\":[7]}", "messages[0]"},
        {"{\"messages\":{}}", "messages"},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\",\"tool_calls\":[{\"id\":\"1\"}]}]}", "messages[0].tool_calls"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        cr_expect_str_eq(bad(OPENAI_CHAT, wrong[i].body).param, wrong[i].param, "%s", wrong[i].body);
}

/* Every field that would change the answer, and the neutral values that clients send unasked. */
Test(openai, fields_that_change_the_answer_are_refused_by_name)
{
    static const struct {
        const char *key, *refused, *neutral;
    } fields[] = {
        {"n", "2", "1"},
        {"best_of", "2", "1"},
        {"tools", "[{}]", "[]"},
        {"tool_choice", "\"required\"", "\"auto\""},
        {"function_call", "{\"name\":\"f\"}", "\"none\""},
        {"functions", "[{}]", "[]"},
        {"response_format", "{\"type\":\"json_schema\"}", "{\"type\":\"text\"}"},
        {"modalities", "[\"text\",\"audio\"]", "[\"text\"]"},
        {"audio", "{\"voice\":\"x\"}", "null"},
        {"prediction", "{\"type\":\"content\"}", "null"},
        {"web_search_options", "{\"a\":1}", "{}"},
        {"grammar", "\"root ::= x\"", "null"},
        {"chat_template", "\"x\"", "null"},
        {"continue_final_message", "true", "false"},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char body[256];
        (void)snprintf(body, sizeof body, "{" SAY ",\"%s\":%s}", fields[i].key, fields[i].refused);
        struct openai_error e = bad(OPENAI_CHAT, body);
        cr_expect_str_eq(e.param, fields[i].key);
        (void)snprintf(body, sizeof body, "{" SAY ",\"%s\":%s}", fields[i].key, fields[i].neutral);
        struct openai_request r = good(OPENAI_CHAT, body);
        openai_request_free(&r);
    }
}

/* Mutation: the extremes as they are (a lead of 100 is not "only"), a key cut at the first character that is no digit. */
Test(openai, bias_is_read_by_token_and_its_extremes_are_absolute)
{
    struct openai_request r = good(OPENAI_CHAT, "{" SAY ",\"logit_bias\":{\"5\":-100,\"6\":2.5,\"7\":100}}");
    cr_assert_eq(r.sample.bias_count, 3);
    cr_expect(r.sample.bias[0].id == 5 && r.sample.bias[0].add < -1000);
    cr_expect(r.sample.bias[1].id == 6 && r.sample.bias[1].add == 2.5f);
    cr_expect(r.sample.bias[2].id == 7 && r.sample.bias[2].add > 1000);
    openai_request_free(&r);
    static const char *const wrong[] = {"{\"5x\":1}",    "{\"\":1}",    "{\"-1\":1}", "{\"99999999999\":1}",
                                        "{\"5\":\"a\"}", "{\"5\":101}", "[]",         "{\"5\":null}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char body[128];
        (void)snprintf(body, sizeof body, "{" SAY ",\"logit_bias\":%s}", wrong[i]);
        cr_expect_str_eq(bad(OPENAI_CHAT, body).param, "logit_bias", "%s", wrong[i]);
    }
}

Test(openai, errors_have_the_shape_that_clients_read)
{
    struct openai_error e;
    struct err err = {0};
    cr_expect_eq(openai_fail(&e, 400, "c", "p", "say \"%d\"", 7), -1);
    char *text = openai_error_text(&e);
    cr_expect_str_eq(
        text, "{\"error\":{\"message\":\"say \\\"7\\\"\",\"type\":\"invalid_request_error\",\"param\":\"p\",\"code\":\"c\"}}");
    free(text);
    (void)err_set(&err, ERR_PEER, "gone");
    (void)openai_from_err(&e, &err);
    cr_expect(e.status == 503 && strcmp(e.type, "unavailable_error") == 0);
    text = openai_error_text(&e);
    cr_expect_not_null(strstr(text, "\"param\":null"));
    free(text);
    static const struct {
        enum err_code code;
        int status;
    } classes[] = {{ERR_INPUT, 400}, {ERR_USAGE, 400}, {ERR_AUTH, 502}, {ERR_INTERNAL, 500}};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        (void)err_set(&err, classes[i].code, "x");
        (void)openai_from_err(&e, &err);
        cr_expect_eq(e.status, classes[i].status);
    }
}

enum { B = 1, N = 2, S = 4, A = 8, O = 16 };

/* Each field of each endpoint with each type of JSON: what it does not take is refused with its name, null is as if it were not there
 * (but for what a request cannot be without). Mutation: a getter that takes any type, one that is asked for another name. */
Test(openai, each_field_takes_its_own_types_and_no_other)
{
    static const struct {
        int kinds; /* bits of enum openai_kind */
        const char *key;
        int takes; /* the samples below, of which some have the right type and a wrong value */
        bool needed;
    } fields[] = {
        {077, "model", S, false},
        {041, "messages", 0, true},
        {002, "prompt", S, true},
        {004, "input", S, true},
        {010, "content", S, true},
        {020, "tokens", 0, true},
        {003, "stream", B, false},
        {003, "stream_options", O, false},
        {003, "max_tokens", N, false},
        {003, "max_completion_tokens", N, false},
        {003, "temperature", N, false},
        {003, "top_p", N, false},
        {003, "top_k", N, false},
        {003, "min_p", N, false},
        {003, "repetition_penalty", N, false},
        {003, "frequency_penalty", N, false},
        {003, "presence_penalty", N, false},
        {003, "seed", N, false},
        {003, "stop", S, false},
        {003, "logit_bias", 0, false},
        {001, "logprobs", B, false},
        {002, "logprobs", N, false},
        {001, "top_logprobs", 0, false}, /* needs logprobs */
        {003, "n", N, false},
        {003, "best_of", N, false},
        {003, "tools", 0, false},
        {003, "tool_choice", 0, false},
        {003, "functions", 0, false},
        {003, "function_call", 0, false},
        {003, "response_format", 0, false},
        {003, "modalities", 0, false},
        {003, "audio", 0, false},
        {003, "prediction", 0, false},
        {003, "web_search_options", 0, false},
        {003, "grammar", 0, false},
        {003, "guided_json", 0, false},
        {003, "guided_regex", 0, false},
        {003, "chat_template", 0, false},
        {003, "continue_final_message", 0, false},
        {003, "chat_template_kwargs", O, false},
        {003, "stip", O, false},
        {003, "echo", 0, false},
        {003, "suffix", 0, false},
        {004, "encoding_format", 0, false},
        {004, "dimensions", N, false},
        {010, "add_special", B, false},
        {003, "user", B | N | S | A | O, false}, /* not ours: ignored */
    };
    static const char *const samples[] = {"true", "1", "\"x\"", "[true]", "{\"x\":true}"};
    static const char *const needs[] = {SAY, "\"prompt\":\"x\"", "\"input\":\"x\"", "\"content\":\"x\"", "\"tokens\":[1]", SAY};
    char body[256];
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        for (int kind = 0; kind < 6; kind++) {
            if ((fields[i].kinds >> kind & 1) == 0)
                continue;
            const char *rest = fields[i].needed ? "\"x\":1" : needs[kind];
            for (int t = 0; t < 5; t++) {
                (void)snprintf(body, sizeof body, "{%s,\"%s\":%s}", rest, fields[i].key, samples[t]);
                if ((fields[i].takes >> t & 1) != 0) {
                    struct openai_request r = good((enum openai_kind)kind, body);
                    openai_request_free(&r);
                } else {
                    const struct openai_error e = bad((enum openai_kind)kind, body);
                    cr_expect_eq(strncmp(e.param, fields[i].key, strlen(fields[i].key)), 0, "%s: '%s'", body, e.param);
                }
            }
            (void)snprintf(body, sizeof body, "{%s,\"%s\":null}", rest, fields[i].key);
            if (fields[i].needed)
                cr_expect_str_eq(bad((enum openai_kind)kind, body).param, fields[i].key);
            else {
                struct openai_request r = good((enum openai_kind)kind, body);
                openai_request_free(&r);
            }
        }
}
