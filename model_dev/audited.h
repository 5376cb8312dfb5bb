/* model_dev/audited.h - the verdict of the last audit, kept beside its package and handed on in grants.
 *
 * Data flow   struct audit_report -> DIR/audit.json (audit --save) -> grant.json -> the user's /stip/info and page.
 * Units       audit.json: version, context (the package's, hex), created, verdict (sentences).
 * Errors      no package, disk; a file that is not an audit's (names the field). An audit of another package is no error: grants go
 *             without it, and the log says so.
 * Memory      none kept.
 * Secrets     none: sentences made of rates.
 */
#ifndef STIP_MODEL_DEV_AUDITED_H
#define STIP_MODEL_DEV_AUDITED_H

#include "base/json.h"
#include "model_dev/audit.h"
#include "model_dev/release.h"

/* In the folder `dir` that protect wrote. */
MUST_CHECK int audited_save(const char *dir, const struct audit_report *r, struct err *err);
/* As "audit" into a grant's document; nothing where none was saved. */
MUST_CHECK int audited_put(const struct release *from, struct json_doc *doc, struct json *root, struct err *err);

#endif
