"""Receipts by company."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppocr_data.convert.companies import by_company, choose_groups, company_groups, header_lines
from ppocr_data.convert.record import Record


def receipt(name: str, *lines: str) -> Record:
    """A record whose lines stand one below the other; handed over bottom first, since files need not be sorted."""
    boxes = [[[0.0, 20.0 * i], [90.0, 20.0 * i], [90.0, 20.0 * i + 9], [0.0, 20.0 * i + 9]] for i in range(len(lines))]
    return Record(name, boxes[::-1], list(lines[::-1]))


def test_header_lines_are_those_that_tell_companies_apart() -> None:
    page = receipt("a", "3180303", "R", "TAX INVOICE", "GST NO: 001287233536", "SDN BHD", "Lian Hing (M) Sdn. Bhd.")
    assert header_lines(page) == ["LIANHINGMSDNBHD"]
    assert header_lines(receipt("b", "ALPHA CAFE", "BETA ROAD", "GAMMA TOWN", "DELTA LAND")) == [
        "ALPHACAFE",
        "BETAROAD",
        "GAMMATOWN",
    ]


def test_receipts_of_one_company_are_found_in_spite_of_misreadings() -> None:
    records = [
        receipt("0", "GERBANG ALAF RESTAURANTS SDN BHD", "LEVEL SIX"),
        receipt("1", "PASAR MINI JIN SENG", "JALAN PERMAS"),
        receipt("2", "118", "GERPANG ALAF RESTAURENTS SDN BHD", "OTHER STREET"),
        receipt("3", "TAX INVOICE", "CASH SALE", "12345678"),
        receipt("4", "TAX INVOICE", "CASH SALE", "87654321"),
        receipt("5", "OTHER STREET", "SOMETHING ELSE ALTOGETHER"),
    ]
    assert sorted(company_groups(records)) == [[0, 2, 5], [1], [3], [4]]


@given(st.lists(st.integers(1, 12), max_size=9), st.integers(0, 60))
def test_choose_groups_comes_as_near_as_any_choice(sizes: list[int], count: int) -> None:
    chosen = choose_groups(sizes, count)
    assert len(set(chosen)) == len(chosen)
    reached = sum(sizes[i] for i in chosen)
    choices = itertools.chain.from_iterable(itertools.combinations(sizes, n) for n in range(len(sizes) + 1))
    assert abs(reached - count) == min(abs(sum(choice) - count) for choice in choices)


def test_a_name_that_is_not_utf8_is_drawn_like_any_other() -> None:
    """What is wrong with it is told where labels are written."""
    names = ("KIKU JAPANESE", "FACE NOODLE", "BILLION SIX", "DIGI TELECOM")
    records = [receipt(os.fsdecode(b"caf\xe9 ") + name, name) for name in names]
    assert len(by_company(records, 1).val) == 1


def test_a_large_company_is_kept_from_validation_where_others_suffice() -> None:
    names = ("KIKU JAPANESE", "FACE NOODLE", "BILLION SIX", "DIGI TELECOM", "POPULAR BOOK", "LIM HARDWARE")
    records = [receipt(f"{name} {i}", name) for name in names for i in range(1 + 5 * (name == "POPULAR BOOK"))]
    assert len(company_groups(records)) == 6
    split = by_company(records, 4)
    assert len(split.val) == 4 and all("POPULAR" not in records[i].image for i in split.val)
    needed = by_company(records, 8)  # the five small companies are only five receipts
    assert len(needed.val) == 8 and "6 companies" in needed.note


def test_of_two_sums_as_near_the_smaller_is_taken() -> None:
    assert choose_groups([2, 4], 3) == [0]
    assert choose_groups([4, 2], 3) == [1]


@pytest.mark.parametrize("draw", range(12))
def test_a_company_of_more_than_a_third_is_kept_out_where_others_suffice(draw: int) -> None:
    box = [[0.0, 0.0], [90.0, 0.0], [90.0, 9.0], [0.0, 9.0]]
    names = ["KIKU JAPANESE", "FACE NOODLE", "BILLION SIX", "DIGI TELECOM", *["POPULAR BOOK"] * 2]
    records = [Record(f"{draw} {i}", [box], [name]) for i, name in enumerate(names)]
    assert by_company(records, 4).val == frozenset(range(4))  # 2 of 4 would be more than a third
