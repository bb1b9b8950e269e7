"""Students with the weights that they start from, or that a training gave them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import paddle

from ocr_cml import model_store
from ocr_cml.assemble.seeds import mixed
from ocr_cml.checkpoint import Checkpoint, restore_layers
from ocr_cml.cohort import Cohort
from ocr_cml.models import build_detector
from ocr_cml.models.detector import Detector
from ocr_cml.models.weight_files import find_weights, read_weights
from ocr_cml.models.weights import UNUSED_WHEN_FROZEN, LoadReport, holds_by_name, load_into, select, under
from ocr_cml.schema import Config, Network
from ppocr_data.digests import sha256_of
from ppocr_data.errors import ConfigError, WeightsError
from ppocr_data.spelling import hint


def starting_students(config: Config) -> tuple[dict[str, Detector], dict[str, LoadReport]]:
    """Every student with its initial weights, and what was loaded into which.

    The weights come from `Global.pretrained_model` (a file for all, or a run's folder with one for each), else from the
    student's own `pretrained`, else from the seed.

    Raises:
        ConfigError: `fresh` or `allow_missing` name no part of a network or its file.
        WeightsError: there is no such file, or keys do not fit.
    """
    students, reports = seeded_students(config), {}
    for name, network in config.students.items():
        if where := start_of(config, network):
            with _saying_for_whom(config, name):
                reports[name] = _load_start(students[name], name, network, where)
    return students, reports


def seeded_students(config: Config, without: Collection[str] = ()) -> dict[str, Detector]:
    """Every student as the seed makes it, for weights that a checkpoint holds: no file is read.

    Student i is initialised from (seed, i), whoever its peers are: the first one starts alone as it does in a cohort.

    Args:
        config: the configuration.
        without: names of those that are not wanted.
    """
    students = {}
    for position, (name, network) in enumerate(config.students.items()):
        if name not in without:
            paddle.seed(mixed(config.Global.seed, position))
            students[name] = build_detector(network.spec)
    return students


def trained_students(config: Config, without: Collection[str] = ()) -> dict[str, Detector]:
    """Every student with what a training made of it, out of the weights that the configuration names.

    They must be whole, whatever a start is allowed to lack (`allow_missing`, `pretrained_share`) or to leave aside
    (`fresh`); and those of a run's folder are for the students of that run.

    Args:
        config: the configuration.
        without: names of those that the training dropped.

    Raises:
        WeightsError: there is no such file, it is not whole, or it is another student's.
    """
    students = seeded_students(config, without)
    for name, student in students.items():
        if where := start_of(config, config.students[name]):
            with _saying_for_whom(config, name):
                _load_result(student, name, where, list(config.students))
    return students


@contextlib.contextmanager
def _saying_for_whom(config: Config, name: str) -> Iterator[None]:
    """A message about weights begins with the key that names them, and with the student where several share it."""
    key = f"Architecture.Models.{name}.pretrained"
    if config.Global.pretrained_model:
        key = "Global.pretrained_model" + f", for {name}" * (len(config.students) > 1)
    try:
        yield
    except WeightsError as error:
        raise WeightsError(f"{key}: {error}") from None


def start_of(config: Config, network: Network) -> str | None:
    """Where a student's initial weights come from, as the configuration names it; None for the seed."""
    return config.Global.pretrained_model or network.pretrained


def start_record(config: Config) -> dict[str, str]:
    """SHA-256 of the weight file that each student starts from, of those that start from one."""
    record = {}
    for name, network in config.students.items():
        if where := start_of(config, network):
            record[name] = sha256_of(find_weights(model_store.weight_file(where), name))
    return record


def _load_start(student: Detector, name: str, network: Network, where: str) -> LoadReport:
    """Load a student's start from a weight file (a path, or an address) or from a run's folder.

    Raises:
        ConfigError: `fresh` or `allow_missing` name no part of the network or the file.
        WeightsError: there is no such file, or keys do not fit.
    """
    weights, rest = select(read_weights(model_store.weight_file(where), name), name)
    _check_prefixes([*student.state_dict(), *weights], name, network)
    report = load_into(
        student,
        {key: value for key, value in weights.items() if not under(key, network.fresh)},
        frozen=False,
        min_share=network.pretrained_share,
        allow_missing=[*network.allow_missing, *network.fresh],
        source=where,
    )
    return replace(report, left_aside=rest)


def _load_result(student: Detector, name: str, where: str, students: Sequence[str]) -> None:
    """Load what a training made of a student, one of those in the configuration: all that it answers with.

    Raises:
        WeightsError: there is no such file, it is not whole, or it is another student's.
    """
    file = find_weights(model_store.weight_file(where), name)
    stored = read_weights(file)
    if len(students) > 1 and file.name.partition(".")[0] != name and not holds_by_name(stored, name):
        raise _anothers(where, file, name, students)
    weights, _ = select(stored, name)
    load_into(student, weights, frozen=False, allow_missing=UNUSED_WHEN_FROZEN, source=where)


def students_of(config: Config, checkpoint: Checkpoint, *, averaged: bool = False) -> dict[str, Detector]:
    """The students that a checkpoint of this configuration's run holds, in eval mode: those that were not dropped.

    Args:
        config: the run's.
        checkpoint: `latest/` or `best/`.
        averaged: of `latest/`, where the run keeps exponential means (`Optimizer.ema_decay`): these, as in `best/`.

    Raises:
        WeightsError: weights are missing or do not fit.
    """
    students = {}
    for name, network in config.students.items():
        if name in checkpoint.progress.dropped:
            continue
        stem = f"{name}.mean" if averaged else name
        students[name] = build_detector(network.spec)
        restore_layers({"": students[name]}, checkpoint.arrays(stem), f"{checkpoint.folder}: {stem}")
        students[name].eval()
    return students


def _anothers(where: str, file: Path, name: str, students: Sequence[str]) -> WeightsError:
    """A file with one network would else be that of every student: scored, and exported, under each name."""
    listed = ", ".join(students)
    if Path(where).is_dir():
        holds = f"holds {file.name.partition('.')[0]} and no {name}"
        remedy = "the config.yml of the run that made it (-c RUN/config.yml), or "
    else:
        holds, remedy = f"is one network, and not {name} by name", ""
    return WeightsError(
        f"{where}: {holds}, and this configuration has {listed}; give {remedy}a configuration with one student"
    )


def _check_prefixes(keys: Collection[str], name: str, network: Network) -> None:
    """A misspelled part would be loaded, or be missed, against what the user wrote."""
    usual = Network.model_fields["allow_missing"].default
    for field, prefixes in (("fresh", network.fresh), ("allow_missing", network.allow_missing)):
        for prefix in prefixes:
            if prefix not in usual and not any(under(key, [prefix]) for key in keys):
                parts = sorted({".".join(key.split(".")[:depth]) for key in keys for depth in (1, 2)})
                raise ConfigError(
                    f"Architecture.Models.{name}.{field}: {prefix!r} is no part of this network; "
                    f"{hint(prefix, parts, 'its parts are')}"
                )


def refuse_twins(cohort: Cohort, for_all: str | None = None) -> list[str]:
    """Students that start from the same weights see the same images and stay the same for ever: mutual learning is off.

    Args:
        cohort: students as they start.
        for_all: `Global.pretrained_model`, beside which a student's own `pretrained` has no effect.

    Returns:
        A warning for each pair whose maps are the same at the start: bound to each other they drift apart through the
        threshold branch alone, as students do that all start from one exported model; others stay one student.

    Raises:
        WeightsError: a mutual term binds two students that are the same in everything.
    """
    pairs = {(term.binding.learner, term.binding.guide) for term in cohort.terms}
    beside = " instead of Global.pretrained_model, which is every student's" if for_all else ""
    warnings = []
    for one, other, differing in twins(cohort.students):
        if not {(one, other), (other, one)} & pairs:
            warnings.append(one_student_twice(one, other))
            continue
        remedy = (
            f"give one another `pretrained`{beside}, or let a part of it start from the seed: {from_the_seed(other)}"
        )
        if not differing:
            raise WeightsError(
                f"{one} and {other} start from the same weights, so they stay the same and have nothing to teach each "
                f"other; {remedy}"
            )
        warnings.append(
            f"{one} and {other} answer alike at the start (only head.thresh differs), so mutual learning begins at "
            f"zero and grows slowly; {remedy}"
        )
    return warnings


def one_student_twice(one: str, other: str) -> str:
    """What two students are that stay the same for ever."""
    return f"{one} and {other} start from the same weights, so they are one student twice"


def from_the_seed(name: str) -> str:
    """What to give on the command line so that a student differs from another with the same weight file."""
    return f"-o Architecture.Models.{name}.fresh=[head]"


def twins(students: Mapping[str, Detector]) -> list[tuple[str, str, list[str]]]:
    """Each pair of students whose maps are the same, with the weights of the threshold branch in which they differ."""
    found = []
    for (one, a), (other, b) in itertools.combinations(students.items(), 2):
        differing = _differing(a, b)
        if all(key.startswith("head.thresh") for key in differing):
            found.append((one, other, differing))
    return found


def _differing(a: Detector, b: Detector) -> list[str]:
    """The weights that two networks do not share."""
    ours, theirs = a.state_dict(), b.state_dict()
    shared = [key for key in ours if key in theirs and ours[key].shape == theirs[key].shape]
    unlike = [key for key in shared if not bool((ours[key] == theirs[key]).all())]
    return unlike + sorted((ours.keys() | theirs.keys()) - set(shared))
