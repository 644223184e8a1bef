/* Preloaded into a program: appends each sync, rename and removal of a file to the file NAME_OPERATIONS_LOG, a line each, before it is
 * done. With NAME_OPERATIONS_KILL_AT the process is killed in place of the operation of that number, counted from 1. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void record(const char *operation, const char *name, const char *other) {
    static atomic_int count;
    int number = atomic_fetch_add(&count, 1) + 1;
    const char *kill_at = getenv("NAME_OPERATIONS_KILL_AT");
    if (kill_at && atoi(kill_at) == number) kill(getpid(), SIGKILL);
    const char *log = getenv("NAME_OPERATIONS_LOG");
    int file = log ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (file < 0) return;
    char line[8500];
    int length = snprintf(line, sizeof line, "%s %s %s\n", operation, name, other);
    if (write(file, line, (size_t)length) != length) abort();
    close(file);
}

static void record_sync(int file) {
    char link[64], name[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, name, sizeof name - 1);
    name[length > 0 ? length : 0] = 0;
    record("sync", name, "");
}

int fsync(int file) {
    record_sync(file);
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return real(file);
}

int fdatasync(int file) {
    record_sync(file);
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return real(file);
}

int rename(const char *from, const char *to) {
    record("rename", from, to);
    int (*real)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    return real(from, to);
}

int unlink(const char *name) {
    record("unlink", name, "");
    int (*real)(const char *) = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
    return real(name);
}
