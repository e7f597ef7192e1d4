//! The C interface of libpersisting_native.so: what the Go package engine/lance
//! needs from Lance and lancedb-go does not offer.
//!
//! Rules that hold for every function
//!   - It returns a pn_status. The result leaves through `out`, which is
//!     untouched unless the status is PN_OK.
//!   - The last argument may be NULL; otherwise it points to a struct that gets
//!     the message when the status is not PN_OK, which the caller releases.
//!   - ArrowSchema and ArrowArray arguments are consumed, on failure as well
//!     (release is NULL afterwards). Arrow structs that are results are owned
//!     by the caller.
//!   - Texts and arrays are borrowed for the call.
//!   - Handles may be used from many threads at once. A close frees the handle:
//!     the caller sees to it that no other call uses it then or later. Closing
//!     NULL is nothing.
//!   - A panic inside is caught and becomes PN_INTERNAL.

mod columns;
mod queries;
mod tables;
mod values;

use std::panic::{catch_unwind, AssertUnwindSafe};

use crate::error::{invalid, Error, Result};
use values::Owned;

/// A value that C passes to a function.
trait Argument: Sized {
    /// What it is in C.
    type C;

    /// Makes the value of what C passed, which is consumed where the rules say so,
    /// whatever comes of it.
    ///
    /// # Safety
    /// `c` is what the header asks for.
    unsafe fn take(c: Self::C) -> Result<Self>;
}

/// A value that a function gives to C.
trait Answer {
    /// What it is in C.
    type C;

    /// Hands the value over.
    fn give(self) -> Result<Self::C>;
}

/// Makes functions of the C interface. Each is declared by what it takes and gives in
/// Rust; [`Argument`] and [`Answer`] say what that is in C, and the header is made of
/// these declarations by `_build/native_header.py`.
macro_rules! export {
    ($(
        $(#[$doc:meta])*
        fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $(-> $answer:ty)? $body:block
    )*) => {$(
        $(#[$doc])*
        #[no_mangle]
        pub unsafe extern "C" fn $name(
            $($arg: <$kind as $crate::ffi::Argument>::C,)*
            $(out: *mut <$answer as $crate::ffi::Answer>::C,)?
            error: *mut $crate::ffi::values::Owned,
        ) -> i32 {
            $crate::ffi::guard(error, || {
                // All is taken over before anything is refused.
                $(let $arg = <$kind as $crate::ffi::Argument>::take($arg);)*
                $(let out = $crate::ffi::Out::<$answer>::new(out)?;)?
                $(let $arg = $arg?;)*
                $crate::ffi::export!(@run $body $(, out, $answer)?)
            })
        }
    )*};
    (@run $body:block) => { $body };
    (@run $body:block, $out:ident, $answer:ty) => { $out.answer(|| $body) };
}
use export;

/// Where the result of a function goes.
struct Out<A: Answer>(*mut A::C);

impl<A: Answer> Out<A> {
    /// Refuses NULL, before anything is done.
    fn new(place: *mut A::C) -> Result<Self> {
        match place.is_null() {
            true => Err(invalid("an out-parameter is NULL")),
            false => Ok(Self(place)),
        }
    }

    /// Runs the body of a function and hands its result over.
    ///
    /// # Safety
    /// The place is writable.
    unsafe fn answer(self, body: impl FnOnce() -> Result<A>) -> Result<()> {
        self.0.write(body()?.give()?);
        Ok(())
    }
}

/// Runs an exported function and reports its outcome.
///
/// # Safety
/// `error` is NULL or writable.
unsafe fn guard(error: *mut Owned, run: impl FnOnce() -> Result<()>) -> i32 {
    let outcome = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|s| s.to_string())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Err(Error::internal(format!("panic: {text}")))
    });
    let Err(e) = outcome else { return 0 };
    if !error.is_null() {
        error.write(Owned::new(e.to_string().replace('\0', " ")));
    }
    e.status as i32
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;
    use std::ptr::null_mut;

    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_text() {
        let mut error = MaybeUninit::uninit();
        // SAFETY: `error` is writable and then written; NULL is allowed.
        unsafe {
            assert_eq!(guard(null_mut(), || panic!("plain")), 99);
            assert_eq!(guard(error.as_mut_ptr(), || panic!("plain")), 99);
            assert_eq!(error.assume_init_read().into_string(), "panic: plain");
            let formatted = || panic!("{} items", std::hint::black_box(2));
            assert_eq!(guard(error.as_mut_ptr(), formatted), 99);
            assert_eq!(error.assume_init_read().into_string(), "panic: 2 items");
        }
    }

    #[test]
    fn what_succeeds_leaves_the_error_alone() {
        let mut error = MaybeUninit::<Owned>::zeroed();
        // SAFETY: `error` is writable.
        assert_eq!(unsafe { guard(error.as_mut_ptr(), || Ok(())) }, 0);
        assert_eq!(
            unsafe { guard(error.as_mut_ptr(), || Err(invalid("a\0b"))) },
            1
        );
        // SAFETY: it was written by the second call.
        assert_eq!(unsafe { error.assume_init() }.into_string(), "a b");
    }
}
