"""Data sets: labelled or unlabelled images with the transforms that make training or evaluation samples of them.

They are plain map-style data sets (`len`, `[]`) and know neither workers nor paddle; `loader.py` feeds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ppocr_data.decode import raise_where_memory_is_short
from ppocr_data.errors import DataError
from ppocr_data.labels import LabelReport, OnBad, Sample, read_images, read_labels
from ppocr_data.op import Op, Record, first_of
from ppocr_data.transforms import DetResizeForTest, check_eval_ops, check_train_ops
from ppocr_data.warps import settle

Paths = str | Path | Sequence[str | Path]

# Fourth words of a seed, so that no two streams of chance share one. Seeds shorter than four words end in zeros.
_SHARE = 2
_REPLACEMENT = 3
_MOST_REPLACEMENTS = 20


class DetDataset:
    """Training samples, a pure function of (seed, epoch, index).

    Args:
        groups: one sequence of samples for each label file.
        ops: the transforms, see `check_train_ops`.
        ratio_list: the share of each group that is seen in an epoch, in (0, 1], one number for all or one each; the
            share is drawn anew in every epoch.
        seed: >= 0.
        on_bad: "error" stops at an image that cannot be used; "skip" takes another sample in its place, chosen by
            (seed, epoch, index), and tells so in the sample's `problems`.
        problems: what `labels.read_labels` left out or mended, kept for the report at the start.

    Raises:
        ConfigError: the transforms cannot work.
        DataError: there is no sample, or ratio_list does not fit.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[Sample]],
        ops: Sequence[Op],
        *,
        ratio_list: float | Sequence[float] = 1.0,
        seed: int = 0,
        on_bad: OnBad = "error",
        problems: Sequence[str] = (),
    ) -> None:
        check_train_ops(ops)
        self.ops = list(ops)
        self.samples = [sample for group in groups for sample in group]
        self.seed, self.on_bad, self.problems = seed, on_bad, list(problems)
        if not self.samples:
            raise DataError("the data set is empty")
        self._sizes = [len(group) for group in groups]
        self._counts = [
            max(1, round(size * ratio)) if size else 0
            for size, ratio in zip(self._sizes, _ratios(ratio_list, len(groups)), strict=True)
        ]
        self._order: tuple[int, np.ndarray] | None = None

    @classmethod
    def from_label_files(
        cls,
        label_files: Paths,
        data_dir: str | Path,
        ops: Sequence[Op],
        *,
        ratio_list: float | Sequence[float] = 1.0,
        seed: int = 0,
        on_bad: OnBad = "error",
        allow_outside: bool = False,
    ) -> DetDataset:
        """Open PaddleOCR label files; image names are relative to `data_dir`. Raises DataError for bad labels."""
        reports = _read_all(label_files, data_dir, on_bad, allow_outside)
        problems = [str(problem) for report in reports for problem in report.problems]
        groups = [report.samples for report in reports]
        return cls(groups, ops, ratio_list=ratio_list, seed=seed, on_bad=on_bad, problems=problems)

    @classmethod
    def from_images(
        cls, where: Path | Sequence[Path], ops: Sequence[Op], *, seed: int = 0, on_bad: OnBad = "error"
    ) -> DetDataset:
        """Open unlabelled images: a folder, with its subfolders, or a list of files. Their samples have no label."""
        return cls([read_images(where)], ops, seed=seed, on_bad=on_bad)

    def __len__(self) -> int:
        """Samples seen in one epoch."""
        return sum(self._counts)

    def __getitem__(self, key: tuple[int, int]) -> Record:
        """Make the sample of (epoch, index), 0 <= index < len(self).

        Returns:
            image uint8 `[H,W,3]` BGR; shrink_map, shrink_mask, threshold_map, threshold_mask uint8 `[H,W]`;
            has_label bool (False: the maps are those of an image without text and must not be taught); source str;
            problems list of str, what was skipped on the way.

        Raises:
            DataError: the image cannot be used and `on_bad` is "error", or too many in a row cannot.
        """
        epoch, index = key
        chosen = self._epoch_order(epoch)[index]
        problems: list[str] = []
        for attempt in range(_MOST_REPLACEMENTS):
            sample = self.samples[chosen]
            try:
                record = self._make(sample, epoch, np.random.default_rng([self.seed, epoch, index]))
            except DataError as error:
                if self.on_bad == "error":
                    raise
                problems.append(str(error))
                other = np.random.default_rng([self.seed, epoch, index, _REPLACEMENT + attempt])
                chosen = other.integers(len(self.samples))
            else:
                return {**record, "has_label": sample.labelled, "problems": problems}
        raise DataError(f"{_MOST_REPLACEMENTS} samples in a row cannot be used; the last: {problems[-1]}")

    def source(self, epoch: int, index: int) -> str:
        """Where the sample of (epoch, index) is written, for messages."""
        return self.samples[self._epoch_order(epoch)[index]].source

    def _make(self, sample: Sample, epoch: int, rng: np.random.Generator) -> Record:
        record = record_of(sample, epoch)
        # The list holds a crop: `check_train_ops` has seen to it.
        record["defer_warp"] = True
        if sample.labelled:
            record["ext"] = self.another
        try:
            for op in self.ops:
                record = op(record if op.takes_pending_warp else settle(record), rng)
        except cv2.error as error:
            raise_where_memory_is_short(error)
            raise DataError(f"{sample.source}: image {sample.image}: cannot be augmented ({error.err})") from error
        return record

    def another(self, rng: np.random.Generator) -> Record | None:
        """Another sample, decoded, for CopyPaste; None where it cannot be read and `on_bad` is "skip".

        The skip needs no word here: the image is named when its own turn comes.
        """
        sample = self.samples[rng.integers(len(self.samples))]
        try:
            return self.ops[0](record_of(sample, 0), rng)
        except DataError:
            if self.on_bad == "error":
                raise
            return None

    def _epoch_order(self, epoch: int) -> np.ndarray:
        """For each index of an epoch, the place of its sample in `samples`."""
        if self._order is None or self._order[0] != epoch:
            parts, start = [], 0
            for number, (size, count) in enumerate(zip(self._sizes, self._counts, strict=True)):
                part = np.arange(size)
                if count < size:
                    part = np.random.default_rng([self.seed, epoch, number, _SHARE]).permutation(size)[:count]
                parts.append(part + start)
                start += size
            self._order = epoch, np.concatenate(parts)
        return self._order[1]


