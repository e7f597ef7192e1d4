//! The files that versions refer to.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use lance::index::DatasetIndexExt;
use lance::Dataset;
use lance_table::io::commit::ManifestNamingScheme;

use crate::error::{Error, Result};
use crate::fragments::fragment_files;
use crate::runtime::block_on;
use crate::snapshot::Snapshot;

pub const VERSIONS_DIR: &str = "_versions";

/// The version that a file in `_versions` is the manifest of.
pub fn manifest_version(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".manifest")?;
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    ManifestNamingScheme::detect_scheme(name)?.parse_version(name)
}

/// The manifest of a version, as this program and all of Lance since 0.21 name it.
pub fn manifest_name(version: u64) -> String {
    format!("{VERSIONS_DIR}/{:020}.manifest", u64::MAX - version)
}

/// What `after` refers to and `before` does not, the manifests last.
pub fn changed_files(before: Option<&Snapshot>, after: &Snapshot) -> Result<Vec<String>> {
    let dataset = &after.dataset;
    let dir = Path::new(dataset.uri());
    let known: HashSet<String> = before.map_or_else(HashSet::new, |b| {
        b.dataset
            .fragments()
            .iter()
            .flat_map(fragment_files)
            .collect()
    });
    let mut changed: Vec<String> = dataset
        .fragments()
        .iter()
        .flat_map(fragment_files)
        .filter(|file| !known.contains(file))
        .collect();

    let known: HashSet<String> = match before {
        Some(b) => block_on(index_files(&b.dataset, dir))?
            .into_iter()
            .collect(),
        None => HashSet::new(),
    };
    let indices = block_on(index_files(dataset, dir))?;
    changed.extend(indices.into_iter().filter(|file| !known.contains(file)));

    let since = before.map_or(0, |b| b.dataset.version_id());
    if dataset.version_id() > since {
        let transaction = dataset.manifest().transaction_file.as_ref();
        changed.extend(transaction.map(|file| format!("_transactions/{file}")));
        changed.extend(manifests(dataset, since)?);
    }
    Ok(changed)
}

/// The manifests above a version, up to that of `dataset`. Some versions in
/// between may be gone.
fn manifests(dataset: &Dataset, since: u64) -> Result<Vec<String>> {
    let location = dataset.manifest_location();
    let names = (since + 1..=location.version).rev().map(|version| {
        let inverted = u64::MAX - version;
        match location.naming_scheme {
            ManifestNamingScheme::V1 => format!("{VERSIONS_DIR}/{version}.manifest"),
            ManifestNamingScheme::V2 => format!("{VERSIONS_DIR}/{inverted:020}.manifest"),
        }
    });
    let dir = Path::new(dataset.uri());
    let mut found: Vec<String> = names.take_while(|name| dir.join(name).exists()).collect();
    if found.is_empty() {
        return Err(Error::corrupt(format!(
            "the manifest of version {} is gone",
            location.version
        )));
    }
    found.reverse();
    Ok(found)
}

/// The files of the indexes of a version of the table in `dir`.
pub async fn index_files(dataset: &Dataset, dir: &Path) -> Result<Vec<String>> {
    if dataset.manifest().index_section.is_none() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for index in dataset.load_indices().await?.iter() {
        let name = format!("_indices/{}", index.uuid);
        match &index.files {
            Some(list) => files.extend(list.iter().map(|f| format!("{name}/{}", f.path))),
            None => list_files(dir, &name, &mut files)?,
        }
    }
    Ok(files)
}

fn list_files(base: &Path, dir: &str, files: &mut Vec<String>) -> Result<()> {
    let entries = match fs::read_dir(base.join(dir)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push(format!("{dir}/{}", entry.file_name().to_string_lossy()));
        }
    }
    Ok(())
}
