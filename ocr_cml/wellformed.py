"""Whether what was written has the form that is wanted, and every mistake in words.

A mistake names its dotted key, the place where it was written, what was expected, and the nearest known word.
"""

from __future__ import annotations

import copy
import functools
import inspect
import json
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from ocr_cml.binding import CommonTermArguments, split_arguments
from ocr_cml.locations import as_written, fields_at, without_union_tags
from ocr_cml.losses import TERMS
from ocr_cml.models.detector import PARTS
from ocr_cml.schema import EVALUATED, LABELLED, UNION_TAGS, UNLABELLED
from ocr_cml.yaml_source import KeyPath, Source
from ppocr_data.errors import ConfigError
from ppocr_data.spelling import hint, nearest
from ppocr_data.transforms import OPS


def validate(
    schema: type[BaseModel], data: Any, prefix: KeyPath, source: Source, problems: list[str]
) -> typing.Any | None:
    """Validate strictly; add one worded problem for each error. JSON mode lets a YAML list be a tuple and no more."""
    try:
        return schema.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        worded: dict[KeyPath, str] = {}
        for item in error.errors():
            location = [part for part in item["loc"] if part not in UNION_TAGS]
            path = prefix + as_written(location, data)
            if item["type"] == "extra_forbidden":
                known = fields_at(schema, location[:-1])
                worded[path] = _unknown(str(location[-1]), known, "key")
                source.unknown[path] = nearest(str(location[-1]), sorted(known))
            else:
                place = without_union_tags(path, source)
                worded[place] = _joined(worded[place], _reworded(item)) if place in worded else _reworded(item)
        problems += [source.placed(path, text) for path, text in worded.items()]
        return None


def as_meant(
    schema: type[BaseModel], source: Source, found: typing.Any | None, problems: list[str]
) -> typing.Any | None:
    """What was most likely meant, so that what else is wrong can be told at once; None where that cannot be said.

    Where unknown keys are the only mistakes of form, one with a likely right name counts as that, others as not there.

    Args:
        schema: of the whole.
        source: what was read, of which `validate` has noted the unknown keys.
        found: what `validate` answered.
        problems: all mistakes of form that were found in it, beside those of reading it; those that unknown keys had
            hidden are added.
    """
    if not problems:
        return found
    if len(problems) > len(source.unknown):
        return None
    data = copy.deepcopy(source.data)
    for path, meant in source.unknown.items():
        section: Any = data
        for key in path[:-1]:
            section = section[int(key)] if isinstance(section, list) else section[key]
        value = section.pop(path[-1])
        if meant is not None and section.get(meant) is None:
            section[meant] = value
    mended = Source(source.name, data, source.lines)
    hidden: list[str] = []
    found = validate(schema, data, (), mended, hidden)
    hidden += named_section_problems(mended)
    problems += hidden
    return None if hidden else found


def _joined(first: str, second: str) -> str:
    """Two complaints about one value, which would have done as either of two kinds: both kinds are named."""
    wanted, found = first.rpartition("; found ")[::2]
    other, same = second.rpartition("; found ")[::2]
    if not (wanted and other and found == same):
        return first
    return f"{wanted} or {other.removeprefix('input should be ')}; found {found}"


def _reworded(item: Mapping[str, Any]) -> str:
    if item["type"] == "missing":
        if isinstance(place := item["loc"][-1], int):
            return f"is too short; value {place + 1} is missing"
        return "is missing; give it a value"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error":
        return message
    value = json.dumps(item["input"], default=str)
    return f"{message[0].lower()}{message[1:]}; found {value if len(value) < 80 else value[:77] + '...'}"


def _unknown(word: str, known: Iterable[str], what: str) -> str:
    return f"unknown {what} {word!r}; {hint(word, sorted(known))}"


# --- sections whose fields are the arguments of a named class -------------------------------------------------------


