"""Every function of the C interface, given what it must refuse."""

from __future__ import annotations

import ctypes
import threading
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from persisting._errors import Status
from tests import header
from tests.abi import (
    MESSAGE,
    ROWS,
    Exported,
    Outcome,
    World,
    library,
    no_handles,
    rows,
    sample,
    tensors,
    world,
)
from tests.support import command, eventually, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FUNCTIONS = header.functions()
POINTERS = [
    (function.name, parameter)
    for function in FUNCTIONS.values()
    for parameter in function.parameters
    if parameter.is_pointer
]


@pytest.fixture
def w(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as opened:
        yield opened


def a_batch(name: str) -> Exported | None:
    """Return what a call of the function consumes, if it consumes anything."""
    takes = {p.name for p in FUNCTIONS[name].parameters}
    return Exported(sample(name)) if "array" in takes else None


def is_consumed(batch: Exported | None) -> bool:
    return batch is None or eventually(lambda: batch.released)


def close_again(w: World, found: Outcome) -> None:
    """Close the handle that a call gave out, if it did."""
    for kind in header.header().handles:
        if f"out_{kind}" in found.out:
            handle = found.number(f"out_{kind}")
            assert w.call(f"persisting_{kind}_close", **{kind: handle}).status == Status.OK


# ---- every function ----


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_arguments_of_these_tests_are_right(w: World, name: str) -> None:
    found = w.call(name)
    assert found.status == Status.OK
    for content in found.out.values():
        assert set(content) != {0xA5}
    for text in [p.name for p in FUNCTIONS[name].parameters if p.ctype == "char**"]:
        address = found.number(text)
        assert ctypes.string_at(address)
        assert w.call("persisting_string_free", string=address).status == Status.OK
    close_again(w, found)


@pytest.mark.parametrize(
    ("name", "parameter"), [(name, p.name) for name, p in POINTERS if not p.nullable]
)
def test_null_is_refused_by_name(w: World, name: str, parameter: str) -> None:
    batch = a_batch(name)
    found = w.call(name, batch=batch, **{parameter: None})
    assert found.status == Status.INVALID_ARGUMENT
    assert found.message == f"invalid argument: {parameter.removesuffix('_')} is NULL"
    others = {n: content for n, content in found.out.items() if n != parameter}
    assert found._replace(out=others).untouched
    if batch is not None:
        given = {"array": batch.array, "schema": batch.schema}
        given.pop(parameter, None)
        assert eventually(lambda: all(batch.releases[n] == 1 for n in given))
        assert not any(struct.release for struct in given.values())
        batch.drop()
    assert w.call("persisting_bucket_acknowledged").number("out_rows") == ROWS


@pytest.mark.parametrize(
    ("name", "parameter"), [(name, p.name) for name, p in POINTERS if p.nullable]
)
def test_null_is_allowed_where_the_header_says_so(w: World, name: str, parameter: str) -> None:
    found = w.call(name, **{parameter: None})
    assert found.status == Status.OK
    close_again(w, found)


WORDS = [
    (name, parameter, wrong, says)
    for name, function in FUNCTIONS.items()
    for parameter in function.parameters
    for wrong, says in (
        *([({parameter.name: 1 << 31}, "unknown flags 0x80000000")] if parameter.takes else ()),
        *([({parameter.name: b""}, f"{parameter.name} is empty")] if parameter.is_path else ()),
        *([({parameter.many: -1}, f"{parameter.many} is -1, want at least 0")]
          if parameter.many else ()),
    )
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "wrong", "says"), [(name, wrong, says) for name, _, wrong, says in WORDS]
)
def test_what_the_words_of_the_header_rule_out_is_refused(
    w: World, name: str, wrong: dict[str, Any], says: str
) -> None:
    batch = a_batch(name)
    found = w.call(name, batch=batch, **wrong)
    assert (found.status, found.message) == (Status.INVALID_ARGUMENT, f"invalid argument: {says}")
    assert found.untouched
    assert is_consumed(batch)


def test_all_flags_and_all_paths_have_their_words() -> None:
    """A parameter of that name without the word would be checked by nobody."""
    named = [p for function in FUNCTIONS.values() for p in function.parameters]
    assert all(p.takes for p in named if p.name == "flags")
    assert all(p.is_path for p in named if p.name in ("path", "directory"))


def test_an_array_of_no_elements_may_be_null(w: World) -> None:
    found = w.call("persisting_bucket_take", offsets=None, count=0)
    assert found.status == Status.OK
    close_again(w, found)


def stale(w: World, kind: str) -> int:
    if kind == "cursor":
        handle = w.read()
        assert w.call("persisting_cursor_close", cursor=handle).status == Status.OK
        return handle
    if kind == "server":
        handle = w.call("persisting_server_start").number("out_server")
        assert w.call("persisting_server_close", server=handle).status == Status.OK
        return handle
    if kind == "columns":
        handle = w.call("persisting_columns_import").number("out_columns")
        assert w.call("persisting_columns_close", columns=handle).status == Status.OK
        return handle
    if kind == "view":
        handle = w.call("persisting_view_open").number("out_view")
        assert w.call("persisting_view_close", view=handle).status == Status.OK
        return handle
    if kind == "kv_server":
        handle = w.call("persisting_kv_serve").number("out_kv_server")
        assert w.call("persisting_kv_server_close", kv_server=handle).status == Status.OK
        return handle
    if kind == "trajectories_server":
        served = w.call("persisting_trajectories_serve")
        handle = served.number("out_trajectories_server")
        closed = w.call("persisting_trajectories_server_close", trajectories_server=handle)
        assert closed.status == Status.OK
        return handle
    if kind == "kv":
        path = bytes(w.directory / "stale")
        handle = w.call("persisting_kv_open", path=path).number("out_kv")
        assert w.call("persisting_kv_close", kv=handle).status == Status.OK
        return handle
    if kind == "params":
        handle = w.call("persisting_params_open").number("out_params")
        assert w.call("persisting_params_close", params=handle).status == Status.OK
        return handle
    if kind == "weights":
        handle = w.call("persisting_weights_open").number("out_weights")
        assert w.call("persisting_weights_close", weights=handle).status == Status.OK
        return handle
    if kind == "trajectories":
        handle = w.call("persisting_trajectories_open").number("out_trajectories")
        assert w.call("persisting_trajectories_close", trajectories=handle).status == Status.OK
        return handle
    if kind == "sheet":
        w.open_sheet()
        handle, w.sheet = w.sheet, 0
        assert w.call("persisting_sheet_close", sheet=handle).status == Status.OK
        return handle
    if kind == "sampler":
        handle = w.call("persisting_sampler_open").number("out_sampler")
        assert w.call("persisting_sampler_close", sampler=handle).status == Status.OK
        return handle
    handle = w.open(w.directory / "stale")
    assert w.call("persisting_bucket_close", bucket=handle).status == Status.OK
    return handle


