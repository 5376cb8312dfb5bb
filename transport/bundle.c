#include "transport/bundle.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/le.h"
#include "base/log.h"

static const char magic[8] = "STIPBDL1";
#define HEADER_CAP ((uint32_t)1 << 20)
#define FILES_MAX 4096

/* ------------------------------------------------------------------ writing */

static int not_dots(const struct dirent *e)
{
    return strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
}

static int list_files(const char *dir, struct dirent ***list, struct err *err)
{
    int n = scandir(dir, list, not_dots, alphasort);
    return n >= 0 ? n : err_set(err, ERR_INPUT, "cannot list %s: %s", dir, strerror(errno));
}

/* Puts name, size and digest of one file into the header. */
static int describe(struct json_doc *doc, struct json *files, const char *dir, const char *name, struct err *err)
{
    char path[FILE_PATH_MAX], hex[2 * CRYPTO_HASH_LEN + 1];
    uint8_t digest[CRYPTO_HASH_LEN];
    struct file_map map;
    if (!file_name_ok(name))
        return err_set(err, ERR_INPUT, "%s: the file name '%.200s' cannot travel in a bundle", dir, name);
    if (file_join(path, dir, name, err) != 0 || file_map(&map, path, err) != 0)
        return -1;
    int rc = crypto_sha256(map.data, map.size, digest, err);
    if (rc == 0) {
        crypto_hex(digest, sizeof digest, hex);
        struct json *node = json_put_object(doc, files, NULL);
        json_put_str(doc, node, "name", name);
        json_put_int(doc, node, "size", (int64_t)map.size);
        json_put_str(doc, node, "sha256", hex);
    }
    file_unmap(&map);
    return rc;
}

static int append_file(struct file_out *out, const char *dir, const char *name, struct err *err)
{
    char path[FILE_PATH_MAX];
    struct file_map map;
    if (file_join(path, dir, name, err) != 0 || file_map(&map, path, err) != 0)
        return -1;
    int rc = file_out_write(out, map.data, map.size, err);
    file_unmap(&map);
    return rc;
}

int bundle_write(const char *path, const char *dir, const char *kind, const char *about,
                 const uint8_t sign_key[CRYPTO_KEY_LEN], struct err *err)
{
    struct dirent **list = NULL;
    struct file_out out = {.fd = -1};
    struct buf head;
    char *text = NULL;
    uint8_t sig[CRYPTO_SIG_LEN];
    int rc = -1, n = list_files(dir, &list, err);
    if (n < 0)
        return -1;
    buf_init(&head, HEADER_CAP);
    struct json_doc *doc = json_new_object("bundle header");
    json_put_str(doc, json_node(doc), "kind", kind);
    json_put_str(doc, json_node(doc), "about", about);
    struct json *files = json_put_array(doc, json_node(doc), "files");
    for (int i = 0; i < n; i++)
        if (describe(doc, files, dir, list[i]->d_name, err) != 0)
            goto done;
    if (json_print(doc, false, &text, err) != 0)
        goto done;
    buf_put(&head, magic, sizeof magic);
    buf_put32(&head, (uint32_t)strlen(text));
    buf_put_str(&head, text);
    if (buf_check(&head, "bundle header", err) != 0 || crypto_sign(sign_key, head.data, head.len, sig, err) != 0 ||
        file_out_open(&out, path, 0600, err) != 0 || file_out_write(&out, head.data, head.len, err) != 0 ||
        file_out_write(&out, sig, sizeof sig, err) != 0)
        goto done;
    for (int i = 0; i < n; i++)
        if (append_file(&out, dir, list[i]->d_name, err) != 0)
            goto done;
    rc = file_out_commit(&out, err);
done:
    file_out_drop(&out);
    json_free(doc);
    free(text);
    buf_free(&head);
    for (int i = 0; i < n; i++)
        free(list[i]);
    free(list);
    return rc;
}

/* ------------------------------------------------------------------ unpacking */

