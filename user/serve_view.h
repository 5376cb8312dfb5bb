/* user/serve_view.h - what the server saw of an answer, for the page: the last rows as they were sent, one byte per number.
 *
 * Data flow   session_sent rows -> view_row (sampled, scaled to bytes) -> ring of rows -> view_text -> page.
 * Shapes      a row of VIEW_COLUMNS bytes or fewer; 128 is zero, 1 and 255 are four standard deviations of the row.
 * Units       microseconds, bytes, tokens.
 * Errors      none: a view that finds no memory shows nothing.
 * Memory      views_new gives; the oldest of VIEWS answers is forgotten first.
 * Secrets     permuted rows only, as the wire has them; asked for by the page, one answer at a time, from this machine only.
 *
 * Thread      any.
 */
#ifndef STIP_USER_SERVE_VIEW_H
#define STIP_USER_SERVE_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VIEWS 8
#define VIEW_ROWS 192
#define VIEW_COLUMNS 256

struct views;

struct view_figures {
    uint64_t bytes_up, bytes_down, round_trips, server_us, user_us, decode_us;
    int prompt_tokens, tokens;
    bool done;
};

struct views *views_new(void); /* NULL when out of memory */
void views_free(struct views *v);
/* From now on `id` is known. */
void view_begin(struct views *v, const char *id);
/* x_p [D], the newest row. */
void view_row(struct views *v, const char *id, const float *x_p, int D);
void view_figures(struct views *v, const char *id, const struct view_figures *f);
/* JSON: figures, and the rows that came after the first `after` rows (those still kept), base64. NULL: unknown id, or no memory.
 */
char *view_text(struct views *v, const char *id, uint64_t after);

#endif
