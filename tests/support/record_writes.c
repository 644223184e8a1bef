/* Records what a process writes below one folder, in order, for the power-cut test. It is loaded into the server with LD_PRELOAD.
 *
 * Environment:
 *   RECORD_FOLDER   the absolute path of the folder, without symbolic links; without it nothing is recorded
 *   RECORD_LOG      the file to which the records are appended; outside of the folder
 *   RECORD_CONTROL  a file of 16 bytes: the number of complete records, which this library counts up, and the number of
 *                   records after which the process kills itself before its next operation
 *   RECORD_BOOT_ID  a file that is opened in place of /proc/sys/kernel/random/boot_id
 *
 * A record is a header of four little-endian 64-bit numbers (operation, file, value, length of the data), and the data. Files are
 * numbered in the order in which the process opens them for the first time: their names may change, and the file system uses the
 * number of an inode again. Number 0 is the folder itself.
 *
 * One lock is held during an operation and the addition of its record, so the log has the order of the operations, and a process that
 * kills itself leaves exactly the recorded state. A sync has two records, because others write while it waits for the disk.
 *
 * Shared memory of SQLite (files that end in -shm) is not recorded: SQLite does not use its contents after a restart. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { START = 1, OPEN, WRITE, TRUNCATE, SYNC_BEGIN, SYNC_END, UNLINK, RENAME, OTHER };

#define MAX_FDS 65536
#define MAX_FILES 65536
#define BOOT_ID "/proc/sys/kernel/random/boot_id"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX];
static size_t folder_length; /* 0: nothing is recorded */
static const char *boot_id;
static int log_fd = -1;
static struct control { _Atomic uint64_t count, limit; } *control;

/* The file of each descriptor: 0 for none, otherwise 1 + its number. */
static _Atomic int files[MAX_FDS];
/* The inode of each file by number; 0 after its name was removed. Number 0 is the folder. */
static ino_t inodes[MAX_FILES] = {1};
static int inode_count = 1;

static void fail(const char *why) {
    dprintf(2, "record_writes: %s: %s\n", why, strerror(errno));
    abort();
}

static void append(uint64_t operation, uint64_t file, uint64_t value, const struct iovec *data, int pieces, size_t length) {
    uint64_t header[4] = {operation, file, value, length};
    struct iovec all[66] = {{header, sizeof header}};
    if (pieces > 65) fail("too many pieces");
    int n = 1;
    for (size_t left = length; left > 0 && n <= pieces; n++) {
        all[n] = data[n - 1];
        if (all[n].iov_len > left) all[n].iov_len = left;
        left -= all[n].iov_len;
    }
    if (syscall(SYS_writev, log_fd, all, n) != (long)(sizeof header + length)) fail("the log cannot be written");
    atomic_fetch_add(&control->count, 1);
}

static void append_text(uint64_t operation, uint64_t file, uint64_t value, const char *text, size_t length) {
    struct iovec data = {(void *)text, length};
    append(operation, file, value, &data, 1, length);
}

/* Takes the lock before an operation. */
static void begin(void) {
    pthread_mutex_lock(&lock);
    if (atomic_load(&control->count) >= atomic_load(&control->limit)) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
}

static void end(void) { pthread_mutex_unlock(&lock); }

__attribute__((constructor)) static void start(void) {
    boot_id = getenv("RECORD_BOOT_ID");
    const char *path = getenv("RECORD_FOLDER"), *log = getenv("RECORD_LOG"), *shared = getenv("RECORD_CONTROL");
    if (!path) return;
    if (!log || !shared || strlen(path) >= sizeof folder) { errno = EINVAL; fail("environment"); }
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CLOEXEC);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, shared, O_RDWR | O_CLOEXEC);
    if (log_fd < 0 || fd < 0) fail("a file cannot be opened");
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (control == MAP_FAILED) fail("the control file cannot be mapped");
    syscall(SYS_close, fd);
    strcpy(folder, path);
    folder_length = strlen(folder);
    append(START, 0, 0, NULL, 0, 0);
}

/* The name of a path relative to the folder, or NULL if it is elsewhere or not recorded. */
static const char *name_in_folder(const char *path) {
    if (strncmp(path, folder, folder_length)) return NULL;
    if (path[folder_length] == 0) return path + folder_length;
    if (path[folder_length] != '/') return NULL;
    size_t length = strlen(path);
    if (length > 4 && !strcmp(path + length - 4, "-shm")) return NULL;
    return path + folder_length + 1;
}

