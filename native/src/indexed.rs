//! Filters that indexes answer to the end: the rows are then read by their ids,
//! without a plan.

use lance::deps::datafusion::logical_expr::Expr;
use lance_index::metrics::NoOpMetricsCollector;
use lance_index::scalar::expression::{apply_scalar_indices, ScalarIndexExpr};

use crate::error::Result;
use crate::snapshot::Snapshot;

/// More rows are found by a scan, which streams.
const MOST: u64 = 1 << 20;

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
        let found = search
            .evaluate(&*self.dataset, &NoOpMetricsCollector)
            .await?;
        let few = found.upper.max_len().is_some_and(|rows| rows <= MOST);
        let Some(rows) = found.upper.iter_addrs().filter(|_| few && found.is_exact()) else {
            return Ok(None);
        };
        // Rows that were removed stay in an index.
        let live = self.live().await?;
        let ids = rows.map(u64::from).filter(|id| live.contains(*id));
        Ok(Some(ids.map(|id| id as i64).collect()))
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
