"""What a comparison trains: `compare.yml` in, one configuration for each method and seed out.

Every configuration is the base with the method's students, teacher and loss terms in place of its own; all else, from
the optimizer to the evaluation, is the base's. Student i starts from (seed, i) whoever its peers are, and the samples
are drawn from the seed, so methods differ in what they are meant to differ in and in nothing else.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocr_cml import config as configuration
from ocr_cml import model_store
from ocr_cml.compare.checks import check_base, drop_problems, list_problems, own_problems, place_of, reference_problems
from ocr_cml.compare.outcome import PlannedRun, students_kept
from ocr_cml.compare.schema import CompareConfig, Method, references
from ocr_cml.models.weight_files import find_weights
from ocr_cml.schema import Config, Network
from ocr_cml.wellformed import as_meant, validate
from ocr_cml.words import mistakes
from ocr_cml.yaml_source import KeyPath, Source, apply_override, read_yaml
from ppocr_data.errors import ConfigError, ModelError, WeightsError

_TERMS: KeyPath = ("Loss", "loss_config_list")
_TEACHER: KeyPath = ("Architecture", "Models", "Teacher")


@dataclass(frozen=True)
class Plan:
    """A comparison, checked: the methods that run, and their trainings, one seed after the other."""

    settings: CompareConfig
    methods: tuple[Method, ...]
    runs: tuple[PlannedRun, ...]

    @property
    def output(self) -> Path:
        return Path(self.settings.output)

    def run(self, method: str, seed: int) -> PlannedRun:
        """The training of a method with a seed."""
        return next(run for run in self.runs if (run.method, run.seed) == (method, seed))

    def reference(self, students: int) -> Method:
        """The method whose first `students` students are those trained alone: the smallest that has so many."""
        able = [m for m in references(self.methods, self.settings.methods) if m.count >= students]
        return min(able, key=lambda method: method.count)


def make_plan(path: str | Path, overrides: Sequence[str] = ()) -> Plan:
    """Read `compare.yml` and check every method's configuration.

    Args:
        path: the YAML file.
        overrides: assignments to its keys (`seeds=[1]`); those to a section of the base (`Global.max_steps=100`) are
            added to the base's overrides.

    Raises:
        ConfigError: with every mistake found, by its dotted key.
    """
    source = read_yaml(Path(path))
    if "Architecture" in source.data:
        raise ConfigError(
            f"{path}: is the configuration of one training, for tools/train.py; a comparison names it as its base and "
            "lists seeds and methods, as configs/compare.yml does"
        )
    to_base = [text for text in overrides if text.partition("=")[0].split(".")[0].strip() in Config.model_fields]
    for assignment in overrides:
        if assignment not in to_base:
            apply_override(source, assignment)
    problems: list[str] = []
    given: CompareConfig | None = validate(CompareConfig, source.data, (), source, problems)
    meant: CompareConfig | None = as_meant(CompareConfig, source, given, problems)
    if meant is not None:
        problems += [source.placed(where, text) for where, text in list_problems(meant) + own_problems(meant, to_base)]
    problems = [*source.problems, *problems]
    if problems or given is None:
        raise ConfigError(f"{path} has {mistakes(problems)}")
    settings = given.model_copy(update={"overrides": [*given.overrides, *to_base]})
    check_base(settings)
    methods = _resolved(settings)
    configs = {}
    for method in methods:
        try:
            configs[method.name] = _config_of(settings, method, source)
        except ConfigError as error:
            problems += [line for line in str(error).splitlines() if line not in problems]
    wrong = reference_problems(settings, methods) + drop_problems(settings, methods, configs)
    problems += [source.placed(where, text) for where, text in wrong]
    if problems:
        raise ConfigError(f"{path} has {mistakes(problems)}")
    return Plan(settings, tuple(methods), tuple(_runs(settings, methods, configs, source)))


# --- configurations --------------------------------------------------------------------------------------------------


def _resolved(settings: CompareConfig) -> list[Method]:
    """The methods that run, `max` replaced by the largest number of students among them."""
    chosen = [method for method in settings.methods if settings.only is None or method.name in settings.only]
    largest = max((method.students for method in chosen if isinstance(method.students, int)), default=1)
    return [m if isinstance(m.students, int) else m.model_copy(update={"students": largest}) for m in chosen]


def _config_of(settings: CompareConfig, method: Method, written: Source) -> Config:
    """A method's configuration, but for the seed and the folder. Raises ConfigError in terms of compare.yml's keys."""
    place = place_of(settings, method)
    source = configuration.read(settings.base, settings.overrides)
    models = source.data["Architecture"]["Models"]
    students = [(name, network) for name, network in models.items() if not network.get("freeze_params")]
    made = dict(students[: method.count])
    for position in range(len(made), method.count):
        made[_free_name(made, position)] = copy.deepcopy(students[position % len(students)][1])
    source.data["Architecture"]["Models"] = {**_teacher(settings, method, models, place), **made}
    source.data["Loss"]["loss_config_list"] = copy.deepcopy(method.terms)
    moved = {_TERMS: (*place, "terms")}
    if getattr(settings.teachers, method.teacher, None) is not None:
        moved[_TEACHER] = ("teachers", method.teacher)
    for at, written_at in moved.items():
        source.take_lines(at, written, written_at)
    for assignment in method.overrides:
        apply_override(source, assignment)
    try:
        return configuration.from_source(source)
    except ConfigError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        for at, written_at in moved.items():
            lines = [line.replace(".".join(at), ".".join(written_at), 1) for line in lines]
        known = tuple(".".join(written_at) for written_at in moved.values())
        lines = [line if line.startswith(known) else f"{'.'.join(place)} ({method.name}): {line}" for line in lines]
        raise ConfigError("\n".join(lines)) from None


def _free_name(taken: dict[str, Any], position: int) -> str:
    number = position + 1
    while f"Student{number}" in taken:
        number += 1
    return f"Student{number}"


def _teacher(settings: CompareConfig, method: Method, models: dict[str, Any], place: KeyPath) -> dict[str, Any]:
    """The frozen networks that a method asks for: compare.yml's, else those of that kind in the base."""
    if method.teacher == "none":
        return {}
    own: Network | None = getattr(settings.teachers, method.teacher)
    if own is not None:
        return {_TEACHER[-1]: own.model_dump(mode="json", exclude_unset=True) | {"freeze_params": True}}
    closed = method.teacher == "inference"
    frozen = {name: network for name, network in models.items() if network.get("freeze_params")}
    found = {name: network for name, network in frozen.items() if bool(network.get("inference_model")) == closed}
    if not found:
        text = f"{method.teacher}, and the base has no such frozen network; describe one at teachers.{method.teacher}"
        raise ConfigError(f"{'.'.join((*place, 'teacher'))}: {text}")
    return found


