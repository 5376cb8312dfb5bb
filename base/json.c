#include "base/json.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json_scan.h"

struct json_doc {
    cJSON *root;
    bool failed;        /* building ran out of memory */
    enum err_code code; /* of what a getter finds wrong */
    char name[256];
};

static const cJSON *node_of(const struct json *j)
{
    return (const cJSON *)(const void *)j;
}

static cJSON *edit_of(struct json *j)
{
    return (cJSON *)(void *)j;
}

static const struct json *json_of(const cJSON *c)
{
    return (const struct json *)(const void *)c;
}

/* ------------------------------------------------------------------ comments */

/* Writes spaces over // and slash-star comments, so that places in messages stay right. */
static int blank_comments(char *text, size_t len, const char *name, struct err *err)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"') {
            for (i++; i < len && text[i] != '"'; i++)
                if (text[i] == '\\')
                    i++;
        } else if (text[i] == '/' && i + 1 < len && text[i + 1] == '/') {
            for (; i < len && text[i] != '\n'; i++)
                text[i] = ' ';
        } else if (text[i] == '/' && i + 1 < len && text[i + 1] == '*') {
            const char *end = memmem(text + i + 2, len - i - 2, "*/", 2);
            if (end == NULL)
                return err_set(err, ERR_INPUT, "%s: byte %zu: comment without end", name, i);
            for (size_t stop = (size_t)(end + 2 - text); i < stop; i++)
                if (text[i] != '\n')
                    text[i] = ' ';
            i--; /* the loop steps on */
        }
    }
    return 0;
}

/* ------------------------------------------------------------------ walk: duplicate keys, numbers out of range */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_keys(const cJSON *obj, const char *name, struct err *err)
{
    size_t n = 0, i = 0;
    for (const cJSON *c = obj->child; c != NULL; c = c->next)
        n++;
    if (n < 2)
        return 0;
    const char **keys = malloc(n * sizeof *keys);
    if (keys == NULL)
        return err_oom(err, n * sizeof *keys);
    for (const cJSON *c = obj->child; c != NULL; c = c->next)
        keys[i++] = c->string;
    qsort(keys, n, sizeof *keys, by_name);
    int rc = 0;
    for (i = 1; i < n && rc == 0; i++)
        if (strcmp(keys[i - 1], keys[i]) == 0)
            rc = err_set(err, ERR_INPUT, "%s: the key '%.100s' stands twice in one object", name, keys[i]);
    free(keys);
    return rc;
}

/* cJSON refuses nesting deeper than 1000, so recursion is bounded. */
static int check_tree(const cJSON *node, const char *name, struct err *err)
{
    if (cJSON_IsNumber(node) && !isfinite(node->valuedouble))
        return err_set(err, ERR_INPUT, "%s: field '%.100s': number out of range", name, node->string ? node->string : "(in a list)");
    if (cJSON_IsObject(node) && check_keys(node, name, err) != 0)
        return -1;
    for (const cJSON *c = node->child; c != NULL; c = c->next)
        if ((cJSON_IsNumber(c) || c->child != NULL) && check_tree(c, name, err) != 0)
            return -1;
    return 0;
}

/* ------------------------------------------------------------------ documents */

static struct json_doc *doc_new(const char *name)
{
    struct json_doc *doc = calloc(1, sizeof *doc);
    size_t len = strlen(name), room = sizeof doc->name - 1;
    if (doc == NULL)
        return NULL;
    /* Of a long path the end says more than the beginning. */
    (void)snprintf(doc->name, sizeof doc->name, "%s", len > room ? name + len - room : name);
    doc->code = ERR_INPUT;
    return doc;
}

static size_t line_of(const char *text, size_t at)
{
    size_t line = 1;
    for (size_t i = 0; i < at; i++)
        line += text[i] == '\n';
    return line;
}

