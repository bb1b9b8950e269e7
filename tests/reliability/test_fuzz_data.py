"""Any label line, any polygon, any map: a message for a person or a sound result, in bounded time."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ocr_cml.metrics import DetMetric
from ocr_cml.postprocess import DBPostProcess
from ppocr_data import geometry
from ppocr_data.augment import IaaAugment
from ppocr_data.crop import EastRandomCropData
from ppocr_data.dataset import DetDataset
from ppocr_data.decode import DecodeImage
from ppocr_data.errors import DataError, ModelError
from ppocr_data.labels import read_labels
from ppocr_data.targets import MakeBorderMap, MakeShrinkMap, shrink_target, threshold_target
from tests.reliability.fuzzing import one_input, tries

SIZE = 64

# --- polygons --------------------------------------------------------------------------------------------------------

near = st.floats(-20, 70, width=32)
special = st.sampled_from([0.0, -0.0, 1e-30, 0.5, 63.0, 64.0, 1e6, -1e6])
point = st.tuples(st.one_of(near, special), st.one_of(near, special))


@st.composite
def outlines(draw: st.DrawFn, most: int = 200) -> np.ndarray:
    """3 to 200 points: any, on a line, on a circle (tiny or huge), a star that crosses itself, doubled points."""
    kind = draw(st.sampled_from(["any", "line", "circle", "star", "doubled", "grid"]))
    count = draw(st.integers(3, most))
    if kind == "any":
        return np.array(draw(st.lists(point, min_size=3, max_size=min(count, 12))), np.float32)
    if kind == "line":
        (x, y), (dx, dy) = draw(point), draw(st.tuples(near, near))
        steps = np.linspace(0, 1, count)
        return np.clip(np.stack([x + steps * dx, y + steps * dy], 1), -1e6, 1e6).astype(np.float32)
    if kind == "grid":
        return np.array(
            draw(st.lists(st.tuples(st.integers(-2, 6), st.integers(-2, 6)), min_size=3, max_size=10)), np.float32
        ) * np.float32(draw(st.sampled_from([1, 8, 0.125])))
    radius = draw(st.sampled_from([1e-3, 0.4, 3.0, 30.0, 1e5]))
    turn = 2 if kind == "star" else 1
    angles = np.arange(count) * 2 * math.pi * turn / count
    circle = np.stack([24 + radius * np.cos(angles), 24 + radius * np.sin(angles)], 1).astype(np.float32)
    return np.repeat(circle, 2, axis=0) if kind == "doubled" else circle


CASES = {
    "a point three times": [(5, 5)] * 3,
    "a point and the sign of its zero": [(0.0, 0.0), (0.0, 0.0), (0.0, -0.0)],
    "there and back": [(5, 5), (30, 5), (5, 5), (30, 5)],
    "bow tie": [(5, 5), (40, 30), (40, 5), (5, 30)],
    "spike": [(5, 5), (20, 5), (20, 40), (20, 5), (40, 5), (40, 20), (5, 20)],
    "hair": [(5, 5), (40, 5), (40, 5.001), (5, 5.001)],
    "far": [(-1e6, -1e6), (1e6, -1e6), (1e6, 1e6), (-1e6, 1e6)],
}


def check_geometry(points: np.ndarray) -> None:
    assert geometry.area(points) >= 0
    assert geometry.perimeter(points) >= 0
    assert geometry.is_simple(points) in (True, False)
    hull = geometry.convex_hull(points)
    assert np.isfinite(hull).all()
    for piece in geometry.clip(points, SIZE, SIZE):
        assert len(piece) >= 3
        assert piece.min() >= -1e-3
        assert piece.max() <= SIZE + 1e-3
    for distance in (-2.0, 1.5):
        for outline in geometry.offset(points, distance):
            assert np.isfinite(outline).all()
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    geometry.fill(canvas, points, 1)
    assert canvas.max() <= 1


@tries(300)
@given(outlines())
def test_any_outline_is_measured_cut_and_filled(points: np.ndarray) -> None:
    with one_input("polygon geometry"):
        check_geometry(points)


def check_targets(polygons: list[np.ndarray], ignore: np.ndarray, ratio: float) -> None:
    kernels, mask = shrink_target((SIZE, SIZE), polygons, ignore, ratio, min_text_size=4)
    values, border = threshold_target((SIZE, SIZE), polygons, ignore, ratio)
    for map_ in (kernels, mask, border):
        assert map_.dtype == np.uint8
        assert map_.max() <= 1
    assert values.dtype == np.uint8
    assert values.min() >= math.floor(0.3 * 255)
    assert values.max() <= math.ceil(0.7 * 255)


@tries(300)
@given(st.lists(outlines(), max_size=4), st.floats(0.05, 0.95), st.data())
def test_any_outlines_make_sound_targets(polygons: list[np.ndarray], ratio: float, data: st.DataObject) -> None:
    ignore = np.array(data.draw(st.lists(st.booleans(), min_size=len(polygons), max_size=len(polygons))), bool)
    with one_input("target building"):
        check_targets(polygons, ignore, ratio)


@pytest.mark.parametrize("case", CASES)
def test_outlines_that_were_found(case: str) -> None:
    points = np.array(CASES[case], np.float32)
    check_geometry(points)
    check_targets([points], np.zeros(1, bool), 0.4)


# --- labels, and the way from a line to a sample ---------------------------------------------------------------------

numbers = st.one_of(st.integers(), st.floats(), st.integers(-100, 100), st.floats(-1e7, 1e7))
plain = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=8))
anything = st.recursive(
    plain, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=3))
)
entry = st.fixed_dictionaries(
    {
        "transcription": st.one_of(st.text(max_size=8), st.sampled_from(["###", "*", ""]), plain),
        "points": st.one_of(st.lists(st.tuples(numbers, numbers).map(list), max_size=8), anything),
    },
    optional={"ignore": plain, "difficult": plain, "extra": anything},
)
names = st.one_of(
    st.just("a.png"),
    st.text(max_size=12),
    st.sampled_from(["../secret.png", "/etc/passwd", "a/../../b", "\0", "x" * 5000, "./a.png", "a.png/", "..\\a.png"]),
)
lines = st.one_of(
    st.binary(max_size=60),
    st.tuples(names, st.lists(entry, max_size=4)).map(lambda t: f"{t[0]}\t{json.dumps(t[1])}".encode()),
    st.tuples(names, st.text(max_size=40)).map(lambda t: f"{t[0]}\t{t[1]}".encode("utf-8", "surrogatepass")),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with one image, and one beside it that no label may name."""
    made = tmp_path_factory.mktemp("fuzz")
    picture = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (64, 80, 3), np.uint8))[1].tobytes()
    (made / "data").mkdir()
    for path in (made / "data/a.png", made / "secret.png"):
        path.write_bytes(picture)
    return made


