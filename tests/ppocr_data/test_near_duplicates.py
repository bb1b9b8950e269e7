"""Images that look nearly the same."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ppocr_data.near_duplicates import fingerprint, near_duplicates


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
    assert near_duplicates(photos) == [(0, 1), (0, 2), (1, 2)]


def test_fingerprints_are_256_bits(photos: list[Path]) -> None:
    bits = fingerprint(photos[0])
    assert bits is not None and bits.dtype == np.uint64 and bits.shape == (4,)
    assert fingerprint(photos[6]) is None and fingerprint(photos[7]) is None


def test_no_images_at_all() -> None:
    assert near_duplicates([]) == []


def test_the_real_photos_have_none(shared: Path) -> None:
    folder = shared / "data" / "icdar2015" / "ch4_training_images"
    assert near_duplicates(sorted(folder.iterdir())[::5]) == []
