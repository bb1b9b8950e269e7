"""Augmentation: pixels and polygons move together."""

from __future__ import annotations

import colorsys
import itertools
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from ppocr_data.augment import ColorJitter, CopyPaste, IaaAugment, _straighten
from ppocr_data.crop import EastRandomCropData, RandomWindow
from ppocr_data.dataset import DetDataset
from ppocr_data.decode import DecodeImage
from ppocr_data.op import Op, Record
from ppocr_data.targets import MakeBorderMap, MakeShrinkMap
from ppocr_data.warps import Affine, AffineArguments, Warp


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def augment(*steps: tuple[str, dict[str, object]]) -> IaaAugment:
    return IaaAugment.model_validate({"augmenter_args": [{"type": kind, "args": args} for kind, args in steps]})


def page(boxes: list[tuple[int, ...]], height: int = 120, width: int = 160) -> Record:
    """A black page; text i is a filled box of grey level 100 + 20 i."""
    image = np.zeros((height, width, 3), np.uint8)
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        image[y0:y1, x0:x1] = 100 + 20 * i % 140
    polygons = [np.array([[a, b], [c, b], [c, d], [a, d]], np.float32) for a, b, c, d in boxes]
    return {
        "image": image,
        "polygons": polygons,
        "ignore": np.zeros(len(boxes), bool),
        "texts": [f"t{i}" for i in range(len(boxes))],
        "source": "l.txt:1",
        "epoch": 0,
    }


def test_flip_is_exact() -> None:
    given = page([(10, 20, 50, 40)])
    made = augment(("Fliplr", {"p": 1.0}))(given, rng())
    assert np.array_equal(made["image"], given["image"][:, ::-1])
    assert made["polygons"][0].tolist() == [[150, 20], [110, 20], [110, 40], [150, 40]]
    made = augment(("Flipud", {}))(given, rng())
    assert np.array_equal(made["image"], given["image"][::-1])
    assert made["polygons"][0].tolist() == [[10, 100], [50, 100], [50, 80], [10, 80]]


def test_flip_obeys_its_probability() -> None:
    given, flips = page([(10, 20, 50, 40)]), 0
    for seed in range(200):
        flips += augment(("Fliplr", {"p": 0.25}))(given, rng(seed))["polygons"][0][0, 0] == 150
    assert 30 <= flips <= 70  # 50 expected; five standard deviations are 31


def test_quarter_turn_by_hand() -> None:
    """About the centre (80, 60), clockwise by 90 degrees: (x, y) -> (80 - (y - 60), 60 + (x - 80))."""
    made = augment(("Affine", {"rotate": 90}))(page([(60, 50, 90, 60)]), rng())
    assert made["polygons"][0] == pytest.approx(np.array([[90, 40], [90, 70], [80, 70], [80, 40]]), abs=1e-4)
    assert (made["image"][41:69, 81:89] == 100).all()
    assert not made["image"][:, :79].any()


def test_resize_by_hand() -> None:
    made = augment(("Resize", {"size": 2}))(page([(10, 20, 50, 40)]), rng())
    assert made["image"].shape == (240, 320, 3)
    assert made["polygons"][0].tolist() == [[20, 40], [100, 40], [100, 80], [20, 80]]
    assert (made["image"][41:79, 21:99] == 100).all()


