//! Filters that indexes answer to the end: the rows are then read by their ids,
//! without a plan.

use std::sync::Arc;

use async_trait::async_trait;
use lance::deps::datafusion::logical_expr::Expr;
use lance::index::DatasetIndexExt;
use lance_core::deepsize::DeepSizeOf;
use lance_index::metrics::{MetricsCollector, NoOpMetricsCollector};
use lance_index::scalar::expression::{apply_scalar_indices, ScalarIndexExpr, ScalarIndexLoader};
use lance_index::scalar::ScalarIndex;
use lance_select::NullableIndexExprResult;

use crate::error::Result;
use crate::snapshot::Snapshot;

/// More rows are found by a scan, which streams.
const MOST: u64 = 1 << 20;

/// Larger indexes are not held open: the session's cache bounds what they take.
const HELD_BYTES: usize = 4 << 20;

/// Files of an index of at most so many bytes are read as a whole when the first
/// query needs any of it.
const WARMED_BYTES: u64 = 8 << 20;

impl Snapshot {
    /// The search of indexes that gives the rows for which a filter is true, of all
    /// fragments and no others.
    pub async fn index_search(&self, filter: &Expr) -> Result<Option<ScalarIndexExpr>> {
        let Some(indexes) = self.scalar_indexes().await? else {
            return Ok(None);
        };
        let found = apply_scalar_indices(filter.clone(), indexes)?;
        let search = found.scalar_query.filter(|search| {
            found.refine_expr.is_none() && !search.needs_recheck() && self.covered(search)
        });
        Ok(search.map(ScalarIndexExpr::optimize))
    }

    /// The row ids, rising, for which a filter is true, where indexes know them.
    pub async fn indexed_ids(&self, filter: &Expr) -> Result<Option<Vec<i64>>> {
        let Some(search) = self.index_search(filter).await? else {
            return Ok(None);
        };
        let found = search.evaluate(self, &NoOpMetricsCollector).await?;
        let few = found.upper.max_len().is_some_and(|rows| rows <= MOST);
        let Some(rows) = found.upper.iter_addrs().filter(|_| few && found.is_exact()) else {
            return Ok(None);
        };
        // Rows that were removed stay in an index.
        let live = self.live().await?;
        let ids = rows.map(u64::from).filter(|id| live.contains(*id));
        Ok(Some(ids.map(|id| id as i64).collect()))
    }

    /// Has the pages of a small index read once, beside the query that is the first.
    async fn warm(&self, name: &str, index: &Arc<dyn ScalarIndex>) -> lance::Result<()> {
        let parts = self.dataset.load_indices_by_name(name).await?;
        let sizes = parts.iter().map(|part| part.total_size_bytes());
        let bytes = sizes.sum::<Option<u64>>();
        if bytes.is_none_or(|bytes| bytes > WARMED_BYTES) {
            return Ok(());
        }
        let mut warmed = self.shared.warmed.lock().unwrap_or_else(|e| e.into_inner());
        let ids = parts.iter().map(|part| part.uuid.to_string());
        if ids.filter(|id| warmed.insert(id.clone())).count() > 0 {
            let index = index.clone();
            // What it fails to read, queries read themselves.
            tokio::spawn(async move { index.prewarm().await });
        }
        Ok(())
    }

    /// Whether indexes have all rows as they are now.
    fn covered(&self, search: &ScalarIndexExpr) -> bool {
        match search {
            ScalarIndexExpr::Not(inner) => self.covered(inner),
            ScalarIndexExpr::And(a, b) | ScalarIndexExpr::Or(a, b) => {
                self.covered(a) && self.covered(b)
            }
            ScalarIndexExpr::Query(leaf) => leaf.fragment_bitmap.as_ref().is_some_and(|has| {
                let mut fragments = self.dataset.fragments().iter();
                fragments.all(|f| f.overlays.is_empty() && has.contains(f.id as u32))
            }),
        }
    }
}

/// Lance makes an index anew, of what its caches have, each time that it is asked.
#[async_trait]
impl ScalarIndexLoader for Snapshot {
    async fn load_index(
        &self,
        column: &str,
        index_name: &str,
        metrics: &dyn MetricsCollector,
    ) -> lance::Result<Arc<dyn ScalarIndex>> {
        let held = self.held_indexes().get(index_name).cloned();
        if let Some(index) = held {
            return Ok(index);
        }
        let dataset = &*self.dataset;
        let index = ScalarIndexLoader::load_index(dataset, column, index_name, metrics).await?;
        if index.deep_size_of() <= HELD_BYTES {
            self.held_indexes()
                .insert(index_name.to_owned(), index.clone());
        }
        self.warm(index_name, &index).await?;
        Ok(index)
    }

    async fn row_addr_result_to_row_ids(
        &self,
        result: NullableIndexExprResult,
    ) -> lance::Result<NullableIndexExprResult> {
        self.dataset.row_addr_result_to_row_ids(result).await
    }
}
