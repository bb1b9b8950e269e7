"""What a comparison writes: its table in Markdown for people, the CSV files and the charts."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ocr_cml.compare.chart import draw, draw_course
from ocr_cml.compare.csv_files import runs_csv, steps_csv
from ocr_cml.compare.plan import Plan
from ocr_cml.compare.results import MB, Gain, Results, Row, by_chance, make_rows, read_results
from ppocr_data.atomic import write_text
from ppocr_data.errors import UserError

_CHARTS = ("png", "svg")
_DRAWN = ("compare", "compare_steps")


def write_report(plan: Plan, command: str) -> str:
    """Write compare.md, the CSV files and the charts that there are runs for; returns the table's text.

    `compare.*` shows where the methods end; `compare_steps.*` how they came there, as a chart (of the mean students)
    where a run was evaluated more than once.

    Args:
        plan: what was to be trained.
        command: how the comparison was started.

    Raises:
        UserError: a run's records are damaged, or the files cannot be written.
    """
    results = read_results(plan)
    rows = make_rows(plan, results)
    lines = table(rows)
    try:
        write_text(plan.output / "compare.csv", runs_csv(plan, results))
        write_text(plan.output / "compare_steps.csv", steps_csv(plan, results))
        write_text(plan.output / "compare.md", markdown(plan, results, rows, command))
        at_the_end, on_the_way = ([plan.output / f"{name}.{kind}" for kind in _CHARTS] for name in _DRAWN)
        if rows:
            draw(rows, at_the_end)
        if courses := _courses(rows, results):
            draw_course(courses, on_the_way)
        for file in (*(() if rows else at_the_end), *(() if courses else on_the_way)):
            file.unlink(missing_ok=True)  # that of other runs
    except OSError as error:
        raise UserError(f"{plan.output}: the tables cannot be written: {error}; the runs are whole") from None
    return "\n".join([*lines, "", f"{len(results)} of {len(plan.runs)} runs, tables in {plan.output}", ""])


def _courses(rows: Sequence[Row], results: Results) -> dict[str, list[tuple[tuple[int, float], ...]]]:
    """Of each line of the table, by its label, the course of each seed; nothing where no run was evaluated twice."""
    found = {
        row.label: [result.course(row.students) for (name, _), result in results.items() if name == row.method]
        for row in rows
    }
    several = any(len(course) > 1 for seeds in found.values() for course in seeds)
    return found if several else {}


def _called(run: tuple[str, int]) -> str:
    """A run, by method and seed, as the text calls it."""
    return f"{run[0]} (seed {run[1]})"


def table(rows: Sequence[Row]) -> list[str]:
    """The rows in Markdown."""
    heads = ["method", "students", "seeds", "hmean, mean student", "hmean, best student", "hmean, ensemble"]
    heads += ["gain of the mean", "gain of the best", "seconds a step", "peak memory, MB", "parameters"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in rows:
        peak = f"{row.peak_bytes / MB:.0f}" if row.peak_bytes is not None else None
        seconds = f"{'about ' if row.shared_time else ''}{row.seconds:.3g}"
        cells = [row.label, row.students, row.seeds, row.mean, row.best, row.ensemble, _gain(row, row.gain_mean)]
        cells += [_gain(row, row.gain_best) if row.students > 1 else None, seconds, peak, f"{row.parameters:,}"]
        lines.append("| " + " | ".join("–" if cell is None else str(cell) for cell in cells) + " |")
    return lines


def _gain(row: Row, gain: Gain | None) -> str | None:
    """With the number of seeds it is of, where the students alone have not finished all that the method has."""
    if gain is None:
        return None
    return str(gain) if gain.seeds == row.seeds else f"{gain}, of {gain.seeds} of {row.seeds} seeds"


def markdown(plan: Plan, results: Results, rows: Sequence[Row], command: str) -> str:
    """compare.md: the table, how to read it, what is missing, and the commands."""
    settings = plan.settings
    changes = f" with `{shlex.join(settings.overrides)}`" if settings.overrides else ""
    counted = "its last evaluation" if settings.score == "last" else "its own best evaluation"
    parts = [
        "# Which method helps",
        "",
        f"`{settings.base}`{changes}; seeds {', '.join(map(str, settings.seeds))}; of each network {counted} counts.",
        "",
        *table(rows),
        "",
        *_how_to_read(plan, results, rows),
    ]
    missing = [_called(key) for run in plan.runs if (key := (run.method, run.seed)) not in results]
    if missing:
        parts += ["", f"**Not finished:** {', '.join(missing)}."]
    if rows:
        parts += ["", "![hmean of each method](compare.png)"]
    if _courses(rows, results):
        parts += ["", "![hmean of the mean student over the steps](compare_steps.png)"]
    parts += ["", "## Commands", "", f"    {command}", ""]
    parts += ["which runs, for each method and seed:", ""]
    parts += [f"    {shlex.join(['python', 'tools/train.py', '-c', run.config_file.as_posix()])}" for run in plan.runs]
    return "\n".join([*parts, ""])


def _other_programs(results: Results) -> list[str]:
    """What runs by more than one state of the program say about their differences; nothing where all are of one."""
    made: dict[str, list[str]] = {}
    for run, result in results.items():
        for state in result.programs or {"one that did not say"}:
            made.setdefault(state, []).append(_called(run))
    if len(made) < 2:
        return []
    listed = "; ".join(f"by {state}: {', '.join(runs)}" for state, runs in made.items())
    return [f"- **Not by one state of the program**, so that differences may come of that as well: {listed}."]


def _cores_had(results: Results) -> list[str]:
    """On how many cores the trainings ran, on which their seconds depend; nothing where none of them said."""
    had: dict[str, list[str]] = {}
    for run, result in results.items():
        cores = " and ".join(map(str, sorted(result.cores))) or "an unknown number"
        had.setdefault(cores, []).append(_called(run))
    if len(had) > 1:
        listed = "; ".join(f"on {cores}: {', '.join(runs)}" for cores, runs in had.items())
        return [f"- **Not on as many cores each**, so that seconds a step are no comparison: {listed}."]
    return [f"- Cores of each training: {cores}." for cores in had if cores != "an unknown number"]


def _began_anew(results: Results) -> list[str]:
    """Students that `Global.on_divergence: restart` set back: they have learned for fewer steps than the others."""
    listed = [
        f"{_called(run)}, {student} at step {step}"
        for run, result in results.items()
        for step, student in result.restarts
    ]
    return [f"- **Began anew**, with fewer steps than the others: {'; '.join(listed)}."] if listed else []


def _how_to_read(plan: Plan, results: Results, rows: Sequence[Row]) -> list[str]:
    text = [
        "- hmean: mean over the seeds ± standard deviation. The ensemble is the mean of the students' maps.",
        "- gain: over as many students trained alone, from the same initial weights, in the same data order; the mean "
        "of the differences seed by seed ± standard error. The best of K is held against the best of K alone, because "
        "choosing is a gain of its own. *Within noise*: less than two standard errors, or one seed.",
        '- seconds a step: median over a run\'s log points, mean over seeds; "about": a share of a run that trained '
        "more students. Peak memory: of the training process alone (of a loader's worker where that held more), "
        "without a GPU's memory. "
        "Parameters: of one exported student.",
    ]
    text += _cores_had(results)
    # Of those that the verdicts rest on: a gain needs a seed that both have finished.
    if seeds := min((row.gain_mean.seeds for row in rows if row.gain_mean and row.gain_mean.seeds > 1), default=0):
        text.append(
            f"- With {seeds} seeds a method without any effect passes two standard errors in "
            f"{by_chance(seeds):.0%} of comparisons: a single *better* is a hint, more seeds make it evidence."
        )
    text += _began_anew(results)
    text += _other_programs(results)
    if scored := _teachers(plan, results):
        listed = ", ".join(f"{where} {hmean:.4f}" for where, hmean in scored.items())
        text.append(f"- The teacher's own hmean on the same images: {listed}.")
    return text


def _teachers(plan: Plan, results: Results) -> dict[str, float]:
    """The hmean of every frozen network by where it lies: methods may call several by one name."""
    found = {}
    for (method, seed), result in results.items():
        networks = plan.run(method, seed).config.teachers
        for name, hmean in result.teachers.items():
            found[f"{name} ({networks[name].inference_model or networks[name].pretrained})"] = hmean
    return found
