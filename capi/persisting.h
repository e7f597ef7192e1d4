/*
 * persisting.h - the C interface of Persisting, durable storage of Arrow data.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * This header is written by hand and is the contract; the library is held
 * against it by tests. All functions may be called from any thread, several at
 * once, on the same handle.
 *
 * Status and errors. Every function returns a persisting_status. Results leave
 * through out-parameters, which are written on PERSISTING_OK only. The last
 * argument is a struct persisting_error that the caller has zeroed, or NULL;
 * on failure it receives the status, a message in UTF-8 and, with some statuses,
 * a number that says more, and the caller gives it back with error.release(&error).
 *
 * Handles. A handle is a 64-bit number that is never used again: 0 is no
 * handle. A call with a closed, foreign or invented handle returns
 * PERSISTING_INVALID_HANDLE. Closing 0 does nothing; closing twice is an
 * error. Closing waits for the calls that are still using the handle.
 *
 * Arrow data. struct ArrowSchema and struct ArrowArray are those of the Arrow C
 * data interface (https://arrow.apache.org/docs/format/CDataInterface.html).
 * Structs handed in are always consumed: after the call, whatever it returned,
 * they are released or owned by the library. Structs handed out are filled on
 * success only and then belong to the caller, who releases them. No column
 * data is copied in either direction; data that was handed in must not be
 * changed afterwards.
 *
 * Strings. A string handed out is UTF-8, ends with a zero byte and is given
 * back with persisting_string_free. A string handed in is copied.
 *
 * Threads, signals, fork. The library starts threads of its own, installs no
 * signal handler of its own choosing and never ends the process. A process that
 * was forked from one that loaded the library cannot use it: every function
 * returns PERSISTING_FORKED there. A panic in a call with a handle is returned
 * as PERSISTING_INTERNAL, and so is every later call with that handle, but for
 * the one that closes it; a bucket can be opened again then, with all rows that
 * were acknowledged. So it is after a panic in what a bucket does of its own
 * accord. A panic in a call without a handle, which all others share, is returned
 * by every later call. No other handle is touched, nor is the process ended, but
 * by what the Go runtime recovers from in no case: memory that is used up, a
 * stack that overflows, a map that is written by two threads.
 */
#ifndef PERSISTING_H
#define PERSISTING_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PERSISTING_ABI_VERSION 2

#define PERSISTING_NULLABLE
#define PERSISTING_OF(count)
#define PERSISTING_TAKES(flags)
#define PERSISTING_JSON
#define PERSISTING_PATH

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema {
  const char* format;
  const char* name;
  const char* metadata;
  int64_t flags;
  int64_t n_children;
  struct ArrowSchema** children;
  struct ArrowSchema* dictionary;
  void (*release)(struct ArrowSchema*);
  void* private_data;
};

struct ArrowArray {
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void** buffers;
  struct ArrowArray** children;
  struct ArrowArray* dictionary;
  void (*release)(struct ArrowArray*);
  void* private_data;
};

#endif /* ARROW_C_DATA_INTERFACE */

typedef int32_t persisting_status;

enum {
  PERSISTING_OK = 0,
  PERSISTING_INVALID_ARGUMENT = 1, /* a NULL, an option or a value out of range */
  PERSISTING_INVALID_HANDLE = 2,   /* closed, foreign or invented */
  PERSISTING_NOT_FOUND = 3,        /* no such path, offset or name */
  PERSISTING_SCHEMA = 4,           /* data that does not fit the bucket's columns */
  PERSISTING_STORAGE = 5,          /* reading or writing the disk failed */
  PERSISTING_WAL = 6,              /* the write-ahead log is damaged or has a gap */
  PERSISTING_LOCKED = 7,           /* another opener holds the bucket */
  PERSISTING_CLOSED = 8,           /* the bucket was closed during the call */
  PERSISTING_POISONED = 9,         /* a write failed; open the bucket again to write */
  PERSISTING_WOULD_BLOCK = 10,     /* PERSISTING_NO_WAIT was set and waiting is needed */
  PERSISTING_TIMEOUT = 11,         /* the time given ran out */
  PERSISTING_FORKED = 12,          /* the calling process was forked; use spawn */
  PERSISTING_CORRUPT = 13,         /* files of the bucket contradict each other */
  PERSISTING_REMOVED = 14,         /* the row at that offset was removed */
  PERSISTING_CONFLICT = 15,        /* something is not as the caller expects it; nothing was changed */
  PERSISTING_READ_ONLY = 16,       /* the bucket was opened for reading */
  PERSISTING_DUPLICATE = 17,       /* something else is stored in that place; nothing was changed */
  PERSISTING_INTERNAL = 99         /* a panic inside the library; close the handle */
};

/* detail is, of PERSISTING_REMOVED, the first offset after the one asked for whose row is
 * left, or that of the next row to be appended when there is none; of PERSISTING_LOCKED the
 * process that holds the directory, 0 where that is not known; of PERSISTING_DUPLICATE the
 * step; of all others 0. */
struct persisting_error {
  persisting_status code;
  char* message;
  int64_t detail;
  void (*release)(struct persisting_error*);
};

typedef uint64_t persisting_bucket; /* an open bucket */
typedef uint64_t persisting_cursor; /* the rows of one read */
typedef uint64_t persisting_columns; /* the columns of messages */
typedef uint64_t persisting_server; /* an HTTP server of metrics */
typedef uint64_t persisting_view; /* one version of a bucket */
typedef uint64_t persisting_kv; /* an open store of blocks under keys, here or in another process */
typedef uint64_t persisting_kv_server; /* what serves a store to other processes */
typedef uint64_t persisting_params; /* an open store of parameters */
typedef uint64_t persisting_weights; /* one version of parameters, open */
typedef uint64_t persisting_trajectories; /* an open store of trajectories */
typedef uint64_t persisting_sheet; /* where a writer of steps puts them without a call */
typedef uint64_t persisting_sampler; /* what draws steps of a store of trajectories */
typedef uint64_t persisting_trajectories_server; /* what serves a store of trajectories to other processes */

/* Do not wait for a disk or for another call: return PERSISTING_WOULD_BLOCK. */
#define PERSISTING_NO_WAIT 1u

/* Call the waker when the rows of this append are acknowledged. */
#define PERSISTING_NOTIFY 8u

/* persisting_bucket_check has said that the batch can be appended: do not look at its values again. */
#define PERSISTING_CHECKED 32u

/* Open what is there, and make nothing. */
#define PERSISTING_OPEN_READ_ONLY 64u

/* Do not check what is read. */
#define PERSISTING_UNVERIFIED 128u

/* The row is the last observation of an episode, which no action followed. */
#define PERSISTING_FINAL 256u

/* A copy of what was saved last of each name stays in memory. */
#define PERSISTING_KEEP 512u

/* Read up to the first row that was removed, and return PERSISTING_REMOVED when the
 * first row of the read was: row i of the read has the offset offset + i. */
#define PERSISTING_RUN 2u

/* ---- library ---------------------------------------------------------- */

/* The ABI version that the library was built for. */
persisting_status persisting_abi_version(uint32_t* out_version, struct persisting_error* error);

/* The version of the library, such as "0.4.0". */
persisting_status persisting_version(char** out_version, struct persisting_error* error);

/* Gives a string back. NULL is allowed. */
persisting_status persisting_string_free(PERSISTING_NULLABLE char* string, struct persisting_error* error);

struct persisting_usage {
  int64_t handles;         /* open handles of every kind */
  int64_t allocated_bytes; /* Arrow memory that the library allocated, in bytes */
};

/* What the library holds at this moment; for leak tests. */
persisting_status persisting_library_usage(struct persisting_usage* out_usage, struct persisting_error* error);

/*
 * Bounds the memory that all open buckets share, in bytes, at least 16 MiB; the
 * default is 1 GiB. It holds rows that are not in Lance yet and, with what those
 * leave, recent rows and pages of tables. Over the bound, buckets give up what they
 * cache, and one that has more than its share of unflushed rows is flushed and
 * holds appends back until then. Lance's own caches, 128 MiB at most, and what
 * readers hold come on top. Errors: INVALID_ARGUMENT.
 */
persisting_status persisting_library_set_memory_budget(int64_t bytes, struct persisting_error* error);

/* ---- metrics ---------------------------------------------------------- */

/* The metrics of all open buckets in the Prometheus text format 0.0.4. */
persisting_status persisting_metrics_text(char** out_text, struct persisting_error* error);

/*
 * The same as a JSON array of {"name", "type", "help", "samples"}. A sample has
 * "labels" and a "value", or the "count", "sum" and "buckets" of a histogram:
 * {"le", "count"} each, cumulative, without the last bucket, which is "count".
 */
persisting_status persisting_metrics_json(char** out_list, struct persisting_error* error);

/*
 * Whether (1 or 0) the last counts of buckets stay in the metrics when they are
 * closed, for a push at the end of the process. At first they do not.
 */
persisting_status persisting_metrics_retain(uint32_t yes, struct persisting_error* error);

/* ---- server ----------------------------------------------------------- */

/*
 * Serves metrics at /metrics and a status page at / over HTTP, read-only.
 * `server_options` is a JSON object: "addr" (an IP address or "localhost";
 * default "127.0.0.1"), "port" (0 takes a free one; default 9641),
 * "allow_remote" (must be true for an addr that is not of the loopback
 * interface), "cert_file" and "key_file" (paths, for TLS), "username" and
 * "password" (for basic authentication). Errors: INVALID_ARGUMENT, also for an
 * address that is taken.
 */
persisting_status persisting_server_start(PERSISTING_JSON const char* server_options, persisting_server* out_server,
                                          struct persisting_error* error);

/* The URL of the server, without a path. */
persisting_status persisting_server_address(persisting_server server, char** out_address,
                                            struct persisting_error* error);

/* Ends the server; answers that are on their way get a second. */
persisting_status persisting_server_close(persisting_server server, struct persisting_error* error);

