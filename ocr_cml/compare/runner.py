"""Which method helps this student on these data, and by how much: every training of a comparison.

Each training is a process of `tools/train.py` with its own folder, so that a comparison may be stopped and started at
will: what has finished is kept, what has begun goes on from its checkpoint. The tables are made anew after every run.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ocr_cml.cli import Terminated
from ocr_cml.compare.measured import FORWARDED
from ocr_cml.compare.outcome import OUTCOME, is_finished
from ocr_cml.compare.processes import Job, run_jobs
from ocr_cml.environment import tune_process
from ocr_cml.tool_files import tool_file
from ppocr_data.errors import UserError

if TYPE_CHECKING:
    from ocr_cml.compare.outcome import PlannedRun
    from ocr_cml.compare.plan import Plan

_INTERRUPTS = tuple(128 + number for number in FORWARDED)


def compare(
    config_path: str,
    overrides: Sequence[str],
    *,
    report_only: bool = False,
    differences: str | None = None,
    images: bool = True,
) -> int:
    """Train what is not trained yet, write the tables and the chart, print the table. Returns the exit code.

    Args:
        config_path, overrides: see `ocr_cml.compare.plan.make_plan`.
        report_only: train nothing; make the tables of what has finished.
        differences: a method of which pictures are drawn as well; see `write_differences`.
        images: these pictures show the images, and not their labels alone.

    Raises:
        ConfigError: mistakes in the configuration; runs of another configuration, or of other labels or teachers, in
            the output folder; no such method.
        WeightsError: a teacher's weights are missing.
        UserError: runs that failed, when all others have finished.
        KeyboardInterrupt, Terminated: after a signal; the running training has saved its state.
    """
    environment = dict(os.environ)  # the trainings choose their own threads
    tune_process()
    from ocr_cml.compare.differences import reference_of, write_differences
    from ocr_cml.compare.plan import make_plan
    from ocr_cml.compare.report import write_report
    from ocr_cml.compare.same_data import refuse_other_data
    from ocr_cml.log import start_logging

    plan = make_plan(config_path, overrides)
    if differences:
        reference_of(plan, differences)  # before hours of training
    command = shlex.join(["python", "tools/compare.py", "-c", config_path, *(["-o", *overrides] if overrides else [])])
    if report_only and not (plan.output / "runs").is_dir():
        raise UserError(f"output: {plan.output} holds no comparison; --report-only makes the tables of one that began")
    with _writing(plan.output):
        plan.output.mkdir(parents=True, exist_ok=True)
        start_logging(plan.output / "compare.log")
    if report_only:
        refuse_other_data(plan, today=False)
    failed = "" if report_only else run_all(plan, environment, command)
    sys.stdout.write(write_report(plan, command))
    if differences:
        sys.stdout.write(f"pictures in {write_differences(plan, differences, images=images)}\n")
    if failed:
        raise UserError("these runs failed, the others are in the tables; mend the cause and start again:\n" + failed)
    return 0


def run_all(plan: Plan, environment: Mapping[str, str], command: str) -> str:
    """Train every run that has not finished, seed by seed, `jobs` of them at once; the tables follow each.

    Args:
        plan: what to train.
        environment: variables of the trainings.
        command: how the comparison was started, for the report.

    Returns:
        A line for each run that failed.

    Raises:
        ConfigError, WeightsError: before the first run, where one of them could not go on or begin; before a later one,
            where labels or teachers have changed meanwhile.
        UserError: another process trains in one of the runs' folders, or the records of a finished run are damaged.
        KeyboardInterrupt, Terminated: a signal came; the running trainings have saved their state.
    """
    from ocr_cml.compare.plan import missing_weights
    from ocr_cml.compare.report import write_report
    from ocr_cml.compare.results import read_results
    from ocr_cml.compare.same_data import refuse_other_data
    from ocr_cml.compare.same_start import refuse_same_students
    from ocr_cml.log import LOG
    from ocr_cml.loop.run import is_trained_in
    from ppocr_data.errors import WeightsError

    todo = [run for run in plan.runs if not is_finished(run)]
    refuse_other_data(plan, today=bool(todo))
    read_results(plan)  # a damaged record of what has finished is told before hours of training
    if missing := missing_weights(todo):
        hint = "train or fetch them first, or leave those methods out with -o only=[...]"
        raise WeightsError("\n".join([*missing, hint]))
    refuse_same_students(todo)
    if busy := [str(run.folder) for run in todo if is_trained_in(run.folder)]:
        raise UserError(
            f"output: another process is training in {', '.join(busy)}; what a comparison began goes on where that was "
            "killed: wait for its end, or stop it, and start again"
        )
    LOG.info("%d of %d runs have finished", len(plan.runs) - len(todo), len(plan.runs))
    failed = []

    def begins(index: int) -> None:
        run = todo[index]
        refuse_other_data(plan, today=True)  # a label may have been corrected while the one before was trained
        LOG.info("run %d of %d: %s, seed %d, in %s", index + 1, len(todo), run.method, run.seed, run.folder)

    def ends(index: int, code: int) -> int:
        run = todo[index]
        if code == 0:
            write_report(plan, command)
        elif code in _INTERRUPTS:
            return code - 128
        else:
            failed.append(f"  {run.method}, seed {run.seed}: exit code {code}, see {run.folder / 'train.log'}")
            LOG.warning("%s, seed %d: failed with exit code %d; going on with the next", run.method, run.seed, code)
        return 0

    stopped = run_jobs(map(_job, todo), plan.settings.jobs, environment, begins, ends)
    if stopped:
        raise KeyboardInterrupt if stopped == signal.SIGINT else Terminated(stopped)
    return "\n".join(failed)


@contextlib.contextmanager
def _writing(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or output
        raise UserError(f"output: {where} cannot be written ({error.strerror}); choose another folder") from None


def _job(run: PlannedRun) -> Job:
    """A training in a process of its own; its configuration is written where it will read it."""
    from ocr_cml import config

    with _writing(run.config_file.parent.parent):
        run.config_file.parent.mkdir(parents=True, exist_ok=True)
        run.folder.mkdir(parents=True, exist_ok=True)
        config.save(run.config, run.config_file)
    return Job([sys.executable, str(tool_file("train")), "-c", str(run.config_file)], run.folder / OUTCOME)
