"""One page of the embedded set: blocks of text laid out without overlap, warped, drawn on a background, degraded.

A block (a paragraph, receipt rows, a single line) is rendered upright on a canvas of its own. The box of each text line
is the bounding box of the pixels that its glyphs really touch, and one homography carries pixels and boxes to the page,
so a label is as tight after rotation and perspective as before.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from ppocr_data import synth_text
from ppocr_data.synth_background import background, distract
from ppocr_data.synth_fonts import Font

MARGIN = 1.5  # pixels between the outermost ink and the label's edge
TRIES_A_PAGE, TRIES_A_BLOCK = 40, 10
LUMA = np.array([0.114, 0.587, 0.299], np.float32)  # of BGR
DONT_CARE = "###"


@dataclass(frozen=True, slots=True)
class Page:
    """A finished page.

    `image` uint8 BGR `[H, W, 3]`; `polygons` float32 `[P, 4, 2]` in pixels, clockwise from the text's own top left;
    `texts` (`###` where `ignore`); `ignore` bool `[P]`; `ink` float32 `[H, W]` in 0..1, how far a pixel is text.
    """

    image: np.ndarray
    polygons: np.ndarray
    texts: tuple[str, ...]
    ignore: np.ndarray
    ink: np.ndarray


@dataclass(slots=True)
class _Block:
    """Text on a canvas: `alpha` uint8 `[h, w]`, `boxes` `[P, 4]` as x0, y0, x1, y1, and where it goes on the page."""

    alpha: np.ndarray
    boxes: np.ndarray
    texts: list[str]
    flaw: str  # "" or what makes it a don't-care: "tiny", "blurred", "occluded"
    to_page: np.ndarray = field(default_factory=lambda: np.eye(3))

    def hull(self) -> np.ndarray:
        """The canvas's corners, float32 `[4, 2]`."""
        h, w = self.alpha.shape
        return np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)

    def quads(self) -> np.ndarray:
        """The boxes' corners, float32 `[P, 4, 2]`."""
        x0, y0, x1, y1 = self.boxes.T
        return np.stack([x0, y0, x1, y0, x1, y1, x0, y1], axis=1).reshape(-1, 4, 2).astype(np.float32)


def draw_page(rng: np.random.Generator, height: int, width: int, fonts: list[Font]) -> Page:
    """A page with up to 10 text lines, every choice taken from `rng`."""
    blocks, taken = _lay_out(rng, height, width, fonts)
    page = background(rng, height, width)
    distract(rng, page, cv2.dilate(taken, np.ones((9, 9), np.uint8)), int(rng.integers(2, 7)))
    ink = np.zeros((height, width), np.float32)
    for block in blocks:
        _draw_block(rng, page, ink, block)
    polygons = [on_page(block.quads(), block.to_page) for block in blocks]
    texts = tuple(text for block in blocks for text in block.texts)
    return Page(
        image=_degrade(rng, page),
        polygons=np.concatenate(polygons) if polygons else np.zeros((0, 4, 2), np.float32),
        texts=texts,
        ignore=np.array([text == DONT_CARE for text in texts], bool),
        ink=ink,
    )


def on_page(quads: np.ndarray, homography: np.ndarray) -> np.ndarray:
    """Carry quadrilaterals `[P, 4, 2]` through a 3x3 homography."""
    return cv2.perspectiveTransform(quads.reshape(-1, 1, 2), homography).reshape(quads.shape)


def _lay_out(rng: np.random.Generator, height: int, width: int, fonts: list[Font]) -> tuple[list[_Block], np.ndarray]:
    """Blocks with their places, and the uint8 `[H, W]` mask of what they (with their surroundings) cover."""
    taken = np.zeros((height, width), np.uint8)
    blocks: list[_Block] = []
    wanted = int(rng.integers(4, 11))
    flaws = [str(rng.choice(("tiny", "blurred", "occluded"))) for _ in range(int(rng.choice(3, p=(0.5, 0.35, 0.15))))]
    tilt = float(rng.normal(0, 6))  # of the page; lines that stand alone may lean more
    for _ in range(TRIES_A_PAGE):
        missing = wanted - sum(len(block.texts) for block in blocks)
        if missing <= 0:
            break
        flaw = flaws[0] if flaws else ""
        block = _render_block(rng, fonts[int(rng.integers(len(fonts)))], missing, flaw)
        if block is not None and _place(rng, block, taken, tilt):
            blocks.append(block)
            flaws = flaws[1:]
    return blocks, taken


