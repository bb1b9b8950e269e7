"""How a run goes on from a checkpoint: what it takes over, and what it must not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ocr_cml import checkpoint
from ocr_cml.binding import stated_terms
from ocr_cml.changed_keys import keys_that_differ
from ocr_cml.checkpoint import BEST, Checkpoint, Progress
from ocr_cml.config import load_record
from ocr_cml.distributed import largest_of_ranks
from ocr_cml.log import LOG
from ocr_cml.loop import validation
from ocr_cml.loop.training import Training
from ocr_cml.optim import term_weight
from ocr_cml.records import Best
from ocr_cml.run_files import CONFIG
from ocr_cml.schema import Config
from ppocr_data.errors import ConfigError, UserError, WeightsError

_JUMP = 2.0
"""How many times higher than before a learning rate is that people should hear of."""
_SMALL = 0.2
"""The share of a term's weight of which a change is not worth a word."""
_SCORED_BY = ("Eval.dataset.", "PostProcess.", "Metric.")
"""Sections that say how an hmean comes about: under others it is another number."""


def resume(training: Training) -> None:
    """Bring a training to where its run stands, and record its configuration.

    Raises:
        WeightsError: there is no whole checkpoint, or it is one of another cohort.
        UserError: the processes that train together do not all stand at one step, or steps have other sizes now.
    """
    run = training.run
    found = None
    if run.resume_from is not None:
        found, damaged = checkpoint.find(run.resume_from)
        for line in damaged:
            LOG.warning("passed over a damaged checkpoint: %s", line)
    # Before anything else that processes do together: one of them may see no checkpoint.
    _stand_together(training, 0 if found is None else found.progress.step)
    if found is not None:
        _take_over(training, found)
    # Not before: a folder whose checkpoint does not fit keeps the configuration that it was made with.
    run.record_config(training.config)


def _take_over(training: Training, found: Checkpoint) -> None:
    _same_samples(found.progress, training.progress)
    for name, step in found.progress.dropped.items():
        LOG.info("%s had diverged after step %d and was dropped", name, step)
    training.learners.restore(found)
    then = _recorded(found)
    changed = None if then is None else keys_that_differ(then, training.config)
    if changed:
        LOG.info("settings that differ from the checkpoint's: %s", ", ".join(changed))
    for line in _what_is_not_as_it_was(training, found, then, changed or []):
        LOG.warning("%s", line)
    reason = _why_not_best(training, found, changed)
    today = training.progress
    training.progress = replace(
        found.progress,
        teachers=today.teachers,
        unlabelled=today.unlabelled,
        trained_on=today.trained_on,
        scored_on=today.scored_on,
        samples_a_step=today.samples_a_step,
        overtaken=found.progress.overtaken and today.teachers == found.progress.teachers,
    )
    _keep_or_forget_best(training, reason)
    step = training.progress.step
    reached = training.run.forget_after(step, evaluated_anew=training.progress.evaluation_due)
    LOG.info("resumed from %s at step %d", found.folder, step)
    if reached > step:
        LOG.info("steps %d to %d had not been saved; they are made again", step + 1, reached)


def _what_is_not_as_it_was(
    training: Training, found: Checkpoint, then: Config | None, changed: list[str]
) -> Iterator[str]:
    """What people should know of before a run goes on under it, a line each."""
    before, today = found.progress, training.progress
    if then is not None:
        yield from _rate_that_jumps(training, before.step, then)
        yield from _ramps_that_jump(training, before.step, then)
        yield from _connectors_of_other_terms(training, changed)
    if training.config.Global.pretrained_model and not training.run.holds(found.folder):
        yield f"Global.pretrained_model has no effect: every weight is that of {found.folder}"
    if today.teachers != before.teachers:
        yield "the teachers are not those of the checkpoint (path or SHA-256 differ); going on with today's"
    restarts = training.config.Global.on_divergence == "restart"
    if restarts and before.started_from and before.started_from != today.started_from:
        yield (
            "the weight files that students begin with are not those of the checkpoint; a student that is restarted "
            "begins with today's"
        )
    if before.trained_on not in ("", today.trained_on):
        yield (
            "the training labels are not those of the checkpoint; going on with today's, in an order and with "
            "schedules that follow from their number"
        )
    if before.unlabelled not in ("", today.unlabelled):
        yield (
            "the images without labels are not those of the checkpoint; going on with today's, in an order that "
            "follows from their number"
        )


def _keep_or_forget_best(training: Training, reason: str) -> None:
    """Go on from the best result so far, or look for the best student anew where there is a reason on any rank."""
    progress = training.progress
    if largest_of_ranks(bool(reason), training.world_size):
        if reason:
            LOG.warning("%s; the best student is looked for anew", reason)
            validation.forget(training.run.path)  # pictures of what counts no more
        progress.best, progress.evaluation_due, progress.overtaken = None, True, False
    elif training.rank == 0 and progress.best:
        _put_best_in_place(training.run.path, progress.best)


def _recorded(found: Checkpoint) -> Config | None:
    """The configuration that made a checkpoint; None of one that this version does not read."""
    try:
        return load_record(found.folder / CONFIG)
    except ConfigError:
        return None


