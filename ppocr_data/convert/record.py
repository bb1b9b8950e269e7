"""What a reader makes of a data set: one record an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ppocr_data.labels import DONT_CARE

Polygon = list[list[float]]
"""`[K][2]`: x, y in pixels of the image as it is shown upright."""

Text = tuple[Polygon, str]
"""One labelled text: its outline and its transcription, `DONT_CARE_TEXT` where nobody can read it."""

Progress = Callable[[int, int], None]
"""Called as `progress(done, total)`, in images."""

DONT_CARE_TEXT = "###"


@dataclass(frozen=True, slots=True)
class Record:
    """One labelled image.

    image: its path below the image folder, with forward slashes. polygons, texts: one of each a text. part: "train" or
    "val" where the data set itself says to which it belongs, else "".
    """

    image: str
    polygons: list[Polygon]
    texts: list[str]
    part: str = ""

    @property
    def readable(self) -> int:
        """How many of the texts are not don't-care."""
        return sum(text.strip() not in DONT_CARE for text in self.texts)


@dataclass(frozen=True, slots=True)
class Reading:
    """The records of a data set, and a sentence for each thing that a person should know about how they were read."""

    records: list[Record]
    notes: tuple[str, ...] = ()
