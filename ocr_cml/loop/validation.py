"""What the best students do on the evaluation images, kept in the run folder for its report.

`RUN/validation/validation.json` holds precision and recall of every network over the box threshold, and the pictures
that the best student does best and worst: ground truth, everyone's boxes; beside it lie the pictures and everyone's
probability maps as small JPEGs. It costs one evaluation of at most `MOST_IMAGES` images.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ocr_cml.evaluate import MapFunction, Page, batches, scored, with_ensemble
from ocr_cml.metrics import Counts, Overlap, overlap
from ocr_cml.postprocess import DBPostProcess
from ocr_cml.records import Best
from ocr_cml.run_files import VALIDATION, VALIDATION_RECORD
from ppocr_data.dataset import EvalDataset
from ppocr_data.spread import evenly

MOST_IMAGES = 200
SHOWN = 10  # best, and as many worst
_THRESHOLDS = tuple(round(0.05 * number, 2) for number in range(2, 20))  # 0.1 to 0.95
_PICTURE_SIDE, _MAP_SIDE = 640, 400  # longest, pixels
_PICTURE_QUALITY, _MAP_QUALITY = 75, 60


@dataclass(frozen=True)
class Answer:
    """A network's boxes of one image, doubtful ones included, and how they lie on the ground truth."""

    polygons: list[np.ndarray]
    scores: np.ndarray
    overlap: Overlap

    def counts(self, box_thresh: float) -> Counts:
        """As if only boxes of at least this score had been found."""
        return self.overlap.counts(self.scores >= box_thresh)


