"""Turn the rounds of a benchmark into tables: medians over the rounds, ratios within a round."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

HEADER = (
    *("figure", "side", "rate", "p50", "p99", "ours / side"),
    *("CPU s", "peak MB", "written / put"),
)


def figures(result: dict[str, Any]) -> list[str]:
    """Return the names of a benchmark's figures, in their order."""
    found: dict[str, None] = {}
    for round_ in result["rounds"]:
        for label in result["sides"]:
            for figure in round_.get(label, {"figures": ()})["figures"]:
                found[figure["name"]] = None
    return list(found)


def pick(round_: dict[str, Any], label: str, name: str) -> dict[str, Any] | None:
    """Return a figure of a side in one round, if it has that figure."""
    of_side = round_.get(label, {"figures": ()})["figures"]
    return next((figure for figure in of_side if figure["name"] == name), None)


def median(result: dict[str, Any], label: str, name: str, key: str) -> float | None:
    """Return the median over the rounds of one value of a figure."""
    found = [pick(round_, label, name) for round_ in result["rounds"]]
    values = [figure[key] for figure in found if figure and figure.get(key) is not None]
    return statistics.median(values) if values else None


def ratio(result: dict[str, Any], label: str, name: str) -> float | None:
    """Return the median over the rounds of our rate over that of a side."""
    ratios = []
    for round_ in result["rounds"]:
        ours, other = pick(round_, result["sides"][0], name), pick(round_, label, name)
        if ours is not None and other is not None:
            ratios.append(ours["rate"] / other["rate"])
    return statistics.median(ratios) if ratios else None


def unit(result: dict[str, Any], name: str) -> str:
    """Return what a figure counts."""
    found = (pick(round_, label, name) for round_ in result["rounds"] for label in round_)
    return next(str(figure["unit"]) for figure in found if figure is not None)


def summary(name: str, title: str, chosen: Sequence[tuple[dict[str, Any], str]]) -> dict[str, Any]:
    """Return a result that has single figures of others, with the setting of the first.

    Parameters
    ----------
    name, title
        Of the new result.
    chosen
        Results, which have the same side of ours first, and figures of them, at least one.
    """
    sides: dict[str, None] = {}
    for result, _ in chosen:
        sides |= dict.fromkeys(result["sides"])
    rounds: list[dict[str, Any]] = []
    for result, wanted in chosen:
        for at, round_ in enumerate(result["rounds"]):
            if at == len(rounds):
                rounds.append({})
            for label in round_:
                figure = pick(round_, label, wanted)
                if figure is not None:
                    side = rounds[at].setdefault(label, {"figures": [], "notes": {}})
                    side["figures"].append(figure | {"name": f"{result['name']}: {wanted}"})
    first = chosen[0][0]
    own = {"name": name, "title": title, "sides": list(sides), "ours": 1, "rounds": rounds}
    return first | own


def rows(result: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the table of a benchmark, row by row."""
    for name in figures(result):
        shown = name
        for label in result["sides"]:
            rate = median(result, label, name, "rate")
            if rate is None:
                continue
            against = None if label == result["sides"][0] else ratio(result, label, name)
            peak = median(result, label, name, "peak")
            written = median(result, label, name, "written")
            yield (
                shown,
                label,
                f"{number(rate)} {unit(result, name)}/s",
                duration(median(result, label, name, "p50")),
                duration(median(result, label, name, "p99")),
                "" if against is None else f"{against:.3g}",
                f"{median(result, label, name, 'cpu') or 0:.2f}",
                f"{(peak or 0) / 1e6:,.0f}",
                "" if written is None else f"{written:.3g}",
            )
            shown = ""


def notes(result: dict[str, Any]) -> Iterator[str]:
    """Yield the notes of a benchmark: one line per subject, with each side's median."""
    found: dict[str, dict[str, list[float]]] = {}
    for round_ in result["rounds"]:
        for label, of_side in round_.items():
            for subject, value in of_side["notes"].items():
                found.setdefault(subject, {}).setdefault(label, []).append(value)
    for subject, by_side in found.items():
        sides = [f"{label} {number(statistics.median(by_side[label]))}" for label in by_side]
        yield f"{subject}: {', '.join(sides)}"


def number(value: float) -> str:
    """Return a number with three significant digits, or its whole part when that has more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def duration(seconds: float | None) -> str:
    """Return a time in the unit that suits it."""
    if seconds is None:
        return ""
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return rows in columns; the first two are left-aligned, the others right-aligned."""
    content = [tuple(header), *map(tuple, lines)]
    widths = [max(map(len, column)) for column in zip(*content, strict=True)]

    def aligned(cells: Sequence[str]) -> str:
        align: Callable[[str, int], str] = str.ljust
        parts = []
        for position, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            align = str.ljust if position < 2 else str.rjust
            parts.append(align(cell, width))
        return "  ".join(parts).rstrip()

    return "\n".join(map(aligned, content))


def setting(result: dict[str, Any]) -> str:
    """Return the machine that a benchmark ran on, with the raw rates of its disk."""
    raw = result.get("disk")
    if raw is None:
        return str(result["machine"])
    disk = f"{number(raw['write'] / 1e6)} MB/s written, {number(raw['syncs'])} fdatasync/s"
    return f"{result['machine']}, disk alone {disk}"


def text(result: dict[str, Any]) -> str:
    """Return a benchmark's result for a terminal."""
    lines = [f"\n{result['name']}: {result['title']}", table(HEADER, rows(result)), *notes(result)]
    lines += [f"{label} FAILED: {error}" for label, error in result["failures"].items()]
    return "\n".join(lines)


def markdown(result: dict[str, Any], description: str) -> str:
    """Return a benchmark's result as a section of a Markdown page.

    Parameters
    ----------
    result
        What the runner returned.
    description
        How it was measured.
    """
    name = result["name"]
    lines = [f"## {name}: {result['title']}", "", description.strip(), ""]
    lines += [f"| {' | '.join(HEADER)} |", "|---|---|" + "---:|" * (len(HEADER) - 2)]
    lines += [f"| {' | '.join(row)} |" for row in rows(result)]
    lines += ["", *(f"- {note}" for note in notes(result))]
    lines += ["", f"{len(result['rounds'])} rounds, {result['date']}, {setting(result)}."]
    lines += ["", f"![{name}](benchmarks/{name}.svg)", ""]
    return "\n".join(lines)
