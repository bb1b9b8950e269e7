"""Decoding, cropping, resizing, and reading a list of transforms."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pydantic import ValidationError

from ppocr_data.errors import ConfigError, DataError
from ppocr_data.op import Op, Record
from ppocr_data.transforms import (
    OPS,
    DecodeImage,
    DetResizeForTest,
    EastRandomCropData,
    IaaAugment,
    MakeShrinkMap,
    NormalizeImage,
    RandomWindow,
    build_ops,
    check_eval_ops,
    check_train_ops,
)

RNG = np.random.default_rng(0)
PICTURE = np.random.default_rng(1).integers(0, 256, (24, 40, 3), np.uint8)


def encoded(suffix: str, picture: np.ndarray = PICTURE) -> bytes:
    return cv2.imencode(suffix, picture)[1].tobytes()


def record(height: int, width: int, boxes: list[tuple[float, ...]], ignore: list[bool] | None = None) -> Record:
    """A picture whose pixels tell their own place (blue x, green y), with upright boxes x0, y0, x1, y1."""
    ys, xs = np.mgrid[:height, :width]
    image = np.stack([xs % 256, ys % 256, np.full_like(xs, 255)], axis=2).astype(np.uint8)
    polygons = [np.array([[a, b], [c, b], [c, d], [a, d]], np.float32) for a, b, c, d in boxes]
    flags = np.array(ignore if ignore is not None else [False] * len(boxes), bool)
    texts = [str(i) for i in range(len(boxes))]
    return {"image": image, "polygons": polygons, "ignore": flags, "texts": texts, "epoch": 0, "source": "l.txt:1"}


# DecodeImage


def test_decode_reads_bgr_under_any_name(tmp_path: Path) -> None:
    path = tmp_path / "Bild ä 图.png"
    path.write_bytes(encoded(".png"))
    decoded = DecodeImage()({"path": path, "source": "l.txt:1"}, RNG)["image"]
    assert np.array_equal(decoded, PICTURE)
    grey = tmp_path / "grey.png"
    grey.write_bytes(encoded(".png", PICTURE[..., 0]))
    assert np.array_equal(DecodeImage()({"path": grey, "source": ""}, RNG)["image"], PICTURE[..., :1].repeat(3, axis=2))


def with_exif(jpeg: bytes, orientation: int) -> bytes:
    """The JPEG with an EXIF segment that holds an orientation and, as cameras do, a preview with an end mark."""
    tiff = (
        b"MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01" + bytes([0, orientation, 0, 0]) + bytes(4)
    )
    body = b"Exif\x00\x00" + tiff + b"\xff\xd8\xff\xd9"
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


def test_camera_orientation() -> None:
    plain = encoded(".jpg")
    turned = with_exif(plain, 6)  # 6: turn clockwise to see it upright
    upright = DecodeImage().decode(plain)
    assert np.array_equal(DecodeImage().decode(turned), cv2.rotate(upright, cv2.ROTATE_90_CLOCKWISE))
    assert np.array_equal(DecodeImage(ignore_orientation=True).decode(turned), upright)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_a_tiff(orientation: int) -> None:
    """OpenCV turns one whatever its flag says."""
    stored = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    file = io.BytesIO()
    Image.fromarray(stored[..., ::-1]).save(file, "TIFF", tiffinfo={274: orientation})
    upright = np.asarray(ImageOps.exif_transpose(Image.open(file)))[..., ::-1]
    assert np.array_equal(DecodeImage().decode(file.getvalue()), upright)
    assert np.array_equal(DecodeImage(ignore_orientation=True).decode(file.getvalue()), stored)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_files_are_refused(suffix: str, share: float) -> None:
    whole = encoded(suffix)
    assert DecodeImage().decode(whole).shape == PICTURE.shape
    with pytest.raises(ValueError, match="truncated"):
        DecodeImage().decode(whole[: int(len(whole) * share)])


def test_a_preview_does_not_hide_truncation_and_appended_data_does_no_harm() -> None:
    camera = with_exif(encoded(".jpg"), 1)
    assert DecodeImage().decode(camera + b"motion photo" * 50).shape == PICTURE.shape
    for missing in (2, 100):
        with pytest.raises(ValueError, match="truncated"):
            DecodeImage().decode(camera[:-missing])


def test_progressive_jpeg_and_restart_marks() -> None:
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 1]
    data = cv2.imencode(".jpg", PICTURE, options)[1].tobytes()
    assert DecodeImage().decode(data).shape == PICTURE.shape
    with pytest.raises(ValueError, match="truncated"):
        DecodeImage().decode(data[:-60])


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"plain text", "cannot be decoded"), (encoded(".jpg")[:50], "truncated"), (None, "cannot read")],
)
def test_a_bad_image_is_named_with_its_label_line(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "a.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        DecodeImage()({"path": path, "source": "labels.txt:7"}, RNG)
    assert "labels.txt:7: " in str(caught.value)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_too_large_images_are_refused(suffix: str) -> None:
    with pytest.raises(ValueError, match=r"40x24 pixels are more than max_megapixels: 0\.0009"):
        DecodeImage(max_megapixels=0.0009).decode(encoded(suffix))
    assert DecodeImage(max_megapixels=0.00096).decode(encoded(suffix)).shape == PICTURE.shape


def test_a_header_that_promises_too_much_is_refused_before_memory_is_asked_for() -> None:
    bomb = bytearray(encoded(".png"))
    bomb[16:24] = (60000).to_bytes(4, "big") * 2
    with pytest.raises(ValueError, match="60000x60000 pixels"):
        DecodeImage().decode(bytes(bomb))


# EastRandomCropData


@settings(max_examples=120, deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.lists(st.tuples(st.floats(-20, 300), st.floats(-20, 300), st.floats(1, 90), st.floats(1, 40)), max_size=8),
    st.integers(0, 10**6),
    st.booleans(),
)
def test_crop_has_its_size_and_divides_no_text(
    height: int, width: int, places: list[tuple[float, ...]], seed: int, keep: bool
) -> None:
    boxes = [(x, y, x + w, y + h) for x, y, w, h in places]
    given_record = record(height, width, boxes)
    crop = EastRandomCropData(size=(96, 64), keep_ratio=keep)
    made = crop(given_record, np.random.default_rng(seed))
    assert made["image"].shape == (64, 96, 3)
    assert len(made["polygons"]) == len(made["ignore"]) == len(made["texts"])
    for points, text in zip(made["polygons"], made["texts"], strict=True):
        assert points.min() >= 0
        assert points[:, 0].max() <= 96
        assert points[:, 1].max() <= 64
        # What is left of a text inside the image has kept its aspect ratio: no edge of the window went through it.
        x0, y0, x1, y1 = np.clip(boxes[int(text)], 0, [width, height] * 2)
        w, h = np.ptp(points, axis=0)
        if keep and min(x1 - x0, y1 - y0) >= 8 and min(height, width) >= 32:
            assert w / h == pytest.approx((x1 - x0) / (y1 - y0), rel=0.15)


def test_crop_moves_polygons_with_the_pixels() -> None:
    """Blue and green say where a pixel was: at the middle of each text they agree with the text's old middle."""
    boxes = [(20, 30, 60, 50), (100, 30, 180, 45), (30, 120, 90, 140), (130, 150, 190, 190)]
    seen = 0
    for seed in range(30):
        made = EastRandomCropData(size=(256, 256), max_tries=50)(record(220, 240, boxes), np.random.default_rng(seed))
        for points, text in zip(made["polygons"], made["texts"], strict=True):
            x, y = points.mean(axis=0).astype(int)
            x0, y0, x1, y1 = boxes[int(text)]
            blue, green, red = made["image"][y, x].astype(int)
            assert (blue, green, red) == (pytest.approx((x0 + x1) / 2, abs=2), pytest.approx((y0 + y1) / 2, abs=2), 255)
            seen += 1
    assert seen > 30


