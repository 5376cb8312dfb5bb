/* transport/client.h - conversations of the connecting side, one call per question.
 *
 * Data flow   channel_open -> client_hello -> client_manifest -> client_open -> client_rows ... -> client_close;
 *             client_push for packages; client_pull_offer, client_pull for grants.
 * Shapes      x_p [T,D], out [out_n, out_width] f32.
 * Units       milliseconds.
 * Errors      ERR_PEER, ERR_AUTH, ERR_INPUT as the peer's code says; channel_code() has the code itself.
 * Memory      results are filled in or given as noted.
 * Secrets     only struct sealed_rows goes up.
 */
#ifndef STIP_TRANSPORT_CLIENT_H
#define STIP_TRANSPORT_CLIENT_H

#include "transport/blob.h"
#include "transport/channel.h"
#include "transport/msg_blob.h"
#include "transport/msg_hello.h"
#include "transport/msg_rows.h"
#include "transport/msg_session.h"
#include "transport/msg_stats.h"

/* context NULL: any. Refuses a HELLO_OK of another context (ERR_AUTH). */
MUST_CHECK int client_hello(struct channel *ch, const uint8_t *context, struct msg_hello_ok *ok, struct err *err);
/* Pulls `bytes` of manifest (HELLO_OK or OFFER said how many). Gives them with a NUL behind (free()). */
MUST_CHECK int client_manifest(struct channel *ch, uint64_t bytes, char **out, size_t *len, struct err *err);
MUST_CHECK int client_session_open(struct channel *ch, const struct msg_open *open, struct msg_opened *opened,
                                   struct err *err);
/* One step: sends the rows, fills out [m->out_n, width]. `got` may be NULL. */
MUST_CHECK int client_rows(struct channel *ch, const struct msg_rows *m, const struct sealed_rows *x_p, float *out,
                           uint32_t width, int timeout_ms, struct msg_out *got, struct err *err);
/* Takes back a step whose client_rows failed by timeout. */
MUST_CHECK int client_cancel(struct channel *ch, const uint8_t session[WIRE_SESSION_BYTES], struct err *err);
MUST_CHECK int client_session_close(struct channel *ch, const uint8_t session[WIRE_SESSION_BYTES], struct err *err);
MUST_CHECK int client_stats(struct channel *ch, struct msg_stats *out, struct err *err);

/* Called with bytes done and `total` as it was given (blob_list_bytes); may be NULL. */
typedef void (*client_progress)(void *arg, uint64_t done, uint64_t total);

/* model_dev -> server: offers, answers the server's GETs until DONE. */
MUST_CHECK int client_push(struct channel *ch, const struct msg_offer *offer, struct blob_source *source,
                           client_progress progress, void *arg, uint64_t total, struct err *err);
/* user -> model_dev: asks for a grant; the offer says how long the manifest is (client_manifest, then blob_list_decode). */
MUST_CHECK int client_grant(struct channel *ch, const uint8_t *context, struct msg_offer *offer, struct err *err);
/* Pulls everything the sink still needs and says DONE; the caller then installs. */
MUST_CHECK int client_pull(struct channel *ch, struct blob_sink *sink, client_progress progress, void *arg, uint64_t total,
                           struct err *err);

#endif