class Examination:
    """The pass over the images: what each network answers, without the maps, which would not fit in memory.

    Args:
        dataset: the evaluation images.
        postprocess: maps to boxes, as evaluated.
        students, teachers: by name, what answers a batch.
        batch_size: images of equal shape that are answered at once.
    """

    def __init__(
        self,
        dataset: EvalDataset,
        postprocess: DBPostProcess,
        students: Mapping[str, MapFunction],
        teachers: Mapping[str, MapFunction],
        batch_size: int,
    ) -> None:
        self.dataset, self.postprocess = dataset, postprocess
        self._students, self._teachers = students, teachers
        self.names = [*scored(students, students), *teachers]
        self.indices = evenly(len(dataset), MOST_IMAGES)
        lenient = postprocess.model_copy(update={"box_thresh": min(_THRESHOLDS[0], postprocess.box_thresh)})
        self.answers: dict[str, dict[str, Answer]] = {}
        for pages in batches(dataset, batch_size, self.indices):
            maps = self.maps([page.image for page in pages])
            for number, page in enumerate(pages):
                self.answers[page.source] = {name: _answer(lenient, maps[name][number], page) for name in self.names}

    def maps(self, images: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Probability maps `[N,h,w]` of uint8 images `[h,w,3]` by each network, the students' mean among them."""
        batch = np.stack(images)
        found = {name: network(batch) for name, network in self._students.items()}
        return with_ensemble(found, found) | {name: network(batch) for name, network in self._teachers.items()}

    def curve(self, name: str) -> list[dict[str, float]]:
        """Precision and recall of a network at each box threshold, from the highest down."""
        thresholds = sorted({*_THRESHOLDS, self.postprocess.box_thresh}, reverse=True)
        points = []
        for threshold in thresholds:
            counts = sum((answers[name].counts(threshold) for answers in self.answers.values()), start=Counts())
            points.append({"box_thresh": threshold, **counts.result()})
        return points

    def ranked(self, student: str) -> list[str]:
        """Sources of the images from the one that a student does best down to its worst.

        Of equally good images the one with more text is better, of equally bad ones worse: the pictures that say most
        stand at the ends.
        """

        def goodness(source: str) -> tuple[float, float]:
            counts = self.answers[source][student].counts(self.postprocess.box_thresh)
            quality = _quality(counts)
            return quality, counts.tp if quality == 1 else counts.tp - counts.num_gt - counts.num_det

        return sorted(self.answers, key=goodness, reverse=True)

    def entry(self, page: Page) -> dict[str, Any]:
        """What the report says of one page, beside its pictures."""
        threshold = self.postprocess.box_thresh
        return {
            "source": page.source,
            "size": [page.original_hw[1], page.original_hw[0]],
            "truth": [
                {"points": [[round(float(x), 1), round(float(y), 1)] for x, y in polygon], "ignore": bool(ignore)}
                for polygon, ignore in zip(page.polygons, page.ignore, strict=True)
            ],
            "networks": {name: _shown(answer, threshold) for name, answer in self.answers[page.source].items()},
        }


def record(examination: Examination, best: Best, run: Path) -> None:
    """Write `RUN/validation`, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    folder = run / VALIDATION
    temporary = folder.with_name(f"{VALIDATION}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    order = examination.ranked(best.student)
    ends = {"best": order[: min(SHOWN, (len(order) + 1) // 2)], "worst": order[::-1][: min(SHOWN, len(order) // 2)]}
    numbers = {examination.dataset.samples[index].source: index for index in examination.indices}
    pages: dict[str, list[dict[str, Any]]] = {}
    for kind, sources in ends.items():
        pages[kind] = []
        for place, source in enumerate(sources):
            page = next(batches(examination.dataset, 1, [numbers[source]]))[0]
            files = _write_pictures(temporary, f"{kind}{place:02}", page, examination.maps([page.image]))
            pages[kind].append({**examination.entry(page), **files})
    found = {
        "student": best.student,
        "step": best.step,
        "hmean": best.hmean,
        "images": len(examination.indices),
        "of": len(examination.dataset),
        "box_thresh": examination.postprocess.box_thresh,
        "curves": {name: examination.curve(name) for name in examination.names},
        **pages,
    }
    (temporary / VALIDATION_RECORD).write_text(json.dumps(found), encoding="utf-8")
    forget(run)
    os.replace(temporary, folder)


def forget(run: Path) -> None:
    """Remove `RUN/validation`, if it is one of ours: somebody may have put a folder of that name there."""
    if (run / VALIDATION / VALIDATION_RECORD).is_file():
        # Under another name first: half removed, it would be nobody's, and in the way for ever.
        gone = run / f".{VALIDATION}.gone"
        shutil.rmtree(gone, ignore_errors=True)
        with contextlib.suppress(OSError):  # what would take its place says what is wrong
            (run / VALIDATION).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def is_recorded(best: Best, run: Path) -> bool:
    """Whether `RUN/validation` is already that of this best checkpoint."""
    try:
        found = json.loads((run / VALIDATION / VALIDATION_RECORD).read_text(encoding="utf-8"))
        return (found["student"], found["step"], found["hmean"]) == (best.student, best.step, best.hmean)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _answer(postprocess: DBPostProcess, map_: np.ndarray, page: Page) -> Answer:
    polygons, scores = postprocess(map_, page.original_hw)
    return Answer(polygons, np.asarray(scores, np.float64), overlap(polygons, page.polygons, page.ignore))


def _quality(counts: Counts) -> float:
    """hmean of one image; an image without text in which nothing was found is perfect."""
    parts = counts.num_gt + counts.num_det
    return 2 * counts.tp / parts if parts else 1.0


def _shown(answer: Answer, box_thresh: float) -> dict[str, Any]:
    keep = answer.scores >= box_thresh
    right = set(answer.overlap.matches(keep).tolist())
    counts = answer.counts(box_thresh)
    boxes = [
        {
            "points": answer.polygons[number].tolist(),
            "score": round(float(answer.scores[number]), 3),
            # A box that a don't-care region swallows is neither right nor wrong.
            "right": number in right if answer.overlap.det_care[number] else None,
        }
        for number in np.flatnonzero(keep)
    ]
    return {"hmean": _quality(counts), "tp": counts.tp, "num_gt": counts.num_gt, "num_det": counts.num_det} | {
        "boxes": boxes
    }


def _write_pictures(folder: Path, stem: str, page: Page, answers: Mapping[str, np.ndarray]) -> dict[str, Any]:
    _write(folder / f"{stem}.jpg", _smaller(page.image, _PICTURE_SIDE), _PICTURE_QUALITY)
    maps = {}
    for number, (name, answer) in enumerate(answers.items()):
        grey = np.round(answer[0] * 255).astype(np.uint8)
        maps[name] = f"{stem}-{number}.jpg"
        _write(folder / maps[name], _smaller(grey, _MAP_SIDE), _MAP_QUALITY)
    return {"picture": f"{stem}.jpg", "maps": maps}


def _smaller(image: np.ndarray, side: int) -> np.ndarray:
    height, width = image.shape[:2]
    factor = min(1.0, side / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA) if factor < 1 else image


def _write(path: Path, picture: np.ndarray, quality: int) -> None:
    path.write_bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())
