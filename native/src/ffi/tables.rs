//! Tables, snapshots, and rows of them.

use std::path::Path;
use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::RecordBatch;
use arrow_schema::Schema;

use super::export;
use super::values::{batches, natural, plain};
use crate::error::{invalid, Result};
use crate::leaks::{live, Live};
use crate::read::Reader;
use crate::snapshot::{self, Snapshot};
use crate::table::{self, Table};
use crate::{check, compact, files, held, mend};

/// The default size of each cache and of the I/O buffer.
const DEFAULT_BYTES: u64 = 64 << 20;
const DEFAULT_OPEN_FRAGMENTS: u64 = 64;
const DEFAULT_TARGET_BYTES: u64 = 128 << 20;
const DEFAULT_MIN_FRAGMENTS: u64 = 4;
const DEFAULT_MAX_TARGETS: u64 = 8;

/// How a table is opened. 0 means the default, given in brackets.
#[repr(C)]
pub struct TableOptions {
    /// Manifests, file footers [64 MiB].
    metadata_cache_bytes: i64,
    /// Opened indexes [64 MiB].
    index_cache_bytes: i64,
    /// Read ahead by one reader [64 MiB].
    io_buffer_bytes: i64,
    /// Fragments held open for small reads [64].
    open_fragments: i64,
}

/// What is known of a version without a look at its files.
#[repr(C)]
pub struct SnapshotInfo {
    version: u64,
    /// The row id that the next appended row gets.
    next_row_id: i64,
    rows: i64,
    fragments: i64,
    /// Of the data files.
    data_bytes: i64,
    /// The same number means the same schema, in one table.
    schema: u64,
}

/// What a compaction does. 0 means the default, given in brackets.
#[repr(C)]
pub struct CompactOptions {
    /// Size of a fragment that is left alone [128 MiB].
    target_bytes: i64,
    /// Fewer neighbours than this are not merged [4].
    min_fragments: i64,
    /// Read by one call at most [8 * target_bytes].
    max_bytes: i64,
    /// Not 0: rewrite every fragment with deleted rows or with columns that are
    /// gone; else those that are a tenth empty.
    thorough: i32,
}

/// What a compaction did.
#[repr(C)]
pub struct Compaction {
    /// The version after it, new or not.
    snapshot: *mut Arc<Snapshot>,
    fragments_removed: i64,
    fragments_added: i64,
    /// Size of the data files that were replaced.
    bytes_read: i64,
    /// Not 0: max_bytes left some of the work undone.
    more: i32,
}

/// What a clean-up removed.
#[repr(C)]
pub struct CleanupStats {
    versions_removed: i64,
    /// Data, deletion, index and transaction files.
    files_removed: i64,
    bytes_removed: i64,
}

/// Where a row id is among the rows that are left.
#[repr(C)]
pub struct Place {
    /// How many rows have smaller ids.
    rank: i64,
    /// The first run of ids at or after it is [first, end), which is empty and at the
    /// next row id when there is none.
    first: i64,
    end: i64,
}

plain!(
    TableOptions,
    SnapshotInfo,
    CompactOptions,
    Compaction,
    CleanupStats,
    Place,
    Live
);

/// A size, or its default.
fn size(value: i64, default: u64) -> Result<u64> {
    match value {
        0 => Ok(default),
        n => natural(n, "a size"),
    }
}

impl TableOptions {
    fn read(&self) -> Result<table::Options> {
        Ok(table::Options {
            metadata_cache_bytes: size(self.metadata_cache_bytes, DEFAULT_BYTES)?,
            index_cache_bytes: size(self.index_cache_bytes, DEFAULT_BYTES)?,
            io_buffer_bytes: size(self.io_buffer_bytes, DEFAULT_BYTES)?,
            open_fragments: size(self.open_fragments, DEFAULT_OPEN_FRAGMENTS)?,
        })
    }
}

impl CompactOptions {
    fn read(&self) -> Result<compact::Options> {
        let target_bytes = size(self.target_bytes, DEFAULT_TARGET_BYTES)?;
        let most = target_bytes.saturating_mul(DEFAULT_MAX_TARGETS);
        Ok(compact::Options {
            target_bytes,
            min_fragments: size(self.min_fragments, DEFAULT_MIN_FRAGMENTS)?,
            max_bytes: size(self.max_bytes, most)?,
            thorough: self.thorough != 0,
        })
    }
}

