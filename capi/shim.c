/* SPDX-License-Identifier: Apache-2.0
 *
 * The functions of persisting.h: the check for a forked process, which must
 * come before the Go runtime is entered, and the call of the Go half. */
#include "shim.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "_cgo_export.h"

static volatile int forked;

static void mark_forked(void) { forked = 1; }

__attribute__((constructor)) static void watch_fork(void) { pthread_atfork(NULL, NULL, mark_forked); }

static void release_error(struct persisting_error* error) {
  free(error->message);
  error->message = NULL;
  error->release = NULL;
}

persisting_status shim_fail(struct persisting_error* error, persisting_status code, char* message) {
  if (error == NULL) {
    free(message);
    return code;
  }
  error->code = code;
  error->message = message;
  error->release = release_error;
  return code;
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
  if (!forked) persistingRecordReleaseGo(batch->record);
  free(batch);
}

static persisting_status fail_forked(struct persisting_error* error) {
  return shim_fail(error, PERSISTING_FORKED,
                              strdup("this process was forked from one that had loaded Persisting, whose threads did "
                                     "not come along: start it with spawn or forkserver instead of fork"));
}

persisting_status persisting_abi_version(uint32_t* out_version, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingAbiVersionGo(out_version, error);
}

persisting_status persisting_version(char** out_version, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingVersionGo(out_version, error);
}

persisting_status persisting_string_free(char* string, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingStringFreeGo(string, error);
}

persisting_status persisting_library_usage(struct persisting_usage* out_usage, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingLibraryUsageGo(out_usage, error);
}

persisting_status persisting_library_set_memory_budget(int64_t bytes, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingLibrarySetMemoryBudgetGo(bytes, error);
}

persisting_status persisting_metrics_text(char** out_text, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingMetricsTextGo(out_text, error);
}

persisting_status persisting_metrics_json(char** out_json, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingMetricsJsonGo(out_json, error);
}

persisting_status persisting_metrics_retain(uint32_t yes, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingMetricsRetainGo(yes, error);
}

persisting_status persisting_server_start(const char* server_options, persisting_server* out_server,
                                          struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingServerStartGo((char*)server_options, out_server, error);
}

persisting_status persisting_server_address(persisting_server server, char** out_address,
                                            struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingServerAddressGo(server, out_address, error);
}

persisting_status persisting_server_close(persisting_server server, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingServerCloseGo(server, error);
}

persisting_status persisting_log_levels(const char* levels, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingLogLevelsGo((char*)levels, error);
}

persisting_status persisting_log_next(int64_t longest_ns, char** out_json, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingLogNextGo(longest_ns, out_json, error);
}

persisting_status persisting_bucket_open(const char* path, const char* options, persisting_bucket* out_bucket,
                                         struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketOpenGo((char*)path, (char*)options, out_bucket, error);
}

persisting_status persisting_bucket_append(persisting_bucket bucket, struct ArrowArray* array,
                                           struct ArrowSchema* schema, uint32_t flags, int64_t wait_ns,
                                           int64_t* out_first, int64_t* out_acknowledged,
                                           struct persisting_error* error) {
  if (forked) {
    shim_release_array(array);
    shim_release_schema(schema);
    return fail_forked(error);
  }
  return persistingBucketAppendGo(bucket, array, schema, flags, wait_ns, out_first, out_acknowledged, error);
}

persisting_status persisting_bucket_append_message(persisting_bucket bucket, persisting_columns columns,
                                                   const void* message, int64_t size, uint32_t flags,
                                                   int64_t wait_ns, int64_t* out_first, int64_t* out_acknowledged,
                                                   struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketAppendMessageGo(bucket, columns, (void*)message, size, flags, wait_ns, out_first,
                                         out_acknowledged, error);
}

persisting_status persisting_bucket_open_ring(persisting_bucket bucket, persisting_columns columns,
                                              int64_t* out_next, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketOpenRingGo(bucket, columns, out_next, error);
}

persisting_status persisting_bucket_drain_ring(persisting_bucket bucket, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketDrainRingGo(bucket, error);
}

persisting_status persisting_bucket_acknowledged(persisting_bucket bucket, int64_t* out_rows,
                                                 struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketAcknowledgedGo(bucket, out_rows, error);
}

persisting_status persisting_bucket_wait(persisting_bucket bucket, int64_t rows, int64_t timeout_ns,
                                         struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketWaitGo(bucket, rows, timeout_ns, error);
}

persisting_status persisting_bucket_set_bell(persisting_bucket bucket, int32_t fd, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketSetBellGo(bucket, fd, error);
}

persisting_status persisting_bucket_notify(persisting_bucket bucket, int64_t rows, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketNotifyGo(bucket, rows, error);
}

persisting_status persisting_bucket_read(persisting_bucket bucket, int64_t offset, int64_t count, uint32_t flags,
                                         persisting_cursor* out_cursor, uint64_t* out_schema_version,
                                         struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketReadGo(bucket, offset, count, flags, out_cursor, out_schema_version, error);
}

