"""What can be wrong with a comparison beyond its methods' configurations.

Every check gives its findings as (place in compare.yml, text); `make_plan` lists them all at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ocr_cml import config as configuration
from ocr_cml.compare.schema import CompareConfig, Method, references
from ocr_cml.schema import Config
from ocr_cml.yaml_source import KeyPath
from ppocr_data.errors import ConfigError
from ppocr_data.spelling import hint

_OWN = {
    "Global.seed": "set seeds, each of which trains every method",
    "Global.save_model_dir": "set output, below which every run has a folder",
    "Global.checkpoints": "no method may start from another's run",
}
"""What a comparison sets itself; an override of it would have no effect, or a wrong one."""
_OWN_TERMS = {"Loss.loss_config_list": "every method has its own; set methods.N.terms"}
"""The same of the comparison as a whole; a method may change its terms' arguments."""


def place_of(settings: CompareConfig, method: Method) -> KeyPath:
    """The key path of a method in compare.yml."""
    return ("methods", str([other.name for other in settings.methods].index(method.name)))


def list_problems(settings: CompareConfig) -> list[tuple[KeyPath, str]]:
    """Names and seeds that stand twice, or that nothing has."""
    problems: list[tuple[KeyPath, str]] = []
    folded = [method.name.casefold() for method in settings.methods]
    for position, name in enumerate(folded):
        if name in folded[:position]:
            text = f"{settings.methods[position].name!r} is the name of another method; each has a folder of its own"
            problems.append((("methods", str(position), "name"), text))
    if len(set(settings.seeds)) < len(settings.seeds):
        problems.append((("seeds",), "a seed stands twice; the same training twice says nothing about its spread"))
    names = [method.name for method in settings.methods]
    for position, name in enumerate(settings.only or ()):
        if name not in names:
            text = f"no method is called {name!r}; {hint(name, names, 'the methods are')}"
            problems.append((("only", str(position)), text))
    if settings.only == []:
        problems.append((("only",), "names no method; null runs them all"))
    return problems


def own_problems(settings: CompareConfig, given: Sequence[str]) -> list[tuple[KeyPath, str]]:
    """Overrides of what a comparison sets itself, in the file or as `given` with -o."""
    problems = _refused(given, _OWN | _OWN_TERMS, ("-o",))
    for number, text in enumerate(settings.overrides):
        problems += _refused([text], _OWN | _OWN_TERMS, ("overrides", str(number)))
    for number, method in enumerate(settings.methods):
        for position, text in enumerate(method.overrides):
            problems += _refused([text], _OWN, ("methods", str(number), "overrides", str(position)))
    return problems


def _refused(assignments: Sequence[str], own: Mapping[str, str], where: KeyPath) -> list[tuple[KeyPath, str]]:
    """The assignments to one of the keys in `own`, to what is below it, or to all above it, with what to do instead."""
    keys = [text.partition("=")[0].strip() for text in assignments]
    found = [(where, f"{key}: {why}") for key in keys for name, why in own.items() if f"{key}.".startswith(f"{name}.")]
    for key in keys:
        if replaced := [name for name in own if name.startswith(f"{key}.")]:
            found.append((where, f"{key}: replaces the whole section, {replaced[0]} with it; set its keys one by one"))
    return found


def check_base(settings: CompareConfig) -> None:
    """Raises ConfigError where the base is no valid configuration by itself, or begins with another run's state."""
    try:
        base = configuration.load(settings.base, settings.overrides)
    except ConfigError as error:
        raise ConfigError(f"base: {settings.base} with these overrides: {error}") from None
    if base.Global.checkpoints:
        raise ConfigError("base: Global.checkpoints is set, and no method may start from another's run; remove it")


def reference_problems(settings: CompareConfig, methods: Sequence[Method]) -> list[tuple[KeyPath, str]]:
    """A cohort of K is compared with K students trained alone, so there must be so many."""
    largest = max((method.count for method in references(methods, settings.methods)), default=0)
    return [
        (
            (*place_of(settings, method), "students"),
            f"{method.count} students are compared with as many trained alone, and there are {largest}; "
            + _reference_remedy(settings, method.count),
        )
        for method in methods
        if method.count > largest
    ]


def _reference_remedy(settings: CompareConfig, students: int) -> str:
    """Where so many students alone come from: a method that `only` leaves out, or else a new one."""
    only = settings.only or []
    for method in references(settings.methods, settings.methods) if only else ():
        enough = not isinstance(method.students, int) or method.students >= students
        if enough and method.name not in only:
            return f"`only` leaves out {method.name}, which trains them; set only=[{','.join([method.name, *only])}]"
    return "add a method of labels alone (teacher: none) with students: max"


def drop_problems(
    settings: CompareConfig, methods: Sequence[Method], configs: Mapping[str, Config]
) -> list[tuple[KeyPath, str]]:
    """A cohort that lost a student is compared with nothing."""
    text = "Global.on_divergence is drop, and a cohort that lost a student is compared with nothing; set restart"
    dropping = [m for m in methods if m.name in configs and configs[m.name].Global.on_divergence == "drop"]
    return [(place_of(settings, method), text) for method in dropping]
