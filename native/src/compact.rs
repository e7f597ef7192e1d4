//! Compaction: small neighbours, in row-id order, become larger fragments.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use lance::dataset::index::DatasetIndexRemapperOptions;
use lance::dataset::optimize::{
    commit_compaction, CompactionMode, CompactionOptions, CompactionTask, TaskData,
};
use lance::index::DatasetIndexExt;
use lance_table::format::{Fragment, IndexMetadata};

use crate::error::Result;
use crate::fragments::{data_bytes, note_sizes};
use crate::layout::Layout;
use crate::runtime::{block_on, trim_heaps, trimming};
use crate::snapshot::Snapshot;
use crate::table::Table;

/// Bytes that one batch of a compaction takes, about.
const BATCH_BYTES: u64 = 8 << 20;

/// Bytes that a compaction reads ahead.
const READ_BYTES: u64 = 16 << 20;

/// Pages of so many bytes on average are copied as they are, which takes a tenth of
/// the processor time. Smaller ones are decoded and become part of larger ones, as
/// scans lose a few percent with each halving.
const PAGE_BYTES: u64 = 128 << 10;

/// A fragment is rewritten when more than one row in so many is deleted.
const WASTE: usize = 10;

pub struct Options {
    pub target_bytes: u64,
    pub min_fragments: u64,
    pub max_bytes: u64,
    /// Whether to rewrite fragments with any deleted rows and with columns that
    /// are gone.
    pub thorough: bool,
}

#[derive(Default)]
pub struct Stats {
    pub fragments_removed: u64,
    pub fragments_added: u64,
    pub bytes_read: u64,
    pub more: bool,
}

impl Table {
    pub fn compact(&self, options: &Options) -> Result<(Arc<Snapshot>, Stats)> {
        block_on(async {
            let _writing = self.gate.read().await;
            let newest = self.newest()?;
            let layout = Layout::load(&newest).await?;
            let mut stats = Stats::default();
            let indices = newest.load_indices().await?;
            let live: HashSet<i32> = newest.schema().field_ids().into_iter().collect();
            let fragments = newest.fragments();
            let groups = plan(fragments, &layout, &indices, &live, options, &mut stats);
            let mut results = Vec::with_capacity(groups.len());
            if !groups.is_empty() {
                trim_heaps(); // of what flushes have left
            }
            for group in groups {
                stats.bytes_read += group.iter().map(data_bytes).sum::<u64>();
                let task = CompactionTask {
                    options: self.rewrite_options(&group),
                    task: TaskData { fragments: group },
                    read_version: newest.version_id(),
                };
                let mut result = trimming(task.execute(&newest)).await?;
                result.new_fragments.iter_mut().for_each(forget_history);
                note_sizes(&newest, &mut result.new_fragments)?;
                results.push(result);
                trim_heaps();
            }
            if results.is_empty() {
                return Ok((self.snapshot()?, stats));
            }
            let mut dataset = (*newest).clone();
            let metrics = commit_compaction(
                &mut dataset,
                results,
                Arc::new(DatasetIndexRemapperOptions::default()),
                &CompactionOptions::default(),
            )
            .await?;
            stats.fragments_removed = metrics.fragments_removed as u64;
            stats.fragments_added = metrics.fragments_added as u64;
            self.shared.open.retain(&dataset);
            Ok((self.publish(dataset)?, stats))
        })
    }

    /// One file for the group, and batches of bounded size.
    fn rewrite_options(&self, group: &[Fragment]) -> CompactionOptions {
        let rows: usize = group.iter().filter_map(|f| f.physical_rows).sum();
        let bytes: u64 = group.iter().map(data_bytes).sum();
        let row_bytes = (bytes / rows.max(1) as u64).max(1);
        CompactionOptions {
            compaction_mode: Some(mode(group, bytes)),
            binary_copy_read_batch_bytes: Some(BATCH_BYTES as usize),
            target_rows_per_fragment: rows.max(1),
            batch_size: Some((BATCH_BYTES / row_bytes).clamp(1, 8192) as usize),
            io_buffer_size: Some(self.shared.io_buffer_bytes.min(READ_BYTES)),
            ..Default::default()
        }
    }
}

/// Pages are copied where those of a group, of so many bytes, are large.
fn mode(group: &[Fragment], bytes: u64) -> CompactionMode {
    let files = group.iter().flat_map(|f| f.files.iter());
    let columns = files.flat_map(|file| file.column_indices.iter().filter(|&&i| i >= 0));
    let pages = columns.count() as u64; // one of each column of a file, at least
    match bytes >= pages * PAGE_BYTES {
        true => CompactionMode::TryBinaryCopy,
        false => CompactionMode::Reencode,
    }
}

/// Drops the numbers of the versions that brought the rows of a fragment, which
/// nothing of ours reads: each commit writes them to the manifest anew, and
/// every flush that was merged into the fragment adds to them.
fn forget_history(fragment: &mut Fragment) {
    fragment.created_at_version_meta = None;
    fragment.last_updated_at_version_meta = None;
}

