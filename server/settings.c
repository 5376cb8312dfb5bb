#include "server/settings.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "server/schedule.h"

#define MEMORY_MB 4096 /* or half of the machine, where that is less */

static int read_limits(struct settings *s, struct err *err)
{
    const uint64_t half = memory_physical() / 2 >> 20;
    int64_t context = 4096, sessions = 256, user_sessions = 32, memory = half < MEMORY_MB ? (int64_t)half : MEMORY_MB, steps = 512,
            weights = 0, ttl = 300, overlap = 300, rows = 512, out_rows = 64, chunk_rows = 256, queue_rows = 32768;
    const struct {
        const char *key;
        int64_t least, most, *value;
    } fields[] = {
        {"context", 1, 1 << 24, &context},
        {"sessions", 1, 1 << 20, &sessions},
        {"user_sessions", 1, 1 << 20, &user_sessions},
        {"memory_mb", 1, 1 << 24, &memory},
        {"steps_mb", 1, 1 << 24, &steps},
        {"weights_mb", 0, 1 << 24, &weights},
        {"session_ttl_s", 1, 86400, &ttl},
        {"rows", 1, 8192, &rows},
        {"out_rows", 1, 8192, &out_rows},
        {"chunk_rows", SCHEDULE_SHORT, 8192, &chunk_rows},
        {"queue_rows", 1, 1 << 24, &queue_rows},
        {"overlap_s", 0, 604800, &overlap},
    };
    const char *keys[sizeof fields / sizeof *fields + 1] = {NULL};
    const struct json_doc *doc = s->config.doc;
    const struct json *l = json_get(json_root(doc), "limits");
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        keys[i] = fields[i].key;
    if (!json_is_null(l) && json_only(doc, l, keys, err) != 0)
        return err_wrap(err, "limits");
    for (size_t i = 0; !json_is_null(l) && i < sizeof fields / sizeof *fields; i++)
        if (json_opt_int(doc, l, fields[i].key, fields[i].least, fields[i].most, fields[i].value, err) != 0)
            return err_wrap(err, "limits");
    s->limits = (struct core_limits){.context = (int)context, .sessions = (int)sessions, .user_sessions = (int)user_sessions,
                                     .steps = (size_t)steps << 20, .ttl_ms = (int)ttl * 1000, .rows = (int)rows,
                                     .out_rows = (int)out_rows, .chunk_rows = (int)chunk_rows, .queue_rows = (int)queue_rows};
    s->overlap_ms = (int)overlap * 1000;
    s->kv_bytes = (size_t)memory << 20;
    s->weights_bytes = (size_t)weights << 20;
    return 0;
}

static int read_kv_dtype(struct settings *s, struct err *err)
{
    const char *name = "f32";
    if (json_opt_str(s->config.doc, json_root(s->config.doc), "kv_dtype", &name, err) != 0)
        return -1;
    if (!kv_dtype_parse(name, &s->kv_dtype))
        return err_set(err, ERR_USAGE, "%s: kv_dtype is '%.40s', expected f32, bf16 or int8", json_name(s->config.doc),
                       name);
    return 0;
}

static int read_prefix_cache(struct settings *s, struct err *err)
{
    static const char *const names[] = {[PREFIX_OFF] = "off", [PREFIX_USER] = "user", [PREFIX_CONTEXT] = "context"};
    const char *name = names[PREFIX_USER];
    if (json_opt_str(s->config.doc, json_root(s->config.doc), "prefix_cache", &name, err) != 0)
        return -1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) {
            s->limits.prefix = (enum prefix_scope)i;
            return 0;
        }
    return err_set(err, ERR_USAGE, "%s: prefix_cache is '%.40s', expected user, context or off", json_name(s->config.doc),
                   name);
}

int settings_read(struct settings *out, const char *path, struct err *err)
{
    static const char *const keys[] = {"listen", "listen_admin", "metrics", "package", "allow", "limits", "threads", "kv_dtype",
                                       "prefix_cache", "drain_s", "sandbox", NULL};
    static const char *const allow_keys[] = {"users", "model_devs", NULL};
    struct settings s = {.sandbox = true};
    int64_t threads = 0, drain = 10;
    if (role_config_open(&s.config, path, "server", keys, err) != 0)
        return -1;
    const struct json_doc *doc = s.config.doc;
    const struct json *root = json_root(doc), *allow = json_get(root, "allow");
    if (json_get_str(doc, root, "listen", &s.listen, err) != 0 ||
        json_get_str(doc, root, "listen_admin", &s.listen_admin, err) != 0 ||
        json_opt_str(doc, root, "metrics", &s.metrics, err) != 0 ||
        role_config_path(&s.config, "package", s.package, err) != 0 ||
        json_opt_int(doc, root, "threads", 0, 1024, &threads, err) != 0 ||
        json_opt_int(doc, root, "drain_s", 0, 3600, &drain, err) != 0 ||
        json_opt_bool(doc, root, "sandbox", &s.sandbox, err) != 0 || read_limits(&s, err) != 0 ||
        read_kv_dtype(&s, err) != 0 || read_prefix_cache(&s, err) != 0 ||
        (!json_is_null(allow) && json_only(doc, allow, allow_keys, err) != 0) ||
        role_config_allow(&s.config, allow, "users", &s.users, &s.user_count, err) != 0 ||
        role_config_allow(&s.config, allow, "model_devs", &s.developers, &s.developer_count, err) != 0) {
        settings_free(&s);
        return -1;
    }
    s.threads = (int)threads;
    s.drain_ms = (int)drain * 1000;
    *out = s;
    return 0;
}

void settings_free(struct settings *s)
{
    role_config_close(&s->config);
    free(s->users);
    free(s->developers);
    s->users = s->developers = NULL;
}
