"""The pages for people: links lead somewhere, commands parse and their configurations load, examples run."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import paddle
import pytest
import tiny
from pages import IDS, PAGES, REPOSITORY, commands, snippets, without_fences

from ocr_cml import config
from ocr_cml.losses import TERMS
from ocr_cml.losses.targets import decode_targets
from ocr_cml.models.detector import Detector, DetOutput
from ocr_cml.models.heads import HEADS
from ocr_cml.models.necks import NECKS
from ocr_cml.reference import reference
from ocr_cml.wellformed import arguments_of
from ppocr_data.errors import ConfigError, UserError

SUBCOMMANDS = {"prepare": "prepare_data", "export": "export_model", "infer": "infer_det"}


def prose(page: Path) -> str:
    """A page without its code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ {4,}.*$", "", without_fences(page), flags=re.MULTILINE))


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tool_{name}", REPOSITORY / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def heading_ids(page: Path) -> set[str]:
    """The anchors that a page's headings have on GitHub."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
        assert "://" not in target, f"{target}: no host stands in the pages"
        name, _, anchor = target.partition("#")
        found = page.parent / name if name else page
        assert found.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in heading_ids(found), f"{page.name}: {target}"


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = (REPOSITORY / "docs" / "README.md").read_text(encoding="utf-8")
    for page in REPOSITORY.glob("docs/[!R]*.md"):
        assert f"]({page.name})" in listed, f"{page.name} is not in docs/README.md"


def test_the_chinese_readme_has_the_commands_of_the_english_one() -> None:
    english, chinese = commands(REPOSITORY / "README.md"), commands(REPOSITORY / "README.zh-CN.md")
    assert english == chinese
    assert snippets(REPOSITORY / "README.md") == snippets(REPOSITORY / "README.zh-CN.md")


# --- commands ---------------------------------------------------------------------------------------------------------


def check(command: str) -> None:
    """Whether a command would start: its arguments parse, its files are there, its configuration loads.

    Raises:
        AssertionError: it would not, or there is no way here to tell.
    """
    words = shlex.split(command)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (REPOSITORY / "Makefile").read_text(), re.MULTILINE), command
    elif words[:3] == ["python", "-m", "pip"]:
        for file in re.findall(r"-r (\S+)", command):
            assert (REPOSITORY / file).is_file(), command
    elif words[:3] == ["python", "-m", "paddle.distributed.launch"]:
        start = next(number for number, word in enumerate(words) if word.startswith("tools/"))
        check(shlex.join(["python", *words[start:]]))
    elif words[:2] == ["python", "-m"] and words[2].startswith("tests.reliability."):
        assert (REPOSITORY / words[2].replace(".", "/")).with_suffix(".py").is_file(), command
    elif words[:2] == ["python", "-m"]:
        known = ("pytest", "venv", "ruff", "mypy", "ocr_cml.reference")
        assert words[2] in known, f"{command}: say in this test how to check it"
    elif words[0] == "ocr-cml" or words[:2] == ["python", "tools"]:
        name, arguments = (words[1], words[2:]) if words[0] == "ocr-cml" else (words[2], words[3:])
        if not name.startswith("-") and name != "completion":
            check_tool(SUBCOMMANDS.get(name, name), arguments, command)
    elif words[0] == ".":
        assert words[1] == ".venv/bin/activate", command
    elif words[0] == "python" and words[1].startswith("tools/"):
        assert (REPOSITORY / words[1]).is_file(), command
        check_tool(Path(words[1]).stem, words[2:], command)
    else:
        raise AssertionError(f"{command}: say in this test how to check it")


def check_tool(name: str, arguments: list[str], command: str) -> None:
    if any(word in ("COMMAND", "--help") for word in arguments):
        return
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed = tool(name).build_parser().parse_args(arguments)
    except SystemExit:
        raise AssertionError(f"{command}: {said.getvalue()}") from None
    if name == "compare":
        assert (REPOSITORY / parsed.config).is_file(), command
    elif hasattr(parsed, "config") and not parsed.config.startswith("PaddleOCR/"):  # its files: tests of ocr_cml.compat
        # A run's own configuration is that of the quick start, with every default.
        given = "configs/det_cml.yml" if parsed.config.startswith("output/") else parsed.config
        try:
            config.load(REPOSITORY / given, parsed.override)
        except ConfigError as error:
            raise AssertionError(f"{command}: {error}") from None


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_would_start(page: Path) -> None:
    """In seconds; tests/test_commands_of_pages.py and tests/test_own_data_page.py run them."""
    for command in commands(page):
        if shlex.split(command)[0] in ("python", "ocr-cml", "make"):  # ours
            check(command)


@pytest.mark.parametrize(
    "command",
    [
        "python tools/train.py -c configs/none.yml",
        "python tools/train.py -c configs/det_cml.yml -o Global.max_step=3",
        "python tools/train.py --nothing",
        "python tools/nothing.py",
        "python -m pip install -r nothing.txt",
        "make nothing",
        "python -m nothing",
        "python nothing.py",
        "ocr-cml export --nothing",
    ],
)
def test_a_wrong_command_would_be_noticed(command: str) -> None:
    with pytest.raises(AssertionError):
        check(command)


def test_readme_has_the_two_lines_that_others_rely_on() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for line in (
        "    python -m pip install -r requirements-test.txt && python -m pytest",
        "    python -m pip install -r requirements.txt && python tools/train.py -c configs/det_cml.yml",
    ):
        assert f"\n{line}\n" in text


# --- code -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/deployment.md"])
def test_code_about_the_exported_folder_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the committed teacher, which tools/export_model.py wrote. PaddleOCR's part has a test of its own."""
    from ocr_cml.paddle_to_onnx import to_onnx

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "output/det_cml/inference"
    folder.parent.mkdir(parents=True)
    teacher = REPOSITORY / "configs/teacher"
    folder.mkdir()
    for name in ("inference.json", "inference.pdiparams", "inference.yml"):
        (folder / name).symlink_to(teacher / name)
    (folder / "inference.onnx").write_bytes(to_onnx(folder / "inference.json", folder / "inference.pdiparams"))
    cv2.imwrite("photo.jpg", np.full((120, 160, 3), 200, np.uint8))
    run = 0
    for code in snippets(REPOSITORY / page):
        if "paddleocr" not in code:
            exec(compile(code, page, "exec"), {})
            run += 1
    assert run >= 1


