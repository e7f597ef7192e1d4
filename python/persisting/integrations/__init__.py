"""The stores as parts of inference engines and trainers.

Each module is for one of them and imports it. `vllm`, `sglang` and `lmcache` keep blocks of KV
caches on a disk: docs/kv.md has a configuration for each. `dcp`, `lightning`, `vllm_weights`,
`sglang_weights` and `verl` save and load weights: docs/params.md shows how. `transferqueue`
and `trl` keep samples, `torchrl` steps, and `torch` loads batches of steps: docs/trajectories.md.
"""