def foreign(w: World, kind: str) -> int:
    return w.cursor if kind == "bucket" else w.bucket


def not_yet(w: World, kind: str) -> int:
    handle: int = getattr(w, kind)
    return handle + 2**40


BAD_HANDLES: dict[str, Callable[[World, str], int]] = {
    "null": lambda w, kind: 0,
    "stale": stale,
    "foreign": foreign,
    "not yet given out": not_yet,
    **{f"invented, {name}": lambda w, kind, n=n: n for name, n in no_handles().items()},  # type: ignore[misc]
}


@pytest.mark.parametrize("bad", BAD_HANDLES)
@pytest.mark.parametrize("name", [f.name for f in FUNCTIONS.values() if header.handle_of(f)])
def test_a_bad_handle_is_refused(w: World, name: str, bad: str) -> None:
    handle = header.handle_of(FUNCTIONS[name])
    assert handle is not None
    if name.endswith("_close") and bad == "null":
        assert w.call(name, **{handle.name: 0}).status == Status.OK
        return
    batch = a_batch(name)
    found = w.call(name, batch=batch, **{handle.name: BAD_HANDLES[bad](w, handle.name)})
    assert found.status == Status.INVALID_HANDLE
    assert handle.name in found.message
    assert found.untouched
    assert is_consumed(batch)


@pytest.mark.parametrize("bad", BAD_HANDLES)
def test_a_message_with_bad_columns_is_refused(w: World, bad: str) -> None:
    columns = BAD_HANDLES[bad](w, "columns")
    found = w.call("persisting_bucket_append_message", columns=columns)
    assert found.status == Status.INVALID_HANDLE
    assert "columns" in found.message
    assert found.untouched


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff",
        MESSAGE[:-1],
        MESSAGE[: len(MESSAGE) // 2],
        MESSAGE + bytes(8),
        bytes(len(MESSAGE)),
        b"\xff" * len(MESSAGE),
        bytes(rows().schema.serialize()),
        bytes(pa.record_batch({"one": [1]}).serialize()),
    ],
)
def test_a_broken_message_is_refused(w: World, message: bytes) -> None:
    found = w.call("persisting_bucket_append_message", message=message, size=len(message))
    assert found.status == Status.INVALID_ARGUMENT
    assert found.untouched
    assert w.call("persisting_bucket_acknowledged").number("out_rows") == ROWS
    assert w.call("persisting_bucket_append_message").status == Status.OK


@pytest.mark.parametrize("name", [f.name for f in FUNCTIONS.values() if f.parameters])
def test_the_error_struct_may_be_null(w: World, name: str) -> None:
    function = FUNCTIONS[name]
    wrong: dict[str, Any] = {}
    expected = Status.OK
    if handle := header.handle_of(function):
        wrong, expected = {handle.name: 1}, Status.INVALID_HANDLE
    elif name == "persisting_metrics_retain":
        wrong, expected = {"yes": 2}, Status.INVALID_ARGUMENT
    elif name == "persisting_library_set_memory_budget":
        wrong, expected = {"bytes": 0}, Status.INVALID_ARGUMENT
    elif name != "persisting_string_free":
        wrong, expected = {function.parameters[-1].name: None}, Status.INVALID_ARGUMENT
    batch = a_batch(name)
    assert w.call(name, error=None, batch=batch, **wrong).status == expected
    assert is_consumed(batch)


@pytest.mark.parametrize("kind", ["bucket", "cursor"])
def test_closing_twice_is_an_error(w: World, kind: str) -> None:
    handle = w.open(w.directory / "another") if kind == "bucket" else w.read()
    close = f"persisting_{kind}_close"
    assert w.call(close, **{kind: handle}).status == Status.OK
    for _ in range(3):
        assert w.call(close, **{kind: handle}).status == Status.INVALID_HANDLE


