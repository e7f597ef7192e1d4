//! Columns that are added or get another type.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field as ArrowField, Schema as ArrowSchema};
use futures::{StreamExt, TryStreamExt};
use lance::dataset::fragment::{FileFragment, FragReadConfig};
use lance::dataset::transaction::Operation;
use lance::dataset::NewColumnTransform;
use lance::datatypes::{Field, Schema};
use lance::index::DatasetIndexExt;
use lance::Dataset;
use lance_arrow::json::{has_arrow_json_fields, has_json_fields};
use lance_table::format::Fragment;

use crate::cast::exact_cast;
use crate::error::{Error, Result, Status};
use crate::runtime::{block_on, AHEAD};
use crate::snapshot::Snapshot;
use crate::table::Table;

/// How often a change of columns is tried again when another commit came first.
const ATTEMPTS: usize = 5;

/// Bytes of a column in one batch of a cast, about.
const CAST_BATCH_BYTES: u64 = 8 << 20;

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

    fn retry(
        &self,
        change: impl AsyncFn(Arc<Dataset>) -> Result<Dataset>,
    ) -> Result<Arc<Snapshot>> {
        block_on(async {
            let _writing = self.gate.read().await;
            for _ in 1..ATTEMPTS {
                match change(self.newest()?).await {
                    Err(e) if e.status == Status::Conflict => self.refresh().await?,
                    outcome => return self.publish(outcome?),
                }
            }
            self.publish(change(self.newest()?).await?)
        })
    }

    async fn refresh(&self) -> Result<()> {
        let mut dataset = (*self.newest()?).clone();
        dataset.checkout_latest().await?;
        self.publish(dataset)?;
        Ok(())
    }
}

/// Rewrites one column of every fragment into a file of its own, and commits
/// these files and the changed schema together.
async fn cast_column(dataset: Arc<Dataset>, name: &str, to: &ArrowField) -> Result<Dataset> {
    let (schema, old, new) = changed_schema(&dataset, name, to)?;
    for index in dataset.load_indices().await?.iter() {
        if index.fields.contains(&old.id) {
            return Err(Error::schema(format!(
                "column {name:?} has the index {:?}",
                index.name
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
        fragments.push(cast_fragment(&dataset, &target, fragment, &old, &new).await?);
    }
    let live = schema.field_ids();
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
    let version = dataset.version_id();
    let session = dataset.session();
    Ok(Dataset::commit(dataset, operation, Some(version), None, None, session, true).await?)
}

/// The schema with the column changed, and the column before and after.
fn changed_schema(
    dataset: &Dataset,
    name: &str,
    to: &ArrowField,
) -> Result<(Schema, Field, Field)> {
    let mut schema = dataset.schema().clone();
    let next_id = dataset.manifest().max_field_id();
    let column = schema
        .fields
        .iter_mut()
        .find(|f| f.name == name)
        .ok_or_else(|| Error::schema(format!("no column {name:?}")))?;
    let old = column.clone();
    let from = ArrowField::from(&old);
    if has_json_fields(&from) || has_arrow_json_fields(to) {
        return Err(Error::schema(format!("column {name:?}: JSON is not cast")));
    }
    if old.nullable && !to.is_nullable() {
        return Err(Error::schema(format!(
            "column {name:?} cannot become required"
        )));
    }
    *column = Field::try_from(&to.clone().with_name(name))?;
    let position = schema.fields.iter().position(|f| f.name == name);
    schema.try_set_field_id(Some(next_id))?;
    schema.validate()?;
    let new = schema.fields[position.expect("it is there")].clone();
    Ok((schema, old, new))
}

async fn cast_fragment(
    dataset: &Arc<Dataset>,
    target: &Arc<Dataset>,
    fragment: &Fragment,
    old: &Field,
    new: &Field,
) -> Result<Fragment> {
    let only = |field: &Field| Schema {
        fields: vec![field.clone()],
        metadata: Default::default(),
    };
    let (source_schema, target_schema) = (only(old), only(new));
    let output = Arc::new(ArrowSchema::from(&target_schema));

    let file = FileFragment::new(dataset.clone(), fragment.clone());
    let config = FragReadConfig::default().with_ignore_deletions(true);
    let reader = file.open(&source_schema, config).await?;
    let rows = fragment.physical_rows.unwrap_or(0).max(1) as u64;
    let row_bytes = (crate::files::data_bytes(fragment) / rows).max(1);
    let batch_rows = (CAST_BATCH_BYTES / row_bytes).clamp(1, 8192) as u32;
    let data = reader
        .read_all(batch_rows)
        .await?
        .buffered(AHEAD)
        .map(|batch| {
            let column = exact_cast(batch?.column(0), output.field(0)).map_err(into_lance)?;
            Ok(RecordBatch::try_new(output.clone(), vec![column])?)
        });
    let written = FileFragment::new(target.clone(), fragment.clone())
        .write_columns(data.into_stream(), &target_schema)
        .await
        .map_err(from_lance)?;
    let mut fragment = fragment.clone();
    fragment.files.push(written.1);
    Ok(fragment)
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
