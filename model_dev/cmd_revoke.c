#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "model_dev/cmd.h"
#include "model_dev/dev_config.h"
#include "model_dev/ledger.h"
#include "model_dev/release.h"
#include "model_dev/revoke.h"

/* "0123-4567-89ab-cdef", with or without its dashes, or a key whose fingerprint is taken. */
static int fingerprint_of(char out[FINGERPRINT_TEXT], const char *value, struct err *err)
{
    char digits[17] = "";
    size_t n = 0;
    struct peer_key key;
    for (const char *p = value; *p != '\0' && n < 17; p++)
        if (isxdigit((unsigned char)*p))
            digits[n++ % 17] = (char)tolower((unsigned char)*p);
        else if (*p != '-')
            n = 17;
    if (n == 16) {
        (void)snprintf(out, FINGERPRINT_TEXT, "%.4s-%.4s-%.4s-%.4s", digits, digits + 4, digits + 8, digits + 12);
        return 0;
    }
    if (cmd_peer_key(&key, value, err) != 0)
        return err_wrap(err, "--user: neither a fingerprint (16 hex digits) nor a key");
    peer_key_fingerprint(&key, out);
    return 0;
}

struct outcome {
    const char *config;
    char fingerprint[FINGERPRINT_TEXT], key[PEER_KEY_TEXT];
    size_t removed;
    bool rotate;
    char why[160];
};

/* A user that has the end keys of a context reads what it sees of it: only another context ends that. */
static int judge(struct outcome *o, const struct dev_config *s, struct err *err)
{
    struct release p = {0};
    struct ledger_answer a;
    if (release_open(&p, s->protected, s->identity->sign_pub, err) != 0)
        return -1;
    int rc = ledger_find(&a, s->protected, o->fingerprint, p.context, err);
    release_close(&p);
    if (rc != 0)
        return -1;
    o->rotate = !a.known || a.when[0] != '\0';
    (void)snprintf(o->why, sizeof o->why, "%s%s",
                   !a.known ? "nothing is known of earlier grants: this user may have the keys of the context"
                   : o->rotate ? "this user has the keys of the context, given on "
                               : "this user was never given the keys of the context that is there now",
                   o->rotate && a.known ? a.when : "");
    return 0;
}

static int print(const struct outcome *o, const struct dev_config *s, bool as_json, struct err *err)
{
    if (!as_json) {
        printf("user      %s: %zu entr%s removed from 'allow' in %s\n", o->fingerprint, o->removed, o->removed == 1 ? "y" : "ies",
               o->config);
        for (size_t i = 0; i < s->server_count; i++)
            printf("server    %s: its operator has to remove %s from allow.users\n", s->servers[i].endpoint,
                   o->key[0] != '\0' ? o->key : "this user's key");
        printf("rotation  %s: %s\n", o->rotate ? "needed (stip-model-dev rotate)" : "not needed", o->why);
        return 0;
    }
    struct json_doc *doc = json_new_object("revoke");
    struct json *root = json_node(doc);
    json_put_str(doc, root, "user", o->fingerprint);
    json_put_int(doc, root, "removed", (int64_t)o->removed);
    if (o->key[0] != '\0')
        json_put_str(doc, root, "key", o->key);
    struct json *list = json_put_array(doc, root, "servers");
    for (size_t i = 0; i < s->server_count; i++)
        json_put_str(doc, list, NULL, s->servers[i].endpoint);
    json_put_bool(doc, root, "rotate", o->rotate);
    json_put_str(doc, root, "why", o->why);
    int rc = cmd_print(doc, err);
    json_free(doc);
    return rc;
}

int cmd_revoke(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    struct dev_config s = {0};
    struct outcome o = {0};
    struct peer_key key;
    const char *who;
    if (cli_need(cmd, "user", &who, err) != 0 || cli_need(cmd, "config", &o.config, err) != 0 ||
        fingerprint_of(o.fingerprint, who, err) != 0)
        return -1;
    int rc = dev_config_open(&s, cmd, err);
    if (rc == 0)
        rc = judge(&o, &s, err);
    if (rc == 0)
        rc = revoke_user(o.config, o.fingerprint, &o.removed, &key, err);
    if (rc == 0 && o.removed > 0)
        peer_key_text(&key, o.key);
    if (rc == 0)
        rc = print(&o, &s, cli_on(cmd, "json"), err);
    dev_config_close(&s);
    return rc;
}