@pytest.mark.parametrize("kind", ["bucket", "cursor"])
def test_of_many_that_close_at_once_one_succeeds(w: World, kind: str) -> None:
    for i in range(5):
        handle = w.open(w.directory / f"bucket {i}") if kind == "bucket" else w.read()
        close = getattr(library(), f"persisting_{kind}_close")
        found = at_once(8, lambda handle=handle, close=close: close(handle, None))  # type: ignore[misc]
        assert sorted(found) == [Status.OK] + [Status.INVALID_HANDLE] * 7


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("count", -1, "tensors.count is -1"),
        ("names", None, "tensors.names is NULL"),
        ("dims", None, "tensors.dims is NULL"),
        ("dtypes", b"F32\n", "tensor 1: dtype_numbers is 1, want 0 to 0"),
        ("dtype_numbers", (ctypes.c_int32 * 2)(-1, 0), "dtype_numbers is -1"),
        ("name_sizes", (ctypes.c_int32 * 2)(3, -3), "name_sizes is -3"),
        ("ranks", (ctypes.c_int32 * 2)(-1, 2), "ranks -1"),
        ("ties", (ctypes.c_int32 * 2)(0, -5), "ties -5"),
        ("lengths", (ctypes.c_int64 * 2)(-7, 1), "-7 bytes"),
        ("addresses", (ctypes.c_uint64 * 2)(), "address 0x0"),
        ("dims", (ctypes.c_int64 * 3)(3, 2, 8), '"one": 16 bytes'),
    ],
)
def test_columns_of_tensors_that_are_wrong(w: World, column: str, value: Any, says: str) -> None:
    wrong = tensors(**{column: value})
    found = w.call("persisting_params_save", tensors=ctypes.byref(wrong))
    assert found.status == Status.INVALID_ARGUMENT
    assert says in found.message
    assert found.untouched


