"""Look at a store of parameters, tag its versions, bring them in and out.

    persisting params ls ./store
    persisting params show ./store org/model latest
    persisting params diff ./store org/model 3 4
    persisting params tag ./store org/model prod 4 --expect 3
    persisting params import ./store org/model ./hf-directory
    persisting params export ./store org/model ./new-directory
    persisting params push ./store org/model /mnt/other-store prod --tag prod
    persisting params verify ./store
    persisting params prune ./store org/model 10 --every 100
    persisting params gc ./store

The store may be in use. A version is a number, a tag, or "latest". What ends in .safetensors
is a file; all else is a directory as Hugging Face has them. docs/params.md has more.

Status: 0, 1 where verify found damage, 2 when it failed.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persisting._cli._buckets import count, size
from persisting._cli._output import printable
from persisting._cli._streams import utf8
from persisting.params import ParameterStore

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

DAMAGED = 1

_FILE = ".safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = "|".join(_ACTIONS)
    commands = parser.add_subparsers(required=True, metavar=actions, dest="action")

    def command(action: str, text: str, *names: str) -> argparse.ArgumentParser:
        own = commands.add_parser(action, help=text)
        own.add_argument("path", type=Path, metavar="PATH", help="directory of the store")
        for name in names:
            own.add_argument(name, type=utf8, metavar=name.upper())
        return own

    def version(own: argparse.ArgumentParser) -> None:
        own.add_argument("version", type=utf8, metavar="VERSION", nargs="?", default="latest")

    def as_json(own: argparse.ArgumentParser) -> None:
        own.add_argument("--json", action="store_true", help="a line of JSON for each result")

    listing = command("ls", "list the names, or the versions of one")
    listing.add_argument("name", type=utf8, metavar="NAME", nargs="?")
    as_json(listing)
    show = command("show", "show the tensors of a version", "name")
    version(show)
    as_json(show)
    diff = command("diff", "compare two versions", "name", "before")
    version(diff)
    as_json(diff)
    tag = command("tag", "have a tag name a version", "name", "tag")
    version(tag)
    tag.add_argument("--expect", type=int, help="fail unless it names this one now; 0 for none")
    tag.add_argument("--delete", action="store_true", help="remove the tag instead")
    for action, text in (("export", "write a version to a new"), ("import", "save a")):
        own = command(action, f"{text} file or directory", "name")
        own.add_argument("where", type=Path, metavar="WHERE")
        if action == "export":
            version(own)
        else:
            own.add_argument("--tag", type=utf8, action="append", default=[], help="tag of it")
    push = command("push", "bring a version to another store", "name")
    push.add_argument("to", type=Path, metavar="TO", help="directory of the other store")
    version(push)
    push.add_argument("--tag", type=utf8, action="append", default=[], help="tag of it there")
    push.add_argument("--as", type=utf8, metavar="NAME", dest="other", help="its name there")
    prune = command("prune", "remove old versions that no tag names", "name")
    prune.add_argument("newest", type=int, metavar="NEWEST", help="how many of the newest stay")
    prune.add_argument("--every", type=int, metavar="N", help="every N-th of the others stays")
    as_json(prune)
    verify = command("verify", "read and check all versions")
    verify.add_argument("name", type=utf8, metavar="NAME", nargs="?")
    as_json(verify)
    as_json(command("gc", "remove files that no version needs"))


def run(arguments: argparse.Namespace) -> int:
    """Do it and return the status."""
    with ParameterStore(arguments.path, read_only=arguments.action != "import") as store:
        return _ACTIONS[arguments.action](store, arguments)


def _print(arguments: argparse.Namespace, found: dict[str, Any], line: str) -> None:
    print(json.dumps(found) if arguments.json else line)


def _list(store: ParameterStore, arguments: argparse.Namespace) -> int:
    if arguments.name is None:
        for name in store.names():
            newest = store.versions(name)[-1]
            found = {"name": name, "latest": newest.version, "tags": store.tags(name)}
            line = f"{printable(name)}: version {newest.version}, {size(newest.nbytes)}"
            _print(arguments, found, line)
        return 0
    for info in store.versions(arguments.name):
        made = datetime.fromtimestamp(info.created).isoformat(" ", "seconds")
        tags = f" [{printable(', '.join(info.tags))}]" if info.tags else ""
        line = (
            f"{info.version}{tags}: {made}, {count(info.tensors, 'tensor')}, "
            f"{size(info.nbytes)}, {size(info.stored)} of them new"
        )
        _print(arguments, asdict(info), line)
    return 0


def _show(store: ParameterStore, arguments: argparse.Namespace) -> int:
    with store.open(arguments.name, arguments.version) as weights:
        if not arguments.json:
            print(f"version {weights.version}, metadata {json.dumps(weights.metadata)}")
        for name, info in weights.tensors.items():
            tie = f", tied ({info.tie})" if info.tie else ""
            shape = "x".join(map(str, info.shape)) or "scalar"
            line = f"{printable(name)}: {info.dtype} {shape}, {size(info.nbytes)}{tie}"
            _print(arguments, {"name": name, **asdict(info)}, line)
    return 0


def _diff(store: ParameterStore, arguments: argparse.Namespace) -> int:
    found = store.diff(arguments.name, arguments.before, arguments.version)
    if arguments.json:
        print(json.dumps(asdict(found)))
        return 0
    for sign, names in (("+", found.added), ("-", found.removed), ("*", found.changed)):
        for name in names:
            print(f"{sign} {printable(name)}")
    changed = f"{size(found.changed_nbytes)} of {size(found.nbytes)} differ"
    print(f"{count(found.same, 'tensor')} the same; {changed}")
    return 0


def _tag(store: ParameterStore, arguments: argparse.Namespace) -> int:
    if arguments.delete:
        store.delete_tag(arguments.name, arguments.tag, expect=arguments.expect)
        return 0
    version = store.set_tag(
        arguments.name, arguments.tag, arguments.version, expect=arguments.expect
    )
    print(f"{printable(arguments.tag)}: version {version}")
    return 0


def _export(store: ParameterStore, arguments: argparse.Namespace) -> int:
    is_file = arguments.where.suffix == _FILE
    export = store.export_safetensors if is_file else store.export_hf
    export(arguments.name, arguments.where, arguments.version)
    return 0


def _import(store: ParameterStore, arguments: argparse.Namespace) -> int:
    is_file = arguments.where.suffix == _FILE
    save = store.import_safetensors if is_file else store.import_hf
    info = save(arguments.name, arguments.where, tags=arguments.tag)
    print(f"version {info.version}: {size(info.nbytes)}, {size(info.stored)} of them new")
    return 0


def _push(store: ParameterStore, arguments: argparse.Namespace) -> int:
    info = store.push(
        arguments.name,
        arguments.to,
        arguments.version,
        other=arguments.other,
        tags=arguments.tag,
    )
    print(f"version {info.version}: {size(info.nbytes)}, {size(info.stored)} of them new")
    return 0


def _prune(store: ParameterStore, arguments: argparse.Namespace) -> int:
    removed = store.prune(arguments.name, arguments.newest, every=arguments.every)
    line = f"{count(len(removed), 'version')} removed; gc gives their space back"
    _print(arguments, {"removed": removed}, line)
    return 0


def _verify(store: ParameterStore, arguments: argparse.Namespace) -> int:
    faults = store.verify(arguments.name)
    for fault in faults:
        _print(arguments, {"fault": fault}, f"fault: {fault}")
    if not faults:
        _print(arguments, {"sound": True}, "sound")
    return DAMAGED if faults else 0


def _collect(store: ParameterStore, arguments: argparse.Namespace) -> int:
    found = store.gc()
    files = found["packs"] + found["manifests"] + found["staged"]
    kept = f"; {count(found['leased'], 'version')} open" if found["leased"] else ""
    _print(arguments, found, f"{count(files, 'file')} removed, {size(found['bytes'])}{kept}")
    return 0


_ACTIONS: dict[str, Callable[[ParameterStore, argparse.Namespace], int]] = {
    "ls": _list,
    "show": _show,
    "diff": _diff,
    "tag": _tag,
    "export": _export,
    "import": _import,
    "push": _push,
    "prune": _prune,
    "verify": _verify,
    "gc": _collect,
}
