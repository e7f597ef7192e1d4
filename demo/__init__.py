"""The demonstration; `python3 build.py demo` runs it."""
