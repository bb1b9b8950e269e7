"""Why a cohort's students are better, or not: finished runs side by side, in three figures and two tables.

    RUN/{config.yml, latest/, metrics.jsonl} of each run -> noise, doubt and agreement (.png, .svg), why.md, why.json

Runs of one label, the seeds of a method, are pooled. All networks see the same crops and the same held-out images:
those of the first run with labels. See `ocr_cml.why.evidence` for what is measured.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ocr_cml.environment import process_threads, tune_process
from ppocr_data.errors import ConfigError, UserError

if TYPE_CHECKING:
    from ocr_cml.models import Detector
    from ocr_cml.why.evidence import Evidence, Scale
    from ocr_cml.why.runs import FinishedRun
    from ppocr_data.loader import Batch

SIGMAS = (0.0, 0.05, 0.1, 0.15, 0.2)
"""Deviations of the weight noise, in root mean squares of each parameter tensor."""
_BATCH = 8
_PULLED = 2  # batches on which gradients are compared


def explain(
    runs: Sequence[str],
    output: Path,
    *,
    weights: str = "latest",
    images: int = 40,
    draws: int = 3,
    sigmas: Sequence[float] = SIGMAS,
    scale: Scale = "relative",
) -> int:
    """Measure every student of every run, write the figures and the table, print the table. Returns the exit code.

    Args:
        runs: run folders, each as `FOLDER` or `LABEL=FOLDER`; see `ocr_cml.why.runs.label_of`.
        output: folder of the results.
        weights: `latest` (the end of each run) or `best` (each run's best checkpoint, of unequal steps).
        images: training crops for the loss, and held-out images for the doubt, at most.
        draws: noise draws for each deviation.
        sigmas: deviations of the weight noise.
        scale: see `ocr_cml.why.evidence.noisy`.

    Raises:
        ConfigError: a folder that holds no run; runs on different data; arguments out of range.
        WeightsError: a checkpoint is missing or damaged.
        UserError: the results cannot be written.
    """
    _check_arguments(images, draws, sigmas)
    tune_process()
    from ocr_cml import assemble
    from ocr_cml.why import data as why_data
    from ocr_cml.why.evidence import Evidence, NetworkEvidence
    from ocr_cml.why.report import write
    from ocr_cml.why.runs import agreement_of, check_comparable, other_crops, read_run

    found = [read_run(text) for text in runs]
    check_comparable(found)
    reference = next((run for run in found if run.config.Train.dataset.label_file_list), None)
    if reference is None:
        raise ConfigError("no run has training labels, so none has a supervised loss; name one that has beside them")
    assemble.use_device(reference.config)
    assemble.prepare_embedded_set(reference.config)
    crops = why_data.crops(reference.config, images, _BATCH)
    pages = why_data.pages(reference.config, images)
    evidence: dict[str, Evidence] = {}
    notes = [note for run in found if (note := other_crops(run, reference, weights))]
    for run in found:
        entry = evidence.setdefault(run.label, Evidence(run.label))
        networks = why_data.students(run, weights)
        for name, network in networks.items():
            losses = why_data.losses(network, reference.config, run.config, crops, sigmas, draws, scale)
            doubt = why_data.doubt(network, run.config, pages)
            entry.networks.append(NetworkEvidence(run.folder.as_posix(), name, losses, doubt))
            notes += _too_noisy(f"{run.folder}: {name}", losses, sigmas)
        notes += [f"{run.folder}: {run.damaged} damaged line(s) of metrics.jsonl left out"] if run.damaged else []
        if series := agreement_of(run.records):
            entry.agreement.append(series)
        notes += _add_pulls(entry, run, weights, networks, crops[:_PULLED])
    settings = {"weights": weights, "crops": sum(len(batch.sources) for batch in crops), "pages": len(pages)}
    settings |= {"draws": draws, "sigmas": list(sigmas), "scale": scale, "data": reference.folder.as_posix()}
    sys.stdout.write(write(list(evidence.values()), settings, notes, output))
    return 0


def _add_pulls(
    entry: Evidence, run: FinishedRun, weights: str, networks: dict[str, Detector], batches: Sequence[Batch]
) -> list[str]:
    """Measure how hard a run's terms pull; returns a note on what could not be measured."""
    from ocr_cml.why.pull import pulls_at

    try:
        found, left_out = pulls_at(run, weights, networks, batches, process_threads())
    except UserError as error:  # a run may be looked at where its teacher is not
        return [f"{run.folder}: how hard its terms pull was not measured: {error}"]
    entry.pulls += found
    if not left_out:
        return []
    return [
        f"{run.folder}: how hard {', '.join(left_out)} pull was not measured: {weights}/ does not hold the connectors "
        "that they were trained with; --weights latest measures them"
    ]


def _too_noisy(name: str, losses: Sequence[float], sigmas: Sequence[float]) -> list[str]:
    """A note where the noise was too much for a network to answer with numbers."""
    lost = [sigma for sigma, loss in zip(sigmas, losses, strict=True) if not math.isfinite(loss)]
    return [
        f"{name}: has no loss at a deviation of {sigma:g}, where activations overflow; give --noise smaller ones"
        for sigma in lost[:1]
    ]


def _check_arguments(images: int, draws: int, sigmas: Sequence[float]) -> None:
    for name, value in (("--images", images), ("--draws", draws)):
        if value < 1:
            raise ConfigError(f"{name}: must be at least 1, is {value}")
    if len(sigmas) < 2 or sigmas[0] != 0 or sorted(set(sigmas)) != list(sigmas) or not all(map(math.isfinite, sigmas)):
        listed = " ".join(f"{sigma:g}" for sigma in sigmas)
        raise ConfigError(f"--noise: give 0 and then larger deviations, rising, for example 0 0.05 0.1; is {listed}")
