/* SPDX-License-Identifier: Apache-2.0
 *
 * The C interface of libpersisting_native.so: what the Go package
 * engine/lance needs from Lance and lancedb-go does not offer.
 *
 * Rules that hold for every function
 *   - It returns a pn_status. Results leave through out-parameters, which are
 *     untouched unless the status is PN_OK.
 *   - The last argument may be NULL; otherwise it points to a zeroed
 *     persisting_native_error, filled when the status is not PN_OK. Call its
 *     release when that is not NULL.
 *   - ArrowSchema and ArrowArray inputs are consumed, on failure as well
 *     (release is NULL afterwards). Arrow out-structs are owned by the caller.
 *   - Strings are UTF-8, NUL-terminated, and borrowed for the call.
 *   - Handles may be used from many threads at once. A close frees the handle:
 *     the caller sees to it that no other call uses it then or later.
 *   - A panic inside is caught and becomes PN_INTERNAL.
 */
#ifndef PERSISTING_NATIVE_H
#define PERSISTING_NATIVE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ArrowSchema;
struct ArrowArray;

enum pn_status {
  PN_OK = 0,
  PN_INVALID_ARGUMENT = 1,
  PN_NOT_FOUND = 2,
  PN_ALREADY_EXISTS = 3,
  PN_SCHEMA = 4,
  PN_IO = 5,
  PN_CORRUPT = 6,
  PN_CONFLICT = 7,
  PN_INEXACT = 8, /* a cast would change a value */
  PN_CANCELLED = 9, /* by pn_table_cancel_indexes */
  PN_WOULD_BLOCK = 10, /* with no_wait: the disk is needed */
  PN_INTERNAL = 99 /* a panic or a broken assumption */
};

struct persisting_native_error {
  int32_t code;
  char *message;
  void (*release)(struct persisting_native_error *);
};

typedef struct pn_table pn_table;       /* a Lance table, its newest version */
typedef struct pn_snapshot pn_snapshot; /* one version of a table, immutable */
typedef struct pn_reader pn_reader;     /* a stream of batches of a snapshot */
typedef struct pn_strings pn_strings;   /* a list of strings */

/* 0 for a member means its default, given in brackets. */
struct pn_table_options {
  int64_t metadata_cache_bytes; /* manifests, file footers [64 MiB] */
  int64_t index_cache_bytes;    /* opened indexes [64 MiB] */
  int64_t io_buffer_bytes;      /* read ahead by one reader [64 MiB] */
  int64_t open_fragments;       /* fragments held open for small reads [64] */
};

struct pn_snapshot_info {
  uint64_t version;
  int64_t next_row_id; /* the row id that the next appended row gets */
  int64_t rows;
  int64_t fragments;
  int64_t data_bytes; /* of the data files */
  uint64_t schema;    /* the same number means the same schema, in one table */
};

/* 0 for a member means its default, given in brackets. */
struct pn_compact_options {
  int64_t target_bytes;  /* size of a fragment that is left alone [128 MiB] */
  int64_t min_fragments; /* fewer neighbours than this are not merged [4] */
  int64_t max_bytes;     /* read by one call at most [8 * target_bytes] */
  int32_t thorough; /* not 0: rewrite every fragment with deleted rows or with
                       columns that are gone; else those that are a tenth empty */
};

struct pn_compact_stats {
  int64_t fragments_removed;
  int64_t fragments_added;
  int64_t bytes_read; /* size of the data files that were replaced */
  int32_t more;       /* not 0: max_bytes left some of the work undone */
};

struct pn_cleanup_stats {
  int64_t versions_removed;
  int64_t files_removed; /* data, deletion, index and transaction files */
  int64_t bytes_removed;
};

/* What is alive, for leak tests. */
struct pn_live {
  int64_t tables;
  int64_t snapshots;
  int64_t readers;
  int64_t strings;
};