def _rate_that_jumps(training: Training, step: int, then: Config) -> Iterator[str]:
    """Whether the learning rate jumps: a schedule that was over may go on."""
    today, before = training.timetable, replace(training.timetable, config=then)
    was, now = before.rate(max(0, step - 1)), today.rate(step)
    if step < today.last_step and today.schedule_steps > before.schedule_steps and now > _JUMP * was:
        yield (
            f"the learning rate goes on at {now:.2e}, where the run had come down to {was:.2e}: the schedule spans "
            f"{today.schedule_steps} steps now, which were {before.schedule_steps}"
        )


def _ramps_that_jump(training: Training, step: int, then: Config) -> Iterator[str]:
    """Whether a term's weight is another one than it would have been: the schedules' length may have changed."""
    today, before = training.timetable, replace(training.timetable, config=then)
    for term in stated_terms(training.config) if step < today.last_step else ():
        was, now = (term_weight(term.common.weight, times.fraction(step)) for times in (before, today))
        if abs(now - was) > _SMALL * max(abs(now), abs(was)):
            yield (
                f"{'.'.join(term.path)}.weight goes on at {now:.3g}, where it had come to {was:.3g}: the schedule "
                f"spans {today.schedule_steps} steps now, which were {before.schedule_steps}"
            )


def _connectors_of_other_terms(training: Training, changed: list[str]) -> Iterator[str]:
    """What a term has learnt is known by its name and place: two entries that change places take each other's."""
    carrying = {bound.binding.term for bound in training.cohort.terms if bound.term.parameters()}
    paths = [".".join(term.path) for term in stated_terms(training.config) if term.position in carrying]
    for path in paths:
        other = [key for key in changed if key.startswith(f"{path}.") and not key.startswith(f"{path}.weight")]
        if other:
            yield (
                f"{', '.join(other)}: the connectors that go on were trained with another setting, perhaps another "
                "entry's whose place this one has now"
            )


def _same_samples(then: Progress, now: Progress) -> None:
    """With more or fewer images a step, images would be left out or come twice, and the schedules end elsewhere."""
    if then.samples_a_step is None or now.samples_a_step is None or then.samples_a_step == now.samples_a_step:
        return
    before, today = (" and ".join(_counted(progress.samples_a_step)) for progress in (then, now))
    raise UserError(
        f"the run learnt from {before} a step until step {then.step}, today's settings make {today}: the place in the "
        "data and the schedules, which are counted in steps, would be lost. Keep the product of processes, "
        "batch_size_per_card and Optimizer.accumulate (with -o Global.checkpoints=RUN), or begin a new run from these "
        "weights: -o Global.pretrained_model=RUN/latest Global.save_model_dir=ANOTHER"
    )


def _counted(samples: tuple[int, int] | None) -> list[str]:
    kinds = zip(samples or (), ("labelled", "unlabelled"), strict=False)
    return [f"{count} {kind} image{'s' * (count != 1)}" for count, kind in kinds if count]


def _why_not_best(training: Training, found: Checkpoint, changed: list[str] | None) -> str:
    """Why the recorded best result cannot be kept: its weights are missing, or it was scored in another way.

    Nothing where there is none, and on all ranks but the first, which alone sees the run's folder.
    """
    best = found.progress.best
    if best is None or training.rank != 0:
        return ""
    told = f"the best so far, {best.student} at step {best.step}, hmean {best.hmean:.4f}"
    if best not in _kept_in(training.run.path):
        return f"{told}, does not lie in {training.run.path / BEST}"
    if changed is None:  # the record is of another version
        return f"{told}, was scored by a configuration that this version does not read"
    if found.progress.scored_on not in ("", training.progress.scored_on):
        return f"{told}, was scored on other labels"
    scored = [key for key in changed if key.startswith(_SCORED_BY)]
    return f"{told}, was scored with another {', '.join(scored[:3])}" if scored else ""


def _put_best_in_place(run: Path, best: Best) -> None:
    """Where `best.previous` holds the best of what goes on, and `best` that of steps which are made anew: swap them."""
    if _kept_in(run)[0] != best:
        checkpoint.swap_with_previous(run / BEST)


def _kept_in(run: Path) -> list[Best | None]:
    """The results whose weights best/ and best.previous/ hold; None of one that is not there or damaged."""
    found: list[Best | None] = []
    for folder in (run / BEST, checkpoint.previous_of(run / BEST)):
        try:
            found.append(checkpoint.open_checkpoint(folder).progress.best)
        except WeightsError:
            found.append(None)
    return found


def _stand_together(training: Training, step: int) -> None:
    """A process that began elsewhere would learn from other images at another rate, and drift away unseen."""
    ranks = training.world_size
    first, last = -largest_of_ranks(-step, ranks), largest_of_ranks(step, ranks)
    if first != last:
        raise UserError(
            f"process {training.rank} stands at step {step}, others at {first if step == last else last}: all of "
            f"them must see one and the same {training.run.path}; put Global.save_model_dir on a disk that the "
            "machines share"
        )
