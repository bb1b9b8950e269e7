"""Procedural backgrounds of the embedded set, and drawings on them that look a little like text and are not.

Everything works in place or returns float32 BGR `[H, W, 3]` in 0..255 and draws its choices from `rng` alone.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Array = np.ndarray
FULL = (255,)  # a stencil's colour: wholly covered


def background(rng: np.random.Generator, height: int, width: int) -> Array:
    """A page to write on: float32 BGR `[height, width, 3]`, 0..255, mostly light, sometimes dark."""
    level = (rng.uniform(170, 250), rng.uniform(15, 80), rng.uniform(80, 170))[int(rng.choice(3, p=(0.5, 0.25, 0.25)))]
    colour = np.clip(level + rng.normal(0, 18, 3), 0, 255).astype(np.float32)
    page = np.broadcast_to(colour, (height, width, 3)).copy()
    names = sorted(PAINTERS)
    PAINTERS[names[int(rng.integers(len(names)))]](rng, page)
    if rng.random() < 0.4:  # uneven light
        page *= 1 + _ramp(rng, height, width)[..., None] * np.float32(rng.uniform(0.05, 0.35))
    return np.clip(page, 0, 255)


def _ramp(rng: np.random.Generator, height: int, width: int) -> Array:
    """A linear ramp over the page in a random direction, about -0.5..0.5."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j].astype(np.float32)
    return (np.cos(angle) * x + np.sin(angle) * y).astype(np.float32)


