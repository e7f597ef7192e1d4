"""The store of blocks as the disk tier of inference engines.

Each module is for one engine and imports it: `vllm`, `sglang`, `lmcache`. An engine finds them by
the names that its configuration gives; docs/kv.md has a configuration for each.
"""
