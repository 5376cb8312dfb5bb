#include "model_dev/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/expiry.h"

int cmd_print(const struct json_doc *doc, struct err *err)
{
    char *text;
    if (json_print(doc, false, &text, err) != 0)
        return -1;
    int rc = printf("%s\n", text) < 0 || fflush(stdout) != 0 ? -1 : 0;
    free(text);
    return rc == 0 ? 0 : err_set(err, ERR_INTERNAL, "cannot write to stdout: %s", strerror(errno));
}

int cmd_peer_key(struct peer_key *out, const char *value, struct err *err)
{
    if (strncmp(value, "stip1:", 6) == 0)
        return peer_key_parse(out, value, err);
    return peer_key_load(out, value[0] == '@' ? value + 1 : value, err);
}

int cmd_option_expires(const struct cli_cmd *cmd, int64_t *out, struct err *err)
{
    const char *text = cli_str(cmd, "expires", NULL);
    *out = EXPIRY_NEVER;
    return text == NULL ? 0 : expiry_option(out, text, clock_unix(), err);
}

void cmd_expires(char out[32], int64_t expires)
{
    if (expires == EXPIRY_NEVER)
        (void)snprintf(out, 32, "never");
    else
        clock_iso(expires, out);
}

void cmd_put_expires(struct json_doc *doc, struct json *node, int64_t expires)
{
    char text[32];
    cmd_expires(text, expires);
    json_put_str(doc, node, "expires", expires == EXPIRY_NEVER ? NULL : text);
}
