"""The exceptions of persisting, each with the status code of the C boundary behind it."""

from __future__ import annotations

from persisting._engine.boundary import Status

__all__ = [
    "ClosedError",
    "ConflictError",
    "CorruptError",
    "DuplicateError",
    "ForkedError",
    "InternalError",
    "InvalidArgumentError",
    "InvalidHandleError",
    "LockedError",
    "NotFoundError",
    "PersistingError",
    "PoisonedError",
    "ReadOnlyError",
    "RemovedError",
    "SchemaError",
    "Status",
    "StorageError",
    "WALError",
    "WaitTimeoutError",
    "WouldBlockError",
    "error_for",
]


class PersistingError(Exception):
    """Base of every exception that persisting raises.

    Parameters
    ----------
    message : str
        What went wrong.
    code : int, optional
        Status code, when it is not the one of the class.

    Attributes
    ----------
    code : int
        Status code of the C boundary (a `Status`, or a code that this version does not know).
    """

    code: int = Status.INTERNAL

    def __init__(self, message: str = "", code: int | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class InvalidArgumentError(PersistingError, ValueError):
    """Raised when an argument or an option has a value that the call cannot take."""

    code = Status.INVALID_ARGUMENT


class InvalidHandleError(PersistingError):
    """Raised when the library does not know the handle: it is closed or another library's."""

    code = Status.INVALID_HANDLE


class NotFoundError(PersistingError, LookupError):
    """Raised when what was asked for does not exist."""

    code = Status.NOT_FOUND


class RemovedError(NotFoundError):
    """Raised for an offset whose record was deleted or truncated. It is a `NotFoundError`.

    Attributes
    ----------
    first : int or None
        The first offset after it whose record is left; that of the next record to be put when
        there is none.
    """

    code = Status.REMOVED
    first: int | None = None


class SchemaError(PersistingError, TypeError):
    """Raised when data does not fit the columns of the bucket, or cannot be held exactly.

    It is also a `TypeError`. Nothing of the refused put was stored. Reads raise it for a value
    that came in as Arrow data and that Python has no object for, such as a date of the year
    10,000: `get_arrow` gives it, and a stream can go on at the next offset.

    Attributes
    ----------
    column : str or None
        The column of the value that was read.
    offset : int or None
        The offset of its record.
    """

    code = Status.SCHEMA
    column: str | None = None
    offset: int | None = None


class StorageError(PersistingError):
    """Raised when the table or the disk below it fails."""

    code = Status.STORAGE


class LockedError(StorageError):
    """Raised when another process or object holds the bucket; the message names the holder.

    Attributes
    ----------
    pid : int or None
        The process that holds it, which may be this one; None where that is not known.
    """

    code = Status.LOCKED
    pid: int | None = None


class PoisonedError(StorageError):
    """Raised by writes after a failed write or fsync, until the bucket is opened again.

    So it is after the directory of an open bucket was removed, moved or made anew.
    """

    code = Status.POISONED


class CorruptError(StorageError):
    """Raised when stored bytes are not what was written."""

    code = Status.CORRUPT


class WALError(StorageError):
    """Raised when the write-ahead log fails. It is a `StorageError`."""

    code = Status.WAL


class ConflictError(PersistingError):
    """Raised when something is not as the caller expects it, as a tag; nothing was changed."""

    code = Status.CONFLICT


class DuplicateError(ConflictError):
    """Raised when something else is stored in the place that was given; nothing was changed.

    Attributes
    ----------
    step : int or None
        The step of the episode that is there with another value.
    """

    code = Status.DUPLICATE
    step: int | None = None


class ReadOnlyError(PersistingError):
    """Raised by what would change a bucket that was opened for reading."""

    code = Status.READ_ONLY


class ClosedError(PersistingError):
    """Raised when the bucket is closed already."""

    code = Status.CLOSED


class WouldBlockError(PersistingError):
    """Raised when a call that may not wait would have to."""

    code = Status.WOULD_BLOCK


class WaitTimeoutError(PersistingError, TimeoutError):
    """Raised when a wait ends without what it waited for. It is also a `TimeoutError`."""

    code = Status.TIMEOUT


class ForkedError(PersistingError):
    """Raised in a forked child, which may not use the library; start processes with spawn."""

    code = Status.FORKED


class InternalError(PersistingError):
    """Raised when the library caught a fault of its own, and by what is used after that.

    A bucket is to be closed then, and can be opened again; others go on.
    """

    code = Status.INTERNAL


_CLASSES: dict[int, type[PersistingError]] = {
    int(cls.code): cls
    for cls in (
        InvalidArgumentError,
        InvalidHandleError,
        NotFoundError,
        RemovedError,
        SchemaError,
        StorageError,
        LockedError,
        PoisonedError,
        CorruptError,
        WALError,
        ConflictError,
        DuplicateError,
        ReadOnlyError,
        ClosedError,
        WouldBlockError,
        WaitTimeoutError,
        ForkedError,
        InternalError,
    )
}


def error_for(code: int, message: str, detail: int = 0) -> PersistingError:
    """Make the exception that stands for a status code.

    Parameters
    ----------
    code : int
        Status code of the C boundary, not `Status.OK`.
    message : str
        Text of the error; used as it is, never as a format.
    detail : int
        The number that some codes come with: `first` of a `RemovedError`, `pid` of a `LockedError`,
        `step` of a `DuplicateError`.

    Returns
    -------
    PersistingError
        An instance of the class of that code, ready to be raised. A code that this version does
        not know gives a plain `PersistingError` that carries it.

    Raises
    ------
    ValueError
        If `code` is `Status.OK`.
    """
    if code == Status.OK:
        msg = "status OK is not an error"
        raise ValueError(msg)
    error = _CLASSES.get(code, PersistingError)(message, code)
    if isinstance(error, RemovedError):
        error.first = detail
    elif isinstance(error, LockedError):
        error.pid = detail or None
    elif isinstance(error, DuplicateError):
        error.step = detail
    return error
