"""YAML with its line numbers: strict reading, and `-o a.b=c` overrides on top.

PyYAML by itself lets a repeated key win silently and reads `1e-3` as a string. Both are errors of configuration that
cost people trainings, so this reader refuses the first and mends the second.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ppocr_data.errors import ConfigError

KeyPath = tuple[str, ...]  # a dotted key, taken apart; list positions are written as decimal strings

_FLOAT = re.compile(
    r"""^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?
        |[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)
        |[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
        |[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)


@dataclass
class Source:
    """A configuration as plain data, knowing where each key was written.

    Attributes:
        name: the file, for messages.
        data: nested dicts, lists and scalars.
        lines: for each dotted key (as a tuple) the place it was written: `configs/det_cml.yml:12` or `-o a.b`.
        problems: mistakes found while reading, already worded for people.
        repeats: the last value of each key that was written more than once; `data` holds the first.
        unknown: keys that no schema knows, with the one that was most likely meant, as validation finds them.
        notes: what a reader of another dialect (`ocr_cml.compat`) understood differently, worded for people.
    """

    name: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    repeats: dict[KeyPath, Any] = field(default_factory=dict)
    unknown: dict[KeyPath, str | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def where(self, path: KeyPath) -> str | None:
        """The place of a key, or of its nearest enclosing key that has one."""
        for length in range(len(path), 0, -1):
            if place := self.lines.get(path[:length]):
                return place
        return None

    def given_below(self, path: KeyPath) -> list[str]:
        """The places of keys below `path` that were written with `-o`."""
        below = (place for key, place in self.lines.items() if len(key) > len(path) and key[: len(path)] == path)
        return sorted({place for place in below if place.startswith("-o ")})

    def placed(self, path: KeyPath, text: str) -> str:
        """A message with its dotted key and place: of a section, also what was given for keys of it with `-o`."""
        places = [*filter(None, [self.where(path)]), *self.given_below(path)]
        return f"{'.'.join(path)}: {text}" + (f" ({', '.join(dict.fromkeys(places))})" if places else "")

    def forget(self, path: KeyPath) -> None:
        """What is at `path` and under it stands nowhere any more."""
        for known in self._from(path):
            del self.lines[known]

    def move(self, old: KeyPath, new: KeyPath) -> None:
        """The key at `old` now stands at `new`, with all that is under it."""
        for known in self._from(old):
            self.lines[new + known[len(old) :]] = self.lines.pop(known)

    def take_lines(self, at: KeyPath, other: Source, written_at: KeyPath) -> None:
        """What stands at `at` was written in another source: mistakes in it name the place there."""
        self.forget(at)
        for known in other._from(written_at):
            self.lines[at + known[len(written_at) :]] = other.lines[known]

    def _from(self, path: KeyPath) -> list[KeyPath]:
        return [known for known in self.lines if known[: len(path)] == path]


_MOST_NODES = 50_000
"""Entries of a configuration with all its aliases written out. Ten lines of aliases can stand for billions."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2: `1e-3` is a number; dates, base 60 and octal are not."""

    left = _MOST_NODES

    def count(self, nodes: int, node: yaml.Node) -> None:
        """Note that so many more are made; refuse a file that never ends."""
        self.left -= nodes
        if self.left < 0:
            text = f"its aliases stand for more than {_MOST_NODES:,} entries; write out what is meant"
            raise yaml.constructor.ConstructorError(None, None, text, node.start_mark)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Resolve `<<`, counting what it brings: a mapping may merge one that merges another."""
        super().flatten_mapping(node)
        self.count(len(node.value) // 8, node)


_SCALARS = {
    "bool": (re.compile(r"true|True|TRUE|false|False|FALSE"), "tTfF"),
    "int": (re.compile(r"[-+]?(?:0|[1-9][0-9]*)"), "-+0123456789"),
    "float": (_FLOAT, "-+0123456789."),
    "null": (re.compile(r"~|null|Null|NULL|"), ("~", "n", "N", "")),
    "merge": (re.compile(r"<<"), "<"),
}
_Loader.yaml_implicit_resolvers = {}
for _name, (_rule, _firsts) in _SCALARS.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(f"(?:{_rule.pattern})$", _rule.flags), list(_firsts)
    )

_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")

_UNBUILDABLE = (yaml.YAMLError, ValueError, RecursionError, TypeError)
"""What PyYAML raises for text that is no YAML, numbers of 5,000 digits, and mappings that hold themselves."""


def read_yaml(path: Path) -> Source:
    """Read one YAML file.

    Raises:
        ConfigError: the file is missing, not UTF-8, not YAML, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; give a configuration with -c, for example configs/det_cml.yml"
        ) from None
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{number}: is not UTF-8; save the file as UTF-8") from None
    except IsADirectoryError:
        found = sorted(path.glob("*.y*ml"), key=lambda file: (file.name.startswith("compare"), file))
        inside = " ".join(map(str, found[:3]))
        raise ConfigError(f"{path}: is a folder; give a configuration with -c, {inside or 'a YAML file'}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    source = Source(name=str(path))
    try:
        source.data = _parse(text, (), source, str(path))
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {error.problem}") from None
    except _UNBUILDABLE as error:
        raise ConfigError(f"{path}: not valid YAML: {str(error)[:200] or type(error).__name__}") from None
    if source.data is None:
        source.data = {}
    if not isinstance(source.data, dict):
        raise ConfigError(f"{path}: expected sections such as Global; found a {type(source.data).__name__}")
    return source


def plain(text: str) -> Any:
    """The data of a YAML text, read within the same limits; of repeated keys the first counts.

    Raises:
        ConfigError: it is not YAML.
    """
    try:
        return _parse(text, (), Source(), "")
    except _UNBUILDABLE as error:
        raise ConfigError(f"not valid YAML: {str(error)[:200] or type(error).__name__}") from None


def dotted(data: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists as one mapping of dotted keys; empty ones are values of their own, none at the top."""
    if not isinstance(data, (dict, list)) or not data:
        return {prefix: data} if prefix else {}
    pairs = data.items() if isinstance(data, dict) else enumerate(data)
    return {k: v for name, inner in pairs for k, v in dotted(inner, f"{prefix}.{name}".lstrip(".")).items()}


def _parse(text: str, path: KeyPath, source: Source, place: str) -> Any:
    """Plain data of one YAML document; lines and repeated keys are noted in `source`."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        return None if node is None else _construct(loader, node, path, source, place)
    finally:
        loader.dispose()


def _construct(loader: _Loader, node: yaml.Node, path: KeyPath, source: Source, name: str) -> Any:
    """Build plain data from a YAML node, noting lines and repeated keys on the way."""
    loader.count(1, node)
    source.lines[path] = f"{name}:{node.start_mark.line + 1}"
    if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN_TAGS:
        raise yaml.constructor.ConstructorError(None, None, f"the tag {node.tag} is not allowed here", node.start_mark)
    if isinstance(node, yaml.MappingNode):
        # `<<: *anchor` is resolved in place: its keys come first, and may be overridden here. A mapping that is itself
        # anchored is met again where it is used, and then no longer shows which keys it wrote.
        own = vars(node).setdefault("own_keys", {id(key_node) for key_node, _ in node.value})
        loader.flatten_mapping(node)
        loader.count(len(node.value), node)
        written_here: set[str] = set()
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(loader.construct_object(key_node, deep=True))
            here = (*path, key)
            if key in written_here:
                first, again = source.lines[here], f"{name}:{key_node.start_mark.line + 1}"
                source.problems.append(f"{'.'.join(here)}: written twice, at {first} and at {again}; keep one")
                source.repeats[here] = _construct(loader, value_node, here, Source(), name)
                continue
            if id(key_node) in own:
                written_here.add(key)
            mapping[key] = _construct(loader, value_node, here, source, name)
            source.lines[here] = f"{name}:{key_node.start_mark.line + 1}"
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_construct(loader, item, (*path, str(i)), source, name) for i, item in enumerate(node.value)]
    return loader.construct_object(node, deep=True)


def apply_override(source: Source, assignment: str) -> None:
    """Apply one `a.b=c` to `source.data`; `c` is read as YAML. Mistakes are added to `source.problems`.

    A list of one-key mappings (transforms, loss terms) may be entered by name: `Train.dataset.transforms.MakeShrinkMap
    .shrink_ratio=0.5`. A key that no schema knows is found later, by validation, as in a file.
    """
    dotted, equals, text = assignment.partition("=")
    keys = tuple(dotted.strip().split("."))
    if not equals or not all(keys):
        source.problems.append(f"-o {assignment}: expected Section.key=value, for example -o Global.max_steps=100")
        return
    scratch = Source()
    try:
        value = _parse(text, keys, scratch, f"-o {dotted}")
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is no text
    except _UNBUILDABLE as error:
        shown = text if len(text) < 60 else text[:57] + "..."
        source.problems.append(f"-o {dotted}: {shown!r} is not a YAML value ({type(error).__name__}); quote it")
        return
    source.problems += [f"-o {problem}" for problem in scratch.problems]
    _assign(source, keys, value)


def _assign(source: Source, keys: KeyPath, value: Any) -> None:
    """Walk to the parent of the key, making mappings on the way, and set the value."""
    node: Any = source.data
    path: KeyPath = ()
    for position, key in enumerate(keys):
        last = position == len(keys) - 1
        if isinstance(node, list):
            index = _list_index(node, key)
            if isinstance(index, str):
                source.problems.append(f"-o {'.'.join(keys)}: {'.'.join(path)} {index}")
                return
            path += (str(index),)
            entry = node[index]
            if last and value is None and isinstance(entry, dict) and entry.get(key):
                source.problems.append(
                    f"-o {'.'.join(keys)}: null would give {key} its defaults, which {{}} says; to do without it set "
                    "its weight or prob to 0, or take it out of the file"
                )
                return
            by_name = isinstance(node[index], dict) and key in node[index] and not key.isdigit()
            if last and not by_name:
                node[index] = value
                break
            node = node[index]
            if not by_name:
                continue
        if not isinstance(node, dict):
            source.problems.append(f"-o {'.'.join(keys)}: {'.'.join(path)} is a single value and has no key {key!r}")
            return
        path += (key,)
        if last:
            node[key] = value
        else:
            if node.get(key) is None:
                node[key] = {}
                source.lines.setdefault(path, f"-o {'.'.join(keys)}")
            node = node[key]
    source.forget(path)
    source.lines[path] = f"-o {'.'.join(keys)}"


def _list_index(items: list[Any], key: str) -> int | str:
    """The position that a key means in a list of one-key mappings, or why there is none."""
    if key.isascii() and key.isdigit() and int(key[:9]) < len(items):
        return int(key)
    matches = [i for i, item in enumerate(items) if isinstance(item, dict) and list(item) == [key]]
    if len(matches) == 1:
        return matches[0]
    if matches:
        return f"has {key!r} at the positions {', '.join(map(str, matches))}; name one by its position"
    names = [next(iter(item)) for item in items if isinstance(item, dict) and len(item) == 1]
    return f"is a list without {key!r}; it has {', '.join(names) or f'{len(items)} entries'}"
