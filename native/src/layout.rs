//! Where rows are: the runs of row ids of a version's fragments, in row-id
//! order, whatever order the fragments have.

use std::collections::HashSet;
use std::ops::Range;

use lance::dataset::rowids::load_row_id_sequence;
use lance::Dataset;
use lance_table::format::{Fragment, RowIdMeta};
use lance_table::rowids::{read_row_ids, segment::U64Segment, RowIdSequence};

use crate::error::{Error, Result};

/// Consecutive row ids in consecutive rows of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u64,
    len: u32,
    /// Position of the fragment in the manifest.
    fragment: u32,
    /// Physical row of the fragment that has the id `first`.
    offset: u32,
}

/// Physical rows of one fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Position of the fragment in the manifest.
    pub fragment: usize,
    pub rows: Range<u32>,
}

/// The runs, by row id.
#[derive(Debug, Default)]
pub struct Layout(Vec<Run>);

impl Layout {
    pub async fn load(dataset: &Dataset) -> Result<Self> {
        let fragments = dataset.fragments();
        let mut runs = Vec::with_capacity(fragments.len());
        for (position, fragment) in fragments.iter().enumerate() {
            let sequence = match &fragment.row_id_meta {
                // Inline ids are cheaper decoded than looked up in a cache.
                Some(RowIdMeta::Inline(bytes)) => read_row_ids(bytes)?,
                _ => (*load_row_id_sequence(dataset, fragment).await?).clone(),
            };
            if fragment.physical_rows != Some(sequence.len() as usize) {
                return Err(Error::corrupt(format!(
                    "fragment {} has {:?} rows and {} row ids",
                    fragment.id,
                    fragment.physical_rows,
                    sequence.len()
                )));
            }
            push_runs(&mut runs, position as u32, &sequence);
        }
        Self::new(runs)
    }

    fn new(mut runs: Vec<Run>) -> Result<Self> {
        runs.sort_unstable_by_key(|run| run.first);
        for pair in runs.windows(2) {
            if pair[0].end() > pair[1].first {
                return Err(Error::corrupt(format!(
                    "row id {} is there twice",
                    pair[1].first
                )));
            }
        }
        Ok(Self(runs))
    }

    /// The physical rows that hold the row ids, in row-id order. Neighbours in
    /// one fragment come as one piece.
    pub fn pieces(&self, ids: Range<u64>) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        if ids.is_empty() {
            return pieces;
        }
        let start = self.0.partition_point(|run| run.end() <= ids.start);
        for run in self.0[start..].iter().take_while(|run| run.first < ids.end) {
            let from = ids.start.saturating_sub(run.first) as u32;
            let to = (ids.end - run.first).min(u64::from(run.len)) as u32;
            let rows = run.offset + from..run.offset + to;
            match pieces.last_mut() {
                Some(last)
                    if last.fragment == run.fragment as usize && last.rows.end == rows.start =>
                {
                    last.rows.end = rows.end;
                }
                _ => pieces.push(Piece {
                    fragment: run.fragment as usize,
                    rows,
                }),
            }
        }
        pieces
    }

    /// Calls `f` with the fragment, the physical rows and the first row id of each
    /// run, in row-id order.
    pub fn runs(&self, mut f: impl FnMut(usize, Range<u32>, u64)) {
        for run in &self.0 {
            let rows = run.offset..run.offset + run.len;
            f(run.fragment as usize, rows, run.first);
        }
    }

    /// The fragment and the physical row that hold a row id.
    pub fn find(&self, id: u64) -> Option<(usize, u32)> {
        let after = self.0.partition_point(|run| run.first <= id);
        let run = self.0[..after].last()?;
        (id < run.end()).then(|| {
            let offset = run.offset + (id - run.first) as u32;
            (run.fragment as usize, offset)
        })
    }

    /// Positions of the fragments, each once, by their first row id; and
    /// whether ids rise within each and from each to the next.
    pub fn order(&self) -> (Vec<usize>, bool) {
        let mut order: Vec<usize> = Vec::new();
        let mut seen = HashSet::new();
        let mut rising = true;
        let mut end = 0;
        for run in &self.0 {
            let fragment = run.fragment as usize;
            if order.last() != Some(&fragment) {
                if !seen.insert(fragment) {
                    rising = false;
                    continue;
                }
                order.push(fragment);
                end = 0;
            }
            rising &= run.offset >= end;
            end = run.offset + run.len;
        }
        (order, rising)
    }
}

