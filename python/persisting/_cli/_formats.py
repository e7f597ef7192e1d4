"""Files of rows: Parquet, Arrow IPC, JSON lines, and the Lance tables of other programs."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from persisting._cli._output import to_json
from persisting._engine.directory import read_table
from persisting._errors import InvalidArgumentError
from persisting._records import MAX_DEPTH, RecordDecoder, strip, visible

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Mapping

FORMATS = {
    "parquet": (".parquet", ".pq"),
    "arrow": (".arrow", ".ipc", ".feather"),
    "jsonl": (".jsonl", ".ndjson"),
}
READABLE = {**FORMATS, "lance": (".lance",)}
STDIO = Path("-")
_STREAMS = ("arrow", "jsonl")  # what is read and written from its beginning to its end

_GROUP_ROWS = 1 << 17  # of a row group of Parquet
_GROUP_BYTES = 64 << 20
_BATCH_ROWS = 1 << 14  # of what is read from a file
_LINES = 1000


def add_format(
    parser: argparse.ArgumentParser, stdio: str, formats: Mapping[str, tuple[str, ...]]
) -> None:
    """Declare the file and its format."""
    streams = " or ".join(name for name in formats if name in _STREAMS)
    parser.add_argument(
        "file", type=Path, metavar="FILE", help=f"a file; - is {stdio}, for {streams}"
    )
    endings = ", ".join(f"{name} ({' '.join(ends)})" for name, ends in formats.items())
    parser.add_argument(
        "--format", choices=[*formats], help=f"default by the ending of FILE: {endings}"
    )


def format_of(file: Path, given: str | None, formats: Mapping[str, tuple[str, ...]]) -> str:
    """Return the format of a file.

    Raises
    ------
    InvalidArgumentError
        It was not given and the name does not tell, or it cannot go where it should.
    """
    for name, endings in formats.items():
        if given == name or (given is None and file.suffix.lower() in endings):
            if file == STDIO and name not in _STREAMS:
                raise InvalidArgumentError(f"{name} needs a file, and cannot go through a pipe")
            return name
    if "lance" in formats and (file / "data.lance").is_dir():
        raise InvalidArgumentError(f"{file} is a directory: name the table, {file / 'data.lance'}")
    raise InvalidArgumentError(
        f"{file}: its name does not tell the format, give --format {'|'.join(formats)}"
    )


# ---- writing ----


class Sink(Protocol):
    """Where batches of a bucket go."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Write the rows of a batch."""

    def close(self) -> None:
        """Write the end."""


def sink(kind: str, file: IO[bytes], schema: pa.Schema, *, stream: bool) -> Sink:
    """Return a sink of a format, for batches with the columns of `schema`."""
    if kind == "jsonl":
        return _Lines(file)
    try:
        if kind == "parquet":
            return _Parquet(file, visible(schema))
        make = pa.ipc.new_stream if stream else pa.ipc.new_file
        return _Arrow(make(file, visible(schema)))
    except pa.ArrowNotImplementedError as error:
        raise InvalidArgumentError(f"{kind} cannot hold a column: {error}") from error


class _Lines:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = RecordDecoder(stand_ins=True)

    def write(self, batch: pa.RecordBatch) -> None:
        records = self._decoder.decode([batch])
        self._file.write("".join(to_json(record) + "\n" for record in records).encode())

    def close(self) -> None:
        pass


class _Arrow:
    def __init__(self, writer: pa.ipc.RecordBatchStreamWriter) -> None:
        self._writer = writer

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(strip(batch))

    def close(self) -> None:
        self._writer.close()


class _Parquet:
    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        from pyarrow import parquet

        self._writer = parquet.ParquetWriter(file, schema, compression="zstd")
        self._schema = schema
        self._group: list[pa.RecordBatch] = []

    def write(self, batch: pa.RecordBatch) -> None:
        self._group.append(strip(batch))
        rows = sum(part.num_rows for part in self._group)
        if rows >= _GROUP_ROWS or sum(part.nbytes for part in self._group) >= _GROUP_BYTES:
            self._write_group()

    def _write_group(self) -> None:
        if self._group:
            self._writer.write_table(pa.Table.from_batches(self._group, self._schema))
            self._group.clear()

    def close(self) -> None:
        self._write_group()
        self._writer.close()


