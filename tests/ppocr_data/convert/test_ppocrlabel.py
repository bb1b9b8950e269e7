"""PPOCRLabel folders: Label.txt, fileState.txt and the images."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from ppocr_data.convert import ppocrlabel
from ppocr_data.convert.record import Record
from ppocr_data.errors import DataError

QUAD = [[1, 2], [11, 2], [11, 8], [1, 8]]


def entry(text: str = "STOP", **changes: object) -> dict[str, object]:
    return {"transcription": text, "points": QUAD, "difficult": False, **changes}


def line(name: str, *entries: dict[str, object]) -> str:
    return f"photos/{name}\t{json.dumps(list(entries), ensure_ascii=False)}\n"


@pytest.fixture
def folder(lay: Callable[..., Path], tmp_path: Path) -> Path:
    """a: two texts; b: checked, without text; c: not checked; the tool's own crops beside them."""
    return lay(
        {
            "a.jpg": b"",
            "b.jpg": b"",
            "c.jpg": b"",
            "crop_img/a_crop_0.jpg": b"",
            "Label.txt": line("a.jpg", entry("出口"), entry("x", difficult=True, key_cls="None")),
            "fileState.txt": "/home/me/photos/a.jpg\t1\nD:\\work\\photos\\b.jpg\t1\nc.jpg\t0\n",
            "rec_gt.txt": "crop_img/a_crop_0.jpg\t出口\n",
            "Cache.cach": line("c.jpg", entry("guessed")),
        }
    ).rename(tmp_path / "photos")


def test_checked_images_with_and_without_text(folder: Path) -> None:
    reading = ppocrlabel.read(folder, folder)
    assert reading.records == [Record("a.jpg", [QUAD, QUAD], ["出口", "###"]), Record("b.jpg", [], [])]
    assert reading.notes == ("1 images that were not checked yet left out",)


@pytest.mark.parametrize(("disk", "file"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_accents_may_be_written_otherwise_than_on_disk(lay: Callable[..., Path], disk: str, file: str) -> None:
    """As after an archive of macOS: nothing that was checked may get lost, and the paths stay those on disk."""
    here, there = (unicodedata.normalize(form, "größe") for form in (disk, file))
    assert here != there
    folder = lay({f"{here}{i}.jpg": b"" for i in (1, 2, 3)})
    (folder / "Label.txt").write_text(line(f"{there}2.jpg", entry()), encoding="utf-8")
    states = f"/home/{there}1.jpg\t1\n{there}2.jpg\t1\n{there}3.jpg\t0\n"
    (folder / "fileState.txt").write_text(states, encoding="utf-8")
    reading = ppocrlabel.read(folder, folder)
    assert reading.records == [Record(f"{here}1.jpg", [], []), Record(f"{here}2.jpg", [QUAD], ["STOP"])]
    assert "1 images that were not checked yet left out" in reading.notes


def test_an_image_of_a_folder_below_with_the_same_name_is_told(folder: Path) -> None:
    """Numbers of cameras come again: it may be another photo."""
    (folder / "day2").mkdir()
    (folder / "a.jpg").rename(folder / "day2" / "a.jpg")
    reading = ppocrlabel.read(folder, folder)
    assert "1 images were found by their names alone" in reading.notes[0]
    assert reading.notes[0].endswith(f"taken for {folder / 'day2/a.jpg'}): are they the same pictures?")


def test_images_of_another_folder_with_the_same_names_are_told(folder: Path) -> None:
    """As after a move, or as the numbers of another part of the set."""
    (folder / "Label.txt").write_text(line("a.jpg", entry()) + line("b.jpg"), encoding="utf-8")
    renamed = folder.rename(folder.with_name("others"))
    moved = ppocrlabel.read(renamed, renamed).notes[0]
    assert moved.startswith(
        "2 images were found by their names alone, in another folder than labels say (photos/a.jpg is "
    )
    assert moved.endswith(f"taken for {renamed / 'a.jpg'}): are they the same pictures?")


@pytest.mark.parametrize("mark", ["difficult", "ignore"])
def test_both_marks_of_dont_care(mark: str, folder: Path) -> None:
    """`ignore` is what PaddleOCR's label files and ours say, and any of them may be converted."""
    (folder / "Label.txt").write_text(line("a.jpg", entry("seen"), entry("not", **{mark: True})), encoding="utf-8")
    assert ppocrlabel.read(folder, folder).records[0].texts == ["seen", "###"]


def test_the_label_file_itself_may_be_named(folder: Path) -> None:
    assert ppocrlabel.read(folder, folder / "Label.txt") == ppocrlabel.read(folder, folder)
    (folder / "fileState.txt").unlink()
    assert [record.image for record in ppocrlabel.read(folder, folder).records] == ["a.jpg"]


def test_the_states_of_a_folder_say_nothing_about_another_label_file(folder: Path) -> None:
    """Checked images that it does not name are no images without text: their labels are in Label.txt."""
    (folder / "mine.txt").write_text(line("c.jpg", entry("here")), encoding="utf-8")
    reading = ppocrlabel.read(folder, folder / "mine.txt")
    assert reading.records == [Record("c.jpg", [QUAD], ["here"])]
    assert reading.notes == ("2 images that mine.txt does not name left out",)


def test_what_a_detector_found_is_converted(folder: Path) -> None:
    """`tools/infer_det.py` writes boxes with a score and no word; a text without both is a mistake."""
    (folder / "found.txt").write_text(f"a.jpg\t{json.dumps([{'points': QUAD, 'score': 0.9}])}\n", encoding="utf-8")
    assert ppocrlabel.read(folder, folder / "found.txt").records == [Record("a.jpg", [QUAD], [""])]


def test_a_renamed_folder_is_still_understood(folder: Path) -> None:
    moved = folder.rename(folder.parent / "renamed")
    assert ppocrlabel.read(moved, moved).records[0].image == "a.jpg"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("photos/a.jpg []", "no tab between the image and its labels"),
        ("photos/z.jpg\t[]", r"no image photos/z\.jpg below .*, nor one called z\.jpg"),
        ("photos/a.jpg\t[]", r"a\.jpg was labelled before in this file"),
        ("photos/c.jpg\t{}", "must be a list"),
        ("photos/c.jpg\t[", "what follows the tab is not JSON"),
        ('photos/c.jpg\t[{"points": []}]', "text 1: no 'transcription'"),
        ('photos/c.jpg\t[{"transcription": "a", "points": [[1, 2], [3, 4]]}]', "text 1: 2 points; a polygon needs"),
        ('photos/c.jpg\t[{"transcription": "a", "points": [[1, "2"]]}]', r"text 1\.points: '2' is not a coordinate"),
    ],
)
def test_refusals_name_the_line(folder: Path, text: str, problem: str) -> None:
    with (folder / "Label.txt").open("a", encoding="utf-8") as file:
        file.write(f"{text}\n")
    with pytest.raises(DataError, match=rf"Label\.txt:2: ?.*{problem}"):
        ppocrlabel.read(folder, folder)


