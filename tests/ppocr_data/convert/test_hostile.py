"""Whatever a label file holds, a reader answers with texts or with a DataError that names the file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppocr_data.convert import cocotext, ctw1500, icdar2013, icdar2015, icdar2017, labelme, ppocrlabel, td500, totaltext
from ppocr_data.errors import DataError

QUAD = "1,2,11,2,11,8,1,8"
POINTS = ",".join(str(i) for i in range(28))
SHAPE = {"label": "a", "points": [[1, 2], [3, 4], [5, 6]], "flags": {"difficult": True}}
ENTRY = {"transcription": "a", "points": [[1, 2], [3, 4], [5, 6]], "difficult": False}
COCO = {
    "imgs": {"1": {"file_name": "1.jpg", "set": "train"}},
    "anns": {"2": {"bbox": [1, 2, 3, 4], "mask": [1, 2, 3, 4, 5, 6, 7, 8], "legibility": "legible"}},
    "imgToAnns": {"1": [2]},
}
BOX = f"<box><label>a</label><segs>{POINTS}</segs></box>"
GOOD: dict[str, tuple[str, str]] = {
    "icdar2013": ("gt_1.txt", '38 43 920 215 "a \\" b"\n1, 2, 3, 4, "x"\n'),
    "icdar2015": ("gt_1.txt", f"{QUAD},a, b\n{QUAD},###\n"),
    "icdar2017": ("gt_1.txt", f"{QUAD},Latin,a\n"),
    "td500": ("1.gt", "0 0 10 20 100 40 0.5\n1 1 1 2 3 4 -0.5\n"),
    "totaltext": ("gt_1.txt", "x: [[1 2\n 3]], y: [[4 5 6]], ornt: [u'c'], transcriptions: [u'A']\n1,2,3,4,5,6,B\n"),
    "ctw_text": ("1.txt", f"{POINTS},####a\n0,1,26,27,{POINTS}\n"),
    "ctw_xml": ("1.xml", f'<Annotations><image file="1.jpg">{BOX}</image></Annotations>'),
    "labelme": ("1.json", json.dumps({"shapes": [SHAPE]})),
    "ppocrlabel": ("Label.txt", f"x/1.jpg\t{json.dumps([ENTRY])}\n"),
    "cocotext": ("coco.json", json.dumps(COCO)),
}
PARSERS = {
    "icdar2013": icdar2013.parse,
    "icdar2015": icdar2015.parse,
    "icdar2017": icdar2017.parse,
    "td500": td500.parse,
    "totaltext": lambda path: totaltext.parse(path, []),
    "ctw_text": ctw1500.parse,
    "ctw_xml": ctw1500.parse,
    "labelme": labelme.parse,
}
PIECES = [b"", b"\n", b",", b"\x00", b"\xff", b"nan", b"1e999", b"-", b"[", b"null", b"true", b'"', b"{}", b"9" * 400]


def texts(name: str, path: Path) -> list:
    """What the reader of that format makes of one file, beside which lies the image 1.jpg."""
    if name in ("ppocrlabel", "cocotext"):
        reading = (ppocrlabel if name == "ppocrlabel" else cocotext).read(path.parent, path)
        return [text for record in reading.records for text in zip(record.polygons, record.texts, strict=True)]
    return PARSERS[name](path)


@st.composite
def damaged(draw: Callable, content: str) -> bytes:
    """Good content with a few pieces replaced by others, of the kinds that files go wrong by."""
    data = content.encode()
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 6)))
        piece = draw(
            st.one_of(
                st.sampled_from(
                    [b"", b"\n", b",", b"\x00", b"\xff", b"nan", b"1e999", b"-", b"[", b"null", b"true", b'"', b"{}"]
                ),
                st.binary(max_size=4),
                st.text(max_size=4).map(lambda text: text.encode("utf-8", "surrogatepass")),
            )
        )
        data = data[:start] + piece + data[end:]
    return data


@pytest.mark.parametrize("name", GOOD)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_texts_or_one_clear_message(name: str, tmp_path: Path, data: st.DataObject) -> None:
    file, content = GOOD[name]
    (tmp_path / "1.jpg").write_bytes(b"")
    path = tmp_path / file
    path.write_bytes(data.draw(damaged(content)))
    try:
        found = texts(name, path)
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert all(isinstance(word, str) for _, word in found)
        assert all(math.isfinite(value) for polygon, _ in found for point in polygon for value in point)


@pytest.mark.parametrize("name", GOOD)
def test_the_good_content_is_good(name: str, tmp_path: Path) -> None:
    file, content = GOOD[name]
    (tmp_path / "1.jpg").write_bytes(b"")
    (tmp_path / file).write_text(content)
    assert texts(name, tmp_path / file)