def test_the_examples_of_extending_work(monkeypatch: pytest.MonkeyPatch) -> None:
    loss, backbone, transform = ({} for _ in range(3))
    for code, names in zip(snippets(REPOSITORY / "docs/extending.md"), (loss, backbone, transform), strict=True):
        exec(compile("from __future__ import annotations\n" + code, "docs/extending.md", "exec"), names)

    term = loss["MapL1Loss"](power=2.0)
    assert list(arguments_of(loss["MapL1Loss"]).model_fields) == ["power", "use_mask"]
    with pytest.raises(UserError, match=r"MapL1Loss\.power"):
        loss["MapL1Loss"](power=0.0)
    batch = tiny.batch()
    ours, theirs = (DetOutput.from_probability(paddle.full([2, 1, tiny.CROP, tiny.CROP], p)) for p in (0.25, 0.75))
    assert float(term(ours, theirs, decode_targets(batch))) == pytest.approx(0.25, rel=1e-4)
    assert float(term(ours, ours, decode_targets(batch))) == 0.0

    body = backbone["PlainCNN"](width=8)
    neck = NECKS["RSEFPN"](body.out_channels, out_channels=24)
    network = Detector(body, neck, HEADS["DBHead"](neck.out_channels))
    network.eval()
    assert network.probability(paddle.zeros([1, 3, 64, 96])).shape == [1, 1, 64, 96]
    assert network.feature_channels == {**{f"backbone.{i}": 8 * 2**i for i in range(4)}, "neck": 24}

    record = {"image": np.full((2, 2, 3), 77, np.uint8)}
    made = transform["Posterize"](p=1.0, levels=4)(record, np.random.default_rng(0))
    assert (made["image"] == 64).all() and (record["image"] == 77).all()
    assert "MapL1Loss" not in TERMS


# --- the reference ----------------------------------------------------------------------------------------------------


def test_the_configuration_reference_is_up_to_date() -> None:
    committed = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
    hint = "run: python -m ocr_cml.reference docs/configuration.md"
    assert committed == reference(), hint


def test_the_reference_names_every_key_of_the_quick_start() -> None:
    """A key that the quick start's configuration sets stands on the page."""
    page = reference()
    text = (REPOSITORY / "configs" / "det_cml.yml").read_text(encoding="utf-8")
    keys = set(re.findall(r"^ +(?:- )?(\w+):", text, re.MULTILINE)) - {"Teacher", "Student", "Student2"}
    keys -= {"augmenter_args"} if "`augmenter_args`" in page else set()
    missing = [key for key in sorted(keys) if not re.search(rf"\b{key}\b", page)]
    assert missing == []