def test_crops_vary_keep_their_share_and_hold_text() -> None:
    given_record = record(200, 200, [(80, 80, 120, 100)])
    crop = EastRandomCropData(size=(64, 64), max_tries=50, min_crop_side_ratio=0.5)
    scales = set()
    for seed in range(40):
        made = crop(given_record, np.random.default_rng(seed))
        (points,) = made["polygons"]
        scale = float(np.ptp(points[:, 0])) / 40
        assert 64 / 200 - 1e-3 <= scale <= 64 / 100 + 1e-2  # windows of 200 down to half of that
        scales.add(round(scale, 3))
    assert len(scales) > 20


def test_every_window_holds_a_part_of_a_text() -> None:
    """A small text at the edge of a large image, and one try: a window without it is not taken."""
    crop = EastRandomCropData(size=(64, 64), max_tries=1, min_crop_side_ratio=0.0)
    given_record = record(400, 400, [(40, 190, 80, 210)])
    assert all(crop(given_record, np.random.default_rng(seed))["polygons"] for seed in range(200))


@pytest.mark.parametrize(("height", "width"), [(400, 100), (100, 400)])
def test_a_window_keeps_its_share_of_either_side(height: int, width: int) -> None:
    crop = EastRandomCropData(size=(64, 64), min_crop_side_ratio=0.5)
    sides = []
    for seed in range(100):
        left, top, right, bottom = crop._window(record(height, width, []), np.random.default_rng(seed))
        assert right - left >= width / 2 and bottom - top >= height / 2
        sides.append((right - left, bottom - top))
    assert sum(side != (width, height) for side in sides) > 20


