"""What a run begins with although it is hardly meant: settings without effect, labels and images that teach nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ocr_cml import assemble
from ocr_cml.binding import TEACHERS, auxiliary_weights, ever_counts, idle_arguments, stated_terms
from ocr_cml.checkpoint import progress_in
from ocr_cml.evaluate import without_text
from ocr_cml.loop.training import Training
from ocr_cml.optim import idle_settings, term_weight, warmup
from ppocr_data.dataset import record_of
from ppocr_data.errors import DataError
from ppocr_data.labels import Sample
from ppocr_data.op import Op
from ppocr_data.spread import evenly

_LOOKED_AT = 8
"""Images of each set of which it is asked whether they show their texts."""


def doubts(training: Training) -> Iterator[str]:
    """A sentence for people on each, with what to do."""
    config = training.config
    if config.Global.use_amp is True and not training.gradients.amp:
        yield "Global.use_amp: true has no effect on a CPU, where Paddle has no mixed precision"
    for term in stated_terms(config):
        for name, why in idle_arguments(term).items():
            yield f"{'.'.join(term.path)}.{name} has no effect with {why}"
    for name, why in idle_settings(config.Optimizer).items():
        yield f"{name} has no effect with {why}"
    yield from filter(None, (_late_height(training), _rate_of_zero(training), _seen_in_training(training)))
    yield from _overruled_weights(training)
    yield from _better_starts(training)
    yield from _without_pull(training)
    yield from _weights_of_single_teachers(training)
    yield from _untaught_branches(training)
    yield from filter(None, (without_text(training.evaluator.dataset), _unreadable(training)))
    yield from _text_outside(training)


def _late_height(training: Training) -> str:
    """Where the learning rate rises for the whole run or its whole schedule: what that means. Else nothing."""
    times, rate = training.timetable, training.config.Optimizer.lr
    warm = warmup(rate, times.steps_per_epoch)
    if warm < min(times.last_step, times.schedule_steps):
        return ""
    if warm < times.last_step:
        return (
            f"the learning rate's warm-up takes {warm} steps and its schedule spans {times.schedule_steps}, so it "
            f"rises until that ends; set Optimizer.lr.decay_steps={times.last_step}, or a shorter warm-up"
        )
    less = "warmup_epoch=0" if rate.warmup_steps is None else f"warmup_steps={times.last_step // 10}"
    return (
        f"the learning rate's warm-up takes {warm} steps and the run has {times.last_step}, so the rate only rises; "
        f"set Optimizer.lr.{less}, say"
    )


def _rate_of_zero(training: Training) -> str:
    """Where the run goes on behind the end of a schedule that comes down to nothing: what that means. Else nothing."""
    times = training.timetable
    idle = times.last_step - times.schedule_steps
    if idle <= 0 or times.rate(times.last_step - 1) > 0:
        return ""
    return (
        f"the learning rate's schedule spans {times.schedule_steps} steps and the run has {times.last_step}: its last "
        f"{idle} have a learning rate of 0 and change no weight; set Optimizer.lr.decay_steps={times.last_step}, or an "
        "Optimizer.lr.end_lr above 0"
    )


def _overruled_weights(training: Training) -> list[str]:
    """Students' own weights beside a file for all."""
    if not training.config.Global.pretrained_model or training.progress.step:
        return []
    return [
        f"Architecture.Models.{name}.pretrained has no effect beside Global.pretrained_model, from which every student "
        "starts; keep one of the two"
        for name, network in training.config.students.items()
        if network.pretrained
    ]


def _better_starts(training: Training) -> Iterator[str]:
    """Students that start from a run of several, none of them from its best."""
    config = training.config
    starts: dict[str, list[str]] = {}
    for name, network in config.students.items() if not training.progress.step else ():
        if where := assemble.start_of(config, network):
            starts.setdefault(where, []).append(name)
    for where, names in starts.items():
        best = found.best if (found := progress_in(Path(where))) else None
        if best and best.student not in names and Path(where, f"{best.student}.safetensors").is_file():
            yield (
                f"{', '.join(names)} starts as that of its name in {where}, whose best student is {best.student} "
                f"(hmean {best.hmean:.4f}); to start from the best write it into a file (tools/export_model.py "
                "--to-paddleocr FILE) and name that"
            )


