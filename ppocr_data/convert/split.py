"""Which images of a converted set are for validation: by number, by a list, by the set's own word, or by chance."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppocr_data.convert.files import composed, numbered_lines
from ppocr_data.convert.record import Record
from ppocr_data.errors import DataError


@dataclass(frozen=True, slots=True)
class Split:
    """The indices of the records that are for validation, and a sentence about how they were chosen."""

    val: frozenset[int]
    note: str


Rule = Callable[[Sequence[Record]], Split]
"""Which of a set's records are for validation."""


class Groups:
    """The numbers 0..count-1 in groups that grow together (union-find)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, i: int) -> int:
        """The member that stands for the group of `i`."""
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i

    def join(self, i: int, j: int) -> None:
        """Make the groups of `i` and `j` one."""
        self._parent[self.root(i)] = self.root(j)

    def join_equal(self, keys: Iterable[Hashable | None]) -> None:
        """Join the numbers whose keys are equal; None is equal to nothing."""
        holder: dict[Hashable, int] = {}
        for i, key in enumerate(keys):
            if key is not None:
                self.join(i, holder.setdefault(key, i))

    def members(self) -> list[list[int]]:
        """The groups, each in rising order, in the order of their first members."""
        groups: dict[int, list[int]] = {}
        for i in range(len(self._parent)):
            groups.setdefault(self.root(i), []).append(i)
        return list(groups.values())


def by_number(records: Sequence[Record], first: int) -> Split:
    """Validation is every image whose number (the last digits of its name) is at least `first`.

    Raises:
        DataError: an image without a number.
    """
    numbers = []
    for record in records:
        digits = re.findall(r"\d+", Path(record.image).stem)
        if not digits:
            raise DataError(f"{record.image}: no number in the name; split by a list of names instead")
        numbers.append(int(digits[-1]))
    return Split(
        frozenset(i for i, n in enumerate(numbers) if n >= first), f"validation: images from number {first} on"
    )


def by_list(records: Sequence[Record], listing: Path) -> Split:
    """Validation is every image named in `listing`, one a line; folder and suffix may be left out.

    A label file is such a list too: what follows a tab is not looked at. A line without one is a comment after `#`.

    Raises:
        DataError: the list cannot be read, names an image that is not there, or several at once (with the line).
    """
    by_name: dict[str, list[int]] = {}
    by_path = {composed(record.image): [i] for i, record in enumerate(records)}
    for i, record in enumerate(records):
        path = Path(composed(record.image))
        for name in {path.name, path.stem, path.with_suffix("").as_posix()}:
            by_name.setdefault(name, []).append(i)
    chosen = set()
    for where, line in numbered_lines(listing):
        name, labels, _ = line.partition("\t")
        name = composed(name.strip())
        if not name or (name.startswith("#") and not labels):
            continue
        found = by_path.get(name) or by_name.get(name, [])  # a whole path is one image, whoever shares its name
        if not found:
            raise DataError(f"{where}: no image named {name!r} among the {len(records)} converted ones")
        if len(found) > 1:
            several = " or ".join(records[i].image for i in found)
            raise DataError(f"{where}: {name!r} may be {several}; write the whole path")
        chosen.add(found[0])
    return Split(frozenset(chosen), f"validation: the images listed in {listing}")


def by_part(records: Sequence[Record]) -> Split:
    """Validation is what the data set itself calls its validation part."""
    if not any(record.part for record in records):
        raise DataError("this data set does not say which of its images are for validation; choose another split")
    return Split(
        frozenset(i for i, record in enumerate(records) if record.part == "val"), "validation: the set's own part"
    )


def by_share(records: Sequence[Record], share: float, seed: int, groups: Groups | None = None) -> Split:
    """Validation is a share of the images, drawn by chance but the same on every machine; groups stay together.

    Images are drawn in the order of a hash of seed and name, each with its whole group, as long as the group fits into
    what is left of the share.

    Args:
        share: 0..1, of the images.
        seed: another seed draws other images.
        groups: images that must not be divided, such as near-duplicates.

    Raises:
        DataError: no share, or every group is larger than it.
    """
    if not 0 < share < 1:
        raise DataError(f"a share must lie between 0 and 1, is {share}; 0.1 is a tenth")
    members = (groups or Groups(len(records))).members()
    draw = [hashlib.sha256(f"{seed} {record.image}".encode(errors="surrogateescape")).digest() for record in records]
    wanted, chosen = max(1, round(share * len(records))), set[int]()
    for group in sorted(members, key=lambda group: min(draw[i] for i in group)):
        if len(chosen) + len(group) <= wanted:
            chosen.update(group)
    if records and not chosen:
        raise DataError(
            f"a share of {share:g} is {wanted} of {len(records)} images, and the smallest group that must stay "
            f"together has {min(map(len, members))}: they look alike, or have in their names what --group-by finds. "
            "Name the validation images in a file (--val), take a larger share, or --allow-near-duplicates"
        )
    together = [group for group in members if len(group) > 1]
    kept = f"; {sum(map(len, together))} images in {len(together)} groups were kept together" if together else ""
    return Split(frozenset(chosen), f"validation: {share:g} of the images, drawn with seed {seed}{kept}")


def name_keys(records: Sequence[Record], pattern: str) -> list[str | None]:
    """What `pattern`, a regular expression, finds in each image's path: its first group, or all; None where nothing.

    Raises:
        DataError: no regular expression, or one that fits no image.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DataError(f"{pattern!r} is not a regular expression ({error})") from error
    found = [compiled.search(record.image) for record in records]
    keys = [match and match[1 if compiled.groups else 0] for match in found]
    if not any(keys):
        name = records[0].image if records else ""
        raise DataError(f"{pattern!r} finds nothing in any image's name, such as {name!r}")
    return keys
