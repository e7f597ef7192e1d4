"""Lightning, whose checkpoints are versions in a store of parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import AsyncCheckpointIO

from persisting._errors import InvalidArgumentError
from persisting.integrations.lightning import PersistingCheckpointIO
from persisting.params import ParameterStore

if TYPE_CHECKING:
    from pathlib import Path


class Model(LightningModule):  # type: ignore[misc]
    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(width, 1)
        self.frozen = torch.nn.Parameter(torch.randn(500, 500), requires_grad=False)

    def training_step(self, batch: torch.Tensor, _: int) -> torch.Tensor:
        loss = self.layer(batch).square().mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.layer.parameters(), lr=0.01)


def trainer(path: Path, plugin: Any, **more: Any) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(
        default_root_dir=path,
        accelerator="cpu",
        devices=1,
        plugins=[plugin],
        **quiet | more,
    )


def data() -> Any:
    torch.manual_seed(1)
    return torch.utils.data.DataLoader(torch.randn(32, 64), batch_size=8)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_training_goes_on_from_a_checkpoint(tmp_path: Path, wrapped: bool) -> None:
    store = tmp_path / "store"
    plugin = PersistingCheckpointIO(store)
    kept = ModelCheckpoint(tmp_path / "kept", save_top_k=2, monitor="loss", save_last=True)
    torch.manual_seed(0)
    model = Model()
    first = trainer(
        tmp_path,
        AsyncCheckpointIO(plugin) if wrapped else plugin,
        max_epochs=4,
        callbacks=[kept],
    )
    first.fit(model, data())
    # The wrapper removes at once what it may still be writing beside the training.
    left = len([*(tmp_path / "kept").iterdir()])
    assert left >= 3 if wrapped else left == 3
    with ParameterStore(store) as opened:
        assert len(opened.names()) == 3  # what Lightning removed is gone
        stored = sum(file.stat().st_size for file in (store / "packs").iterdir())
        assert stored < 1.2 * model.frozen.nbytes  # one copy of what never changed
        assert opened.verify() == []

    again = Model()
    second = trainer(tmp_path, plugin, max_epochs=6, callbacks=[])
    second.fit(again, data(), ckpt_path=str(tmp_path / "kept" / "last.ckpt"), weights_only=False)
    assert second.current_epoch == 6
    assert torch.equal(again.frozen, model.frozen)

    torch.manual_seed(0)
    straight = Model()
    whole = trainer(tmp_path, plugin, max_epochs=6, enable_checkpointing=False)
    whole.fit(straight, data())
    for name, value in straight.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    plugin = PersistingCheckpointIO(tmp_path / "store")
    shared = torch.randn(3)
    saved: dict[Any, Any] = {
        "state_dict": {"w": torch.randn(4, 5).bfloat16(), "tied": shared, "other": shared},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}, "groups": (1, "two")}],
        "epoch": 3,
        1: torch.ones(1),
        "1": torch.zeros(1),
        "sparse": torch.eye(3).to_sparse(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    plugin.save_checkpoint(saved, tmp_path / "deep" / "a.ckpt")
    found: dict[Any, Any] = plugin.load_checkpoint(tmp_path / "deep" / "a.ckpt", weights_only=True)
    assert [*found] == [*saved]
    assert torch.equal(found["state_dict"]["w"], saved["state_dict"]["w"])
    assert found["state_dict"]["tied"] is found["state_dict"]["other"]
    assert found["optimizer_states"][0]["state"][0]["step"] == 3
    assert found["optimizer_states"][0]["groups"] == (1, "two")
    assert (found["epoch"], found[1].item(), found["1"].item()) == (3, 1.0, 0.0)
    assert torch.equal(found["sparse"].to_dense(), torch.eye(3))
    assert isinstance(found["parameter"], torch.nn.Parameter)
    for location in ("cpu", torch.device("cpu"), {"cpu": "cpu"}, lambda storage, _: storage):
        at = plugin.load_checkpoint(tmp_path / "deep" / "a.ckpt", location)["state_dict"]["w"]
        assert at.device.type == "cpu"
    moved = plugin.load_checkpoint(tmp_path / "deep" / "a.ckpt", "meta")["state_dict"]["w"]
    assert moved.is_meta

    plugin.save_checkpoint({"epoch": 4}, tmp_path / "deep" / "a.ckpt")
    (tmp_path / "deep" / "a.ckpt").rename(tmp_path / "b.ckpt")
    assert plugin.load_checkpoint(tmp_path / "b.ckpt") == {"epoch": 4}
    with ParameterStore(tmp_path / "store") as store:
        (name,) = store.names()
        assert len(store.versions(name)) == 1  # the one before is gone
    plugin.remove_checkpoint(tmp_path / "b.ckpt")
    plugin.remove_checkpoint(tmp_path / "b.ckpt")
    with ParameterStore(tmp_path / "store") as store:
        assert store.names() == []
    assert not [*(tmp_path / "store" / "packs").iterdir()]


def test_what_is_refused(tmp_path: Path) -> None:
    plugin = PersistingCheckpointIO(tmp_path / "store")
    with pytest.raises(InvalidArgumentError, match="storage_options"):
        plugin.save_checkpoint({}, tmp_path / "a.ckpt", {"x": 1})
    with pytest.raises(FileNotFoundError):
        plugin.load_checkpoint(tmp_path / "a.ckpt")
    torch.save({"epoch": 1}, tmp_path / "torch.ckpt")
    with pytest.raises(InvalidArgumentError, match="without this plugin"):
        plugin.load_checkpoint(tmp_path / "torch.ckpt")
    with pytest.raises(InvalidArgumentError, match="stands for a tensor"):
        plugin.save_checkpoint({"text": "\0persisting.tensor:x"}, tmp_path / "a.ckpt")
