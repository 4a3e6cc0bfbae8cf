/* A disk that fails, or a machine that dies, at the n-th change of a folder. Preloaded into a process
 * (LD_PRELOAD), it stands between the process and libc: every call that changes something under a
 * root folder is counted, and the n-th meets a fault. Linux, 64 bits.
 *
 * By function (from a process that has it preloaded), or by the environment, read when it is loaded:
 *
 *   FAULTS_ROOT    absolute folder whose changes are counted
 *   FAULTS_AT      number of the call that meets the fault, from 1; 0 never
 *   FAULTS_MODE    kill      SIGKILL before the call
 *                  after     SIGKILL when half of a write was done, or after any other call
 *                  power     the call never happens, and all that was not fsynced is forgotten
 *                  torn      the same, but by chance some of it is kept
 *                  eio       the call fails once;  eio-on     and so do all later ones
 *                  eio-kill  the call fails, and one of the next 80 is met by SIGKILL
 *                  enospc    the disk is full once; enospc-on  from then on: what needs no room works
 *                  short     a write writes half
 *   FAULTS_SEED    of the chance
 *   FAULTS_TRACE   file that gets a line for each counted call: its name and path
 *
 * What power loss forgets is the strictest reading of POSIX: the data of a file written since its
 * last fsync, and every name made, renamed or removed since the last fsync of the folder it is in.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == 8, "needs 64-bit file offsets");

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  if (found == NULL) abort();
  return found;
}

enum mode { NONE, KILL, AFTER, POWER, TORN, EIO_ONCE, EIO_ON, EIO_KILL,
            ENOSPC_ONCE, ENOSPC_ON, SHORT };
static const char *const MODES[] = {"none", "kill",   "after",    "power",  "torn",      "eio",
                                    "eio-on", "eio-kill", "enospc", "enospc-on", "short"};

static char root[PATH_MAX];  /* empty: nothing is counted */
static char stash[PATH_MAX]; /* beside the root: what was removed, until that is durable */
static enum mode mode;
static long at, end, calls;
static unsigned long chance;
static int trace = -1;
static pthread_mutex_t turn = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

static unsigned random_below(unsigned n) {
  chance = chance * 6364136223846793005ul + 1442695040888963407ul;
  return (unsigned)((chance >> 33) % n);
}

/* Paths ---------------------------------------------------------------------------------------- */

static int inside(const char *path) {
  size_t n = strlen(root);
  return n > 0 && strncmp(path, root, n) == 0 && (path[n] == 0 || path[n] == '/');
}

static int path_of_fd(int fd, char *path) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, PATH_MAX - 1);
  if (n < 0) return 0;
  path[n] = 0;
  return 1;
}

/* Whether a name lies under the root; `path` is then absolute. */
static int path_of_name(int folder, const char *name, char *path) {
  if (root[0] == 0 || name == NULL) return 0;
  if (name[0] == '/') {
    if (strlen(name) >= PATH_MAX) return 0;
    strcpy(path, name);
  } else {
    char start[PATH_MAX];
    if (folder == AT_FDCWD ? getcwd(start, sizeof start) == NULL : !path_of_fd(folder, start))
      return 0;
    if (strlen(start) + strlen(name) + 2 > PATH_MAX) return 0;
    strcpy(path, start);
    strcat(path, "/");
    strcat(path, name);
  }
  size_t n = strlen(path);
  while (n > 1 && path[n - 1] == '/') path[--n] = 0;
  return inside(path);
}

static int fd_inside(int fd, char *path) {
  return root[0] != 0 && path_of_fd(fd, path) && inside(path);
}

static ino_t parent_of(const char *path) {
  char folder[PATH_MAX];
  struct stat status;
  strcpy(folder, path);
  char *slash = strrchr(folder, '/');
  if (slash == NULL || slash == folder) return 0;
  *slash = 0;
  return stat(folder, &status) == 0 ? status.st_ino : 0;
}

static const char *name_of(const char *path) { return strrchr(path, '/') + 1; }

