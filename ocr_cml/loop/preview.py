"""A picture of training samples as the network sees them: many failed trainings are label mistakes it shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ppocr_data.atomic import replacing
from ppocr_data.dataset import DetDataset
from ppocr_data.errors import UserError
from ppocr_data.spread import evenly

_PANEL = 256  # side of one of a sample's four panels, pixels
_GAP = 4  # between panels
_MARGIN = 12  # between samples and around them
_CAPTION, _LEGEND = 22, 56
_COLUMNS = 3  # a page of 3 * (2 * 256 + 4) + 4 * 12 = 1596 pixels
_JPEG_QUALITY = 88

_TEXT, _DIM, _PAPER = (235, 235, 235), (150, 150, 150), (28, 28, 28)  # BGR
_GREEN, _ORANGE, _BLUE = (90, 220, 70), (0, 140, 255), (230, 160, 60)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw(dataset: DetDataset, path: Path, count: int = 8) -> None:
    """Write a JPEG grid of samples of epoch 0, spread evenly over the data set.

    Each sample has four panels: the crop with its polygons (green) and don't-care regions (orange, hatched); the shrink
    map; the threshold map; and where the labels teach. Unlabelled samples show the crop alone.

    Args:
        dataset: training samples; at most `count` are made.
        path: the JPEG, at most 1600 pixels wide; replaced whole or not at all.
        count: how many samples to show, >= 1.

    Raises:
        DataError: a sample cannot be used (and the data set does not skip such).
        UserError: the picture cannot be written.
    """
    tiles = [_tile(dataset[0, index]) for index in evenly(len(dataset), count)]
    _write(path, _grid(tiles))


def _write(path: Path, picture: np.ndarray) -> None:
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    try:
        with replacing(path) as fresh:
            fresh.write_bytes(encoded.tobytes())
    except OSError as error:
        raise UserError(f"{path}: the preview cannot be written: {error.strerror}") from None


# --- the page ---------------------------------------------------------------------------------------------------------


def _grid(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Tiles `[h,w,3]` of equal size, row by row, under a legend."""
    columns = min(_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    height, width = tiles[0].shape[:2]
    page_width = columns * (width + _MARGIN) + _MARGIN
    page = np.full((_LEGEND + rows * (height + _MARGIN), page_width, 3), _PAPER, np.uint8)
    _legend(page)
    for number, tile in enumerate(tiles):
        top = _LEGEND + number // columns * (height + _MARGIN)
        left = _MARGIN + number % columns * (width + _MARGIN)
        page[top : top + height, left : left + width] = tile
    return page


def _legend(page: np.ndarray) -> None:
    """Two lines, short enough for a page of one column."""
    left = _MARGIN
    for colour, words in ((_GREEN, "text"), (_ORANGE, "don't care: not taught"), (_BLUE, "threshold band")):
        cv2.rectangle(page, (left, 10), (left + 12, 22), colour, cv2.FILLED)
        left = _say(page, words, (left + 18, 21), _TEXT) + 20
    _say(page, "panels: crop, shrink map / threshold map (dark 0, bright 1), mask", (_MARGIN, 44), _DIM)


def _say(
    image: np.ndarray, words: str, place: tuple[int, int], colour: tuple[int, int, int], size: float = 0.45
) -> int:
    """Write one line from `place` (x, y) on its baseline; returns the x where it ends. OpenCV's font has ASCII only."""
    words = words.encode("ascii", "replace").decode()
    cv2.putText(image, words, place, _FONT, size, colour, 1, cv2.LINE_AA)
    return place[0] + cv2.getTextSize(words, _FONT, size, 1)[0][0]


# --- one sample -------------------------------------------------------------------------------------------------------


def _tile(record: dict[str, Any]) -> np.ndarray:
    """One sample: a caption over two by two panels."""
    side = 2 * _PANEL + _GAP
    tile = np.full((_CAPTION + side, side, 3), _PAPER, np.uint8)
    labelled = bool(record["has_label"])
    _say(tile, _shortened(_caption(record, labelled), side), (0, 15), _TEXT)
    taught = (_shrink_panel, _threshold_panel, _mask_panel) if labelled else (_no_label_panel,) * 3
    for number, panel in enumerate((_crop_panel, *taught)):
        top, left = _CAPTION + number // 2 * (_PANEL + _GAP), number % 2 * (_PANEL + _GAP)
        tile[top : top + _PANEL, left : left + _PANEL] = _framed(panel(record))
    return tile


def _caption(record: dict[str, Any], labelled: bool) -> str:
    if not labelled:
        return f"{record['source']}  no label"
    ignore = np.asarray(record["ignore"], bool)
    return f"{record['source']}  {int((~ignore).sum())} text, {int(ignore.sum())} don't care"


def _shortened(words: str, width: int) -> str:
    """Cut the beginning of a line that is too long: the end names the file and the line in it."""
    if cv2.getTextSize(words, _FONT, 0.45, 1)[0][0] <= width:
        return words
    while words and cv2.getTextSize("..." + words, _FONT, 0.45, 1)[0][0] > width:
        words = words[1:]
    return "..." + words


def _framed(panel: np.ndarray) -> np.ndarray:
    """A panel `[h,w,3]` that fits, centred on a square of the page's grey."""
    square = np.full((_PANEL, _PANEL, 3), (52, 52, 52), np.uint8)
    height, width = panel.shape[:2]
    top, left = (_PANEL - height) // 2, (_PANEL - width) // 2
    square[top : top + height, left : left + width] = panel
    return square


def _scale(record: dict[str, Any]) -> float:
    return _PANEL / max(record["image"].shape[:2])


def _fitted(image: np.ndarray, *, smooth: bool = True) -> np.ndarray:
    """Scale an image or map so that its longer side is that of a panel."""
    height, width = image.shape[:2]
    factor = _PANEL / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    enlarging = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else enlarging)


