"""How the cost grows with students, image size, boxes, loader workers and processes. Ours alone."""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocr_cml.benchmark import inputs, recipe
from ocr_cml.benchmark.measure import OURS, Row, row_of
from ocr_cml.benchmark.side import Side
from ocr_cml.records import paces, read_records
from ocr_cml.run_files import METRICS
from ocr_cml.tool_files import tool_file
from ppocr_data.errors import UserError

if TYPE_CHECKING:
    from ocr_cml.benchmark.suite import Suite

_STEPS = 12
_LOGGED = 4


def students(suite: Suite) -> list[Row]:
    """A step with one to four students, and what each further one adds."""
    counts, crop = ((1, 2), 64) if suite.settings.quick else ((1, 2, 3, 4), 256)
    rows = [_step(suite, f"step of CML, {count} students, {crop}x{crop}", crop, students=count) for count in counts]
    medians = [statistics.median(row.values[OURS]) for row in rows]
    added = [f"{later - earlier:.2f}" for earlier, later in itertools.pairwise(medians)]
    rows[-1].note = f"seconds that each further student adds: {', '.join(added)}"
    return rows


def sizes(suite: Suite) -> list[Row]:
    """A step with two students at growing crops."""
    crops = (64, 128) if suite.settings.quick else (128, 256, 384, 512)
    return [_step(suite, f"step of CML, 2 students, {crop}x{crop}", crop) for crop in crops]


def boxes(suite: Suite) -> list[Row]:
    """Post-process and metric of pages with more and more boxes."""
    rows = []
    for count in (10, 30) if suite.settings.quick else (10, 30, 100, 300):
        stem = suite.folder / f"grow{count}"
        inputs.score_pages(stem, 4, count)
        answers = suite.measure([Side(OURS, "ours")], "scoring", stem=str(stem))
        rows.append(
            row_of(f"post-process and metric, {count} boxes", "ms/image", 1e3, answers, "postprocess", "metric")
        )
    return rows


def workers(suite: Suite) -> list[Row]:
    """Images a second of one and more loader workers."""
    label_file, data_dir = suite.pictures(8 if suite.settings.quick else 48)
    rows = []
    for count in (1, 2) if suite.settings.quick else (1, 2, 4):
        answers = suite.measure(
            [Side(OURS, "ours")],
            "loader",
            label_file=label_file,
            data_dir=data_dir,
            transforms=recipe.transforms(),
            batch=4,
            batches=2 if suite.settings.quick else 16,
            workers=count,
        )
        rates = {side: [1 / answer["seconds"] for answer in given] for side, given in answers.items()}
        rows.append(Row(f"loader, {count} workers, crop 640", "images/s", rates))
    return rows


def processes(suite: Suite) -> list[Row]:
    """Images a second of a whole training in one process, and in two that average their gradients over gloo."""
    label_file, data_dir = suite.pictures(8 if suite.settings.quick else 24)
    rates, crop = {}, _crop_of_processes(suite)
    for count in (1, 2):
        suite.say(f"processes: {count}")
        folder = suite.folder / f"processes{count}"
        folder.mkdir()
        given = _configuration(suite, folder, label_file, data_dir)
        launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", str(count), "--backend", "gloo"]
        launch += ["--log_dir", str(folder / "logs")]
        command = [sys.executable, *(launch if count > 1 else []), str(tool_file("train")), "-c", str(given)]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PADDLE_")}
        done = subprocess.run(command, env=clean, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"benchmark: training in {count} processes failed: {done.stderr[-2000:]}")
        _, *later = paces(read_records(folder / "run" / METRICS)[0])  # the first has what is done once
        rates[count] = [4 * count / pace.seconds_a_step for pace in later]
    one, two = (statistics.median(rates[count]) for count in (1, 2))
    rows = [Row(f"training, {count} processes, {crop}x{crop}", "images/s", {OURS: rates[count]}) for count in (1, 2)]
    rows[-1].note = f"{two / one:.2f} times the rate of one process, which has all cores of the machine for itself"
    return rows


def _step(suite: Suite, label: str, crop: int, **arguments: Any) -> Row:
    answers = suite.measure([Side(OURS, "ours")], "step", rounds=suite.step_rounds, **suite.step(crop), **arguments)
    return row_of(label, "s", 1, answers, "seconds")


def _crop_of_processes(suite: Suite) -> int:
    return 64 if suite.settings.quick else 256


def _configuration(suite: Suite, folder: Path, label_file: str, data_dir: str) -> Path:
    """A short training without a look at the evaluation set but the last, as a file."""
    import yaml

    from ocr_cml.benchmark.training import document

    weights = str(recipe.teacher_weights(suite.folder))
    made = document(
        folder,
        label_file,
        data_dir,
        recipe.transforms(_crop_of_processes(suite)),
        4,
        recipe.STUDENT,
        recipe.TEACHER,
        weights,
        students=2,
    )
    # The run ends with an evaluation, which is not what is measured.
    made["Eval"]["dataset"]["transforms"][-1] = {"DetResizeForTest": {"limit_side_len": 64, "limit_type": "max"}}
    made["Global"] |= {"max_steps": _STEPS, "print_batch_step": _LOGGED, "eval_batch_step": [0, 1000]}
    path = folder / "training.yml"
    path.write_text(yaml.safe_dump(made, sort_keys=False), encoding="utf-8")
    return path


GROWTH: dict[str, Callable[[Suite], list[Row]]] = {
    "students": students,
    "sizes": sizes,
    "boxes": boxes,
    "workers": workers,
    "processes": processes,
}