/* ---- log -------------------------------------------------------------- */

/*
 * What the library logs. `levels` is a JSON object: "levels" maps the
 * components "engine", "wal" and "server" to the least level that is logged (10
 * debug, 20 info, 30 warning, 40 error; at first 30), "tracing" says whether
 * messages of work that took time come whatever their level (default false).
 */
persisting_status persisting_log_levels(PERSISTING_JSON const char* levels, struct persisting_error* error);

/*
 * Waits for messages, at most `longest_ns` nanoseconds (negative = without limit)
 * or until persisting_log_levels is called, and hands all there are over, maybe
 * none, as the JSON object
 * {"messages", "dropped"}. A message has "time" (Unix nanoseconds), "level", "component",
 * "text", "attrs", "log" (its level was asked for) and "span" (its attributes
 * say that "operation" "took" so many seconds until "time"). 1024 messages wait
 * at most; further ones are dropped and counted.
 */
persisting_status persisting_log_next(int64_t longest_ns, char** out_json, struct persisting_error* error);

/* ---- bucket ----------------------------------------------------------- */

/*
 * Opens the bucket in the directory `path`, which is created if missing, and
 * recovers what a crash left. `options` is a JSON object, or NULL for the
 * defaults; unknown names and values out of range give
 * PERSISTING_INVALID_ARGUMENT with all faults and the valid names. docs/options
 * and README.md list the options.
 *
 * Errors: LOCKED with the holder's process id, NOT_FOUND for a directory with a
 * Lance table that is no bucket's, WAL for a damaged log, CORRUPT, STORAGE. A
 * bucket that is refused is left as it is.
 */
persisting_status persisting_bucket_open(PERSISTING_PATH const char* path,
                                         PERSISTING_NULLABLE PERSISTING_JSON const char* options,
                                         persisting_bucket* out_bucket, struct persisting_error* error);

/*
 * Opens the bucket in `directory` for reading, which another process may have open, or
 * nobody. It takes no lock and changes nothing, there or elsewhere. The handle is that of a bucket;
 * what writes gives READ_ONLY. Each call of it sees all rows that were acknowledged before the call
 * began, but for those that are not flushed of a bucket that has no log.
 *
 * Errors: NOT_FOUND where there is no bucket, WAL, CORRUPT, STORAGE; calls on it as well, and
 * POISONED where the directory is another's by now, or a repair has gone back to an older version.
 */
persisting_status persisting_bucket_open_read_only(PERSISTING_PATH const char* directory,
                                                   persisting_bucket* out_bucket, struct persisting_error* error);

/*
 * Brings in what was acknowledged before the call began, of a bucket that is open for reading, as
 * every read does, and returns the number of rows that are acknowledged. With PERSISTING_NO_WAIT the
 * error is WOULD_BLOCK where that takes more than a look.
 */
persisting_status persisting_bucket_renew(persisting_bucket bucket, PERSISTING_TAKES(NO_WAIT) uint32_t flags,
                                          int64_t* out_rows, struct persisting_error* error);

/*
 * Appends the rows of a record batch (a struct array). Columns that the bucket
 * does not know become new columns, null in earlier rows; columns that the
 * batch lacks are null in its rows; a column of another type is promoted where
 * no value changes and otherwise refused with PERSISTING_SCHEMA, and then
 * nothing is stored. So are types and values that a table cannot hold, text that is
 * no UTF-8 among them, with the column and the row. The metadata of the schema are
 * kept: a key has the value that came first.
 *
 * Returns when the batch has its place. `*out_first` is the offset of its first
 * row. `*out_acknowledged` is the number of rows of the bucket that are
 * acknowledged, as persisting_bucket_acknowledged gives it; the call waits up
 * to `wait_ns` nanoseconds (0 = not at all, negative = without limit) for it to
 * reach the end of this batch. Rows are visible to reads once acknowledged.
 *
 * With PERSISTING_NO_WAIT in `flags` the call returns PERSISTING_WOULD_BLOCK,
 * and has stored nothing, where it would have to wait for a flush or a change
 * of the schema. With PERSISTING_NOTIFY it ends with persisting_bucket_notify of
 * the end of the batch, unless `*out_acknowledged` has reached that.
 */
persisting_status persisting_bucket_append(persisting_bucket bucket, struct ArrowArray* array,
                                           struct ArrowSchema* schema,
                                           PERSISTING_TAKES(NO_WAIT | NOTIFY | CHECKED) uint32_t flags,
                                           int64_t wait_ns, int64_t* out_first, int64_t* out_acknowledged,
                                           struct persisting_error* error);

/*
 * Says whether a batch can be appended, and appends nothing. Who has several batches of which all or
 * none must be stored calls it for each of them, and then appends them with PERSISTING_CHECKED.
 */
persisting_status persisting_bucket_check(persisting_bucket bucket, struct ArrowArray* array,
                                          struct ArrowSchema* schema, PERSISTING_TAKES(NO_WAIT) uint32_t flags,
                                          struct persisting_error* error);

/*
 * persisting_bucket_append for the rows of one encapsulated record batch message
 * of the Arrow IPC stream format, `size` bytes at `message`, with the columns of
 * handle `columns`: for small batches that have no Arrow arrays yet. No dictionaries, no
 * compression, buffers at multiples of 8 bytes. The message is copied. A message
 * that is not what `columns` says gives PERSISTING_INVALID_ARGUMENT: its metadata,
 * the sizes of its buffers, its nulls and its offsets are checked.
 *
 * https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format
 */
persisting_status persisting_bucket_append_message(persisting_bucket bucket, persisting_columns columns,
                                                   PERSISTING_OF(size) const void* message, int64_t size,
                                                   PERSISTING_TAKES(NO_WAIT | NOTIFY) uint32_t flags, int64_t wait_ns,
                                                   int64_t* out_first, int64_t* out_acknowledged,
                                                   struct persisting_error* error);

/*
 * Opens the ring of the bucket, the file `puts.ring` in its directory, which
 * the caller maps: the rows of a message that it writes there, of the columns
 * of handle `columns`, are acknowledged at once, without a call. As with
 * PERSISTING_NO_WAIT, one of persisting_bucket_append_message where
 * wal_sync_interval > 0: they survive the end of the process. The engine takes
 * them out every 20 ms and before every other call. `*out_next` is the offset of
 * the first row to come; -1 where the bucket can have no such ring:
 * wal_sync_interval is below 0.2 s, `columns` are not just the bucket's, or there
 * is no space on the disk. Another call empties the ring for other columns.
 * Errors: WOULD_BLOCK while rows before are not acknowledged.
 *
 * The caller, on one thread at a time, writes an entry only while all rows that
 * it has appended are acknowledged, the columns of the bucket are the same, and
 * the word `hold` is 0, and calls persisting_bucket_drain_ring after one for
 * which the word `watched` was 0, or that left less than half of the ring free.
 * The format of the file is described in the package comment of engine/ring.
 */
persisting_status persisting_bucket_open_ring(persisting_bucket bucket, persisting_columns columns, int64_t* out_next,
                                              struct persisting_error* error);

/* Has what is in the ring taken out soon; does not wait. */
persisting_status persisting_bucket_drain_ring(persisting_bucket bucket, struct persisting_error* error);

/*
 * The number of rows that are acknowledged: with a write-ahead log those that
 * are synced to disk (wal_sync_interval = 0) or written to the file
 * (wal_sync_interval > 0), without one those that are in memory.
 */
persisting_status persisting_bucket_acknowledged(persisting_bucket bucket, int64_t* out_rows,
                                                 struct persisting_error* error);

/*
 * Waits until `rows` rows are acknowledged, at most `timeout_ns` nanoseconds
 * (negative = without limit). Errors: TIMEOUT, POISONED with the cause, CLOSED.
 */
persisting_status persisting_bucket_wait(persisting_bucket bucket, int64_t rows, int64_t timeout_ns,
                                         struct persisting_error* error);

/*
 * Has the bucket write to the non-blocking file descriptor `fd` (an eventfd, or
 * the writing end of a pipe) where a PERSISTING_NOTIFY or a call of
 * persisting_bucket_notify asks for that: a number of 8 bytes, by how many the
 * acknowledged rows are more than they were at the write before, at first than
 * none; plus PERSISTING_OVER when the bucket was poisoned or closed. -1 is for
 * none. The descriptor stays the caller's and must stay open until it is replaced.
 */
persisting_status persisting_bucket_set_waker(persisting_bucket bucket, int32_t fd, struct persisting_error* error);
#define PERSISTING_OVER (UINT64_C(1) << 62)

/*
 * Asks for one such write, as soon as `rows` rows are acknowledged or the bucket
 * is poisoned or closed, at once if that is so already. Several calls before it
 * ask for one write, for the fewest of their rows.
 */
persisting_status persisting_bucket_notify(persisting_bucket bucket, int64_t rows, struct persisting_error* error);

/*
 * Reads the acknowledged rows [offset, offset + count), cut to those that
 * exist, in the order of their offsets, without those that were removed (see
 * persisting_cursor_offsets); a snapshot, also while rows are appended, removed,
 * flushed or compacted. `*out_schema_version` is a number that changes with each
 * change of the bucket's columns.
 *
 * With PERSISTING_NO_WAIT in `flags` only rows in memory are read, that of the
 * operating system included if they are few: where the disk is needed the call
 * returns PERSISTING_WOULD_BLOCK. For PERSISTING_RUN see
 * there.
 */
persisting_status persisting_bucket_read(persisting_bucket bucket, int64_t offset, int64_t count,
                                         PERSISTING_TAKES(NO_WAIT | RUN) uint32_t flags,
                                         persisting_cursor* out_cursor, uint64_t* out_schema_version,
                                         struct persisting_error* error);

/*
 * The rows that persisting_bucket_read gives with PERSISTING_NO_WAIT and
 * PERSISTING_RUN, as one batch and without a cursor: for few rows at a time. The
 * columns of batches from several places are copied. Without rows `*out_array`
 * has no release function.
 */
