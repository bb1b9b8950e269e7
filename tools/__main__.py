"""All tools as one command: `ocr-cml train ...` where the package is installed, `python tools train ...` in a checkout.

Each sub-command is the tool of that file, with the same arguments.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import sys
from pathlib import Path
from types import ModuleType

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ocr_cml.cli import USER_MISTAKE, exit_cleanly
from ocr_cml.environment import version_of
from ppocr_data.errors import UserError
from ppocr_data.spelling import hint

COMMANDS = {
    "prepare": ("prepare_data", "convert a data set, make the synthetic one, or look for label mistakes"),
    "train": ("train", "train a cohort of detectors"),
    "eval": ("eval", "score students, ensemble and teachers; fit the post-process"),
    "export": ("export_model", "write an inference model for Paddle and ONNX Runtime"),
    "infer": ("infer_det", "find text in pictures with an exported detector"),
    "report": ("report", "remake a run's report, or compare runs on one page"),
    "compare": ("compare", "train methods over seeds and say which helps"),
    "why": ("why", "measure what mutual learning did to finished runs"),
    "benchmark": ("benchmark", "measure speed and memory"),
}
"""Sub-command -> module beside this file, what it does."""

_SHELLS = ("bash", "zsh", "tcsh")
_HELP = """usage: ocr-cml COMMAND ...

Train small text detectors that learn from each other.

{commands}
  completion  print the completion of a shell: {shells}

examples:
  ocr-cml train -c configs/det_cml.yml
  ocr-cml eval -c output/det_cml/config.yml -o Global.pretrained_model=output/det_cml/best --tune
  ocr-cml completion bash > ~/.local/share/bash-completion/completions/ocr-cml

`ocr-cml COMMAND --help` says more, with an example; `ocr-cml --version` the version.
"""


@exit_cleanly
def main(argv: list[str] | None = None) -> int:
    """Run the sub-command that the first argument names. Returns the exit code."""
    name, *arguments = (sys.argv[1:] if argv is None else argv) or [""]
    if name in ("-h", "--help", ""):
        listed = "\n".join(f"  {command:<10}  {text}" for command, (_, text) in COMMANDS.items())
        text = _HELP.format(commands=listed, shells=", ".join(_SHELLS))
        print(text, end="", file=sys.stdout if name else sys.stderr)
        return 0 if name else USER_MISTAKE
    if name == "--version":
        print(f"ocr-cml {_version()}, paddle {version_of('paddlepaddle', 'paddlepaddle-gpu')}")
        return 0
    if name == "completion":
        return _complete(arguments)
    if name not in COMMANDS:
        raise UserError(f"unknown command {name!r}; {hint(name, [*COMMANDS, 'completion'])}")
    sys.argv = [f"ocr-cml {name}", *arguments]  # what usage lines and the run's log call it
    return _tool(name).main(arguments)


def _tool(name: str) -> ModuleType:
    module = COMMANDS[name][0]
    return importlib.import_module(f".{module}", __package__) if __package__ else importlib.import_module(module)


def _version() -> str:
    try:
        return importlib.metadata.version("ocr-cml")
    except importlib.metadata.PackageNotFoundError:
        return "(a checkout that is not installed)"


def build_parser() -> argparse.ArgumentParser:
    """The whole command line as one parser, for completion."""
    parser = argparse.ArgumentParser(prog="ocr-cml")
    parser.add_argument("--version", action="store_true")
    commands = parser.add_subparsers()
    for name, (_, text) in COMMANDS.items():
        tool = _tool(name).build_parser()
        tool.prog = f"ocr-cml {name}"
        # The sub-parser is the tool's own; argparse has no public way to say so.
        commands.add_parser(name, help=text)
        commands.choices[name] = tool
    commands.add_parser("completion", help="print the completion of a shell").add_argument("shell", choices=_SHELLS)
    return parser


def _complete(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="ocr-cml completion",
        description="Print the completion of a shell.",
        epilog="example: ocr-cml completion bash > ~/.local/share/bash-completion/completions/ocr-cml",
    )
    parser.add_argument("shell", choices=_SHELLS)
    shell = parser.parse_args(arguments).shell
    try:
        import shtab
    except ImportError:
        raise UserError('completion needs shtab; install it with: python -m pip install "shtab"') from None
    print(shtab.complete(build_parser(), shell))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
