//! What the files of a table say of its versions, without opening it.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Component, Path, PathBuf};

use lance_table::feature_flags::can_read_dataset;
use lance_table::format::{pb, DataFile, Fragment, IndexMetadata, Manifest, MAGIC};
use lance_table::io::deletion::relative_deletion_file_path;
use prost::Message;
use serde_json::{json, Value};

use crate::error::{Error, Result, Status};
use crate::files::{manifest_version, VERSIONS_DIR};
use crate::fragments::data_bytes;
use crate::layout::row_ids;

/// Position, version and magic at the end of each of Lance's files.
const FOOTER: u64 = 16;

/// A larger manifest is not read.
const MAX_MANIFEST: u64 = 512 << 20;

/// A file of deleted rows has no more bytes than this, and this for each row.
const DELETIONS_BYTES: u64 = 64 << 10;
const DELETION_BYTES: u64 = 8;

/// What is wrong with a version, or why that cannot be told.
enum Fault {
    Unsound(String),
    Unknown(Error),
}

type Check<T = ()> = std::result::Result<T, Fault>;

impl From<io::Error> for Fault {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            ErrorKind::NotFound => Self::Unsound("is missing".into()),
            ErrorKind::UnexpectedEof => Self::Unsound("is too short".into()),
            _ => Self::Unknown(e.into()),
        }
    }
}

fn ensure(sound: bool, what: &str) -> Check {
    sound
        .then_some(())
        .ok_or_else(|| Fault::Unsound(what.into()))
}

/// What a file is to its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Columns of the fragment at this position in the manifest.
    Data(usize),
    /// Deleted rows of the fragment at this position.
    Deletions(usize),
    /// The index of this name.
    Index(String),
}

/// A file of a version that is missing or not what was written.
pub struct Flaw {
    pub file: String,
    pub what: String,
    pub part: Part,
}

/// What a version has when nothing else of it is needed.
#[derive(Clone, Message)]
struct Brief {
    #[prost(message, optional, tag = "7")]
    timestamp: Option<Timestamp>,
    #[prost(uint64, tag = "14")]
    next_row_id: u64,
}

#[derive(Clone, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

/// A version, as far as it was looked at.
pub struct Version {
    pub number: u64,
    /// Of the manifest.
    pub name: String,
    /// Whether it is above all that were to be looked at.
    pub above: bool,
    /// Why the manifest cannot be read.
    pub torn: Option<String>,
    /// Unless it is torn, or older than the head.
    pub manifest: Option<Manifest>,
    pub flaws: Vec<Flaw>,
    brief: Brief,
}

/// The versions, the newest first: those above `newest` (0: none) are not looked
/// at; the others are, with all their files, down to the first sound one, the
/// head; and below it whether their manifests are torn. The manifest of `damaged`
/// (0: none) is, however it looks.
pub fn versions(dir: &Path, newest: u64, damaged: u64) -> Result<Vec<Version>> {
    let mut head = false;
    let mut versions = Vec::new();
    for (number, name) in manifests(dir)? {
        let path = dir.join(VERSIONS_DIR).join(&name);
        let mut version = Version {
            number,
            name,
            above: newest != 0 && number > newest,
            torn: (number == damaged).then(|| "is not what was written".into()),
            manifest: None,
            flaws: Vec::new(),
            brief: Brief::default(),
        };
        if !version.above && version.torn.is_none() {
            match look(dir, &path, &mut version, !head) {
                Ok(()) => head |= version.flaws.is_empty(),
                Err(Fault::Unsound(what)) => version.torn = Some(what),
                Err(Fault::Unknown(e)) => return Err(e),
            }
        }
        versions.push(version);
    }
    Ok(versions)
}

