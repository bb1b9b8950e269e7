"""COCO-Text, both versions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ppocr_data.convert import cocotext
from ppocr_data.convert.record import Record
from ppocr_data.errors import DataError

NEW = {"mask": [468.9, 286.7, 468.9, 295.2, 493.0, 295.8, 493.0, 287.2], "bbox": [468.9, 286.7, 24.1, 9.1]}
LEGIBLE = {**NEW, "class": "machine printed", "legibility": "legible", "language": "english", "utf8_string": "New"}


def content() -> dict[str, Any]:
    return {
        "imgs": {
            "540965": {"id": 540965, "set": "train", "file_name": "COCO_train2014_000000540965.jpg"},
            "260932": {"id": 260932, "set": "val", "file_name": "COCO_train2014_000000260932.jpg"},
            "1": {"id": 1, "set": "train", "file_name": "COCO_train2014_000000000001.jpg"},
        },
        "anns": {
            "10": {**LEGIBLE, "id": 10, "image_id": 540965},
            "11": {**LEGIBLE, "id": 11, "legibility": "illegible", "utf8_string": "", "language": "na"},
            "12": {"bbox": [1, 2, 10, 4], "mask": [1, 2, 3, 4], "legibility": "legible", "utf8_string": "box"},
            "13": {"bbox": [1, 2, 10, 4], "polygon": NEW["mask"], "legibility": "legible", "utf8_string": "v1"},
            "14": {"bbox": [1, 2, 10, 4], "legibility": "illegible"},
        },
        "imgToAnns": {"540965": [10, 11, 12], "260932": [13, 14], "1": []},
    }


@pytest.fixture
def folder(lay: Callable[..., Path]) -> Path:
    names = [image["file_name"] for image in content()["imgs"].values()]
    return lay({f"train2014/{name}": b"" for name in [*names, "COCO_train2014_000000000002.jpg"]})


def read(folder: Path, **changes: Any) -> Any:
    (folder / "cocotext.v2.json").write_text(json.dumps({**content(), **changes}))
    return cocotext.read(folder / "train2014", folder / "cocotext.v2.json")


def test_masks_boxes_and_illegible_text(folder: Path) -> None:
    mask = [[468.9, 286.7], [468.9, 295.2], [493, 295.8], [493, 287.2]]
    box = [[1, 2], [11, 2], [11, 6], [1, 6]]
    assert read(folder).records == [
        Record("COCO_train2014_000000540965.jpg", [mask, mask, box], ["New", "###", "box"], "train"),
        Record("COCO_train2014_000000260932.jpg", [mask, box], ["v1", "###"], "val"),
        Record("COCO_train2014_000000000001.jpg", [], [], "train"),
    ]


def test_a_test_part_has_no_labels(folder: Path) -> None:
    imgs = {**content()["imgs"], "7": {"set": "test", "file_name": "absent.jpg"}}
    reading = read(folder, imgs=imgs)
    assert len(reading.records) == 3
    assert reading.notes == ("1 images of the test part left out: they have no labels",)


def test_two_images_of_one_name_are_refused(folder: Path) -> None:
    name = content()["imgs"]["1"]["file_name"]
    cropped = folder / "train2014/cropped"
    cropped.mkdir()
    (cropped / "COCO_train2014_000000000002.jpg").write_bytes(b"")  # twice, and nobody asks for it
    assert len(read(folder).records) == 3
    (cropped / name).write_bytes(b"")
    with pytest.raises(DataError, match="belongs to the same image name"):
        read(folder)


def test_missing_images_are_counted(folder: Path) -> None:
    for path in list((folder / "train2014").iterdir())[:]:
        path.unlink()
    with pytest.raises(DataError, match=r"cocotext\.v2\.json: 3 of 3 images are not in .*train2014, the first COCO"):
        read(folder)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"imgs": []}, r"json\.imgs: must be an object, is '\[\]'"),
        ({"imgToAnns": {}}, r"imgToAnns: no '540965'"),
        ({"anns": {}}, r"anns: no '10'"),
        ({"anns": {"10": {**LEGIBLE, "legibility": "maybe"}}}, r"anns\.10\.legibility: must be legible or illegible"),
        ({"anns": {"10": {**LEGIBLE, "utf8_string": 5}}}, r"anns\.10\.utf8_string: must be a string"),
        ({"anns": {"10": {"legibility": "legible"}}}, r"anns\.10: no 'bbox'"),
        ({"anns": {"10": {"legibility": "legible", "bbox": [1, 2, 3]}}}, r"anns\.10\.bbox: must be \[x, y, width"),
        ({"anns": {"10": {"legibility": "legible", "bbox": [1, 2, 3, "4"]}}}, r"bbox: '4' is not a coordinate"),
        ({"anns": {"10": {**LEGIBLE, "mask": [float("nan")] * 8}}}, r"anns\.10\.mask: 'nan' is not a coordinate"),
        ({"imgs": {"1": {"set": "extra", "file_name": "a"}}}, r"imgs\.1\.set: must be train, val or test"),
    ],
)
def test_refusals_name_the_place(folder: Path, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        read(folder, **changes)


def test_what_is_no_json_is_refused_with_the_line(folder: Path) -> None:
    (folder / "cocotext.v2.json").write_text('{"imgs": {},\n "anns": {,\n}}')
    with pytest.raises(DataError, match=r"cocotext\.v2\.json:2: not JSON"):
        cocotext.read(folder / "train2014", folder / "cocotext.v2.json")
