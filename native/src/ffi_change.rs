//! The exported functions that change columns and rows, and those of versions; see
//! `ffi`.

use std::ffi::c_char;
use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_schema::{Field, Schema};

use crate::error::{guard, NativeError, Result};
use crate::evolve::Fill;
use crate::ffi::{
    borrow, handle, import, invalid, list, take_arrays, take_schema, text, writable,
    SnapshotHandle, StringList,
};
use crate::sql::translate;
use crate::table::Table;

/// The one field of a schema.
unsafe fn field(schema: *mut FFI_ArrowSchema) -> Result<(Arc<Schema>, Field)> {
    let schema = Schema::try_from(&take_schema(schema)?)?;
    let [field] = schema.fields().as_ref() else {
        return Err(invalid("want one field"));
    };
    let field = field.as_ref().clone();
    Ok((Arc::new(schema), field))
}

fn id(value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| invalid("a row id is negative"))
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_fill_column(
    table: *const Table,
    schema: *mut FFI_ArrowSchema,
    value: *mut FFI_ArrowArray,
    expression: *const c_char,
    out: *mut *mut SnapshotHandle,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let value = match value.is_null() {
            true => None,
            false => take_arrays(value, 1)?.pop(),
        };
        let (schema, field) = field(schema)?;
        let out = writable(out)?;
        let fill = match (value, expression.is_null()) {
            (Some(value), true) => Fill::Value(import(value, &schema)?),
            (None, false) => Fill::Expression(text(expression)?.to_owned()),
            _ => return Err(invalid("want a value or an expression")),
        };
        *out = handle(borrow(table)?.fill_column(&field, &fill)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_drop_column(
    table: *const Table,
    name: *const c_char,
    out: *mut *mut SnapshotHandle,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let out = writable(out)?;
        *out = handle(borrow(table)?.drop_column(text(name)?)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_rename_column(
    table: *const Table,
    name: *const c_char,
    to: *mut FFI_ArrowSchema,
    out: *mut *mut SnapshotHandle,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (_, field) = field(to)?;
        let out = writable(out)?;
        *out = handle(borrow(table)?.rename_column(text(name)?, &field)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_rewrite_keys(
    table: *const Table,
    column: *const c_char,
    key: *const c_char,
    to: *const c_char,
    out: *mut *mut SnapshotHandle,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let out = writable(out)?;
        let to = match to.is_null() {
            true => None,
            false => Some(text(to)?),
        };
        *out = handle(borrow(table)?.rewrite_keys(text(column)?, text(key)?, to)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_delete(
    table: *const Table,
    filter: *const c_char,
    out: *mut *mut SnapshotHandle,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let out = writable(out)?;
        *out = handle(borrow(table)?.delete(text(filter)?)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_delete_before(
    table: *const Table,
    row_id: i64,
    out: *mut *mut SnapshotHandle,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let out = writable(out)?;
        *out = handle(borrow(table)?.delete_before(id(row_id)?)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_versions(
    table: *const Table,
    out: *mut *mut StringList,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let out = writable(out)?;
        *out = list(vec![borrow(table)?.versions()?])?;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_checkout(
    table: *const Table,
    version: u64,
    out: *mut *mut SnapshotHandle,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let out = writable(out)?;
        *out = handle(borrow(table)?.checkout(version)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_table_restore(
    table: *const Table,
    version: u64,
    out: *mut *mut SnapshotHandle,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let out = writable(out)?;
        *out = handle(borrow(table)?.restore(version)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_snapshot_seek(
    snapshot: *const SnapshotHandle,
    row_id: i64,
    rank: *mut i64,
    first: *mut i64,
    end: *mut i64,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (rank, first, end) = (writable(rank)?, writable(first)?, writable(end)?);
        let place = borrow(snapshot)?.seek(id(row_id)?)?;
        *rank = place.rank as i64;
        *first = place.run.start as i64;
        *end = place.run.end as i64;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_snapshot_bytes_from(
    snapshot: *const SnapshotHandle,
    row_id: i64,
    bytes: *mut i64,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let bytes = writable(bytes)?;
        *bytes = borrow(snapshot)?.bytes_from(id(row_id)?)? as i64;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_snapshot_expression_type(
    snapshot: *const SnapshotHandle,
    expression: *const c_char,
    out: *mut FFI_ArrowSchema,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let (snapshot, out) = (borrow(snapshot)?, writable(out)?);
        let schema = snapshot.expression_type(text(expression)?)?;
        out.write(FFI_ArrowSchema::try_from(schema)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn pn_sql_stored(
    sql: *const c_char,
    names: *const c_char,
    out: *mut *mut StringList,
    error: *mut NativeError,
) -> i32 {
    guard(error, || {
        let out = writable(out)?;
        let names = serde_json::from_str(text(names)?).map_err(|e| invalid(&e.to_string()))?;
        *out = list(vec![translate(text(sql)?, &names, &[])?])?;
        Ok(())
    })
}
