//! Columns to read.

use std::sync::Arc;

use arrow_schema::{Schema as ArrowSchema, SchemaRef};
use lance::datatypes::Schema;
use lance_arrow::json::lance_json_to_arrow_json;

/// Columns to read: as Lance stores them, and as they come out.
#[derive(Clone)]
pub struct Projection {
    pub inner: Arc<Schema>,
    pub outer: SchemaRef,
}

impl Projection {
    pub fn new(inner: Schema) -> Self {
        Self {
            outer: Arc::new(outer_schema(&inner)),
            inner: Arc::new(inner),
        }
    }
}

/// Columns as they come out of reads, which Lance stores otherwise.
pub fn outer_schema(schema: &Schema) -> ArrowSchema {
    let stored = ArrowSchema::from(schema);
    let fields: Vec<_> = stored
        .fields()
        .iter()
        .map(|f| lance_json_to_arrow_json(f))
        .collect();
    ArrowSchema::new_with_metadata(fields, stored.metadata().clone())
}
