"""Odd places and odd clocks: names with spaces and letters of any script, Windows line ends, byte-order marks."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny

from ocr_cml.infer import TextDetector, detect_files, find_images, load_detector
from ocr_cml.models import build_detector
from ocr_cml.runtime import LayerDetector, Normalization
from tests.reliability import kills

Tool = Callable[..., tuple[int, str, str]]
ODD = "Läufe mit 空格 'und' \"Zeichen\" #1 – {x}"


def as_windows_writes(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("\n", "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode("utf-8"))


@pytest.mark.slow
def test_odd_names_marks_and_line_ends_from_labels_to_boxes(tiny_set: Path, tmp_path: Path, tool: Tool) -> None:
    place = tmp_path / ODD
    shutil.copytree(tiny_set, place / "set")
    for name in ("train.txt", "val.txt"):
        as_windows_writes(place / "set" / name)
    settings = tiny.settings(place / "set", place / "run", PostProcess={"thresh": 0.5, "box_thresh": 0.3})
    given = tiny.write(settings, place / "die Einstellungen.yml")
    as_windows_writes(given)
    assert tool("train", "-c", given)[0] == 0
    assert tool("train", "-c", given)[0] == 0  # and its own record is found to be the same
    weights = f"Global.pretrained_model={json.dumps(str(place / 'run/best'))}"
    recorded = place / "run/config.yml"
    code, _, err = tool("eval", "-c", recorded, "-o", weights, "--json", place / "scores.json")
    assert code == 0, err
    target = f"Global.save_inference_dir={json.dumps(str(place / 'model'))}"
    code, _, err = tool("export_model", "-c", recorded, "-o", weights, target)
    assert code == 0, err
    for engine in ("paddle", "onnx"):
        detect_files(load_detector(place / "model", engine), find_images(place / "set/val"), place / engine)
    lines = [(place / engine / "results.txt").read_text(encoding="utf-8") for engine in ("paddle", "onnx")]
    assert [line.split("\t")[0] for line in lines[0].splitlines()] == [
        str(place / f"set/val/{number:06}.jpg") for number in range(2)
    ]
    assert lines[0].count("points") == lines[1].count("points")

    plain = tiny.settings(tiny_set, tmp_path / "plain", PostProcess={"thresh": 0.5, "box_thresh": 0.3})
    assert tool("train", "-c", tiny.write(plain, tmp_path / "plain.yml"))[0] == 0
    kills.assert_equal(place / "run", tmp_path / "plain")


@pytest.fixture
def not_unicode(tmp_path: Path) -> bytes:
    """A folder whose name is no UTF-8, where the file system takes such names."""
    name = os.fsencode(tmp_path) + b"/photos \xff\xfe"
    try:
        os.mkdir(name)  # noqa: PTH102
    except OSError:
        pytest.skip("this file system takes no names that are not UTF-8")
    return name


def test_images_whose_names_are_no_unicode_are_trained_on(not_unicode: bytes, tiny_set: Path, tmp_path: Path) -> None:
    folder = Path(os.fsdecode(not_unicode))
    for number, image in enumerate(sorted((tiny_set / "train").iterdir())):
        shutil.copy(image, os.path.join(not_unicode, b"bild \xfc%d.jpg" % number))  # noqa: PTH118
    data = tiny.settings(tiny_set, tmp_path / "run", terms=[tiny.LABELS, tiny.MUTUAL])
    data["Train"]["unlabeled"] = {"images": [str(folder.parent)], "batch_size_per_card": 2}
    with pytest.raises(UnicodeEncodeError):
        str(folder).encode("utf-8")
    with tiny.Run(data, max_steps=2) as trainer:
        best = trainer.fit()
    assert best is not None
    assert any("\udcff" in sample.source for sample in trainer.unlabelled.samples)


def test_results_name_such_images_byte_for_byte(not_unicode: bytes, tiny_set: Path, tmp_path: Path) -> None:
    folder = Path(os.fsdecode(not_unicode))
    shutil.copy(next((tiny_set / "val").iterdir()), os.path.join(not_unicode, b"bild \xfc.jpg"))  # noqa: PTH118

    detector = TextDetector(LayerDetector(build_detector(tiny.STUDENT), Normalization()))
    summary = detect_files(detector, find_images(folder), tmp_path / "out")
    assert summary.images == 1
    assert (tmp_path / "out/results.txt").read_bytes().startswith(not_unicode + b"/bild \xfc.jpg\t[")


def test_a_clock_that_jumps_changes_nothing(tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tiny.Run(tiny.settings(tiny_set, tmp_path / "plain")) as trainer:
        trainer.fit()
    jumps = itertools.cycle([0.0, 4e9, 1e9, 2e9])
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    with tiny.Run(tiny.settings(tiny_set, tmp_path / "jumping", Global__save_batch_step=1)) as trainer:
        trainer.fit()
    kills.assert_equal(tmp_path / "jumping", tmp_path / "plain")
