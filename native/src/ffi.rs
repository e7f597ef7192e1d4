//! The exported functions: each checks its arguments, calls one function of the
//! other modules and hands the result over. `persisting_native.h` documents
//! them.

use std::ffi::{c_char, c_void, CStr, CString};
use std::path::Path;
use std::sync::Arc;

use arrow_array::ffi::{from_ffi_and_data_type, FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::{Array, RecordBatch, StructArray};
use arrow_schema::{DataType, Schema};

use crate::error::{guard, Error, NativeError, Result, Status};
use crate::leaks::{live, Counted, Live, Strings};
use crate::read::Reader;
use crate::snapshot::Snapshot;
use crate::table::{self, Table};
use crate::{check, cleanup, compact, files, mend, snapshot};

/// The default size of each cache and of the I/O buffer.
const DEFAULT_BYTES: u64 = 64 << 20;
const DEFAULT_OPEN_FRAGMENTS: u64 = 64;
const DEFAULT_TARGET_BYTES: u64 = 128 << 20;
const DEFAULT_MIN_FRAGMENTS: u64 = 4;
const DEFAULT_MAX_TARGETS: u64 = 8;

#[repr(C)]
pub struct TableOptions {
    metadata_cache_bytes: i64,
    index_cache_bytes: i64,
    io_buffer_bytes: i64,
    open_fragments: i64,
}

#[repr(C)]
pub struct SnapshotInfo {
    version: u64,
    next_row_id: i64,
    rows: i64,
    fragments: i64,
    data_bytes: i64,
    schema: u64,
}

#[repr(C)]
pub struct CompactOptions {
    target_bytes: i64,
    min_fragments: i64,
    max_bytes: i64,
    thorough: i32,
}

#[repr(C)]
pub struct CompactStats {
    fragments_removed: i64,
    fragments_added: i64,
    bytes_read: i64,
    more: i32,
}

#[repr(C)]
pub struct CleanupStats {
    versions_removed: i64,
    files_removed: i64,
    bytes_removed: i64,
}

pub struct StringList {
    strings: Vec<CString>,
    _counted: Counted<Strings>,
}

pub(crate) fn invalid(message: &str) -> Error {
    Error::new(Status::InvalidArgument, message)
}

fn size(value: i64, default: u64) -> Result<u64> {
    match value {
        0 => Ok(default),
        n => u64::try_from(n).map_err(|_| invalid("a size is negative")),
    }
}

pub(crate) unsafe fn borrow<'a, T>(handle: *const T) -> Result<&'a T> {
    handle.as_ref().ok_or_else(|| invalid("a handle is NULL"))
}

/// Refuses a NULL out-parameter before anything is done.
pub(crate) fn writable<T>(out: *mut T) -> Result<*mut T> {
    match out.is_null() {
        true => Err(invalid("an out-parameter is NULL")),
        false => Ok(out),
    }
}

unsafe fn close<T>(handle: *mut T) {
    if !handle.is_null() {
        drop(Box::from_raw(handle));
    }
}

pub(crate) unsafe fn text<'a>(string: *const c_char) -> Result<&'a str> {
    if string.is_null() {
        return Err(invalid("a string is NULL"));
    }
    let string = CStr::from_ptr(string).to_str();
    string.map_err(|_| invalid("a string is not UTF-8"))
}

pub unsafe fn names(columns: *const *const c_char, n: i64) -> Result<Option<Vec<String>>> {
    if columns.is_null() {
        return Ok(None);
    }
    let n = usize::try_from(n).map_err(|_| invalid("a count is negative"))?;
    let columns = std::slice::from_raw_parts(columns, n);
    let names = columns.iter().map(|c| Ok(text(*c)?.to_owned()));
    names.collect::<Result<_>>().map(Some)
}

/// Takes over a schema, whatever becomes of it.
pub(crate) unsafe fn take_schema(schema: *mut FFI_ArrowSchema) -> Result<FFI_ArrowSchema> {
    match schema.is_null() {
        true => Err(invalid("a schema is NULL")),
        false => Ok(FFI_ArrowSchema::from_raw(schema)),
    }
}

/// Takes over arrays, whatever becomes of them.
pub(crate) unsafe fn take_arrays(
    arrays: *mut FFI_ArrowArray,
    n: i64,
) -> Result<Vec<FFI_ArrowArray>> {
    let n = usize::try_from(n).map_err(|_| invalid("a count is negative"))?;
    if arrays.is_null() && n > 0 {
        return Err(invalid("arrays are NULL"));
    }
    Ok((0..n)
        .map(|i| FFI_ArrowArray::from_raw(arrays.add(i)))
        .collect())
}

pub(crate) unsafe fn import(array: FFI_ArrowArray, schema: &Arc<Schema>) -> Result<RecordBatch> {
    let row = DataType::Struct(schema.fields().clone());
    let mut data = from_ffi_and_data_type(array, row)?;
    data.align_buffers();
    let rows = StructArray::from(data);
    if rows.null_count() > 0 {
        return Err(Error::schema("a row is null"));
    }
    let (_, columns, _) = rows.into_parts();
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

/// Takes over arrays and their schema, whatever becomes of them.
unsafe fn take_batches(
    arrays: *mut FFI_ArrowArray,
    n: i64,
    schema: *mut FFI_ArrowSchema,
) -> Result<(Vec<RecordBatch>, Arc<Schema>)> {
    let arrays = take_arrays(arrays, n);
    let schema = Arc::new(Schema::try_from(&take_schema(schema)?)?);
    let batches = arrays?.into_iter().map(|array| import(array, &schema));
    Ok((batches.collect::<Result<_>>()?, schema))
}

fn export(batch: RecordBatch) -> FFI_ArrowArray {
    FFI_ArrowArray::new(&StructArray::from(batch).into_data())
}

pub(crate) fn list(strings: Vec<String>) -> Result<*mut StringList> {
    let strings = strings
        .into_iter()
        .map(|s| CString::new(s).map_err(|_| Error::corrupt("a file name with a NUL")))
        .collect::<Result<_>>()?;
    Ok(Box::into_raw(Box::new(StringList {
        strings,
        _counted: Counted::default(),
    })))
}

pub(crate) fn handle<T>(value: T) -> *mut T {
    Box::into_raw(Box::new(value))
}

pub(crate) type SnapshotHandle = Arc<Snapshot>;

#[no_mangle]
pub unsafe extern "C" fn pn_table_create(
    dir: *const c_char,
    arrays: *mut FFI_ArrowArray,
    n: i64,
    schema: *mut FFI_ArrowSchema,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (batches, schema) = take_batches(arrays, n, schema)?;
        table::create(text(dir)?, batches, schema)
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_attach(
    lancedb_table: *const c_void,
    options: *const TableOptions,
    out: *mut *mut Table,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let out = writable(out)?;
        let lancedb = borrow(lancedb_table as *const lancedb::Table)?;
        let options = borrow(options)?;
        let options = table::Options {
            metadata_cache_bytes: size(options.metadata_cache_bytes, DEFAULT_BYTES)?,
            index_cache_bytes: size(options.index_cache_bytes, DEFAULT_BYTES)?,
            io_buffer_bytes: size(options.io_buffer_bytes, DEFAULT_BYTES)?,
            open_fragments: size(options.open_fragments, DEFAULT_OPEN_FRAGMENTS)?,
        };
        *out = handle(Table::attach(lancedb.clone(), &options)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_close(table: *mut Table, error: *mut NativeError) -> i32 {
    guard(error, || {
        close(table);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_snapshot(
    table: *const Table,
    out: *mut *mut SnapshotHandle,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let out = writable(out)?;
        *out = handle(borrow(table)?.snapshot()?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_append(
    table: *const Table,
    arrays: *mut FFI_ArrowArray,
    n: i64,
    schema: *mut FFI_ArrowSchema,
    out: *mut *mut SnapshotHandle,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let batches = take_batches(arrays, n, schema);
        let out = writable(out)?;
        let (batches, schema) = batches?;
        *out = handle(borrow(table)?.append(batches, schema)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_add_columns(
    table: *const Table,
    schema: *mut FFI_ArrowSchema,
    out: *mut *mut SnapshotHandle,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let schema = take_schema(schema)?;
        let out = writable(out)?;
        *out = handle(borrow(table)?.add_columns(Schema::try_from(&schema)?)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_cast_column(
    table: *const Table,
    name: *const c_char,
    to: *mut FFI_ArrowSchema,
    out: *mut *mut SnapshotHandle,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let to = take_schema(to)?;
        let out = writable(out)?;
        let to = Schema::try_from(&to)?;
        let [field] = to.fields().as_ref() else {
            return Err(invalid("a cast needs one field"));
        };
        *out = handle(borrow(table)?.cast_column(text(name)?, field)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_compact(
    table: *const Table,
    options: *const CompactOptions,
    out: *mut *mut SnapshotHandle,
    stats: *mut CompactStats,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (out, out_stats) = (writable(out)?, writable(stats)?);
        let options = borrow(options)?;
        let target_bytes = size(options.target_bytes, DEFAULT_TARGET_BYTES)?;
        let options = compact::Options {
            target_bytes,
            min_fragments: size(options.min_fragments, DEFAULT_MIN_FRAGMENTS)?,
            max_bytes: size(
                options.max_bytes,
                target_bytes.saturating_mul(DEFAULT_MAX_TARGETS),
            )?,
            thorough: options.thorough != 0,
        };
        let (snapshot, stats) = borrow(table)?.compact(&options)?;
        *out_stats = CompactStats {
            fragments_removed: stats.fragments_removed as i64,
            fragments_added: stats.fragments_added as i64,
            bytes_read: stats.bytes_read as i64,
            more: i32::from(stats.more),
        };
        *out = handle(snapshot);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_cleanup(
    table: *const Table,
    keep_from: u64,
    stats: *mut CleanupStats,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let out = writable(stats)?;
        let cleanup::Stats {
            versions_removed,
            files_removed,
            bytes_removed,
        } = borrow(table)?.cleanup(keep_from)?;
        *out = CleanupStats {
            versions_removed: versions_removed as i64,
            files_removed: files_removed as i64,
            bytes_removed: bytes_removed as i64,
        };
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_snapshot_open(
    dir: *const c_char,
    version: u64,
    out: *mut *mut SnapshotHandle,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let out = writable(out)?;
        let opened = snapshot::open(text(dir)?, version, DEFAULT_BYTES)?;
        *out = handle(opened);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_snapshot_close(
    snapshot: *mut SnapshotHandle,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        close(snapshot);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_snapshot_info(
    snapshot: *const SnapshotHandle,
    out: *mut SnapshotInfo,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (snapshot, out) = (borrow(snapshot)?, writable(out)?);
        let manifest = snapshot.dataset.manifest();
        *out = SnapshotInfo {
            version: manifest.version,
            next_row_id: manifest.next_row_id as i64,
            rows: snapshot.rows() as i64,
            fragments: manifest.fragments.len() as i64,
            data_bytes: snapshot.data_bytes() as i64,
            schema: snapshot.schema_number,
        };
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_snapshot_schema(
    snapshot: *const SnapshotHandle,
    out: *mut FFI_ArrowSchema,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (snapshot, out) = (borrow(snapshot)?, writable(out)?);
        out.write(FFI_ArrowSchema::try_from(snapshot.schema())?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_snapshot_read(
    snapshot: *const SnapshotHandle,
    first: i64,
    count: i64,
    columns: *const *const c_char,
    n_columns: i64,
    batch_rows: i64,
    no_wait: i32,
    out: *mut *mut Reader,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (snapshot, out) = (borrow(snapshot)?, writable(out)?);
        let (Ok(first), Ok(count)) = (u64::try_from(first), u64::try_from(count)) else {
            return Err(invalid("a row id or a count is negative"));
        };
        let batch_rows =
            u32::try_from(batch_rows).map_err(|_| invalid("batch_rows is out of range"))?;
        let columns = names(columns, n_columns)?;
        *out = handle(snapshot.read(first, count, columns.as_deref(), batch_rows, no_wait != 0)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_reader_next(
    reader: *mut Reader,
    out: *mut FFI_ArrowArray,
    end: *mut i32,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (out, end) = (writable(out)?, writable(end)?);
        let reader = reader.as_mut().ok_or_else(|| invalid("a handle is NULL"))?;
        match reader.next()? {
            Some(batch) => {
                out.write(export(batch));
                *end = 0;
            }
            None => *end = 1,
        }
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_reader_close(reader: *mut Reader, error: *mut NativeError) -> i32 {
    guard(error, || {
        close(reader);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_snapshot_take(
    snapshot: *const SnapshotHandle,
    ids: *const i64,
    n: i64,
    columns: *const *const c_char,
    n_columns: i64,
    no_wait: i32,
    out: *mut FFI_ArrowArray,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (snapshot, out) = (borrow(snapshot)?, writable(out)?);
        let n = usize::try_from(n).map_err(|_| invalid("a count is negative"))?;
        let ids = match ids.is_null() {
            true if n > 0 => return Err(invalid("row ids are NULL")),
            true => &[],
            false => std::slice::from_raw_parts(ids, n),
        };
        let columns = names(columns, n_columns)?;
        out.write(export(snapshot.take(
            ids,
            columns.as_deref(),
            no_wait != 0,
        )?));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_changed_files(
    before: *const SnapshotHandle,
    after: *const SnapshotHandle,
    out: *mut *mut StringList,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (after, out) = (borrow(after)?, writable(out)?);
        let before = before.as_ref().map(Arc::as_ref);
        *out = list(files::changed_files(before, after)?)?;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_mend(
    dir: *const c_char,
    version: u64,
    out: *mut *mut StringList,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let out = writable(out)?;
        *out = list(mend::mend(Path::new(text(dir)?), version)?)?;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_check(
    dir: *const c_char,
    newest: u64,
    damaged: u64,
    layout: i32,
    out: *mut *mut StringList,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let out = writable(out)?;
        *out = list(vec![check::check(
            Path::new(text(dir)?),
            newest,
            damaged,
            layout != 0,
        )?])?;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_strings_count(
    strings: *const StringList,
    out: *mut i64,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (strings, out) = (borrow(strings)?, writable(out)?);
        *out = strings.strings.len() as i64;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_strings_get(
    strings: *const StringList,
    i: i64,
    out: *mut *const c_char,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (strings, out) = (borrow(strings)?, writable(out)?);
        let string = usize::try_from(i).ok().and_then(|i| strings.strings.get(i));
        *out = string.ok_or_else(|| invalid("no such string"))?.as_ptr();
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_strings_close(
    strings: *mut StringList,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        close(strings);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_live_objects(out: *mut Live, error: *mut NativeError) -> i32 {
    guard(error, || {
        *writable(out)? = live();
        Ok(())
    })
}
