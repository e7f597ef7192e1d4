"""What waits to become a batch: the values of puts, by column."""

from __future__ import annotations

from typing import TypeAlias

import pyarrow as pa

from ._assemble import Buffers, Mask, assemble, join_masks
from ._codecs import Codec, Payload
from ._foreign import Foreign


class Column:
    """A column of the bucket.

    Attributes
    ----------
    name : str
        Its name, the key of the records.
    codec : Codec
        Codec of its values.
    field : pa.Field
        Its field in the schema.
    index : int
        Its place in the schema; -1 when it has none yet.
    handed_out : bool
        Whether the engine has it, or a batch with it was handed out.
    """

    __slots__ = ("codec", "field", "handed_out", "index", "name")

    def __init__(self, name: str, codec: Codec, field: pa.Field, index: int = -1) -> None:
        self.name = name
        self.codec = codec
        self.field = field
        self.index = index
        self.handed_out = False

    def blank(self, n: int) -> Payload:
        """Make the values of `n` rows that have none."""
        payload = self.codec.fit([self.codec.filler] * n)
        assert payload is not None
        return payload


Part: TypeAlias = tuple[Column, Codec, Mask, Payload]
"""The values of one put for one column: column, codec that made the payload, mask, payload."""


class Pending:
    """The puts that wait.

    Attributes
    ----------
    rows : int
        How many records they have.
    weight : int
        The sum of the weights of their payloads.
    """

    __slots__ = ("puts", "rows", "weight")

    def __init__(self) -> None:
        self.puts: list[tuple[int, list[Part]]] = []
        self.rows = 0
        self.weight = 0

    def add(self, n: int, parts: list[Part], weight: int) -> None:
        """Add a put of `n` records."""
        self.puts.append((n, parts))
        self.rows += n
        self.weight += weight

    def columns(self) -> set[Column]:
        """Return the columns for which values wait."""
        return {part[0] for _, parts in self.puts for part in parts}

    def fits(self, column: Column, codec: Codec) -> bool:
        """Tell whether another codec holds what waits for a column exactly."""
        return all(
            made_by.lift(payload, codec) is not None
            for _, parts in self.puts
            for other, made_by, _, payload in parts
            if other is column
        )

    def lift(self, column: Column) -> None:
        """Convert what waits for a column for its codec, which holds it exactly."""
        for _, parts in self.puts:
            for i, (other, made_by, mask, payload) in enumerate(parts):
                if other is column:
                    lifted = made_by.lift(payload, column.codec)
                    assert lifted is not None
                    parts[i] = (column, column.codec, mask, lifted)

    def take(self) -> tuple[int, list[Part]]:
        """Return number of records and values of all puts together, and forget them."""
        puts, rows = self.puts, self.rows
        self.puts, self.rows, self.weight = [], 0, 0
        if len(puts) == 1:
            return rows, puts[0][1]
        lanes: dict[Column, _Lane] = {}
        start = 0
        for n, parts in puts:
            for column, _, mask, payload in parts:
                lane = lanes.get(column)
                if lane is None:
                    lane = lanes[column] = _Lane(column)
                if lane.rows < start:
                    lane.skip(start - lane.rows)
                lane.masks.append(mask)
                lane.counts.append(n)
                lane.payloads.append(payload)
                lane.rows += n
            start += n
        return rows, [lane.join(rows) for lane in lanes.values()]


class _Lane:
    """The values of many puts for one column, up to a row."""

    __slots__ = ("column", "counts", "masks", "payloads", "rows")

    def __init__(self, column: Column) -> None:
        self.column = column
        self.rows = 0
        self.masks: list[Mask] = []
        self.counts: list[int] = []
        self.payloads: list[Payload] = []

    def skip(self, n: int) -> None:
        """Leave `n` rows without a value."""
        self.masks.append(bytes(n))
        self.counts.append(n)
        self.payloads.append(self.column.blank(n))
        self.rows += n

    def join(self, rows: int) -> Part:
        """Return the values of all `rows` rows."""
        if self.rows < rows:
            self.skip(rows - self.rows)
        codec = self.column.codec
        mask = join_masks(self.masks, self.counts)
        return self.column, codec, mask, codec.merge(self.payloads)


class Shape:
    """How values of certain columns become a batch: which order, which schema.

    Parameters
    ----------
    columns : list of Column
        The columns in the order in which the values come.
    """

    __slots__ = ("foreign", "native", "native_schema", "schema")

    def __init__(self, columns: list[Column]) -> None:
        order = sorted(range(len(columns)), key=lambda i: columns[i].index)
        self.foreign = [
            (place, i) for place, i in enumerate(order) if isinstance(columns[i].codec, Foreign)
        ]
        strangers = {i for _, i in self.foreign}
        self.native = [i for i in order if i not in strangers]
        self.schema = pa.schema([columns[i].field for i in order])
        self.native_schema = pa.schema([columns[i].field for i in self.native])

    def message(self, n: int, parts: list[Part]) -> bytes:
        """Make the message of `n` rows of the columns that are not foreign."""
        out = Buffers()
        for i in self.native:
            _, codec, mask, payload = parts[i]
            out.begin(n, mask)
            codec.lay(payload, out)
        return assemble(n, out)

    def batch(self, n: int, parts: list[Part]) -> pa.RecordBatch:
        """Make the batch of `n` rows."""
        batch = pa.ipc.read_record_batch(self.message(n, parts), self.native_schema)
        if not self.foreign:
            return batch
        arrays = batch.columns
        for place, i in self.foreign:
            arrays.insert(place, parts[i][3][1])
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)
