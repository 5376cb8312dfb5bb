#include "model_dev/revoke.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"

#define LIST "allow"

/* Is this entry the user's? */
static int matches(const struct json *entry, const char *dir, const char *name, const char *fingerprint, bool *yes,
                   struct peer_key *user, struct err *err)
{
    char theirs[FINGERPRINT_TEXT];
    struct peer_key key;
    const char *text = json_string(entry);
    if (text == NULL)
        return err_set(err, ERR_INPUT, "%s: field '" LIST "': expected \"stip1:...\" or \"@FILE\", found %s", name,
                       json_type_name(entry));
    if (peer_key_config(&key, text, dir, err) != 0)
        return err_wrap(err, "%s: field '" LIST "'", name);
    peer_key_fingerprint(&key, theirs);
    *yes = strcmp(theirs, fingerprint) == 0;
    if (*yes && user != NULL)
        *user = key;
    return 0;
}

/* Where "value" stands, if that is one place only. */
static char *quoted(char *text, const char *value, size_t *len)
{
    char find[FILE_PATH_MAX];
    const int n = snprintf(find, sizeof find, "\"%s\"", value);
    char *at = n < (int)sizeof find ? strstr(text, find) : NULL;
    *len = (size_t)n;
    return at != NULL && strstr(at + 1, find) == NULL ? at : NULL;
}

static void cut_out(char *from, const char *end)
{
    memmove(from, end, strlen(end) + 1);
}

/* Removes "value" and the comma that goes with it: the one behind it, or, of the last entry, the one behind `before` (NULL: it is
 * alone). The line goes too where nothing else is on it. */
static bool cut(char *text, const char *value, const char *before)
{
    size_t len, before_len;
    char *from = quoted(text, value, &len), *end, *comma;
    if (from == NULL)
        return false;
    end = from + len;
    char *after = end + strspn(end, " \t\r\n");
    const bool between = *after == ',';
    if (between)
        end = after + 1;
    end += strspn(end, " ");
    if (*end == '\n') {
        while (from > text && (from[-1] == ' ' || from[-1] == '\t'))
            from--;
        if (from > text && from[-1] == '\n')
            end++;
    }
    cut_out(from, end);
    if (between || before == NULL)
        return true;
    char *last = quoted(text, before, &before_len);
    if (last == NULL || (comma = strchr(last + before_len, ',')) == NULL)
        return false;
    cut_out(comma, comma + 1);
    return true;
}

static int print_without(const struct json_doc *doc, char **out, struct err *err)
{
    struct json_doc *copy = NULL;
    if (json_dup(&copy, doc, err) != 0)
        return -1;
    json_remove(copy, json_node(copy), LIST);
    int rc = json_print(copy, false, out, err);
    json_free(copy);
    return rc;
}

/* All but the one entry must be what it was: the text was changed by rules of our own, the parser says whether that was right. */
static int only_that_is_gone(const struct json_doc *was, const struct json_doc *now, const struct json *gone, struct err *err)
{
    char *a = NULL, *b = NULL;
    int rc = -1;
    if (print_without(was, &a, err) != 0 || print_without(now, &b, err) != 0)
        goto done;
    bool same = strcmp(a, b) == 0;
    const struct json *y = json_first(json_get(json_root(now), LIST));
    for (const struct json *x = json_first(json_get(json_root(was), LIST)); x != NULL && same; x = json_next(x)) {
        if (x == gone)
            continue;
        same = y != NULL && json_string(y) != NULL && strcmp(json_string(x), json_string(y)) == 0;
        y = y == NULL ? NULL : json_next(y);
    }
    rc = same && y == NULL ? 0 : err_set(err, ERR_INPUT, "the text around the entry is not understood");
done:
    free(a);
    free(b);
    return rc;
}

/* One entry out of the text. *found is false when no entry is left that matches. */
static int cut_one(char *text, const char *path, const char *dir, const char *fingerprint, bool *found, struct peer_key *user,
                   struct err *err)
{
    struct json_doc *was = NULL, *now = NULL;
    struct err why;
    int rc = json_parse(&was, text, strlen(text), true, path, err);
    const struct json *entry = rc == 0 ? json_first(json_get(json_root(was), LIST)) : NULL, *before = NULL;
    *found = false;
    for (; rc == 0 && entry != NULL; before = entry, entry = json_next(entry)) {
        rc = matches(entry, dir, path, fingerprint, found, user, err);
        if (*found)
            break;
    }
    if (rc == 0 && *found &&
        (!cut(text, json_string(entry), before == NULL ? NULL : json_string(before)) || json_parse(&now, text, strlen(text), true, path, &why) != 0 ||
         only_that_is_gone(was, now, entry, &why) != 0))
        rc = err_set(err, ERR_INPUT, "%s: cannot be changed by a program safely; remove \"%.60s\" from '" LIST "' by hand", path,
                     json_string(entry));
    json_free(now);
    json_free(was);
    return rc;
}

int revoke_user(const char *config, const char *fingerprint, size_t *removed, struct peer_key *user, struct err *err)
{
    char dir[FILE_PATH_MAX], *text = NULL;
    struct stat st;
    size_t len, count = 0;
    bool found = true;
    if (file_dir(dir, config, err) != 0 || file_read(config, JSON_CAP_CONFIG, &text, &len, err) != 0)
        return -1;
    int rc = 0;
    while (rc == 0 && found) {
        rc = cut_one(text, config, dir, fingerprint, &found, user, err);
        count += rc == 0 && found ? 1 : 0;
    }
    if (rc == 0 && count > 0)
        rc = file_write(config, text, strlen(text), stat(config, &st) == 0 ? st.st_mode & 0777 : 0600, err);
    free(text);
    if (rc == 0)
        *removed = count;
    return rc;
}
