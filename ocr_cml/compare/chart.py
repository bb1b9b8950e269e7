"""The charts of a comparison: hmean of each method at the end and over the steps, over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ocr_cml.compare.results import Row
from ocr_cml.figures import height_for, line_style, save_figure

_KINDS = (("mean", "mean student", "o", 0.18), ("best", "best student", "s", 0.0), ("ensemble", "ensemble", "^", -0.18))


def draw(rows: Sequence[Row], files: Sequence[Path]) -> None:
    """Draw the rows (at least one) from top to bottom into image files; the suffix says which kind.

    The bars are standard deviations over seeds; a method with one seed has none. Equal rows make equal files.

    Raises:
        OSError: a file cannot be written.
    """
    figure = Figure(figsize=(8, 1.4 + 0.45 * len(rows)), layout="constrained")  # drawn by Agg: no display is needed
    axes = figure.add_subplot()
    places = range(len(rows) - 1, -1, -1)
    for kind, label, marker, shift in _KINDS:
        found = [(place, getattr(row, kind)) for place, row in zip(places, rows, strict=True)]
        drawn = [(place, spread) for place, spread in found if spread is not None]
        axes.errorbar(
            [spread.mean for _, spread in drawn],
            [place + shift for place, _ in drawn],
            xerr=[spread.deviation or 0.0 for _, spread in drawn],
            fmt=marker,
            markersize=5,
            capsize=3,
            label=label,
        )
    axes.set_yticks(list(places), [f"{row.label}, {row.seeds} seed{'s' * (row.seeds > 1)}" for row in rows])
    axes.set_xlabel("hmean (bars: standard deviation over seeds)")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    save_figure(figure, files)


def draw_course(courses: Mapping[str, Sequence[Sequence[tuple[int, float]]]], files: Sequence[Path]) -> None:
    """Draw the mean student's hmean over the steps: mean over seeds, from the lowest to the highest shaded.

    Not the best student's: the best of four is above the best of one by having been chosen.

    Args:
        courses: by method, for each seed (step, hmean) of its evaluations. A step that not all seeds have is left out.
        files: as in `draw`.

    Raises:
        OSError: a file cannot be written.
    """
    figure = Figure(figsize=(8, height_for(len(courses))), layout="constrained")
    axes = figure.add_subplot()
    for place, (name, seeds) in enumerate(courses.items()):
        steps = sorted(set.intersection(*(({step for step, _ in course}) for course in seeds)))
        values = [[dict(course)[step] for course in seeds] for step in steps]
        style = line_style(place)
        axes.plot(steps, [statistics.fmean(v) for v in values], marker="o", markersize=4, label=name, **style)
        if len(seeds) > 1:
            low, high = list(map(min, values)), list(map(max, values))
            axes.fill_between(steps, low, high, color=style["color"], alpha=0.15)
    axes.set_xlabel("step")
    axes.set_ylabel("hmean of the mean student")
    axes.set_title("mean of the seeds; shaded: lowest to highest", fontsize="medium")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside center right", frameon=False, handlelength=3)  # many methods would hide their lines
    save_figure(figure, files)
