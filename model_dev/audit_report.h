/* model_dev/audit_report.h - an audit as people and programs read it.
 *
 * Data flow   struct audit_report -> table and sentences, JSON, SVG.
 * Units       percent in text and chart, 0..1 in JSON.
 * Errors      disk; memory.
 * Memory      none kept.
 * Secrets     none: rates and counts.
 */
#ifndef STIP_MODEL_DEV_AUDIT_REPORT_H
#define STIP_MODEL_DEV_AUDIT_REPORT_H

#include <stdio.h>

#include "base/json.h"
#include "model_dev/audit.h"

/* Table, what was not measured and why, and the verdict. */
void audit_print(FILE *to, const struct audit_report *r);
MUST_CHECK int audit_json(struct json_doc **out, const struct audit_report *r, struct err *err);
/* The table as a picture, an SVG file. */
MUST_CHECK int audit_chart(const char *path, const struct audit_report *r, struct err *err);
/* Sentence i of the verdict, NULL after the last. `text` holds it. */
const char *audit_verdict(const struct audit_report *r, size_t i, char text[256]);
/* Fills `what` with the worst line and gives its rate: of pi, weights and tokens, for all that a server without a user knows. */
double audit_worst(const struct audit_report *r, char what[128]);

#endif
