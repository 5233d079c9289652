// LD_PRELOAD: counts the calls by which a process changes files below a folder, and makes the n-th of a kind go wrong.
// gcc -shared -fPIC -o shim.so fault_shim.c -ldl; fault_set(folder, kind, n, action) arms it, fault_count(kind) tells.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WRITE, SYNC, RENAME, OPEN, KINDS };
enum { NOTHING = -1, KILL_BEFORE = -2, KILL_AFTER = -3, SHORT = -4 };  // above 0: an errno

static char folder[4096];
static long counts[KINDS], at = 0;
static int kind = -1, action = NOTHING;

void fault_set(const char* below, int which, long n, int what) {
  snprintf(folder, sizeof folder, "%s", below);
  memset(counts, 0, sizeof counts);
  kind = which, at = n, action = what;
}
long fault_count(int which) { return counts[which]; }

static int below(const char* path) { return folder[0] && path && strstr(path, folder) != NULL; }
static int of_handle(int handle) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
  const ssize_t size = readlink(link, path, sizeof path - 1);
  if (size <= 0) return 0;
  path[size] = 0;
  return below(path);
}

// Whether this call is the one; KILL_BEFORE does not return.
static int struck(int which, int concerned) {
  if (!concerned || __sync_add_and_fetch(&counts[which], 1) != at || which != kind) return 0;
  if (action == KILL_BEFORE) kill(getpid(), SIGKILL);
  return action != NOTHING;
}
static void after(int hit) {
  if (hit && action == KILL_AFTER) kill(getpid(), SIGKILL);
}
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL(hit) \
  if (hit && action > 0) return errno = action, -1

#define WRITER(name, offset_parameter, offset_argument)                                   \
  ssize_t name(int handle, const void* data, size_t size offset_parameter) {              \
    const int hit = struck(WRITE, handle > 2 && of_handle(handle));                        \
    FAIL(hit);                                                                             \
    if (hit && action != KILL_AFTER) size = size > 1 ? size / 2 : size;                    \
    const ssize_t done = REAL(name)(handle, data, hit && action == KILL_AFTER && size > 1 ? size / 2 : size offset_argument); \
    after(hit);                                                                            \
    return done;                                                                           \
  }
#define NONE
#define COMMA_OFFSET , off_t offset
#define COMMA_OFFSET64 , off64_t offset
#define OFFSET , offset
WRITER(write, NONE, NONE)
WRITER(pwrite, COMMA_OFFSET, OFFSET)
WRITER(pwrite64, COMMA_OFFSET64, OFFSET)

#define SYNCER(name)                                \
  int name(int handle) {                            \
    const int hit = struck(SYNC, of_handle(handle)); \
    FAIL(hit);                                      \
    const int done = REAL(name)(handle);            \
    after(hit);                                     \
    return done;                                    \
  }
SYNCER(fsync)
SYNCER(fdatasync)

#define MOVER(name)                             \
  int name(const char* from, const char* to) {  \
    const int hit = struck(RENAME, below(to));  \
    FAIL(hit);                                  \
    const int done = REAL(name)(from, to);      \
    after(hit);                                 \
    return done;                                \
  }
MOVER(rename)
MOVER(link)

#define OPENER(name)                                                                       \
  int name(const char* path, int flags, ...) {                                             \
    va_list rest;                                                                          \
    va_start(rest, flags);                                                                 \
    const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;          \
    va_end(rest);                                                                          \
    const int hit = struck(OPEN, below(path));                                             \
    FAIL(hit);                                                                             \
    const int done = REAL(name)(path, flags, mode);                                        \
    after(hit);                                                                            \
    return done;                                                                           \
  }
OPENER(open)
OPENER(open64)
