"""Converting as a whole: what is written, what is said about it, and that the source stays as it is."""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from ocr_cml.yaml_source import Source as Configuration
from ocr_cml.yaml_source import apply_override
from ppocr_data.convert import FORMATS, Converted, Part, Source, convert, overrides
from ppocr_data.convert.companies import by_company, header_lines
from ppocr_data.convert.record import Record
from ppocr_data.convert.report import summary
from ppocr_data.convert.split import Split, by_list, by_number, by_share
from ppocr_data.errors import DataError
from ppocr_data.labels import read_label_file
from ppocr_data.targets import shrink_target

LINE = "1,2,11,2,11,8,1,8,TEXT\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Images 1, 2 and 10 with ICDAR 2015 labels: a text, a don't-care text, none."""
    (tmp_path / "img").mkdir()
    (tmp_path / "gt").mkdir()
    for number, text in ((1, "\ufeff" + LINE), (2, "5,5,9,5,9,9,5,9,###\r\n\r\n"), (10, "")):
        (tmp_path / "img" / f"img_{number}.jpg").write_bytes(b"jpeg %d" % number)
        (tmp_path / "gt" / f"gt_img_{number}.txt").write_text(text, encoding="utf-8", newline="")
    return tmp_path


def run(source: Path, *, output: str = "out", **changes: Any) -> Converted:
    given = {"split": partial(by_number, first=10), **changes}
    return convert("icdar2015", Source(source / "img", source / "gt"), source / output, **given)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("text", ["A, B,C", ",", "", '"quoted"', 'tab\there, "x"', "\u65e5\u672c\u2028x", " spaced "])
def test_transcriptions_survive_as_they_are(source: Path, text: str) -> None:
    (source / "gt" / "gt_img_1.txt").write_text(f"1.5,2,11,2,11,8,-1,8,{text}\r\n", encoding="utf-8", newline="")
    run(source)
    sample = read_label_file(source / "out" / "train.txt", source / "img")[0]
    assert sample.texts == (text,)
    assert sample.polygons[0].tolist() == [[1.5, 2], [11, 2], [11, 8], [-1, 8]]


def test_written_labels_are_read_back_and_counted(source: Path) -> None:
    done = run(source)
    train = read_label_file(done.train.label_file, done.train.data_dir)
    assert [sample.image.name for sample in train] == ["img_1.jpg", "img_2.jpg"]
    assert [sample.ignore.tolist() for sample in train] == [[False], [True]]
    assert [len(sample.polygons) for sample in read_label_file(done.val.label_file, done.val.data_dir)] == [0]
    assert done.train == Part(source / "out" / "train.txt", source / "img", images=2, boxes=2, ignored=1, empty=1)
    assert done.val == Part(source / "out" / "val.txt", source / "img", images=1, boxes=0, ignored=0, empty=1)
    assert done.notes == ("validation: images from number 10 on",)


def test_what_a_training_would_refuse_is_said(source: Path) -> None:
    (source / "gt" / "gt_img_2.txt").write_text(LINE + "0,0,9,9,9,0,0,9,crossing\n")
    (problem,) = run(source).train.problems
    assert "train.txt:2: text 2 ('crossing'): the outline crosses" in problem


def test_no_training_is_scored_on_labels_that_are_left_out(source: Path) -> None:
    """`on_bad_sample` is for what is trained on."""
    crossing = LINE + "0,0,9,9,9,0,0,9,crossing\n"
    for number in (2, 10):
        (source / "gt" / f"gt_img_{number}.txt").write_text(crossing)
    done = run(source)
    train, val = (text for text in summary(done.train, done.val, [], "prog").split("\n\n") if "cannot be used" in text)
    assert "add Train.dataset.on_bad_sample=skip" in train
    assert "val.txt" in val and "on_bad_sample" not in val


def test_dont_care_with_blanks_around_is_counted_as_a_training_reads_it(source: Path) -> None:
    (source / "gt" / "gt_img_1.txt").write_text("1,2,11,2,11,8,1,8, ###\n")
    done = run(source)
    assert (done.train.boxes, done.train.ignored) == (2, 2)
    assert all(sample.ignore.all() for sample in read_label_file(done.train.label_file, done.train.data_dir))


def test_the_source_is_not_touched_and_conversion_repeats_itself(source: Path) -> None:
    before = snapshot(source / "img") | snapshot(source / "gt")
    run(source)
    first = snapshot(source / "out")
    run(source)
    assert snapshot(source / "out") == first
    assert list(first) == ["train.txt", "val.txt"]
    assert snapshot(source / "img") | snapshot(source / "gt") == before