def at_once(count: int, call: Callable[[], Any]) -> list[Any]:
    """Call from many threads at the same time and return what they got."""
    barrier, found = threading.Barrier(count), list[Any]()

    def body() -> None:
        barrier.wait()
        found.append(call())

    threads = [threading.Thread(target=body) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return found


# ---- values that are out of range ----


@pytest.mark.parametrize(
    ("name", "changes", "status", "says"),
    [
        ("bucket_open", {"path": b""}, Status.INVALID_ARGUMENT, "path"),
        ("bucket_open", {"options": b"{"}, Status.INVALID_ARGUMENT, "JSON"),
        ("bucket_open", {"options": b"[]"}, Status.INVALID_ARGUMENT, "JSON"),
        ("bucket_open", {"options": b'{"x%s%n": 1}'}, Status.INVALID_ARGUMENT, "x%s%n"),
        ("bucket_open", {"path": b"/dev/null/x"}, Status.STORAGE, "/dev/null"),
        ("server_start", {"server_options": b"{"}, Status.INVALID_ARGUMENT, "options"),
        ("server_start", {"server_options": b'{"addr": "::"}'}, Status.INVALID_ARGUMENT, "remote"),
        ("log_levels", {"levels": b'{"levels": {"x": 1}}'}, Status.INVALID_ARGUMENT, '"x"'),
        ("log_levels", {"levels": b'{"level": 1}'}, Status.INVALID_ARGUMENT, "level"),
        ("bucket_append", {"flags": 2}, Status.INVALID_ARGUMENT, "0x2"),
        ("bucket_append_message", {"size": 1 << 31}, Status.INVALID_ARGUMENT, "size 2147483648"),
        ("bucket_wait", {"rows": ROWS + 1, "timeout_ns": 0}, Status.TIMEOUT, ""),
        ("bucket_wait", {"rows": ROWS + 1, "timeout_ns": 10**6}, Status.TIMEOUT, ""),
        ("bucket_read", {"offset": -1}, Status.INVALID_ARGUMENT, "-1"),
        ("bucket_read", {"count": -2}, Status.INVALID_ARGUMENT, "-2"),
        ("bucket_read", {"flags": 0x80000001}, Status.INVALID_ARGUMENT, "0x80000000"),
        ("bucket_take", {"count": -1}, Status.INVALID_ARGUMENT, "-1"),
        ("bucket_drop_column", {"name": b"%s"}, Status.SCHEMA, "%s"),
        ("bucket_compute_column", {"expression": b"n +"}, Status.INVALID_ARGUMENT, "n +"),
        ("bucket_delete", {"filter": b"nope = 1"}, Status.INVALID_ARGUMENT, "nope"),
        ("bucket_truncate_before", {"offset": -1}, Status.NOT_FOUND, "-1"),
        ("bucket_truncate_before", {"offset": ROWS + 1}, Status.NOT_FOUND, str(ROWS + 1)),
        ("bucket_first_from", {"offset": -1}, Status.NOT_FOUND, "-1"),
        ("bucket_commit", {"offset": ROWS + 1}, Status.NOT_FOUND, str(ROWS + 1)),
        ("bucket_commit", {"consumer": b""}, Status.INVALID_ARGUMENT, "name"),
        ("bucket_mark", {"task": b""}, Status.INVALID_ARGUMENT, "task"),
        ("bucket_mark", {"count": -1}, Status.INVALID_ARGUMENT, "-1"),
        ("bucket_take_ready", {"columns_json": b"{"}, Status.INVALID_ARGUMENT, "columns_json"),
        ("bucket_take_ready", {"limit": -1}, Status.INVALID_ARGUMENT, "-1"),
        ("bucket_ready", {"size": -1}, Status.INVALID_ARGUMENT, "-1"),
        ("bucket_clear", {"count": -1}, Status.INVALID_ARGUMENT, "-1"),
        ("bucket_tag", {"name": b"a/b"}, Status.INVALID_ARGUMENT, "a/b"),
        ("bucket_tag", {"version": 99}, Status.NOT_FOUND, "99"),
        ("bucket_untag", {"name": b"nope"}, Status.NOT_FOUND, "nope"),
        ("bucket_restore", {"version": 99}, Status.NOT_FOUND, "99"),
        ("view_open", {"version": 0}, Status.NOT_FOUND, "0"),
        ("view_read", {"count": -1}, Status.INVALID_ARGUMENT, "-1"),
        ("view_read", {"flags": 1}, Status.INVALID_ARGUMENT, "0x1"),
        ("bucket_take", {"flags": 4}, Status.INVALID_ARGUMENT, "0x4"),
        ("bucket_take", {"offsets": (ctypes.c_int64 * 2)(0, ROWS)}, Status.NOT_FOUND, str(ROWS)),
        ("bucket_take", {"offsets": (ctypes.c_int64 * 2)(-1, 0)}, Status.NOT_FOUND, "-1"),
        ("directory_verify", {"directory": b""}, Status.INVALID_ARGUMENT, "directory"),
        ("directory_verify", {"flags": 4}, Status.INVALID_ARGUMENT, "0x4"),
        ("directory_verify", {"directory": b"/dev"}, Status.NOT_FOUND, "/dev"),
        ("directory_inspect", {"directory": b"/no/bucket"}, Status.NOT_FOUND, "/no/bucket"),
        ("directory_repair", {"flags": 2}, Status.INVALID_ARGUMENT, "0x2"),
        ("directory_repair", {"directory": b"/no/%s%n"}, Status.NOT_FOUND, "/no/%s%n"),
        ("bucket_open_read_only", {"directory": b"/no/%s%n"}, Status.NOT_FOUND, "/no/%s%n"),
        ("bucket_open_read_only", {"directory": b""}, Status.INVALID_ARGUMENT, "empty"),
        ("bucket_renew", {"flags": 8}, Status.INVALID_ARGUMENT, "0x8"),
        ("kv_open", {"path": b""}, Status.INVALID_ARGUMENT, "path"),
        ("kv_open", {"path": b"/dev/null/x"}, Status.STORAGE, "/dev/null"),
        ("kv_open", {"kv_options": b"{"}, Status.INVALID_ARGUMENT, "JSON"),
        ("kv_open", {"kv_options": b'{"x%s%n": 1}'}, Status.INVALID_ARGUMENT, "x%s%n"),
        ("kv_open", {"kv_options": b'{"capacity": 1}'}, Status.INVALID_ARGUMENT, "capacity"),
        ("kv_exists", {"space": 7}, Status.INVALID_ARGUMENT, "7"),
        ("kv_exists", {"count": -1}, Status.INVALID_ARGUMENT, "-1"),
        ("kv_exists", {"lease_ms": -1}, Status.INVALID_ARGUMENT, "lease_ms"),
        ("kv_exists", {"key_sizes": (ctypes.c_int32 * 2)(3, -3)}, Status.INVALID_ARGUMENT, "-3"),
        ("kv_find", {"size": -1}, Status.INVALID_ARGUMENT, "-1"),
        ("kv_prefix", {"count": 1 << 40}, Status.INVALID_ARGUMENT, str(1 << 40)),
        ("kv_load", {"pieces": (ctypes.c_int32 * 2)(1, -1)}, Status.INVALID_ARGUMENT, "pieces"),
        ("kv_load", {"addresses": (ctypes.c_uint64 * 2)()}, Status.INVALID_ARGUMENT, "address"),
        ("kv_store", {"lengths": (ctypes.c_int64 * 2)(-1, 1)}, Status.INVALID_ARGUMENT, "-1"),
        ("kv_store", {"ttl_ms": -5}, Status.INVALID_ARGUMENT, "ttl_ms"),
        ("kv_submit_store", {"space": 9}, Status.INVALID_ARGUMENT, "9"),
        ("kv_drain", {"count": -2}, Status.INVALID_ARGUMENT, "-2"),
        ("kv_keys", {"cursor_json": b"["}, Status.INVALID_ARGUMENT, "cursor_json"),
        ("kv_open", {"kv_options": b'{"read_only": true}'}, Status.NOT_FOUND, "no store"),
        ("kv_locate", {"lease_ms": -1}, Status.INVALID_ARGUMENT, "lease_ms"),
        ("kv_evict", {"bytes": 1}, Status.INVALID_ARGUMENT, "at least"),
        ("kv_connect", {"address": b"/tmp"}, Status.INVALID_ARGUMENT, "unix:PATH"),
        (
            "kv_connect",
            {"connect_options": b'{"x": 1}'},
            Status.INVALID_ARGUMENT,
            "connect_options",
        ),
        ("kv_connect", {"connect_options": b'{"workers": -1}'}, Status.INVALID_ARGUMENT, "-1"),
        ("kv_connect", {"connect_options": b'{"required": true}'}, Status.STORAGE, "/nobody/there"),
        ("kv_serve", {"serve_options": b"{}"}, Status.INVALID_ARGUMENT, "socket"),
        ("kv_serve", {"serve_options": b'{"listen": ":1"}'}, Status.INVALID_ARGUMENT, "remote"),
        ("kv_serve", {"serve_options": b'{"socket": "/dev/null"}'}, Status.STORAGE, "/dev/null"),
        ("kv_set_quota", {"bytes": -3}, Status.INVALID_ARGUMENT, "-3"),
        ("params_open", {"path": b""}, Status.INVALID_ARGUMENT, "path"),
        ("params_open", {"path": b"/dev/null/x"}, Status.STORAGE, "/dev/null"),
        ("params_open", {"flags": 1}, Status.INVALID_ARGUMENT, "0x1"),
        ("params_open", {"flags": 64}, Status.NOT_FOUND, "another"),
        ("params_save", {"name": b""}, Status.INVALID_ARGUMENT, "name"),
        ("params_save", {"save_options": b"{"}, Status.INVALID_ARGUMENT, "save_options"),
        ("params_save", {"save_options": b'{"x": 1}'}, Status.INVALID_ARGUMENT, '"x"'),
        ("params_save", {"save_options": b'{"metadata": 1}'}, Status.INVALID_ARGUMENT, "metadata"),
        ("params_save", {"save_options": b'{"expect": 9}'}, Status.CONFLICT, "9"),
        ("params_wait", {"name": b""}, Status.INVALID_ARGUMENT, "name"),
        ("params_wait", {"above": -1}, Status.INVALID_ARGUMENT, "-1"),
        ("params_wait", {"timeout_ms": -1}, Status.INVALID_ARGUMENT, "-1"),
        ("params_begin", {"name": b""}, Status.INVALID_ARGUMENT, "name"),
        ("params_begin", {"ranks": 0}, Status.INVALID_ARGUMENT, "0"),
        ("params_begin", {"base": b"9"}, Status.NOT_FOUND, "9"),
        ("params_part", {"transaction": b"x"}, Status.INVALID_ARGUMENT, '"x"'),
        ("params_part", {"transaction": b"0" * 32}, Status.NOT_FOUND, "0000"),
        ("params_part", {"rank": 1}, Status.INVALID_ARGUMENT, "want 0 to 0"),
        ("params_part", {"rank": -1}, Status.INVALID_ARGUMENT, "-1"),
        (
            "params_part",
            {"offsets": (ctypes.c_int64 * 3)(1, 0, 0)},
            Status.INVALID_ARGUMENT,
            "not within shape",
        ),
        (
            "params_part",
            {"wholes": (ctypes.c_int64 * 3)(4, 2, 7)},
            Status.INVALID_ARGUMENT,
            "not within shape [2 7]",
        ),
        ("params_commit", {"save_options": b'{"x": 1}'}, Status.INVALID_ARGUMENT, '"x"'),
        ("params_commit", {"save_options": b'{"base": "1"}'}, Status.INVALID_ARGUMENT, "begin"),
        ("params_commit", {"save_options": b'{"expect": 9}'}, Status.CONFLICT, "9"),
        ("params_abort", {"transaction": b"0" * 32}, Status.NOT_FOUND, "0000"),
        ("params_get", {"name": b"nope"}, Status.NOT_FOUND, "nope"),
        ("params_set_tag", {"expect": -2}, Status.INVALID_ARGUMENT, "-2"),
        ("params_set_tag", {"expect": 7}, Status.CONFLICT, "7"),
        ("params_set_tag", {"tag": b"7"}, Status.INVALID_ARGUMENT, "7"),
        ("params_set_tag", {"version": b"%s"}, Status.NOT_FOUND, "%s"),
        ("params_delete_tag", {"tag": b"nope"}, Status.NOT_FOUND, "nope"),
        ("params_delete", {"versions": (ctypes.c_int64 * 2)(1, -4)}, Status.INVALID_ARGUMENT, "-4"),
        ("params_delete", {"versions": (ctypes.c_int64 * 2)(1, 3)}, Status.CONFLICT, "3"),
        ("params_delete", {"count": -1}, Status.INVALID_ARGUMENT, "-1"),
        ("weights_open", {"version": b"9"}, Status.NOT_FOUND, "9"),
        ("weights_load", {"flags": 1}, Status.INVALID_ARGUMENT, "0x1"),
        ("weights_load", {"count": -1}, Status.INVALID_ARGUMENT, "-1"),
        ("weights_load", {"numbers": (ctypes.c_int64 * 2)(0, 2)}, Status.INVALID_ARGUMENT, "2"),
        ("weights_load", {"numbers": (ctypes.c_int64 * 2)(-1)}, Status.INVALID_ARGUMENT, "-1"),
        ("weights_load", {"byte_offsets": (ctypes.c_int64 * 2)(1)}, Status.INVALID_ARGUMENT, "one"),
        ("weights_load", {"addresses": (ctypes.c_uint64 * 2)()}, Status.INVALID_ARGUMENT, "0x0"),
        ("weights_find", {"names_json": b'{"a": 1}'}, Status.INVALID_ARGUMENT, "names_json"),
        ("weights_load_rows", {"flags": 1}, Status.INVALID_ARGUMENT, "0x1"),
        ("weights_load_rows", {"count": -1}, Status.INVALID_ARGUMENT, "-1"),
        (
            "weights_load_rows",
            {"row_counts": (ctypes.c_int64 * 2)(1, -3)},
            Status.INVALID_ARGUMENT,
            "-3",
        ),
        (
            "weights_load_rows",
            {"row_counts": (ctypes.c_int64 * 2)(1 << 60, 1)},
            Status.INVALID_ARGUMENT,
            "many",
        ),
        (
            "weights_load_rows",
            {"lengths": (ctypes.c_int64 * 2)(8, 8), "row_counts": (ctypes.c_int64 * 2)(2, 2)},
            Status.INVALID_ARGUMENT,
            "has 16 bytes, not 24",
        ),
        (
            "weights_load_rows",
            {"addresses": (ctypes.c_uint64 * 2)()},
            Status.INVALID_ARGUMENT,
            "0x0",
        ),
        ("weights_push", {"name": b""}, Status.INVALID_ARGUMENT, "name"),
        ("weights_push", {"params": 5}, Status.INVALID_HANDLE, "params"),
        ("weights_push", {"save_options": b'{"base": "1"}'}, Status.INVALID_ARGUMENT, '"1"'),
        ("weights_push", {"save_options": b'{"expect": 9}', "name": b"new"}, Status.CONFLICT, "9"),
        ("weights_pull", {"flags": 1}, Status.INVALID_ARGUMENT, "0x1"),
        ("weights_pull", {"count": -1}, Status.INVALID_ARGUMENT, "-1"),
        ("weights_pull", {"numbers": (ctypes.c_int64 * 2)(0, 2)}, Status.INVALID_ARGUMENT, "2"),
        ("weights_pull", {"lengths": (ctypes.c_int64 * 2)(16)}, Status.INVALID_ARGUMENT, "whole"),
        ("weights_pull", {"addresses": (ctypes.c_uint64 * 2)()}, Status.INVALID_ARGUMENT, "0x0"),
        ("weights_pull", {"other": 5}, Status.INVALID_HANDLE, "weights"),
        ("weights_diff", {"other": 5}, Status.INVALID_HANDLE, "weights"),
        ("trajectories_open", {"path": b""}, Status.INVALID_ARGUMENT, "path"),
        ("trajectories_open", {"path": b"/dev/null/x"}, Status.STORAGE, "/dev/null"),
        ("trajectories_open", {"flags": 1}, Status.INVALID_ARGUMENT, "0x1"),
        ("trajectories_open", {"flags": 64}, Status.NOT_FOUND, "another"),
        ("trajectories_open", {"trajectory_options": b"{"}, Status.INVALID_ARGUMENT, "options"),
        (
            "trajectories_open",
            {"trajectory_options": b'{"wal_sync_interval": -1}'},
            Status.INVALID_ARGUMENT,
            "wal_sync_interval is -1",
        ),
        ("trajectories_begin", {"episode": b'{"x": 1}'}, Status.INVALID_ARGUMENT, '"x"'),
        ("trajectories_begin", {"episode": b"{}"}, Status.INVALID_ARGUMENT, "id"),
        ("trajectories_sheet", {"rows": 0}, Status.INVALID_ARGUMENT, "0 rows"),
        ("trajectories_sheet", {"heap": -1}, Status.INVALID_ARGUMENT, "-1 bytes"),
        ("trajectories_lease", {"count": 0}, Status.INVALID_ARGUMENT, "no offsets"),
        (
            "trajectories_lease",
            {"offsets": (ctypes.c_int64 * 2)(1, 3)},
            Status.NOT_FOUND,
            "offset 3",
        ),
        ("trajectories_ack", {"number": 1}, Status.NOT_FOUND, "batch 1"),
        ("trajectories_ack", {"number": -1}, Status.NOT_FOUND, "batch -1"),
        ("trajectories_tag", {"tag": b""}, Status.INVALID_ARGUMENT, "empty"),
        ("trajectories_restore", {"tag": b"%s"}, Status.NOT_FOUND, "%s"),
        ("trajectories_untag", {"tag": b"%s"}, Status.NOT_FOUND, "%s"),
        ("trajectories_append", {"number": -1}, Status.INVALID_ARGUMENT, "-1"),
        ("trajectories_append", {"number": 9}, Status.NOT_FOUND, "9"),
        ("trajectories_append", {"flags": 1}, Status.INVALID_ARGUMENT, "0x1"),
        ("trajectories_append", {"step": 4}, Status.CONFLICT, "gap"),
        ("trajectories_append", {"step": 1}, Status.DUPLICATE, "step 1"),
        ("trajectories_append", {"step": -1}, Status.INVALID_ARGUMENT, "-1"),
        ("trajectories_append", {"flags": 256}, Status.INVALID_ARGUMENT, "one last observation"),
        ("trajectories_finish", {"ending": b'{"steps": 2}'}, Status.CONFLICT, "3 steps"),
        ("trajectories_finish", {"ending": b'{"metadata": 1}'}, Status.INVALID_ARGUMENT, "object"),
        ("trajectories_close_lost", {"idle_ms": -1}, Status.INVALID_ARGUMENT, "idle_ms"),
        ("trajectories_remove", {"ids": b'["one", "%s"]'}, Status.NOT_FOUND, "%s"),
        ("trajectories_remove", {"ids": b'"one"'}, Status.INVALID_ARGUMENT, "ids"),
        ("trajectories_describe", {"id": b"%s"}, Status.NOT_FOUND, "%s"),
        ("trajectories_read", {"number": 2}, Status.NOT_FOUND, "2"),
        ("trajectories_take", {"count": -1}, Status.INVALID_ARGUMENT, "-1"),
        ("trajectories_steps", {"query": b"{"}, Status.INVALID_ARGUMENT, "query"),
        ("trajectories_steps", {"query": b'{"filter": "x > 0"}'}, Status.INVALID_ARGUMENT, "x"),
        (
            "trajectories_open",
            {"trajectory_options": b'{"hot_bytes": -1}'},
            Status.INVALID_ARGUMENT,
            "hot_bytes is -1",
        ),
        (
            "trajectories_prioritize",
            {"priorities": (ctypes.c_double * 2)(1, -1)},
            Status.INVALID_ARGUMENT,
            "priority -1",
        ),
        (
            "trajectories_prioritize",
            {"offsets": (ctypes.c_int64 * 2)(0, 99)},
            Status.NOT_FOUND,
            "99",
        ),
        (
            "trajectories_priorities",
            {"offsets": (ctypes.c_int64 * 2)(0, -7)},
            Status.NOT_FOUND,
            "-7",
        ),
        ("sampler_open", {"law": b'{"x": 1}'}, Status.INVALID_ARGUMENT, '"x"'),
        ("sampler_open", {"law": b"{}"}, Status.INVALID_ARGUMENT, "order"),
        (
            "sampler_open",
            {"law": b'{"order": "fifo", "length": 1, "stride": 1, "times": 300}'},
            Status.INVALID_ARGUMENT,
            "times 300",
        ),
        (
            "sampler_open",
            {"law": b'{"order": "fifo", "length": 1, "stride": 1, "where": "nope > 1"}'},
            Status.INVALID_ARGUMENT,
            "nope",
        ),
        ("sampler_wait_for_room", {"count": 0}, Status.INVALID_ARGUMENT, "steps is 0"),
        ("sampler_sample", {"draws": 0}, Status.INVALID_ARGUMENT, "draws is 0"),
        ("sampler_sample", {"oldest": -2}, Status.INVALID_ARGUMENT, "min_version is -2"),
        ("sampler_sample", {"oldest": 1}, Status.NOT_FOUND, "so new a version"),
        ("sampler_sample", {"parts": 7}, Status.INVALID_ARGUMENT, "7 addresses, want 8"),
        ("sampler_sample", {"into": (ctypes.c_int64 * 8)()}, Status.INVALID_ARGUMENT, "NULL"),
        (
            "trajectories_are_episodes",
            {"numbers": (ctypes.c_int64 * 2)(0, 7)},
            Status.NOT_FOUND,
            "7",
        ),
    ],
)
def test_a_wrong_value_is_refused(
    w: World, name: str, changes: dict[str, Any], status: Status, says: str
) -> None:
    batch = a_batch(f"persisting_{name}")
    found = w.call(f"persisting_{name}", batch=batch, **changes)
    assert found.status == status
    assert says in found.message
    assert found.untouched
    assert is_consumed(batch)
    assert w.call("persisting_bucket_acknowledged").number("out_rows") == ROWS


@pytest.mark.parametrize(
    ("offset", "count", "numbers"),
    [
        (0, 2**63 - 1, [0, 1, 2]),
        (1, 1, [1]),
        (2, 5, [2]),
        (3, 5, []),
        (2**63 - 1, 2**63 - 1, []),
        (0, 0, []),
    ],
)
def test_a_read_is_cut_to_the_rows_that_exist(
    w: World, offset: int, count: int, numbers: list[int]
) -> None:
    found = w.call("persisting_bucket_read", offset=offset, count=count)
    cursor = found.number("out_cursor")
    batches = w.drain(cursor)
    assert not isinstance(batches, Status)
    assert [n for batch in batches for n in batch["n"].to_pylist()] == numbers
    assert w.drain(cursor) == []
    assert w.call("persisting_cursor_close", cursor=cursor).status == Status.OK


# ---- what append is given ----

BATCHES: dict[str, tuple[Callable[[], pa.RecordBatch], Status]] = {
    "another type": (lambda: pa.RecordBatch.from_pydict({"n": ["text"]}), Status.SCHEMA),
    "a type that would lose values": (
        lambda: pa.RecordBatch.from_pydict({"n": pa.array([1], pa.int8())}),
        Status.SCHEMA,
    ),
    "the same column twice": (
        lambda: pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], ["n", "n"]),
        Status.SCHEMA,
    ),
}


