"""Which cases there are, what each is given, and the rows that its answers make."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocr_cml.benchmark import inputs, recipe
from ocr_cml.benchmark.growth import GROWTH
from ocr_cml.benchmark.measure import OURS, Row, cpu_of, in_turn, row_of
from ocr_cml.benchmark.memory import memory
from ocr_cml.benchmark.side import ROOT, Side, our_environment

Say = Callable[[str], None]
PLAIN = "plain"
PPOCR = "ppocr"
DEPLOYED = "TextDetection"


@dataclass(frozen=True)
class Settings:
    """What the command line says.

    Attributes:
        rounds: counted rounds of each case; a training step has fewer.
        peer_python: the interpreter of a virtual environment with paddleocr 2.10.0, or None.
        peer_source: a checkout of PaddleOCR, for what its package lacks, or None.
        label_file, data_dir: pictures for loader, step and evaluation instead of synthetic ones, or None.
        model_dir: the exported detector to run.
        quick: fewer and smaller inputs, to see that everything works.
    """

    rounds: int = 7
    peer_python: str | None = None
    peer_source: Path | None = None
    label_file: Path | None = None
    data_dir: Path | None = None
    model_dir: Path = ROOT / "configs" / "teacher"
    quick: bool = False

    def peer(self, name: str = PPOCR, *, source: bool = False, tuned: bool = False) -> list[Side]:
        """PaddleOCR's side, or none where it is not installed (or needs the source, and that is absent)."""
        if self.peer_python is None or (source and self.peer_source is None):
            return []
        environment = {"PPOCR_SOURCE": str(self.peer_source)} if source else {}
        return [Side(name, "peer", self.peer_python, environment | (our_environment() if tuned else {}))]


