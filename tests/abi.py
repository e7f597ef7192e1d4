"""Calls of the built library as C sees it: statuses, not exceptions."""

from __future__ import annotations

import contextlib
import ctypes
from ctypes import POINTER, byref, c_char_p, c_int64, c_void_p
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from persisting._engine import library as engine
from persisting._engine.boundary import Error, Tensors
from persisting._errors import Status
from tests import header

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNTOUCHED = 0xA5
ROWS = 3


def library() -> engine.Functions:
    """Return the functions of the library with the prototypes of the binding."""
    return engine.c


class ArrowSchema(ctypes.Structure):
    """`struct ArrowSchema`."""


class ArrowArray(ctypes.Structure):
    """`struct ArrowArray`."""


RELEASE_SCHEMA = ctypes.CFUNCTYPE(None, POINTER(ArrowSchema))
RELEASE_ARRAY = ctypes.CFUNCTYPE(None, POINTER(ArrowArray))

ArrowSchema._fields_ = [
    ("format", c_char_p),
    ("name", c_char_p),
    ("metadata", c_char_p),
    ("flags", c_int64),
    ("n_children", c_int64),
    ("children", POINTER(POINTER(ArrowSchema))),
    ("dictionary", POINTER(ArrowSchema)),
    ("release", RELEASE_SCHEMA),
    ("private_data", c_void_p),
]
ArrowArray._fields_ = [
    ("length", c_int64),
    ("null_count", c_int64),
    ("offset", c_int64),
    ("n_buffers", c_int64),
    ("n_children", c_int64),
    ("buffers", POINTER(c_void_p)),
    ("children", POINTER(POINTER(ArrowArray))),
    ("dictionary", POINTER(ArrowArray)),
    ("release", RELEASE_ARRAY),
    ("private_data", c_void_p),
]


def rows(n: int = ROWS, first: int = 0) -> pa.RecordBatch:
    """Return a batch of `n` rows in two columns."""
    numbers = range(first, first + n)
    return pa.RecordBatch.from_pydict({"n": [*numbers], "text": [str(i) for i in numbers]})


MESSAGE = bytes(rows().serialize())
VALUES = [b"one", b"two"]


def sample(name: str) -> pa.RecordBatch:
    """Return a batch, or one with a schema, that the function of that name takes."""
    if name == "persisting_trajectories_append":
        return rows().append_column("version", pa.array([0] * ROWS, pa.int32()))
    if name == "persisting_trajectories_keep":
        return pa.RecordBatch.from_pydict({"value": VALUES})
    if name in _NEW:
        return pa.RecordBatch.from_pydict({"new": [1]})
    return rows().select(["n"]) if name == "persisting_bucket_cast_column" else rows()


_NEW = {f"persisting_bucket_{verb}" for verb in ("add_columns", "fill_column", "compute_column")}

# Callbacks that the library may yet call, on any thread, must never be collected.
_handed_out: list[Exported] = []


class Exported:
    """A record batch as a pair of C structs that count how often they are released."""

    def __init__(self, batch: pa.RecordBatch | None = None) -> None:
        self.array, self.schema = ArrowArray(), ArrowSchema()
        (rows() if batch is None else batch)._export_to_c(
            ctypes.addressof(self.array), ctypes.addressof(self.schema)
        )
        self.releases = {"array": 0, "schema": 0}
        self._keep: list[Any] = []
        self._watch("array", self.array, RELEASE_ARRAY)
        self._watch("schema", self.schema, RELEASE_SCHEMA)
        _handed_out.append(self)

    def _watch(self, name: str, exported: Any, callback: Any) -> None:
        # A consumer may move the struct, so the original is called on a copy.
        original = type(exported).from_buffer_copy(exported)

        def release(moved: Any) -> None:
            self.releases[name] += 1
            original.release(byref(original))
            moved.contents.release = callback()

        exported.release = callback(release)
        self._keep += [original, exported.release]

    @property
    def consumed(self) -> bool:
        """Whether neither struct is the caller's any more."""
        return not self.array.release and not self.schema.release

    @property
    def released(self) -> bool:
        """Whether both were released, once each."""
        return self.consumed and self.releases == {"array": 1, "schema": 1}

    def drop(self) -> None:
        """Release what was not handed over."""
        for exported in (self.array, self.schema):
            if exported.release:
                exported.release(byref(exported))


class Outcome(NamedTuple):
    """What a call gave back."""

    status: Status
    message: str
    out: dict[str, bytes]

    @property
    def untouched(self) -> bool:
        """Whether no out-parameter was written."""
        return all(set(content) == {UNTOUCHED} for content in self.out.values())

    def number(self, name: str) -> int:
        """Return an out-parameter of 8 bytes."""
        return int.from_bytes(self.out[name][:8], "little")


