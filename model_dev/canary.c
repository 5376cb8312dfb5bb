#include "model_dev/canary.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/file.h"
#include "base/json.h"
#include "base/progress.h"
#include "engine/embed.h"
#include "engine/forward.h"
#include "model/checkpoint.h"
#include "model_dev/rehearsal.h"

#define PROMPT_LEAST 8
#define PROMPT_MOST 64
#define ANSWER_LEAST 4
#define ANSWER_MOST 16
#define BERT_MASK 103 /* of BERT's vocabularies, behind its [CLS] 101 and [SEP] 102; RoBERTa says its own, and <mask> is last */
#define TRIES 64 /* prompts that are drawn for one canary */

struct canary_maker {
    struct checkpoint *cp;
    const struct config *config;
    struct rehearsal *rehearsal; /* where the plain model would answer otherwise; else NULL, and the next four answer */
    struct net *net;
    struct embed *embed;
    struct kvcache *kv;
    struct scratch *scratch;
    float *x, *logits; /* [cap, D], [outputs] */
    int cap, prompt_most;
    int32_t first, last, mask; /* tokens that a text begins and ends with, and that stands for another; -1: none */
    float tolerance;
    const atomic_bool *stop; /* NULL: nobody will */
};

/* What honest arithmetic differs by: sums of the same products in another order, and, where inputs of products are rounded, a rounding
 * that falls the other way. Measured by `stip-bench cheats`, with room above. */
static float tolerance_of(enum compute compute)
{
    return compute == COMPUTE_F32 ? 0.0005F : compute == COMPUTE_BF16 ? 0.1F : 0.05F;
}

/* ------------------------------------------------------------------ how this model's texts begin and end */

/* Whether the tokenizer puts them there is written in its own files; here it is enough to look alike. */
static int ends_of_text(struct canary_maker *m, const char *model, struct err *err)
{
    char path[FILE_PATH_MAX], *text = NULL;
    struct json_doc *doc = NULL;
    size_t len;
    m->first = m->last = m->mask = -1;
    if (!m->config->causal) {
        const struct config *c = m->config;
        const bool bert = c->bos < 0 && c->V > BERT_MASK, roberta = c->bos >= 0 && c->eos_count > 0;
        m->first = bert ? BERT_MASK - 2 : roberta ? c->bos : -1;
        m->last = bert ? BERT_MASK - 1 : roberta ? c->eos[0] : -1;
        m->mask = bert ? BERT_MASK : roberta ? c->V - 1 : -1;
        return 0;
    }
    if (m->config->bos < 0 || m->config->bos >= m->config->V)
        return 0;
    if (file_join(path, model, "tokenizer_config.json", err) != 0)
        return -1;
    if (file_exists(path) && json_load(&doc, path, (size_t)64 << 20, false, err) != 0)
        return -1;
    const struct json *says = doc == NULL ? NULL : json_get(json_root(doc), "add_bos_token");
    if (!json_is_null(says) && json_type(says) == JSON_BOOL) {
        m->first = json_true(says) ? m->config->bos : -1;
        json_free(doc);
        return 0;
    }
    json_free(doc);
    if (file_join(path, model, "tokenizer.json", err) != 0)
        return -1;
    if (!file_exists(path))
        return 0;
    if (file_read(path, (size_t)256 << 20, &text, &len, err) != 0)
        return -1;
    m->first = strstr(text, "TemplateProcessing") != NULL ? m->config->bos : -1;
    free(text);
    return 0;
}

/* ------------------------------------------------------------------ open, close */

static int check_memory(const struct canary_maker *m, const char *model, enum compute compute, struct err *err)
{
    const long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    const uint64_t machine = pages <= 0 || bytes <= 0 ? UINT64_MAX : (uint64_t)pages * (uint64_t)bytes;
    const uint64_t need = net_bytes(m->cp, true, compute);
    return need <= machine ? 0
                           : err_set(err, ERR_INTERNAL, "%s: canaries need the plain model in memory, %" PRIu64 " bytes of %" PRIu64
                                                        "; --canaries 0 makes a grant without them", model, need, machine);
}

static int open_plain(struct canary_maker *m, enum compute compute, struct err *err)
{
    return net_load(&m->net, m->cp, true, compute, err) != 0 || embed_load(&m->embed, m->cp, err) != 0 ||
                   kvcache_new_alone(&m->kv, m->config, KV_F32, m->cap, err) != 0
               ? -1
               : scratch_new(&m->scratch, m->net, m->cap, 1, err);
}

