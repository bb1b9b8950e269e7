"""Total-Text in its MATLAB form and its two text forms."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ppocr_data.convert import totaltext
from ppocr_data.convert.record import Record
from ppocr_data.errors import DataError

PAUL = [[259, 542], [313, 462], [389, 417], [427, 459]]
PAUL_LINE = "x: [[259 313 389 427]], y: [[542 462 417 459]], ornt: [u'c'], transcriptions: [u'PAUL']"


def mat(path: Path, rows: list[tuple[list[int], list[int], object, object]], name: str = "polygt", down: bool = False):
    """A MATLAB file as the set has it: cells of strings and int16 rows (columns in the newer edition)."""
    scipy_io = pytest.importorskip("scipy.io", reason="scipy, which only Total-Text's MATLAB files need")
    cells = np.empty((len(rows), 6), object)
    for i, (x, y, word, kind) in enumerate(rows):
        values = [np.array([v], np.int16).reshape((-1, 1) if down else (1, -1)) for v in (x, y)]
        cells[i, 0], cells[i, 2] = "x:", "y:"
        cells[i, 1], cells[i, 3], cells[i, 4], cells[i, 5] = *values, word, kind
    path.parent.mkdir(exist_ok=True)
    scipy_io.savemat(path, {name: cells})


@pytest.mark.parametrize(("file", "name", "down"), [("poly_gt_img1.mat", "polygt", False), ("gt_img1.mat", "gt", True)])
def test_matlab_files_of_both_editions(lay: Callable[..., Path], file: str, name: str, down: bool) -> None:
    folder = lay({"img/img1.jpg": b""})
    xs, ys = [x for x, _ in PAUL], [y for _, y in PAUL]
    rows = [(xs, ys, "PAUL", "c"), (xs, ys, "SEEN", "#"), (xs, ys, np.array([]), "h"), ([5], [6], "#", "#")]
    mat(folder / "gt" / file, rows, name, down)
    reading = totaltext.read(folder / "img", folder / "gt")
    assert reading.records == [Record("img1.jpg", [PAUL] * 3, ["PAUL", "###", "###"])]
    assert reading.notes == (
        f"1 don't-care marks without an area left out, the first at {folder / 'gt' / file}: row 4",
    )


def test_text_files(lay: Callable[..., Path]) -> None:
    folder = lay(
        {
            "img/img1.jpg": b"",
            "img/img2.jpg": b"",
            "gt/poly_gt_img1.txt": f"{PAUL_LINE}\n"
            "x: [[259 313\n 389 427]], y: [[542 462 417\n 459]], ornt: [u'#'], transcriptions: [u'#']\n"
            "x: [[259 313 389 427]], y: [[542 462 417 459]], ornt: [u'h'], transcriptions: [u\"JOE'S, caf\\xe9\"]\n"
            "x: [[259 313 389 427]], y: [[542 462 417 459]], ornt: [u'm'], transcriptions: []\n"
            "x: [[259]], y: [[542]], ornt: [u'#'], transcriptions: [u'#']\n",
            "gt/img2.jpg.txt": "259,542,313,462,389,417,427,459,PAUL\n259,542,313,462,389,417,427,459,###\n",
        }
    )
    reading = totaltext.read(folder / "img", folder / "gt")
    assert reading.records == [
        Record("img1.jpg", [PAUL] * 4, ["PAUL", "###", "JOE'S, caf\xe9", "###"]),
        Record("img2.jpg", [PAUL] * 2, ["PAUL", "###"]),
    ]
    assert "poly_gt_img1.txt:7" in reading.notes[0]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (PAUL_LINE.replace("427", ""), "3 values of x, but 4 of y"),
        (PAUL_LINE.replace("427", "4a7"), "'4a7' is not a coordinate"),
        (PAUL_LINE.replace("ornt", "kind"), r"expected x: \[\[..\]\], y: "),
        (PAUL_LINE.replace("u'PAUL'", "PAUL"), r"\[PAUL\] is not a list of quoted texts"),
        (PAUL_LINE.replace("u'PAUL'", "__import__('os')"), ".* is not a list of quoted texts"),
        (PAUL_LINE.replace("u'PAUL'", "1"), ".* is not a list of quoted texts"),
        (PAUL_LINE.replace("u'PAUL'", "-" * 3000 + "1"), r"\[-{77}\.\.\.\] is not a list of quoted texts"),
        (PAUL_LINE.replace("u'PAUL'", "[" * 200_000), r"\[\[{77}\.\.\.\] is not a list of quoted texts"),
        ("x: [[1 2]], y: [[3 4]], ornt: [u'h'], transcriptions: [u'A']", "'A' has 2 points; a polygon needs at least"),
        ("1,2,3,4,5,6,7,word", "expected x: .* or x1,y1"),
        ("1,2,3,4,5,6,A, B", "expected x: .* or x1,y1"),
        ("1,2,3,4,5,six,A", "'six' is not a coordinate"),
    ],
)
def test_refusals_name_the_line(tmp_path: Path, entry: str, problem: str) -> None:
    (tmp_path / "gt_img1.txt").write_text(f"{PAUL_LINE}\n{entry}\n{PAUL_LINE}\n")
    with pytest.raises(DataError, match=rf"gt_img1\.txt:2: {problem}"):
        totaltext.parse(tmp_path / "gt_img1.txt", [])


def test_matlab_files_that_are_something_else(tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    path = tmp_path / "gt_img1.mat"
    path.write_bytes(b"no such thing")
    with pytest.raises(DataError, match=r"gt_img1\.mat: not a MATLAB file"):
        totaltext.parse(path, [])
    scipy_io.savemat(path, {"other": 1})
    with pytest.raises(DataError, match="no variable polygt or gt; found: other"):
        totaltext.parse(path, [])
    scipy_io.savemat(path, {"gt": np.ones((2, 3))})
    with pytest.raises(DataError, match=r"expected a cell array of 6 columns, found float64 \(2, 3\)"):
        totaltext.parse(path, [])
    mat(path, [([1, 2, 3], [1, 2, 3], 2019.0, "h")])
    with pytest.raises(DataError, match=r"row 1: the text and the orientation must be strings, are \[2019"):
        totaltext.parse(path, [])
    mat(path, [([1, 2, 3], [1, 2], "A", "h")])
    with pytest.raises(DataError, match="row 1: expected 'x:', its values"):
        totaltext.parse(path, [])


def test_without_scipy_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(DataError, match=r"gt_img1\.mat: reading MATLAB files needs scipy; python -m pip install scipy"):
        totaltext.parse(tmp_path / "gt_img1.mat", [])


def test_an_image_with_two_label_files(lay: Callable[..., Path]) -> None:
    folder = lay({"img/img1.jpg": b"", "gt/poly_gt_img1.txt": "", "gt/gt_img1.txt": ""})
    with pytest.raises(DataError, match="belongs to the same image name 'img1'"):
        totaltext.read(folder / "img", folder / "gt")
