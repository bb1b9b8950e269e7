"""Label files: what is read, what is refused, what is skipped."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from ppocr_data.errors import DataError
from ppocr_data.labels import read_images, read_label_file, read_labels

SQUARE = [[10, 10], [30, 10], [30, 20], [10, 20]]
BOW_TIE = [[10, 10], [30, 20], [30, 10], [10, 20]]


def write(folder: Path, *lines: str | bytes, end: bytes = b"\n") -> Path:
    """A label file beside an image `a.jpg` (an empty file: labels are read without looking into images)."""
    (folder / "a.jpg").touch()
    path = folder / "labels.txt"
    path.write_bytes(end.join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return path


def line(points: object, word: object = "word", image: str = "a.jpg", **more: object) -> str:
    return image + "\t" + json.dumps([{"transcription": word, "points": points, **more}])


def test_a_folder_that_is_not_there_is_told_once(tmp_path: Path) -> None:
    path = write(tmp_path, line(SQUARE), line(SQUARE))
    for on_bad in ("error", "skip"):
        with pytest.raises(
            DataError, match=r"photo: no such folder; it is the data_dir in which the images of .*labels"
        ):
            read_labels(path, tmp_path / "photo", on_bad=on_bad)


def test_polygons_texts_and_flags(tmp_path: Path) -> None:
    entries = [
        {"transcription": "café, \t", "points": SQUARE},
        {"transcription": "###", "points": SQUARE},
        {"transcription": "*", "points": [[0, 0], [9.5, 0], [12, 4], [9, 8], [0, 8]]},
        {"transcription": "old", "points": SQUARE, "difficult": True},
        {"transcription": "new", "points": SQUARE, "ignore": False},
    ]
    path = write(tmp_path, "a.jpg\t" + json.dumps(entries))
    (sample,) = read_label_file(path, tmp_path)
    assert sample.image == tmp_path / "a.jpg"
    assert sample.texts == ("café, \t", "###", "*", "old", "new")
    assert sample.ignore.tolist() == [False, True, True, True, False]
    assert [p.shape for p in sample.polygons] == [(4, 2), (4, 2), (5, 2), (4, 2), (4, 2)]
    assert all(p.dtype == np.float32 for p in sample.polygons)
    assert sample.polygons[0].tolist() == SQUARE
    assert sample.source == f"{path}:1"
    assert sample.labelled


@pytest.mark.parametrize(
    ("more", "dont_care"),
    [({"ignore": 1}, True), ({"difficult": 1}, True), ({"ignore": 0}, False), ({"ignore": None}, False), ({}, False)],
)
def test_flags_that_other_tools_write_as_numbers(tmp_path: Path, more: dict[str, object], dont_care: bool) -> None:
    (sample,) = read_label_file(write(tmp_path, line(SQUARE, **more)), tmp_path)
    assert sample.ignore.tolist() == [dont_care]


def test_a_mark_with_spaces_around_it_is_a_mark(tmp_path: Path) -> None:
    (sample,) = read_label_file(write(tmp_path, line(SQUARE, "### ")), tmp_path)
    assert sample.ignore.tolist() == [True]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_mark_line_ends_and_blank_lines(tmp_path: Path, end: bytes) -> None:
    path = write(tmp_path, b"\xef\xbb\xbf" + line(SQUARE).encode(), "", "  ", line(SQUARE, "two"), "", end=end)
    samples = read_label_file(path, tmp_path)
    assert [s.texts for s in samples] == [("word",), ("two",)]
    assert [s.source for s in samples] == [f"{path}:1", f"{path}:4"]


def test_what_a_detector_found_is_a_label_file(tmp_path: Path) -> None:
    """`results.txt` of tools/infer_det.py: a score and no transcription."""
    path = write(tmp_path, "a.jpg\t" + json.dumps([{"points": SQUARE, "score": 0.9}]), "a.jpg\t[]")
    found, nothing = read_label_file(path, tmp_path)
    assert (found.texts, found.ignore.tolist(), found.polygons[0].tolist()) == (("",), [False], SQUARE)
    assert nothing.polygons == ()


def test_image_without_text(tmp_path: Path) -> None:
    (sample,) = read_label_file(write(tmp_path, "a.jpg\t[]"), tmp_path)
    assert sample.polygons == ()
    assert sample.ignore.shape == (0,)
    assert sample.labelled


BAD_LINES = {
    "a.jpg [no tab]": "no tab",
    "a.jpg\t[{]": "not JSON",
    "a.jpg\t{}": "must be a JSON list",
    "a.jpg\t[7]": "text 1: must be",
    'a.jpg\t[{"points": [[0,0],[9,0],[9,9],[0,9]]}]': "transcription must be a string",
    line([[0, 0], [9, 0], "x", [0, 9]]): "points must be [[x, y], ...]",
    line([[0, 0], [9, 0], [9, 9, 9], [0, 9]]): "points must be [[x, y], ...]",
    line([[0, 0], [9, True], [9, 9], [0, 9]]): "points must be [[x, y], ...]",
    line([[0, 0], [9, float("nan")], [9, 9], [0, 9]]): "NaN, infinite",
    line([[0, 0], [9, float("inf")], [9, 9], [0, 9]]): "NaN, infinite",
    line([[0, 0], [10**400, 0], [9, 9], [0, 9]]): "NaN, infinite or beyond",
    line([[0, 0], [9, 0]]): "2 points; a polygon needs at least 4",
    line([[0, 0], [9, 0], [9, 9]]): "3 points; a polygon needs at least 4",
    line([[0, 0], [9, 0], [18, 0], [4, 0]]): "no area",
    line([[5, 5]] * 4): "no area",
    line(BOW_TIE): "crosses or touches itself",
    line(SQUARE, image="b.jpg"): "no such image",
    line(SQUARE, image="sub\\a.jpg"): "folders are parted by / here",
    line(SQUARE, ignore="true"): "ignore must be true or false, is 'true'",
    line(SQUARE, difficult=2): "difficult must be true or false, is '2'",
    line(SQUARE, ignore=[]): "ignore must be true or false",
    line(SQUARE, image="../a.jpg"): "lies outside",
    line(SQUARE, image="x/../../a.jpg"): "lies outside",
    "\t[]": "no image name",
}


@pytest.mark.parametrize(("bad", "reason"), BAD_LINES.items())
def test_a_bad_line_is_named(tmp_path: Path, bad: str, reason: str) -> None:
    path = write(tmp_path, line(SQUARE), bad)
    with pytest.raises(DataError) as caught:
        read_label_file(path, tmp_path)
    assert f"{path}:2: " in str(caught.value)
    assert reason in str(caught.value)


def test_bytes_that_are_no_utf8_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, line(SQUARE), b"a.jpg\t\xff\xfe")
    with pytest.raises(DataError, match=r"labels\.txt:2: byte 6 is not UTF-8"):
        read_label_file(path, tmp_path)
    path.write_text(line(SQUARE), encoding="utf-16")
    with pytest.raises(DataError, match="UTF-16; save it as UTF-8"):
        read_label_file(path, tmp_path)


def test_all_bad_lines_come_in_one_message(tmp_path: Path) -> None:
    path = write(tmp_path, *[f"a.jpg {i}" for i in range(13)])
    with pytest.raises(DataError) as caught:
        read_label_file(path, tmp_path)
    message = str(caught.value)
    assert "13 bad entries" in message
    assert f"{path}:10: " in message
    assert f"{path}:11: " not in message
    assert "and 3 more" in message


def test_missing_label_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.txt: cannot read the label file"):
        read_label_file(tmp_path / "nothing.txt", tmp_path)


def test_images_outside_when_allowed(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    path = write(tmp_path, line(SQUARE, image="../a.jpg"), line(SQUARE, image=str(tmp_path / "a.jpg")))
    samples = read_label_file(path, inside, allow_outside=True)
    assert [s.image.resolve() for s in samples] == [(tmp_path / "a.jpg").resolve()] * 2


def test_relative_data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, line(SQUARE))
    monkeypatch.chdir(tmp_path)
    assert len(read_label_file(path, Path())) == 1
    path.write_text(line(SQUARE, image="../a.jpg"))
    with pytest.raises(DataError, match="lies outside"):
        read_label_file(path, Path())


def test_skip_mends_what_it_can_and_lists_everything(tmp_path: Path) -> None:
    flat = [[0, 0], [9, 0], [18, 0], [4, 0]]
    entries = [{"transcription": w, "points": p} for w, p in [("ok", SQUARE), ("tie", BOW_TIE), ("flat", flat)]]
    path = write(tmp_path, "a.jpg no tab", "a.jpg\t" + json.dumps(entries), line([[0, float("nan")], *SQUARE]))
    report = read_labels(path, tmp_path, on_bad="skip")
    (sample,) = report.samples
    assert sample.texts == ("ok", "tie")
    assert sample.ignore.tolist() == [False, True]
    # The hull of the bow tie is the square whose corners it visits in the wrong order.
    assert sorted(sample.polygons[1].tolist()) == sorted(SQUARE)
    assert [str(p).removeprefix(f"{path}:").split(":")[0] for p in report.problems] == ["1", "2", "2", "3"]


def test_folder_and_list_of_images(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    leftovers = ("._b.JPG", ".ipynb_checkpoints/b-checkpoint.JPG", "__MACOSX/._b.JPG", "sub/__MACOSX/a.png")
    for name in ("b.JPG", "sub/a.png", "notes.txt", *leftovers):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    samples = read_images(tmp_path)
    assert [s.image.name for s in samples] == ["b.JPG", "a.png"]
    assert not any(s.labelled for s in samples)
    assert [s.image for s in read_images([tmp_path / "sub/a.png"])] == [tmp_path / "sub/a.png"]
    with pytest.raises(DataError, match="no such folder"):
        read_images(tmp_path / "none")
    with pytest.raises(DataError, match=r"c\.png: no such image"):
        read_images([tmp_path / "c.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image here"):
        read_images(tmp_path / "empty")


def test_all_polygons_of_icdar_2015_are_sound(shared: Path, tmp_path: Path) -> None:
    """The official labels of 50 photos pass the strict reader: its rules are not too narrow for real data."""
    icdar = shared / "data" / "icdar2015"
    lines = []
    for number in range(1, 51):
        source = icdar / "ch4_training_localization_transcription_gt" / f"gt_img_{number}.txt"
        rows = [row.split(",", 8) for row in source.read_text(encoding="utf-8-sig").splitlines() if row]
        entries = [{"transcription": row[8], "points": np.array(row[:8], float).reshape(4, 2).tolist()} for row in rows]
        lines.append(f"img_{number}.jpg\t{json.dumps(entries)}")
    path = write(tmp_path, *lines)
    samples = read_label_file(path, icdar / "ch4_training_images")
    assert len(samples) == 50
    assert sum(len(s.polygons) for s in samples) == sum(len(json.loads(row.split("\t")[1])) for row in lines)


def test_linked_folders_are_searched_once(tmp_path: Path) -> None:
    """A folder that a link leads to counts; one that leads back up ends nothing and doubles nothing."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/b.png").touch()
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").touch()
    (images / "more").symlink_to(tmp_path / "elsewhere")
    (images / "same").symlink_to(tmp_path / "elsewhere")
    (images / "up").symlink_to(images)
    assert [s.image for s in read_images(images)] == [images / "a.png", images / "more/b.png"]