class EvalDataset:
    """Evaluation images with their labels. Nothing is random and nothing is ever skipped.

    Args:
        samples: labelled samples.
        ops: DecodeImage, DetResizeForTest and those that change no pixel, see `check_eval_ops`.

    Raises:
        ConfigError: the transforms cannot work.
        DataError: there is no sample.
    """

    def __init__(self, samples: Sequence[Sample], ops: Sequence[Op]) -> None:
        check_eval_ops(ops)
        if not samples:
            raise DataError("the evaluation set is empty")
        self.samples, self.ops = list(samples), list(ops)
        resize = first_of(ops, DetResizeForTest)
        assert resize is not None, "the ops were checked"
        self.resize = resize

    @classmethod
    def from_label_files(
        cls, label_files: Paths, data_dir: str | Path, ops: Sequence[Op], *, allow_outside: bool = False
    ) -> EvalDataset:
        """Open PaddleOCR label files, strictly; image names are relative to `data_dir`."""
        reports = _read_all(label_files, data_dir, "error", allow_outside)
        return cls([sample for report in reports for sample in report.samples], ops)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.samples)

    @property
    def readable(self) -> int:
        """Number of texts that are not don't care: what can be found."""
        return sum(sample.readable for sample in self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One image and what is true of it.

        Returns:
            image uint8 `[h,w,3]` BGR, resized, h and w multiples of 32; image_hw (H, W) of the original; polygons
            list of float32 `[K,2]` and ignore bool `[P]`, texts list of str, all in original pixels; source str.

        Raises:
            DataError: the image cannot be used.
        """
        record = record_of(self.samples[index], 0)
        rng = np.random.default_rng(0)
        for op in self.ops:
            record = op(record, rng)
        return {key: record[key] for key in ("image", "image_hw", "polygons", "ignore", "texts", "source")}


def record_of(sample: Sample, epoch: int) -> Record:
    """A sample as the first transform is given it."""
    return {
        "path": sample.image,
        "polygons": list(sample.polygons),
        "ignore": sample.ignore,
        "texts": list(sample.texts),
        "source": sample.source,
        "epoch": epoch,
    }


def _read_all(files: Paths, data_dir: str | Path, on_bad: OnBad, allow_outside: bool) -> list[LabelReport]:
    reports, mistakes = [], []
    for path in [files] if isinstance(files, (str, Path)) else files:
        try:
            reports.append(read_labels(Path(path), Path(data_dir), allow_outside=allow_outside, on_bad=on_bad))
        except DataError as error:
            mistakes.append(str(error))
    if mistakes:
        raise DataError("\n".join(mistakes))
    names = [str(files)] if isinstance(files, (str, Path)) else [str(path) for path in files]
    if not any(report.samples for report in reports):
        raise DataError(f"{', '.join(names)}: no usable line; the form is image<TAB>[{{...}}, ...], one image a line")
    # Among others that hold lines it would be missed by nobody, until the score says so.
    if empty := [n for n, report in zip(names, reports, strict=True) if not report.samples and not report.problems]:
        raise DataError(f"{', '.join(empty)}: no line; leave it out, or see what should have written it")
    return reports


def _ratios(ratio_list: float | Sequence[float], count: int) -> list[float]:
    ratios = [float(r) for r in ratio_list] if isinstance(ratio_list, Sequence) else [float(ratio_list)] * count
    if len(ratios) != count:
        raise DataError(f"ratio_list has {len(ratios)} numbers for {count} label files; give one for each")
    if not all(0 < ratio <= 1 for ratio in ratios):
        raise DataError(f"ratio_list {ratios}: each must be above 0 and at most 1")
    return ratios
