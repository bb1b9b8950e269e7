"""`report.html`: what a run did, in one file that opens offline; and `compare.html` for several runs.

It reads only what the run folder holds, needs neither paddle nor the data, and works on a run that was cut short.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

from ocr_cml.records import ENSEMBLE
from ocr_cml.report.charts import charts
from ocr_cml.report.compare import comparison, distinct
from ocr_cml.report.run import Run, read_run
from ocr_cml.report.series import as_teacher, colours, loss_charts, pace_charts, score_chart, score_details
from ocr_cml.report.template import BEGIN, code, facts, fold, missing, page, section, table
from ocr_cml.report.validation import gallery
from ocr_cml.run_files import PREVIEW, REPORT
from ocr_cml.words import duration
from ppocr_data.atomic import write_to
from ppocr_data.errors import UserError

__all__ = ["Run", "read_run", "write_report"]

_MOST_WARNINGS = 20


def write_report(
    runs: Path | Sequence[Path], output: Path | None = None, tell: Callable[[str], object] = lambda note: None
) -> Path:
    """Write the page of one run (`RUN/report.html`), or compare several (`compare.html` in the first one's folder).

    Args:
        runs: a run folder, or several.
        output: where to write instead; replaced whole or not at all.
        tell: is told what is missing or damaged of a run, as the page says it too.

    Returns:
        The file written.

    Raises:
        UserError: a folder is not that of a run, or the page cannot be written.
    """
    paths = [Path(runs)] if isinstance(runs, (str, Path)) else [Path(path) for path in runs]
    found = [read_run(path) for path in paths]
    if len(found) == 1:
        target, html = paths[0] / REPORT, page(f"{found[0].name}: training report", _report(found[0]))
    else:
        found = distinct(found)
        names = ", ".join(run.name for run in found)
        target, html = paths[0] / "compare.html", page(f"Comparison of {names}", comparison(found))
    for run in found:
        for note in run.notes:
            tell(f"{run.path}: {note}")
    target = output or target
    if not target.name or target.is_dir():
        raise UserError(
            f"{target}: the report is a file, and this is a folder; name one, such as {target / 'report.html'}"
        )
    if output is not None and target.is_file() and not _may_be_replaced(target):
        raise UserError(f"{target}: is there and is no report of this tool; choose another --output")
    try:
        write_to(target, html)
    except OSError as error:
        raise UserError(f"{target}: the report cannot be written: {error.strerror}") from None
    return target


def _may_be_replaced(file: Path) -> bool:
    """Whether a file is a page of ours, or nothing yet."""
    try:
        with file.open("rb") as opened:
            begin = opened.read(len(BEGIN))
    except OSError:  # told when it is written
        return True
    return begin in (b"", BEGIN.encode())


def _report(run: Run) -> str:
    command = next((text[9:] for _, text in reversed(run.log) if text.startswith("command: ")), None)
    warnings = [text for level, text in run.log if level != "INFO"][-_MOST_WARNINGS:]
    parts = [
        f"<h1>{escape(run.name)}: training report</h1>",
        code(command) if command else missing("The command is not recorded."),
        facts(_results(run)),
        *(missing(note) for note in run.notes),
        section("Score", score_chart(run), charts(score_details(run)), *_score_tables(run)),
        section("Best and worst validation pictures", gallery(run, colours(run))),
        section("Losses", charts(loss_charts(run)) if run.logged else missing("No step was logged.")),
        section("Learning rate and speed", charts(pace_charts(run))),
        section("What the networks see", _preview(run.path / PREVIEW)),
    ]
    if warnings:
        parts.append(section("Warnings", f'<div class="warnings">{code(chr(10).join(warnings))}</div>'))
    parts.append(section("Start", _start(run)))
    config = fold("config.yml, with every default", run.config) if run.config else missing("config.yml is missing.")
    parts.append(section("Configuration", config))
    return "\n".join(parts)


def _results(run: Run) -> list[tuple[str, str, str]]:
    entries = [("Best student", "none yet", "no evaluation was made")]
    if best := run.best:
        entries = [("Best student", f"{best.student} {best.hmean:.4f}", f"hmean at step {best.step}")]
    ensemble = max(run.hmean(ENSEMBLE), key=lambda point: point[1], default=None)
    if ensemble:
        entries.append(("Ensemble", f"{ensemble[1]:.4f}", f"best hmean, at step {ensemble[0]:g}"))
    for name, score in run.teachers.items():
        entries.append(("Teacher", f"{score.get('hmean', math.nan):.4f}", f"hmean of {name}"))
    entries.append(("Steps", str(run.last_step), f"{len(run.evaluations)} evaluations"))
    spent = (
        f"and {duration(run.evaluation_seconds)} of evaluations" if run.evaluation_seconds else "without evaluations"
    )
    entries.append(("Training time", duration(run.seconds), spent))
    if run.times:
        day, _, clock = run.times[1].partition(" ")
        entries.append(("Last written", clock, f"{day}, since {run.times[0]}"))
    return entries


def _score_tables(run: Run) -> list[str]:
    if not run.evaluations:
        return []
    names, steps = run.networks, sorted(run.evaluations)
    rows = [[str(step), *(_score(run.evaluations[step].get(name, {}), "hmean") for name in names)] for step in steps]
    caption = "hmean at each evaluation"
    best: frozenset[tuple[int, int]] = frozenset()
    if run.best and run.best.student in names and run.best.step in steps:
        best = frozenset({(steps.index(run.best.step), names.index(run.best.student) + 1)})
        caption += "; ★ marks the best student"
    at = run.best.step if run.best and run.best.step in steps else steps[-1]
    detail = {**run.evaluations[at], **{as_teacher(name): score for name, score in run.teachers.items()}}
    keys = ["hmean", "precision", "recall", "tp", "num_gt", "num_det"]
    heads = ["network", "hmean", "precision", "recall", "found", "texts", "boxes"]
    scores = [[name, *(_score(score, key) for key in keys)] for name, score in detail.items()]
    return [
        f"<p></p>{table(f'Each network at step {at}', heads, scores)}",
        f"<p></p>{table(caption, ['step', *names], rows, best)}",
    ]


def _score(scores: Mapping[str, float], key: str) -> str:
    if key not in scores:
        return "–"
    return f"{scores[key]:.4f}" if key in ("precision", "recall", "hmean") else f"{scores[key]:g}"


def _preview(path: Path) -> str:
    if not path.is_file():
        return missing("preview.jpg is missing.")
    data = base64.b64encode(path.read_bytes()).decode()
    words = "Training samples: crops with their polygons, shrink maps, threshold maps and masks"
    return (
        '<button type="button" aria-pressed="false" data-shows="preview" data-class="full">Full size</button>'
        f'<div class="preview" id="preview" tabindex="0" role="region" aria-label="{words}">'
        f'<img alt="{words}" src="data:image/jpeg;base64,{data}"></div>'
    )


def _start(run: Run) -> str:
    """What the run said before its first step: machine, versions, networks, data."""
    starts = [number for number, (_, text) in enumerate(run.log) if text.startswith("command: ")]
    said: list[str] = []
    for _, text in run.log[starts[-1] + 1 if starts else 0 :]:
        if re.match(r"step \d+/", text):
            break
        said.append(text)
    return f'<pre tabindex="0">{escape(chr(10).join(said))}</pre>' if said else missing("train.log says nothing.")
