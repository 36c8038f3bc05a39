/*
 * A disk that fails, for one process and the files below one directory: preloaded (LD_PRELOAD), it stands
 * between the process and the system calls that change files.
 *
 *   - It logs every change, with its octets, and the begin and end of every sync. From the log the
 *     tests compute what a disk would hold if the power had failed at any point (image.rs).
 *   - It fails, shortens, drops or delays the n-th write, sync or change of a name, or lets the disk be
 *     full, as the control block says, which the tests change while the process runs.
 *   - It kills the process right before its n-th change, so that a cut hits any instant.
 *   - It logs, if asked, the first octets of what arrives and leaves on sockets, in one order with the
 *     syncs: what is received after the call returned, what is sent before the call is made, a sync's
 *     begin before the call, its end after it returned.
 *
 * Some libraries make system calls without the C library, out of reach of preloading. A seccomp filter
 * traps those (names, syncs, lengths); the trap's handler leads them to the same functions. Calls of the
 * shim itself carry a mark in the sixth argument, which none of these calls has.
 *
 * Environment: SHIM_DIRECTORY (absolute, without symbolic links, must exist), SHIM_CONTROL (an existing
 * file of CONTROL_OCTETS), SHIM_LOG (appended to). Without SHIM_DIRECTORY the shim does nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

/* What a fault does instead of failing with an error number. */
enum { DROP = 1000, SHORT = 1001 };

/* The fault `kind` (an error number, DROP or SHORT; 0 is none) after `skip` more calls, `count` times. */
struct fault {
	uint64_t kind, skip, count;
};

/* Shared with the tests: shim.rs has the same words in the same order. */
struct control {
	uint64_t attached;   /* the process that runs under the shim */
	uint64_t operations; /* changes so far: the unit of kill_at */
	uint64_t kill_at;    /* the operation before which the process is killed; 0 is never */
	uint64_t space;      /* octets that can still be written, plus one; 0 is no limit */
	uint64_t sync_delay; /* microseconds that a sync takes longer */
	uint64_t trace;      /* whether sockets are logged */
	uint64_t writes, syncs, names; /* calls so far */
	uint64_t injected;             /* faults so far */
	struct fault write, sync, name;
};

#define CONTROL_OCTETS 4096

/* What a record of the log is about; log.rs has the same numbers. */
enum kind { CREATE = 1, MKDIR, WRITE, LENGTH, RENAME, LINK, UNLINK, SYNC_BEGIN, SYNC_END, RECEIVED, SENT, CUT, NOTE };

/* The head of a record, followed by `text` and `data` octets. */
struct head {
	uint32_t octets, kind;
	uint64_t number, nanoseconds, thread;
	uint64_t inode; /* or the descriptor of a socket */
	uint64_t a, b;
	uint32_t text, data;
};

/* Octets of a message that are logged. */
#define TRACED_OCTETS 16384

#define MARK 0x6d617463686564L
#define DESCRIPTORS 65536

static char root[PATH_MAX];
static size_t root_length;
static struct control *control;
static int log_descriptor = -1;
static uint64_t logged;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* What a descriptor is; found out at its first use. */
enum { UNKNOWN, OTHER, OURS, SOCKET };
static unsigned char descriptors[DESCRIPTORS];

#define RAW(number, ...) RAW_(number, __VA_ARGS__, 0, 0, 0, 0, 0)
#define RAW_(number, a, b, c, d, e, ...) \
	syscall(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), MARK)

static void die(const char *why)
{
	char text[256];
	int length = snprintf(text, sizeof text, "shim: %s: %s\n", why, strerror(errno));
	RAW(SYS_write, 2, text, length);
	_exit(97);
}

/* ---- the log ---- */

static uint64_t nanoseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Appends a record and returns its number. The lock is held. */
static uint64_t record(enum kind kind, uint64_t inode, uint64_t a, uint64_t b, const char *text,
		       size_t text_length, const void *data, size_t data_length)
{
	struct head head = {
		.octets = (uint32_t)(sizeof head + text_length + data_length),
		.kind = kind,
		.number = ++logged,
		.nanoseconds = nanoseconds(),
		.thread = (uint64_t)syscall(SYS_gettid),
		.inode = inode,
		.a = a,
		.b = b,
		.text = (uint32_t)text_length,
		.data = (uint32_t)data_length,
	};
	struct iovec parts[] = { { &head, sizeof head },
				 { (void *)text, text_length },
				 { (void *)data, data_length } };
	if (RAW(SYS_writev, log_descriptor, parts, 3) != (long)head.octets)
		die("the log cannot be written");
	return head.number;
}

