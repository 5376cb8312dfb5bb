#include "server/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

/* ------------------------------------------------------------------ files */

#define READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE                                                                                                                    \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | \
     LANDLOCK_ACCESS_FS_MAKE_REG)
/* Of the first version, and with it everything that is allowed nowhere. */
#define ALL                                                                                                                      \
    (READ | WRITE | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_SOCK |                   \
     LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)
#define REFER ((uint64_t)1 << 13)    /* version 2: renaming between folders, which install does inside its own */
#define TRUNCATE ((uint64_t)1 << 14) /* version 3 */

static int allow(int rules, const char *path, uint64_t access, struct err *err)
{
    const int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) /* what is not there needs no permission */
        return 0;
    if (fd < 0)
        return err_set(err, ERR_INPUT, "sandbox: cannot open %s: %s", path, strerror(errno));
    const struct landlock_path_beneath_attr beneath = {.allowed_access = access, .parent_fd = fd};
    int rc = syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) == 0
                 ? 0
                 : err_set(err, ERR_INTERNAL, "sandbox: a rule for %s: %s", path, strerror(errno));
    (void)close(fd);
    return rc;
}

/* The folder of a file that the config names. */
static int allow_named(int rules, const struct settings *s, const char *name, struct err *err)
{
    char path[FILE_PATH_MAX], dir[FILE_PATH_MAX];
    if (file_join(path, s->config.dir, name, err) != 0 || file_dir(dir, path, err) != 0)
        return -1;
    return allow(rules, dir, READ, err);
}

/* Key files of an allow-list, which are read again at SIGHUP. */
static int allow_list(int rules, const struct settings *s, const char *list, struct err *err)
{
    const struct json *lists = json_get(json_root(s->config.doc), "allow");
    for (const struct json *n = json_first(json_get(lists, list)); n != NULL; n = json_next(n)) {
        const char *text = json_string(n);
        if (text != NULL && text[0] == '@' && allow_named(rules, s, text + 1, err) != 0)
            return -1;
    }
    return 0;
}

static int allow_all(int rules, const struct settings *s, uint64_t write, struct err *err)
{
    char identity[FILE_PATH_MAX], home[FILE_PATH_MAX];
    if (role_config_path(&s->config, "identity", identity, err) != 0 || file_dir(home, s->package, err) != 0)
        return -1;
    /* What says how much memory and how many processors there are and are taken; then what the config names. */
    if (allow(rules, "/sys/fs/cgroup", READ, err) != 0 || allow(rules, "/proc/self", READ, err) != 0 ||
        allow(rules, "/sys/devices/system/cpu", READ, err) != 0 || allow(rules, s->config.dir, READ, err) != 0 ||
        allow(rules, identity, READ, err) != 0 || allow_list(rules, s, "users", err) != 0 ||
        allow_list(rules, s, "model_devs", err) != 0)
        return -1;
    return allow(rules, home, READ | write, err);
}

int sandbox_files(const struct settings *s, struct err *err)
{
    const struct rlimit none = {0, 0};
    if (!s->sandbox)
        return 0;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || setrlimit(RLIMIT_CORE, &none) != 0)
        return err_set(err, ERR_INTERNAL, "sandbox: %s", strerror(errno));
    const long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1) {
        log_warn("this kernel has no Landlock (%s): the server can reach all files of its user", strerror(errno));
        return 0;
    }
    const uint64_t newer = (version >= 2 ? REFER : 0) | (version >= 3 ? TRUNCATE : 0);
    const struct landlock_ruleset_attr handled = {.handled_access_fs = ALL | newer};
    const int rules = (int)syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
    if (rules < 0)
        return err_set(err, ERR_INTERNAL, "sandbox: Landlock: %s", strerror(errno));
    int rc = allow_all(rules, s, WRITE | newer, err);
    if (rc == 0 && syscall(SYS_landlock_restrict_self, rules, 0) != 0)
        rc = err_set(err, ERR_INTERNAL, "sandbox: Landlock: %s", strerror(errno));
    (void)close(rules);
    return rc;
}

/* ------------------------------------------------------------------ system calls */

static const int CALLS[] = {
    /* files and descriptors that are open, and those that Landlock lets it open */
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64), SCMP_SYS(pwrite64), SCMP_SYS(open),
    SCMP_SYS(openat), SCMP_SYS(close), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(statx),
    SCMP_SYS(lseek), SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(readlink), SCMP_SYS(readlinkat),
    SCMP_SYS(getdents64), SCMP_SYS(getcwd), SCMP_SYS(fcntl), SCMP_SYS(flock), SCMP_SYS(fsync), SCMP_SYS(fdatasync),
    SCMP_SYS(ftruncate), SCMP_SYS(fallocate), SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(mkdir),
    SCMP_SYS(mkdirat), SCMP_SYS(rmdir), SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(chmod), SCMP_SYS(fchmod),
    SCMP_SYS(fchmodat), SCMP_SYS(umask), SCMP_SYS(ioctl), SCMP_SYS(dup), SCMP_SYS(pipe2), SCMP_SYS(eventfd2), SCMP_SYS(chdir),
    SCMP_SYS(fchdir), SCMP_SYS(fadvise64), SCMP_SYS(sendfile),
    /* memory */
    SCMP_SYS(mmap), SCMP_SYS(mprotect), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(brk), SCMP_SYS(mlock),
    SCMP_SYS(mlock2), SCMP_SYS(munlock), SCMP_SYS(membarrier), SCMP_SYS(mincore),
    /* connections that others make */
    SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt), SCMP_SYS(sendto), SCMP_SYS(recvfrom), SCMP_SYS(sendmsg), SCMP_SYS(recvmsg), SCMP_SYS(shutdown),
    SCMP_SYS(select), SCMP_SYS(pselect6), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
    /* threads and signals of its own */
    SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(get_robust_list), SCMP_SYS(rseq), SCMP_SYS(set_tid_address),
    SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_setaffinity), SCMP_SYS(sched_getparam),
    SCMP_SYS(sched_getscheduler), SCMP_SYS(sched_setscheduler), SCMP_SYS(sched_setparam), SCMP_SYS(setpriority),
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack), SCMP_SYS(tgkill), SCMP_SYS(restart_syscall), SCMP_SYS(exit), SCMP_SYS(exit_group),
    SCMP_SYS(arch_prctl), SCMP_SYS(prctl), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getppid), SCMP_SYS(getuid),
    SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid),
    /* time, chance, the machine */
    SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep), SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(gettimeofday),
    SCMP_SYS(time), SCMP_SYS(getrandom), SCMP_SYS(prlimit64), SCMP_SYS(getrlimit), SCMP_SYS(getrusage), SCMP_SYS(sysinfo),
    SCMP_SYS(uname),
};

int sandbox_calls(const struct settings *s, struct err *err)
{
    if (!s->sandbox)
        return 0;
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (filter == NULL)
        return err_set(err, ERR_INTERNAL, "sandbox: out of memory");
    int error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    for (size_t i = 0; error == 0 && i < sizeof CALLS / sizeof *CALLS; i++)
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALLS[i], 0);
    /* A thread, for the next package is loaded by one, but no process. glibc asks clone3 first, whose flags cannot be seen. */
    if (error == 0)
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    if (error == 0)
        error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    if (error == 0)
        error = seccomp_load(filter);
    seccomp_release(filter);
    if (error != 0)
        log_warn("no filter of system calls (%s): the server can call what its user may", strerror(-error));
    return 0;
}
