/* Records what LMDB asks of the disk, and makes the disk fail on demand. Loaded with LD_PRELOAD.
 *
 * Only files named data.mdb count, and the directories around them. The file is `V` below a directory
 * whose name starts with "views" or ".views", else `L`. Every call that changes or syncs one is appended to
 * the file named by FAULT_RECORD, after it returned, as
 *
 *     tag 1 | file 1 | offset u64 | length u64 | data      (host byte order; data with W, D, N, F)
 *
 *     W  data written, not synced                D  data written through O_DSYNC: durable by itself
 *     S  a sync of the whole file completed      E  a sync or an O_DSYNC write failed
 *     N  renamed; data is the new path           F  a directory was synced; data is its path
 *     I  a fault was injected
 *     T  a file was cut or grown                 M  a map was synced         (nothing here replays these)
 *
 * A program under test appends records of its own with other tags (`A`: acknowledged) to the same file.
 *
 * Faults are "file:call:nth:times", comma separated, in FAULT_INJECT or passed to fault_inject() at any
 * moment: the nth call from then on and the next times - 1 fail with EIO; times 0 means for ever. Calls:
 * fdatasync; write (an unsynced write); meta_before and meta_after (an O_DSYNC write, which is how LMDB
 * writes a meta page, failing without or after having happened). An empty string ends all faults.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum call { FDATASYNC, WRITE, META_BEFORE, META_AFTER, CALLS };
static const char *const call_names[CALLS] = {"fdatasync", "write", "meta_before", "meta_after"};

struct fault {
    long seen, first, times; /* first 0: none */
};

static struct fault faults[2][CALLS]; /* of the log, of the views */
static pthread_mutex_t faults_lock = PTHREAD_MUTEX_INITIALIZER;
static int record_fd = -1;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_fdatasync)(int);
static int (*real_fsync)(int);
static int (*real_msync)(void *, size_t, int);
static int (*real_ftruncate)(int, off_t);
static int (*real_rename)(const char *, const char *);

void fault_inject(const char *specs) {
    pthread_mutex_lock(&faults_lock);
    memset(faults, 0, sizeof faults);
    char copy[512], file[16], call[32], *rest = copy;
    snprintf(copy, sizeof copy, "%s", specs);
    for (char *spec; (spec = strsep(&rest, ",")) && *spec;) {
        struct fault fault = {0};
        int known = 0;
        if (sscanf(spec, "%15[^:]:%31[^:]:%ld:%ld", file, call, &fault.first, &fault.times) == 4)
            for (int i = 0; i < CALLS; i++)
                if (!strcmp(call, call_names[i])) {
                    faults[!strcmp(file, "views")][i] = fault;
                    known = 1;
                }
        if (!known) {
            dprintf(2, "fault_inject: cannot read %s\n", spec);
            abort();
        }
    }
    pthread_mutex_unlock(&faults_lock);
}

/* Before any constructor of Python's: its first write may already be one of ours. */
__attribute__((constructor)) static void start(void) {
    real_write = dlsym(RTLD_NEXT, "write");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    real_pwritev = dlsym(RTLD_NEXT, "pwritev");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_msync = dlsym(RTLD_NEXT, "msync");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate");
    real_rename = dlsym(RTLD_NEXT, "rename");
    const char *path = getenv("FAULT_RECORD"), *specs = getenv("FAULT_INJECT");
    if (path) record_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (path && record_fd < 0) abort();
    if (specs) fault_inject(specs);
}

static ssize_t path_of(int fd, char *path, size_t size) {
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, size - 1);
    path[n > 0 ? n : 0] = 0;
    return n;
}

/* By the name of the directory that `path` ends with. */
static char file_in(const char *path) {
    const char *name = strrchr(path, '/');
    name = name ? name + 1 : path;
    return !strncmp(name + (*name == '.'), "views", 5) ? 'V' : 'L';
}

/* 'L' or 'V' for a data.mdb, 0 for anything else. */
static char file_of(int fd) {
    static const char name[] = "/data.mdb";
    char path[4096];
    ssize_t n = path_of(fd, path, sizeof path), kept = n - (ssize_t)(sizeof name - 1);
    if (kept <= 0 || strcmp(path + kept, name)) return 0;
    path[kept] = 0;
    return file_in(path);
}

