/* base/svg.h - the marks that figures are made of, as SVG text.
 *
 * Data flow   svg_begin -> marks -> svg_finish -> file.
 * Units       pixels of the view box; font sizes in pixels.
 * Errors      memory, disk; named by svg_finish only.
 * Memory      the caller owns the buffer; svg_finish releases it.
 * Secrets     none.
 */
#ifndef STIP_BASE_SVG_H
#define STIP_BASE_SVG_H

#include "base/buf.h"

/* A white page with a title. */
void svg_begin(struct buf *b, double width, double height, const char *title);
/* anchor: start, middle, end. more: further attributes, with a blank in front. The text is escaped. */
void svg_text(struct buf *b, double x, double y, const char *anchor, int size, const char *more, const char *text);
void svg_line(struct buf *b, double x1, double y1, double x2, double y2, const char *style);
void svg_rect(struct buf *b, double x, double y, double width, double height, const char *fill);
MUST_CHECK int svg_finish(struct buf *b, const char *path, struct err *err);
/* Colours that people tell apart who do not see red and green as different (Okabe and Ito). */
const char *svg_color(size_t i);

#endif
