#include "model_dev/derived.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

static int keep(struct derived *out, const char *from, struct err *err)
{
    size_t len = strlen(from);
    bool plain = len > 0 && len < sizeof out->from;
    for (size_t i = 0; plain && i < len; i++)
        plain = (unsigned char)from[i] >= ' ' && from[i] != 0x7f;
    if (!plain)
        return err_set(err, ERR_USAGE, "--derived-from: expected none, public or the name of a model of at most %zu characters",
                       sizeof out->from - 1);
    memcpy(out->from, from, len + 1);
    return 0;
}

int derived_option(struct derived *out, const struct cli_cmd *cmd, struct err *err)
{
    const char *flag = cli_str(cmd, "derived-from", NULL);
    char line[sizeof out->from + 1]; /* a name that is too long shows */
    *out = (struct derived){0};
    if (flag != NULL)
        return keep(out, flag, err);
    if (isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1)
        return 0;
    (void)fprintf(stderr, "What do these weights derive from? none (trained from scratch), public, or the base model's name: ");
    if (fgets(line, sizeof line, stdin) == NULL)
        return 0;
    line[strcspn(line, "\r\n")] = '\0';
    return line[0] == '\0' ? 0 : keep(out, line, err);
}

void derived_say(const struct derived *d)
{
    if (d->from[0] == '\0')
        log_warn("nobody said what the weights derive from (--derived-from none, public or NAME): a server that has related ones reads "
                 "the package and the prompts; see docs/SECURITY.md");
    else if (strcmp(d->from, "none") == 0)
        log_info("derived from none: what users send is private as long as no server gets weights related to these");
    else
        log_warn("derived from %s: a server that has these weights undoes the protection. Audited with weights 1 to 20 %% away: 98 to 100 %% "
                 "of pi and of the feed-forward weights, and nearly every token. Measure yours with: stip-model-dev audit --base HFDIR",
                 strcmp(d->from, "public") == 0 ? "a public model" : d->from);
}