static void note(const char *text)
{
	record(NOTE, 0, 0, 0, text, strlen(text), NULL, 0);
}

/* Counts a change that is about to happen, or kills the process instead. The lock is held. */
static void operation(void)
{
	if (++control->operations != control->kill_at)
		return;
	record(CUT, 0, control->operations, 0, NULL, 0, NULL, 0);
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

/* The fault that is due for this call, or 0. The lock is held. */
static uint64_t due(struct fault *fault)
{
	if (fault->kind == 0 || fault->count == 0)
		return 0;
	if (fault->skip > 0) {
		fault->skip--;
		return 0;
	}
	if (fault->count != UINT64_MAX)
		fault->count--;
	control->injected++;
	return fault->kind;
}

static int is_error(uint64_t fault)
{
	return fault != 0 && fault < DROP;
}

/* ---- which files ---- */

/* Writes the absolute path to `full` and returns what follows the directory in it, or NULL if it is
 * elsewhere. */
static const char *inside(int at, const char *path, char full[PATH_MAX])
{
	if (root_length == 0 || path == NULL)
		return NULL;
	size_t length = 0;
	if (path[0] != '/') {
		char link[64];
		if (at == AT_FDCWD)
			snprintf(link, sizeof link, "/proc/self/cwd");
		else
			snprintf(link, sizeof link, "/proc/self/fd/%d", at);
		long read = RAW(SYS_readlinkat, AT_FDCWD, link, full, PATH_MAX - 2);
		if (read <= 0)
			return NULL;
		length = (size_t)read;
		full[length++] = '/';
	}
	size_t rest = strlen(path);
	if (length + rest + 1 > PATH_MAX)
		return NULL;
	memcpy(full + length, path, rest + 1);
	length += rest;
	while (length > 1 && full[length - 1] == '/')
		full[--length] = 0;
	if (strncmp(full, root, root_length) != 0)
		return NULL;
	if (full[root_length] == 0)
		return full + root_length;
	return full[root_length] == '/' ? full + root_length + 1 : NULL;
}

static int what(int descriptor)
{
	if (root_length == 0 || descriptor < 0 || descriptor >= DESCRIPTORS)
		return OTHER;
	int known = __atomic_load_n(&descriptors[descriptor], __ATOMIC_RELAXED);
	if (known != UNKNOWN)
		return known;
	int saved = errno;
	struct stat status;
	known = OTHER;
	if (fstat(descriptor, &status) != 0) {
		errno = saved;
		return OTHER;
	}
	if (S_ISSOCK(status.st_mode)) {
		known = SOCKET;
	} else if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)) {
		char link[64], path[PATH_MAX], full[PATH_MAX];
		snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
		long read = RAW(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
		path[read > 0 ? read : 0] = 0;
		if (inside(AT_FDCWD, path, full) != NULL)
			known = OURS;
	}
	__atomic_store_n(&descriptors[descriptor], (unsigned char)known, __ATOMIC_RELAXED);
	errno = saved;
	return known;
}

static void forget(long descriptor)
{
	if (descriptor >= 0 && descriptor < DESCRIPTORS)
		__atomic_store_n(&descriptors[descriptor], UNKNOWN, __ATOMIC_RELAXED);
}

static struct stat status_of(int descriptor)
{
	struct stat status = { 0 };
	fstat(descriptor, &status);
	return status;
}

/* ---- octets ---- */

/* How many of `length` octets there is space for: 0 if there is none. The lock is held. */
static size_t fits(size_t length)
{
	uint64_t space = __atomic_load_n(&control->space, __ATOMIC_SEQ_CST), left;
	do {
		if (space == 0 || length == 0)
			return length;
		left = space - 1 < length ? space - 1 : length;
		/* The tests may lift the limit meanwhile. */
	} while (!__atomic_compare_exchange_n(&control->space, &space, space - left, 0, __ATOMIC_SEQ_CST,
					      __ATOMIC_SEQ_CST));
	if (left < length)
		control->injected++;
	return left;
}

