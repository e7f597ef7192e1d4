//! Errors, and the statuses that callers tell them apart by.

use std::error::Error as StdError;
use std::fmt::{self, Display, Formatter};
use std::io;

use arrow_schema::ArrowError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    InvalidArgument = 1,
    NotFound = 2,
    AlreadyExists = 3,
    Schema = 4,
    Io = 5,
    Corrupt = 6,
    Conflict = 7,
    /// A cast would change a value.
    Inexact = 8,
    /// By pn_table_cancel_indexes.
    Cancelled = 9,
    /// With no_wait: the disk is needed.
    WouldBlock = 10,
    /// A panic or a broken assumption.
    Internal = 99,
}

#[derive(Debug)]
pub struct Error {
    pub status: Status,
    message: String,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(status: Status, message: impl Display) -> Self {
        Self {
            status,
            message: without_locations(&message.to_string()),
        }
    }

    pub fn schema(message: impl Display) -> Self {
        Self::new(Status::Schema, message)
    }

    pub fn corrupt(message: impl Display) -> Self {
        Self::new(Status::Corrupt, message)
    }

    pub fn internal(message: impl Display) -> Self {
        Self::new(Status::Internal, message)
    }
}

/// The caller's fault.
pub fn invalid(message: impl Display) -> Error {
    Error::new(Status::InvalidArgument, message)
}

/// The answer where nothing may be waited for.
pub fn would_block() -> Error {
    Error::new(Status::WouldBlock, "not all of it is in memory")
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {}

impl From<lance::Error> for Error {
    fn from(e: lance::Error) -> Self {
        use lance::Error as E;
        let status = match &e {
            E::InvalidInput { .. } => Status::InvalidArgument,
            E::DatasetNotFound { .. } => Status::NotFound,
            E::DatasetAlreadyExists { .. } => Status::AlreadyExists,
            E::SchemaMismatch { .. }
            | E::Schema { .. }
            | E::Arrow { .. }
            | E::NotSupported { .. }
            | E::FieldNotFound { .. } => Status::Schema,
            E::CorruptFile { .. } | E::NotFound { .. } => Status::Corrupt,
            E::CommitConflict { .. }
            | E::IncompatibleTransaction { .. }
            | E::RetryableCommitConflict { .. }
            | E::TooMuchWriteContention { .. } => Status::Conflict,
            E::Internal { .. } => Status::Internal,
            _ => Status::Io,
        };
        if matches!(status, Status::Io | Status::InvalidArgument) && is_damage(&e) {
            return Self::corrupt(e);
        }
        Self::new(status, e)
    }
}

/// Whether a file that should be there is missing or short.
fn is_damage(e: &lance::Error) -> bool {
    let mut source: Option<&(dyn StdError + 'static)> = Some(e);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            if matches!(
                io.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
            ) {
                return true;
            }
        }
        source = cause.source();
    }
    false
}

impl From<lancedb::Error> for Error {
    fn from(e: lancedb::Error) -> Self {
        match e {
            lancedb::Error::Lance { source } => source.into(),
            e => Self::new(Status::Io, e),
        }
    }
}

impl From<ArrowError> for Error {
    fn from(e: ArrowError) -> Self {
        Self::schema(e)
    }
}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Self {
        Self::new(Status::Io, e)
    }
}

/// Takes out of a message the places in Lance's sources that it ends with.
fn without_locations(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for (i, part) in message.split(", ").enumerate() {
        let place = part.strip_prefix("location: ").unwrap_or(part);
        let (word, rest) = place.split_at(place.find(char::is_whitespace).unwrap_or(place.len()));
        if i > 0 && word.contains(".rs:") && word.ends_with(|c: char| c.is_ascii_digit()) {
            out.push_str(rest);
            continue;
        }
        if i > 0 {
            out.push_str(", ");
        }
        out.push_str(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::without_locations;

    #[test]
    fn locations_are_taken_out() {
        for (message, want) in [
            ("plain", "plain"),
            ("a, b, c", "a, b, c"),
            ("Not found: x, /r/lance/src/a.rs:12:3", "Not found: x"),
            (
                "IO: Not found: x, /r/a.rs:1:2, src/b.rs:3:4",
                "IO: Not found: x",
            ),
            ("mixed, location: /r/a.rs:1:2", "mixed"),
            ("first, /r/a.rs:1:2 and more, too", "first and more, too"),
        ] {
            assert_eq!(without_locations(message), want);
        }
    }
}
