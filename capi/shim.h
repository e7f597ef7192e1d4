/* SPDX-License-Identifier: Apache-2.0
 * What the Go halves need of C. */
#ifndef PERSISTING_SHIM_H
#define PERSISTING_SHIM_H

#include "persisting.h"

/* Fills *error, which may be NULL, and returns code. Takes over message, which
 * is from malloc. */
persisting_status shim_fail(struct persisting_error* error, persisting_status code, char* message);

void shim_release_array(struct ArrowArray* array);
void shim_release_schema(struct ArrowSchema* schema);

#endif
