"""`compare.html`: several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ocr_cml.records import ENSEMBLE
from ocr_cml.report.charts import Chart, Series, charts
from ocr_cml.report.run import Run
from ocr_cml.report.template import missing, section, table
from ocr_cml.report.validation import curve, precision_recall
from ocr_cml.words import duration
from ocr_cml.yaml_source import dotted, plain
from ppocr_data.errors import ConfigError

_LONGEST_CELL = 60


def distinct(runs: Sequence[Run]) -> list[Run]:
    """The runs, called by their paths where their folders have the same name."""
    names = [run.name for run in runs]
    return [replace(run, name=str(run.path)) if names.count(run.name) > 1 else run for run in runs]


def comparison(runs: Sequence[Run]) -> str:
    """The body of the page that compares several runs."""
    series = [Series(run.name, run.best_hmean(), number, number // 8) for number, run in enumerate(runs)]
    heads = ["run", "best hmean", "student", "at step", "ensemble", "teacher", "steps", "training time"]
    reached = {number: run.best.hmean for number, run in enumerate(runs) if run.best}
    best = frozenset({(max(reached, key=reached.__getitem__), 1)}) if reached else frozenset()
    notes = [missing(f"{run.name}: {note}") for run in runs for note in run.notes]
    return "\n".join(
        [
            f"<h1>Comparison of {len(runs)} runs</h1>",
            table("The best student of each run; ★ marks the best", heads, [_compared(run) for run in runs], best),
            *notes,
            section(
                "Score",
                charts([Chart("hmean", "hmean of the best student", "hmean", series, wide=True), *_curves(runs)]),
            ),
            section("Settings that differ", _settings(runs)),
        ]
    )


def _curves(runs: Sequence[Run]) -> list[Chart]:
    """Precision over recall of each run's best student, where a run recorded it."""
    series = [
        curve(run.name, run.validation["curves"].get(run.validation["student"], []), number, number // 8)
        for number, run in enumerate(runs)
        if run.validation
    ]
    return [precision_recall(series)] if series else []


def _compared(run: Run) -> list[str]:
    best = run.best
    student, hmean, step = (best.student, f"{best.hmean:.4f}", str(best.step)) if best else ("–", "–", "–")
    ensemble = max((value for _, value in run.hmean(ENSEMBLE)), default=None)
    teacher = max((score["hmean"] for score in run.teachers.values() if "hmean" in score), default=None)
    others = ["–" if value is None else f"{value:.4f}" for value in (ensemble, teacher)]
    return [run.name, hmean, student, step, *others, str(run.last_step), duration(run.seconds)]


def _settings(runs: Sequence[Run]) -> str:
    settings = []
    for run in runs:
        try:
            settings.append(dotted(plain(run.config)))
        except ConfigError:
            return missing(f"config.yml of {run.name} cannot be read.")
    keys = sorted({key for flat in settings for key in flat} - {"Global.save_model_dir"})
    values = {key: [str(flat.get(key, "–")) for flat in settings] for key in keys}
    rows = [[key, *map(_cell, given)] for key, given in values.items() if len(set(given)) > 1]
    return (
        table("Dotted keys of config.yml", ["setting", *(run.name for run in runs)], rows) if rows else missing("None.")
    )


def _cell(text: str) -> str:
    """A long value without its middle: paths differ at their ends."""
    tail = 2 * _LONGEST_CELL // 3
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1 - tail]}…{text[-tail:]}"
