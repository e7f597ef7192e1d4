"""What users can call stays as it is, unless the list of it is changed as well."""

from __future__ import annotations

from tests import public


def test_the_public_names_are_those_of_the_list() -> None:
    listed = public.LIST.read_text().splitlines()
    assert [*public.lines()] == listed, "python -m tests.public > tests/public.txt, if it is meant"
    for start in ("persisting.LanceBackend.put(", "persisting_bucket_open(", "option ", "metric "):
        assert any(line.startswith(start) for line in listed), start
