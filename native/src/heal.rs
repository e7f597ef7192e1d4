//! Sets aside what a crash left of versions, before a table is opened.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Component, Path};

use lance_table::feature_flags::can_read_dataset;
use lance_table::format::{pb, DataFile, IndexMetadata, Manifest, MAGIC};
use lance_table::io::deletion::relative_deletion_file_path;
use prost::Message;

use crate::error::{Error, Result, Status};
use crate::files::{manifest_version, VERSIONS_DIR};

/// Position, version and magic at the end of each of Lance's files.
const FOOTER: u64 = 16;

/// A larger manifest is not read.
const MAX_MANIFEST: u64 = 512 << 20;

/// What is wrong with a version, or why that cannot be told.
enum Fault {
    Unsound,
    Unknown(Error),
}

type Check<T = ()> = std::result::Result<T, Fault>;

impl From<io::Error> for Fault {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            ErrorKind::NotFound | ErrorKind::UnexpectedEof => Self::Unsound,
            _ => Self::Unknown(e.into()),
        }
    }
}

fn ensure(sound: bool) -> Check {
    sound.then_some(()).ok_or(Fault::Unsound)
}

/// Makes the newest sound version, not above `newest` (0: no limit), the head:
/// renames the manifests above it, and older ones that are torn, and returns
/// their new names relative to `dir`.
pub fn heal(dir: &Path, newest: u64) -> Result<Vec<String>> {
    let versions = dir.join(VERSIONS_DIR);
    let mut manifests = Vec::new();
    let entries = match fs::read_dir(&versions) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(version) = manifest_version(&name) {
            manifests.push((version, name));
        }
    }
    manifests.sort_unstable_by(|a, b| b.cmp(a));

    let mut head = false;
    let mut renamed = Vec::new();
    for (version, name) in manifests {
        let path = versions.join(&name);
        let outcome = if head {
            read_message(&path).map(drop)
        } else if newest != 0 && version > newest {
            Err(Fault::Unsound)
        } else {
            check_version(dir, &path, version)
        };
        match outcome {
            Ok(()) => head = true,
            Err(Fault::Unsound) => {
                let aside = format!("{name}.corrupt");
                fs::rename(&path, versions.join(&aside))?;
                renamed.push(format!("{VERSIONS_DIR}/{aside}"));
            }
            Err(Fault::Unknown(e)) => return Err(e),
        }
    }
    if !renamed.is_empty() {
        File::open(&versions)?.sync_all()?;
    }
    Ok(renamed)
}

/// The manifest's message, and the file that it is in.
fn read_message(path: &Path) -> Check<(Vec<u8>, File)> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    ensure(size >= FOOTER)?;
    let mut footer = [0; FOOTER as usize];
    file.read_exact_at(&mut footer, size - FOOTER)?;
    ensure(footer.ends_with(MAGIC))?;
    let position = u64::from_le_bytes(footer[..8].try_into().expect("8 bytes"));
    let message = read_at(&file, position, size)?;
    ensure(position + 4 + message.len() as u64 == size - FOOTER)?;
    Ok((message, file))
}

/// A message that begins with its length, before the footer of a file.
fn read_at(file: &File, position: u64, size: u64) -> Check<Vec<u8>> {
    let end = size - FOOTER;
    ensure(position.checked_add(4).is_some_and(|p| p <= end))?;
    let mut length = [0; 4];
    file.read_exact_at(&mut length, position)?;
    let length = u64::from(u32::from_le_bytes(length));
    ensure(length <= MAX_MANIFEST && position + 4 + length <= end)?;
    let mut message = vec![0; length as usize];
    file.read_exact_at(&mut message, position + 4)?;
    Ok(message)
}

/// Decodes without letting damaged input panic.
fn decode<M: Message + Default, T: TryFrom<M>>(message: &[u8]) -> Check<T> {
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        M::decode(message).ok().and_then(|m| T::try_from(m).ok())
    }));
    decoded.ok().flatten().ok_or(Fault::Unsound)
}

fn check_version(dir: &Path, path: &Path, version: u64) -> Check {
    let (message, file) = read_message(path)?;
    let manifest: Manifest = decode::<pb::Manifest, _>(&message)?;
    ensure(manifest.version == version)?;
    if !can_read_dataset(manifest.reader_feature_flags) {
        return Err(Fault::Unknown(Error::new(
            Status::Schema,
            format!("version {version} was written by a newer Lance"),
        )));
    }
    for fragment in manifest.fragments.iter() {
        for file in fragment.referenced_lance_files() {
            check_data_file(dir, file)?;
        }
        if let Some(deletions) = fragment.deletion_file.as_ref() {
            if deletions.base_id.is_none() {
                let file = relative_deletion_file_path(fragment.id, deletions);
                ensure(fs::metadata(dir.join(file))?.len() > 0)?;
            }
        }
    }
    if let Some(position) = manifest.index_section {
        let section = read_at(&file, position as u64, file.metadata()?.len())?;
        let section: pb::IndexSection = decode::<pb::IndexSection, _>(&section)?;
        for index in section.indices {
            check_index(dir, index)?;
        }
    }
    Ok(())
}

fn check_data_file(dir: &Path, file: &DataFile) -> Check {
    if file.base_id.is_some() {
        return Ok(());
    }
    let opened = File::open(inside(&dir.join("data"), &file.path)?)?;
    let size = opened.metadata()?.len();
    ensure(size >= FOOTER)?;
    if let Some(recorded) = file.file_size_bytes.get() {
        ensure(size == u64::from(recorded))?;
    }
    let mut magic = [0; MAGIC.len()];
    opened.read_exact_at(&mut magic, size - MAGIC.len() as u64)?;
    ensure(magic == *MAGIC)
}

fn check_index(dir: &Path, index: pb::IndexMetadata) -> Check {
    let converted = catch_unwind(AssertUnwindSafe(|| IndexMetadata::try_from(index).ok()));
    let index = converted.ok().flatten().ok_or(Fault::Unsound)?;
    if index.base_id.is_some() {
        return Ok(());
    }
    let home = dir.join("_indices").join(index.uuid.to_string());
    for file in index.files.unwrap_or_default() {
        ensure(fs::metadata(inside(&home, &file.path)?)?.len() == file.size_bytes)?;
    }
    Ok(())
}

/// A path below `base`, and nowhere else.
fn inside(base: &Path, relative: &str) -> Check<std::path::PathBuf> {
    let path = Path::new(relative);
    ensure(path.components().all(|c| matches!(c, Component::Normal(_))))?;
    Ok(base.join(path))
}
