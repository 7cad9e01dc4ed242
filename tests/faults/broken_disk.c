/* A disk that fails once: after broken_disk(prefix, n, error), the nth write, sync or link below prefix gives error. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char prefix[PATH_MAX];
static int left, error_number, writes;

void broken_disk(const char *where, int nth, int error) {
    strncpy(prefix, where, sizeof prefix - 1);
    left = nth;
    error_number = error;
}

int broken_disk_writes(void) { return writes; }

static int fails(int fd) {
    char link[64], path[PATH_MAX];
    if (!prefix[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    if (strncmp(path, prefix, strlen(prefix))) return 0;
    writes++;
    if (left && --left == 0) { errno = error_number; return 1; }
    return 0;
}

#define REAL(name) __typeof__(name) *real = dlsym(RTLD_NEXT, #name)
ssize_t write(int fd, const void *b, size_t n) { REAL(write); return fails(fd) ? -1 : real(fd, b, n); }
ssize_t pwrite(int fd, const void *b, size_t n, off_t o) { REAL(pwrite); return fails(fd) ? -1 : real(fd, b, n, o); }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t o) { REAL(pwrite64); return fails(fd) ? -1 : real(fd, b, n, o); }
int fsync(int fd) { REAL(fsync); return fails(fd) ? -1 : real(fd); }
int fdatasync(int fd) { REAL(fdatasync); return fails(fd) ? -1 : real(fd); }
int ftruncate(int fd, off_t n) { REAL(ftruncate); return fails(fd) ? -1 : real(fd, n); }
int ftruncate64(int fd, off64_t n) { REAL(ftruncate64); return fails(fd) ? -1 : real(fd, n); }
int linkat(int a, const char *p, int b, const char *q, int f) { REAL(linkat); return fails(b) ? -1 : real(a, p, b, q, f); }
