/* user/backend.h - an engine of others that serves a package of profile "engine", asked through the OpenAI completions protocol.
 *
 * Data flow   ids -vocabulary order-> places -> POST URL/completions {"prompt": [places]} -> text of places, "<17><4>", as it is
 *             written -> places -> ids -> text. The engine sees places only; sampling is its work.
 *             With rows, places -rows of its own table (struct grant)-> user/torch_file.h -> {"prompt_embeds": base64}. Whoever has
 *             the table reads places from rows: this is another way to send the same, for engines that want it.
 * Units       tokens; bytes of HTTP bodies.
 * Errors      ERR_USAGE for what this way cannot do; ERR_PEER for no connection, a refusal (with the engine's own words), silence
 *             of two minutes, an answer that is not of the exported vocabulary or ends early. Rows that an engine does not take:
 *             ERR_PEER as well, or with BACKEND_ROWS_TRY a warning, and ids are sent.
 * Memory      backend_generate fills a struct generated (generate_free).
 * Secrets     prompt and answer stay here; the key of the engine's API goes into its header and nowhere else. A link that is not
 *             https to another machine is warned of.
 * Source      the completions protocol as vLLM and llama-server serve it; vLLM, docs/features/prompt_embeds.md; the one door to libcurl.
 */
#ifndef STIP_USER_BACKEND_H
#define STIP_USER_BACKEND_H

#include "user/generate.h"

enum backend_rows { BACKEND_IDS, BACKEND_ROWS, BACKEND_ROWS_TRY };

struct backend {
    const char *url;   /* http://HOST:PORT/v1 */
    const char *model; /* NULL: the first that the engine lists */
    const char *key;   /* of its API, NULL for none */
    enum backend_rows rows; /* what stands for the prompt */
};

struct backend_wire {
    uint64_t bytes_up, bytes_down, round_trips;
};

/* value: "openai:URL". */
MUST_CHECK int backend_parse(struct backend *out, const char *value, struct err *err);
/* value: "off", "on" or "try"; rows need a grant that has them. */
MUST_CHECK int backend_parse_rows(struct backend *out, const char *value, const struct grant *g, struct err *err);
/* 0 if the engine answers now. */
MUST_CHECK int backend_check(const struct backend *b, struct err *err);
/* The prompt of n ids, continued. ERR_INPUT for log-probabilities and biases, which engines take in ways of their own. Speculation is the
 * engine's business. Any thread. *wire is filled when the answer came to its end. */
MUST_CHECK int backend_generate(struct generated *out, const struct grant *g, const struct backend *b, const int32_t *ids, int n,
                                const struct generate_opts *opts, struct backend_wire *wire, struct err *err);

#endif
