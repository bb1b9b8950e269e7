"""What finished runs say: their records, the spread over seeds, and the gain over as many students trained alone.

A difference is the mean over seeds of the paired differences, with its standard error. Below two standard errors, or
with one seed, it is called noise. K students are held against the same K students trained alone, the best of them
against the best of those: choosing the better of two is a gain of its own, and not the method's.
"""

from __future__ import annotations

import functools
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ocr_cml.compare.outcome import PlannedRun, is_finished, read_outcome
from ocr_cml.compare.plan import Plan
from ocr_cml.compare.schema import Method
from ocr_cml.models import build_detector
from ocr_cml.models.weights import UNUSED_WHEN_FROZEN
from ocr_cml.records import ENSEMBLE, Best, best_of, paces, read_records
from ocr_cml.run_files import METRICS
from ppocr_data.errors import UserError

MB = 1024 * 1024
"""Bytes of the tables' megabyte."""


@dataclass(frozen=True)
class Evaluation:
    """What a run's evaluation after `step` steps found: precision, recall, hmean by network, where known."""

    step: int
    scores: Mapping[str, Mapping[str, float]]

    def mean_of_first(self, students: int) -> float:
        """The mean hmean of so many students, in the order of their initial weights."""
        hmeans = [score["hmean"] for name, score in self.scores.items() if name != ENSEMBLE]
        return statistics.fmean(hmeans[:students])


@dataclass(frozen=True)
class Result:
    """One finished run.

    Attributes:
        students: hmean of each student, in [0, 1], in the order of their initial weights.
        ensemble: hmean of their mean map; None with one student.
        steps: optimizer steps.
        best: what its best/ holds.
        at_best: hmean of each student at that step, whose weights best/ holds as well.
        seconds: the median over log points of the seconds a step.
        peak_bytes, wall_seconds: of its process.
        cores: how many the process was bound to, each number of all its attempts; empty where it did not say.
        parameters: of the best student, as deployed.
        teachers: hmean of each teacher, where the run scored them.
        evaluations: all of them, in their order.
        programs: the states of the program that computed it, see `ocr_cml.loop.program`; empty where it did not say.
        restarts: step and name of each student that diverged and began anew from its initial weights.
    """

    students: tuple[float, ...]
    ensemble: float | None
    steps: int
    best: Best
    at_best: tuple[float, ...]
    seconds: float
    peak_bytes: int
    wall_seconds: float
    parameters: int
    teachers: Mapping[str, float]
    evaluations: tuple[Evaluation, ...]
    cores: frozenset[int] = frozenset()
    programs: frozenset[str] = frozenset()
    restarts: tuple[tuple[int, str], ...] = ()

    def course(self, students: int) -> tuple[tuple[int, float], ...]:
        """Of each evaluation the step and the mean hmean of the first so many students."""
        return tuple((evaluation.step, evaluation.mean_of_first(students)) for evaluation in self.evaluations)


@dataclass(frozen=True)
class Spread:
    """A mean over seeds and the sample standard deviation, None with one seed."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)

    def __str__(self) -> str:
        return f"{self.mean:.4f}" + (f" ± {self.deviation:.4f}" if self.deviation is not None else "")


@dataclass(frozen=True)
class Gain:
    """A mean difference over seeds, its standard error, None with one seed, and the number of seeds."""

    mean: float
    error: float | None
    seeds: int = 1

    @classmethod
    def of(cls, differences: Sequence[float]) -> Gain:
        spread = Spread.of(differences)
        error = None if spread.deviation is None else spread.deviation / math.sqrt(len(differences))
        return cls(spread.mean, error, len(differences))

    @property
    def verdict(self) -> str:
        """`better` or `worse` where the difference is at least two standard errors, else `within noise`."""
        if self.error is None or self.mean == 0 or abs(self.mean) < 2 * self.error:
            return "within noise"
        return "better" if self.mean > 0 else "worse"

    def __str__(self) -> str:
        return f"{self.mean:+.4f}" + (f" ± {self.error:.4f}" if self.error is not None else "") + f", {self.verdict}"


@dataclass(frozen=True)
class Row:
    """One line of the table; what is not known is None. Of students alone `students` may be the first of a run's."""

    method: str
    label: str
    students: int
    seeds: int
    mean: Spread
    best: Spread
    ensemble: Spread | None
    gain_mean: Gain | None
    gain_best: Gain | None
    seconds: float
    shared_time: bool
    peak_bytes: int | None
    parameters: int


Results = Mapping[tuple[str, int], Result]


def by_chance(seeds: int) -> float:
    """How often a method without any effect differs by two standard errors or more over so many (>= 2) seeds.

    P(|t| >= 2) of Student's t with n - 1 degrees of freedom: by t = sqrt(nu) tan(x), its density is cos(x)^(nu - 1).
    """
    freedom = seeds - 1
    edge, cells = math.atan(2 / math.sqrt(freedom)), 2000

    def area(upper: float) -> float:
        return sum(math.cos(upper * (i + 0.5) / cells) ** (freedom - 1) for i in range(cells)) * upper / cells

    return 1 - area(edge) / area(math.pi / 2)


# --- reading ---------------------------------------------------------------------------------------------------------