def _crop_panel(record: dict[str, Any]) -> np.ndarray:
    panel = _fitted(record["image"])
    outlines = [np.round(np.asarray(polygon) * _scale(record)).astype(np.int32) for polygon in record["polygons"]]
    ignored = [outline for outline, ignore in zip(outlines, record["ignore"], strict=True) if ignore]
    taught = [outline for outline, ignore in zip(outlines, record["ignore"], strict=True) if not ignore]
    hatched = np.zeros(panel.shape[:2], np.uint8)
    for outline in ignored:
        cv2.fillPoly(hatched, [outline], 1)
    rows, columns = np.indices(hatched.shape)
    panel[(hatched == 1) & ((rows + columns) % 7 < 2)] = _ORANGE
    cv2.polylines(panel, ignored, True, _ORANGE, 1, cv2.LINE_AA)
    cv2.polylines(panel, taught, True, _GREEN, 1, cv2.LINE_AA)
    return panel


def _shrink_panel(record: dict[str, Any]) -> np.ndarray:
    return cv2.cvtColor(_fitted(record["shrink_map"] * np.uint8(255), smooth=False), cv2.COLOR_GRAY2BGR)


def _threshold_panel(record: dict[str, Any]) -> np.ndarray:
    return cv2.applyColorMap(_fitted(record["threshold_map"]), cv2.COLORMAP_VIRIDIS)


def _mask_panel(record: dict[str, Any]) -> np.ndarray:
    """Where labels teach: nothing on don't-care text (orange), the threshold map in its band (blue) only."""
    mask = np.zeros_like(record["image"])
    mask[record["threshold_mask"] > 0] = _BLUE
    mask[record["shrink_map"] > 0] = _GREEN
    mask[record["shrink_mask"] == 0] = _ORANGE
    return _fitted(mask, smooth=False)


def _no_label_panel(record: dict[str, Any]) -> np.ndarray:
    panel = _fitted(np.zeros_like(record["image"]))
    _say(panel, "no label", (10, panel.shape[0] // 2), _DIM)
    return panel