persisting_status persisting_bucket_get(persisting_bucket bucket, int64_t offset, int64_t count,
                                        struct ArrowArray* out_array, uint64_t* out_schema_version,
                                        struct persisting_error* error);

/*
 * Reads the rows at the `count` offsets, in the order given; an offset may
 * occur more than once. An offset that does not exist gives
 * PERSISTING_NOT_FOUND, one whose row was removed PERSISTING_REMOVED.
 */
persisting_status persisting_bucket_take(persisting_bucket bucket, PERSISTING_OF(count) const int64_t* offsets,
                                         int64_t count, PERSISTING_TAKES(NO_WAIT) uint32_t flags,
                                         persisting_cursor* out_cursor, uint64_t* out_schema_version,
                                         struct persisting_error* error);

/* The columns of the bucket, and the version of that schema. */
persisting_status persisting_bucket_schema(persisting_bucket bucket, struct ArrowSchema* out_schema,
                                           uint64_t* out_schema_version, struct persisting_error* error);

/*
 * Moves all acknowledged rows into Lance. On return they are synced to disk
 * there and the write-ahead log is cut.
 */
persisting_status persisting_bucket_flush(persisting_bucket bucket, struct persisting_error* error);

/*
 * Merges small fragments of the table and removes versions and files that
 * nothing needs any more. Offsets stay as they are.
 */
persisting_status persisting_bucket_compact(persisting_bucket bucket, struct persisting_error* error);

/* The state and the counters of the bucket as a JSON object. */
persisting_status persisting_bucket_stats(persisting_bucket bucket, char** out_json, struct persisting_error* error);

/*
 * Flushes and closes. The handle is invalid afterwards, whatever is returned:
 * an error says that the last flush failed, not that the bucket stays open.
 * Cursors stay readable until they are closed.
 */
persisting_status persisting_bucket_close(persisting_bucket bucket, struct persisting_error* error);

/* ---- queries and indexes of a bucket ---------------------------------- */

/*
 * Runs a query on the rows that are acknowledged when it is called; rows that
 * are not in Lance yet are flushed before. What is appended later is not seen.
 * `query` is a JSON object; all members may be missing:
 *
 *   filter        an SQL expression over the columns; names that are no plain
 *                 words stand in backticks, and _offset is the row's offset
 *   columns       names of the columns of the result, in that order; null: all
 *   with_offset   true: the result ends with the int64 column _offset
 *   limit         most rows; null: all. offset: rows left out at the start
 *   order_by      list of {"column": name, "descending": bool}; nulls come last,
 *                 equal rows, and all without order_by, by their offsets
 *   search        {"columns", "text", "k", "metric", "nprobes", "refine", "ef"}:
 *                 the k best rows of those that pass, the best first, with the
 *                 float32 column _score for a text, else _distance, after the
 *                 named ones. A vector is searched for in one column of
 *                 fixed-size lists. Not with limit, offset and order_by
 *   without_index true: indexes are not used
 *   no_wait       true: WOULD_BLOCK unless indexes find at most 64 rows, and all
 *                 that is looked at, index and rows, is in memory
 *
 * `vector` has the `dimensions` numbers of a search without a text, else NULL.
 *
 * Errors: INVALID_ARGUMENT with what is wrong, for a filter that does not parse
 * with line and column; those of persisting_bucket_flush; STORAGE.
 */
persisting_status persisting_bucket_query(persisting_bucket bucket, PERSISTING_JSON const char* query,
                                          PERSISTING_NULLABLE PERSISTING_OF(dimensions) const double* vector,
                                          int64_t dimensions, persisting_cursor* out_cursor,
                                          struct persisting_error* error);

/* The number of rows that pass the filter `filter`, of which all do if it is NULL. */
persisting_status persisting_bucket_count(persisting_bucket bucket, PERSISTING_NULLABLE const char* filter,
                                          int64_t* out_rows, struct persisting_error* error);

/* The plan of a query as text; it names the indexes that are used. */
persisting_status persisting_bucket_explain(persisting_bucket bucket, PERSISTING_JSON const char* query,
                                            PERSISTING_NULLABLE PERSISTING_OF(dimensions) const double* vector,
                                            int64_t dimensions, char** out_text, struct persisting_error* error);

/*
 * Builds an index of the rows that are acknowledged; those that come later are
 * taken in by the background work and by persisting_bucket_compact, and are found
 * before that as well. `index` is a JSON object: column, type (btree, bitmap,
 * label_list, ngram, zonemap, bloom_filter, inverted, ivf_flat, ivf_pq, ivf_sq,
 * ivf_hnsw_flat, ivf_hnsw_pq, ivf_hnsw_sq), name (default: column + "_idx"),
 * replace (default: false) and options, which docs/queries.md lists. Appends and
 * reads go on meanwhile.
 *
 * Errors: INVALID_ARGUMENT, those of persisting_bucket_flush, STORAGE.
 */
persisting_status persisting_bucket_create_index(persisting_bucket bucket, PERSISTING_JSON const char* index,
                                                 struct persisting_error* error);

/* Removes an index. NOT_FOUND with the names that there are. */
persisting_status persisting_bucket_drop_index(persisting_bucket bucket, const char* name,
                                               struct persisting_error* error);

/*
 * The indexes as a JSON list of objects: name, column, type, rows_indexed,
 * rows_unindexed, parts, bytes (null: unknown), details, and progress, which is
 * null or, while the index is being built, stage, completed, total and unit.
 */
persisting_status persisting_bucket_indexes(persisting_bucket bucket, char** out_list,
                                            struct persisting_error* error);

/* What Lance says of one index, as a JSON object. NOT_FOUND as above. */
persisting_status persisting_bucket_index_stats(persisting_bucket bucket, const char* name, char** out_json,
                                                struct persisting_error* error);

/* ---- directory -------------------------------------------------------- */

/* Look at the sizes and the ends of the table's files, and do not read its rows. */
#define PERSISTING_QUICK 2u

/* Do what was found to be needed. */
#define PERSISTING_APPLY 4u

/*
 * Examines the log and the table in the directory of a bucket, which may be open
 * elsewhere, and changes nothing. Reads all rows, or with PERSISTING_QUICK in
 * `flags` those of the log alone. `*out_json` is an object: whether the bucket is
 * `sound`; its `rows`; its `faults`, each with file, byte, text and the rows that
 * it costs; `notes` on what a crash left and the next open puts in order; sizes.
 *
 * Errors: NOT_FOUND where there is no bucket, STORAGE. Damage is no error.
 */
persisting_status persisting_directory_verify(PERSISTING_PATH const char* directory,
                                              PERSISTING_TAKES(QUICK) uint32_t flags, char** out_json,
                                              struct persisting_error* error);

/*
 * persisting_directory_verify with PERSISTING_QUICK, and with the columns of the
 * bucket, the fragments and versions of its table and the segments of its log.
 */
persisting_status persisting_directory_inspect(PERSISTING_PATH const char* directory, char** out_json,
                                               struct persisting_error* error);

/*
 * Finds the way to a bucket that can be opened and has as many of its rows as
 * are there, and with PERSISTING_APPLY in `flags` goes it; otherwise it changes
 * nothing. Offsets stay: rows lost between others become null. Damaged files are
 * kept under other names. `*out_json` is an object: `before` and, once applied,
 * `after`, as persisting_directory_verify gives them; the `steps`; the ranges of
 * rows that are `lost`.
 *
 * Errors: NOT_FOUND, LOCKED while the bucket is open, CORRUPT with what is beyond
 * repair, STORAGE.
 */
persisting_status persisting_directory_repair(PERSISTING_PATH const char* directory,
                                              PERSISTING_TAKES(APPLY) uint32_t flags, char** out_json,
                                              struct persisting_error* error);

/*
 * Reads the Lance table in the directory `table`, which is no bucket and may have been made by
 * any program: the rows of its newest version, in the order of its fragments and
 * without those that were deleted. Changes nothing. `*out_rows` is how many they are.
 *
 * Errors: NOT_FOUND where there is no table, STORAGE.
 */
persisting_status persisting_directory_read(PERSISTING_PATH const char* table, persisting_cursor* out_cursor,
                                            int64_t* out_rows, struct persisting_error* error);

/* ---- changes of columns ------------------------------------------------ */

/*
 * Each moves the rows into Lance and makes one change there, which is on disk on
 * return and has happened wholly or not at all after a crash; appends wait
 * meanwhile, reads do not. Errors: SCHEMA where the change is not possible.
 */

/* Adds the fields of `schema` as nullable columns, null in the rows there are. */
persisting_status persisting_bucket_add_columns(persisting_bucket bucket, struct ArrowSchema* schema,
                                                struct persisting_error* error);

/* Adds a column with one value in all rows there are: `array` and `schema` are a
 * batch of one row and that column. */
persisting_status persisting_bucket_fill_column(persisting_bucket bucket, struct ArrowArray* array,
                                                struct ArrowSchema* schema, struct persisting_error* error);

/*
 * Adds the one column of `schema` with the value of an SQL expression over the
 * other columns in all rows there are. A field of type null gets the type of the
 * expression. Errors: INVALID_ARGUMENT with the parser's message.
 */
persisting_status persisting_bucket_compute_column(persisting_bucket bucket, struct ArrowSchema* schema,
                                                   const char* expression, struct persisting_error* error);

/* Takes a column out. */
persisting_status persisting_bucket_drop_column(persisting_bucket bucket, const char* name,
                                                struct persisting_error* error);

/* Gives a column another name. */
persisting_status persisting_bucket_rename_column(persisting_bucket bucket, const char* name, const char* to,
                                                  struct persisting_error* error);

/* Gives the column of the name of the one field of `schema` its type. Errors:
 * SCHEMA when a value would not be the same after a cast back. */
persisting_status persisting_bucket_cast_column(persisting_bucket bucket, struct ArrowSchema* schema,
                                                struct persisting_error* error);

