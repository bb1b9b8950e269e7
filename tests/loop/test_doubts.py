"""What a run begins with although it is hardly meant is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny

from ocr_cml.loop.doubts import doubts


def moved(tiny_set: Path, folder: Path, part: str, by: float) -> Path:
    """The set with every text of a part moved to the right."""
    shutil.copytree(tiny_set, folder)
    lines = [line.split("\t") for line in (folder / f"{part}.txt").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        texts = json.loads(line[1])
        for text in texts:
            text["points"] = [[x + by, y] for x, y in text["points"]]
        line[1] = json.dumps(texts)
    (folder / f"{part}.txt").write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def doubts_of(data: Path, run: Path) -> list[str]:
    with tiny.Run(tiny.settings(data, run)) as trainer:
        return [text for text in doubts(trainer) if "lies in its image" in text or "readable" in text]


@pytest.mark.parametrize(("part", "what"), [("train", "6 training images"), ("val", "1 evaluation image")])
def test_texts_beside_their_images_are_told(part: str, what: str, tiny_set: Path, tmp_path: Path) -> None:
    (told,) = doubts_of(moved(tiny_set, tmp_path / "set", part, 5000.0), tmp_path / "run")
    assert told.startswith(f"no text of {what} that were looked at lies in its image: points of a larger")
    assert doubts_of(tiny_set, tmp_path / "other") == []


def test_labels_without_a_readable_text_are_told(tiny_set: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_set, tmp_path / "set")
    names = [line.split("\t")[0] for line in (tiny_set / "train.txt").read_text(encoding="utf-8").splitlines()]
    (tmp_path / "set/train.txt").write_text("".join(f"{name}\t[]\n" for name in names), encoding="utf-8")
    (told,) = doubts_of(tmp_path / "set", tmp_path / "run")
    assert told.startswith("no training image has a readable text (none at all, or all of it don't care)")
