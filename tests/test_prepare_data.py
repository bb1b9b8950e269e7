"""The command line of tools/prepare_data.py: what it writes, prints and returns."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from ppocr_data.convert import FORMATS
from ppocr_data.labels import read_label_file
from tools.prepare_data import main

Tool = Callable[..., tuple[int, str, str]]


def prepare(repository: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(repository / "tools" / "prepare_data.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def folders(tmp_path: Path) -> list[str | Path]:
    (tmp_path / "img").mkdir()
    (tmp_path / "gt").mkdir()
    for number in (1, 2, 3):
        (tmp_path / "img" / f"img_{number}.jpg").write_bytes(b"")
        (tmp_path / "gt" / f"gt_img_{number}.txt").write_text("1,2,11,2,11,8,1,8,TEXT\n")
    return ["--images", tmp_path / "img", "--labels", tmp_path / "gt", "--output", tmp_path / "out"]


def test_the_printed_overrides_name_what_was_written(repository: Path, tmp_path: Path, folders: list[str]) -> None:
    done = prepare(repository, "icdar2015", *folders, "--val-first-id", "3")
    assert (done.returncode, done.stderr) == (0, "")
    given = dict(part.split("=", 1) for part in shlex.split(done.stdout.splitlines()[-1])[1:])
    data_dir = Path(given["Train.dataset.data_dir"])
    assert given["Train.dataset.label_file_list"] == f'["{tmp_path / "out" / "train.txt"}"]'
    assert [s.image.name for s in read_label_file(tmp_path / "out" / "train.txt", data_dir)] == [
        "img_1.jpg",
        "img_2.jpg",
    ]
    assert [s.image.name for s in read_label_file(tmp_path / "out" / "val.txt", data_dir)] == ["img_3.jpg"]


def test_a_list_chooses_the_validation_part(repository: Path, tmp_path: Path, folders: list[str]) -> None:
    (tmp_path / "val_names").write_text("img_1\n")
    assert prepare(repository, "icdar2015", *folders, "--val", tmp_path / "val_names").returncode == 0
    assert [s.image.name for s in read_label_file(tmp_path / "out" / "val.txt", tmp_path / "img")] == ["img_1.jpg"]


def test_a_mistake_is_one_message_and_exit_code_2(repository: Path, tmp_path: Path, folders: list[str]) -> None:
    (tmp_path / "gt" / "gt_img_2.txt").write_text("nonsense\n")
    done = prepare(repository, "icdar2015", *folders)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "gt_img_2.txt:1" in done.stderr


def test_the_synthetic_set(repository: Path, tmp_path: Path) -> None:
    done = prepare(
        repository, "synth", "--output", tmp_path / "set", "--train", "2", "--val", "1", "--size", "128", "160"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(read_label_file(tmp_path / "set" / "train.txt", tmp_path / "set")) == 2
    assert f"Train.dataset.data_dir={tmp_path / 'set'}" in shlex.split(done.stdout.splitlines()[-1])


def test_real_receipts_print_their_companies(repository: Path, shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "sroie2019" / "train"
    done = prepare(repository, "sroie", "--images", folder / "img", "--labels", folder / "box", "--output", tmp_path)
    assert done.returncode == 0
    assert "companies with 120 receipts to train" in done.stdout and "companies with 30 receipts to val" in done.stdout


@pytest.mark.parametrize("command", [[], ["sroie"], ["totaltext"], ["synth"]])
def test_help_shows_an_example(repository: Path, command: list[str]) -> None:
    done = prepare(repository, *command, "--help")
    assert done.returncode == 0 and "python tools/prepare_data.py sroie --images" in done.stdout


def test_every_format_is_a_command(tool: Tool, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tool("prepare_data", "--help")
    text = capsys.readouterr().out
    assert all(f"    {name}" in text for name in [*FORMATS, "synth"])


def test_the_counts_and_the_next_steps(tool: Tool, tmp_path: Path, folders: list[str | Path]) -> None:
    (tmp_path / "gt" / "gt_img_2.txt").write_text("1,2,11,2,11,8,1,8,###\n1,2,11,2,11,8,1,8,A\n")
    code, out, err = tool("prepare_data", "icdar2015", *folders, "--val-first-id", "3")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert ["train", "2", "3", "2", "1", "0"] in lines and ["val", "1", "1", "1", "0", "0"] in lines
    assert "preview.jpg" in out
    assert f"prepare_data.py check {tmp_path}/out/train.txt {tmp_path}/out/val.txt --data-dir {tmp_path}/img" in out


def test_the_next_steps_name_the_command_that_was_called(
    tool: Tool, folders: list[str | Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["ocr-cml prepare"])
    out = tool("prepare_data", "icdar2015", *folders, "--val-first-id", "3")[1]
    assert "\nocr-cml prepare check " in out and "tools/prepare_data.py" not in out


def test_labels_that_a_training_would_refuse_are_said(tool: Tool, tmp_path: Path, folders: list[str | Path]) -> None:
    (tmp_path / "gt" / "gt_img_2.txt").write_text("0,0,9,9,9,0,0,9,crossing\n")
    out = tool("prepare_data", "icdar2015", *folders, "--val-first-id", "3")[1]
    assert f"1 labels in {tmp_path}/out/train.txt cannot be used" in out and "train.txt:2: text 1 ('crossing')" in out


def test_an_official_test_part(tool: Tool, tmp_path: Path, folders: list[str | Path]) -> None:
    shutil.copytree(tmp_path / "img", tmp_path / "img2")
    code, _, err = tool("prepare_data", "icdar2015", *folders, "--val-images", tmp_path / "img2")
    assert code == 2 and "--val-images needs --val-labels" in err
    second = ["--val-images", tmp_path / "img2", "--val-labels", tmp_path / "gt"]
    code, out, _ = tool("prepare_data", "icdar2015", *folders, *second)
    assert code == 0 and f"Eval.dataset.data_dir={tmp_path / 'img2'}" in shlex.split(out.splitlines()[-1])
    assert len(read_label_file(tmp_path / "out" / "val.txt", tmp_path / "img2")) == 3


def test_a_random_share_keeps_groups_and_look_alikes_together(tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    line = json.dumps([{"transcription": "A", "points": [[1, 2], [11, 2], [11, 8], [1, 8]]}])
    with (tmp_path / "set" / "Label.txt").open("w") as file:
        for scene in range(6):
            picture = np.random.default_rng(scene).integers(0, 256, (9, 12, 3), np.uint8)
            for name in (f"a{scene}.png", f"b{scene}.png"):
                cv2.imwrite(str(tmp_path / "set" / name), cv2.resize(picture, (160, 120)))
                file.write(f"set/{name}\t{line}\n")
    arguments = ["prepare_data", "ppocrlabel", "--images", tmp_path / "set", "--output", tmp_path / "out"]

    def validation(*more: str) -> list[str]:
        assert tool(*arguments, "--val-share", "0.5", *more)[0] == 0
        return [line.split("\t")[0] for line in (tmp_path / "out" / "val.txt").read_text().splitlines()]

    names = validation()
    assert len(names) == 6 and {f"a{name[1]}.png" for name in names} | {f"b{name[1]}.png" for name in names} == {*names}
    assert {name[0] for name in validation("--group-by", "^[ab]", "--allow-near-duplicates")} in ({"a"}, {"b"})
    assert len({tuple(validation("--seed", str(seed))) for seed in range(4)}) > 1


def test_a_training_accepts_the_printed_overrides(
    tool: Tool, repository: Path, tmp_path: Path, folders: list[str | Path]
) -> None:
    (tmp_path / "img").rename(tmp_path / "my photos, 2026")
    folders[folders.index(tmp_path / "img")] = tmp_path / "my photos, 2026"
    out = tool("prepare_data", "icdar2015", *folders, "--val-first-id", "3")[1]
    overrides = shlex.split(out.splitlines()[-1])
    config = repository / "configs" / "det_student.yml"
    code, resolved, err = tool("train", "-c", config, "--show-config", *overrides)
    assert (code, err) == (0, "")
    sections = yaml.safe_load(resolved)
    assert sections["Train"]["dataset"]["data_dir"] == str(tmp_path / "my photos, 2026")
    assert sections["Train"]["dataset"]["label_file_list"] == [str(tmp_path / "out" / "train.txt")]
    assert sections["Eval"]["dataset"]["label_file_list"] == [str(tmp_path / "out" / "val.txt")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--val-labels", "nowhere"], "--val-labels needs --val-images"),
        (["--group-by", "(["], "--group-by belongs to --val-share"),
        (["--val-first-id", "3", "--seed", "7"], "--seed belongs to --val-share"),
        (["--val-first-id", "3", "--allow-near-duplicates"], "--allow-near-duplicates belongs to --val-share"),
    ],
)
def test_what_would_have_no_effect_is_refused(
    arguments: list[str], message: str, tool: Tool, tmp_path: Path, folders: list[str | Path]
) -> None:
    code, _, error = tool("prepare_data", "icdar2015", *folders, *arguments)
    assert (code, (tmp_path / "out").exists()) == (2, False)
    assert message in error


def test_a_list_of_names_is_not_replaced_by_the_labels(tool: Tool, tmp_path: Path, folders: list[str | Path]) -> None:
    (tmp_path / "out").mkdir()
    listing = tmp_path / "out" / "val.txt"
    listing.write_text("img_1\n")
    code, _, error = tool("prepare_data", "icdar2015", *folders, "--val", str(listing))
    assert (code, listing.read_text()) == (2, "img_1\n")
    assert "would be replaced" in error


def test_splits_exclude_each_other(tool: Tool, folders: list[str | Path], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        tool("prepare_data", "icdar2015", *folders, "--val-share", "0.5", "--val-first-id", "3")
    assert left.value.code == 2 and "not allowed with argument" in capsys.readouterr().err


# --- check ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def labelled(tiny_set: Path, tmp_path: Path) -> Path:
    """A copy of six good images with their labels."""
    return Path(shutil.copytree(tiny_set, tmp_path / "set"))


def add(labelled: Path, *points: list[int]) -> None:
    """Give the first image another text."""
    first, *others = (labelled / "train.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    name, texts = first.split("\t")
    entries = [*json.loads(texts), {"transcription": "added", "points": points}]
    content = f"{name}\t{json.dumps(entries)}\n" + "".join(others)
    (labelled / "train.txt").write_text(content, encoding="utf-8")


def test_check_accepts_good_labels(tool: Tool, labelled: Path, tmp_path: Path) -> None:
    code, out, err = tool(
        "prepare_data", "check", labelled / "train.txt", labelled / "val.txt", "--output", tmp_path / "c"
    )
    assert (code, err) == (0, "")
    assert out.startswith("8 images, ") and json.loads((tmp_path / "c" / "check.json").read_text())["broken"] == 0


def test_check_of_images_that_lie_elsewhere_names_the_option(tool: Tool, labelled: Path, tmp_path: Path) -> None:
    moved = tmp_path / "labels" / "train.txt"
    moved.parent.mkdir()
    (labelled / "train.txt").rename(moved)
    code, out, _ = tool("prepare_data", "check", moved, "--output", tmp_path / "c")
    assert (code, "are looked for beside the label files; if they lie elsewhere" in out) == (1, True)
    code, out, _ = tool("prepare_data", "check", moved, "--data-dir", labelled, "--output", tmp_path / "c")
    assert (code, "beside the label files" in out) == (0, False)


def test_check_leaves_the_pictures_alone(tool: Tool, labelled: Path, tmp_path: Path) -> None:
    """Its own pictures are named after kinds of findings, as a photograph may be."""
    images = sorted(path for path in labelled.rglob("*") if path.suffix in (".jpg", ".png"))
    folder = images[0].parent
    before = {path: path.read_bytes() for path in images}
    code, _, err = tool("prepare_data", "check", labelled / "train.txt", "--output", folder)
    assert (code, "holds the images" in err) == (2, True)
    code, _, err = tool("prepare_data", "check", labelled / "train.txt", "--output", folder / "check" / "today")
    assert (code, "holds the images" in err) == (2, True)
    assert not (folder / "check").exists()
    inside = ("--data-dir", labelled, "--output", labelled / "check")
    code, _, err = tool("prepare_data", "check", labelled / "train.txt", *inside)
    assert (code, "holds the images" in err, (labelled / "check").exists()) == (2, True, False)
    assert {path: path.read_bytes() for path in images} == before
    elsewhere = tmp_path / "mine"
    elsewhere.mkdir()
    (elsewhere / "blank.jpg").write_text("mine")
    code, _, err = tool("prepare_data", "check", labelled / "train.txt", "--output", elsewhere)
    assert (code, "blank.jpg: is there and was not written by this tool" in err) == (2, True)
    assert [(path.name, path.read_text()) for path in elsewhere.iterdir()] == [("blank.jpg", "mine")]
    (elsewhere / "blank.jpg").rename(elsewhere / "mine.jpg")
    assert tool("prepare_data", "check", labelled / "train.txt", "--output", elsewhere)[0] == 0
    (elsewhere / "blank.jpg").write_text("of an earlier check")
    assert tool("prepare_data", "check", labelled / "train.txt", "--output", elsewhere)[0] == 0
    assert not (elsewhere / "blank.jpg").exists()  # by now the folder is the check's
    assert (elsewhere / "mine.jpg").read_text() == "mine"


def test_check_exit_codes(tool: Tool, labelled: Path, tmp_path: Path) -> None:
    command = ["prepare_data", "check", labelled / "train.txt", "--tiny", "0", "--output", tmp_path / "c"]
    add(labelled, [60, 60], [120, 60], [120, 70], [60, 70])
    code, out, _ = tool(*command)
    assert code == 0 and "outside: 1 suspicious" in out and f"{tmp_path}/c/outside.jpg" in out
    assert tool(*command, "--strict")[0] == 1
    add(labelled, [10, 10], [50, 20], [50, 10], [10, 20])
    code, out, _ = tool(*command)
    assert code == 1 and "crossing: 1 broken" in out and "a training would refuse 1 of them" in out
    (labelled / "train.txt").unlink()
    code, out, err = tool(*command)
    assert code == 2 and out == "" and "train.txt" in err


def test_check_without_pictures(tool: Tool, labelled: Path, tmp_path: Path) -> None:
    add(labelled, [60, 60], [120, 60], [120, 70], [60, 70])
    tool("prepare_data", "check", labelled / "train.txt", "--pictures", "0", "--output", tmp_path / "c")
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["check.json"]


def test_check_takes_the_command_that_a_conversion_prints(
    tool: Tool, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = (labelled / "train").rename(tmp_path / "my photos")
    (folder / "Label.txt").write_text((labelled / "train.txt").read_text(encoding="utf-8"), encoding="utf-8")
    out = tool("prepare_data", "ppocrlabel", "--images", folder, "--output", tmp_path / "out", "--val-share", "0.4")[1]
    command = next(line for line in out.splitlines() if line.startswith("python tools/prepare_data.py check"))
    code, out, _ = tool("prepare_data", *shlex.split(command)[2:])
    assert code == 0 and out.startswith("6 images, ")
    assert (tmp_path / "output" / "check" / "check.json").is_file()


def test_a_number_of_pictures_below_none_is_refused(tool: Tool, labelled: Path, tmp_path: Path) -> None:
    code, out, err = tool("prepare_data", "check", labelled / "train.txt", "--output", tmp_path, "--pictures", "-1")
    assert (code, out, err) == (2, "", "error: --pictures: must be at least 0, is -1\n")


@pytest.mark.parametrize("option", ["--data-dir", "--output"])
def test_an_empty_path_is_no_folder(option: str, labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a variable that is not set leaves would be the folder where people stand."""
    with pytest.raises(SystemExit) as left:
        main(["check", str(labelled / "train.txt"), option, ""])
    assert left.value.code == 2
    assert f"argument {option}: is empty; name a file or folder" in capsys.readouterr().err


