#include "bench/baselines/smpc/mesh.h"

#include <stdlib.h>
#include <string.h>

struct mesh {
    struct transport *transport;
    int index, parties;
    struct bare *line[PARTY_MAX];
};

struct hello {
    char version[16];
    uint8_t run[MESH_RUN];
    uint64_t index, parties;
};

int mesh_open(struct mesh **out, struct transport *t, int index, int parties, const char *at, char endpoint[PARTY_MAX][BARE_ENDPOINT], struct err *err)
{
    struct mesh *m = calloc(1, sizeof *m);
    if (m == NULL)
        return err_oom(err, sizeof *m);
    m->transport = t;
    m->index = index;
    m->parties = parties;
    memset(endpoint, 0, PARTY_MAX * BARE_ENDPOINT);
    for (int k = index + 1; k < mesh_count(parties); k++)
        if (bare_listen(&m->line[k], t, at, 0, endpoint[k], err) != 0) {
            mesh_close(m);
            return -1;
        }
    *out = m;
    return 0;
}

void mesh_close(struct mesh *m)
{
    if (m == NULL)
        return;
    for (int k = 0; k < PARTY_MAX; k++)
        bare_close(m->line[k]);
    free(m);
}

int mesh_connect(struct mesh *m, int to, const char *endpoint, struct err *err)
{
    return bare_connect(&m->line[to], m->transport, endpoint, 0, err) == 0 ? 0 : err_wrap(err, "party %d", to);
}

static int greet_one(struct mesh *m, int other, const struct hello *mine, struct err *err)
{
    struct hello theirs;
    if (bare_recv(m->line[other], &theirs, sizeof theirs, MESH_TIMEOUT_MS, err) != 0)
        return err_wrap(err, "party %d", other);
    theirs.version[sizeof theirs.version - 1] = '\0';
    if (strcmp(theirs.version, mine->version) != 0)
        return err_set(err, ERR_PEER, "party %d runs version \"%s\", this is \"%s\": start both from one build", other, theirs.version,
                       mine->version);
    if (memcmp(theirs.run, mine->run, sizeof theirs.run) != 0 || theirs.index != (uint64_t)other || theirs.parties != mine->parties)
        return err_set(err, ERR_PEER, "party %d belongs to another run", other);
    return 0;
}

/* A fresh seed for `out`, which `other` gets too. */
static int agree(struct mesh *m, int other, struct crypto_stream **out, struct err *err)
{
    uint8_t key[CRYPTO_KEY_LEN];
    if (crypto_random(key, sizeof key, err) != 0 || bare_send(m->line[other], key, sizeof key, err) != 0)
        return -1;
    return crypto_stream_new(out, key, err);
}

static int learn(struct mesh *m, int other, struct crypto_stream **out, struct err *err)
{
    uint8_t key[CRYPTO_KEY_LEN];
    if (bare_recv(m->line[other], key, sizeof key, MESH_TIMEOUT_MS, err) != 0)
        return err_wrap(err, "party %d", other);
    return crypto_stream_new(out, key, err);
}

static int agree_on_seeds(struct mesh *m, struct party *p, struct err *err)
{
    const int dealer = 2;
    if (m->parties == 3)
        return agree(m, (m->index + 2) % 3, &p->own, err) != 0 || learn(m, (m->index + 1) % 3, &p->next, err) != 0 ? -1 : 0;
    if (m->index == dealer)
        return learn(m, 0, &p->seed[0], err) != 0 || learn(m, 1, &p->seed[1], err) != 0 ? -1 : 0;
    if (agree(m, dealer, &p->seed[0], err) != 0)
        return -1;
    return m->index == 0 ? agree(m, 1, &p->own, err) : learn(m, 0, &p->own, err);
}

int mesh_greet(struct mesh *m, const uint8_t run[MESH_RUN], struct party *p, struct err *err)
{
    struct hello mine = {.version = STIP_VERSION "/1", .index = (uint64_t)m->index, .parties = (uint64_t)m->parties};
    memcpy(mine.run, run, sizeof mine.run);
    for (int k = 0; k < mesh_count(m->parties); k++)
        if (k != m->index && bare_send(m->line[k], &mine, sizeof mine, err) != 0)
            return err_wrap(err, "party %d", k);
    for (int k = 0; k < mesh_count(m->parties); k++)
        if (k != m->index && greet_one(m, k, &mine, err) != 0)
            return -1;
    if (agree_on_seeds(m, p, err) != 0)
        return -1;
    memcpy(p->line, m->line, sizeof p->line);
    return 0;
}