/* ---- tables ----------------------------------------------------------- */

/* Creates a table with stable row ids in the directory dir (which ends in
 * ".lance"), whose first version has the rows of n arrays (struct arrays of the
 * one schema; arrays may be NULL when n is 0). PN_ALREADY_EXISTS when there is
 * one. arrays and schema are consumed. Nothing is fsynced. */
int32_t pn_table_create(const char *dir, struct ArrowArray *arrays, int64_t n,
                        struct ArrowSchema *schema,
                        struct persisting_native_error *error);

/* Takes over the table that lancedb-go opened: lancedb_table is the
 * lancedb::Table behind its handle, borrowed for the call and from then on
 * shared with the result. The table reads and writes with bounded caches from
 * here on, which tables of equal options share. */
int32_t pn_table_attach(const void *lancedb_table,
                        const struct pn_table_options *options, pn_table **out,
                        struct persisting_native_error *error);

/* Closing NULL is nothing. Snapshots and readers of the table stay usable. */
int32_t pn_table_close(pn_table *table, struct persisting_native_error *error);

/* The newest version. */
int32_t pn_table_snapshot(pn_table *table, pn_snapshot **out,
                          struct persisting_native_error *error);

/* Appends n arrays (struct arrays of the one schema) in one commit. Nullable
 * columns of the table may be missing from the schema. arrays and schema are
 * consumed. Nothing is fsynced. */
int32_t pn_table_append(pn_table *table, struct ArrowArray *arrays, int64_t n,
                        struct ArrowSchema *schema, pn_snapshot **out,
                        struct persisting_native_error *error);

/* Adds the fields of schema at the end, all null; writes no data file. */
int32_t pn_table_add_columns(pn_table *table, struct ArrowSchema *schema,
                             pn_snapshot **out,
                             struct persisting_native_error *error);

/* Gives the top-level column `name` the type, the nullability and the metadata
 * of the one field of `to`, whose name is ignored, in one commit. Place, name
 * and row ids stay. PN_INEXACT, and nothing changed, when any value would not
 * survive the way there and back. */
int32_t pn_table_cast_column(pn_table *table, const char *name,
                             struct ArrowSchema *to, pn_snapshot **out,
                             struct persisting_native_error *error);

/* Adds the one field of schema, filled in all rows: with `value`, a struct array
 * of one row, or with the SQL `expression` over the other columns; the other of
 * the two is NULL. Only the new column is written. PN_INVALID_ARGUMENT with the
 * parser's message for a bad expression, PN_INEXACT when the field cannot hold
 * one of its values. schema and value are consumed. */
int32_t pn_table_fill_column(pn_table *table, struct ArrowSchema *schema,
                             struct ArrowArray *value, const char *expression,
                             pn_snapshot **out,
                             struct persisting_native_error *error);

/* Takes a top-level column out; writes no data file. */
int32_t pn_table_drop_column(pn_table *table, const char *name,
                             pn_snapshot **out,
                             struct persisting_native_error *error);

/* Gives a top-level column the name and the metadata of the one field of `to`,
 * whose type is that of the column; writes no data file. `to` is consumed. */
int32_t pn_table_rename_column(pn_table *table, const char *name,
                               struct ArrowSchema *to, pn_snapshot **out,
                               struct persisting_native_error *error);

/* Renames the key `key` to `to`, or takes it out (NULL), in the JSON objects that
 * the utf8 column holds; an object that is empty then becomes null. */
int32_t pn_table_rewrite_keys(pn_table *table, const char *column,
                              const char *key, const char *to,
                              pn_snapshot **out,
                              struct persisting_native_error *error);

/* Deletes the rows for which the SQL filter is true. The others keep their row
 * ids. PN_INVALID_ARGUMENT with the parser's message for a bad filter. */
int32_t pn_table_delete(pn_table *table, const char *filter, pn_snapshot **out,
                        struct persisting_native_error *error);