/// Groups of fragments to merge: each a rising run of row ids, covered by the
/// same indexes, and, where there are any, of rising fragment ids: Lance moves the
/// entries of some of them only then.
fn plan(
    fragments: &[Fragment],
    layout: &Layout,
    indices: &[IndexMetadata],
    live: &HashSet<i32>,
    options: &Options,
    stats: &mut Stats,
) -> Vec<Vec<Fragment>> {
    let (order, rising) = layout.order();
    if !rising {
        return Vec::new();
    }
    let ordered: Vec<&Fragment> = order.iter().map(|&i| &fragments[i]).collect();
    let covered = |fragment: &Fragment| -> Vec<bool> {
        let bitmaps = indices.iter().map(|index| &index.fragment_bitmap);
        bitmaps
            .map(|b| b.as_ref().is_some_and(|b| b.contains(fragment.id as u32)))
            .collect()
    };
    let mut budget = options.max_bytes;
    let mut groups: Vec<Vec<Fragment>> = Vec::new();
    let joins = |a: &Fragment, b: &Fragment| {
        covered(a) == covered(b) && (indices.is_empty() || a.id < b.id)
    };
    for alike in ordered.chunk_by(|a, b| joins(a, b)) {
        let sizes: Vec<u64> = alike.iter().map(|f| data_bytes(f)).collect();
        let wasteful = |i: &usize| wastes(alike[*i], live, options.thorough);
        let worthwhile = worthwhile(&sizes, options.target_bytes, options.min_fragments);
        for range in with_each(worthwhile, (0..alike.len()).filter(wasteful)) {
            let bytes: u64 = sizes[range.clone()].iter().sum();
            if bytes > budget && !groups.is_empty() {
                stats.more = true;
                return groups;
            }
            budget = budget.saturating_sub(bytes);
            groups.push(alike[range].iter().map(|&f| f.clone()).collect());
        }
    }
    groups
}

/// Ranges of neighbours whose merge pays: several of them where none outweighs
/// the others, so that a byte is rewritten only when its fragment about doubles;
/// or enough to reach the target at last.
fn worthwhile(sizes: &[u64], target: u64, min: u64) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    while start < sizes.len() {
        let (mut end, mut total, mut largest) = (start, 0, 0);
        while end < sizes.len() && sizes[end] < target && total < target {
            total += sizes[end];
            largest = largest.max(sizes[end]);
            end += 1;
        }
        let count = (end - start) as u64;
        let many = count >= min && largest * 2 <= total;
        let last = count >= 2 && total >= target && largest * 4 <= total * 3;
        if many || last {
            ranges.push(start..end);
            start = end;
        } else {
            start += 1;
        }
    }
    ranges
}

/// Adds to ranges those of single positions that they lack.
fn with_each(
    mut ranges: Vec<Range<usize>>,
    positions: impl Iterator<Item = usize>,
) -> Vec<Range<usize>> {
    for i in positions {
        if !ranges.iter().any(|range| range.contains(&i)) {
            ranges.push(i..i + 1);
        }
    }
    ranges.sort_unstable_by_key(|range| range.start);
    ranges
}

/// Whether much of a fragment, or anything when it is looked at thoroughly, is of
/// no use any more.
fn wastes(fragment: &Fragment, live: &HashSet<i32>, thorough: bool) -> bool {
    let deletions = fragment.deletion_file.as_ref();
    let deleted = deletions.map_or(0, |d| d.num_deleted_rows.unwrap_or(1));
    let rows = fragment.physical_rows.unwrap_or(0);
    if !thorough {
        return deleted * WASTE > rows;
    }
    let fields = fragment.files.iter().flat_map(|file| file.fields.iter());
    deleted > 0 || fields.into_iter().any(|id| !live.contains(id))
}

#[cfg(test)]
mod tests {
    use super::{with_each, worthwhile};

    #[test]
    fn what_wastes_space_is_rewritten_alone_or_with_others() {
        assert_eq!(
            with_each(vec![2..4], [0, 3, 5].into_iter()),
            [0..1, 2..4, 5..6]
        );
    }

    #[test]
    fn only_what_pays_is_merged() {
        let cases: [(&str, &[u64], &[std::ops::Range<usize>]); 9] = [
            ("nothing", &[], &[]),
            ("too few", &[1, 1, 1], &[]),
            ("many small", &[1, 1, 1, 1, 1], &[0..5]),
            (
                "a large one before small ones stays",
                &[90, 1, 1, 1, 1],
                &[1..5],
            ),
            ("geometric sizes stay", &[64, 16, 4, 1], &[]),
            ("target reached", &[60, 50, 1], &[0..2]),
            (
                "one too large is a border",
                &[1, 1, 200, 1, 1, 1, 1],
                &[3..7],
            ),
            ("cut at the target", &[50, 50, 50, 50], &[0..2, 2..4]),
            ("nearly done stays", &[99, 1], &[]),
        ];
        for (name, sizes, want) in cases {
            assert_eq!(worthwhile(sizes, 100, 4), want, "{name}");
        }
    }

    #[test]
    fn bytes_are_rewritten_rarely() {
        let (mut sizes, mut written) = (Vec::new(), 0);
        for _ in 0..4096 {
            sizes.push(1);
            while let Some(range) = worthwhile(&sizes, 1024, 4).pop() {
                let total: u64 = sizes[range.clone()].iter().sum();
                written += total;
                sizes.splice(range, [total]);
            }
        }
        assert!(sizes.len() < 30, "{sizes:?}");
        assert!(written < 4096 * 12, "{written}");
    }
}