static int is_full(void)
{
	return control->space == 1;
}

static long fail_with(uint64_t error)
{
	pthread_mutex_unlock(&lock);
	errno = (int)error;
	return -1;
}

/* Where a write without an offset goes. */
static int64_t position(int descriptor)
{
	if (fcntl(descriptor, F_GETFL) & O_APPEND)
		return status_of(descriptor).st_size;
	return lseek(descriptor, 0, SEEK_CUR);
}

/* Writes to one of our files; `at` is -1 for its position. */
static ssize_t change(int descriptor, const struct iovec *parts, int count, int64_t at)
{
	size_t length = 0, copied = 0;
	for (int i = 0; i < count; i++)
		length += parts[i].iov_len;
	char *data = malloc(length + 1);
	if (data == NULL)
		die("no memory");
	for (int i = 0; i < count; i++) {
		memcpy(data + copied, parts[i].iov_base, parts[i].iov_len);
		copied += parts[i].iov_len;
	}
	pthread_mutex_lock(&lock);
	operation();
	control->writes++;
	uint64_t fault = due(&control->write);
	if (is_error(fault)) {
		free(data);
		return fail_with(fault);
	}
	if (fault == SHORT && length > 1)
		length /= 2;
	size_t wanted = length;
	length = fits(length);
	if (length == 0 && wanted > 0) {
		free(data);
		return fail_with(ENOSPC);
	}
	int64_t offset = at >= 0 ? at : position(descriptor);
	long result;
	if (fault == DROP) {
		note("write dropped");
		result = (long)length;
		if (at < 0)
			lseek(descriptor, offset + result, SEEK_SET);
	} else {
		result = at >= 0 ? RAW(SYS_pwrite64, descriptor, data, length, at)
				 : RAW(SYS_write, descriptor, data, length);
		int saved = errno;
		if (result > 0)
			record(WRITE, status_of(descriptor).st_ino, (uint64_t)offset, 0, NULL, 0, data,
			       (size_t)result);
		errno = saved;
	}
	pthread_mutex_unlock(&lock);
	free(data);
	return result;
}

static int set_length(int descriptor, off_t length)
{
	pthread_mutex_lock(&lock);
	operation();
	uint64_t fault = due(&control->write);
	if (is_error(fault))
		return (int)fail_with(fault);
	long result = RAW(SYS_ftruncate, descriptor, length);
	if (result == 0)
		record(LENGTH, status_of(descriptor).st_ino, (uint64_t)length, 0, NULL, 0, NULL, 0);
	pthread_mutex_unlock(&lock);
	return (int)result;
}

static int reserve(int descriptor, int mode, off_t offset, off_t length)
{
	pthread_mutex_lock(&lock);
	operation();
	uint64_t fault = due(&control->write);
	if (is_error(fault))
		return (int)fail_with(fault);
	if (mode & ~FALLOC_FL_KEEP_SIZE)
		return (int)fail_with(EOPNOTSUPP);
	if (fits((size_t)length) < (size_t)length)
		return (int)fail_with(ENOSPC);
	long result = RAW(SYS_fallocate, descriptor, mode, offset, length);
	struct stat status = status_of(descriptor);
	if (result == 0 && mode == 0)
		record(LENGTH, status.st_ino, (uint64_t)status.st_size, 0, NULL, 0, NULL, 0);
	pthread_mutex_unlock(&lock);
	return (int)result;
}

static int synchronize(int descriptor, long call)
{
	pthread_mutex_lock(&lock);
	operation();
	control->syncs++;
	uint64_t fault = due(&control->sync);
	uint64_t inode = status_of(descriptor).st_ino;
	uint64_t began = record(SYNC_BEGIN, inode, 0, 0, NULL, 0, NULL, 0);
	uint64_t delay = control->sync_delay;
	pthread_mutex_unlock(&lock);
	if (delay > 0)
		usleep((useconds_t)delay);
	long result = 0;
	if (is_error(fault)) {
		errno = (int)fault;
		result = -1;
	} else if (fault != DROP) {
		result = RAW(call, descriptor);
	}
	int saved = errno;
	pthread_mutex_lock(&lock);
	operation();
	/* A dropped sync says that it succeeded, to the process only. */
	uint64_t error = fault == DROP ? DROP : result == 0 ? 0 : (uint64_t)saved;
	record(SYNC_END, inode, began, error, NULL, 0, NULL, 0);
	pthread_mutex_unlock(&lock);
	errno = saved;
	return (int)result;
}