def test_a_window_has_an_extent_where_no_share_is_asked_for() -> None:
    crop = EastRandomCropData(size=(64, 64), max_tries=1, min_crop_side_ratio=0.0)
    for seed in range(200):
        left, top, right, bottom = crop._window(record(4, 3, []), np.random.default_rng(seed))
        assert 0 <= left < right <= 3 and 0 <= top < bottom <= 4


def test_where_text_covers_all_columns_only_rows_are_cut() -> None:
    boxes = [(0.0, 20.0 * i, 100.0, 20.0 * i + 12) for i in range(10)]
    heights = set()
    for seed in range(20):
        made = EastRandomCropData(size=(128, 256), max_tries=50)(record(200, 100, boxes), np.random.default_rng(seed))
        heights.add(len(made["polygons"]))
        for points in made["polygons"]:
            assert np.ptp(points[:, 0]) / np.ptp(points[:, 1]) == pytest.approx(100 / 12, rel=0.1)
    assert len(heights) > 3


def test_images_without_readable_text_are_cropped_too() -> None:
    sizes = set()
    for seed in range(20):
        made = EastRandomCropData(size=(64, 64))(
            record(100, 100, [(0, 0, 100, 100)], [True]), np.random.default_rng(seed)
        )
        (points,) = made["polygons"]  # don't-care text may be cut
        assert made["ignore"].tolist() == [True]
        sizes.add(tuple(np.ptp(points, axis=0).round(2).tolist()))
        assert EastRandomCropData(size=(64, 64))(record(9, 5, []), np.random.default_rng(seed))["polygons"] == []
    assert len(sizes) > 5


def test_padding_is_black_at_the_right_and_bottom() -> None:
    white = {**record(50, 100, []), "image": np.full((50, 100, 3), 255, np.uint8)}
    crop = EastRandomCropData(size=(64, 64), min_crop_side_ratio=1.0)
    image = crop(white, np.random.default_rng(0))["image"]
    assert (image[:32] == 255).all()
    assert not image[32:].any()
    stretched = EastRandomCropData(size=(64, 64), min_crop_side_ratio=1.0, keep_ratio=False)(white, RNG)["image"]
    assert (stretched == 255).all()


# RandomWindow


@settings(max_examples=120, deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.lists(st.tuples(st.floats(0, 300), st.floats(0, 300), st.floats(1, 90), st.floats(1, 40)), max_size=8),
    st.integers(0, 10**6),
)
def test_a_window_shows_a_part_of_the_image_as_it_is(
    height: int, width: int, places: list[tuple[float, ...]], seed: int
) -> None:
    boxes = [(min(x, width - 1), min(y, height - 1), min(x + w, width), min(y + h, height)) for x, y, w, h in places]
    given_record = record(height, width, boxes)
    made = RandomWindow(size=(96, 64))(given_record, np.random.default_rng(seed))
    inner_w, inner_h = min(96, width), min(64, height)
    shown = made["image"][:inner_h, :inner_w]
    assert made["image"].shape == (64, 96, 3)
    assert not made["image"][inner_h:].any()
    assert not made["image"][:, inner_w:].any()
    # Blue and green say where a pixel was.
    left, top = int(shown[0, 0, 0]), int(shown[0, 0, 1])
    if max(height, width) <= 255:
        assert np.array_equal(shown, given_record["image"][top : top + inner_h, left : left + inner_w])
        for points, text in zip(made["polygons"], made["texts"], strict=True):
            x0, y0, x1, y1 = boxes[int(text)]
            expected = np.clip([x0 - left, y0 - top, x1 - left, y1 - top], 0, [inner_w, inner_h] * 2)
            assert [*points.min(axis=0), *points.max(axis=0)] == pytest.approx(expected.tolist(), abs=1e-3)
    if any(min(x1 - x0, y1 - y0) >= 4 for x0, y0, x1, y1 in boxes) and len(boxes) == 1:
        assert made["polygons"]