impl Run {
    fn end(&self) -> u64 {
        self.first + u64::from(self.len)
    }
}

/// The row ids of a fragment that says them in the manifest, in row order.
pub fn row_ids(fragment: &Fragment) -> Result<Vec<Range<u64>>> {
    let Some(RowIdMeta::Inline(bytes)) = &fragment.row_id_meta else {
        return Err(Error::corrupt("row ids are elsewhere"));
    };
    let mut runs = Vec::new();
    push_runs(&mut runs, 0, &read_row_ids(bytes)?);
    Ok(runs.iter().map(|run| run.first..run.end()).collect())
}

fn push_runs(runs: &mut Vec<Run>, fragment: u32, sequence: &RowIdSequence) {
    let mut offset = 0;
    let mut push = |first: u64, len: u32| {
        match runs.last_mut() {
            Some(last)
                if last.fragment == fragment
                    && last.end() == first
                    && last.offset + last.len == offset =>
            {
                last.len += len;
            }
            _ => runs.push(Run {
                first,
                len,
                fragment,
                offset,
            }),
        }
        offset += len;
    };
    for segment in sequence.segments() {
        match segment {
            U64Segment::Range(range) => push(range.start, (range.end - range.start) as u32),
            other => other.iter().for_each(|id| push(id, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(fragment: u32, offset: u32, first: u64, len: u32) -> Run {
        Run {
            first,
            len,
            fragment,
            offset,
        }
    }

    fn layout(runs: &[Run]) -> Layout {
        Layout::new(runs.to_vec()).expect("no row id twice")
    }

    fn piece(fragment: usize, rows: Range<u32>) -> Piece {
        Piece { fragment, rows }
    }

    #[test]
    fn pieces_follow_row_ids() {
        let l = layout(&[run(0, 0, 120, 10), run(1, 0, 0, 120), run(2, 0, 130, 30)]);
        assert_eq!(
            l.pieces(0..1000),
            [piece(1, 0..120), piece(0, 0..10), piece(2, 0..30)]
        );
        assert_eq!(
            l.pieces(119..131),
            [piece(1, 119..120), piece(0, 0..10), piece(2, 0..1)]
        );
        assert!(l.pieces(160..200).is_empty());
        assert!(l.pieces(5..5).is_empty());
    }

    #[test]
    fn holes_do_not_split_a_piece() {
        let l = layout(&[run(0, 0, 0, 10), run(0, 10, 20, 5)]);
        assert_eq!(l.pieces(0..100), [piece(0, 0..15)]);
        assert_eq!(l.find(9), Some((0, 9)));
        assert_eq!(l.find(10), None);
        assert_eq!(l.find(22), Some((0, 12)));
        assert_eq!(l.find(25), None);
    }

    #[test]
    fn order_notices_disorder() {
        assert_eq!(
            layout(&[run(0, 0, 50, 5), run(1, 0, 0, 50)]).order(),
            (vec![1, 0], true)
        );
        let interleaved = [run(0, 0, 0, 5), run(1, 0, 5, 5), run(0, 5, 10, 5)];
        assert_eq!(layout(&interleaved).order(), (vec![0, 1], false));
        let backwards = [run(0, 5, 0, 5), run(0, 0, 5, 5)];
        assert_eq!(layout(&backwards).order(), (vec![0], false));
    }

    #[test]
    fn a_row_id_twice_is_corrupt() {
        let runs = vec![run(0, 0, 0, 10), run(1, 0, 9, 3)];
        assert!(Layout::new(runs).is_err());
    }
}