/*
 * Refuses from now on, until the bucket is closed, rows with other columns or types
 * than those of `schema`, and without a value where a field is not nullable.
 * Columns that the bucket lacks are added; changes of columns that follow change
 * the declaration too.
 */
persisting_status persisting_bucket_declare(persisting_bucket bucket, struct ArrowSchema* schema,
                                            struct persisting_error* error);

/* ---- removal of rows ---------------------------------------------------- */

/*
 * Removes the acknowledged rows for which an SQL filter is true; appends and reads
 * go on. The other rows keep their offsets, and no offset is given again. On disk
 * on return; compactions give the space back. Errors: INVALID_ARGUMENT with the
 * parser's message.
 */
persisting_status persisting_bucket_delete(persisting_bucket bucket, const char* filter, int64_t* out_rows,
                                           struct persisting_error* error);

/* Removes the rows below `offset` likewise, which may be that after the last row. */
persisting_status persisting_bucket_truncate_before(persisting_bucket bucket, int64_t offset, int64_t* out_rows,
                                                    struct persisting_error* error);

/* The first offset at or after `offset` whose row is left; the offset that the next
 * row will get when there is none. */
persisting_status persisting_bucket_first_from(persisting_bucket bucket, int64_t offset, int64_t* out_first,
                                               struct persisting_error* error);

/* ---- offsets of consumers ------------------------------------------------ */

/* Notes, on disk on return, that a consumer is done with the rows below `offset`. */
persisting_status persisting_bucket_commit(persisting_bucket bucket, const char* consumer, int64_t offset,
                                           struct persisting_error* error);

/* What every consumer committed last, as a JSON object. */
persisting_status persisting_bucket_consumers(persisting_bucket bucket, char** out_json,
                                              struct persisting_error* error);

/* ---- what tasks consumed ------------------------------------------------- */

/*
 * Notes that a task has consumed the rows at `count` offsets. Acknowledged on
 * return as an append is: it survives the end of the process at once, and a power
 * failure after the sync interval of the log. Errors: NOT_FOUND for an offset at
 * which there never was a row.
 */
persisting_status persisting_bucket_mark(persisting_bucket bucket, const char* task,
                                         PERSISTING_OF(count) const int64_t* offsets, int64_t count,
                                         struct persisting_error* error);

/* Forgets, likewise, all that a task has consumed. */
persisting_status persisting_bucket_unmark(persisting_bucket bucket, const char* task,
                                           struct persisting_error* error);

/* How many rows each task has consumed, as a JSON object. */
persisting_status persisting_bucket_marked(persisting_bucket bucket, char** out_json, struct persisting_error* error);

/*
 * Marks, for a task, the first `limit` rows that it has not consumed and that have
 * a value in each of the columns in a JSON array of names; a column that there is
 * not has no values. Their offsets, `*out_count` of them, are written to `offsets`,
 * an array of `limit`. No two calls for a task give the same row.
 */
persisting_status persisting_bucket_take_ready(persisting_bucket bucket, const char* task,
                                               PERSISTING_JSON const char* columns_json, int64_t limit,
                                               PERSISTING_OF(limit) int64_t* offsets, int64_t* out_count,
                                               struct persisting_error* error);

/*
 * The rows that persisting_bucket_take_ready chooses from, which are not marked: bit
 * i % 8 of byte i / 8 of `bits`, `size` zeroed bytes, is set for the row at offset i.
 * Rows behind those bits are left out.
 */
persisting_status persisting_bucket_ready(persisting_bucket bucket, const char* task,
                                          PERSISTING_JSON const char* columns_json, PERSISTING_OF(size) uint8_t* bits,
                                          int64_t size, struct persisting_error* error);

/*
 * Removes the rows at `count` offsets as persisting_bucket_delete does, and what is
 * noted of them for any task. Those that were removed before are passed over.
 * Errors: NOT_FOUND for an offset at which there never was a row.
 */
persisting_status persisting_bucket_clear(persisting_bucket bucket, PERSISTING_OF(count) const int64_t* offsets,
                                          int64_t count, int64_t* out_rows, struct persisting_error* error);

/* ---- versions ------------------------------------------------------------ */

/* The versions of the table that are there, the oldest first: a JSON array of
 * objects of version, time (RFC 3339), rows and tags. */
persisting_status persisting_bucket_versions(persisting_bucket bucket, char** out_list,
                                             struct persisting_error* error);

/* Gives a version a name, and keeps compactions from removing it. */
persisting_status persisting_bucket_tag(persisting_bucket bucket, const char* name, uint64_t version,
                                        struct persisting_error* error);

/* Takes a name away. Errors: NOT_FOUND. */
persisting_status persisting_bucket_untag(persisting_bucket bucket, const char* name, struct persisting_error* error);

/* Gives the bucket the columns and the rows of an old version. Rows that came later
 * are removed; the next offset stays. Appends wait meanwhile. */
persisting_status persisting_bucket_restore(persisting_bucket bucket, uint64_t version,
                                            struct persisting_error* error);

/* Opens a version for reading, which stays as long as the view is open, also when
 * the bucket is closed. Errors: NOT_FOUND. */
persisting_status persisting_view_open(persisting_bucket bucket, uint64_t version, persisting_view* out_view,
                                       struct persisting_error* error);

/* The columns of the version. */
persisting_status persisting_view_schema(persisting_view view, struct ArrowSchema* out_schema,
                                         struct persisting_error* error);

/* The number of rows that are left in the version, and the offset after the last. */
persisting_status persisting_view_rows(persisting_view view, int64_t* out_rows, int64_t* out_end,
                                       struct persisting_error* error);

/* persisting_bucket_read for the version, with PERSISTING_RUN only; it may wait. */
persisting_status persisting_view_read(persisting_view view, int64_t offset, int64_t count,
                                       PERSISTING_TAKES(RUN) uint32_t flags, persisting_cursor* out_cursor,
                                       struct persisting_error* error);

/* persisting_bucket_query of the version. */
persisting_status persisting_view_query(persisting_view view, PERSISTING_JSON const char* query,
                                        PERSISTING_NULLABLE PERSISTING_OF(dimensions) const double* vector,
                                        int64_t dimensions, persisting_cursor* out_cursor,
                                        struct persisting_error* error);

/* persisting_bucket_count of the version. */
persisting_status persisting_view_count(persisting_view view, PERSISTING_NULLABLE const char* filter,
                                        int64_t* out_rows, struct persisting_error* error);

/* persisting_bucket_explain of the version. */
persisting_status persisting_view_explain(persisting_view view, PERSISTING_JSON const char* query,
                                          PERSISTING_NULLABLE PERSISTING_OF(dimensions) const double* vector,
                                          int64_t dimensions, char** out_text, struct persisting_error* error);

/* Lets go of the version; cursors stay readable. */
persisting_status persisting_view_close(persisting_view view, struct persisting_error* error);

/* ---- columns ---------------------------------------------------------- */

/*
 * Makes a handle of the columns of messages, so that they are given once and not
 * with each message. The top-level fields are the columns. Errors: SCHEMA for a
 * type that Lance cannot hold.
 */
persisting_status persisting_columns_import(struct ArrowSchema* schema, persisting_columns* out_columns,
                                            struct persisting_error* error);

/* Closes the handle; buckets that have used it are not affected. */
persisting_status persisting_columns_close(persisting_columns columns, struct persisting_error* error);

/* ---- cursor ----------------------------------------------------------- */

/* The columns of all batches of the cursor. */
persisting_status persisting_cursor_schema(persisting_cursor cursor, struct ArrowSchema* out_schema,
                                           struct persisting_error* error);

/*
 * The next record batch, as a struct array. At the end `out_array->release` is
 * NULL. Batches come one caller at a time: concurrent calls take turns.
 */
persisting_status persisting_cursor_next(persisting_cursor cursor, struct ArrowArray* out_array,
                                         struct persisting_error* error);

/* The offsets of the rows of all batches of a read, in their order: a JSON array of
 * pairs of the first offset of a run and the one after its last. */
persisting_status persisting_cursor_offsets(persisting_cursor cursor, char** out_list,
                                            struct persisting_error* error);

/* Ends the read and lets go of the snapshot. */
persisting_status persisting_cursor_close(persisting_cursor cursor, struct persisting_error* error);

/* ---- kv --------------------------------------------------------------- */

/*
 * Opens the store of blocks under keys in the directory `path`, which is created
 * if missing. `kv_options` is a JSON object: "capacity" (bytes that the directory
 * may take; the default, 0, is that of the opening before), "segment_bytes", "policy" ("s3fifo", "lru", "lfu",
 * "fifo"), "admission" ("all", "second_hit"), "sync" ("each", "interval",
 * "never"), "ttl" (seconds; 0 is without limit), "workers", "max_store_backlog"
 * (bytes), "load_deadline" (seconds), "read_only" (look at a store that may be open
 * elsewhere, and change nothing). docs/kv.md says what they do. Waits for the disk.
 * What a crash or damage has taken is a miss, and does not fail the opening.
 *
 * Keys. Calls take `count` keys as the bytes of all of them, one behind the other,
 * at `keys`, and the length of each at `key_sizes`; both are copied.
 *
 * Results. Calls that write one result for each key, a byte, write 1 for success,
 * 2 for a block that was stored with the same bytes before, and else why not: 0
 * there is no such key, -1 the block has another length than the memory, -2 what
 * was on the disk was not the block, -3 the disk failed, -4 the backlog was full,
 * the deadline had passed or the store was closed, -5 the admission did not take
 * it, -6 no segment could be emptied, -7 it does not fit into a segment.
 *
 * Errors: INVALID_ARGUMENT, LOCKED with the holder's process id, CORRUPT when the
 * segments are not of one store, NOT_FOUND when there is none to look at, STORAGE.
 * On a handle that is read-only, calls that would change something are
 * INVALID_ARGUMENT.
 */
