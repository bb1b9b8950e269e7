"""Folders labelled with LabelMe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ppocr_data.convert.files import by_stem, image_files, read_pairs, upright_box
from ppocr_data.convert.json_file import get, point, read_json, want
from ppocr_data.convert.record import DONT_CARE_TEXT, Polygon, Progress, Reading, Text
from ppocr_data.errors import DataError
from ppocr_data.folders import natural, visible_files
from ppocr_data.labels import DONT_CARE, flag

_IGNORED = ("ignore", "difficult", "illegible", "dont_care")
"""Flags of a shape, and labels where the transcription stands in the description, that mean don't-care."""


def read(images: Path, labels: Path, progress: Progress | None = None) -> Reading:
    """LabelMe folders: polygons and rectangles drawn with the labelme tool, or another that writes its JSON.

    `photo.jpg` has `photo.json`, usually beside it. A shape's transcription is its `description` (or `text`) where it
    has one, else its `label`. Don't-care is a transcription of `###` or `*`, a flag `ignore`, `difficult`, `illegible`
    or `dont_care` that is set, or a label of that name. Other kinds of shape (circle, line, point, mask) are refused.
    Images without a JSON file are taken to be unlabelled so far and left out.
    """
    beside = images.resolve() == labels.resolve()  # then a/1.json is a/1.jpg's, whatever lies in b
    folder = images if beside else labels

    def name(path: Path) -> str:
        return path.relative_to(folder).with_suffix("").as_posix() if beside else path.stem

    pictures = by_stem(image_files(images), name)
    found = by_stem((p for p in visible_files(folder) if p.suffix.lower() == ".json"), name)
    if not pictures or not found:
        raise DataError(f"{images}: {len(pictures)} images and {len(found)} JSON files found; is this the set?")
    for stem in sorted(found.keys() - pictures.keys(), key=natural)[:1]:
        raise DataError(
            f"{found[stem]}: its image {images / stem}.* is missing (it may be embedded: labelme_export_json saves it)"
        )
    pairs = [(path, found[stem]) for stem, path in pictures.items() if stem in found]
    left = len(pictures) - len(pairs)
    notes = (f"{left} images without a JSON file left out, as not labelled yet",) if left else ()
    return Reading(read_pairs(images, pairs, parse, progress), notes)


def parse(path: Path) -> list[Text]:
    """The texts of one label file."""
    shapes = get(read_json(path), "shapes", list, str(path))
    return [_text(want(shape, dict, f"{path}: shapes[{i}]"), f"{path}: shapes[{i}]") for i, shape in enumerate(shapes)]


def _text(shape: dict[str, Any], where: str) -> Text:
    label = get(shape, "label", str, where)
    flags = shape.get("flags") or {}
    word = next((str(shape[key]) for key in ("description", "text") if shape.get(key)), label)
    ignored = word.strip() in DONT_CARE or label.strip() in (*DONT_CARE, *_IGNORED)
    ignored = ignored or any(flag(want(flags, dict, f"{where}.flags"), name, f"{where}.flags") for name in _IGNORED)
    return _outline(shape, where), DONT_CARE_TEXT if ignored else word


def _outline(shape: dict[str, Any], where: str) -> Polygon:
    kind = shape.get("shape_type", "polygon")
    points = [point(value, f"{where}.points") for value in get(shape, "points", list, where)]
    if kind in ("polygon", "oriented_rectangle", "rotation") and len(points) >= 3:
        return points
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        return upright_box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    if kind == "rectangle" and len(points) == 4:
        return points
    raise DataError(f"{where}: a {kind} of {len(points)} points is no outline; redraw it as a polygon or rectangle")
