"""A comparison's numbers at full precision: a line a run, and a line for each network of each evaluation."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Sequence

from ocr_cml.compare.plan import Plan
from ocr_cml.compare.results import MB, Results, gains

COLUMNS = (
    *("method", "seed", "students", "steps", "mean_student", "best_student", "ensemble", "each_student"),
    *("gain_mean_student", "gain_best_student", "checkpoint_student", "checkpoint_step", "checkpoint_hmean"),
    *("seconds_a_step", "peak_memory_mb", "parameters", "wall_seconds", "folder"),
)
"""Of compare.csv. `checkpoint_*` is what the run's best/ holds; `wall_seconds` includes start-up and evaluations."""
STEP_COLUMNS = ("method", "seed", "step", "network", "precision", "recall", "hmean")
"""Of compare_steps.csv: enough to draw every course again when the run folders are gone."""


def runs_csv(plan: Plan, results: Results) -> str:
    """One line a finished run, numbers at full precision; see `COLUMNS`."""
    methods = {method.name: method for method in plan.methods}
    lines: list[Sequence[object]] = []
    for run in plan.runs:
        if (result := results.get((run.method, run.seed))) is None:
            continue
        gain = gains(plan, methods[run.method], run.seed, results) or ("", "")
        best = result.best
        scores = [statistics.fmean(result.students), max(result.students)]
        ensemble = "" if result.ensemble is None else result.ensemble
        cells = [run.method, run.seed, len(result.students), result.steps, *scores, ensemble]
        cells += [" ".join(str(value) for value in result.students), *gain, best.student, best.step, best.hmean]
        cells += [result.seconds, round(result.peak_bytes / MB, 1), result.parameters, round(result.wall_seconds, 1)]
        lines.append([*cells, run.folder.as_posix()])
    return _csv(COLUMNS, lines)


def steps_csv(plan: Plan, results: Results) -> str:
    """One line for each network of each evaluation of a finished run; see `STEP_COLUMNS`."""
    return _csv(
        STEP_COLUMNS,
        (
            [run.method, run.seed, evaluation.step, name, *(scores.get(key, "") for key in STEP_COLUMNS[4:])]
            for run in plan.runs
            if (result := results.get((run.method, run.seed))) is not None
            for evaluation in result.evaluations
            for name, scores in evaluation.scores.items()
        ),
    )


def _csv(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)
    return stream.getvalue()
