//! Rows that are deleted.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use lance::dataset::fragment::FileFragment;
use lance::dataset::transaction::Operation;
use lance::dataset::DeleteBuilder;
use lance::Dataset;

use crate::depth::depth;
use crate::error::Result;
use crate::filter::{evaluated, fault, Filters};
use crate::layout::Layout;
use crate::snapshot::Snapshot;
use crate::stack::with_stack;
use crate::table::{commit, Table};

impl Table {
    /// Deletes the rows that a filter is true for.
    pub fn delete(&self, filter: &str) -> Result<Arc<Snapshot>> {
        let depth = depth(filter).map_err(|e| fault(&e))?;
        with_stack(depth.stack_bytes(), || {
            self.retry(async |newest: Arc<Dataset>| {
                let filters = Filters::new(newest.schema())?;
                let filter = filters.parse(filter, &HashMap::new());
                let filter = filter.map_err(|e| fault(&e))?;
                let delete = DeleteBuilder::from_expr(newest, filter);
                let done = delete.execute().await.map_err(evaluated)?;
                Ok((*done.new_dataset).clone())
            })
        })
    }

    /// Deletes the rows with smaller row ids.
    pub fn delete_before(&self, id: u64) -> Result<Arc<Snapshot>> {
        let predicate = format!("_rowid < {id}");
        self.retry(async |newest| {
            delete_ids(newest, std::slice::from_ref(&(0..id)), &predicate).await
        })
    }

    /// Deletes the rows with these row ids; those that are not there are passed over.
    pub fn delete_rows(&self, ids: &[u64]) -> Result<Arc<Snapshot>> {
        let ranges: Vec<Range<u64>> = ids.iter().map(|id| *id..*id + 1).collect();
        let predicate = format!("_rowid IN ({} of them)", ids.len());
        self.retry(async |newest| delete_ids(newest, &ranges, &predicate).await)
    }
}

/// Deletes the rows with ids in ranges; without any there is no new version.
async fn delete_ids(dataset: Arc<Dataset>, ids: &[Range<u64>], predicate: &str) -> Result<Dataset> {
    let layout = Layout::load(&dataset).await?;
    let mut rows: Vec<Vec<Range<u32>>> = vec![Vec::new(); dataset.fragments().len()];
    for piece in ids.iter().flat_map(|range| layout.pieces(range.clone())) {
        rows[piece.fragment].push(piece.rows);
    }
    if rows.iter().all(Vec::is_empty) {
        return Ok((*dataset).clone());
    }
    let mut updated_fragments = Vec::new();
    let mut deleted_fragment_ids = Vec::new();
    for (fragment, rows) in dataset.fragments().iter().zip(rows) {
        if rows.is_empty() {
            continue;
        }
        let file = FileFragment::new(dataset.clone(), fragment.clone());
        match file.extend_deletions(rows.into_iter().flatten()).await? {
            Some(file) => updated_fragments.push(file.metadata().clone()),
            None => deleted_fragment_ids.push(fragment.id),
        }
    }
    let operation = Operation::Delete {
        updated_fragments,
        deleted_fragment_ids,
        predicate: predicate.to_string(),
    };
    commit(&dataset, operation).await
}