export! {
    /// Creates a table with stable row ids in the directory dir (which ends in
    /// ".lance"), whose first version has the rows of the arrays. PN_ALREADY_EXISTS
    /// when there is one. Nothing is fsynced.
    fn pn_table_create(dir: &str, rows: Vec<FFI_ArrowArray>, schema: FFI_ArrowSchema) {
        let (batches, schema) = batches(rows, &schema)?;
        table::create(dir, batches, schema)
    }

    /// Takes over the table that lancedb-go opened: lancedb_table is the
    /// lancedb::Table behind its handle, borrowed for the call and from then on
    /// shared with the result. The table reads and writes with bounded caches from
    /// here on, which tables of equal options share.
    fn pn_table_attach(lancedb_table: lancedb::Table, options: TableOptions) -> Table {
        Table::attach(lancedb_table, &options.read()?)
    }

    /// Closes a table; its snapshots and readers stay usable.
    fn pn_table_close(table: Option<Box<Table>>) {
        drop(table);
        Ok(())
    }

    /// The newest version.
    fn pn_table_snapshot(table: &Table) -> Arc<Snapshot> {
        table.snapshot()
    }

    /// Appends the rows of arrays in one commit. Nullable columns of the table may
    /// be missing from the schema. Nothing is fsynced.
    fn pn_table_append(
        table: &Table,
        rows: Vec<FFI_ArrowArray>,
        schema: FFI_ArrowSchema,
    ) -> Arc<Snapshot> {
        let (batches, schema) = batches(rows, &schema)?;
        table.append(batches, schema)
    }

    /// Merges small neighbours (in row-id order) into larger fragments when that
    /// pays. May run while another thread appends.
    fn pn_table_compact(table: &Table, options: CompactOptions) -> Compaction {
        let (snapshot, stats) = table.compact(&options.read()?)?;
        Ok(Compaction {
            snapshot: Box::into_raw(Box::new(snapshot)),
            fragments_removed: stats.fragments_removed as i64,
            fragments_added: stats.fragments_added as i64,
            bytes_read: stats.bytes_read as i64,
            more: i32::from(stats.more),
        })
    }

    /// Removes the versions below keep_from that carry no tag and that no snapshot
    /// of this handle holds, and the files that no version left refers to. The
    /// newest version stays. Waits for writes in progress and holds up new ones; no
    /// other process may write to the table.
    fn pn_table_cleanup(table: &Table, keep_from: u64) -> CleanupStats {
        let removed = table.cleanup(keep_from)?;
        Ok(CleanupStats {
            versions_removed: removed.versions_removed as i64,
            files_removed: removed.files_removed as i64,
            bytes_removed: removed.bytes_removed as i64,
        })
    }

    /// The versions that are there, the oldest first: a JSON array of objects of
    /// version, nanoseconds (since 1970) and rows.
    fn pn_table_versions(table: &Table) -> String {
        table.versions()
    }

    /// One version, which clean-up leaves alone while the snapshot is open.
    /// PN_NOT_FOUND when it is not there any more.
    fn pn_table_checkout(table: &Table, version: u64) -> Arc<Snapshot> {
        table.checkout(version)
    }

    /// Makes a new version with the columns, rows and indexes of an old one. The next
    /// row id stays that of the newest version.
    fn pn_table_restore(table: &Table, version: u64) -> Arc<Snapshot> {
        table.restore(version)
    }

    /// Opens a version of the table in dir (0: the newest), which is not open
    /// otherwise. Only reads the disk. The table may be one of another program; without
    /// stable row ids it can be queried for its rows, and nothing else.
    fn pn_snapshot_open(dir: &str, version: u64) -> Arc<Snapshot> {
        snapshot::open(dir, version, DEFAULT_BYTES)
    }

    /// Opens a version of the table in dir, which another process may change, with all
    /// its files: they can be read from then on whoever removes them. Only reads the disk.
    /// `before` (NULL: none), a snapshot of another version that was opened so, shares its
    /// files and caches. PN_NOT_FOUND when a file is gone already.
    fn pn_snapshot_hold(
        dir: &str,
        version: u64,
        before: Option<&Arc<Snapshot>>,
        options: TableOptions,
    ) -> Arc<Snapshot> {
        held::open(dir, version, before.map(Arc::as_ref), &options.read()?)
    }

    /// A table that begins with a version of the table in dir, which pn_snapshot_hold has
    /// opened, and whose changes are in memory alone.
    fn pn_table_in_memory(snapshot: &Arc<Snapshot>, dir: &str, options: TableOptions) -> Table {
        snapshot.in_memory(dir, &options.read()?)
    }

    /// Creates a table as pn_table_create does, in memory: nothing is in dir.
    fn pn_table_create_in_memory(
        dir: &str,
        rows: Vec<FFI_ArrowArray>,
        schema: FFI_ArrowSchema,
        options: TableOptions,
    ) -> Table {
        let (batches, schema) = batches(rows, &schema)?;
        held::create(dir, batches, schema, &options.read()?)
    }

    /// Closes a snapshot; its readers stay usable.
    fn pn_snapshot_close(snapshot: Option<Box<Arc<Snapshot>>>) {
        drop(snapshot);
        Ok(())
    }

    /// What is known of the version.
    fn pn_snapshot_info(snapshot: &Arc<Snapshot>) -> SnapshotInfo {
        let manifest = snapshot.dataset.manifest();
        Ok(SnapshotInfo {
            version: manifest.version,
            next_row_id: manifest.next_row_id as i64,
            rows: snapshot.rows() as i64,
            fragments: manifest.fragments.len() as i64,
            data_bytes: snapshot.data_bytes() as i64,
            schema: snapshot.schema_number,
        })
    }

    /// The columns.
    fn pn_snapshot_schema(snapshot: &Arc<Snapshot>) -> Schema {
        Ok(snapshot.schema())
    }

    /// Where row_id is among the rows that are left.
    fn pn_snapshot_seek(snapshot: &Arc<Snapshot>, row_id: i64) -> Place {
        let place = snapshot.seek(natural(row_id, "a row id")?)?;
        Ok(Place {
            rank: place.rank as i64,
            first: place.run.start as i64,
            end: place.run.end as i64,
        })
    }

    /// What the rows that are left with ids from row_id on take in the data files: of
    /// each file the share that they have of the rows that it was written with.
    fn pn_snapshot_bytes_from(snapshot: &Arc<Snapshot>, row_id: i64) -> i64 {
        Ok(snapshot.bytes_from(natural(row_id, "a row id")?)? as i64)
    }

    /// Streams the rows with row ids [first, first + count) in row-id order, in
    /// batches of at most batch_rows rows (0: 8192). columns are top-level columns
    /// (none: all). Batches have the snapshot's schema, or the named columns of it in
    /// the order given. With no_wait not 0 PN_WOULD_BLOCK unless the read is small and
    /// all of it is in memory; the reader does not wait either, then.
    fn pn_snapshot_read(
        snapshot: &Arc<Snapshot>,
        first: i64,
        count: i64,
        columns: Option<Vec<String>>,
        batch_rows: i64,
        no_wait: bool,
    ) -> Reader {
        let (first, count) = (natural(first, "a row id")?, natural(count, "a count")?);
        let batch_rows = u32::try_from(batch_rows);
        let batch_rows = batch_rows.map_err(|_| invalid("batch_rows is out of range"))?;
        snapshot.read(first, count, columns.as_deref(), batch_rows, no_wait)
    }

    /// The rows with the given row ids as one struct array, in the order given,
    /// repeats included. PN_NOT_FOUND when there is no such row. columns and no_wait as
    /// for pn_snapshot_read.
    fn pn_snapshot_take(
        snapshot: &Arc<Snapshot>,
        ids: &[i64],
        columns: Option<Vec<String>>,
        no_wait: bool,
    ) -> Option<RecordBatch> {
        snapshot.take(ids, columns.as_deref(), no_wait).map(Some)
    }

    /// The next batch, as a struct array, which is released (release is NULL) at the
    /// end. One thread at a time. After a failure the reader has ended.
    fn pn_reader_next(reader: &mut Reader) -> Option<RecordBatch> {
        reader.next()
    }

    /// Closes a reader; batches stay valid.
    fn pn_reader_close(reader: Option<Box<Reader>>) {
        drop(reader);
        Ok(())
    }

    /// The names of the files, relative to the table's directory, that `after` refers to
    /// and `before` (NULL: nothing) does not: data, deletion and index files, its
    /// transaction file, and last the manifests of the versions above `before`, its own
    /// at the end.
    fn pn_changed_files(before: Option<&Arc<Snapshot>>, after: &Arc<Snapshot>) -> Vec<String> {
        files::changed_files(before.map(Arc::as_ref), after)
    }

    /// Makes `version` the head, renames the manifests above it to
    /// <name>.manifest.corrupt, which are the names, relative to dir, and commits a
    /// version after it that refers to none of the data files and indexes that are
    /// missing or short: rows keep their ids, and what such a file held is null.
    /// Nothing is fsynced but the new names. PN_CORRUPT when the manifest of
    /// `version`, or a list of deleted rows, is what is missing.
    fn pn_mend(dir: &str, version: u64) -> Vec<String> {
        mend::mend(Path::new(dir), version)
    }

    /// Describes the versions of the table in dir, which need not open. Changes
    /// nothing. A version is sound when its manifest parses, is not that of `damaged`
    /// (0: none), and the files it refers to have the recorded size and a sound footer;
    /// the head is the newest sound one, not above `newest` (0: no limit). PN_SCHEMA
    /// when it was written by a newer Lance. A JSON object:
    ///
    ///   versions   the newest first, each an object of
    ///     version, manifest (file, relative to dir)
    ///     above      whether it is above `newest`; then no more is known
    ///     torn       what is wrong with the manifest, or null
    ///     next_row_id, seconds (since 1970)
    ///     checked    whether all that follows was looked at, which ends with the
    ///                head
    ///     rows, bytes
    ///     flaws      files that are missing or short: file, what, kind ("data",
    ///                "deletions", "index"), rows (pairs of the first row id and the
    ///                one after the last; null: unknown)
    ///   fragments  of the newest version that can be read, if layout is not 0: id,
    ///              rows (pairs as above), bytes, files
    fn pn_check(dir: &str, newest: u64, damaged: u64, layout: bool) -> String {
        check::check(Path::new(dir), newest, damaged, layout)
    }

    /// What is alive, for leak tests.
    fn pn_live_objects() -> Live {
        Ok(live())
    }
}