@pytest.mark.parametrize("case", BATCHES)
def test_a_batch_that_does_not_fit_is_refused_and_consumed(w: World, case: str) -> None:
    make, status = BATCHES[case]
    batch = Exported(make())
    found = w.call("persisting_bucket_append", batch=batch)
    assert found.status == status
    assert found.untouched
    assert is_consumed(batch)
    assert w.append(rows(2, ROWS)) == Status.OK
    assert w.call("persisting_bucket_acknowledged").number("out_rows") == ROWS + 2


@pytest.mark.parametrize("part", ["array", "schema"])
def test_a_released_struct_is_refused(w: World, part: str) -> None:
    batch = Exported()
    getattr(batch, part).release(ctypes.byref(getattr(batch, part)))
    found = w.call("persisting_bucket_append", batch=batch)
    assert found.status == Status.INVALID_ARGUMENT
    assert "released" in found.message
    assert found.untouched
    assert is_consumed(batch)


def test_an_array_that_is_no_struct_is_refused(w: World) -> None:
    batch = Exported()
    array, schema = pa.array([1, 2]), pa.field("n", pa.int64())
    batch.drop()
    array._export_to_c(ctypes.addressof(batch.array), ctypes.addressof(batch.schema))
    del schema
    found = w.call("persisting_bucket_append", batch=batch)
    assert found.status == Status.INVALID_ARGUMENT
    assert found.untouched
    assert batch.consumed


