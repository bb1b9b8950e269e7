"""Do teacher and labels speak the same language? One second of work that decides whether a training can succeed.

A teacher's map is the text shrunk by the ratio of *its* training. Where the labels are shrunk by another ratio, the two
contradict each other along every edge of every line, and a good teacher ruins a student: PP-OCRv3's official detector
(hmean .925) took a student on receipts from .786 to .554 at the usual ratio .4, and to .814 at the ratio that fits
both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ocr_cml.runtime import FrozenDetector
from ppocr_data.targets import shrink_target

RATIOS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
CONTRADICTION = 0.05
"""A configured ratio whose Dice is this far below the best one's is worth a warning."""

STRANGERS = 0.3
"""A best Dice below this means that teacher and labels do not mark the same things, whatever the ratio."""


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
    thresh: float = 0.3,
    min_text_size: int = 8,
    ratios: Sequence[float] = RATIOS,
) -> list[Fit]:
    """Compare the teacher's map with label targets over shrink ratios, on crops of equal size.

    The Dice is 0 where neither the teacher nor the labels have a text pixel in any crop: nothing was shown.
    """
    maps = [teacher.probability(crop.image[None])[0] > thresh for crop in crops]
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


def best_fit(fits: Sequence[Fit]) -> Fit:
    """The ratio on which teacher and labels agree best."""
    return max(fits, key=lambda fit: fit.dice)


def verdict(name: str, fits: Sequence[Fit], configured: float) -> tuple[str, bool]:
    """One line for people, and whether it is a warning."""
    best = best_fit(fits)
    here = min(fits, key=lambda fit: abs(fit.ratio - configured))
    listed = "  ".join(f"{fit.ratio:g}:{fit.dice:.3f}" for fit in fits)
    line = f"{name} against the labels (shrink ratio:Dice)  {listed}"
    if best.dice < STRANGERS:
        return (
            f"{line}\n  {name} agrees with the labels at no shrink ratio (best Dice {best.dice:.3f}): it does not find "
            "this text, or marks something else; look at preview.jpg, and choose another teacher",
            True,
        )
    if not fits[0].ratio <= configured <= fits[-1].ratio:
        return (
            f"{line}\n  shrink_ratio {configured:g} was not compared; {best.ratio:g} fits best (Dice {best.dice:.3f})",
            True,
        )
    if best.dice - here.dice > CONTRADICTION:
        return (
            f"{line}\n  {name} contradicts the labels at shrink_ratio {configured:g} (Dice {here.dice:.3f}); "
            f"{best.ratio:g} fits better ({best.dice:.3f}). Set it in MakeShrinkMap and MakeBorderMap, and fit "
            f"unclip_ratio with tools/eval.py --tune afterwards",
            True,
        )
    return (
        f"{line}\n  shrink_ratio {configured:g} fits (Dice {here.dice:.3f}, best {best.dice:.3f} at {best.ratio:g})",
        False,
    )