/* ---- names ---- */

/* What comes before every change of a name: the error to fail with, or 0. The lock is held. */
static uint64_t before_name(int needs_space)
{
	operation();
	control->names++;
	uint64_t fault = due(&control->name);
	if (is_error(fault))
		return fault;
	if (needs_space && is_full()) {
		control->injected++;
		return ENOSPC;
	}
	return 0;
}

static int open_at(int at, const char *path, int flags, mode_t mode)
{
	char full[PATH_MAX];
	const char *name = inside(at, path, full);
	if (name == NULL || !(flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE) {
		if (name != NULL && (flags & O_TMPFILE) == O_TMPFILE) {
			errno = EOPNOTSUPP;
			return -1;
		}
		long opened = RAW(SYS_openat, at, path, flags, mode);
		forget(opened);
		return (int)opened;
	}
	pthread_mutex_lock(&lock);
	struct stat status;
	int exists = lstat(full, &status) == 0;
	uint64_t error = 0;
	if (!exists && (flags & O_CREAT)) {
		error = before_name(1);
	} else if (exists && (flags & O_TRUNC) && !(flags & O_EXCL)) {
		operation();
		uint64_t fault = due(&control->write);
		error = is_error(fault) ? fault : 0;
	}
	if (error != 0)
		return (int)fail_with(error);
	long opened = RAW(SYS_openat, at, full, flags, mode);
	int saved = errno;
	if (opened >= 0) {
		forget(opened);
		status = status_of((int)opened);
		if (!exists)
			record(CREATE, status.st_ino, status.st_mode, 0, name, strlen(name), NULL, 0);
		else if (flags & O_TRUNC)
			record(LENGTH, status.st_ino, 0, 0, NULL, 0, NULL, 0);
	}
	pthread_mutex_unlock(&lock);
	errno = saved;
	return (int)opened;
}

static int make_directory(int at, const char *path, mode_t mode)
{
	char full[PATH_MAX];
	const char *name = inside(at, path, full);
	if (name == NULL)
		return (int)RAW(SYS_mkdirat, at, path, mode);
	pthread_mutex_lock(&lock);
	struct stat status;
	/* Making what exists changes nothing, and is no operation: create_dir_all does so. */
	uint64_t error = lstat(full, &status) == 0 ? 0 : before_name(1);
	if (error != 0)
		return (int)fail_with(error);
	long result = RAW(SYS_mkdirat, AT_FDCWD, full, mode);
	int saved = errno;
	if (result == 0 && lstat(full, &status) == 0)
		record(MKDIR, status.st_ino, status.st_mode, 0, name, strlen(name), NULL, 0);
	pthread_mutex_unlock(&lock);
	errno = saved;
	return (int)result;
}

static int remove_name(int at, const char *path, int flags)
{
	char full[PATH_MAX];
	const char *name = inside(at, path, full);
	if (name == NULL)
		return (int)RAW(SYS_unlinkat, at, path, flags);
	pthread_mutex_lock(&lock);
	uint64_t error = before_name(0);
	if (error != 0)
		return (int)fail_with(error);
	struct stat status = { 0 };
	lstat(full, &status);
	long result = RAW(SYS_unlinkat, AT_FDCWD, full, flags);
	int saved = errno;
	if (result == 0)
		record(UNLINK, status.st_ino, 0, 0, name, strlen(name), NULL, 0);
	pthread_mutex_unlock(&lock);
	errno = saved;
	return (int)result;
}

/* Gives a file another name (`call` is SYS_renameat2) or a further one (SYS_linkat). */
static int name_again(long call, int at, const char *path, int new_at, const char *new_path, int flags)
{
	char full[PATH_MAX], new_full[PATH_MAX];
	const char *name = inside(at, path, full);
	const char *new_name = inside(new_at, new_path, new_full);
	if (name == NULL && new_name == NULL)
		return (int)RAW(call, at, path, new_at, new_path, flags);
	if (name == NULL || new_name == NULL) {
		/* Across the border of the directory: not what the log can tell. */
		errno = EXDEV;
		return -1;
	}
	pthread_mutex_lock(&lock);
	uint64_t error = before_name(0);
	if (error != 0)
		return (int)fail_with(error);
	long result = RAW(call, AT_FDCWD, full, AT_FDCWD, new_full, flags);
	int saved = errno;
	struct stat status = { 0 };
	lstat(new_full, &status);
	if (result == 0) {
		char both[2 * PATH_MAX];
		size_t length = strlen(name) + 1, new_length = strlen(new_name);
		memcpy(both, name, length);
		memcpy(both + length, new_name, new_length);
		record(call == SYS_linkat ? LINK : RENAME, status.st_ino, 0, 0, both, length + new_length,
		       NULL, 0);
	}
	pthread_mutex_unlock(&lock);
	errno = saved;
	return (int)result;
}

/* ---- sockets ---- */

static int is_traced(int descriptor)
{
	return control != NULL && control->trace != 0 && what(descriptor) == SOCKET;
}

/* Logs the first of `length` octets that are in `parts`. */
static void message(enum kind kind, int descriptor, const struct iovec *parts, size_t count, size_t length)
{
	int saved = errno;
	char data[TRACED_OCTETS];
	size_t copied = 0;
	for (size_t i = 0; i < count && copied < sizeof data && copied < length; i++) {
		size_t part = parts[i].iov_len;
		if (part > sizeof data - copied)
			part = sizeof data - copied;
		if (part > length - copied)
			part = length - copied;
		memcpy(data + copied, parts[i].iov_base, part);
		copied += part;
	}
	pthread_mutex_lock(&lock);
	record(kind, (uint64_t)descriptor, length, 0, NULL, 0, data, copied);
	pthread_mutex_unlock(&lock);
	errno = saved;
}

static size_t octets_of(const struct iovec *parts, size_t count)
{
	size_t length = 0;
	for (size_t i = 0; i < count; i++)
		length += parts[i].iov_len;
	return length;
}

static void sending(int descriptor, const struct iovec *parts, size_t count)
{
	if (is_traced(descriptor))
		message(SENT, descriptor, parts, count, octets_of(parts, count));
}

static void received(int descriptor, const struct iovec *parts, size_t count, long length)
{
	if (length > 0 && is_traced(descriptor))
		message(RECEIVED, descriptor, parts, count, (size_t)length);
}

/* ---- in the place of the C library's ---- */

#define EXPORT __attribute__((visibility("default")))

static mode_t mode_of(int flags, va_list rest)
{
	return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(rest, int) : 0;
}

#define OPEN(name)                                              \
	EXPORT int name(const char *path, int flags, ...)       \
	{                                                       \
		va_list rest;                                   \
		va_start(rest, flags);                          \
		mode_t mode = mode_of(flags, rest);             \
		va_end(rest);                                   \
		return open_at(AT_FDCWD, path, flags, mode);    \
	}
#define OPENAT(name)                                              \
	EXPORT int name(int at, const char *path, int flags, ...) \
	{                                                         \
		va_list rest;                                     \
		va_start(rest, flags);                            \
		mode_t mode = mode_of(flags, rest);               \
		va_end(rest);                                     \
		return open_at(at, path, flags, mode);            \
	}
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

EXPORT int creat(const char *path, mode_t mode)
{
	return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

EXPORT int creat64(const char *path, mode_t mode)
{
	return creat(path, mode);
}

EXPORT int close(int descriptor)
{
	forget(descriptor);
	return (int)RAW(SYS_close, descriptor);
}

EXPORT ssize_t write(int descriptor, const void *data, size_t length)
{
	struct iovec part = { (void *)data, length };
	if (what(descriptor) == OURS)
		return change(descriptor, &part, 1, -1);
	sending(descriptor, &part, 1);
	return RAW(SYS_write, descriptor, data, length);
}

EXPORT ssize_t writev(int descriptor, const struct iovec *parts, int count)
{
	if (what(descriptor) == OURS)
		return change(descriptor, parts, count, -1);
	sending(descriptor, parts, (size_t)count);
	return RAW(SYS_writev, descriptor, parts, count);
}

EXPORT ssize_t pwrite64(int descriptor, const void *data, size_t length, off64_t offset)
{
	struct iovec part = { (void *)data, length };
	if (what(descriptor) == OURS)
		return change(descriptor, &part, 1, offset);
	return RAW(SYS_pwrite64, descriptor, data, length, offset);
}

EXPORT ssize_t pwrite(int descriptor, const void *data, size_t length, off_t offset)
{
	return pwrite64(descriptor, data, length, offset);
}

EXPORT ssize_t pwritev64(int descriptor, const struct iovec *parts, int count, off64_t offset)
{
	if (what(descriptor) == OURS)
		return change(descriptor, parts, count, offset);
	return RAW(SYS_pwritev, descriptor, parts, count, offset, 0);
}

EXPORT ssize_t pwritev(int descriptor, const struct iovec *parts, int count, off_t offset)
{
	return pwritev64(descriptor, parts, count, offset);
}

EXPORT int ftruncate64(int descriptor, off64_t length)
{
	return what(descriptor) == OURS ? set_length(descriptor, length)
					: (int)RAW(SYS_ftruncate, descriptor, length);
}

EXPORT int ftruncate(int descriptor, off_t length)
{
	return ftruncate64(descriptor, length);
}

EXPORT int fallocate64(int descriptor, int mode, off64_t offset, off64_t length)
{
	return what(descriptor) == OURS ? reserve(descriptor, mode, offset, length)
					: (int)RAW(SYS_fallocate, descriptor, mode, offset, length);
}

EXPORT int fallocate(int descriptor, int mode, off_t offset, off_t length)
{
	return fallocate64(descriptor, mode, offset, length);
}

EXPORT int posix_fallocate64(int descriptor, off64_t offset, off64_t length)
{
	return fallocate64(descriptor, 0, offset, length) == 0 ? 0 : errno;
}

EXPORT int posix_fallocate(int descriptor, off_t offset, off_t length)
{
	return posix_fallocate64(descriptor, offset, length);
}

EXPORT int fsync(int descriptor)
{
	return what(descriptor) == OURS ? synchronize(descriptor, SYS_fsync)
					: (int)RAW(SYS_fsync, descriptor);
}

EXPORT int fdatasync(int descriptor)
{
	return what(descriptor) == OURS ? synchronize(descriptor, SYS_fdatasync)
					: (int)RAW(SYS_fdatasync, descriptor);
}

EXPORT int mkdir(const char *path, mode_t mode)
{
	return make_directory(AT_FDCWD, path, mode);
}

EXPORT int mkdirat(int at, const char *path, mode_t mode)
{
	return make_directory(at, path, mode);
}

EXPORT int unlink(const char *path)
{
	return remove_name(AT_FDCWD, path, 0);
}

EXPORT int unlinkat(int at, const char *path, int flags)
{
	return remove_name(at, path, flags);
}

EXPORT int rmdir(const char *path)
{
	return remove_name(AT_FDCWD, path, AT_REMOVEDIR);
}

EXPORT int rename(const char *path, const char *new_path)
{
	return name_again(SYS_renameat2, AT_FDCWD, path, AT_FDCWD, new_path, 0);
}

EXPORT int renameat(int at, const char *path, int new_at, const char *new_path)
{
	return name_again(SYS_renameat2, at, path, new_at, new_path, 0);
}

EXPORT int renameat2(int at, const char *path, int new_at, const char *new_path, unsigned flags)
{
	return name_again(SYS_renameat2, at, path, new_at, new_path, (int)flags);
}

EXPORT int link(const char *path, const char *new_path)
{
	return name_again(SYS_linkat, AT_FDCWD, path, AT_FDCWD, new_path, 0);
}

EXPORT int linkat(int at, const char *path, int new_at, const char *new_path, int flags)
{
	return name_again(SYS_linkat, at, path, new_at, new_path, flags);
}

/* Copies inside the kernel carry octets past the log: callers fall back to reading and writing. */
EXPORT ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t length,
			       unsigned flags)
{
	if (what(to) == OURS) {
		errno = ENOSYS;
		return -1;
	}
	return syscall(SYS_copy_file_range, from, from_offset, to, to_offset, length, flags);
}

EXPORT ssize_t sendfile64(int to, int from, off64_t *offset, size_t length)
{
	if (what(to) == OURS) {
		errno = ENOSYS;
		return -1;
	}
	return RAW(SYS_sendfile, to, from, offset, length);
}

EXPORT ssize_t sendfile(int to, int from, off_t *offset, size_t length)
{
	return sendfile64(to, from, offset, length);
}

/* Changes through a mapping cannot be seen; a process that makes one cannot be judged. */
EXPORT void *mmap64(void *address, size_t length, int protection, int flags, int descriptor, off64_t offset)
{
	if ((protection & PROT_WRITE) && (flags & MAP_SHARED) && descriptor >= 0 && what(descriptor) == OURS)
		die("a writable mapping of a file in the directory");
	return (void *)syscall(SYS_mmap, address, length, protection, flags, descriptor, offset);
}

EXPORT void *mmap(void *address, size_t length, int protection, int flags, int descriptor, off_t offset)
{
	return mmap64(address, length, protection, flags, descriptor, offset);
}

EXPORT ssize_t read(int descriptor, void *data, size_t length)
{
	long result = RAW(SYS_read, descriptor, data, length);
	struct iovec part = { data, length };
	received(descriptor, &part, 1, result);
	return result;
}

EXPORT ssize_t readv(int descriptor, const struct iovec *parts, int count)
{
	long result = RAW(SYS_readv, descriptor, parts, count);
	received(descriptor, parts, (size_t)count, result);
	return result;
}

EXPORT ssize_t recvfrom(int descriptor, void *data, size_t length, int flags, struct sockaddr *restrict from,
			socklen_t *restrict from_length)
{
	long result = syscall(SYS_recvfrom, descriptor, data, length, flags, from, from_length);
	struct iovec part = { data, length };
	if (!(flags & MSG_PEEK))
		received(descriptor, &part, 1, result);
	return result;
}

EXPORT ssize_t recv(int descriptor, void *data, size_t length, int flags)
{
	return recvfrom(descriptor, data, length, flags, NULL, NULL);
}

EXPORT ssize_t recvmsg(int descriptor, struct msghdr *head, int flags)
{
	long result = syscall(SYS_recvmsg, descriptor, head, flags);
	if (!(flags & MSG_PEEK))
		received(descriptor, head->msg_iov, head->msg_iovlen, result);
	return result;
}

EXPORT int recvmmsg(int descriptor, struct mmsghdr *heads, unsigned count, int flags, struct timespec *timeout)
{
	long result = syscall(SYS_recvmmsg, descriptor, heads, count, flags, timeout);
	for (long i = 0; i < result; i++)
		received(descriptor, heads[i].msg_hdr.msg_iov, heads[i].msg_hdr.msg_iovlen, heads[i].msg_len);
	return (int)result;
}

EXPORT ssize_t sendto(int descriptor, const void *data, size_t length, int flags, const struct sockaddr *to,
		      socklen_t to_length)
{
	struct iovec part = { (void *)data, length };
	sending(descriptor, &part, 1);
	return syscall(SYS_sendto, descriptor, data, length, flags, to, to_length);
}

EXPORT ssize_t send(int descriptor, const void *data, size_t length, int flags)
{
	return sendto(descriptor, data, length, flags, NULL, 0);
}

EXPORT ssize_t sendmsg(int descriptor, const struct msghdr *head, int flags)
{
	sending(descriptor, head->msg_iov, head->msg_iovlen);
	return syscall(SYS_sendmsg, descriptor, head, flags);
}

EXPORT int sendmmsg(int descriptor, struct mmsghdr *heads, unsigned count, int flags)
{
	for (unsigned i = 0; i < count; i++)
		sending(descriptor, heads[i].msg_hdr.msg_iov, heads[i].msg_hdr.msg_iovlen);
	return (int)syscall(SYS_sendmmsg, descriptor, heads, count, flags);
}

/* ---- calls past the C library ---- */

static long without_library(long call, const long *a)
{
	switch (call) {
#ifdef SYS_rename
	case SYS_rename:
		return rename((const char *)a[0], (const char *)a[1]);
	case SYS_unlink:
		return unlink((const char *)a[0]);
	case SYS_rmdir:
		return rmdir((const char *)a[0]);
	case SYS_mkdir:
		return mkdir((const char *)a[0], (mode_t)a[1]);
	case SYS_link:
		return link((const char *)a[0], (const char *)a[1]);
#endif
#ifdef SYS_renameat
	case SYS_renameat:
		return renameat((int)a[0], (const char *)a[1], (int)a[2], (const char *)a[3]);
#endif
	case SYS_renameat2:
		return renameat2((int)a[0], (const char *)a[1], (int)a[2], (const char *)a[3], (unsigned)a[4]);
	case SYS_unlinkat:
		return unlinkat((int)a[0], (const char *)a[1], (int)a[2]);
	case SYS_mkdirat:
		return mkdirat((int)a[0], (const char *)a[1], (mode_t)a[2]);
	case SYS_linkat:
		return linkat((int)a[0], (const char *)a[1], (int)a[2], (const char *)a[3], (int)a[4]);
	case SYS_fsync:
		return fsync((int)a[0]);
	case SYS_fdatasync:
		return fdatasync((int)a[0]);
	case SYS_ftruncate:
		return ftruncate((int)a[0], a[1]);
	case SYS_fallocate:
		return fallocate((int)a[0], (int)a[1], a[2], a[3]);
	case SYS_pwrite64:
		return pwrite((int)a[0], (const void *)a[1], (size_t)a[2], a[3]);
	default:
		errno = ENOSYS;
		return -1;
	}
}

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "the shim knows the registers of x86-64 and AArch64 only"
#endif

static void trapped(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	int saved = errno;
	ucontext_t *state = context;
#if defined(__x86_64__)
	greg_t *registers = state->uc_mcontext.gregs;
	long arguments[] = { registers[REG_RDI], registers[REG_RSI], registers[REG_RDX], registers[REG_R10],
			     registers[REG_R8] };
	greg_t *result = &registers[REG_RAX];
#else
	unsigned long long *registers = state->uc_mcontext.regs;
	long arguments[] = { (long)registers[0], (long)registers[1], (long)registers[2], (long)registers[3],
			     (long)registers[4] };
	unsigned long long *result = &registers[0];
#endif
	long returned = without_library(info->si_syscall, arguments);
	*result = returned < 0 ? -errno : returned;
	errno = saved;
}

static void trap(void)
{
	struct sigaction action = { .sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_NODEFER };
	if (sigaction(SIGSYS, &action, NULL) != 0)
		die("no handler for SIGSYS");
	static const int calls[] = {
#ifdef SYS_rename
		SYS_rename, SYS_unlink, SYS_rmdir, SYS_mkdir, SYS_link,
#endif
#ifdef SYS_renameat
		SYS_renameat,
#endif
		SYS_renameat2, SYS_unlinkat, SYS_mkdirat, SYS_linkat, SYS_fsync, SYS_fdatasync, SYS_ftruncate,
		SYS_fallocate, SYS_pwrite64,
	};
	enum { CALLS = sizeof calls / sizeof calls[0] };
	struct sock_filter filter[CALLS + 9];
	size_t next = 0;
#define ADD(...) filter[next++] = (struct sock_filter)__VA_ARGS__
#define FIELD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
	ADD(FIELD(arch));
	ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0));
	ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
	ADD(FIELD(args[5]));
	ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)MARK, CALLS + 1, 0));
	ADD(FIELD(nr));
	for (unsigned i = 0; i < CALLS; i++)
		ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i], (uint8_t)(CALLS - i), 0));
	ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
	ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP));
	struct sock_fprog program = { .len = (unsigned short)next, .filter = filter };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		die("no seccomp filter");
}

__attribute__((constructor)) static void attach(void)
{
	const char *directory = getenv("SHIM_DIRECTORY");
	const char *control_path = getenv("SHIM_CONTROL"), *log_path = getenv("SHIM_LOG");
	if (directory == NULL || control_path == NULL || log_path == NULL)
		return;
	if (strlen(directory) >= sizeof root)
		die("SHIM_DIRECTORY is too long");
	int descriptor = (int)RAW(SYS_openat, AT_FDCWD, control_path, O_RDWR | O_CLOEXEC);
	if (descriptor < 0)
		die("SHIM_CONTROL cannot be opened");
	void *mapped = (void *)syscall(SYS_mmap, NULL, CONTROL_OCTETS, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
	if (mapped == MAP_FAILED)
		die("SHIM_CONTROL cannot be mapped");
	RAW(SYS_close, descriptor);
	log_descriptor = (int)RAW(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (log_descriptor < 0)
		die("SHIM_LOG cannot be opened");
	control = mapped;
	strcpy(root, directory);
	root_length = strlen(root);
	trap();
	control->attached = (uint64_t)getpid();
}
