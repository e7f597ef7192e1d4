//! Rows by row id, in any order.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_select::interleave::interleave_record_batch;
use futures::stream::{self, StreamExt, TryStreamExt};
use lance::dataset::fragment::FileFragment;

use crate::direct;
use crate::error::{would_block, Error, Result, Status};
use crate::projection::Projection;
use crate::read::is_direct;
use crate::readers::{outward, Source};
use crate::runtime::{block_on, AHEAD};
use crate::snapshot::Snapshot;

impl Snapshot {
    pub fn take(
        &self,
        ids: &[i64],
        columns: Option<&[String]>,
        no_wait: bool,
    ) -> Result<RecordBatch> {
        let columns = self.project(columns)?;
        if ids.is_empty() {
            return Ok(RecordBatch::new_empty(columns.outer));
        }
        self.take_now(ids, &columns, no_wait)
    }

    /// `take_rows` on the calling thread, from memory first; and else
    /// [`Status::WouldBlock`] with `no_wait`.
    pub fn take_now(
        &self,
        ids: &[i64],
        columns: &Projection,
        no_wait: bool,
    ) -> Result<RecordBatch> {
        self.layout_now(no_wait)?;
        if is_direct(ids.len() as u64, self.bytes_per_row()) {
            let memory = Source::Memory { open: !no_wait };
            if let Some(batch) = direct::attempt(self.take_rows(ids, columns, memory)) {
                return Ok(batch);
            }
        }
        match no_wait {
            true => Err(would_block()),
            false => block_on(self.take_rows(ids, columns, Source::Disk)),
        }
    }

    /// The rows with the given ids, of which there is at least one.
    pub async fn take_rows(
        &self,
        ids: &[i64],
        columns: &Projection,
        source: Source,
    ) -> Result<RecordBatch> {
        let layout = self.layout().await?;
        let mut wanted: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        let mut places = Vec::with_capacity(ids.len());
        for &id in ids {
            let place = u64::try_from(id).ok().and_then(|id| layout.find(id));
            let (fragment, row) =
                place.ok_or_else(|| Error::new(Status::NotFound, format!("no row {id}")))?;
            wanted.entry(fragment).or_default().push(row);
            places.push((fragment, row));
        }
        for rows in wanted.values_mut() {
            rows.sort_unstable();
            rows.dedup();
        }
        // Made in a loop: a closure over borrowed rows could not be spawned.
        let mut reads = Vec::with_capacity(wanted.len());
        for (&fragment, rows) in &wanted {
            reads.push(self.take_from(fragment, rows, columns, source));
        }
        let mut batches: Vec<RecordBatch> =
            stream::iter(reads).buffered(AHEAD).try_collect().await?;
        let rising = places.windows(2).all(|w| w[0].1 < w[1].1);
        if batches.len() == 1 && rising {
            return Ok(batches.remove(0));
        }
        let sources: Vec<_> = wanted.iter().collect();
        let indices: Vec<(usize, usize)> = places
            .iter()
            .map(|(fragment, row)| {
                let source = sources.partition_point(|(f, _)| *f < fragment);
                (source, sources[source].1.partition_point(|r| r < row))
            })
            .collect();
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        Ok(interleave_record_batch(&batches, &indices)?)
    }

    /// Rows of one fragment, in rising order.
    async fn take_from(
        &self,
        position: usize,
        rows: &[u32],
        columns: &Projection,
        source: Source,
    ) -> Result<RecordBatch> {
        let fragment = &self.dataset.fragments()[position];
        let open = &self.shared.open;
        let reader = open
            .get(&self.dataset, fragment, &columns.inner, source)
            .await?;
        let (first, last) = (rows[0], rows[rows.len() - 1]);
        let batch = if last - first == rows.len() as u32 - 1 {
            let range = first as usize..last as usize + 1;
            reader.read_range_as_batch(range).await?
        } else {
            reader.take_as_batch(rows, None).await?
        };
        if batch.num_rows() != rows.len() {
            return Err(self.missing(position, rows).await?);
        }
        outward(batch, columns)
    }

    /// Why rows of a fragment are not there.
    async fn missing(&self, position: usize, rows: &[u32]) -> Result<Error> {
        let fragment = self.dataset.fragments()[position].clone();
        let id = fragment.id;
        let file = FileFragment::new(self.dataset.clone(), fragment);
        let deleted = file.get_deletion_vector().await?;
        let row = rows
            .iter()
            .find(|row| deleted.as_ref().is_some_and(|d| d.contains(**row)));
        Ok(match row {
            Some(row) => Error::new(
                Status::NotFound,
                format!("row {row} of fragment {id} is deleted"),
            ),
            None => Error::corrupt(format!("fragment {id} gave too few rows")),
        })
    }
}