/* Deletes the rows with row ids below row_id. */
int32_t pn_table_delete_before(pn_table *table, int64_t row_id,
                               pn_snapshot **out,
                               struct persisting_native_error *error);

/* The versions that are there, the oldest first: one string, a JSON array of
 * objects of version, nanoseconds (since 1970) and rows. */
int32_t pn_table_versions(pn_table *table, pn_strings **out,
                          struct persisting_native_error *error);

/* One version, which clean-up leaves alone while the snapshot is open.
 * PN_NOT_FOUND when it is not there any more. */
int32_t pn_table_checkout(pn_table *table, uint64_t version, pn_snapshot **out,
                          struct persisting_native_error *error);

/* Makes a new version with the columns, rows and indexes of an old one. The next
 * row id stays that of the newest version. */
int32_t pn_table_restore(pn_table *table, uint64_t version, pn_snapshot **out,
                         struct persisting_native_error *error);

/* Merges small neighbours (in row-id order) into larger fragments when that
 * pays; *out is the version after it, new or not. May run while another
 * thread appends. */
int32_t pn_table_compact(pn_table *table,
                         const struct pn_compact_options *options,
                         pn_snapshot **out, struct pn_compact_stats *stats,
                         struct persisting_native_error *error);

/* Removes the versions below keep_from that carry no tag and that no snapshot
 * of this handle holds, and the files that no version left refers to. The
 * newest version stays. Waits for writes in progress and holds up new ones; no
 * other process may write to the table. */
int32_t pn_table_cleanup(pn_table *table, uint64_t keep_from,
                         struct pn_cleanup_stats *stats,
                         struct persisting_native_error *error);

/* ---- snapshots -------------------------------------------------------- */

/* Opens a version of the table in dir (0: the newest), which is not open
 * otherwise. Only reads the disk. The table may be one of another program; without
 * stable row ids it can be queried for its rows, and nothing else. */
int32_t pn_snapshot_open(const char *dir, uint64_t version, pn_snapshot **out,
                         struct persisting_native_error *error);

/* Closing NULL is nothing. Readers of the snapshot stay usable. */
int32_t pn_snapshot_close(pn_snapshot *snapshot,
                          struct persisting_native_error *error);

int32_t pn_snapshot_info(const pn_snapshot *snapshot,
                         struct pn_snapshot_info *out,
                         struct persisting_native_error *error);

int32_t pn_snapshot_schema(const pn_snapshot *snapshot,
                           struct ArrowSchema *out,
                           struct persisting_native_error *error);

/* Where row_id is among the rows that are left: *rank of them have smaller ids,
 * and the first run of ids at or after it is [*first, *end), which is empty and at
 * the next row id when there is none. */
int32_t pn_snapshot_seek(const pn_snapshot *snapshot, int64_t row_id,
                         int64_t *rank, int64_t *first, int64_t *end,
                         struct persisting_native_error *error);

/* What the rows that are left with ids from row_id on take in the data files: of
 * each file the share that they have of the rows that it was written with. */
int32_t pn_snapshot_bytes_from(const pn_snapshot *snapshot, int64_t row_id,
                               int64_t *bytes,
                               struct persisting_native_error *error);

/* SQL, an expression or a filter, with each name that names, a JSON object, has
 * replaced by the one it has there: one string. PN_INVALID_ARGUMENT with the
 * parser's message when it is none. */
int32_t pn_sql_stored(const char *sql, const char *names, pn_strings **out,
                      struct persisting_native_error *error);

/* The type of an SQL expression over the columns, as the one field of *out. */
int32_t pn_snapshot_expression_type(const pn_snapshot *snapshot,
                                    const char *expression,
                                    struct ArrowSchema *out,
                                    struct persisting_native_error *error);

