"""Looking for label mistakes before a training does: what it would refuse, and what is allowed but looks wrong."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppocr_data.check.boxes import box_findings
from ppocr_data.check.findings import KINDS, Finding
from ppocr_data.check.report import CheckReport
from ppocr_data.decode import DecodeImage
from ppocr_data.errors import DataError
from ppocr_data.folders import entries
from ppocr_data.labels import LabelReport, Sample, read_labels
from ppocr_data.near_duplicates import close_pairs, image_fingerprint

_BLANK = 3.0  # standard deviation of each colour's levels below which a picture shows nothing
_ODD_SIZE = 4.0  # times the median of the longer sides, or a part of it


@dataclass(frozen=True, slots=True)
class _Looked:
    """What one image told.

    size: (width, height), None for an image that cannot be read. digest: of the file's bytes. fingerprint: see
    `near_duplicates`, None where there is nothing to be seen.
    """

    size: tuple[int, int] | None
    digest: str
    fingerprint: np.ndarray | None
    findings: tuple[Finding, ...]


def check(
    label_files: Sequence[Path],
    data_dirs: Sequence[Path],
    *,
    tiny: float = 4.0,
    allow_outside: bool = False,
    decode: DecodeImage | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Read label files and every image that they name.

    Args:
        label_files: PaddleOCR label files. An image that stands in two of them is found.
        data_dirs: the folder that each one's image names are relative to; one for all, or one for each.
        tiny: readable text thinner than this many pixels is suspicious.
        allow_outside: accept images outside of their folder.
        decode: how images are read, as the training's; by default turned as EXIF says.
        progress: called as `progress(done, total)` after each image.

    Raises:
        DataError: a label file or a folder cannot be read, or there are not as many folders as label files.
    """
    if len(data_dirs) not in (1, len(label_files)):
        raise DataError(f"{len(label_files)} label files but {len(data_dirs)} data folders; give one, or one for each")
    for folder in filter(Path.is_dir, data_dirs):
        entries(folder)  # one that nobody may read is one mistake, and not one of each of its images
    folders = list(data_dirs) * (len(label_files) if len(data_dirs) == 1 else 1)
    decode = decode or DecodeImage()
    reports = [
        read_labels(path, folder, allow_outside=allow_outside, on_bad="skip")
        for path, folder in zip(label_files, folders, strict=True)
    ]
    samples = [sample for report in reports for sample in report.samples]
    findings = [finding for report in reports for finding in _problems(report)]
    findings += [
        Finding("bad-line", str(path), "no line, so there is nothing to train on", None)
        for path, report in zip(label_files, reports, strict=True)
        if not report.samples and not report.problems
    ]
    problems: dict[str, list[Finding]] = {sample.source: [] for sample in samples}
    for finding in findings:
        problems.get(finding.source, []).append(finding)
    numbers = [_numbers(sample, problems[sample.source]) for sample in samples]
    looked = []
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for result in pool.map(lambda sample, known: _look(sample, known, tiny, decode), samples, numbers):
            looked.append(result)
            if progress is not None:
                progress(len(looked), len(samples))
    findings += [finding for result in looked for finding in result.findings]
    findings += _repeated(samples, looked)
    findings += _look_alikes(samples, looked)
    findings += _odd_sizes(samples, looked)
    order = list(KINDS)
    return CheckReport(
        label_files=tuple(label_files),
        images=len(samples),
        texts=sum(len(sample.texts) for sample in samples),
        ignored=sum(int(sample.ignore.sum()) for sample in samples),
        findings=tuple(sorted(findings, key=lambda finding: order.index(finding.kind))),
        samples={sample.source: sample for sample in samples},
        decode=decode,
    )


# --- what the label reader refuses ------------------------------------------------------------------------------------


