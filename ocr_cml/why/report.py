"""The three figures, the table and the numbers of `ocr_cml.why`."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ocr_cml.figures import height_for, line_style, named, save_figure
from ppocr_data.atomic import write_text
from ppocr_data.errors import UserError

if TYPE_CHECKING:
    from ocr_cml.why.evidence import Evidence


def write(evidence: Sequence[Evidence], settings: Mapping[str, Any], notes: Sequence[str], output: Path) -> str:
    """Write noise, doubt and agreement (.png and .svg), why.md and why.json; returns the tables' text.

    Args:
        evidence: one entry a label, in the order of the figures.
        settings: how it was measured.
        notes: what was not measured, or not alike for all, and why.
        output: the folder.

    Raises:
        UserError: a file cannot be written.
    """
    lines = table(evidence)
    figures = {"noise": draw_noise, "doubt": draw_doubt, "agreement": draw_agreement}
    try:
        output.mkdir(parents=True, exist_ok=True)
        data = {"settings": dict(settings), "notes": list(notes), "runs": [asdict(entry) for entry in evidence]}
        write_text(output / "why.json", json.dumps(_as_json(data), indent=1, allow_nan=False))
        write_text(output / "why.md", markdown(lines, pull_table(evidence), notes, settings))
        for name, draw in figures.items():
            save_figure(_drawn(draw, evidence, settings), [output / f"{name}.png", output / f"{name}.svg"])
    except OSError as error:
        raise UserError(f"--output: {output} cannot be written: {error.strerror or error}") from None
    return "\n".join(
        [*lines, "", *pull_table(evidence), *_paragraphs(notes), "", f"figures and numbers in {output}", ""]
    )


def _as_json(value: Any) -> Any:
    """The same with None where a number is none, as a loss under too much noise."""
    if isinstance(value, dict):
        return {key: _as_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _paragraphs(notes: Sequence[str]) -> list[str]:
    return [line for note in notes for line in ("", note)]


def table(evidence: Sequence[Evidence]) -> list[str]:
    """One line a label, in Markdown; an en dash where something was not measured."""
    heads = ["run", "networks", "loss", "rise under noise", "entropy, nats", "calibration error", "Brier score"]
    lines = [f"| {' | '.join([*heads, 'last agreement'])} |", "|" + "---|" * (len(heads) + 1)]
    for entry in evidence:
        last = [series[-1][1] for series in entry.agreement]
        numbers = [entry.mean_losses()[0], entry.rise(), *map(entry.mean_of, ("entropy", "error", "brier"))]
        numbers.append(statistics.fmean(last) if last else None)
        cells = [entry.label, str(len(entry.networks)), *map(_number, numbers)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _number(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.4f}"


def pull_table(evidence: Sequence[Evidence]) -> list[str]:
    """How hard each kind of term pulls at the step of the weights, one line each, in Markdown; empty without any."""
    rows = [(entry.label, *found) for entry in evidence for found in entry.mean_pulls()]
    lines = [f"| {label} | {kind} | {strength:.3f} | {cosine:+.2f} |" for label, kind, strength, cosine in rows]
    return ["| run | term | strength | direction |", "|---|---|---|---|", *lines] if rows else []


def markdown(lines: Sequence[str], pulls: Sequence[str], notes: Sequence[str], settings: Mapping[str, Any]) -> str:
    """why.md: the tables, the figures, and how to read them."""
    largest, of = settings["sigmas"][-1], "of each tensor's root mean square" if _is_relative(settings) else "absolute"
    reading = [
        f"Weights: `{settings['weights']}/` of each run; data: those of `{settings['data']}`.",
        "",
        f"- **Flat minima** (`noise`): the supervised loss on {settings['crops']} training crops that no run has seen, "
        f"under normal noise on all weights, mean of {settings['draws']} draws. *Rise*: at a deviation of {largest:g} "
        f"({of}). A lower and flatter curve is a wider minimum, which is said to generalise better.",
        f"- **Doubt** (`doubt`): on the text pixels (whole words or lines, rims included) of {settings['pages']} "
        "held-out images: the mean entropy of the map, and how often a pixel of a given probability is text by its "
        "label. On the diagonal the network is right about its own certainty; below it, too sure of text.",
        "- **Agreement** (`agreement`): Dice of the students' thresholded maps on the training batch of each log "
        "point, the mean over their pairs. At 1 they have nothing left to teach each other.",
    ]
    if pulls:
        reading += [
            "- **Pull**: the length of each term's gradient on a student's weights, its weight at that step included, "
            "over that of its labels (*strength*), and the cosine between the two (*direction*): above 0 it pulls "
            "where the labels do. A term of strength .01 does next to nothing, whatever its value; one of 3 drowns the "
            "labels.",
        ]
    figures = [f"![{name}]({name}.png)" for name in ("noise", "doubt", "agreement")]
    return "\n".join(["# Why", "", *lines, "", *pulls, *_paragraphs(notes), "", *reading, "", *figures, ""])


def _is_relative(settings: Mapping[str, Any]) -> bool:
    return bool(settings["scale"] == "relative")


# --- figures ---------------------------------------------------------------------------------------------------------


def _drawn(
    draw: Callable[[Figure, Sequence[Evidence], Mapping[str, Any]], None],
    evidence: Sequence[Evidence],
    settings: Mapping[str, Any],
) -> Figure:
    """Drawn by Agg, without a display."""
    figure = Figure(figsize=(9, height_for(len(evidence))), layout="constrained")
    draw(figure, evidence, settings)
    return figure


def _styles(evidence: Sequence[Evidence]) -> list[tuple[Evidence, dict[str, Any]]]:
    return [(entry, line_style(place)) for place, entry in enumerate(evidence)]


def draw_noise(figure: Figure, evidence: Sequence[Evidence], settings: Mapping[str, Any]) -> None:
    """The loss over the deviation of weight noise: thick the mean of a label's networks, thin each network."""
    axes = figure.add_subplot()
    for entry, style in _styles(evidence):
        for network in entry.networks:
            axes.plot(settings["sigmas"], network.losses, **style, linewidth=0.7, alpha=0.45)
        axes.plot(settings["sigmas"], entry.mean_losses(), marker="o", **style, label=_named(entry))
    unit = "root mean square of each weight tensor" if _is_relative(settings) else "absolute"
    axes.set_xlabel(f"deviation of the weight noise ({unit})")
    axes.set_ylabel("supervised loss on training crops")
    _finish(axes, figure)


