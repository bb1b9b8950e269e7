"""`report.html`: what a run did, in one file that opens offline; and `compare.html` for several runs.

It reads only what the run folder holds, needs neither paddle nor the data, and works on a run that was cut short.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import yaml

from ocr_cml.report_charts import Chart, Series, figure
from ocr_cml.report_template import facts, fold, missing, page, section, table
from ppocr_data.errors import UserError

Scores = dict[str, dict[str, float]]
"""Network name -> precision, recall, hmean and counts."""

_ENSEMBLE = "ensemble"
_TEACHER_COLOUR = 7
_FILES = ("metrics.jsonl", "config.yml", "train.log")
_LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ ([A-Z]+) (.*)", re.DOTALL)
_MOST_WARNINGS = 20
_LONGEST_CELL = 60


@dataclass
class Run:
    """What a run folder tells.

    Attributes:
        path: the folder; `name` is how the pages call it.
        logged: the log points: step, loss, lr, seconds and the terms by label, finite numbers only.
        evaluations: by step.
        teachers: the teachers' scores before the training.
        best: (student, hmean, step), or None before the first evaluation.
        step_seconds: (step, seconds a step) at each log point.
        config: the text of config.yml, "" where there is none.
        log: (level, message) of train.log; a message may have several lines.
        notes: what is missing or damaged, for people.
    """

    path: Path
    name: str
    logged: list[dict[str, float]] = field(default_factory=list)
    evaluations: dict[int, Scores] = field(default_factory=dict)
    teachers: Scores = field(default_factory=dict)
    best: tuple[str, float, int] | None = None
    step_seconds: list[tuple[float, float]] = field(default_factory=list)
    config: str = ""
    log: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def networks(self) -> list[str]:
        """Students, then the ensemble: every name that was ever evaluated."""
        names = dict.fromkeys(name for scores in self.evaluations.values() for name in scores)
        return sorted(names, key=lambda name: name == _ENSEMBLE)

    @property
    def last_step(self) -> int:
        """The last step of which anything is recorded."""
        return int(max([0, *(entry["step"] for entry in self.logged), *self.evaluations]))

    def hmean(self, name: str) -> list[tuple[float, float]]:
        """(step, hmean) of a network at each of its evaluations."""
        return [(step, s[name]["hmean"]) for step, s in sorted(self.evaluations.items()) if "hmean" in s.get(name, {})]

    def best_hmean(self) -> list[tuple[float, float]]:
        """(step, hmean) of the student that was best at each evaluation."""
        found: dict[float, float] = {}
        for name in self.networks:
            for step, value in self.hmean(name) if name != _ENSEMBLE else ():
                found[step] = max(value, found.get(step, 0.0))
        return sorted(found.items())


def write_report(runs: Path | Sequence[Path], output: Path | None = None) -> Path:
    """Write the page of one run (`RUN/report.html`), or compare several (`compare.html` in the first one's folder).

    Args:
        runs: a run folder, or several.
        output: where to write instead; replaced whole or not at all.

    Returns:
        The file written.

    Raises:
        UserError: a folder is not that of a run, or the page cannot be written.
    """
    paths = [Path(runs)] if isinstance(runs, (str, Path)) else [Path(path) for path in runs]
    found = [read_run(path) for path in paths]
    if len(found) == 1:
        target, html = paths[0] / "report.html", page(f"{found[0].name}: training report", _report(found[0]))
    else:
        names = ", ".join(run.name for run in _distinct(found))
        target, html = paths[0] / "compare.html", page(f"Comparison of {names}", _comparison(found))
    target = output or target
    temporary = target.with_name(f"{target.name}.tmp")
    try:
        temporary.write_text(html, encoding="utf-8")
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"{target}: the report cannot be written: {error.strerror}") from None
    return target


# --- reading ----------------------------------------------------------------------------------------------------------


def read_run(path: Path) -> Run:
    """Read a run folder; missing and cut files become notes. Raises UserError where the folder is not one of a run."""
    if not any((path / name).is_file() for name in _FILES):
        what = "holds no run" if path.is_dir() else "is not a folder"
        raise UserError(
            f"{path}: {what}; expected the folder that Global.save_model_dir named, with {', '.join(_FILES)}"
        )
    run = Run(path, path.resolve().name)
    texts = {name: _text(path / name) for name in _FILES}
    run.notes += [f"{name} is missing or empty." for name, text in texts.items() if not text.strip()]
    run.config = texts["config.yml"]
    run.log = _log_messages(texts["train.log"])
    _read_metrics(run, texts["metrics.jsonl"])
    run.best = _recorded_best(path / "best" / "state.json") or _highest(run)
    return run


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _read_metrics(run: Run, text: str) -> None:
    """Fill in what metrics.jsonl holds; a line that is no record is counted and left out: a kill may cut the last."""
    damaged = anchor = 0
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            step = int(entry["step"])
        except (ValueError, KeyError, TypeError):
            damaged += bool(line.strip())
            continue
        if isinstance(entry.get("eval"), dict):
            run.evaluations[step] = _scores(entry["eval"])
        elif isinstance(entry.get("teacher"), dict):
            run.teachers = _scores(entry["teacher"])
        else:
            run.logged.append({**_numbers(entry), "step": step})
            # `seconds` counts from the last log point, evaluation or start, whichever was last.
            if "seconds" in run.logged[-1] and step > anchor:
                run.step_seconds.append((step, run.logged[-1]["seconds"] / (step - anchor)))
        anchor = step
    run.logged.sort(key=lambda entry: entry["step"])
    if damaged:
        run.notes.append(f"{damaged} damaged line{'s' * (damaged > 1)} of metrics.jsonl left out.")


def _numbers(entry: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a record."""
    return {
        key: float(value)
        for key, value in entry.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    }


def _scores(entry: Mapping[str, Any]) -> Scores:
    return {name: _numbers(values) for name, values in entry.items() if isinstance(values, dict)}


def _log_messages(text: str) -> list[tuple[str, str]]:
    messages: list[tuple[str, str]] = []
    for line in text.splitlines():
        match = _LOG_LINE.match(line)
        if match:
            messages.append((match[1], match[2]))
        elif messages:
            level, message = messages[-1]
            messages[-1] = level, f"{message}\n{line}"
    return messages


def _recorded_best(state: Path) -> tuple[str, float, int] | None:
    try:
        best = json.loads(_text(state))["progress"]["best"]
        return str(best["student"]), float(best["hmean"]), int(best["step"])
    except (ValueError, KeyError, TypeError):
        return None


def _highest(run: Run) -> tuple[str, float, int] | None:
    """The best student by metrics.jsonl; of equals the first, as the trainer has it."""
    found = [(name, hmean, int(step)) for name in run.networks if name != _ENSEMBLE for step, hmean in run.hmean(name)]
    return max(found, key=lambda entry: (entry[1], -entry[2]), default=None)


# --- one run ----------------------------------------------------------------------------------------------------------


def _report(run: Run) -> str:
    command = next((text[9:] for _, text in reversed(run.log) if text.startswith("command: ")), None)
    warnings = [text for level, text in run.log if level != "INFO"][-_MOST_WARNINGS:]
    parts = [
        f"<h1>{escape(run.name)}: training report</h1>",
        _code(command) if command else missing("The command is not recorded."),
        facts(_results(run)),
        *(missing(note) for note in run.notes),
        section("Score", _score_chart(run), *_score_tables(run)),
        section("Losses", _charts(_loss_charts(run)) if run.logged else missing("No step was logged.")),
        section("Learning rate and speed", _charts(_pace_charts(run))),
        section("What the networks see", _preview(run.path / "preview.jpg")),
    ]
    if warnings:
        parts.append(section("Warnings", f'<div class="warnings">{_code(chr(10).join(warnings))}</div>'))
    parts.append(section("Start", _start(run)))
    config = fold("config.yml, with every default", run.config) if run.config else missing("config.yml is missing.")
    parts.append(section("Configuration", config))
    return "\n".join(parts)


def _results(run: Run) -> list[tuple[str, str, str]]:
    entries = [("Best student", "none yet", "no evaluation was made")]
    if run.best:
        name, hmean, step = run.best
        entries = [("Best student", f"{name} {hmean:.4f}", f"hmean at step {step}")]
    ensemble = max(run.hmean(_ENSEMBLE), key=lambda point: point[1], default=None)
    if ensemble:
        entries.append(("Ensemble", f"{ensemble[1]:.4f}", f"best hmean, at step {ensemble[0]:g}"))
    for name, score in run.teachers.items():
        entries.append(("Teacher", f"{score.get('hmean', math.nan):.4f}", f"hmean of {name}"))
    entries.append(("Steps", str(run.last_step), f"{len(run.evaluations)} evaluations"))
    entries.append(("Training time", _duration(_seconds(run)), "without evaluations"))
    return entries


def _seconds(run: Run) -> float:
    return sum(entry.get("seconds", 0.0) for entry in run.logged)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _code(text: str) -> str:
    return f'<pre class="wrap">{escape(text)}</pre>'


def _charts(charts: Iterable[Chart]) -> str:
    return f'<div class="charts">{"".join(figure(chart) for chart in charts)}</div>'


def _score_chart(run: Run) -> str:
    if not run.evaluations:
        return missing("No evaluation is recorded.")
    series = [Series(name, run.hmean(name), _colour(run, name)) for name in run.networks]
    start = min(run.evaluations)
    for number, (name, score) in enumerate(run.teachers.items(), start=1):
        if "hmean" in score:
            series.append(
                Series(_as_teacher(name), [(start, score["hmean"])], _TEACHER_COLOUR, dash=number, level=True)
            )
    return _charts([Chart("hmean", "hmean on the evaluation set", "hmean", series, wide=True)])


def _colour(run: Run, name: str) -> int:
    """A network has one colour on the whole page; a name that was never evaluated has the teacher's."""
    names = run.networks or list(dict.fromkeys(_learner(label) for label in _terms(run)))
    return names.index(name) % _TEACHER_COLOUR if name in names else _TEACHER_COLOUR


def _score_tables(run: Run) -> list[str]:
    if not run.evaluations:
        return []
    names, steps = run.networks, sorted(run.evaluations)
    rows = [[str(step), *(_score(run.evaluations[step].get(name, {}), "hmean") for name in names)] for step in steps]
    caption = "hmean at each evaluation"
    best: frozenset[tuple[int, int]] = frozenset()
    if run.best and run.best[0] in names and run.best[2] in steps:
        best = frozenset({(steps.index(run.best[2]), names.index(run.best[0]) + 1)})
        caption += "; ★ marks the best student"
    at = run.best[2] if run.best and run.best[2] in steps else steps[-1]
    detail = {**run.evaluations[at], **{_as_teacher(name): score for name, score in run.teachers.items()}}
    keys = ["hmean", "precision", "recall", "tp", "num_gt", "num_det"]
    heads = ["network", "hmean", "precision", "recall", "found", "texts", "boxes"]
    scores = [[name, *(_score(score, key) for key in keys)] for name, score in detail.items()]
    return [
        f"<p></p>{table(f'Each network at step {at}', heads, scores)}",
        f"<p></p>{table(caption, ['step', *names], rows, best)}",
    ]


def _as_teacher(name: str) -> str:
    return name if "teacher" in name.lower() else f"{name} (teacher)"


def _score(scores: Mapping[str, float], key: str) -> str:
    if key not in scores:
        return "–"
    return f"{scores[key]:.4f}" if key in ("precision", "recall", "hmean") else f"{scores[key]:g}"


def _terms(run: Run) -> list[str]:
    """Labels of the loss terms, in the order of their first record."""
    known = ("step", "loss", "lr", "seconds")
    return list(dict.fromkeys(key for entry in run.logged for key in entry if key not in known))


def _learner(label: str) -> str:
    """`Student` of `mutual/Student<-Student2#2`."""
    return label.partition("/")[2].partition("<-")[0].partition("#")[0]


def _values(run: Run, key: str) -> list[tuple[float, float]]:
    return [(entry["step"], entry[key]) for entry in run.logged if key in entry]


def _loss_charts(run: Run) -> list[Chart]:
    """The weighted total, then one chart for each kind of term: kinds differ in size by orders of magnitude."""
    charts = [Chart("loss", "Total loss (weighted)", "loss", [Series("total", _values(run, "loss"), _TEACHER_COLOUR)])]
    kinds: dict[str, list[Series]] = {}
    for label in _terms(run):
        kind, _, rest = label.partition("/")
        colour = _colour(run, _learner(label))
        drawn = kinds.setdefault(kind, [])
        dash = sum(series.colour == colour for series in drawn)
        drawn.append(Series(rest.replace("<-", " ← ") or label, _values(run, label), colour, dash))
    for number, (kind, series) in enumerate(kinds.items()):
        charts.append(Chart(f"term{number}", f"Term {kind} (unweighted)", "loss", series))
    return charts


def _pace_charts(run: Run) -> list[Chart]:
    rate = Series("learning rate", _values(run, "lr"), _TEACHER_COLOUR)
    pace = Series("seconds a step", run.step_seconds, _TEACHER_COLOUR)
    return [
        Chart("lr", "Learning rate", "rate", [rate], from_zero=True),
        Chart("pace", "Time a step", "seconds", [pace], from_zero=True),
    ]


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


# --- several runs -----------------------------------------------------------------------------------------------------


def _distinct(runs: Sequence[Run]) -> list[Run]:
    """The runs, called by their paths where their folders have the same name."""
    names = [run.name for run in runs]
    for run in runs:
        if names.count(run.name) > 1:
            run.name = str(run.path)
    return list(runs)


def _comparison(runs: Sequence[Run]) -> str:
    series = [Series(run.name, run.best_hmean(), number, number // 8) for number, run in enumerate(runs)]
    heads = ["run", "best hmean", "student", "at step", "ensemble", "teacher", "steps", "training time"]
    winner = max(range(len(runs)), key=lambda number: runs[number].best[1] if runs[number].best else -1.0)  # type: ignore[index]
    best = frozenset({(winner, 1)}) if runs[winner].best else frozenset()
    notes = [missing(f"{run.name}: {note}") for run in runs for note in run.notes]
    return "\n".join(
        [
            f"<h1>Comparison of {len(runs)} runs</h1>",
            table("The best student of each run; ★ marks the best", heads, [_compared(run) for run in runs], best),
            *notes,
            section("Score", _charts([Chart("hmean", "hmean of the best student", "hmean", series, wide=True)])),
            section("Settings that differ", _settings(runs)),
        ]
    )


def _compared(run: Run) -> list[str]:
    student, hmean, step = (run.best[0], f"{run.best[1]:.4f}", str(run.best[2])) if run.best else ("–", "–", "–")
    ensemble = max((value for _, value in run.hmean(_ENSEMBLE)), default=None)
    teacher = max((score["hmean"] for score in run.teachers.values() if "hmean" in score), default=None)
    others = ["–" if value is None else f"{value:.4f}" for value in (ensemble, teacher)]
    return [run.name, hmean, student, step, *others, str(run.last_step), _duration(_seconds(run))]


def _settings(runs: Sequence[Run]) -> str:
    settings = []
    for run in runs:
        try:
            settings.append(_flat(yaml.safe_load(run.config)))
        except yaml.YAMLError:
            return missing(f"config.yml of {run.name} cannot be read.")
    keys = sorted({key for flat in settings for key in flat} - {"Global.save_model_dir"})
    rows = [[key, *(_cell(flat.get(key, "–")) for flat in settings)] for key in keys]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    return (
        table("Dotted keys of config.yml", ["setting", *(run.name for run in runs)], rows) if rows else missing("None.")
    )


def _cell(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 1] + "…"


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists as dotted keys."""
    if isinstance(data, (dict, list)) and data:
        pairs = data.items() if isinstance(data, dict) else enumerate(data)
        return {
            key: value for name, inner in pairs for key, value in _flat(inner, f"{prefix}.{name}".lstrip(".")).items()
        }
    return {prefix: data} if prefix else {}
