#include "model/hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define NAME_MAX_BYTES 96u     /* of ORG and of NAME, as on the hub */
#define REVISION_MAX_BYTES 200u

struct repo {
    char folder[2 * NAME_MAX_BYTES + 32]; /* models--ORG--NAME */
    char id[2 * NAME_MAX_BYTES + 2];
    const char *revision;
};

/* Letters, digits, '-', '_' and '.', but not at the start and not two points. */
static bool name_ok(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const bool plain = (s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') || s[i] == '_';
        if (!plain && (i == 0 || (s[i] != '-' && s[i] != '.') || (s[i] == '.' && s[i - 1] == '.')))
            return false;
    }
    return n > 0 && n <= NAME_MAX_BYTES;
}

static bool revision_ok(const char *s)
{
    for (const char *part = s; part != NULL; part = strchr(part, '/') == NULL ? NULL : strchr(part, '/') + 1) {
        const size_t n = strcspn(part, "/");
        if (n == 0 || part[0] == '.' || strcspn(part, "\\\n\r\t ") < n)
            return false;
    }
    return strlen(s) <= REVISION_MAX_BYTES;
}

/* ORG/NAME[@REVISION], or NAME alone for the oldest models. */
static bool parse_repo(struct repo *out, const char *model)
{
    const size_t len = strcspn(model, "@"), org = strcspn(model, "/@");
    const bool has_org = org < len;
    const char *name = has_org ? model + org + 1 : model;
    const size_t name_len = len - (size_t)(name - model);
    if (!name_ok(name, name_len) || (has_org && !name_ok(model, org)))
        return false;
    out->revision = model[len] == '@' ? model + len + 1 : "main";
    (void)snprintf(out->id, sizeof out->id, "%.*s", (int)len, model);
    (void)snprintf(out->folder, sizeof out->folder, "models--%.*s%s%.*s", has_org ? (int)org : 0, model, has_org ? "--" : "",
                   (int)name_len, name);
    return revision_ok(out->revision);
}

static const char *env(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static int cache_folder(char out[FILE_PATH_MAX], struct err *err)
{
    static const struct {
        const char *variable, *below;
    } places[] = {{"HF_HUB_CACHE", ""},
                  {"HUGGINGFACE_HUB_CACHE", ""},
                  {"HF_HOME", "/hub"},
                  {"XDG_CACHE_HOME", "/huggingface/hub"},
                  {"HOME", "/.cache/huggingface/hub"}};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *value = env(places[i].variable), *home = env("HOME");
        if (value == NULL)
            continue;
        const bool tilde = value[0] == '~' && (value[1] == '/' || value[1] == '\0') && home != NULL;
        if (snprintf(out, FILE_PATH_MAX, "%s%s%s", tilde ? home : "", tilde ? value + 1 : value, places[i].below) >= FILE_PATH_MAX)
            return err_set(err, ERR_INPUT, "%s: the path is too long", places[i].variable);
        return 0;
    }
    return err_set(err, ERR_INPUT, "no cache of Hugging Face: neither HF_HUB_CACHE, HF_HOME nor HOME is set");
}

/* The commit that refs/REVISION names; REVISION itself if there is no such file. */
static int read_commit(char out[REVISION_MAX_BYTES + 1], const char *repo_dir, const char *revision, struct err *err)
{
    char refs[FILE_PATH_MAX], path[FILE_PATH_MAX], *text;
    size_t len;
    if (file_join(refs, repo_dir, "refs", err) != 0 || file_join(path, refs, revision, err) != 0)
        return -1;
    if (!file_exists(path) || file_is_dir(path)) {
        (void)snprintf(out, REVISION_MAX_BYTES + 1, "%s", revision);
        return 0;
    }
    if (file_read(path, 4096, &text, &len, err) != 0)
        return -1;
    while (len > 0 && strchr(" \n\r", text[len - 1]) != NULL)
        text[--len] = '\0';
    const bool ok = len > 0 && len <= REVISION_MAX_BYTES && strlen(text) == len && file_name_ok(text);
    if (ok)
        memcpy(out, text, len + 1);
    free(text);
    return ok ? 0 : err_set(err, ERR_INPUT, "%s: expected the name of a snapshot; fetch the model again", path);
}

int hub_find(char out[FILE_PATH_MAX], const char *model, struct err *err)
{
    char cache[FILE_PATH_MAX], dir[FILE_PATH_MAX], snapshots[FILE_PATH_MAX], path[FILE_PATH_MAX], commit[REVISION_MAX_BYTES + 1];
    struct repo repo;
    if (file_is_dir(model))
        return file_join(out, NULL, model, err);
    if (file_exists(model))
        return err_set(err, ERR_INPUT, "%s: expected the folder of a model, found a file", model);
    if (!parse_repo(&repo, model))
        return err_set(err, ERR_INPUT, "%s: there is no such folder", model);
    if (cache_folder(cache, err) != 0 || file_join(dir, cache, repo.folder, err) != 0 ||
        file_join(snapshots, dir, "snapshots", err) != 0)
        return -1;
    if (!file_is_dir(dir))
        return err_set(err, ERR_INPUT,
                       "%s: there is no such folder, and %s has no %s. Models are never fetched from here; run: hf download %s",
                       model, cache, repo.folder, repo.id);
    if (read_commit(commit, dir, repo.revision, err) != 0 || file_join(path, snapshots, commit, err) != 0)
        return -1;
    if (!file_is_dir(path))
        return err_set(err, ERR_INPUT, "%s: %s has no snapshot of revision '%s'; run: hf download %s --revision %s", model, dir,
                       repo.revision, repo.id, repo.revision);
    memcpy(out, path, sizeof path);
    return 0;
}

int hub_option(char out[FILE_PATH_MAX], const struct cli_cmd *cmd, struct err *err)
{
    const char *model;
    return cli_need(cmd, "model", &model, err) != 0 ? -1 : hub_find(out, model, err);
}
