"""Splits by number, by list, by the set's own word and by chance."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppocr_data.convert.record import Record
from ppocr_data.convert.split import Groups, by_list, by_number, by_part, by_share, name_keys
from ppocr_data.errors import DataError


def records(count: int) -> list[Record]:
    return [Record(f"img_{i}.jpg", [], []) for i in range(count)]


def test_by_number_needs_numbers() -> None:
    some = [Record(name, [], []) for name in ("a_7.jpg", "a2_30.png", "8.jpg", "dir99/1.jpg")]
    assert by_number(some, 8).val == {1, 2}
    with pytest.raises(DataError, match=r"cover\.jpg: no number"):
        by_number([*some, Record("cover.jpg", [], [])], 8)


def test_by_list(tmp_path: Path) -> None:
    some = [*records(4), Record("sub/img_9.jpg", [], []), Record("sub/img_8.jpg", [], [])]
    listing = "\ufeffimg_3.jpg\n\n# a comment\n img_1 \r\nimg_9.jpg\nsub/img_8.jpg"
    (tmp_path / "list").write_text(listing, encoding="utf-8")
    assert by_list(some, tmp_path / "list").val == {1, 3, 4, 5}
    (tmp_path / "list").write_text('img_2.jpg\t[{"transcription": "as in a label file"}]\n')
    assert by_list(some, tmp_path / "list").val == {2}
    (tmp_path / "list").write_text("img_3.jpg\nimg_7\n")
    with pytest.raises(DataError, match=r"list:2: no image named 'img_7'"):
        by_list(some, tmp_path / "list")
    with pytest.raises(DataError, match="absent: cannot be read"):
        by_list(some, tmp_path / "absent")


def test_a_list_may_write_accents_otherwise_than_the_disk(tmp_path: Path) -> None:
    apart, whole = "gro\u0308\u00dfe", "gr\u00f6\u00dfe"
    some = [Record(f"{apart}/{apart}_1.jpg", [], []), Record(f"{apart}/{apart}_2.jpg", [], []), *records(1)]
    (tmp_path / "list").write_text(f"{whole}_1\n{whole}/{whole}_2.jpg\n", encoding="utf-8")
    assert by_list(some, tmp_path / "list").val == {0, 1}


def test_a_label_file_lists_its_images(tmp_path: Path) -> None:
    """A transcription may hold what some readers take for a line's end, and a name begin like a comment."""
    images = [Record(name, [], []) for name in ("#1.png", "a.png", "b.png")]
    listing = tmp_path / "val.txt"
    listing.write_text('#1.png\t[]\nb.png\t[{"transcription": "a\u2028b\u0085c"}]\n# a.png\n', encoding="utf-8")
    assert by_list(images, listing).val == {0, 2}


def test_a_listed_path_is_that_image_and_a_name_of_several_is_refused(tmp_path: Path) -> None:
    some = [Record(name, [], []) for name in ("1.png", "2.png", "b/1.png", "b/3.png")]
    for listing, chosen in (("1.png", {0}), ("b/1.png", {2}), ("b/1", {2}), ("3", {3}), ("2.png", {1})):
        (tmp_path / "list").write_text(listing)
        assert by_list(some, tmp_path / "list").val == chosen, listing
    (tmp_path / "list").write_text("2\n1\n")
    with pytest.raises(DataError, match=r"list:2: '1' may be 1\.png or b/1\.png; write the whole path"):
        by_list(some, tmp_path / "list")


def test_by_the_set_s_own_word() -> None:
    parts = [Record("a", [], [], "train"), Record("b", [], [], "val"), Record("c", [], [], "train")]
    assert by_part(parts).val == {1}
    with pytest.raises(DataError, match="does not say which"):
        by_part(records(3))


@given(st.integers(2, 60), st.floats(0.05, 0.95), st.integers(0, 9), st.lists(st.tuples(*[st.integers(0, 59)] * 2)))
def test_by_share_takes_whole_groups_and_no_more_than_asked(
    count: int, share: float, seed: int, pairs: list[tuple[int, int]]
) -> None:
    groups = Groups(count)
    for i, j in pairs:
        groups.join(i % count, j % count)
    wanted, smallest = max(1, round(share * count)), min(map(len, groups.members()))
    if smallest > wanted:
        with pytest.raises(DataError, match=f"is {wanted} of {count} images, .* has {smallest}: they look alike"):
            by_share(records(count), share, seed, groups)
        return
    val = by_share(records(count), share, seed, groups).val
    assert 0 < len(val) <= wanted
    assert all(set(group) <= val or not set(group) & val for group in groups.members())
    if not pairs:
        assert len(val) == wanted


def test_by_share_is_the_same_everywhere_and_follows_the_seed() -> None:
    some = records(100)
    first = by_share(some, 0.2, 1).val
    assert by_share(some, 0.2, 1).val == first != by_share(some, 0.2, 2).val
    # By a hash, not by Python's random numbers, whose algorithm may change: these five for ever.
    assert sorted(by_share(some, 0.05, 7).val) == [6, 35, 69, 93, 97]


def test_by_share_names_what_it_kept_together() -> None:
    groups = Groups(10)
    groups.join(0, 1)
    groups.join(1, 2)
    assert "3 images in 1 groups were kept together" in by_share(records(10), 0.5, 1, groups).note


def test_groups_that_no_share_can_divide_are_named() -> None:
    groups = Groups(10)
    groups.join_equal(["form"] * 7 + ["letter"] * 3)
    assert by_share(records(10), 0.3, 1, groups).val == {7, 8, 9}
    with pytest.raises(DataError, match=r"0\.2 is 2 of 10 images, and the smallest group .* has 3: they look alike"):
        by_share(records(10), 0.2, 1, groups)


@pytest.mark.parametrize("share", [0, 1, -0.1, 20])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(DataError, match="a share must lie between 0 and 1"):
        by_share(records(10), share, 1)


def test_groups() -> None:
    groups = Groups(6)
    groups.join_equal(["a", None, "b", "a", None, "b"])
    assert groups.members() == [[0, 3], [1], [2, 5], [4]]
    groups.join(3, 5)
    assert groups.members() == [[0, 2, 3, 5], [1], [4]]
    assert groups.root(0) == groups.root(2) != groups.root(1)


def test_keys_from_names() -> None:
    some = [Record(name, [], []) for name in ("doc1_p1.jpg", "doc1_p2.jpg", "doc2_p1.jpg", "cover.jpg")]
    assert name_keys(some, r"doc\d+") == ["doc1", "doc1", "doc2", None]
    assert name_keys(some, r"^(.*)_p") == ["doc1", "doc1", "doc2", None]
    with pytest.raises(DataError, match=r"'\(' is not a regular expression"):
        name_keys(some, "(")
    with pytest.raises(DataError, match=r"'frame' finds nothing in any image's name, such as 'doc1_p1\.jpg'"):
        name_keys(some, "frame")