def _runs(
    settings: CompareConfig, methods: Sequence[Method], configs: Mapping[str, Config], source: Source
) -> list[PlannedRun]:
    """Every method with every seed.

    A run of students that learn alone, and that has begun with more of them than these methods need, stays as it is,
    and its first ones count.
    """
    runs = []
    for seed in settings.seeds:
        for method in methods:
            run = _run(settings, method.name, seed, configs[method.name])
            if method.learns_alone and (kept := students_kept(run.folder)) > method.count:
                larger = _config_of(settings, method.model_copy(update={"students": kept}), source)
                run = _run(settings, method.name, seed, larger)
            runs.append(run)
    return runs


def _run(settings: CompareConfig, method: str, seed: int, config: Config) -> PlannedRun:
    output = Path(settings.output)
    folder = output / "runs" / method / f"seed{seed}"
    own = configuration.with_global(config, seed=seed, save_model_dir=folder.as_posix())
    return PlannedRun(method, seed, own, folder, output / "configs" / f"{method}.seed{seed}.yml")


def missing_weights(runs: Sequence[PlannedRun]) -> list[str]:
    """A line for each teacher of these runs whose weights are not there; to be asked before hours of work.

    What is named by an address or as a published detector is fetched, as the trainings would.
    """
    lines: dict[str, list[str]] = {}
    for run in runs:
        for name, network in run.config.teachers.items():
            try:
                if network.inference_model:
                    model_store.resolve(network.inference_model)
                elif network.pretrained:
                    find_weights(model_store.weight_file(network.pretrained), name)
            except (ModelError, WeightsError) as error:
                lines.setdefault(f"{name}: {error}", []).append(run.method)
    return [f"{line} (needed by {', '.join(dict.fromkeys(methods))})" for line, methods in lines.items()]
