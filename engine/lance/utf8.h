#ifndef PERSISTING_UTF8_H
#define PERSISTING_UTF8_H

#include <stdint.h>

/* Returns 1 if the text is UTF-8, 0 if it is not, and -1 if this processor has no
 * fast way to tell. */
int utf8_valid(const unsigned char *text, int64_t size);

#endif
