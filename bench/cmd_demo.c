#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/le.h"
#include "bench/cmd.h"
#include "bench/stage.h"
#include "base/threads.h"
#include "model/hub.h"
#include "model_dev/protect.h"
#include "tests/support/plain.h"
#include "transport/trace.h"
#include "transport/wire.h"
#include "user/sample.h"
#include "user/tokenizer.h"

#define ANSWER_MAX (1 << 20)
#define SHOWN 6 /* numbers and ids to show */

static void print_list(const struct json *list, const char *title)
{
    size_t n = 0;
    printf("   %s", title);
    for (const struct json *j = json_first(list); j != NULL && n < 2 * SHOWN; j = json_next(j), n++)
        printf(" %.0f", json_number(j));
    printf("%s\n", json_count(list) > n ? " ..." : "");
}

/* The first rows that went over the wire, as the server got them. */
static int print_wire(const char *trace, struct err *err)
{
    struct trace_entries entries;
    if (trace_read(&entries, trace, err) != 0)
        return -1;
    for (size_t i = 0; i < entries.count; i++) {
        struct frame f;
        struct err bad;
        if (entries.entry[i].direction != '>' || wire_get(&f, entries.entry[i].data, entries.entry[i].len, &bad) != WIRE_OK ||
            f.h.type != WIRE_ROWS)
            continue;
        uint32_t D = f.h.last_dim, size = wire_dtype_bytes(f.h.dtype), rows = f.h.length / (size * D);
        printf("   %u rows of %u numbers, in an order that the server does not know; no text, no token ids:\n", rows, D);
        for (uint32_t r = 0; r < rows && r < 3; r++) {
            printf("     ");
            for (uint32_t c = 0; c < SHOWN && c < D; c++) {
                const uint8_t *at = f.payload + size * ((size_t)r * D + c);
                uint32_t bits = size == 2 ? (uint32_t)le_get16(at) << 16 : le_get32(at);
                float value;
                memcpy(&value, &bits, sizeof value);
                printf(" %9.5f", (double)value);
            }
            printf("  ...\n");
        }
        break;
    }
    trace_entries_free(&entries);
    return 0;
}

static struct json_doc *parse_answer(const char *text, struct err *err)
{
    struct json_doc *doc;
    return json_parse(&doc, text, strlen(text), false, "answer of stip-user", err) == 0 ? doc : NULL;
}

/* The same tokens by plain inference in this process; *far is the largest difference of a token's log-probability. */
static int plain_check(const char *model, enum compute compute, const struct json_doc *answer, int threads, bool *same, double *far,
                       double *tok_s, struct err *err)
{
    const struct json *root = json_root(answer), *tokens = json_get(root, "tokens"), *prompt = json_get(root, "prompt_tokens");
    const struct json *logprobs = json_get(root, "logprobs");
    size_t n = json_count(prompt), m = json_count(tokens), i = 0;
    struct plain plain = {0};
    int32_t *ids = malloc((n + m + 1) * sizeof *ids);
    float *logits = NULL;
    int rc = ids == NULL ? err_oom(err, (n + m) * sizeof *ids) : 0;
    if (rc == 0)
        rc = threads_start(threads, err);
    if (rc == 0)
        rc = plain_open(&plain, model, true, (int)(n + m), compute, err);
    if (rc == 0 && (logits = malloc((size_t)config_outputs(plain.config) * sizeof *logits)) == NULL)
        rc = err_oom(err, (size_t)config_outputs(plain.config) * sizeof *logits);
    for (const struct json *t = json_first(prompt); rc == 0 && t != NULL; t = json_next(t))
        ids[i++] = (int32_t)json_number(t);
    if (rc == 0)
        rc = plain_append(&plain, ids, NULL, (int)n, 1, logits, err);
    *same = true;
    *far = 0;
    uint64_t start = clock_us();
    const struct json *token = json_first(tokens), *logprob = json_first(logprobs);
    size_t k = 0;
    for (; rc == 0 && k < m && *same; k++, token = json_next(token), logprob = json_next(logprob)) {
        int32_t best = sample_argmax(logits, config_outputs(plain.config));
        double d = fabs(sample_logprob(logits, config_outputs(plain.config), best) - json_number(json_get(logprob, "logprob")));
        *same = *same && best == (int32_t)json_number(token);
        *far = d > *far || isnan(d) ? d : *far;
        if (k + 1 < m)
            rc = plain_append(&plain, &best, NULL, 1, 1, logits, err);
    }
    uint64_t us = clock_us() - start;
    *tok_s = k > 1 && us > 0 ? (double)(k - 1) * 1e6 / (double)us : 0;
    plain_close(&plain);
    free(logits);
    free(ids);
    return rc;
}

