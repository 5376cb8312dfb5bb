#include "tests/support/capture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void capture_begin(struct capture *c, int fd)
{
    (void)fflush(NULL);
    c->fd = fd;
    c->kept = dup(fd);
    c->temp = memfd_create("capture", 0);
    cr_assert(c->kept >= 0 && c->temp >= 0);
    cr_assert_eq(dup2(c->temp, fd), fd);
}

char *capture_end(struct capture *c)
{
    (void)fflush(NULL);
    cr_assert_eq(dup2(c->kept, c->fd), c->fd);
    off_t size = lseek(c->temp, 0, SEEK_END);
    cr_assert(size >= 0);
    char *text = calloc(1, (size_t)size + 1);
    cr_assert_not_null(text);
    cr_assert_eq(pread(c->temp, text, (size_t)size, 0), size);
    close(c->kept);
    close(c->temp);
    return text;
}
