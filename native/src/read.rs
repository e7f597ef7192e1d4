//! Streams of batches in row-id order.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use lance::dataset::fragment::FragReadConfig;
use lance_io::scheduler::{ScanScheduler, SchedulerConfig};

use crate::direct::{self, open_fragment};
use crate::error::{would_block, Result};
use crate::layout::Piece;
use crate::leaks::{Counted, Readers};
use crate::projection::Projection;
use crate::readers::{outward, Source};
use crate::runtime::{block_on, spawn, AHEAD};
use crate::snapshot::Snapshot;

const DEFAULT_BATCH_ROWS: u32 = 8192;

/// About the largest batch in the files: several are in memory at once, larger by
/// what they were compressed, and decoded at the same time.
pub const BATCH_BYTES: u64 = 2 << 20;

/// Reads of at most so much are done at once, through fragments that are held
/// open from one read to the next.
const SMALL_ROWS: u64 = 4096;
const SMALL_BYTES: u64 = 8 << 20;
const SMALL_PIECES: usize = 8;

/// Reads of about so much are attempted in memory first.
const DIRECT_BYTES: u64 = 1 << 20;

/// Whether to attempt a read in memory first.
pub fn is_direct(rows: u64, row_bytes: u64) -> bool {
    rows <= SMALL_ROWS && rows.saturating_mul(row_bytes) <= DIRECT_BYTES
}

pub struct Reader {
    /// None once it has ended.
    batches: Option<BoxStream<'static, Result<RecordBatch>>>,
    _counted: Counted<Readers>,
}

impl Reader {
    pub fn new(batches: BoxStream<'static, Result<RecordBatch>>) -> Self {
        Self {
            batches: Some(batches),
            _counted: Counted::default(),
        }
    }

    fn of(batches: Vec<RecordBatch>) -> Self {
        Self::new(stream::iter(batches.into_iter().map(Ok)).boxed())
    }

    pub fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(batches) = self.batches.as_mut() else {
            return Ok(None);
        };
        let next = block_on(batches.next());
        if !matches!(next, Some(Ok(_))) {
            self.batches = None;
        }
        next.transpose()
    }
}

impl Snapshot {
    pub fn read(
        self: &Arc<Self>,
        first: u64,
        count: u64,
        columns: Option<&[String]>,
        batch_rows: u32,
        no_wait: bool,
    ) -> Result<Reader> {
        let columns = self.project(columns)?;
        let most = match batch_rows {
            0 => DEFAULT_BATCH_ROWS,
            n => n,
        };
        let row_bytes = self.bytes_per_row().max(1);
        let batch_rows = u64::from(most).min((BATCH_BYTES / row_bytes).max(1)) as u32;
        let ids = self.clip(first, count);
        let pieces = self.layout_now(no_wait)?.pieces(ids);
        let rows: u64 = pieces.iter().map(|p| p.rows.len() as u64).sum();
        let small = rows <= SMALL_ROWS
            && pieces.len() <= SMALL_PIECES
            && rows.saturating_mul(row_bytes) <= SMALL_BYTES;
        if small && is_direct(rows, row_bytes) {
            let memory = Source::Memory { open: !no_wait };
            let read = self.read_now(&pieces, &columns, batch_rows, memory);
            if let Some(batches) = direct::attempt(read) {
                return Ok(Reader::of(batches));
            }
        }
        if no_wait {
            return Err(would_block());
        }
        if small {
            let read = self.read_now(&pieces, &columns, batch_rows, Source::Disk);
            return Ok(Reader::of(block_on(read)?));
        }
        let batches = block_on(self.clone().read_ahead(pieces, columns, batch_rows))?;
        Ok(Reader::new(batches))
    }

