"""A small transformer in training publishes each step; servers follow, and cost is what changed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from persisting.params import ParameterStore

if TYPE_CHECKING:
    from pathlib import Path

WIDTH, WORDS, LENGTH, BATCH = 256, 4096, 32, 4

FILES = 16 << 10
"""About what a version takes besides: the last pages of its two files and the list of layers."""


class Block(nn.Module):  # type: ignore[misc]
    """A layer of a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.down = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(self.before(x)).view(*x.shape[:2], 3, 4, -1).permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(x.shape))
        return x + self.down(nn.functional.silu(self.up(self.between(x))))


class Transformer(nn.Module):  # type: ignore[misc]
    """A transformer of 5 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.blocks = nn.Sequential(Block(), Block(), Block())
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        for value in self.parameters():
            if value.dim() > 1:
                nn.init.normal_(value, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.blocks(self.words(x)))
        return found


def train(model: Transformer, optimizer: torch.optim.Optimizer) -> None:
    """Take a step along a policy gradient, with advantages of either sign."""
    words = torch.randint(WORDS, (BATCH, LENGTH + 1))
    scores = model(words[:, :-1]).reshape(-1, WORDS)
    losses = nn.functional.cross_entropy(scores, words[:, 1:].reshape(-1), reduction="none")
    advantages = torch.randn(BATCH)
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-6)
    optimizer.zero_grad(set_to_none=True)
    (losses.view(BATCH, LENGTH).mean(1) * advantages).mean().backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def published(model: Transformer) -> dict[str, torch.Tensor]:
    """Return what is published: the parameters in bf16."""
    return {
        name: value.detach().to(torch.bfloat16).contiguous()
        for name, value in model.state_dict().items()
    }


def digests(tensors: dict[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of the bytes of each tensor."""
    return {
        name: hashlib.sha256(value.view(torch.uint8).numpy().tobytes()).hexdigest()
        for name, value in tensors.items()
    }


def test_every_step_is_published_and_followed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Transformer()
    warming = torch.optim.AdamW(model.parameters(), lr=6e-4)
    for _ in range(10):
        train(model, warming)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0.01)
    for _ in range(5):  # the first steps of Adam are longer
        train(model, optimizer)
    with (
        ParameterStore(tmp_path / "store", keep=True) as trainer,
        ParameterStore(tmp_path / "store", read_only=True) as server,
    ):
        first = trainer.save("policy", published(model))
        served = server.load("policy", framework="torch")
        versions = [digests(served)]
        total, steps = first.stored, []
        for version in range(2, 65):
            train(model, optimizer)
            now = published(model)
            info = trainer.save("policy", now)
            total += info.stored - FILES
            if version % 8 != 1:
                steps.append((info.stored - FILES) / first.nbytes)
            server.pull("policy", served, version - 1)
            versions.append(digests(now))
            assert digests(served) == versions[-1]
        print(f"step {100 * sum(steps) / len(steps):.2f} %, all {total / first.nbytes:.2f} models")
        assert sum(steps) / len(steps) < 0.007
        assert total < 1.8 * first.nbytes
        for version in (1, 5, 9, 33, 56, 64):
            found = server.load("policy", version, framework="torch")
            assert digests(found) == versions[version - 1]
        model_before = server.load("policy", 40, framework="torch")
        for patch in server.patches("policy", 40, 41, framework="torch"):
            model_before[patch.name].view(-1)[patch.indices.long()] = patch.values
        assert digests(model_before) == versions[40]
