"""Batches as columns, of arrays and tensors, and as records."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from persisting._errors import SchemaError


def rows_of(data: Any) -> list[dict[str, Any]]:
    """Return a batch as records.

    Parameters
    ----------
    data
        A list of records; a dict of columns, which are arrays, tensors or lists of one length; or
        a TensorDict.

    Raises
    ------
    SchemaError
        It is none of these, or the columns have several lengths.
    """
    if is_tensordict(data):
        if not data.batch_size:
            return [_plain(data)]
        if hasattr(data, "tensordicts"):  # a lazy stack, whose columns may have several shapes
            return [_plain(row) for row in data.unbind(0)]
        return _rows_of_columns(dict(data.items()))
    if isinstance(data, Mapping):
        return _rows_of_columns(data)
    if isinstance(data, Sequence) and all(isinstance(row, Mapping) for row in data):
        return [dict(row) for row in data]
    raise SchemaError(
        "put_tensor: want a dict of columns, a list of dicts or a TensorDict, "
        f"got {type(data).__name__}"
    )


def is_tensordict(data: Any) -> bool:
    """Say whether data are a TensorDict, which may be a Mapping too, or much like one."""
    return hasattr(data, "batch_size") and hasattr(data, "items")


def _rows_of_columns(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    values = {name: _items(name, column) for name, column in columns.items()}
    lengths = {name: len(items) for name, items in values.items()}
    if len({*lengths.values()}) > 1:
        raise SchemaError(f"put_tensor: want columns of one length, got {lengths}")
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _items(name: str, column: Any) -> list[Any]:
    """Return the values of a column, one for each row."""
    if hasattr(column, "unbind"):  # a tensor, a nested one as well, or a TensorDict
        return [_plain(item) for item in column.unbind(0)]
    if isinstance(column, str | bytes | Mapping):
        raise SchemaError(f"put_tensor: column {name!r} is a {type(column).__name__}, not a column")
    try:
        if hasattr(column, "dtype"):
            return [column[i] for i in range(len(column))]
        return [_plain(item) for item in column]
    except TypeError:
        raise SchemaError(
            f"put_tensor: column {name!r} is a {type(column).__name__} without a first dimension"
        ) from None


def _plain(value: Any) -> Any:
    """Return a TensorDict as a dict, and data that it holds beside tensors as they are."""
    if hasattr(value, "batch_size"):
        return value.to_dict() if hasattr(value, "to_dict") else dict(value.items())
    return value


def stacked(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return records as columns: arrays and tensors of one shape as one, other values as lists."""
    names = dict.fromkeys(name for record in records for name in record)
    return {name: _stack([record.get(name) for record in records]) for name in names}


def _stack(values: list[Any]) -> Any:
    kinds = {(type(value), getattr(value, "shape", None)) for value in values}
    if len(kinds) > 1 or not hasattr(values[0], "shape"):
        return values
    library = sys.modules[type(values[0]).__module__.partition(".")[0]]
    return library.stack(values)


def to_tensordict(records: Sequence[Mapping[str, Any]]) -> Any:
    """Return records as one TensorDict of the package `tensordict`.

    Parameters
    ----------
    records
        What `get_data` returned.

    Returns
    -------
    tensordict.LazyStackedTensorDict
        Of the batch size `[len(records)]`. Numbers and arrays are tensors; texts and whatever else
        is no tensor are kept as they are. Tensors of one shape are stacked when they are read;
        `get(name, as_nested_tensor=True)` reads those of several.

    Raises
    ------
    ImportError
        tensordict is not installed.
    """
    from tensordict import TensorDict, lazy_stack

    if not records:
        return TensorDict({}, [0])
    return lazy_stack([TensorDict(dict(record)) for record in records])
