/* transport/http.h - the one door to libmicrohttpd: a small HTTP/1.1 server, a thread per connection. The gateway and the figures of
 * the daemons stand on it.
 *
 * Data flow   socket -> request line, headers, body up to a limit -> checks (Host, Origin, key) -> handler -> http_reply or
 *             http_stream -> socket.
 * Units       bytes, seconds.
 * Errors      http_open: address, memory. What a client does wrong is answered with a status and closes nothing but its own
 *             connection. Host names other than localhost are refused (a web page that renames itself to this address cannot
 *             reach it), foreign origins too.
 * Memory      http_open gives and borrows the options until http_close. Requests are borrowed during the handler; replies consume
 *             their body.
 * Secrets     bodies and headers are never logged; the API key is compared in constant time.
 * Source      RFC 9110, 9112; Fetch standard for CORS.
 *
 * Thread      handlers and stream callbacks run in the connection's thread and may block there.
 */
#ifndef STIP_TRANSPORT_HTTP_H
#define STIP_TRANSPORT_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define HTTP_KEEPALIVE_S 30 /* an idle connection lives this long */
#define HTTP_REQUEST_S 60   /* time for the headers of a request, and again for its body, where opts say nothing else */

struct http_request {
    const char *method, *path; /* the path without its query */
    const char *body;          /* with a NUL behind it */
    size_t body_len;
    int client;    /* socket, to poll for a client that hangs up */
    bool loopback; /* the client is on this machine */
    struct http_exchange *exchange;
};

/* Called once per request; answers with http_reply or http_stream. Not answered: the connection is closed. */
typedef void (*http_handler)(void *arg, struct http_request *r);

/* What is answered without asking the handler. */
enum http_refusal { HTTP_BAD_HOST, HTTP_BAD_ORIGIN, HTTP_BAD_KEY, HTTP_TOO_LARGE };

struct http_opts {
    const char *listen;            /* "127.0.0.1:7847", "[::1]:7847"; port 0 takes a free one */
    const char *key;               /* API key, NULL: none is asked for */
    const char *const *open_paths; /* that need no key, NULL-terminated */
    const char *origins;           /* comma-separated, NULL: own origin only */
    const char *hosts;             /* comma-separated names that Host may say besides localhost and addresses, NULL: none */
    bool any_host;                 /* Host may say anything: nothing here is worth a web page's trouble */
    /* The JSON body of a refusal, free()d here; NULL: a line of text. */
    char *(*refusal)(enum http_refusal why, int status);
    size_t body_max;
    unsigned request_s;            /* 0: HTTP_REQUEST_S */
    unsigned connections;          /* at once; with one more, the one without a request for longest is cut */
    http_handler handle;
    void *arg;
};

struct http;
MUST_CHECK int http_open(struct http **out, const struct http_opts *opts, struct err *err);
/* Takes no new connections; those that are there go on. */
void http_quiesce(struct http *h);
/* Cuts what is still there, waits for the handlers that run. NULL is fine. */
void http_close(struct http *h);
int http_port(const struct http *h);
/* True for an address that other machines cannot reach. False with the reason for a malformed one. */
MUST_CHECK int http_check_listen(const char *listen, bool *loopback, struct err *err);

/* A query parameter, NULL when absent; borrowed. */
const char *http_query(const struct http_request *r, const char *name);
/* body NULL: out of memory while it was made, becomes a 500. */
void http_reply(struct http_request *r, int status, const char *type, char *body, size_t len);
/* An immutable body that outlives the server, with an extra header or NULL. */
void http_reply_static(struct http_request *r, const char *type, const void *body, size_t len, const char *header,
                       const char *value);
/* A body of unknown length: `read` fills up to max bytes and may block; 0 or less ends the body (-1: as broken). `end` is called
 * once, also when the client has gone. */
void http_stream(struct http_request *r, const char *type, ssize_t (*read)(void *arg, char *buf, size_t max),
                 void (*end)(void *arg), void *arg);
/* A handler that will be silent for long says so, or its connection counts as idle; http_awake before the reply. */
void http_asleep(struct http_request *r);
void http_awake(struct http_request *r);

#endif
