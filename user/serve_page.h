/* user/serve_page.h - the files of the chat page, inside the program.
 *
 * Data flow   user/page/ -scripts/embed.cmake-> serve_pages -> HTTP.
 * Units       bytes.
 * Errors      none.
 * Memory      static.
 * Secrets     none.
 */
#ifndef STIP_USER_SERVE_PAGE_H
#define STIP_USER_SERVE_PAGE_H

#include <stddef.h>

struct serve_page {
    const char *path; /* of the URL; NULL after the last */
    const char *type;
    const unsigned char *data;
    size_t size;
};

extern const struct serve_page serve_pages[];

#endif