def read(folder: Path, content: bytes) -> list[Any]:
    labels = folder / "labels.txt"
    labels.write_bytes(content)
    try:
        strict = read_labels(labels, folder / "data").samples
    except DataError as error:
        assert "labels.txt" in str(error)
        strict = ()
        if "UTF-16" in str(error):
            return []  # no line of it could be kept
    report = read_labels(labels, folder / "data", on_bad="skip")
    assert len(report.samples) >= len(strict)
    for sample in report.samples:
        assert sample.image.resolve().is_relative_to((folder / "data").resolve())
        assert len(sample.polygons) == len(sample.texts) == len(sample.ignore)
        for points in sample.polygons:
            assert len(points) >= 3
            assert np.isfinite(points).all()
            assert np.abs(points).max() <= 1e6
    return list(report.samples)


@tries(400)
@given(st.lists(lines, max_size=4))
@example([b"a.png\t[" + b"1" * 5000 + b"]"])  # more digits than Python converts
@example([b"a.png\t" + b"[" * 20000])
@example([("x" * 5000).encode() + b"\t[]"])  # a name longer than a file system takes
@example([b'a.png\t[{"transcription": "\\ud800", "points": [[1,1],[9,1],[9,9]]}]'])
def test_any_label_file_is_read_or_refused(folder: Path, content: list[bytes]) -> None:
    with one_input("label files"):
        read(folder, b"\n".join(content))


PIPELINE = [
    DecodeImage(),
    IaaAugment(
        augmenter_args=[
            {"type": "Fliplr", "args": {"p": 0.5}},
            {"type": "Affine", "args": {"rotate": [-10, 10]}},
            {"type": "Resize", "args": {"size": [0.5, 3]}},
        ]
    ),
    EastRandomCropData(size=(SIZE, SIZE), max_tries=10, keep_ratio=True),
    MakeBorderMap(shrink_ratio=0.4),
    MakeShrinkMap(shrink_ratio=0.4),
]


