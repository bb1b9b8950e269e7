"""Pictures of what a method's best student and the best of as many trained alone answer differently, in pairs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ocr_cml import assemble, config
from ocr_cml.compare.outcome import PlannedRun
from ocr_cml.compare.plan import Plan
from ocr_cml.compare.results import read_results
from ocr_cml.compare.same_data import refuse_other_labels_to_score
from ocr_cml.environment import cpu_cores
from ocr_cml.evaluate import Page, batches
from ocr_cml.fastest import fastest
from ocr_cml.metrics import overlap
from ocr_cml.postprocess import DBPostProcess
from ocr_cml.run_files import BEST, LATEST
from ocr_cml.runtime import FrozenDetector
from ocr_cml.trained import load_trained
from ppocr_data.atomic import replacing
from ppocr_data.dataset import EvalDataset
from ppocr_data.errors import ConfigError, UserError

__all__ = ["reference_of", "write_differences"]

WINDOW = (400, 300)
"""Width and height of what a picture shows, in pixels as the networks see them."""
_ZOOM = 1.5
_FOUND, _MISSED, _FALSE, _NEITHER = (60, 160, 0), (0, 0, 230), (230, 120, 0), (150, 150, 150)
"""BGR: green, red, blue, grey."""
_TEXT, _DONT_CARE = (220, 220, 220), (243, 243, 243)
"""BGR: where text is, in a picture without its image."""
_FRAME = (200, 200, 200)


@dataclass(frozen=True)
class Answer:
    """A network's boxes of one page.

    Attributes:
        boxes: each `[4,2]`, in pixels of the page as the networks see it.
        right: bool for each box: a text that counts is found by it.
        false: bool for each box: it is no text, and in no don't-care region.
        found: bool for each ground truth.
    """

    boxes: list[np.ndarray]
    right: np.ndarray
    false: np.ndarray
    found: np.ndarray


@dataclass(frozen=True)
class Compared:
    """A page as both networks answered it.

    Attributes:
        truth: the ground truth, each `[K,2]`, in pixels of the page as the networks see it.
        care: bool for each of it; False for don't care.
        size: width and height of the page.
        alone, method: the answers.
    """

    truth: list[np.ndarray]
    care: np.ndarray
    size: tuple[int, int]
    alone: Answer
    method: Answer

    @property
    def gain(self) -> np.ndarray:
        """For each ground truth 1 where only the method found it, -1 where only the student alone did, else 0."""
        return np.asarray(self.care * (self.method.found.astype(int) - self.alone.found))

    def window(self, sign: int) -> tuple[int, tuple[int, int]]:
        """Where the method finds most more (sign 1) or less (-1): by how many texts, and the upper left corner."""
        gain, best = self.gain * sign, (0, (0, 0))
        middles = np.array([polygon.mean(axis=0) for polygon in self.truth]).reshape(-1, 2)
        for middle in middles[gain > 0]:
            corner = np.clip(middle - np.array(WINDOW) / 2, 0, np.maximum(np.array(self.size) - WINDOW, 0)).astype(int)
            inside = ((middles >= corner) & (middles < corner + WINDOW)).all(axis=1)
            if (more := int(gain[inside].sum())) > best[0]:
                best = (more, (int(corner[0]), int(corner[1])))
        return best


def write_differences(plan: Plan, method: str, count: int = 3, *, images: bool = True) -> Path:
    """Write `OUTPUT/differences/METHOD.md` and its pictures: where the method finds more, and where it finds less.

    Looked at is the first seed with which both are trained, and of either the student with the higher hmean. An earlier
    page of the method and its pictures are replaced. Pages without images lie in `OUTPUT/differences_without_images`,
    so that the whole folder may be passed on.

    Args:
        plan: a comparison with finished runs.
        method: a method's name.
        count: pictures of either kind, at most; one a page.
        images: draw on the images themselves. Without them a picture shows the labels as grey areas on white, for
            images that must not be passed on.

    Returns:
        The page.

    Raises:
        ConfigError: there is no such method, it is the one that others are held against, no seed has both, or the
            labels to evaluate on have changed since.
        UserError: the files cannot be written.
    """
    runs = _pair(plan, method)
    refuse_other_labels_to_score([run for run, _ in runs])
    networks = [_network(run, name, plan.settings.score) for run, name in runs]
    dataset = assemble.eval_dataset(runs[0][0].config)
    pages = [_compared(_read(dataset, i), networks, runs[0][0].config.PostProcess) for i in range(len(dataset))]
    folder = plan.output / ("differences" if images else "differences_without_images")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_pictures(folder, method)
        lines = _head(runs, pages, images)
        for kind, sign, title in (("more", 1, "Where the method finds more"), ("less", -1, "Where it finds less")):
            found = sorted(((*page.window(sign), i) for i, page in enumerate(pages)), key=lambda f: (-f[0], f[2]))
            lines += ["", f"## {title}"]
            for place, (more, corner, index) in enumerate(entry for entry in found[:count] if entry[0]):
                name = f"{method}.{kind}{place}.jpg"
                page = _read(dataset, index)
                ground = page.image if images else _labels_alone(page.image.shape, pages[index])
                _write(folder / name, _picture(ground, pages[index], corner))
                lines += [
                    "",
                    f"`{page.source}`, {more} texts:",
                    "",
                    f"![alone on the left, {method} on the right]({name})",
                ]
        return _write(folder / f"{method}.md", ("\n".join([*lines, ""])).encode())
    except OSError as error:
        raise UserError(f"{folder}: the pictures cannot be written: {error}") from None


def reference_of(plan: Plan, method: str) -> str:
    """The name of the method whose students are those trained alone.

    Raises:
        ConfigError: there is no such method, or it is that one itself.
    """
    counts = {m.name: m.count for m in plan.methods}
    if method not in counts:
        raise ConfigError(f"--differences {method}: there is no such method; choose one of {', '.join(counts)}")
    reference = plan.reference(counts[method]).name
    if reference == method:
        raise ConfigError(f"--differences {method}: is what the others are held against; choose another method")
    return reference


def _pair(plan: Plan, method: str) -> list[tuple[PlannedRun, str]]:
    """The runs of the reference and of the method with the first seed that has both, and the best student of each."""
    reference = reference_of(plan, method)
    count = next(m.count for m in plan.methods if m.name == method)
    results = read_results(plan)
    for seed in plan.settings.seeds:
        if {(method, seed), (reference, seed)} <= set(results):
            pair = []
            for run in (plan.run(reference, seed), plan.run(method, seed)):
                result = results[run.method, seed]
                scores = (result.students if plan.settings.score == "last" else result.at_best)[:count]
                pair.append((run, list(run.config.students)[scores.index(max(scores))]))
            return pair
    raise ConfigError(f"--differences {method}: no seed of {method} and of {reference} has finished; train them first")


def _network(run: PlannedRun, name: str, score: str) -> FrozenDetector:
    """A student of a finished run, from the weights that its score is of."""
    weights = run.folder / (LATEST if score == "last" else BEST)
    settings = config.with_global(run.config, pretrained_model=str(weights))
    return fastest(load_trained(settings).students[name], assemble.normalization(settings), cpu_cores(), name)


def _read(dataset: EvalDataset, index: int) -> Page:
    return next(batches(dataset, 1, [index]))[0]


def _compared(page: Page, networks: Sequence[FrozenDetector], postprocess: DBPostProcess) -> Compared:
    """Matched in pixels of the original, as evaluated; kept in those of the page."""
    height, width = page.image.shape[:2]
    scale = np.array([width / page.original_hw[1], height / page.original_hw[0]])
    answers = []
    for network in networks:
        boxes, _ = postprocess(network.probability(page.image[None])[0], page.original_hw)
        laid = overlap(boxes, page.polygons, page.ignore)
        matches = laid.matches()
        right = np.isin(np.arange(len(boxes)), matches)
        false = laid.det_care & ~right
        answers.append(Answer([box * scale for box in boxes], right, false, matches >= 0))
    truth = [polygon * scale for polygon in page.polygons]
    return Compared(truth, ~np.asarray(page.ignore, bool), (width, height), *answers)


def _head(runs: Sequence[tuple[PlannedRun, str]], pages: Sequence[Compared], images: bool) -> list[str]:
    (alone, first), (method, second) = runs
    gain = np.concatenate([page.gain for page in pages]) if pages else np.zeros(0)
    both = sum(int((page.alone.found & page.method.found).sum()) for page in pages)
    care = sum(int(page.care.sum()) for page in pages)
    more, less = int((gain > 0).sum()), int((gain < 0).sum())
    false = [sum(int(answer.false.sum()) for answer in side) for side in _sides(pages)]
    return [
        f"# {method.method} beside {alone.method}",
        "",
        f"Seed {method.seed}; {first} of {alone.method} on the left, {second} of {method.method} on the right. Green: "
        "the box of a text that was found; red: a text that was missed; blue: a box that is no text; grey: a box in a "
        "region that does not count." + ("" if images else " Grey areas: texts; light ones do not count."),
        "",
        f"Of {care} texts both find {both}, only {method.method} {more}, only {alone.method} {less}, neither "
        f"{care - both - more - less}. Boxes that are no text: {false[0]} and {false[1]}.",
    ]


def _sides(pages: Sequence[Compared]) -> tuple[list[Answer], list[Answer]]:
    return [page.alone for page in pages], [page.method for page in pages]


def _labels_alone(shape: tuple[int, ...], page: Compared) -> np.ndarray:
    """White uint8 `[H,W,3]` with the labels as grey areas, in an image's place."""
    ground = np.full(shape, 255, np.uint8)
    for cares, color in ((False, _DONT_CARE), (True, _TEXT)):
        for polygon in (truth for truth, care in zip(page.truth, page.care, strict=True) if care == cares):
            cv2.fillPoly(ground, [np.rint(polygon).astype(np.int32)], color)
    return ground


