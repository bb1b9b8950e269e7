"""The preview picture: what it shows of a sample, and that it copes with few, unlabelled and oblong ones."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from ocr_cml.loop.preview import draw
from ppocr_data.dataset import DetDataset
from ppocr_data.errors import UserError
from ppocr_data.transforms import build_ops

TEXT = [[20, 20], [110, 20], [110, 60], [20, 60]]
IGNORED = [[20, 80], [110, 80], [110, 110], [20, 110]]


def ops(width: int = 128, height: int = 128) -> list:
    return build_ops(
        [
            {"DecodeImage": None},
            {"EastRandomCropData": {"size": [width, height], "min_crop_side_ratio": 1.0}},
            {"MakeBorderMap": {"shrink_ratio": 0.4}},
            {"MakeShrinkMap": {"shrink_ratio": 0.4}},
        ]
    )


def dataset(folder: Path, count: int, width: int = 128, height: int = 128) -> DetDataset:
    """Grey images with one text and one don't-care region each."""
    lines = []
    label = [{"transcription": "a", "points": TEXT}, {"transcription": "###", "points": IGNORED}]
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((128, 128, 3), 128, np.uint8))
        lines.append(f"{number}.png\t{json.dumps(label)}")
    (folder / "labels.txt").write_text("\n".join(lines))
    return DetDataset.from_label_files(folder / "labels.txt", folder, ops(width, height))


def test_what_is_shown_is_spread_over_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []
    found = dataset(tmp_path, 15)
    take = DetDataset.__getitem__
    monkeypatch.setattr(DetDataset, "__getitem__", lambda self, key: shown.append(key[1]) or take(self, key))
    draw(found, tmp_path / "preview.jpg")
    assert shown == [0, 2, 4, 6, 8, 10, 12, 14]


def near(picture: np.ndarray, colour: tuple[int, int, int], distance: int = 60) -> int:
    """Pixels whose colour is about this one, in BGR."""
    return int((np.abs(picture.astype(int) - colour).max(axis=2) < distance).sum())


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (3, 3, 1), (8, 3, 3), (20, 3, 3)])
def test_the_grid_holds_what_there_is_and_is_narrow_enough(tmp_path: Path, count: int, columns: int, rows: int) -> None:
    draw(dataset(tmp_path, count), tmp_path / "preview.jpg")
    one = tmp_path / "one.jpg"
    draw(dataset(tmp_path, count), one, count=1)
    picture, single = cv2.imread(str(tmp_path / "preview.jpg")), cv2.imread(str(one))
    (height, width), (tile_height, tile_width) = picture.shape[:2], single.shape[:2]
    assert width <= 1600
    # All but the margin and the legend, which every page has once, grows with columns and rows.
    assert width - 12 == columns * (tile_width - 12)
    assert height - 56 == rows * (tile_height - 56)
    assert [p.name for p in tmp_path.iterdir() if ".tmp" in p.name] == []


def test_a_sample_is_drawn_with_text_green_dont_care_orange_and_its_maps(tmp_path: Path) -> None:
    data = dataset(tmp_path, 1)
    draw(data, tmp_path / "preview.jpg")
    picture = cv2.imread(str(tmp_path / "preview.jpg"))
    record = data[0, 0]
    top, left, panel = 56 + 22, 12, 256
    crop = picture[top : top + panel, left : left + panel]
    shrink = picture[top : top + panel, left + panel + 4 : left + 2 * panel + 4]
    mask = picture[top + panel + 4 : top + 2 * panel + 4, left + panel + 4 : left + 2 * panel + 4]
    assert near(crop[30:130], (90, 220, 70)) > 100 and near(crop[150:230], (90, 220, 70)) == 0
    assert near(crop[150:230], (0, 140, 255)) > 100 and near(crop[:130], (0, 140, 255)) == 0
    # Each pixel of the sample is two by two pixels of its panel; JPEG blurs the edges.
    assert near(shrink, (255, 255, 255)) == pytest.approx(4 * record["shrink_map"].sum(), rel=0.05)
    assert near(mask, (0, 140, 255)) == pytest.approx(4 * (record["shrink_mask"] == 0).sum(), rel=0.1)
    assert near(mask, (90, 220, 70)) == pytest.approx(4 * record["shrink_map"].sum(), rel=0.1)


def test_drawing_leaves_the_sample_as_it_is(tmp_path: Path) -> None:
    """A panel of the crop's own size must not be drawn into the crop."""

    class Kept:
        record = dataset(tmp_path, 1, 256, 256)[0, 0]

        def __len__(self) -> int:
            return 1

        def __getitem__(self, key: tuple[int, int]) -> dict:
            return self.record

    before = Kept.record["image"].copy()
    draw(Kept(), tmp_path / "preview.jpg")
    assert np.array_equal(Kept.record["image"], before)


@pytest.mark.parametrize(("width", "height"), [(256, 128), (64, 320), (640, 640)])
def test_an_oblong_crop_keeps_its_shape_inside_a_square_panel(tmp_path: Path, width: int, height: int) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((height, width, 3), (200, 60, 200), np.uint8))
    draw(DetDataset.from_images(tmp_path, ops(width, height)), tmp_path / "preview.jpg")
    crop = cv2.imread(str(tmp_path / "preview.jpg"))[78 : 78 + 256, 12 : 12 + 256]
    ys, xs = np.nonzero(np.abs(crop.astype(int) - (200, 60, 200)).max(axis=2) < 40)
    longer = max(width, height)
    assert np.ptp(xs) + 1 == pytest.approx(256 * width / longer, abs=2)
    assert np.ptp(ys) + 1 == pytest.approx(256 * height / longer, abs=2)


def test_an_unlabelled_sample_shows_no_targets(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((128, 128, 3), 128, np.uint8))
    draw(DetDataset.from_images(tmp_path, ops()), tmp_path / "preview.jpg")
    picture = cv2.imread(str(tmp_path / "preview.jpg"))
    panels = picture[78:, 12:]
    assert near(panels, (90, 220, 70)) == near(panels, (0, 140, 255)) == 0
    assert near(panels[260:, :256], (139, 95, 49), 20) == 0  # no threshold map, whose ground is this blue


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.preview\.jpg: the preview cannot be written"):
        draw(dataset(tmp_path, 1), tmp_path / "nowhere" / "preview.jpg")