/* Where an inode is now, in the root or the stash. */
static int find_in(const char *folder, ino_t wanted, char *found) {
  struct stat status;
  if (lstat(folder, &status) != 0) return 0;
  if (status.st_ino == wanted) {
    strcpy(found, folder);
    return 1;
  }
  if (!S_ISDIR(status.st_mode)) return 0;
  DIR *listing = opendir(folder);
  if (listing == NULL) return 0;
  int done = 0;
  for (struct dirent *entry; !done && (entry = readdir(listing)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) < PATH_MAX)
      done = find_in(path, wanted, found);
  }
  closedir(listing);
  return done;
}

static int find(ino_t wanted, char *found) {
  return find_in(root, wanted, found) || find_in(stash, wanted, found);
}

static void remove_tree(const char *path) {
  struct stat status;
  if (lstat(path, &status) != 0) return;
  if (!S_ISDIR(status.st_mode)) {
    REAL(unlink)(path);
    return;
  }
  DIR *listing = opendir(path);
  for (struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;) {
    char inner[PATH_MAX];
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name) < PATH_MAX) remove_tree(inner);
  }
  if (listing != NULL) closedir(listing);
  REAL(rmdir)(path);
}

/* What is not durable yet ---------------------------------------------------------------------- */

struct change { /* of a file's data: bytes written, or, where data is NULL, a new length */
  off_t offset;
  size_t size;
  char *data;
};

struct file { /* written since its last fsync */
  ino_t inode;
  char *base; /* what it held then */
  size_t base_size;
  struct change *changes;
  size_t n;
};

enum kind { CREATED, MADE_FOLDER, UNLINKED, REMOVED_FOLDER, RENAMED };

struct naming { /* a change of a folder since its last fsync */
  enum kind kind;
  ino_t parent, from_parent;
  ino_t inode;
  char name[NAME_MAX + 1], from_name[NAME_MAX + 1];
  char kept[64]; /* in the stash: what was removed or replaced; empty where there is none */
};

static struct file *files;
static struct naming *namings;
static size_t n_files, n_namings;

static int tracking(void) { return mode == POWER || mode == TORN; }

static void *grown(void *list, size_t n, size_t size) {
  if ((n & (n - 1)) != 0) return list; /* full only at powers of two */
  list = realloc(list, (n == 0 ? 1 : 2 * n) * size);
  if (list == NULL) abort();
  return list;
}

static char *bytes_of(int fd, size_t size) {
  char *data = malloc(size + 1);
  size_t done = 0;
  int reading = fd, own = -1;
  if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY) {
    /* SQLite, whose locks a second descriptor's close would free, opens for reading too. */
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    reading = own = REAL(open)(link, O_RDONLY | O_CLOEXEC);
  }
  while (done < size) {
    ssize_t n = pread(reading, data + done, size - done, (off_t)done);
    if (n <= 0) abort();
    done += (size_t)n;
  }
  if (own >= 0) close(own);
  return data;
}

/* The record of a file, made before its first change; NULL for what no power loss matters to. */
static struct file *about_to_change(int fd, const char *path) {
  struct stat status;
  size_t n = strlen(path);
  if (!tracking() || fstat(fd, &status) != 0) return NULL;
  if (!S_ISREG(status.st_mode) || (n > 4 && strcmp(path + n - 4, "-shm") == 0)) return NULL;
  for (size_t i = 0; i < n_files; i++)
    if (files[i].inode == status.st_ino) return &files[i];
  files = grown(files, n_files, sizeof *files);
  struct file *file = &files[n_files++];
  *file = (struct file){.inode = status.st_ino, .base_size = (size_t)status.st_size};
  file->base = bytes_of(fd, file->base_size);
  return file;
}

static void changed(struct file *file, off_t offset, const void *data, size_t size) {
  if (file == NULL) return;
  file->changes = grown(file->changes, file->n, sizeof *file->changes);
  struct change *change = &file->changes[file->n++];
  *change = (struct change){offset, size, NULL};
  if (data != NULL) change->data = memcpy(malloc(size + 1), data, size);
}

static void forget_file(size_t i) {
  for (size_t j = 0; j < files[i].n; j++) free(files[i].changes[j].data);
  free(files[i].changes);
  free(files[i].base);
  files[i] = files[--n_files];
}