@functools.cache
def arguments_of(cls: type) -> type[BaseModel]:
    """A strict schema of a class's keyword arguments, read from its constructor's annotations.

    `in_channels` without a default is passed on by the builder, not by the user, and is left out.
    """
    hints = typing.get_type_hints(cls.__init__)  # type: ignore[misc]
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(cls.__init__).parameters.items():  # type: ignore[misc]
        required = parameter.default is parameter.empty
        if name == "self" or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if required and name == "in_channels":
            continue
        fields[name] = (hints.get(name, Any), ... if required else parameter.default)
    strict = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)
    return create_model(cls.__name__, __config__=strict, **fields)


@functools.cache
def _term_schema(name: str) -> type[BaseModel]:
    """A loss term's own arguments and those that every term takes."""
    term: type = TERMS[name]
    return create_model(name, __base__=(arguments_of(term), CommonTermArguments))


def named_section_problems(source: Source) -> list[str]:
    """Problems inside the sections that the schema leaves open: networks' parts, loss terms, transforms."""
    problems: list[str] = []
    models = _get(source.data, "Architecture", "Models")
    for name, network in models.items() if isinstance(models, Mapping) else ():
        for part, table in PARTS.items():
            chosen = _get(network, part)
            if isinstance(chosen, Mapping):
                _check_part(chosen, table, ("Architecture", "Models", str(name), part), source, problems)
    schemas = {name: _term_schema(name) for name in TERMS}
    for i, entry in enumerate(_list(source.data, "Loss", "loss_config_list")):
        place: KeyPath = ("Loss", "loss_config_list", str(i))
        found = len(problems)
        _check_one_key(entry, schemas, place, "loss term", source, problems)
        if len(problems) == found:
            _check_term_values(entry, place, source, problems)
    for where in (LABELLED, UNLABELLED, EVALUATED):
        for i, entry in enumerate(_list(source.data, *where)):
            _check_one_key(entry, OPS, (*where, str(i)), "transform", source, problems)
    return problems


def _check_term_values(entry: Mapping[str, Any], place: KeyPath, source: Source, problems: list[str]) -> None:
    """What only the term itself knows of its arguments: ranges, choices that exclude each other."""
    ((name, arguments),) = entry.items()
    try:
        TERMS[name](**split_arguments(arguments)[1])
    except ConfigError as error:
        key, colon, text = str(error).partition(": ")
        inside = tuple(key.split(".")[1:]) if colon and key.startswith(f"{name}.") else ()
        problems.append(source.placed((*place, name, *inside), text if inside else str(error)))


def _check_part(
    chosen: Mapping[str, Any], table: Mapping[str, type], path: KeyPath, source: Source, problems: list[str]
) -> None:
    arguments = {key: value for key, value in chosen.items() if key != "name"}
    name = str(chosen.get("name", ""))
    if name not in table:
        text = _unknown(name, table, path[-1].lower()) if name else "name is missing"
        problems.append(source.placed((*path, "name"), text))
        return
    validate(arguments_of(table[name]), arguments, path, source, problems)


def _check_one_key(
    entry: Any, table: Mapping[str, type[BaseModel]], path: KeyPath, what: str, source: Source, problems: list[str]
) -> None:
    if not isinstance(entry, Mapping) or len(entry) != 1:
        problems.append(source.placed(path, f"expected one {what}, `- Name: {{arguments}}`"))
        return
    ((name, arguments),) = entry.items()
    if name not in table:
        problems.append(source.placed(path, _unknown(str(name), table, what)))
    elif arguments is None or isinstance(arguments, Mapping):
        validate(table[name], arguments or {}, (*path, str(name)), source, problems)
    else:
        problems.append(source.placed((*path, str(name)), f"expected arguments, `{name}: {{key: value}}`"))


def _list(data: Any, *keys: str) -> list[Any]:
    """A list in the data; empty where it is none, which the schema complains of."""
    found = _get(data, *keys)
    return found if isinstance(found, list) else []


def _get(data: Any, *keys: str) -> Any:
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data