persisting_status persisting_kv_open(PERSISTING_PATH const char* path, PERSISTING_JSON const char* kv_options,
                                     persisting_kv* out_kv, struct persisting_error* error);

/*
 * Connects to a store that another process serves, at "unix:PATH" or
 * "tcp:HOST:PORT". `connect_options` is a JSON object: "required" (fail with STORAGE
 * where nobody serves; the default is false), "workers" (blocks that are read at a
 * time), "max_store_backlog" (bytes), "load_deadline" (seconds; also for an answer).
 *
 * The handle takes the same calls as one of persisting_kv_open, but for
 * persisting_kv_serve. While there is no connection, nothing is there and nothing is
 * stored, and what cannot be answered that way is STORAGE; a new connection is made in
 * the background. Calls wait for the server where they would not wait for a disk. What
 * is pinned is so while the connection lasts.
 */
persisting_status persisting_kv_connect(const char* address, PERSISTING_JSON const char* connect_options,
                                        persisting_kv* out_kv, struct persisting_error* error);

/*
 * Serves a store to other processes. `serve_options` is a JSON object: "socket" (path
 * of a unix socket, made with mode 0600), "listen" (an address of TCP, of the loopback
 * interface), "allow_remote" (any address: whoever connects may read and write
 * everything). Close the server before the store. Errors: INVALID_ARGUMENT, STORAGE
 * when the address is taken.
 */
persisting_status persisting_kv_serve(persisting_kv kv, PERSISTING_JSON const char* serve_options,
                                      persisting_kv_server* out_kv_server, struct persisting_error* error);

/* The addresses that clients connect to, as a JSON array of strings. */
persisting_status persisting_kv_server_addresses(persisting_kv_server kv_server, char** out_list,
                                                 struct persisting_error* error);

/* Ends the connections, and waits for what they do at this moment. */
persisting_status persisting_kv_server_close(persisting_kv_server kv_server, struct persisting_error* error);

/*
 * The number that stands for a namespace with a salt in calls on this handle.
 * Keys of different namespaces are different; the salt is on whose account a block
 * goes and makes no difference to keys. Both are UTF-8 and may be empty.
 */
persisting_status persisting_kv_space(persisting_kv kv, const char* namespace_, const char* salt, uint32_t* out_space,
                                      struct persisting_error* error);

/*
 * The length of the block of each key, -1 where there is none, at `out_lengths`,
 * an array of `count`. For `lease_ms` milliseconds those that are there are not
 * forgotten. Never waits for a disk.
 */
persisting_status persisting_kv_exists(persisting_kv kv, uint32_t space, const void* keys,
                                       PERSISTING_OF(count) const int32_t* key_sizes, int64_t count, int64_t lease_ms,
                                       PERSISTING_OF(count) int64_t* out_lengths, struct persisting_error* error);

/* persisting_kv_exists of one key of `size` bytes. */
persisting_status persisting_kv_find(persisting_kv kv, uint32_t space, PERSISTING_OF(size) const void* key,
                                     int64_t size, int64_t lease_ms, int64_t* out_length,
                                     struct persisting_error* error);

/* How many keys from the first on exist, which get a lease. Never waits for a disk. */
persisting_status persisting_kv_prefix(persisting_kv kv, uint32_t space, const void* keys,
                                       PERSISTING_OF(count) const int32_t* key_sizes, int64_t count, int64_t lease_ms,
                                       int64_t* out_keys, struct persisting_error* error);

/*
 * Reads the block of each key into memory: `pieces` has the number of pieces of
 * each key, `addresses` and `lengths` where the pieces of all keys are, one behind
 * the other. A block that is not as long as its pieces together is not read. Where
 * the result, at `results`, an array of `count`, is not 1, the memory may hold
 * anything. Waits for the disk.
 */
persisting_status persisting_kv_load(persisting_kv kv, uint32_t space, const void* keys,
                                     PERSISTING_OF(count) const int32_t* key_sizes, int64_t count,
                                     PERSISTING_OF(count) const int32_t* pieces, const uint64_t* addresses,
                                     const int64_t* lengths, PERSISTING_OF(count) int8_t* results,
                                     struct persisting_error* error);

/*
 * Stores a block for each key, from memory as in persisting_kv_load. It ends after
 * `ttl_ms` milliseconds, 0 = as the options say. Waits for the disk.
 */
persisting_status persisting_kv_store(persisting_kv kv, uint32_t space, const void* keys,
                                      PERSISTING_OF(count) const int32_t* key_sizes, int64_t count,
                                      PERSISTING_OF(count) const int32_t* pieces, const uint64_t* addresses,
                                      const int64_t* lengths, int64_t ttl_ms, PERSISTING_OF(count) int8_t* results,
                                      struct persisting_error* error);

/*
 * Begins a persisting_kv_load and returns its ticket. Never waits for a disk. The
 * memory and `results` must stay until persisting_kv_drain has returned the ticket,
 * or persisting_kv_close has ended.
 */
persisting_status persisting_kv_submit_load(persisting_kv kv, uint32_t space, const void* keys,
                                            PERSISTING_OF(count) const int32_t* key_sizes, int64_t count,
                                            PERSISTING_OF(count) const int32_t* pieces, const uint64_t* addresses,
                                            const int64_t* lengths, PERSISTING_OF(count) int8_t* results,
                                            uint64_t* out_ticket, struct persisting_error* error);

/*
 * Begins a persisting_kv_store, as persisting_kv_submit_load does. Blocks for which
 * max_store_backlog has no room are not stored.
 */
persisting_status persisting_kv_submit_store(persisting_kv kv, uint32_t space, const void* keys,
                                             PERSISTING_OF(count) const int32_t* key_sizes, int64_t count,
                                             PERSISTING_OF(count) const int32_t* pieces, const uint64_t* addresses,
                                             const int64_t* lengths, int64_t ttl_ms,
                                             PERSISTING_OF(count) int8_t* results, uint64_t* out_ticket,
                                             struct persisting_error* error);

/* Up to `count` tickets that have ended, at `tickets`, an array of that many. */
persisting_status persisting_kv_drain(persisting_kv kv, int64_t count, uint64_t* tickets, int64_t* out_count,
                                      struct persisting_error* error);

/*
 * Has 8 bytes, the number 1, be written to the descriptor `fd`, an eventfd that does
 * not block, when there are tickets to drain and there were none; -1 is for none.
 * The descriptor stays the caller's, who closes it after the store or another
 * persisting_kv_set_waker.
 */
persisting_status persisting_kv_set_waker(persisting_kv kv, int32_t fd, struct persisting_error* error);

/*
 * Where the payload of each key lies, for those who read the files by ways of their
 * own: a JSON array of null, where there is none, or {"path", "offset", "length",
 * "crc32c"}. The payload is contiguous and begins at a multiple of 4096. For `lease_ms`
 * it is not forgotten; where it is replaced or deleted meanwhile, the place may be used
 * for another, which the checksum tells. Never waits for a disk.
 */
persisting_status persisting_kv_locate(persisting_kv kv, uint32_t space, const void* keys,
                                       PERSISTING_OF(count) const int32_t* key_sizes, int64_t count, int64_t lease_ms,
                                       char** out_list, struct persisting_error* error);

/* Removes keys; results as of persisting_kv_load. */
persisting_status persisting_kv_delete(persisting_kv kv, uint32_t space, const void* keys,
                                       PERSISTING_OF(count) const int32_t* key_sizes, int64_t count,
                                       PERSISTING_OF(count) int8_t* out_results, struct persisting_error* error);

/* Counts a read of each key without reading; with `ttl_ms` > 0 it ends after that time from now. */
persisting_status persisting_kv_touch(persisting_kv kv, uint32_t space, const void* keys,
                                      PERSISTING_OF(count) const int32_t* key_sizes, int64_t count, int64_t ttl_ms,
                                      PERSISTING_OF(count) int8_t* out_results, struct persisting_error* error);

/*
 * Keeps blocks until they are unpinned (`yes` 1) or no longer (0), also when the
 * store is opened again. Errors: INVALID_ARGUMENT when pinned blocks would take
 * more than half of the capacity; those before are pinned.
 */
persisting_status persisting_kv_pin(persisting_kv kv, uint32_t space, const void* keys,
                                    PERSISTING_OF(count) const int32_t* key_sizes, int64_t count, uint32_t yes,
                                    PERSISTING_OF(count) int8_t* out_results, struct persisting_error* error);

/*
 * Up to `count` keys of a namespace as JSON: {"keys": [{"key" (base64), "salt",
 * "length", "pinned"}], "next"}. `cursor_json` is NULL or "next" of the page before;
 * "next" is null at the end. Keys that come or go meanwhile may be there or not.
 */
persisting_status persisting_kv_keys(persisting_kv kv, const char* namespace_,
                                     PERSISTING_NULLABLE PERSISTING_JSON const char* cursor_json, int64_t count,
                                     char** out_json, struct persisting_error* error);

/* Removes all keys of a namespace, durably, and says how many there were. */
persisting_status persisting_kv_drop(persisting_kv kv, const char* namespace_, int64_t* out_keys,
                                     struct persisting_error* error);

/* While blocks of a salt take more than `bytes`, they are the first that go; 0 = without bound. */
persisting_status persisting_kv_set_quota(persisting_kv kv, const char* salt, int64_t bytes,
                                          struct persisting_error* error);

/* What the store holds and did, as a JSON object; docs/kv.md names the members. */
persisting_status persisting_kv_stats(persisting_kv kv, char** out_json, struct persisting_error* error);

/*
 * Reads each block and compares it with its checksum, as a JSON object: "keys",
 * "bytes", "gone" (blocks that went meanwhile), "sound", "faults" ([{"file", "byte",
 * "namespace", "what"}]). Changes nothing. Waits for the disk.
 */
persisting_status persisting_kv_verify(persisting_kv kv, char** out_json, struct persisting_error* error);

