//! Fragments held open for small reads.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use arrow_array::RecordBatch;
use lance::dataset::fragment::{FragReadConfig, FragmentReader};
use lance::datatypes::Schema;
use lance::Dataset;
use lance_arrow::json::convert_lance_json_to_arrow;
use lance_io::scheduler::{ScanScheduler, SchedulerConfig};
use lance_table::format::Fragment;

use crate::direct::{self, open_fragment};
use crate::error::{Error, Result, Status};
use crate::projection::Projection;

/// Makes a batch as Lance stores it one as it comes out.
pub fn outward(batch: RecordBatch, columns: &Projection) -> Result<RecordBatch> {
    let batch = convert_lance_json_to_arrow(&batch)?;
    let (got, want) = (batch.schema(), &columns.outer);
    let same = got.fields().len() == want.fields().len()
        && got
            .fields()
            .iter()
            .zip(want.fields())
            .all(|(g, w)| g.data_type().equals_datatype(w.data_type()));
    if !same {
        return Err(Error::internal(format!("read {got:?} instead of {want:?}")));
    }
    Ok(batch)
}

/// Where a read may find its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In memory, as [`crate::direct`] does it. Without `open`, only in fragments
    /// that are open for that.
    Memory {
        open: bool,
    },
    Disk,
}

/// Fragment, columns, and whether it is open for reads from memory.
type Key = (u64, Vec<i32>, bool);

struct Entry {
    fragment: Fragment,
    reader: Arc<FragmentReader>,
    used: u64,
}

#[derive(Default)]
struct Cache {
    entries: HashMap<Key, Entry>,
    clock: u64,
}

/// A bounded cache of opened fragments, by fragment and columns. What it reads
/// must be read to the end at once: its readers share one I/O budget.
pub struct OpenFragments {
    capacity: usize,
    scheduler: Arc<ScanScheduler>,
    cache: Mutex<Cache>,
}

impl OpenFragments {
    pub async fn new(dataset: &Dataset, capacity: usize, io_bytes: u64) -> Result<Self> {
        let store = dataset.object_store(None).await?;
        Ok(Self {
            capacity,
            scheduler: ScanScheduler::new(store, SchedulerConfig::new(io_bytes)),
            cache: Mutex::default(),
        })
    }

    pub async fn get(
        &self,
        dataset: &Dataset,
        fragment: &Fragment,
        columns: &Schema,
        source: Source,
    ) -> Result<Arc<FragmentReader>> {
        let key = (fragment.id, columns.field_ids(), source != Source::Disk);
        if let Some(reader) = self.lookup(&key, fragment) {
            return Ok(reader);
        }
        let reader = match source {
            Source::Disk => {
                let config = FragReadConfig::default().with_scan_scheduler(self.scheduler.clone());
                open_fragment(dataset, fragment, columns, config).await?
            }
            Source::Memory { open: true } => direct::open(dataset, fragment, columns).await?,
            Source::Memory { open: false } => {
                return Err(Error::new(Status::WouldBlock, "a fragment is not open"));
            }
        };
        let reader = Arc::new(reader);
        self.insert(key, fragment, reader.clone());
        Ok(reader)
    }

    fn lookup(&self, key: &Key, fragment: &Fragment) -> Option<Arc<FragmentReader>> {
        let mut cache = self.lock();
        cache.clock += 1;
        let clock = cache.clock;
        let entry = cache.entries.get_mut(key)?;
        // Files are added to a fragment, and rows deleted, under the same id.
        if entry.fragment != *fragment {
            return None;
        }
        entry.used = clock;
        Some(entry.reader.clone())
    }

    fn insert(&self, key: Key, fragment: &Fragment, reader: Arc<FragmentReader>) {
        let mut cache = self.lock();
        let entry = Entry {
            fragment: fragment.clone(),
            reader,
            used: cache.clock,
        };
        cache.entries.insert(key, entry);
        if cache.entries.len() > self.capacity {
            let oldest = cache.entries.iter().min_by_key(|(_, e)| e.used);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                cache.entries.remove(&key);
            }
        }
    }

    /// Lets go of fragments that the given version has not.
    pub fn retain(&self, dataset: &Dataset) {
        let ids: HashSet<u64> = dataset.fragments().iter().map(|f| f.id).collect();
        self.lock().entries.retain(|(id, ..), _| ids.contains(id));
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(|e| e.into_inner())
    }
}
