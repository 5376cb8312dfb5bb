#include "server/settings.h"

#include <stdlib.h>

static int read_limits(struct settings *s, struct err *err)
{
    static const char *const keys[] = {"context", "sessions", "user_sessions", "memory_mb", "weights_mb", "session_ttl_s", "rows",
                                       "out_rows", NULL};
    const struct json_doc *doc = s->config.doc;
    const struct json *l = json_get(json_root(doc), "limits");
    int64_t context = 4096, sessions = 256, user_sessions = 32, memory = 4096, weights = 0, ttl = 300, rows = 512, out_rows = 64;
    if (!json_is_null(l) &&
        (json_only(doc, l, keys, err) != 0 || json_opt_int(doc, l, "context", 1, 1 << 24, &context, err) != 0 ||
         json_opt_int(doc, l, "sessions", 1, 1 << 20, &sessions, err) != 0 ||
         json_opt_int(doc, l, "user_sessions", 1, 1 << 20, &user_sessions, err) != 0 ||
         json_opt_int(doc, l, "memory_mb", 1, 1 << 24, &memory, err) != 0 ||
         json_opt_int(doc, l, "weights_mb", 0, 1 << 24, &weights, err) != 0 ||
         json_opt_int(doc, l, "session_ttl_s", 1, 86400, &ttl, err) != 0 ||
         json_opt_int(doc, l, "rows", 1, 8192, &rows, err) != 0 || json_opt_int(doc, l, "out_rows", 1, 8192, &out_rows, err) != 0))
        return err_wrap(err, "limits");
    s->limits = (struct core_limits){.context = (int)context, .sessions = (int)sessions, .user_sessions = (int)user_sessions,
                                     .memory = (size_t)memory << 20, .ttl_ms = (int)ttl * 1000, .rows = (int)rows,
                                     .out_rows = (int)out_rows};
    s->weights_bytes = (size_t)weights << 20;
    return 0;
}

int settings_read(struct settings *out, const char *path, struct err *err)
{
    static const char *const keys[] = {"listen", "listen_admin", "package", "allow", "limits", "threads", NULL};
    static const char *const allow_keys[] = {"users", "model_devs", NULL};
    struct settings s = {0};
    int64_t threads = 0;
    if (role_config_open(&s.config, path, "server", keys, err) != 0)
        return -1;
    const struct json_doc *doc = s.config.doc;
    const struct json *root = json_root(doc), *allow = json_get(root, "allow");
    if (json_get_str(doc, root, "listen", &s.listen, err) != 0 ||
        json_get_str(doc, root, "listen_admin", &s.listen_admin, err) != 0 ||
        role_config_path(&s.config, "package", s.package, err) != 0 ||
        json_opt_int(doc, root, "threads", 0, 1024, &threads, err) != 0 || read_limits(&s, err) != 0 ||
        (!json_is_null(allow) && json_only(doc, allow, allow_keys, err) != 0) ||
        role_config_allow(&s.config, allow, "users", &s.users, &s.user_count, err) != 0 ||
        role_config_allow(&s.config, allow, "model_devs", &s.developers, &s.developer_count, err) != 0) {
        settings_free(&s);
        return -1;
    }
    s.threads = (int)threads;
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
