"""The store of parameters."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, overload

from persisting._arguments import integer
from persisting._engine.params import Params, Tensors
from persisting._errors import InvalidArgumentError
from persisting.params import _safetensors
from persisting.params._background import Background
from persisting.params._boxes import Box, is_box, tensor_of
from persisting.params._files import is_file, may_be_reserved, object_name, of_object
from persisting.params._memory import Located, locate
from persisting.params._progress import Bar, reported
from persisting.params._weights import Arrays, Framework, Pulled, Selection, Weights

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from typing_extensions import Self

    from persisting._engine.boundary import Progress
    from persisting.params._patches import Patch

Version = int | str

LATEST = "latest"

# What a wait takes at most before Python sees to its signals.
_WAIT_SECONDS = 0.2


@dataclass(frozen=True)
class VersionInfo:
    """What the catalog has of a version.

    Attributes
    ----------
    version : int
        Its number, from 1.
    created : float
        When it was published, in seconds since 1970.
    tensors : int
        How many it has.
    nbytes : int
        Size of all its tensors, in bytes.
    stored : int
        Bytes by which it made the store larger.
    metadata : dict
        What it was saved with.
    tags : tuple of str
        Tags that name it, in order.
    base : int
        The version that changes were told from, 0 for none.
    """

    version: int
    created: float
    tensors: int
    nbytes: int
    stored: int
    metadata: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    base: int = 0


@dataclass(frozen=True)
class Diff:
    """How a version differs from another.

    Attributes
    ----------
    added, removed, changed : tuple of str
        Names of tensors, in order.
    same : int
        Number of tensors that are the same.
    nbytes, changed_nbytes : int
        Bytes of the later version, and those of its tensors that were added or changed.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    same: int
    nbytes: int
    changed_nbytes: int


