//! Counts of what callers hold, for leak tests.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicI64, Ordering};

/// A kind of object that is counted.
pub trait Kind {
    fn count() -> &'static AtomicI64;
}

macro_rules! kinds {
    ($($name:ident),*) => {$(
        pub struct $name;
        impl Kind for $name {
            fn count() -> &'static AtomicI64 {
                static COUNT: AtomicI64 = AtomicI64::new(0);
                &COUNT
            }
        }
    )*};
}

kinds!(Tables, Snapshots, Readers, Strings);

/// A member that counts the objects it is part of.
pub struct Counted<K: Kind>(PhantomData<fn() -> K>);

impl<K: Kind> Default for Counted<K> {
    fn default() -> Self {
        K::count().fetch_add(1, Ordering::Relaxed);
        Self(PhantomData)
    }
}

impl<K: Kind> Counted<K> {
    /// The member of an object that went to C, which forgot it, and comes back.
    pub fn of_forgotten() -> Self {
        Self(PhantomData)
    }
}

impl<K: Kind> Drop for Counted<K> {
    fn drop(&mut self) {
        K::count().fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is alive.
#[repr(C)]
pub struct Live {
    tables: i64,
    snapshots: i64,
    readers: i64,
    strings: i64,
}

pub fn live() -> Live {
    Live {
        tables: Tables::count().load(Ordering::Relaxed),
        snapshots: Snapshots::count().load(Ordering::Relaxed),
        readers: Readers::count().load(Ordering::Relaxed),
        strings: Strings::count().load(Ordering::Relaxed),
    }
}