def test_what_another_label_file_held_is_kept_and_told(source: Path) -> None:
    (source / "out").mkdir()
    (source / "out/train.txt").write_text("by hand\n")
    done = run(source)
    assert (
        done.notes[-1]
        == f"{source / 'out/train.txt'} held something else, which is in {source / 'out/train.txt'}.previous now"
    )
    assert (source / "out/train.txt.previous").read_text() == "by hand\n"
    assert run(source).notes == done.notes[:-1]  # the same once more
    assert (source / "out/train.txt.previous").read_text() == "by hand\n"


def test_every_label_file_that_was_replaced_is_kept(source: Path) -> None:
    """What was mended by hand is not lost by the second conversion after it."""
    out = source / "out"
    run(source)
    (out / "train.txt").write_text("mended by hand\n")
    run(source, split=partial(by_number, first=2))
    second = (out / "train.txt").read_bytes()
    run(source)
    third = (out / "train.txt").read_bytes()
    run(source, split=partial(by_number, first=2))
    run(source)  # what lies there already is not kept twice
    assert (out / "train.txt.previous").read_text() == "mended by hand\n"
    assert (out / "train.txt.previous-2").read_bytes() == second
    assert (out / "train.txt.previous-3").read_bytes() == third
    assert sorted(out.glob("train.txt.*")) == [out / f"train.txt.previous{n}" for n in ("", "-2", "-3")]


