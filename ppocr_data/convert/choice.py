"""From what a user asks for to the split it means: one of the general rules, else the format's own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from ppocr_data.convert.companies import by_company
from ppocr_data.convert.record import Progress, Record
from ppocr_data.convert.split import Groups, Rule, Split, by_list, by_number, by_part, by_share, name_keys
from ppocr_data.errors import DataError
from ppocr_data.near_duplicates import near_duplicates

Watch = Callable[[str], AbstractContextManager[Progress]]

SHARE, SEED = 0.1, 2026
OWN_RULES: dict[str, tuple[str, Rule]] = {
    "icdar2015": ("images from number 901 on", functools.partial(by_number, first=901)),
    "sroie": ("30 receipts, whole companies", functools.partial(by_company, count=30)),
    "cocotext": ("its own part", by_part),
}
"""How the formats that have a usual split are divided where nothing else is asked for: in words, and as a rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which images a user wants for validation. One of the first four, or none of them: the format's own rule.

    Attributes:
        listing: the images named in this file.
        first_id: the images from this number on.
        count: about as many receipts, whole companies.
        share: this share of the images, 0..1, drawn by chance.
        seed: of that draw.
        group_by: a regular expression; images in whose names it finds the same are not divided by that draw.
        allow_near_duplicates: images that look the same may be divided by that draw.
    """

    listing: Path | None = None
    first_id: int | None = None
    count: int | None = None
    share: float | None = None
    seed: int | None = None
    group_by: str | None = None
    allow_near_duplicates: bool = False


def chosen_rule(data_format: str, wanted: Wanted, images: Path, watch: Watch) -> Rule:
    """The rule that is meant.

    Args:
        data_format: a key of `FORMATS`.
        wanted: what is asked for.
        images: the folder of the set's images, in which near-duplicates are looked for.
        watch: given what goes on, shows its progress.

    Raises:
        DataError: an option of a draw by chance, and no such draw.
    """
    rule = _without_chance(data_format, wanted)
    if rule is None:
        return functools.partial(_by_chance, wanted=wanted, images=images, watch=watch)
    refuse_options_of_chance(wanted)
    return rule


def refuse_options_of_chance(wanted: Wanted) -> None:
    """Raise DataError for the first option that belongs to a draw by chance, where there is none."""
    for option, given in (
        ("--group-by", wanted.group_by is not None),
        ("--allow-near-duplicates", wanted.allow_near_duplicates),
        ("--seed", wanted.seed is not None),
    ):
        if given:
            raise DataError(f"{option} belongs to --val-share; here validation is chosen in another way")


def _without_chance(data_format: str, wanted: Wanted) -> Rule | None:
    if wanted.listing is not None:
        return functools.partial(by_list, listing=wanted.listing)
    if wanted.first_id is not None:
        return functools.partial(by_number, first=wanted.first_id)
    if wanted.count is not None:
        return functools.partial(by_company, count=wanted.count)
    if wanted.share is None and data_format in OWN_RULES:
        return OWN_RULES[data_format][1]
    return None


def _by_chance(records: Sequence[Record], wanted: Wanted, images: Path, watch: Watch) -> Split:
    groups = Groups(len(records))
    if wanted.group_by is not None:
        groups.join_equal(name_keys(records, wanted.group_by))
    if not wanted.allow_near_duplicates:
        with watch("looking for near-duplicates") as progress:
            for i, j in near_duplicates([images / record.image for record in records], progress):
                groups.join(i, j)
    share = SHARE if wanted.share is None else wanted.share
    return by_share(records, share, SEED if wanted.seed is None else wanted.seed, groups)
