"""Public data sets, and the folders of labelling tools, to PaddleOCR's label files.

The source is only read; its images are used where they lie, or copied.

A format is a file with a function `read(images, labels, progress) -> Reading`, and a line in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppocr_data.convert import (
    cocotext,
    ctw1500,
    icdar2013,
    icdar2015,
    icdar2017,
    labelme,
    ppocrlabel,
    sroie,
    td500,
    totaltext,
)
from ppocr_data.convert.record import Progress, Reading, Record
from ppocr_data.convert.split import Rule, Split, by_part
from ppocr_data.convert.write import Part, copies_in, overrides, refuse_to_replace, write
from ppocr_data.errors import DataError

Reader = Callable[[Path, Path, Progress | None], Reading]

FORMATS: dict[str, Reader] = {
    "icdar2013": icdar2013.read,
    "icdar2015": icdar2015.read,
    "icdar2017": icdar2017.read,
    "sroie": sroie.read,
    "td500": td500.read,
    "totaltext": totaltext.read,
    "ctw1500": ctw1500.read,
    "cocotext": cocotext.read,
    "labelme": labelme.read,
    "ppocrlabel": ppocrlabel.read,
}

__all__ = ["FORMATS", "Converted", "Part", "Record", "Source", "Split", "convert", "overrides", "refuse_to_replace"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a data set lies: the folder of its images, and the folder or file of its labels."""

    images: Path
    labels: Path


@dataclass(frozen=True, slots=True)
class Converted:
    """What a conversion wrote: two label files with their figures, and what a person should know about it."""

    train: Part
    val: Part
    notes: tuple[str, ...]

    def overrides(self) -> str:
        """The `-o` arguments that make a config use this data, quoted for a shell."""
        return overrides(self.train, self.val)


def convert(
    data_format: str,
    source: Source,
    output: Path,
    *,
    split: Rule | None = None,
    val_source: Source | None = None,
    only_with_text: bool = False,
    copy: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Read a data set and write `output/train.txt` and `output/val.txt`.

    Args:
        data_format: a key of `FORMATS`.
        source: the set; only read.
        output: created where missing; must not lie in a folder of the source. Label files there are replaced whole,
            unless they are the source's own.
        split: which records are for validation (see `split`); None with `val_source`, which holds them all.
        val_source: a second set of the same format, such as the official test part, that is the validation.
        only_with_text: leave out images without a readable text, after dividing: the others stay where they were.
        copy: copy the images below `output` instead of referring to them where they are.
        progress: called after each image read, and from the start again for each source and for copying.

    Raises:
        DataError: a folder, image or line that is missing or not understood, with file and line; a validation that is
            the training once more.
    """
    if data_format not in FORMATS:
        raise DataError(f"unknown format {data_format!r}; known: {', '.join(FORMATS)}")
    sources = [source, *([val_source] if val_source else [])]
    folders = [each.images for each in (source, val_source or source)]
    written = [output, *((output / place for place in copies_in(folders)) if copy else ())]
    for each in sources:
        _check_source(each, written)
    if val_source and _same(source, val_source):
        raise DataError(f"{val_source.labels}: the validation is the training set itself; name another one")
    refuse_to_replace(output, [each.labels for each in sources])
    readings = [FORMATS[data_format](each.images, each.labels, progress) for each in sources]
    if val_source:
        _refuse_shared(sources, readings)
    notes = [note for reading in readings for note in reading.notes]
    if val_source:
        chosen, note, rule = (readings[0].records, readings[1].records), "", ""
    else:
        chosen, note = _divide(readings[0].records, split or by_part)
        rule = f". {note}; --val-share 0.2 draws a fifth of them by chance"
    lost = 0
    if only_with_text:
        before, chosen = sum(map(len, chosen)), (_with_text(chosen[0]), _with_text(chosen[1]))
        lost = before - sum(map(len, chosen))
        notes.append(f"{lost} images without readable text left out")
    notes += [note] if note else []
    if not all(chosen):
        raise DataError(
            f"{source.labels}: of {len(chosen[0]) + len(chosen[1])} images {len(chosen[1])} would be for validation; "
            f"both parts need some{f' ({lost} without readable text were left out)' if lost else ''}{rule}"
        )
    train, val, kept_files = write(chosen, folders, output, copy, progress)
    return Converted(train, val, (*notes, *kept_files))


def _check_source(source: Source, written: Sequence[Path]) -> None:
    if not source.images.is_dir():
        raise DataError(f"{source.images}: no such folder")
    if not source.labels.exists():
        raise DataError(f"{source.labels}: no such folder or file")
    for folder in (source.images, source.labels):
        for place in written:
            if place.resolve().is_relative_to(folder.resolve()):
                raise DataError(f"{place}: lies in the source {folder}, which is never written to; name another folder")


def _same(one: Source, other: Source) -> bool:
    return one.images.resolve() == other.images.resolve() and one.labels.resolve() == other.labels.resolve()


def _refuse_shared(sources: Sequence[Source], readings: Sequence[Reading]) -> None:
    """Folders may lie in each other, and several label files may be of one folder."""
    train, val = (
        {(source.images / record.image).resolve() for record in reading.records}
        for source, reading in zip(sources, readings, strict=True)
    )
    if shared := sorted(train & val):
        raise DataError(
            f"{sources[1].labels}: {len(shared)} of its {len(val)} images are training images as well, such as "
            f"{shared[0]}; name folders or label files that share none"
        )


def _with_text(records: list[Record]) -> list[Record]:
    return [record for record in records if record.readable]


def _divide(records: list[Record], split: Rule) -> tuple[tuple[list[Record], list[Record]], str]:
    chosen = split(records)
    train = [record for i, record in enumerate(records) if i not in chosen.val]
    return (train, [record for i, record in enumerate(records) if i in chosen.val]), chosen.note
