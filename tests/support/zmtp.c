#include "tests/support/zmtp.h"

#include <arpa/inet.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/wire.h"

#define MAC 16
#define SHORT_NONCE 8
#define PART_MAX (WIRE_PAYLOAD_MAX + 4096)

static bool send_all(int fd, const void *data, size_t len)
{
    for (const uint8_t *at = data; len > 0;) {
        const ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static bool recv_all(int fd, void *data, size_t len)
{
    return recv(fd, data, len, MSG_WAITALL) == (ssize_t)len;
}

static void put64(uint8_t out[8], uint64_t v)
{
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(v >> (56 - 8 * i));
}

/* A short nonce behind the prefix, and on the wire. */
static void next_nonce(struct zmtp *z, const char prefix[17], uint8_t nonce[24], uint8_t wire[SHORT_NONCE])
{
    memcpy(nonce, prefix, 16);
    put64(nonce + 16, ++z->nonce);
    memcpy(wire, nonce + 16, SHORT_NONCE);
}

/* A command of at most 65,535 bytes; its name has its length in front. */
static bool send_command(int fd, const uint8_t *body, size_t len)
{
    uint8_t head[9] = {0x06};
    put64(head + 1, len);
    if (len > 255)
        return send_all(fd, head, sizeof head) && send_all(fd, body, len);
    const uint8_t small[2] = {0x04, (uint8_t)len};
    return send_all(fd, small, sizeof small) && send_all(fd, body, len);
}

static bool recv_command(int fd, const char *name, uint8_t *body, size_t cap, size_t *len)
{
    uint8_t head[2];
    const size_t n = strlen(name);
    if (!recv_all(fd, head, sizeof head) || head[0] != 0x04 || head[1] > cap || !recv_all(fd, body, head[1]))
        return false;
    *len = head[1];
    return *len >= n && memcmp(body, name, n) == 0;
}

static bool greet(int fd)
{
    uint8_t mine[64] = {[0] = 0xff, [9] = 0x7f, [10] = 3, [11] = 0}, other[64];
    memcpy(mine + 12, "CURVE", 5);
    return send_all(fd, mine, sizeof mine) && recv_all(fd, other, sizeof other);
}

static bool shake_hands(struct zmtp *z, const struct identity *id, const struct peer_key *server)
{
    static const uint8_t meta[] = "\x0bSocket-Type\0\0\0\6DEALER\x08Identity\0\0\0"; /* its own NUL ends the last length */
    uint8_t pub[32], key[32], nonce[24], zero[64] = {0}, hello[200] = {0}, in[256], welcome[128];
    size_t len;
    (void)crypto_box_keypair(pub, key);
    memcpy(hello, "\x05HELLO\x01\x00", 8);
    memcpy(hello + 80, pub, 32);
    next_nonce(z, "CurveZMQHELLO---", nonce, hello + 112);
    if (crypto_box_easy(hello + 120, zero, sizeof zero, nonce, server->curve_pub, key) != 0 || !send_command(z->fd, hello, sizeof hello) ||
        !recv_command(z->fd, "\x07WELCOME", in, sizeof in, &len) || len != 168)
        return false;
    memcpy(nonce, "WELCOME-", 8);
    memcpy(nonce + 8, in + 8, 16);
    if (crypto_box_open_easy(welcome, in + 24, 144, nonce, server->curve_pub, key) != 0) /* S' and the cookie */
        return false;
    uint8_t plain[32 + 16 + 80 + sizeof meta], vouch[64], out[9 + 96 + SHORT_NONCE + MAC + sizeof plain];
    memcpy(plain, id->curve_pub, 32);
    memcpy(nonce, "VOUCH---", 8);
    randombytes_buf(nonce + 8, 16);
    memcpy(plain + 32, nonce + 8, 16);
    memcpy(vouch, pub, 32);
    memcpy(vouch + 32, server->curve_pub, 32);
    if (crypto_box_easy(plain + 48, vouch, sizeof vouch, nonce, welcome, id->curve_key) != 0)
        return false;
    memcpy(plain + 128, meta, sizeof meta);
    memcpy(out, "\x08INITIATE", 9);
    memcpy(out + 9, welcome + 32, 96);
    next_nonce(z, "CurveZMQINITIATE", nonce, out + 105);
    return crypto_box_beforenm(z->shared, welcome, key) == 0 &&
           crypto_box_easy_afternm(out + 113, plain, sizeof plain, nonce, z->shared) == 0 && send_command(z->fd, out, sizeof out) &&
           recv_command(z->fd, "\x05READY", in, sizeof in, &len);
}

bool zmtp_open(struct zmtp *z, const char *endpoint, const struct identity *id, const struct peer_key *server)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    a.sin_port = htons((uint16_t)atoi(strrchr(endpoint, ':') + 1));
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *z = (struct zmtp){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    return z->fd >= 0 && connect(z->fd, (const struct sockaddr *)&a, sizeof a) == 0 && greet(z->fd) && shake_hands(z, id, server);
}

bool zmtp_send(struct zmtp *z, const void *part, size_t len, bool more)
{
    static uint8_t plain[1 + PART_MAX], out[9 + 16 + MAC + sizeof plain];
    uint8_t nonce[24];
    if (len > PART_MAX)
        return false;
    plain[0] = more ? 1 : 0;
    memcpy(plain + 1, part, len);
    out[0] = 0x02; /* a message, its length in 8 bytes */
    put64(out + 1, 16 + MAC + 1 + len);
    memcpy(out + 9, "\x07MESSAGE", 8);
    next_nonce(z, "CurveZMQMESSAGEC", nonce, out + 17);
    return crypto_box_easy_afternm(out + 25, plain, 1 + len, nonce, z->shared) == 0 && send_all(z->fd, out, 25 + MAC + 1 + len);
}