def test_windows_lie_everywhere_and_hold_text() -> None:
    given_record = record(200, 250, [(120, 80, 160, 100)])
    corners = set()
    for seed in range(200):
        made = RandomWindow(size=(64, 64))(given_record, np.random.default_rng(seed))
        assert made["polygons"]
        corners.add(tuple(made["image"][0, 0, :2].tolist()))
    xs, ys = zip(*corners, strict=True)
    # The text's middle, (140, 90), is inside each: corners are drawn from 76..140 and 26..90.
    assert 76 <= min(xs) < 82 < 134 < max(xs) <= 140
    assert 26 <= min(ys) < 32 < 84 < max(ys) <= 90


# DetResizeForTest


@pytest.mark.parametrize(
    ("arguments", "size", "expected"),
    [
        ({}, (720, 1280), (736, 1312)),  # 736/720: 736 x 1308; 1308/32 = 40.9 -> 41
        ({}, (1000, 800), (992, 800)),  # no side below 736: 31.25 -> 31
        ({"limit_side_len": 960, "limit_type": "max"}, (720, 1280), (544, 960)),  # 540/32 = 16.9 -> 17
        ({"limit_side_len": 960, "limit_type": "max"}, (100, 208), (96, 192)),  # 3.1 -> 3; 6.5 -> 6, half to even
        ({"limit_side_len": 640, "limit_type": "resize_long"}, (100, 200), (320, 640)),
        ({"limit_type": "min"}, (100, 4000), (96, 4000)),  # 736 x 29440 is cut down to the longest side
        ({"image_shape": [736, 1280]}, (333, 444), (736, 1280)),
        ({"image_shape": [64, 96], "keep_ratio": True}, (100, 201), (64, 160)),  # 128.6 -> up to 160
    ],
)
def test_target_sizes_by_hand(arguments: dict[str, object], size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert DetResizeForTest.model_validate(arguments).target_size(*size) == expected


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 1200),
    st.integers(1, 1200),
    st.sampled_from(["min", "max", "resize_long"]),
    st.sampled_from([32, 320, 736, 961]),
    st.sampled_from([640, 4000]),
)
def test_the_rule_is_the_runtimes(height: int, width: int, kind: str, limit: int, most: int) -> None:
    processors = pytest.importorskip("paddlex.inference.models.text_detection.processors")
    theirs = processors.DetResizeForTest(limit_side_len=limit, limit_type=kind, max_side_limit=most)
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = 255
    expected = theirs.resize(picture, None, None, most)[0]
    rule = DetResizeForTest(limit_side_len=limit, limit_type=kind, max_side_limit=most)
    assert rule.target_size(height, width) == expected.shape[:2]
    assert np.array_equal(rule.resize(picture), expected)


def test_resizing_a_record_states_the_original_size() -> None:
    given_record = record(50, 100, [(10, 10, 40, 20)])
    made = DetResizeForTest(limit_side_len=64)(given_record, RNG)
    assert made["image"].shape == (64, 128, 3)
    assert made["image_hw"] == (50, 100)
    assert made["polygons"] is given_record["polygons"]


# The list


def test_paddleocrs_own_list_is_read() -> None:
    ops = build_ops(
        [
            {"DecodeImage": {"img_mode": "BGR", "channel_first": False}},
            {"DetLabelEncode": None},
            {"CopyPaste": None},
            {
                "IaaAugment": {
                    "augmenter_args": [
                        {"type": "Fliplr", "args": {"p": 0.5}},
                        {"type": "Affine", "args": {"rotate": [-10, 10]}},
                        {"type": "Resize", "args": {"size": [0.5, 3]}},
                    ]
                }
            },
            {"EastRandomCropData": {"size": [960, 960], "max_tries": 50, "keep_ratio": True}},
            {"MakeBorderMap": {"shrink_ratio": 0.4, "thresh_min": 0.3, "thresh_max": 0.7}},
            {"MakeShrinkMap": {"shrink_ratio": 0.4, "min_text_size": 8}},
            {"NormalizeImage": {"scale": "1./255.", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}},
            {"ToCHWImage": None},
            {"KeepKeys": {"keep_keys": ["image", "threshold_map"]}},
        ]
    )
    check_train_ops(ops)
    assert [type(op).__name__ for op in ops] == [
        n for n in OPS if n not in ("ColorJitter", "RandomWindow", "DetResizeForTest")
    ]
    assert isinstance(ops[3], IaaAugment)
    assert ops[3] == IaaAugment.model_validate(ops[3].model_dump())
    assert isinstance(ops[7], NormalizeImage)
    assert ops[7].scale == 1 / 255


def test_every_argument_has_a_sentence() -> None:
    for op in OPS.values():
        for name, field in op.model_fields.items():
            assert field.description and field.description.endswith("."), f"{op.__name__}.{name}"


