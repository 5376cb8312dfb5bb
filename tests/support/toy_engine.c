#include "tests/support/toy_engine.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/json.h"
#include "base/le.h"
#include "tests/support/plain.h"

enum { CAP = 512, REQUEST_MAX = 1 << 20 };

static void must(int ok, const char *what)
{
    if (ok)
        return;
    (void)fprintf(stderr, "tests/support/toy_engine: %s\n", what);
    _exit(1);
}

static void say(int fd, const char *text)
{
    must(send(fd, text, strlen(text), MSG_NOSIGNAL) >= 0 || 1, "send"); /* a client may be gone */
}

/* One request: the head, then as many bytes as it says. */
static char *receive(int fd, char *buf)
{
    size_t n = 0;
    for (;;) {
        ssize_t got = recv(fd, buf + n, REQUEST_MAX - 1 - n, 0);
        if (got <= 0)
            return NULL;
        n += (size_t)got;
        buf[n] = '\0';
        char *body = strstr(buf, "\r\n\r\n"), *length = strstr(buf, "Content-Length: ");
        if (body != NULL && (length == NULL || n >= (size_t)(body + 4 - buf) + strtoul(length + 16, NULL, 10)))
            return body + 4;
    }
}

/* The file of a zip archive, by the directory at its end; nothing is compressed. */
static const uint8_t *unzipped(const uint8_t *zip, size_t len, const char *name, size_t *size)
{
    must(len > 22 && le_get32(zip + len - 22) == 0x06054b50, "end of zip");
    const uint8_t *line = zip + le_get32(zip + len - 6);
    for (int i = le_get16(zip + len - 12); i > 0; i--) {
        must(le_get32(line) == 0x02014b50 && le_get16(line + 10) == 0, "zip directory");
        const uint8_t *head = zip + le_get32(line + 42);
        const size_t n = le_get16(line + 28);
        *size = le_get32(line + 24);
        if (n == strlen(name) && memcmp(line + 46, name, n) == 0 && memcmp(head + 30, name, n) == 0)
            return head + 30 + n + le_get16(head + 28);
        line += 46 + n;
    }
    must(0, name);
    return NULL;
}

/* prompt_embeds -> the places of its rows in the table. */
static int places_of(const char *text, const struct plain *p, int32_t ids[CAP])
{
    const struct tensor *t = checkpoint_tensor(p->cp, ROLE_TOKEN_EMBED, 0);
    const size_t width = (size_t)(t->bytes / t->dim[0]), pad = strlen(text) - strcspn(text, "=");
    size_t len = strlen(text) / 4 * 3 - pad, size;
    uint8_t *zip = malloc(len);
    must(zip != NULL && crypto_unbase64(text, zip, len), "base64");
    const char *pickle = (const char *)unzipped(zip, len, "archive/data.pkl", &size);
    must(memmem(pickle, size, "ctorch\nFloatStorage\n", 20) != NULL, "type");
    const uint8_t *rows = unzipped(zip, len, "archive/data/0", &size);
    const int n = (int)(size / width);
    must(size % width == 0 && n > 0 && n <= CAP, "shape");
    for (int i = 0; i < n; i++) {
        ids[i] = 0;
        while ((uint64_t)ids[i] < t->dim[0] && memcmp(rows + (size_t)i * width, t->data + (size_t)ids[i] * width, width) != 0)
            ids[i]++;
        must((uint64_t)ids[i] < t->dim[0], "a row that is not in the table");
    }
    free(zip);
    return n;
}

