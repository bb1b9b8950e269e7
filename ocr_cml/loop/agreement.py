"""Do teacher and labels speak the same language? One second of work that decides whether a training can succeed.

A teacher's map is the text shrunk by the ratio of *its* training. Where the labels are shrunk by another ratio, the two
contradict each other along every edge of every line, and a good teacher ruins a student: PP-OCRv3's official detector
(hmean .925) took a student on receipts from .786 to .554 at the usual ratio .4, and to .814 at the ratio that fits
both.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import paddle

from ocr_cml.losses.maps import TEXT_LEVEL, logit, resized
from ocr_cml.losses.teacher import dilated_target
from ocr_cml.models.detector import DetOutput
from ocr_cml.records import AGREEMENT
from ocr_cml.runtime import FrozenDetector
from ppocr_data.targets import shrink_target

RATIOS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
CONTRADICTION = 0.05
"""A configured ratio whose Dice is this far below the best one's is worth a warning."""

STRANGERS = 0.5
"""A best Dice below this means that teacher and labels do not mark the same things, whatever the ratio."""

POOR = 0.7
"""A best Dice below this is worth a warning: a teacher that marks what the labels mark has 0.8 and more."""


@dataclass(frozen=True)
class Fit:
    """How well a teacher's thresholded map matches shrink maps made from the labels at one ratio.

    Attributes:
        ratio: the shrink ratio of the labels.
        dice: 2 |A and B| / (|A| + |B|) over the pixels that are not don't-care, in [0, 1].
        area: the teacher's text pixels for each of the labels'; above 1 the teacher's regions are larger.
    """

    ratio: float
    dice: float
    area: float


@dataclass(frozen=True)
class Crop:
    """A training crop before its targets: image `[H,W,3]` uint8, polygons in its pixels, True for don't-care ones."""

    image: np.ndarray
    polygons: list[np.ndarray]
    ignore: np.ndarray


def sweep(
    teacher: FrozenDetector,
    crops: Sequence[Crop],
    *,
    thresh: float = TEXT_LEVEL,
    dilation: int = 0,
    min_text_size: float = 8,
    ratios: Sequence[float] = RATIOS,
) -> list[Fit]:
    """Compare what the teacher teaches with label targets over shrink ratios, on crops of equal size.

    What it teaches is its map over `thresh`, grown by `dilation` pixels in width and height as `TeacherLoss` grows it:
    two pixels are a tenth of the height of a line of 20.

    The Dice is 0 where neither the teacher nor the labels have a text pixel in any crop: nothing was shown.
    """
    maps = [_taught(teacher.probability(crop.image[None])[0], thresh, dilation) for crop in crops]
    fits = []
    for ratio in ratios:
        both = taught = labelled = 0
        for crop, map_ in zip(crops, maps, strict=True):
            target, mask = shrink_target(map_.shape, crop.polygons, crop.ignore, ratio, min_text_size)
            seen = mask.astype(bool)
            both += int(np.sum(map_ & target.astype(bool) & seen))
            taught += int(np.sum(map_ & seen))
            labelled += int(np.sum(target.astype(bool) & seen))
        fits.append(Fit(ratio, 2 * both / max(1, taught + labelled), taught / max(1, labelled)))
    return fits


def _taught(map_: np.ndarray, thresh: float, dilation: int) -> np.ndarray:
    """The text pixels of the target that is made of a probability map `[H,W]`."""
    guide = DetOutput.from_probability(paddle.to_tensor(map_)[None, None])
    return dilated_target(guide.shrink_logit, thresh, dilation).numpy()[0, 0] > 0


def best_fit(fits: Sequence[Fit]) -> Fit:
    """The ratio on which teacher and labels agree best."""
    return max(fits, key=lambda fit: fit.dice)


