"""Scoring: grouping, the ensemble, and counts that do not depend on how the images are cut into batches."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from ocr_cml.evaluate import ENSEMBLE, Evaluator, MapFunction, batches, table
from ocr_cml.postprocess import DBPostProcess
from ocr_cml.tune import Grid, Tuner
from ppocr_data.dataset import EvalDataset
from ppocr_data.errors import ModelError
from ppocr_data.transforms import DecodeImage, DetResizeForTest

SIZES = [(96, 96), (64, 128), (96, 96), (64, 128), (96, 96)]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> EvalDataset:
    """Five pictures of two shapes, light where the one text is; the last has none and is all light."""
    folder = tmp_path_factory.mktemp("mixed")
    lines = []
    for index, (height, width) in enumerate(SIZES):
        image = np.full((height, width, 3), index, np.uint8)
        top, left = 10 + index, 20
        boxes = []
        if index < len(SIZES) - 1:
            image[top : top + 30, left : left + 50] = 255
            points = [[left, top], [left + 50, top], [left + 50, top + 30], [left, top + 30]]
            boxes = [{"transcription": "text", "points": points}]
        else:
            image[:] = 255
        cv2.imwrite(str(folder / f"{index}.png"), image)
        lines.append(f"{index}.png\t{json.dumps(boxes)}\n")
    (folder / "labels.txt").write_text("".join(lines))
    ops = [DecodeImage(), DetResizeForTest(limit_side_len=64, limit_type="min")]
    return EvalDataset.from_label_files(folder / "labels.txt", folder, ops)


def light(images: np.ndarray) -> np.ndarray:
    """A perfect detector, were it not for the last picture."""
    return (images[..., 0] > 128).astype(np.float32)


def constant(value: float) -> MapFunction:
    return lambda images: np.full(images.shape[:3], value, np.float32)


def evaluator(dataset: EvalDataset, batch_size: int = 2, unclip: float = 1e-3) -> Evaluator:
    """The maps are not shrunken, so they need no growing."""
    return Evaluator(dataset, DBPostProcess(unclip_ratio=unclip, box_thresh=0.6), batch_size)


def test_every_page_comes_once_in_batches_of_equal_shape(mixed: EvalDataset) -> None:
    found = list(batches(mixed, 2, range(len(mixed))))
    assert [len(group) for group in found] == [2, 2, 1]
    assert all(len({page.image.shape for page in group}) == 1 for group in found)
    sources = [page.source for group in found for page in group]
    assert sorted(sources) == [sample.source for sample in sorted(mixed.samples, key=lambda s: s.source)]
    for group in found:
        for page in group:
            assert page.original_hw == page.image.shape[:2]  # 96x96 and 64x128 need no resizing


@pytest.mark.parametrize(("shapes", "most"), [(40, 15), (1, 9)])
def test_few_pages_are_held_whatever_their_sizes(mixed: EvalDataset, shapes: int, most: int) -> None:
    """Of 40 images that all differ only 4 batches wait, and the 2 that are read ahead."""
    read = []

    class Many:
        def __getitem__(self, index: int) -> dict[str, object]:
            read.append(index)
            return {**mixed[0], "image": np.zeros((32 * (1 + index % shapes), 32, 3), np.uint8), "source": str(index)}

    given: list[str] = []
    for group in batches(Many(), 2, range(40)):
        assert len(read) - len(given) <= most
        given += [page.source for page in group]
    assert sorted(given, key=int) == [str(index) for index in range(40)]


def test_counts_by_hand(mixed: EvalDataset) -> None:
    """Four texts found, one box where there is none: P 4/5, R 1, hmean 8/9."""
    scores = evaluator(mixed).score({"net": light})
    assert set(scores) == {"net"}
    assert {key: scores["net"][key] for key in ("tp", "num_gt", "num_det")} == {"tp": 4, "num_gt": 4, "num_det": 5}
    assert scores["net"]["precision"] == pytest.approx(0.8)
    assert scores["net"]["recall"] == 1.0
    assert scores["net"]["hmean"] == pytest.approx(8 / 9)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_the_batch_size_changes_nothing(batch_size: int, mixed: EvalDataset) -> None:
    assert evaluator(mixed, batch_size).score({"net": light}) == evaluator(mixed, 1).score({"net": light})


def test_the_ensemble_is_the_mean_of_the_maps(mixed: EvalDataset) -> None:
    """.9 and .1 make .5, under box_thresh; of .9 and .5 the mean, .7, is over it, and .5 alone is not."""
    networks = {"a": lambda x: 0.9 * light(x), "b": lambda x: 0.1 * light(x), "c": lambda x: 0.5 * light(x)}
    low = evaluator(mixed).score(networks, ensemble_of=["a", "b"])
    assert low["a"]["num_det"] == 5
    assert low["b"]["num_det"] == low["c"]["num_det"] == low[ENSEMBLE]["num_det"] == 0
    high = evaluator(mixed).score(networks, ensemble_of=["a", "c"])
    assert high[ENSEMBLE] == high["a"]
    assert list(high) == ["a", "b", "c", ENSEMBLE]


@pytest.mark.parametrize("names", [[], ["a"]])
def test_fewer_than_two_make_no_ensemble(names: list[str], mixed: EvalDataset) -> None:
    assert list(evaluator(mixed).score({"a": constant(0.0)}, ensemble_of=names)) == ["a"]


def test_each_network_sees_every_image_once(mixed: EvalDataset) -> None:
    seen: list[tuple[int, ...]] = []

    def network(images: np.ndarray) -> np.ndarray:
        assert images.dtype == np.uint8
        seen.extend(image.shape for image in images)
        return np.zeros(images.shape[:3], np.float32)

    evaluator(mixed, 2).score({"net": network})
    assert sorted(seen) == sorted((h, w, 3) for h, w in SIZES)


def test_a_network_that_answers_with_nan_is_named(mixed: EvalDataset) -> None:
    with pytest.raises(ModelError, match=r"^broken, asked for .*txt:1: the probability map holds NaN"):
        evaluator(mixed).score({"light": light, "broken": constant(np.nan)})


def test_the_tuner_is_shown_the_same_maps(mixed: EvalDataset) -> None:
    grid = Grid(thresh=(0.3,), box_thresh=(0.6,), unclip_ratio=(1e-3,))
    judge = evaluator(mixed)
    tuners = {name: Tuner(grid, judge.postprocess) for name in ("a", "b", ENSEMBLE)}
    scores = judge.score({"a": light, "b": constant(0.1)}, ensemble_of=["a", "b"], tuners=tuners)
    for name, tuner in tuners.items():
        assert tuner.result().trial.hmean == pytest.approx(scores[name]["hmean"])


def test_every_ranks_share_is_its_own_and_together_they_are_all(mixed: EvalDataset) -> None:
    shares = [Evaluator(mixed, DBPostProcess(), 2, rank, 3)._indices for rank in range(3)]
    assert sorted(index for share in shares for index in share) == list(range(len(mixed)))


def test_the_table_has_a_row_each(mixed: EvalDataset, tmp_path: Path) -> None:
    lines = table(evaluator(mixed).score({"a": light, "longer": constant(0.0)})).splitlines()
    assert [line.split() for line in lines] == [
        ["network", "precision", "recall", "hmean"],
        ["a", "0.8000", "1.0000", "0.8889"],
        ["longer", "0.0000", "0.0000", "0.0000"],
    ]
    assert len({len(line) for line in lines[1:]}) == 1


def test_the_tuner_scores_in_pixels_of_the_original(tmp_path: Path) -> None:
    image = np.zeros((96, 96, 3), np.uint8)
    image[20:50, 20:70] = 255
    cv2.imwrite(str(tmp_path / "a.png"), image)
    boxes = [{"transcription": "text", "points": [[20, 20], [70, 20], [70, 50], [20, 50]]}]
    (tmp_path / "l.txt").write_text(f"a.png\t{json.dumps(boxes)}\n")
    ops = [DecodeImage(), DetResizeForTest(limit_side_len=192, limit_type="min")]
    dataset = EvalDataset.from_label_files(tmp_path / "l.txt", tmp_path, ops)
    judge = Evaluator(dataset, DBPostProcess(unclip_ratio=1e-3), 1)
    tuner = Tuner(Grid(thresh=(0.3,), box_thresh=(0.6,), unclip_ratio=(1e-3,)), judge.postprocess)
    scores = judge.score({"net": lambda i: (i[..., 0] > 128).astype(np.float32)}, tuners={"net": tuner})
    assert scores["net"]["hmean"] == 1.0
    assert tuner.result().trial.hmean == 1.0