TWO_TENSORS = (ctypes.c_ubyte * 32)(*range(32))


def tensors(**changes: Any) -> Tensors:
    """Return two tensors of 16 bytes, but for the changes."""
    columns: dict[str, Any] = {
        "count": 2,
        "names": ctypes.create_string_buffer(b"onetwo"),
        "name_sizes": (ctypes.c_int32 * 2)(3, 3),
        "dtypes": b"F32\nU8\n",
        "dtype_numbers": (ctypes.c_int32 * 2)(0, 1),
        "ranks": (ctypes.c_int32 * 2)(1, 2),
        "dims": (c_int64 * 3)(4, 2, 8),
        "addresses": (ctypes.c_uint64 * 2)(*[ctypes.addressof(TWO_TENSORS) + i for i in (0, 16)]),
        "lengths": (c_int64 * 2)(16, 16),
        "ties": (ctypes.c_int32 * 2)(0, 0),
    } | changes
    struct = Tensors()
    for name, column in columns.items():
        is_array = isinstance(column, ctypes.Array)
        setattr(struct, name, ctypes.cast(column, c_void_p) if is_array else column)
    struct.kept = columns
    return struct


NO_ERROR = object()

# Functions of an index that is there.
INDEXED = ("persisting_bucket_drop_index", "persisting_bucket_index_stats")

# Functions that take a version by a name.
NAMED = ("persisting_params_set_tag", "persisting_weights_open")

# Statuses whose errors have a number besides.
NUMBERED = (Status.REMOVED, Status.LOCKED, Status.DUPLICATE)


