#include "server/figures.h"

#include "base/crypto.h"
#include "transport/metrics.h"

void figures_add(struct figures *f, const struct core *core)
{
    struct msg_stats *to = &f->stats, s;
    struct core_load load;
    core_stats(core, &s);
    core_load(core, &load);
    to->uptime_ms = s.uptime_ms;
    to->keys_refused = s.keys_refused;
    to->frames_refused = s.frames_refused;
    to->sessions_open += s.sessions_open;
    to->sessions_total += s.sessions_total;
    to->rows_in += s.rows_in;
    to->rows_out += s.rows_out;
    to->rows_reused += s.rows_reused;
    to->bytes_in += s.bytes_in;
    to->bytes_out += s.bytes_out;
    to->busy_us += s.busy_us;
    to->peers_dropped += s.peers_dropped;
    to->kv_used += s.kv_used;
    to->kv_budget += s.kv_budget;
    for (size_t i = 0; i < sizeof load.errors / sizeof *load.errors; i++)
        f->load.errors[i] += load.errors[i];
    f->load.queue_rows += load.queue_rows;
    f->load.batches += load.batches;
    f->load.batch_steps += load.batch_steps;
    f->load.batch_rows += load.batch_rows;
}

void figures_end(struct figures *f, const struct core *core)
{
    figures_add(f, core);
    f->stats.sessions_open = f->stats.kv_used = f->stats.kv_budget = f->load.queue_rows = 0;
}

static void put_package(struct buf *b, const struct package *p)
{
    char context[17] = "";
    if (p != NULL)
        crypto_hex(p->context, 8, context);
    buf_printf(b, "# HELP stip_server_info What is served.\n# TYPE stip_server_info gauge\n"
                  "stip_server_info{version=\"%s\",architecture=\"%s\",context=\"%s\",epoch=\"%u\",compute=\"%s\"} 1\n",
               STIP_VERSION, p == NULL ? "" : p->manifest.model, context, p == NULL ? 0 : p->manifest.epoch,
               p == NULL ? "" : compute_name(p->manifest.compute));
    metrics_gauge(b, "stip_server_model_bytes", "Weights in memory.", p == NULL ? 0 : p->bytes);
}

void figures_text(struct buf *b, const struct figures *f, const struct core_limits *limits, const struct package *package)
{
    const struct msg_stats *s = &f->stats;
    put_package(b, package);
    metrics_count(b, "stip_server_packages_loaded_total", "Packages that were loaded.", f->packages);
    buf_printf(b, "# HELP stip_server_uptime_seconds Since the start.\n# TYPE stip_server_uptime_seconds gauge\n"
                  "stip_server_uptime_seconds %.3f\n", (double)s->uptime_ms / 1000);
    metrics_gauge(b, "stip_server_sessions", "Sessions that are open.", s->sessions_open);
    metrics_gauge(b, "stip_server_sessions_limit", "limits.sessions.", (uint64_t)limits->sessions);
    metrics_count(b, "stip_server_sessions_total", "Sessions that were opened.", s->sessions_total);
    metrics_count(b, "stip_server_rows_in_total", "Rows (tokens) received.", s->rows_in);
    metrics_count(b, "stip_server_rows_reused_total", "Of these, not computed: their keys and values were there.", s->rows_reused);
    metrics_count(b, "stip_server_rows_out_total", "Rows of outputs sent.", s->rows_out);
    metrics_count(b, "stip_server_received_bytes_total", "Bytes from users.", s->bytes_in);
    metrics_count(b, "stip_server_sent_bytes_total", "Bytes to users.", s->bytes_out);
    metrics_seconds(b, "stip_server_busy_seconds_total", "Time in which passes were computed.", s->busy_us);
    metrics_count(b, "stip_server_batches_total", "Passes.", f->load.batches);
    metrics_count(b, "stip_server_batch_steps_total", "Steps in all passes: by passes, the mean occupancy.", f->load.batch_steps);
    metrics_count(b, "stip_server_batch_rows_total", "Rows in all passes.", f->load.batch_rows);
    metrics_gauge(b, "stip_server_queue_rows", "Rows that wait to be computed.", f->load.queue_rows);
    metrics_gauge(b, "stip_server_queue_rows_limit", "limits.queue_rows.", (uint64_t)limits->queue_rows);
    metrics_gauge(b, "stip_server_kv_bytes", "Keys and values in use, of sessions and kept for reuse.", s->kv_used);
    metrics_gauge(b, "stip_server_kv_limit_bytes", "limits.memory_mb.", s->kv_budget);
    metrics_errors(b, "stip_server_errors_total", "Errors told to users, by what helps.", f->load.errors);
    metrics_count(b, "stip_server_refused_keys_total", "Handshakes with a key that is not on the list.", s->keys_refused);
    metrics_count(b, "stip_server_refused_frames_total", "Malformed frames.", s->frames_refused);
    metrics_count(b, "stip_server_dropped_peers_total", "Users that did not read their answer.", s->peers_dropped);
    metrics_process(b);
}
