//! The native half of Persisting: what the Go package `engine/lance` needs from
//! Lance and lancedb-go does not offer, over the table that lancedb-go opened.
//!
//! [`ffi`] is the contract, from which `persisting_native.h` is made. Each function of
//! it is a call of a method of the modules below.

mod cast;
mod check;
mod cleanup;
mod columns;
mod compact;
mod compare;
mod delete;
mod depth;
mod direct;
mod error;
mod evolve;
mod ffi;
mod files;
mod filter;
mod fragments;
mod grid;
mod held;
mod index;
mod indexed;
mod json;
mod layout;
mod leaks;
mod mend;
mod overlay;
mod progress;
mod projection;
mod query;
mod read;
mod readers;
mod row_ids;
mod runtime;
mod snapshot;
mod sql;
mod stack;
mod table;
mod take;
mod texts;
mod tokens;
mod vectors;
mod versions;

/// Keeps the symbols of lancedb-go's native half in this library.
pub use lancedb_go as _lancedb_go;