def test_a_batch_without_rows_is_acknowledged(w: World) -> None:
    batch = Exported(rows(0))
    found = w.call("persisting_bucket_append", batch=batch)
    assert found.status == Status.OK
    assert found.number("out_first") == found.number("out_acknowledged") == ROWS
    assert is_consumed(batch)


def test_rows_without_columns_need_a_bucket_that_has_some(w: World) -> None:
    bare = pa.RecordBatch.from_struct_array(pa.array([{}, {}], pa.struct([])))
    empty = w.open(w.directory / "empty")
    batch = Exported(bare)
    found = w.call("persisting_bucket_append", bucket=empty, batch=batch)
    assert found.status == Status.SCHEMA
    assert found.untouched
    assert is_consumed(batch)
    assert w.call("persisting_bucket_close", bucket=empty).status == Status.OK
    assert w.append(bare) == Status.OK
    assert w.call("persisting_bucket_acknowledged").number("out_rows") == ROWS + 2


def test_what_would_wait_is_refused_and_consumed(w: World) -> None:
    wider = pa.RecordBatch.from_pydict({"n": [0.5]})
    batch = Exported(wider)
    found = w.call("persisting_bucket_append", batch=batch, flags=1)
    assert found.status == Status.WOULD_BLOCK
    assert found.untouched
    assert is_consumed(batch)
    assert w.append(wider) == Status.OK


