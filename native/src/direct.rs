//! Small reads of what the operating system has in memory, on the calling thread.
//!
//! Lance hands every piece of I/O and every batch to other threads. Where nothing
//! has to be waited for, that takes several times as long as the work itself. So a
//! small read is attempted first with everything on one thread, in files that say
//! at once when a byte would have to come from the disk; if one would, all of it is
//! read the other way.

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use lance::dataset::fragment::{FileFragment, FragReadConfig, FragmentReader};
use lance::datatypes::Schema;
use lance::Dataset;
use lance_io::object_store::ObjectStore as LanceStore;
use lance_io::scheduler::{ScanScheduler, SchedulerConfig};
use lance_table::format::Fragment;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use tokio::runtime::{Builder, Runtime};
use url::Url;

use crate::error::{Error, Result};

const NAME: &str = "persisting-direct";

/// As for local files: reads with smaller gaps between them become one.
const BLOCK_BYTES: usize = 4096;

/// Runs a read on the calling thread, which is never a worker. Returns None where
/// it failed: done the other way it fails again, or had to wait only.
pub fn attempt<T>(read: impl Future<Output = Result<T>>) -> Option<T> {
    static IDLE: Mutex<Vec<Runtime>> = Mutex::new(Vec::new());
    let lock = || IDLE.lock().unwrap_or_else(|e| e.into_inner());
    let idle = lock().pop();
    let runtime = match idle {
        Some(runtime) => runtime,
        None => Builder::new_current_thread().enable_time().build().ok()?,
    };
    let done = runtime.block_on(read).ok()?;
    lock().push(runtime);
    Some(done)
}

/// Opens a fragment without keeping the rest of the version in memory.
pub async fn open_fragment(
    dataset: &Dataset,
    fragment: &Fragment,
    columns: &Schema,
    config: FragReadConfig,
) -> Result<FragmentReader> {
    let mut manifest = dataset.manifest().clone();
    manifest.fragments = Arc::new(vec![fragment.clone()]);
    let mut alone = dataset.clone();
    alone.manifest = Arc::new(manifest);
    let file = FileFragment::new(Arc::new(alone), fragment.clone());
    Ok(file.open(columns, config).await?)
}

/// Opens a fragment for reads by [`attempt`]; to open it may wait.
pub async fn open(
    dataset: &Dataset,
    fragment: &Fragment,
    columns: &Schema,
) -> Result<FragmentReader> {
    let files = Arc::new(Files::default());
    let location = Url::parse("file-object-store:///").map_err(Error::internal)?;
    let store = LanceStore::new(
        files.clone(),
        location,
        Some(BLOCK_BYTES),
        None,
        false,
        false,
        1,
        0,
        None,
    );
    let unbounded = SchedulerConfig::new(0).with_lite_scheduler();
    let scheduler = ScanScheduler::new(Arc::new(store), unbounded);
    let config = FragReadConfig::default().with_scan_scheduler(scheduler);
    let reader = open_fragment(dataset, fragment, columns, config).await?;
    files.opened.store(true, Ordering::Relaxed);
    Ok(reader)
}

/// The data files of a fragment, held open. Once it is opened, they give only what
/// is in memory.
#[derive(Debug, Default)]
struct Files {
    opened: AtomicBool,
    files: Mutex<HashMap<Path, (Arc<File>, u64)>>,
}

impl Files {
    fn file(&self, path: &Path) -> io::Result<(Arc<File>, u64)> {
        let mut files = self.files.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(known) = files.get(path) {
            return Ok(known.clone());
        }
        let file = File::open(format!("/{path}"))?;
        let size = file.metadata()?.len();
        let file = (Arc::new(file), size);
        files.insert(path.clone(), file.clone());
        Ok(file)
    }

    fn read(&self, file: &File, range: &Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        if self.opened.load(Ordering::Relaxed) {
            read_cached(file, &mut bytes, range.start)?;
        } else {
            file.read_exact_at(&mut bytes, range.start)?;
        }
        Ok(bytes)
    }
}

/// Fills `bytes` from the page cache, or fails.
#[cfg(target_os = "linux")]
pub fn read_cached(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: `part` is `bytes`, which outlives the call.
    let n = unsafe {
        libc::preadv2(
            file.as_raw_fd(),
            &part,
            1,
            at as libc::off_t,
            libc::RWF_NOWAIT,
        )
    };
    match usize::try_from(n) {
        Ok(n) if n == bytes.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::WouldBlock.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(target_os = "linux"))]
pub fn read_cached(_: &File, _: &mut [u8], _: u64) -> io::Result<()> {
    Err(io::ErrorKind::WouldBlock.into())
}

impl Display for Files {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

fn refused<T>() -> object_store::Result<T> {
    Err(object_store::Error::NotSupported {
        source: "these files are for reading".into(),
    })
}

#[async_trait]
impl ObjectStore for Files {
    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        let failed = |e: io::Error| object_store::Error::Generic {
            store: NAME,
            source: e.into(),
        };
        let (file, size) = self.file(path).map_err(failed)?;
        let range = match options.range {
            Some(range) => range
                .as_range(size)
                .map_err(|e| failed(io::Error::other(e)))?,
            None => 0..size,
        };
        let bytes = match options.head {
            true => Vec::new(),
            false => self.read(&file, &range).map_err(failed)?,
        };
        let meta = ObjectMeta {
            location: path.clone(),
            last_modified: Default::default(),
            size,
            e_tag: None,
            version: None,
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(
                stream::once(async move { Ok(Bytes::from(bytes)) }).boxed(),
            ),
            meta,
            range,
            attributes: Default::default(),
            extensions: Default::default(),
        })
    }

    async fn put_opts(
        &self,
        _: &Path,
        _: PutPayload,
        _: PutOptions,
    ) -> object_store::Result<PutResult> {
        refused()
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        refused()
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        stream::iter([refused()]).boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        stream::iter([refused()]).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> object_store::Result<ListResult> {
        refused()
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> object_store::Result<()> {
        refused()
    }
}
