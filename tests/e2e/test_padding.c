/* pad_to: bytes on the line say the bucket only, and the answer is the one without. Mutations: rows behind the prompt stay in the
 * session; the output of the last row in place of the prompt's last; the room of a session not rounded. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/tempdir.h"
#include "tests/support/trio.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"
#define DEMO_CLASSIFIER STIP_SOURCE_DIR "/examples/demo-classifier"
#define SHORT_PROMPT "Once upon a time"
#define LONG_PROMPT "Once upon a time there was a small dog that lived in a house by the sea and liked to dig in the sand all day"

static void write_user(const struct trio *t, const char *pad)
{
    char text[2048];
    int n = snprintf(text, sizeof text,
                     "{\"role\":\"user\",\"identity\":\"user.id\",\"grant\":\"user.grant\",\"threads\":1,%s"
                     "\"peers\":{\"server\":{\"endpoint\":\"%s\",\"key\":\"@server.id/identity.pub\"}}}\n",
                     pad, t->users_at);
    tempdir_spill(trio_path(t, "user.json"), text, (size_t)n);
}

struct told {
    char *text;
    double up, trips;
};

static struct told generate(const struct trio *t, const char *prompt, const char *tokens)
{
    struct shell s;
    struct told told;
    trio_user(t, &s, SHELL_ARGV("generate", "--prompt", prompt, "--max-tokens", tokens, "--speculate", "4", "--json"));
    struct json_doc *doc = shell_json(&s);
    const struct json *wire = json_get(json_root(doc), "wire");
    told.text = strdup(json_string(json_get(json_root(doc), "text")));
    told.up = json_number(json_get(wire, "bytes_up"));
    told.trips = json_number(json_get(wire, "round_trips"));
    json_free(doc);
    shell_free(&s);
    return told;
}

static void same_answer(const struct trio *t, const char *pad, const char *prompt, const char *want)
{
    write_user(t, pad);
    struct told got = generate(t, prompt, "40");
    cr_expect_str_eq(got.text, want, "%s", pad);
    free(got.text);
}

Test(padding, answers_are_the_same_and_lengths_are_not_seen)
{
    struct trio t;
    trio_open(&t, DEMO_LM, "server");
    write_user(&t, "");
    struct told small = generate(&t, SHORT_PROMPT, "40"), large = generate(&t, LONG_PROMPT, "40");
    same_answer(&t, "\"pad_to\":[64],", SHORT_PROMPT, small.text);
    same_answer(&t, "\"pad_to\":[16,100],", LONG_PROMPT, large.text);
    same_answer(&t, "\"pad_to\":[7],", LONG_PROMPT, large.text); /* multiples of the largest */
    free(small.text);
    free(large.text);

    write_user(&t, "");
    small = generate(&t, SHORT_PROMPT, "1");
    large = generate(&t, LONG_PROMPT, "1");
    cr_expect_gt(large.up, small.up, "%g and %g bytes", large.up, small.up);
    free(small.text);
    free(large.text);
    write_user(&t, "\"pad_to\":[64],");
    small = generate(&t, SHORT_PROMPT, "1");
    large = generate(&t, LONG_PROMPT, "1");
    cr_expect(large.up >= small.up && large.up <= small.up && large.up > 64 * 192 * 4, "%g and %g bytes", large.up, small.up);
    cr_expect(large.trips >= small.trips && large.trips <= small.trips);
    free(small.text);
    free(large.text);
    trio_close(&t);
}

static void refused(const struct trio *t, const char *pad, const char *why)
{
    struct shell s;
    write_user(t, pad);
    trio_user(t, &s, SHELL_ARGV("generate", "--prompt", "Once", "--max-tokens", "1"));
    cr_expect(s.status == 2 && strstr(s.err, why) != NULL, "%s: %d: %s", pad, s.status, s.err);
    shell_free(&s);
}

Test(padding, what_is_no_list_of_lengths_or_no_causal_model_is_refused)
{
    struct trio t;
    struct shell s;
    trio_open(&t, DEMO_CLASSIFIER, "server");
    refused(&t, "\"pad_to\":64,", "expected a list of lengths");
    refused(&t, "\"pad_to\":[],", "expected a list of lengths");
    refused(&t, "\"pad_to\":[64,32],", "growing lengths");
    refused(&t, "\"pad_to\":[\"64\"],", "growing lengths");
    write_user(&t, "\"pad_to\":[64],");
    trio_user(&t, &s, SHELL_ARGV("classify", "--text", "good"));
    cr_expect(s.status == 2 && strstr(s.err, "reads all rows") != NULL, "%d: %s", s.status, s.err);
    shell_free(&s);
    trio_close(&t);
}
