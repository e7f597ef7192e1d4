//! Tables: create, attach, append.

use std::sync::{Arc, Mutex, MutexGuard};

use arrow_array::{RecordBatch, RecordBatchIterator, RecordBatchReader};
use arrow_schema::Schema as ArrowSchema;
use futures::FutureExt;
use lance::dataset::builder::DatasetBuilder;
use lance::dataset::transaction::Operation;
use lance::dataset::{WriteMode, WriteParams};
use lance::Dataset;
use lance_file::version::LanceFileVersion;
use tokio::sync::RwLock;

use crate::error::{Error, Result, Status};
use crate::leaks::{Counted, Tables};
use crate::progress::Build;
use crate::runtime::{block_on, session, spawn};
use crate::snapshot::{Shared, Snapshot};

/// The format of data files: the one that JSON functions need.
const STORAGE_VERSION: LanceFileVersion = LanceFileVersion::V2_2;

/// An append makes one file, however long.
const MAX_ROWS_PER_FILE: usize = 1 << 30;

/// How often a change is tried again when another commit came first.
const ATTEMPTS: usize = 5;

pub struct Options {
    pub metadata_cache_bytes: u64,
    pub index_cache_bytes: u64,
    pub io_buffer_bytes: u64,
    pub open_fragments: u64,
}

/// Where the newest version of a table is kept.
pub enum Newest {
    /// With lancedb-go, which has the table as well.
    Lancedb(lancedb::Table),
    Own(Mutex<Arc<Dataset>>),
}

pub struct Table {
    newest: Newest,
    pub shared: Arc<Shared>,
    /// Held for reading by whoever writes files, for writing by clean-up, to
    /// which files of a commit in progress look like rubbish.
    pub gate: RwLock<()>,
    pub build: Arc<Build>,
    _counted: Counted<Tables>,
}

pub fn write_params(mode: WriteMode) -> WriteParams {
    WriteParams {
        mode,
        data_storage_version: Some(STORAGE_VERSION),
        enable_stable_row_ids: true,
        max_rows_per_file: MAX_ROWS_PER_FILE,
        skip_auto_cleanup: true,
        ..Default::default()
    }
}

pub fn create(dir: &str, batches: Vec<RecordBatch>, schema: Arc<ArrowSchema>) -> Result<()> {
    let dir = dir.to_owned();
    block_on(spawn(async move {
        let params = write_params(WriteMode::Create);
        Ok(Dataset::write(reader(batches, schema), dir.as_str(), Some(params)).await?)
    }))?;
    Ok(())
}

pub fn reader(
    batches: Vec<RecordBatch>,
    schema: Arc<ArrowSchema>,
) -> impl RecordBatchReader + Send + 'static {
    RecordBatchIterator::new(batches.into_iter().map(Ok), schema)
}

impl Table {
    /// Shares lancedb-go's table, and gives it a dataset with bounded caches.
    pub fn attach(lancedb: lancedb::Table, options: &Options) -> Result<Self> {
        let session = session(
            options.metadata_cache_bytes as usize,
            options.index_cache_bytes as usize,
        );
        block_on(async {
            let wrapper = lancedb
                .dataset()
                .ok_or_else(|| Error::internal("not a local table"))?;
            let uri = wrapper.get().await?.uri().to_string();
            let dataset = DatasetBuilder::from_uri(&uri)
                .with_session(session)
                .load()
                .await?;
            if !dataset.manifest().uses_stable_row_ids() {
                return Err(Error::schema("a table without stable row ids"));
            }
            let shared = Shared::new(
                &dataset,
                options.open_fragments as usize,
                options.io_buffer_bytes,
            )
            .await?;
            wrapper.update(dataset);
            Ok(Self::new(Newest::Lancedb(lancedb), shared))
        })
    }

    pub fn new(newest: Newest, shared: Arc<Shared>) -> Self {
        Self {
            newest,
            shared,
            gate: RwLock::default(),
            build: Arc::default(),
            _counted: Counted::default(),
        }
    }

    /// The newest version.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>> {
        let mut versions = self.shared.versions.lock();
        let dataset = self.newest()?;
        Ok(Snapshot::new(dataset, self.shared.clone(), &mut versions))
    }

    /// The dataset of the newest version, without input or output.
    pub fn newest(&self) -> Result<Arc<Dataset>> {
        let lancedb = match &self.newest {
            Newest::Lancedb(lancedb) => lancedb,
            Newest::Own(dataset) => return Ok(lock(dataset).clone()),
        };
        let wrapper = lancedb
            .dataset()
            .ok_or_else(|| Error::internal("not a local table"))?;
        let dataset = wrapper.get().now_or_never();
        Ok(dataset.ok_or_else(|| Error::internal("lancedb looked for a newer version"))??)
    }

    /// Makes a committed version the newest, unless a newer one is there. The
    /// gate is held.
    pub fn publish(&self, dataset: Dataset) -> Result<Arc<Snapshot>> {
        match &self.newest {
            Newest::Lancedb(lancedb) => {
                if let Some(wrapper) = lancedb.dataset() {
                    wrapper.update(dataset.clone());
                }
            }
            Newest::Own(newest) => *lock(newest) = Arc::new(dataset.clone()),
        }
        let mut versions = self.shared.versions.lock();
        Ok(Snapshot::new(
            Arc::new(dataset),
            self.shared.clone(),
            &mut versions,
        ))
    }

    pub fn append(
        &self,
        batches: Vec<RecordBatch>,
        schema: Arc<ArrowSchema>,
    ) -> Result<Arc<Snapshot>> {
        block_on(async {
            let _writing = self.gate.read().await;
            let newest = self.newest()?;
            let write = async move {
                let params = write_params(WriteMode::Append);
                Ok(Dataset::write(reader(batches, schema), newest, Some(params)).await?)
            };
            self.publish(spawn(write).await?)
        })
    }

    /// Commits a change of the newest version, again where another commit came first.
    pub fn retry(
        &self,
        change: impl AsyncFn(Arc<Dataset>) -> Result<Dataset>,
    ) -> Result<Arc<Snapshot>> {
        block_on(async {
            let _writing = self.gate.read().await;
            for _ in 1..ATTEMPTS {
                match change(self.newest()?).await {
                    Err(e) if e.status == Status::Conflict => self.refresh().await?,
                    outcome => return self.publish(outcome?),
                }
            }
            self.publish(change(self.newest()?).await?)
        })
    }

    async fn refresh(&self) -> Result<()> {
        let mut dataset = (*self.newest()?).clone();
        dataset.checkout_latest().await?;
        self.publish(dataset)?;
        Ok(())
    }
}

fn lock(dataset: &Mutex<Arc<Dataset>>) -> MutexGuard<'_, Arc<Dataset>> {
    dataset.lock().unwrap_or_else(|e| e.into_inner())
}

/// Commits an operation on top of a version.
pub async fn commit(dataset: &Dataset, operation: Operation) -> Result<Dataset> {
    let version = dataset.version_id();
    let base = Arc::new(dataset.clone());
    let session = dataset.session();
    Ok(Dataset::commit(base, operation, Some(version), None, None, session, true).await?)
}
