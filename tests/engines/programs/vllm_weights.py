"""A real engine of vLLM on the CPU, whose weights come from a store of parameters.

    python -m tests.engines.programs.vllm_weights files        from the files of a directory
    python -m tests.engines.programs.vllm_weights STORE        from version 2, then updated

It expects the directory `model`, and for the second `config` without weights. It prints as JSON
which tokens came out, with those of each version one after the other.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from tests.engines.programs.vllm_cpu import PROMPT, mend


def generate(engine: Any) -> list[int]:
    from vllm import SamplingParams

    sampling = SamplingParams(temperature=0, max_tokens=8, detokenize=False)
    prompts = [{"prompt_token_ids": PROMPT[:64]}]
    (output,) = engine.generate(prompts, sampling, use_tqdm=False)
    return [*output.outputs[0].token_ids]


def main() -> None:
    mend()
    from vllm import LLM

    how = sys.argv[1]
    more: dict[str, Any] = {"model": "model"}
    if how != "files":
        more = {
            "model": "config",
            "load_format": "persisting",
            "model_loader_extra_config": {"store": how, "name": "org/model", "version": 2},
            "weight_transfer_config": {"backend": "persisting"},
        }
    engine = LLM(
        skip_tokenizer_init=True,
        enforce_eager=True,
        max_model_len=256,
        dtype="bfloat16",
        max_num_seqs=2,
        enable_prefix_caching=False,
        **more,
    )
    tokens = [generate(engine)]
    if how != "files":
        begin = {"store": how, "name": "org/model", "version": 2}
        engine.init_weight_transfer_engine({"init_info": begin})
        for version in (1, 1, 2):
            engine.start_weight_update()
            engine.update_weights({"update_info": {"version": version}})
            engine.finish_weight_update()
            tokens.append(generate(engine))
    print(json.dumps(tokens))


if __name__ == "__main__":
    main()