def verdict(
    name: str, fits: Sequence[Fit], configured: float, dilation: int = 0, *, until: float | None = None
) -> tuple[str, bool]:
    """One line for people, and whether it is a warning.

    Args:
        name: the teacher.
        fits: of the sweep, `configured` and `until` among them.
        configured: the shrink ratio of the labels.
        dilation: that of the sweep.
        until: of a schedule, the ratio at the run's end. What agrees at some time on the way contradicts nothing.
    """
    best = best_fit(fits)
    low, high = sorted((configured, configured if until is None else until))
    here = best_fit([fit for fit in fits if low <= fit.ratio <= high])
    ratio = f"{configured:g}" if low == high else f"{configured:g} to {until:g}"
    listed = "  ".join(f"{fit.ratio:g}:{fit.dice:.3f}" for fit in fits)
    line = f"{name} against the labels (shrink ratio:Dice)  {listed}"
    fixed = "" if low == high else " as a plain number, without total_epoch,"
    advice = (
        f"Set it{fixed} in MakeShrinkMap and MakeBorderMap, and fit unclip_ratio with tools/eval.py --tune afterwards"
    )
    if dilation:
        advice += (
            f"; or set the teacher term's dilation, which makes its regions {dilation} pixels larger, to 0 "
            "(-o Loss.loss_config_list.TeacherLoss.dilation=0; in PaddleOCR's files DistillationDilaDBLoss.dilation)"
        )
    if best.dice < STRANGERS:
        return (
            f"{line}\n  {name} agrees with the labels at no shrink ratio (best Dice {best.dice:.3f}): it does not find "
            "this text, or marks something else; look at preview.jpg, and choose another teacher",
            True,
        )
    if best.dice < POOR:
        return (
            f"{line}\n  {name} agrees poorly with the labels at every shrink ratio (best Dice {best.dice:.3f} at "
            f"{best.ratio:g}): it misses text, or marks lines where they mark words; look at preview.jpg. A teacher "
            "that speaks as they do, or none (configs/det_dml.yml), may help more",
            True,
        )
    if best.dice - here.dice > CONTRADICTION:
        return (
            f"{line}\n  {name} contradicts the labels at shrink_ratio {ratio} (Dice {here.dice:.3f}); "
            f"{best.ratio:g} fits better ({best.dice:.3f}). {advice}",
            True,
        )
    return (
        f"{line}\n  shrink_ratio {ratio} fits (Dice {here.dice:.3f}, best {best.dice:.3f} at {best.ratio:g})",
        False,
    )


# --- between students ------------------------------------------------------------------------------------------------


def agreement_name(first: str, second: str) -> str:
    """The key of two students' agreement in `metrics.jsonl`: `agreement/Student,Student2`."""
    return f"{AGREEMENT}{first},{second}"


def dice_of_maps(first: paddle.Tensor, second: paddle.Tensor) -> float:
    """How far two networks see the same text: the Dice of their thresholded maps, in [0, 1]; waits for the device.

    2 |A and B| / (|A| + |B|), A and B the pixels of the whole batch whose probability is above 0.3; don't-care regions
    count like all others, as no label is needed. 1 where neither sees any text.

    Args:
        first, second: logits `[N,1,H,W]`; the second is resized to the first where strides differ.
    """
    a, b = (x > logit(TEXT_LEVEL) for x in (first, resized(second, first)))
    total = int(a.sum()) + int(b.sum())
    return 2 * int(paddle.logical_and(a, b).sum()) / total if total else 1.0


def student_agreements(logits: Mapping[str, paddle.Tensor]) -> dict[str, float]:
    """`dice_of_maps` of every pair of students by `agreement_name`, from their logits on one batch.

    The trainer logs it at its log points: in training mode, on augmented crops, before the step's update. It is not a
    score (two students that are wrong together agree as well), but shows how fast mutual learning makes students alike.
    """
    return {agreement_name(a, b): dice_of_maps(logits[a], logits[b]) for a, b in itertools.combinations(logits, 2)}