def test_a_check_stores_nothing(w: World) -> None:
    checked = 32
    unfit = pa.RecordBatch.from_pydict({"n": ["text"]})
    latin = pa.array([b"\xe9"]).cast(pa.string(), safe=False)
    for part, status in (
        (rows(1, ROWS), Status.OK),
        (unfit, Status.SCHEMA),
        (pa.RecordBatch.from_pydict({"latin": latin}), Status.SCHEMA),
    ):
        batch = Exported(part)
        found = w.call("persisting_bucket_check", batch=batch)
        assert found.status == status
        assert found.untouched
        assert is_consumed(batch)
    assert w.call("persisting_bucket_acknowledged").number("out_rows") == ROWS
    found = w.call("persisting_bucket_append", batch=Exported(rows(1, ROWS)), flags=checked)
    assert found.number("out_first") == ROWS
    found = w.call("persisting_bucket_append", batch=Exported(unfit), flags=checked)
    assert found.status == Status.SCHEMA


def test_a_batch_is_released_when_the_bucket_needs_it_no_more(w: World) -> None:
    batch = Exported(rows(1, ROWS))
    assert w.call("persisting_bucket_append", batch=batch).status == Status.OK
    assert batch.consumed
    assert batch.releases["array"] == 0, "the rows are in memory still"
    assert w.call("persisting_cursor_close", cursor=w.cursor).status == Status.OK
    assert w.call("persisting_bucket_close").status == Status.OK
    assert eventually(lambda: batch.released)