/* One writev to an O_APPEND descriptor: records of several threads do not mix. */
static void record(char tag, char file, uint64_t offset, uint64_t length, const void *data) {
    if (record_fd < 0) return;
    int kept = errno;
    char head[18] = {tag, file};
    memcpy(head + 2, &offset, 8);
    memcpy(head + 10, &length, 8);
    struct iovec parts[2] = {{head, sizeof head}, {(void *)data, data ? length : 0}};
    if (real_writev(record_fd, parts, 2) != (ssize_t)(parts[0].iov_len + parts[1].iov_len)) abort();
    errno = kept;
}

static void record_parts(char tag, char file, const struct iovec *parts, int count, off_t at, ssize_t written) {
    for (int i = 0; i < count && written > 0; i++) {
        size_t n = parts[i].iov_len < (size_t)written ? parts[i].iov_len : (size_t)written;
        record(tag, file, at, n, parts[i].iov_base);
        at += n;
        written -= n;
    }
}

static int fails(char file, enum call call) {
    pthread_mutex_lock(&faults_lock);
    struct fault *fault = &faults[file == 'V'][call];
    long n = ++fault->seen;
    int now = fault->first && n >= fault->first && (!fault->times || n < fault->first + fault->times);
    pthread_mutex_unlock(&faults_lock);
    if (now) record('I', file, 0, 0, NULL);
    if (now) errno = EIO;
    return now;
}

/* Every write to a data.mdb comes through here; `moving` is a write at the descriptor's own offset. */
static ssize_t write_parts(int fd, char file, const struct iovec *parts, int count, off_t at, int moving) {
    int through = (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
    if (fails(file, through ? META_BEFORE : WRITE)) {
        if (through) record('E', file, 0, 0, NULL);
        return -1;
    }
    if (moving) at = lseek(fd, 0, SEEK_CUR);
    ssize_t n = moving ? real_writev(fd, parts, count) : real_pwritev(fd, parts, count, at);
    if (through && n >= 0 && fails(file, META_AFTER)) {
        record_parts('W', file, parts, count, at, n);
        record('E', file, 0, 0, NULL);
        errno = EIO;
        return -1;
    }
    record_parts(through ? 'D' : 'W', file, parts, count, at, n);
    return n;
}

ssize_t write(int fd, const void *data, size_t n) {
    char file = file_of(fd);
    struct iovec part = {(void *)data, n};
    return file ? write_parts(fd, file, &part, 1, 0, 1) : real_write(fd, data, n);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    char file = file_of(fd);
    return file ? write_parts(fd, file, parts, count, 0, 1) : real_writev(fd, parts, count);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at) {
    char file = file_of(fd);
    struct iovec part = {(void *)data, n};
    return file ? write_parts(fd, file, &part, 1, at, 0) : real_pwrite(fd, data, n, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    char file = file_of(fd);
    return file ? write_parts(fd, file, parts, count, at, 0) : real_pwritev(fd, parts, count, at);
}

ssize_t pwrite64(int, const void *, size_t, off_t) __attribute__((alias("pwrite")));
ssize_t pwritev64(int, const struct iovec *, int, off_t) __attribute__((alias("pwritev")));

static int sync_with(int (*real)(int), int fd) {
    char file = file_of(fd);
    if (!file) return real(fd);
    int failed = fails(file, FDATASYNC) ? -1 : real(fd);
    record(failed ? 'E' : 'S', file, 0, 0, NULL);
    return failed;
}

int fdatasync(int fd) { return sync_with(real_fdatasync, fd); }

int fsync(int fd) {
    struct stat facts;
    if (fstat(fd, &facts) || !S_ISDIR(facts.st_mode)) return sync_with(real_fsync, fd);
    int failed = real_fsync(fd);
    char path[4096];
    ssize_t n = path_of(fd, path, sizeof path);
    if (!failed && n > 0) record('F', '-', 0, n, path);
    return failed;
}

int rename(const char *from, const char *to) {
    int failed = real_rename(from, to);
    if (!failed) record('N', file_in(to), 0, strlen(to), to);
    return failed;
}

int msync(void *start_of_map, size_t n, int flags) {
    record('M', '-', 0, 0, NULL);
    return real_msync(start_of_map, n, flags);
}

int ftruncate(int fd, off_t length) {
    char file = file_of(fd);
    int failed = real_ftruncate(fd, length);
    if (file && !failed) record('T', file, 0, length, NULL);
    return failed;
}

int ftruncate64(int, off_t) __attribute__((alias("ftruncate")));
