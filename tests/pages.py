"""The pages for people, and the commands and the code that stand on them."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")])
IDS = [path.relative_to(REPOSITORY).as_posix() for path in PAGES]
PROGRAMS = "python|ocr-cml|make|pip|pre-commit|apt-get|visualdl|tensorboard"
_COMMAND = rf"(?:[A-Z_]+=\S+ )*(?:{PROGRAMS}) "


def commands(page: Path) -> list[str]:
    """The command lines of a page, on one line each: in indented blocks, and whole in backticks."""
    text = without_fences(page)
    blocks = re.findall(rf"^ {{4,}}({_COMMAND}(?:.*\\\n)*.*)$", text, re.MULTILINE)
    spoken = re.findall(rf"`({_COMMAND}[^`\n]+)`", re.sub(r"`\n *", "`", re.sub(r"(?<=\S)\n(?=\S)", " ", text)))
    lines = [re.sub(r"\s+# .*", "", line.replace("\\\n", " ")) for line in blocks + spoken]
    return [" ".join(part.split()) for line in lines for part in line.split(" && ")]


def arguments(page: Path) -> list[str]:
    """The lines of indented blocks that are arguments of any tool: `-c FILE`, `-o KEY=VALUE`."""
    text = without_fences(page).replace("\\\n", " ")
    return [line.split(" #")[0].strip() for line in re.findall(r"^ {4,}(-[co] .*)$", text, re.MULTILINE)]


def snippets(page: Path) -> list[str]:
    """The fenced Python of a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def without_fences(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