def _smooth_noise(rng: np.random.Generator, height: int, width: int, rows: int, columns: int) -> Array:
    """Noise of unit deviation whose grains are about height/rows by width/columns pixels."""
    grid = rng.standard_normal((rows, columns), dtype=np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


def _plain(rng: np.random.Generator, page: Array) -> None:
    """One colour: nothing to add."""


def _gradient(rng: np.random.Generator, page: Array) -> None:
    ramp = _ramp(rng, *page.shape[:2])[..., None]
    page += ramp * rng.uniform(-110, 110, 3).astype(np.float32)


def _clouds(rng: np.random.Generator, page: Array) -> None:
    height, width = page.shape[:2]
    cells = int(rng.integers(3, 9))
    for channel_gain in (np.ones(3), rng.normal(0, 0.5, 3)):
        noise = _smooth_noise(rng, height, width, cells, cells)[..., None]
        page += noise * (rng.uniform(6, 22) * channel_gain).astype(np.float32)


def _grain(rng: np.random.Generator, page: Array) -> None:
    """Paper, wood, fabric: noise of several scales, longer in one direction than in the other."""
    height, width = page.shape[:2]
    stretch = float(rng.choice((1.0, 4.0, 12.0)))
    for scale in (2, 6, 20):
        rows, columns = max(2, height // scale), max(2, int(width / scale / stretch))
        if rng.random() < 0.5:
            rows, columns = max(2, int(height / scale / stretch)), max(2, width // scale)
        page += _smooth_noise(rng, height, width, rows, columns)[..., None] * np.float32(rng.uniform(2, 9))


def _stripes(rng: np.random.Generator, page: Array) -> None:
    height, width = page.shape[:2]
    wave = np.sin(_ramp(rng, height, width) * np.float32(rng.uniform(20, 140)) + np.float32(rng.uniform(0, 6)))
    if rng.random() < 0.5:
        wave = np.sign(wave)
    page += cv2.GaussianBlur(wave, (0, 0), 0.8)[..., None] * rng.uniform(-22, 22, 3).astype(np.float32)


def _tiles(rng: np.random.Generator, page: Array) -> None:
    """A wall of tiles or bricks: joints, and tiles that differ a little."""
    height, width = page.shape[:2]
    tile = int(rng.integers(24, 80))
    rows, columns = height // tile + 1, width // tile + 1
    shades = rng.normal(0, rng.uniform(2, 12), (rows, columns)).astype(np.float32)
    page += cv2.resize(shades, (columns * tile, rows * tile), interpolation=cv2.INTER_NEAREST)[:height, :width, None]
    joint = np.float32(rng.uniform(-30, 30))
    page[::tile] += joint
    page[:, ::tile] += joint


def _patches(rng: np.random.Generator, page: Array) -> None:
    """Large blurred shapes, like things behind the text that are out of focus."""
    height, width = page.shape[:2]
    base = page[0, 0].copy()
    for _ in range(int(rng.integers(4, 14))):
        colour = np.clip(base + rng.normal(0, 45, 3), 0, 255).tolist()
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(15, 1 + max(16, width // 3))), int(rng.integers(15, 1 + max(16, height // 3))))
        if rng.random() < 0.5:
            cv2.ellipse(page, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
        else:
            box = cv2.boxPoints((centre, axes, float(rng.uniform(0, 180))))
            cv2.fillConvexPoly(page, box.astype(np.int32), colour)
    page[:] = cv2.GaussianBlur(page, (0, 0), float(rng.uniform(2, 14)))


def _mottle(rng: np.random.Generator, page: Array) -> None:
    """Per-pixel noise, as from a poor sensor or rough plaster."""
    noise = rng.standard_normal(page.shape, dtype=np.float32)
    page += cv2.GaussianBlur(noise, (0, 0), float(rng.uniform(0.4, 1.4))) * np.float32(rng.uniform(6, 20))


PAINTERS: dict[str, Callable[[np.random.Generator, Array], None]] = {
    "clouds": _clouds,
    "gradient": _gradient,
    "grain": _grain,
    "mottle": _mottle,
    "patches": _patches,
    "plain": _plain,
    "stripes": _stripes,
    "tiles": _tiles,
}


def distract(rng: np.random.Generator, page: Array, taken: Array, count: int) -> None:
    """Draw up to `count` things that are not text into free parts of the page.

    Args:
        page: float32 BGR `[H, W, 3]`, changed in place.
        taken: uint8 `[H, W]`, non-zero where text (with its surroundings) lies; nothing is drawn there, and what is
            drawn is marked in it.
    """
    height, width = page.shape[:2]
    names = sorted(DRAWINGS)
    for _ in range(count):
        h, w = (int(rng.integers(18, max(19, min(90, side // 2)))) for side in (height, width))
        name = names[int(rng.integers(len(names)))]
        for _ in range(8):
            y, x = int(rng.integers(0, max(1, height - h))), int(rng.integers(0, max(1, width - w)))
            if not taken[y : y + h, x : x + w].any():
                patch = page[y : y + h, x : x + w]
                away = -1 if patch.mean() > 128 else 1
                colour = np.clip(patch.mean(axis=(0, 1)) + away * rng.uniform(40, 150) + rng.normal(0, 25, 3), 0, 255)
                stencil = np.zeros(patch.shape[:2], np.uint8)
                DRAWINGS[name](rng, stencil)
                alpha = stencil[..., None].astype(np.float32) / 255
                patch += (colour.astype(np.float32) - patch) * alpha
                taken[y : y + h, x : x + w] = 1
                break


def _grid(rng: np.random.Generator, stencil: Array) -> None:
    """The lines of an empty table."""
    step_y, step_x = (int(n) for n in rng.integers(8, 24, 2))
    stencil[::step_y] = 255
    stencil[:, ::step_x] = 255


def _dots(rng: np.random.Generator, stencil: Array) -> None:
    step, radius = int(rng.integers(6, 14)), int(rng.integers(1, 3))
    for y in range(radius, stencil.shape[0] - radius, step):
        for x in range(radius, stencil.shape[1] - radius, step):
            cv2.circle(stencil, (x, y), radius, FULL, -1, cv2.LINE_AA)


def _rules(rng: np.random.Generator, stencil: Array) -> None:
    """Ruled lines, solid or dashed, where text could be and is not."""
    for y in range(2, stencil.shape[0], int(rng.integers(9, 25))):
        stencil[y : y + int(rng.integers(1, 3))] = 255
    if rng.random() < 0.4:
        stencil[:, :: int(rng.integers(3, 6))] = 0


def _icon(rng: np.random.Generator, stencil: Array) -> None:
    """A ring, a star, an arrow or a cross."""
    h, w = stencil.shape
    centre, radius, thick = (w // 2, h // 2), max(4, min(h, w) // 2 - 3), int(rng.integers(2, 5))
    kind = int(rng.integers(4))
    if kind == 0:
        cv2.circle(stencil, centre, radius, FULL, thick, cv2.LINE_AA)
        cv2.circle(stencil, centre, radius // 3, FULL, -1, cv2.LINE_AA)
    elif kind == 1:
        turns = np.arange(10) * np.pi / 5
        reach = radius * np.where(np.arange(10) % 2, 0.45, 1.0)
        star = np.stack([centre[0] + reach * np.sin(turns), centre[1] - reach * np.cos(turns)], axis=1)
        cv2.fillPoly(stencil, [star.astype(np.int32)], FULL, cv2.LINE_AA)
    elif kind == 2:
        cv2.arrowedLine(stencil, (3, h // 2), (w - 4, h // 2), FULL, thick, cv2.LINE_AA, tipLength=0.35)
    else:
        cv2.line(stencil, (3, 3), (w - 4, h - 4), FULL, thick, cv2.LINE_AA)
        cv2.line(stencil, (3, h - 4), (w - 4, 3), FULL, thick, cv2.LINE_AA)


def _scribble(rng: np.random.Generator, stencil: Array) -> None:
    """A few long smooth strokes across the patch."""
    h, w = stencil.shape
    x = np.linspace(2, w - 3, 40)
    for _ in range(int(rng.integers(1, 4))):
        y = h / 2 + np.sin(x / w * rng.uniform(2, 9) + rng.uniform(0, 6)) * h * rng.uniform(0.1, 0.4)
        cv2.polylines(stencil, [np.stack([x, y], axis=1).astype(np.int32)], False, FULL, 2, cv2.LINE_AA)


def _bars(rng: np.random.Generator, stencil: Array) -> None:
    """A bar code."""
    x = 0
    while x < stencil.shape[1]:
        black, white = (int(n) for n in rng.integers(1, 5, 2))
        stencil[:, x : x + black] = 255
        x += black + white


def _blocks(rng: np.random.Generator, stencil: Array) -> None:
    """Filled rectangles, as buttons, windows, bricks."""
    h, w = stencil.shape
    for _ in range(int(rng.integers(1, 4))):
        y, x = int(rng.integers(0, h // 2)), int(rng.integers(0, w // 2))
        stencil[y : y + int(rng.integers(6, h)), x : x + int(rng.integers(6, w))] = int(rng.integers(120, 256))


DRAWINGS: dict[str, Callable[[np.random.Generator, Array], None]] = {
    "bars": _bars,
    "blocks": _blocks,
    "dots": _dots,
    "grid": _grid,
    "icon": _icon,
    "rules": _rules,
    "scribble": _scribble,
}
