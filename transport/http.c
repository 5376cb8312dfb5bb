#include "transport/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/secret.h"
#include "transport/http_watch.h"
#include "transport/transport.h"

#define BLOCK 16384                   /* of a stream */
#define DOOR 32                       /* connections beyond the limit: they come in while those cut for them are going */
#define DRAIN_MAX ((uint64_t)1 << 30) /* of a body that is too large; a client reads its 413 only after it has sent */

struct http {
    struct http_opts opts;
    struct MHD_Daemon *daemon;
    struct watch *watch;
};

/* One request, from its first header to the end of its answer. */
struct http_exchange {
    struct http *http;
    struct MHD_Connection *connection;
    struct watched *watched;
    struct buf body;
    uint64_t dropped; /* bytes beyond the limit */
    enum MHD_Result sent;
};

/* ------------------------------------------------------------------ addresses */

static int split_listen(const char *listen, struct sockaddr_storage *address, struct err *err)
{
    char host[128] = "";
    const char *colon = strrchr(listen, ':'), *port = colon == NULL ? "" : colon + 1;
    size_t n = colon == NULL ? 0 : (size_t)(colon - listen);
    if (n > 1 && listen[0] == '[' && listen[n - 1] == ']' && n - 2 < sizeof host)
        memcpy(host, listen + 1, n - 2);
    else if (n > 0 && n < sizeof host && memchr(listen, ':', n) == NULL)
        memcpy(host, listen, n);
    if (strcmp(host, "localhost") == 0)
        (void)strcpy(host, "127.0.0.1");
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_STREAM}, *found = NULL;
    if (host[0] == '\0' || transport_port(port) < 0 || getaddrinfo(host, port, &hints, &found) != 0 || found->ai_addrlen > sizeof *address) {
        if (found != NULL)
            freeaddrinfo(found);
        return err_set(err, ERR_USAGE, "listen address '%.100s': expected ADDRESS:PORT, for example 127.0.0.1:7847 or [::1]:7847",
                       listen);
    }
    *address = (struct sockaddr_storage){0};
    memcpy(address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, a, sizeof v4);
        return ntohl(v4.sin_addr.s_addr) >> 24 == 127;
    }
    struct sockaddr_in6 v6;
    memcpy(&v6, a, sizeof v6);
    return a->sa_family == AF_INET6 &&
           (IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) || (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) && v6.sin6_addr.s6_addr[12] == 127));
}

int http_check_listen(const char *listen, bool *loopback, struct err *err)
{
    struct sockaddr_storage address;
    if (split_listen(listen, &address, err) != 0)
        return -1;
    *loopback = is_loopback((const struct sockaddr *)&address);
    return 0;
}

/* ------------------------------------------------------------------ checks */

