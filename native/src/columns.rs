//! Columns that are added or get another type.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_schema::{ArrowError, Field as ArrowField, Schema as ArrowSchema};
use arrow_select::take::take;
use futures::stream::{self, StreamExt};
use lance::dataset::fragment::{FileFragment, FragReadConfig};
use lance::dataset::transaction::Operation;
use lance::dataset::NewColumnTransform;
use lance::datatypes::{Field, Schema};
use lance::index::DatasetIndexExt;
use lance::Dataset;
use lance_arrow::json::{has_arrow_json_fields, has_json_fields};
use lance_table::format::Fragment;

use crate::cast::exact_cast;
use crate::error::{Error, Result};
use crate::fragments::data_bytes;
use crate::runtime::AHEAD;
use crate::snapshot::Snapshot;
use crate::table::{commit, Table};

/// Bytes of a column in one batch of a cast, about.
const CAST_BATCH_BYTES: u64 = 8 << 20;

/// Rows of one batch of a column that is made of no other.
const CONSTANT_BATCH_ROWS: usize = 8192;

impl Table {
    pub fn add_columns(&self, schema: ArrowSchema) -> Result<Arc<Snapshot>> {
        let schema = Arc::new(schema);
        self.retry(async |newest: Arc<Dataset>| {
            let mut dataset = (*newest).clone();
            let nulls = NewColumnTransform::AllNulls(schema.clone());
            dataset.add_columns(nulls, None, None).await?;
            Ok(dataset)
        })
    }

    pub fn cast_column(&self, name: &str, to: &ArrowField) -> Result<Arc<Snapshot>> {
        self.retry(async |newest| cast_column(newest, name, to).await)
    }
}

/// Casts a column; see `write_column`.
async fn cast_column(dataset: Arc<Dataset>, name: &str, to: &ArrowField) -> Result<Dataset> {
    let (schema, old, new) = changed_schema(&dataset, name, to)?;
    if has_json_fields(&ArrowField::from(&old)) || has_arrow_json_fields(to) {
        return Err(Error::schema(format!("column {name:?}: JSON is not cast")));
    }
    let output = ArrowField::from(&new);
    let cast = move |batch: RecordBatch| exact_cast(batch.column(0), &output);
    write_column(dataset, schema, only(&old), &new, &cast).await
}

/// The schema with the column changed, and the column before and after.
fn changed_schema(
    dataset: &Dataset,
    name: &str,
    to: &ArrowField,
) -> Result<(Schema, Field, Field)> {
    let mut schema = dataset.schema().clone();
    let position = position(&schema, name)?;
    let old = schema.fields[position].clone();
    if old.nullable && !to.is_nullable() {
        return Err(Error::schema(format!(
            "column {name:?} cannot become required"
        )));
    }
    schema.fields[position] = Field::try_from(&to.clone().with_name(name))?;
    let schema = numbered(dataset, schema)?;
    let new = schema.fields[position].clone();
    Ok((schema, old, new))
}

/// Gives ids to the fields that have none.
pub fn numbered(dataset: &Dataset, mut schema: Schema) -> Result<Schema> {
    schema.try_set_field_id(Some(dataset.manifest().max_field_id()))?;
    schema.validate()?;
    Ok(schema)
}

pub fn position(schema: &Schema, name: &str) -> Result<usize> {
    let position = schema.fields.iter().position(|f| f.name == name);
    position.ok_or_else(|| Error::schema(format!("no column {name:?}")))
}

/// The schema of one field.
pub fn only(field: &Field) -> Schema {
    Schema {
        fields: vec![field.clone()],
        metadata: Default::default(),
    }
}

/// Makes the values of a column from a batch of the columns that it is made of.
pub type Compute<'a> = &'a (dyn Fn(RecordBatch) -> Result<ArrayRef> + Send + Sync);

