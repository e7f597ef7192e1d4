//! Columns of vectors.

use arrow_schema::{DataType, FieldRef};
use lance::datatypes::Schema;

use crate::error::{invalid, Error, Result};
use crate::sql::path;

/// The field of the numbers, and how many there are in each vector, of a column.
pub fn vectors(schema: &Schema, column: &str) -> Result<(FieldRef, usize)> {
    let field = schema.field(&path(column));
    let field = field.ok_or_else(|| invalid(format!("no column {column:?}")))?;
    match field.data_type() {
        DataType::FixedSizeList(item, n) => Ok((item, n as usize)),
        kind => Err(no_vectors(column, &kind)),
    }
}

/// Why a column holds no vectors, and what makes it hold some.
pub fn no_vectors(column: &str, kind: &DataType) -> Error {
    let advice = match kind {
        DataType::List(item) if item.data_type().is_floating() => format!(
            "; where all rows have the same number of items, \
             cast_column({column:?}, pa.list_({}, that number)) makes it one",
            match item.data_type() {
                DataType::Float16 => "pa.float16()",
                DataType::Float32 => "pa.float32()",
                _ => "pa.float64()",
            }
        ),
        _ => String::new(),
    };
    invalid(format!(
        "column {column:?} is {kind}: vectors are a fixed_size_list of floats{advice}"
    ))
}