static const char *header(const struct http_exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

static bool listed(const char *list, const char *name, size_t len)
{
    while (list != NULL && *list != '\0') {
        size_t n = strcspn(list, ",");
        if (n == len && strncasecmp(list, name, n) == 0)
            return true;
        list += n + (list[n] == ',' ? 1 : 0);
    }
    return false;
}

/* Numeric addresses and localhost cannot be rebound by a name server; names must have been said. */
static bool host_ok(const struct http *h, const char *host)
{
    char name[128] = "";
    uint8_t address[sizeof(struct in6_addr)];
    if (h->opts.any_host)
        return true;
    if (host == NULL)
        return false;
    size_t n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    if (n >= sizeof name || (host[n] != '\0' && host[n] != ':'))
        return false;
    memcpy(name, host + (host[0] == '[' ? 1 : 0), n - (host[0] == '[' ? 2 : 0));
    return strcasecmp(name, "localhost") == 0 || inet_pton(host[0] == '[' ? AF_INET6 : AF_INET, name, address) == 1 ||
           listed(h->opts.hosts, name, strlen(name));
}

/* A page of our own has our own host in its origin. */
static bool origin_ok(const struct http_exchange *x, const char *origin)
{
    const char *host = header(x, "Host");
    return (strncmp(origin, "http://", 7) == 0 && host != NULL && strcasecmp(origin + 7, host) == 0) ||
           listed(x->http->opts.origins, origin, strlen(origin));
}

static bool key_ok(const struct http_exchange *x, const char *path)
{
    const struct http_opts *o = &x->http->opts;
    const char *given = header(x, "Authorization");
    for (const char *const *p = o->open_paths; p != NULL && *p != NULL; p++)
        if (strcmp(*p, path) == 0)
            return true;
    if (o->key == NULL)
        return true;
    return given != NULL && strncasecmp(given, "Bearer ", 7) == 0 && strlen(given + 7) == strlen(o->key) &&
           secret_equal(given + 7, o->key, strlen(o->key));
}

/* ------------------------------------------------------------------ replies */

static void add(struct MHD_Response *response, const char *name, const char *value)
{
    (void)MHD_add_response_header(response, name, value);
}

static void send_response(struct http_exchange *x, int status, struct MHD_Response *response)
{
    const char *origin = header(x, "Origin");
    if (response == NULL)
        return;
    add(response, "X-Content-Type-Options", "nosniff");
    add(response, "Cache-Control", "no-store");
    if (origin != NULL && origin_ok(x, origin)) {
        add(response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        add(response, MHD_HTTP_HEADER_VARY, "Origin");
    }
    x->sent = MHD_queue_response(x->connection, (unsigned)status, response);
    MHD_destroy_response(response);
}

static void reply(struct http_exchange *x, int status, const char *type, char *body, size_t len)
{
    if (body == NULL) {
        static char sorry[] =
            "{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\",\"param\":null,\"code\":null}}";
        struct MHD_Response *r = MHD_create_response_from_buffer(strlen(sorry), sorry, MHD_RESPMEM_PERSISTENT);
        add(r, "Content-Type", "application/json");
        send_response(x, 500, r);
        return;
    }
    struct MHD_Response *response = MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(body);
        return;
    }
    add(response, "Content-Type", type);
    if (status == 503)
        add(response, "Retry-After", "5");
    send_response(x, status, response);
}

static void refuse(struct http_exchange *x, enum http_refusal why)
{
    static const int status[] = {[HTTP_BAD_HOST] = 403, [HTTP_BAD_ORIGIN] = 403, [HTTP_BAD_KEY] = 401, [HTTP_TOO_LARGE] = 413};
    static const char *const words[] = {[HTTP_BAD_HOST] = "this name in Host is not one of ours\n",
                                        [HTTP_BAD_ORIGIN] = "this web origin is not welcome\n",
                                        [HTTP_BAD_KEY] = "a key is needed\n",
                                        [HTTP_TOO_LARGE] = "too large\n"};
    const bool own = x->http->opts.refusal != NULL;
    char *text = own ? x->http->opts.refusal(why, status[why]) : strdup(words[why]);
    reply(x, status[why], own ? "application/json" : "text/plain", text, text == NULL ? 0 : strlen(text));
}

void http_reply(struct http_request *r, int status, const char *type, char *body, size_t len)
{
    reply(r->exchange, status, type, body, len);
}

void http_reply_static(struct http_request *r, const char *type, const void *body, size_t len, const char *name,
                       const char *value)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(len, (void *)(uintptr_t)body, MHD_RESPMEM_PERSISTENT);
    if (response == NULL)
        return;
    add(response, "Content-Type", type);
    if (name != NULL)
        add(response, name, value);
    send_response(r->exchange, 200, response);
}

struct stream {
    ssize_t (*read)(void *arg, char *buf, size_t max);
    void (*end)(void *arg);
    void *arg;
};

static ssize_t stream_read(void *cls, uint64_t pos, char *buf, size_t max)
{
    struct stream *s = cls;
    (void)pos;
    ssize_t n = s->read(s->arg, buf, max);
    return n > 0 ? n : n == 0 ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void stream_end(void *cls)
{
    struct stream *s = cls;
    s->end(s->arg);
    free(s);
}

void http_stream(struct http_request *r, const char *type, ssize_t (*read)(void *arg, char *buf, size_t max),
                 void (*end)(void *arg), void *arg)
{
    struct stream *s = malloc(sizeof *s);
    struct MHD_Response *response = NULL;
    if (s != NULL) {
        *s = (struct stream){read, end, arg};
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, stream_read, s, stream_end);
    }
    if (response == NULL) {
        free(s);
        end(arg);
        reply(r->exchange, 500, "", NULL, 0);
        return;
    }
    add(response, "Content-Type", type);
    add(response, "X-Accel-Buffering", "no");
    send_response(r->exchange, 200, response);
}

void http_asleep(struct http_request *r)
{
    (void)MHD_set_connection_option(r->exchange->connection, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
}

/* Coming from no timeout, the clock of the connection starts anew. */
void http_awake(struct http_request *r)
{
    (void)MHD_set_connection_option(r->exchange->connection, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned)HTTP_KEEPALIVE_S);
}

const char *http_query(const struct http_request *r, const char *name)
{
    return MHD_lookup_connection_value(r->exchange->connection, MHD_GET_ARGUMENT_KIND, name);
}

/* ------------------------------------------------------------------ a request */

