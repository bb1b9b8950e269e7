"""Public data sets to PaddleOCR's label files. The source is only read; its images are used where they lie.

A format is one function `(images, labels, progress) -> list[Record]` and one line in `FORMATS`.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppocr_data.convert_split import Record, Split
from ppocr_data.errors import DataError
from ppocr_data.labels import DONT_CARE, IMAGE_SUFFIXES

CORNERS = 4  # of the quadrilateral that precedes the transcription on a line

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Converted:
    """What a conversion wrote: the label files, the folder that their image paths start from, and a summary."""

    data_dir: Path
    train: Path
    val: Path
    summary: str

    def overrides(self) -> str:
        """The `-o` arguments that make a config use this data, quoted for a shell."""
        return overrides(self.data_dir, self.train, self.val)


def overrides(data_dir: Path, train: Path, val: Path) -> str:
    """`-o` arguments for `tools/train.py` that name a data folder and its label files, quoted for a shell."""
    parts = []
    for section, label_file in (("Train", train), ("Eval", val)):
        parts.append(f"{section}.dataset.data_dir={data_dir}")
        parts.append(f"{section}.dataset.label_file_list={json.dumps([str(label_file)], ensure_ascii=False)}")
    return "-o " + " ".join(shlex.quote(part) for part in parts)


def convert(
    data_format: str,
    *,
    images: Path,
    labels: Path,
    output: Path,
    split: Callable[[Sequence[Record]], Split],
    copy: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Read a data set and write `output/train.txt` and `output/val.txt`.

    Args:
        data_format: a key of `FORMATS`.
        images, labels: the set's two folders.
        output: created where missing; must not lie in a folder of the source. Label files there are replaced whole.
        split: which records are for validation (see `convert_split`).
        copy: copy the images to `output/images` instead of referring to them where they are.
        progress: called as `progress(done, total)` after each image read.

    Raises:
        DataError: a folder, image or line that is missing or not understood, with file and line.
    """
    if data_format not in FORMATS:
        raise DataError(f"unknown format {data_format!r}; known: {', '.join(FORMATS)}")
    for source in (images, labels):
        if not source.is_dir():
            raise DataError(f"{source}: no such folder")
        if output.resolve().is_relative_to(source.resolve()):
            raise DataError(f"{output}: lies in the source {source}, which is never written to; name another folder")
    records = FORMATS[data_format](images, labels, progress)
    chosen = split(records)
    if not 0 < len(chosen.val) < len(records):
        raise DataError(
            f"{labels}: of {len(records)} images {len(chosen.val)} would be for validation; both parts need some"
        )
    try:
        return _write(records, chosen, images, output, copy)
    except OSError as error:
        raise DataError(f"{output}: cannot be written ({error})") from error


def read_icdar2015(images: Path, labels: Path, progress: Progress | None = None) -> list[Record]:
    """ICDAR 2015 Incidental Scene Text (Karatzas et al. 2015), task 4.1: `img_N.jpg` with `gt_img_N.txt`.

    A line is `x1,y1,x2,y2,x3,y3,x4,y4,transcription` in UTF-8, often with a byte order mark; `###` is don't-care.
    """
    return _read_quadrilaterals(images, labels, "gt_", ".txt", progress)


def read_sroie(images: Path, labels: Path, progress: Progress | None = None) -> list[Record]:
    """ICDAR 2019 SROIE receipts (Huang et al. 2019), task 1: `NNN.jpg` with `NNN.csv` or `NNN.txt`.

    The lines are ICDAR 2015's: unquoted, whatever the suffix says. There is no don't-care flag.
    """
    suffix = ".csv" if any(path.suffix.lower() == ".csv" for path in labels.iterdir()) else ".txt"
    return _read_quadrilaterals(images, labels, "", suffix, progress)


FORMATS: dict[str, Callable[[Path, Path, Progress | None], list[Record]]] = {
    "icdar2015": read_icdar2015,
    "sroie": read_sroie,
}


def _read_quadrilaterals(
    images: Path, labels: Path, prefix: str, suffix: str, progress: Progress | None
) -> list[Record]:
    """One label file an image, named prefix + the image's stem + suffix, one quadrilateral a line."""
    pairs = _pair(images, labels, prefix, suffix)
    records = []
    for done, (image, label_file) in enumerate(pairs, start=1):
        polygons, texts = [], []
        for number, line in enumerate(_lines(label_file), start=1):
            if line.strip():
                polygon, text = _quadrilateral(line, f"{label_file}:{number}")
                polygons.append(polygon)
                texts.append(text)
        records.append(Record(image.name, polygons, texts))
        if progress is not None:
            progress(done, len(pairs))
    return records


