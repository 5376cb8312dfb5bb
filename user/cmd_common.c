#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/file.h"
#include "base/le.h"
#include "base/progress.h"
#include "user/cmd.h"
#include "user/sample.h"
#include "user/tokenizer.h"

int cmd_text(const struct cli_cmd *cmd, const char *flag, char **text, size_t *len, struct err *err)
{
    const char *direct = cli_str(cmd, flag, NULL), *path = cli_str(cmd, "file", NULL);
    if (direct != NULL && path != NULL)
        return err_set(err, ERR_USAGE, "--%s and --file both give the text: leave one out", flag);
    if (direct == NULL && path == NULL)
        return err_set(err, ERR_USAGE, "%s needs --%s TEXT or --file FILE; for example: %s", cmd->name, flag, cmd->example);
    if (path != NULL)
        return file_read(path, TOKENIZER_TEXT_MAX, text, len, err);
    *len = strlen(direct);
    if ((*text = strdup(direct)) == NULL)
        return err_oom(err, *len);
    return 0;
}

int cmd_lines(const char *what, const char *text, size_t len, int (*one)(void *arg, const char *line, size_t n, struct err *err),
              void *arg, struct err *err)
{
    struct progress bar;
    int rc = 0;
    progress_start(&bar, what, "B", len);
    for (size_t at = 0; rc == 0 && at < len;) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t n = end == NULL ? len - at : (size_t)(end - (text + at));
        size_t body = n > 0 && text[at + n - 1] == '\r' ? n - 1 : n;
        if (body > 0)
            rc = one(arg, text + at, body, err);
        at += n + 1;
        progress_at(&bar, at < len ? at : len);
    }
    progress_end(&bar);
    return rc;
}

int cmd_sampling(const struct cli_cmd *cmd, struct sample_opts *out, struct err *err)
{
    struct sample_opts o = {.temperature = 0, .top_p = 1, .repeat_penalty = 1};
    int64_t top_k = 0, seed = -1;
    uint8_t random[8];
    if (cli_num(cmd, "temperature", 0, 100, &o.temperature, err) != 0 || cli_int(cmd, "top-k", 0, 1 << 24, &top_k, err) != 0 ||
        cli_num(cmd, "top-p", 0, 1, &o.top_p, err) != 0 || cli_num(cmd, "min-p", 0, 1, &o.min_p, err) != 0 ||
        cli_num(cmd, "repeat-penalty", 0.01, 100, &o.repeat_penalty, err) != 0 ||
        cli_int(cmd, "seed", 0, INT64_MAX, &seed, err) != 0 || crypto_random(random, sizeof random, err) != 0)
        return -1;
    o.top_k = (int)top_k;
    o.seed = seed >= 0 ? (uint64_t)seed : le_get64(random);
    *out = o;
    return 0;
}