int canary_maker_open(struct canary_maker **out, const char *model, const struct release *from, struct err *err)
{
    const enum compute compute = from->manifest.compute;
    /* Rotated weights are rounded on another grid than the plain ones. */
    const bool rounded = strcmp(from->manifest.profile, "gauge") == 0 && compute != COMPUTE_F32;
    struct canary_maker *m = calloc(1, sizeof *m);
    if (m == NULL)
        return err_oom(err, sizeof *m);
    m->tolerance = tolerance_of(compute);
    if (checkpoint_open(&m->cp, model, CHECKPOINT_ALL, err) != 0 || check_memory(m, model, compute, err) != 0)
        goto fail;
    m->config = checkpoint_config(m->cp);
    m->prompt_most = m->config->positions / 2 < PROMPT_MOST ? m->config->positions / 2 : PROMPT_MOST;
    m->cap = m->prompt_most + ANSWER_MOST < m->config->positions ? m->prompt_most + ANSWER_MOST : m->config->positions;
    const size_t outputs = (size_t)config_outputs(m->config);
    if (config_reads_images(m->config)) {
        err_set(err, ERR_INPUT, "%s: canaries are texts, and %s reads images", model, m->config->architecture);
        goto fail;
    }
    if (m->config->head == HEAD_NONE || m->prompt_most < PROMPT_LEAST) {
        err_set(err, ERR_INPUT, "%s: this model gives no probabilities, or its context is too short for canaries; --canaries 0 makes a "
                                "grant without them", model);
        goto fail;
    }
    m->x = malloc((size_t)m->cap * (size_t)m->config->D * sizeof *m->x);
    m->logits = malloc(outputs * sizeof *m->logits);
    if (m->x == NULL || m->logits == NULL) {
        err_oom(err, outputs * sizeof *m->logits);
        goto fail;
    }
    if (ends_of_text(m, model, err) != 0 ||
        (rounded ? rehearsal_open(&m->rehearsal, from, m->cp, m->cap, err) : open_plain(m, compute, err)) != 0)
        goto fail;
    *out = m;
    return 0;
fail:
    canary_maker_close(m);
    return err_wrap(err, "canaries");
}

void canary_maker_close(struct canary_maker *m)
{
    if (m == NULL)
        return;
    rehearsal_free(m->rehearsal);
    scratch_free(m->scratch);
    kvcache_free(m->kv);
    embed_free(m->embed);
    net_free(m->net);
    checkpoint_close(m->cp);
    free(m->x);
    free(m->logits);
    free(m);
}

/* ------------------------------------------------------------------ rows and chances */

/* Appends n tokens; m->logits gets the row of token `at` of them. */
static int step(struct canary_maker *m, const int32_t *ids, int n, int at, struct err *err)
{
    if (m->rehearsal != NULL)
        return rehearsal_rows(m->rehearsal, ids, n, at, m->logits, err);
    if (embed_rows(m->embed, ids, NULL, n, m->kv->len, m->x, err) != 0)
        return -1;
    struct forward_seq seq = {.kv = m->kv, .x = m->x, .T = n, .out_from = at, .out_n = 1, .out = m->logits};
    forward(m->net, m->scratch, &seq, 1);
    return 0;
}

static void restart(struct canary_maker *m)
{
    if (m->rehearsal != NULL)
        rehearsal_restart(m->rehearsal);
    else
        kvcache_truncate(m->kv, 0);
}

static int below(uint32_t n, uint32_t *out, struct err *err)
{
    uint32_t r;
    do {
        if (crypto_random(&r, sizeof r, err) != 0)
            return -1;
    } while (r >= UINT32_MAX - UINT32_MAX % n);
    *out = r % n;
    return 0;
}

static bool special(const struct canary_maker *m, int32_t id)
{
    if (id == m->config->bos || id == m->config->pad)
        return true;
    for (int i = 0; i < m->config->eos_count; i++)
        if (m->config->eos[i] == id)
            return true;
    return false;
}

static double log_sum(const float *logits, int n)
{
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        most = fmax(most, (double)logits[i]);
    for (int i = 0; i < n; i++)
        sum += exp((double)logits[i] - most);
    return most + log(sum);
}

/* A token of the distribution of m->logits, none that would end a text. */
static int draw(struct canary_maker *m, int32_t *out, struct err *err)
{
    uint64_t r;
    const double all = log_sum(m->logits, m->config->V);
    double rest = 1;
    for (int i = 0; i < m->config->V; i++)
        rest -= special(m, i) ? exp((double)m->logits[i] - all) : 0;
    if (crypto_random(&r, sizeof r, err) != 0)
        return -1;
    double left = (double)(r >> 11) * 0x1p-53 * rest;
    int32_t last = 0;
    for (int32_t i = 0; i < m->config->V; i++) {
        if (special(m, i))
            continue;
        last = i;
        left -= exp((double)m->logits[i] - all);
        if (left < 0)
            break;
    }
    *out = last;
    return 0;
}

/* The CANARY_TOP most probable outputs, and the first of them as the chosen one. */
static void record(const struct canary_maker *m, struct canary_row *row)
{
    const int n = config_outputs(m->config);
    const double all = log_sum(m->logits, n);
    for (int k = 1; k <= CANARY_TOP; k++) {
        int32_t best = -1;
        for (int32_t i = 0; i < n; i++) {
            bool taken = false;
            for (int j = 1; j < k; j++)
                taken = taken || row->id[j] == i;
            if (!taken && (best < 0 || m->logits[i] > m->logits[best]))
                best = i;
        }
        row->id[k] = best;
        row->logprob[k] = best < 0 ? 0 : (float)((double)m->logits[best] - all);
    }
    row->id[0] = row->id[1];
    row->logprob[0] = row->logprob[1];
}

