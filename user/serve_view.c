#include "user/serve_view.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/json.h"

#define ID_MAX 64

struct view {
    char id[ID_MAX];
    uint64_t begun, rows; /* rows: how many ever */
    int columns, D;
    struct view_figures figures;
    uint8_t row[VIEW_ROWS][VIEW_COLUMNS]; /* ring */
};

struct views {
    pthread_mutex_t lock;
    uint64_t begun;
    struct view view[VIEWS];
};

struct views *views_new(void)
{
    struct views *v = calloc(1, sizeof *v);
    if (v != NULL)
        (void)pthread_mutex_init(&v->lock, NULL);
    return v;
}

void views_free(struct views *v)
{
    if (v == NULL)
        return;
    pthread_mutex_destroy(&v->lock);
    free(v);
}

static struct view *find(struct views *v, const char *id)
{
    for (int i = 0; i < VIEWS; i++)
        if (strcmp(v->view[i].id, id) == 0)
            return &v->view[i];
    return NULL;
}

void view_begin(struct views *v, const char *id)
{
    (void)pthread_mutex_lock(&v->lock);
    struct view *oldest = &v->view[0];
    for (int i = 1; i < VIEWS; i++)
        if (v->view[i].begun < oldest->begun)
            oldest = &v->view[i];
    *oldest = (struct view){.begun = ++v->begun};
    (void)snprintf(oldest->id, sizeof oldest->id, "%s", id);
    (void)pthread_mutex_unlock(&v->lock);
}

static void scale(uint8_t *out, int columns, const float *row, int D)
{
    double square = 0;
    for (int d = 0; d < D; d++)
        square += (double)row[d] * (double)row[d];
    double unit = sqrt(square / D);
    for (int c = 0; c < columns; c++) {
        double z = unit > 0 ? (double)row[(int)((int64_t)c * D / columns)] / unit : 0;
        z = z > 4 ? 4 : z < -4 ? -4 : z;
        out[c] = (uint8_t)lround(128 + z * 127 / 4);
    }
}

void view_row(struct views *v, const char *id, const float *x_p, int D)
{
    (void)pthread_mutex_lock(&v->lock);
    struct view *at = find(v, id);
    if (at != NULL) {
        at->D = D;
        at->columns = D < VIEW_COLUMNS ? D : VIEW_COLUMNS;
        scale(at->row[at->rows++ % VIEW_ROWS], at->columns, x_p, D);
    }
    (void)pthread_mutex_unlock(&v->lock);
}

void view_figures(struct views *v, const char *id, const struct view_figures *f)
{
    (void)pthread_mutex_lock(&v->lock);
    struct view *at = find(v, id);
    if (at != NULL)
        at->figures = *f;
    (void)pthread_mutex_unlock(&v->lock);
}

static void put_figures(struct json_doc *doc, struct json *root, const struct view_figures *f)
{
    json_put_bool(doc, root, "done", f->done);
    json_put_int(doc, root, "prompt_tokens", f->prompt_tokens);
    json_put_int(doc, root, "tokens", f->tokens);
    json_put_int(doc, root, "bytes_up", (int64_t)f->bytes_up);
    json_put_int(doc, root, "bytes_down", (int64_t)f->bytes_down);
    json_put_int(doc, root, "round_trips", (int64_t)f->round_trips);
    json_put_num(doc, root, "server_ms", (double)f->server_us / 1e3);
    json_put_num(doc, root, "user_ms", (double)f->user_us / 1e3);
    json_put_num(doc, root, "tokens_per_second", f->decode_us == 0 ? 0 : f->tokens * 1e6 / (double)f->decode_us);
}

char *view_text(struct views *v, const char *id, uint64_t after)
{
    struct view *copy = malloc(sizeof *copy);
    uint8_t *rows = malloc(VIEW_ROWS * VIEW_COLUMNS);
    char *image = malloc(4 * ((VIEW_ROWS * VIEW_COLUMNS + 2) / 3) + 1), *text = NULL;
    bool known = false;
    (void)pthread_mutex_lock(&v->lock);
    const struct view *at = find(v, id);
    if (at != NULL && copy != NULL) {
        *copy = *at;
        known = true;
    }
    (void)pthread_mutex_unlock(&v->lock);
    if (known && rows != NULL && image != NULL) {
        uint64_t first = copy->rows > VIEW_ROWS ? copy->rows - VIEW_ROWS : 0;
        size_t n = 0;
        first = after > first ? after : first;
        for (uint64_t r = first; r < copy->rows; r++, n += (size_t)copy->columns)
            memcpy(rows + n, copy->row[r % VIEW_ROWS], (size_t)copy->columns);
        (void)crypto_base64(rows, n, image);
        struct json_doc *doc = json_new_object("view");
        struct json *root = json_node(doc);
        json_put_int(doc, root, "first_row", (int64_t)first);
        json_put_int(doc, root, "rows", (int64_t)copy->rows);
        json_put_int(doc, root, "columns", copy->columns);
        json_put_int(doc, root, "width", copy->D);
        put_figures(doc, root, &copy->figures);
        json_put_str(doc, root, "image", image);
        if (json_print(doc, false, &text, NULL) != 0)
            text = NULL;
        json_free(doc);
    }
    free(copy);
    free(rows);
    free(image);
    return text;
}