def named(names: Sequence[str]) -> list[Op]:
    """Transforms without arguments."""
    return build_ops([{name: None} for name in names])


def test_the_order_of_a_training_list_is_checked() -> None:
    good = ["DecodeImage", "EastRandomCropData", "MakeShrinkMap", "MakeBorderMap"]
    check_train_ops(named(good))
    check_train_ops(named([good[0], "RandomWindow", *good[2:]]))
    for names, reason in [
        (good[1:], "the first transform must be DecodeImage"),
        ([*good[:1], *good[2:]], "one of EastRandomCropData and RandomWindow must stand in the list once"),
        ([*good, "RandomWindow"], "once, and not EastRandomCropData and RandomWindow"),
        ([good[0], good[2], good[1], good[3]], "MakeShrinkMap must follow EastRandomCropData"),
        ([*good, "IaaAugment"], "IaaAugment must precede"),
        ([*good, "DetResizeForTest"], "DetResizeForTest is for evaluation"),
        ([], "the first transform"),
    ]:
        with pytest.raises(ConfigError, match=reason):
            check_train_ops(named(names))
    with pytest.raises(ConfigError, match="same shrink_ratio"):
        check_train_ops([*named(good[:2] + good[3:]), MakeShrinkMap(shrink_ratio=0.6)])


def test_an_evaluation_list_is_checked() -> None:
    check_eval_ops(named(["DecodeImage", "DetLabelEncode", "DetResizeForTest", "NormalizeImage", "KeepKeys"]))
    with pytest.raises(ConfigError, match="DetResizeForTest must stand in the list once; IaaAugment is for training"):
        check_eval_ops(named(["DecodeImage", "IaaAugment"]))


def test_a_window_holds_a_part_of_a_curved_text() -> None:
    """The mean of an arch's corners lies outside of it."""
    turns = np.linspace(0.05 * np.pi, 0.95 * np.pi, 9)
    outer, inner = (
        np.stack([400 + r * np.cos(t), 450 - r * np.sin(t)], axis=1) for r, t in ((330, turns), (290, turns[::-1]))
    )
    arch = {**record(600, 800, [(0, 0, 1, 1)]), "polygons": [np.concatenate([outer, inner]).astype(np.float32)]}
    for seed in range(60):
        assert RandomWindow(size=(256, 256))(arch, np.random.default_rng(seed))["polygons"]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("CopyPaste", "CopyPaste must precede EastRandomCropData"),
        ("MakeShrinkMap", "MakeShrinkMap must stand in the list once"),
        ("MakeBorderMap", "MakeBorderMap must stand in the list once"),
    ],
)
def test_what_stands_in_a_training_list_twice_or_too_late_is_refused(more: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        check_train_ops(named(["DecodeImage", "EastRandomCropData", "MakeShrinkMap", "MakeBorderMap", more]))


def test_a_small_image_is_filled_up_with_black_below_and_at_the_right() -> None:
    white = np.full((10, 40, 3), 255, np.uint8)  # height and width make less than 64, so it is filled up to 32x40
    made = DetResizeForTest(limit_side_len=32).resize(white)
    assert (made[:9] == 255).all() and (made[12:] == 0).all()


def test_an_evaluation_list_resizes_once() -> None:
    with pytest.raises(ConfigError, match="DetResizeForTest must stand in the list once"):
        check_eval_ops(named(["DecodeImage", "DetResizeForTest", "DetResizeForTest"]))


def test_a_deviation_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="std must be positive"):
        build_ops([{"NormalizeImage": {"std": [0.229, 0.0, 0.225]}}])


def test_sides_of_64_together_are_not_filled_up() -> None:
    """20 x 44 grows by 1.6 to 32 x 70; what is smaller together is filled up to 32 x 43 first."""
    rule = DetResizeForTest(limit_side_len=32)
    assert rule.target_size(20, 44) == (32, 64)
    assert rule.target_size(20, 43) == (32, 32)


@pytest.mark.parametrize(("code", "kind"), [(cv2.Error.StsNoMem, MemoryError), (cv2.Error.StsError, ValueError)])
def test_a_lack_of_memory_is_no_fault_of_the_image(
    code: int, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        error = cv2.error("Failed to allocate 90000000 bytes")
        error.code, error.err = code, "Failed to allocate 90000000 bytes"
        raise error

    data = cv2.imencode(".png", PICTURE)[1].tobytes()
    monkeypatch.setattr(cv2, "imdecode", fail)
    with pytest.raises(kind, match="Failed to allocate"):
        DecodeImage().decode(data)