def _place(rng: np.random.Generator, block: _Block, taken: np.ndarray, tilt: float) -> bool:
    """Find a free place for the block, mark it in `taken` and set its homography. False where there is none."""
    height, width = taken.shape
    hull = block.hull()
    h, w = block.alpha.shape
    lean = tilt + float(rng.normal(0, 10 if len(block.texts) == 1 and rng.random() < 0.35 else 2))
    turn = cv2.getRotationMatrix2D((0, 0), -lean, 1)[:, :2].astype(np.float32)
    bend = rng.uniform(-1, 1, (4, 2)) * (0.03 * w, 0.10 * h) if rng.random() < 0.5 else np.zeros((4, 2))
    shape = (hull - (w / 2, h / 2) + bend).astype(np.float32) @ turn.T
    quads = on_page(block.quads(), cv2.getPerspectiveTransform(hull, shape.astype(np.float32))).reshape(-1, 2)
    low, high = 2 - quads.min(axis=0), (width - 3, height - 3) - quads.max(axis=0)
    if (low >= high).any():
        return False
    for _ in range(TRIES_A_BLOCK):
        corners = (shape + rng.uniform(low, high)).astype(np.float32)
        cover = cv2.fillConvexPoly(np.zeros_like(taken), np.round(corners).astype(np.int32), (1,))
        if not (cover & taken).any():
            taken |= cover
            block.to_page = cv2.getPerspectiveTransform(hull, corners)
            return True
    return False


def _em(rng: np.random.Generator, rows: int, flaw: str) -> int:
    """The font's size in pixels. Line heights are 0.55 to 1 of it, by which letters occur."""
    if flaw == "tiny":
        return int(rng.integers(5, 8))
    tail = rng.random()
    if tail < 0.06:
        return int(rng.integers(12, 17))
    if tail < 0.13 and rows == 1:
        return int(rng.integers(44, 66))
    return int(np.exp(rng.uniform(np.log(18), np.log(44 if rows == 1 else 34))))


