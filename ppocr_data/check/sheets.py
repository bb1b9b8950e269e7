"""Contact sheets of what a check found: one page for each kind of finding."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ppocr_data.check.findings import BROKEN, KINDS, Finding
from ppocr_data.check.report import LISTING, CheckReport
from ppocr_data.decode import DecodeImage
from ppocr_data.errors import DataError
from ppocr_data.spread import evenly

_WIDTH, _HEIGHT = 300, 210  # of a tile's picture
_CAPTION = 50
_GAP, _COLUMNS = 12, 4  # a page of 4 * 312 + 12 = 1260 pixels
_HEAD = 64
_AROUND = 0.9  # of an outline's longer side, shown on every side of it
_LEAST_AROUND = 24  # pixels
_LARGEST_ZOOM = 6.0
_QUALITY = 90

_PAPER, _BEYOND, _TEXT, _DIM = (28, 28, 28), (60, 60, 60), (235, 235, 235), (165, 165, 165)  # BGR
_RED, _GREEN, _ORANGE, _YELLOW = (60, 60, 255), (90, 220, 70), (0, 165, 255), (0, 230, 255)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_sheets(report: CheckReport, folder: Path, most: int = 24) -> list[Path]:
    """Write `folder/KIND.jpg` for each kind of finding, and remove the sheets of kinds that no longer occur.

    They are removed where an earlier check left its listing; in other folders `blank.jpg` may be anybody's.

    A tile shows the suspicious outline in red, with a yellow dot on its first point and an arrow along its first side,
    other texts in green and don't-care ones in orange; an image that cannot be shown is a grey field. Where a kind has
    more findings than fit, they are taken evenly.

    Args:
        report: what `check` found.
        folder: created where missing.
        most: tiles a sheet, >= 1.

    Returns:
        The sheets, in the order of `KINDS`.

    Raises:
        DataError: a sheet cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for kind in KINDS:
            path = folder / f"{kind}.jpg"
            findings = [finding for finding in report.findings if finding.kind == kind]
            if not findings:
                if (folder / LISTING).is_file():
                    path.unlink(missing_ok=True)
                continue
            chosen = [findings[index] for index in evenly(len(findings), most)]
            page = _page(kind, chosen, len(findings), report)
            path.write_bytes(cv2.imencode(".jpg", page, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes())
            written.append(path)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror})") from error
    return written


