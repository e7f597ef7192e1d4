/* SPDX-License-Identifier: Apache-2.0
 *
 * What the Go halves, and the functions of shim_functions.c, which are made from
 * persisting.h, need of C. */
#include "shim.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "_cgo_export.h"

volatile int shim_forked;

static void mark_forked(void) { shim_forked = 1; }

__attribute__((constructor)) static void watch_fork(void) { pthread_atfork(NULL, NULL, mark_forked); }

static void release_error(struct persisting_error* error) {
  free(error->message);
  error->message = NULL;
  error->release = NULL;
}

persisting_status shim_fail(struct persisting_error* error, persisting_status code, int64_t detail, char* message) {
  if (error == NULL) {
    free(message);
    return code;
  }
  error->code = code;
  error->message = message;
  error->detail = detail;
  error->release = release_error;
  return code;
}

persisting_status shim_refuse(struct persisting_error* error, const char* format, ...) {
  static const char prefix[] = "invalid argument: ";
  char text[256];
  va_list values;
  va_start(values, format);
  vsnprintf(text, sizeof text, format, values);
  va_end(values);
  char* message = malloc(sizeof prefix + strlen(text));
  if (message != NULL) strcat(strcpy(message, prefix), text);
  return shim_fail(error, PERSISTING_INVALID_ARGUMENT, 0, message);
}

void shim_release_array(struct ArrowArray* array) {
  if (array != NULL && array->release != NULL) array->release(array);
}

void shim_release_schema(struct ArrowSchema* schema) {
  if (schema != NULL && schema->release != NULL) schema->release(schema);
}

const uint64_t shim_nothing = 0;

void shim_release_shared(struct ArrowArray* array) {
  for (int64_t i = 0; i < array->n_children; i++) shim_release_array(array->children[i]);
  struct shim_batch* batch = array->private_data;
  array->release = NULL;
  if (__atomic_sub_fetch(&batch->arrays, 1, __ATOMIC_ACQ_REL) > 0) return;
  if (!shim_forked) persistingRecordReleaseGo(batch->record);
  free(batch);
}

persisting_status shim_fail_forked(struct persisting_error* error) {
  return shim_fail(error, PERSISTING_FORKED, 0,
                              strdup("this process was forked from one that had loaded Persisting, whose threads did "
                                     "not come along: start it with spawn or forkserver instead of fork"));
}