/* Streams the rows with row ids [first, first + count) in row-id order, in
 * batches of at most batch_rows rows (0: 8192). columns names n_columns
 * top-level columns (NULL: all). Batches have the snapshot's schema, or the
 * named columns of it in the order given. With no_wait not 0 PN_WOULD_BLOCK
 * unless the read is small and all of it is in memory; the reader does not wait
 * either, then. */
int32_t pn_snapshot_read(const pn_snapshot *snapshot, int64_t first,
                         int64_t count, const char *const *columns,
                         int64_t n_columns, int64_t batch_rows,
                         int32_t no_wait, pn_reader **out,
                         struct persisting_native_error *error);

/* The next batch, as a struct array; at the end *end is 1 and *out untouched.
 * One thread at a time. After a failure the reader has ended. */
int32_t pn_reader_next(pn_reader *reader, struct ArrowArray *out, int32_t *end,
                       struct persisting_native_error *error);

/* Closing NULL is nothing. Batches stay valid. */
int32_t pn_reader_close(pn_reader *reader,
                        struct persisting_native_error *error);

/* The rows with the given row ids as one struct array, in the order given,
 * repeats included. PN_NOT_FOUND when there is no such row. no_wait as for
 * pn_snapshot_read. */
int32_t pn_snapshot_take(const pn_snapshot *snapshot, const int64_t *ids,
                         int64_t n, const char *const *columns,
                         int64_t n_columns, int32_t no_wait,
                         struct ArrowArray *out,
                         struct persisting_native_error *error);

/* The files, relative to the table's directory, that `after` refers to and
 * `before` (NULL: nothing) does not: data, deletion and index files, its
 * transaction file, and last the manifests of the versions above `before`, its
 * own at the end. */
int32_t pn_changed_files(const pn_snapshot *before, const pn_snapshot *after,
                         pn_strings **out,
                         struct persisting_native_error *error);

/* ---- queries ---------------------------------------------------------- */

/* A query is a JSON object; all members are optional:
 *
 *   filter        SQL
 *   names         an object: names in the filter that stand for stored ones
 *   columns       stored top-level names; absent: all
 *   with_offset   whether an int64 column _offset with the row ids comes last
 *   limit, offset of the rows that pass; not with a search
 *   order_by      a list of {column, descending}; nulls come last, and rows that
 *                 are equal by row id
 *   search        {columns, text, k, metric, nprobes, refine, ef}: the k best;
 *                 without a text those nearest to the vector, and then float32
 *                 columns _distance or _score follow the named ones
 *   without_index whether to leave indexes alone
 *   no_wait       whether PN_WOULD_BLOCK is the answer where another thread, or a
 *                 disk, would have to be waited for, or that is not a few rows
 *                 that indexes find
 *
 * PN_INVALID_ARGUMENT, with the place in the filter where there is one, when it
 * makes no sense. vector has `dimensions` numbers, or is NULL. */
int32_t pn_snapshot_query(const pn_snapshot *snapshot, const char *query,
                          const double *vector, int64_t dimensions,
                          pn_reader **out,
                          struct persisting_native_error *error);

/* How many rows pass the filter of a query, of which nothing else counts. */
int32_t pn_snapshot_count(const pn_snapshot *snapshot, const char *query,
                          int64_t *out, struct persisting_native_error *error);

/* The plan of a query, as one string. */
int32_t pn_snapshot_explain(const pn_snapshot *snapshot, const char *query,
                            const double *vector, int64_t dimensions,
                            pn_strings **out,
                            struct persisting_native_error *error);

/* ---- indexes ---------------------------------------------------------- */

/* Builds an index and commits it. index is a JSON object: column (a stored
 * top-level name), type (btree, bitmap, label_list, ngram, zonemap, bloom_filter,
 * inverted, ivf_flat, ivf_pq, ivf_sq, ivf_hnsw_flat, ivf_hnsw_pq, ivf_hnsw_sq),
 * name, replace, and options, an object: the type's own. May run while another
 * thread appends, not while one compacts. Nothing is fsynced. */
