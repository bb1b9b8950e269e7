"""Reading a configuration: one YAML file and `-o` overrides in, one immutable `Config` out, or every mistake at once.

Nothing is built or opened here. Whether what was written has the right form is asked in `wellformed`, whether it can
work in `workable`: what can be known to fail from the text alone is refused before the first second of work.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ocr_cml.compat import translate
from ocr_cml.schema import Config
from ocr_cml.wellformed import as_meant, named_section_problems, validate
from ocr_cml.words import mistakes
from ocr_cml.workable import problems_of
from ocr_cml.yaml_source import Source, apply_override, read_yaml
from ppocr_data.atomic import write_text
from ppocr_data.errors import ConfigError


def load(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read, override and validate a configuration.

    Args:
        path: a YAML file.
        overrides: assignments such as `Global.max_steps=100`, applied in order.

    Raises:
        ConfigError: with every mistake found, one a line.
    """
    return from_source(read(path, overrides))


def read(path: str | Path, overrides: Sequence[str] = ()) -> Source:
    """Read a file, apply the overrides, and translate it where it is one of PaddleOCR's (`notes` says how it was read).

    Raises:
        ConfigError: the file cannot be read, or is not a text detector's configuration but a comparison, say.
    """
    source = read_yaml(Path(path))
    if {"base", "methods"} <= source.data.keys():
        raise ConfigError(
            f"{path}: is a comparison of trainings, for tools/compare.py; the configuration of one is its base, "
            f"{source.data['base']}"
        )
    for assignment in overrides:
        apply_override(source, assignment)
    source.notes = translate(source)
    return source


def load_record(path: Path) -> Config:
    """Read a configuration that a run recorded, by its form alone: what is refused today may have run then.

    Raises:
        ConfigError: it cannot be read, or holds keys that this version does not know.
    """
    return from_source(read(path), recorded=True)


def from_source(source: Source, *, recorded: bool = False) -> Config:
    """Validate data that is already read. Raises ConfigError with every mistake.

    Args:
        source: the data.
        recorded: the run has been: do not ask whether what is well-formed can work.
    """
    problems: list[str] = []
    config = validate(Config, source.data, (), source, problems)
    problems += named_section_problems(source)
    meant = as_meant(Config, source, config, problems)
    if meant is not None and not recorded:
        problems += [source.placed(path, text) for path, text in problems_of(meant)]
    problems = [*source.problems, *problems]
    if problems or config is None:
        name = f"{source.name}: " if source.name else ""
        raise ConfigError(f"{name}the configuration has {mistakes(problems)}")
    return config


def with_global(config: Config, **values: Any) -> Config:
    """A copy with other values of the section Global, which are not validated: a path is no YAML to be read."""
    return config.model_copy(update={"Global": config.Global.model_copy(update=values)})


def dump(config: Config) -> str:
    """The resolved configuration as YAML that `load` reads back to an equal Config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def save(config: Config, path: Path) -> None:
    """Write the resolved configuration, whole or not at all."""
    write_text(path, dump(config))