def test_a_photo_stored_lying_is_read_as_its_labels_are(tmp_path: Path) -> None:
    photo, exif = Image.effect_noise((200, 80), 90).convert("RGB"), Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    (tmp_path / "data").mkdir()
    photo.save(tmp_path / "data/lying.jpg", exif=exif)
    box = [{"transcription": "far right", "points": [[120, 10], [190, 10], [190, 40], [120, 40]]}]
    (tmp_path / "data/l.txt").write_text(f"lying.jpg\t{json.dumps(box)}\n")
    command = ["check", str(tmp_path / "data/l.txt"), "--strict", "--output", str(tmp_path / "found")]
    assert main(command) == 1
    assert (tmp_path / "found/outside.jpg").is_file()
    assert main([*command, "--ignore-orientation"]) == 0


def test_the_size_of_the_synthetic_set_is_height_and_width(tmp_path: Path) -> None:
    where = ["--output", str(tmp_path / "set"), "--train", "1", "--val", "1", "--size", "96", "160"]
    assert main(["synth", *where]) == 0
    assert cv2.imread(str(tmp_path / "set/train/000000.jpg")).shape == (96, 160, 3)


def test_images_outside_of_their_folder_are_accepted_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    cv2.imwrite(str(tmp_path / "elsewhere/out.png"), np.zeros((64, 64, 3), np.uint8))
    box = [{"transcription": "text", "points": [[8, 8], [56, 8], [56, 40], [8, 40]]}]
    (tmp_path / "data/l.txt").write_text(f"../elsewhere/out.png\t{json.dumps(box)}\n")
    command = ["check", str(tmp_path / "data/l.txt"), "--output", str(tmp_path / "found"), "--pictures", "0"]
    assert main(command) == 1
    assert main([*command, "--allow-outside"]) == 0
