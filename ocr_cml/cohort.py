"""The cohort: students that learn together, and frozen teachers that stand outside the module tree.

`cohort(batch, progress)` answers with one scalar and its named parts. The trainer never asks which method runs: mutual
learning, distillation from a teacher, a single student with labels are all lists of bound terms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import paddle
from paddle import nn

from ocr_cml.batches import pixels
from ocr_cml.binding import TEACHERS, Binding, ever_counts, unreached
from ocr_cml.compiled import CompiledStudent
from ocr_cml.losses.base import FeatureTerm
from ocr_cml.losses.maps import resized
from ocr_cml.losses.targets import Targets, decode_targets
from ocr_cml.models.blocks import statistics_kept
from ocr_cml.models.detector import Detector, DetOutput
from ocr_cml.optim import term_weight
from ocr_cml.runtime import FrozenDetector, LayerDetector, Normalization
from ocr_cml.schema import WeightSchedule
from ocr_cml.side_by_side import SideBySide
from ppocr_data.loader import Batch


@dataclass(frozen=True)
class BoundTerm:
    """A loss term between one learner and one guide, with its weight over the training."""

    binding: Binding
    term: nn.Layer
    weight: float | WeightSchedule

    def factor(self, progress: float) -> float:
        """The factor of the term's value in the total, at `progress` in [0, 1] of the training."""
        return term_weight(self.weight, progress) * self.binding.share


@dataclass(frozen=True)
class StepResult:
    """What one forward pass of the cohort gives.

    Attributes:
        totals: by learner the weighted sum of its terms, a scalar whose scale does not depend on the batch size. A
            learner's total depends on its own weights alone.
        parts: each term's unweighted value by its label, detached scalars on the device.
        answers: what every student that was run said, detached.
    """

    totals: dict[str, paddle.Tensor]
    parts: dict[str, paddle.Tensor]
    answers: dict[str, DetOutput]

    @property
    def total(self) -> paddle.Tensor:
        """The sum of all learners' totals."""
        return paddle.add_n(list(self.totals.values()))


