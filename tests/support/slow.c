#include "tests/support/slow.h"

#include <stdlib.h>

unsigned slow_times(void)
{
    const char *text = getenv("STIP_SLOW");
    const unsigned long times = text != NULL ? strtoul(text, NULL, 10) : 1;
    return times > 1 && times <= 1000 ? (unsigned)times : 1;
}
