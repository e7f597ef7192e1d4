"""What C declares. Made from capi/persisting.h by _build/boundary.py."""

# fmt: off
# ruff: noqa: E501

from __future__ import annotations

from ctypes import (
    Structure,
    c_char_p,
    c_int32,
    c_int64,
    c_uint32,
    c_uint64,
    c_void_p,
)
from enum import IntEnum
from typing import Any

ABI_VERSION = 2

NO_WAIT = 1
NOTIFY = 8
CHECK = 16
CHECKED = 32
RUN = 2
OVER = 4611686018427387904
QUICK = 2
APPLY = 4

HANDLES = ('bucket', 'cursor', 'columns', 'server', 'view')

class Status(IntEnum):
    """Status codes of the C boundary, as in `capi/persisting.h`."""

    OK = 0
    INVALID_ARGUMENT = 1
    INVALID_HANDLE = 2
    NOT_FOUND = 3
    SCHEMA = 4
    STORAGE = 5
    WAL = 6
    LOCKED = 7
    CLOSED = 8
    POISONED = 9
    WOULD_BLOCK = 10
    TIMEOUT = 11
    FORKED = 12
    CORRUPT = 13
    REMOVED = 14
    INTERNAL = 99

class ArrowSchema(Structure):
    """`struct ArrowSchema`."""

    _fields_ = (
        ("format", c_char_p),
        ("name", c_char_p),
        ("metadata", c_char_p),
        ("flags", c_int64),
        ("n_children", c_int64),
        ("children", c_void_p),
        ("dictionary", c_void_p),
        ("release", c_void_p),
        ("private_data", c_void_p),
    )

class ArrowArray(Structure):
    """`struct ArrowArray`."""

    _fields_ = (
        ("length", c_int64),
        ("null_count", c_int64),
        ("offset", c_int64),
        ("n_buffers", c_int64),
        ("n_children", c_int64),
        ("buffers", c_void_p),
        ("children", c_void_p),
        ("dictionary", c_void_p),
        ("release", c_void_p),
        ("private_data", c_void_p),
    )

class Error(Structure):
    """`struct persisting_error`."""

    _fields_ = (
        ("code", c_int32),
        ("message", c_char_p),
        ("detail", c_int64),
        ("release", c_void_p),
    )

class Usage(Structure):
    """`struct persisting_usage`."""

    _fields_ = (
        ("handles", c_int64),
        ("allocated_bytes", c_int64),
    )

