"""COCO-Text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ppocr_data.convert.files import by_stem, image_files, upright_box
from ppocr_data.convert.json_file import coordinate, get, read_json
from ppocr_data.convert.record import DONT_CARE_TEXT, Polygon, Progress, Reading, Record, Text
from ppocr_data.errors import DataError

_LEGIBILITY = ("legible", "illegible")
_PARTS = ("train", "val")


def read(images: Path, labels: Path, progress: Progress | None = None) -> Reading:
    """COCO-Text V2 and V1 (Veit et al. 2016): words in photos of everyday scenes.

    `labels` is `cocotext.v2.json` (or `COCO_Text.json`): `imgs` (file_name, set), `anns` (mask or polygon, bbox as
    x, y, width, height, legibility, utf8_string) and `imgToAnns`. `images` is COCO's `train2014`; images that the file
    does not name are not used. Illegible text is don't-care; a mask of fewer than four points is replaced by the box.
    Each record says whether it is of the official train or val part; a test part has no labels and is left out.
    """
    content = read_json(labels)
    names, anns, of_image = (get(content, key, dict, str(labels)) for key in ("imgs", "anns", "imgToAnns"))
    wanted = {str(image.get("file_name")) for image in names.values() if isinstance(image, dict)}
    named = [path for path in image_files(images) if path.name in wanted]
    here = {name: path.relative_to(images).as_posix() for name, path in by_stem(named, lambda path: path.name).items()}
    records, absent, untold = [], [], 0
    for done, (key, image) in enumerate(names.items(), start=1):
        where = f"{labels}: imgs.{key}"
        part, name = get(image, "set", str, where), get(image, "file_name", str, where)
        if part == "test":
            untold += 1
        elif part not in _PARTS:
            raise DataError(f"{where}.set: must be train, val or test, is {part!r}")
        elif name not in here:
            absent.append(name)
        else:
            texts = [_text(anns, str(number), labels) for number in get(of_image, key, list, f"{labels}: imgToAnns")]
            records.append(Record(here[name], [polygon for polygon, _ in texts], [word for _, word in texts], part))
        if progress is not None:
            progress(done, len(names))
    if absent:
        raise DataError(f"{labels}: {len(absent)} of {len(names)} images are not in {images}, the first {absent[0]}")
    return Reading(records, (f"{untold} images of the test part left out: they have no labels",) if untold else ())


def _text(anns: dict[str, Any], key: str, labels: Path) -> Text:
    where = f"{labels}: anns.{key}"
    ann = get(anns, key, dict, f"{labels}: anns")
    legibility = get(ann, "legibility", str, where)
    if legibility not in _LEGIBILITY:
        raise DataError(f"{where}.legibility: must be {' or '.join(_LEGIBILITY)}, is {legibility!r}")
    word = ann.get("utf8_string", "")
    if not isinstance(word, str):
        raise DataError(f"{where}.utf8_string: must be a string, is {str(word)[:40]!r}")
    return _outline(ann, where), DONT_CARE_TEXT if legibility == "illegible" else word


def _outline(ann: dict[str, Any], where: str) -> Polygon:
    """The mask (V2) or polygon (V1) of four points or more, else the box."""
    for key in ("mask", "polygon"):
        values = ann.get(key)
        if isinstance(values, list) and len(values) >= 8 and len(values) % 2 == 0:
            flat = [coordinate(value, f"{where}.{key}") for value in values]
            return [flat[i : i + 2] for i in range(0, len(flat), 2)]
    box = [coordinate(value, f"{where}.bbox") for value in get(ann, "bbox", list, where)]
    if len(box) != 4:
        raise DataError(f"{where}.bbox: must be [x, y, width, height], has {len(box)} numbers")
    x, y, width, height = box
    return upright_box(x, y, x + width, y + height)