def draw_doubt(figure: Figure, evidence: Sequence[Evidence], _: Mapping[str, Any]) -> None:
    """Left the mean entropy (a dot for each network), right the reliability diagram of the pooled pixels."""
    bars, diagram = figure.subplots(1, 2, width_ratios=[1, 1.3])
    for place, (entry, style) in enumerate(_styles(evidence)):
        bars.bar(place, entry.mean_of("entropy") or 0.0, color=style["color"], alpha=0.6)
        dots = [network.doubt.entropy for network in entry.networks if network.doubt is not None]
        bars.plot([place] * len(dots), dots, "o", color=style["color"], markersize=4, markeredgecolor="black")
        points = entry.reliability()
        error = entry.mean_of("error")
        label = named(entry.label) if error is None else f"{named(entry.label)}: error {error:.3f}"
        diagram.plot([p for p, _, _ in points], [o for _, o, _ in points], marker="o", **style, label=label)
    many = len(evidence) > 4
    bars.set_xticks(range(len(evidence)), [entry.label for entry in evidence], rotation=90 if many else 20)
    bars.set_ylabel("mean entropy on held-out text pixels, nats")
    bars.grid(axis="y", alpha=0.3)
    diagram.plot([0, 1], [0, 1], "--", color="grey", linewidth=1, label="rightly certain")
    diagram.set_xlabel("probability of text")
    diagram.set_ylabel("share of text by the labels")
    _finish(diagram, figure)


def draw_agreement(figure: Figure, evidence: Sequence[Evidence], _: Mapping[str, Any]) -> None:
    """Agreement between students over the steps: thick the mean over a label's runs, thin each run."""
    axes = figure.add_subplot()
    for entry, style in _styles(evidence):
        if not entry.agreement:
            continue
        for series in entry.agreement:
            axes.plot([step for step, _ in series], [dice for _, dice in series], **style, linewidth=0.7, alpha=0.45)
        mean = _mean_series(entry.agreement)
        axes.plot(
            [step for step, _ in mean],
            [dice for _, dice in mean],
            marker="o",
            **style,
            markersize=3,
            label=_named(entry),
        )
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("step")
    axes.set_ylabel("agreement: Dice of the students' maps")
    if any(entry.agreement for entry in evidence):
        _finish(axes, figure)
    else:
        axes.text(0.5, 0.5, "no run has two students and logged their agreement", ha="center", transform=axes.transAxes)


def _mean_series(runs: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, float]]:
    """The mean over runs at every step that all of them logged."""
    values = [dict(series) for series in runs]
    steps = sorted(set.intersection(*(set(series) for series in values)))
    return [(step, statistics.fmean(series[step] for series in values)) for step in steps]


def _named(entry: Evidence) -> str:
    count = len(entry.networks)
    return f"{named(entry.label)} ({count} network{'s' * (count > 1)})"


def _finish(axes: Axes, figure: Figure) -> None:
    """A grid, and the legend beside the axes, where many names hide no line."""
    axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside center right", frameon=False, handlelength=3)
