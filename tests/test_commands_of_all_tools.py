"""`ocr-cml`: the tools as sub-commands, with help, completion, and as an installed package."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
COMMANDS = ["prepare", "train", "eval", "export", "infer", "report", "compare", "why", "benchmark"]


def call(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", str(repository / "tools"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_lists_every_tool_and_an_example(repository: Path) -> None:
    done = call(repository, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"^  (\w+)  ", done.stdout, re.MULTILINE) == [*COMMANDS, "completion"]
    assert "ocr-cml train -c configs/det_cml.yml" in done.stdout
    alone = call(repository)
    assert (alone.returncode, alone.stdout, alone.stderr) == (2, "", done.stdout)


def test_every_tool_is_a_command(repository: Path) -> None:
    listed = (repository / "tools" / "__main__.py").read_text()
    for path in (repository / "tools").glob("[!_]*.py"):
        assert f'("{path.stem}", ' in listed, f"{path.name} is no sub-command"


def test_an_unknown_command_is_a_mistake_with_a_guess(repository: Path) -> None:
    done = call(repository, "trian")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: unknown command 'trian'; did you mean 'train'?\n"
    assert "known: prepare, train" in call(repository, "qqq").stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_has_an_example(repository: Path, name: str) -> None:
    done = call(repository, name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: ocr-cml {name} ")
    assert re.search(rf"examples?:\s+ocr-cml {name} ", done.stdout), done.stdout
    assert "python tools/" not in done.stdout


@pytest.mark.parametrize("path", sorted((REPOSITORY / "tools").glob("[!_]*.py")), ids=lambda path: path.stem)
def test_help_of_a_script_shows_the_script(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location(f"tool_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [f"tools/{path.name}", "--help"])
    shown = module.build_parser().format_help()
    assert shown.startswith(f"usage: {path.name} ")
    assert re.search(rf"examples?:\s+python tools/{path.name} ", shown), shown
    assert "ocr-cml " not in shown


def test_a_command_has_the_tools_exit_code_and_messages(repository: Path, tmp_path: Path) -> None:
    done = call(repository, "report", str(tmp_path / "nowhere"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere: is not a folder" in done.stderr


def completions(script: Path, words: Sequence[str]) -> list[str]:
    """What bash offers for the last of the words."""
    listed = " ".join(f"'{word}'" for word in words)
    line = f"source {script}; COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; "
    line += f'_shtab_ocr_cml ocr-cml {words[-1]} x; printf "%s\\n" "${{COMPREPLY[@]}}"'
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout.split()


def test_bash_completes_commands_and_options(repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("shtab", reason="shtab is not installed; completion is an option")
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    done = call(repository, "completion", "bash")
    assert done.returncode == 0, done.stderr
    script = tmp_path / "ocr-cml"
    script.write_text(done.stdout)
    assert completions(script, ["ocr-cml", "ex"]) == ["export"]
    assert completions(script, ["ocr-cml", "export", "--st"]) == ["--student"]
    assert completions(script, ["ocr-cml", "prepare", "sro"]) == ["sroie"]


def test_the_list_of_packages_is_whole(repository: Path) -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no reader of TOML")
    settings = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {".".join(path.parent.relative_to(repository).parts) for name in ("ocr_cml", "ppocr_data")
             for path in (repository / name).rglob("*.py")}  # fmt: skip
    assert set(settings["packages"]) == {*found, "ocr_cml_tools"}


@pytest.mark.slow
def test_the_installed_package_has_the_command(repository: Path, tmp_path: Path) -> None:
    try:
        version = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        version = "0"
    if int(version.split(".")[0]) < 77:
        pytest.skip("setuptools 77 or newer is not installed, and a test fetches nothing")
    source, target = tmp_path / "source", tmp_path / "target"
    kept = ("ocr_cml", "ppocr_data", "tools", "pyproject.toml", "README.md", "LICENSE", "requirements.txt")
    source.mkdir()
    skipped = shutil.ignore_patterns("embedded*", "__pycache__")
    for path in (repository / name for name in kept):
        if path.is_dir():
            shutil.copytree(path, source / path.name, ignore=skipped)
        else:
            shutil.copy(path, source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    command = [str(target / "bin" / "ocr-cml"), "report", "--help"]
    environment = {**os.environ, "PYTHONPATH": str(target)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ocr-cml report ")
