/* model/arch_read.h - what the families' config readers share.
 *
 * Data flow   config.json -> arch_*.c -> struct config.
 * Errors      as model/config.h.
 * Memory      none kept.
 * Secrets     none.
 */
#ifndef STIP_MODEL_ARCH_READ_H
#define STIP_MODEL_ARCH_READ_H

#include "model/arch.h"

/* A required size between 1 and max. */
MUST_CHECK int arch_read_size(const struct json_doc *doc, const char *key, int64_t max, int *out, struct err *err);
/* The activation under `key` (or `fallback` when absent), refused by name when unknown. */
MUST_CHECK int arch_read_act(const struct json_doc *doc, const char *key, const char *fallback, enum act_kind *out,
                             struct err *err);
/* Refuses an option that changes the computation and is not implemented: a true switch. */
MUST_CHECK int arch_refuse(const struct json_doc *doc, const char *key, struct err *err);
/* rope_theta + rope_scaling (transformers 4) or rope_parameters (5). */
MUST_CHECK int arch_read_rope(const struct json_doc *doc, struct rope_config *out, struct err *err);

extern const struct arch_tensor arch_llama_tensors[], arch_gpt2_tensors[], arch_bert_tensors[];
MUST_CHECK int arch_read_llama(struct config *c, const struct json_doc *doc, struct err *err);
MUST_CHECK int arch_read_mistral(struct config *c, const struct json_doc *doc, struct err *err);
MUST_CHECK int arch_read_qwen2(struct config *c, const struct json_doc *doc, struct err *err);
MUST_CHECK int arch_read_gpt2(struct config *c, const struct json_doc *doc, struct err *err);
MUST_CHECK int arch_read_bert(struct config *c, const struct json_doc *doc, struct err *err);

#endif