persisting_status persisting_bucket_get(persisting_bucket bucket, int64_t offset, int64_t count,
                                        struct ArrowArray* out_array, uint64_t* out_schema_version,
                                        struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketGetGo(bucket, offset, count, out_array, out_schema_version, error);
}

persisting_status persisting_bucket_take(persisting_bucket bucket, const int64_t* offsets, int64_t count,
                                         uint32_t flags, persisting_cursor* out_cursor, uint64_t* out_schema_version,
                                         struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketTakeGo(bucket, (int64_t*)offsets, count, flags, out_cursor, out_schema_version, error);
}

persisting_status persisting_bucket_schema(persisting_bucket bucket, struct ArrowSchema* out_schema,
                                           uint64_t* out_schema_version, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketSchemaGo(bucket, out_schema, out_schema_version, error);
}

persisting_status persisting_bucket_flush(persisting_bucket bucket, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketFlushGo(bucket, error);
}

persisting_status persisting_bucket_compact(persisting_bucket bucket, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketCompactGo(bucket, error);
}

persisting_status persisting_bucket_stats(persisting_bucket bucket, char** out_json, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketStatsGo(bucket, out_json, error);
}

persisting_status persisting_bucket_close(persisting_bucket bucket, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketCloseGo(bucket, error);
}

persisting_status persisting_directory_verify(const char* directory, uint32_t flags, char** out_json,
                                              struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingDirectoryVerifyGo((char*)directory, flags, out_json, error);
}

persisting_status persisting_directory_inspect(const char* directory, char** out_json,
                                               struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingDirectoryInspectGo((char*)directory, out_json, error);
}

persisting_status persisting_directory_repair(const char* directory, uint32_t flags, char** out_json,
                                              struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingDirectoryRepairGo((char*)directory, flags, out_json, error);
}

persisting_status persisting_directory_clone(const char* directory, const char* into, char** out_json,
                                             struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingDirectoryCloneGo((char*)directory, (char*)into, out_json, error);
}

persisting_status persisting_directory_read(const char* table, persisting_cursor* out_cursor, int64_t* out_rows,
                                            struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingDirectoryReadGo((char*)table, out_cursor, out_rows, error);
}

persisting_status persisting_bucket_query(persisting_bucket bucket, const char* query, const double* vector,
                                          int64_t dimensions, persisting_cursor* out_cursor,
                                          struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketQueryGo(bucket, (char*)query, (double*)vector, dimensions, out_cursor, error);
}

persisting_status persisting_bucket_count(persisting_bucket bucket, const char* where, int64_t* out_rows,
                                          struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketCountGo(bucket, (char*)where, out_rows, error);
}

persisting_status persisting_bucket_explain(persisting_bucket bucket, const char* query, const double* vector,
                                            int64_t dimensions, char** out_text, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketExplainGo(bucket, (char*)query, (double*)vector, dimensions, out_text, error);
}

persisting_status persisting_bucket_create_index(persisting_bucket bucket, const char* index,
                                                 struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketCreateIndexGo(bucket, (char*)index, error);
}

persisting_status persisting_bucket_drop_index(persisting_bucket bucket, const char* index_name,
                                               struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketDropIndexGo(bucket, (char*)index_name, error);
}

persisting_status persisting_bucket_indexes(persisting_bucket bucket, char** out_json,
                                            struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketIndexesGo(bucket, out_json, error);
}

persisting_status persisting_bucket_index_stats(persisting_bucket bucket, const char* index_name, char** out_json,
                                                struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketIndexStatsGo(bucket, (char*)index_name, out_json, error);
}

persisting_status persisting_columns_import(struct ArrowSchema* schema, persisting_columns* out_columns,
                                            struct persisting_error* error) {
  if (forked) {
    shim_release_schema(schema);
    return fail_forked(error);
  }
  return persistingColumnsImportGo(schema, out_columns, error);
}

persisting_status persisting_columns_close(persisting_columns columns, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingColumnsCloseGo(columns, error);
}

persisting_status persisting_cursor_schema(persisting_cursor cursor, struct ArrowSchema* out_schema,
                                           struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingCursorSchemaGo(cursor, out_schema, error);
}

persisting_status persisting_cursor_next(persisting_cursor cursor, struct ArrowArray* out_array,
                                         struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingCursorNextGo(cursor, out_array, error);
}

persisting_status persisting_cursor_close(persisting_cursor cursor, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingCursorCloseGo(cursor, error);
}

persisting_status persisting_bucket_add_columns(persisting_bucket bucket, struct ArrowSchema* schema,
                                                struct persisting_error* error) {
  if (forked) {
    shim_release_schema(schema);
    return fail_forked(error);
  }
  return persistingBucketAddColumnsGo(bucket, schema, error);
}