int32_t pn_table_create_index(pn_table *table, const char *index,
                              pn_snapshot **out,
                              struct persisting_native_error *error);

/* How far the build is that runs now, as one string, a JSON object of name,
 * stage, completed, total (or null) and unit, or null. */
int32_t pn_table_index_progress(const pn_table *table, pn_strings **out,
                                struct persisting_native_error *error);

/* Has pn_table_create_index and pn_table_extend_indexes end soon with
 * PN_CANCELLED, those that run and those to come. What they did is void, or a
 * version that nobody was told of. */
int32_t pn_table_cancel_indexes(const pn_table *table,
                                struct persisting_native_error *error);

int32_t pn_table_drop_index(pn_table *table, const char *name,
                            pn_snapshot **out,
                            struct persisting_native_error *error);

/* Lets the n named indexes take in the rows that they lack; *out is the version
 * after it, new or not. */
int32_t pn_table_extend_indexes(pn_table *table, const char *const *names,
                                int64_t n, pn_snapshot **out,
                                struct persisting_native_error *error);

/* The indexes, as one string, a JSON list of objects: name, column, type,
 * rows_indexed, rows_unindexed, parts, bytes, details. */
int32_t pn_snapshot_indexes(const pn_snapshot *snapshot, pn_strings **out,
                            struct persisting_native_error *error);

/* What Lance says of one index, as one string of JSON. */
int32_t pn_snapshot_index_statistics(const pn_snapshot *snapshot,
                                     const char *name, pn_strings **out,
                                     struct persisting_native_error *error);

/* ---- recovery --------------------------------------------------------- */

/* Makes `version` the head, renames the manifests above it to
 * <name>.manifest.corrupt, which *out names relative to dir, and commits a
 * version after it that refers to none of the data files and indexes that are
 * missing or short: rows keep their ids, and what such a file held is null.
 * Nothing is fsynced but the new names. PN_CORRUPT when the manifest of
 * `version`, or a list of deleted rows, is what is missing. */
int32_t pn_mend(const char *dir, uint64_t version, pn_strings **out,
                struct persisting_native_error *error);

/* Describes the versions of the table in dir, which need not open. Changes
 * nothing. A version is sound when its manifest parses, is not that of `damaged`
 * (0: none), and the files it refers to have the recorded size and a sound footer;
 * the head is the newest sound one, not above `newest` (0: no limit). PN_SCHEMA
 * when it was written by a newer Lance. *out is one string, a JSON object:
 *
 *   versions   the newest first, each an object of
 *     version, manifest (file, relative to dir)
 *     above      whether it is above `newest`; then no more is known
 *     torn       what is wrong with the manifest, or null
 *     next_row_id, seconds (since 1970)
 *     checked    whether all that follows was looked at, which ends with the
 *                head
 *     rows, bytes
 *     flaws      files that are missing or short: file, what, kind ("data",
 *                "deletions", "index"), rows (pairs of the first row id and the
 *                one after the last; null: unknown)
 *   fragments  of the newest version that can be read, if layout is not 0: id,
 *              rows (pairs as above), bytes, files
 */
int32_t pn_check(const char *dir, uint64_t newest, uint64_t damaged,
                 int32_t layout, pn_strings **out,
                 struct persisting_native_error *error);

/* ---- strings, bookkeeping --------------------------------------------- */

int32_t pn_strings_count(const pn_strings *strings, int64_t *out,
                         struct persisting_native_error *error);

/* *out is borrowed from strings. */
int32_t pn_strings_get(const pn_strings *strings, int64_t i, const char **out,
                       struct persisting_native_error *error);

int32_t pn_strings_close(pn_strings *strings,
                         struct persisting_native_error *error);

int32_t pn_live_objects(struct pn_live *out,
                        struct persisting_native_error *error);

#ifdef __cplusplus
}
#endif

#endif