# The arguments of each function but the last, which is the error.
PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "persisting_abi_version": (c_void_p, ),
    "persisting_version": (c_void_p, ),
    "persisting_string_free": (c_void_p, ),
    "persisting_library_usage": (c_void_p, ),
    "persisting_library_set_memory_budget": (c_int64, ),
    "persisting_metrics_text": (c_void_p, ),
    "persisting_metrics_json": (c_void_p, ),
    "persisting_metrics_retain": (c_uint32, ),
    "persisting_server_start": (c_char_p, c_void_p, ),
    "persisting_server_address": (c_uint64, c_void_p, ),
    "persisting_server_close": (c_uint64, ),
    "persisting_log_levels": (c_char_p, ),
    "persisting_log_next": (c_int64, c_void_p, ),
    "persisting_bucket_open": (c_char_p, c_char_p, c_void_p, ),
    "persisting_bucket_append": (c_uint64, c_void_p, c_void_p, c_uint32, c_int64, c_void_p, c_void_p, ),
    "persisting_bucket_append_message": (c_uint64, c_uint64, c_void_p, c_int64, c_uint32, c_int64, c_void_p, c_void_p, ),
    "persisting_bucket_open_ring": (c_uint64, c_uint64, c_void_p, ),
    "persisting_bucket_drain_ring": (c_uint64, ),
    "persisting_bucket_acknowledged": (c_uint64, c_void_p, ),
    "persisting_bucket_wait": (c_uint64, c_int64, c_int64, ),
    "persisting_bucket_set_bell": (c_uint64, c_int32, ),
    "persisting_bucket_notify": (c_uint64, c_int64, ),
    "persisting_bucket_read": (c_uint64, c_int64, c_int64, c_uint32, c_void_p, c_void_p, ),
    "persisting_bucket_get": (c_uint64, c_int64, c_int64, c_void_p, c_void_p, ),
    "persisting_bucket_take": (c_uint64, c_void_p, c_int64, c_uint32, c_void_p, c_void_p, ),
    "persisting_bucket_schema": (c_uint64, c_void_p, c_void_p, ),
    "persisting_bucket_flush": (c_uint64, ),
    "persisting_bucket_compact": (c_uint64, ),
    "persisting_bucket_stats": (c_uint64, c_void_p, ),
    "persisting_bucket_close": (c_uint64, ),
    "persisting_bucket_query": (c_uint64, c_char_p, c_void_p, c_int64, c_void_p, ),
    "persisting_bucket_count": (c_uint64, c_char_p, c_void_p, ),
    "persisting_bucket_explain": (c_uint64, c_char_p, c_void_p, c_int64, c_void_p, ),
    "persisting_bucket_create_index": (c_uint64, c_char_p, ),
    "persisting_bucket_drop_index": (c_uint64, c_char_p, ),
    "persisting_bucket_indexes": (c_uint64, c_void_p, ),
    "persisting_bucket_index_stats": (c_uint64, c_char_p, c_void_p, ),
    "persisting_directory_verify": (c_char_p, c_uint32, c_void_p, ),
    "persisting_directory_inspect": (c_char_p, c_void_p, ),
    "persisting_directory_repair": (c_char_p, c_uint32, c_void_p, ),
    "persisting_directory_clone": (c_char_p, c_char_p, c_void_p, ),
    "persisting_bucket_add_columns": (c_uint64, c_void_p, ),
    "persisting_bucket_fill_column": (c_uint64, c_void_p, c_void_p, ),
    "persisting_bucket_compute_column": (c_uint64, c_void_p, c_char_p, ),
    "persisting_bucket_drop_column": (c_uint64, c_char_p, ),
    "persisting_bucket_rename_column": (c_uint64, c_char_p, c_char_p, ),
    "persisting_bucket_cast_column": (c_uint64, c_void_p, ),
    "persisting_bucket_declare": (c_uint64, c_void_p, ),
    "persisting_bucket_delete": (c_uint64, c_char_p, c_void_p, ),
    "persisting_bucket_truncate_before": (c_uint64, c_int64, c_void_p, ),
    "persisting_bucket_first_from": (c_uint64, c_int64, c_void_p, ),
    "persisting_bucket_commit": (c_uint64, c_char_p, c_int64, ),
    "persisting_bucket_consumers": (c_uint64, c_void_p, ),
    "persisting_bucket_versions": (c_uint64, c_void_p, ),
    "persisting_bucket_tag": (c_uint64, c_char_p, c_uint64, ),
    "persisting_bucket_untag": (c_uint64, c_char_p, ),
    "persisting_bucket_restore": (c_uint64, c_uint64, ),
    "persisting_view_open": (c_uint64, c_uint64, c_void_p, ),
    "persisting_view_schema": (c_uint64, c_void_p, ),
    "persisting_view_rows": (c_uint64, c_void_p, c_void_p, ),
    "persisting_view_read": (c_uint64, c_int64, c_int64, c_uint32, c_void_p, ),
    "persisting_view_query": (c_uint64, c_char_p, c_void_p, c_int64, c_void_p, ),
    "persisting_view_count": (c_uint64, c_char_p, c_void_p, ),
    "persisting_view_explain": (c_uint64, c_char_p, c_void_p, c_int64, c_void_p, ),
    "persisting_view_close": (c_uint64, ),
    "persisting_columns_import": (c_void_p, c_void_p, ),
    "persisting_columns_close": (c_uint64, ),
    "persisting_cursor_schema": (c_uint64, c_void_p, ),
    "persisting_cursor_next": (c_uint64, c_void_p, ),
    "persisting_cursor_offsets": (c_uint64, c_void_p, ),
    "persisting_cursor_close": (c_uint64, ),
}