static int parse(struct json_doc **out, const char *text, size_t len, bool comments, const char *name, struct err *err)
{
    char *plain = malloc(len + 1);
    if (plain == NULL)
        return err_oom(err, len + 1);
    memcpy(plain, text, len);
    plain[len] = '\0';

    int rc = -1;
    struct json_doc *doc = NULL;
    const char *stop = NULL;
    if ((comments && blank_comments(plain, len, name, err) != 0) || json_scan(plain, len, name, err) != 0)
        goto done;
    if ((doc = doc_new(name)) == NULL) {
        err_oom(err, sizeof *doc);
        goto done;
    }
    errno = 0;
    doc->root = cJSON_ParseWithLengthOpts(plain, len + 1, &stop, 1);
    if (doc->root == NULL && errno == ENOMEM) { /* the only sign of it */
        err_set(err, ERR_INTERNAL, "%s: out of memory while it is parsed", name);
        goto done;
    }
    if (doc->root == NULL) {
        size_t at = stop != NULL && stop >= plain && stop <= plain + len ? (size_t)(stop - plain) : 0;
        err_set(err, ERR_INPUT, "%s: not valid JSON near byte %zu, line %zu", name, at, line_of(text, at));
        goto done;
    }
    if (check_tree(doc->root, name, err) != 0)
        goto done;
    if (comments)
        doc->code = ERR_USAGE;
    *out = doc;
    doc = NULL;
    rc = 0;
done:
    json_free(doc);
    free(plain);
    return rc;
}

int json_parse(struct json_doc **out, const char *text, size_t len, bool comments, const char *name, struct err *err)
{
    const int rc = parse(out, text, len, comments, name, err);
    if (rc != 0 && comments && err != NULL && err->code == ERR_INPUT)
        err->code = ERR_USAGE; /* a config's */
    return rc;
}

int json_load(struct json_doc **out, const char *path, size_t cap, bool comments, struct err *err)
{
    char *text;
    size_t len;
    if (file_read(path, cap, &text, &len, err) != 0)
        return -1;
    int rc = json_parse(out, text, len, comments, path, err);
    free(text);
    return rc;
}

void json_free(struct json_doc *doc)
{
    if (doc == NULL)
        return;
    cJSON_Delete(doc->root);
    free(doc);
}

const char *json_name(const struct json_doc *doc)
{
    return doc->name;
}

const struct json *json_root(const struct json_doc *doc)
{
    return doc == NULL ? NULL : json_of(doc->root);
}

/* ------------------------------------------------------------------ reading */

enum json_type json_type(const struct json *node)
{
    const cJSON *c = node_of(node);
    if (cJSON_IsBool(c))
        return JSON_BOOL;
    if (cJSON_IsNumber(c))
        return JSON_NUMBER;
    if (cJSON_IsString(c))
        return JSON_STRING;
    if (cJSON_IsArray(c))
        return JSON_ARRAY;
    if (cJSON_IsObject(c))
        return JSON_OBJECT;
    return JSON_NULL;
}

const char *json_type_name(const struct json *node)
{
    static const char *const names[] = {"null", "true/false", "a number", "a string", "a list", "an object"};
    return node == NULL ? "nothing" : names[json_type(node)];
}

const struct json *json_get(const struct json *obj, const char *key)
{
    return json_of(cJSON_GetObjectItemCaseSensitive(node_of(obj), key));
}

const struct json *json_first(const struct json *node)
{
    return node == NULL ? NULL : json_of(node_of(node)->child);
}

const struct json *json_next(const struct json *node)
{
    return json_of(node_of(node)->next);
}

const char *json_key(const struct json *node)
{
    return node_of(node)->string;
}

size_t json_count(const struct json *node)
{
    size_t n = 0;
    for (const struct json *c = json_first(node); c != NULL; c = json_next(c))
        n++;
    return n;
}

const char *json_string(const struct json *node)
{
    return cJSON_GetStringValue(node_of(node));
}

double json_number(const struct json *node)
{
    return cJSON_IsNumber(node_of(node)) ? node_of(node)->valuedouble : NAN;
}

bool json_true(const struct json *node)
{
    return cJSON_IsTrue(node_of(node));
}

bool json_is_null(const struct json *node)
{
    return node == NULL || cJSON_IsNull(node_of(node));
}

bool json_integer(const struct json *node, int64_t *out)
{
    double d = json_number(node);
    /* 2^53 itself may have been 2^53 + 1 in the text. */
    if (!(fabs(d) < 0x1p53) || d != floor(d))
        return false;
    *out = (int64_t)d;
    return true;
}

