//! Versions of a table.

use std::sync::Arc;

use lance::dataset::transaction::Operation;
use serde_json::{json, Value};

use crate::error::{Error, Result, Status};
use crate::runtime::block_on;
use crate::snapshot::Snapshot;
use crate::table::{commit, Table};

impl Table {
    /// Describes the versions that are there, the oldest first, as JSON.
    pub fn versions(&self) -> Result<String> {
        block_on(async {
            let versions = self.newest()?.versions().await?;
            let described = versions.iter().map(|v| {
                let rows = v.metadata.get("total_rows");
                json!({
                    "version": v.version,
                    "nanoseconds": v.timestamp.timestamp_nanos_opt(),
                    "rows": rows.and_then(|n| n.parse::<u64>().ok()),
                })
            });
            Ok(Value::Array(described.collect()).to_string())
        })
    }

    /// A version, new or old. The gate is held, so that clean-up either sees that
    /// it is in use or has removed it.
    pub fn checkout(&self, version: u64) -> Result<Arc<Snapshot>> {
        block_on(async {
            let _reading = self.gate.read().await;
            let newest = self.newest()?;
            let found = newest.checkout_version(version).await;
            let dataset = found.map_err(|e| {
                Error::new(
                    Status::NotFound,
                    format!("version {version} is not there: {e}"),
                )
            })?;
            let mut versions = self.shared.versions.lock();
            let dataset = Arc::new(dataset);
            Ok(Snapshot::new(dataset, self.shared.clone(), &mut versions))
        })
    }

    /// Makes a version with the columns and rows of an old one. Row ids go on
    /// from the newest version's.
    pub fn restore(&self, version: u64) -> Result<Arc<Snapshot>> {
        self.retry(async |newest| commit(&newest, Operation::Restore { version }).await)
    }
}
