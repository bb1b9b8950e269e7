"""Where a run stands: all that a checkpoint says beside its arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ocr_cml.records import Best


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        step: optimizer steps done.
        best: the best student so far, or None before the first evaluation.
        teachers: for each teacher the path and hash of what answered, for the record.
        overtaken: the teachers' hmean was passed by a student, and it was said.
        dropped: students that diverged and were left out, with the step after which that was.
        restarts: for each student that diverged and began anew, the steps after which it did.
        evaluation_due: the evaluation of this step could not be made, and comes first when the run goes on.
        loss_scale: float16's factor of the loss, and the turns since it last changed.
        unlabelled: SHA-256 of the names of the images without labels; empty without such, and in old checkpoints.
        started_from: SHA-256 of the weight file that each student started from, of those that did; empty in old
            checkpoints.
        trained_on, scored_on: SHA-256 of the label files for training and for evaluation; empty in old checkpoints.
        mean_updates: how often each student's exponential mean was moved; old checkpoints leave it to the step.
        samples_a_step: labelled and unlabelled samples of a step, in all processes; None in old checkpoints. With
            others the step would say neither where the data stand nor where the schedules do.
    """

    step: int = 0
    best: Best | None = None
    teachers: dict[str, dict[str, str]] = field(default_factory=dict)
    started_from: dict[str, str] = field(default_factory=dict)
    overtaken: bool = False
    dropped: dict[str, int] = field(default_factory=dict)
    restarts: dict[str, list[int]] = field(default_factory=dict)
    loss_scale: tuple[float, int] | None = None
    evaluation_due: bool = False
    trained_on: str = ""
    scored_on: str = ""
    unlabelled: str = ""
    mean_updates: dict[str, int] = field(default_factory=dict)
    samples_a_step: tuple[int, int] | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Progress:
        """What `state.json` says; raises KeyError or TypeError where it says something else."""
        if type(data["step"]) is not int:
            raise TypeError(f"step is {data['step']!r}")
        best = Best(**data["best"]) if data.get("best") else None
        scale, samples = data.get("loss_scale"), data.get("samples_a_step")
        return cls(
            step=data["step"],
            best=best,
            teachers=dict(data.get("teachers", {})),
            started_from=dict(data.get("started_from", {})),
            overtaken=bool(data.get("overtaken", False)),
            dropped=dict(data.get("dropped", {})),
            restarts={name: list(steps) for name, steps in dict(data.get("restarts", {})).items()},
            evaluation_due=bool(data.get("evaluation_due", False)),
            loss_scale=(float(scale[0]), int(scale[1])) if scale else None,
            trained_on=str(data.get("trained_on", "")),
            scored_on=str(data.get("scored_on", "")),
            unlabelled=str(data.get("unlabelled", "")),
            mean_updates=dict(data.get("mean_updates", {})),
            samples_a_step=(int(samples[0]), int(samples[1])) if samples else None,
        )
