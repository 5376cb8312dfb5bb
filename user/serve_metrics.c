#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "transport/metrics.h"
#include "user/serve.h"

void serve_count(struct serve *s, enum serve_route route, int status)
{
    atomic_fetch_add(&s->metrics.requests[route][status < 400 ? 0 : status < 500 ? 1 : 2], 1);
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
    metrics_count(&b, "stip_gateway_prompt_tokens_total", "Tokens of prompts.", atomic_load(&m->prompt_tokens));
    metrics_count(&b, "stip_gateway_generated_tokens_total", "Tokens generated.", atomic_load(&m->tokens));
    metrics_count(&b, "stip_gateway_cancelled_total", "Answers whose client hung up.", atomic_load(&m->cancelled));
    metrics_count(&b, "stip_gateway_stream_errors_total", "Streams that ended with an error event.", atomic_load(&m->stream_errors));
    metrics_seconds(&b, "stip_gateway_prefill_seconds_total", "Wall time of prompts.", atomic_load(&m->prompt_us));
    metrics_seconds(&b, "stip_gateway_decode_seconds_total", "Wall time of generated tokens.", atomic_load(&m->decode_us));
    metrics_seconds(&b, "stip_gateway_server_seconds_total", "Time that the stip server computed.", atomic_load(&m->server_us));
    metrics_seconds(&b, "stip_gateway_user_seconds_total", "Time of embedding, sealing, unsealing and the head here.", atomic_load(&m->user_us));
    pool_verified(s->pool, &asked, &failed);
    metrics_count(&b, "stip_gateway_verify_asked_total", "Known questions asked (verify_rate).", asked);
    metrics_count(&b, "stip_gateway_verify_failed_total", "Known questions that were answered wrong.", failed);
    metrics_gauge(&b, "stip_gateway_answers_running", "Requests being answered.", (uint64_t)atomic_load(&m->running));
    metrics_gauge(&b, "stip_gateway_requests_waiting", "Requests that wait for a place.", (uint64_t)p.waiting);
    metrics_gauge(&b, "stip_gateway_connections_open", "Connections to the stip server.", (uint64_t)p.open);
    metrics_gauge(&b, "stip_gateway_connections_busy", "Connections with a generation.", (uint64_t)p.busy);
    metrics_count(&b, "stip_gateway_wire_up_bytes_total", "Bytes to the stip server, of answers that have ended.", p.bytes_up);
    metrics_count(&b, "stip_gateway_wire_down_bytes_total", "Bytes from the stip server, of answers that have ended.", p.bytes_down);
    metrics_count(&b, "stip_gateway_round_trips_total", "Round trips, of answers that have ended.", p.round_trips);
    metrics_gauge(&b, "stip_gateway_start_time_seconds", "When the gateway started, since 1970.", (uint64_t)s->started);
    return buf_take(&b, NULL);
}
