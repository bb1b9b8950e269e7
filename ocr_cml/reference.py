"""docs/configuration.md, made from the schema: `python -m ocr_cml.reference docs/configuration.md`.

What stands there of a key is what the code itself says: types, defaults and descriptions of the schema's fields, and of
networks, losses and transforms the arguments and docstrings of their classes.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ocr_cml.binding import CommonTermArguments
from ocr_cml.cli import exit_cleanly
from ocr_cml.losses import TERMS
from ocr_cml.models import BACKBONES, HEADS, NECKS
from ocr_cml.schema import Config
from ocr_cml.wellformed import arguments_of
from ppocr_data.errors import UserError
from ppocr_data.transforms import OPS

_HEAD = """# Configuration reference

Made from the code by `python -m ocr_cml.reference docs/configuration.md`; a test fails where it is out of date.
`configs/det_cml.yml` shows the keys that matter in their places. A dotted key overrides a value on the command line:

    python tools/train.py -c configs/det_cml.yml -o Global.max_steps=100 Optimizer.lr.learning_rate=0.001 --show-config

A step of a list is found by its name: `Train.dataset.transforms.MakeShrinkMap.min_text_size=4`. An unknown key, a
wrong type or a value out of range is refused before anything starts, with the line where it stands and the nearest
known word.
"""


def reference() -> str:
    """The whole page."""
    parts = [_HEAD]
    for name, field in Config.model_fields.items():
        parts += _section(name, field)
    for title, table in (("Backbone", BACKBONES), ("Neck", NECKS), ("Head", HEADS)):
        parts.append(f"## {title}\n\n`Architecture.Models.<network>.{title}`, by its `name`.\n")
        parts += [_class(name, cls) for name, cls in table.items()]
    parts.append("## Loss terms\n\nEach entry of `Loss.loss_config_list` is a term's name over its arguments.\n")
    parts.append(f"### Every term\n\n{_table(_fields(CommonTermArguments))}")
    parts += [_class(name, cls) for name, cls in TERMS.items()]
    parts.append(
        "## Transforms\n\nEach entry of `Train.dataset.transforms` and `Eval.dataset.transforms` is a step's name "
        "over its arguments.\n"
    )
    parts += [f"### {name}\n\n{_first(op)}\n\n{_table(_fields(op))}" for name, op in OPS.items()]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _section(path: str, field: FieldInfo) -> Iterator[str]:
    """A section of the configuration and, after it, the sections in it."""
    (model,) = _models(field.annotation)
    depth = min(4, 2 + path.count("."))
    yield f"{'#' * depth} {path}\n\n{_first(model)}\n\n{_table(_fields(model))}"
    for name, inner in model.model_fields.items():
        if models := _models(inner.annotation):
            below = f"{path}.{name}" + (".<network>" if typing.get_origin(_plain(inner.annotation)) is dict else "")
            for found in models:
                yield from _section(below, FieldInfo(annotation=found))


def _class(name: str, cls: type) -> str:
    """A network's part or a loss term: its first sentence and its arguments, described by its docstring."""
    described = _arguments_in(cls)
    rows = [
        (key, _bounded(field.annotation, field.metadata), _default(field), described.get(key, ""))
        for key, field in arguments_of(cls).model_fields.items()
    ]
    return f"### {name}\n\n{_first(cls)}\n\n{_table(rows)}"


def _fields(model: type[BaseModel]) -> list[tuple[str, str, str, str]]:
    return [
        (name, _bounded(field.annotation, field.metadata), _default(field), field.description or "")
        for name, field in model.model_fields.items()
    ]


def _table(rows: list[tuple[str, str, str, str]]) -> str:
    if not rows:
        return "No arguments.\n"
    lines = ["| key | type | default | what |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(_cell(cell) for cell in (f'`{name}`', *rest))} |" for name, *rest in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _first(thing: type) -> str:
    """The first paragraph of a docstring."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def _arguments_in(cls: type) -> dict[str, str]:
    """Argument -> words, of the `Args:` part of a class's docstring."""
    text = (inspect.getdoc(cls) or "") + "\n"
    found = re.search(r"^Args:\n((?:(?: {4}.*)?\n)+)", text, re.MULTILINE)
    words: dict[str, str] = {}
    names: list[str] = []
    for line in (found[1] if found else "").splitlines():
        if start := re.match(r" {4}(\w+(?:, \w+)*): (.*)", line):
            names = start[1].split(", ")
            words |= dict.fromkeys(names, start[2])
        else:
            words |= {name: f"{words[name]} {line.strip()}" for name in names}
    return words


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "below"
    text = json.dumps(_jsonable(value))
    return f"`{text}`"


def _jsonable(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    return value


def _plain(kind: Any) -> Any:
    """An annotation without what `Annotated` adds and without None."""
    while typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        choices = [choice for choice in typing.get_args(kind) if choice is not type(None)]
        return _plain(choices[0]) if len(choices) == 1 else kind
    return kind


def _models(kind: Any) -> list[type[BaseModel]]:
    """The sections that a field may hold."""
    kind = _plain(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    if typing.get_origin(kind) is dict:
        return _models(typing.get_args(kind)[1])
    return []


def _type(kind: Any) -> str:
    """An annotation in the words of a YAML file."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _bounded(arguments[0], arguments[1:])
    if origin is typing.Literal:
        return ", ".join(f"`{json.dumps(choice) if isinstance(choice, bool) else choice}`" for choice in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(choice) for choice in arguments))
    if origin in (list, tuple) or getattr(origin, "__name__", "") in ("Sequence", "Collection"):
        inner = [_type(choice) for choice in arguments if choice is not Ellipsis]
        return f"[{', '.join(inner)}{', ...' if origin is not tuple or Ellipsis in arguments else ''}]"
    if origin is dict or getattr(origin, "__name__", "") == "Mapping":
        return "mapping"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "section"
    names = {int: "integer", float: "number", str: "text", bool: "`true`, `false`", type(None): "`null`", Any: "any"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def _bounded(kind: Any, metadata: Iterable[Any]) -> str:
    """An annotation with the range of its values: `number >= 0, < 1`."""
    constraints = [c for entry in metadata for c in (entry.metadata if isinstance(entry, FieldInfo) else [entry])]
    limits = ", ".join(
        f"{sign} {getattr(constraint, name)}"
        for constraint in constraints
        for name, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
        if hasattr(constraint, name)
    )
    text = re.sub("integer|number", rf"\g<0> {limits}", _type(kind), count=1) if limits else _type(kind)
    return text + (", not empty" if any(getattr(c, "min_length", 0) for c in constraints) else "")


@exit_cleanly
def main(argv: list[str] | None = None) -> int:
    """Write the page to the file that is named, or to standard output."""
    parser = argparse.ArgumentParser(prog="python -m ocr_cml.reference", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="where to write the page; standard output if left out")
    file = parser.parse_args(argv).file
    if file is None:
        sys.stdout.write(reference())
        return 0
    try:
        file.write_text(reference(), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from None
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