class Suite:
    """Runs cases one after the other.

    Args:
        settings: see there.
        say: told how far it is.
    """

    def __init__(self, settings: Settings, say: Say) -> None:
        self.settings, self.say = settings, say
        self._folder = tempfile.TemporaryDirectory(prefix="ocr_cml_benchmark_")
        self.folder = Path(self._folder.name)

    def close(self) -> None:
        """Delete the inputs."""
        self._folder.cleanup()

    def run(self, name: str) -> list[Row]:
        """The rows of a case."""
        return CASES[name](self)

    def measure(self, sides: Sequence[Side], case: str, rounds: int = 0, **arguments: Any) -> dict[str, list[Any]]:
        """Let the sides do a case in turn, and end them."""
        with ExitStack() as stack:
            for side in sides:
                stack.enter_context(side)
            return in_turn(sides, case, arguments, rounds or self.settings.rounds, self.say)

    @property
    def step_rounds(self) -> int:
        """Rounds of a training step: it takes seconds."""
        return 1 if self.settings.quick else max(3, self.settings.rounds // 2)

    def step(self, crop: int) -> dict[str, Any]:
        """What the case `step` is given: PP-OCRv2's networks on batches of four crops."""
        label_file, data_dir = self.pictures(8 if self.settings.quick else 24)
        return {
            "label_file": label_file,
            "data_dir": data_dir,
            "transforms": recipe.transforms(crop),
            "batch": 4,
            "student": recipe.STUDENT,
            "teacher": recipe.TEACHER,
            "teacher_weights": str(recipe.teacher_weights(self.folder)),
        }

    def pictures(self, count: int) -> tuple[str, str]:
        """Label file and data_dir of `count` pictures: the user's, or synthetic ones of 1280x720."""
        where = self.folder / f"pictures{count}"
        given = self.settings
        if given.label_file is not None:
            data_dir = given.data_dir or given.label_file.parent
            made = inputs.first_lines(given.label_file.resolve(), data_dir.resolve(), count, where)
        else:
            made = inputs.photos(where, count) if not where.is_dir() else (where / "train.txt", where)
        return str(made[0]), str(made[1])


def targets(suite: Suite) -> list[Row]:
    """Shrink and threshold maps of 640x640 crops."""
    rows = []
    for polygons in (5, 50):
        path = suite.folder / f"targets{polygons}.json"
        inputs.target_polygons(path, 2 if suite.settings.quick else 12, polygons)
        sides = [Side(OURS, "ours"), Side(PLAIN, "plain"), *suite.settings.peer()]
        answers = suite.measure(sides, "targets", path=str(path), size=640)
        rows.append(row_of(f"targets, 640x640, {polygons} polygons", "ms/image", 1e3, answers, "seconds"))
    return rows


def loader(suite: Suite) -> list[Row]:
    """Images a second of one worker process, with the recipe's augmentation."""
    label_file, data_dir = suite.pictures(8 if suite.settings.quick else 48)
    sides = [Side(OURS, "ours"), Side(PLAIN, "plain"), *suite.settings.peer()]
    batches = 2 if suite.settings.quick else 12
    answers = suite.measure(
        sides,
        "loader",
        label_file=label_file,
        data_dir=data_dir,
        transforms=recipe.transforms(),
        batch=4,
        batches=batches,
    )
    rates = {side: [1 / answer["seconds"] for answer in given] for side, given in answers.items()}
    return [Row("loader, one worker, crop 640", "images/s", rates, cpu_of(answers))]


def scoring(suite: Suite) -> list[Row]:
    """Post-process and metric of pages with few and with many boxes."""
    rows = []
    for boxes in (7, 120):
        stem = suite.folder / f"score{boxes}"
        inputs.score_pages(stem, 2 if suite.settings.quick else 8, boxes)
        source = suite.settings.peer_source is not None
        sides = [Side(OURS, "ours"), Side(PLAIN, "plain"), *suite.settings.peer(source=source)]
        answers = suite.measure(sides, "scoring", stem=str(stem))
        where = f"{boxes} boxes, {inputs.PAGE_HW[1]}x{inputs.PAGE_HW[0]}"
        rows += [
            row_of(f"post-process, {where}", "ms/image", 1e3, answers, "postprocess"),
            row_of(f"metric, {where}", "ms/image", 1e3, answers, "metric"),
            row_of(f"both, {where}", "ms/image", 1e3, answers, "postprocess", "metric"),
        ]
        counts = {side: (given[0]["boxes"], given[0].get("counts")) for side, given in answers.items()}
        rows[-1].note = "boxes, [matched, ground truths, detections]: " + "; ".join(
            f"{s} {c}" for s, c in counts.items()
        )
    return rows


def losses(suite: Suite) -> list[Row]:
    """All terms of CML on given logits, forward and backward."""
    path, size = suite.folder / "losses.npz", 64 if suite.settings.quick else recipe.CROP
    inputs.loss_maps(path, 4, size)
    source = suite.settings.peer(source=True)
    sides = [
        Side(OURS, "ours"),
        Side(PLAIN, "plain"),
        *source,
        *suite.settings.peer(f"{PPOCR}, our env.", source=True, tuned=True),
    ]
    answers = suite.measure(sides, "losses", path=str(path))
    row = row_of(f"losses of CML, batch 4, {size}x{size}", "ms", 1e3, answers, "seconds")
    row.note = "totals: " + "; ".join(f"{side} {given[0]['value']:.5f}" for side, given in answers.items())
    return [row]


def step(suite: Suite) -> list[Row]:
    """One training step of PP-OCRv2's CML, its parts, and the memory that it needs."""
    sides = [
        Side(OURS, "ours"),
        Side(f"{OURS}, all held", "ours", arguments={"options": {"recompute": False}}),
        Side(f"{OURS}, save_memory", "ours", arguments={"options": {"save_memory": True}}),
        Side(PLAIN, "plain"),
        *suite.settings.peer(source=True),
        *suite.settings.peer(f"{PPOCR}, our env.", source=True, tuned=True),
    ]
    crop = 64 if suite.settings.quick else recipe.CROP
    answers = suite.measure(sides, "step", rounds=suite.step_rounds, **suite.step(crop))
    rows = [row_of(f"step of CML, batch 4, {crop}x{crop}", "s", 1, answers, "seconds")]
    rows += [
        row_of(f"... {part}", "s", 1, answers, part)
        for part in ("waiting", "teacher", "forward", "losses", "backward", "optimizer")
    ]
    return [*rows, row_of("... peak memory of the process", "MB", 1e-6, answers, "peak")]


def evaluation(suite: Suite) -> list[Row]:
    """An evaluation without and with --tune."""
    label_file, data_dir = suite.pictures(4 if suite.settings.quick else 24)
    model = str(suite.settings.model_dir)
    answers = suite.measure(
        [Side(OURS, "ours")],
        "evaluation",
        model_dir=model,
        label_file=label_file,
        data_dir=data_dir,
        limit=736,
        batch=4,
    )[OURS]
    values = {OURS: [1e3 * a["plain"] for a in answers], "with --tune": [1e3 * a["tuned"] for a in answers]}
    return [Row("evaluation, shorter side 736", "ms/image", values)]


def detector(suite: Suite) -> list[Row]:
    """The exported detector, from file to boxes, beside paddleocr.TextDetection."""
    _, data_dir = suite.pictures(4 if suite.settings.quick else 24)
    folder = Path(data_dir) / "train"
    answers = suite.measure(
        [Side(OURS, "ours"), Side(DEPLOYED, "deployed")],
        "detector",
        model_dir=str(suite.settings.model_dir),
        folder=str(folder),
        limit=736,
        limit_type="min",
        batch=4,
    )
    rows = [
        row_of("file to boxes, one at a time, side 736", "ms/image", 1e3, answers, "single"),
        row_of("folder to boxes, batches of 4, side 736", "ms/image", 1e3, answers, "folder"),
    ]
    ours, theirs = answers[OURS][0], answers[DEPLOYED][0]
    same = sum(a == b for a, b in zip(ours["boxes"], theirs["boxes"], strict=True))
    count = sum(map(len, ours["boxes"]))
    rows[-1].note = f"boxes equal on {same} of {len(ours['boxes'])} pictures, {count} boxes"
    return rows


CASES: dict[str, Callable[[Suite], list[Row]]] = {
    "targets": targets,
    "loader": loader,
    "scoring": scoring,
    "losses": losses,
    "step": step,
    "memory": memory,
    "evaluation": evaluation,
    "detector": detector,
    **GROWTH,
}