/* An honest server must not choose another token. */
static bool clear_choice(const struct canary_maker *m, const struct canary_row *row)
{
    return row->id[2] < 0 || row->logprob[1] - row->logprob[2] > 2 * m->tolerance;
}

/* ------------------------------------------------------------------ one canary */

static int make_prompt(struct canary_maker *m, struct canary *c, struct err *err)
{
    const bool causal = m->config->causal;
    int32_t *ids = c->prompt;
    uint32_t n = 0, id;
    if (m->first >= 0)
        ids[n++] = m->first;
    restart(m);
    for (uint32_t fed = 0; n < c->prompt_n; n++) {
        if (!causal || n == 0) { /* nothing to draw from */
            do {
                if (below((uint32_t)m->config->V, &id, err) != 0)
                    return -1;
            } while (special(m, (int32_t)id));
            ids[n] = (int32_t)id;
            continue;
        }
        if (step(m, ids + fed, (int)(n - fed), (int)(n - fed) - 1, err) != 0 || draw(m, &ids[n], err) != 0)
            return -1;
        fed = n;
    }
    if (m->last >= 0)
        ids[n - 1] = m->last;
    if (m->config->head == HEAD_MLM && m->mask >= 0)
        ids[c->at] = m->mask;
    return 0;
}

/* c->answer is how many steps were clear, at most what was asked for. */
static int answer(struct canary_maker *m, struct canary *c, struct err *err)
{
    const uint32_t most = c->answer;
    int32_t next = 0;
    restart(m);
    for (c->answer = 0; c->answer < most; c->answer++) {
        const bool first = c->answer == 0;
        const int n = first ? (int)c->prompt_n : 1;
        if (step(m, first ? c->prompt : &next, n, first ? (int)c->at : 0, err) != 0)
            return -1;
        record(m, &c->row[c->answer]);
        next = c->row[c->answer].id[0];
        if (!clear_choice(m, &c->row[c->answer]))
            break;
    }
    return 0;
}

static int make_one(struct canary_maker *m, struct canary *c, struct err *err)
{
    uint32_t extra, longer;
    c->prompt = malloc(PROMPT_MOST * sizeof *c->prompt);
    c->row = calloc(ANSWER_MOST, sizeof *c->row);
    if (c->prompt == NULL || c->row == NULL)
        return err_oom(err, ANSWER_MOST * sizeof *c->row);
    for (int i = 0; i < TRIES; i++) {
        if (below((uint32_t)(m->prompt_most - PROMPT_LEAST + 1), &extra, err) != 0 ||
            below(ANSWER_MOST - ANSWER_LEAST + 1, &longer, err) != 0)
            return -1;
        c->prompt_n = PROMPT_LEAST + extra;
        c->answer = m->config->causal ? ANSWER_LEAST + longer : 1;
        c->at = m->config->causal ? c->prompt_n - 1 : m->config->head == HEAD_CLASSIFY ? 0 : 1 + extra;
        if (make_prompt(m, c, err) != 0 || answer(m, c, err) != 0)
            return -1;
        if (c->answer > 0)
            return 0;
    }
    /* A model that is never sure: the probabilities are compared, the choice is not asked to be clear. */
    c->answer = 1;
    return 0;
}

void canary_maker_heed(struct canary_maker *m, const atomic_bool *stop)
{
    m->stop = stop;
}

int canary_make(struct canary_maker *m, struct canary_list *out, size_t count, struct err *err)
{
    struct canary_list list = {.tolerance = m->tolerance};
    struct progress bar;
    int rc = 0;
    if ((list.item = calloc(count, sizeof *list.item)) == NULL)
        return err_oom(err, count * sizeof *list.item);
    progress_start(&bar, "canaries", "canaries", count);
    while (rc == 0 && list.count < count) {
        rc = m->stop != NULL && atomic_load(m->stop) ? err_set(err, ERR_INTERNAL, "making canaries was stopped")
                                                     : make_one(m, &list.item[list.count], err);
        list.count++;
        progress_at(&bar, list.count);
    }
    progress_end(&bar);
    if (rc != 0)
        canary_free(&list);
    else
        *out = list;
    return rc;
}

int canary_write(struct canary_maker *m, const char *dir, size_t count, struct err *err)
{
    char path[FILE_PATH_MAX];
    struct canary_list list = {0};
    uint8_t *bytes = NULL;
    size_t len = 0;
    int rc = file_join(path, dir, CANARY_FILE, err);
    if (rc == 0)
        rc = canary_make(m, &list, count, err);
    if (rc == 0)
        rc = canary_encode(&list, &bytes, &len, err);
    if (rc == 0)
        rc = file_write(path, bytes, len, 0600, err);
    free(bytes);
    canary_free(&list);
    return rc;
}
