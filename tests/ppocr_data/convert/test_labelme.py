"""LabelMe folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ppocr_data.convert import labelme
from ppocr_data.convert.record import Record
from ppocr_data.errors import DataError

OUTLINE = [[471.767, 1020.0], [537, 1042], [622, 784], [565, 764]]
TIDY = [[471.77, 1020], [537, 1042], [622, 784], [565, 764]]


def shape(**changes: Any) -> dict[str, Any]:
    plain = {"label": "STOP", "points": OUTLINE, "group_id": None, "description": "", "shape_type": "polygon"}
    return {**plain, "flags": {}, "mask": None, **changes}


def document(*shapes: dict[str, Any]) -> str:
    head = {"version": "5.5.0", "flags": {}, "imagePath": "a.jpg", "imageData": None}
    return json.dumps({**head, "shapes": list(shapes), "imageHeight": 1600, "imageWidth": 1200}, indent=2)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "STOP"),
        ({"label": "text", "description": "Bus stop"}, "Bus stop"),
        ({"label": "text", "text": "Bus stop"}, "Bus stop"),
        ({"label": "###"}, "###"),
        ({"label": " ### "}, "###"),
        ({"label": "text", "description": "*"}, "###"),
        ({"label": "ignore", "description": "seen"}, "###"),
        ({"flags": {"difficult": True}}, "###"),
        ({"flags": {"difficult": False, "other": True}}, "STOP"),
        ({"flags": None}, "STOP"),
    ],
)
def test_transcriptions_and_what_is_dont_care(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    (tmp_path / "a.json").write_text(document(shape(**changes)))
    assert labelme.parse(tmp_path / "a.json") == [(TIDY, text)]


@pytest.mark.parametrize("points", [[[1, 2], [11, 8]], [[11, 8], [1, 2]], [[11, 2], [1, 8]]])
def test_rectangles_by_any_two_corners(tmp_path: Path, points: list[list[int]]) -> None:
    (tmp_path / "a.json").write_text(document(shape(shape_type="rectangle", points=points)))
    assert labelme.parse(tmp_path / "a.json")[0][0] == [[1, 2], [11, 2], [11, 8], [1, 8]]


def test_files_of_early_versions_name_no_kind(tmp_path: Path) -> None:
    early = {key: value for key, value in shape().items() if key in ("label", "points")}
    (tmp_path / "a.json").write_text(document(early))
    assert labelme.parse(tmp_path / "a.json") == [(TIDY, "STOP")]


def test_images_without_a_file_are_not_labelled_yet(lay: Callable[..., Path]) -> None:
    folder = lay({"a.jpg": b"", "a.json": document(shape()), "b.jpg": b"", "c.png": b"", "c.json": document()})
    reading = labelme.read(folder, folder)
    assert reading.records == [Record("a.jpg", [TIDY], ["STOP"]), Record("c.png", [], [])]
    assert reading.notes == ("1 images without a JSON file left out, as not labelled yet",)


def test_a_file_without_its_image(lay: Callable[..., Path]) -> None:
    folder = lay({"a.jpg": b"", "a.json": document(), "b.json": document()})
    with pytest.raises(DataError, match=r"b\.json: its image .*b\.\* is missing .*labelme_export_json"):
        labelme.read(folder, folder)
    (folder / "a.jpg").unlink()
    with pytest.raises(DataError, match="0 images and 2 JSON files"):
        labelme.read(folder, folder)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"shape_type": "circle", "points": [[1, 2], [3, 4]]}, "a circle of 2 points is no outline"),
        ({"shape_type": "linestrip"}, "a linestrip of 4 points is no outline"),
        ({"points": [[1, 2], [3, 4]]}, "a polygon of 2 points is no outline"),
        ({"shape_type": "rectangle", "points": [[1, 2]]}, "a rectangle of 1 points is no outline"),
        ({"points": [[1, 2], [3, 4], [5]]}, r"points: '\[5\]' is not a point"),
        ({"points": [[1, 2], [3, 4], [5, True]]}, r"points: 'True' is not a coordinate"),
        ({"points": "none"}, "points: must be a list, is 'none'"),
        ({"label": None}, "label: must be a string"),
        ({"flags": ["difficult"]}, "flags: must be an object"),
    ],
)
def test_refusals_name_the_shape(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    (tmp_path / "a.json").write_text(document(shape(), shape(**changes)))
    with pytest.raises(DataError, match=rf"a\.json: shapes\[1\].*{problem}"):
        labelme.parse(tmp_path / "a.json")


def test_other_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{\n"categories": []}')
    with pytest.raises(DataError, match=r"a\.json: no 'shapes'"):
        labelme.parse(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(DataError, match=r"a\.json: must be an object"):
        labelme.parse(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{\n"shapes": [}')
    with pytest.raises(DataError, match=r"a\.json:2: not JSON"):
        labelme.parse(tmp_path / "a.json")


def test_labels_beside_images_are_paired_folder_by_folder(tmp_path: Path) -> None:
    """Every camera begins with IMG_1; in a folder of labels alone such a name may be either's."""
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "IMG_1.png").write_bytes(b"")
        (tmp_path / folder / "IMG_1.json").write_text(document(shape(label=folder)))
    records = labelme.read(tmp_path, tmp_path).records
    assert [(record.image, record.texts) for record in records] == [("a/IMG_1.png", ["a"]), ("b/IMG_1.png", ["b"])]
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match=r"same image name 'IMG_1' as .*; rename one, or convert their folders one by"):
        labelme.read(tmp_path, tmp_path / "labels")
