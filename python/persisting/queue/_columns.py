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
    if isinstance(data, Mapping):
        return _rows_of_columns(data)
    if hasattr(data, "batch_size") and hasattr(data, "items"):  # a TensorDict
        if not data.batch_size:
            return [{name: _plain(value) for name, value in data.items()}]
        return _rows_of_columns(dict(data.items()))
    if isinstance(data, Sequence) and all(isinstance(row, Mapping) for row in data):
        return [dict(row) for row in data]
    raise SchemaError(
        "put_tensor: want a dict of columns, a list of dicts or a TensorDict, "
        f"got {type(data).__name__}"
    )


def _rows_of_columns(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    values = {name: _items(name, column) for name, column in columns.items()}
    lengths = {name: len(items) for name, items in values.items()}
    if len({*lengths.values()}) > 1:
        raise SchemaError(f"put_tensor: want columns of one length, got {lengths}")
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _items(name: str, column: Any) -> list[Any]:
    """Return the values of a column, one for each row."""
    if isinstance(column, str | bytes | Mapping):
        raise SchemaError(f"put_tensor: column {name!r} is a {type(column).__name__}, not a column")
    if hasattr(column, "unbind"):  # a tensor, a nested one as well, or a TensorDict
        return [_plain(item) for item in column.unbind(0)]
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
    if hasattr(value, "to_dict") and hasattr(value, "batch_size"):
        return value.data if hasattr(value, "data") and not _has_items(value) else value.to_dict()
    return value


def _has_items(value: Any) -> bool:
    return bool([*value.keys()]) if hasattr(value, "keys") else False


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