static int wrong(const struct json_doc *doc, const struct json *obj, const char *key, const char *expected, struct err *err)
{
    const struct json *node = json_get(obj, key);
    const char *found = json_type_name(node);
    char number[40];
    if (node != NULL && json_type(node) == JSON_NUMBER) {
        (void)snprintf(number, sizeof number, "%.15g", json_number(node));
        found = number;
    }
    return err_set(err, doc->code, "%s: field '%s': expected %s, found %s", doc->name, key, expected, found);
}

int json_get_str(const struct json_doc *doc, const struct json *obj, const char *key, const char **out, struct err *err)
{
    const char *s = json_string(json_get(obj, key));
    if (s == NULL)
        return wrong(doc, obj, key, "a string", err);
    *out = s;
    return 0;
}

int json_get_int(const struct json_doc *doc, const struct json *obj, const char *key, int64_t min, int64_t max,
                 int64_t *out, struct err *err)
{
    int64_t v;
    if (!json_integer(json_get(obj, key), &v) || v < min || v > max) {
        char expected[96];
        (void)snprintf(expected, sizeof expected, "a whole number from %lld to %lld", (long long)min, (long long)max);
        return wrong(doc, obj, key, expected, err);
    }
    *out = v;
    return 0;
}

int json_get_num(const struct json_doc *doc, const struct json *obj, const char *key, double *out, struct err *err)
{
    double v = json_number(json_get(obj, key));
    if (isnan(v))
        return wrong(doc, obj, key, "a number", err);
    *out = v;
    return 0;
}

int json_get_bool(const struct json_doc *doc, const struct json *obj, const char *key, bool *out, struct err *err)
{
    const struct json *node = json_get(obj, key);
    if (!cJSON_IsBool(node_of(node)))
        return wrong(doc, obj, key, "true or false", err);
    *out = json_true(node);
    return 0;
}

int json_opt_str(const struct json_doc *doc, const struct json *obj, const char *key, const char **out, struct err *err)
{
    return json_is_null(json_get(obj, key)) ? 0 : json_get_str(doc, obj, key, out, err);
}

int json_opt_int(const struct json_doc *doc, const struct json *obj, const char *key, int64_t min, int64_t max,
                 int64_t *out, struct err *err)
{
    return json_is_null(json_get(obj, key)) ? 0 : json_get_int(doc, obj, key, min, max, out, err);
}

int json_opt_num(const struct json_doc *doc, const struct json *obj, const char *key, double *out, struct err *err)
{
    return json_is_null(json_get(obj, key)) ? 0 : json_get_num(doc, obj, key, out, err);
}

int json_opt_bool(const struct json_doc *doc, const struct json *obj, const char *key, bool *out, struct err *err)
{
    return json_is_null(json_get(obj, key)) ? 0 : json_get_bool(doc, obj, key, out, err);
}

int json_only(const struct json_doc *doc, const struct json *obj, const char *const *keys, struct err *err)
{
    const char *key = obj == NULL ? NULL : json_key(obj);
    if (!json_is_null(obj) && json_type(obj) != JSON_OBJECT)
        return err_set(err, doc->code, "%s: %s%s%sexpected an object, found %s", doc->name, key == NULL ? "" : "field '",
                       key == NULL ? "" : key, key == NULL ? "" : "': ", json_type_name(obj));
    for (const struct json *c = json_first(obj); c != NULL; c = json_next(c)) {
        const char *const *k = keys;
        while (*k != NULL && strcmp(*k, json_key(c)) != 0)
            k++;
        if (*k == NULL) {
            struct buf known;
            buf_init(&known, 800);
            for (k = keys; *k != NULL; k++)
                buf_printf(&known, "%s%s", k == keys ? "" : ", ", *k);
            err_set(err, ERR_USAGE, "%s: unknown key '%.100s' (known here: %s)", doc->name, json_key(c),
                    known.failed || known.data == NULL ? "..." : (const char *)known.data);
            buf_free(&known);
            return -1;
        }
    }
    return 0;
}

/* ------------------------------------------------------------------ building */

struct json_doc *json_new_object(const char *name)
{
    struct json_doc *doc = doc_new(name);
    if (doc != NULL && (doc->root = cJSON_CreateObject()) == NULL)
        doc->failed = true;
    return doc;
}

struct json *json_node(struct json_doc *doc)
{
    return doc == NULL ? NULL : (struct json *)(void *)doc->root;
}