def _pair(images: Path, labels: Path, prefix: str, suffix: str) -> list[tuple[Path, Path]]:
    """Every image with its label file, in the order of their numbers. Each must have the other."""
    pictures: dict[str, Path] = {}
    for path in sorted(images.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            if path.stem in pictures:
                raise DataError(f"{path}: {pictures[path.stem].name} has the same name but for the suffix; remove one")
            pictures[path.stem] = path
    label_files: dict[str, Path] = {}
    for path in sorted(labels.iterdir()):
        if path.suffix.lower() == suffix and not path.name.startswith("."):
            if not path.stem.startswith(prefix):
                raise DataError(f"{path}: expected a name that begins with {prefix!r}")
            label_files[path.stem.removeprefix(prefix)] = path
    if not pictures or not label_files:
        raise DataError(f"{images}, {labels}: {len(pictures)} images and {len(label_files)} *{suffix} files found")
    for stem in sorted(label_files.keys() - pictures.keys())[:1]:
        raise DataError(f"{label_files[stem]}: its image {images / stem}.* is missing")
    for stem in sorted(pictures.keys() - label_files.keys())[:1]:
        raise DataError(f"{pictures[stem]}: its label file {labels / (prefix + stem + suffix)} is missing")
    return [(pictures[stem], label_files[stem]) for stem in sorted(pictures, key=_natural)]


def _natural(name: str) -> list[tuple[int, str]]:
    """A sorting key by which img_9 comes before img_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _lines(path: Path) -> list[str]:
    try:
        # Not splitlines(): a transcription may hold U+2028 and its like, which end no line here.
        return path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); convert the file to UTF-8 first") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def _quadrilateral(line: str, where: str) -> tuple[list[list[float]], str]:
    """The corners and the transcription, which may itself hold commas."""
    fields = line.rstrip("\r").split(",", 2 * CORNERS)
    if len(fields) <= 2 * CORNERS:
        raise DataError(f"{where}: expected x1,y1,x2,y2,x3,y3,x4,y4,transcription, found {line.strip()!r}")
    values = [_coordinate(field, where) for field in fields[: 2 * CORNERS]]
    return [values[i : i + 2] for i in range(0, 2 * CORNERS, 2)], fields[2 * CORNERS]


def _coordinate(field: str, where: str) -> float:
    try:
        value = float(field)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: {field.strip()!r} is not a coordinate")
    return int(value) if value.is_integer() else value


def _write(records: Sequence[Record], chosen: Split, images: Path, output: Path, copy: bool) -> Converted:
    output.mkdir(parents=True, exist_ok=True)
    data_dir, below = (output, "images/") if copy else (images, "")
    if copy:
        (output / "images").mkdir(exist_ok=True)
        for record in records:
            _replace(output / "images" / record.image, (images / record.image).read_bytes())
    figures = []
    for part, members in (
        ("train", [r for i, r in enumerate(records) if i not in chosen.val]),
        ("val", [r for i, r in enumerate(records) if i in chosen.val]),
    ):
        _replace(output / f"{part}.txt", "".join(_label_line(r, below) for r in members).encode("utf-8"))
        texts = [text for record in members for text in record.texts]
        ignored = sum(text in DONT_CARE for text in texts)
        figures.append(
            f"{part}: {len(members)} images, {len(texts)} texts ({len(texts) - ignored} readable, {ignored} don't care)"
        )
    return Converted(data_dir, output / "train.txt", output / "val.txt", "\n".join([chosen.note, *figures]))


def _label_line(record: Record, below: str) -> str:
    if "\t" in record.image or "\n" in record.image:
        raise DataError(f"{record.image!r}: a label file cannot hold a name with a tab or a line end; rename the image")
    boxes = [
        {"transcription": text, "points": polygon} for text, polygon in zip(record.texts, record.polygons, strict=True)
    ]
    return f"{below}{record.image}\t{json.dumps(boxes, ensure_ascii=False)}\n"


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_bytes(content)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
