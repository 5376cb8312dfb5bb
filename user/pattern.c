#include "user/pattern.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

int pattern_from_regex(struct pattern *p, const char *regex, struct err *err)
{
    return regex_new(&p->regex, regex, err);
}

int pattern_read(struct pattern *p, const struct json_doc *doc, const struct json *step, struct err *err)
{
    const struct json *node = json_get(step, "pattern");
    const char *literal = json_string(json_get(node, "String"));
    const char *regex = json_string(json_get(node, "Regex"));
    if ((literal == NULL) == (regex == NULL) || json_count(node) != 1)
        return err_set(err, ERR_INPUT, "%s: field 'pattern': expected {\"String\": text} or {\"Regex\": text}, found %s",
                       json_name(doc), json_type_name(node));
    if (regex != NULL) {
        if (pattern_from_regex(p, regex, err) != 0)
            return err_wrap(err, "%s: field 'pattern.Regex'", json_name(doc));
        return 0;
    }
    p->literal_len = strlen(literal);
    p->literal = strdup(literal);
    return p->literal == NULL ? err_oom(err, p->literal_len + 1) : 0;
}

void pattern_free(struct pattern *p)
{
    free(p->literal);
    regex_free(p->regex);
    *p = (struct pattern){0};
}

static size_t char_len(const char *text, size_t len, size_t at)
{
    size_t n = 1;
    while (at + n < len && ((unsigned char)text[at + n] & 0xC0) == 0x80)
        n++;
    return n;
}

int pattern_next(const struct pattern *p, struct regex_scan *scan, const char *text, size_t len, struct pattern_cursor *c,
                 size_t *start, size_t *end, struct err *err)
{
    if (p->literal != NULL) {
        const char *at =
            p->literal_len == 0 || c->from >= len ? NULL : memmem(text + c->from, len - c->from, p->literal, p->literal_len);
        if (at == NULL)
            return 0;
        *start = (size_t)(at - text);
        *end = c->from = *start + p->literal_len;
        return 1;
    }
    while (c->from <= len) {
        int found = regex_find(p->regex, scan, text, len, c->from, start, end, err);
        if (found != 1)
            return found;
        bool empty = *start == *end;
        bool behind_another = empty && c->any && *start == c->last_end;
        c->from = behind_another ? *end + char_len(text, len, *end) : *end;
        if (behind_another)
            continue;
        c->any = true;
        c->last_end = *end;
        return 1;
    }
    return 0;
}

int pattern_replace(const struct pattern *p, struct regex_scan *scan, const char *text, size_t len, const char *with,
                    size_t with_len, struct buf *out, struct err *err)
{
    struct pattern_cursor c = {0};
    size_t start, end, done = 0;
    int found;
    while ((found = pattern_next(p, scan, text, len, &c, &start, &end, err)) == 1) {
        buf_put(out, text + done, start - done);
        buf_put(out, with, with_len);
        done = end;
        if (out->failed)
            break;
    }
    if (found < 0)
        return -1;
    buf_put(out, text + done, len - done);
    return buf_check(out, "text after a Replace step", err);
}