def _page(kind: str, findings: Sequence[Finding], total: int, report: CheckReport) -> np.ndarray:
    columns = min(_COLUMNS, len(findings))
    rows = -(-len(findings) // columns)
    width = max(columns, 2) * (_WIDTH + _GAP) + _GAP
    page = np.full((_HEAD + rows * (_HEIGHT + _CAPTION + _GAP), width, 3), _PAPER, np.uint8)
    shown = f"{total}" if total == len(findings) else f"{len(findings)} of {total}"
    _say(page, f"{kind}  ({shown})", (_GAP, 26), _RED if KINDS[kind].severity == BROKEN else _ORANGE, 0.7)
    _say(page, KINDS[kind].meaning, (_GAP, 50), _DIM)
    for i, finding in enumerate(findings):
        top = _HEAD + i // columns * (_HEIGHT + _CAPTION + _GAP)
        left = _GAP + i % columns * (_WIDTH + _GAP)
        page[top : top + _HEIGHT, left : left + _WIDTH] = _picture(finding, report)
        _caption(page, finding, left, top + _HEIGHT)
    return page


def _caption(page: np.ndarray, finding: Finding, left: int, top: int) -> None:
    """The place, then up to two lines of the reason. No transcription: OpenCV's font has ASCII only."""
    file, _, line = finding.source.rpartition(":")
    place = f"{Path(file).name}:{line}" + (f" text {finding.text}" if finding.text else "")
    name = finding.image.name if finding.image else ""
    _say(page, f"{place}  {name}"[:48], (left, top + 15), _TEXT, 0.4)
    for row, words in enumerate(textwrap.wrap(finding.reason, 50)[:2]):
        _say(page, words, (left, top + 30 + 14 * row), _DIM, 0.38)


def _say(
    page: np.ndarray, words: str, place: tuple[int, int], colour: tuple[int, int, int], size: float = 0.45
) -> None:
    cv2.putText(page, words.encode("ascii", "replace").decode(), place, _FONT, size, colour, 1, cv2.LINE_AA)


# --- one tile ---------------------------------------------------------------------------------------------------------


def _picture(finding: Finding, report: CheckReport) -> np.ndarray:
    """The part of the image around the outline, or the whole image, `[_HEIGHT,_WIDTH,3]`."""
    tile = np.full((_HEIGHT, _WIDTH, 3), _BEYOND, np.uint8)
    image, sample = _read(finding.image, report.decode), report.samples.get(finding.source)
    if image is None:
        _say(tile, "no picture", (_WIDTH // 2 - 36, _HEIGHT // 2), _DIM)
        return tile
    height, width = image.shape[:2]
    area = (0.0, 0.0, float(width), float(height)) if finding.points is None else _around(finding.points)
    zoom = min(_WIDTH / (area[2] - area[0]), _HEIGHT / (area[3] - area[1]), _LARGEST_ZOOM)
    # Image coordinates to the tile's, with the area in its middle.
    shift = (_WIDTH - zoom * (area[0] + area[2])) / 2, (_HEIGHT - zoom * (area[1] + area[3])) / 2
    matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
    shown, size = _averaged(image, zoom), (_WIDTH, _HEIGHT)
    cv2.warpAffine(shown, _scaled(matrix, zoom), size, tile, cv2.INTER_LINEAR, cv2.BORDER_TRANSPARENT)
    for points, ignored in zip(sample.polygons, sample.ignore, strict=True) if sample else ():
        _outline(tile, points, matrix, _ORANGE if ignored else _GREEN)
    if finding.points is not None:
        _flagged(tile, finding.points, matrix)
    if (other := _read(finding.other, report.decode)) is not None:
        _beside(tile, image, other)
    return tile


def _beside(tile: np.ndarray, *images: np.ndarray) -> None:
    """Show two images side by side in place of what the tile holds."""
    tile[:] = _BEYOND
    half = _WIDTH // 2
    for left, image in zip((0, half), images, strict=True):
        height, width = image.shape[:2]
        zoom = min((half - 4) / width, _HEIGHT / height)
        shown = cv2.resize(image, (max(1, int(width * zoom)), max(1, int(height * zoom))), interpolation=cv2.INTER_AREA)
        x, y = left + (half - shown.shape[1]) // 2, (_HEIGHT - shown.shape[0]) // 2
        tile[y : y + shown.shape[0], x : x + shown.shape[1]] = shown


def _read(path: Path | None, decode: DecodeImage) -> np.ndarray | None:
    try:
        return None if path is None else decode.decode(path.read_bytes())
    except (OSError, ValueError):
        return None


def _around(points: np.ndarray) -> tuple[float, float, float, float]:
    """The rectangle of an outline with its surroundings: x0, y0, x1, y1; it may go beyond the image."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = max(_LEAST_AROUND, _AROUND * float((high - low).max()))
    return float(low[0] - margin), float(low[1] - margin), float(high[0] + margin), float(high[1] + margin)


def _averaged(image: np.ndarray, zoom: float) -> np.ndarray:
    """An image that is to be shown smaller, scaled down by averaging first: a warp only samples."""
    if zoom >= 1:
        return image
    height, width = image.shape[:2]
    size = max(1, round(width * zoom)), max(1, round(height * zoom))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _scaled(matrix: np.ndarray, zoom: float) -> np.ndarray:
    """The matrix for an image that `_averaged` has already scaled."""
    return matrix if zoom >= 1 else np.column_stack([matrix[:, :2] / zoom, matrix[:, 2]])


def _moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return np.rint(points @ matrix[:, :2].T + matrix[:, 2]).astype(np.int32)


def _outline(tile: np.ndarray, points: np.ndarray, matrix: np.ndarray, colour: tuple[int, int, int]) -> None:
    cv2.polylines(tile, [_moved(points, matrix)], True, colour, 1, cv2.LINE_AA)


def _flagged(tile: np.ndarray, points: np.ndarray, matrix: np.ndarray) -> None:
    """The outline in red, with a dot on its first point and an arrow along its first side."""
    corners = _moved(points, matrix)
    cv2.polylines(tile, [corners], True, _RED, 2, cv2.LINE_AA)
    first, second = (tuple(int(value) for value in corner) for corner in corners[:2])
    for colour, thickness in ((_PAPER, 3), (_YELLOW, 1)):  # with an edge, to be seen on light and dark pictures
        cv2.arrowedLine(tile, first, second, colour, thickness, cv2.LINE_AA, tipLength=0.2)
        cv2.circle(tile, first, 3 + thickness, colour, cv2.FILLED, cv2.LINE_AA)
