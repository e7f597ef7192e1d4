//! The row ids that are left after deletions.

use std::ops::Range;
use std::sync::Arc;

use lance::dataset::fragment::FileFragment;
use lance::Dataset;

use crate::error::Result;
use crate::layout::Layout;

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
    pub fn count(&self, ids: Range<u64>) -> u64 {
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
