"""docs/own-data.md: every command on the page runs, on small sets that lie as the page names them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from ppocr_data.check.findings import KINDS
from ppocr_data.convert import FORMATS

LINE = "1,2,41,2,41,18,1,18"
CURVE = ",".join(f"{x},10" for x in range(10, 80, 10)) + "," + ",".join(f"{x},30" for x in range(70, 0, -10))
TD500 = "0 0 5 5 60 20 0.1\n"
TOTALTEXT = "x: [[1 41 41 1]], y: [[2 2 18 18]], ornt: [u'h'], transcriptions: [u'A']\n"
SHAPE = {"label": "A", "points": [[1, 2], [41, 18]], "shape_type": "rectangle", "flags": {}}


def commands(repository: Path) -> list[list[str]]:
    """The `python ...` lines of the page's code blocks, with what follows a backslash."""
    page = (repository / "docs" / "own-data.md").read_text(encoding="utf-8")
    found = re.findall(r"^    (python (?:.*\\\n)*.*)$", page, re.MULTILINE)
    return [shlex.split(command.replace("\\\n", " ")) for command in found]


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of every file, without the linked configurations."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and (folder / "configs") not in path.parents)
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """A few images with labels in each format."""
    random = np.random.default_rng(1)

    def image(name: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        coarse = random.integers(0, 256, (9, 12, 3), np.uint8)
        cv2.imwrite(str(tmp_path / name), cv2.resize(coarse, (120, 90)))

    def text(name: str, content: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")

    for images, labels in (("Training_Task12_Images", "Training_Task1_GT"), ("Test_Task12_Images", "Test_Task1_GT")):
        image(f"Challenge2_{images}/1.jpg")
        text(f"Challenge2_{labels}/gt_1.txt", '1 2 41 18 "A"\n')
    for number in (1, 901):
        image(f"ch4_training_images/img_{number}.jpg")
        text(f"ch4_training_localization_transcription_gt/gt_img_{number}.txt", f"{LINE},A\n")
    for part in ("training", "validation"):
        image(f"mlt/{part}_images/ch8_1/img_1.jpg")
        text(f"mlt/{part}_gt/gt_img_1.txt", f"{LINE},Latin,A\n")
    for number in range(40):
        image(f"SROIE2019/train/img/{number:03}.jpg")
        text(f"SROIE2019/train/box/{number:03}.csv", f"{LINE},COMPANY {chr(65 + number % 26) * 9}\n")
    for part in ("train", "test"):
        image(f"MSRA-TD500/{part}/IMG_1.JPG")
        text(f"MSRA-TD500/{part}/IMG_1.gt", TD500)
    for part in ("Train", "Test"):
        image(f"totaltext/Images/{part}/img1.jpg")
        text(f"totaltext/Polygon/{part}/poly_gt_img1.txt", TOTALTEXT)
    image("ctw1500/train_images/0001.jpg")
    box = f'<box left="10" top="10" width="60" height="20"><label>A</label><segs>{CURVE}</segs></box>'
    text("ctw1500/ctw1500_train_labels/0001.xml", f'<Annotations><image file="0001.jpg">{box}</image></Annotations>')
    image("ctw1500/test_images/1001.jpg")
    text("ctw1500/gt_ctw1500/0001001.txt", f"{CURVE},####A\n")
    coco: dict[str, dict[str, object]] = {"imgs": {}, "anns": {}, "imgToAnns": {}}
    for key, part in (("1", "train"), ("2", "val"), ("3", "train")):
        image(f"train2014/{key}.jpg")
        coco["imgs"][key] = {"file_name": f"{key}.jpg", "set": part}
        coco["anns"][key] = {"bbox": [1, 2, 40, 16], "legibility": "legible", "utf8_string": "A"}
        coco["imgToAnns"][key] = [key] if key != "3" else []
    text("cocotext.v2.json", json.dumps(coco))
    for folder, names in (("labelled_photos", "abcdef"), ("scans", ("doc1_a", "doc1_b", "doc2_a", "doc3_a", "doc4_a"))):
        for name in names:
            image(f"{folder}/{name}.png")
            text(f"{folder}/{name}.json", json.dumps({"shapes": [SHAPE]}))
    lines = []
    for name in "abcdef":
        image(f"my_photos/{name}.jpg")
        entry = {"transcription": "A", "points": [[1, 2], [41, 2], [41, 18], [1, 18]], "difficult": False}
        lines.append(f"my_photos/{name}.jpg\t{json.dumps([entry])}\n")
    text("my_photos/Label.txt", "".join(lines))
    (tmp_path / "more_photos").mkdir()
    return tmp_path


def test_every_command_of_the_page_runs(
    repository: Path, sets: Path, tool: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sets)
    (sets / "configs").symlink_to(repository / "configs")
    given = snapshot(sets)
    done = []
    for command in commands(repository):
        assert command[0] == "python" and command[1].startswith("tools/")
        code, out, err = tool(Path(command[1]).stem, *command[2:])
        assert code == 0, f"{shlex.join(command)}\n{out}{err}"
        done.append(command[2])
    assert set(done) >= {*FORMATS, "check"}
    after = snapshot(sets)
    assert {path: after.get(path) for path in given} == given
    assert {path.split("/")[0] for path in after.keys() - given.keys()} == {"data", "output"}


def test_the_page_names_every_format_and_every_kind_of_finding(repository: Path) -> None:
    page = (repository / "docs" / "own-data.md").read_text(encoding="utf-8")
    missing = [name for name in [*FORMATS, *KINDS] if f"`{name}`" not in page]
    assert missing == []


def test_the_pictures_of_the_page_are_there(repository: Path) -> None:
    page = repository / "docs" / "own-data.md"
    pictures = re.findall(r"!\[.+\]\((.+)\)", page.read_text(encoding="utf-8"))
    assert len(pictures) == 2
    for picture in pictures:
        assert cv2.imread(str(page.parent / picture)) is not None
