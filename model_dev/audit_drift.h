/* model_dev/audit_drift.h - weights that are almost the plain ones, as a checkpoint: what a server has whose base model was tuned.
 *
 * Data flow   checkpoint -> every value plus noise -> DIR/config.json, DIR/model.safetensors.
 * Units       percent of the root mean square of each tensor; float32. The noise is Gaussian and the same in every run.
 * Errors      memory, disk.
 * Memory      constant; DIR takes 4 bytes a weight.
 * Secrets     plain weights, nearly: a 0700 folder.
 */
#ifndef STIP_MODEL_DEV_AUDIT_DRIFT_H
#define STIP_MODEL_DEV_AUDIT_DRIFT_H

#include "model/checkpoint.h"

MUST_CHECK int audit_drift(const struct checkpoint *plain, double percent, const char *dir, struct err *err);
/* Reproducible noise: 64 bits of (key, i). */
uint64_t audit_noise(uint64_t key, uint64_t i);

#endif
