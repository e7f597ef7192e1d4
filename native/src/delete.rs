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
        self.retry(async |newest| delete_before(newest, id).await)
    }
}

async fn delete_before(dataset: Arc<Dataset>, id: u64) -> Result<Dataset> {
    let layout = Layout::load(&dataset).await?;
    let mut rows: Vec<Vec<Range<u32>>> = vec![Vec::new(); dataset.fragments().len()];
    for piece in layout.pieces(0..id) {
        rows[piece.fragment].push(piece.rows);
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
        predicate: format!("_rowid < {id}"),
    };
    commit(&dataset, operation).await
}
