#include "tests/support/smpc.h"

#include <pthread.h>
#include <string.h>

#include "bench/baselines/smpc/material.h"
#include "bench/baselines/smpc/mesh.h"

#define WORDS ((size_t)1 << 23)

struct thread {
    const struct smpc_program *program;
    pthread_t thread;
    struct mesh *mesh;
    struct party *party;
    struct party_cost plan;
    double *out;
    struct err err;
    int rc;
};

static void walk(const struct smpc_program *s, struct party *p, const struct party_cost *plan, double *out)
{
    struct share x = ops_new(p, s->nx), y = ops_new(p, s->ny), z = ops_new(p, s->nz);
    ops_input(p, x, s->x, 0);
    if (s->y != NULL)
        ops_input(p, y, s->y, 1);
    const struct party_cost inputs = p->cost;
    p->sent_bytes = 0;
    if (plan != NULL && p->mode == PARTY_DEAL)
        material_deal_begin(p);
    else if (plan != NULL)
        material_begin(p, plan);
    s->run(p, z, x, y);
    if (p->mode == PARTY_DEAL)
        material_deal_end(p);
    ops_output(p, z, out, 1);
    p->cost.bytes -= inputs.bytes;
    p->cost.rounds -= inputs.rounds;
}

static void *run_party(void *arg)
{
    static const uint8_t run[MESH_RUN] = "a test";
    struct thread *t = arg;
    t->rc = mesh_greet(t->mesh, run, t->party, &t->err);
    if (t->rc == 0)
        walk(t->program, t->party, &t->plan, t->out);
    if (t->rc == 0)
        t->rc = party_check(t->party, &t->err);
    return NULL;
}

int smpc_run(const struct smpc_program *program, int parties, double *out, struct party_cost *plan, uint64_t *sent, struct err *err)
{
    char endpoint[PARTY_MAX][PARTY_MAX][BARE_ENDPOINT];
    struct thread thread[PARTY_MAX] = {0};
    struct transport *transport = NULL;
    struct party *planner = NULL;
    const int count = mesh_count(parties);
    int rc = -1, started = 0;
    if (transport_open(&transport, err) != 0)
        return -1;
    if (party_open(&planner, PARTY_PLAN, 0, parties, 0, err) != 0)
        goto done;
    walk(program, planner, NULL, NULL);
    for (int i = 0; i < count; i++) {
        struct thread *t = &thread[i];
        const enum party_mode mode = i == parties ? PARTY_DEAL : PARTY_RUN;
        *t = (struct thread){.program = program, .plan = planner->cost, .out = out};
        if (mesh_open(&t->mesh, transport, i, parties, BARE_HERE, endpoint[i], err) != 0 ||
            party_open(&t->party, mode, mode == PARTY_RUN ? i : 0, parties, mode == PARTY_RUN ? WORDS : 0, err) != 0)
            goto done;
        t->party->timeout_ms = 120000;
        for (int k = 0; k < i; k++)
            if (mesh_connect(t->mesh, k, endpoint[k][i], err) != 0)
                goto done;
    }
    for (; started < count; started++)
        if (pthread_create(&thread[started].thread, NULL, run_party, &thread[started]) != 0)
            break;
    rc = 0;
    for (int i = 0; i < started; i++)
        (void)pthread_join(thread[i].thread, NULL);
    /* Who fails first leaves the others waiting: its own words say more than theirs. */
    for (int i = 0; i < started; i++)
        if (thread[i].rc != 0 && (rc == 0 || thread[i].err.code != ERR_PEER))
            rc = err_set(err, thread[i].err.code, "party %d: %s", i, thread[i].err.text);
    if (plan != NULL)
        *plan = planner->cost;
    for (int i = 0; sent != NULL && i < parties; i++)
        *sent = (i == 0 ? 0 : *sent) + thread[i].party->sent_bytes;
done:
    for (int i = 0; i < PARTY_MAX; i++) {
        party_close(thread[i].party);
        mesh_close(thread[i].mesh);
    }
    party_close(planner);
    transport_close(transport);
    return rc;
}

int smpc_twin(const struct smpc_program *program, double *out, struct err *err)
{
    struct party *p;
    if (party_open(&p, PARTY_TWIN, 0, 2, WORDS, err) != 0)
        return -1;
    walk(program, p, NULL, out);
    int rc = party_check(p, err);
    party_close(p);
    return rc;
}