@contextlib.contextmanager
def written(file: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """Open a file that is there as a whole, and on disk, or not at all; `-` is stdout."""
    if file == STDIO:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if not force and os.path.lexists(file):
        raise InvalidArgumentError(f"{file} is there; --force replaces it")
    temp = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with temp.open("xb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        temp.replace(file)
    finally:
        temp.unlink(missing_ok=True)
    sync_directory(file.parent)


def sync_directory(path: Path) -> None:
    """Bring the names in a directory to the disk."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


# ---- reading ----


class Source:
    """The rows of a file, or of a table.

    Attributes
    ----------
    rows : int or None
        How many there are, where that is known before the end.
    size : int or None
        How many bytes are to be read, where that is known.
    """

    rows: int | None = None
    size: int | None = None

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        raise NotImplementedError

    def parts(self) -> Iterator[list[dict[str, Any]] | pa.RecordBatch]:
        """Yield the rows as records, or as batches.

        Raises
        ------
        InvalidArgumentError
            The file is not what it is said to be, with the line for JSON.
        """
        raise NotImplementedError

    def place(self) -> int:
        """Return how many bytes were read."""
        return 0


def source(kind: str, file: Path) -> Source:
    """Open what is in a file of a format; `-` is stdin."""
    return _Table(file) if kind == "lance" else _File(kind, file)


class _Table(Source):
    """A Lance table, whichever program has made it: a directory, which is only read."""

    def __init__(self, directory: Path) -> None:
        self._cursor, self.rows = read_table(directory)

    def close(self) -> None:
        self._cursor.close()

    def parts(self) -> Iterator[pa.RecordBatch]:
        yield from self._cursor


class _File(Source):
    def __init__(self, kind: str, file: Path) -> None:
        self._kind = kind
        self._file = file
        self._open = sys.stdin.buffer if file == STDIO else file.open("rb")
        self.size = None if file == STDIO else file.stat().st_size

    def close(self) -> None:
        if self._file != STDIO:
            self._open.close()

    def parts(self) -> Iterator[list[dict[str, Any]] | pa.RecordBatch]:
        try:
            yield from self._records() if self._kind == "jsonl" else self._batches()
        except pa.ArrowException as error:
            raise InvalidArgumentError(f"{self._file} is no {self._kind} file: {error}") from error

    def place(self) -> int:
        return self._open.tell()

    def _is_arrow_file(self) -> bool:
        magic = self._open.read(6)
        self._open.seek(0)
        return magic == b"ARROW1"

    def _records(self) -> Iterator[list[dict[str, Any]]]:
        records = []
        for number, line in enumerate(self._open, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except RecursionError as error:
                raise InvalidArgumentError(
                    f"{self._file}, line {number}: nested data is deeper than {MAX_DEPTH}"
                ) from error
            except ValueError as error:
                raise InvalidArgumentError(f"{self._file}, line {number}: {error}") from error
            if not isinstance(record, dict):
                kind = type(record).__name__
                raise InvalidArgumentError(
                    f"{self._file}, line {number}: want an object, got {kind}"
                )
            records.append(record)
            if len(records) == _LINES:
                yield records
                records = []
        if records:
            yield records

    def _batches(self) -> Iterator[pa.RecordBatch]:
        if self._kind == "parquet":
            from pyarrow import parquet

            file = parquet.ParquetFile(self._open)
            self.rows = file.metadata.num_rows
            batches: Iterable[pa.RecordBatch] = file.iter_batches(batch_size=_BATCH_ROWS)
        elif self._file != STDIO and self._is_arrow_file():
            file = pa.ipc.open_file(self._open)
            batches = (file.get_batch(i) for i in range(file.num_record_batches))
        else:
            batches = pa.ipc.open_stream(self._open)
        for batch in batches:
            for start in range(0, batch.num_rows, _BATCH_ROWS):
                yield batch.slice(start, _BATCH_ROWS)