/* cJSON owns the item afterwards, or it is freed here. */
static struct json *put(struct json_doc *doc, struct json *parent, const char *key, cJSON *item)
{
    cJSON *p = edit_of(parent);
    bool ok = doc != NULL && p != NULL && item != NULL &&
              (key == NULL ? cJSON_AddItemToArray(p, item) : cJSON_AddItemToObject(p, key, item));
    if (!ok) {
        cJSON_Delete(item);
        if (doc != NULL)
            doc->failed = true;
        return NULL;
    }
    return (struct json *)(void *)item;
}

struct json *json_put_object(struct json_doc *doc, struct json *parent, const char *key)
{
    return put(doc, parent, key, cJSON_CreateObject());
}

struct json *json_put_array(struct json_doc *doc, struct json *parent, const char *key)
{
    return put(doc, parent, key, cJSON_CreateArray());
}

void json_put_str(struct json_doc *doc, struct json *parent, const char *key, const char *value)
{
    put(doc, parent, key, value == NULL ? cJSON_CreateNull() : cJSON_CreateString(value));
}

void json_quote(struct buf *to, const char *text, size_t len)
{
    static const char shorts[] = "\b\t\n\f\r\"\\", letters[] = "btnfr\"\\";
    size_t from = 0;
    buf_put8(to, '"');
    for (size_t i = 0; i < len; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        const char *at = memchr(shorts, c, sizeof shorts - 1);
        buf_put(to, text + from, i - from);
        if (at != NULL) {
            buf_put8(to, '\\');
            buf_put8(to, (uint8_t)letters[at - shorts]);
        } else {
            buf_printf(to, "\\u%04x", c);
        }
        from = i + 1;
    }
    buf_put(to, text + from, len - from);
    buf_put8(to, '"');
}

/* cJSON's strings end at a NUL, so such a text goes in as it is printed. */
void json_put_text(struct json_doc *doc, struct json *parent, const char *key, const char *text, size_t len)
{
    const bool plain = memchr(text, '\0', len) == NULL;
    struct buf b;
    buf_init(&b, SIZE_MAX / 2);
    if (plain)
        buf_put(&b, text, len);
    else
        json_quote(&b, text, len);
    char *made = buf_take(&b, NULL);
    put(doc, parent, key, made == NULL ? NULL : plain ? cJSON_CreateString(made) : cJSON_CreateRaw(made));
    free(made);
}

void json_put_int(struct json_doc *doc, struct json *parent, const char *key, int64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%lld", (long long)value);
    /* cJSON prints 15 digits of a number; a larger one goes in as text. */
    bool small = value > -INT64_C(1000000000000000) && value < INT64_C(1000000000000000);
    put(doc, parent, key, small ? cJSON_CreateNumber((double)value) : cJSON_CreateRaw(text));
}

void json_put_num(struct json_doc *doc, struct json *parent, const char *key, double value)
{
    put(doc, parent, key, cJSON_CreateNumber(value));
}

void json_put_null(struct json_doc *doc, struct json *parent, const char *key)
{
    put(doc, parent, key, cJSON_CreateNull());
}

void json_put_bool(struct json_doc *doc, struct json *parent, const char *key, bool value)
{
    put(doc, parent, key, cJSON_CreateBool(value));
}

void json_put_copy(struct json_doc *doc, struct json *parent, const char *key, const struct json *node)
{
    put(doc, parent, key, cJSON_Duplicate(node_of(node), 1));
}

void json_remove(struct json_doc *doc, struct json *parent, const char *key)
{
    (void)doc;
    cJSON_DeleteItemFromObjectCaseSensitive(edit_of(parent), key);
}

int json_dup(struct json_doc **out, const struct json_doc *doc, struct err *err)
{
    struct json_doc *copy = doc_new(doc->name);
    if (copy == NULL || (copy->root = cJSON_Duplicate(doc->root, 1)) == NULL) {
        json_free(copy);
        return err_oom(err, sizeof *copy);
    }
    *out = copy;
    return 0;
}

int json_print(const struct json_doc *doc, bool pretty, char **out, struct err *err)
{
    char *text = doc == NULL || doc->failed ? NULL : pretty ? cJSON_Print(doc->root) : cJSON_PrintUnformatted(doc->root);
    if (text == NULL)
        return err_set(err, ERR_INTERNAL, "out of memory while writing %s", doc == NULL ? "JSON" : doc->name);
    *out = text;
    return 0;
}
