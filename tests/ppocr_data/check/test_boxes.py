"""Suspicious outlines, each by hand, on an image 200 wide and 100 high."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppocr_data.check.boxes import box_findings
from ppocr_data.check.findings import Finding
from ppocr_data.labels import Sample

WORD = [[20, 30], [80, 30], [80, 50], [20, 50]]


def look(*outlines: list[list[float]], ignore: bool | list[bool] = False, numbers: list[int | None] | None = None):
    polygons = tuple(np.array(points, np.float32) for points in outlines)
    flags = np.array(ignore if isinstance(ignore, list) else [ignore] * len(polygons))
    sample = Sample(Path("a.jpg"), polygons, tuple("abc"[: len(polygons)]), flags, "train.txt:7")
    return list(box_findings(sample, numbers or list(range(1, len(polygons) + 1)), 200, 100, tiny=4.0))


def kinds(*outlines: list[list[float]], **options) -> list[str]:
    return [finding.kind for finding in look(*outlines, **options)]


def moved(x: float, y: float) -> list[list[float]]:
    return [[px + x, py + y] for px, py in WORD]


def test_a_plain_word_is_not_suspicious() -> None:
    assert look(WORD) == []


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        (-30, 0, "10 pixels beyond the left edge of the image of 200x100"),
        (0, -45, "15 pixels beyond the top edge of the image of 200x100"),
        (125, 0, "5 pixels beyond the right edge of the image of 200x100"),
        (0, 57, "7 pixels beyond the bottom edge of the image of 200x100"),
        (-80, 0, "lies wholly outside of the image of 200x100"),
        (0, 70, "lies wholly outside of the image of 200x100"),
    ],
)
def test_outside(x: float, y: float, reason: str) -> None:
    (finding,) = look(moved(x, y))
    assert (finding.kind, finding.text, finding.word) == ("outside", 1, "a")
    assert finding.reason.startswith(reason)


def test_two_pixels_beyond_the_edge_are_a_rounding() -> None:
    assert kinds(moved(-22, 0)) == [] and kinds(moved(-23, 0)) == ["outside"]


def test_an_image_that_was_turned_after_labelling() -> None:
    (fits,) = look([[20, 120], [80, 120], [80, 140], [20, 140]])
    assert fits.reason.endswith("(it would fit if the image were turned by 90 degrees)")
    (neither,) = look([[20, 190], [80, 190], [80, 210], [20, 210]])
    assert "turned" not in neither.reason


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (WORD[::-1], "the points go counter-clockwise"),
        (WORD[1:] + WORD[:1], "the first side is a short one that points down: the points do not begin"),
        (WORD[2:] + WORD[:2], "the first side points to the left: upside-down text"),
        (WORD[3:] + WORD[:3], "the first side is a short one that points up: the points do not begin"),
        ([[20, 30], [40, 20], [60, 30], [60, 50], [40, 40], [20, 50]][::-1], "the points go counter-clockwise"),
    ],
)
def test_order(points: list[list[float]], reason: str) -> None:
    (finding,) = look(points)
    assert finding.kind == "order" and finding.reason.startswith(reason)


@pytest.mark.parametrize(
    "points",
    [
        [[60, 10], [60, 90], [40, 90], [40, 10]],  # a word that runs downwards: its first side is a long one
        [[40, 90], [40, 10], [60, 10], [60, 90]],  # upwards
        [[20, 30], [40, 20], [60, 30], [60, 50], [40, 40], [20, 50]],  # bent
        [[20, 20], [30, 20], [30, 40], [20, 40]],  # a single letter, higher than wide
    ],
)
def test_turned_text_is_in_order(points: list[list[float]]) -> None:
    assert look(points) == []


@given(st.floats(-44, 44), st.floats(20, 60), st.floats(5, 19))
def test_slanted_text_is_in_order(angle: float, width: float, height: float) -> None:
    turn = np.radians(angle)
    along, down = np.array([np.cos(turn), np.sin(turn)]) * width, np.array([-np.sin(turn), np.cos(turn)]) * height
    start = np.array([100, 50]) - (along + down) / 2
    assert "order" not in kinds([*map(list, (start, start + along, start + along + down, start + down))])


@pytest.mark.parametrize(("angle", "expected"), [(40, []), (-40, []), (50, ["order"]), (-50, ["order"])])
def test_a_high_box_may_slant_by_half_a_right_angle(angle: float, expected: list[str]) -> None:
    turn = np.radians(angle)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    corners = np.array([[-5, -15], [5, -15], [5, 15], [-5, 15]]) @ matrix.T + [100, 50]
    assert kinds(corners.tolist()) == expected


def test_thin_text() -> None:
    (finding,) = look([[20, 30], [80, 30], [80, 33], [20, 33]])
    assert (finding.kind, finding.reason) == ("tiny", "3.0 pixels thin")
    assert look([[20, 30], [80, 30], [80, 34], [20, 34]]) == []
    # Thin across, though its upright box is large.
    assert kinds([[20, 20], [80, 80], [79, 81], [19, 21]]) == ["tiny"]


def test_an_outline_around_everything() -> None:
    (finding,) = look([[2, 2], [198, 2], [198, 98], [2, 98]])
    assert (finding.kind, finding.reason) == ("huge", "covers 94% of the image")


def test_dont_care_texts_may_be_of_any_shape_but_not_outside() -> None:
    assert look(WORD[::-1], [[20, 60], [80, 60], [80, 61], [20, 61]], ignore=True) == []
    assert kinds(moved(-30, 0), ignore=True) == ["outside"]


def test_duplicates_are_reported_once_each() -> None:
    twice = look(WORD, moved(1, 0), moved(0, 1))
    assert [(f.kind, f.text, f.reason) for f in twice] == [
        ("duplicate", 2, "nearly the same outline as text 1 of this image"),
        ("duplicate", 3, "nearly the same outline as text 1 of this image"),
    ]
    assert look(WORD, moved(8, 0)) == []  # 52 / 68 of their union are common


def test_a_duplicate_that_contradicts_is_said() -> None:
    (finding,) = look(WORD, moved(1, 0), ignore=[True, False])
    assert finding.reason.endswith(", and only one of them is don't care")


def test_numbers_are_those_of_the_label_line() -> None:
    findings = look(WORD[::-1], WORD[::-1], moved(-30, 0), numbers=[2, None, 4])
    assert [(f.kind, f.text, f.word) for f in findings] == [("order", 2, "a"), ("outside", 4, "c")]


def test_a_finding_in_one_line() -> None:
    (finding,) = look(WORD[::-1])
    assert str(finding) == "train.txt:7 a.jpg text 1 'a': the points go counter-clockwise"
    assert str(Finding("bad-line", "train.txt:8", "no tab")) == "train.txt:8: no tab"
