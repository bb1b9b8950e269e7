"""Reading a configuration: one YAML file and `-o` overrides in, one immutable `Config` out, or every mistake at once.

A mistake names its dotted key, the place where it was written, what was expected, and the nearest known word. Nothing
is built or opened here; what can be known to fail from the text alone is refused here, before the first second of work.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from ocr_cml.binding import ENSEMBLE, TEACHERS, CommonTermArguments, binding_problems, split_arguments
from ocr_cml.compat import translate
from ocr_cml.losses import TERMS
from ocr_cml.model_store import DETECTORS
from ocr_cml.models import BACKBONES, HEADS, NECKS
from ocr_cml.schema import UNION_TAGS, Config, Network
from ocr_cml.yaml_source import Path_, Source, apply_override, nearest, read_yaml
from ppocr_data.crop import EastRandomCropData, RandomWindow
from ppocr_data.errors import ConfigError
from ppocr_data.op import Op
from ppocr_data.transforms import OPS, NormalizeImage, check_eval_ops, check_train_ops

_CHANNELS = 3
"""Of the images that all networks of a cohort are shown."""
_LABELLED: Path_ = ("Train", "dataset", "transforms")
_UNLABELLED: Path_ = ("Train", "unlabeled", "transforms")
_EVALUATED: Path_ = ("Eval", "dataset", "transforms")
_Op = TypeVar("_Op", bound=Op)
_OF_TEACHERS = ("engine", "weight")
_OF_STUDENTS = ("fresh", "pretrained_share", "allow_missing")
_PARTS: Mapping[str, Mapping[str, type]] = {"Backbone": BACKBONES, "Neck": NECKS, "Head": HEADS}


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
        ConfigError: the file cannot be read, or is not a text detector's configuration.
    """
    source = read_yaml(Path(path))
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
    problems = list(source.problems)
    config = validate(Config, source.data, (), source, problems)
    problems += _named_section_problems(source)
    if config is not None and not problems and not recorded:
        problems += [placed(source, path, text) for path, text in binding_problems(config)]
        problems += [placed(source, path, text) for path, text in _network_problems(config)]
        problems += [placed(source, path, text) for path, text in _transform_problems(config)]
        problems += [placed(source, path, text) for path, text in _export_problems(config)]
    if problems or config is None:
        count = f"{len(problems)} mistakes" if len(problems) != 1 else "1 mistake"
        name = f"{source.name}: " if source.name else ""
        raise ConfigError(f"{name}the configuration has {count}:\n" + "\n".join(f"  {text}" for text in problems))
    return config


def dump(config: Config) -> str:
    """The resolved configuration as YAML that `load` reads back to an equal Config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def save(config: Config, path: Path) -> None:
    """Write the resolved configuration, whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(dump(config), encoding="utf-8")
    os.replace(temporary, path)


def build_op(entry: Mapping[str, Any]) -> Op:
    """The transform of one validated list entry, `{name: arguments or None}`."""
    ((name, arguments),) = entry.items()
    return OPS[name].model_validate_json(json.dumps(arguments or {}), strict=True)


# --- validation ------------------------------------------------------------------------------------------------------


def validate(
    schema: type[BaseModel], data: Any, prefix: Path_, source: Source, problems: list[str]
) -> typing.Any | None:
    """Validate strictly; add one worded problem for each error. JSON mode lets a YAML list be a tuple and no more."""
    try:
        return schema.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        worded = {}
        for item in error.errors():
            location = [part for part in item["loc"] if part not in UNION_TAGS]
            path = prefix + tuple(str(part) for part in location)
            if item["type"] == "extra_forbidden":
                known = _fields_at(schema, location[:-1])
                worded[path] = _unknown(str(location[-1]), known, "key")
            else:
                worded.setdefault(_without_union_tags(path, source), _reworded(item))
        problems += [placed(source, path, text) for path, text in worded.items()]
        return None


def _reworded(item: Mapping[str, Any]) -> str:
    if item["type"] == "missing":
        return "is missing; give it a value"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error":
        return message
    value = json.dumps(item["input"], default=str)
    return f"{message[0].lower()}{message[1:]}; found {value if len(value) < 80 else value[:77] + '...'}"


def _without_union_tags(path: Path_, source: Source) -> Path_:
    """Pydantic appends the tried type to the location of a union; people want the key they wrote."""
    while path and path not in source.lines and len(path) > 1 and path[:-1] in source.lines:
        node: Any = source.data
        for part in path[:-1]:
            node = node[int(part)] if isinstance(node, list) else node.get(part)
        if isinstance(node, Mapping):
            return path
        path = path[:-1]
    return path