def _problems(report: LabelReport) -> Iterator[Finding]:
    """The reader's problems, with the outlines as they stand in the file."""
    images = {sample.source: sample.image for sample in report.samples}
    for problem in report.problems:
        image, word = images.get(problem.source), problem.word or ""
        yield Finding(problem.kind, problem.source, problem.reason, image, problem.text, word, problem.points)


def _numbers(sample: Sample, problems: Sequence[Finding]) -> list[int | None]:
    """The number in the label line of each text of a sample, None for one that is known to be broken.

    The reader leaves out texts without an area, so that those after them move up.
    """
    left_out = {finding.text for finding in problems if finding.kind == "no-area"}
    broken = {finding.text for finding in problems} - left_out
    numbers = [number for number in range(1, len(sample.texts) + len(left_out) + 1) if number not in left_out]
    return [None if number in broken else number for number in numbers]


# --- what the images tell ---------------------------------------------------------------------------------------------


def _look(sample: Sample, numbers: Sequence[int | None], tiny: float, decode: DecodeImage) -> _Looked:
    source = sample.source
    try:
        data = sample.image.read_bytes()
        image = decode.decode(data)
    except OSError as error:
        return _unreadable(sample, f"cannot be read ({error.strerror})")
    except ValueError as error:
        return _unreadable(sample, str(error))
    height, width = image.shape[:2]
    findings = list(box_findings(sample, numbers, width, height, tiny))
    # Every fourth pixel is enough to see whether there is anything.
    spread = float(image[::4, ::4].std(axis=(0, 1)).max())
    if spread < _BLANK:
        reason = f"the picture is one colour (spread {spread:.1f} of 255)"
        findings.append(Finding("blank", source, reason, sample.image))
    if sample.ignore.all():
        held = f"{len(sample.ignore)} don't-care texts, none readable" if len(sample.ignore) else "no text at all"
        findings.append(Finding("no-text", source, held, sample.image))
    bits = None if spread < _BLANK else image_fingerprint(image)
    return _Looked((width, height), hashlib.sha256(data).hexdigest(), bits, tuple(findings))


def _unreadable(sample: Sample, reason: str) -> _Looked:
    return _Looked(None, "", None, (Finding("unreadable", sample.source, reason, sample.image),))


def _repeated(samples: Sequence[Sample], looked: Sequence[_Looked]) -> Iterable[Finding]:
    first: dict[str, Sample] = {}
    for sample, result in zip(samples, looked, strict=True):
        if result.size is None:
            continue
        earlier = first.setdefault(result.digest, sample)
        if earlier is not sample:
            same = "the same image" if earlier.image == sample.image else f"the same picture as {earlier.image}"
            yield Finding("repeated", sample.source, f"{same}, labelled before at {earlier.source}", sample.image)


def _look_alikes(samples: Sequence[Sample], looked: Sequence[_Looked]) -> Iterable[Finding]:
    """Pictures of a later label file, each once, that look like one of an earlier file but are not the same bytes."""
    files = [sample.source.rpartition(":")[0] for sample in samples]
    told = set()
    for i, j in close_pairs([result.fingerprint for result in looked]) if len(set(files)) > 1 else ():
        if files[i] != files[j] and looked[i].digest != looked[j].digest and j not in told:
            told.add(j)
            reason = f"looks nearly like {samples[i].image.name} at {samples[i].source}"
            yield Finding("look-alike", samples[j].source, reason, samples[j].image, other=samples[i].image)


def _odd_sizes(samples: Sequence[Sample], looked: Sequence[_Looked]) -> Iterable[Finding]:
    sizes = [result.size for result in looked if result.size]
    if not sizes:
        return
    usual = float(np.median([max(size) for size in sizes]))
    for sample, result in zip(samples, looked, strict=True):
        if result.size and not usual / _ODD_SIZE <= max(result.size) <= usual * _ODD_SIZE:
            width, height = result.size
            reason = f"{width}x{height} pixels, where the longer side is {usual:.0f} as a rule"
            yield Finding("odd-size", sample.source, reason, sample.image)
