"""Numbers that are no longer finite: where they began, whose they are, and the loss scale that float16 needs.

A check costs one reading of the device for each move. Only when it fails are the parts looked at one by one: teachers,
pixels, each student's weights and answer, each term, each gradient. A student is to blame for its own weights, answer,
terms and gradient; what a broken guide made of a sound learner's term is not the learner's fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import paddle

from ocr_cml.batches import pixels
from ocr_cml.cohort import Cohort, StepResult, only_asked
from ocr_cml.distributed import sum_over_ranks
from ocr_cml.evaluate import MapFunction
from ocr_cml.models.blocks import running_statistics
from ocr_cml.models.detector import DetOutput
from ppocr_data.loader import Batch

_LARGEST_SCALE = 2.0**15
_TURNS_TO_DOUBLE = 2000


@dataclass(frozen=True)
class Finding:
    """What is not finite.

    Attributes:
        text: the sources, for people.
        culprits: students whose own numbers failed. Empty: no student can be blamed, and none can be left out for it.
        by_gradient: only gradients are broken. Averaged over ranks they tell nothing where another rank saw the source.
        unseen: the total alone is not finite here: another rank may have seen why.
    """

    text: str
    culprits: tuple[str, ...] = ()
    by_gradient: bool = False
    unseen: bool = False


class LossScale:
    """Factor of the loss before backward, so that small gradients survive float16; halved whenever it overflows.

    Paddle's GradScaler looks at the optimizer that stepped last only, so that with several students the overflow of one
    would never lower the scale; and a checkpoint could not go on with it bit for bit.

    Args:
        used: False keeps the factor at 1 for ever.
    """

    def __init__(self, used: bool) -> None:
        self.used = used
        self.value = _LARGEST_SCALE if used else 1.0
        self.good_turns = 0

    @property
    def may_back_off(self) -> bool:
        """Whether an overflow can be the scale's fault."""
        return self.used and self.value > 1.0

    def update(self, overflowed: bool) -> None:
        """Halve after an overflow; double after 2000 turns without one, each a step unless students alternate."""
        if not self.used:
            return
        self.good_turns = 0 if overflowed else self.good_turns + 1
        if overflowed:
            self.value = max(1.0, self.value / 2)
        elif self.good_turns >= _TURNS_TO_DOUBLE:
            self.value, self.good_turns = min(_LARGEST_SCALE, self.value * 2), 0


@paddle.no_grad()
def checksum(answer: DetOutput) -> paddle.Tensor:
    """A scalar that is finite where the whole map is."""
    return answer.shrink_logit.astype("float32").mean()


@paddle.no_grad()
def unscale_and_find_broken(
    parameters: Mapping[str, Sequence[paddle.Tensor]], total: paddle.Tensor, scale: float
) -> set[str]:
    """Divide all gradients by `scale`, in place, and find whose are not finite. One reading of the device.

    Args:
        parameters: by student.
        total: the loss and what else must be finite, a scalar; `""` is among the answers where it is not finite.
        scale: what the loss was multiplied by.
    """
    factor = paddle.to_tensor([scale], dtype="float32")
    flags = [paddle.logical_not(paddle.isfinite(total)).reshape([1])]
    for owned in parameters.values():
        gradients = [p.grad for p in owned if p.grad is not None]
        if not gradients:
            flags.append(paddle.zeros([1], dtype="bool"))
            continue
        # One kernel for all of a student's gradients; Paddle's GradScaler uses it too.
        _, found = paddle._C_ops.check_finite_and_unscale_(gradients, factor)
        flags.append(found.reshape([1]))
    found_at = paddle.concat([flag.astype("int32") for flag in flags]).numpy()
    return {name for name, bad in zip(("", *parameters), found_at, strict=True) if bad}


