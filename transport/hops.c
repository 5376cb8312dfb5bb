#include "transport/hops.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define TCP_MS 3000
#define NAME_MAX_BYTES 64

/* ------------------------------------------------------------------ the identity */

static void key_is_private(struct doctor *d, const char *dir, const struct identity *id)
{
    struct peer_key self = identity_public(id);
    struct stat st;
    char fingerprint[FINGERPRINT_TEXT];
    peer_key_fingerprint(&self, fingerprint);
    if (stat(dir, &st) == 0 && (st.st_mode & 022) != 0)
        doctor_warn(d, "identity", "chmod 700 the folder", "%s: others can write into this folder and replace the key", dir);
    else
        doctor_ok(d, "identity", "%s, fingerprint %s, key file closed to others", dir, fingerprint);
}

bool hops_identity(struct doctor *d, const char *config)
{
    struct role_config c = {0};
    struct identity *id = NULL;
    struct err err;
    char dir[FILE_PATH_MAX];
    if (json_load(&c.doc, config, JSON_CAP_CONFIG, true, &err) != 0 || file_dir(c.dir, config, &err) != 0 ||
        role_config_path(&c, "identity", dir, &err) != 0) {
        doctor_fail(d, "config", "correct the file; docs/CONFIG.md lists the keys, configs/ has examples", "%s", err.text);
        json_free(c.doc);
        return false;
    }
    const int rc = identity_load(&id, dir, &err);
    if (rc != 0)
        doctor_fail(d, "identity", "make one with `keygen --out DIR`, restore it, or close it to others with chmod 600", "%s", err.text);
    else
        key_is_private(d, dir, id);
    identity_free(id);
    json_free(c.doc);
    return rc == 0;
}

/* ------------------------------------------------------------------ the way to a peer */

/* A line of one hop: "server tcp". */
struct hop {
    struct doctor *d;
    bool needed;
    char name[NAME_MAX_BYTES];
};

static struct hop hop(struct doctor *d, bool needed, const char *peer, const char *what)
{
    struct hop h = {.d = d, .needed = needed};
    (void)snprintf(h.name, sizeof h.name, "%s %s", peer, what);
    return h;
}

static void broken(const struct hop *h, const char *fix, const char *text)
{
    (h->needed ? doctor_fail : doctor_warn)(h->d, h->name, fix, "%s", text);
}

/* "tcp://HOST:PORT" in two; false if it is none. */
static bool split(const char *endpoint, char host[256], char port[8])
{
    const char *colon = strrchr(endpoint, ':'), *from = endpoint + 6;
    if (strncmp(endpoint, "tcp://", 6) != 0 || colon == NULL || colon <= from || (strcmp(colon, ":*") != 0 && transport_port(colon + 1) < 0))
        return false;
    const char *to = colon;
    if (*from == '[' && to[-1] == ']') {
        from++;
        to--;
    }
    if (to - from > 255)
        return false;
    (void)snprintf(host, 256, "%.*s", (int)(to - from), from);
    (void)snprintf(port, 8, "%s", colon + 1);
    return true;
}

static bool resolve(const struct hop *h, const char *host, const char *port, struct addrinfo **out)
{
    /* As the channel looks it up: IPv6 where the address is one (transport_ipv6). */
    const struct addrinfo hints = {.ai_family = strchr(host, ':') != NULL ? AF_INET6 : AF_INET, .ai_socktype = SOCK_STREAM};
    char text[400], address[NI_MAXHOST];
    int rc = getaddrinfo(host, port, &hints, out);
    if (rc != 0) {
        (void)snprintf(text, sizeof text, "%s: %s", host, gai_strerror(rc));
        broken(h, "correct the name in the config, or /etc/hosts, or the name server; a numeric address needs none", text);
        return false;
    }
    if (getnameinfo((*out)->ai_addr, (*out)->ai_addrlen, address, sizeof address, NULL, 0, NI_NUMERICHOST) != 0)
        address[0] = '\0';
    if (strcmp(address, host) == 0)
        doctor_ok(h->d, h->name, "%s is a numeric address", host);
    else
        doctor_ok(h->d, h->name, "%s is %s", host, address);
    return true;
}

/* 0, or why not. */
static int try_connect(const struct addrinfo *a)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error = 0;
    if (fd < 0)
        return errno;
    if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        socklen_t size = sizeof error;
        error = errno;
        if (error == EINPROGRESS)
            error = poll(&p, 1, TCP_MS) <= 0 ? ETIMEDOUT : getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 ? errno : error;
    }
    close(fd);
    return error;
}