def read_results(plan: Plan) -> dict[tuple[str, int], Result]:
    """Every finished run by (method, seed)."""
    return {(run.method, run.seed): read_result(run, plan.settings.score) for run in plan.runs if is_finished(run)}


def read_result(run: PlannedRun, score: str) -> Result:
    """A finished run's records. Raises UserError where they are damaged.

    Args:
        run: the run.
        score: `last` or `best`: which evaluation of a network counts.
    """
    path = run.folder / METRICS
    try:
        records, damaged = read_records(path)
        if damaged:
            raise ValueError(f"damaged lines: {damaged}")
        evaluations = tuple(Evaluation(record["step"], record["eval"]) for record in records if "eval" in record)
        names = list(run.config.students)
        chosen = {name: _score(evaluations, name, score) for name in evaluations[0].scores}
        best = best_of((each.step, each.scores) for each in evaluations)
        assert best is not None, "a finished run was evaluated"
        at_best = next(each.scores for each in evaluations if each.step == best.step)
        outcome = read_outcome(run)
        return Result(
            students=tuple(chosen[name] for name in names),
            ensemble=chosen.get(ENSEMBLE),
            steps=records[-1]["step"],
            best=best,
            at_best=tuple(at_best[name]["hmean"] for name in names),
            seconds=statistics.median(pace.seconds_a_step for pace in paces(records)),
            peak_bytes=int(outcome["peak_bytes"]),
            wall_seconds=float(outcome["wall_seconds"]),
            cores=outcome["cores"],
            parameters=deployed_parameters(json.dumps(run.config.students[best.student].spec)),
            teachers={name: s["hmean"] for r in records if "teacher" in r for name, s in r["teacher"].items()},
            evaluations=evaluations,
            programs=frozenset(_in_words(record["program"]) for record in records if "program" in record),
            restarts=tuple(
                (record["step"], name)
                for record in records
                if "restart" in (event := record.get("divergence", {}))
                for name in event["students"]
            ),
        )
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: cannot be read ({error.__class__.__name__}: {error}); remove {run.folder} and train it again"
        ) from None


def _in_words(program: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in program.items())


def _score(evaluations: Sequence[Evaluation], name: str, score: str) -> float:
    values = [each.scores[name]["hmean"] for each in evaluations]
    return float(values[-1] if score == "last" else max(values))


@functools.cache
def deployed_parameters(spec: str) -> int:
    """Weights and biases of a student as it is exported: branches fused, the threshold map's dropped.

    Args:
        spec: Backbone, Neck and Head as JSON.
    """
    network = build_detector(json.loads(spec)).fuse_for_export()
    left_out = (*UNUSED_WHEN_FROZEN, "head.aux_")  # what only a training answers with
    learnt = ((name, p) for name, p in network.named_parameters() if not p.stop_gradient)  # no running statistics
    return sum(int(p.size) for name, p in learnt if not name.startswith(left_out))


# --- statistics ------------------------------------------------------------------------------------------------------


def gains(plan: Plan, method: Method, seed: int, results: Results) -> tuple[float, float] | None:
    """How far the mean student and the best one are above those of as many trained alone with this seed."""
    reference = plan.reference(method.count)
    own, other = results.get((method.name, seed)), results.get((reference.name, seed))
    if own is None or other is None or reference.name == method.name:
        return None
    ours, alone = own.students[: method.count], other.students[: method.count]
    return statistics.fmean(ours) - statistics.fmean(alone), max(ours) - max(alone)


def make_rows(plan: Plan, results: Results) -> list[Row]:
    """The table: as many students alone as any method has, then the methods. What has no finished run is left out."""
    counts = sorted({method.count for method in plan.methods})
    alone = [(plan.reference(count), count) for count in counts]
    others = [(method, method.count) for method in plan.methods if (method, method.count) not in alone]
    rows = (_row(plan, method, count, results) for method, count in [*alone, *others])
    return [row for row in rows if row is not None]


def _row(plan: Plan, method: Method, count: int, results: Results) -> Row | None:
    """A method's row, or that of the first `count` students of its runs."""
    own = {seed: results[method.name, seed] for seed in plan.settings.seeds if (method.name, seed) in results}
    if not own:
        return None
    most = max(len(result.students) for result in own.values())
    whole = count == most
    firsts = [result.students[:count] for result in own.values()]
    ensembles = [result.ensemble for result in own.values() if result.ensemble is not None]
    pairs = [gains(plan, method, seed, results) for seed in own] if count == method.count else []
    paired = [pair for pair in pairs if pair is not None]
    return Row(
        method=method.name,
        label=method.name if whole else f"{method.name} (first {count} of {most})",
        students=count,
        seeds=len(own),
        mean=Spread.of([statistics.fmean(students) for students in firsts]),
        best=Spread.of([max(students) for students in firsts]),
        ensemble=Spread.of(ensembles) if ensembles and whole else None,
        gain_mean=Gain.of([mean for mean, _ in paired]) if paired else None,
        gain_best=Gain.of([best for _, best in paired]) if paired else None,
        seconds=statistics.fmean(result.seconds * count / len(result.students) for result in own.values()),
        shared_time=not whole,
        peak_bytes=max(result.peak_bytes for result in own.values()) if whole else None,
        parameters=max(result.parameters for result in own.values()),
    )
