#include "user/report.h"

#include <stdio.h>
#include <stdlib.h>

void report_wire(struct json_doc *doc, struct json *parent, const struct connection *c)
{
    struct channel_stats stats = connection_stats(c);
    struct json *wire = json_put_object(doc, parent, "wire");
    json_put_int(doc, wire, "bytes_up", (int64_t)stats.bytes_up);
    json_put_int(doc, wire, "bytes_down", (int64_t)stats.bytes_down);
    json_put_int(doc, wire, "round_trips", (int64_t)stats.round_trips);
}

void report_timings(struct json_doc *doc, struct json *parent, const struct generated *g, const struct session *s)
{
    struct session_timing t = session_timing(s);
    struct json *timings = json_put_object(doc, parent, "timings");
    json_put_num(doc, timings, "prompt_ms", (double)g->prompt_us / 1e3);
    json_put_num(doc, timings, "prompt_tok_s", g->prompt_us == 0 ? 0 : g->prompt_count * 1e6 / (double)g->prompt_us);
    json_put_num(doc, timings, "decode_tok_s", g->decode_us == 0 || g->count < 2 ? 0 : (g->count - 1) * 1e6 / (double)g->decode_us);
    json_put_num(doc, timings, "user_ms", (double)t.user_us / 1e3);
    json_put_num(doc, timings, "server_ms", (double)t.server_us / 1e3);
    json_put_int(doc, timings, "drafted", g->drafted);
    json_put_int(doc, timings, "accepted", g->accepted);
}

int report_print(struct json_doc *doc, struct err *err)
{
    char *text;
    int rc = json_print(doc, false, &text, err);
    if (rc == 0) {
        puts(text);
        free(text);
    }
    json_free(doc);
    return rc;
}
