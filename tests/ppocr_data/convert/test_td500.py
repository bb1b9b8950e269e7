"""MSRA-TD500: rotated boxes by index, difficulty, x, y, width, height and theta."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppocr_data.convert import td500
from ppocr_data.convert.record import Record
from ppocr_data.errors import DataError


def test_a_folder_that_holds_images_and_labels(lay: Callable[..., Path]) -> None:
    folder = lay({"IMG_0059.JPG": b"", "IMG_0059.gt": "0 0 10 20 100 40 0.0\r\n1 1 0 0 4 2 0\r\n"})
    assert td500.read(folder, folder).records == [
        Record(
            "IMG_0059.JPG",
            [[[10, 20], [110, 20], [110, 60], [10, 60]], [[0, 0], [4, 0], [4, 2], [0, 2]]],
            ["", "###"],
        )
    ]


def test_a_label_file_without_its_image(lay: Callable[..., Path]) -> None:
    folder = lay({"IMG_1.JPG": b"", "IMG_1.gt": "", "IMG_2.gt": ""})
    with pytest.raises(DataError, match=r"IMG_2\.gt: its image .*IMG_2\.\* is missing$"):
        td500.read(folder, folder)


def test_a_quarter_turn_clockwise_by_hand() -> None:
    # A box 4 wide and 2 high about (2, 1): its top left corner goes to the top right of a box 2 wide and 4 high.
    assert td500.turned_box(0, 0, 4, 2, math.pi / 2) == [[3, -1], [3, 3], [1, 3], [1, -1]]


@given(st.integers(0, 900), st.integers(0, 900), st.integers(1, 300), st.integers(1, 300), st.floats(-1.57, 1.57))
def test_the_corners_are_opencv_s(x: int, y: int, width: int, height: int, theta: float) -> None:
    ours = np.array(td500.turned_box(x, y, width, height, theta))
    theirs = cv2.boxPoints(((x + width / 2, y + height / 2), (width, height), math.degrees(theta)))
    nearest = np.abs(ours[:, None] - theirs[None]).sum(-1).min(1)
    assert nearest.max() < 0.05


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("0 0 10 20 100 40", "expected index difficulty x y width height theta"),
        ("0 2 10 20 100 40 0", "difficulty must be 0 or 1, is '2'"),
        ("0 0 10 a 100 40 0", "'a' is not a coordinate"),
        ("0 0 10 20 0 40 0", "width and height must be positive"),
        ("0 0 10 20 100 40 30.0", "theta 30.0 is more than half a turn; it must be in radians"),
        ("0 0 10 20 100 40 nan", "'nan' is not a coordinate"),
    ],
)
def test_refusals_name_the_line(tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "IMG_1.gt").write_text(f"0 0 10 20 100 40 0.1\n{line}\n")
    with pytest.raises(DataError, match=rf"IMG_1\.gt:2: {problem}"):
        td500.parse(tmp_path / "IMG_1.gt")