persisting_status persisting_bucket_fill_column(persisting_bucket bucket, struct ArrowArray* array,
                                                struct ArrowSchema* schema, struct persisting_error* error) {
  if (forked) {
    shim_release_array(array);
    shim_release_schema(schema);
    return fail_forked(error);
  }
  return persistingBucketFillColumnGo(bucket, array, schema, error);
}

persisting_status persisting_bucket_compute_column(persisting_bucket bucket, struct ArrowSchema* schema,
                                                   const char* expression, struct persisting_error* error) {
  if (forked) {
    shim_release_schema(schema);
    return fail_forked(error);
  }
  return persistingBucketComputeColumnGo(bucket, schema, (char*)expression, error);
}

persisting_status persisting_bucket_drop_column(persisting_bucket bucket, const char* name,
                                                struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketDropColumnGo(bucket, (char*)name, error);
}

persisting_status persisting_bucket_rename_column(persisting_bucket bucket, const char* name, const char* to,
                                                  struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketRenameColumnGo(bucket, (char*)name, (char*)to, error);
}

persisting_status persisting_bucket_cast_column(persisting_bucket bucket, struct ArrowSchema* schema,
                                                struct persisting_error* error) {
  if (forked) {
    shim_release_schema(schema);
    return fail_forked(error);
  }
  return persistingBucketCastColumnGo(bucket, schema, error);
}

persisting_status persisting_bucket_declare(persisting_bucket bucket, struct ArrowSchema* schema,
                                            struct persisting_error* error) {
  if (forked) {
    shim_release_schema(schema);
    return fail_forked(error);
  }
  return persistingBucketDeclareGo(bucket, schema, error);
}

persisting_status persisting_bucket_delete(persisting_bucket bucket, const char* filter, int64_t* out_rows,
                                           struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketDeleteGo(bucket, (char*)filter, out_rows, error);
}

persisting_status persisting_bucket_truncate_before(persisting_bucket bucket, int64_t offset, int64_t* out_rows,
                                                    struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketTruncateBeforeGo(bucket, offset, out_rows, error);
}

persisting_status persisting_bucket_first_from(persisting_bucket bucket, int64_t offset, int64_t* out_first,
                                               struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketFirstFromGo(bucket, offset, out_first, error);
}

persisting_status persisting_bucket_commit(persisting_bucket bucket, const char* consumer, int64_t offset,
                                           struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketCommitGo(bucket, (char*)consumer, offset, error);
}

persisting_status persisting_bucket_consumers(persisting_bucket bucket, char** out_json,
                                              struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketConsumersGo(bucket, out_json, error);
}

persisting_status persisting_bucket_versions(persisting_bucket bucket, char** out_json,
                                             struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketVersionsGo(bucket, out_json, error);
}

persisting_status persisting_bucket_tag(persisting_bucket bucket, const char* name, uint64_t version,
                                        struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketTagGo(bucket, (char*)name, version, error);
}

persisting_status persisting_bucket_untag(persisting_bucket bucket, const char* name,
                                          struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketUntagGo(bucket, (char*)name, error);
}

persisting_status persisting_bucket_restore(persisting_bucket bucket, uint64_t version,
                                            struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingBucketRestoreGo(bucket, version, error);
}

persisting_status persisting_view_open(persisting_bucket bucket, uint64_t version, persisting_view* out_view,
                                       struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingViewOpenGo(bucket, version, out_view, error);
}

persisting_status persisting_view_schema(persisting_view view, struct ArrowSchema* out_schema,
                                         struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingViewSchemaGo(view, out_schema, error);
}

persisting_status persisting_view_rows(persisting_view view, int64_t* out_rows, int64_t* out_end,
                                       struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingViewRowsGo(view, out_rows, out_end, error);
}

persisting_status persisting_view_read(persisting_view view, int64_t offset, int64_t count, uint32_t flags,
                                       persisting_cursor* out_cursor, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingViewReadGo(view, offset, count, flags, out_cursor, error);
}

persisting_status persisting_view_query(persisting_view view, const char* query, const double* vector,
                                        int64_t dimensions, persisting_cursor* out_cursor,
                                        struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingViewQueryGo(view, (char*)query, (double*)vector, dimensions, out_cursor, error);
}

persisting_status persisting_view_count(persisting_view view, const char* where, int64_t* out_rows,
                                        struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingViewCountGo(view, (char*)where, out_rows, error);
}

persisting_status persisting_view_explain(persisting_view view, const char* query, const double* vector,
                                          int64_t dimensions, char** out_text, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingViewExplainGo(view, (char*)query, (double*)vector, dimensions, out_text, error);
}

persisting_status persisting_view_close(persisting_view view, struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingViewCloseGo(view, error);
}

persisting_status persisting_cursor_offsets(persisting_cursor cursor, char** out_json,
                                            struct persisting_error* error) {
  if (forked) return fail_forked(error);
  return persistingCursorOffsetsGo(cursor, out_json, error);
}
