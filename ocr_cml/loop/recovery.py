"""What becomes of a run whose numbers are no longer finite: it stops, or goes on without those that are to blame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ocr_cml.log import LOG
from ocr_cml.loop import divergence
from ocr_cml.loop.training import Training
from ppocr_data.errors import UserError

if TYPE_CHECKING:
    from ppocr_data.loader import Batch

_MOST_RESTARTS = 3


def recover(training: Training, finding: divergence.Finding, drawn: Sequence[Batch]) -> None:
    """Leave out, or begin anew, the students that are to blame. Nobody of this turn has moved; it is made again.

    Raises:
        UserError: that is not asked for (Global.on_divergence), or would not help.
    """
    mode, progress = training.config.Global.on_divergence, training.progress
    names = list(training.cohort.students)
    culprits = divergence.agreed(finding, names, training.world_size)
    step = progress.step + 1
    unseen = training.last_checked_step < progress.step
    nobody = "nothing was updated" if len(training.cohort.turns) == 1 else "nobody of this turn was updated"
    since = f"it began after step {training.last_checked_step}" if unseen else nobody
    hint = (
        f"{since}. Lower Optimizer.lr.learning_rate or set Optimizer.clip_norm"
        f"{'; Global.on_divergence says whether others go on' if mode == 'stop' and len(names) > 1 else ''}; "
        f"the batch was: {', '.join(source for batch in drawn for source in batch.sources)}"
    )
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
    training.run.record({"step": step, "divergence": {"students": culprits, mode: finding.text}})
    done = "dropped; the others go on" if mode == "drop" else "restarted from the initial weights"
    LOG.warning("step %d: %s; %s: %s", step, finding.text, ", ".join(culprits), done)


def _restart(training: Training, name: str) -> None:
    training.learners.restart(name)
    training.progress.restarts.setdefault(name, []).append(training.progress.step)