def test_arrays_that_contradict_themselves_do_not_end_the_process(tmp_path: Path) -> None:
    done = run(command("broken_arrays", tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("survived\n"), done.stdout


def test_a_panic_is_returned_as_internal_and_ends_no_more_than_its_bucket(tmp_path: Path) -> None:
    done = run(command("panic", tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "survived\n"


# ---- handles in use ----


def test_closing_wakes_those_who_wait(w: World) -> None:
    """A waiter gets CLOSED; one that comes late does not find the handle."""
    seen: set[int] = set()
    for i in range(50):
        bucket = w.open(w.directory / f"bucket {i}")
        calls = threading.Barrier(5)
        found: list[int] = []

        def wait(bucket: int = bucket, calls: Any = calls, found: list[int] = found) -> None:
            calls.wait()
            found.append(library().persisting_bucket_wait(bucket, 1, -1, None))

        threads = [threading.Thread(target=wait) for _ in range(4)]
        for thread in threads:
            thread.start()
        calls.wait()
        time.sleep(i / 1000)  # the busier the machine, the longer they take to get there
        assert library().persisting_bucket_close(bucket, None) == Status.OK
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        assert len(found) == 4
        assert set(found) <= {Status.CLOSED, Status.INVALID_HANDLE}
        seen |= set(found)
        if Status.CLOSED in seen:
            return
    pytest.fail("nobody was inside when the bucket was closed")


@pytest.mark.parametrize("flushed", [False, True])
def test_a_bucket_may_be_closed_while_others_read_and_write(w: World, flushed: bool) -> None:
    bucket = w.open(w.directory / "busy")
    for i in range(4):
        assert w.append(rows(1000, 1000 * i), bucket=bucket) == Status.OK
    if flushed:
        assert w.call("persisting_bucket_flush", bucket=bucket).status == Status.OK
    rounds = threading.Semaphore(0)
    ends: list[Status] = []

    def read() -> None:
        while True:
            found = w.call("persisting_bucket_read", bucket=bucket, count=2**40)
            if found.status:
                ends.append(found.status)
                return
            cursor = found.number("out_cursor")
            batches = w.drain(cursor)
            assert not isinstance(batches, Status)
            assert [n for b in batches for n in b["n"].to_pylist()][:4000] == [*range(4000)]
            assert library().persisting_cursor_close(cursor, None) == Status.OK
            rounds.release()

    def write() -> None:
        while True:
            found = w.call("persisting_bucket_append", bucket=bucket, batch=Exported(rows(1)))
            if found.status:
                ends.append(found.status)
                return
            rounds.release()

    threads = [threading.Thread(target=body) for body in (read, read, write)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        assert rounds.acquire(timeout=60)
    assert library().persisting_bucket_close(bucket, None) == Status.OK
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert len(ends) == 3
    assert set(ends) <= {Status.CLOSED, Status.INVALID_HANDLE}


def test_a_cursor_outlives_its_bucket(w: World) -> None:
    bucket = w.open(w.directory / "short-lived", b'{"cache_bytes": 0, "flush_interval": 0}')
    for i in range(5):
        assert w.append(rows(30_000, 30_000 * i), bucket=bucket) == Status.OK
    assert w.call("persisting_bucket_flush", bucket=bucket).status == Status.OK
    assert w.append(rows(10, 150_000), bucket=bucket) == Status.OK
    cursor = w.read(bucket=bucket)
    assert w.call("persisting_bucket_close", bucket=bucket).status == Status.OK
    batches = w.drain(cursor)
    assert not isinstance(batches, Status)
    assert [n for batch in batches for n in batch["n"].to_pylist()] == [*range(150_010)]
    assert w.call("persisting_cursor_close", cursor=cursor).status == Status.OK


def test_callers_of_next_take_turns(w: World) -> None:
    bucket = w.open(w.directory / "many batches")
    for i in range(200):
        assert w.append(rows(300, 300 * i), bucket=bucket) == Status.OK
    cursor = w.read(bucket=bucket)
    parts = at_once(4, lambda: w.drain(cursor))
    numbers = sorted(n for part in parts for batch in part for n in batch["n"].to_pylist())
    assert numbers == [*range(60_000)]
    for handle, kind in ((cursor, "cursor"), (bucket, "bucket")):
        assert w.call(f"persisting_{kind}_close", **{kind: handle}).status == Status.OK


def test_a_cursor_may_be_closed_while_others_use_it(w: World) -> None:
    for _ in range(20):
        cursor = w.read()
        started = threading.Event()
        ends: list[Any] = []

        def use(cursor: int = cursor, started: Any = started, ends: list[Any] = ends) -> None:
            while True:
                found = w.drain(cursor)
                started.set()
                if isinstance(found, Status):
                    ends.append(found)
                    return

        thread = threading.Thread(target=use)
        thread.start()
        assert started.wait(60)
        assert library().persisting_cursor_close(cursor, None) == Status.OK
        thread.join(60)
        assert ends in ([Status.INVALID_HANDLE], [Status.CLOSED])