static void complete(int fd, const char *body, struct plain *p, enum toy_mood mood)
{
    struct json_doc *doc;
    struct err err;
    int32_t ids[CAP];
    int n = 0;
    char text[256];
    must(json_parse(&doc, body, strlen(body), false, "request", &err) == 0, "request");
    for (const struct json *id = json_first(json_get(json_root(doc), "prompt")); id != NULL && n < CAP; id = json_next(id))
        ids[n++] = (int32_t)json_number(id);
    const char *rows = json_string(json_get(json_root(doc), "prompt_embeds"));
    if ((rows != NULL) != (mood == TOY_TAKES_ROWS)) {
        say(fd, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n{\"error\":{\"message\":\"You must set `--enable-prompt-embeds`\"}}");
        json_free(doc);
        return;
    }
    if (rows != NULL)
        n = places_of(rows, p, ids);
    const int total = n + (int)json_number(json_get(json_root(doc), "max_tokens"));
    const bool ignore = mood == TOY_GOES_ON || json_true(json_get(json_root(doc), "ignore_eos"));
    json_free(doc);
    must(n > 0 && total <= CAP && plain_greedy(p, ids, n, total, &err) == 0, "greedy");
    say(fd, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: hello\n\n");
    const char *why = "length";
    for (int i = n; i < total; i++) {
        if ((!ignore && p->config->eos_count > 0 && ids[i] == p->config->eos[0]) || (mood == TOY_STOPS && i == n + 3)) {
            why = "stop";
            break;
        }
        if (mood == TOY_FAILS && i == n + 2)
            say(fd, "error: {\"code\":500,\"message\":\"context shift is disabled\"}\n\ndata: [DONE]\n\n");
        if ((mood == TOY_BREAKS_OFF || mood == TOY_FAILS) && i == n + 2)
            return;
        (void)snprintf(text, sizeof text, mood == TOY_OTHER_VOCABULARY ? "data: {\"choices\":[{\"text\":\"word%d \"}]}\r\n\r\n" : "data: {\"choices\":[{\"text\":\"<%d", ids[i]);
        say(fd, text);
        if (mood != TOY_OTHER_VOCABULARY)
            say(fd, i % 3 == 0 ? "\"}]}\n\ndata: {\"choices\":[{\"text\":\">\"}]}\n\n" : ">\"}]}\n\n"); /* a token in two events */
    }
    (void)snprintf(text, sizeof text, "data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"%s\"}]}\n\ndata: [DONE]\n\n", why);
    say(fd, text);
}

static void serve(int listener, const char *model, enum toy_mood mood)
{
    static char buf[REQUEST_MAX];
    struct plain p;
    struct err err;
    must(plain_open(&p, model, true, CAP, COMPUTE_F32, &err) == 0, "model");
    for (int asked = 1;; asked++) {
        int fd = accept(listener, NULL, NULL);
        must(fd >= 0, "accept");
        const char *body = receive(fd, buf);
        if (body != NULL && ((mood == TOY_FALLS_SILENT && asked > 1) || (mood == TOY_SILENT && buf[0] == 'P')))
            while (recv(fd, buf, 1, 0) > 0)
                ;
        else if (body != NULL && strncmp(buf, "GET /v1/models ", 15) == 0)
            say(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"object\":\"list\",\"data\":[{\"id\":\"exported\"}]}");
        else if (body != NULL && mood == TOY_REFUSES)
            say(fd, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n{\"error\":{\"message\":\"no such thing\"}}");
        else if (body != NULL && strncmp(buf, "POST /v1/completions ", 21) == 0)
            complete(fd, body, &p, mood);
        else if (body != NULL)
            say(fd, "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n{}");
        (void)close(fd);
    }
}

void toy_engine_start(struct toy_engine *e, const char *model, enum toy_mood mood)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 8) == 0 &&
             getsockname(fd, (struct sockaddr *)&at, &len) == 0,
         "listen");
    e->port = ntohs(at.sin_port);
    e->pid = fork();
    must(e->pid >= 0, "fork");
    if (e->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        serve(fd, model, mood);
    }
    (void)close(fd);
}

void toy_engine_stop(struct toy_engine *e)
{
    (void)kill(e->pid, SIGKILL);
    (void)waitpid(e->pid, NULL, 0);
}
