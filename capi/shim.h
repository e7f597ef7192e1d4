/* SPDX-License-Identifier: Apache-2.0
 * What the Go halves and the functions of persisting.h need of C. */
#ifndef PERSISTING_SHIM_H
#define PERSISTING_SHIM_H

#include <stdint.h>

#include "persisting.h"

/* Fills *error, which may be NULL, and returns code. Takes over message, which
 * is from malloc. */
persisting_status shim_fail(struct persisting_error* error, persisting_status code, int64_t detail, char* message);

/* shim_fail of INVALID_ARGUMENT with a text as printf makes it. */
persisting_status shim_refuse(struct persisting_error* error, const char* format, ...)
    __attribute__((format(printf, 2, 3)));

/* Not 0 in a process that was forked from one that had loaded the library. Every
 * function looks there before the Go runtime is entered, which does not survive a
 * fork, and returns shim_fail_forked. */
extern volatile int shim_forked;

persisting_status shim_fail_forked(struct persisting_error* error);

void shim_release_array(struct ArrowArray* array);
void shim_release_schema(struct ArrowSchema* schema);

/* What the arrays of one batch share: they are made in one piece of memory, which
 * begins with this, and hold one Go record. */
struct shim_batch {
  int64_t arrays;
  uintptr_t record;
};

/* Where a buffer of no bytes is. */
extern const uint64_t shim_nothing;

/* Releases an array whose private_data is a struct shim_batch. */
void shim_release_shared(struct ArrowArray* array);

#endif