def _without_pull(training: Training) -> list[str]:
    """Terms whose schedule has no weight in any step of this run, as it stops before the schedules do."""
    times = training.timetable
    ends = [times.fraction(step) for step in (0, times.last_step - 1)]  # a ramp between two zeros is one all along
    return [
        f"{'.'.join(term.path)}.weight is 0 in all {times.last_step} steps of this run, as its schedule spans "
        f"{times.schedule_steps}; set Optimizer.lr.decay_steps={times.last_step}, or an earlier `over`"
        for term in stated_terms(training.config)
        if ever_counts(term.common.weight) and not any(term_weight(term.common.weight, end) for end in ends)
    ]


def _weights_of_single_teachers(training: Training) -> list[str]:
    """A teacher's weight is its share in the mean of several, and nothing beside a term that asks it alone."""
    if any(bound.binding.guide == TEACHERS for bound in training.cohort.terms):
        return []
    return [
        f"Architecture.Models.{name}.weight has no effect where no term asks for the mean of several teachers; a "
        "teacher's pull is the weight of its term in Loss.loss_config_list"
        for name, network in training.config.teachers.items()
        if network.weight != 1
    ]


def _untaught_branches(training: Training) -> list[str]:
    """Auxiliary branches that are computed and that no loss looks at."""
    weighed = [term for term in stated_terms(training.config) if auxiliary_weights(term)]
    taught = {name for term in weighed for name in term.common.model_name_list or training.config.students}
    return [
        f"Architecture.Models.{name}.Head.aux_in_channels: its branches are computed in every step and taught by "
        "nothing; set DBLoss.aux_weight_p2, aux_weight_p3 and aux_weight_p4, or aux_in_channels to 0"
        for name, network in training.config.students.items()
        if (network.Head or {}).get("aux_in_channels") and name not in taught
    ]


def _seen_in_training(training: Training) -> str:
    """Where evaluation images are trained on: how many. Else nothing."""
    learnt = {
        sample.image.absolute()
        for dataset in (training.labelled, training.unlabelled)
        for sample in (dataset.samples if dataset is not None else ())
    }
    scored = [sample.image.absolute() for sample in training.evaluator.dataset.samples]
    seen = sum(path in learnt for path in scored)
    if not seen:
        return ""
    return (
        f"{seen} of the {len(scored)} evaluation images are among the training images (labelled or not): a score on "
        "what was seen says little; keep them apart"
    )


def _unreadable(training: Training) -> str:
    """Where labels have no text to teach. Else nothing."""
    if training.labelled is None or any(sample.readable for sample in training.labelled.samples):
        return ""
    return (
        "no training image has a readable text (none at all, or all of it don't care): labels teach nothing but "
        "background; look at Train.dataset.label_file_list"
    )


def _text_outside(training: Training) -> list[str]:
    """Where the texts of the images that are looked at lie beside the images: what that means, for each set."""
    warnings = []
    for what, dataset in (("training", training.labelled), ("evaluation", training.evaluator.dataset)):
        labelled = [sample for sample in (dataset.samples if dataset is not None else ()) if sample.readable]
        looked_at = [labelled[index] for index in evenly(len(labelled), _LOOKED_AT)]
        if looked_at and dataset is not None and not any(_shows_text(sample, dataset.ops[0]) for sample in looked_at):
            warnings.append(
                f"no text of {len(looked_at)} {what} image{'s' * (len(looked_at) != 1)} that were looked at lies in "
                "its image: points of a larger one perhaps, or of another; tools/prepare_data.py check lists them"
            )
    return warnings


def _shows_text(sample: Sample, decode: Op) -> bool:
    """Whether a readable text lies in the image, at least with a corner of its box; True of what cannot be read."""
    try:
        height, width = decode(record_of(sample, 0), np.random.default_rng(0))["image"].shape[:2]
    except DataError:  # told when its turn comes
        return True
    boxes = [(p.min(axis=0), p.max(axis=0)) for p, skip in zip(sample.polygons, sample.ignore, strict=True) if not skip]
    return any(low[0] < width and low[1] < height and high[0] > 0 and high[1] > 0 for low, high in boxes)
