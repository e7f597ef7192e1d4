//! Rows that are deleted, and which are left.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use lance::dataset::fragment::FileFragment;
use lance::dataset::transaction::Operation;
use lance::dataset::DeleteBuilder;
use lance::Dataset;

use crate::columns::commit;
use crate::depth::depth;
use crate::error::Result;
use crate::files::data_bytes;
use crate::filter::{evaluated, fault, Filters};
use crate::layout::Layout;
use crate::runtime::block_on;
use crate::snapshot::Snapshot;
use crate::stack::with_stack;
use crate::table::Table;

/// The row ids that are left: ranges, in order, and how many rows come before each.
#[derive(Debug, Default)]
pub struct Live(Vec<(Range<u64>, u64)>);

/// Where a row id is among those that are left.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// How many rows come before it.
    pub rank: u64,
    /// The first run of row ids that are left, at or after it; empty at the end.
    pub run: Range<u64>,
}

impl Live {
    pub async fn load(dataset: &Arc<Dataset>, layout: &Layout) -> Result<Self> {
        let mut deleted = Vec::with_capacity(dataset.fragments().len());
        for fragment in dataset.fragments().iter() {
            let file = FileFragment::new(dataset.clone(), fragment.clone());
            let vector = file.get_deletion_vector().await?;
            deleted.push(vector.map_or_else(Vec::new, |v| v.to_sorted_iter().collect()));
        }
        let mut live = Self::default();
        layout.runs(|fragment, rows, first| {
            let holes: &[u32] = &deleted[fragment];
            let start = holes.partition_point(|row| *row < rows.start);
            let mut from = rows.start;
            let id = |row: u32| first + u64::from(row - rows.start);
            for &hole in holes[start..].iter().take_while(|row| **row < rows.end) {
                live.push(id(from)..id(hole));
                from = hole + 1;
            }
            live.push(id(from)..id(rows.end));
        });
        Ok(live)
    }

    fn push(&mut self, ids: Range<u64>) {
        match self.0.last_mut() {
            _ if ids.is_empty() => {}
            Some((last, _)) if last.end == ids.start => last.end = ids.end,
            Some((last, rank)) => {
                let rank = *rank + last.end - last.start;
                self.0.push((ids, rank));
            }
            None => self.0.push((ids, 0)),
        }
    }

    /// How many of the row ids of a range are left.
    fn count(&self, ids: Range<u64>) -> u64 {
        if ids.is_empty() {
            return 0;
        }
        self.seek(ids.end, 0).rank - self.seek(ids.start, 0).rank
    }

    pub fn contains(&self, id: u64) -> bool {
        let i = self.0.partition_point(|(run, _)| run.end <= id);
        self.0.get(i).is_some_and(|(run, _)| run.start <= id)
    }

    pub fn seek(&self, id: u64, next: u64) -> Place {
        let i = self.0.partition_point(|(run, _)| run.end <= id);
        match self.0.get(i) {
            Some((run, rank)) => {
                let from = id.max(run.start);
                Place {
                    rank: rank + from - run.start,
                    run: from..run.end,
                }
            }
            None => Place {
                rank: self.0.last().map_or(0, |(r, rank)| rank + r.end - r.start),
                run: next..next,
            },
        }
    }
}

impl Snapshot {
    /// Where a row id is among those that are left.
    pub fn seek(&self, id: u64) -> Result<Place> {
        block_on(async {
            let live = self.live().await?;
            Ok(live.seek(id, self.dataset.manifest().next_row_id))
        })
    }

    /// What the rows that are left from a row id on take in the data files: of each
    /// file the share that its rows have of all that it was written with.
    pub fn bytes_from(&self, id: u64) -> Result<u64> {
        block_on(async {
            let live = self.live().await?;
            let mut rows = vec![0; self.dataset.fragments().len()];
            self.layout().await?.runs(|fragment, physical, first| {
                let end = first + physical.len() as u64;
                rows[fragment] += live.count(id.max(first)..end);
            });
            let shares = self.dataset.fragments().iter().zip(rows);
            let bytes = shares.map(|(fragment, rows)| {
                let written = fragment.physical_rows.unwrap_or(0).max(1) as u128;
                (u128::from(data_bytes(fragment)) * u128::from(rows) / written) as u64
            });
            Ok(bytes.sum())
        })
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_what_is_left() {
        let mut live = Live::default();
        for ids in [0..3, 3..5, 7..7, 8..10] {
            live.push(ids);
        }
        let place = |id| live.seek(id, 12);
        let at = |rank, run| Place { rank, run };
        assert_eq!(place(0), at(0, 0..5));
        assert_eq!(place(4), at(4, 4..5));
        assert_eq!(place(5), at(5, 8..10));
        assert_eq!(place(9), at(6, 9..10));
        assert_eq!(place(10), at(7, 12..12));
        let ids: Vec<u64> = (0..12).filter(|&id| live.contains(id)).collect();
        assert_eq!(ids, [0, 1, 2, 3, 4, 8, 9]);
        assert_eq!(Live::default().seek(3, 12), at(0, 12..12));
        assert_eq!(live.count(0..12), 7);
        assert_eq!(live.count(4..9), 2);
        assert_eq!(live.count(5..8), 0);
    }
}
