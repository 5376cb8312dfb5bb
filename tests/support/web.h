/* tests/support/web.h - a small HTTP/1.1 client for tests of the gateway, and the gateway itself as a process.
 *
 * Data flow   request -> socket -> status, headers, body (plain or chunked) -> test; events of a stream one by one.
 * Units       milliseconds.
 * Errors      what should never happen ends the test with a message; statuses and early ends are for the test to judge.
 * Memory      web_call and web_finish fill a struct web; web_free releases.
 * Secrets     of a test.
 */
#ifndef STIP_TESTS_SUPPORT_WEB_H
#define STIP_TESTS_SUPPORT_WEB_H

#include <stdbool.h>
#include <stddef.h>

#include "tests/support/trio.h"

struct gateway {
    struct process process;
    int port;
};

/* stip-user serve --listen 127.0.0.1:0 WORDS..., its log in DIR/gateway.log. */
void gateway_open(struct gateway *g, const struct trio *t, const char *const words[]);
/* Gives the exit status. */
int gateway_close(struct gateway *g);

struct web {
    int status; /* 0: the connection ended before an answer */
    char *head, *body;
    size_t len;
    bool whole; /* the body came to its end */
};

/* headers: whole lines with \r\n, or "". Host is added unless they have it. body NULL: GET, else POST. */
void web_call(int port, const char *path, const char *headers, const char *body, struct web *out);
void web_request(int port, const char *method, const char *path, const char *headers, const char *body, size_t len,
                 struct web *out);
void web_free(struct web *w);
/* The body as JSON; anything else ends the test. */
struct json_doc *web_json(const struct web *w);

/* The same in steps: a socket on which the request was sent, then what comes. */
int web_send(int port, const char *method, const char *path, const char *headers, const char *body, size_t len);
/* Waits until `text` has come, in the first 64 KB; leaves it there to be read. */
bool web_comes(int fd, const char *text);
void web_finish(int fd, struct web *out);

#endif