/// Writes column `new` of every fragment into a file of its own, made of the
/// columns `source`, and commits these files and `schema` together. `schema` has
/// `new`, and lacks what `new` replaces.
pub async fn write_column(
    dataset: Arc<Dataset>,
    schema: Schema,
    source: Schema,
    new: &Field,
    compute: Compute<'_>,
) -> Result<Dataset> {
    let live: HashSet<i32> = schema.field_ids().into_iter().collect();
    let gone: Vec<&Field> = dataset.schema().fields.iter().collect();
    for index in dataset.load_indices().await?.iter() {
        let lost = gone
            .iter()
            .find(|f| !live.contains(&f.id) && index.fields.contains(&f.id));
        if let Some(column) = lost {
            return Err(Error::schema(format!(
                "column {:?} has the index {:?}",
                column.name, index.name
            )));
        }
    }
    // Files are written against the schema that the commit brings.
    let mut manifest = dataset.manifest().clone();
    manifest.schema = schema.clone();
    let mut target = (*dataset).clone();
    target.manifest = Arc::new(manifest);
    let target = Arc::new(target);

    let mut fragments = Vec::with_capacity(dataset.fragments().len());
    for fragment in dataset.fragments().iter() {
        fragments.push(write_fragment(&dataset, &target, fragment, &source, new, compute).await?);
    }
    for fragment in &mut fragments {
        fragment
            .files
            .retain(|file| file.fields.iter().any(|id| live.contains(id)));
    }
    let operation = Operation::Merge {
        fragments,
        schema,
        preserves_nullability: new.nullable,
    };
    commit(&dataset, operation).await
}

async fn write_fragment(
    dataset: &Arc<Dataset>,
    target: &Arc<Dataset>,
    fragment: &Fragment,
    source: &Schema,
    new: &Field,
    compute: Compute<'_>,
) -> Result<Fragment> {
    let target_schema = only(new);
    let output = Arc::new(ArrowSchema::from(&target_schema));
    let rows = fragment.physical_rows.unwrap_or(0);
    let batches = if source.fields.is_empty() {
        let counts = (0..rows).step_by(CONSTANT_BATCH_ROWS);
        let sizes = counts.map(move |start| CONSTANT_BATCH_ROWS.min(rows - start));
        stream::iter(sizes.map(|n| Ok(without_columns(n)?))).boxed()
    } else {
        let file = FileFragment::new(dataset.clone(), fragment.clone());
        let config = FragReadConfig::default().with_ignore_deletions(true);
        let row_bytes = (data_bytes(fragment) / rows.max(1) as u64).max(1);
        let batch_rows = (CAST_BATCH_BYTES / row_bytes).clamp(1, 8192) as u32;
        let reader = file.open(source, config).await?;
        reader.read_all(batch_rows).await?.buffered(AHEAD).boxed()
    };
    let deleted = FileFragment::new(dataset.clone(), fragment.clone())
        .get_deletion_vector()
        .await?
        .filter(|_| new.nullable);
    let mut at = 0;
    let data = batches.map(move |batch| {
        let mut batch = batch?;
        if let Some(deleted) = &deleted {
            batch = hidden(&batch, (at..).map(|row| deleted.contains(row)))?;
        }
        at += batch.num_rows() as u32;
        let column = compute(batch).map_err(into_lance)?;
        Ok(RecordBatch::try_new(output.clone(), vec![column])?)
    });
    let written = FileFragment::new(target.clone(), fragment.clone())
        .write_columns(data, &target_schema)
        .await
        .map_err(from_lance)?;
    let mut fragment = fragment.clone();
    fragment.files.push(written.1);
    Ok(fragment)
}

/// A batch with nulls in the rows that are deleted, whose values must not keep the
/// others from a type.
fn hidden(
    batch: &RecordBatch,
    deleted: impl Iterator<Item = bool>,
) -> std::result::Result<RecordBatch, ArrowError> {
    let rows = (0..batch.num_rows() as u32).zip(deleted);
    let rows: UInt32Array = rows.map(|(row, gone)| (!gone).then_some(row)).collect();
    let schema = batch.schema();
    let fields = schema.fields().iter();
    let fields: Vec<_> = fields
        .map(|f| f.as_ref().clone().with_nullable(true))
        .collect();
    let columns = batch.columns().iter().map(|c| take(c, &rows, None));
    let columns = columns.collect::<std::result::Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(ArrowSchema::new(fields)), columns, &options)
}

fn without_columns(rows: usize) -> std::result::Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(ArrowSchema::empty()), vec![], &options)
}

/// Carries an error of ours through a stream of Lance's.
fn into_lance(e: Error) -> lance::Error {
    lance::Error::wrapped(Box::new(e))
}

fn from_lance(e: lance::Error) -> Error {
    match e {
        lance::Error::Wrapped {
            error, location, ..
        } => match error.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(error) => Error::internal(format!("{error}, {location}")),
        },
        e => e.into(),
    }
}
