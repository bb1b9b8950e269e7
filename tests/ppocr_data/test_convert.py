"""Converters: on small hand-made folders, and on the real sets where they are at hand."""

from __future__ import annotations

import itertools
import json
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppocr_data.convert import FORMATS, Converted, convert, overrides, read_icdar2015, read_sroie
from ppocr_data.convert_split import (
    Record,
    Split,
    by_company,
    by_list,
    by_number,
    choose_groups,
    company_groups,
    header_lines,
)
from ppocr_data.errors import DataError
from ppocr_data.labels import read_label_file

LINE = "1,2,11,2,11,8,1,8,TEXT\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Images 1, 2 and 10 with ICDAR 2015 labels."""
    (tmp_path / "img").mkdir()
    (tmp_path / "gt").mkdir()
    for number, text in ((1, "\ufeff" + LINE), (2, "5,5,9,5,9,9,5,9,###\r\n\r\n"), (10, "")):
        (tmp_path / "img" / f"img_{number}.jpg").write_bytes(b"jpeg %d" % number)
        (tmp_path / "gt" / f"gt_img_{number}.txt").write_text(text, encoding="utf-8", newline="")
    return tmp_path


def run(source: Path, **changes: Any) -> Converted:
    arguments = {"images": source / "img", "labels": source / "gt", "output": source / "out"}
    return convert("icdar2015", **{**arguments, "split": partial(by_number, first=10), **changes})


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def receipt(name: str, *lines: str) -> Record:
    """A record whose lines stand one below the other; handed over bottom first, since files need not be sorted."""
    boxes = [[[0.0, 20.0 * i], [90.0, 20.0 * i], [90.0, 20.0 * i + 9], [0.0, 20.0 * i + 9]] for i in range(len(lines))]
    return Record(name, boxes[::-1], list(lines[::-1]))


def test_icdar2015_files_are_read_in_the_order_of_their_numbers(source: Path) -> None:
    records = read_icdar2015(source / "img", source / "gt")
    assert records == [
        Record("img_1.jpg", [[[1, 2], [11, 2], [11, 8], [1, 8]]], ["TEXT"]),
        Record("img_2.jpg", [[[5, 5], [9, 5], [9, 9], [5, 9]]], ["###"]),
        Record("img_10.jpg", [], []),
    ]


@pytest.mark.parametrize("text", ["A, B,C", ",", "", '"quoted"', 'tab\there, "x"', "\u65e5\u672c\u2028x", " spaced "])
def test_transcriptions_survive_as_they_are(source: Path, text: str) -> None:
    (source / "gt" / "gt_img_1.txt").write_text(f"1.5,2,11,2,11,8,-1,8,{text}\r\n", encoding="utf-8", newline="")
    run(source)
    sample = read_label_file(source / "out" / "train.txt", source / "img")[0]
    assert sample.texts == (text,)
    assert sample.polygons[0].tolist() == [[1.5, 2], [11, 2], [11, 8], [-1, 8]]


def test_written_labels_are_read_back(source: Path) -> None:
    done = run(source)
    train = read_label_file(done.train, done.data_dir)
    assert [sample.image.name for sample in train] == ["img_1.jpg", "img_2.jpg"]
    assert [sample.ignore.tolist() for sample in train] == [[False], [True]]
    assert [len(sample.polygons) for sample in read_label_file(done.val, done.data_dir)] == [0]
    assert "train: 2 images, 2 texts (1 readable, 1 don't care)" in done.summary
    assert "val: 1 images, 0 texts" in done.summary


def test_the_source_is_not_touched_and_conversion_repeats_itself(source: Path) -> None:
    before = snapshot(source / "img") | snapshot(source / "gt")
    run(source)
    first = snapshot(source / "out")
    run(source)
    assert snapshot(source / "out") == first
    assert list(first) == ["train.txt", "val.txt"]
    assert snapshot(source / "img") | snapshot(source / "gt") == before


