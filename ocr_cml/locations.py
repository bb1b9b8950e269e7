"""Where the locations of pydantic's complaints lie: in the schema, and in what was written."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from ocr_cml.yaml_source import KeyPath, Source


def as_written(location: Sequence[str | int], data: Any) -> KeyPath:
    """The key of a location of pydantic's, which also names kinds on the way: `augmenter_args.0.Affine.args.rotate`."""
    path: list[str] = []
    for part in location[:-1]:
        inside = isinstance(part, int) if isinstance(data, list) else isinstance(data, Mapping) and part in data
        if inside or not isinstance(data, (list, Mapping)):
            path.append(str(part))
            data = data[part] if inside else None
    return (*path, *map(str, location[-1:]))


def without_union_tags(path: KeyPath, source: Source) -> KeyPath:
    """Pydantic appends the tried type to the location of a union; people want the key they wrote."""
    while path and path not in source.lines and len(path) > 1 and path[:-1] in source.lines:
        node: Any = source.data
        for part in path[:-1]:
            node = node[int(part)] if isinstance(node, list) else node.get(part)
        if isinstance(node, Mapping):
            return path
        path = path[:-1]
    return path


def fields_at(schema: Any, location: Sequence[str | int]) -> tuple[str, ...]:
    """The keys that a schema knows at a location, for 'did you mean'."""
    kind: Any = schema
    for part in location:
        if (chosen := _of_kind(kind, part)) is not None:
            kind = chosen
            continue
        kind = _inner(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found = kind.model_fields.get(str(part))
            kind = found.annotation if found else None
        else:  # a dict's value or a list's entry
            arguments = [argument for argument in typing.get_args(kind) if argument is not Ellipsis]
            kind = arguments[-1] if arguments else None
    kind = _inner(kind)
    return tuple(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else ()


def _of_kind(kind: Any, tag: str | int) -> type[BaseModel] | None:
    """Of several kinds of sections the one that says of its `type` that it is `tag`."""
    while typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    for choice in typing.get_args(kind):
        field = getattr(choice, "model_fields", {}).get("type")
        if field is not None and tag in typing.get_args(field.annotation):
            return typing.cast(type[BaseModel], choice)
    return None


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
