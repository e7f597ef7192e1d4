//! The one tokio runtime, and the caches that tables share.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use lance::session::Session;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::error::{Error, Result};

/// Batches that are decoded, and files that are opened, ahead of a reader.
pub const AHEAD: usize = 4;

/// The stack of a worker, which takes memory only where it is used: the deepest
/// expression is computed on it.
const STACK_BYTES: usize = 16 << 20;

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(2, |n| n.get());
        Builder::new_multi_thread()
            .worker_threads(cores.clamp(2, 4))
            .thread_name("persisting-lance")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .expect("a tokio runtime")
    })
}

/// Runs a future to its end on the calling thread, which is never a worker.
pub fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

/// Runs a future to its end, unless it has to wait for anything.
pub fn at_once<F: Future>(future: F) -> Option<F::Output> {
    let _inside = runtime().enter();
    future.now_or_never()
}

/// Ends a task when nobody waits for it any more.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs a future on the workers.
pub async fn spawn<T: Send + 'static>(
    future: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let mut task = AbortOnDrop(tokio::spawn(future));
    let joined = (&mut task.0).await;
    joined.unwrap_or_else(|e| Err(Error::internal(format!("task failed: {e}"))))
}

/// Has the items of a stream made on the workers.
pub fn on_workers<T: Send + 'static>(
    items: BoxStream<'static, Result<T>>,
) -> BoxStream<'static, Result<T>> {
    let next = |items: Option<BoxStream<'static, Result<T>>>| async move {
        let mut items = items?;
        let made = spawn(async move {
            let item = items.next().await;
            Ok((item, items))
        });
        match made.await {
            Ok((item, items)) => Some((item?, Some(items))),
            Err(e) => Some((Err(e), None)),
        }
    };
    stream::unfold(Some(items), next).boxed()
}

/// The session of the given cache sizes: tables of equal sizes share one.
pub fn session(metadata_bytes: usize, index_bytes: usize) -> Arc<Session> {
    type Sessions = Mutex<HashMap<(usize, usize), Weak<Session>>>;
    static SESSIONS: OnceLock<Sessions> = OnceLock::new();
    let mut sessions = SESSIONS
        .get_or_init(Default::default)
        .lock()
        .unwrap_or_else(|e| e.into_inner());
    let key = (metadata_bytes, index_bytes);
    if let Some(session) = sessions.get(&key).and_then(Weak::upgrade) {
        return session;
    }
    let session = Arc::new(Session::new(
        index_bytes,
        metadata_bytes,
        Default::default(),
    ));
    sessions.insert(key, Arc::downgrade(&session));
    session
}

/// How often the heaps are trimmed during work that leaves much behind.
const TRIM_EVERY: Duration = Duration::from_millis(250);

/// Runs a future, and trims the heaps all the while.
pub async fn trimming<T>(future: impl Future<Output = T>) -> T {
    let trim = async {
        loop {
            tokio::time::sleep(TRIM_EVERY).await;
            trim_heaps();
        }
    };
    tokio::select! {
        done = future => done,
        () = trim => unreachable!(),
    }
}

/// Gives the memory that is free in the heaps of all threads back to the system:
/// glibc keeps what lies below anything in use.
pub fn trim_heaps() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: it may be called at any time, on any thread.
        unsafe { malloc_trim(0) };
    }
}

/// A session that nothing else uses: it reads what is on disk now.
pub fn private_session() -> Arc<Session> {
    Arc::new(Session::new(0, 0, Default::default()))
}
