"""What a misspelled word most likely meant."""

from __future__ import annotations

import pytest

from ppocr_data.spelling import hint, nearest


@pytest.mark.parametrize(
    ("word", "guess"),
    [
        ("shrink_ration", "shrink_ratio"),
        ("shrinkratio", "shrink_ratio"),
        ("SHRINK_RATIO", "shrink_ratio"),
        ("thres", "thresh"),
        ("zzz", None),
        ("", None),
    ],
)
def test_nearest(word: str, guess: str | None) -> None:
    assert nearest(word, ["shrink_ratio", "thresh", "name"]) == guess


def test_nearest_among_nothing() -> None:
    assert nearest("word", []) is None


def test_a_hint_names_the_nearest_word_or_all_there_are() -> None:
    assert hint("thres", ["shrink_ratio", "thresh"]) == "did you mean 'thresh'?"
    assert hint("zzz", ["shrink_ratio", "thresh"]) == "known: shrink_ratio, thresh"
    assert hint("zzz", {"A": 1}, "the students are") == "the students are: A"
    assert hint("zzz", [], "the teachers are") == "the teachers are: none"
    assert hint(7, ["77"]) == "did you mean '77'?"
