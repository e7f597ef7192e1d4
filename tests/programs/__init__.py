"""Programs that tests run in a process of their own, as `python -m tests.programs.NAME`."""
