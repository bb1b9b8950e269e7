"""The tool of the translation in `ocr_cml.compat`: moving keys with their lines, and saying what was done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ocr_cml.yaml_source import KeyPath, Source


@dataclass
class Reading:
    """A configuration while it is translated.

    Attributes:
        source: changed in place; a key that moves takes its line along.
        notes: what is read differently from PaddleOCR, one sentence each, with the key as its writer knows it.
    """

    source: Source
    notes: list[str] = field(default_factory=list)

    def section(self, *path: str) -> dict[str, Any]:
        """The mapping at a path; an empty one, which belongs to nothing, where there is none."""
        node: Any = self.source.data
        for key in path:
            node = node.get(key) if isinstance(node, dict) else None
        return node if isinstance(node, dict) else {}

    def steps(self, *path: str) -> Iterator[tuple[KeyPath, str, dict[str, Any]]]:
        """Each `- Name: {arguments}` of the list at a path: its own path, its name, its arguments ({} for null)."""
        entries = self.section(*path[:-1]).get(path[-1])
        for i, entry in enumerate(entries if isinstance(entries, list) else ()):
            if isinstance(entry, dict) and len(entry) == 1:
                ((name, arguments),) = entry.items()
                if arguments is None or isinstance(arguments, dict):
                    yield (*path, str(i), name), name, arguments or {}

    def is_override(self, path: KeyPath) -> bool:
        """Whether a key was written with `-o` rather than in the file."""
        return (self.source.where(path) or "").startswith("-o ")

    def note(self, path: KeyPath, text: str) -> None:
        """Say that a key is read differently, and why."""
        self.notes.append(self.source.placed(path, text))

    def problem(self, path: KeyPath, text: str) -> None:
        """Say that a key cannot be honoured, and what to do."""
        self.source.problems.append(self.source.placed(path, text))

    def take(self, holder: dict[str, Any], path: KeyPath, key: str) -> Any:
        """Remove a key from the mapping at `path`, with its lines; returns its value, None where it is not there."""
        self.source.forget((*path, key))
        return holder.pop(key, None)
