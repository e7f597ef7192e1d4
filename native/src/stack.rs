//! Stacks that are deep enough: what reads an expression calls itself once for each
//! level of it, and the thread that asks may have a small stack.

use std::cell::Cell;
use std::thread::{scope, Builder};

use crate::error::{Error, Result};

/// What a thread of its own has besides: it takes memory only where it is used.
const SPARE_BYTES: usize = 8 << 20;

/// Runs `work` with so many bytes of stack: on this thread if it has them left, else
/// on one of its own.
pub fn with_stack<T: Send>(bytes: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    if left() >= bytes {
        return work();
    }
    scope(|threads| {
        let thread = Builder::new()
            .name("persisting-query".into())
            .stack_size(bytes + SPARE_BYTES)
            .spawn_scoped(threads, work)
            .map_err(|e| Error::internal(format!("no thread for a query: {e}")))?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// How much of the stack of this thread is left, 0 where that is unknown.
fn left() -> usize {
    thread_local! {
        static END: Cell<Option<usize>> = const { Cell::new(None) };
    }
    let end = END.get().unwrap_or_else(|| {
        let end = end().unwrap_or(usize::MAX);
        END.set(Some(end));
        end
    });
    let here = std::ptr::from_ref(&end) as usize;
    here.saturating_sub(end)
}

/// The lowest address of the stack of this thread.
#[cfg(target_os = "linux")]
fn end() -> Option<usize> {
    // SAFETY: the attributes are initialised by the first call, read by the second
    // and destroyed by the third; the addresses are those of locals.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) != 0 {
            return None;
        }
        let (mut low, mut size) = (std::ptr::null_mut(), 0);
        let failed = libc::pthread_attr_getstack(&attributes, &mut low, &mut size);
        libc::pthread_attr_destroy(&mut attributes);
        (failed == 0).then_some(low as usize)
    }
}

#[cfg(not(target_os = "linux"))]
fn end() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_runs_where_the_stack_is_deep_enough() {
        let here = || Ok(std::thread::current().id());
        let me = std::thread::current().id();
        assert_eq!(with_stack(16 << 10, here).expect("work"), me);
        assert_ne!(with_stack(1 << 30, here).expect("work"), me);
        let all = left();
        assert!(all > 64 << 10, "{all}");
        let small = Builder::new().stack_size(256 << 10).spawn(left);
        let small = small.expect("a thread").join().expect("no panic");
        assert!((64 << 10..=256 << 10).contains(&small), "{small}");
    }
}