class ParameterStore:
    """Versions of named sets of tensors in a directory that several processes use at once.

    Parameters
    ----------
    path : str or path-like
        Directory of the store, made if it is missing.
    read_only : bool, default False
        Fail with `NotFoundError` where there is no store, and make nothing.
    keep : bool, default False
        Keep a copy in memory of what was saved last of each name. The next save is told from it
        instead of from the disk, which is faster and takes as much memory as the model.

    Raises
    ------
    InvalidArgumentError
        The directory holds something else.
    StorageError
        The disk failed.

    Notes
    -----
    All methods may be called from any thread, and wait for the disk; they let go of the GIL. What
    they return from is durable. A version is given by its number, by a tag, or as ``"latest"``.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, read_only: bool = False, keep: bool = False
    ) -> None:
        self._store = Params(path, read_only=read_only, keep=keep)
        self.path = self._store.path
        self._background = Background()

    def close(self) -> None:
        """Close the store, once saves in the background are done. Versions that are open stay so.

        A second call does nothing.
        """
        self._background.close()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # ---- saving and loading ----

    @overload
    def save(
        self,
        name: str,
        tensors: Mapping[str, Any],
        *,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        objects: Mapping[str, bytes] | None = None,
        expect: int | None = None,
        base: Version | None = LATEST,
        progress: Callable[[int, int], object] | bool = False,
        wait: Literal[True] = True,
    ) -> VersionInfo: ...

    @overload
    def save(
        self,
        name: str,
        tensors: Mapping[str, Any],
        *,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        objects: Mapping[str, bytes] | None = None,
        expect: int | None = None,
        base: Version | None = LATEST,
        progress: Callable[[int, int], object] | bool = False,
        wait: Literal[False],
    ) -> Future[VersionInfo]: ...

    def save(
        self,
        name: str,
        tensors: Mapping[str, Any],
        *,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        objects: Mapping[str, bytes] | None = None,
        expect: int | None = None,
        base: Version | None = LATEST,
        progress: Callable[[int, int], object] | bool = False,
        wait: bool = True,
    ) -> VersionInfo | Future[VersionInfo]:
        """Store tensors as the next version of a name.

        Parameters
        ----------
        name : str
            Of the parameters, such as ``"org/model"``.
        tensors : mapping of str to tensor
            Tensors of torch, arrays of numpy or jax, or anything with a buffer, `__array__` or
            DLPack, of any shape and any dtype of plain values. They are read where they lie; only
            what is not contiguous, or not on the CPU, is copied. Until the call returns they must
            not change.
        tags : iterable of str
            Tags that name the version from its first moment on.
        metadata : mapping, optional
            Kept as JSON, in the catalog, which every use of the name reads.
        objects : mapping of str to bytes, optional
            Kept beside the tensors, and read with `Weights.read_object`.
        expect : int, optional
            The newest version, 0 for none. If it is another, the save fails.
        base : int, str or None, default "latest"
            The version that changes are told from: of a tensor that has the same name, dtype and
            size there, only the elements that changed are stored, where those are few. None stores
            every tensor that changed as a whole.
        progress : callable or bool, default False
            Called about ten times a second with the number of bytes that were seen to, and of all,
            by the thread that saves, and at last when the version is durable. What it raises, as
            Ctrl-C does, ends the save, and is raised when that has ended: there is nothing of the
            version then, unless it was published in that moment. True writes a line on stderr.
        wait : bool, default True
            Return when the version is durable. With False the tensors are copied, which takes as
            much memory as they do, and the call returns; they may change then. Saves in the
            background are done one by one, in order; `close` waits for them.

        Returns
        -------
        VersionInfo
            What was stored, or with ``wait=False`` a `concurrent.futures.Future` of it, which is
            done when the version is durable, or why it is not. One that is cancelled before it has
            begun leaves nothing. Tensors whose bytes any version of any name has are not stored
            again, nor are those that are tied.

        Raises
        ------
        InvalidArgumentError
            A tensor has no plain values, or a name or a tag cannot be one.
        ConflictError
            The newest version is not the one that was expected.
        StorageError
            The disk failed or is full; there is nothing of the version then.
        """
        for key in tensors:
            _check_key(key)
        columns, _kept = _columns({**tensors, **_named(objects)}, {})
        options = _options(tags, metadata, expect, base)
        report = Bar(name) if progress is True else progress or None
        if wait:
            return self._stored(name, columns, options, report)
        return self._background.run(columns, lambda: self._stored(name, columns, options, report))

    def _save(
        self,
        name: str,
        tensors: Mapping[str, Any],
        *,
        typed: Mapping[str, tuple[str, Sequence[int]]],
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> VersionInfo:
        """Save; `typed` says what the bytes of a tensor are, where they are no array of that."""
        columns, _kept = _columns(tensors, typed)
        return self._stored(name, columns, _options(tags, metadata, None, LATEST))

    def _stored(
        self,
        name: str,
        columns: Tensors,
        options: Mapping[str, Any],
        report: Callable[[int, int], object] | None = None,
    ) -> VersionInfo:
        def save(progress: Progress | None) -> dict[str, Any]:
            return self._store.save(name, columns, options, progress)

        found = reported(save, columns.nbytes, report) if report else save(None)
        return _version(found, options["tags"])

    # ---- many ranks ----

    def begin(self, name: str, world_size: int, *, base: Version | None = LATEST) -> str:
        """Begin a version that many ranks write together, each its part.

        Parameters
        ----------
        name : str
            Of the parameters.
        world_size : int
            Number of ranks.
        base : int, str or None, default "latest"
            The version that changes are told from, as of `save`: of tensors, and of boxes that
            lie in it as they do here. Others are stored as a whole.

        Returns
        -------
        str
            The transaction, which every rank gives to `part`. It lives until it is committed or
            aborted, or until this store is closed or its process ends; `gc` removes what is left
            of it then.
        """
        told_from = "" if base is None else _reference(base)
        return self._store.begin(name, integer("world_size", world_size, 1), told_from)

    def part(
        self,
        transaction: str,
        rank: int,
        tensors: Mapping[str, Any | Box | Sequence[Box]],
        *,
        objects: Mapping[str, bytes] | None = None,
    ) -> None:
        """Store the part of a rank, durably; nothing is seen of it until `commit`.

        It may be called in any process that has the directory open, on any machine.

        Parameters
        ----------
        transaction : str
            What `begin` has returned.
        rank : int
            From 0, each once.
        tensors : mapping of str to tensor, Box or sequence of Box
            What this rank has of each tensor: all of it, a box, or several. Tensors that it has
            nothing of need not be there.
        objects : mapping of str to bytes, optional
            As of `save`; each is of one rank.

        Raises
        ------
        NotFoundError
            The transaction has ended.
        ConflictError
            The rank has written its part already.
        InvalidArgumentError
            A box is not within its tensor, or a tensor has no plain values.
        """
        columns = Tensors()
        pieces = [
            (key, locate(key, box.value if isinstance(box, Box) else box), box)
            for key, value in tensors.items()
            for box in _pieces(key, value)
        ]
        pieces += [(key, locate(key, data), None) for key, data in _named(objects).items()]
        ties = _ties([found for _, found, _ in pieces])
        for key, found, box in pieces:
            where = (found.shape, (0,) * len(found.shape))
            if isinstance(box, Box):
                where = (_whole(found.dtype, box.shape), _whole(found.dtype, box.offsets))
            if not len(where[0]) == len(where[1]) == len(found.shape):
                raise InvalidArgumentError(
                    f"tensor {key!r}: a box with shape {found.shape} and offsets {where[1]} "
                    f"is in none with shape {where[0]}"
                )
            tie = ties.get(found.same, 0) if found.nbytes else 0
            columns.add_box(
                _encodable(key), found.dtype, found.shape, found.address, found.nbytes, tie, *where
            )
        self._store.part(transaction, integer("rank", rank, 0), columns)

    def commit(
        self,
        transaction: str,
        *,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        expect: int | None = None,
    ) -> VersionInfo:
        """Make the next version of the parts of all ranks; the parameters are those of `save`.

        Raises
        ------
        ConflictError
            A rank has not written its part, or the newest version is not the one that was
            expected. Nothing changes, and it can be committed again.
        InvalidArgumentError
            Parts overlap, leave out an element, or differ in the dtype or shape of a tensor; the
            message names tensor and ranks. Nothing changes.
        NotFoundError
            The transaction has ended.
        """
        options = _options(tags, metadata, expect)
        return _version(self._store.commit(transaction, options), options["tags"])

    def abort(self, transaction: str) -> None:
        """End a transaction and remove what its ranks have written."""
        self._store.abort(transaction)

    def load(
        self,
        name: str,
        version: Version = LATEST,
        *,
        keys: Iterable[str] | None = None,
        slices: Mapping[str, Selection] | None = None,
        out: Mapping[str, Any] | None = None,
        framework: Framework = "numpy",
        verify: bool = True,
    ) -> dict[str, Any]:
        """Read tensors of a version.

        Parameters
        ----------
        name : str
            Of the parameters.
        version : int or str
            A number, a tag, or ``"latest"``.
        keys : iterable of str, optional
            Names of the tensors; by default those of `out`, or all.
        slices : mapping of str to slice, (begin, end) or tuple of slices, optional
            Rows of tensors, along their first dimension; or a box, by a slice for each of the
            first dimensions. Only what rows need is read; of a box, all of its rows.
        out : mapping of str to tensor, optional
            Memory to read into: contiguous tensors or arrays of the same dtype and shape, which
            are what is returned for these names.
        framework : {"numpy", "torch", "bytes"}
            What is returned for the others. numpy needs ml_dtypes for bfloat16 and the like;
            ``"bytes"`` is the plain bytes of any dtype, as a flat array of uint8.
        verify : bool, default True
            Check every byte. It takes a fraction of the time of the read.

        Returns
        -------
        dict of str to tensor
            In the order in which they were saved, or of `keys`. Tensors that were one in memory
            are one again, unless they are sliced.

        Raises
        ------
        NotFoundError
            There is no such name, version, tag or tensor.
        CorruptError
            The bytes are not those that were saved; the message names tensor, file and place. What
            was read into `out` may be anything then.
        """
        with self.open(name, version) as opened:
            return opened.load(
                keys=keys, slices=slices, out=out, framework=framework, verify=verify
            )

    def pull(
        self,
        name: str,
        tensors: Mapping[str, Any],
        before: Version,
        after: Version = LATEST,
        *,
        verify: bool = True,
    ) -> Pulled:
        """Make tensors in memory, which are those of a version, those of another one.

        What is read and written is what changed between the two.

        Parameters
        ----------
        name : str
            Of the parameters.
        tensors : mapping of str to tensor
            Contiguous tensors or arrays of the version `before`, which are changed in place. Those
            that it has not, or that changed too much, are loaded.
        before, after : int or str
            The version that they are of, and the one that they become.
        verify : bool, default True
            Check every block of 1 MiB, before and after. What is of `after` already is left alone,
            so that a call that failed can be made again.

        Returns
        -------
        Pulled
            How it was done, and the number of the version.

        Raises
        ------
        ConflictError
            What is in memory is of neither version.
        NotFoundError, CorruptError, InvalidArgumentError
            As of `load`.
        """
        with self.open(name, before) as first, self.open(name, after) as second:
            return second.pull(tensors, first, verify=verify)

    def patches(
        self,
        name: str,
        before: Version,
        after: Version = LATEST,
        *,
        framework: Arrays = "numpy",
    ) -> Iterator[Patch]:
        """Tell, tensor by tensor, which elements changed between two versions.

        Parameters
        ----------
        name : str
            Of the parameters.
        before, after : int or str
            The versions. Tensors that `before` has not, or not with that dtype and shape, come as
            a whole.
        framework : {"numpy", "torch"}
            What indices and values are.

        Yields
        ------
        Patch
            Of each tensor that is not the same in both, in the order of `after`.

        Notes
        -----
        Both versions are read, and one tensor of each is in memory at a time.
        """
        with self.open(name, before) as first, self.open(name, after) as second:
            yield from second.patches(first, framework=framework)

    def open(self, name: str, version: Version = LATEST) -> Weights:
        """Open a version, which stays readable until it is closed, whatever is deleted."""
        return Weights(self._store.open(name, _reference(version)))

    # ---- the catalog ----

    def names(self) -> list[str]:
        """Return the names that have a version, in order."""
        return [found["name"] for found in self._store.names()]

    def versions(self, name: str) -> list[VersionInfo]:
        """Return the versions of a name, the oldest first."""
        found = self._store.get(name)
        tagged: dict[int, list[str]] = {}
        for tag, at in sorted(found["tags"].items()):
            tagged.setdefault(at, []).append(tag)
        return [_version(entry, tagged.get(entry["version"], [])) for entry in found["versions"]]

    def latest(self, name: str) -> int:
        """Return the number of the newest version of a name."""
        found: int = self._store.get(name)["latest"]
        return found

    def watch(
        self, name: str, after: int | None = None, *, timeout: float | None = None
    ) -> Iterator[int]:
        """Wait for versions: yield the number of the newest one whenever there is a newer one.

        Parameters
        ----------
        name : str
            Of the parameters, which need not be there yet.
        after : int, optional
            A version that is known, 0 for none; by default the newest one at the first step.
        timeout : float, optional
            Seconds without a newer version after which it ends; by default it does not.

        Yields
        ------
        int
            Numbers, ascending. One that is followed by another before it is asked for is left out.

        Raises
        ------
        ClosedError
            The store was closed.

        Notes
        -----
        The system tells of a version of this machine at once, and nothing is read meanwhile. The
        catalog is looked at every 5 seconds besides, where other machines write to it.

        Examples
        --------
        >>> import tempfile
        >>> store = ParameterStore(tempfile.mkdtemp())
        >>> _ = store.save("m", {"t": b"1"})
        >>> list(store.watch("m", 0, timeout=0.01))
        [1]
        """
        if after is None:
            after = self._store.wait(name, 0, 0)
        known = integer("after", after, 0)
        while True:
            end = math.inf if timeout is None else time.monotonic() + timeout
            found = 0
            while not found:
                left = min(end - time.monotonic(), _WAIT_SECONDS)
                found = self._store.wait(name, known, max(0, math.ceil(1000 * left)))
                if not found and time.monotonic() >= end:
                    return
            known = found
            yield found

    def tags(self, name: str) -> dict[str, int]:
        """Return the tags of a name with the versions that they name."""
        found: dict[str, int] = self._store.get(name)["tags"]
        return dict(sorted(found.items()))

    def set_tag(
        self, name: str, tag: str, version: Version = LATEST, *, expect: int | None = None
    ) -> int:
        """Have a tag name a version, and return its number.

        Parameters
        ----------
        name, tag
            The parameters, and the tag; not a number, nor ``"latest"``, which is always the newest
            version.
        version
            A number or another tag.
        expect
            The version that the tag names before, 0 for none. If it is another, nothing changes:
            of several who do this at the same time one succeeds.

        Raises
        ------
        ConflictError
            The tag was not where it was expected.
        """
        return self._store.set_tag(name, tag, _reference(version), _expected(expect))

    def delete_tag(self, name: str, tag: str, *, expect: int | None = None) -> None:
        """Remove a tag; `expect` is as of `set_tag`."""
        self._store.delete_tag(name, tag, _expected(expect))

    def delete(self, name: str, versions: int | Iterable[int]) -> None:
        """Remove versions; `gc` gives their space back.

        Raises
        ------
        ConflictError
            A tag names one of them, or it is the newest; nothing was removed.
        """
        chosen = [versions] if isinstance(versions, int) else [*versions]
        if chosen:
            self._store.delete(name, [integer("versions", number, 1) for number in chosen])

    def prune(self, name: str, newest: int, *, every: int | None = None) -> list[int]:
        """Remove versions that no tag names, but for some; return their numbers.

        Parameters
        ----------
        name : str
            Of the parameters.
        newest : int
            How many of the newest versions stay, at least 1.
        every : int, optional
            Of the older ones those stay whose number can be divided by this.

        Raises
        ------
        ConflictError
            A tag was set meanwhile; nothing was removed.

        Notes
        -----
        What versions that stay are told from stays as well, and `gc` gives the rest back. Numbers
        are those of all versions, so what stayed once does so in every later call.
        """
        newest = integer("newest", newest, 1)
        kept = None if every is None else integer("every", every, 1)
        removed = [
            info.version
            for info in self.versions(name)[:-newest]
            if not info.tags and (kept is None or info.version % kept)
        ]
        self.delete(name, removed)
        return removed

    def drop(self, name: str) -> None:
        """Remove a name with all versions and tags. Its numbers are not given again."""
        self._store.delete(name, [])

    def diff(
        self, name: str, before: Version, after: Version = LATEST, *, other: str | None = None
    ) -> Diff:
        """Compare two versions of a name, or of `name` and `other`; no tensor is read."""
        with self.open(name, before) as first, self.open(other or name, after) as second:
            return compare(first, second)

    def push(
        self,
        name: str,
        to: ParameterStore | str | os.PathLike[str],
        version: Version = LATEST,
        *,
        other: str | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        expect: int | None = None,
    ) -> VersionInfo:
        """Bring a version to another store, of which only what is not there is read and written.

        Parameters
        ----------
        name : str
            Of the parameters.
        to : ParameterStore or path
            The other store; a directory becomes one if it is none yet. It may be this one.
        version : int or str
            A number, a tag, or ``"latest"``.
        other : str, optional
            The name there, by default the same.
        tags, metadata, expect
            As of `save`, there; without `metadata` the version has that which it has here.

        Returns
        -------
        VersionInfo
            What it is there, and by how many bytes it made that store larger. It has a number of
            its own. A version that was brought before is not brought again, and gets the tags.

        Raises
        ------
        ConflictError
            The newest version there is not the one that was expected.
        CorruptError
            What was to be brought is not what was saved; the message names file and place.
        StorageError
            A disk failed or is full; there is nothing of the version there then.
        """
        if not isinstance(to, ParameterStore):
            with ParameterStore(to) as there:
                return self.push(
                    name,
                    there,
                    version,
                    other=other,
                    tags=tags,
                    metadata=metadata,
                    expect=expect,
                )
        options = _options(tags, metadata, expect)
        with self.open(name, version) as weights:
            found = weights._handle.push(to._store, other or name, options)
        return _version(found, options["tags"])

    # ---- upkeep ----

    def verify(self, name: str | None = None) -> list[str]:
        """Read and check all versions of a name, or of all; return what is wrong."""
        found: list[str] = self._store.verify(name or "")["faults"]
        return found

    def gc(self) -> dict[str, int]:
        """Remove files that no version needs that is listed, or open anywhere.

        Returns
        -------
        dict
            ``packs`` and ``manifests`` that were removed, ``staged`` files of saves that died,
            ``bytes`` in all, and ``leased``, versions that are open.
        """
        found: dict[str, int] = self._store.collect()
        return found

    # ---- safetensors ----

    def export_safetensors(
        self, name: str, path: str | os.PathLike[str], version: Version = LATEST
    ) -> None:
        """Write a version as a file of safetensors, durably.

        One that was imported is the same again, byte for byte; another is as `save_file` of
        safetensors writes it, with metadata that is text.

        Raises
        ------
        InvalidArgumentError
            The version came from several files, or has a dtype that safetensors has not.
        """
        with self.open(name, version) as weights:
            _safetensors.export_file(weights, path)

    def import_safetensors(
        self, name: str, path: str | os.PathLike[str], *, tags: Iterable[str] = ()
    ) -> VersionInfo:
        """Save a file of safetensors as the next version of a name."""
        return _safetensors.import_file(self._save, name, path, tags)

    def export_hf(
        self, name: str, directory: str | os.PathLike[str], version: Version = LATEST
    ) -> None:
        """Write a version as the directory that it was imported from, byte for byte, durably.

        One that was not is written as ``model.safetensors``. The directory must not exist.
        """
        with self.open(name, version) as weights:
            _safetensors.export_directory(weights, directory)

    def import_hf(
        self, name: str, directory: str | os.PathLike[str], *, tags: Iterable[str] = ()
    ) -> VersionInfo:
        """Save a directory of Hugging Face, with all its files, as the next version of a name."""
        return _safetensors.import_directory(self._save, name, directory, tags)


def compare(before: Weights, after: Weights) -> Diff:
    """Compare two open versions, of one name and store or not; no tensor is read."""
    found = before._handle.diff(after._handle)
    both = before._names() & after._names()
    kinds: dict[str, set[str]] = {"added": set(), "removed": set(), "changed": set()}
    for change in found["changes"]:
        name = tensor_of(change["name"])  # of which a box may have come or gone
        kinds["changed" if name in both else change["kind"]].add(name)
    lists = {kind: tuple(sorted(names)) for kind, names in kinds.items()}
    return Diff(
        **lists,
        same=len(both) - len(lists["changed"]),
        nbytes=found["bytes"],
        changed_nbytes=found["changed_bytes"],
    )


def _columns(
    tensors: Mapping[str, Any], typed: Mapping[str, tuple[str, Sequence[int]]]
) -> tuple[Tensors, list[Located]]:
    """Return tensors as the engine takes them, and what keeps their memory."""
    columns = Tensors()
    located = [locate(key, value) for key, value in tensors.items()]
    ties = _ties(located)
    whats = [
        typed.get(key, (found.dtype, found.shape))
        for key, found in zip(tensors, located, strict=True)
    ]
    columns.extend(
        [_encodable(key) for key in tensors],
        [dtype for dtype, _ in whats],
        [shape for _, shape in whats],
        [found.address for found in located],
        [found.nbytes for found in located],
        [ties.get(found.same, 0) if ties and found.nbytes else 0 for found in located],
    )
    return columns, located


def _options(
    tags: Iterable[str],
    metadata: Mapping[str, Any] | None,
    expect: int | None,
    base: Version | None = None,
) -> dict[str, Any]:
    """Return the options of a save as the engine takes them."""
    options: dict[str, Any] = {"tags": [*tags]}
    if metadata is not None:
        options["metadata"] = dict(metadata)
    if expect is not None:
        options["expect"] = integer("expect", expect, 0)
    if base is not None:
        options["base"] = _reference(base)
    return options


def _check_key(key: object) -> None:
    if not isinstance(key, str) or (
        may_be_reserved(key) and (is_file(key) or is_box(key) or object_name(key) is not None)
    ):
        raise InvalidArgumentError(f"the name of a tensor is a str, not {key!r}")


def _named(objects: Mapping[Any, Any] | None) -> dict[str, bytes]:
    """Return objects under the names that they are stored with."""
    found = {}
    for name, data in (objects or {}).items():
        if not isinstance(name, str) or not isinstance(data, bytes):
            raise InvalidArgumentError(
                f"an object is bytes with a name that is a str, not {name!r} and a {type(data)}"
            )
        found[of_object(name)] = data
    return found


def _pieces(key: object, value: Any) -> Sequence[Any]:
    """Return the boxes that a rank has of a tensor, or the tensor."""
    _check_key(key)
    if isinstance(value, (list, tuple)) and all(isinstance(box, Box) for box in value):
        return value
    return [value]


def _whole(dtype: str, numbers: Sequence[int]) -> tuple[int, ...]:
    """Return dimensions as they are stored: of F4 in values, of which torch has two in one."""
    sizes = tuple(numbers)
    return (*sizes[:-1], 2 * sizes[-1]) if dtype == "F4" and sizes else sizes


def _ties(located: Sequence[Located]) -> dict[Any, int]:
    """Give numbers to what is there more than once, from 1."""
    seen = [found.same for found in located if found.nbytes]
    if len({same[0] for same in seen}) == len(seen):  # no two begin at one address
        return {}
    once: set[Any] = set()
    ties: dict[Any, int] = {}
    for same in seen:
        if same in once:
            ties.setdefault(same, len(ties) + 1)
        once.add(same)
    return ties


def _encodable(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"the name of a tensor is no Unicode text: {name!r}") from None
    return name


def _reference(version: Version) -> str:
    return version if isinstance(version, str) else str(integer("version", version, 1))


def _expected(version: int | None) -> int:
    return -1 if version is None else integer("expect", version, 0)


def _version(entry: Mapping[str, Any], tags: Iterable[str]) -> VersionInfo:
    return VersionInfo(
        version=entry["version"],
        created=entry["created"] / 1000,
        tensors=entry["tensors"],
        nbytes=entry["bytes"],
        stored=entry["stored"],
        metadata=entry.get("metadata") or {},
        tags=tuple(sorted(tags)),
        base=entry.get("base", 0),
    )
