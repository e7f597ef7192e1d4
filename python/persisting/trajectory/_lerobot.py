"""Data sets of LeRobot, format 3.0: Parquet files of frames and of episodes.

References
----------
https://huggingface.co/docs/lerobot/lerobot-dataset-v3, and `LeRobotDataset` of lerobot 0.4.4.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from persisting._errors import InvalidArgumentError
from persisting.trajectory import _documents

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from persisting.trajectory._columns import Column
    from persisting.trajectory._store import Episode, TrajectoryStore

FORMAT = "v3.0"
NAMES = {"obs": "observation.state", "reward": "next.reward"}

_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_DATA, _EPISODES = f"data/{_FILE}", f"meta/episodes/{_FILE}"
_INFO, _STATS, _TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"

# Frames of a file are about so many bytes, and files of a directory so many.
_FILE_BYTES = 100 << 20
_CHUNK_FILES = 1000

# What each frame has beside the columns of the store.
_OWN = {
    "timestamp": pa.float32(),
    "frame_index": pa.int64(),
    "episode_index": pa.int64(),
    "index": pa.int64(),
    "task_index": pa.int64(),
}


def export_lerobot(
    store: TrajectoryStore,
    path: str | os.PathLike[str],
    where: str | None = None,
    *,
    fps: int,
    names: Mapping[str, str] = NAMES,
    robot_type: str | None = None,
) -> int:
    """Write the episodes that have ended as a data set of LeRobot.

    Parameters
    ----------
    store : TrajectoryStore
        Its columns are numbers, vectors and texts. The task of an episode is ``task`` in its
        metadata, else its env. LeRobot has no place for final observations.
    path : str or path-like
        A directory, which must not be there, and is as a whole or not at all.
    where : str, optional
        A filter of `TrajectoryStore.episodes`.
    fps : int
        Frames in a second.
    names : mapping of str to str
        What columns are called there; others keep their names.
    robot_type : str, optional
        Kind of the robot.

    Returns
    -------
    int
        How many episodes.

    Raises
    ------
    InvalidArgumentError
        The directory is there, a column is none of these, or no episode has ended.
    """
    target = Path(path).resolve()
    if os.path.lexists(target):
        raise InvalidArgumentError(f"{target} is there")
    if fps < 1:
        raise InvalidArgumentError(f"fps: want at least 1, got {fps}")
    temp = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        frames = _Frames(temp, store.columns, names, fps)
        for episode in _documents.ended(store, where):
            frames.add(episode)
        frames.close(robot_type)
        temp.rename(target)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return len(frames.episodes)


class _Frames:
    """The files of a data set that is being written."""

    def __init__(
        self, root: Path, columns: Mapping[str, Column], names: Mapping[str, str], fps: int
    ) -> None:
        self.root = root
        self.episodes: list[dict[str, Any]] = []
        self._fps = fps
        self._names = {names.get(name, name): name for name in columns}
        if len(self._names) < len(columns) or self._names.keys() & _OWN.keys():
            raise InvalidArgumentError(f"names: two columns would have one name, of {[*_OWN]} too")
        self._features = {new: _feature(old, columns[old]) for new, old in self._names.items()}
        fields = [(new, _type(feature)) for new, feature in self._features.items()]
        self._schema = pa.schema([*fields, *_OWN.items()])
        self._spreads = {
            name: _Spread()
            for name, kind in zip(self._schema.names, self._schema.types, strict=True)
            if kind != pa.string()
        }
        self._tasks: dict[str, int] = {}
        self._file = -1
        self._writer: parquet.ParquetWriter | None = None
        self._room = 0
        self._rows = 0

    def add(self, episode: Episode) -> None:
        """Write the frames of an episode."""
        count = len(episode)
        if not count:
            return
        task = self._tasks.setdefault(_task(episode), len(self._tasks))
        at = np.arange(count)
        own = {
            "timestamp": (at / self._fps).astype(np.float32),
            "frame_index": at,
            "episode_index": np.full(count, len(self.episodes)),
            "index": at + self._rows,
            "task_index": np.full(count, task),
        }
        columns = {new: episode.steps[old] for new, old in self._names.items()} | own
        for name, spread in self._spreads.items():
            spread.add(columns[name])
        arrays = [_array(columns[field.name], field.type) for field in self._schema]
        table = pa.Table.from_arrays(arrays, schema=self._schema)
        self._write(table)
        self.episodes.append(
            {
                "episode_index": len(self.episodes),
                "tasks": [_task(episode)],
                "length": count,
                "dataset_from_index": self._rows,
                "dataset_to_index": self._rows + count,
                "data/chunk_index": self._file // _CHUNK_FILES,
                "data/file_index": self._file % _CHUNK_FILES,
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
            }
        )
        self._rows += count

    def _write(self, table: pa.Table) -> None:
        if self._writer is None or self._room < table.nbytes:
            self._end_file()
            self._file += 1
            path = self._place(_DATA, self._file)
            self._writer = parquet.ParquetWriter(path, self._schema)
            self._room = _FILE_BYTES
        self._writer.write_table(table)
        self._room -= table.nbytes

    def _end_file(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _place(self, pattern: str, file: int = 0) -> Path:
        """Return the path of a file, whose directory is there."""
        chunk, number = divmod(file, _CHUNK_FILES)
        path = self.root / pattern.format(chunk_index=chunk, file_index=number)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def close(self, robot_type: str | None) -> None:
        """Write what is known of all episodes."""
        if not self.episodes:
            raise InvalidArgumentError("no episode with steps has ended that the filter takes")
        self._end_file()
        parquet.write_table(pa.Table.from_pylist(self.episodes), self._place(_EPISODES))
        parquet.write_table(_tasks_table(self._tasks), self._place(_TASKS))
        own = {
            n: {"dtype": str(t).replace("float", "float32"), "shape": [1]} for n, t in _OWN.items()
        }
        features = {n: f | {"names": None} for n, f in {**self._features, **own}.items()}
        info = {
            "codebase_version": FORMAT,
            "robot_type": robot_type,
            "total_episodes": len(self.episodes),
            "total_frames": self._rows,
            "total_tasks": len(self._tasks),
            "chunks_size": _CHUNK_FILES,
            "data_files_size_in_mb": _FILE_BYTES >> 20,
            "video_files_size_in_mb": 200,
            "fps": self._fps,
            "splits": {"train": f"0:{len(self.episodes)}"},
            "data_path": _DATA,
            "video_path": None,
            "features": features,
        }
        self._place(_INFO).write_text(json.dumps(info, indent=4))
        stats = {name: spread.told() for name, spread in self._spreads.items()}
        self._place(_STATS).write_text(json.dumps(stats, indent=4))


def _task(episode: Episode) -> str:
    return str(episode.metadata.get("task", episode.env))


def _feature(name: str, column: Column) -> dict[str, Any]:
    if column.kind == "text":
        return {"dtype": "string", "shape": [1]}
    if column.kind != "array" or len(column.shape) > 1:
        raise InvalidArgumentError(
            f"column {name!r}: LeRobot gets numbers, vectors and texts, not {column}"
        )
    return {"dtype": str(column.dtype), "shape": [*column.shape] or [1]}


def _type(feature: Mapping[str, Any]) -> pa.DataType:
    if feature["dtype"] == "string":
        return pa.string()
    item = pa.from_numpy_dtype(np.dtype(feature["dtype"]))
    (size,) = feature["shape"]
    return item if size == 1 else pa.list_(item, size)


def _array(column: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(column, np.ndarray):
        flat = pa.array(column.reshape(-1))
        if pa.types.is_fixed_size_list(kind):
            return pa.FixedSizeListArray.from_arrays(flat, kind.list_size)
        return flat
    return pa.array(column, kind)


def _tasks_table(tasks: Mapping[str, int]) -> pa.Table:
    """Return the tasks as pandas writes them with the text as the index."""
    table = pa.table({"task_index": [*tasks.values()], "task": [*tasks]})
    about = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {
                "name": name,
                "field_name": name,
                "pandas_type": kind,
                "numpy_type": dtype,
                "metadata": None,
            }
            for name, kind, dtype in (
                ("task_index", "int64", "int64"),
                ("task", "unicode", "object"),
            )
        ],
        "pandas_version": "2.0.0",
    }
    return table.replace_schema_metadata({b"pandas": json.dumps(about).encode()})


class _Spread:
    """Least, most, mean and standard deviation of the values of a column, in each dimension."""

    def __init__(self) -> None:
        self._count = 0
        self._least: Any = np.inf
        self._most: Any = -np.inf
        self._sum: Any = 0.0
        self._squares: Any = 0.0

    def add(self, column: np.ndarray) -> None:
        """Take values in."""
        values = column.reshape(len(column), -1).astype(np.float64)
        self._count += len(values)
        self._least = np.minimum(self._least, values.min(0))
        self._most = np.maximum(self._most, values.max(0))
        self._sum = self._sum + values.sum(0)
        self._squares = self._squares + (values**2).sum(0)

    def told(self) -> dict[str, list[float]]:
        """Return them as LeRobot has them."""
        mean = self._sum / self._count
        variance = np.maximum(self._squares / self._count - mean**2, 0)
        return {
            "min": self._least.tolist(),
            "max": self._most.tolist(),
            "mean": mean.tolist(),
            "std": np.sqrt(variance).tolist(),
            "count": [self._count],
        }


def import_lerobot(
    store: TrajectoryStore,
    path: str | os.PathLike[str],
    *,
    names: Mapping[str, str] = NAMES,
) -> int:
    """Store the episodes of a data set of LeRobot, each as one that has ended.

    Parameters
    ----------
    store : TrajectoryStore
        Where to. The task of an episode is ``task`` in its metadata, and its env.
    path : str or path-like
        Directory of the data set, of format 3.0.
    names : mapping of str to str
        What columns of the store are called there; others keep their names.

    Returns
    -------
    int
        How many episodes. Their ids are the name of the directory and their number: the same data
        set again is passed over.

    Raises
    ------
    InvalidArgumentError
        The directory is no such data set, or has videos or images.
    SchemaError
        The steps do not fit the columns of the store.
    """
    root = Path(path).resolve()
    try:
        info = json.loads((root / _INFO).read_text())
    except (OSError, ValueError) as error:
        raise InvalidArgumentError(f"{root} is no data set of LeRobot: {error}") from None
    if info.get("codebase_version") != FORMAT:
        raise InvalidArgumentError(f"{root}: want {FORMAT}, got {info.get('codebase_version')!r}")
    old = {new: name for name, new in names.items()}
    features = {name: f for name, f in info["features"].items() if name not in _OWN}
    for name, feature in features.items():
        if feature["dtype"] in ("video", "image"):
            raise InvalidArgumentError(f"{root}: {name!r} is {feature['dtype']}, which is not read")
    count = 0
    for number, task, frames in _episodes(root):
        writer = store.writer(env=task, episode_id=f"{root.name}/{number}", start=0)
        writer.extend(
            {
                old.get(name, name): _values(frames[name], feature)
                for name, feature in features.items()
            }
        )
        writer.end_episode(truncated=True, metadata={"task": task})
        count += 1
    return count


def _episodes(root: Path) -> Iterator[tuple[int, str, pa.Table]]:
    """Yield numbers, tasks and frames of episodes."""
    for file in sorted((root / "meta" / "episodes").glob("*/*.parquet")):
        for row in parquet.read_table(file).to_pylist():
            place = {
                "chunk_index": row["data/chunk_index"],
                "file_index": row["data/file_index"],
            }
            number = row["episode_index"]
            frames = parquet.read_table(
                root / _DATA.format(**place), filters=[("episode_index", "=", number)]
            )
            yield number, next(iter(row["tasks"]), ""), frames


def _values(column: pa.ChunkedArray, feature: Mapping[str, Any]) -> Any:
    if feature["dtype"] == "string":
        return column.to_pylist()
    values = np.array(column.to_pylist(), feature["dtype"])
    return values.reshape(len(values), *feature["shape"]) if feature["shape"] != [1] else values
