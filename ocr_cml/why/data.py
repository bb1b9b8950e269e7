"""What `ocr_cml.why` shows the networks: training crops with their targets, held-out pages with their text pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ocr_cml import assemble
from ocr_cml.binding import stated_terms
from ocr_cml.checkpoint import LATEST, open_checkpoint
from ocr_cml.losses import DBLoss, decode_targets
from ocr_cml.models import Detector
from ocr_cml.runtime import LayerDetector
from ocr_cml.schema import Config
from ocr_cml.why.evidence import Doubt, DoubtMeter, Scale, noise_curve
from ocr_cml.why.runs import FinishedRun
from ppocr_data.dataset import EvalDataset
from ppocr_data.errors import ConfigError
from ppocr_data.geometry import fill
from ppocr_data.loader import Batch, collate
from ppocr_data.spread import evenly
from ppocr_data.targets import MakeShrinkMap, shrink_target

_UNSEEN_EPOCH = 1_000_000


@dataclass(frozen=True)
class TextPage:
    """A held-out image `[H,W,3]` uint8 at network size; bool maps `[H,W]`: shrunken text, and the pixels that count."""

    image: np.ndarray
    label: np.ndarray
    seen: np.ndarray


def crops(config: Config, count: int, batch_size: int) -> list[Batch]:
    """Training crops with their targets, in batches, the same at every call.

    They are augmented, from images evenly spread over the set, as of an epoch that no run reaches: no run has seen
    these very crops, and a shrink ratio that has a schedule is at its end.
    """
    dataset = assemble.labelled_dataset(config)
    if dataset is None:
        raise ConfigError("Train.dataset.label_file_list: names no labels, so there is no supervised loss")
    indices = evenly(len(dataset), count)
    return [
        collate([dataset[_UNSEEN_EPOCH, index] for index in indices[start : start + batch_size]])
        for start in range(0, len(indices), batch_size)
    ]


def pages(config: Config, count: int) -> list[TextPage]:
    """Held-out images with their text pixels, evenly spread over the set."""
    dataset, rule = assemble.eval_dataset(config), assemble.shrink_rule(config)
    return [text_page(dataset, index, rule) for index in evenly(len(dataset), count)]


def text_page(dataset: EvalDataset, index: int, rule: MakeShrinkMap) -> TextPage:
    """One held-out image. Text pixels are those of whole words or lines that are neither don't-care nor too small."""
    record = dataset[index]
    size = record["image"].shape[:2]
    factor = np.array([size[1] / record["image_hw"][1], size[0] / record["image_hw"][0]], np.float32)
    polygons = [np.asarray(polygon, np.float32) * factor for polygon in record["polygons"]]
    ratio = rule.schedule.at(rule.schedule.total_epoch)
    label, mask = shrink_target(size, polygons, record["ignore"], ratio, rule.min_text_size)
    whole = np.zeros(size, np.uint8)
    for polygon in polygons:
        fill(whole, polygon, 1)
    return TextPage(record["image"], label.astype(bool), (whole > 0) & (mask > 0))


def students(run: FinishedRun, weights: str) -> dict[str, Detector]:
    """Every student of a run with its trained weights, without those that had been dropped; their exponential mean
    where the run kept one.

    Raises:
        WeightsError: the checkpoint is missing, damaged, or does not hold the student.
    """
    averaged = weights == LATEST and run.config.Optimizer.ema_decay is not None
    return assemble.students_of(run.config, open_checkpoint(run.folder / weights), averaged=averaged)


def losses(
    network: Detector,
    reference: Config,
    own: Config,
    batches: Sequence[Batch],
    sigmas: Sequence[float],
    draws: int,
    scale: Scale,
) -> list[float]:
    """The reference run's supervised loss of a network under growing weight noise.

    Args:
        network: a student.
        reference: of the run that the crops are from.
        own: of the network's run: how pixels become its input.
        batches: the crops.
        sigmas, draws, scale: see `noise_curve`.
    """
    normalization = assemble.normalization(own)
    shown = [(normalization.to_device(batch.image), decode_targets(batch)) for batch in batches]
    return noise_curve(network, _supervised(reference), shown, sigmas, draws, scale)


def _supervised(config: Config) -> DBLoss:
    """The first supervised term of a configuration, or that of PP-OCR."""
    return DBLoss(**next((term.own for term in stated_terms(config) if term.cls is DBLoss), {}))


def doubt(network: Detector, config: Config, held_out: Sequence[TextPage]) -> Doubt | None:
    """How certain a network is on the held-out text pixels, and how rightly; None where there are none."""
    detector = LayerDetector(network, assemble.normalization(config))
    meter = DoubtMeter()
    for page in held_out:
        meter.add(detector.probability(page.image[None])[0], page.label, page.seen)
    return meter.result()