/*
 * Forgets what is worth least until the directory takes no more than `bytes`. Errors:
 * INVALID_ARGUMENT when that is less than a store needs, STORAGE when all is pinned,
 * leased or read. Waits for the disk.
 */
persisting_status persisting_kv_evict(persisting_kv kv, int64_t bytes, struct persisting_error* error);

/* Brings all that was stored to the disk. */
persisting_status persisting_kv_flush(persisting_kv kv, struct persisting_error* error);

/*
 * Closes the store. Blocks that are read or written now end; submitted ones that
 * have not begun are not done. Afterwards no memory of the caller is used.
 */
persisting_status persisting_kv_close(persisting_kv kv, struct persisting_error* error);

/* ---- params ------------------------------------------------------------ */

/*
 * Opens the store of parameters in the directory `path`, which is created if missing
 * unless `flags` has PERSISTING_OPEN_READ_ONLY. With PERSISTING_KEEP a copy of what this
 * handle saved last of each name stays in memory, and the next save is told from that
 * instead of from the disk. Several processes may have it open. Waits for the disk. Errors:
 * INVALID_ARGUMENT, also for a directory that holds something else, NOT_FOUND, CORRUPT,
 * STORAGE.
 */
persisting_status persisting_params_open(PERSISTING_PATH const char* path,
                                         PERSISTING_TAKES(OPEN_READ_ONLY | KEEP) uint32_t flags,
                                         persisting_params* out_params, struct persisting_error* error);

/*
 * `count` tensors. `names` has the bytes of all names, one behind the other, and
 * `name_sizes` the length of each. `dtypes` are tags of up to 64 printable characters,
 * each ended by a line feed, of which `dtype_numbers` gives each tensor one, from 0.
 * `ranks` are the numbers of dimensions, `dims` the dimensions of all tensors.
 * `addresses` and `lengths` (bytes) say where they are. `ties` is the same number for
 * tensors that are one in memory, 0 for all others.
 */
struct persisting_tensors {
  int64_t count;
  const void* names;
  const int32_t* name_sizes;
  const char* dtypes;
  const int32_t* dtype_numbers;
  const int32_t* ranks;
  const int64_t* dims;
  const uint64_t* addresses;
  const int64_t* lengths;
  const int32_t* ties;
};

/*
 * How far a call is: `done` is of how many bytes it has seen to them, and grows. If another
 * thread makes `stop` anything but 0, the call ends with CLOSED and leaves nothing.
 */
struct persisting_progress {
  int64_t done;
  int64_t stop;
};

/*
 * Stores tensors as the next version of a name. When it returns, the version is on
 * the disk and seen by all; when it fails, there is nothing of it. Memory is read until
 * then, and must not change. `save_options` is a JSON object: "tags" (names that are to
 * name the version), "metadata" (an object), "expect" (the newest version, 0 for none;
 * CONFLICT if it is another), "base" (the version that changes within tensors are told
 * from, or a tag, or "latest", of which there may be none; empty: none). The result is what
 * persisting_params_list has of a version. Bytes that any version of the store has are not
 * stored again. What can be seen of the save meanwhile is in `progress`.
 */
persisting_status persisting_params_save(persisting_params params, const char* name,
                                         const struct persisting_tensors* tensors,
                                         PERSISTING_JSON const char* save_options,
                                         PERSISTING_NULLABLE struct persisting_progress* progress, char** out_json,
                                         struct persisting_error* error);

/*
 * The names as a JSON array of {"name", "latest", "next", "tags", "versions": [{"version",
 * "created" (Unix milliseconds), "tensors", "bytes", "stored" (bytes that it added),
 * "base" (0 for none, or left out), "metadata", "manifest", "sum", "origin" (manifest where it
 * was pushed from, or left out)}]}.
 */
persisting_status persisting_params_list(persisting_params params, char** out_list, struct persisting_error* error);

/* One element of persisting_params_list. Errors: NOT_FOUND. */
persisting_status persisting_params_get(persisting_params params, const char* name, char** out_json,
                                        struct persisting_error* error);

/*
 * Waits up to `timeout_ms` milliseconds for the newest version of a name to be above `above`,
 * 0 for any, and returns its number; 0 when the time is over. The name need not be there yet.
 */
persisting_status persisting_params_wait(persisting_params params, const char* name, int64_t above,
                                         int64_t timeout_ms, int64_t* out_version,
                                         struct persisting_error* error);

/*
 * Has a tag name the version that `version` means: a number, a tag, or "latest".
 * `expect` is the version that it names before, 0 for none, -1 for any; CONFLICT if it
 * is another. Durable when it returns.
 */
persisting_status persisting_params_set_tag(persisting_params params, const char* name, const char* tag,
                                            const char* version, int64_t expect, int64_t* out_version,
                                            struct persisting_error* error);

/* Removes a tag; `expect` as above. Errors: NOT_FOUND, CONFLICT. */
persisting_status persisting_params_delete_tag(persisting_params params, const char* name, const char* tag,
                                               int64_t expect, struct persisting_error* error);

/*
 * Removes `count` versions of a name, or all and the name with them for a count of 0. A
 * version that a tag names, or the newest, goes with all only: CONFLICT. The space comes
 * back with persisting_params_collect; versions that are open stay readable.
 */
persisting_status persisting_params_delete(persisting_params params, const char* name, const int64_t* versions,
                                           int64_t count, struct persisting_error* error);

/*
 * Reads and checks all versions of a name, of all names if it is empty. The result is
 * {"sound", "faults": [text], "versions", "bytes"}.
 */
persisting_status persisting_params_verify(persisting_params params, const char* name, char** out_json,
                                           struct persisting_error* error);

/*
 * Removes files that no version needs that is listed or open anywhere. The result is
 * {"packs", "manifests", "staged" (of saves that died), "bytes", "leased"}. It does
 * nothing where a file that says what is needed is damaged: CORRUPT.
 */
persisting_status persisting_params_collect(persisting_params params, char** out_json,
                                            struct persisting_error* error);

/*
 * Begins a version of a name that `ranks` processes write, each its part, from any process
 * that sees the directory. Changes are told from the version `base`, as persisting_params_save
 * has it; empty: from none. The result is the transaction. It lives until
 * this store is closed, or until it is committed or aborted; what is left of a dead one is
 * removed by persisting_params_collect. Errors: NOT_FOUND for a base that is not there.
 */
persisting_status persisting_params_begin(persisting_params params, const char* name, int32_t ranks, const char* base,
                                          char** out_transaction, struct persisting_error* error);

/*
 * Stores the part of a rank, from 0, once; durable when it returns. Each tensor is a box of
 * one: `wholes` has the shapes of those, and `offsets` where in them the boxes begin, as
 * `dims` of `tensors` has the shapes of the boxes. Memory is read until the call returns.
 * Errors: NOT_FOUND for a transaction that has ended, CONFLICT for a second part of a rank.
 */
persisting_status persisting_params_part(persisting_params params, const char* transaction, int32_t rank,
                                         const struct persisting_tensors* tensors, const int64_t* wholes,
                                         const int64_t* offsets, struct persisting_error* error);

/*
 * Makes a version of the parts; options, but for "base", and result are as of
 * persisting_params_save. Nothing
 * is seen before. Nothing changes, and it can be called again, where parts are missing or
 * the newest version is not the one that is expected: CONFLICT; where parts overlap, leave
 * an element out, or differ in dtype or shape: INVALID_ARGUMENT.
 */
persisting_status persisting_params_commit(persisting_params params, const char* transaction,
                                           PERSISTING_JSON const char* save_options, char** out_json,
                                           struct persisting_error* error);

/* Ends a transaction and removes what its ranks have written. Errors: NOT_FOUND. */
persisting_status persisting_params_abort(persisting_params params, const char* transaction,
                                          struct persisting_error* error);

/* Closes the store, and ends its transactions; versions of it that are open stay so. */
persisting_status persisting_params_close(persisting_params params, struct persisting_error* error);

/* ---- weights ----------------------------------------------------------- */

/*
 * Opens the version of a name that `version` means: a number, a tag, or "latest". It
 * stays as it is, and can be read, until it is closed. Errors: NOT_FOUND, CORRUPT.
 */
persisting_status persisting_weights_open(persisting_params params, const char* name, const char* version,
                                          persisting_weights* out_weights, struct persisting_error* error);

/*
 * What a version is, as JSON: {"name", "version", "created", "tags", "bytes", "stored",
 * "base" (0 for none), "metadata"}.
 */
persisting_status persisting_weights_entry(persisting_weights weights, char** out_json,
                                           struct persisting_error* error);

/*
 * The same with "tensors": {"names", "dtypes", "shapes", "bytes", "ties"}, arrays of the
 * same length, in the order in which the tensors were saved. A box of a tensor, from
 * persisting_params_part, is one with the name "\0box:4x6:0x3:w": NUL, "box:", the shape of
 * the tensor, where the box begins in it, and the name of the tensor.
 */
persisting_status persisting_weights_describe(persisting_weights weights, char** out_json,
                                              struct persisting_error* error);

/*
 * Some of its tensors, by a JSON array of their names: {"numbers", "tensors"}, the latter as of
 * persisting_weights_describe, with all boxes of those that are in boxes. Names that are not
 * there are left out.
 */
persisting_status persisting_weights_find(persisting_weights weights, PERSISTING_JSON const char* names_json,
                                          char** out_json, struct persisting_error* error);

/*
 * Reads `count` parts of tensors, by the `numbers` of the tensors, the `byte_offsets` of
 * the first bytes in them, and the `addresses` and `lengths` of the memory. Every block that
 * is read is checked, unless `flags` has PERSISTING_UNVERIFIED. After an error the memory
 * may hold anything. Errors: CORRUPT, whose message names tensor, file and place.
 */
persisting_status persisting_weights_load(persisting_weights weights, int64_t count, const int64_t* numbers,
                                          const int64_t* byte_offsets, const uint64_t* addresses,
                                          const int64_t* lengths, PERSISTING_TAKES(UNVERIFIED) uint32_t flags,
                                          struct persisting_error* error);