def _picture(image: np.ndarray, page: Compared, corner: tuple[int, int]) -> np.ndarray:
    """The same window of uint8 BGR `[H,W,3]` twice, each with an answer drawn on it."""
    left, top = corner
    part = image[top : top + WINDOW[1], left : left + WINDOW[0]]
    large = cv2.resize(part, None, fx=_ZOOM, fy=_ZOOM, interpolation=cv2.INTER_CUBIC)
    sides = []
    for answer in (page.alone, page.method):
        drawn = large.copy()
        missed = [polygon for polygon, found in zip(page.truth, answer.found | ~page.care, strict=True) if not found]
        kinds = ((~answer.right & ~answer.false, _NEITHER), (answer.right, _FOUND), (answer.false, _FALSE))
        drawings = [([answer.boxes[i] for i in np.flatnonzero(chosen)], color) for chosen, color in kinds]
        for polygons, color in (*drawings, (missed, _MISSED)):
            placed = [np.rint((polygon - corner) * _ZOOM).astype(np.int32) for polygon in polygons]
            cv2.polylines(drawn, placed, True, color, 2, cv2.LINE_AA)
        sides.append(cv2.copyMakeBorder(drawn, 4, 4, 4, 4, cv2.BORDER_CONSTANT, value=_FRAME))
    return np.hstack(sides)


def _remove_pictures(folder: Path, method: str) -> None:
    """Those of an earlier page of the method, of which the new one may have fewer."""
    own = re.compile(re.escape(method) + r"\.(more|less)\d+\.jpg")
    for path in folder.iterdir():
        if own.fullmatch(path.name):
            path.unlink()


def _write(path: Path, content: np.ndarray | bytes) -> Path:
    """A picture or a text, whole or not at all."""
    if isinstance(content, np.ndarray):
        content = cv2.imencode(".jpg", content, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    with replacing(path) as fresh:
        fresh.write_bytes(content)
    return path
