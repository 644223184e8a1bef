/*
 * Preloaded into the server: makes chosen calls on chosen files fail.
 *
 * FAILING_CALLS_RULES names a file with the rules, which is read at each call on a watched file, so that a test can change it
 * while the server runs. Each line is a rule:
 *
 *     ID CALL SUFFIX FAULT SKIP COUNT THREAD AFTER
 *
 *   ID      a number below 64; the counters of a rule start again only in a new process
 *   CALL    sync (fsync and fdatasync), write (write and pwrite), read (read and pread), or truncate (ftruncate)
 *   SUFFIX  the end of the file's name, such as -wal
 *   FAULT   the name of an error, such as EIO; SHORT: half of the bytes are written and reported;
 *           SHORT+EIO, SHORT+ENOSPC: the same, and the next call that matches the rule fails with the error; ZERO: returns 0
 *   SKIP    this number of calls that match the rule succeed first
 *   COUNT   this number of calls fail, 0 for all
 *   THREAD  the name of the calling thread, or *
 *   AFTER   - or sync: the rule applies only after a successful sync of the same file that follows its appearance
 *
 * Each failed call is appended to the file FAILING_CALLS_LOG: "NANOSECONDS ID CALL NAME THREAD", with the time of CLOCK_MONOTONIC.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define RULES 64

enum call { SYNC, WRITE, READ, TRUNCATE };
static const char *const CALLS[] = {"sync", "write", "read", "truncate"};

static const struct {
    const char *name;
    int value;
} ERRORS[] = {
    {"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EROFS", EROFS}, {"EFBIG", EFBIG}, {"EINTR", EINTR}, {"EPERM", EPERM},
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The state of a rule in this process. */
static struct {
    int synced, seen, failed, half_done;
} states[RULES];

static int ends_with(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

/* The path of an open file. False if it has none. */
static int path_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length <= 0 || path[0] != '/') return 0;
    path[length] = 0;
    return 1;
}

/* Reads the rules with direct system calls, because the functions of the C library are replaced below. */
static int read_rules(char *text, size_t size) {
    const char *name = getenv("FAILING_CALLS_RULES");
    if (!name) return 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return 0;
    long length = syscall(SYS_read, fd, text, size - 1);
    syscall(SYS_close, fd);
    if (length <= 0) return 0;
    text[length] = 0;
    return 1;
}

static void report(int id, enum call call, const char *path, const char *thread) {
    const char *name = getenv("FAILING_CALLS_LOG");
    if (!name) return;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    char line[512];
    const char *file = strrchr(path, '/') + 1;
    int length = snprintf(line, sizeof line, "%lld %d %s %s %s\n", now.tv_sec * 1000000000LL + now.tv_nsec, id, CALLS[call], file, thread);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return;
    syscall(SYS_write, fd, line, length);
    syscall(SYS_close, fd);
}

static int error_of(const char *name) {
    for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
        if (strcmp(name, ERRORS[i].name) == 0) return ERRORS[i].value;
    fprintf(stderr, "failing_calls: unknown error %s\n", name);
    abort();
}

/* What is to happen to a call: nothing (0), an error (> 0), half of it (HALF), or a return value of 0 (NOTHING). */
enum { HALF = -1, NOTHING = -2 };

static int decide(enum call call, int fd) {
    char text[4096], path[4096], thread[32] = "", *rest, *line;
    int saved = errno, result = 0;
    if (!path_of(fd, path, sizeof path) || !read_rules(text, sizeof text)) {
        errno = saved;
        return 0;
    }
    pthread_getname_np(pthread_self(), thread, sizeof thread);
    pthread_mutex_lock(&lock);
    for (line = strtok_r(text, "\n", &rest); line && !result; line = strtok_r(NULL, "\n", &rest)) {
        int id, skip, count;
        char name[16], suffix[64], fault[32], only[32], after[16];
        if (sscanf(line, "%d %15s %63s %31s %d %d %31s %15s", &id, name, suffix, fault, &skip, &count, only, after) != 8 || id < 0 ||
            id >= RULES) {
            fprintf(stderr, "failing_calls: invalid rule %s\n", line);
            abort();
        }
        if (strcmp(name, CALLS[call]) != 0 || !ends_with(path, suffix)) continue;
        if (strcmp(only, "*") != 0 && strcmp(only, thread) != 0) continue;
        if (strcmp(after, "sync") == 0 && !states[id].synced) continue;
        if (states[id].seen++ < skip) continue;
        if (count && states[id].failed >= count && !states[id].half_done) continue;
        if (strncmp(fault, "SHORT", 5) == 0) {
            if (!states[id].half_done) {
                states[id].half_done = fault[5] == '+';
                states[id].failed++;
                result = HALF;
            } else {
                states[id].half_done = 0;
                result = error_of(fault + 6);
            }
        } else {
            states[id].failed++;
            result = strcmp(fault, "ZERO") == 0 ? NOTHING : error_of(fault);
        }
        report(id, call, path, thread);
    }
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}

/* A sync has succeeded: rules that wait for one apply from now on. */
static void synced(int fd) {
    char text[4096], path[4096], *rest, *line;
    int saved = errno;
    if (path_of(fd, path, sizeof path) && read_rules(text, sizeof text)) {
        pthread_mutex_lock(&lock);
        for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
            int id;
            char suffix[64];
            if (sscanf(line, "%d %*s %63s", &id, suffix) == 2 && id >= 0 && id < RULES && ends_with(path, suffix)) states[id].synced = 1;
        }
        pthread_mutex_unlock(&lock);
    }
    errno = saved;
}

static int sync_with(long number, int fd) {
    int error = decide(SYNC, fd);
    if (error > 0) {
        errno = error;
        return -1;
    }
    int result = (int)syscall(number, fd);
    if (result == 0) synced(fd);
    return result;
}

int fsync(int fd) { return sync_with(SYS_fsync, fd); }

int fdatasync(int fd) { return sync_with(SYS_fdatasync, fd); }

/* A positioned call, or one at the present position if `offset` is negative. */
static ssize_t transfer(enum call call, int fd, void *data, size_t size, off64_t offset) {
    int fault = decide(call, fd);
    if (fault == NOTHING) return 0;
    if (fault > 0) {
        errno = fault;
        return -1;
    }
    if (fault == HALF && size > 1) size /= 2;
    if (offset < 0) return syscall(call == WRITE ? SYS_write : SYS_read, fd, data, size);
    return syscall(call == WRITE ? SYS_pwrite64 : SYS_pread64, fd, data, size, offset);
}

ssize_t write(int fd, const void *data, size_t size) { return transfer(WRITE, fd, (void *)data, size, -1); }

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return transfer(WRITE, fd, (void *)data, size, offset); }

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) { return transfer(WRITE, fd, (void *)data, size, offset); }

ssize_t read(int fd, void *data, size_t size) { return transfer(READ, fd, data, size, -1); }

ssize_t pread(int fd, void *data, size_t size, off_t offset) { return transfer(READ, fd, data, size, offset); }

ssize_t pread64(int fd, void *data, size_t size, off64_t offset) { return transfer(READ, fd, data, size, offset); }

static int truncate_to(int fd, off64_t length) {
    int error = decide(TRUNCATE, fd);
    if (error > 0) {
        errno = error;
        return -1;
    }
    return (int)syscall(SYS_ftruncate, fd, length);
}

int ftruncate(int fd, off_t length) { return truncate_to(fd, length); }

int ftruncate64(int fd, off64_t length) { return truncate_to(fd, length); }