static struct naming *named(enum kind kind, const char *path) {
  namings = grown(namings, n_namings, sizeof *namings);
  struct naming *naming = &namings[n_namings++];
  memset(naming, 0, sizeof *naming);
  naming->kind = kind;
  naming->parent = parent_of(path);
  strcpy(naming->name, name_of(path));
  return naming;
}

/* Keep what is about to be removed or replaced. */
static void keep(const char *path, char *kept) {
  static unsigned number;
  struct stat status;
  kept[0] = 0;
  if (lstat(path, &status) != 0 || S_ISDIR(status.st_mode)) return;
  char to[PATH_MAX + 64];
  snprintf(kept, 64, "%u", number++);
  snprintf(to, sizeof to, "%s/%s", stash, kept);
  if (REAL(link)(path, to) != 0) abort();
}

static void let_go(const char *kept) {
  char path[PATH_MAX + 64];
  if (kept[0] == 0) return;
  snprintf(path, sizeof path, "%s/%s", stash, kept);
  REAL(unlink)(path);
}

static void synced(int fd) {
  struct stat status;
  if (!tracking() || fstat(fd, &status) != 0) return;
  if (!S_ISDIR(status.st_mode)) {
    for (size_t i = 0; i < n_files; i++)
      if (files[i].inode == status.st_ino) {
        forget_file(i);
        return;
      }
    return;
  }
  size_t left = 0;
  for (size_t i = 0; i < n_namings; i++) {
    if (namings[i].parent == status.st_ino)
      let_go(namings[i].kept);
    else
      namings[left++] = namings[i];
  }
  n_namings = left;
}

/* Losing it ------------------------------------------------------------------------------------ */

static void write_all(int fd, const char *data, size_t size, off_t offset) {
  while (size > 0) {
    ssize_t n = REAL(pwrite)(fd, data, size, offset);
    if (n <= 0) abort();
    data += n;
    size -= (size_t)n;
    offset += n;
  }
}

static void lose_data(const struct file *file) {
  char path[PATH_MAX];
  if (!find(file->inode, path)) return; /* removed, and durably so */
  int fd = REAL(open)(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || REAL(ftruncate)(fd, 0) != 0) abort();
  write_all(fd, file->base, file->base_size, 0);
  for (size_t i = 0; mode == TORN && i < file->n; i++) {
    const struct change *change = &file->changes[i];
    if (random_below(2)) continue;
    if (change->data == NULL) {
      if (REAL(ftruncate)(fd, change->offset) != 0) abort();
    } else {
      size_t size = random_below(4) ? change->size : random_below((unsigned)change->size + 1);
      write_all(fd, change->data, size, change->offset);
    }
  }
  close(fd);
}

static void undo(const struct naming *naming) {
  char path[2 * PATH_MAX], from[2 * PATH_MAX], kept[2 * PATH_MAX], folder[PATH_MAX];
  struct stat status;
  if (!find(naming->parent, folder)) return;
  snprintf(path, sizeof path, "%s/%s", folder, naming->name);
  snprintf(kept, sizeof kept, "%s/%s", stash, naming->kept);
  switch (naming->kind) {
    case CREATED:
    case MADE_FOLDER:
      remove_tree(path);
      break;
    case UNLINKED:
      if (naming->kept[0]) REAL(link)(kept, path);
      break;
    case REMOVED_FOLDER:
      if (REAL(mkdir)(path, 0755) != 0 || stat(path, &status) != 0) abort();
      for (size_t i = 0; i < n_namings; i++) { /* what was removed from it is to find it again */
        if (namings[i].parent == naming->inode) namings[i].parent = status.st_ino;
        if (namings[i].from_parent == naming->inode) namings[i].from_parent = status.st_ino;
      }
      break;
    case RENAMED:
      if (!find(naming->from_parent, folder)) return;
      snprintf(from, sizeof from, "%s/%s", folder, naming->from_name);
      REAL(rename)(path, from);
      if (naming->kept[0]) REAL(link)(kept, path);
      break;
  }
}

