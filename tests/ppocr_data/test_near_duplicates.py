"""Images that look nearly the same."""

from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from ppocr_data.near_duplicates import close_pairs, fingerprint, image_fingerprint, near_duplicates


def scene(seed: int) -> np.ndarray:
    """Smooth random shapes, uint8 `[240,320,3]`."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    return cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """0: a scene; 1: the same, smaller and compressed harder; 2: shifted by 3 pixels and brighter; 3..5: other scenes;
    6: no image; 7: absent."""
    paths = [tmp_path / f"{i}.jpg" for i in range(8)]
    cv2.imwrite(str(paths[0]), scene(1), [cv2.IMWRITE_JPEG_QUALITY, 95])
    cv2.imwrite(str(paths[1]), cv2.resize(scene(1), (200, 150)), [cv2.IMWRITE_JPEG_QUALITY, 40])
    cv2.imwrite(str(paths[2]), cv2.add(np.roll(scene(1), 3, axis=1), 10))
    for i in (3, 4, 5):
        cv2.imwrite(str(paths[i]), scene(i))
    paths[6].write_bytes(b"no image")
    return paths


def test_copies_are_found_and_other_scenes_are_not(photos: list[Path]) -> None:
    assert list(near_duplicates(photos)) == [(0, 1), (0, 2), (1, 2)]


def test_fingerprints_are_256_bits(photos: list[Path]) -> None:
    bits = fingerprint(photos[0])
    assert bits is not None and bits.dtype == np.uint64 and bits.shape == (4,)
    assert fingerprint(photos[6]) is None and fingerprint(photos[7]) is None


def test_no_images_at_all() -> None:
    assert list(near_duplicates([])) == []


def test_the_real_photos_have_none(shared: Path) -> None:
    folder = shared / "data" / "icdar2015" / "ch4_training_images"
    assert list(near_duplicates(sorted(folder.iterdir())[::5])) == []


@pytest.mark.parametrize("factor", [0.4, 0.25])
def test_small_copies_are_found(tmp_path: Path, factor: float) -> None:
    """Fine print of 384 pixels and its copy: read at a quarter, the copy would have 24 to 38 pixels left."""
    paths = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        page = np.full((384, 384, 3), 230, np.uint8)
        for _ in range(60):
            x, y, w = rng.integers(0, [340, 370, 60])
            cv2.rectangle(page, (int(x), int(y)), (int(x + w), int(y + 8)), (40, 40, 40), -1)
        for name, image in (("a", page), ("b", cv2.resize(page, None, fx=factor, fy=factor, interpolation=3))):
            paths.append(tmp_path / f"{seed}{name}.png")
            cv2.imwrite(str(paths[-1]), image)
    assert list(near_duplicates(paths)) == [(2 * i, 2 * i + 1) for i in range(6)]


def test_a_file_that_promises_more_than_opencv_takes_is_like_nothing(tmp_path: Path) -> None:
    """1.2 gigapixels of PNG header, which OpenCV answers with an exception."""
    ok, data = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))
    assert ok
    head = bytearray(data.tobytes())
    head[16:24] = (36000).to_bytes(4, "big") + (32000).to_bytes(4, "big")
    head[29:33] = zlib.crc32(head[12:29]).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(head)
    assert fingerprint(tmp_path / "bomb.png") is None


def test_what_no_training_reads_is_like_nothing(tmp_path: Path) -> None:
    """OpenCV alone would take a picture of 144 megapixels from 100 kB, and a dozen formats that nothing here checks."""
    page = np.zeros((12000, 12000), np.uint8)
    page[::500] = 255
    for name, kind, picture in (("large.png", ".png", page), ("other.png", ".pgm", page[:400, :400])):
        ok, data = cv2.imencode(kind, picture)
        assert ok
        (tmp_path / name).write_bytes(data.tobytes())
        assert cv2.imread(str(tmp_path / name)) is not None
        assert fingerprint(tmp_path / name) is None


def test_flat_pictures_are_like_nothing_and_noise_is_no_shape() -> None:
    def bits(count: int) -> np.ndarray:
        return np.array([2**count - 1, 0, 0, 0], np.uint64)

    assert list(close_pairs([bits(0), bits(0)])) == []
    assert list(close_pairs([bits(7), bits(7), None])) == []
    assert list(close_pairs([bits(8), None, bits(8)])) == [(0, 2)]
    for step, known in ((4, 0), (5, 256)):  # neighbours of 16 rows x 16 pairs rise by so many levels
        rising = np.tile(np.arange(17, dtype=np.uint8) * step, (16, 1))
        assert int(np.bitwise_count(image_fingerprint(rising)).sum()) == known
