"""The kinds of mistake that a check knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

BROKEN, SUSPICIOUS = "broken", "suspicious"


@dataclass(frozen=True, slots=True)
class Kind:
    """severity: BROKEN where a training refuses it, else SUSPICIOUS. meaning: a sentence."""

    severity: str
    meaning: str


KINDS: dict[str, Kind] = {
    "bad-line": Kind(BROKEN, "the line or a text in it is not understood"),
    "missing": Kind(BROKEN, "the image does not exist"),
    "unreadable": Kind(BROKEN, "the image is damaged, or no image"),
    "crossing": Kind(BROKEN, "the outline crosses or touches itself"),
    "no-area": Kind(BROKEN, "the outline encloses nothing"),
    "outside": Kind(SUSPICIOUS, "points lie beyond the edge of the image"),
    "order": Kind(SUSPICIOUS, "the points do not go clockwise from the text's top left"),
    "duplicate": Kind(SUSPICIOUS, "two texts have nearly the same outline"),
    "tiny": Kind(SUSPICIOUS, "readable text is too thin to be read"),
    "huge": Kind(SUSPICIOUS, "the outline covers nearly the whole image"),
    "repeated": Kind(SUSPICIOUS, "the same picture is labelled twice, or is in both training and validation"),
    "look-alike": Kind(SUSPICIOUS, "the picture looks nearly like one of another label file"),
    "blank": Kind(SUSPICIOUS, "the picture shows nothing"),
    "no-text": Kind(SUSPICIOUS, "the image has no readable text; right if that is meant"),
    "odd-size": Kind(SUSPICIOUS, "the image is far larger or smaller than most"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One mistake, or what looks like one.

    kind: a key of `KINDS`. source: "labels.txt:12". reason: what is wrong here. image: None where the line names none.
    text: the number of the text in its line, from 1; None where the whole image is meant. word: its transcription.
    points: float32 `[K,2]`, its outline as it is in the file. other: the image that this one is compared with.
    """

    kind: str
    source: str
    reason: str
    image: Path | None = None
    text: int | None = None
    word: str = ""
    points: np.ndarray | None = None
    other: Path | None = None

    def __str__(self) -> str:
        """One line: the place, the image, the text and what is wrong."""
        parts = [self.source, *([self.image.name] if self.image else [])]
        if self.text is not None:
            parts.append(f"text {self.text}" + (f" {self.word[:20]!r}" if self.word else ""))
        return f"{' '.join(parts)}: {self.reason}"

    def as_json(self) -> dict[str, Any]:
        """A mapping of plain values."""
        return {
            "kind": self.kind,
            "severity": KINDS[self.kind].severity,
            "source": self.source,
            "image": None if self.image is None else str(self.image),
            "text": self.text,
            "transcription": self.word,
            "reason": self.reason,
            "other": None if self.other is None else str(self.other),
            "points": None if self.points is None else self.points.tolist(),
        }
