/* bench/baselines/smpc/mesh.h - the lines between the parties of one run, and their first words.
 *
 * Data flow   party i listens for every later one and connects to every earlier one; all greet all; seeds are agreed on. With two
 *             parties the dealer is number 2; with three there is none.
 * Units       none.
 * Errors      ERR_PEER names the party: silence, another version, another run.
 * Memory      mesh_open gives; it owns the lines that a party borrows.
 * Secrets     seeds of one run.
 */
#ifndef STIP_BENCH_BASELINES_SMPC_MESH_H
#define STIP_BENCH_BASELINES_SMPC_MESH_H

#include "bench/baselines/smpc/party.h"

#define MESH_RUN 16 /* bytes that tell one run from another */
#define MESH_TIMEOUT_MS 60000

struct mesh;
/* Everybody: the parties and the dealer. */
static inline int mesh_count(int parties)
{
    return parties == 2 ? 3 : parties;
}
/* endpoint[k]: where party `index`, at the address `at`, listens for party k > index; "" for the others. */
MUST_CHECK int mesh_open(struct mesh **out, struct transport *t, int index, int parties, const char *at, char endpoint[PARTY_MAX][BARE_ENDPOINT],
                         struct err *err);
void mesh_close(struct mesh *m);
MUST_CHECK int mesh_connect(struct mesh *m, int to, const char *endpoint, struct err *err);
/* Greets, then gives the party its lines and streams. */
MUST_CHECK int mesh_greet(struct mesh *m, const uint8_t run[MESH_RUN], struct party *p, struct err *err);

#endif