static void scribble_shared_memory(const char *folder) {
  DIR *listing = opendir(folder);
  for (struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;) {
    char path[PATH_MAX];
    struct stat status;
    size_t n = strlen(entry->d_name);
    if (snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) >= PATH_MAX) continue;
    if (entry->d_name[0] == '.' || lstat(path, &status) != 0) continue;
    if (S_ISDIR(status.st_mode)) {
      scribble_shared_memory(path);
    } else if (n > 4 && strcmp(entry->d_name + n - 4, "-shm") == 0) {
      int fd = REAL(open)(path, O_WRONLY | O_CLOEXEC);
      for (off_t i = 0; fd >= 0 && i < status.st_size; i += 4) write_all(fd, "\x5a\xa5\x01\xff", 4, i);
      if (fd >= 0) close(fd);
    }
  }
  if (listing != NULL) closedir(listing);
}

static void die(void) {
  if (tracking()) {
    /* File systems write names in order: a beginning of the changes stays, all the rest goes. */
    size_t stays = mode == TORN ? random_below((unsigned)n_namings + 1) : 0;
    for (size_t i = 0; i < n_files; i++) lose_data(&files[i]);
    for (size_t i = n_namings; i-- > stays;) undo(&namings[i]);
    scribble_shared_memory(root);
  }
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

/* Meeting the fault ---------------------------------------------------------------------------- */

enum meeting { GO, FAIL, HALVE, DIE_AFTER };

/* Count a call and say what becomes of it; `room` is whether it takes any on the disk. */
static enum meeting meet(const char *call, const char *path, int room) {
  long n = ++calls;
  if (trace >= 0) {
    char line[PATH_MAX + 64];
    int size = snprintf(line, sizeof line, "%s %d %s\n", call, room, path + strlen(root));
    if (size > 0) (void)!REAL(write)(trace, line, (size_t)size);
  }
  if (at <= 0 || n < at) return GO;
  if (mode == EIO_KILL && n == end) die();
  if (n > at && mode != EIO_ON && mode != ENOSPC_ON) return GO;
  switch (mode) {
    case KILL:
    case POWER:
    case TORN:
      die();
      return GO;
    case AFTER:
      return DIE_AFTER;
    case EIO_ONCE:
    case EIO_ON:
    case EIO_KILL:
      errno = EIO;
      return FAIL;
    case ENOSPC_ONCE:
    case ENOSPC_ON:
      errno = ENOSPC;
      return room ? FAIL : GO;
    case SHORT:
      return HALVE;
    case NONE:
      break;
  }
  return GO;
}

#define WITH_TURN(type, expression)                                     \
  do {                                                                  \
    pthread_mutex_lock(&turn);                                          \
    type with_turn = (expression);                                      \
    int kept_errno = errno;                                             \
    pthread_mutex_unlock(&turn);                                        \
    errno = kept_errno;                                                 \
    return with_turn;                                                   \
  } while (0)

static ssize_t put(const char *call, int fd, const void *data, size_t size, off_t offset) {
  char path[PATH_MAX];
  int here = offset < 0;
  if (!fd_inside(fd, path))
    return here ? REAL(write)(fd, data, size) : REAL(pwrite)(fd, data, size, offset);
  enum meeting meeting = meet(call, path, 1);
  if (meeting == FAIL) return -1;
  if ((meeting == HALVE || meeting == DIE_AFTER) && size > 1) size /= 2;
  struct file *file = about_to_change(fd, path);
  off_t where = offset;
  if (here && file != NULL)
    where = lseek(fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
  ssize_t done = here ? REAL(write)(fd, data, size) : REAL(pwrite)(fd, data, size, offset);
  if (done > 0) changed(file, where, data, (size_t)done);
  if (meeting == DIE_AFTER) die();
  return done;
}

static ssize_t put_many(const char *call, int fd, const struct iovec *parts, int n, off_t offset) {
  size_t size = 0, done = 0;
  char path[PATH_MAX];
  if (!fd_inside(fd, path))
    return offset < 0 ? REAL(writev)(fd, parts, n) : REAL(pwritev)(fd, parts, n, offset);
  for (int i = 0; i < n; i++) size += parts[i].iov_len;
  char *joined = malloc(size + 1);
  for (int i = 0; i < n; done += parts[i++].iov_len)
    memcpy(joined + done, parts[i].iov_base, parts[i].iov_len);
  ssize_t written = put(call, fd, joined, size, offset);
  int kept_errno = errno;
  free(joined);
  errno = kept_errno;
  return written;
}

/* Copies inside the kernel become reads and writes, so that they can be halved and forgotten. */
static ssize_t copy(const char *call, int out, off_t *out_at, int in, off_t *in_at, size_t size) {
  if (size > 1 << 20) size = 1 << 20;
  char *data = malloc(size + 1);
  ssize_t n = in_at != NULL ? pread(in, data, size, *in_at) : read(in, data, size);
  if (n > 0) {
    ssize_t done = put(call, out, data, (size_t)n, out_at != NULL ? *out_at : -1);
    if (in_at == NULL && done < n) lseek(in, (done < 0 ? 0 : done) - n, SEEK_CUR);
    n = done;
    if (n > 0 && in_at != NULL) *in_at += n;
    if (n > 0 && out_at != NULL) *out_at += n;
  }
  int kept_errno = errno;
  free(data);
  errno = kept_errno;
  return n;
}

static int cut(int fd, off_t size) {
  char path[PATH_MAX];
  struct stat status;
  if (!fd_inside(fd, path)) return REAL(ftruncate)(fd, size);
  enum meeting meeting = meet("ftruncate", path, fstat(fd, &status) == 0 && size > status.st_size);
  if (meeting == FAIL) return -1;
  struct file *file = about_to_change(fd, path);
  int done = REAL(ftruncate)(fd, size);
  if (done == 0) changed(file, size, NULL, 0);
  if (meeting == DIE_AFTER) die();
  return done;
}

static int sync_with(const char *call, int fd, int (*really)(int)) {
  char path[PATH_MAX];
  if (!fd_inside(fd, path)) return really(fd);
  enum meeting meeting = meet(call, path, 1); /* delayed allocation: here it may find the disk full */
  if (meeting == FAIL) return -1;
  int done = really(fd);
  if (done == 0) synced(fd);
  if (meeting == DIE_AFTER) die();
  return done;
}

static int open_in(int folder, const char *name, int flags, mode_t permissions) {
  char path[PATH_MAX];
  struct stat status;
  if ((flags & O_CREAT) == 0 || !path_of_name(folder, name, path))
    return REAL(openat)(folder, name, flags, permissions);
  int existed = lstat(path, &status) == 0;
  enum meeting meeting = meet("open", path, !existed);
  if (meeting == FAIL) return -1;
  int kept_errno = errno;
  if (existed && (flags & O_TRUNC) && tracking()) {
    int before = REAL(open)(path, O_RDWR | O_CLOEXEC);
    if (before >= 0) {
      changed(about_to_change(before, path), 0, NULL, 0);
      close(before);
    }
  }
  errno = kept_errno;
  int fd = REAL(openat)(folder, name, flags, permissions);
  if (fd >= 0 && !existed && tracking()) named(CREATED, path);
  if (meeting == DIE_AFTER) die();
  return fd;
}

static int remove_name(const char *call, int folder, const char *name, int flags) {
  char path[PATH_MAX], kept[64] = "";
  struct stat status = {0};
  if (!path_of_name(folder, name, path)) return REAL(unlinkat)(folder, name, flags);
  enum meeting meeting = meet(call, path, 0);
  if (meeting == FAIL) return -1;
  ino_t parent = parent_of(path);
  if (tracking()) {
    lstat(path, &status);
    if (!(flags & AT_REMOVEDIR)) keep(path, kept);
  }
  int done = REAL(unlinkat)(folder, name, flags);
  int kept_errno = errno;
  if (tracking()) {
    if (done == 0) {
      struct naming *naming = named(flags & AT_REMOVEDIR ? REMOVED_FOLDER : UNLINKED, path);
      naming->parent = parent;
      naming->inode = status.st_ino;
      strcpy(naming->kept, kept);
    } else {
      let_go(kept);
    }
  }
  if (meeting == DIE_AFTER) die();
  errno = kept_errno;
  return done;
}

static int make_folder(int folder, const char *name, mode_t permissions) {
  char path[PATH_MAX];
  if (!path_of_name(folder, name, path)) return REAL(mkdirat)(folder, name, permissions);
  enum meeting meeting = meet("mkdir", path, 1);
  if (meeting == FAIL) return -1;
  int done = REAL(mkdirat)(folder, name, permissions);
  if (done == 0 && tracking()) named(MADE_FOLDER, path);
  if (meeting == DIE_AFTER) die();
  return done;
}

static int move(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
  char from_path[PATH_MAX], path[PATH_MAX], kept[64] = "";
  if (!path_of_name(from_folder, from, from_path) || !path_of_name(to_folder, to, path))
    return REAL(renameat2)(from_folder, from, to_folder, to, flags);
  enum meeting meeting = meet("rename", path, 1);
  if (meeting == FAIL) return -1;
  if (tracking()) keep(path, kept);
  int done = flags ? REAL(renameat2)(from_folder, from, to_folder, to, flags)
                   : REAL(renameat)(from_folder, from, to_folder, to);
  int kept_errno = errno;
  if (tracking()) {
    if (done == 0) {
      struct naming *naming = named(RENAMED, path);
      naming->from_parent = parent_of(from_path);
      strcpy(naming->from_name, name_of(from_path));
      strcpy(naming->kept, kept);
    } else {
      let_go(kept);
    }
  }
  if (meeting == DIE_AFTER) die();
  errno = kept_errno;
  return done;
}

static int give_name(const char *call, int folder, const char *name, const char *old, int symbolic) {
  char path[PATH_MAX];
  int counted = path_of_name(folder, name, path);
  enum meeting meeting = counted ? meet(call, path, 1) : GO;
  if (meeting == FAIL) return -1;
  int done = symbolic ? REAL(symlinkat)(old, folder, name)
                      : REAL(linkat)(AT_FDCWD, old, folder, name, 0);
  if (done == 0 && counted && tracking()) named(CREATED, path);
  if (meeting == DIE_AFTER) die();
  return done;
}

/* What the process calls ----------------------------------------------------------------------- */

static mode_t permissions_of(int flags, va_list rest) {
  return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(rest, int) : 0;
}

#define OPEN(called, parameters, folder)                             \
  int called parameters {                                            \
    va_list rest;                                                    \
    va_start(rest, flags);                                           \
    mode_t permissions = permissions_of(flags, rest);                \
    va_end(rest);                                                    \
    WITH_TURN(int, open_in(folder, name, flags, permissions));       \
  }

OPEN(open, (const char *name, int flags, ...), AT_FDCWD)
OPEN(openat, (int folder, const char *name, int flags, ...), folder)

int creat(const char *name, mode_t permissions) {
  WITH_TURN(int, open_in(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, permissions));
}

ssize_t write(int fd, const void *data, size_t size) {
  WITH_TURN(ssize_t, put("write", fd, data, size, -1));
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
  WITH_TURN(ssize_t, put("pwrite", fd, data, size, offset));
}
ssize_t writev(int fd, const struct iovec *parts, int n) {
  WITH_TURN(ssize_t, put_many("writev", fd, parts, n, -1));
}
ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t offset) {
  WITH_TURN(ssize_t, put_many("pwritev", fd, parts, n, offset));
}
ssize_t copy_file_range(int in, off_t *in_at, int out, off_t *out_at, size_t size, unsigned flags) {
  char path[PATH_MAX];
  if (!fd_inside(out, path)) return REAL(copy_file_range)(in, in_at, out, out_at, size, flags);
  WITH_TURN(ssize_t, copy("copy_file_range", out, out_at, in, in_at, size));
}
ssize_t sendfile(int out, int in, off_t *in_at, size_t size) {
  char path[PATH_MAX];
  if (!fd_inside(out, path)) return REAL(sendfile)(out, in, in_at, size);
  WITH_TURN(ssize_t, copy("sendfile", out, NULL, in, in_at, size));
}
int ftruncate(int fd, off_t size) { WITH_TURN(int, cut(fd, size)); }
int truncate(const char *name, off_t size) {
  int fd = open(name, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  int done = ftruncate(fd, size), kept_errno = errno;
  close(fd);
  errno = kept_errno;
  return done;
}

int fsync(int fd) { WITH_TURN(int, sync_with("fsync", fd, REAL(fsync))); }
int fdatasync(int fd) { WITH_TURN(int, sync_with("fdatasync", fd, REAL(fdatasync))); }

int unlink(const char *name) { WITH_TURN(int, remove_name("unlink", AT_FDCWD, name, 0)); }
int rmdir(const char *name) {
  WITH_TURN(int, remove_name("rmdir", AT_FDCWD, name, AT_REMOVEDIR));
}
int unlinkat(int folder, const char *name, int flags) {
  WITH_TURN(int, remove_name(flags & AT_REMOVEDIR ? "rmdir" : "unlink", folder, name, flags));
}
int remove(const char *name) {
  int done = unlink(name);
  return done != 0 && errno == EISDIR ? rmdir(name) : done;
}

int mkdir(const char *name, mode_t permissions) {
  WITH_TURN(int, make_folder(AT_FDCWD, name, permissions));
}
int mkdirat(int folder, const char *name, mode_t permissions) {
  WITH_TURN(int, make_folder(folder, name, permissions));
}

int rename(const char *from, const char *to) {
  WITH_TURN(int, move(AT_FDCWD, from, AT_FDCWD, to, 0));
}
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
  WITH_TURN(int, move(from_folder, from, to_folder, to, 0));
}
int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
  WITH_TURN(int, move(from_folder, from, to_folder, to, flags));
}

