"""What a run folder tells: its records, its log, its configuration, its validation pictures; read without paddle."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ocr_cml.records import ENSEMBLE, Best, best_of, is_log_point, numbers, paces, records_in
from ocr_cml.report.validation_record import ValidationRecord
from ocr_cml.run_files import BEST, CONFIG, METRICS, STATE, TRAIN_LOG, VALIDATION, VALIDATION_RECORD, is_checkpoint
from ppocr_data.errors import UserError

Scores = dict[str, dict[str, float]]
"""Network name -> precision, recall, hmean and counts."""

_FILES = (METRICS, CONFIG, TRAIN_LOG)
_VALIDATION = (VALIDATION, VALIDATION_RECORD)
_LOG_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d+ ([A-Z]+) (.*)", re.DOTALL)


@dataclass
class Run:
    """What a run folder tells.

    Attributes:
        path: the folder; `name` is how the pages call it.
        logged: the log points: step, loss, lr, seconds, steps and the terms by label, finite numbers only.
        evaluations: by step.
        teachers: the teachers' scores before the training.
        best: None before the first evaluation.
        step_seconds: (step, seconds a step) at each log point.
        seconds: spent in steps; those between a log point and a stop are in no record, and count like those after it.
        evaluation_seconds: spent in all evaluations.
        config: the text of config.yml, "" where there is none.
        log: (level, message) of train.log; a message may have several lines.
        times: when the log's first and last lines were written, as they stand there.
        validation: what `ocr_cml.loop.validation` recorded, {} where there is none.
        notes: what is missing or damaged, for people.
    """

    path: Path
    name: str
    logged: list[dict[str, float]] = field(default_factory=list)
    evaluations: dict[int, Scores] = field(default_factory=dict)
    teachers: Scores = field(default_factory=dict)
    best: Best | None = None
    step_seconds: list[tuple[float, float]] = field(default_factory=list)
    seconds: float = 0.0
    evaluation_seconds: float = 0.0
    config: str = ""
    log: list[tuple[str, str]] = field(default_factory=list)
    times: tuple[str, str] | None = None
    validation: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def networks(self) -> list[str]:
        """Students, then the ensemble: every name that was ever evaluated."""
        names = dict.fromkeys(name for scores in self.evaluations.values() for name in scores)
        return sorted(names, key=lambda name: name == ENSEMBLE)

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
            for step, value in self.hmean(name) if name != ENSEMBLE else ():
                found[step] = max(value, found.get(step, 0.0))
        return sorted(found.items())


def read_run(path: Path) -> Run:
    """Read a run folder; missing and cut files become notes. Raises UserError where the folder is not one of a run."""
    if is_checkpoint(path) and not (path / METRICS).is_file():
        raise UserError(f"{path}: is a checkpoint of a run; the run's folder is {path.resolve().parent}")
    if not any((path / name).is_file() for name in _FILES):
        what = "holds no run" if path.is_dir() else "is not a folder"
        raise UserError(
            f"{path}: {what}; expected the folder that Global.save_model_dir named, with {', '.join(_FILES)}"
        )
    run = Run(path, path.resolve().name)
    texts = {name: _text(path / name) for name in _FILES}
    run.notes += [f"{name} is missing or empty." for name, text in texts.items() if not text.strip()]
    run.config = texts[CONFIG]
    run.log, run.times = _log_messages(texts[TRAIN_LOG])
    _read_metrics(run, texts[METRICS])
    run.validation = _read_validation(run)
    run.best = _recorded_best(path / BEST / STATE) or best_of(run.evaluations.items())
    return run


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _read_metrics(run: Run, text: str) -> None:
    """Fill in what metrics.jsonl holds; a line that is no record is counted and left out."""
    records, damaged = records_in(text)
    for entry in records:
        step = int(entry["step"])
        if isinstance(entry.get("eval"), dict):
            run.evaluations[step] = _scores(entry["eval"])
            run.evaluation_seconds += numbers(entry).get("eval_seconds", 0.0)
        elif isinstance(entry.get("teacher"), dict):
            run.teachers = _scores(entry["teacher"])
        elif is_log_point(entry):  # the log tells the rest
            run.logged.append({**numbers(entry), "step": step})
    run.logged.sort(key=lambda entry: entry["step"])
    found = paces(records)
    run.step_seconds = [(pace.step, pace.seconds_a_step) for pace in found]
    run.seconds = sum(pace.seconds_a_step * pace.steps for pace in found)
    if damaged:
        run.notes.append(f"{damaged} damaged line{'s' * (damaged > 1)} of {METRICS} left out.")


def _scores(entry: Mapping[str, Any]) -> Scores:
    return {name: numbers(values) for name, values in entry.items() if isinstance(values, dict)}


def _log_messages(text: str) -> tuple[list[tuple[str, str]], tuple[str, str] | None]:
    messages: list[tuple[str, str]] = []
    times: list[str] = []
    for line in text.splitlines():
        match = _LOG_LINE.match(line)
        if match:
            times.append(match[1])
            messages.append((match[2], match[3]))
        elif messages:
            level, message = messages[-1]
            messages[-1] = level, f"{message}\n{line}"
    return messages, (times[0], times[-1]) if times else None


def _read_validation(run: Run) -> dict[str, Any]:
    """The record of `ocr_cml.loop.validation`, if it is whole; its pictures are read when they are drawn."""
    path = run.path.joinpath(*_VALIDATION)
    if not path.is_file():
        return {}
    try:
        found: dict[str, Any] = json.loads(_text(path))
        ValidationRecord.model_validate(found)
    except ValueError:  # pydantic's is one
        run.notes.append(f"{'/'.join(_VALIDATION)} is damaged.")
        return {}
    return found


def _recorded_best(state: Path) -> Best | None:
    try:
        best = json.loads(_text(state))["progress"]["best"]
        return Best(str(best["student"]), float(best["hmean"]), int(best["step"]))
    except (ValueError, KeyError, TypeError):
        return None