class Cohort:
    """Students, teachers and the terms between them.

    Not an `nn.Layer`: a teacher that is no sublayer cannot enter `train()`, `state_dict()` or an optimizer by accident.

    Args:
        students: the learners by name.
        teachers: frozen detectors by name, with their weight in the mean of several.
        terms: bound terms.
        normalization: how pixels become the students' input.
        update: `synchronous`: every term from the same forward pass; `alternating`: Algorithm 1 of Deep Mutual Learning
            (Zhang et al., CVPR 2018), each student updated in turn against the others' newest predictions.
        compiled: learn from compiled programs of the students. One that is only asked answers as it is: its program
            would hold activations for a backward pass that does not come.
        side_by_side: how many students compute at the same time; by default one.
    """

    def __init__(
        self,
        students: Mapping[str, Detector],
        teachers: Mapping[str, tuple[FrozenDetector, float]],
        terms: Sequence[BoundTerm],
        normalization: Normalization,
        update: str = "synchronous",
        *,
        compiled: bool = False,
        side_by_side: SideBySide | None = None,
    ) -> None:
        self.students = dict(students)
        self.teachers = dict(teachers)
        self.terms = list(terms)
        self.normalization = normalization
        self.turns: list[tuple[str, ...]] = (
            [(name,) for name in self.students] if update == "alternating" else [tuple(self.students)]
        )
        self.side_by_side = side_by_side or SideBySide()
        self._compiled = {
            name: CompiledStudent(name, student, with_features=bool(self._looked_into))
            for name, student in self.students.items()
            if compiled
        }

    @property
    def _guides_wanted(self) -> set[str | None]:
        return {term.binding.guide for term in self.terms}

    @property
    def _looked_into(self) -> set[str | None]:
        return {term.binding.guide for term in self.terms if isinstance(term.term, FeatureTerm)}

    def train(self) -> None:
        """Put the students into training mode. Teachers have no such mode."""
        for student in self.students.values():
            student.train()

    def parameters(self, name: str) -> list[paddle.Tensor]:
        """What the student's optimizer moves: its own weights and the connectors of terms that teach it."""
        return [p for layer in self.layers_of(name) for p in layer.parameters() if not p.stop_gradient]

    def connectors(self, name: str) -> dict[str, nn.Layer]:
        """The terms that carry weights of their own for this learner, by label."""
        mine = [term for term in self.terms if term.binding.learner == name]
        return {term.binding.label: term.term for term in mine if term.term.parameters()}

    def layers_of(self, *names: str) -> list[nn.Layer]:
        """What some students train: themselves, each with its connectors."""
        return [layer for name in names for layer in (self.students[name], *self.connectors(name).values())]

    def drop(self, *names: str) -> None:
        """Go on without some students: neither learners nor guides any more. Their shares go to the other guides.

        Raises:
            ValueError: nobody would be left, or a student whom no label or teacher reaches without these. Nobody has
                been dropped then.
        """
        gone = set(names)
        left = [term for term in self.terms if not gone & {term.binding.learner, term.binding.guide}]
        remaining = [student for student in self.students if student not in gone]
        if not remaining or {term.binding.learner for term in left} != set(remaining):
            raise ValueError(f"without {', '.join(names)} nobody could go on")
        if lost := unreached(remaining, [term.binding for term in left if ever_counts(term.weight)]):
            raise ValueError(f"without {', '.join(names)} neither a label nor a teacher reaches {', '.join(lost)}")
        before, after = _shares(self.terms), _shares(left)
        for name in names:
            del self.students[name]
            self._compiled.pop(name, None)
        self.turns = [turn for turn in (tuple(n for n in turn if n not in gone) for turn in self.turns) if turn]
        self.terms = [
            replace(term, binding=replace(b, share=b.share * before[b.term, b.learner] / after[b.term, b.learner]))
            for term in left
            for b in [term.binding]
        ]

    def ask_teachers(self, batch: Batch) -> dict[str, DetOutput]:
        """What each teacher says that a term listens to, once a step, without gradient; with features where a term
        looks at them."""
        wanted, seen = self._guides_wanted, self._looked_into
        asked = {name: teacher for name, (teacher, _) in self.teachers.items() if wanted & {name, TEACHERS}}
        answers = {name: _answer(teacher, batch) for name, teacher in asked.items()}
        answers = {name: said if name in seen else said.detached() for name, said in answers.items()}
        if TEACHERS in wanted:
            weights = [weight for _, weight in self.teachers.values()]
            first, *others = (answer.shrink_prob for answer in answers.values())
            same = [first, *(resized(other, first) for other in others)]
            maps = [map_ * weight for map_, weight in zip(same, weights, strict=True)]
            answers[TEACHERS] = DetOutput.from_probability(paddle.add_n(maps) / sum(weights))
        return answers

    def ask_students(self, batch: Batch, names: Sequence[str]) -> dict[str, DetOutput]:
        """Answers, as in training, of those among `names` that guide a peer; without gradient or running means."""
        wanted = self._guides_wanted
        return self._ask(self.normalization.to_device(pixels(batch)), [name for name in names if name in wanted])

    def _ask(self, images: paddle.Tensor, names: Sequence[str]) -> dict[str, DetOutput]:
        answers = {}
        for name in names:
            with only_asked(self.students[name]):
                answers[name] = self.students[name](images).detached()
        return answers

    def __call__(
        self,
        batch: Batch,
        progress: float,
        answers: Mapping[str, DetOutput],
        learners: Sequence[str] | None = None,
    ) -> StepResult:
        """Forward every network that is needed and has not answered yet, and sum the learners' terms.

        Args:
            batch: `[N,H,W,3]` uint8 images with their targets.
            progress: share of the training done, in [0, 1]; schedules of weights depend on it.
            answers: what `ask_teachers` gave for this batch, and what `ask_students` did, if that was asked.
            learners: whose terms count; by default every student. The others, if asked, answer without gradient.
        """
        learners = tuple(self.students) if learners is None else learners
        targets = decode_targets(batch)
        images = self.normalization.to_device(pixels(batch))
        terms = [term for term in self.terms if term.binding.learner in learners]
        peers = {term.binding.guide for term in terms}
        asked = [name for name in self.students if name in peers and name not in learners and name not in answers]
        outputs = dict(answers) | self._ask(images, asked)
        learning = [name for name in self.students if name in learners]
        learned = self.side_by_side.each(lambda name: self._compiled.get(name, self.students[name])(images), learning)
        # Peers are compared by their maps alone; features are a teacher's to show.
        outputs |= {name: output.detached() for name, output in learned.items()}

        def sum_of(name: str) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
            mine = [term for term in terms if term.binding.learner == name]
            return self._sum(mine, learned[name], outputs, targets, progress)

        taught = {term.binding.learner for term in terms}
        sums = self.side_by_side.each(sum_of, [name for name in learning if name in taught])
        parts = {label: value for _, values in sums.values() for label, value in values.items()}
        return StepResult(
            {name: total for name, (total, _) in sums.items()},
            {term.binding.label: parts[term.binding.label] for term in terms},
            {name: outputs[name] for name in self.students if name in outputs},
        )

    def backward(self, result: StepResult, factor: float = 1.0) -> StepResult:
        """Every learner's gradient of `factor` times its total, and the result without its graph."""
        self.side_by_side.each(lambda name: (result.totals[name] * factor).backward(), list(result.totals))
        return replace(result, totals={name: total.detach() for name, total in result.totals.items()})

    @staticmethod
    def _sum(
        terms: Sequence[BoundTerm],
        learner: DetOutput,
        outputs: Mapping[str, DetOutput],
        targets: Targets,
        progress: float,
    ) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """The weighted sum of one learner's terms, and each term's value."""
        parts: dict[str, paddle.Tensor] = {}
        weighted: list[paddle.Tensor] = []
        for bound in terms:
            guide = outputs[bound.binding.guide] if bound.binding.guide else None
            value = bound.term(learner, guide, targets)
            parts[bound.binding.label] = value.detach()
            weighted.append(value * bound.factor(progress))
        return paddle.add_n(weighted), parts


