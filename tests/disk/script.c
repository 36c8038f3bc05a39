/* Does to files what the lines of its standard input say, and answers each with a line: 0 or the error
 * number. For the tests of the shim itself. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static long do_line(char *line)
{
	char *command = strtok(line, " \n"), *path = strtok(NULL, " \n"), *text = strtok(NULL, " \n");
	if (strcmp(command, "mkdir") == 0)
		return mkdir(path, 0755);
	if (strcmp(command, "rename") == 0)
		return rename(path, text);
	if (strcmp(command, "raw-rename") == 0)
		return syscall(SYS_renameat2, AT_FDCWD, path, AT_FDCWD, text, 0);
	if (strcmp(command, "unlink") == 0)
		return unlink(path);
	if (strcmp(command, "raw-unlink") == 0)
		return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
	int flags = strcmp(command, "append") == 0   ? O_WRONLY | O_APPEND | O_CREAT
		    : strcmp(command, "write") == 0  ? O_WRONLY | O_CREAT
		    : strcmp(command, "length") == 0 ? O_WRONLY
						     : O_RDONLY;
	int file = open(path, flags, 0600);
	if (file < 0)
		return -1;
	long result = -1;
	if (strcmp(command, "append") == 0) {
		result = write(file, text, strlen(text));
		result = result < 0 ? -1 : result < (long)strlen(text) ? -2 : 0;
	} else if (strcmp(command, "write") == 0) {
		result = pwrite(file, text, strlen(text), 0) < 0 ? -1 : 0;
	} else if (strcmp(command, "length") == 0) {
		result = ftruncate(file, atol(text));
	} else if (strcmp(command, "sync") == 0) {
		result = fsync(file);
	} else if (strcmp(command, "raw-sync") == 0) {
		result = syscall(SYS_fsync, file);
	}
	int saved = errno;
	close(file);
	errno = saved;
	return result;
}

int main(void)
{
	char line[1024];
	while (fgets(line, sizeof line, stdin) != NULL) {
		long result = do_line(line);
		/* A short write is told as -2. */
		printf("%ld\n", result == -1 ? (long)errno : result);
		fflush(stdout);
	}
	return 0;
}