def test_a_state_file_of_another_form(folder: Path) -> None:
    (folder / "fileState.txt").write_text("photos/a.jpg\t1\nphotos/b.jpg checked\n")
    with pytest.raises(DataError, match=r"fileState\.txt:2: expected image<TAB>1"):
        ppocrlabel.read(folder, folder)


def test_two_images_of_one_name(folder: Path) -> None:
    (folder / "more").mkdir()
    (folder / "more" / "a.jpg").write_bytes(b"")
    assert ppocrlabel.read(folder, folder).records[0].image == "a.jpg"  # photos/a.jpg, they say
    label_file = folder / "Label.txt"
    label_file.write_text(label_file.read_text(encoding="utf-8").replace("photos/", "moved/"), encoding="utf-8")
    with pytest.raises(DataError, match=r"Label\.txt:1: a\.jpg may be a\.jpg or more/a\.jpg; convert the folders one"):
        ppocrlabel.read(folder, folder)


def test_any_label_file_with_paths_below_the_folder(lay: Callable[..., Path]) -> None:
    lines = "".join(line("x", entry(name)).replace("photos/x", f"{name}/1.jpg") for name in "ab")
    folder = lay({"img/a/1.jpg": b"", "img/b/1.jpg": b"", "img/b/2.jpg": b"", "train.txt": lines})
    assert ppocrlabel.read(folder / "img", folder / "train.txt").records == [
        Record("a/1.jpg", [QUAD], ["a"]),
        Record("b/1.jpg", [QUAD], ["b"]),
    ]


def test_no_label_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Label\.txt: cannot be read \(No such file"):
        ppocrlabel.read(tmp_path, tmp_path)


def test_a_labelled_image_that_is_called_unchecked_is_left_out(folder: Path) -> None:
    with (folder / "Label.txt").open("a", encoding="utf-8") as file:
        file.write(line("c.jpg", entry("guessed")))
    reading = ppocrlabel.read(folder, folder)
    assert [record.image for record in reading.records] == ["a.jpg", "b.jpg"]
    assert reading.notes == ("1 images that were not checked yet left out",)