def test_copy_makes_a_folder_that_stands_alone(source: Path) -> None:
    done = run(source, copy=True)
    assert done.data_dir == source / "out"
    samples = read_label_file(done.train, done.data_dir) + read_label_file(done.val, done.data_dir)
    assert [s.image.read_bytes() for s in samples] == [b"jpeg 1", b"jpeg 2", b"jpeg 10"]
    assert all(s.image.is_relative_to(source / "out") for s in samples)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("1,2,3,4,5,6,7,8", "expected x1,y1"),
        ("hello", "expected x1,y1"),
        ("1,2,3,4,5,6,7,x,word", "'x' is not a coordinate"),
        ("1,2,3,nan,5,6,7,8,word", "'nan' is not a coordinate"),
        ("1,2,3,4,5,6,7,inf,word", "'inf' is not a coordinate"),
        ("1,2,,4,5,6,7,8,word", "'' is not a coordinate"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_written(source: Path, line: str, problem: str) -> None:
    (source / "gt" / "gt_img_2.txt").write_text(f"{LINE}{line}\n")
    with pytest.raises(DataError, match=rf"gt_img_2\.txt:2: .*{problem}"):
        run(source)
    assert not (source / "out").exists()


def test_a_failed_conversion_keeps_what_an_earlier_one_wrote(source: Path) -> None:
    run(source)
    before = snapshot(source / "out")
    (source / "gt" / "gt_img_10.txt").write_text("broken\n")
    with pytest.raises(DataError):
        run(source)
    assert snapshot(source / "out") == before


def test_labels_that_are_not_utf8(source: Path) -> None:
    (source / "gt" / "gt_img_1.txt").write_bytes(LINE.encode() + b"1,2,11,2,11,8,1,8,caf\xe9\n")
    with pytest.raises(DataError, match=r"gt_img_1\.txt: not UTF-8 \(byte 44\)"):
        run(source)


def test_every_image_needs_labels_and_every_label_file_an_image(source: Path) -> None:
    (source / "img" / "img_2.jpg").rename(source / "img_2.jpg")
    with pytest.raises(DataError, match=r"gt_img_2\.txt: its image .*img_2\.\* is missing"):
        run(source)
    (source / "gt" / "gt_img_2.txt").unlink()
    (source / "img" / "img_3.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"img_3\.png: its label file .*gt_img_3\.txt is missing"):
        run(source)


def test_two_images_of_one_name(source: Path) -> None:
    (source / "img" / "img_1.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"img_1\.png: img_1\.jpg has the same name"):
        run(source)


def test_label_files_of_another_naming(source: Path) -> None:
    (source / "gt" / "res_img_1.txt").write_text(LINE)
    with pytest.raises(DataError, match=r"res_img_1\.txt: expected a name that begins with 'gt_'"):
        run(source)


@pytest.mark.parametrize("where", ["img", "gt", "img/below"])
def test_output_in_the_source_is_refused(source: Path, where: str) -> None:
    with pytest.raises(DataError, match="lies in the source"):
        run(source, output=source / where)


@pytest.mark.parametrize("first", [0, 11])
def test_a_split_needs_both_parts(source: Path, first: int) -> None:
    with pytest.raises(DataError, match="both parts need some"):
        run(source, split=partial(by_number, first=first))


def test_missing_and_empty_folders(source: Path) -> None:
    with pytest.raises(DataError, match="absent: no such folder"):
        run(source, images=source / "absent")
    (source / "empty").mkdir()
    with pytest.raises(DataError, match="0 images and 3 "):
        run(source, images=source / "empty")


def test_unknown_format(source: Path) -> None:
    with pytest.raises(DataError, match="known: icdar2015, sroie"):
        convert("imagenet", images=source, labels=source, output=source / "out", split=partial(by_number, first=1))


def test_output_that_cannot_be_written(source: Path) -> None:
    (source / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        run(source, output=source / "file" / "out")


def test_overrides_are_what_a_shell_and_yaml_understand() -> None:
    line = overrides(Path("my data"), Path("out/train.txt"), Path("out/val.txt"))
    assert shlex.split(line) == [
        "-o",
        "Train.dataset.data_dir=my data",
        'Train.dataset.label_file_list=["out/train.txt"]',
        "Eval.dataset.data_dir=my data",
        'Eval.dataset.label_file_list=["out/val.txt"]',
    ]


def test_sroie_reads_csv_or_txt(source: Path) -> None:
    for number in (1, 2, 10):
        (source / "gt" / f"gt_img_{number}.txt").rename(source / "gt" / f"img_{number}.txt")
    as_txt = read_sroie(source / "img", source / "gt")
    for number in (1, 2, 10):
        (source / "gt" / f"img_{number}.txt").rename(source / "gt" / f"img_{number}.csv")
    assert read_sroie(source / "img", source / "gt") == as_txt
    assert as_txt[0].texts == ["TEXT"]


def test_split_by_number_needs_numbers() -> None:
    records = [Record(name, [], []) for name in ("a_7.jpg", "a2_30.png", "8.jpg")]
    assert by_number(records, 8).val == {1, 2}
    with pytest.raises(DataError, match=r"cover\.jpg: no number"):
        by_number([*records, Record("cover.jpg", [], [])], 8)


def test_split_by_list(tmp_path: Path) -> None:
    records = [Record(f"img_{i}.jpg", [], []) for i in range(4)]
    (tmp_path / "list").write_text("\ufeffimg_3.jpg\n\n# a comment\n img_1 \r\n", encoding="utf-8")
    assert by_list(records, tmp_path / "list").val == {1, 3}
    (tmp_path / "list").write_text("img_3.jpg\nimg_9\n")
    with pytest.raises(DataError, match=r"list:2: no image named 'img_9'"):
        by_list(records, tmp_path / "list")
    with pytest.raises(DataError, match="absent: cannot be read"):
        by_list(records, tmp_path / "absent")


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


def test_a_large_company_is_kept_from_validation_where_others_suffice() -> None:
    names = ("KIKU JAPANESE", "FACE NOODLE", "BILLION SIX", "DIGI TELECOM", "POPULAR BOOK", "LIM HARDWARE")
    records = [receipt(f"{name} {i}", name) for name in names for i in range(1 + 5 * (name == "POPULAR BOOK"))]
    assert len(company_groups(records)) == 6
    split = by_company(records, 4)
    assert len(split.val) == 4 and all("POPULAR" not in records[i].image for i in split.val)
    needed = by_company(records, 8)  # the five small companies are only five receipts
    assert len(needed.val) == 8 and "6 companies" in needed.note


def test_real_photos(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "icdar2015"
    done = convert(
        "icdar2015",
        images=folder / "ch4_training_images",
        labels=folder / "ch4_training_localization_transcription_gt",
        output=tmp_path,
        split=partial(by_number, first=901),
    )
    train, val = (read_label_file(path, done.data_dir) for path in (done.train, done.val))
    assert (len(train), len(val)) == (900, 100)
    assert {sample.image.stem for sample in val} == {f"img_{n}" for n in range(901, 1001)}
    ignored = sum(int(sample.ignore.sum()) for sample in train + val)
    assert sum(len(sample.polygons) for sample in train + val) == 11886
    assert (ignored, 11886 - ignored) == (7418, 4468)


def test_real_receipts(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "sroie2019" / "train"
    found: list[Split] = []
    records: list[Record] = []

    def split(read: list[Record]) -> Split:
        records.extend(read)
        found.append(by_company(read, 30))
        return found[0]

    done = convert("sroie", images=folder / "img", labels=folder / "box", output=tmp_path, split=split)
    train, val = (read_label_file(path, done.data_dir) for path in (done.train, done.val))
    assert (len(train), len(val)) == (120, 30)
    assert sum(len(sample.polygons) for sample in train + val) == 7319

    cut = [
        {line for i, r in enumerate(records) if (i in found[0].val) is side for line in header_lines(r)}
        for side in (True, False)
    ]
    assert not cut[0] & cut[1]
    for name in ("WAN SHENG", "99 SPEED", "D.I.Y.", "GARDENIA", "YEW CHUAN", "ALAF RESTAURANTS", "GUARDIAN HEALTH"):
        sides = {i in found[0].val for i, r in enumerate(records) if any(name in text for text in r.texts[:6])}
        assert len(sides) == 1, name


def test_real_receipts_keep_commas(shared: Path) -> None:
    folder = shared / "data" / "sroie2019" / "train"
    texts = {text for record in FORMATS["sroie"](folder / "img", folder / "box", None) for text in record.texts}
    assert "LOT 1851-A & 1851-B, JALAN KPB 6," in texts
    assert not any("\r" in text for text in texts)


def test_label_lines_are_json_with_readable_characters(source: Path) -> None:
    (source / "gt" / "gt_img_1.txt").write_text("1,2,11,2,11,8,1,8,caf\u00e9 \u65e5\u672c\n", encoding="utf-8")
    run(source)
    name, boxes = (source / "out" / "train.txt").read_text(encoding="utf-8").splitlines()[0].split("\t")
    assert name == "img_1.jpg" and "caf\u00e9 \u65e5\u672c" in boxes
    assert json.loads(boxes)[0]["points"] == [[1, 2], [11, 2], [11, 8], [1, 8]]
