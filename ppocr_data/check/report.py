"""What a check found, for people and for programs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppocr_data.atomic import replacing
from ppocr_data.check.findings import BROKEN, KINDS, Finding
from ppocr_data.decode import DecodeImage
from ppocr_data.errors import DataError
from ppocr_data.labels import Sample

LISTING = "check.json"
"""What a check writes beside its pictures."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found. images, texts, ignored: how many there are of each, ignored being don't-care texts."""

    label_files: tuple[Path, ...]
    images: int
    texts: int
    ignored: int
    findings: tuple[Finding, ...]
    samples: dict[str, Sample] = field(repr=False)
    """Samples by their place, for drawing."""
    decode: DecodeImage = field(default_factory=DecodeImage)
    """How their images are read."""

    @property
    def counts(self) -> dict[str, int]:
        """Findings by kind, in the order of `KINDS`, without those that did not occur."""
        counted = Counter(finding.kind for finding in self.findings)
        return {kind: counted[kind] for kind in KINDS if counted[kind]}

    @property
    def broken(self) -> int:
        """How many findings a training would refuse."""
        return sum(KINDS[finding.kind].severity == BROKEN for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            "label_files": [str(path) for path in self.label_files],
            "images": self.images,
            "texts": self.texts,
            "dont_care": self.ignored,
            "broken": self.broken,
            "counts": self.counts,
            "findings": [finding.as_json() for finding in self.findings],
        }


def refuse_foreign(folder: Path) -> None:
    """Raise DataError where a check would replace a file in a folder that holds no earlier check's listing."""
    names = [LISTING, *(f"{kind}.jpg" for kind in KINDS)]
    theirs = [folder / name for name in names if (folder / name).exists()]
    if theirs and not _is_listing(folder / LISTING):
        raise DataError(f"{theirs[0]}: is there and was not written by this tool; choose another --output")


def _is_listing(path: Path) -> bool:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and {"label_files", "findings"} <= found.keys()


def summary(report: CheckReport, shown: int = 5) -> str:
    """The findings for a person: a count for each kind, then some of each with their places."""
    files = ", ".join(map(str, report.label_files))
    lines = [f"{report.images} images, {report.texts} texts, {report.ignored} of them don't care, in {files}"]
    if not report.findings:
        return "\n".join([*lines, "Nothing suspicious was found."])
    for kind, count in report.counts.items():
        lines.append(f"\n{kind}: {count} {KINDS[kind].severity}; {KINDS[kind].meaning}")
        some = [finding for finding in report.findings if finding.kind == kind]
        lines += [f"  {finding}" for finding in some[:shown]]
        if count > shown:
            lines.append(f"  ... and {count - shown} more")
    broken = report.broken
    verdict = f"a training would refuse {broken} of them" if broken else "a training would accept all of them"
    return "\n".join([*lines, f"\n{len(report.findings)} findings; {verdict}."])


def write_json(report: CheckReport, path: Path) -> Path:
    """Write `report.as_json()` to a file, whose folder is created. Raises DataError where that is not possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(report.as_json(), ensure_ascii=False, indent=1)
        # Half an emoji, or a file name that is no UTF-8, is written as JSON escapes it.
        with replacing(path) as fresh:
            fresh.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error
    return path
