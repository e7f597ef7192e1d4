"""Every status code has its exception."""

from __future__ import annotations

import copy

import pytest

from persisting import _errors
from persisting._errors import PersistingError, Status, error_for

ERRORS: dict[int, tuple[str, type[Exception]]] = {
    1: ("InvalidArgumentError", ValueError),
    2: ("InvalidHandleError", PersistingError),
    3: ("NotFoundError", LookupError),
    4: ("SchemaError", TypeError),
    5: ("StorageError", PersistingError),
    6: ("WALError", _errors.StorageError),
    7: ("LockedError", _errors.StorageError),
    8: ("ClosedError", PersistingError),
    9: ("PoisonedError", _errors.StorageError),
    10: ("WouldBlockError", PersistingError),
    11: ("WaitTimeoutError", TimeoutError),
    12: ("ForkedError", PersistingError),
    13: ("CorruptError", _errors.StorageError),
    14: ("RemovedError", _errors.NotFoundError),
    15: ("ConflictError", _errors.PersistingError),
    16: ("ReadOnlyError", PersistingError),
    17: ("DuplicateError", _errors.ConflictError),
    99: ("InternalError", PersistingError),
}


def test_every_status_has_an_error() -> None:
    assert {int(status) for status in Status} == {0, *ERRORS}


@pytest.mark.parametrize("code", ERRORS)
def test_errors(code: int) -> None:
    name, base = ERRORS[code]
    error = error_for(code, "100% {wrong}")
    assert type(error).__name__ == name
    assert name in _errors.__all__
    assert isinstance(error, base)
    assert isinstance(error, PersistingError)
    assert (str(error), error.code) == ("100% {wrong}", code)
    assert type(error)("x").code == code
    assert copy.copy(error).code == code


def test_error_of_an_unknown_code() -> None:
    error = error_for(42, "new")
    assert (type(error), error.code) == (PersistingError, 42)
    with pytest.raises(ValueError, match="not an error"):
        error_for(0, "fine")
