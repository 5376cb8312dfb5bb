#include "model_dev/audited.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "model_dev/audit_report.h"

#define NAME "audit.json"

int audited_save(const char *dir, const struct audit_report *r, struct err *err)
{
    struct release of = {0};
    char path[FILE_PATH_MAX], context[2 * CRYPTO_HASH_LEN + 1], now[32], sentence[256], *text = NULL;
    if (release_open(&of, dir, NULL, err) != 0)
        return -1;
    crypto_hex(of.context, sizeof of.context, context);
    release_close(&of);
    clock_iso(clock_unix(), now);
    struct json_doc *doc = json_new_object(NAME);
    struct json *root = json_node(doc);
    json_put_int(doc, root, "version", 1);
    json_put_str(doc, root, "context", context);
    json_put_str(doc, root, "created", now);
    struct json *verdict = json_put_array(doc, root, "verdict");
    for (size_t i = 0; audit_verdict(r, i, sentence) != NULL; i++)
        json_put_str(doc, verdict, NULL, sentence);
    int rc = json_print(doc, true, &text, err);
    json_free(doc);
    if (rc == 0)
        rc = file_join(path, dir, NAME, err);
    if (rc == 0)
        rc = file_write(path, text, strlen(text), 0600, err);
    free(text);
    return rc;
}

int audited_put(const struct release *from, struct json_doc *doc, struct json *root, struct err *err)
{
    static const char *const keys[] = {"version", "context", "created", "verdict", NULL};
    char path[FILE_PATH_MAX], context[2 * CRYPTO_HASH_LEN + 1];
    const char *of, *created;
    struct json_doc *saved = NULL;
    int64_t version;
    if (file_join(path, from->dir, NAME, err) != 0)
        return -1;
    if (!file_exists(path))
        return 0;
    if (json_load(&saved, path, JSON_CAP_CONFIG, false, err) != 0)
        return -1;
    const struct json *in = json_root(saved);
    int rc = -1;
    if (json_only(saved, in, keys, err) != 0 || json_get_int(saved, in, "version", 1, 1, &version, err) != 0 ||
        json_get_str(saved, in, "context", &of, err) != 0 || json_get_str(saved, in, "created", &created, err) != 0)
        goto done;
    rc = 0;
    crypto_hex(from->context, sizeof from->context, context);
    if (strcmp(of, context) != 0) {
        log_warn("%s is of another package and is left out of grants; run: stip-model-dev audit --save", path);
        goto done;
    }
    struct json *audit = json_put_object(doc, root, "audit"), *verdict = json_put_array(doc, audit, "verdict");
    json_put_str(doc, audit, "created", created);
    for (const struct json *s = json_first(json_get(in, "verdict")); s != NULL; s = json_next(s)) {
        if (json_string(s) == NULL) {
            rc = err_set(err, ERR_INPUT, "%s: field 'verdict': expected sentences, found %s", path, json_type_name(s));
            goto done;
        }
        json_put_str(doc, verdict, NULL, json_string(s));
    }
done:
    json_free(saved);
    return rc;
}
