#include "base/svg.h"

#include "base/file.h"

#define SVG_MAX ((size_t)64 << 20)

const char *svg_color(size_t i)
{
    static const char *const colors[] = {"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000", "#999999"};
    return colors[i % (sizeof colors / sizeof *colors)];
}

void svg_begin(struct buf *b, double width, double height, const char *title)
{
    buf_init(b, SVG_MAX);
    buf_printf(b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\">\n", width, height);
    buf_printf(b, "<rect width=\"%.0f\" height=\"%.0f\" fill=\"white\"/>\n", width, height);
    svg_text(b, width / 2, 24, "middle", 16, " font-weight=\"bold\"", title);
}

void svg_text(struct buf *b, double x, double y, const char *anchor, int size, const char *more, const char *text)
{
    buf_printf(b, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" font-size=\"%d\"%s>", x, y, anchor, size, more);
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '<' || *p == '>' || *p == '&' || *p == '"')
            buf_printf(b, "&#%d;", *p);
        else
            buf_put8(b, (uint8_t)*p);
    }
    buf_put_str(b, "</text>\n");
}

void svg_line(struct buf *b, double x1, double y1, double x2, double y2, const char *style)
{
    buf_printf(b, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" %s/>\n", x1, y1, x2, y2, style);
}

void svg_rect(struct buf *b, double x, double y, double width, double height, const char *fill)
{
    buf_printf(b, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n", x, y, width, height, fill);
}

int svg_finish(struct buf *b, const char *path, struct err *err)
{
    buf_put_str(b, "</svg>\n");
    int rc = buf_check(b, path, err);
    if (rc == 0)
        rc = file_write(path, b->data, b->len, 0644, err);
    buf_free(b);
    return rc;
}