static int unpack_one(const struct json_doc *doc, const struct json *node, const char *dir, const struct file_map *map,
                      size_t *at, struct err *err)
{
    static const char *const keys[] = {"name", "size", "sha256", NULL};
    const char *name, *hex;
    int64_t size;
    uint8_t want[CRYPTO_HASH_LEN], have[CRYPTO_HASH_LEN];
    char path[FILE_PATH_MAX];
    if (json_only(doc, node, keys, err) != 0 || json_get_str(doc, node, "name", &name, err) != 0 ||
        json_get_int(doc, node, "size", 0, INT64_C(1) << 50, &size, err) != 0 ||
        json_get_str(doc, node, "sha256", &hex, err) != 0)
        return -1;
    if (!file_name_ok(name) || !crypto_unhex(hex, want, sizeof want))
        return err_set(err, ERR_INPUT, "%s: a file entry has a bad name or digest", json_name(doc));
    if ((uint64_t)size > map->size - *at)
        return err_set(err, ERR_INPUT, "%s: file '%s' ends past the bundle: truncated?", json_name(doc), name);
    if (crypto_sha256(map->data + *at, (size_t)size, have, err) != 0)
        return -1;
    if (memcmp(want, have, sizeof want) != 0)
        return err_set(err, ERR_AUTH, "%s: file '%s' was changed on the way (SHA-256 differs)", json_name(doc), name);
    if (file_join(path, dir, name, err) != 0)
        return -1;
    if (file_exists(path))
        return err_set(err, ERR_INPUT, "%s: file '%s' stands twice in the list", json_name(doc), name);
    if (file_write(path, map->data + *at, (size_t)size, 0600, err) != 0)
        return -1;
    *at += (size_t)size;
    return 0;
}

static int unpack_into(const char *path, const struct file_map *map, const char *dir, const char *kind,
                       const uint8_t sign_pub[CRYPTO_KEY_LEN], struct err *err)
{
    static const char *const keys[] = {"kind", "about", "files", NULL};
    struct json_doc *doc = NULL;
    const char *found;
    int rc = -1;
    if (map->size < sizeof magic + 4 || memcmp(map->data, magic, sizeof magic) != 0)
        return err_set(err, ERR_INPUT, "%s: not a stip bundle", path);
    uint32_t len = le_get32(map->data + sizeof magic);
    size_t at = sizeof magic + 4 + len;
    if (len > HEADER_CAP || map->size < at + CRYPTO_SIG_LEN)
        return err_set(err, ERR_INPUT, "%s: the header ends past the file: truncated?", path);
    if (crypto_verify(sign_pub, map->data, at, map->data + at, err) != 0)
        return err_wrap(err, "%s: not signed by the model_dev of the config", path);
    if (json_parse(&doc, (const char *)map->data + sizeof magic + 4, len, false, path, err) != 0)
        return -1;
    const struct json *files = json_get(json_root(doc), "files");
    if (json_only(doc, json_root(doc), keys, err) != 0 || json_get_str(doc, json_root(doc), "kind", &found, err) != 0)
        goto done;
    if (strcmp(found, kind) != 0) {
        err_set(err, ERR_INPUT, "%s: expected a %s, found a %.40s", path, kind, found);
        goto done;
    }
    if (files == NULL || json_type(files) != JSON_ARRAY || json_count(files) > FILES_MAX) {
        err_set(err, ERR_INPUT, "%s: field 'files': expected a list of at most %d entries", path, FILES_MAX);
        goto done;
    }
    at += CRYPTO_SIG_LEN;
    for (const struct json *f = json_first(files); f != NULL; f = json_next(f))
        if (unpack_one(doc, f, dir, map, &at, err) != 0)
            goto done;
    rc = at == map->size ? 0 : err_set(err, ERR_INPUT, "%s: %zu bytes follow the last file", path, map->size - at);
done:
    json_free(doc);
    return rc;
}

int bundle_unpack(const char *path, const char *dir, const char *kind, const uint8_t sign_pub[CRYPTO_KEY_LEN], struct err *err)
{
    char fresh[FILE_PATH_MAX], target[FILE_PATH_MAX];
    struct file_map map;
    struct err left;
    int n = (int)strnlen(dir, FILE_PATH_MAX);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    if (snprintf(target, sizeof target, "%.*s", n, dir) >= (int)sizeof target ||
        snprintf(fresh, sizeof fresh, "%.*s.part", n, dir) >= (int)sizeof fresh)
        return err_set(err, ERR_INPUT, "path too long: %.80s...", dir);
    if (file_remove_tree(fresh, err) != 0 || file_map(&map, path, err) != 0)
        return -1;
    int rc = file_mkdirs(fresh, 0700, err);
    if (rc == 0)
        rc = unpack_into(path, &map, fresh, kind, sign_pub, err);
    if (rc == 0)
        rc = file_replace_tree(fresh, target, err);
    if (rc != 0 && file_remove_tree(fresh, &left) != 0)
        log_warn("%s", left.text);
    file_unmap(&map);
    return rc;
}
