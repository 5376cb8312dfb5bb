#include "model_dev/push.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/progress.h"
#include "base/size.h"
#include "transport/client.h"

#define RETRY_FIRST_MS 500
#define RETRY_MAX_MS 30000

_Static_assert(MANIFEST_CHUNK == WIRE_PAYLOAD_MAX, "a signed chunk is what one CHUNK message carries");

struct push {
    const struct release *from;
    uint8_t *manifest; /* text, then signature */
    size_t manifest_len;
    struct blob_list list;
};

int push_open(struct push **out, const struct release *from, struct err *err)
{
    struct push *p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_oom(err, sizeof *p);
    p->from = from;
    if (manifest_for_server(&from->manifest, err) != 0)
        goto fail;
    p->manifest_len = from->len + CRYPTO_SIG_LEN;
    if (p->manifest_len > BLOB_MANIFEST_MAX) {
        err_set(err, ERR_INPUT, "%s: the manifest has %zu bytes, at most %zu can be sent", from->package, p->manifest_len,
                BLOB_MANIFEST_MAX);
        goto fail;
    }
    if ((p->manifest = malloc(p->manifest_len)) == NULL) {
        err_oom(err, p->manifest_len);
        goto fail;
    }
    memcpy(p->manifest, from->text, from->len);
    memcpy(p->manifest + from->len, from->sig, CRYPTO_SIG_LEN);
    const struct manifest_file *f = from->manifest.files;
    for (size_t i = 0; i < from->manifest.file_count; i++)
        if (blob_list_known(&p->list, f[i].name, f[i].size, f[i].sha256, f[i].chunks, f[i].chunk_count, err) != 0)
            goto fail;
    *out = p;
    return 0;
fail:
    push_close(p);
    return -1;
}

void push_close(struct push *p)
{
    if (p == NULL)
        return;
    blob_list_free(&p->list);
    free(p->manifest);
    free(p);
}

static void show(void *arg, uint64_t done, uint64_t total)
{
    (void)total;
    progress_at(arg, done);
}

static int offer(struct push *p, struct channel *ch, struct err *err)
{
    struct msg_offer m = {.manifest_bytes = p->manifest_len, .files = (uint32_t)p->list.count,
                          .epoch = p->from->manifest.epoch};
    struct blob_source *source = NULL;
    struct progress bar;
    memcpy(m.context, p->from->context, sizeof m.context);
    if (blob_source_open(&source, p->from->package, &p->list, p->manifest, p->manifest_len, err) != 0)
        return -1;
    progress_start(&bar, "pushing", "B", blob_list_bytes(&p->list));
    int rc = client_push(ch, &m, source, show, &bar, blob_list_bytes(&p->list), err);
    progress_end(&bar);
    blob_source_close(source);
    return rc;
}

int push_to(struct push *p, struct transport *t, const struct role_peer *server, const struct identity *id, bool *there,
            struct err *err)
{
    struct channel *ch = NULL;
    struct msg_hello_ok hello;
    if (channel_open(&ch, t, server->endpoint, &server->key, id, CHANNEL_CONNECT_MS, err) != 0)
        return -1;
    int rc = client_hello(ch, NULL, &hello, err);
    if (rc == 0) {
        *there = memcmp(hello.context, p->from->context, sizeof hello.context) == 0;
        if (!*there)
            rc = offer(p, ch, err);
    }
    channel_close(ch);
    return rc;
}

static void wait_ms(unsigned ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0)
        continue;
}

int push_all(struct push *p, struct transport *t, const struct role_peer *servers, size_t n, const struct identity *id,
             struct err *err)
{
    bool *have = calloc(n + 1, sizeof *have);
    if (have == NULL)
        return err_oom(err, n);
    size_t left = n;
    for (unsigned ms = RETRY_FIRST_MS; left > 0;) {
        for (size_t i = 0; i < n; i++) {
            struct err why = {0};
            bool there = false;
            if (have[i])
                continue;
            have[i] = push_to(p, t, &servers[i], id, &there, &why) == 0;
            if (have[i]) {
                log_info("%s: the package is %s", servers[i].endpoint, there ? "already there" : "in place");
                left--;
            } else {
                log_warn("package not delivered, next try in %u.%u s: %s", ms / 1000, ms % 1000 / 100, why.text);
            }
        }
        if (left > 0)
            wait_ms(ms);
        ms = 2 * ms < RETRY_MAX_MS ? 2 * ms : RETRY_MAX_MS;
    }
    free(have);
    return 0;
}
