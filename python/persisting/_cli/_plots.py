"""Series of numbers as pictures: of characters, and as SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    import numpy as np

# From nothing to a whole character, in eighths.
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_WHOLE_ONLY = " #"

_WIDTH, _HEIGHT, _MARGIN = 800, 300, 60  # of an SVG, in pixels
_MOST_POINTS = 2000  # that are drawn one by one
_DOT = 1.5


def thin(values: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many values, each the mean of neighbours that are as many as others."""
    import numpy as np

    if len(values) <= most:
        return values
    edges = np.linspace(0, len(values), most + 1).astype(int)
    means: np.ndarray = np.add.reduceat(values, edges[:-1]) / np.diff(edges)
    return means


def running(values: np.ndarray, window: int) -> np.ndarray:
    """Return the mean of each value and of those before it, of `window` at most."""
    import numpy as np

    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(ends - window, 0)
    means: np.ndarray = (sums[ends] - sums[begins]) / (ends - begins)
    return means


def text(values: np.ndarray, width: int, height: int, *, blocks: bool) -> list[str]:
    """Return lines with a column for each value, from the smallest to the largest one.

    Parameters
    ----------
    values
        Finite numbers, in their order, at least one; more than `width` are thinned.
    width, height
        Of the picture, in characters, without its labels.
    blocks
        Whether characters of blocks may be used, or those of ASCII only.
    """
    steps = _EIGHTHS if blocks else _WHOLE_ONLY
    fine = len(steps) - 1
    shown = thin(values, width)
    low, high = float(shown.min()), float(shown.max())
    # The smallest one is a thin line, so that it is seen that something is there.
    span = (high - low) or 1.0
    levels = [1 + round((value - low) / span * (height * fine - 1)) for value in shown]
    labels = [f"{high:.4g}", *[""] * (height - 2), f"{low:.4g}"] if height > 1 else [f"{high:.4g}"]
    edge = max(map(len, labels))
    lines = []
    for row, label in enumerate(labels):
        below = (height - 1 - row) * fine
        bars = "".join(steps[min(max(level - below, 0), fine)] for level in levels)
        lines.append(f"{label:>{edge}} {bars}".rstrip())
    return lines


def svg(values: np.ndarray, title: str) -> str:
    """Return a picture with a point for each value and a line through their running mean."""
    points = thin(values, _MOST_POINTS)
    mean = running(points, max(len(points) // 20, 1))
    low, high = float(points.min()), float(points.max())
    span = (high - low) or 1.0
    right, bottom = _WIDTH - _MARGIN, _HEIGHT - _MARGIN

    def x(at: int) -> float:
        return _MARGIN + (right - _MARGIN) * at / max(len(points) - 1, 1)

    def y(value: float) -> float:
        return bottom - (bottom - _MARGIN) * (value - low) / span

    dots = "".join(
        f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="{_DOT}"/>'
        for at, value in enumerate(points)
    )
    line = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in enumerate(mean))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
        ' font-family="sans-serif" font-size="12">\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>\n'
        f'<text x="{_MARGIN}" y="{_MARGIN // 2}" font-size="14">{escape(title)}</text>\n'
        f'<path d="M{_MARGIN},{_MARGIN} V{bottom} H{right}" fill="none" stroke="black"/>\n'
        f'<text x="{_MARGIN - 6}" y="{_MARGIN + 4}" text-anchor="end">{high:.4g}</text>\n'
        f'<text x="{_MARGIN - 6}" y="{bottom + 4}" text-anchor="end">{low:.4g}</text>\n'
        f'<text x="{_MARGIN}" y="{bottom + 20}">1</text>\n'
        f'<text x="{right}" y="{bottom + 20}" text-anchor="end">{len(values):,}</text>\n'
        f'<g fill="#4c78a8" fill-opacity="0.5">{dots}</g>\n'
        f'<polyline points="{line}" fill="none" stroke="#e45756" stroke-width="1.5"/>\n'
        "</svg>\n"
    )
