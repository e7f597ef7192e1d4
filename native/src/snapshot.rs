//! One version of a table.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use arrow_schema::Schema as ArrowSchema;
use lance::dataset::builder::DatasetBuilder;
use lance::datatypes::Schema;
use lance::index::{DatasetIndexExt, DatasetIndexInternalExt, ScalarIndexInfo};
use lance::Dataset;
use lance_index::scalar::ScalarIndex;
use tokio::sync::OnceCell;

use crate::error::{invalid, would_block, Error, Result};
use crate::filter::Filters;
use crate::fragments::data_bytes;
use crate::layout::Layout;
use crate::leaks::{Counted, Snapshots};
use crate::overlay::Overlay;
use crate::projection::{outer_schema, Projection};
use crate::readers::OpenFragments;
use crate::row_ids::{Live, Place};
use crate::runtime::{block_on, private_session};

/// How many snapshots there are of each version of a table.
#[derive(Debug, Default)]
pub struct Versions(Mutex<BTreeMap<u64, usize>>);

impl Versions {
    pub fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Numbers the schemas that the versions of a table have, one after another.
#[derive(Debug, Default)]
pub struct Schemas(Mutex<(u64, Schema)>);

impl Schemas {
    /// The number of a schema: the same while the schema is.
    fn number(&self, schema: &Schema) -> u64 {
        let mut last = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if last.1.fields != schema.fields || last.1.metadata != schema.metadata {
            *last = (last.0 + 1, schema.clone());
        }
        last.0
    }
}

/// What the snapshots of a table share.
pub struct Shared {
    pub open: OpenFragments,
    pub versions: Versions,
    pub schemas: Schemas,
    /// Parts of indexes that were read as a whole.
    pub warmed: Mutex<HashSet<String>>,
    pub io_buffer_bytes: u64,
}

impl Shared {
    pub async fn new(
        dataset: &Dataset,
        open_fragments: usize,
        io_buffer_bytes: u64,
    ) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            open: OpenFragments::new(dataset, open_fragments, io_buffer_bytes).await?,
            versions: Versions::default(),
            schemas: Schemas::default(),
            warmed: Mutex::default(),
            io_buffer_bytes,
        }))
    }
}

/// Opens one version (0: the newest) of a table that is not open, for reading.
pub fn open(dir: &str, version: u64, io_buffer_bytes: u64) -> Result<Arc<Snapshot>> {
    block_on(async {
        let mut builder = DatasetBuilder::from_uri(dir).with_session(private_session());
        if version != 0 {
            builder = builder.with_version(version);
        }
        let dataset = builder.load().await?;
        let shared = Shared::new(&dataset, 1, io_buffer_bytes).await?;
        let mut versions = shared.versions.lock();
        Ok(Snapshot::new(
            Arc::new(dataset),
            shared.clone(),
            &mut versions,
        ))
    })
}

/// A version that is in use: clean-up leaves it alone.
pub struct Snapshot {
    pub dataset: Arc<Dataset>,
    pub shared: Arc<Shared>,
    /// Snapshots of a table with one number have one schema.
    pub schema_number: u64,
    /// The files of a version that another process may remove.
    pub overlay: OnceLock<Overlay>,
    /// All columns.
    whole: OnceLock<Projection>,
    row_bytes: OnceLock<u64>,
    layout: OnceCell<Layout>,
    live: OnceCell<Live>,
    indexes: OnceCell<Option<ScalarIndexInfo>>,
    held: Mutex<HashMap<String, Arc<dyn ScalarIndex>>>,
    filters: OnceLock<Filters>,
    _counted: Counted<Snapshots>,
}

