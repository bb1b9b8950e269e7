"""Fonts for the embedded set: those that matplotlib ships, or every font of a user's folder."""

from __future__ import annotations

import functools
import importlib.util
import string
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ppocr_data.digests import sha256_of
from ppocr_data.errors import DataError

LATIN = string.ascii_letters + string.digits
PUNCTUATION = ".,:;-/#&()%$+*!?@'"
NEVER_MAPPED = "\uffff"  # a code point that no font may draw: shows the font's "missing glyph" box
FAINTEST = 8  # of 255: fainter anti-aliasing is not visible
FEWEST_SHAPES = 30  # a capitals-only font still has 26 + 10 distinct shapes among letters and digits

# Text faces only: the rest of matplotlib's folder are symbols, delimiters and pieces of large brackets.
SHIPPED = (
    *("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSans-Oblique.ttf", "DejaVuSans-BoldOblique.ttf"),
    *("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf", "DejaVuSansMono-Oblique.ttf", "DejaVuSansMono-BoldOblique.ttf"),
    *("DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf", "DejaVuSerif-Italic.ttf", "DejaVuSerif-BoldItalic.ttf"),
    *("STIXGeneral.ttf", "STIXGeneralBol.ttf", "STIXGeneralItalic.ttf", "STIXGeneralBolIta.ttf"),
    *("cmr10.ttf", "cmb10.ttf", "cmss10.ttf", "cmtt10.ttf", "cmti10.ttf"),
)


@dataclass(frozen=True, slots=True)
class Font:
    """One usable font file: its path, the characters it draws, and a digest of its bytes."""

    path: Path
    characters: frozenset[str]
    sha256: str

    def at(self, pixels: int) -> ImageFont.FreeTypeFont:
        """The face with an em of `pixels`. Basic layout: the same glyph positions with and without libraqm."""
        return _open(self.path, pixels)

    def drawable(self, text: str) -> str:
        """`text` without the characters that this font would draw as a "missing" box."""
        return "".join(c for c in text if c == " " or c in self.characters)

    def ink(self, pixels: int, text: str) -> tuple[np.ndarray, int, str]:
        """Draw one line of text.

        Returns:
            its coverage cut to the bounding box of visible ink, uint8 `[h, w]` (empty where nothing is drawn); how
            many rows of it lie above the baseline; the text without characters that the font lacks.
        """
        text = self.drawable(text).strip()
        face = self.at(pixels)
        canvas = Image.new("L", (int(face.getlength(text)) + 4 * pixels, 5 * pixels))
        ImageDraw.Draw(canvas).text((2 * pixels, 3 * pixels), text, fill=255, font=face, anchor="ls")
        coverage = np.asarray(canvas)
        drawn = coverage > FAINTEST
        ys, xs = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
        if not ys.size:
            return np.zeros((0, 0), np.uint8), 0, text
        return coverage[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1], 3 * pixels - int(ys[0]), text


@functools.lru_cache(maxsize=512)
def _open(path: Path, pixels: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), pixels, layout_engine=ImageFont.Layout.BASIC)


def load_fonts(folder: Path | None = None) -> list[Font]:
    """Every usable font, sorted by file name.

    Args:
        folder: a folder with .ttf or .otf files; None for those that matplotlib ships.

    Raises:
        DataError: no such folder, no font in it, or a font that cannot be opened or draws no Latin letters and digits.
    """
    if folder is None:
        return [_load(path) for path in _shipped()]
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of fonts")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".ttf", ".otf"))
    if not paths:
        raise DataError(f"{folder}: holds no .ttf or .otf file")
    return [_load(path) for path in paths]


def _shipped() -> list[Path]:
    # Located, not imported: importing matplotlib takes a second and is not needed to read its files.
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("matplotlib is not installed: install it, or name a folder with .ttf or .otf fonts")
    folder = Path(spec.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf"
    paths = [folder / name for name in SHIPPED if (folder / name).is_file()]
    if not paths:
        raise DataError(f"{folder}: matplotlib's fonts are not there; name a folder with .ttf or .otf fonts")
    return paths


def _load(path: Path) -> Font:
    try:
        sha256 = sha256_of(path)
        face = _open(path, 24)
        shapes = {c: _shape(face, c) for c in LATIN + PUNCTUATION}
        missing = _shape(face, NEVER_MAPPED)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened as a font ({error}); remove it from the folder") from error
    drawn = frozenset(c for c, shape in shapes.items() if shape and shape != missing)
    if not drawn.issuperset(LATIN) or len({shapes[c] for c in LATIN}) < FEWEST_SHAPES:
        raise DataError(f"{path}: does not draw the Latin letters and digits; remove it from the folder")
    return Font(path, drawn, sha256)


def _shape(face: ImageFont.FreeTypeFont, character: str) -> bytes:
    """The glyph's pixels; empty where nothing is drawn."""
    page = Image.new("L", (64, 64))
    ImageDraw.Draw(page).text((16, 12), character, fill=255, font=face)
    return page.tobytes() if page.getbbox() else b""