def test_neighbours_are_one_warp() -> None:
    """The pixels under a moved polygon are those of its text, after any chain of steps."""
    boxes = [(20, 20, 60, 40), (80, 30, 140, 50), (30, 70, 70, 100)]
    chain = augment(
        ("Fliplr", {"p": 0.5}),
        ("Affine", {"rotate": [-25, 25], "scale": [0.8, 1.2], "shear": [-10, 10], "translate_percent": [-0.1, 0.1]}),
        ("Resize", {"size": [0.5, 3]}),
        ("Flipud", {"p": 0.5}),
    )
    checked = 0
    for seed in range(40):
        made = chain(page(boxes), rng(seed))
        height, width = made["image"].shape[:2]
        assert 60 <= height <= 360
        for points, text in zip(made["polygons"], made["texts"], strict=True):
            assert points.min() >= 0
            assert (points.max(axis=0) <= (width, height)).all()
            mask = np.zeros((height, width), np.uint8)
            cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 1)
            inner = cv2.erode(mask, np.ones((7, 7), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
            if inner.any():
                assert np.abs(made["image"][inner == 1].astype(int) - (100 + 20 * int(text[1:]))).max() <= 1
                checked += 1
    assert checked > 80


def test_text_that_leaves_the_canvas_is_cut_or_dropped() -> None:
    given = page([(0, 50, 30, 70), (65, 50, 95, 70), (140, 50, 160, 70)])
    given["ignore"] = np.array([False, True, False])
    made = augment(("Affine", {"scale": 2}))(given, rng())
    # x -> 80 + 2 (x - 80): the first lies at -80..-20, the second at 50..110, the third at 200..240.
    assert made["texts"] == ["t1"]
    assert made["ignore"].tolist() == [True]
    assert sorted(made["polygons"][0].tolist()) == [[50, 40], [50, 80], [110, 40], [110, 80]]
    made = augment(("Affine", {"translate_percent": -0.5}))(page([(70, 60, 100, 110)]), rng())
    assert sorted(made["polygons"][0].tolist()) == [[0, 0], [0, 50], [20, 0], [20, 50]]


@pytest.mark.parametrize("defer", [False, True])
def test_text_beyond_the_image_is_not_taught_on_the_filling(defer: bool) -> None:
    """A turned or smaller picture leaves filling on the canvas, and there a label of another size would lie."""
    given = page([(10, 130, 60, 150), (10, 100, 60, 140)]) | {"defer_warp": defer}
    made = augment(("Affine", {"scale": 0.5}))(given, rng())
    assert made["texts"] == ["t1"]
    # y -> 60 + 0.5 (y - 60): the image ends at 90.
    assert made["polygons"][0][:, 1].max() == 90 and made["polygons"][0][:, 1].min() == 80


def test_default_is_paddleocrs() -> None:
    made = {IaaAugment()(page([]), rng(seed))["image"].shape for seed in range(40)}
    assert all(60 <= height <= 360 and 80 <= width <= 480 for height, width, _ in made)
    assert len(made) > 30


def test_huge_canvases_are_held_back() -> None:
    made = augment(("Resize", {"size": 10}))({**page([]), "image": np.zeros((2000, 3000, 3), np.uint8)}, rng())
    height, width = made["image"].shape[:2]
    assert height * width == pytest.approx(50e6, rel=1e-3)
    assert width / height == pytest.approx(1.5, rel=1e-3)


@pytest.mark.parametrize("args", [{"size": [3, 0.5]}, {"size": 0}, {"size": [640, 640]}, {"sise": 1}])
def test_impossible_arguments_are_refused(args: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        augment(("Resize", args))


def copy_paste(given: Record, other: Record | None, seed: int, **arguments: object) -> Record:
    return CopyPaste.model_validate(arguments)({**given, "ext": lambda _: other}, rng(seed))


def test_pasted_text_lies_under_its_polygon_and_on_no_other() -> None:
    given = page([(10, 10, 150, 50)], 200, 300)
    other = page([(i * 40 + 5, 20, i * 40 + 35, 32) for i in range(3)], 60, 130)
    other["image"][other["image"] > 0] = 255
    other["ignore"] = np.array([True, False, False])
    pasted = 0
    for seed in range(15):
        made = copy_paste(given, other, seed, objects_paste_ratio=1.0)
        assert len(made["polygons"]) == len(made["texts"]) == len(made["ignore"])
        assert made["texts"][0] == "t0"
        assert set(made["texts"][1:]) <= {"t1", "t2"}
        assert not made["ignore"].any()
        assert np.array_equal(made["polygons"][0], given["polygons"][0])
        assert (made["image"][10:50, 10:150] == 100).all()
        # All that changed is the pasted boxes: 30 x 12 pixels of white each, their outlines aside.
        white = (made["image"] == 255).all(axis=2)
        count = len(made["polygons"]) - 1
        assert white.sum() == pytest.approx(count * 30 * 12, rel=0.2)
        for points in made["polygons"][1:]:
            x, y = points.mean(axis=0).astype(int)
            assert white[y, x]
            sides = np.linalg.norm(points - np.roll(points, -1, axis=0), axis=1)
            assert sorted(sides.tolist()) == pytest.approx([12, 12, 30, 30], abs=0.01)
        pasted += count
    assert pasted == 30
    assert (given["image"] != 255).all()  # what is given is not written to


def test_pasted_pixels_lie_under_their_polygon_to_a_fraction_of_a_pixel() -> None:
    """The middle of a grey box's ink against that of its polygon, at any angle."""
    away = []
    for seed in range(60):
        record = {**page([], 200, 200), "ext": lambda _: page([(60, 50, 100, 66)])}
        made = CopyPaste()(record, rng(seed))
        (points,) = made["polygons"]
        ink = made["image"][..., 0].astype(float)
        ys, xs = np.mgrid[:200, :200] + 0.5
        away.append([(xs * ink).sum() / ink.sum(), (ys * ink).sum() / ink.sum()] - points.mean(axis=0))
    assert np.linalg.norm(np.mean(away, axis=0)) < 0.2
    assert np.linalg.norm(away, axis=1).max() < 0.4


def test_of_a_text_that_leaves_its_image_only_what_is_there_is_pasted() -> None:
    other = page([(140, 40, 200, 60), (300, 40, 340, 60)])
    made = CopyPaste(objects_paste_ratio=1)({**page([], 200, 200), "ext": lambda _: other}, rng(3))
    (points,) = made["polygons"]
    assert cv2.contourArea(points) == pytest.approx(20 * 20, rel=0.02)
    assert made["texts"] == ["t0"]
    inside = np.zeros((200, 200), np.uint8)
    cv2.fillPoly(inside, [np.rint(points).astype(np.int32)], 1)
    inside = cv2.erode(inside, np.ones((5, 5), np.uint8))
    assert (made["image"][inside > 0] == 100).all()


def ink_corner(points: list[list[int]]) -> tuple[int, bool]:
    """Which corner of a pasted polygon lies at the ink of the source's upper left one, and if it goes clockwise."""
    other = page([(40, 40, 100, 64)])
    other["image"][:] = 1
    other["image"][40:52, 40:70] = 200
    other["polygons"] = [np.array(points, np.float32)]
    made = CopyPaste(objects_paste_ratio=1)({**page([], 200, 200), "ext": lambda _: other}, rng(3))
    (pasted,) = made["polygons"]
    ys, xs = np.nonzero(made["image"][..., 0] > 100)
    corner = np.linalg.norm(pasted - [xs.mean(), ys.mean()], axis=1).argmin()
    return int(corner), cv2.contourArea(pasted.astype(np.float32), oriented=True) > 0


def test_a_text_is_not_mirrored_whichever_way_its_points_go() -> None:
    """Turned, its corners still go round as they did on the page."""
    box = [[40, 40], [100, 40], [100, 64], [40, 64]]
    assert ink_corner(box) == (0, True)
    assert ink_corner([box[i] for i in (0, 3, 2, 1)]) == (0, False)
    assert ink_corner([box[i] for i in (2, 1, 0, 3)]) == (2, False)


def test_a_text_with_a_dent_is_laid_down_by_its_smallest_rectangle() -> None:
    """No homography takes its corners to a rectangle's without tearing it."""
    dented = np.array([[0, 0], [80, 50], [160, 0], [80, 90]], np.float32)
    matrix, _ = _straighten(dented, 0.4)
    np.testing.assert_allclose(matrix[2], [0, 0, 1], atol=1e-7)
    assert np.linalg.det(matrix) == pytest.approx(1, rel=1e-5)


def test_pasted_texts_are_turned_and_counted() -> None:
    given = page([], 300, 300)
    other = page([(i % 5 * 30, i // 5 * 20, i % 5 * 30 + 25, i // 5 * 20 + 12) for i in range(20)])
    angles = []
    for seed in range(10):
        made = copy_paste(given, other, seed)
        assert len(made["polygons"]) == 4  # a fifth of 20
        angles += [math.degrees(math.atan2(*(p[1] - p[0])[::-1])) for p in made["polygons"]]
    assert np.histogram(angles, bins=4, range=(-180, 180))[0].min() >= 3


def test_nothing_is_pasted_without_room_or_readable_text() -> None:
    full = page([(0, 0, 160, 120)])
    unread = page([(10, 10, 50, 30)])
    unread["ignore"] = np.array([True])
    large = page([(0, 0, 400, 200)], 200, 400)
    for given, other in [(full, page([(10, 10, 50, 30)])), (page([]), unread), (page([]), None), (page([]), large)]:
        made = copy_paste(given, other, 0)
        assert made["texts"] == given["texts"]
        assert np.array_equal(made["image"], given["image"])
    assert len(copy_paste(full, page([(10, 10, 50, 30)]), 0, limit_paste=False)["polygons"]) == 2
    assert CopyPaste()(full, rng())["texts"] == ["t0"]  # no other sample offered


def test_a_bent_text_is_pasted_with_its_own_outline() -> None:
    other = page([], 80, 120)
    other["image"][:] = 255
    bent = np.array([[10, 60], [40, 20], [80, 20], [110, 60], [90, 60], [70, 40], [50, 40], [30, 60]], np.float32)
    other.update(polygons=[bent], ignore=np.array([False]), texts=["bent"])
    made = copy_paste(page([], 300, 300), other, 3)
    assert made["polygons"][0].shape == (8, 2)
    shoelace = abs(
        sum(float(a[0] * b[1] - a[1] * b[0]) for a, b in zip(bent, np.roll(bent, -1, axis=0), strict=True)) / 2
    )
    assert (made["image"] == 255).all(axis=2).sum() == pytest.approx(shoelace, rel=0.15)


def test_brightness_and_contrast_by_hand() -> None:
    image = np.full((2, 2, 3), 100, np.uint8)
    image[0] = 200  # mean grey 150
    factor = float(rng(5).uniform(0.5, 1.5))
    made = ColorJitter(brightness=0.5)({"image": image}, rng(5))["image"]
    assert made[1, 0].tolist() == [round(100 * factor)] * 3
    generator = rng(5)
    generator.uniform(1, 1)
    factor = float(generator.uniform(0.5, 1.5))
    made = ColorJitter(contrast=0.5)({"image": image}, rng(5))["image"]
    assert made[1, 0].tolist() == [round(150 - 50 * factor)] * 3
    assert made[0, 0].tolist() == [round(150 + 50 * factor)] * 3


def test_saturation_and_hue_leave_grey_alone() -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(16, 16, 3)
    colour = np.full((4, 4, 3), (20, 60, 220), np.uint8)
    for seed in range(10):
        for jitter in (ColorJitter(saturation=0.9), ColorJitter(hue=0.5)):
            assert np.abs(jitter({"image": grey}, rng(seed))["image"].astype(int) - grey).max() <= 1
        turned = ColorJitter(hue=0.5)({"image": colour}, rng(seed))["image"]
        assert turned.max() == pytest.approx(220, abs=1)  # value stays
        assert turned.min() == pytest.approx(20, abs=2)  # saturation stays
    assert any((ColorJitter(hue=0.5)({"image": colour}, rng(s))["image"] != colour).any() for s in range(5))


def test_no_jitter_is_no_change() -> None:
    image = rng().integers(0, 256, (8, 8, 3), np.uint8)
    assert np.array_equal(ColorJitter()({"image": image}, rng())["image"], image)


@pytest.mark.parametrize(
    "crop",
    [EastRandomCropData(size=(64, 96), max_tries=20, min_crop_side_ratio=0.3), RandomWindow(size=(64, 96))],
    ids=lambda crop: type(crop).__name__,
)
def test_a_deferred_warp_gives_the_same_crop(crop: EastRandomCropData | RandomWindow) -> None:
    """Warping only what the crop needs gives the polygons of warping everything first, and its pixels but for blur."""
    smooth = cv2.GaussianBlur(rng(1).integers(0, 256, (120, 160, 3), np.uint8), (0, 0), 6)
    smooth = cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX)
    for seed in range(25):
        given = {**page([(20, 20, 60, 40), (80, 30, 140, 50)]), "image": smooth}
        steps = [
            augment(("Fliplr", {"p": 0.5}), ("Affine", {"rotate": [-20, 20]})),
            augment(("Resize", {"size": [1, 3]})),
        ]
        results = []
        for record in (given, {**given, "defer_warp": True}):
            generator = rng(seed)
            for op in (*steps, crop):
                record = op(record, generator)
            results.append(record)
        now, later = results
        assert now["texts"] == later["texts"]
        for mine, yours in zip(now["polygons"], later["polygons"], strict=True):
            assert np.allclose(mine, yours, atol=1e-3)
        assert np.abs(now["image"].astype(int) - later["image"]).mean() < 2
        assert later["warp"] is None


class Painted(Op):
    """What somebody might write: looks at pixels and polygons together and knows nothing of pending warps."""

    def __call__(self, record: Record, generator: np.random.Generator) -> Record:
        image = record["image"].copy()
        cv2.fillPoly(image, [np.rint(points).astype(np.int32) for points in record["polygons"]], (255, 255, 255))
        return {**record, "image": image}


@pytest.mark.parametrize("place", [1, 2])
def test_an_op_of_a_stranger_gets_an_image_that_its_polygons_fit(place: int, tmp_path: Path) -> None:
    """Before a mirror and after it the same pixels are painted: those of the kernels."""
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((64, 96, 3), np.uint8))
    box = [[8, 8], [48, 8], [48, 40], [8, 40]]
    labels = tmp_path / "labels.txt"
    labels.write_text("a.png\t" + json.dumps([{"transcription": "word", "points": box}]) + "\n", encoding="utf-8")
    ops: list[Op] = [DecodeImage(), augment(("Fliplr", {"p": 1.0})), RandomWindow(size=(96, 64))]
    ops.insert(place, Painted())
    made = DetDataset.from_label_files(labels, tmp_path, [*ops, MakeShrinkMap(), MakeBorderMap()])[0, 0]
    assert made["polygons"][0][:, 0].tolist() == [88, 48, 48, 88]  # mirrored: 96 - x
    assert (made["image"][made["shrink_map"] > 0] == 255).all()
    assert made["shrink_map"].any() and not made["image"][:, :40].any()


def test_pasting_carries_out_a_pending_warp() -> None:
    double = augment(("Resize", {"size": 2}))({**page([(10, 20, 50, 40)]), "defer_warp": True}, rng())
    assert double["image"].shape == (120, 160, 3)
    assert double["polygons"][0].tolist() == [[20, 40], [100, 40], [100, 80], [20, 80]]
    made = CopyPaste()(double, rng())
    assert made["image"].shape == (240, 320, 3)
    assert (made["image"][41:79, 21:99] == 100).all()


def test_an_affine_step_that_fits_holds_the_whole_image_and_one_with_p_0_does_nothing() -> None:
    rng = np.random.default_rng(0)
    turn = Affine(type="Affine", args=AffineArguments(rotate=90, fit_output=True))
    matrix, size = turn.matrix(40, 20, rng)
    assert size == (20, 40)
    corners = matrix @ np.array([[0, 40, 40, 0], [0, 0, 20, 20], [1, 1, 1, 1]])
    np.testing.assert_allclose(corners[:2].min(axis=1), 0, atol=1e-4)
    np.testing.assert_allclose(corners[:2].max(axis=1), [20, 40], atol=1e-4)
    never = Affine(type="Affine", args=AffineArguments(rotate=90, p=0.0))
    matrix, size = never.matrix(40, 20, rng)
    assert size == (40, 20)
    np.testing.assert_array_equal(matrix, np.eye(3))


def test_an_image_longer_than_opencv_warps_is_cut_to_what_is_seen() -> None:
    """33,000 pixels, more than a short integer counts: the crop's own pixels, and the whole of it made small."""
    image = rng(2).integers(0, 256, (40, 33000, 3), np.uint8)
    there = np.array([[1, 0, -32900], [0, 1, 0], [0, 0, 1]], float)
    assert np.array_equal(Warp(there, (64, 40)).apply(image), image[:, 32900:32964])
    wide = np.repeat(rng(3).integers(0, 256, (1, 33, 3), np.uint8), 1000, axis=1).repeat(40, axis=0)
    small = Warp(np.diag([0.01, 0.5, 1]), (330, 20)).apply(wide)
    assert np.array_equal(small[10, 5::10], wide[20, 500::1000])


def drawn(seed: int, **amounts: float) -> list[float]:
    """The factors of brightness, contrast and saturation that ColorJitter draws from a seed, then the share of hue."""
    generator = rng(seed)
    usual = [amounts.get(name, 0.0) for name in ("brightness", "contrast", "saturation")]
    factors = [float(generator.uniform(1 - amount, 1 + amount)) for amount in usual]
    return [*factors, float(generator.uniform(-amounts.get("hue", 0.0), amounts.get("hue", 0.0)))]


@pytest.mark.parametrize("seed", range(4))
def test_contrast_is_about_the_mean_of_what_brightness_made(seed: int) -> None:
    image = np.full((2, 2, 3), 40, np.uint8)
    image[0] = 80  # mean grey 60
    bright, contrast, *_ = drawn(seed, brightness=0.5, contrast=0.5)
    made = ColorJitter(brightness=0.5, contrast=0.5)({"image": image}, rng(seed))["image"]
    assert made[1, 0].tolist() == [round((60 - 20 * contrast) * bright)] * 3
    assert made[0, 0].tolist() == [round((60 + 20 * contrast) * bright)] * 3


@pytest.mark.parametrize("seed", range(4))
def test_saturation_by_hand(seed: int) -> None:
    """From the pixel's own grey, .114 * 20 + .587 * 60 + .299 * 220 = 103."""
    colour = np.array([20, 60, 220])
    factor = drawn(seed, saturation=0.5)[2]
    made = ColorJitter(saturation=0.5)({"image": np.full((2, 2, 3), colour, np.uint8)}, rng(seed))["image"]
    np.testing.assert_allclose(made[0, 0], np.clip(103 + factor * (colour - 103), 0, 255), atol=1)


@pytest.mark.parametrize("seed", range(4))
def test_hue_turns_by_a_share_of_the_whole_circle_in_both_directions(seed: int) -> None:
    red = np.full((2, 2, 3), (0, 0, 255), np.uint8)
    share = drawn(seed, hue=0.5)[3]
    made = ColorJitter(hue=0.5)({"image": red}, rng(seed))["image"]
    expected = [round(255 * part) for part in colorsys.hsv_to_rgb(round(share * 180) / 180 % 1, 1, 1)]
    np.testing.assert_allclose(made[0, 0, ::-1], expected, atol=2)
    assert {drawn(each, hue=0.5)[3] > 0 for each in range(4)} == {True, False}


def test_a_factor_above_one_never_turns_light_into_dark() -> None:
    """1 - 3 is no factor: what is lighter stays lighter, and no colour becomes its opposite."""
    image = np.full((2, 2, 3), 100, np.uint8)
    image[0] = 140
    for seed in range(20):
        made = ColorJitter(contrast=3.0)({"image": image}, rng(seed))["image"].astype(int)
        assert (made[0] >= made[1]).all()


def test_at_most_thirty_texts_are_pasted() -> None:
    other = page([(i % 8 * 20, i // 8 * 20, i % 8 * 20 + 15, i // 8 * 20 + 10) for i in range(40)])
    made = copy_paste(page([], 200, 200), other, 0, objects_paste_ratio=1.0, limit_paste=False)
    assert len(made["polygons"]) == 30


def test_the_share_counts_the_texts_that_nobody_can_read_and_pastes_none_of_them() -> None:
    other = page([(i % 5 * 30, i // 5 * 20, i % 5 * 30 + 25, i // 5 * 20 + 12) for i in range(10)])
    other["ignore"] = np.arange(10) < 5
    made = copy_paste(page([], 300, 300), other, 0, objects_paste_ratio=0.4)
    assert len(made["polygons"]) == 4
    assert set(made["texts"]) <= {f"t{i}" for i in range(5, 10)}


def test_pasted_texts_do_not_lie_on_each_other() -> None:
    other = page([(10, 20 * i, 40, 20 * i + 12) for i in range(6)])
    pasted = 0
    for seed in range(10):
        made = copy_paste(page([], 100, 100), other, seed, objects_paste_ratio=1.0)
        boxes = [(points.min(axis=0), points.max(axis=0)) for points in made["polygons"]]
        for (low, high), (other_low, other_high) in itertools.combinations(boxes, 2):
            assert (low > other_high).any() or (other_low > high).any()
        pasted += len(boxes)
    assert pasted > 30


@pytest.mark.parametrize(("height", "large_enough"), [(3.9, False), (4.0, True)])
def test_text_lower_than_four_pixels_is_not_pasted(height: float, large_enough: bool) -> None:
    points = np.array([[0, 0], [40, 0], [40, height], [0, height]], np.float32)
    assert (_straighten(points, 0.3) is not None) == large_enough


def test_an_affine_step_shears_then_scales_then_turns() -> None:
    """(30, 15) lies at (10, 5) from the centre: sheared (15, 5), doubled (30, 10), turned clockwise (-10, 30)."""
    step = Affine(type="Affine", args=AffineArguments(rotate=90, scale=2, shear=45))
    matrix, size = step.matrix(40, 20, rng())
    assert size == (40, 20)
    assert (matrix @ [30, 15, 1]).tolist() == pytest.approx([20 - 10, 10 + 30, 1])


def test_the_usual_steps_mirror_half_of_the_images_and_turn_them_by_ten_degrees() -> None:
    mirrored, angles = 0, []
    for seed in range(80):
        (points,) = IaaAugment()(page([(70, 55, 90, 65)]), rng(seed))["polygons"]
        x, y = points[1] - points[0]
        mirrored += bool(x < 0)
        angles.append(math.degrees(math.atan2(y, abs(x))))
    assert 20 <= mirrored <= 60  # 40 expected; four and a half standard deviations are 20
    assert 7 < max(angles) < 11 and -11 < min(angles) < -7
