/* What a power cut would leave of a folder: loaded before a program (LD_PRELOAD), this copies each file below
 * POWER_CUT_OF that the program syncs to POWER_CUT_TO, whole, before fsync or fdatasync return. What it only wrote is not
 * there. A copy replaces the one before in one step, so that a kill in the middle of it leaves the older one. A file that
 * is removed is removed from there at once: SQLite syncs the folder after it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int copy_of(const char *path, char *copy) {
    const char *of = getenv("POWER_CUT_OF"), *to = getenv("POWER_CUT_TO");
    if (!of || !to || strncmp(path, of, strlen(of))) return 0;
    snprintf(copy, PATH_MAX, "%s/%s", to, strrchr(path, '/') + 1);
    return 1;
}

static int keep(int fd) {
    char link[64], path[PATH_MAX], copy[PATH_MAX], part[PATH_MAX + 8], buffer[1 << 16];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    if (!copy_of(path, copy)) return 0;
    snprintf(part, sizeof part, "%s.part", copy);
    int from = open(path, O_RDONLY), into = open(part, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (from < 0 || into < 0) abort();
    while ((size = read(from, buffer, sizeof buffer)) > 0)
        if (write(into, buffer, size) != size) abort();
    close(from);
    close(into);
    return rename(part, copy);
}

#define SYNC(name) \
    int name(int fd) { \
        static int (*real)(int); \
        if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, #name); \
        int result = real(fd); \
        return result ? result : keep(fd); \
    }

SYNC(fsync)
SYNC(fdatasync)

int unlink(const char *path) {
    static int (*real)(const char *);
    char copy[PATH_MAX];
    if (!real) real = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
    if (copy_of(path, copy)) real(copy);
    return real(path);
}