class World:
    """An open bucket with three rows and a cursor over them, and calls that use them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bucket = self.cursor = self.columns = self.server = self.view = self.kv = 0
        self.kv_server = self.trajectories_server = 0
        self.params = self.weights = self.trajectories = self.sheet = self.sampler = 0
        self.transactions = [b"", b""]
        self.tensors = tensors()
        self.block = (ctypes.c_ubyte * 16)()
        self.results = (ctypes.c_int8 * 2)()
        self.indexed = False
        self.bucket = self.open(directory / "bucket")
        assert self.append(rows()) == Status.OK
        closed = self.open(directory / "closed")
        assert library().persisting_bucket_close(closed, None) == Status.OK
        for verb in ("flush", "tag"):
            assert self.call(f"persisting_bucket_{verb}").status == Status.OK
        self.view = self.call("persisting_view_open").number("out_view")
        self.cursor = self.read()
        self.columns = self.call("persisting_columns_import").number("out_columns")
        self.server = self.call("persisting_server_start").number("out_server")
        self.kv = self.call("persisting_kv_open", path=bytes(directory / "kv")).number("out_kv")
        assert self.call("persisting_kv_space").status == Status.OK
        self.call("persisting_kv_submit_load", count=0)  # so that there is a ticket to drain
        self.kv_server = self.call("persisting_kv_serve").number("out_kv_server")
        path = bytes(directory / "params")
        self.params = self.call("persisting_params_open", path=path).number("out_params")
        for _ in range(3):
            assert self.call("persisting_params_save").status == Status.OK
        self.weights = self.call("persisting_weights_open").number("out_weights")
        self.transactions = [self.begin() for _ in range(2)]  # the second one has its part
        part = self.call("persisting_params_part", transaction=self.transactions[1])
        assert part.status == Status.OK

    def begin(self) -> bytes:
        """Begin a version of one rank and return its transaction."""
        address = self.call("persisting_params_begin").number("out_transaction")
        text = ctypes.string_at(address)
        assert self.call("persisting_string_free", string=address).status == Status.OK
        return text

    def open_trajectories(self) -> None:
        """Open a store with two episodes, of which the first has three steps."""
        path = bytes(self.directory / "trajectories")
        opened = self.call("persisting_trajectories_open", path=path)
        self.trajectories = opened.number("out_trajectories")
        for identity in (b'{"id": "one"}', b'{"id": "two"}'):
            begun = self.call("persisting_trajectories_begin", episode=identity)
            assert begun.status == Status.OK
        for verb in ("append", "keep", "lease", "tag"):
            assert self.call(f"persisting_trajectories_{verb}").status == Status.OK
        self.sampler = self.call("persisting_sampler_open").number("out_sampler")
        served = self.call("persisting_trajectories_serve")
        self.trajectories_server = served.number("out_trajectories_server")

    def open_sheet(self) -> None:
        """Open a sheet without steps."""
        made = self.call("persisting_trajectories_sheet")
        self.sheet = made.number("out_sheet")
        path = made.number("out_path")
        assert self.call("persisting_string_free", string=path).status == Status.OK

    def open(self, path: Path, options: bytes | None = b'{"flush_interval": 0}') -> int:
        """Open a bucket and return its handle."""
        found = self.call("persisting_bucket_open", path=bytes(path), options=options)
        assert found.status == Status.OK, found
        return found.number("out_bucket")

    def append(self, batch: pa.RecordBatch, **changes: Any) -> Status:
        """Append rows and wait for their acknowledgement."""
        return self.call("persisting_bucket_append", batch=Exported(batch), **changes).status

    def read(self, **changes: Any) -> int:
        """Read all rows and return the handle of the cursor."""
        found = self.call("persisting_bucket_read", count=2**40, **changes)
        assert found.status == Status.OK, found
        return found.number("out_cursor")

    def drain(self, cursor: int) -> list[pa.RecordBatch] | Status:
        """Return the rest of a cursor, or the status of the call that failed."""
        schema = ArrowSchema()
        status = library().persisting_cursor_schema(cursor, byref(schema), None)
        if status:
            return Status(status)
        columns = pa.Schema._import_from_c(ctypes.addressof(schema))
        batches: list[pa.RecordBatch] = []
        while True:
            array = ArrowArray()
            status = library().persisting_cursor_next(cursor, byref(array), None)
            if status:
                return Status(status)
            if not array.release:
                return batches
            batches.append(pa.RecordBatch._import_from_c(ctypes.addressof(array), columns))

    def values(self, function: header.Function, batch: Exported | None) -> dict[str, Any]:
        """Return arguments with which a function succeeds; out-parameters are left out."""
        parameters = {p.name for p in function.parameters}
        values: dict[str, Any] = {
            "bucket": self.bucket,
            "cursor": self.cursor,
            "columns": self.columns,
            "view": self.view,
            "version": b"latest" if function.name in NAMED else 1,
            "name": b"n_idx" if "_index" in function.name else b"text",
            "to": b"renamed",
            "expression": b"n + 1",
            "filter": b"n = 0",
            "consumer": b"one",
            "task": b"train",
            "columns_json": b'["n"]',
            "limit": 2,
            "bits": (ctypes.c_uint8 * len(MESSAGE))(),
            "message": MESSAGE,
            "size": len(MESSAGE),
            "path": bytes(self.directory / "another"),
            "directory": bytes(self.directory / "closed"),
            "table": bytes(self.directory / "bucket" / "data.lance"),
            "options": None,
            "string": None,
            "offsets": (c_int64 * 2)(2, 0) if "rank" not in parameters else (c_int64 * 3)(),
            "count": 2,
            "offset": 0,
            "rows": ROWS,
            "flags": 0,
            "wait_ns": -1,
            "timeout_ns": -1,
            "fd": -1,
            "server": self.server,
            "server_options": b'{"port": 0}',
            "levels": b'{"levels": {"wal": 30}}',
            "longest_ns": 0,
            "yes": 0,
            "bytes": 1 << 30,
            "query": b'{"filter": "n > 0"}',
            "vector": None,
            "dimensions": 0,
            "index": b'{"column": "text", "type": "bitmap"}',
            "kv": self.kv,
            "kv_options": b'{"capacity": 8388608}',
            "address": b"unix:/nobody/there",
            "connect_options": b"{}",
            "kv_server": self.kv_server,
            "trajectories_server": self.trajectories_server,
            "serve_options": b'{"listen": "127.0.0.1:0"}',
            "space": 0,
            "salt": b"",
            "keys": b"onetwo",
            "key_sizes": (ctypes.c_int32 * 2)(3, 3),
            "key": MESSAGE,
            "lease_ms": 0,
            "ttl_ms": 0,
            "pieces": (ctypes.c_int32 * 2)(1, 1),
            "addresses": (ctypes.c_uint64 * 2)(*[ctypes.addressof(self.block)] * 2),
            "lengths": (c_int64 * 2)(16, 16),
            "results": self.results,
            "cursor_json": None,
            "params": self.params,
            "weights": self.weights,
            "other": self.weights,
            "tensors": byref(self.tensors),
            "save_options": b'{"metadata": {"step": 1}}' if self.weights else b'{"tags": ["tag"]}',
            "tag": b"tag",
            "namespace_": b"text",
            "expect": -1,
            "versions": (c_int64 * 2)(1, 2),
            "numbers": (c_int64 * 2)(0, 1),
            "out_lengths": (c_int64 * 2)(),
            "out_results": (ctypes.c_int8 * 2)(),
            "answers": (ctypes.c_uint8 * 2)(),
            "tickets": (ctypes.c_uint64 * 2)(),
            "transaction": self.transactions[function.name == "persisting_params_commit"],
            "rank": 0,
            "ranks": 1,
            "base": b"latest",
            "above": 0,
            "timeout_ms": 0,
            "wholes": (c_int64 * 3)(4, 2, 8),
            "byte_offsets": (c_int64 * 2)(0, 0),
            "row_counts": (c_int64 * 2)(1, 1),
            "row_steps": (c_int64 * 2)(16, 16),
            "row_distances": (c_int64 * 2)(16, 16),
            "progress": None,
            "names_json": b'["one"]',
            "trajectories": self.trajectories,
            "sheet": self.sheet,
            "heap": 64,
            "trajectory_options": b"{}",
            "episode": b'{"id": "one"}',
            "hashes": (ctypes.c_uint8 * 64)(*b"".join(sha256(value).digest() for value in VALUES)),
            "name_bytes": 64,
            "episodes_query": b'{"filter": "number > 0"}',
            "number": 0,
            "step": 0,
            "ending": b'{"steps": 3, "terminated": true, "metadata": {"seed": 1}}',
            "id": b"one",
            "idle_ms": 0,
            "ids": b'["two"]',
            "sampler": self.sampler,
            "law": b'{"order": "uniform", "length": 1, "stride": 1, "columns": ["n"]}',
            "draws": 2,
            "priorities": (ctypes.c_double * 2)(1, 2),
            "found": (ctypes.c_double * 2)(),
            "oldest": -1,
            "into": (c_int64 * 8)(*[ctypes.addressof(self.block)] * 8),
            "parts": 8,
        }
        if batch is not None:
            values |= {"array": byref(batch.array), "schema": byref(batch.schema)}
        if function.name == "persisting_weights_pull":  # which looks at what is there
            values["addresses"] = self.tensors.addresses
        return {p.name: values[p.name] for p in function.parameters if not p.is_out}

    def call(
        self, name: str, /, *, error: Any = NO_ERROR, batch: Any = None, **changes: Any
    ) -> Outcome:
        """Call a function with arguments that are right except for the changes.

        `error` may be None, for a NULL; otherwise the struct is read and released.
        """
        function = header.functions()[name]
        parameters = {p.name for p in function.parameters}
        if name in INDEXED and not self.indexed:
            self.indexed = True
            index = b'{"column": "n", "type": "btree"}'
            self.call("persisting_bucket_create_index", index=index)
        if {
            "trajectories",
            "trajectories_server",
            "sampler",
        } & parameters and not self.trajectories:
            self.open_trajectories()
        if "sheet" in parameters and not self.sheet:
            self.open_sheet()
        if batch is None and "schema" in parameters:
            batch = Exported(sample(name))
            if "array" not in parameters:
                batch.array.release(byref(batch.array))
        outs = {
            p.name: (ctypes.c_ubyte * 128)(*[UNTOUCHED] * 128)
            for p in function.parameters
            if p.is_out
        }
        values = self.values(function, batch) | outs | changes
        report = Error()
        status = getattr(library(), name)(
            *(values[p.name] for p in function.parameters),
            byref(report) if error is NO_ERROR else error,
        )
        message = (report.message or b"").decode()
        if status and error is NO_ERROR:
            assert report.code == status
            assert message
            assert not report.detail or status in NUMBERED
            engine.release_error(report.release)(report)
            assert not report.release
            assert not report.message
        else:
            assert not report.release
        return Outcome(Status(status), message, {n: bytes(out) for n, out in outs.items()})

    def close(self) -> None:
        """Close what is open still."""
        for name in (
            "cursor",
            "columns",
            "server",
            "view",
            "bucket",
            "kv_server",
            "kv",
            "weights",
            "params",
            "sheet",
            "sampler",
            "trajectories_server",
            "trajectories",
        ):
            handle = getattr(self, name)
            getattr(library(), f"persisting_{name}_close")(handle, None)


@contextlib.contextmanager
def world(directory: Path) -> Iterator[World]:
    """Open a world for a while."""
    opened = World(directory)
    try:
        yield opened
    finally:
        opened.close()


def no_handles() -> dict[str, int]:
    """Return numbers that the library never gave out."""
    return {
        "kind 0": 1,
        "kind 9": 9 << 56 | 1,
        "highest": 2**64 - 1,
        "negative": 1 << 63,
        "no counter": 1 << 56,
    }
