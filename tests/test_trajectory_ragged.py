"""Ragged columns, texts and bytes in samples, held against what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from persisting._errors import ConflictError, InvalidArgumentError
from persisting.trajectory import (
    Groups,
    Mix,
    NStep,
    Packed,
    Padded,
    Ragged,
    Slices,
    Steps,
    TrajectoryStore,
)
from tests.games import Games, assert_batch
from tests.programs.trajectory_sampler import step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from persisting.trajectory._sampler import Order, Unit

LOOSE = ["tokens", "text"]
ALL = ["obs", "action", "reward", "done", "picture", *LOOSE]


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Games]:
    played = Games(tmp_path_factory.mktemp("ragged") / "store", 31)
    played.play(300)
    played.reopen()  # some of it is in the table
    played.play(100)
    yield played
    played.store.close()


def wanted_of(games: Games, offset: int) -> dict[str, Any]:
    """Return what a step holds; nothing where there is none."""
    if offset < 0:
        return {"tokens": [], "text": ""}
    one, at = games.by_offset[offset]
    return step(one.key, at)


@pytest.mark.parametrize(
    ("unit", "order"),
    [
        (Steps(), "uniform"),
        (Steps(), "fifo"),
        (Steps(), "shuffle"),
        (Slices(5, pad=True, burn_in=2), "uniform"),
        (NStep(2, gamma=0.9), "uniform"),
    ],
)
@pytest.mark.parametrize("form", [Packed(), Padded(value=-1), Padded(side="left", length=3)])
def test_they_are_what_was_written(games: Games, unit: Unit, order: Order, form: Any) -> None:
    sampler = games.store.sampler(unit, order=order, columns=ALL, ragged=form, seed=3)
    again = None
    for _ in range(3):
        batch = sampler.sample(60, again)
        if isinstance(unit, Steps):
            assert_batch(games, batch, unit, False)
        flat, tokens = batch.offsets.reshape(-1), batch["tokens"]
        if isinstance(form, Packed):
            assert tokens.shape == batch.offsets.shape
            assert tokens.values.dtype == np.int64
            assert tokens.cu_seqlens.dtype == np.int32
            rows = [one.tolist() for one in tokens]
            assert tokens.lengths.reshape(-1).tolist() == [len(row) for row in rows]
        else:
            mask = batch.masks["tokens"]
            assert mask.shape == tokens.shape == (*batch.offsets.shape, 3)
            assert (tokens[~mask] == form.value).all()
            both = zip(tokens.reshape(-1, 3), mask.reshape(-1, 3), strict=True)
            rows = [row[there].tolist() for row, there in both]
            for there in mask.reshape(-1, 3):
                first = there if form.side == "right" else there[::-1]
                assert (np.diff(first.astype(int)) <= 0).all()
        for i, offset in enumerate(flat):
            wanted = wanted_of(games, int(offset))
            assert rows[i] == wanted["tokens"]
            assert batch["text"].reshape(-1)[i] == wanted["text"]
        assert batch["text"].shape == batch.offsets.shape
        again = batch if batch.draws == 60 else None


@pytest.mark.parametrize("unit", [Steps(), Slices(3), NStep(2)])
def test_what_is_behind_them(tmp_path: Path, unit: Unit) -> None:
    with TrajectoryStore(tmp_path / "store") as store:
        for key in range(6):
            writer = store.writer(episode_id=str(key))
            each = [step(key, at) for at in range(5)]
            writer.extend({name: [s[name] for s in each] for name in each[0]}, version=key)
            final = step(key, 5) if key % 2 else None
            writer.end_episode(final, terminated=not key % 2, truncated=bool(key % 2))
        sampler = store.sampler(unit, columns=["obs"], next=("obs", "tokens", "text"), seed=4)
        batch = sampler.sample(200)
        assert set(batch) == {"obs", "next_obs", "next_tokens", "next_text"}
        assert batch.next_offsets is not None
        assert batch.next_offsets.shape == batch.offsets.shape
        n = 2 if isinstance(unit, NStep) else 1
        found = zip(
            batch.versions.reshape(-1),
            batch.steps.reshape(-1),
            batch["next_tokens"],
            batch["next_text"].reshape(-1),
            batch["next_obs"].reshape(-1, 3),
            strict=True,
        )
        for key, at, tokens, text, obs in found:
            behind = min(int(at) + n, 5)
            wanted = step(int(key), behind)
            if behind == 5 and not key % 2:
                wanted = {"tokens": [], "text": "", "obs": np.zeros(3, np.float32)}
            assert tokens.tolist() == wanted["tokens"]
            assert text == wanted["text"]
            assert obs.tobytes() == wanted["obs"].tobytes()


def test_a_final_observation_that_lacks_them(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path / "store") as store:
        for name in ("a", "b"):
            writer = store.writer(episode_id=name)
            writer.extend({"x": [1.0], "t": [[1, 2]]})
            writer.end_episode({"x": 2.0}, terminated=name == "a", truncated=name == "b")
            if name == "a":
                assert store.sampler(next=("t",)).sample(1)["next_t"][0].tolist() == []
        with pytest.raises(ConflictError, match="has no 't'"):
            store.sampler(next=("t",)).sample(100)


def test_all_types(tmp_path: Path) -> None:
    kinds = ["int8", "uint16", "int32", "uint64", "float32", "float64", "bool"]
    with TrajectoryStore(tmp_path / "store") as store:
        writer = store.writer()
        each = {kind: [np.arange(n % 5).astype(kind) for n in range(40)] for kind in kinds}
        writer.extend({**each, "raw": [bytes([n]) * n for n in range(40)], "n": np.arange(40)})
        sampler = store.sampler(columns=[*kinds, "raw", "n"], order="shuffle", seed=1)
        batch = sampler.sample(40)
        for kind in kinds:
            assert batch[kind].values.dtype == kind
            for n, found in zip(batch["n"], batch[kind], strict=True):
                assert found.tobytes() == each[kind][n].tobytes()
        assert [*batch["raw"]] == [bytes([n]) * int(n) for n in batch["n"]]
        forms: dict[str, Packed | Padded] = {
            "int8": Padded(dtype="int64", value=-100),
            "float64": Packed(dtype="float32"),
        }
        batch = store.sampler(columns=[*forms], ragged=forms, order="fifo").sample(5)
        assert batch["int8"].dtype == np.int64
        assert batch["int8"][0].tolist() == [-100] * 4
        assert batch["float64"].values.dtype == np.float32
        # Nothing that was ragged is read by default, and nothing at all is well.
        assert [*store.sampler().sample(2)] == ["n"]
        assert [*store.sampler(columns=[]).sample(2)] == []


@pytest.mark.parametrize(
    ("columns", "ragged", "says"),
    [
        (["tokens"], {"obs": Packed()}, "ragged names the column 'obs'"),
        (["obs"], {"tokens": Packed()}, "ragged names the column 'tokens'"),
        (["tokens"], {"tokens": "packed"}, "want Packed or Padded"),
        (["tokens"], Packed(dtype="bool"), "makes? no bool"),
        (["tokens"], Padded(value=0.5), "which int64 does not hold"),
        (["tokens"], Padded(value=300, dtype="int8"), "which int8 does not hold"),
        (["tokens"], Padded(side="top"), "side is 'top'"),  # type: ignore[arg-type]
        (["tokens"], Padded(length=-1), "length: want an int from 0"),
    ],
)
def test_forms_that_cannot_be(games: Games, columns: Any, ragged: Any, says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=says):
        games.store.sampler(columns=columns, ragged=ragged)


def test_sequences_that_are_too_long(games: Games) -> None:
    sampler = games.store.sampler(columns=["tokens"], ragged=Padded(length=2))
    with pytest.raises(InvalidArgumentError, match="has 3 values, and is to be padded to 2"):
        sampler.sample(500)


def test_parts_of_a_batch(games: Games) -> None:
    sampler = games.store.sampler(Slices(3), columns=["obs", *LOOSE], seed=2)
    batch = sampler.sample(20)
    chosen = batch.select([7, 7, 0, 19])
    assert chosen["tokens"].shape == (4, 3)
    assert chosen.draws == 4
    for k, i in enumerate([7, 7, 0, 19]):
        assert np.array_equal(chosen.offsets[k], batch.offsets[i])
        assert np.array_equal(chosen["obs"][k], batch["obs"][i])
        assert [*chosen["text"][k]] == [*batch["text"][i]]
        for inner in range(3):
            mine, other = chosen["tokens"][3 * k + inner], batch["tokens"][3 * i + inner]
            assert np.array_equal(mine, other)
    wanted = [sum(len(batch["tokens"][3 * i + k]) for k in range(3)) for i in range(20)]
    assert batch.lengths("tokens").tolist() == wanted
    assert batch.lengths().tolist() == [3] * 20
    padded = games.store.sampler(Slices(3), columns=["tokens"], ragged=Padded(), seed=2).sample(20)
    assert padded.lengths("tokens").tolist() == wanted
    assert padded.select([3]).masks["tokens"].tolist() == [padded.masks["tokens"][3].tolist()]
    assert batch.first(5)["tokens"].shape == (5, 3)
    assert batch.select([]).draws == 0
    for wrong in ([20], [-1]):
        with pytest.raises(InvalidArgumentError, match="there is no draw"):
            batch.select(wrong)
    with pytest.raises(InvalidArgumentError, match="'obs' is no ragged column"):
        batch.lengths("obs")
    with pytest.raises(IndexError):
        batch["tokens"][60]


def test_groups_and_mixes_of_them(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path / "store") as store:
        for prompt in range(4):
            for answer in range(3):
                writer = store.writer(group=f"p{prompt}")
                tokens = [prompt] * (1 + answer)
                writer.extend({"t": [tokens], "n": [float(len(tokens))]})
                writer.end_episode(terminated=True)
        batch = store.sampler(Groups(3), columns=["t", "n"], seed=1).sample(8)
        assert batch["t"].shape == (8, 3)
        assert np.array_equal(batch["t"].lengths, batch["n"])
        first = store.sampler(columns=["t", "n"], seed=1)
        second = store.sampler(columns=["t", "n"], order="fifo")
        mixed = Mix({first: 1, second: 1}).sample(12)
        assert np.array_equal(mixed["t"].lengths, mixed["n"])
        with pytest.raises(InvalidArgumentError, match="cannot be mixed"):
            Mix({first: 1, store.sampler(columns=["t", "n"], ragged=Padded()): 1})


def test_tensors(games: Games) -> None:
    torch = pytest.importorskip("torch")
    batch = games.store.sampler(columns=["obs", *LOOSE], seed=1).sample(9)
    tensors = batch.torch()
    assert isinstance(tensors["tokens"], Ragged)
    assert torch.equal(tensors["tokens"].values, torch.from_numpy(batch["tokens"].values))
    assert tensors["tokens"].cu_seqlens.dtype == torch.int32
    assert tensors["tokens"].lengths.tolist() == batch["tokens"].lengths.tolist()
    assert tensors["text"].tolist() == batch["text"].tolist()
