#include "base/doctor.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/timex.h>

#include "base/clock.h"
#include "base/expiry.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/threads.h"

#define OLDEST 1767225600 /* 2026-01-01: a clock before this program was written is wrong */
#define MB 1e6

/* Everything in one object, which doctor_end prints. */
static void put_json(struct doctor *d, const char *state, const char *hop, const char *text, const char *fix)
{
    if (d->doc == NULL) {
        d->doc = json_new_object("doctor");
        d->checks = json_put_array(d->doc, json_node(d->doc), "checks");
    }
    struct json *check = json_put_object(d->doc, d->checks, NULL);
    json_put_str(d->doc, check, "hop", hop);
    json_put_str(d->doc, check, "state", state);
    json_put_str(d->doc, check, "text", text);
    if (fix != NULL)
        json_put_str(d->doc, check, "fix", fix);
}

static int print_json(struct doctor *d, struct err *err)
{
    char *text;
    json_put_int(d->doc, json_node(d->doc), "warnings", d->count[DOCTOR_WARN]);
    json_put_int(d->doc, json_node(d->doc), "failed", d->count[DOCTOR_FAIL]);
    const int rc = json_print(d->doc, false, &text, err);
    json_free(d->doc);
    d->doc = NULL;
    if (rc != 0)
        return -1;
    (void)puts(text);
    free(text);
    return 0;
}

static void say(struct doctor *d, enum doctor_state state, const char *hop, const char *fix, const char *fmt, va_list args)
{
    static const char *const names[] = {[DOCTOR_OK] = "ok", [DOCTOR_WARN] = "warn", [DOCTOR_FAIL] = "fail"};
    char text[1200];
    (void)vsnprintf(text, sizeof text, fmt, args);
    d->count[state]++;
    if (d->json)
        put_json(d, names[state], hop, text, fix);
    else
        printf("%-5s %-22s %s\n", names[state], hop, text);
    if (!d->json && fix != NULL)
        printf("      %-22s fix: %s\n", "", fix);
    (void)fflush(stdout); /* the next check may take its time */
}

void doctor_ok(struct doctor *d, const char *hop, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(d, DOCTOR_OK, hop, NULL, fmt, args);
    va_end(args);
}

void doctor_warn(struct doctor *d, const char *hop, const char *fix, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(d, DOCTOR_WARN, hop, fix, fmt, args);
    va_end(args);
}

void doctor_fail(struct doctor *d, const char *hop, const char *fix, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(d, DOCTOR_FAIL, hop, fix, fmt, args);
    va_end(args);
}

int doctor_end(struct doctor *d, struct err *err)
{
    const int all = d->count[DOCTOR_OK] + d->count[DOCTOR_WARN] + d->count[DOCTOR_FAIL];
    if (d->json && print_json(d, err) != 0)
        return -1;
    if (d->count[DOCTOR_FAIL] > 0)
        return err_set(err, ERR_CHECK, "%d of %d checks failed", d->count[DOCTOR_FAIL], all);
    if (!d->json)
        printf("%d checks, %d warnings, nothing failed\n", all, d->count[DOCTOR_WARN]);
    return 0;
}

void doctor_expiry(struct doctor *d, const char *hop, const char *what, int64_t expires, const char *fix)
{
    const int64_t now = clock_unix();
    char end[32];
    if (expires == EXPIRY_NEVER)
        return;
    clock_iso(expires, end);
    if (now >= expires)
        doctor_fail(d, hop, fix, "%s expired on %s", what, end);
    else if (expiry_near(expires, now))
        doctor_warn(d, hop, fix, "%s expires on %s, in %lld days", what, end, (long long)expiry_days(expires, now));
    else
        doctor_ok(d, hop, "%s expires on %s", what, end);
}

/* ------------------------------------------------------------------ the machine */

void doctor_clock(struct doctor *d)
{
    struct timex t = {0};
    char now[32];
    clock_iso(clock_unix(), now);
    if (clock_unix() < OLDEST)
        doctor_fail(d, "clock", "set the clock, for example with: timedatectl set-ntp true", "%s is in the past", now);
    else if (adjtimex(&t) < 0)
        doctor_ok(d, "clock", "%s; the system does not say whether it is synchronised", now);
    else if ((t.status & STA_UNSYNC) != 0)
        doctor_warn(d, "clock", "timedatectl set-ntp true; packages and grants expire by it, and logs are dated by it",
                    "%s, not synchronised with a time server", now);
    else
        doctor_ok(d, "clock", "%s, synchronised", now);
}

void doctor_threads(struct doctor *d, int asked)
{
    const int cpus = threads_cpus();
    if (asked > cpus)
        doctor_warn(d, "threads", "set `threads` of the config to 0, or give the process more CPUs",
                    "%d are asked for, this process may run on %d CPUs and takes %d", asked, cpus, cpus);
    else
        doctor_ok(d, "threads", "%d on %d CPUs", asked == 0 ? cpus : asked, cpus);
}

void doctor_memory(struct doctor *d, uint64_t need)
{
    const uint64_t machine = memory_physical(), group = memory_group_limit();
    const uint64_t most = group < machine ? group : machine;
    const char *whose = group < machine ? "the control group of this process" : "this machine";
    if (need > most)
        doctor_fail(d, "memory", "lower limits.memory_mb and limits.steps_mb, or take a larger machine or control group",
                    "%.0f MB are needed at most, %s has %.0f MB", (double)need / MB, whose, (double)most / MB);
    else
        doctor_ok(d, "memory", "%.0f MB are needed at most, %s has %.0f MB", (double)need / MB, whose, (double)most / MB);
}

void doctor_disk(struct doctor *d, const char *path, uint64_t need)
{
    char folder[FILE_PATH_MAX], inner[FILE_PATH_MAX];
    struct statvfs fs;
    struct err err;
    if (file_join(inner, NULL, path, &err) != 0 || file_dir(folder, inner, &err) != 0) {
        doctor_fail(d, "disk", "shorten the path", "%s", err.text);
        return;
    }
    /* What is not there yet will be made in the nearest folder that is. */
    while (!file_is_dir(folder) && strcmp(folder, ".") != 0 && strcmp(folder, "/") != 0) {
        (void)snprintf(inner, sizeof inner, "%s", folder);
        if (file_dir(folder, inner, &err) != 0)
            return;
    }
    if (statvfs(folder, &fs) != 0) {
        doctor_fail(d, "disk", "make the folder, or correct the path in the config", "%s: %s", folder, strerror(errno));
        return;
    }
    const uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (access(folder, W_OK | X_OK) != 0)
        doctor_fail(d, "disk", "give this user write permission there, or correct the path in the config", "%s: %s", folder,
                    strerror(errno));
    else if (room < need)
        doctor_fail(d, "disk", "make room, or move the folder to another disk and correct the config",
                    "%s has %.0f MB left, %.0f MB may be needed", folder, (double)room / MB, (double)need / MB);
    else
        doctor_ok(d, "disk", "%s has %.0f MB left, %.0f MB may be needed", folder, (double)room / MB, (double)need / MB);
}
