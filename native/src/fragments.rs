//! The files of a fragment.

use std::fs;
use std::path::Path;

use lance::Dataset;
use lance_io::utils::CachedFileSize;
use lance_table::format::Fragment;
use lance_table::io::deletion::relative_deletion_file_path;

use crate::error::Result;

/// The size of a fragment's data files.
pub fn data_bytes(fragment: &Fragment) -> u64 {
    fragment
        .referenced_lance_files()
        .filter_map(|file| file.file_size_bytes.get())
        .map(u64::from)
        .sum()
}

/// Notes the sizes of data files where the writer has not.
pub fn note_sizes(dataset: &Dataset, fragments: &mut [Fragment]) -> Result<()> {
    let data = Path::new(dataset.uri()).join("data");
    let files = fragments.iter_mut().flat_map(|f| f.files.iter_mut());
    for file in files.filter(|file| file.file_size_bytes.get().is_none()) {
        let size = fs::metadata(data.join(&*file.path))?.len();
        file.file_size_bytes = CachedFileSize::new(size);
    }
    Ok(())
}

/// The files of a fragment, relative to the table's directory.
pub fn fragment_files(fragment: &Fragment) -> Vec<String> {
    let data = fragment
        .referenced_lance_files()
        .map(|file| format!("data/{}", file.path));
    let deletions = fragment
        .deletion_file
        .iter()
        .map(|file| relative_deletion_file_path(fragment.id, file));
    data.chain(deletions).collect()
}