/// The manifests by version, the newest first.
fn manifests(dir: &Path) -> Result<Vec<(u64, String)>> {
    let mut found = Vec::new();
    for name in list(&dir.join(VERSIONS_DIR))? {
        if let Some(version) = manifest_version(&name) {
            found.push((version, name));
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

/// The names in a directory, which may be missing.
fn list(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

fn look(dir: &Path, path: &Path, version: &mut Version, whole: bool) -> Check {
    let (message, file, size) = read_manifest(path)?;
    version.brief = decode::<Brief, _>(&message)?;
    if !whole {
        return Ok(());
    }
    let manifest: Manifest = decode::<pb::Manifest, _>(&message)?;
    ensure(
        manifest.version == version.number,
        "is that of another version",
    )?;
    if !can_read_dataset(manifest.reader_feature_flags) {
        return Err(Fault::Unknown(Error::new(
            Status::Schema,
            format!("version {} was written by a newer Lance", version.number),
        )));
    }
    let mut note = |file: String, part: Part, outcome: Check| match outcome {
        Err(Fault::Unsound(what)) => {
            version.flaws.push(Flaw { file, what, part });
            Ok(())
        }
        outcome => outcome,
    };
    for (i, fragment) in manifest.fragments.iter().enumerate() {
        for file in fragment.referenced_lance_files() {
            let name = format!("data/{}", file.path);
            note(name, Part::Data(i), check_data_file(dir, file))?;
        }
        if let Some(deletions) = fragment.deletion_file.as_ref() {
            if deletions.base_id.is_none() {
                let name = relative_deletion_file_path(fragment.id, deletions);
                let outcome = check_deletions(&dir.join(&name), fragment);
                note(name, Part::Deletions(i), outcome)?;
            }
        }
    }
    if let Some(position) = manifest.index_section {
        let section = read_at(&file, position as u64, size)?;
        let section: pb::IndexSection = decode::<pb::IndexSection, _>(&section)?;
        for index in section.indices {
            let (name, part) = (format!("_indices ({})", index.name), index.name.clone());
            note(name, Part::Index(part), check_index(dir, index))?;
        }
    }
    version.manifest = Some(manifest);
    Ok(())
}

/// A file and its size. What is not a regular file is not opened: a pipe would
/// wait for its writer.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
    let metadata = fs::metadata(path).map_err(named)?;
    if !metadata.is_file() {
        return Err(named(io::Error::other("not a regular file")));
    }
    Ok((File::open(path).map_err(named)?, metadata.len()))
}

/// The manifest's message, the file that it is in, and the size of that.
fn read_manifest(path: &Path) -> Check<(Vec<u8>, File, u64)> {
    let (file, size) = open(path)?;
    ensure(size >= FOOTER, "is too short")?;
    let mut footer = [0; FOOTER as usize];
    file.read_exact_at(&mut footer, size - FOOTER)?;
    ensure(footer.ends_with(MAGIC), "does not end as a manifest does")?;
    let position = u64::from_le_bytes(footer[..8].try_into().expect("8 bytes"));
    let message = read_at(&file, position, size)?;
    let end = position + 4 + message.len() as u64;
    ensure(end == size - FOOTER, "has another length than it says")?;
    Ok((message, file, size))
}

/// A message that begins with its length, before the footer of a file.
fn read_at(file: &File, position: u64, size: u64) -> Check<Vec<u8>> {
    let end = size - FOOTER;
    let begins = position.checked_add(4).is_some_and(|p| p <= end);
    ensure(begins, "points beyond its end")?;
    let mut length = [0; 4];
    file.read_exact_at(&mut length, position)?;
    let length = u64::from(u32::from_le_bytes(length));
    let fits = length <= MAX_MANIFEST && position + 4 + length <= end;
    ensure(fits, "is shorter than it says")?;
    let mut message = vec![0; length as usize];
    file.read_exact_at(&mut message, position + 4)?;
    Ok(message)
}

/// Decodes without letting damaged input panic.
fn decode<M: Message + Default, T: TryFrom<M>>(message: &[u8]) -> Check<T> {
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        M::decode(message).ok().and_then(|m| T::try_from(m).ok())
    }));
    let decoded = decoded.ok().flatten();
    decoded.ok_or_else(|| Fault::Unsound("cannot be decoded".into()))
}

fn check_data_file(dir: &Path, file: &DataFile) -> Check {
    if file.base_id.is_some() {
        return Ok(());
    }
    let (opened, size) = open(&inside(&dir.join("data"), &file.path)?)?;
    if let Some(recorded) = file.file_size_bytes.get() {
        let what = format!("has {size} of {recorded} bytes");
        ensure(size == u64::from(recorded), &what)?;
    }
    ensure(size >= FOOTER, "is too short")?;
    let mut magic = [0; MAGIC.len()];
    opened.read_exact_at(&mut magic, size - MAGIC.len() as u64)?;
    ensure(magic == *MAGIC, "does not end as a data file does")
}

