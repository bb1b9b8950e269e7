"""Writing label files, and the overrides that name them."""

from __future__ import annotations

import contextlib
import filecmp
import itertools
import json
import re
import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from ppocr_data.atomic import replacing
from ppocr_data.convert.record import Progress, Record
from ppocr_data.errors import DataError
from ppocr_data.labels import read_labels

FILES = ("train.txt", "val.txt")
"""What is written: the label files to train on and to validate on."""


@dataclass(frozen=True, slots=True)
class Part:
    """A label file, the folder that its image paths start from, and its figures.

    boxes: all texts; ignored: those that are don't-care; empty: images without a readable text. problems: what a
    training would refuse in it, a line each ("train.txt:12: ...").
    """

    label_file: Path
    data_dir: Path
    images: int = 0
    boxes: int = 0
    ignored: int = 0
    empty: int = 0
    problems: tuple[str, ...] = ()


def refuse_to_replace(output: Path, sources: Iterable[Path]) -> None:
    """Raise DataError where one of the files that are read is one that will be written."""
    written = {(output / name).resolve() for name in FILES}
    for path in sources:
        if path.resolve() in written:
            raise DataError(f"{path}: would be replaced by what is made of it; name another --output than {output}")


_LIKE_A_NUMBER = re.compile(r"[-+.\d][-+.\deE_]*")
"""Of YAML 1.2, which configurations are read by, `1e3` is one; PyYAML takes it for a text."""


def overrides(train: Part, val: Part) -> str:
    """`-o` arguments for `tools/train.py` that name data folders and label files, quoted for a shell."""
    parts = []
    for section, part in (("Train", train), ("Eval", val)):
        parts.append(f"{section}.dataset.data_dir={_as_yaml(str(part.data_dir))}")
        parts.append(f"{section}.dataset.label_file_list=[{_quoted(str(part.label_file))}]")
    return "-o " + " ".join(shlex.quote(part) for part in parts)


def _as_yaml(text: str) -> str:
    """A text as a value is written after `=`: in quotes where it would be read as a number, a comment or a mapping."""
    try:
        plain = yaml.safe_load(text) == text and not _LIKE_A_NUMBER.fullmatch(text)
    except yaml.YAMLError:
        plain = False
    return text if plain else _quoted(text)


def _quoted(text: str) -> str:
    """In quotes; by numbers where it holds what YAML would take for a line end, or what nobody sees."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def write(
    chosen: tuple[list[Record], list[Record]],
    folders: Sequence[Path],
    output: Path,
    copy: bool,
    progress: Progress | None = None,
) -> tuple[Part, Part, tuple[str, ...]]:
    """Write `train.txt` and `val.txt`, and with `copy` the images too.

    What a label file of that name held before is kept beside it, as `train.txt.previous`, where it was another; what
    lies there already stays, and the next is `train.txt.previous-2`.

    Args:
        chosen: records to train on and to validate on.
        folders: the image folder of each.
        output: created where missing.
        copy: copy the images to `output/images` (and to `output/val_images` where they come from another folder).
        progress: called after each image copied.

    Returns:
        Both parts, and a sentence for each label file that was kept.

    Raises:
        DataError: something cannot be written, a name does not fit into a label file, or a copy would replace another
            picture.
    """
    places = copies_in(folders)
    contents = [
        # Half an emoji, which JSON may hold and UTF-8 may not, is written as JSON escapes it.
        "".join(_label_line(record, f"{place}/" if copy else "") for record in records).encode(
            "utf-8", "backslashreplace"
        )
        for records, place in zip(chosen, places, strict=True)
    ]
    parts = []
    try:
        output.mkdir(parents=True, exist_ok=True)
        if copy:
            pairs = [
                (folder / record.image, output / place / record.image)
                for records, folder, place in zip(chosen, folders, places, strict=True)
                for record in records
            ]
            _refuse_to_overwrite(pairs)
            _copy(pairs, progress)
        paths = [output / name for name in FILES]
        kept = [note for path, content in zip(paths, contents, strict=True) for note in _keep(path, content)]
        # Both are written before either takes its place: one of this split beside one of another would share images.
        with contextlib.ExitStack() as stack:
            for path, content in zip(paths, contents, strict=True):
                stack.enter_context(replacing(path)).write_bytes(content)
        for path, records, folder in zip(paths, chosen, folders, strict=True):
            parts.append(_part(path, output if copy else folder, records))
    except OSError as error:
        raise DataError(f"{output}: cannot be written ({error})") from error
    return parts[0], parts[1], tuple(kept)


def _keep(path: Path, content: bytes) -> list[str]:
    """Copy a file that is about to become another; what to say of it."""
    if not path.exists() or path.read_bytes() == content:
        return []
    names = itertools.chain([f"{path.name}.previous"], (f"{path.name}.previous-{n}" for n in itertools.count(2)))
    kept = next(place for name in names if not (place := path.with_name(name)).exists() or _same(place, path))
    with replacing(kept) as fresh:
        shutil.copyfile(path, fresh)
    return [f"{path} held something else, which is in {kept} now"]


def _same(one: Path, other: Path) -> bool:
    return filecmp.cmp(one, other, shallow=False)


def copies_in(folders: Sequence[Path]) -> tuple[str, str]:
    """The folders below the output that the images of training and validation are copied to."""
    return ("images", "images" if folders[0] == folders[1] else "val_images")


def _refuse_to_overwrite(pairs: Sequence[tuple[Path, Path]]) -> None:
    """Raise DataError before the first copy where one would cost a picture. Copies made before are none."""
    for source, target in pairs:
        if target.exists() and not _same(source, target):
            raise DataError(f"{target}: is another picture than {source}, and would be replaced; name a new --output")


def _copy(pairs: Sequence[tuple[Path, Path]], progress: Progress | None) -> None:
    for done, (source, target) in enumerate(pairs, start=1):
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            with replacing(target) as fresh:
                shutil.copyfile(source, fresh)
        if progress is not None:
            progress(done, len(pairs))


def _part(path: Path, data_dir: Path, records: Sequence[Record]) -> Part:
    """The figures of a written file, which is read back as a training would read it."""
    return Part(
        label_file=path,
        data_dir=data_dir,
        images=len(records),
        boxes=sum(len(record.texts) for record in records),
        ignored=sum(len(record.texts) - record.readable for record in records),
        empty=sum(not record.readable for record in records),
        problems=tuple(map(str, read_labels(path, data_dir, on_bad="skip").problems)),
    )


def _label_line(record: Record, below: str) -> str:
    if "\t" in record.image or "\n" in record.image:
        raise DataError(f"{record.image!r}: a label file cannot hold a name with a tab or a line end; rename the image")
    if record.image != record.image.strip():
        raise DataError(f"{record.image!r}: begins or ends with a blank, which readers drop; rename the image")
    try:
        record.image.encode()
    except UnicodeEncodeError:
        raise DataError(f"{record.image!r}: a label file is UTF-8, which this name is not; rename the image") from None
    boxes = [
        {"transcription": text, "points": polygon} for text, polygon in zip(record.texts, record.polygons, strict=True)
    ]
    return f"{below}{record.image}\t{json.dumps(boxes, ensure_ascii=False)}\n"