@pytest.mark.parametrize("moment", ["Path.write_bytes", "write._part"])
def test_an_interrupt_leaves_both_files_of_one_split(
    moment: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of each split would share images, and a score on those says nothing."""

    def written() -> dict[str, bytes]:
        return {name: content for name, content in snapshot(source / "out").items() if ".previous" not in name}

    run(source)
    first = written()
    run(source, split=partial(by_number, first=2))
    second = written()
    assert not first.items() & second.items()
    run(source)
    calls: list[object] = []

    def interrupted(*_: object) -> None:
        calls.append(1)
        if len(calls) == 2 or moment == "write._part":
            raise KeyboardInterrupt

    place = Path if moment == "Path.write_bytes" else sys.modules["ppocr_data.convert.write"]
    monkeypatch.setattr(place, moment.partition(".")[2], interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(source, split=partial(by_number, first=2))
    assert written() == (first if moment == "Path.write_bytes" else second)


def test_copy_makes_a_folder_that_stands_alone(source: Path) -> None:
    (source / "img" / "below").mkdir()
    (source / "img" / "img_2.jpg").rename(source / "img" / "below" / "img_2.jpg")
    done = run(source, copy=True)
    assert done.train.data_dir == done.val.data_dir == source / "out"
    samples = [s for part in (done.train, done.val) for s in read_label_file(part.label_file, part.data_dir)]
    assert [s.image.read_bytes() for s in samples] == [b"jpeg 2", b"jpeg 1", b"jpeg 10"]
    assert all(s.image.is_relative_to(source / "out") for s in samples)


def test_copies_are_made_once_and_cost_no_other_picture(source: Path) -> None:
    before = run(source, copy=True)
    assert run(source, copy=True) == before
    (source / "out" / "images" / "img_2.jpg").write_bytes(b"somebody's own")
    kept = snapshot(source)
    with pytest.raises(DataError, match=r"images/img_2\.jpg: is another picture than .*img/img_2\.jpg"):
        run(source, copy=True)
    assert snapshot(source) == kept


def test_copies_do_not_go_among_the_sources_pictures(source: Path) -> None:
    (source / "img").rename(source / "images")
    kept = snapshot(source)
    with pytest.raises(DataError, match=r"images: lies in the source .*images, which is never written to"):
        convert(
            *("icdar2015", Source(source / "images", source / "gt"), source),
            split=partial(by_number, first=10),
            copy=True,
        )
    assert snapshot(source) == kept


def test_pictures_in_linked_folders_are_the_sets(source: Path) -> None:
    (source / "elsewhere").mkdir()
    (source / "img" / "img_2.jpg").rename(source / "elsewhere" / "img_2.jpg")
    (source / "img" / "more").symlink_to(source / "elsewhere")
    done = run(source)
    samples = read_label_file(done.train.label_file, done.train.data_dir)
    assert [sample.image for sample in samples] == [source / "img/img_1.jpg", source / "img/more/img_2.jpg"]


def test_half_an_emoji_survives(source: Path) -> None:
    """JSON may hold it, and UTF-8 may not."""
    line = 'img_1.jpg\t[{"transcription": "a\\ud83d", "points": [[1, 2], [11, 2], [11, 8], [1, 8]]}]\n'
    (source / "labels.txt").write_text(line + "img_10.jpg\t[]\n")
    given = Source(source / "img", source / "labels.txt")
    done = convert("ppocrlabel", given, source / "out", split=partial(by_number, first=10))
    assert read_label_file(done.train.label_file, done.train.data_dir)[0].texts == ("a\ud83d",)


@pytest.mark.parametrize("copy", [False, True])
def test_an_official_test_part_is_the_validation(source: Path, copy: bool) -> None:
    (source / "img2").mkdir()
    (source / "gt2").mkdir()
    (source / "img2" / "img_1.jpg").write_bytes(b"another")
    (source / "gt2" / "gt_img_1.txt").write_text(LINE)
    done = run(source, split=None, val_source=Source(source / "img2", source / "gt2"), copy=copy)
    assert (done.train.images, done.val.images) == (3, 1)
    (sample,) = read_label_file(done.val.label_file, done.val.data_dir)
    assert sample.image.read_bytes() == b"another"
    assert read_label_file(done.train.label_file, done.train.data_dir)[0].image.read_bytes() == b"jpeg 1"
    assert done.notes == ()


def test_images_without_readable_text_can_be_left_out(source: Path) -> None:
    (source / "gt" / "gt_img_10.txt").write_text(LINE)
    done = run(source, only_with_text=True)
    assert (done.train.images, done.val.images) == (1, 1)
    assert done.notes[0] == "1 images without readable text left out"
    (source / "gt" / "gt_img_10.txt").write_text("")
    with pytest.raises(DataError, match=r"both parts need some \(2 without readable text were left out\)"):
        run(source, only_with_text=True)


def test_what_has_no_readable_text_may_stand_in_a_list(source: Path, tmp_path: Path) -> None:
    (source / "gt" / "gt_img_10.txt").write_text(LINE)
    (tmp_path / "val").write_text("img_2\nimg_10\n")
    done = run(source, split=partial(by_list, listing=tmp_path / "val"), only_with_text=True)
    assert (done.train.images, done.val.images) == (1, 1)
    assert done.notes[0] == "1 images without readable text left out"
    assert [s.image.name for s in read_label_file(done.val.label_file, done.val.data_dir)] == ["img_10.jpg"]


def test_a_validation_that_is_the_training_is_refused(source: Path) -> None:
    same = Source(source / "gt" / ".." / "img", source / "gt")
    with pytest.raises(DataError, match="gt: the validation is the training set itself"):
        run(source, split=None, val_source=same)
    assert not (source / "out").exists()


def test_a_validation_that_shares_images_with_the_training_is_refused(source: Path) -> None:
    """Folders may lie in each other."""
    (source / "img" / "test").mkdir()
    (source / "gt2").mkdir()
    (source / "img" / "test" / "img_3.jpg").write_bytes(b"jpeg 3")
    for folder in ("gt", "gt2"):
        (source / folder / "gt_img_3.txt").write_text(LINE)
    with pytest.raises(DataError, match=r"gt2: 1 of its 1 images are training images as well, such as .*img_3\.jpg"):
        run(source, split=None, val_source=Source(source / "img" / "test", source / "gt2"))
    assert not (source / "out").exists()


def test_lines_that_end_as_on_old_macs_are_refused(source: Path) -> None:
    """All but the first would become one transcription."""
    (source / "gt" / "gt_img_1.txt").write_bytes(LINE.encode().replace(b"\n", b"\r") * 2)
    with pytest.raises(DataError, match=r"gt_img_1\.txt:1: lines end as on old Macs, by CR alone"):
        run(source)


def test_a_star_that_is_a_text_is_no_mark(source: Path) -> None:
    (source / "gt" / "gt_img_1.txt").write_text("1,2,11,2,11,8,1,8,*\n1,12,11,12,11,18,1,18,**\n")
    done = run(source)
    sample = read_label_file(done.train.label_file, done.train.data_dir)[0]
    assert (sample.texts, sample.ignore.tolist()) == (("", "**"), [False, False])


@pytest.mark.parametrize("name", ["1e3", "-2E-5", "0x1f", "1_000", "a\u0085b", "12:30", "plain", "1e3/img"])
def test_overrides_are_read_back_whatever_a_folder_is_called(source: Path, name: str) -> None:
    done = run(source)
    parts = [replace(part, data_dir=Path(name), label_file=Path(name)) for part in (done.train, done.val)]
    read = Configuration()
    for text in shlex.split(overrides(*parts))[1:]:
        apply_override(read, text)
    for section in ("Train", "Eval"):
        assert read.data[section]["dataset"] == {"data_dir": name, "label_file_list": [name]}


def test_a_bad_line_is_named_and_nothing_is_written(source: Path) -> None:
    (source / "gt" / "gt_img_2.txt").write_text(f"{LINE}hello\n")
    with pytest.raises(DataError, match=r"gt_img_2\.txt:2: expected x1,y1"):
        run(source)
    assert not (source / "out").exists()


def test_a_failed_conversion_keeps_what_an_earlier_one_wrote(source: Path) -> None:
    run(source)
    before = snapshot(source / "out")
    (source / "gt" / "gt_img_10.txt").write_text("broken\n")
    with pytest.raises(DataError):
        run(source)
    assert snapshot(source / "out") == before


def test_progress_counts_every_image(source: Path) -> None:
    seen: list[tuple[int, int]] = []
    run(source, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    run(source, copy=True, progress=lambda done, total: seen.append((done, total)))
    assert seen[3:] == [(1, 3), (2, 3), (3, 3)] * 2


@pytest.mark.parametrize("where", ["img", "gt", "img/below"])
def test_output_in_the_source_is_refused(source: Path, where: str) -> None:
    with pytest.raises(DataError, match="lies in the source"):
        run(source, output=where)


def test_output_in_the_second_source_is_refused(source: Path) -> None:
    (source / "img2").mkdir()
    with pytest.raises(DataError, match="lies in the source"):
        run(source, output="img2/out", val_source=Source(source / "img2", source / "gt"))


@pytest.mark.parametrize("name", ["train.txt", "val.txt"])
def test_the_label_file_that_is_read_is_not_replaced(source: Path, name: str) -> None:
    """One's own label file in the folder where it was made, to be divided there."""
    (source / "out").mkdir()
    labels = source / "out" / name
    box = json.dumps([{"transcription": "TEXT", "points": [[1, 2], [11, 2], [11, 8], [1, 8]]}])
    labels.write_text("".join(f"img_{number}.jpg\t{box}\n" for number in (1, 2, 10)))
    before = snapshot(source)
    for given in (labels, source / "img" / ".." / "out" / name):
        with pytest.raises(DataError, match=rf"{name}: would be replaced .*name another --output"):
            convert("ppocrlabel", Source(source / "img", given), source / "out", split=partial(by_number, first=10))
    assert snapshot(source) == before


@pytest.mark.parametrize("first", [0, 11])
def test_a_split_needs_both_parts(source: Path, first: int) -> None:
    with pytest.raises(DataError, match="both parts need some"):
        run(source, split=partial(by_number, first=first))


def test_missing_folders(source: Path) -> None:
    for images, labels in (("absent", "gt"), ("img", "absent")):
        with pytest.raises(DataError, match="absent: no such folder"):
            convert("icdar2015", Source(source / images, source / labels), source / "out")


def test_unknown_format(source: Path) -> None:
    with pytest.raises(DataError, match=r"known: icdar2013, icdar2015, .*ppocrlabel"):
        convert("imagenet", Source(source, source), source / "out")


def test_output_that_cannot_be_written(source: Path) -> None:
    (source / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        run(source, output="file/out")


def test_a_name_that_no_label_file_can_hold(source: Path) -> None:
    (source / "img" / "img_1.jpg").rename(source / "img" / "a\tb.jpg")
    (source / "gt" / "gt_img_1.txt").rename(source / "gt" / "gt_a\tb.txt")
    with pytest.raises(DataError, match="cannot hold a name with a tab"):
        run(source, split=lambda records: Split(frozenset({0}), ""))
    assert not (source / "out").exists()


def test_a_name_that_begins_with_a_blank_is_refused(source: Path) -> None:
    (source / "img" / "img_1.jpg").rename(source / "img" / " img_1.jpg")
    (source / "gt" / "gt_img_1.txt").rename(source / "gt" / "gt_ img_1.txt")
    with pytest.raises(DataError, match="begins or ends with a blank, which readers drop; rename the image"):
        run(source)


def test_overrides_are_what_a_shell_and_yaml_understand() -> None:
    train, val = Part(Path("out/train.txt"), Path("my data")), Part(Path("out/val.txt"), Path("test"))
    assert shlex.split(overrides(train, val)) == [
        "-o",
        "Train.dataset.data_dir=my data",
        'Train.dataset.label_file_list=["out/train.txt"]',
        "Eval.dataset.data_dir=test",
        'Eval.dataset.label_file_list=["out/val.txt"]',
    ]


@pytest.mark.parametrize(
    "folder", ["my photos #1", "2024", "null", "a: b", "[x", "~/p", "caf\u00e9", "it's", "1e3", "-"]
)
def test_a_folder_of_any_name_is_named_by_the_overrides(folder: str) -> None:
    part = Part(Path("out/train.txt"), Path(folder))
    given = dict(assignment.split("=", 1) for assignment in shlex.split(overrides(part, part))[1:])
    read = {key: yaml.safe_load(value) for key, value in given.items()}
    assert read["Train.dataset.data_dir"] == read["Eval.dataset.data_dir"] == folder
    assert read["Train.dataset.label_file_list"] == ["out/train.txt"]


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="names of files are text there")
def test_a_name_that_is_not_utf8_is_refused(source: Path) -> None:
    name = os.fsdecode("\u6587".encode("gbk"))
    (source / "img" / "img_1.jpg").rename(source / "img" / f"{name}.jpg")
    (source / "gt" / "gt_img_1.txt").rename(source / "gt" / f"gt_{name}.txt")
    for split in (partial(by_share, share=0.5, seed=1), lambda records: Split(frozenset({0}), "")):
        with pytest.raises(DataError, match="UTF-8, which this name is not; rename the image"):
            run(source, split=split)


def test_label_lines_are_json_with_readable_characters(source: Path) -> None:
    (source / "gt" / "gt_img_1.txt").write_text("1,2,11,2,11,8,1,8,caf\u00e9 \u65e5\u672c\n", encoding="utf-8")
    run(source)
    name, boxes = (source / "out" / "train.txt").read_text(encoding="utf-8").splitlines()[0].split("\t")
    assert name == "img_1.jpg" and "caf\u00e9 \u65e5\u672c" in boxes
    assert json.loads(boxes)[0]["points"] == [[1, 2], [11, 2], [11, 8], [1, 8]]


@pytest.mark.parametrize("name", FORMATS)
def test_every_reader_says_what_it_reads(name: str) -> None:
    first = (FORMATS[name].__doc__ or "").splitlines()[0]
    assert ":" in first and len(first) > 40


def test_a_bent_text_is_taught_where_it_is(tmp_path: Path) -> None:
    """From a Total-Text file to the shrink map: its core is 1, the hollow of the bow is background."""
    bow = [(10, 80), (10, 20), (110, 20), (110, 80), (90, 80), (90, 40), (30, 40), (30, 80)]
    (tmp_path / "img").mkdir()
    (tmp_path / "gt").mkdir()
    xs, ys = (" ".join(str(point[axis]) for point in bow) for axis in (0, 1))
    for name in ("img1", "img2"):
        (tmp_path / "img" / f"{name}.png").write_bytes(b"")
        entry = f"x: [[{xs}]], y: [[{ys}]], ornt: [u'c'], transcriptions: [u'BOW']\n"
        (tmp_path / "gt" / f"poly_gt_{name}.txt").write_text(entry)
    source = Source(tmp_path / "img", tmp_path / "gt")
    done = convert("totaltext", source, tmp_path / "out", split=partial(by_number, first=2))
    sample = read_label_file(done.train.label_file, done.train.data_dir)[0]
    kernel, mask = shrink_target((96, 128), sample.polygons, sample.ignore, 0.4)
    assert kernel[30, 60] == kernel[60, 20] == kernel[60, 100] == 1
    assert kernel[60, 60] == 0 and kernel[10, 60] == 0 and mask.all()


# --- real sets --------------------------------------------------------------------------------------------------------


def test_real_photos(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "icdar2015"
    source = Source(folder / "ch4_training_images", folder / "ch4_training_localization_transcription_gt")
    done = convert("icdar2015", source, tmp_path, split=partial(by_number, first=901))
    parts = (done.train, done.val)
    train, val = (read_label_file(part.label_file, part.data_dir) for part in parts)
    assert (len(train), len(val)) == (900, 100)
    assert {sample.image.stem for sample in val} == {f"img_{n}" for n in range(901, 1001)}
    ignored = sum(int(sample.ignore.sum()) for sample in train + val)
    assert sum(len(sample.polygons) for sample in train + val) == 11886
    assert (ignored, 11886 - ignored) == (7418, 4468)
    assert sum(part.ignored for part in parts) == 7418 and sum(part.boxes for part in parts) == 11886


def test_real_receipts(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "sroie2019" / "train"
    found: list[Split] = []
    records: list[Record] = []

    def split(read: list[Record]) -> Split:
        records.extend(read)
        found.append(by_company(read, 30))
        return found[0]

    done = convert("sroie", Source(folder / "img", folder / "box"), tmp_path, split=split)
    train, val = (read_label_file(part.label_file, part.data_dir) for part in (done.train, done.val))
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
