"""The configurations of docs/kv.md are what the engines take; those of docs/params.md run."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from lmcache.cli.commands.bench.l2_adapter_bench.data import create_l1_memory_desc
from lmcache.v1.distributed.l2_adapters import create_l2_adapter
from lmcache.v1.distributed.l2_adapters.config import parse_args_to_l2_adapters_config
from sglang.srt.mem_cache.storage.backend_factory import StorageBackendFactory
from vllm.v1.kv_offload.tiering.factory import SecondaryTierFactory

from persisting.integrations._vllm import register
from tests.engines import test_sglang, tiers
from tests.test_docs_params import EXAMPLES, PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (Path(__file__).parents[2] / "docs" / "kv.md").read_text()


def configurations() -> Iterator[dict[str, Any]]:
    for text in re.findall(r"```json\n(.*?)```|extra-config '(.*?)'", PAGE, re.DOTALL):
        yield json.loads("".join(text))


def small(options: dict[str, Any], path: Path) -> dict[str, Any]:
    assert options["path"] == "/nvme/kv"
    return options | {"path": str(path), "capacity": "64 MiB"}


def test_the_configurations_of_the_documentation(tmp_path: Path) -> None:
    vllm, sglang, lmcache = configurations()

    register()
    (tier,) = vllm["kv_connector_extra_config"]["secondary_tiers"]
    config = small(tier, tmp_path / "vllm")
    made = SecondaryTierFactory.create_secondary_tier(config, tiers.memory(), tiers.spec())
    assert not made.stats()["faults"]
    made.shutdown()

    pool = test_sglang.Pool()
    config = test_sglang.config(tmp_path)
    config.extra_config = small(sglang, tmp_path / "sglang")
    storage = StorageBackendFactory.create_backend("dynamic", config, pool)
    storage.register_mem_pool_host(pool)
    assert not storage.stats()["faults"]
    storage.close()

    lmcache["adapter_params"] = small(lmcache["adapter_params"], tmp_path / "lmcache")
    arguments = argparse.Namespace(l2_adapter=[json.dumps(lmcache)])
    (parsed,) = parse_args_to_l2_adapters_config(arguments).adapters
    memory = create_l1_memory_desc(torch.zeros(1 << 20, dtype=torch.uint8))
    adapter = create_l2_adapter(parsed, l1_memory_desc=memory)
    assert adapter.report_status()["is_healthy"]
    adapter.close()


@pytest.mark.parametrize("example", [text for text in EXAMPLES if text not in PLAIN])
def test_the_examples_of_trainers(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/params.md", "exec"), {"__name__": "example"})
    assert [*(tmp_path / "params" / "packs").iterdir()]
