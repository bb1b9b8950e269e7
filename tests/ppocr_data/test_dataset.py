"""Data sets: determinism, shares, unlabelled images, bad images."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ppocr_data.dataset import DetDataset, EvalDataset
from ppocr_data.errors import ConfigError, DataError
from ppocr_data.op import Op, Record
from ppocr_data.transforms import build_ops

TRAIN: list[dict[str, Any]] = [
    {"DecodeImage": None},
    {"CopyPaste": None},
    {"IaaAugment": {"augmenter_args": [{"type": "Affine", "args": {"rotate": [-10, 10]}}]}},
    {"ColorJitter": {"brightness": 0.2}},
    {"EastRandomCropData": {"size": [64, 64]}},
    {"MakeBorderMap": None},
    {"MakeShrinkMap": None},
]
PLAIN: list[dict[str, Any]] = [
    {"DecodeImage": None},
    {"EastRandomCropData": {"size": [64, 64], "min_crop_side_ratio": 1.0}},
    {"MakeBorderMap": None},
    {"MakeShrinkMap": {"min_text_size": 2}},
]
EVAL: list[dict[str, Any]] = [{"DecodeImage": None}, {"DetResizeForTest": {"limit_side_len": 64, "limit_type": "max"}}]


def make_images(folder: Path, count: int, prefix: str = "") -> Path:
    """Noise images with a white text each, and their label file."""
    rows = []
    for i in range(count):
        image = np.random.default_rng(i).integers(0, 100, (80, 100, 3), np.uint8)
        image[20:40, 10:70] = 255
        name = f"{prefix}{i}.png"
        (folder / name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
        box = [[10, 20], [70, 20], [70, 40], [10, 40]]
        rows.append(f"{name}\t" + json.dumps([{"transcription": "word", "points": box}]))
    path = folder / f"{prefix}labels.txt"
    path.write_text("\n".join(rows))
    return path


def train_set(folder: Path, count: int = 4, entries: list[object] = TRAIN, **arguments: object) -> DetDataset:
    labels = make_images(folder, count)
    return DetDataset.from_label_files(labels, folder, build_ops(entries), **arguments)  # type: ignore[arg-type]


ARRAYS = ("image", "shrink_map", "shrink_mask", "threshold_map", "threshold_mask")


def same(one: Record, other: Record) -> bool:
    return all(np.array_equal(one[key], other[key]) for key in ARRAYS)


def test_a_sample_is_a_function_of_seed_epoch_and_index(tmp_path: Path) -> None:
    first, again, other = train_set(tmp_path), train_set(tmp_path), train_set(tmp_path, seed=1)
    assert len(first) == 4
    backwards = {key: again[key] for key in [(1, 3), (1, 0), (0, 3), (0, 0)]}
    for key, sample in backwards.items():
        assert same(first[key], sample)
        assert not same(first[key], other[key])
    assert not same(first[0, 0], first[1, 0])
    assert not same(first[0, 0], first[0, 3])


def test_what_a_sample_holds(tmp_path: Path) -> None:
    sample = train_set(tmp_path)[0, 2]
    assert sample["image"].shape == (64, 64, 3)
    for key in ARRAYS:
        assert sample[key].dtype == np.uint8
        assert sample[key].shape[:2] == (64, 64)
    assert sample["shrink_map"].any()
    assert sample["has_label"] is True
    assert sample["source"] == f"{tmp_path / 'labels.txt'}:3"
    assert sample["problems"] == []


def test_the_epoch_reaches_the_targets(tmp_path: Path) -> None:
    ratio = {"shrink_ratio": {"start": 0.2, "end": 0.8, "total_epoch": 2}}
    entries = [*PLAIN[:2], {"MakeBorderMap": ratio}, {"MakeShrinkMap": {**ratio, "min_text_size": 2}}]
    data = train_set(tmp_path, 1, entries)
    kernels = [int(data[epoch, 0]["shrink_map"].sum()) for epoch in range(4)]
    assert kernels[0] < kernels[1] < kernels[2] == kernels[3]


def test_unlabelled_images(tmp_path: Path) -> None:
    make_images(tmp_path, 3)
    data = DetDataset.from_images(tmp_path, build_ops(TRAIN))
    assert len(data) == 3
    sample = data[0, 1]
    assert sample["has_label"] is False
    assert not sample["shrink_map"].any()
    assert not sample["threshold_mask"].any()
    assert sample["shrink_mask"].all()  # no pixel is known to be don't care
    assert sample["source"] == str(tmp_path / "1.png")


def test_shares_of_label_files(tmp_path: Path) -> None:
    files = [make_images(tmp_path, 10, "a"), make_images(tmp_path, 4, "b")]
    data = DetDataset.from_label_files(files, tmp_path, build_ops(PLAIN), ratio_list=[0.3, 1.0], seed=5)
    assert len(data) == 7
    seen: Counter[str] = Counter()
    for epoch in range(12):
        names = [data[epoch, index]["source"].rsplit("/", 1)[1] for index in range(7)]
        assert len(set(names)) == 7
        assert [name.startswith("alabels") for name in names] == [True] * 3 + [False] * 4
        seen.update(names)
    assert len([name for name in seen if name.startswith("a")]) == 10  # over the epochs all of them come
    assert max(count for name, count in seen.items() if name.startswith("a")) < 12
    for ratios in ([0.3], [0.3, 0.0], [0.3, 1.5], 0.0):
        with pytest.raises(DataError, match="ratio_list"):
            DetDataset.from_label_files(files, tmp_path, build_ops(PLAIN), ratio_list=ratios)


def test_a_bad_image_stops_training_or_is_replaced(tmp_path: Path) -> None:
    labels = make_images(tmp_path, 4)
    whole = (tmp_path / "2.png").read_bytes()
    (tmp_path / "2.png").write_bytes(whole[: len(whole) // 2])
    strict = DetDataset.from_label_files(labels, tmp_path, build_ops(PLAIN))
    with pytest.raises(DataError, match=r"labels.txt:3: image .*2\.png: the file is truncated"):
        strict[0, 2]
    skipping = DetDataset.from_label_files(labels, tmp_path, build_ops(PLAIN), on_bad="skip")
    replacements = set()
    for epoch in range(12):
        sample = skipping[epoch, 2]
        assert "2.png: the file is truncated" in sample["problems"][0]
        assert same(sample, skipping[epoch, 2])
        replacements.add(sample["source"][-1])
        assert skipping[epoch, 1]["problems"] == []
    assert replacements == {"1", "2", "4"}


def test_copy_paste_meets_a_bad_image(tmp_path: Path) -> None:
    """The sample that texts are taken from may be the bad one: an error in strict training, no pasting in skipping."""
    labels = make_images(tmp_path, 2)
    (tmp_path / "1.png").write_bytes(b"")
    entries = [PLAIN[0], {"CopyPaste": None}, *PLAIN[1:]]
    skipping = DetDataset.from_label_files(labels, tmp_path, build_ops(entries), on_bad="skip")
    strict = DetDataset.from_label_files(labels, tmp_path, build_ops(entries))
    outcomes = set()
    for epoch in range(12):
        assert skipping[epoch, 0]["source"].endswith(":1")
        try:
            strict[epoch, 0]
            outcomes.add("read")
        except DataError as error:
            assert "1.png" in str(error)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_when_every_image_is_bad_skipping_ends(tmp_path: Path) -> None:
    labels = make_images(tmp_path, 2)
    for name in ("0.png", "1.png"):
        (tmp_path / name).write_bytes(b"")
    data = DetDataset.from_label_files(labels, tmp_path, build_ops(PLAIN), on_bad="skip")
    with pytest.raises(DataError, match="20 samples in a row"):
        data[0, 0]


def test_bad_labels_are_all_told_and_skips_are_kept(tmp_path: Path) -> None:
    good = make_images(tmp_path, 2)
    bad = tmp_path / "bad.txt"
    bad.write_text("nonsense\n" + good.read_text())
    with pytest.raises(DataError) as caught:
        DetDataset.from_label_files([bad, tmp_path / "none.txt"], tmp_path, build_ops(PLAIN))
    assert "bad.txt:1: no tab" in str(caught.value)
    assert "none.txt: cannot read" in str(caught.value)
    data = DetDataset.from_label_files(bad, tmp_path, build_ops(PLAIN), on_bad="skip")
    assert len(data) == 2
    assert [p.split(": ")[0] for p in data.problems] == [f"{bad}:1"]
    with pytest.raises(DataError, match=r"bad\.txt:1"):
        EvalDataset.from_label_files(bad, tmp_path, build_ops(EVAL))


def test_empty_sets_and_impossible_lists(tmp_path: Path) -> None:
    empty = tmp_path / "labels.txt"
    empty.write_text("\n")
    with pytest.raises(DataError, match="empty"):
        DetDataset.from_label_files(empty, tmp_path, build_ops(PLAIN))
    with pytest.raises(DataError, match="empty"):
        EvalDataset.from_label_files(empty, tmp_path, build_ops(EVAL))
    labels = make_images(tmp_path, 1)
    with pytest.raises(ConfigError, match="EastRandomCropData"):
        DetDataset.from_label_files(labels, tmp_path, build_ops(EVAL))
    with pytest.raises(ConfigError, match="DetResizeForTest"):
        EvalDataset.from_label_files(labels, tmp_path, build_ops(PLAIN))


def test_evaluation_keeps_original_pixels(tmp_path: Path) -> None:
    data = EvalDataset.from_label_files(make_images(tmp_path, 3), tmp_path, build_ops(EVAL))
    items = list(data)  # type: ignore[call-overload]
    assert len(items) == len(data) == 3
    item = items[1]
    assert set(item) == {"image", "image_hw", "polygons", "ignore", "texts", "source"}
    assert item["image"].shape == (64, 64, 3)  # 100 -> 64, 80 -> 51.2 -> 64
    assert item["image_hw"] == (80, 100)
    assert item["polygons"][0].tolist() == [[10, 20], [70, 20], [70, 40], [10, 40]]
    assert item["ignore"].tolist() == [False]
    assert data.resize.target_size(80, 100) == (64, 64)
    (tmp_path / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1\.png"):
        data[1]


def test_ops_do_not_change_what_they_are_given(tmp_path: Path) -> None:
    data = train_set(tmp_path, 2)
    record: Record = {
        "path": tmp_path / "0.png",
        "polygons": list(data.samples[0].polygons),
        "ignore": data.samples[0].ignore,
        "texts": ["word"],
        "source": "",
        "epoch": 0,
    }
    for op in data.ops:
        assert isinstance(op, Op)
        kept = {key: np.copy(value) if isinstance(value, np.ndarray) else value for key, value in record.items()}
        kept["polygons"] = [p.copy() for p in record["polygons"]]
        made = op(record, np.random.default_rng(0))
        assert record.keys() == kept.keys()
        for key in ("image", "ignore"):
            assert np.array_equal(record.get(key, 0), kept.get(key, 0))
        assert all(np.array_equal(a, b) for a, b in zip(record["polygons"], kept["polygons"], strict=True))
        record = made


def test_of_the_smallest_share_one_sample_is_left(tmp_path: Path) -> None:
    """A label file that somebody listed is never left out unseen."""
    files = [make_images(tmp_path, 10, "a"), make_images(tmp_path, 4, "b")]
    data = DetDataset.from_label_files(files, tmp_path, build_ops(PLAIN), ratio_list=[0.01, 0.5])
    names = [data[0, index]["source"].rsplit("/", 1)[1][0] for index in range(len(data))]
    assert names == ["a", "b", "b"]
