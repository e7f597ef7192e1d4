//! Clean-up of old versions.

use std::collections::HashSet;

use lance::dataset::cleanup::CleanupPolicy;

use crate::error::Result;
use crate::runtime::block_on;
use crate::table::Table;

#[derive(Default)]
pub struct Stats {
    pub versions_removed: u64,
    pub files_removed: u64,
    pub bytes_removed: u64,
}

impl Table {
    /// Removes the versions below `keep_from` that are neither tagged nor in
    /// use, and all files that no version left refers to.
    pub fn cleanup(&self, keep_from: u64) -> Result<Stats> {
        block_on(async {
            let _alone = self.gate.write().await;
            let dataset = self.newest()?;
            self.shared.open.retain(&dataset);
            let versions = dataset.version_refs().await?;
            let old: HashSet<u64> = {
                let live = self.shared.versions.lock();
                versions
                    .iter()
                    .map(|v| v.version)
                    .filter(|v| *v < keep_from && !live.contains_key(v))
                    .collect()
            };
            let policy = CleanupPolicy {
                versions: Some(old),
                delete_unverified: true,
                error_if_tagged_old_versions: false,
                ..Default::default()
            };
            let removed = dataset.cleanup_with_policy(policy).await?;
            Ok(Stats {
                versions_removed: removed.old_versions,
                files_removed: removed.data_files_removed
                    + removed.deletion_files_removed
                    + removed.index_files_removed
                    + removed.transaction_files_removed,
                bytes_removed: removed.bytes_removed,
            })
        })
    }
}