int link(const char *from, const char *to) {
  WITH_TURN(int, give_name("link", AT_FDCWD, to, from, 0));
}
int symlink(const char *from, const char *to) {
  WITH_TURN(int, give_name("symlink", AT_FDCWD, to, from, 1));
}

#ifdef __GLIBC__ /* the same with 64-bit offsets, which are the only ones here */
OPEN(open64, (const char *name, int flags, ...), AT_FDCWD)
OPEN(openat64, (int folder, const char *name, int flags, ...), folder)
int creat64(const char *name, mode_t permissions) { return creat(name, permissions); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
  return pwrite(fd, data, size, offset);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int n, off64_t offset) {
  return pwritev(fd, parts, n, offset);
}
ssize_t sendfile64(int out, int in, off64_t *in_at, size_t size) {
  return sendfile(out, in, in_at, size);
}
int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }
int truncate64(const char *name, off64_t size) { return truncate(name, size); }
#endif

/* How a test speaks to it ---------------------------------------------------------------------- */

/* Begin to count; -1 for an unknown mode or a path that is too long. */
int faults_arm(const char *folder, long number, const char *name, unsigned long seed,
               const char *trace_path) {
  size_t found = 0;
  while (found < sizeof MODES / sizeof *MODES && strcmp(MODES[found], name) != 0) found++;
  if (found == sizeof MODES / sizeof *MODES || strlen(folder) + 8 > PATH_MAX) return -1;
  root[0] = 0;
  mode = (enum mode)found;
  at = number;
  calls = 0;
  chance = seed * 2654435761u + 1;
  end = at + 1 + random_below(80);
  if (trace >= 0) close(trace);
  trace = trace_path && *trace_path
              ? REAL(open)(trace_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)
              : -1;
  snprintf(stash, sizeof stash, "%s.stash", folder);
  if (tracking()) REAL(mkdir)(stash, 0755);
  strcpy(root, folder);
  return 0;
}

/* Stop to count, and say how many calls there were. */
long faults_disarm(void) {
  root[0] = 0;
  return calls;
}

__attribute__((constructor)) static void from_environment(void) {
  const char *folder = getenv("FAULTS_ROOT"), *number = getenv("FAULTS_AT");
  const char *name = getenv("FAULTS_MODE"), *seed = getenv("FAULTS_SEED");
  if (folder == NULL) return;
  if (faults_arm(folder, number ? atol(number) : 0, name ? name : "none", seed ? strtoul(seed, NULL, 10) : 0,
                 getenv("FAULTS_TRACE")) != 0)
    abort();
}
