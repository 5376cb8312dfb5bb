/* model_dev/audit_text.h - the tokens that an audit is run with: of a file, or made up.
 *
 * Data flow   file with token ids (as `stip-user tokenize` prints them), or numbers by Zipf's law -> traffic + corpus.
 * Units       tokens. Traffic is what users send, in sequences of AUDIT_SEQUENCE; the corpus is what an attacker has read.
 * Errors      names file and place: no number, an id that the model does not have, too few of them.
 * Memory      audit_text_open fills a struct (audit_text_close).
 * Secrets     traffic stands for users' tokens: only the judge and the embedding get it.
 */
#ifndef STIP_MODEL_DEV_AUDIT_TEXT_H
#define STIP_MODEL_DEV_AUDIT_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/config.h"

#define AUDIT_SEQUENCE 32

struct audit_text {
    int32_t *traffic, *corpus;
    size_t n, corpus_n;
    int *sequence, *position; /* [n] */
};

/* path NULL: made up. The last `sample` ids (at most half) are the traffic. */
MUST_CHECK int audit_text_open(struct audit_text *out, const char *path, const struct config *c, size_t sample, struct err *err);
void audit_text_close(struct audit_text *t);

#endif