def _unknown(word: str, known: Iterable[str], what: str) -> str:
    names = tuple(known)
    guess = nearest(word, names)
    return f"unknown {what} {word!r}" + (
        f"; did you mean {guess!r}?" if guess else f"; known: {', '.join(sorted(names))}"
    )


def placed(source: Source, path: Path_, text: str) -> str:
    place = source.where(path)
    return f"{'.'.join(path)}: {text}" + (f" ({place})" if place else "")


def _fields_at(schema: Any, location: Sequence[str | int]) -> tuple[str, ...]:
    """The keys that a schema knows at a location, for 'did you mean'."""
    kind: Any = schema
    for part in location:
        kind = _inner(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found = kind.model_fields.get(str(part))
            kind = found.annotation if found else None
        else:  # a dict's value or a list's entry
            arguments = typing.get_args(kind)
            kind = arguments[-1] if arguments else None
    kind = _inner(kind)
    return tuple(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else ()


def _inner(kind: Any) -> Any:
    """Strip Annotated and Optional from an annotation."""
    while True:
        if typing.get_origin(kind) is typing.Annotated:
            kind = typing.get_args(kind)[0]
        elif typing.get_origin(kind) in (typing.Union, types.UnionType):
            choices = [_inner(choice) for choice in typing.get_args(kind) if choice is not type(None)]
            models = [choice for choice in choices if isinstance(choice, type) and issubclass(choice, BaseModel)]
            kind = (models or choices)[0]
        else:
            return kind


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


def _named_section_problems(source: Source) -> list[str]:
    """Problems inside the sections that the schema leaves open: networks' parts, loss terms, transforms."""
    problems: list[str] = []
    models = _get(source.data, "Architecture", "Models")
    for name, network in models.items() if isinstance(models, Mapping) else ():
        for part, table in _PARTS.items():
            chosen = _get(network, part)
            if isinstance(chosen, Mapping):
                _check_part(chosen, table, ("Architecture", "Models", str(name), part), source, problems)
    schemas = {name: _term_schema(name) for name in TERMS}
    for i, entry in enumerate(_list(source.data, "Loss", "loss_config_list")):
        place: Path_ = ("Loss", "loss_config_list", str(i))
        found = len(problems)
        _check_one_key(entry, schemas, place, "loss term", source, problems)
        if len(problems) == found:
            _check_term_values(entry, place, source, problems)
    for where in (_LABELLED, _UNLABELLED, _EVALUATED):
        for i, entry in enumerate(_list(source.data, *where)):
            _check_one_key(entry, OPS, (*where, str(i)), "transform", source, problems)
    return problems


def _check_term_values(entry: Mapping[str, Any], place: Path_, source: Source, problems: list[str]) -> None:
    """What only the term itself knows of its arguments: ranges, choices that exclude each other."""
    ((name, arguments),) = entry.items()
    try:
        TERMS[name](**split_arguments(arguments)[1])
    except ConfigError as error:
        key, colon, text = str(error).partition(": ")
        inside = tuple(key.split(".")[1:]) if colon and key.startswith(f"{name}.") else ()
        problems.append(placed(source, (*place, name, *inside), text if inside else str(error)))


def _check_part(
    chosen: Mapping[str, Any], table: Mapping[str, type], path: Path_, source: Source, problems: list[str]
) -> None:
    arguments = {key: value for key, value in chosen.items() if key != "name"}
    name = str(chosen.get("name", ""))
    if name not in table:
        text = _unknown(name, table, path[-1].lower()) if name else "name is missing"
        problems.append(placed(source, (*path, "name"), text))
        return
    validate(arguments_of(table[name]), arguments, path, source, problems)


def _check_one_key(
    entry: Any, table: Mapping[str, type[BaseModel]], path: Path_, what: str, source: Source, problems: list[str]
) -> None:
    if not isinstance(entry, Mapping) or len(entry) != 1:
        problems.append(placed(source, path, f"expected one {what}, `- Name: {{arguments}}`"))
        return
    ((name, arguments),) = entry.items()
    if name not in table:
        problems.append(placed(source, path, _unknown(str(name), table, what)))
    elif arguments is None or isinstance(arguments, Mapping):
        validate(table[name], arguments or {}, (*path, str(name)), source, problems)
    else:
        problems.append(placed(source, (*path, str(name)), f"expected arguments, `{name}: {{key: value}}`"))


def _list(data: Any, *keys: str) -> list[Any]:
    """A list in the data; empty where it is none, which the schema complains of."""
    found = _get(data, *keys)
    return found if isinstance(found, list) else []


def _get(data: Any, *keys: str) -> Any:
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


# --- what is well-formed and cannot work -----------------------------------------------------------------------------


def _network_problems(config: Config) -> list[tuple[Path_, str]]:
    problems: list[tuple[Path_, str]] = []
    for name, network in config.Architecture.Models.items():
        path = ("Architecture", "Models", name)
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            problems.append((path, "names become file names; use letters, digits, - and _"))
        if name in (ENSEMBLE, TEACHERS):
            problems.append((path, f"{name!r} means something else here; choose another name"))
        parts = [part for part in _PARTS if getattr(network, part) is not None]
        if network.freeze_params and not (network.pretrained or network.inference_model):
            text = "is frozen but has no weights, so it would teach noise; set pretrained or inference_model"
            problems.append((path, text))
        if not network.freeze_params:
            problems += [
                ((*path, key), "is for teachers; this network learns") for key in _stated(network, _OF_TEACHERS)
            ]
        else:
            problems += [
                ((*path, key), "is for students; this network is frozen") for key in _stated(network, _OF_STUDENTS)
            ]
        if network.inference_model and not network.freeze_params:
            problems.append(((*path, "inference_model"), "only a frozen network can be one; set freeze_params: true"))
        if network.inference_model and network.engine == "layer":
            problems.append(
                ((*path, "engine"), "an inference model cannot run as a layer; choose auto, paddle or onnx")
            )
        if network.inference_model and (parts or network.pretrained):
            text = f"is used as it is; remove {', '.join(parts or ['pretrained'])}"
            problems.append(((*path, "inference_model"), text))
        channels = (network.Backbone or {}).get("in_channels", _CHANNELS)
        if channels != _CHANNELS:
            text = f"is {channels}, and every network of a cohort is shown the same BGR images; set {_CHANNELS}"
            problems.append(((*path, "Backbone", "in_channels"), text))
        if not network.inference_model and len(parts) < len(_PARTS):
            lacking = [part for part in _PARTS if part not in parts]
            problems.append((path, f"needs {', '.join(lacking)}"))
    return problems


def _stated(network: Network, keys: Sequence[str]) -> list[str]:
    """Those keys that have another value than their default."""
    return [
        key for key in keys if getattr(network, key) != Network.model_fields[key].get_default(call_default_factory=True)
    ]


def _transform_problems(config: Config) -> list[tuple[Path_, str]]:
    """Targets are built at the crop, once, and both with one shrink ratio; evaluation resizes by one rule."""
    train = config.Train
    labelled = [build_op(entry) for entry in train.dataset.transforms]
    lists = [(_LABELLED, labelled, check_train_ops)]
    if train.unlabeled is not None and train.unlabeled.transforms:  # else those of the labelled images
        lists.append((_UNLABELLED, [build_op(entry) for entry in train.unlabeled.transforms], check_train_ops))
    lists.append((_EVALUATED, [build_op(entry) for entry in config.Eval.dataset.transforms], check_eval_ops))

    problems: list[tuple[Path_, str]] = []
    for where, ops, check in lists:
        try:
            check(ops)
        except ConfigError as error:
            problems.append((where, str(error)))
        normalize = _first(NormalizeImage, ops)
        if normalize is not None and normalize != (_first(NormalizeImage, labelled) or NormalizeImage()):
            text = "NormalizeImage differs from that of Train.dataset; pixels are normalised by one rule, that one"
            problems.append((where, text))
        size, other = _crop_size(ops), _crop_size(labelled)
        if where == _UNLABELLED and train.dataset.label_file_list and size and other and size != other:
            text = (
                f"crops are {list(size)}, those of Train.dataset {list(other)}; a batch holds both: give them one size"
            )
            problems.append((where, text))
    return problems


def _export_problems(config: Config) -> list[tuple[Path_, str]]:
    """A student that was trained for hours should run where it is meant to."""
    name = config.Global.model_name
    if name in DETECTORS:
        return []
    guess = nearest(name, DETECTORS)
    hint = f"did you mean {guess!r}?" if guess else f"choose one of {', '.join(DETECTORS)}"
    text = f"{name!r} is no detector of PaddleOCR's, and its runtime runs an export under no other name; {hint}"
    return [(("Global", "model_name"), text)]


def _first(kind: type[_Op], ops: Sequence[Op]) -> _Op | None:
    return next((op for op in ops if isinstance(op, kind)), None)


def _crop_size(ops: Sequence[Op]) -> tuple[int, int] | None:
    """Width and height of a training list's crops; None where it has no crop, which is refused by itself."""
    crop = _first(EastRandomCropData, ops) or _first(RandomWindow, ops)
    return None if crop is None else crop.size
