#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "user/serve.h"

void serve_count(struct serve *s, enum serve_route route, int status)
{
    atomic_fetch_add(&s->metrics.requests[route][status < 400 ? 0 : status < 500 ? 1 : 2], 1);
}

static void one(struct buf *b, const char *name, const char *type, const char *help, unsigned long long value)
{
    buf_printf(b, "# HELP stip_gateway_%s %s\n# TYPE stip_gateway_%s %s\nstip_gateway_%s %llu\n", name, help, name, type, name,
               value);
}

static void seconds(struct buf *b, const char *name, const char *help, atomic_ullong *us)
{
    buf_printf(b, "# HELP stip_gateway_%s %s\n# TYPE stip_gateway_%s counter\nstip_gateway_%s %.6f\n", name, help, name, name,
               (double)atomic_load(us) / 1e6);
}

char *serve_metrics_text(struct serve *s)
{
    static const char *const routes[SERVE_ROUTES] = {"chat", "completions", "embeddings", "models", "tokens", "page", "other"};
    static const char *const classes[] = {"2xx", "4xx", "5xx"};
    struct serve_metrics *m = &s->metrics;
    struct pool_stats p = pool_stats(s->pool);
    unsigned long long asked, failed;
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_put_str(&b, "# HELP stip_gateway_requests_total Requests answered, by endpoint and class of status.\n"
                    "# TYPE stip_gateway_requests_total counter\n");
    for (int r = 0; r < SERVE_ROUTES; r++)
        for (int c = 0; c < 3; c++)
            buf_printf(&b, "stip_gateway_requests_total{endpoint=\"%s\",status=\"%s\"} %llu\n", routes[r], classes[c],
                       atomic_load(&m->requests[r][c]));
    one(&b, "prompt_tokens_total", "counter", "Tokens of prompts.", atomic_load(&m->prompt_tokens));
    one(&b, "generated_tokens_total", "counter", "Tokens generated.", atomic_load(&m->tokens));
    one(&b, "cancelled_total", "counter", "Answers whose client hung up.", atomic_load(&m->cancelled));
    one(&b, "stream_errors_total", "counter", "Streams that ended with an error event.", atomic_load(&m->stream_errors));
    seconds(&b, "prefill_seconds_total", "Wall time of prompts.", &m->prompt_us);
    seconds(&b, "decode_seconds_total", "Wall time of generated tokens.", &m->decode_us);
    seconds(&b, "server_seconds_total", "Time that the stip server computed.", &m->server_us);
    seconds(&b, "user_seconds_total", "Time of embedding, sealing, unsealing and the head here.", &m->user_us);
    pool_verified(s->pool, &asked, &failed);
    one(&b, "verify_asked_total", "counter", "Known questions asked (verify_rate).", asked);
    one(&b, "verify_failed_total", "counter", "Known questions that were answered wrong.", failed);
    one(&b, "answers_running", "gauge", "Requests being answered.", (unsigned long long)atomic_load(&m->running));
    one(&b, "requests_waiting", "gauge", "Requests that wait for a place.", (unsigned long long)p.waiting);
    one(&b, "connections_open", "gauge", "Connections to the stip server.", (unsigned long long)p.open);
    one(&b, "connections_busy", "gauge", "Connections with a generation.", (unsigned long long)p.busy);
    one(&b, "wire_up_bytes_total", "counter", "Bytes to the stip server, of answers that have ended.", p.bytes_up);
    one(&b, "wire_down_bytes_total", "counter", "Bytes from the stip server, of answers that have ended.", p.bytes_down);
    one(&b, "round_trips_total", "counter", "Round trips, of answers that have ended.", p.round_trips);
    one(&b, "start_time_seconds", "gauge", "When the gateway started, since 1970.", (unsigned long long)s->started);
    return buf_take(&b, NULL);
}
