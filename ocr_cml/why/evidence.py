"""What mutual learning is said to do to a network, measured: flat minima, doubt where doubt is due, agreement.

The evidence is that of Zhang et al., Deep Mutual Learning, CVPR 2018 ("How and why does DML work?"), put in the terms
of a text map, a Bernoulli distribution a pixel: the loss under growing weight noise, and how certain, and how rightly
certain, the map is. Agreement is logged by the trainer, see `ocr_cml.loop.agreement`.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import paddle

from ocr_cml.losses import DBLoss
from ocr_cml.losses.targets import Targets
from ocr_cml.models import Detector
from ocr_cml.why.pull import Pull

BINS = 10
"""Of the reliability diagram, equally wide over [0, 1]."""

Scale = Literal["relative", "absolute"]


# --- flat minima -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def noisy(network: Detector, sigma: float, seed: int, scale: Scale = "relative") -> Iterator[None]:
    """Add normal noise to every trained parameter for the length of the block; the weights come back bit for bit.

    The paper adds noise of one deviation to all parameters (`absolute`). Batch normalisation makes the size of a
    convolution's weights meaningless, so `relative` (Li et al., Visualizing the Loss Landscape, NeurIPS 2018) takes
    `sigma` times the root mean square of each parameter tensor. Running statistics are left as they are.

    Args:
        network: the network.
        sigma: the deviation, >= 0.
        seed: the same seed gives networks of equal shape the same noise.
        scale: of the deviation.
    """
    rng = np.random.default_rng(seed)
    trained = [parameter for parameter in network.parameters() if not parameter.stop_gradient]
    kept = [parameter.numpy().copy() for parameter in trained]
    try:
        for parameter, value in zip(trained, kept, strict=True):
            unit = np.sqrt(np.mean(np.square(value, dtype=np.float64))) if scale == "relative" else 1.0
            noise = rng.standard_normal(value.shape, np.float32)
            parameter.set_value(value + np.float32(sigma * unit) * noise)
        yield
    finally:
        for parameter, value in zip(trained, kept, strict=True):
            parameter.set_value(value)


@paddle.no_grad()
def supervised_loss(network: Detector, term: DBLoss, batches: Sequence[tuple[paddle.Tensor, Targets]]) -> float:
    """The mean over batches of the labels' loss of a network in eval mode, its threshold map included.

    Args:
        network: left in eval mode.
        term: the labels' term.
        batches: normalised images `[N,3,H,W]` and their targets.
    """
    network.eval()
    network.head.training = (
        True  # it answers with the threshold map, and its normalisation still uses running statistics
    )
    try:
        return float(np.mean([float(term(network(images), None, targets)) for images, targets in batches]))
    finally:
        network.eval()


def noise_curve(
    network: Detector,
    term: DBLoss,
    batches: Sequence[tuple[paddle.Tensor, Targets]],
    sigmas: Sequence[float],
    draws: int = 3,
    scale: Scale = "relative",
) -> list[float]:
    """`supervised_loss` at each deviation of weight noise, the mean over `draws` draws; at 0 there is one."""
    curve = []
    for sigma in sigmas:
        losses = []
        for seed in range(draws if sigma else 1):
            with noisy(network, sigma, seed, scale):
                losses.append(supervised_loss(network, term, batches))
        curve.append(float(np.mean(losses)))
    return curve


# --- doubt -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Doubt:
    """How certain a map is on text pixels, and how rightly.

    Attributes:
        entropy: mean of -p ln p - (1-p) ln(1-p), nats, in [0, ln 2].
        error: expected calibration error: the mean over pixels of |p - share of text|, both means of the pixel's bin.
        brier: mean of (p - label)^2.
        predicted: mean p of each bin of p; None in an empty one.
        observed: share of pixels in the bin that the label calls text; None in an empty one.
        counts: pixels of each bin.
    """

    entropy: float
    error: float
    brier: float
    predicted: list[float | None]
    observed: list[float | None]
    counts: list[int]


class DoubtMeter:
    """Collects a network's maps against labels, a few sums for each bin.

    A reliability diagram needs pixels of both kinds, so the text pixels are those of whole labelled words or lines: the
    shrunken inside, which the label calls text, and the rim, which it does not. The background, nearly all of a page
    and nearly always right, would hide both.
    """

    def __init__(self, bins: int = BINS) -> None:
        self._bins = bins
        self._counts, self._predicted, self._text = (np.zeros(bins, np.float64) for _ in range(3))
        self._entropy = self._squares = 0.0

    def add(self, probability: np.ndarray, label: np.ndarray, seen: np.ndarray) -> None:
        """Count the pixels of one map.

        Args:
            probability: `[H,W]` in [0, 1].
            label: `[H,W]` bool, the label's text.
            seen: `[H,W]` bool, the pixels that count.
        """
        p, y = probability[seen].astype(np.float64), label[seen].astype(np.float64)
        place = np.minimum((p * self._bins).astype(np.int64), self._bins - 1)
        self._counts += np.bincount(place, minlength=self._bins)
        self._predicted += np.bincount(place, p, minlength=self._bins)
        self._text += np.bincount(place, y, minlength=self._bins)
        q = np.clip(p, 1e-12, 1 - 1e-12)
        self._entropy += float(-(q * np.log(q) + (1 - q) * np.log1p(-q)).sum())
        self._squares += float(np.square(p - y).sum())

    def result(self) -> Doubt | None:
        """What was collected; None where no pixel counted."""
        total = self._counts.sum()
        if not total:
            return None
        some = self._counts > 0
        divisor = np.where(some, self._counts, 1)
        predicted, observed = self._predicted / divisor, self._text / divisor
        return Doubt(
            entropy=self._entropy / total,
            error=float((np.abs(predicted - observed) * self._counts).sum() / total),
            brier=self._squares / total,
            predicted=[float(p) if full else None for p, full in zip(predicted, some, strict=True)],
            observed=[float(o) if full else None for o, full in zip(observed, some, strict=True)],
            counts=self._counts.astype(int).tolist(),
        )


# --- of all runs of a label -------------------------------------------------------------------------------------------


@dataclass
class NetworkEvidence:
    """What was measured of one student: its loss at each deviation of weight noise, its doubt (None: no text seen)."""

    run: str
    student: str
    losses: list[float]
    doubt: Doubt | None


@dataclass
class Evidence:
    """All runs of one label.

    Attributes:
        label: its name in the figures.
        networks: every student of every run.
        agreement: for each run of two students or more, (step, mean Dice over its pairs) at each log point.
        pulls: of every term that is no supervised one, of every run.
    """

    label: str
    networks: list[NetworkEvidence] = field(default_factory=list)
    agreement: list[list[tuple[int, float]]] = field(default_factory=list)
    pulls: list[Pull] = field(default_factory=list)

    def mean_losses(self) -> list[float]:
        """The networks' mean loss at each deviation."""
        return [statistics.fmean(column) for column in zip(*(n.losses for n in self.networks), strict=True)]

    def rise(self) -> float:
        """How much the mean loss grows from no noise to the largest: small around a flat minimum."""
        losses = self.mean_losses()
        return losses[-1] - losses[0]

    def reliability(self) -> list[tuple[float, float, float]]:
        """(mean p, share of text, pixels) of each bin that is not empty, all networks' pixels pooled."""
        pooled = []
        doubts = [network.doubt for network in self.networks if network.doubt is not None]
        for place in range(BINS):
            filled = [d for d in doubts if d.counts[place]]
            total = sum(d.counts[place] for d in filled)
            if total:
                p, o = (
                    sum((getattr(d, kind)[place] or 0.0) * d.counts[place] for d in filled) / total
                    for kind in ("predicted", "observed")
                )
                pooled.append((p, o, float(total)))
        return pooled

    def mean_pulls(self) -> list[tuple[str, float, float]]:
        """(kind of term, strength, direction), the mean over students, peers and runs: `mutual`, `teacher`, `st`."""
        kinds = dict.fromkeys(pull.label.partition("/")[0] for pull in self.pulls)
        grouped = {kind: [pull for pull in self.pulls if pull.label.partition("/")[0] == kind] for kind in kinds}
        return [
            (kind, statistics.fmean(p.strength for p in some), statistics.fmean(p.direction for p in some))
            for kind, some in grouped.items()
        ]

    def mean_of(self, name: str) -> float | None:
        """The networks' mean of a field of `Doubt`; None where no network saw text."""
        values = [getattr(network.doubt, name) for network in self.networks if network.doubt is not None]
        return statistics.fmean(values) if values else None