static bool connects(const struct hop *h, const struct addrinfo *all, const char *endpoint)
{
    char text[400];
    int error = 0;
    for (const struct addrinfo *a = all; a != NULL; a = a->ai_next) {
        const uint64_t start = clock_us();
        if ((error = try_connect(a)) == 0) {
            doctor_ok(h->d, h->name, "connected in %.1f ms", (double)(clock_us() - start) / 1000);
            return true;
        }
    }
    (void)snprintf(text, sizeof text, "%s: %s", endpoint, strerror(error));
    broken(h, error == ECONNREFUSED ? "start the peer's `serve` there, or correct the port in the config"
              : error == ETIMEDOUT  ? "open the port in the firewalls on the way, or correct the address"
                                    : "correct the address, or the route to it",
           text);
    return false;
}

static void shake_hands(const struct hop *h, const struct hop *key, const struct role_peer *peer, const struct identity *id,
                        struct transport *t, struct channel **out)
{
    const uint64_t start = clock_us();
    struct peer_key self = identity_public(id);
    char fingerprint[FINGERPRINT_TEXT], line[PEER_KEY_TEXT], fix[PEER_KEY_TEXT + 128];
    struct err err;
    if (channel_open(out, t, peer->endpoint, &peer->key, id, CHANNEL_CONNECT_MS, &err) != 0) {
        peer_key_text(&self, line);
        (void)snprintf(fix, sizeof fix, "compare keys with the peer's operator; this party's line for the peer's allow-list: %s", line);
        broken(h, err.code == ERR_AUTH ? fix : "is it a stip daemon that listens there, and of the right role?", err.text);
        return;
    }
    doctor_ok(h->d, h->name, "encrypted in %.1f ms, this party's key is on the allow-list", (double)(clock_us() - start) / 1000);
    peer_key_fingerprint(&peer->key, fingerprint);
    doctor_ok(key->d, key->name, "the peer holds the pinned key, fingerprint %s", fingerprint);
}

bool hops_reach(struct doctor *d, const char *name, const char *endpoint, bool needed)
{
    const struct hop dns = hop(d, needed, name, "dns"), tcp = hop(d, needed, name, "tcp");
    struct addrinfo *found = NULL;
    char host[256], port[8];
    if (!split(endpoint, host, port)) {
        broken(&dns, "write tcp://HOST:PORT", endpoint);
        return false;
    }
    if (!resolve(&dns, host, port, &found))
        return false;
    const bool reached = connects(&tcp, found, endpoint);
    freeaddrinfo(found);
    return reached;
}

void hops_peer(struct doctor *d, const char *name, const struct role_peer *peer, const struct identity *id, struct transport *t,
               bool needed, struct channel **out)
{
    const struct hop handshake = hop(d, needed, name, "handshake"), key = hop(d, needed, name, "key");
    *out = NULL;
    if (hops_reach(d, name, peer->endpoint, needed))
        shake_hands(&handshake, &key, peer, id, t, out);
}

/* ------------------------------------------------------------------ listening */

void hops_listen(struct doctor *d, const char *name, const char *endpoint)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICHOST};
    struct addrinfo *found = NULL;
    char host[256], port[8];
    const int one = 1;
    if (!split(endpoint, host, port)) {
        doctor_fail(d, name, "write tcp://ADDRESS:PORT (metrics: ADDRESS:PORT)", "%s", endpoint);
        return;
    }
    if (getaddrinfo(strcmp(host, "*") == 0 ? "0.0.0.0" : host, strcmp(port, "*") == 0 ? "0" : port, &hints, &found) != 0) {
        doctor_fail(d, name, "write a numeric address of this machine, 0.0.0.0 for all", "%s: not an address", endpoint);
        return;
    }
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), error = 0;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 1) != 0)
        error = errno;
    if (fd >= 0)
        close(fd);
    freeaddrinfo(found);
    if (error == EADDRINUSE)
        doctor_ok(d, name, "%s is in use; right if `serve` runs now", endpoint);
    else if (error != 0)
        doctor_fail(d, name, error == EACCES ? "take a port from 1024 on" : "write an address of this machine, 0.0.0.0 for all", "%s: %s",
                    endpoint, strerror(error));
    else
        doctor_ok(d, name, "%s is free", endpoint);
}

void hops_metrics(struct doctor *d, const char *listen)
{
    char endpoint[280];
    if (listen == NULL)
        return;
    (void)snprintf(endpoint, sizeof endpoint, "tcp://%s", listen);
    hops_listen(d, "metrics", endpoint);
}

void hops_allow(struct doctor *d, const char *name, const char *key, size_t count, const char *consequence)
{
    char fix[160];
    (void)snprintf(fix, sizeof fix, "put their keys into %s of the config: \"@users/alice.pub\" or the line itself", key);
    if (count == 0)
        doctor_warn(d, name, fix, "%s is empty: %s", key, consequence);
    else
        doctor_ok(d, name, "%zu in %s", count, key);
}