@paddle.no_grad()
def examine(
    cohort: Cohort,
    batches: Sequence[Batch],
    answers: Sequence[Mapping[str, DetOutput]],
    results: Sequence[StepResult],
    learners: Sequence[str],
) -> Finding:
    """Look for the source of numbers that are not finite, inputs first, then weights, answers, terms, gradients.

    Returns:
        The first kind of them that fails; the later ones follow from it.
    """
    for batch, given in zip(batches, answers, strict=True):
        if not np.isfinite(cohort.normalization.apply(batch.image)).all():
            return Finding("the normalised pixels are not finite (NormalizeImage's scale or std)")
        silent = [name for name, answer in given.items() if not _finite(answer.shrink_logit)]
        if silent:
            return Finding(f"the answer of the teacher {', '.join(silent)} is not finite")
    broken = {name: text for name in cohort.students if (text := _weights(cohort, name))}
    for name, student in cohort.students.items():
        if name in broken:
            continue
        with only_asked(student):
            outputs = [student(cohort.normalization.to_device(pixels(batch))) for batch in batches]
        if not all(_finite(output.shrink_logit) for output in outputs):
            broken[name] = f"{name}'s answer is not finite though its weights are: its activations overflow"
    guides = {term.binding.label: (term.binding.learner, term.binding.guide) for term in cohort.terms}
    bad = dict.fromkeys(label for result in results for label, value in result.parts.items() if not _finite(value))
    if not broken:
        for label in bad:
            broken.setdefault(guides[label][0], f"the term {label} is not finite though its inputs are")
    by_gradient = not broken
    if by_gradient:
        broken = {name: text for name in learners if (text := _gradient(cohort, name))}
    listed = f"; not finite are therefore {', '.join(bad)}" if bad else ""
    if not broken:
        return Finding("the weighted total is not finite", unseen=True)
    return Finding("; ".join(broken.values()) + listed, tuple(broken), by_gradient)


@paddle.no_grad()
def broken_weights(cohort: Cohort) -> Finding | None:
    """The students whose weights are not finite; None where all are."""
    broken = {name: text for name in cohort.students if (text := _weights(cohort, name))}
    return Finding("; ".join(broken.values()), tuple(broken)) if broken else None


def noting(name: str, ask: MapFunction, silent: set[str]) -> MapFunction:
    """What answers as `ask`, but with empty maps instead of NaN: such a student's name is put among the `silent`."""

    def answer(images: np.ndarray) -> np.ndarray:
        maps = ask(images)
        if not np.isnan(maps).any():
            return maps
        silent.add(name)
        return np.zeros_like(maps)

    return answer


def in_evaluation(cohort: Cohort, silent: set[str], world_size: int) -> Finding | None:
    """The students that answered with NaN to any rank, the same on every rank; None where nobody did."""
    flags = [int(name in silent) for name in cohort.students]
    if world_size > 1:
        flags = sum_over_ranks(flags)
    found = [name for name, count in zip(cohort.students, flags, strict=True) if count]
    named = " and ".join(f"{name}'s" for name in found)
    text = f"{named} answers to evaluation images are not finite: activations overflow"
    return Finding(text, tuple(found)) if found else None


def agreed(finding: Finding, students: Sequence[str], world_size: int) -> list[str]:
    """The students to blame, the same on every rank, from what each rank found on its own batch."""
    if world_size == 1:
        return list(finding.culprits)
    named = [int(name in finding.culprits) for name in students]
    nothing = [0] * len(students)
    source_seen = not finding.by_gradient and bool(finding.culprits)
    blameless = not finding.by_gradient and not finding.culprits and not finding.unseen
    shared = sum_over_ranks(
        [int(blameless), *(named if source_seen else nothing), *(named if finding.by_gradient else nothing)]
    )
    if shared[0]:  # pixels or a teacher
        return []
    seen, guessed = shared[1 : 1 + len(students)], shared[1 + len(students) :]
    return [name for name, count in zip(students, seen if any(seen) else guessed, strict=True) if count]


def _finite(value: paddle.Tensor) -> bool:
    return bool(paddle.isfinite(value).all())


def _weights(cohort: Cohort, name: str) -> str | None:
    state = cohort.students[name].state_dict()
    for label, layer in cohort.connectors(name).items():
        state |= {f"{label}/{key}": value for key, value in layer.state_dict().items()}
    # A forward pass in training may have broken running statistics already; they are no weights.
    ignored = set(running_statistics(cohort.students[name]))
    for label, layer in cohort.connectors(name).items():
        ignored |= {f"{label}/{key}" for key in running_statistics(layer)}
    bad = [key for key, value in state.items() if key not in ignored and not _finite(value)]
    return f"{name}'s weights are not finite ({_few(bad)})" if bad else None


def _gradient(cohort: Cohort, name: str) -> str | None:
    named = dict(cohort.students[name].named_parameters())
    bad = [key for key, value in named.items() if value.grad is not None and not _finite(value.grad)]
    extra = [p for layer in cohort.connectors(name).values() for p in layer.parameters()]
    if not bad and all(p.grad is None or _finite(p.grad) for p in extra):
        return None
    return f"the gradient of {name} is not finite ({_few(bad) if bad else 'a connector'}), though its loss is"


def _few(keys: Sequence[str]) -> str:
    return keys[0] + (f" and {len(keys) - 1} more" if len(keys) > 1 else "")