@pytest.mark.parametrize(("written", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_is_found_in_unicode_s_other_form(written: str, stored: str, tmp_path: Path) -> None:
    """macOS's archives decompose accents; both names look alike."""
    (tmp_path / unicodedata.normalize(stored, "Café.png")).write_bytes(b"")
    (tmp_path / "train.txt").write_text(f"{unicodedata.normalize(written, 'Café.png')}\t[]\n", encoding="utf-8")
    (sample,) = read_labels(tmp_path / "train.txt", tmp_path).samples
    assert sample.image.is_file()


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its images would be missing without a word; root, as whom tests may run, could read it."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").write_bytes(b"")
    (tmp_path / "b").mkdir()
    scan = os.scandir

    def refuse(folder: str) -> object:
        if folder == str(tmp_path / "b"):
            raise PermissionError(13, "Permission denied", folder)
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"b: cannot be read \(Permission denied\)"):
        read_images(tmp_path)


@pytest.mark.parametrize("far", [float("-inf"), -(10**400), -1e7])
def test_a_coordinate_too_far_to_the_left_is_refused_as_one_to_the_right_is(far: float, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="NaN, infinite or beyond"):
        read_label_file(write(tmp_path, line([[0, 0], [far, 0], [9, 9], [0, 9]])), tmp_path)
