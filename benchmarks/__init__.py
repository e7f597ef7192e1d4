"""Benchmarks of Persisting beside what a user would pick instead.

    python3 build.py bench [--quick] [--path DIRECTORY] [NAME ...]

Each module named in `benchmarks.__main__` is one benchmark: its docstring says what is measured,
its BENCHMARK names the sides, and each side is one function that runs in a process of its own,
in its own Python environment (`benchmarks.worker`). The sides take turns (`benchmarks.runner`),
so that a ratio compares two runs made within seconds of each other on the same disk.
"""
