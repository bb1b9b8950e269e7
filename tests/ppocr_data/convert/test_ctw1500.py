"""SCUT-CTW1500 in the forms in which it was published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ppocr_data.convert import ctw1500
from ppocr_data.convert.record import Record
from ppocr_data.errors import DataError

ARC = [[131, 58], [208, 49], [279, 56], [346, 76], [412, 101], [473, 141], [530, 192]]
ARC += [[510, 246], [458, 210], [405, 175], [350, 151], [291, 137], [228, 133], [165, 134]]
SEGS = ",".join(f"{x},{y}" for x, y in ARC)
OFFSETS = ",".join(f"{x - 131},{y - 49}" for x, y in ARC)
XML = """<?xml version="1.0"?>
<Annotations>
  <image file="0200.jpg">
    <box height="197" left="131" top="49" width="399">
      <label>OLATHE &amp; SONS</label>
      <segs>{segs}</segs>
      <pts x="183" y="95" />
    </box>
    <box height="197" left="131" top="49" width="399"><label>###</label><segs>{segs}</segs></box>
  </image>
</Annotations>
"""


def test_training_and_test_labels(lay: Callable[..., Path]) -> None:
    folder = lay(
        {
            "img/0200.jpg": b"",
            "img/1001.jpg": b"",
            "gt/0200.xml": XML.format(segs=SEGS),
            "gt/0001001.txt": f"\ufeff{SEGS},####A, B\r\n{SEGS},#######\r\n",
        }
    )
    assert ctw1500.read(folder / "img", folder / "gt").records == [
        Record("0200.jpg", [ARC, ARC], ["OLATHE & SONS", "###"]),
        Record("1001.jpg", [ARC, ARC], ["A, B", "###"]),
    ]


@pytest.mark.parametrize(
    "line", [f"131,49,530,246,{OFFSETS}", f"131,49,530,246,{SEGS}", f"131,49,530,246,{OFFSETS},", SEGS]
)
def test_lines_of_the_first_edition(tmp_path: Path, line: str) -> None:
    (tmp_path / "0001.txt").write_text(f"{line}\n")
    assert ctw1500.parse(tmp_path / "0001.txt") == [(ARC, "")]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f"1,{SEGS},####A", "expected 28 numbers and ####text, or 32 numbers; found 29 fields"),
        (f"{SEGS[:-4]},####A", "found 27 fields"),
        (f"{SEGS[:-3]}x,####A", "is not a coordinate"),
        (f"0,0,399,197,{SEGS}", "fill the box .* neither as offsets nor as positions"),
        ("word", "found 1 fields"),
    ],
)
def test_refusals_name_the_line(tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "0001001.txt").write_text(f"{SEGS},####fine\n{line}\n")
    with pytest.raises(DataError, match=rf"0001001\.txt:2: .*{problem}"):
        ctw1500.parse(tmp_path / "0001001.txt")


@pytest.mark.parametrize(
    ("found", "instead", "line", "problem"),
    [
        ("</label>", "", 7, "not XML"),
        ("<segs>", "<other>", 6, "not XML"),
        ("Annotations>", "annotation>", 2, "expected <Annotations>, found <annotation>"),
        ("image", "img", 3, "expected <image>, found <img>"),
        ("label>", "name>", 4, "expected a <box> with <label> and <segs>"),
        (f"<segs>{SEGS}", "<segs>1,2,3", 4, "<segs> must hold 28 numbers, holds 3"),
        (f"<segs>{SEGS[:3]}", "<segs>1x1", 4, "'1x1' is not a coordinate"),
    ],
)
def test_refusals_in_xml_name_the_line(tmp_path: Path, found: str, instead: str, line: int, problem: str) -> None:
    (tmp_path / "0001.xml").write_text(XML.format(segs=SEGS).replace(found, instead))
    with pytest.raises(DataError, match=rf"0001\.xml:\d+: .*{problem}") as caught:
        ctw1500.parse(tmp_path / "0001.xml")
    assert f"0001.xml:{line}:" in str(caught.value) or "not XML" in problem


@pytest.mark.parametrize("encoding", ["gb2312", "Shift_JIS", "no-such-encoding"])
def test_an_encoding_that_the_parser_cannot_read_is_said(tmp_path: Path, encoding: str) -> None:
    declared = f'<?xml version="1.0" encoding="{encoding}"?>\n'
    (tmp_path / "0001.xml").write_bytes((declared + XML.format(segs=SEGS).partition("?>\n")[2]).encode("ascii"))
    with pytest.raises(DataError, match=r"0001\.xml: the encoding that it states cannot be read .* save it as UTF-8"):
        ctw1500.parse(tmp_path / "0001.xml")