/*
 * The same of parts that are rows, as the columns of a matrix have them: `row_counts` is
 * how many each part has, of `lengths` bytes, which begin `row_steps` bytes apart in the
 * tensor and `row_distances` in memory. Rows do not overlap.
 */
persisting_status persisting_weights_load_rows(persisting_weights weights, int64_t count, const int64_t* numbers,
                                               const int64_t* byte_offsets, const uint64_t* addresses,
                                               const int64_t* lengths, const int64_t* row_counts, const int64_t* row_steps,
                                               const int64_t* row_distances, PERSISTING_TAKES(UNVERIFIED) uint32_t flags,
                                               struct persisting_error* error);

/*
 * Makes the memory of `count` tensors, given as to persisting_weights_load but each as a
 * whole, and which is that of the version `other`, that of this version, at the cost of
 * what changed. A tensor that `other` has not, or that has changed too much, is loaded.
 * Every block is checked before and after, unless `flags` has PERSISTING_UNVERIFIED: what
 * is of this version already is left alone, so a call that failed can be made again;
 * memory that is of neither version is CONFLICT. The result is {"same", "told", "loaded"
 * (numbers of tensors), "read" (bytes)}.
 */
persisting_status persisting_weights_pull(persisting_weights weights, persisting_weights other, int64_t count,
                                          const int64_t* numbers, const uint64_t* addresses, const int64_t* lengths,
                                          PERSISTING_TAKES(UNVERIFIED) uint32_t flags, char** out_json,
                                          struct persisting_error* error);

/*
 * How another version differs, which is of the same store or not: {"changes": [{"name",
 * "kind" ("added", "removed", "changed"), "bytes"}], "same", "bytes", "changed_bytes"}.
 */
persisting_status persisting_weights_diff(persisting_weights weights, persisting_weights other, char** out_json,
                                          struct persisting_error* error);

/*
 * Brings a version to the store `params`, the same or another, as the next version of a name.
 * What that store has is neither read nor written. A version that was brought there before is
 * not brought again, and gets the "tags" alone. Options, but for "base", and result are as of
 * persisting_params_save; without "metadata" it has that of the version.
 */
persisting_status persisting_weights_push(persisting_weights weights, persisting_params params, const char* name,
                                          PERSISTING_JSON const char* save_options, char** out_json,
                                          struct persisting_error* error);

/* Ends the use of a version. */
persisting_status persisting_weights_close(persisting_weights weights, struct persisting_error* error);

/* ---- trajectories ------------------------------------------------------ */

/*
 * Opens the store of trajectories in the directory `path`, which is created if missing
 * unless `flags` has PERSISTING_OPEN_READ_ONLY: then it is read as it is, beside the
 * process that has it open. `trajectory_options` is an object: "wal_sync_interval"
 * (seconds, 1 by default), "hot_bytes" (the most that the copies of steps take which samplers
 * read, 1 GiB by default; 0 for none). Waits for the disk. Errors: INVALID_ARGUMENT, also for a directory
 * that holds something else, NOT_FOUND, LOCKED, CORRUPT, WAL, STORAGE.
 */
persisting_status persisting_trajectories_open(PERSISTING_PATH const char* path,
                                               PERSISTING_TAKES(OPEN_READ_ONLY) uint32_t flags,
                                               PERSISTING_JSON const char* trajectory_options,
                                               persisting_trajectories* out_trajectories,
                                               struct persisting_error* error);

/*
 * Begins an episode, or goes on with one that is open. `episode` is an object: "id",
 * "group", "env" (texts) and "attempt" (from 0). A higher attempt supersedes one that has
 * not ended. The result is its number and the next step that it lacks. Acknowledged when it
 * returns. Errors: CONFLICT, for a lower attempt, or one that was closed as lost.
 */
persisting_status persisting_trajectories_begin(persisting_trajectories trajectories,
                                                PERSISTING_JSON const char* episode,
                                                int64_t* out_number, int64_t* out_next,
                                                struct persisting_error* error);

/*
 * Stores steps of an episode, from `step` on, with PERSISTING_FINAL its last observation.
 * The batch has the column "version" (int32) and those of the user, of which a last
 * observation may lack some; the first step gives them their types. Steps that are there
 * already, with the same content, are passed over; `out_stored` is how many were not.
 * Acknowledged when it returns. Errors: CONFLICT, for a gap and for an episode that has
 * ended, DUPLICATE, SCHEMA, NOT_FOUND.
 */
persisting_status persisting_trajectories_append(persisting_trajectories trajectories, int64_t number, int64_t step,
                                                 struct ArrowArray* array, struct ArrowSchema* schema,
                                                 PERSISTING_TAKES(FINAL) uint32_t flags, int64_t* out_stored,
                                                 struct persisting_error* error);

/*
 * Stores values, the only column of a batch, by what they are: binary, without nulls. Their
 * names, of 32 bytes each, are written to `hashes`: a column of steps whose field has the
 * metadata "persisting.content" holds such names, as a list of 32 uint8. A value that is there
 * already is not stored again. On disk when it returns. An opening removes those that were named
 * by steps which nobody can read any more, and by no others; a step that names one that is not
 * there is refused with NOT_FOUND. Errors: INVALID_ARGUMENT unless `name_bytes` is 32 for each
 * value, SCHEMA, READ_ONLY.
 */
persisting_status persisting_trajectories_keep(persisting_trajectories trajectories, struct ArrowArray* array,
                                               struct ArrowSchema* schema,
                                               PERSISTING_OF(name_bytes) uint8_t* hashes, int64_t name_bytes,
                                               struct persisting_error* error);

/*
 * The values of names, which are `name_bytes` / 32, in that order: a column "value".
 * Errors: INVALID_ARGUMENT, NOT_FOUND.
 */
persisting_status persisting_trajectories_kept(persisting_trajectories trajectories,
                                               PERSISTING_OF(name_bytes) const uint8_t* hashes, int64_t name_bytes,
                                               persisting_cursor* out_cursor, struct persisting_error* error);

/*
 * Makes a sheet, the file at `out_path`, for steps of an episode at a time: for `rows` of
 * them, which have the columns of `schema`, that of a batch for
 * persisting_trajectories_append, and for `heap` bytes of the values of each column of any
 * length. The program maps the file and puts steps there as the package comment of
 * engine/sheet says; a step is acknowledged, as far as the end of the process goes, once it
 * is counted. persisting_sheet_send stores what is there, and the store does within a
 * second. Errors: SCHEMA, for types that a step cannot have, STORAGE, READ_ONLY.
 */
persisting_status persisting_trajectories_sheet(persisting_trajectories trajectories, struct ArrowSchema* schema,
                                                int64_t rows, int64_t heap, persisting_sheet* out_sheet,
                                                char** out_path, struct persisting_error* error);

/*
 * Stores the steps of a sheet and sets their count to 0, for the same writer or another one.
 * Acknowledged when it returns, as by persisting_trajectories_append, whose errors it has:
 * after one the sheet is as it was. CLOSED where the store was closed, which has stored
 * them before.
 */
persisting_status persisting_sheet_send(persisting_sheet sheet, struct persisting_error* error);

/*
 * Has the steps that a sheet has by now stored beside the caller, who puts more meanwhile, so
 * that less is left for persisting_sheet_send, which tells of errors. Does not wait.
 */
persisting_status persisting_sheet_ask(persisting_sheet sheet, struct persisting_error* error);

/*
 * Stores the steps of a sheet and removes it. Those that the store cannot take, as another
 * attempt has come or others are in their places, are given up.
 */
persisting_status persisting_sheet_close(persisting_sheet sheet, struct persisting_error* error);

/*
 * Ends an episode. `ending` is an object: "steps" (how many it has), "terminated",
 * "truncated" and "metadata" (an object). To end it again in the same way does nothing.
 * Acknowledged when it returns. Errors: CONFLICT, NOT_FOUND.
 */
persisting_status persisting_trajectories_finish(persisting_trajectories trajectories, int64_t number,
                                                 PERSISTING_JSON const char* ending, struct persisting_error* error);

/*
 * Closes as lost the open episodes to which nothing was added for `idle_ms` milliseconds;
 * the result is how many.
 */
persisting_status persisting_trajectories_close_lost(persisting_trajectories trajectories, int64_t idle_ms,
                                                     int64_t* out_count, struct persisting_error* error);

/*
 * Removes the newest attempts of episodes from all that is read and drawn; `ids` is a list of
 * text. The result is how many were not removed before. Acknowledged when it returns. Errors:
 * NOT_FOUND, where there is no such episode: then none is removed.
 */
persisting_status persisting_trajectories_remove(persisting_trajectories trajectories,
                                                 PERSISTING_JSON const char* ids, int64_t* out_count,
                                                 struct persisting_error* error);

/*
 * The newest attempt of an episode: {"number", "id", "group", "env", "attempt", "state" ("open",
 * "ended", "lost"), "steps", "terminated", "truncated", "final_observation", "metadata"}.
 * Errors: NOT_FOUND.
 */
persisting_status persisting_trajectories_describe(persisting_trajectories trajectories, const char* id,
                                                   char** out_json, struct persisting_error* error);

/* The acknowledged steps of an episode in their order, and then its last observation. Errors: NOT_FOUND. */
persisting_status persisting_trajectories_read(persisting_trajectories trajectories, int64_t number,
                                               persisting_cursor* out_cursor, struct persisting_error* error);

/* The steps at `count` offsets, in that order. Errors: NOT_FOUND. */
persisting_status persisting_trajectories_take(persisting_trajectories trajectories,
                                               PERSISTING_OF(count) const int64_t* offsets,
                                               int64_t count, persisting_cursor* out_cursor,
                                               struct persisting_error* error);

/*
 * Answers a query, see persisting_bucket_query, over the rows of steps. They are steps of
 * all episodes, and last observations: persisting_trajectories_are_steps says which are
 * steps of episodes that are open or have ended, by their offsets.
 */
