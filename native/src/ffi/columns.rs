//! Changes of columns and of rows.

use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_schema::Schema;

use super::export;
use super::values::{field, natural, rows};
use crate::error::{invalid, Result};
use crate::evolve::Fill;
use crate::snapshot::Snapshot;
use crate::sql::translate;
use crate::table::Table;

export! {
    /// Adds the fields of schema at the end, all null; writes no data file.
    fn pn_table_add_columns(table: &Table, schema: FFI_ArrowSchema) -> Arc<Snapshot> {
        table.add_columns(Schema::try_from(&schema)?)
    }

    /// Gives the top-level column `name` the type, the nullability and the metadata
    /// of the one field of `to`, whose name is ignored, in one commit. Place, name
    /// and row ids stay. PN_INEXACT, and nothing changed, when any value would not
    /// survive the way there and back.
    fn pn_table_cast_column(table: &Table, name: &str, to: FFI_ArrowSchema) -> Arc<Snapshot> {
        table.cast_column(name, &field(&to)?)
    }

    /// Adds the one field of schema, filled in all rows: with `value`, a struct array
    /// of one row, or with the SQL `expression` over the other columns; the other of
    /// the two is NULL, or none. Only the new column is written. PN_INVALID_ARGUMENT with
    /// the parser's message for a bad expression, PN_INEXACT when the field cannot hold
    /// one of its values.
    fn pn_table_fill_column(
        table: &Table,
        schema: FFI_ArrowSchema,
        value: Option<FFI_ArrowArray>,
        expression: Option<&str>,
    ) -> Arc<Snapshot> {
        let fill = match (value, expression) {
            (Some(value), None) => Fill::Value(rows(value, &Arc::new(Schema::try_from(&schema)?))?),
            (None, Some(expression)) => Fill::Expression(expression.to_owned()),
            _ => return Err(invalid("want a value or an expression")),
        };
        table.fill_column(&field(&schema)?, &fill)
    }

    /// Takes a top-level column out; writes no data file.
    fn pn_table_drop_column(table: &Table, name: &str) -> Arc<Snapshot> {
        table.drop_column(name)
    }

    /// Gives a top-level column the name and the metadata of the one field of `to`,
    /// whose type is that of the column; writes no data file.
    fn pn_table_rename_column(table: &Table, name: &str, to: FFI_ArrowSchema) -> Arc<Snapshot> {
        table.rename_column(name, &field(&to)?)
    }

    /// Renames the key `key` to `to`, or takes it out (none), in the JSON objects that
    /// the utf8 column holds; an object that is empty then becomes null.
    fn pn_table_rewrite_keys(
        table: &Table,
        column: &str,
        key: &str,
        to: Option<&str>,
    ) -> Arc<Snapshot> {
        table.rewrite_keys(column, key, to)
    }

    /// Deletes the rows for which the SQL filter is true. The others keep their row
    /// ids. PN_INVALID_ARGUMENT with the parser's message for a bad filter.
    fn pn_table_delete(table: &Table, filter: &str) -> Arc<Snapshot> {
        table.delete(filter)
    }

    /// Deletes the rows with row ids below row_id.
    fn pn_table_delete_before(table: &Table, row_id: i64) -> Arc<Snapshot> {
        table.delete_before(natural(row_id, "a row id")?)
    }

    /// Deletes the rows with these row ids, in one new version; those that are not there
    /// are passed over.
    fn pn_table_delete_rows(table: &Table, ids: &[i64]) -> Arc<Snapshot> {
        let ids = ids.iter().map(|id| natural(*id, "a row id"));
        table.delete_rows(&ids.collect::<Result<Vec<_>>>()?)
    }

    /// SQL, an expression or a filter, with each name that names, a JSON object, has
    /// replaced by the one it has there. PN_INVALID_ARGUMENT with the parser's message
    /// when it is none.
    fn pn_sql_stored(sql: &str, names: &str) -> String {
        let names = serde_json::from_str(names).map_err(invalid)?;
        translate(sql, &names, &[])
    }

    /// The type of an SQL expression over the columns, as the one field of the schema.
    fn pn_snapshot_expression_type(snapshot: &Arc<Snapshot>, expression: &str) -> Schema {
        snapshot.expression_type(expression)
    }
}