/* bf16 and int8 round what enters a product, and a number at the edge between two steps may fall to either side: the answer is
 * the same up to a step of that format, and a token may change where two were about as probable. */
static bool agrees(enum compute compute, bool same, double far)
{
    static const double most[] = {[COMPUTE_F32] = 1e-3, [COMPUTE_BF16] = 0.1, [COMPUTE_INT8] = 0.5};
    return (same || compute != COMPUTE_F32) && far < most[compute];
}

static int show_generate(struct stage *st, const char *model, enum compute compute, const char *prompt, const char *tokens, int threads,
                         struct err *err)
{
    char trace[FILE_PATH_MAX];
    char *out = malloc(ANSWER_MAX);
    struct json_doc *answer = NULL;
    int status = 0, rc = -1;
    bool same;
    double far, plain_tok_s;
    if (out == NULL)
        return err_oom(err, ANSWER_MAX);
    if (file_join(trace, stage_dir(st), "demo.trace", err) != 0)
        goto done;
    const char *words[] = {"generate", "--prompt", prompt, "--max-tokens", tokens, "--logprobs", "0", "--trace", trace, "--json"};
    if (stage_user(st, (int)(sizeof words / sizeof *words), (char *const *)(uintptr_t)words, out, ANSWER_MAX, &status, err) != 0)
        goto done;
    if (status != 0) {
        err_set(err, (enum err_code)status, "stip-user ended with status %d", status);
        goto done;
    }
    if ((answer = parse_answer(out, err)) == NULL)
        goto done;
    const struct json *root = json_root(answer), *wire = json_get(root, "wire"), *timings = json_get(root, "timings");
    printf("1. What the user typed (stays on the user's machine)\n   %s\n", prompt);
    print_list(json_get(root, "prompt_tokens"), "as token ids:");
    printf("\n2. What the server received\n");
    if (print_wire(trace, err) != 0 || plain_check(model, compute, answer, threads, &same, &far, &plain_tok_s, err) != 0)
        goto done;
    printf("\n3. The answer (un-permuted and sampled by the user)\n   %s%s\n", prompt, json_string(json_get(root, "text")));
    double private_tok_s = json_number(json_get(timings, "decode_tok_s"));
    printf("\n4. The check: plain inference of the same checkpoint in one process\n   the same %zu tokens: %s; "
           "largest difference of a log-probability: %.2g\n   private %.0f tokens/s over sockets, plain %.0f tokens/s in process; "
           "%.0f bytes up, %.0f down, %.0f round trips\n\n",
           json_count(json_get(root, "tokens")), same ? "yes" : "NO", far, private_tok_s, plain_tok_s,
           json_number(json_get(wire, "bytes_up")), json_number(json_get(wire, "bytes_down")),
           json_number(json_get(wire, "round_trips")));
    rc = agrees(compute, same, far) ? 0 : err_set(err, ERR_CHECK, "the private answer is not the plain answer");
done:
    json_free(answer);
    free(out);
    return rc;
}

