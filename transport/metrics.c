#include "transport/metrics.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "transport/http.h"

#define CONNECTIONS 16

struct metrics {
    struct http *http;
    char listen[160];
    uint64_t published_ms; /* of the loop alone; `alive_ms` is its copy under the lock */
    pthread_mutex_t lock;
    uint64_t alive_ms;
    const char *state;
    char *text;
};

/* ------------------------------------------------------------------ HTTP */

static void health(struct metrics *m, struct http_request *r)
{
    char text[160];
    (void)pthread_mutex_lock(&m->lock);
    const char *state = clock_ms() - m->alive_ms > METRICS_STALE_MS ? "stalled" : m->state;
    (void)pthread_mutex_unlock(&m->lock);
    if (state == NULL)
        (void)snprintf(text, sizeof text, "{\"status\":\"ok\"}");
    else
        (void)snprintf(text, sizeof text, "{\"error\":{\"code\":503,\"message\":\"%s\",\"type\":\"unavailable_error\"}}", state);
    char *copy = strdup(text);
    http_reply(r, state == NULL ? 200 : 503, "application/json", copy, copy == NULL ? 0 : strlen(copy));
}

static void figures(struct metrics *m, struct http_request *r)
{
    (void)pthread_mutex_lock(&m->lock);
    char *copy = strdup(m->text);
    (void)pthread_mutex_unlock(&m->lock);
    http_reply(r, 200, "text/plain; version=0.0.4", copy, copy == NULL ? 0 : strlen(copy));
}

static void handle(void *arg, struct http_request *r)
{
    static const char nothing[] = "/health and /metrics are all there is\n";
    const bool get = strcmp(r->method, "GET") == 0;
    if (get && strcmp(r->path, "/health") == 0)
        health(arg, r);
    else if (get && strcmp(r->path, "/metrics") == 0)
        figures(arg, r);
    else {
        char *copy = strdup(nothing);
        http_reply(r, get ? 404 : 405, "text/plain", copy, copy == NULL ? 0 : strlen(copy));
    }
}

/* ------------------------------------------------------------------ open, close */

int metrics_open(struct metrics **out, const char *listen, struct err *err)
{
    struct http_opts opts = {.listen = listen, .body_max = 1024, .connections = CONNECTIONS, .handle = handle};
    bool loopback;
    sigset_t all, before;
    *out = NULL;
    if (listen == NULL)
        return 0;
    if (http_check_listen(listen, &loopback, err) != 0)
        return err_wrap(err, "metrics");
    struct metrics *m = calloc(1, sizeof *m);
    if (m == NULL || (m->text = strdup("")) == NULL) {
        free(m);
        return err_oom(err, sizeof *m);
    }
    (void)pthread_mutex_init(&m->lock, NULL);
    m->state = "starting";
    m->alive_ms = clock_ms();
    opts.arg = m;
    opts.any_host = !loopback; /* whoever opens it to a network calls it by a name of that network */
    /* Signals are for the loop, which they wake. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    int rc = http_open(&m->http, &opts, err);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        metrics_close(m);
        return err_wrap(err, "metrics");
    }
    (void)snprintf(m->listen, sizeof m->listen, "%.*s:%d", (int)(strrchr(listen, ':') - listen), listen, http_port(m->http));
    *out = m;
    return 0;
}

void metrics_close(struct metrics *m)
{
    if (m == NULL)
        return;
    http_close(m->http);
    (void)pthread_mutex_destroy(&m->lock);
    free(m->text);
    free(m);
}

const char *metrics_listen(const struct metrics *m)
{
    return m == NULL ? "" : m->listen;
}

bool metrics_due(const struct metrics *m, uint64_t now_ms, int *wait_ms)
{
    if (m == NULL)
        return false;
    if (*wait_ms < 0 || *wait_ms > METRICS_MS)
        *wait_ms = METRICS_MS;
    return now_ms - m->published_ms >= METRICS_MS;
}

void metrics_publish(struct metrics *m, uint64_t now_ms, const char *state, struct buf *text)
{
    char *next = buf_take(text, NULL);
    (void)pthread_mutex_lock(&m->lock);
    char *last = m->text;
    if (next != NULL)
        m->text = next;
    m->state = state;
    m->alive_ms = now_ms;
    (void)pthread_mutex_unlock(&m->lock);
    m->published_ms = now_ms;
    if (next != NULL)
        free(last);
}

/* ------------------------------------------------------------------ texts */

static void head(struct buf *b, const char *name, const char *help, const char *type)
{
    buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metrics_count(struct buf *b, const char *name, const char *help, uint64_t value)
{
    head(b, name, help, "counter");
    buf_printf(b, "%s %llu\n", name, (unsigned long long)value);
}

void metrics_gauge(struct buf *b, const char *name, const char *help, uint64_t value)
{
    head(b, name, help, "gauge");
    buf_printf(b, "%s %llu\n", name, (unsigned long long)value);
}

void metrics_seconds(struct buf *b, const char *name, const char *help, uint64_t us)
{
    head(b, name, help, "counter");
    buf_printf(b, "%s %.6f\n", name, (double)us / 1e6);
}

void metrics_errors(struct buf *b, const char *name, const char *help, const uint64_t errors[6])
{
    static const char *const classes[] = {NULL, "again", "session", "request", "auth", "server"};
    head(b, name, help, "counter");
    for (int i = 1; i < 6; i++)
        buf_printf(b, "%s{class=\"%s\"} %llu\n", name, classes[i], (unsigned long long)errors[i]);
}

void metrics_process(struct buf *b)
{
    unsigned long size, resident;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL)
        return;
    if (fscanf(f, "%lu %lu", &size, &resident) == 2)
        metrics_gauge(b, "process_resident_memory_bytes", "Memory of this process.", (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE));
    (void)fclose(f);
}
