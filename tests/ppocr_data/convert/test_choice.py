"""Which rule a user's wish for validation images means."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from ppocr_data.convert import FORMATS
from ppocr_data.convert.choice import OWN_RULES, Wanted, chosen_rule
from ppocr_data.convert.record import Progress, Record
from ppocr_data.errors import DataError


def record(name: str, part: str = "") -> Record:
    return Record(name, [[[0, 0], [9, 0], [9, 9], [0, 9]]], ["word"], part)


@contextlib.contextmanager
def unseen(what: str) -> Iterator[Progress]:
    yield lambda done, total: None


def test_own_rules_are_of_formats() -> None:
    assert set(OWN_RULES) <= set(FORMATS)


@pytest.mark.parametrize(
    ("data_format", "val"), [("icdar2015", {2, 3}), ("cocotext", {1})], ids=["number 901", "own part"]
)
def test_a_format_has_its_own_rule(data_format: str, val: set[int]) -> None:
    records = [record("img_1.jpg"), record("img_2.jpg", "val"), record("img_901.jpg"), record("img_950.jpg")]
    assert chosen_rule(data_format, Wanted(), Path(), unseen)(records).val == val


def test_what_is_asked_for_comes_before_the_own_rule(tmp_path: Path) -> None:
    records = [record("img_1.jpg"), record("img_2.jpg"), record("img_901.jpg")]
    (tmp_path / "val.txt").write_text("img_1\n")
    assert chosen_rule("icdar2015", Wanted(listing=tmp_path / "val.txt"), tmp_path, unseen)(records).val == {0}
    assert chosen_rule("icdar2015", Wanted(first_id=2), tmp_path, unseen)(records).val == {1, 2}
    by_chance = Wanted(share=0.34, allow_near_duplicates=True)
    assert len(chosen_rule("icdar2015", by_chance, tmp_path, unseen)(records).val) == 1


@pytest.mark.parametrize(
    ("option", "wanted"),
    [
        ("--seed", Wanted(seed=1)),
        ("--group-by", Wanted(group_by=".")),
        ("--allow-near-duplicates", Wanted(allow_near_duplicates=True)),
    ],
)
def test_options_of_a_draw_need_one(option: str, wanted: Wanted) -> None:
    with pytest.raises(DataError, match=f"{option} belongs to --val-share"):
        chosen_rule("icdar2015", wanted, Path(), unseen)
    chosen_rule("labelme", wanted, Path(), unseen)  # which is drawn by chance as a rule


def test_images_that_look_alike_stay_together(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(6)]
    random = np.random.default_rng(0)
    for i in range(3):
        picture = cv2.resize(random.integers(0, 256, (6, 6, 3), np.uint8), (96, 96), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / names[i]), picture)
        cv2.imwrite(str(tmp_path / names[i + 3]), picture)
    seen = []

    @contextlib.contextmanager
    def watched(what: str) -> Iterator[Progress]:
        seen.append(what)
        yield lambda done, total: None

    for seed in range(5):
        rule = chosen_rule("labelme", Wanted(share=0.34, seed=seed), tmp_path, watched)
        val = rule([record(name) for name in names]).val
        assert len(val) == 2 and {i % 3 for i in val} == {min(val)}
    assert seen == ["looking for near-duplicates"] * 5
