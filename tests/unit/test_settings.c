/* server.json: what may stand in it, and what is refused by name. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "server/settings.h"
#include "tests/support/tempdir.h"
#include "transport/identity.h"

static char dir[FILE_PATH_MAX];
static struct err err;

static void make(void)
{
    struct identity *id;
    tempdir_make(dir);
    cr_assert_eq(identity_generate(&id, &err), 0);
    cr_assert_eq(identity_save(id, tempdir_path(dir, "server.id"), &err), 0, "%s", err.text);
    identity_free(id);
}

static void drop(void)
{
    tempdir_remove(dir);
}

TestSuite(settings, .init = make, .fini = drop);

static int read_with(struct settings *s, const char *more)
{
    char text[1024];
    int n = snprintf(text, sizeof text,
                     "{\"role\":\"server\",\"identity\":\"server.id\",\"listen\":\"tcp://127.0.0.1:*\","
                     "\"listen_admin\":\"tcp://127.0.0.1:*\",\"package\":\"package\"%s}", more);
    tempdir_spill(tempdir_path(dir, "server.json"), text, (size_t)n);
    return settings_read(s, tempdir_path(dir, "server.json"), &err);
}

Test(settings, the_defaults_are_those_of_the_documentation)
{
    struct settings s;
    cr_assert_eq(read_with(&s, ""), 0, "%s", err.text);
    cr_expect(s.limits.context == 4096 && s.limits.sessions == 256 && s.limits.user_sessions == 32 && s.limits.rows == 512);
    cr_expect(s.limits.out_rows == 64 && s.limits.ttl_ms == 300000 && s.limits.chunk_rows == 256 && s.limits.queue_rows == 32768);
    cr_expect(s.limits.steps == (size_t)512 << 20 && s.limits.prefix == PREFIX_USER && s.kv_dtype == KV_F32 && s.threads == 0);
    const uint64_t half = memory_physical() / 2;
    cr_expect_eq(s.kv_bytes, half >> 20 < 4096 ? half >> 20 << 20 : (size_t)4096 << 20);
    settings_free(&s);
}

Test(settings, every_value_is_read)
{
    struct settings s;
    cr_assert_eq(read_with(&s, ",\"kv_dtype\":\"int8\",\"prefix_cache\":\"context\",\"threads\":3,\"limits\":{\"context\":1,"
                               "\"sessions\":2,\"user_sessions\":3,\"memory_mb\":4,\"steps_mb\":5,\"weights_mb\":6,"
                               "\"session_ttl_s\":7,\"rows\":8,\"out_rows\":9,\"chunk_rows\":16,\"queue_rows\":11}"), 0, "%s", err.text);
    cr_expect(s.limits.context == 1 && s.limits.sessions == 2 && s.limits.user_sessions == 3 && s.kv_bytes == (size_t)4 << 20);
    cr_expect(s.limits.steps == (size_t)5 << 20 && s.weights_bytes == (size_t)6 << 20 && s.limits.ttl_ms == 7000);
    cr_expect(s.limits.rows == 8 && s.limits.out_rows == 9 && s.limits.chunk_rows == 16 && s.limits.queue_rows == 11);
    cr_expect(s.kv_dtype == KV_INT8 && s.limits.prefix == PREFIX_CONTEXT && s.threads == 3);
    settings_free(&s);
}

Test(settings, what_is_wrong_is_named)
{
    static const char *const wrong[][3] = {{",\"kv_dtype\":\"f16\"", "kv_dtype", "f16"},
                                           {",\"prefix_cache\":\"all\"", "prefix_cache", "all"},
                                           {",\"prefix_cache\":true", "prefix_cache", "server.json"},
                                           {",\"limits\":{\"chunk_rows\":15}", "chunk_rows", "16"},
                                           {",\"limits\":{\"chunk\":16}", "limits", "chunk"},
                                           {",\"kv\":\"f32\"", "kv", "server.json"}};
    struct settings s;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_eq(read_with(&s, wrong[i][0]), -1);
        cr_expect(strstr(err.text, wrong[i][1]) != NULL && strstr(err.text, wrong[i][2]) != NULL, "%s: %s", wrong[i][0], err.text);
    }
}
