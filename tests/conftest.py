"""Fixtures of all tests."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from persisting import LanceBackend, PersistingBackend
from tests.support import QUIET, Opener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

# They need vLLM, SGLang and LMCache: `build.py test --only engines` runs them.
collect_ignore = ["engines"]


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """Where a test keeps its bucket; nothing is there yet."""
    return tmp_path / "bucket_0"


@pytest.fixture
async def opening() -> AsyncIterator[Opener]:
    """Open backends that are closed at the end of the test: `opening(cls, path, **options)`."""
    async with contextlib.AsyncExitStack() as stack:
        backends = []

        def opener(
            cls: type[LanceBackend], path: Path, bucket_id: int = 0, **options: Any
        ) -> LanceBackend:
            backend = cls(bucket_id, path, **{**QUIET, **options})
            backends.append(backend)
            return backend

        yield opener
        for backend in backends:
            stack.push_async_callback(backend.aclose)


@pytest.fixture(params=[LanceBackend, PersistingBackend], ids=lambda cls: cls.__name__)
def backend_class(request: pytest.FixtureRequest) -> type[LanceBackend]:
    """Each of the two backends."""
    cls: type[LanceBackend] = request.param
    return cls


@pytest.fixture
async def backend(opening: Opener, backend_class: type[LanceBackend], bucket: Path) -> LanceBackend:
    """An open backend of each of the two classes, which does nothing of its own accord."""
    return opening(backend_class, bucket)
