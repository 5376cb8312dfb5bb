#include <string.h>

#include "base/secret.h"
#include "server/cmd.h"
#include "server/package.h"
#include "server/settings.h"
#include "transport/hops.h"

/* Bytes of its weights in memory and of its files on disk; 0 without a sound package. */
static void check_package(struct doctor *d, const struct settings *s, uint64_t *weights, uint64_t *files)
{
    struct package *p = NULL;
    struct peer_key signer = {0};
    struct err err;
    *weights = *files = 0;
    if (!file_exists(s->package)) {
        doctor_warn(d, "package", "the developer runs `stip-model-dev serve` or `push`", "%s is not there: nothing can be served yet",
                    s->package);
        return;
    }
    if (package_examine(&p, s->package, s->developers, s->developer_count, &err) != 0) {
        doctor_fail(d, "package",
                    err.code == ERR_AUTH ? "put the developer's key into allow.model_devs, or have the package pushed by one who is there"
                                         : "have it pushed again",
                    "%s", err.text);
        return;
    }
    for (size_t i = 0; i < s->developer_count; i++)
        if (memcmp(s->developers[i].sign_pub, p->manifest.signer, sizeof p->manifest.signer) == 0)
            signer = s->developers[i];
    char id[17], fingerprint[FINGERPRINT_TEXT];
    crypto_hex(p->context, 8, id);
    peer_key_fingerprint(&signer, fingerprint);
    doctor_ok(d, "package", "%s, context %s, epoch %u, signed by developer %s, every hash right", p->manifest.model, id, p->manifest.epoch,
              fingerprint);
    doctor_expiry(d, "package expiry", "the package", p->manifest.expires, "the developer runs `stip-model-dev rotate`");
    *weights = p->bytes;
    *files = manifest_bytes(&p->manifest);
    package_free(p);
}

static void check(struct doctor *d, const char *config)
{
    struct settings s;
    struct err err;
    uint64_t weights, files;
    if (!hops_identity(d, config))
        return;
    if (settings_read(&s, config, &err) != 0) {
        doctor_fail(d, "config", "correct the file; docs/CONFIG.md lists the keys", "%s", err.text);
        return;
    }
    doctor_ok(d, "config", "%s", config);
    hops_allow(d, "users", "allow.users", s.user_count, "nobody may ask");
    hops_allow(d, "developers", "allow.model_devs", s.developer_count, "nobody may push, and no package is accepted");
    hops_listen(d, "listen", s.listen);
    hops_listen(d, "listen_admin", s.listen_admin);
    hops_metrics(d, s.metrics);
    check_package(d, &s, &weights, &files);
    if (s.weights_bytes != 0 && weights > s.weights_bytes)
        doctor_fail(d, "weights", "raise limits.weights_mb", "the package needs %.0f MB, limits.weights_mb allows %.0f", (double)weights / 1e6,
                    (double)s.weights_bytes / 1e6);
    doctor_memory(d, weights + s.kv_bytes + s.limits.steps);
    doctor_disk(d, s.package, files); /* the next package lies beside this one for a while */
    doctor_threads(d, s.threads);
    doctor_clock(d);
    settings_free(&s);
}

int cmd_doctor(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct doctor d = {.json = cli_on(cmd, "json")};
    const char *config;
    (void)argc;
    (void)argv;
    if (secret_harden_process(err) != 0 || cli_need(cmd, "config", &config, err) != 0)
        return -1;
    check(&d, config);
    return doctor_end(&d, err);
}