@tries(100)
@given(st.lists(outlines(most=20), min_size=1, max_size=4), st.integers(0, 5))
def test_whatever_labels_pass_make_a_sample(folder: Path, polygons: list[np.ndarray], epoch: int) -> None:
    entries = [{"transcription": "word", "points": points.astype(float).tolist()} for points in polygons]
    with one_input("a label line to a training sample"):
        samples = read(folder, f"a.png\t{json.dumps(entries)}".encode())
        if samples:
            record = DetDataset([samples], PIPELINE, seed=epoch)[epoch, 0]
            assert record["image"].shape == (SIZE, SIZE, 3)
            for name in ("shrink_map", "shrink_mask", "threshold_mask"):
                assert record[name].max() <= 1
            assert record["threshold_map"].max() <= math.ceil(0.7 * 255)


# --- maps ------------------------------------------------------------------------------------------------------------

odd = st.one_of(st.floats(width=32), st.sampled_from([0.0, 0.3, 0.30000001, 0.6, 1.0, math.nan, math.inf, -math.inf]))
shapes = st.tuples(st.integers(0, 40), st.integers(0, 40))
any_map = arrays.arrays(np.float32, shapes, elements=odd, fill=st.sampled_from([0.0, 0.9]).map(np.float32))
settings_of_a_map = st.builds(
    DBPostProcess,
    thresh=st.floats(0.01, 0.99),
    box_thresh=st.floats(0.01, 1.0),
    unclip_ratio=st.floats(0.01, 100.0),
    max_candidates=st.integers(1, 50),
    use_dilation=st.booleans(),
    score_mode=st.sampled_from(["fast", "slow"]),
    box_type=st.sampled_from(["quad", "poly"]),
)


@st.composite
def blobs(draw: st.DrawFn) -> np.ndarray:
    """A sound map with a few rectangles, lines and specks."""
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    map_ = np.zeros((height, width), np.float32)
    for _ in range(draw(st.integers(0, 5))):
        y, x = draw(st.integers(0, height)), draw(st.integers(0, width))
        map_[y : y + draw(st.integers(0, 30)), x : x + draw(st.integers(0, 30))] = draw(st.floats(0, 1, width=32))
    return map_


@tries(400)
@given(st.one_of(any_map, blobs()), settings_of_a_map, st.tuples(st.integers(1, 5000), st.integers(1, 5000)))
def test_any_map_gives_boxes_in_the_image_or_is_refused(
    map_: np.ndarray, post: DBPostProcess, image_hw: tuple[int, int]
) -> None:
    with one_input("post-process of a map"):
        try:
            polygons, scores = post(map_, image_hw)
        except ModelError:
            assert not map_.size or np.isnan(map_).any()
            return
        assert len(polygons) == len(scores)
        for polygon in polygons:
            assert polygon.dtype == np.int32
            assert len(polygon) >= 3
            assert polygon.min() >= 0
            assert polygon[:, 0].max() <= image_hw[1]
            assert polygon[:, 1].max() <= image_hw[0]
        if map_.size and map_.min() >= 0 and map_.max() <= 1:
            assert all(0 <= score <= 1 + 1e-6 for score in scores)


@tries(400)
@given(st.data())
def test_any_polygons_give_a_precision_and_a_recall_between_0_and_1(data: st.DataObject) -> None:
    wild = st.lists(st.tuples(st.floats(), st.floats()), max_size=9).map(
        lambda p: np.array(p, np.float64).reshape(-1, 2)
    )
    polygons = st.lists(st.one_of(outlines(most=60), wild), max_size=6)
    with one_input("metric of polygons"):
        metric = DetMetric()
        for _ in range(data.draw(st.integers(1, 2))):
            truth = data.draw(polygons)
            metric.add(
                data.draw(polygons), truth, data.draw(st.lists(st.booleans(), min_size=len(truth), max_size=len(truth)))
            )
        result = metric.result()
        for name in ("precision", "recall", "hmean"):
            assert 0 <= result[name] <= 1
        assert 0 <= result["tp"] <= min(result["num_gt"], result["num_det"])