persisting_status persisting_trajectories_steps(persisting_trajectories trajectories,
                                                PERSISTING_JSON const char* query,
                                                persisting_cursor* out_cursor, struct persisting_error* error);

/* Sets a byte for each of `count` offsets: 1 for a step that counts, else 0. */
persisting_status persisting_trajectories_are_steps(persisting_trajectories trajectories,
                                                    PERSISTING_OF(count) const int64_t* offsets, int64_t count,
                                                    PERSISTING_OF(count) uint8_t* answers,
                                                    struct persisting_error* error);

/*
 * Answers a query over what happened to episodes, a row each: persisting_trajectories_are_episodes
 * says which rows are the newest ones of their episode, by their offsets and its number.
 */
persisting_status persisting_trajectories_episodes(persisting_trajectories trajectories,
                                                   PERSISTING_JSON const char* episodes_query,
                                                   persisting_cursor* out_cursor, struct persisting_error* error);

/* Sets a byte for each of `count` rows: 1 for the newest of its episode, else 0. */
persisting_status persisting_trajectories_are_episodes(persisting_trajectories trajectories,
                                                       PERSISTING_OF(count) const int64_t* offsets,
                                                       PERSISTING_OF(count) const int64_t* numbers, int64_t count,
                                                       PERSISTING_OF(count) uint8_t* answers,
                                                       struct persisting_error* error);

/*
 * Gives out the steps at `count` offsets as a batch of a task; `out_batch` is its number. It
 * is pending until it is acknowledged, whatever becomes of the process. Acknowledged when it
 * returns. Errors: NOT_FOUND, where an offset is of no step that counts.
 */
persisting_status persisting_trajectories_lease(persisting_trajectories trajectories, const char* task,
                                                PERSISTING_OF(count) const int64_t* offsets, int64_t count,
                                                int64_t* out_batch, struct persisting_error* error);

/* Notes that a batch was consumed; to say so again does nothing. Errors: NOT_FOUND. */
persisting_status persisting_trajectories_ack(persisting_trajectories trajectories, int64_t number,
                                              struct persisting_error* error);

/* The pending batches in the order of their leases: [{"batch", "task", "offsets"}, ...]. */
persisting_status persisting_trajectories_pending(persisting_trajectories trajectories, char** out_list,
                                                  struct persisting_error* error);

/*
 * Gives a name to what is acknowledged now; a tag of that name is moved. On the disk when it
 * returns, with the steps that there are.
 */
persisting_status persisting_trajectories_tag(persisting_trajectories trajectories, const char* tag,
                                              struct persisting_error* error);

/*
 * Has the batches pending again that were acknowledged since a tag, and takes the tags away
 * that came after it. Steps stay. Errors: NOT_FOUND.
 */
persisting_status persisting_trajectories_restore(persisting_trajectories trajectories, const char* tag,
                                                  struct persisting_error* error);

/* Takes a tag away. Errors: NOT_FOUND. */
persisting_status persisting_trajectories_untag(persisting_trajectories trajectories, const char* tag,
                                                struct persisting_error* error);

/* The names of tags, the oldest first. */
persisting_status persisting_trajectories_tags(persisting_trajectories trajectories, char** out_list,
                                               struct persisting_error* error);

/*
 * Gives the steps at `count` offsets priorities, of 0 or more, by which prioritized samplers draw.
 * Acknowledged when it returns. Errors: INVALID_ARGUMENT, NOT_FOUND.
 */
persisting_status persisting_trajectories_prioritize(persisting_trajectories trajectories,
                                                     PERSISTING_OF(count) const int64_t* offsets,
                                                     PERSISTING_OF(count) const double* priorities, int64_t count,
                                                     struct persisting_error* error);

/*
 * Sets a number of `found` for each of `count` offsets: the priority of the step; of one that was given none
 * the highest of all. Errors: NOT_FOUND.
 */
persisting_status persisting_trajectories_priorities(persisting_trajectories trajectories,
                                                     PERSISTING_OF(count) const int64_t* offsets,
                                                     PERSISTING_OF(count) double* found, int64_t count,
                                                     struct persisting_error* error);

/* The columns of steps; none before the first step. */
persisting_status persisting_trajectories_schema(persisting_trajectories trajectories,
                                                 struct ArrowSchema* out_schema, struct persisting_error* error);

/* Brings what is acknowledged into the tables; waits for the disk. */
persisting_status persisting_trajectories_flush(persisting_trajectories trajectories, struct persisting_error* error);

/*
 * {"path", "steps" and "final_observations" (of open and ended episodes), "rows", "open", "ended",
 * "lost", "superseded", "removed" (episodes), "values" (kept by what they are), "hot_rows", "hot_bytes"
 * (copies for samplers), "steps_bucket", "episodes_bucket" (see persisting_bucket_stats)}.
 */
persisting_status persisting_trajectories_stats(persisting_trajectories trajectories, char** out_json,
                                                struct persisting_error* error);

/*
 * Serves a store to other processes, as persisting_kv_serve does with one of blocks;
 * `serve_options` is the same. The protocol stands in engine/trajectory/remote/wire.go. Close
 * the server before the store. Errors: INVALID_ARGUMENT, STORAGE when the address is taken.
 */
persisting_status persisting_trajectories_serve(persisting_trajectories trajectories,
                                                PERSISTING_JSON const char* serve_options,
                                                persisting_trajectories_server* out_trajectories_server,
                                                struct persisting_error* error);

/* The addresses that clients connect to, as a JSON array of strings. */
persisting_status persisting_trajectories_server_addresses(persisting_trajectories_server trajectories_server,
                                                           char** out_list, struct persisting_error* error);

/*
 * Ends the connections, and waits for what they do at this moment. Steps that lie in the sheets
 * of clients are stored.
 */
persisting_status persisting_trajectories_server_close(persisting_trajectories_server trajectories_server,
                                                       struct persisting_error* error);

/* Closes the store; waits for the disk. */
persisting_status persisting_trajectories_close(persisting_trajectories trajectories, struct persisting_error* error);

/*
 * Makes a sampler of steps whose values all have one size. `law` is an object: "order" ("uniform",
 * "episodes", "prioritized", "sequential", "shuffle", "fifo", "lifo", "highest", "lowest"), "seed",
 * "length" and "stride" (of windows, in steps), "pad" (whether windows go beyond the end of an
 * episode), "burn_in" (how many steps before a window come with it), "edge" (whether what a window
 * lacks is its nearest step again, and not zeros), "group" (how many episodes of a group are drawn,
 * each a window; 0 for none), "varied" (whether the sums of "reward" of a group must differ),
 * "n_step", "gamma" and "reward" (of returns; 0 steps for none), "alpha", "beta" and "epsilon" (of
 * priorities), "where" (an SQL filter of the steps at which windows begin), "newest" (how many of
 * the newest rows they begin at), "times" (how often each is drawn at most; both 0 for all),
 * "limit" ({"least", "ratio", "slack"}: how many steps there must be, how many draws are made for
 * each step that comes, and by how many draws the two may be apart), "columns" and "next" (what is
 * read of each step, and of what is behind it), "behind" (whether the offsets of that are written),
 * "part" and "parts" (the share that is drawn of an order that ends), "position" (where to go on, null
 * for the beginning). The first sampler of a store copies the steps to mapped files,
 * which takes as long as to read them. Errors: NOT_FOUND, where there is no step yet.
 */
persisting_status persisting_sampler_open(persisting_trajectories trajectories, PERSISTING_JSON const char* law,
                                          persisting_sampler* out_sampler, struct persisting_error* error);

/*
 * Makes `draws` draws, of steps of the policy version `oldest` or later (-1 for all), and writes
 * the parts of the sample to memory, at the addresses `into`, of which each has room for `draws` * ("burn_in" + "length") * max("group", 1) values: the columns, those of what is behind,
 * version (int32), offset (int64, -1 where a window has no such step), episode and step (uint32), whether
 * the episode has terminated and was truncated there, whether there is such a step (a byte each); with
 * "behind" the offset of what is behind (int64, -1 for nothing); of a prioritized sampler how much each draw counts (float); with "n_step" the returns, and the
 * discount of what is behind (double). The result is how many draws were
 * made: fewer at the end of an order. Errors: NOT_FOUND, where nothing can be drawn, CONFLICT, where a
 * last observation lacks what is asked for, TIMEOUT, where the limit allows no such draws yet.
 */
persisting_status persisting_sampler_sample(persisting_sampler sampler, int64_t draws, int64_t oldest,
                                            PERSISTING_OF(parts) const int64_t* into, int64_t parts,
                                            int64_t* out_count, struct persisting_error* error);

/*
 * Asks again which steps the "where" of the law takes, those that came since included. What is
 * acknowledged is brought into the table for it; waits for the disk.
 */
persisting_status persisting_sampler_refresh(persisting_sampler sampler, struct persisting_error* error);

/*
 * Waits until the limit of a sampler allows `draws` draws, at most `timeout_ns` nanoseconds
 * (negative = without limit). Errors: TIMEOUT, CLOSED.
 */
persisting_status persisting_sampler_wait(persisting_sampler sampler, int64_t draws, int64_t timeout_ns,
                                          struct persisting_error* error);

/* Waits until the limit of a sampler allows `count` steps more to come; as persisting_sampler_wait. */
persisting_status persisting_sampler_wait_for_room(persisting_sampler sampler, int64_t count, int64_t timeout_ns,
                                                   struct persisting_error* error);

/* Where a sampler is, for the "position" of the law of another: {"epoch", "rows", "at", "random", "spent", "draws", "began"}. */
persisting_status persisting_sampler_position(persisting_sampler sampler, char** out_json,
                                              struct persisting_error* error);

/* Ends a sampler. */
persisting_status persisting_sampler_close(persisting_sampler sampler, struct persisting_error* error);

#ifdef __cplusplus
}
#endif

#endif /* PERSISTING_H */