/// Lance reads a deletion file as a whole, so its size must be one that the rows
/// of its fragment explain.
fn check_deletions(path: &Path, fragment: &Fragment) -> Check {
    let (_, size) = open(path)?;
    ensure(size > 0, "is empty")?;
    let rows = fragment.physical_rows.unwrap_or(0) as u64;
    let most = DELETIONS_BYTES + rows.saturating_mul(DELETION_BYTES);
    ensure(size <= most, "is larger than its rows explain")
}

fn check_index(dir: &Path, index: pb::IndexMetadata) -> Check {
    let converted = catch_unwind(AssertUnwindSafe(|| IndexMetadata::try_from(index).ok()));
    let index = converted.ok().flatten();
    let index = index.ok_or_else(|| Fault::Unsound("cannot be decoded".into()))?;
    if index.base_id.is_some() {
        return Ok(());
    }
    let home = dir.join("_indices").join(index.uuid.to_string());
    for file in index.files.unwrap_or_default() {
        let (_, size) = open(&inside(&home, &file.path)?)?;
        let what = format!("{}: has {size} of {} bytes", file.path, file.size_bytes);
        ensure(size == file.size_bytes, &what)?;
    }
    Ok(())
}

/// A path below `base`, and nowhere else.
fn inside(base: &Path, relative: &str) -> Check<PathBuf> {
    let path = Path::new(relative);
    let below = path.components().all(|c| matches!(c, Component::Normal(_)));
    ensure(below, "lies outside of the table")?;
    Ok(base.join(path))
}

/// Describes the versions as JSON; see pn_check.
pub fn check(dir: &Path, newest: u64, damaged: u64, layout: bool) -> Result<String> {
    let versions = versions(dir, newest, damaged)?;
    let newest = versions.iter().find_map(|v| v.manifest.as_ref());
    let fragments = match newest {
        Some(manifest) if layout => manifest.fragments.iter().map(describe).collect(),
        _ => Vec::new(),
    };
    let document = json!({
        "versions": versions.iter().map(describe_version).collect::<Vec<_>>(),
        "fragments": fragments,
    });
    Ok(document.to_string())
}

fn describe_version(version: &Version) -> Value {
    let manifest = version.manifest.as_ref();
    let fragments = manifest.map(|m| &m.fragments[..]).unwrap_or_default();
    let flaw = |flaw: &Flaw| {
        let (kind, rows) = match flaw.part {
            Part::Data(i) => ("data", ranges(&fragments[i])),
            Part::Deletions(i) => ("deletions", ranges(&fragments[i])),
            Part::Index(_) => ("index", Some(Vec::new())),
        };
        json!({"file": flaw.file, "what": flaw.what, "kind": kind, "rows": rows})
    };
    json!({
        "version": version.number,
        "manifest": format!("{VERSIONS_DIR}/{}", version.name),
        "above": version.above,
        "seconds": version.brief.timestamp.as_ref().map(|t| t.seconds),
        "next_row_id": version.brief.next_row_id,
        "rows": fragments.iter().filter_map(Fragment::num_rows).sum::<usize>(),
        "bytes": fragments.iter().map(data_bytes).sum::<u64>(),
        "checked": manifest.is_some(),
        "torn": version.torn,
        "flaws": version.flaws.iter().map(flaw).collect::<Vec<_>>(),
    })
}

fn describe(fragment: &Fragment) -> Value {
    json!({
        "id": fragment.id,
        "rows": ranges(fragment),
        "bytes": data_bytes(fragment),
        "files": fragment.referenced_lance_files().map(|f| &f.path).collect::<Vec<_>>(),
    })
}

/// The row ids of a fragment as pairs of the first one and the one after the
/// last; None when they cannot be read.
fn ranges(fragment: &Fragment) -> Option<Vec<(u64, u64)>> {
    let runs = row_ids(fragment).ok()?;
    Some(runs.into_iter().map(|r| (r.start, r.end)).collect())
}
