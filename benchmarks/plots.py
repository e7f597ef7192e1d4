"""Draw results: one picture per benchmark, a panel per figure, a bar per side.

    python -m benchmarks.plots RESULT.json ...

The picture, an SVG, is written beside each file. Runs in the peers' environment, which has
matplotlib.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found]

from benchmarks import report

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "persisting", "font.size": 9, "axes.titlesize": 10})

import matplotlib.pyplot as plt  # type: ignore[import-not-found]  # noqa: E402

OURS, OTHER = "#2f6db5", "#b8c0c8"
INCHES_WIDE, INCHES_PER_BAR, INCHES_PER_PANEL = 7.5, 0.24, 0.55


def draw(result: dict[str, Any]) -> Any:
    """Return the picture of a benchmark's result."""
    bars = {
        name: {
            label: rate
            for label in reversed(result["sides"])
            if (rate := report.median(result, label, name, "rate")) is not None
        }
        for name in report.figures(result)
    }
    heights = [len(rates) * INCHES_PER_BAR + INCHES_PER_PANEL for rates in bars.values()]
    figure, panels = plt.subplots(
        len(bars),
        figsize=(INCHES_WIDE, sum(heights)),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    ours = set(result["sides"][: result["ours"]])
    for panel, (name, rates) in zip(panels.flat, bars.items(), strict=True):
        colors = [OURS if label in ours else OTHER for label in rates]
        drawn = panel.barh(list(rates), list(rates.values()), color=colors)
        unit = report.unit(result, name)
        panel.bar_label(
            drawn, [f"{report.number(rate)} {unit}/s" for rate in rates.values()], padding=3
        )
        panel.set_title(name, loc="left")
        panel.set_xlim(0, max(rates.values()) * 1.3)
        panel.xaxis.set_visible(False)
        panel.spines[["top", "right", "bottom"]].set_visible(False)
    return figure


def main() -> None:
    """Run the command line."""
    for argument in sys.argv[1:]:
        file = Path(argument)
        figure = draw(json.loads(file.read_text()))
        figure.savefig(file.with_suffix(".svg"), metadata={"Date": None})
        plt.close(figure)


if __name__ == "__main__":
    main()
