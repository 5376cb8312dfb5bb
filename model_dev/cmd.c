#include "model_dev/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