/* Label and logits by plain inference in this process; *far is the largest difference of a logit. */
static int plain_label(const char *model, enum compute compute, const char *text, const struct json *logits, int *label, double *far,
                       struct err *err)
{
    struct tokenizer *t = NULL;
    struct token_ids ids = {0};
    struct plain plain = {0};
    float *out = NULL;
    int rc = -1;
    if (tokenizer_load(&t, model, err) != 0 || tokenizer_encode(t, text, strlen(text), NULL, 0, true, &ids, err) != 0 ||
        plain_open(&plain, model, true, (int)ids.n, compute, err) != 0)
        goto done;
    if ((out = malloc((size_t)plain.config->C * sizeof *out)) == NULL) {
        err_oom(err, (size_t)plain.config->C * sizeof *out);
        goto done;
    }
    if (plain_append(&plain, ids.ids, ids.type_ids, (int)ids.n, 1, out, err) != 0)
        goto done;
    const struct json *logit = json_first(logits);
    *far = 0;
    for (int i = 0; i < plain.config->C; i++, logit = logit == NULL ? NULL : json_next(logit)) {
        double d = fabs((double)out[i] - json_number(logit));
        *far = d > *far || isnan(d) ? d : *far;
    }
    *label = sample_argmax(out, plain.config->C);
    rc = 0;
done:
    free(out);
    plain_close(&plain);
    token_ids_free(&ids);
    tokenizer_free(t);
    return rc;
}

static int show_classify(struct stage *st, const char *model, enum compute compute, const char *prompt, struct err *err)
{
    char trace[FILE_PATH_MAX], out[4096];
    struct json_doc *answer = NULL;
    int status = 0, rc = -1;
    if (file_join(trace, stage_dir(st), "demo.trace", err) != 0)
        return -1;
    const char *words[] = {"classify", "--text", prompt, "--trace", trace, "--json"};
    if (stage_user(st, (int)(sizeof words / sizeof *words), (char *const *)(uintptr_t)words, out, sizeof out, &status, err) != 0)
        return -1;
    if (status != 0)
        return err_set(err, (enum err_code)status, "stip-user ended with status %d", status);
    if ((answer = parse_answer(out, err)) == NULL)
        return -1;
    const struct json *root = json_root(answer);
    int label = -1;
    double far = NAN;
    printf("1. What the user typed (stays on the user's machine)\n   %s\n\n2. What the server received\n", prompt);
    if (print_wire(trace, err) == 0 && plain_label(model, compute, prompt, json_get(root, "logits"), &label, &far, err) == 0) {
        bool same = label == (int)json_number(json_get(root, "id"));
        printf("\n3. The answer\n   %s\n\n4. The check: plain inference of the same checkpoint in one process\n   the same label: %s; "
               "largest difference of a logit: %.2g\n\n",
               json_string(json_get(root, "label")), same ? "yes" : "NO", far);
        rc = agrees(compute, same, far) ? 0 : err_set(err, ERR_CHECK, "the private answer is not the plain answer");
    }
    json_free(answer);
    return rc;
}

int cmd_demo(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct stage *st;
    struct config config;
    const char *prompt = cli_str(cmd, "prompt", "Once upon a time");
    char model[FILE_PATH_MAX];
    int64_t threads = 0;
    enum compute compute = COMPUTE_F32;
    (void)argc;
    (void)argv;
    if (hub_option(model, cmd, err) != 0 || cli_int(cmd, "threads", 1, 1024, &threads, err) != 0 ||
        config_read(&config, model, err) != 0)
        return -1;
    if (threads == 0)
        threads = sysconf(_SC_NPROCESSORS_ONLN);
    enum head_kind head = config.head;
    (void)protect_compute(cli_str(cmd, "dtype", NULL), &compute); /* a wrong name is refused by protect itself */
    if (cmd_reads_text(cmd, &config, err) != 0) {
        config_free(&config);
        return -1;
    }
    int rc = stage_open(&st, model, cmd, err);
    if (rc == 0) {
        printf("%s: %s, %d layers of width %d\n", model, config.architecture, config.L, config.D);
        printf("model_dev (pid %d) permuted it and pushed the package to server (pid %d); user has joined. Three processes,\n"
               "three identities, encrypted links on loopback.\n\n",
               (int)stage_pid(st, "model_dev"), (int)stage_pid(st, "server"));
        rc = head == HEAD_LM ? show_generate(st, model, compute, prompt, cli_str(cmd, "max-tokens", "100"), (int)threads, err)
             : head == HEAD_CLASSIFY ? show_classify(st, model, compute, prompt, err)
                                     : err_set(err, ERR_USAGE, "the demo shows language models and classifiers");
        stage_close(st, false);
    }
    config_free(&config);
    return rc;
}