def _render_block(rng: np.random.Generator, font: Font, most_rows: int, flaw: str) -> _Block | None:
    """Text on a canvas that leaves half an em free around it. None where nothing could be drawn."""
    kind = 0.0 if flaw or most_rows < 2 else rng.random()
    count = int(rng.integers(2, min(6, most_rows) + 1)) if kind >= 0.45 else 1
    em = _em(rng, count, flaw)
    if kind < 0.45:
        rows = synth_text.single(rng, most_words=3 if em < 34 else 1)
    elif kind < 0.78 or most_rows < 4:
        rows = synth_text.paragraph(rng, count)
    else:
        rows = synth_text.receipt(rng, min(count, most_rows // 2))
    cells = [[font.ink(em, text) for text in row] for row in rows]
    if not all(mask.size for row in cells for mask, _, _ in row):
        return None
    pad = int(np.ceil(em * 0.5)) + 2
    rises = [rise for row in cells for _, rise, _ in row]
    drops = [mask.shape[0] - rise for row in cells for mask, rise, _ in row]
    clear = max(rises) + max(drops) + 2 * int(np.ceil(MARGIN))  # at this pitch no two labels can overlap
    pitch = max(clear, round(em * rng.uniform(1.15, 1.6)))
    columns = [max(row[c][0].shape[1] for row in cells) for c in range(len(cells[0]))]
    gap = int(em * rng.uniform(1.5, 4.0))
    align = (0.0, 0.5, 1.0)[int(rng.choice(3, p=(0.6, 0.25, 0.15)))]
    alpha = np.zeros(
        (2 * pad + 2 * em + pitch * len(rows), 2 * pad + sum(columns) + gap * (len(columns) - 1)), np.uint8
    )
    boxes, texts = [], []
    for r, row in enumerate(cells):
        for c, (mask, rise, text) in enumerate(row):
            h, w = mask.shape
            shift = 1.0 if c else (align if len(columns) == 1 else 0.0)
            x = pad + sum(columns[:c]) + gap * c + int(shift * (columns[c] - w))
            y = pad + em + pitch * r - rise
            alpha[y : y + h, x : x + w] = np.maximum(alpha[y : y + h, x : x + w], mask)
            boxes.append((x, y, x + w, y + h))
            texts.append(DONT_CARE if flaw else text)
    extent = np.array(boxes, np.float32)
    top, bottom = int(extent[:, 1].min()) - pad, int(extent[:, 3].max()) + pad
    return _finish(rng, alpha[max(0, top) : bottom], extent - (0, max(0, top), 0, max(0, top)), texts, em, flaw)


def _finish(
    rng: np.random.Generator, alpha: np.ndarray, boxes: np.ndarray, texts: list[str], em: int, flaw: str
) -> _Block:
    """Blur what shall be unreadable and give the boxes their margin."""
    margin = MARGIN
    if flaw == "blurred":
        sigma = em * rng.uniform(0.16, 0.24)
        alpha = cv2.GaussianBlur(alpha, (0, 0), sigma)
        margin += sigma
    return _Block(alpha, boxes + np.array((-margin, -margin, margin, margin), np.float32), texts, flaw)


def _draw_block(rng: np.random.Generator, page: np.ndarray, ink: np.ndarray, block: _Block) -> None:
    """Draw a placed block into `page` and its coverage into `ink`, with a panel behind or something before it."""
    corners = on_page(block.hull()[None], block.to_page)[0]
    left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, (page.shape[1], page.shape[0]))
    window = page[top:bottom, left:right]  # a view: only this part of the page is touched
    to_window = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]]) @ block.to_page
    hull = np.round(corners - (left, top)).astype(np.int32)
    inside = cv2.fillConvexPoly(np.zeros(window.shape[:2], np.uint8), hull, (1,)).astype(bool)
    around = window[inside]
    if around.std() > 34 or rng.random() < 0.22:  # a label, a sign: a plane behind the text
        shade = np.clip(around.mean(axis=0) + rng.normal(0, 60) + rng.normal(0, 20, 3), 0, 255).astype(np.float32)
        around += (shade - around) * np.float32(rng.uniform(0.85, 1.0))
        window[inside] = around
    alpha = cv2.warpPerspective(block.alpha, to_window, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    covered = alpha.astype(np.float32) / 255
    window += (_text_colour(rng, around) - window) * covered[..., None]
    np.maximum(ink[top:bottom, left:right], covered, out=ink[top:bottom, left:right])
    if block.flaw == "occluded":
        _occlude(rng, page, block)


def _text_colour(rng: np.random.Generator, around: np.ndarray) -> np.ndarray:
    """A colour that stands out from its surroundings `[n, 3]`: usually well, in one block of eight faintly."""
    level = float(around.mean(axis=0) @ LUMA)
    faint = rng.random() < 0.12 and around.std() < 16
    contrast = rng.uniform(45, 70) if faint else rng.uniform(90, 190)
    darker = level > 127 if rng.random() < 0.85 else level > 90
    goal = level - contrast if darker else level + contrast
    tint = rng.normal(0, 8 if faint else 30, 3).astype(np.float32)
    return np.clip(np.clip(goal, 6, 249) + tint - tint @ LUMA, 0, 255).astype(np.float32)


def _occlude(rng: np.random.Generator, page: np.ndarray, block: _Block) -> None:
    """Cover a large part of each line of the block."""
    colour = rng.uniform(20, 235, 3).tolist()
    for x0, y0, x1, y1 in block.boxes:
        start = x0 + (x1 - x0) * rng.uniform(0.0, 0.3)
        end = start + (x1 - x0) * rng.uniform(0.5, 0.7)
        cover = np.array([[[start, y0], [end, y0], [end + 2, y1], [start - 2, y1]]], np.float32)
        cv2.fillConvexPoly(page, np.round(on_page(cover, block.to_page)[0]).astype(np.int32), colour)


def _degrade(rng: np.random.Generator, page: np.ndarray) -> np.ndarray:
    """What a camera adds: softness, noise, compression. Returns uint8."""
    if rng.random() < 0.5:
        page = cv2.GaussianBlur(page, (0, 0), float(rng.uniform(0.3, 1.0)))
    if rng.random() < 0.6:
        page = page + rng.standard_normal(page.shape, dtype=np.float32) * np.float32(rng.uniform(1, 9))
    image: np.ndarray = np.clip(np.round(page), 0, 255).astype(np.uint8)
    if rng.random() < 0.35:
        quality = int(rng.integers(40, 90))
        image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return image