/* Browsers ask first; anybody may ask, the answer says whether the origin is welcome. */
static void preflight(struct http_exchange *x)
{
    const char *wanted = header(x, "Access-Control-Request-Headers");
    struct MHD_Response *response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (response == NULL)
        return;
    add(response, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    add(response, "Access-Control-Allow-Headers", wanted == NULL ? "authorization, content-type" : wanted);
    add(response, "Access-Control-Max-Age", "600");
    send_response(x, 204, response);
}

/* True: may go on. Else it has been answered. */
static bool admit(struct http_exchange *x, const char *method, const char *path)
{
    const char *origin = header(x, "Origin");
    if (!host_ok(x->http, header(x, "Host")))
        refuse(x, HTTP_BAD_HOST);
    else if (origin != NULL && !origin_ok(x, origin))
        refuse(x, HTTP_BAD_ORIGIN);
    else if (strcmp(method, "OPTIONS") != 0 && !key_ok(x, path))
        refuse(x, HTTP_BAD_KEY);
    else
        return true;
    return false;
}

static enum MHD_Result begin(struct http *h, struct MHD_Connection *connection, void **slot)
{
    struct http_exchange *x = calloc(1, sizeof *x);
    if (x == NULL)
        return MHD_NO;
    x->http = h;
    x->connection = connection;
    x->watched = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    watch_request(h->watch, x->watched);
    buf_init(&x->body, h->opts.body_max + 1); /* a NUL behind it */
    *slot = x;
    const char *length = header(x, "Content-Length");
    /* A client that asks before it sends can be told at once. */
    if (length != NULL && strtoull(length, NULL, 10) > h->opts.body_max && header(x, "Expect") != NULL) {
        refuse(x, HTTP_TOO_LARGE);
        return x->sent;
    }
    return MHD_YES;
}

static enum MHD_Result take_body(struct http_exchange *x, const char *data, size_t *size)
{
    if (x->dropped == 0 && x->body.len + *size <= x->http->opts.body_max)
        buf_put(&x->body, data, *size);
    else
        x->dropped += *size;
    *size = 0;
    return x->body.failed || x->dropped > DRAIN_MAX ? MHD_NO : MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *path, const char *method,
                                  const char *version, const char *data, size_t *size, void **slot)
{
    struct http_exchange *x = *slot;
    (void)version;
    if (x == NULL)
        return begin(cls, connection, slot);
    if (*size > 0)
        return take_body(x, data, size);
    watch_busy(x->http->watch, x->watched);
    x->sent = MHD_NO;
    if (!admit(x, method, path))
        return x->sent;
    if (strcmp(method, "OPTIONS") == 0)
        preflight(x);
    else if (x->dropped > 0)
        refuse(x, HTTP_TOO_LARGE);
    else {
        const union MHD_ConnectionInfo *fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        const union MHD_ConnectionInfo *peer = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        buf_put8(&x->body, 0);
        if (x->body.failed)
            reply(x, 500, "", NULL, 0);
        else {
            struct http_request r = {.method = method,
                                     .path = path,
                                     .body = (const char *)x->body.data,
                                     .body_len = x->body.len - 1,
                                     .client = fd == NULL ? -1 : fd->connect_fd,
                                     .loopback = peer != NULL && is_loopback(peer->client_addr),
                                     .exchange = x};
            x->http->opts.handle(x->http->opts.arg, &r);
        }
    }
    return x->sent;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **slot, enum MHD_RequestTerminationCode code)
{
    struct http_exchange *x = *slot;
    (void)cls;
    (void)connection;
    (void)code;
    if (x == NULL)
        return;
    watch_idle(x->http->watch, x->watched);
    buf_free(&x->body);
    free(x);
    *slot = NULL;
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **slot, enum MHD_ConnectionNotificationCode code)
{
    struct http *h = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        *slot = watch_add(h->watch, MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd);
    else
        watch_remove(h->watch, *slot);
}

/* ------------------------------------------------------------------ the server */

int http_open(struct http **out, const struct http_opts *opts, struct err *err)
{
    struct sockaddr_storage address;
    if (split_listen(opts->listen, &address, err) != 0)
        return -1;
    struct http *h = calloc(1, sizeof *h);
    if (h == NULL)
        return err_oom(err, sizeof *h);
    h->opts = *opts;
    if (watch_open(&h->watch, opts->request_s > 0 ? opts->request_s : HTTP_REQUEST_S, opts->connections, err) != 0) {
        free(h);
        return -1;
    }
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL | MHD_USE_ITC |
                     (address.ss_family == AF_INET6 ? MHD_USE_IPv6 : 0u);
    h->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, h, MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_CONNECTION_LIMIT,
                                 opts->connections + DOOR, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HTTP_KEEPALIVE_S,
                                 MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h,
                                 MHD_OPTION_END);
    if (h->daemon == NULL) {
        err_set(err, ERR_PEER, "cannot listen at %s: %s; does something else use that port?", opts->listen, strerror(errno));
        watch_close(h->watch);
        free(h);
        return -1;
    }
    *out = h;
    return 0;
}

void http_quiesce(struct http *h)
{
    int fd = MHD_quiesce_daemon(h->daemon);
    if (fd >= 0)
        close(fd);
}

void http_close(struct http *h)
{
    if (h == NULL)
        return;
    MHD_stop_daemon(h->daemon);
    watch_close(h->watch);
    free(h);
}

int http_port(const struct http *h)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_BIND_PORT);
    return info == NULL ? 0 : info->port;
}
