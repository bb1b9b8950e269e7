"""What becomes of a run whose numbers are no longer finite: it stops, or goes on without those that are to blame."""

from __future__ import annotations

from collections.abc import Sequence

from ocr_cml import checkpoint
from ocr_cml.log import LOG
from ocr_cml.loop import divergence
from ocr_cml.loop.training import Training
from ocr_cml.records import IN_EVALUATION
from ppocr_data.errors import UserError
from ppocr_data.loader import Batch

_MOST_RESTARTS = 3


def recover(
    training: Training, finding: divergence.Finding, drawn: Sequence[Batch] = (), *, evaluating: bool = False
) -> None:
    """Leave out, or begin anew, the students that are to blame.

    Args:
        training: the training.
        finding: who is to blame, and for what.
        drawn: the batches of the step in which it was found: nobody of its turn has moved, and it is made again.
            Without them it was found in what the last step left.
        evaluating: found by an evaluation, which is made again.

    Raises:
        UserError: that is not asked for (Global.on_divergence), or would not help.
    """
    mode, progress = training.config.Global.on_divergence, training.progress
    names = list(training.cohort.students)
    culprits = divergence.agreed(finding, names, training.world_size)
    step = progress.step + bool(drawn)
    hint = (
        f"{_since(training, drawn)}. Lower Optimizer.lr.learning_rate or set Optimizer.clip_norm"
        f"{'; Global.on_divergence says whether others go on' if mode == 'stop' and len(names) > 1 else ''}"
    )
    if drawn:
        hint += f"; the batch was: {', '.join(source for batch in drawn for source in batch.sources)}"
    latest = training.run.path / checkpoint.LATEST
    if evaluating and (before := checkpoint.previous_of(latest)).is_dir():
        hint += f"; {latest} holds them already: remove it, and the run goes on from the one before, {before}"
    often = [name for name in culprits if len(progress.restarts.get(name, [])) >= _MOST_RESTARTS]
    if mode == "stop" or not culprits or (mode == "restart" and often):
        again = f" again after {_MOST_RESTARTS} restarts" if often else ""
        raise UserError(f"step {step}: {finding.text}{again}; {hint}")
    if mode == "drop":
        try:
            training.learners.drop(*culprits)
        except ValueError as error:
            raise UserError(f"step {step}: {finding.text}; {error}; {hint}") from None
        progress.dropped |= dict.fromkeys(culprits, progress.step)
    else:
        for name in culprits:
            _restart(training, name)
    event = {"students": culprits, mode: finding.text} | ({IN_EVALUATION: True} if evaluating else {})
    training.run.record({"step": step, "divergence": event})
    done = "dropped; the others go on" if mode == "drop" else "restarted from the initial weights"
    LOG.warning("step %d: %s; %s: %s", step, finding.text, ", ".join(culprits), done)


def _since(training: Training, drawn: Sequence[Batch]) -> str:
    """When it began, as far as is known: the step that nobody has made is not to blame."""
    if training.last_checked_step < training.progress.step:
        return f"it began after step {training.last_checked_step}"
    if not drawn:
        return f"it began with step {training.progress.step}"
    return "nothing was updated" if len(training.cohort.turns) == 1 else "nobody of this turn was updated"


def _restart(training: Training, name: str) -> None:
    training.learners.restart(name)
    training.progress.restarts.setdefault(name, []).append(training.progress.step)
