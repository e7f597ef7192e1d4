//! Files of a table that are held open, and files in memory beside them.
//!
//! Who reads a table that another process changes cannot keep that one from removing
//! what it reads. A file that is open stays, whatever becomes of its name. What such a
//! reader makes of the table, to query rows that are not in it yet, is in memory: this
//! store never writes to the disk.

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use lance_io::object_store::{ObjectStoreParams, WrappingObjectStore};
use object_store::list::PaginatedListStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

use crate::direct::read_cached;
use crate::error::{Error, Result};

const NAME: &str = "persisting-overlay";

/// A file that is held open, and its size.
#[derive(Clone, Debug)]
pub struct Held {
    file: Arc<File>,
    size: u64,
}

impl Held {
    /// Opens a file.
    pub fn open(path: &path::Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let file = Arc::new(file);
        Ok(Self { file, size })
    }

    /// All of it.
    pub fn content(&self) -> io::Result<Vec<u8>> {
        self.read_at(0..self.size)
    }

    fn read_at(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes)
    }

    /// Reads on this thread what the system has in memory, and on another one what it has not.
    async fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        if read_cached(&self.file, &mut bytes, range.start).is_ok() {
            return Ok(bytes);
        }
        let held = self.clone();
        let read = tokio::task::spawn_blocking(move || held.read_at(range));
        read.await.map_err(io::Error::other)?
    }
}

/// The store of one version of a table: nothing else is in it.
#[derive(Clone, Debug, Default)]
pub struct Overlay(Arc<Files>);

#[derive(Debug, Default)]
struct Files {
    held: Mutex<HashMap<Path, Held>>,
    memory: InMemory,
}

impl Overlay {
    /// The name of a directory for Lance to reach it through this store.
    pub fn uri(dir: &str) -> Result<String> {
        let url = url::Url::from_directory_path(dir)
            .map_err(|()| Error::internal(format!("{dir} is no absolute path")))?;
        let path = url.path().trim_end_matches('/');
        Ok(format!("file-object-store://{path}"))
    }

    /// What has Lance use this store.
    pub fn params(&self) -> ObjectStoreParams {
        ObjectStoreParams {
            object_store_wrapper: Some(Arc::new(self.clone())),
            ..Default::default()
        }
    }

    /// Has a file in the store.
    pub fn hold(&self, path: Path, file: Held) {
        self.files().insert(path, file);
    }

    /// Has a copy of a file in the store, where it is listed.
    pub async fn copy(&self, path: &Path, content: Vec<u8>) -> Result<()> {
        let payload = PutPayload::from(content);
        let put = self.0.memory.put_opts(path, payload, Default::default());
        put.await.map_err(Error::internal)?;
        Ok(())
    }

    /// A store of the same files, which shares none that are made from now on.
    pub fn apart(&self) -> Self {
        Self(Arc::new(Files {
            held: Mutex::new(self.files().clone()),
            memory: self.0.memory.fork(),
        }))
    }

    /// The file at a path, if it is held.
    pub fn held(&self, path: &Path) -> Option<Held> {
        self.files().get(path).cloned()
    }

    fn files(&self) -> MutexGuard<'_, HashMap<Path, Held>> {
        self.0.held.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl WrappingObjectStore for Overlay {
    fn wrap(&self, _: &str, _: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        Arc::new(self.clone())
    }

    fn wrap_paginated(
        &self,
        _: &str,
        _: Arc<dyn PaginatedListStore>,
    ) -> Option<Arc<dyn PaginatedListStore>> {
        None
    }
}

impl Display for Overlay {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

fn failed(e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> object_store::Error {
    object_store::Error::Generic {
        store: NAME,
        source: e.into(),
    }
}

#[async_trait]
impl ObjectStore for Overlay {
    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        let Some(file) = self.held(path) else {
            return self.0.memory.get_opts(path, options).await;
        };
        let range = match options.range {
            Some(range) => range.as_range(file.size).map_err(failed)?,
            None => 0..file.size,
        };
        let bytes = match options.head {
            true => Vec::new(),
            false => file.read(range.clone()).await.map_err(failed)?,
        };
        let meta = ObjectMeta {
            location: path.clone(),
            last_modified: Default::default(),
            size: file.size,
            e_tag: None,
            version: None,
        };
        let bytes = stream::once(async move { Ok(Bytes::from(bytes)) });
        Ok(GetResult {
            payload: GetResultPayload::Stream(bytes.boxed()),
            meta,
            range,
            attributes: Default::default(),
            extensions: Default::default(),
        })
    }

    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.0.memory.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.0.memory.put_multipart_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.0.memory.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.0.memory.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.0.memory.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.0.memory.copy_opts(from, to, options).await
    }
}