    /// Reads all pieces, through fragments held open.
    async fn read_now(
        &self,
        pieces: &[Piece],
        columns: &Projection,
        batch_rows: u32,
        source: Source,
    ) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for piece in pieces {
            let fragment = &self.dataset.fragments()[piece.fragment];
            let open = &self.shared.open;
            let reader = open
                .get(&self.dataset, fragment, &columns.inner, source)
                .await?;
            let mut stream = reader.take_range(piece.rows.clone(), batch_rows).await?;
            while let Some(batch) = stream.next().await {
                batches.push(outward(batch.await?, columns)?);
            }
        }
        batches.retain(|b| b.num_rows() > 0);
        Ok(batches)
    }

    /// Reads piece after piece, with files opened and batches decoded ahead.
    async fn read_ahead(
        self: Arc<Self>,
        pieces: Vec<Piece>,
        columns: Projection,
        batch_rows: u32,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        type Batch = BoxFuture<'static, Result<RecordBatch>>;
        let store = self.dataset.object_store(None).await?;
        let budget = SchedulerConfig::new(self.shared.io_buffer_bytes);
        let scheduler = ScanScheduler::new(store, budget);
        let inner = columns.inner.clone();
        let opened = stream::iter(pieces.into_iter().enumerate())
            .map(move |(i, piece)| {
                let config = FragReadConfig::default()
                    .with_scan_scheduler(scheduler.clone())
                    .with_reader_priority(i as u32);
                let (snapshot, inner) = (self.clone(), inner.clone());
                spawn(async move {
                    let fragment = &snapshot.dataset.fragments()[piece.fragment];
                    let reader = open_fragment(&snapshot.dataset, fragment, &inner, config).await?;
                    Ok(reader.take_range(piece.rows, batch_rows).await?)
                })
            })
            .buffered(AHEAD);
        let decoded = opened
            .flat_map(|piece| match piece {
                Ok(batches) => batches
                    .map(|batch| batch.map(|b| Ok(b?)).boxed() as Batch)
                    .boxed(),
                Err(e) => stream::iter([async { Err(e) }.boxed() as Batch]).boxed(),
            })
            .map(move |batch| {
                let columns = columns.clone();
                spawn(async move { outward(batch.await?, &columns) })
            })
            .buffered(AHEAD);
        Ok(gather(decoded.boxed(), batch_rows as usize).boxed())
    }
}

/// Batches on their way out.
struct Gathering {
    batches: BoxStream<'static, Result<RecordBatch>>,
    /// Read, and not given out yet.
    waiting: Vec<RecordBatch>,
    rows: usize,
}

impl Gathering {
    fn join(&mut self) -> Result<RecordBatch> {
        self.rows = 0;
        let mut parts = std::mem::take(&mut self.waiting);
        match parts.len() {
            1 => Ok(parts.remove(0)),
            _ => Ok(concat_batches(&parts[0].schema(), &parts)?),
        }
    }

    async fn next(&mut self, batch_rows: usize) -> Result<Option<RecordBatch>> {
        loop {
            let Some(batch) = self.batches.try_next().await? else {
                return Ok(match self.waiting.is_empty() {
                    true => None,
                    false => Some(self.join()?),
                });
            };
            let rows = batch.num_rows();
            if rows == 0 {
                continue;
            }
            if self.waiting.is_empty() && rows * 4 > batch_rows {
                return Ok(Some(batch));
            }
            let full = !self.waiting.is_empty() && self.rows + rows > batch_rows;
            let joined = full.then(|| self.join()).transpose()?;
            self.rows += rows;
            self.waiting.push(batch);
            if joined.is_some() {
                return Ok(joined);
            }
        }
    }
}

/// Joins batches that are much smaller than they may be.
pub fn gather(
    batches: BoxStream<'static, Result<RecordBatch>>,
    batch_rows: usize,
) -> impl stream::Stream<Item = Result<RecordBatch>> + Send {
    let gathering = Gathering {
        batches: batches.fuse().boxed(), // it is asked again at its end, for what waits
        waiting: Vec::new(),
        rows: 0,
    };
    stream::try_unfold(gathering, move |mut gathering| async move {
        let batch = gathering.next(batch_rows).await?;
        Ok(batch.map(|b| (b, gathering)))
    })
}
