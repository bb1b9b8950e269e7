"""ICDAR 2013, 2015, 2017 and SROIE: what their lines mean, and what is refused with file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ppocr_data.convert import icdar2013, icdar2015, icdar2017, sroie
from ppocr_data.convert.record import Record
from ppocr_data.errors import DataError

BOX = [[38, 43], [920, 43], [920, 215], [38, 215]]
QUAD = [[1, 2], [11, 2], [11, 8], [1, 8]]
LINE = "1,2,11,2,11,8,1,8"


# --- 2013 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ['38 43 920 215 "Tiredness"', '38, 43, 920, 215, "Tiredness"\r\n'])
def test_2013_the_training_and_the_test_form(lay: Callable[..., Path], line: str) -> None:
    folder = lay({"img/img_1.jpg": b"", "gt/gt_img_1.txt": "\ufeff" + line})
    assert icdar2013.read(folder / "img", folder / "gt").records == [Record("img_1.jpg", [BOX], ["Tiredness"])]


@pytest.mark.parametrize(
    ("quoted", "text"),
    [
        ('"A, B,C"', "A, B,C"),
        (r'"say \"hi\""', 'say "hi"'),
        (r'"back\\slash"', "back\\slash"),
        ('"10 20 30 40 50"', "10 20 30 40 50"),
        ('""', ""),
        ("###", "###"),
    ],
)
def test_2013_transcriptions(tmp_path: Path, quoted: str, text: str) -> None:
    path = tmp_path / "gt_1.txt"
    path.write_text(f"38 43 920 215 {quoted}\n")
    assert icdar2013.parse(path) == [(BOX, text)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("38 43 920", r'expected left top right bottom "text"'),
        ('38 43 920 x "a"', "'x' is not a coordinate"),
        ('920 43 38 215 "a"', "right and bottom must lie beyond left and top"),
        ('38 43 920 43 "a"', "right and bottom must lie beyond left and top"),
        ('38 43 920 215 "open', "the quotation mark before the text is not closed"),
        ("377,117,463,117,465,130,378,130,Genaxis Theatre", "convert this set as icdar2015"),
    ],
)
def test_2013_refuses_with_the_line(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "gt_1.txt"
    path.write_text(f'38 43 920 215 "fine"\n\n{line}\n')
    with pytest.raises(DataError, match=rf"gt_1\.txt:3: .*{problem}"):
        icdar2013.parse(path)


# --- 2015 -------------------------------------------------------------------------------------------------------------


def test_2015_files_are_read_in_the_order_of_their_numbers(lay: Callable[..., Path]) -> None:
    folder = lay(
        {
            "img/img_10.jpg": b"",
            "img/img_2.jpg": b"",
            "img/img_1.jpg": b"",
            "gt/gt_img_1.txt": f"\ufeff{LINE},TEXT\n",
            "gt/gt_img_2.txt": "5,5,9,5,9,9,5,9,###\r\n\r\n",
            "gt/gt_img_10.txt": "",
        }
    )
    assert icdar2015.read(folder / "img", folder / "gt").records == [
        Record("img_1.jpg", [QUAD], ["TEXT"]),
        Record("img_2.jpg", [[[5, 5], [9, 5], [9, 9], [5, 9]]], ["###"]),
        Record("img_10.jpg", [], []),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (LINE, "expected x1,y1"),
        ("hello", "expected x1,y1"),
        ("1,2,3,4,5,6,7,x,word", "'x' is not a coordinate"),
        ("1,2,3,nan,5,6,7,8,word", "'nan' is not a coordinate"),
        ("1,2,3,4,5,6,7,inf,word", "'inf' is not a coordinate"),
        ("1,2,,4,5,6,7,8,word", "'' is not a coordinate"),
        ("1,2,3_0,4,5,6,7,8,word", "'3_0' is not a coordinate"),
    ],
)
def test_2015_refuses_with_the_line(tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "gt_img_2.txt").write_text(f"{LINE},TEXT\n{line}\n")
    with pytest.raises(DataError, match=rf"gt_img_2\.txt:2: .*{problem}"):
        icdar2015.parse(tmp_path / "gt_img_2.txt")


def test_2015_does_not_take_the_multilingual_set_for_its_own(lay: Callable[..., Path]) -> None:
    folder = lay({"img/img_1.jpg": b"", "gt/gt_img_1.txt": f"{LINE},Latin,###\n{LINE},Arabic,x\n"})
    with pytest.raises(DataError, match=r"gt: every text begins with a script \('Latin,###'\); .* as icdar2017"):
        icdar2015.read(folder / "img", folder / "gt")
    (folder / "gt" / "gt_img_1.txt").write_text(f"{LINE},Latin,###\n{LINE},Latin\n")  # one that is no script column
    assert len(icdar2015.read(folder / "img", folder / "gt").records[0].texts) == 2


# --- 2017 -------------------------------------------------------------------------------------------------------------


def test_2017_folders_below_one_another_and_both_namings(lay: Callable[..., Path]) -> None:
    folder = lay(
        {
            "img/part_1/img_1.jpg": b"",
            "img/part_2/img_2.png": b"",
            "img/part_2/tr_img_00003.jpg": b"",
            "gt/gt_img_1.txt": f"{LINE},Latin,Castle, old\n{LINE},Arabic,###\n",
            "gt/gt_img_2.txt": f"{LINE},Symbols,\n",
            "gt/tr_img_00003.txt": f"{LINE},Hindi,x\n",
        }
    )
    assert icdar2017.read(folder / "img", folder / "gt").records == [
        Record("part_1/img_1.jpg", [QUAD, QUAD], ["Castle, old", "###"]),
        Record("part_2/img_2.png", [QUAD], [""]),
        Record("part_2/tr_img_00003.jpg", [QUAD], ["x"]),
    ]


def test_2017_refuses_an_unknown_script(tmp_path: Path) -> None:
    (tmp_path / "gt_img_1.txt").write_text(f"{LINE},Latin,a\n{LINE},Castle,on the hill\n")
    with pytest.raises(DataError, match=r"gt_img_1\.txt:2: unknown script 'Castle'; known: Arabic, "):
        icdar2017.parse(tmp_path / "gt_img_1.txt")
    (tmp_path / "gt_img_1.txt").write_text(f"{LINE},Latin\n")
    with pytest.raises(DataError, match=r"txt:1: expected x1,y1,x2,y2,x3,y3,x4,y4,script,transcription"):
        icdar2017.parse(tmp_path / "gt_img_1.txt")


def test_2017_an_image_that_opencv_does_not_read_is_named(lay: Callable[..., Path]) -> None:
    folder = lay({"img/img_1.jpg": b"", "img/img_2.gif": b"", "gt/gt_img_1.txt": "", "gt/gt_img_2.txt": ""})
    with pytest.raises(DataError, match=r"gt_img_2\.txt: its image .*img_2\.\* is missing \(img_2\.gif is not .* PNG"):
        icdar2017.read(folder / "img", folder / "gt")


# --- SROIE ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "txt"])
def test_sroie_reads_csv_or_txt(lay: Callable[..., Path], suffix: str) -> None:
    folder = lay({"img/004.jpg": b"", f"box/004.{suffix}": f'{LINE},LOT 1851-A, "KPB" 6,\r\n'})
    assert sroie.read(folder / "img", folder / "box").records == [Record("004.jpg", [QUAD], ['LOT 1851-A, "KPB" 6,'])]


def test_sroie_real_receipts_keep_their_commas(shared: Path) -> None:
    folder = shared / "data" / "sroie2019" / "train"
    texts = {text for record in sroie.read(folder / "img", folder / "box").records for text in record.texts}
    assert "LOT 1851-A & 1851-B, JALAN KPB 6," in texts
    assert not any("\r" in text for text in texts)


# --- files ------------------------------------------------------------------------------------------------------------


def test_every_image_needs_labels_and_every_label_file_an_image(lay: Callable[..., Path]) -> None:
    folder = lay({"img/img_1.jpg": b"", "gt/gt_img_1.txt": "", "gt/gt_img_2.txt": ""})
    with pytest.raises(DataError, match=r"gt_img_2\.txt: its image .*img_2\.\* is missing$"):
        icdar2015.read(folder / "img", folder / "gt")
    lay({"img/img_2.jpg": b"", "img/img_3.png": b"", "img/img_4.png": b""})
    with pytest.raises(DataError, match=r"img_3\.png: its label file is missing \(and those of 1 more image\)"):
        icdar2015.read(folder / "img", folder / "gt")


def test_two_files_of_one_image_name(lay: Callable[..., Path]) -> None:
    folder = lay({"img/img_1.jpg": b"", "img/below/img_1.png": b"", "gt/gt_img_1.txt": ""})
    with pytest.raises(DataError, match=r"img_1\.jpg: belongs to the same image name 'img_1' as .*below/img_1\.png"):
        icdar2015.read(folder / "img", folder / "gt")


def test_label_files_of_another_naming(lay: Callable[..., Path]) -> None:
    folder = lay({"img/img_1.jpg": b"", "gt/res_img_1.txt": ""})
    with pytest.raises(DataError, match=r"res_img_1\.txt: expected a name that begins with 'gt_'"):
        icdar2015.read(folder / "img", folder / "gt")


def test_hidden_files_and_the_leftovers_of_archives_are_not_seen(lay: Callable[..., Path]) -> None:
    folder = lay(
        {
            "img/img_1.jpg": b"",
            "img/._img_1.jpg": b"",
            "img/__MACOSX/img_1.jpg": b"",
            "gt/gt_img_1.txt": "",
            "gt/.cache/gt_img_7.txt": "",
        }
    )
    assert [record.image for record in icdar2015.read(folder / "img", folder / "gt").records] == ["img_1.jpg"]


def test_labels_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "gt_img_1.txt").write_bytes(f"{LINE},TEXT\n{LINE},caf".encode() + b"\xe9\n")
    with pytest.raises(DataError, match=r"gt_img_1\.txt:2: not UTF-8 \(byte 44\)"):
        icdar2015.parse(tmp_path / "gt_img_1.txt")


def test_empty_folders(lay: Callable[..., Path]) -> None:
    folder = lay({"img/readme": b"", "gt/gt_img_1.txt": ""})
    with pytest.raises(DataError, match="0 images here, and 1 label files"):
        icdar2015.read(folder / "img", folder / "gt")
