//! Mends a version whose files are gone.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{new_null_array, RecordBatch};
use arrow_schema::Schema as ArrowSchema;
use futures::stream;
use lance::dataset::builder::DatasetBuilder;
use lance::dataset::fragment::FileFragment;
use lance::dataset::transaction::Operation;
use lance::datatypes::Schema;
use lance::index::DatasetIndexExt;
use lance::Dataset;
use lance_table::format::{DataFile, Fragment, Manifest};

use crate::check::{versions, Flaw, Part};
use crate::error::{Error, Result};
use crate::files::VERSIONS_DIR;
use crate::runtime::{block_on, private_session};

/// Rows of one batch of nulls.
const NULL_ROWS: usize = 8192;

fn set_aside(dir: &Path, names: Vec<String>) -> Result<Vec<String>> {
    let versions = dir.join(VERSIONS_DIR);
    let mut renamed = Vec::with_capacity(names.len());
    for name in names {
        let aside = format!("{name}.corrupt");
        fs::rename(versions.join(&name), versions.join(&aside))?;
        renamed.push(format!("{VERSIONS_DIR}/{aside}"));
    }
    if !renamed.is_empty() {
        File::open(&versions)?.sync_all()?;
    }
    Ok(renamed)
}

/// Makes `number` the head, sets the manifests above it aside, and commits a
/// version after it that refers to none of the files that are missing or short:
/// what they held is null. Returns the new names, relative to `dir`.
pub fn mend(dir: &Path, number: u64) -> Result<Vec<String>> {
    let mut all = versions(dir, number, 0)?;
    let version = match all.iter().position(|v| !v.above) {
        Some(i) if all[i].number == number && all[i].torn.is_none() => all.remove(i),
        _ => return Err(Error::corrupt(format!("version {number} cannot be read"))),
    };
    let unmendable = |f: &&Flaw| matches!(f.part, Part::Deletions(_));
    if let Some(flaw) = version.flaws.iter().find(unmendable) {
        return Err(Error::corrupt(format!("{} {}", flaw.file, flaw.what)));
    }
    let required = |m: &Manifest| m.schema.fields.iter().any(|f| !f.nullable);
    if version.manifest.as_ref().is_some_and(required) {
        return Err(Error::schema("a column may not be null"));
    }
    let above = all.into_iter().filter(|v| v.above).map(|v| v.name);
    let renamed = set_aside(dir, above.collect())?;
    let uri = dir.to_string_lossy();
    block_on(async {
        let mut dataset = DatasetBuilder::from_uri(&uri)
            .with_version(number)
            .with_session(private_session())
            .load()
            .await?;
        let indexes: BTreeSet<&String> = version
            .flaws
            .iter()
            .filter_map(|f| match &f.part {
                Part::Index(name) => Some(name),
                _ => None,
            })
            .collect();
        for name in indexes {
            dataset.drop_index(name).await?;
        }
        if version
            .flaws
            .iter()
            .any(|f| matches!(f.part, Part::Data(_)))
        {
            drop_files(Arc::new(dataset), &version.flaws).await?;
        }
        Ok(())
    })
    .map(|()| renamed)
}

async fn drop_files(dataset: Arc<Dataset>, flaws: &[Flaw]) -> Result<()> {
    let gone: HashSet<&str> = flaws
        .iter()
        .filter_map(|f| f.file.strip_prefix("data/"))
        .collect();
    let mut fragments = Vec::with_capacity(dataset.fragments().len());
    for whole in dataset.fragments().iter() {
        let mut fragment = whole.clone();
        fragment.files.retain(|f| !gone.contains(f.path.as_str()));
        if fragment.files.is_empty() {
            let file = FileFragment::new(dataset.clone(), whole.clone());
            let written = write_nulls(&dataset, file, whole).await?;
            fragment.files.push(written);
        }
        fragments.push(fragment);
    }
    let operation = Operation::Merge {
        fragments,
        schema: dataset.schema().clone(),
        preserves_nullability: true,
    };
    let (version, session) = (dataset.version_id(), dataset.session());
    Dataset::commit(dataset, operation, Some(version), None, None, session, true).await?;
    Ok(())
}

/// A fragment needs a file: the first column, with nothing in it.
async fn write_nulls(
    dataset: &Dataset,
    file: FileFragment,
    fragment: &Fragment,
) -> Result<DataFile> {
    let schema = Schema {
        fields: dataset.schema().fields[..1].to_vec(),
        metadata: Default::default(),
    };
    let columns = Arc::new(ArrowSchema::from(&schema));
    let rows = fragment.physical_rows.unwrap_or(0);
    let batches = (0..rows).step_by(NULL_ROWS).map(move |at| {
        let column = new_null_array(columns.field(0).data_type(), NULL_ROWS.min(rows - at));
        Ok(RecordBatch::try_new(columns.clone(), vec![column])?)
    });
    Ok(file.write_columns(stream::iter(batches), &schema).await?.1)
}
