#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "base/utf8.h"
#include "user/cmd.h"
#include "user/pixels.h"
#include "user/report.h"
#include "user/setup.h"

/* One text, one session: a bidirectional model sees it whole. */
static int classify(const struct setup *set, const char *text, size_t len, float *logits, struct err *err)
{
    struct token_ids ids = {0};
    struct session *s = NULL;
    int rc = -1;
    if (tokenizer_encode(set->grant->tokenizer, text, len, NULL, 0, true, &ids, err) != 0)
        return -1;
    if (ids.n == 0)
        err_set(err, ERR_INPUT, "the text has no tokens");
    else if (ids.n > set->connection->server.max_tokens)
        err_set(err, ERR_INPUT, "the text has %zu tokens, the context holds %u; shorten it", ids.n,
                set->connection->server.max_tokens);
    else if (session_open(&s, set->connection, (int)ids.n, 1, err) == 0)
        rc = session_forward(s, ids.ids, ids.type_ids, (int)ids.n, 0, 1, logits, err);
    session_close(s);
    token_ids_free(&ids);
    return rc;
}

static int classify_image(const struct setup *set, const char *path, float *logits, struct err *err)
{
    const struct config *c = set->grant->config;
    struct image im = {0};
    struct session *s = NULL;
    float *x = malloc(pixels_count(c) * sizeof *x);
    int rc = x == NULL ? err_oom(err, pixels_count(c) * sizeof *x) : image_read(&im, path, err);
    if (rc == 0 && (rc = pixels_prepare(x, &im, &set->grant->preprocess, c, err)) != 0)
        err_wrap(err, "%s", path);
    image_free(&im);
    if (rc == 0)
        rc = session_open(&s, set->connection, c->positions, 1, err);
    if (rc == 0)
        rc = session_image(s, x, logits, err);
    session_close(s);
    free(x);
    return rc;
}

/* text: what was classified, or the image's file. */
static void print_result(const struct setup *set, const float *logits, const char *text, size_t len, bool as_json, struct err *err,
                         int *rc)
{
    const struct config *c = set->grant->config;
    int best = sample_argmax(logits, c->C);
    char number[16];
    (void)snprintf(number, sizeof number, "LABEL_%d", best);
    const char *label = c->labels != NULL ? c->labels[best] : number;
    if (!as_json) {
        printf("%s  %.4f  %.*s\n", label, exp(sample_logprob(logits, c->C, best)), (int)(len > 1000 ? 1000 : len), text);
        return;
    }
    struct json_doc *doc = json_new_object("result");
    if (config_reads_images(c) && utf8_valid(text, len, NULL)) /* a file's name may be any bytes */
        json_put_str(doc, json_node(doc), "image", text);
    json_put_str(doc, json_node(doc), "label", label);
    json_put_int(doc, json_node(doc), "id", best);
    struct json *list = json_put_array(doc, json_node(doc), "logits");
    for (int i = 0; i < c->C; i++)
        json_put_num(doc, list, NULL, (double)logits[i]);
    list = json_put_array(doc, json_node(doc), "probs");
    for (int i = 0; i < c->C; i++)
        json_put_num(doc, list, NULL, exp(sample_logprob(logits, c->C, i)));
    report_wire(doc, json_node(doc), set->connection);
    *rc = report_print(doc, err);
}

struct texts {
    const struct setup *set;
    float *logits; /* [C] */
    bool as_json;
};

static int one_text(void *arg, const char *text, size_t len, struct err *err)
{
    const struct texts *t = arg;
    int rc = classify(t->set, text, len, t->logits, err);
    if (rc == 0)
        print_result(t->set, t->logits, text, len, t->as_json, err, &rc);
    return rc;
}

/* --text is one text; of --file every line that is not empty is one. */
static int each(const struct setup *set, const char *text, size_t len, bool lines, bool as_json, struct err *err)
{
    struct texts t = {set, malloc((size_t)set->grant->config->C * sizeof *t.logits), as_json};
    if (t.logits == NULL)
        return err_oom(err, (size_t)set->grant->config->C * sizeof *t.logits);
    int rc = lines ? cmd_lines("classify", text, len, one_text, &t, err) : one_text(&t, text, len, err);
    free(t.logits);
    return rc;
}

/* --image and what follows the flags. One that cannot be read ends it, after the results of those before. */
static int each_image(const struct setup *set, const char *first, int count, char **more, bool as_json, struct err *err)
{
    float *logits = malloc((size_t)set->grant->config->C * sizeof *logits);
    struct progress bar;
    int rc = logits == NULL ? err_oom(err, (size_t)set->grant->config->C * sizeof *logits) : 0;
    progress_start(&bar, "classify", "images", (uint64_t)count + 1);
    for (int i = 0; rc == 0 && i <= count; i++) {
        const char *path = i == 0 ? first : more[i - 1];
        if ((rc = classify_image(set, path, logits, err)) == 0)
            print_result(set, logits, path, strlen(path), as_json, err, &rc);
        progress_at(&bar, (uint64_t)i + 1);
    }
    progress_end(&bar);
    free(logits);
    return rc;
}

static int check_flags(const struct cli_cmd *cmd, int argc, struct err *err)
{
    const bool image = cli_on(cmd, "image");
    if (argc > 0 && !image)
        return err_set(err, ERR_USAGE, "classify takes more files behind --image FILE only; texts: --text TEXT or --file FILE");
    if (image && (cli_on(cmd, "text") || cli_on(cmd, "file")))
        return err_set(err, ERR_USAGE, "classify takes --image or a text, not both");
    return 0;
}

static int check_model(const struct config *c, bool image, struct err *err)
{
    if (c->head != HEAD_CLASSIFY)
        return err_set(err, ERR_USAGE, "%s is not a classifier", c->architecture);
    if (image && !config_reads_images(c))
        return err_set(err, ERR_USAGE, "a %s reads texts, not images: --text TEXT or --file FILE", c->architecture);
    return 0;
}

int cmd_classify(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct setup set = {0};
    const char *image = cli_str(cmd, "image", NULL);
    const bool as_json = cli_on(cmd, "json");
    char *text = NULL;
    size_t len = 0;
    int rc = -1;
    if (check_flags(cmd, argc, err) != 0 || (image == NULL && cmd_text(cmd, "text", &text, &len, err) != 0))
        return -1;
    if (image == NULL && len == 0)
        err_set(err, ERR_INPUT, "there is no text to classify");
    else if (setup_read(&set, cmd, err) == 0) {
        set.images = image != NULL;
        rc = setup_open(&set, cmd, err);
    }
    if (rc == 0)
        rc = check_model(set.grant->config, image != NULL, err);
    if (rc == 0)
        rc = setup_connected(&set, cmd, err);
    if (rc == 0)
        rc = image != NULL ? each_image(&set, image, argc, argv, as_json, err) : each(&set, text, len, cli_on(cmd, "file"), as_json, err);
    setup_close(&set);
    free(text);
    return rc;
}