impl Snapshot {
    /// `versions` is held so that a clean-up sees the snapshot or comes before
    /// it.
    pub fn new(
        dataset: Arc<Dataset>,
        shared: Arc<Shared>,
        versions: &mut BTreeMap<u64, usize>,
    ) -> Arc<Self> {
        *versions.entry(dataset.version_id()).or_default() += 1;
        Arc::new(Self {
            schema_number: shared.schemas.number(dataset.schema()),
            dataset,
            shared,
            overlay: OnceLock::new(),
            whole: OnceLock::new(),
            row_bytes: OnceLock::new(),
            layout: OnceCell::new(),
            live: OnceCell::new(),
            indexes: OnceCell::new(),
            held: Mutex::default(),
            filters: OnceLock::new(),
            _counted: Counted::default(),
        })
    }

    pub async fn layout(&self) -> Result<&Layout> {
        self.layout
            .get_or_try_init(|| Layout::load(&self.dataset))
            .await
    }

    /// The layout; `WouldBlock` if it is not known and must not be waited for.
    pub fn layout_now(&self, no_wait: bool) -> Result<&Layout> {
        match self.layout.get() {
            Some(layout) => Ok(layout),
            None if no_wait => Err(would_block()),
            None => block_on(self.layout()),
        }
    }

    /// The row ids that are left.
    pub async fn live(&self) -> Result<&Live> {
        let load = async || Live::load(&self.dataset, self.layout().await?).await;
        self.live.get_or_try_init(load).await
    }

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

    /// The indexes that filters are answered by, if there are any.
    pub async fn scalar_indexes(&self) -> Result<Option<&ScalarIndexInfo>> {
        let load = async || -> Result<_> {
            Ok(match self.dataset.load_indices().await?.is_empty() {
                true => None,
                false => Some(self.dataset.scalar_index_info().await?),
            })
        };
        Ok(self.indexes.get_or_try_init(load).await?.as_ref())
    }

    /// Indexes that are open, by name.
    pub fn held_indexes(&self) -> MutexGuard<'_, HashMap<String, Arc<dyn ScalarIndex>>> {
        self.held.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What makes expressions of filters.
    pub fn filters(&self) -> Result<&Filters> {
        if let Some(filters) = self.filters.get() {
            return Ok(filters);
        }
        let filters = Filters::new(self.dataset.schema())?;
        Ok(self.filters.get_or_init(|| filters))
    }

    /// The columns as they come out of reads.
    pub fn schema(&self) -> ArrowSchema {
        outer_schema(self.dataset.schema())
    }

    /// Picks top-level columns (None: all).
    pub fn project(&self, columns: Option<&[String]>) -> Result<Projection> {
        let all = self.dataset.schema();
        let names = match columns {
            None => {
                let whole = || Projection::new(all.clone());
                return Ok(self.whole.get_or_init(whole).clone());
            }
            Some([]) => return Err(invalid("no columns")),
            Some(names) => names,
        };
        let field = |name: &String| {
            let field = all.fields.iter().find(|f| f.name == *name);
            field
                .cloned()
                .ok_or_else(|| Error::schema(format!("no column {name:?}")))
        };
        Ok(Projection::new(Schema {
            fields: names.iter().map(field).collect::<Result<_>>()?,
            metadata: all.metadata.clone(),
        }))
    }

    pub fn data_bytes(&self) -> u64 {
        self.dataset.fragments().iter().map(data_bytes).sum()
    }

    pub fn rows(&self) -> u64 {
        let rows = self.dataset.fragments().iter().filter_map(|f| f.num_rows());
        rows.sum::<usize>() as u64
    }

    /// What a row takes in the data files, on average.
    pub fn bytes_per_row(&self) -> u64 {
        *self
            .row_bytes
            .get_or_init(|| self.data_bytes() / self.rows().max(1))
    }

    /// Row ids of the given range that may exist.
    pub fn clip(&self, first: u64, count: u64) -> Range<u64> {
        let next = self.dataset.manifest().next_row_id;
        first.min(next)..first.saturating_add(count).min(next)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let mut versions = self.shared.versions.lock();
        let version = self.dataset.version_id();
        if let Some(n) = versions.get_mut(&version) {
            *n -= 1;
            if *n == 0 {
                versions.remove(&version);
            }
        }
    }
}
