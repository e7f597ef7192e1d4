//! The exported functions of queries and indexes; see [`crate::ffi`].

use std::ffi::c_char;

use crate::error::{guard, NativeError, Result};
use crate::ffi::{
    borrow, handle, invalid, list, names, text, writable, SnapshotHandle, StringList,
};
use crate::index::Spec;
use crate::query::Query;
use crate::read::Reader;
use crate::table::Table;

unsafe fn floats<'a>(values: *const f64, n: i64) -> Result<Option<&'a [f64]>> {
    if values.is_null() {
        return Ok(None);
    }
    let n = usize::try_from(n).map_err(|_| invalid("a count is negative"))?;
    Ok(Some(std::slice::from_raw_parts(values, n)))
}

#[no_mangle]
pub unsafe extern "C" fn pn_snapshot_query(
    snapshot: *const SnapshotHandle,
    query: *const c_char,
    vector: *const f64,
    dimensions: i64,
    out: *mut *mut Reader,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (snapshot, out) = (borrow(snapshot)?, writable(out)?);
        let query = Query::parse(text(query)?)?;
        *out = handle(snapshot.query(&query, floats(vector, dimensions)?)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_snapshot_count(
    snapshot: *const SnapshotHandle,
    query: *const c_char,
    out: *mut i64,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (snapshot, out) = (borrow(snapshot)?, writable(out)?);
        *out = snapshot.count(&Query::parse(text(query)?)?)? as i64;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_snapshot_explain(
    snapshot: *const SnapshotHandle,
    query: *const c_char,
    vector: *const f64,
    dimensions: i64,
    out: *mut *mut StringList,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (snapshot, out) = (borrow(snapshot)?, writable(out)?);
        let query = Query::parse(text(query)?)?;
        *out = list(vec![snapshot.explain(&query, floats(vector, dimensions)?)?])?;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_snapshot_indexes(
    snapshot: *const SnapshotHandle,
    out: *mut *mut StringList,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (snapshot, out) = (borrow(snapshot)?, writable(out)?);
        *out = list(vec![snapshot.indexes()?])?;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_snapshot_index_statistics(
    snapshot: *const SnapshotHandle,
    name: *const c_char,
    out: *mut *mut StringList,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (snapshot, out) = (borrow(snapshot)?, writable(out)?);
        *out = list(vec![snapshot.index_statistics(text(name)?)?])?;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_create_index(
    table: *const Table,
    spec: *const c_char,
    out: *mut *mut SnapshotHandle,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (table, out) = (borrow(table)?, writable(out)?);
        *out = handle(table.create_index(&Spec::parse(text(spec)?)?)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_index_progress(
    table: *const Table,
    out: *mut *mut StringList,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (table, out) = (borrow(table)?, writable(out)?);
        let progress = serde_json::to_string(&table.build.progress());
        *out = list(progress.into_iter().collect())?;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_cancel_indexes(
    table: *const Table,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        borrow(table)?.build.cancel();
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_drop_index(
    table: *const Table,
    name: *const c_char,
    out: *mut *mut SnapshotHandle,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (table, out) = (borrow(table)?, writable(out)?);
        *out = handle(table.drop_index(text(name)?)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_extend_indexes(
    table: *const Table,
    index_names: *const *const c_char,
    n: i64,
    out: *mut *mut SnapshotHandle,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (table, out) = (borrow(table)?, writable(out)?);
        let index_names = names(index_names, n)?.unwrap_or_default();
        *out = handle(table.extend_indexes(&index_names)?);
        Ok(())
    })
}