def joined(results: Sequence[StepResult], batches: int = 1) -> StepResult:
    """Several learners' or turns' results as one: totals and parts are summed, and averaged over so many batches."""
    if len(results) == 1:
        return results[0]
    totals: dict[str, paddle.Tensor] = {}
    parts: dict[str, paddle.Tensor] = {}
    for sums, values in [(totals, result.totals) for result in results] + [(parts, result.parts) for result in results]:
        for label, value in values.items():
            sums[label] = sums[label] + value / batches if label in sums else value / batches
    # Of several batches or turns the last answer is the one that stays.
    answers = {name: said for result in results for name, said in result.answers.items()}
    return StepResult(totals, parts, answers)


def _shares(terms: Sequence[BoundTerm]) -> dict[tuple[int, str], float]:
    """By entry of the loss list and learner, the sum of its guides' shares."""
    sums: dict[tuple[int, str], float] = {}
    for binding in (term.binding for term in terms):
        sums[binding.term, binding.learner] = sums.get((binding.term, binding.learner), 0.0) + binding.share
    return sums


def _answer(teacher: FrozenDetector, batch: Batch) -> DetOutput:
    """A teacher's answer, the same in every engine; with features where it is a network of ours, else its map alone."""
    if isinstance(teacher, LayerDetector):
        return teacher.output(pixels(batch)).as_from_probability()
    maps = paddle.to_tensor(teacher.probability(batch.image)).unsqueeze(1)
    return DetOutput.from_probability(maps)


@contextmanager
def only_asked(student: nn.Layer) -> Iterator[None]:
    """Let a student answer as a guide: no gradient, and its running statistics stay as they were."""
    with paddle.no_grad(), statistics_kept(student):
        yield
