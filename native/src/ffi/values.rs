//! What values are in C.

use std::ffi::{c_char, c_void};
use std::mem;
use std::ptr::slice_from_raw_parts_mut;
use std::slice;
use std::str;
use std::sync::Arc;

use arrow_array::ffi::{from_ffi_and_data_type, FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::{Array, RecordBatch, StructArray};
use arrow_schema::{DataType, Field, Schema};

use super::{export, Answer, Argument};
use crate::error::{invalid, Error, Result};
use crate::leaks::{Counted, Strings};
use crate::read::Reader;
use crate::snapshot::Snapshot;
use crate::table::Table;

/// UTF-8 of n bytes; n is -1 for none, where that is allowed. A list of names is one
/// text, in which a NUL ends each name.
#[repr(C)]
pub struct Text {
    data: *const c_char,
    n: i64,
}

/// Row ids.
#[repr(C)]
pub struct Ids {
    data: *const i64,
    n: i64,
}

/// A vector; n is -1 for none.
#[repr(C)]
pub struct Numbers {
    data: *const f64,
    n: i64,
}

/// Struct arrays of one schema.
#[repr(C)]
pub struct Arrays {
    data: *mut FFI_ArrowArray,
    n: i64,
}

/// A text that the caller owns: UTF-8 of n bytes, and a NUL. In a list of names a NUL
/// ends each name.
#[repr(C)]
pub struct Owned {
    data: *mut c_char,
    n: i64,
}

impl Owned {
    /// A text for C; it counts as alive until it is released.
    pub fn new(text: String) -> Self {
        let mut bytes = text.into_bytes();
        let n = bytes.len() as i64;
        bytes.push(0); // and so it is nowhere empty
        mem::forget(Counted::<Strings>::default());
        Self {
            data: Box::into_raw(bytes.into_boxed_slice()).cast(),
            n,
        }
    }

    /// What it holds, which counts no longer; None of zeros.
    ///
    /// # Safety
    /// It was made by `new`, or is zeros, and its owner gives it up.
    unsafe fn back(self) -> Option<Box<[u8]>> {
        if self.data.is_null() {
            return None;
        }
        drop(Counted::<Strings>::of_forgotten());
        let bytes = slice_from_raw_parts_mut(self.data.cast(), self.n as usize + 1);
        Some(Box::from_raw(bytes))
    }

    #[cfg(test)]
    pub fn into_string(self) -> String {
        // SAFETY: tests make it by `new`.
        let mut bytes = unsafe { self.back() }.expect("a text").into_vec();
        assert_eq!(bytes.pop(), Some(0));
        String::from_utf8(bytes).expect("UTF-8")
    }
}

export! {
    /// Releases a text. The error of a call that gave none, and zeros, are nothing.
    fn pn_owned_release(text: Owned) {
        // SAFETY: it is one of this library's, which the caller gives up.
        drop(unsafe { text.back() });
        Ok(())
    }
}

/// A value that is the same in C.
macro_rules! plain {
    ($($kind:ty),*) => {$(
        impl $crate::ffi::Argument for $kind {
            type C = Self;
            unsafe fn take(c: Self) -> Result<Self> {
                Ok(c)
            }
        }
        impl $crate::ffi::Answer for $kind {
            type C = Self;
            fn give(self) -> Result<Self> {
                Ok(self)
            }
        }
    )*};
}
pub(super) use plain;

plain!(i64, u64, Owned);

impl Argument for bool {
    type C = i32;

    unsafe fn take(c: i32) -> Result<Self> {
        Ok(c != 0)
    }
}

/// An object that C holds by a pointer.
pub trait Handle {}

/// A Lance table, its newest version.
impl Handle for Table {}

/// One version of a table, immutable.
impl Handle for Arc<Snapshot> {}

/// A stream of batches of a snapshot.
impl Handle for Reader {}

fn null() -> Error {
    invalid("a handle is NULL")
}

impl<T: Handle> Argument for &T {
    type C = *const T;

    unsafe fn take(c: *const T) -> Result<Self> {
        c.as_ref().ok_or_else(null)
    }
}

impl<T: Handle> Argument for Option<&T> {
    type C = *const T;

    unsafe fn take(c: *const T) -> Result<Self> {
        Ok(c.as_ref())
    }
}

impl<T: Handle> Argument for &mut T {
    type C = *mut T;

    unsafe fn take(c: *mut T) -> Result<Self> {
        c.as_mut().ok_or_else(null)
    }
}

/// One that is closed.
impl<T: Handle> Argument for Option<Box<T>> {
    type C = *mut T;

    unsafe fn take(c: *mut T) -> Result<Self> {
        Ok((!c.is_null()).then(|| Box::from_raw(c)))
    }
}

impl<T: Handle> Answer for T {
    type C = *mut T;

    fn give(self) -> Result<*mut T> {
        Ok(Box::into_raw(Box::new(self)))
    }
}

/// The table of lancedb-go.
impl Argument for lancedb::Table {
    type C = *const c_void;

    unsafe fn take(c: *const c_void) -> Result<Self> {
        c.cast::<Self>().as_ref().cloned().ok_or_else(null)
    }
}

/// Borrows n values, or none.
unsafe fn borrowed<'a, T>(data: *const T, n: i64) -> Result<Option<&'a [T]>> {
    match usize::try_from(n) {
        Err(_) if n == -1 => Ok(None),
        Err(_) => Err(invalid("a count is negative")),
        Ok(0) => Ok(Some(&[])),
        Ok(_) if data.is_null() => Err(invalid("an array is NULL")),
        Ok(n) => Ok(Some(slice::from_raw_parts(data, n))),
    }
}

impl Argument for Option<&str> {
    type C = Text;

    unsafe fn take(c: Text) -> Result<Self> {
        let bytes = borrowed(c.data.cast(), c.n)?;
        let text = bytes.map(str::from_utf8).transpose();
        text.map_err(|_| invalid("a text is not UTF-8"))
    }
}

impl Argument for &str {
    type C = Text;

    unsafe fn take(c: Text) -> Result<Self> {
        let text: Option<&str> = Argument::take(c)?;
        text.ok_or_else(|| invalid("a text is missing"))
    }
}

impl Argument for Option<Vec<String>> {
    type C = Text;

    unsafe fn take(c: Text) -> Result<Self> {
        let text: Option<&str> = Argument::take(c)?;
        Ok(text.map(|text| text.split_terminator('\0').map(str::to_owned).collect()))
    }
}

impl Argument for &[i64] {
    type C = Ids;

    unsafe fn take(c: Ids) -> Result<Self> {
        borrowed(c.data, c.n)?.ok_or_else(|| invalid("row ids are missing"))
    }
}

impl Argument for Option<&[f64]> {
    type C = Numbers;

    unsafe fn take(c: Numbers) -> Result<Self> {
        borrowed(c.data, c.n)
    }
}

impl Argument for FFI_ArrowSchema {
    type C = *mut FFI_ArrowSchema;

    unsafe fn take(c: *mut FFI_ArrowSchema) -> Result<Self> {
        match c.is_null() {
            true => Err(invalid("a schema is NULL")),
            false => Ok(FFI_ArrowSchema::from_raw(c)),
        }
    }
}

impl Argument for Option<FFI_ArrowArray> {
    type C = *mut FFI_ArrowArray;

    unsafe fn take(c: *mut FFI_ArrowArray) -> Result<Self> {
        Ok((!c.is_null()).then(|| FFI_ArrowArray::from_raw(c)))
    }
}

impl Argument for Vec<FFI_ArrowArray> {
    type C = Arrays;

    unsafe fn take(c: Arrays) -> Result<Self> {
        let n = borrowed(c.data, c.n)?.map_or(0, <[_]>::len);
        Ok((0..n)
            .map(|i| FFI_ArrowArray::from_raw(c.data.add(i)))
            .collect())
    }
}

impl Answer for String {
    type C = Owned;

    fn give(self) -> Result<Owned> {
        Ok(Owned::new(self))
    }
}

impl Answer for Vec<String> {
    type C = Owned;

    fn give(self) -> Result<Owned> {
        Ok(Owned::new(
            self.into_iter().map(|name| name + "\0").collect(),
        ))
    }
}

impl Answer for Schema {
    type C = FFI_ArrowSchema;

    fn give(self) -> Result<FFI_ArrowSchema> {
        Ok(FFI_ArrowSchema::try_from(self)?)
    }
}

/// Rows as one struct array, which is released where there are none left.
impl Answer for Option<RecordBatch> {
    type C = FFI_ArrowArray;

    fn give(self) -> Result<FFI_ArrowArray> {
        Ok(match self {
            Some(batch) => FFI_ArrowArray::new(&StructArray::from(batch).into_data()),
            None => FFI_ArrowArray::empty(),
        })
    }
}

/// The rows of a struct array.
pub fn rows(array: FFI_ArrowArray, schema: &Arc<Schema>) -> Result<RecordBatch> {
    let row = DataType::Struct(schema.fields().clone());
    // SAFETY: the header asks for an array of this schema.
    let mut data = unsafe { from_ffi_and_data_type(array, row)? };
    data.align_buffers();
    let rows = StructArray::from(data);
    if rows.null_count() > 0 {
        return Err(Error::schema("a row is null"));
    }
    let (_, columns, _) = rows.into_parts();
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

/// The rows of many struct arrays, and their schema.
pub fn batches(
    arrays: Vec<FFI_ArrowArray>,
    schema: &FFI_ArrowSchema,
) -> Result<(Vec<RecordBatch>, Arc<Schema>)> {
    let schema = Arc::new(Schema::try_from(schema)?);
    let batches = arrays.into_iter().map(|array| rows(array, &schema));
    Ok((batches.collect::<Result<_>>()?, schema))
}

/// The one field of a schema.
pub fn field(schema: &FFI_ArrowSchema) -> Result<Field> {
    let schema = Schema::try_from(schema)?;
    match schema.fields().as_ref() {
        [field] => Ok(field.as_ref().clone()),
        _ => Err(invalid("want one field")),
    }
}

/// A number that is not negative.
pub fn natural(value: i64, what: &str) -> Result<u64> {
    u64::try_from(value).map_err(|_| invalid(format!("{what} is negative")))
}

#[cfg(test)]
mod tests {
    use std::ptr::null_mut;

    use super::*;

    #[test]
    fn names_end_with_a_nul() {
        let names = |text: &str| {
            let c = Text {
                data: text.as_ptr().cast(),
                n: text.len() as i64,
            };
            // SAFETY: `c` is the text.
            unsafe { <Option<Vec<String>> as Argument>::take(c) }.expect("names")
        };
        for list in [vec![], vec![""], vec!["a"], vec!["a", "", "b"]] {
            let list: Vec<String> = list.into_iter().map(String::from).collect();
            let text = list.clone().give().expect("a text").into_string();
            assert_eq!(names(&text), Some(list));
        }
        let none = Text {
            data: null_mut(),
            n: -1,
        };
        // SAFETY: `none` is allowed.
        assert_eq!(
            unsafe { <Option<Vec<String>> as Argument>::take(none) }.expect("none"),
            None
        );
    }

    #[test]
    fn counts_and_nulls_are_refused() {
        let data = [1i64, 2];
        // SAFETY: `data` has as many values as it is asked for.
        unsafe {
            assert_eq!(borrowed(data.as_ptr(), 2).expect("two"), Some(&data[..]));
            assert_eq!(borrowed::<i64>(null_mut(), 0).expect("no"), Some(&[][..]));
            assert_eq!(borrowed(data.as_ptr(), -1).expect("none"), None);
            assert!(borrowed(data.as_ptr(), -2).is_err());
            assert!(borrowed::<i64>(null_mut(), 1).is_err());
        }
    }
}
