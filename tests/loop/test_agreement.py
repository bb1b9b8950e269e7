"""The comparison of a teacher's map with label targets, against teachers whose map is drawn from the labels."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ocr_cml.loop.agreement import (
    CONTRADICTION,
    RATIOS,
    Crop,
    Fit,
    best_fit,
    dice_of_maps,
    student_agreements,
    sweep,
    verdict,
)
from ocr_cml.losses.teacher import dilated_target
from ppocr_data.targets import shrink_target

BOX = np.array([[8, 16], [56, 16], [56, 40], [8, 40]], np.float32)
SMALL = np.array([[10, 50], [50, 50], [50, 54], [10, 54]], np.float32)


class Drawn:
    """A teacher that answers the n-th question with the n-th map."""

    engine, source = "drawn", "test"

    def __init__(self, *maps: np.ndarray) -> None:
        self.maps = list(maps)

    def probability(self, images: np.ndarray) -> np.ndarray:
        assert images.shape[0] == 1
        return self.maps.pop(0)[None].astype(np.float32)


def crop(*polygons: np.ndarray, ignore: tuple[bool, ...] = ()) -> Crop:
    """A black crop of 64x64 with these polygons."""
    flags = ignore or (False,) * len(polygons)
    return Crop(np.zeros((64, 64, 3), np.uint8), list(polygons), np.array(flags, bool))


def kernel(ratio: float) -> np.ndarray:
    """The map of BOX shrunk by a ratio, 1 inside."""
    return shrink_target((64, 64), [BOX], np.array([False]), ratio, 8)[0]


@pytest.mark.parametrize("ratio", [0.3, 0.45, 0.7])
def test_a_teacher_that_draws_one_ratio_fits_it_exactly(ratio: float) -> None:
    box = np.array([[16, 16], [176, 16], [176, 112], [16, 112]], np.float32)  # D moves by a pixel or more each ratio
    map_, _ = shrink_target((128, 192), [box], np.array([False]), ratio, 8)
    fits = sweep(Drawn(map_), [Crop(np.zeros((128, 192, 3), np.uint8), [box], np.array([False]))])
    assert [fit.ratio for fit in fits] == list(RATIOS)
    best = best_fit(fits)
    assert (best.ratio, best.dice, best.area) == (ratio, 1.0, 1.0)
    for fit in fits:
        assert fit.dice < 1 or fit.ratio == ratio


def test_dice_and_area_by_hand() -> None:
    map_ = np.zeros((64, 64))
    map_[:, :32] = 0.31  # the left half; the box lies evenly over both
    inside = int(kernel(0.5).sum())
    left = int(kernel(0.5)[:, :32].sum())
    (fit,) = sweep(Drawn(map_), [crop(BOX)], ratios=[0.5])
    assert fit.dice == pytest.approx(2 * left / (64 * 32 + inside))
    assert fit.area == pytest.approx(64 * 32 / inside)


@pytest.mark.parametrize("dilation", [0, 2, 4])
def test_what_is_compared_is_the_target_that_the_teacher_term_makes(dilation: int) -> None:
    map_ = kernel(0.5) * np.float32(0.8) + np.float32(0.05)
    target = dilated_target(paddle.logit(paddle.to_tensor(map_[None, None])), 0.3, dilation).numpy()[0, 0] > 0
    label = kernel(0.5).astype(bool)
    (fit,) = sweep(Drawn(map_), [crop(BOX)], dilation=dilation, ratios=[0.5])
    assert fit.area == pytest.approx(target.sum() / label.sum())
    assert fit.dice == pytest.approx(2 * (target & label).sum() / (target.sum() + label.sum()))
    assert (fit.dice == 1.0) is (dilation == 0)


def test_pixels_of_all_crops_are_pooled() -> None:
    inside = int(kernel(0.5).sum())
    (fit,) = sweep(Drawn(kernel(0.5), np.zeros((64, 64))), [crop(BOX), crop(BOX)], ratios=[0.5])
    assert fit.dice == pytest.approx(2 * inside / (inside + 2 * inside))
    assert fit.area == pytest.approx(0.5)


def test_the_threshold_is_exclusive() -> None:
    map_ = kernel(0.5) * np.float32(0.5)
    (below,) = sweep(Drawn(map_), [crop(BOX)], thresh=0.4, ratios=[0.5])
    (at,) = sweep(Drawn(map_), [crop(BOX)], thresh=0.5, ratios=[0.5])
    assert (below.dice, at.dice) == (1.0, 0.0)


def test_dont_care_and_too_small_text_count_for_neither() -> None:
    seen = kernel(0.5).copy()
    seen[50:55, 10:51] = 1  # the teacher sees the small line too
    (ignored,) = sweep(Drawn(seen), [crop(BOX, SMALL, ignore=(False, True))], ratios=[0.5])
    (small,) = sweep(Drawn(seen), [crop(BOX, SMALL)], ratios=[0.5])
    (taken,) = sweep(Drawn(seen), [crop(BOX, SMALL)], ratios=[0.5], min_text_size=2)
    assert ignored.dice == small.dice == 1.0
    assert taken.dice < 1.0
    assert taken.area > 1.0  # five rows are seen, fewer are labelled


def test_where_nothing_is_seen_and_nothing_labelled_the_dice_is_0() -> None:
    (fit,) = sweep(Drawn(np.zeros((64, 64))), [crop()], ratios=[0.5])
    assert (fit.dice, fit.area) == (0.0, 0.0)


def fits_of(**dice: float) -> list[Fit]:
    return [Fit(float(ratio.strip("r").replace("_", ".")), value, 1.0) for ratio, value in dice.items()]


def test_a_contradiction_is_a_warning_that_names_the_better_ratio() -> None:
    line, warns = verdict("Teacher", fits_of(r0_4=0.74, r0_5=0.85, r0_6=0.8), 0.4)
    assert warns
    assert "contradicts the labels at shrink_ratio 0.4" in line
    assert "0.5 fits better (0.850)" in line
    assert "MakeShrinkMap" in line
    assert "MakeBorderMap" in line
    assert "--tune" in line


def test_what_a_schedule_comes_by_contradicts_nothing() -> None:
    fits = fits_of(r0_4=0.70, r0_5=0.80, r0_6=0.85, r0_7=0.92)
    line, warns = verdict("Teacher", fits, 0.4, until=0.6)
    assert warns and "contradicts the labels at shrink_ratio 0.4 to 0.6 (Dice 0.850); 0.7 fits better (0.920)" in line
    assert "Set it as a plain number, without total_epoch, in MakeShrinkMap" in line
    line, warns = verdict("Teacher", fits, 0.5, until=0.7)
    assert not warns and "shrink_ratio 0.5 to 0.7 fits (Dice 0.920" in line
    assert verdict("Teacher", fits, 0.4, until=0.4) == verdict("Teacher", fits, 0.4)


def test_a_small_difference_is_none() -> None:
    line, warns = verdict("Teacher", fits_of(r0_4=0.81, r0_5=0.85), 0.4)
    assert not warns
    assert "shrink_ratio 0.4 fits (Dice 0.810, best 0.850 at 0.5)" in line
    assert "contradicts" not in line


@pytest.mark.parametrize(("dice", "warns"), [(0.80, False), (0.80 + CONTRADICTION + 0.001, True)])
def test_where_the_warning_begins(dice: float, warns: bool) -> None:
    assert verdict("T", fits_of(r0_4=0.8, r0_5=dice), 0.4)[1] is warns


def test_a_teacher_that_agrees_with_no_ratio_is_a_warning() -> None:
    line, warns = verdict("Teacher", fits_of(r0_4=0.0, r0_5=0.0), 0.4)
    assert warns
    assert "shrink_ratio 0.4 fits" not in line


def test_a_teacher_that_agrees_poorly_is_a_warning() -> None:
    """The quick start's own, which knows synthetic pages, on photos; PP-OCRv3's lines on words."""
    line, warns = verdict("Teacher", fits_of(r0_4=0.31, r0_7=0.32), 0.4)
    assert warns and "agrees with the labels at no shrink ratio (best Dice 0.320)" in line
    line, warns = verdict("Teacher", fits_of(r0_4=0.64, r0_5=0.65), 0.4)
    assert warns and "agrees poorly with the labels at every shrink ratio (best Dice 0.650 at 0.5)" in line
    assert "fits" not in line.partition("\n")[2]


def test_only_a_dilated_target_is_advised_to_be_smaller() -> None:
    fits = fits_of(r0_4=0.6, r0_5=0.9)
    assert "dilation" not in verdict("Teacher", fits, 0.4)[0]
    assert (
        "2 pixels larger, to 0 (-o Loss.loss_config_list.TeacherLoss.dilation=0; in"
        in verdict("Teacher", fits, 0.4, dilation=2)[0]
    )


# --- between students ------------------------------------------------------------------------------------------------


def logits(*probabilities: float) -> paddle.Tensor:
    """One row of pixels."""
    return paddle.logit(paddle.to_tensor(np.array(probabilities, np.float32).reshape(1, 1, 1, -1)))


def test_agreement_by_hand() -> None:
    a, b = logits(0.9, 0.31, 0.29, 0.1), logits(0.31, 0.1, 0.9, 0.29)
    assert dice_of_maps(a, b) == 2 * 1 / (2 + 2)
    assert dice_of_maps(a, a) == 1.0
    assert dice_of_maps(a, logits(0.1, 0.1, 0.9, 0.9)) == 0.0
    assert dice_of_maps(logits(0.1, 0.2), logits(0.2, 0.1)) == 1.0  # neither sees text


def test_agreement_of_maps_of_unequal_size() -> None:
    whole = np.zeros((1, 1, 4, 8), np.float32)
    whole[..., :4] = 4
    half = whole[:, :, ::2, ::2]
    assert dice_of_maps(paddle.to_tensor(whole - 2), paddle.to_tensor(half - 2)) > 0.8


def test_every_pair_of_students_has_its_agreement() -> None:
    maps = {"Student": logits(0.9, 0.1), "Student2": logits(0.9, 0.9), "Student3": logits(0.1, 0.9)}
    found = student_agreements(maps)
    assert found == {
        "agreement/Student,Student2": pytest.approx(2 / 3),
        "agreement/Student,Student3": 0.0,
        "agreement/Student2,Student3": pytest.approx(2 / 3),
    }
    assert student_agreements({"Student": logits(0.5)}) == {}
