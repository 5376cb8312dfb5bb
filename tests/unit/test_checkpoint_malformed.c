/* The files of tests/vectors/malformed: each is refused with the message that expected.tsv says. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/config.h"
#include "model/safetensors.h"
#include "tests/support/tempdir.h"

#define FOLDER STIP_SOURCE_DIR "/tests/vectors/malformed"

static int open_config(const char *path, struct err *err)
{
    struct json_doc *doc;
    struct config c;
    if (json_load(&doc, path, JSON_CAP_CONFIG, false, err) != 0)
        return -1;
    int rc = config_parse(&c, doc, err);
    json_free(doc);
    if (rc == 0)
        config_free(&c);
    return rc;
}

static int open_safetensors(const char *path, struct err *err)
{
    struct safetensors *st = NULL;
    int rc = safetensors_open(&st, path, err);
    safetensors_close(st);
    return rc;
}

/* Runs all cases of one folder and gives how many there were. */
static int run(const char *folder, int (*open_it)(const char *path, struct err *err))
{
    int cases = 0;
    size_t len;
    char *table = tempdir_slurp(FOLDER "/expected.tsv", &len), *save = NULL;
    for (char *line = strtok_r(table, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        char path[FILE_PATH_MAX], *part = strchr(line, '\t');
        struct err err = {0};
        cr_assert_not_null(part, "%s", line);
        *part++ = '\0';
        if (strncmp(line, folder, strlen(folder)) != 0)
            continue;
        cr_assert_eq(file_join(path, FOLDER, line, NULL), 0);
        cr_assert(file_exists(path), "%s", path);
        cr_expect_eq(open_it(path, &err), -1, "%s was taken", line);
        cr_expect_eq(err.code, ERR_INPUT, "%s: class %d", line, (int)err.code);
        cr_expect_not_null(strstr(err.text, part), "%s\n  expected: %s\n  found:    %s", line, part, err.text);
        cr_expect_not_null(strstr(err.text, line), "%s: the message does not name the file: %s", line, err.text);
        cases++;
    }
    free(table);
    return cases;
}

Test(malformed, each_config_is_refused_by_name)
{
    cr_expect_geq(run("config/", open_config), 80);
}

Test(malformed, each_safetensors_file_is_refused_by_name)
{
    cr_expect_geq(run("safetensors/", open_safetensors), 50);
}
