/* model_dev/derived.h - what the weights derive from, and what that means for those who trust in the package.
 *
 * Data flow   --derived-from, or a question on a terminal -> a sentence in the log. It is written nowhere: it would tell a server
 *             what to try.
 * Errors      ERR_USAGE for a name that is none.
 * Memory      the answer borrows the flag, or lies in the struct.
 * Secrets     none.
 */
#ifndef STIP_MODEL_DEV_DERIVED_H
#define STIP_MODEL_DEV_DERIVED_H

#include "base/cli.h"

struct derived {
    char from[128]; /* "none", "public", a name, or "" when nobody said */
};

/* Asks when the flag is not given and both stdin and stderr are a terminal. */
MUST_CHECK int derived_option(struct derived *out, const struct cli_cmd *cmd, struct err *err);
void derived_say(const struct derived *d);

#endif