/* The same for a path as system calls take it. `full` holds the result. */
static const char *named(int dir, const char *path, char full[PATH_MAX]) {
    if (!folder_length || !path) return NULL;
    if (path[0] == '/') return name_in_folder(path);
    char link[64];
    snprintf(link, sizeof link, dir == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", dir);
    ssize_t length = readlink(link, full, PATH_MAX - 1);
    if (length < 0 || (size_t)length + strlen(path) + 2 > PATH_MAX) return NULL;
    while (path[0] == '.' && path[1] == '/') path += 2;
    full[length] = '/';
    strcpy(full + length + 1, path);
    return name_in_folder(full);
}

static int file_of_inode(ino_t inode) {
    for (int n = inode_count - 1; n > 0; n--)
        if (inodes[n] == inode) return n;
    if (inode_count == MAX_FILES) fail("too many files");
    inodes[inode_count] = inode;
    return inode_count++;
}

static void forget_inode(ino_t inode) {
    for (int n = 1; n < inode_count; n++)
        if (inodes[n] == inode) inodes[n] = 0;
}

static int slot_of(int fd) { return fd >= 0 && fd < MAX_FDS ? atomic_load(&files[fd]) : 0; }

static void set_slot(int fd, int slot) {
    if (fd >= 0 && fd < MAX_FDS) atomic_store(&files[fd], slot);
    else if (slot) fail("the descriptor is too large");
}

/* Opening and closing */

static int open_recorded(int dir, const char *path, int flags, mode_t mode) {
    if (boot_id && !strcmp(path, BOOT_ID)) path = boot_id;
    char full[PATH_MAX];
    const char *name = named(dir, path, full);
    if (!name) {
        int fd = (int)syscall(SYS_openat, dir, path, flags, mode);
        if (fd >= 0 && fd < MAX_FDS) set_slot(fd, 0);
        return fd;
    }
    begin();
    struct stat before, now;
    int existed = !fstatat(dir, path, &before, 0);
    int fd = (int)syscall(SYS_openat, dir, path, flags, mode);
    if (fd >= 0 && !fstat(fd, &now)) {
        if (S_ISDIR(now.st_mode)) {
            struct stat own;
            set_slot(fd, !stat(folder, &own) && own.st_ino == now.st_ino);
        } else {
            int file = file_of_inode(now.st_ino);
            set_slot(fd, file + 1);
            append_text(OPEN, file, !existed, name, strlen(name));
            if (existed && flags & O_TRUNC && before.st_size > 0) append(TRUNCATE, file, 0, NULL, 0, 0);
        }
    }
    end();
    return fd;
}

static mode_t mode_of(int flags, va_list arguments) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

#define OPEN_FUNCTION(name)                            \
    int name(const char *path, int flags, ...) {       \
        va_list arguments;                             \
        va_start(arguments, flags);                    \
        mode_t mode = mode_of(flags, arguments);       \
        va_end(arguments);                             \
        return open_recorded(AT_FDCWD, path, flags, mode); \
    }
#define OPENAT_FUNCTION(name)                             \
    int name(int dir, const char *path, int flags, ...) { \
        va_list arguments;                                \
        va_start(arguments, flags);                       \
        mode_t mode = mode_of(flags, arguments);          \
        va_end(arguments);                                \
        return open_recorded(dir, path, flags, mode);     \
    }
OPEN_FUNCTION(open)
OPEN_FUNCTION(open64)
OPENAT_FUNCTION(openat)
OPENAT_FUNCTION(openat64)
int creat(const char *path, mode_t mode) { return open_recorded(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

int close(int fd) {
    set_slot(fd < MAX_FDS ? fd : -1, 0);
    return (int)syscall(SYS_close, fd);
}

int dup(int fd) {
    int copy = (int)syscall(SYS_dup, fd);
    if (copy >= 0) set_slot(copy, slot_of(fd));
    return copy;
}

int dup3(int fd, int to, int flags) {
    int copy = (int)syscall(SYS_dup3, fd, to, flags);
    if (copy >= 0) set_slot(copy, slot_of(fd));
    return copy;
}

int dup2(int fd, int to) { return fd == to ? to : dup3(fd, to, 0); }

static int fcntl_recorded(int fd, int command, void *argument) {
    int result = (int)syscall(SYS_fcntl, fd, command, argument);
    if (result >= 0 && (command == F_DUPFD || command == F_DUPFD_CLOEXEC)) set_slot(result, slot_of(fd));
    return result;
}

#define FCNTL_FUNCTION(name)                           \
    int name(int fd, int command, ...) {               \
        va_list arguments;                             \
        va_start(arguments, command);                  \
        void *argument = va_arg(arguments, void *);    \
        va_end(arguments);                             \
        return fcntl_recorded(fd, command, argument);  \
    }
FCNTL_FUNCTION(fcntl)
FCNTL_FUNCTION(fcntl64)

/* Writing */

/* `offset` -1: at the position of the descriptor. */
static ssize_t write_recorded(int fd, const struct iovec *data, int pieces, off64_t offset) {
    int slot = slot_of(fd);
    if (!slot) {
        if (offset < 0) return syscall(SYS_writev, fd, data, pieces);
        return syscall(SYS_pwritev, fd, data, pieces, offset, 0);
    }
    begin();
    ssize_t length;
    if (offset < 0) length = syscall(SYS_writev, fd, data, pieces);
    else length = syscall(SYS_pwritev, fd, data, pieces, offset, 0);
    if (length > 0) {
        int error = errno;
        /* The position after the write is right for O_APPEND as well. */
        if (offset < 0) offset = lseek64(fd, 0, SEEK_CUR) - length;
        append(WRITE, slot - 1, offset, data, pieces, length);
        errno = error;
    }
    end();
    return length;
}

ssize_t write(int fd, const void *data, size_t length) {
    if (!slot_of(fd)) return syscall(SYS_write, fd, data, length);
    struct iovec piece = {(void *)data, length};
    return write_recorded(fd, &piece, 1, -1);
}
ssize_t writev(int fd, const struct iovec *data, int pieces) { return write_recorded(fd, data, pieces, -1); }
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    struct iovec piece = {(void *)data, length};
    return write_recorded(fd, &piece, 1, offset);
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return pwrite64(fd, data, length, offset); }
ssize_t pwritev64(int fd, const struct iovec *data, int pieces, off64_t offset) { return write_recorded(fd, data, pieces, offset); }
ssize_t pwritev(int fd, const struct iovec *data, int pieces, off_t offset) { return write_recorded(fd, data, pieces, offset); }

int ftruncate64(int fd, off64_t size) {
    int slot = slot_of(fd);
    if (!slot) return (int)syscall(SYS_ftruncate, fd, size);
    begin();
    int result = (int)syscall(SYS_ftruncate, fd, size);
    if (!result) append(TRUNCATE, slot - 1, size, NULL, 0, 0);
    end();
    return result;
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

/* Syncing */

static int sync_recorded(int fd, long call) {
    int slot = slot_of(fd);
    if (!slot) return (int)syscall(call, fd);
    begin();
    uint64_t began = atomic_load(&control->count);
    append(SYNC_BEGIN, slot - 1, 0, NULL, 0, 0);
    end();
    int result = (int)syscall(call, fd);
    if (!result) {
        begin();
        append(SYNC_END, slot - 1, began, NULL, 0, 0);
        end();
    }
    return result;
}

int fsync(int fd) { return sync_recorded(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_recorded(fd, SYS_fdatasync); }

/* Names */

int unlinkat(int dir, const char *path, int flags) {
    char full[PATH_MAX];
    const char *name = named(dir, path, full);
    if (!name) return (int)syscall(SYS_unlinkat, dir, path, flags);
    begin();
    struct stat before;
    int existed = !fstatat(dir, path, &before, AT_SYMLINK_NOFOLLOW);
    int result = (int)syscall(SYS_unlinkat, dir, path, flags);
    if (!result && existed) {
        forget_inode(before.st_ino);
        append_text(flags & AT_REMOVEDIR ? OTHER : UNLINK, 0, 0, name, strlen(name));
    }
    end();
    return result;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int remove(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char full_from[PATH_MAX], full_to[PATH_MAX];
    const char *old = named(from_dir, from, full_from), *new = named(to_dir, to, full_to);
    if (!old && !new) return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    begin();
    struct stat target;
    int replaces = !fstatat(to_dir, to, &target, AT_SYMLINK_NOFOLLOW);
    int result = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    if (!result) {
        if (replaces) forget_inode(target.st_ino);
        char names[2 * PATH_MAX];
        int length = snprintf(names, sizeof names, "%s%c%s", old ? old : "", 0, new ? new : "");
        append_text(old && new && !flags ? RENAME : OTHER, 0, 0, names, length);
    }
    end();
    return result;
}
int renameat(int from_dir, const char *from, int to_dir, const char *to) { return renameat2(from_dir, from, to_dir, to, 0); }
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

/* Operations that the test does not model: it fails if the server uses one of them below the folder. */

static void other(const char *what, const char *name) {
    char text[PATH_MAX + 32];
    begin();
    append_text(OTHER, 0, 0, text, snprintf(text, sizeof text, "%s %s", what, name));
    end();
}

int truncate64(const char *path, off64_t size) {
    char full[PATH_MAX];
    const char *name = named(AT_FDCWD, path, full);
    if (name) other("truncate", name);
    return (int)syscall(SYS_truncate, path, size);
}
int truncate(const char *path, off_t size) { return truncate64(path, size); }

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    char full[PATH_MAX];
    const char *name = named(to_dir, to, full);
    if (name) other("link", name);
    return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int mkdirat(int dir, const char *path, mode_t mode) {
    char full[PATH_MAX];
    const char *name = named(dir, path, full);
    if (name) other("mkdir", name);
    return (int)syscall(SYS_mkdirat, dir, path, mode);
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
    if (slot_of(fd)) other("fallocate", "");
    return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}
int fallocate(int fd, int mode, off_t offset, off_t length) { return fallocate64(fd, mode, offset, length); }

ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *to_at, size_t length, unsigned flags) {
    if (slot_of(to)) other("copy_file_range", "");
    return syscall(SYS_copy_file_range, from, at, to, to_at, length, flags);
}
