#include "user/peek.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define TOKEN_WIDTH 16

struct sent {
    bool known;
    float first[PEEK_NUMBERS];
};

struct peek {
    const struct grant *grant;
    float *row;        /* [D] */
    struct sent *sent; /* by position */
    size_t n, cap;
};

int peek_open(struct peek **out, const struct grant *g, struct err *err)
{
    struct peek *p = calloc(1, sizeof *p);
    if (p == NULL || (p->row = malloc((size_t)g->config->D * sizeof *p->row)) == NULL) {
        free(p);
        return err_oom(err, (size_t)g->config->D * sizeof(float));
    }
    p->grant = g;
    *out = p;
    return 0;
}

void peek_close(struct peek *p)
{
    if (p == NULL)
        return;
    free(p->row);
    free(p->sent);
    free(p);
}

static int numbers(const struct peek *p)
{
    return p->grant->config->D < PEEK_NUMBERS ? p->grant->config->D : PEEK_NUMBERS;
}

int peek_take(struct peek *p, const struct session *s, struct err *err)
{
    int T;
    (void)session_sent(s, &T);
    const size_t end = (size_t)session_length(s), first = end - (size_t)T;
    if (end > p->cap) {
        const size_t cap = end < 256 ? 256 : 2 * end;
        struct sent *more = realloc(p->sent, cap * sizeof *more);
        if (more == NULL)
            return err_oom(err, cap * sizeof *more);
        p->sent = more;
        p->cap = cap;
    }
    for (; p->n < end; p->n++)
        p->sent[p->n] = (struct sent){0};
    for (int row = 0; row < T; row++) {
        struct sent *to = &p->sent[first + (size_t)row];
        session_sent_row(s, row, p->row);
        to->known = true;
        memcpy(to->first, p->row, (size_t)numbers(p) * sizeof *p->row);
    }
    return 0;
}

void peek_cut(struct peek *p, int position)
{
    if ((size_t)position < p->n)
        p->n = (size_t)position;
}

/* The vocabulary's own spelling, without what a terminal would obey; padded by characters, not bytes. */
static void print_token(FILE *to, const struct grant *g, int32_t id)
{
    size_t len, step;
    const char *text = tokenizer_token(g->tokenizer, id, &len);
    int width = 0;
    for (size_t at = 0; text != NULL && at < len && width < TOKEN_WIDTH; at += step, width++) {
        uint32_t cp;
        step = utf8_decode(text + at, len - at, &cp);
        if (step == 0 || cp < 0x20 || (cp >= 0x7f && cp < 0xa0)) {
            step = step == 0 ? 1 : step;
            (void)fputc('?', to);
        } else {
            (void)fwrite(text + at, 1, step, to);
        }
    }
    (void)fprintf(to, "%*s", TOKEN_WIDTH - width, "");
}

static void print_numbers(FILE *to, const float *x, int n)
{
    for (int i = 0; i < n; i++)
        (void)fprintf(to, " %9.5f", (double)x[i]);
}

int peek_print(struct peek *p, FILE *to_file, const int32_t *ids, int from, int to, struct err *err)
{
    const int n = numbers(p);
    (void)fprintf(to_file, "%-16s %8s  |%*s  |%*s\n", "token", "id", 10 * n, "its row, which stays here", 10 * n, "the row that the server got");
    for (int i = from; i < to; i++) {
        if (embed_rows(p->grant->embed, ids + i, NULL, 1, i, p->row, err) != 0)
            return -1;
        print_token(to_file, p->grant, ids[i]);
        (void)fprintf(to_file, " %8d  |", ids[i]);
        print_numbers(to_file, p->row, n);
        (void)fprintf(to_file, "  |");
        if ((size_t)i < p->n && p->sent[i].known)
            print_numbers(to_file, p->sent[i].first, n);
        else
            (void)fprintf(to_file, " %*s", 10 * n - 1, "not kept, or not sent yet");
        (void)fputc('\n', to_file);
    }
    if (p->grant->local == NULL)
        (void)fprintf(to_file, "%d of %d numbers of each row; on the right %s.\n", n, p->grant->config->D,
                      p->grant->turn == NULL ? "the same numbers stand in the secret order" : "the row under the secret rotation");
    else
        (void)fprintf(to_file, "%d of %d numbers of each row; on the right what the first %d layers here made of them, %s.\n",
                      n, p->grant->config->D, p->grant->local_layers,
                      p->grant->turn == NULL ? "in the secret order" : "under the secret rotation");
    return 0;
}

int peek_json(struct peek *p, struct json_doc *doc, struct json *parent, const int32_t *ids, int from, int to, struct err *err)
{
    struct json *list = json_put_array(doc, parent, "tokens");
    for (int i = from; i < to; i++) {
        size_t len;
        const char *token = tokenizer_token(p->grant->tokenizer, ids[i], &len);
        struct json *node = json_put_object(doc, list, NULL);
        if (embed_rows(p->grant->embed, ids + i, NULL, 1, i, p->row, err) != 0)
            return -1;
        json_put_int(doc, node, "id", ids[i]);
        json_put_str(doc, node, "token", token == NULL ? "" : token);
        struct json *embedded = json_put_array(doc, node, "embedded");
        for (int k = 0; k < numbers(p); k++)
            json_put_num(doc, embedded, NULL, (double)p->row[k]);
        if ((size_t)i >= p->n || !p->sent[i].known)
            continue;
        struct json *received = json_put_array(doc, node, "received");
        for (int k = 0; k < numbers(p); k++)
            json_put_num(doc, received, NULL, (double)p->sent[i].first[k]);
    }
    return 0;
}
