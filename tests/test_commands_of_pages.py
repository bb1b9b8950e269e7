"""Every command of the pages runs, as it stands there, in a workspace where all that it names lies in miniature.

docs/own-data.md has a test of its own, tests/test_own_data_page.py; README.zh-CN.md has the commands of README.md, as
tests/test_docs.py sees to.
"""

from __future__ import annotations

import os
import re
import shutil
import textwrap
from dataclasses import dataclass
from pathlib import Path

import paddle
import pytest
import workspace
from pages import IDS, PAGES, REPOSITORY, arguments, commands
from workspace import Tool

pytestmark = pytest.mark.slow

ELSEWHERE = ("README.zh-CN.md", "docs/own-data.md")
PAGE_OF = {name: page for name, page in zip(IDS, PAGES, strict=True) if name not in ELSEWHERE}
COMMANDS = {name: [*commands(page), *arguments(page)] for name, page in PAGE_OF.items()}

TRAIN = "python tools/train.py -c configs/det_cml.yml"
TEACHER = "Architecture.Models.Teacher.inference_model"
GLOO = "python -m paddle.distributed.launch --nproc_per_node=2 --backend gloo tools/train.py -c configs/det_cml.yml"
BENCHMARK = "python tools/benchmark.py loader step evaluation boxes --quick --json quick.json"


@dataclass(frozen=True)
class Instead:
    """What stands in for a command that cannot be run as it is.

    Attributes:
        why: the reason.
        run: commands that are run in its place; `fresh`: in another workspace, where nothing was trained before.
        seen: `FILE::WORDS`, where the same is done otherwise: by CI, or by a test of its own.
        refused: without a GPU the command itself is run, and this is what it must say.
    """

    why: str
    run: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    refused: str = ""


def ci(why: str, words: str) -> Instead:
    return Instead(why, seen=(f".ci/run::{words}",))


def seen(why: str, *places: str) -> Instead:
    return Instead(why, seen=tuple(f"tests/{place}" for place in places))


def runs(why: str, *commands: str) -> Instead:
    return Instead(why, run=commands)


FETCHES = "fetches packages, which a test does not"
MORE = "is a part of this suite, with numbers of its own"
LONG = "takes minutes to hours"
INSTALLED = ".ci/run::python -m pip install --quiet --disable-pip-version-check -r requirements-test.txt"
MAKE = shutil.which("make")
COMPARE = "python tools/compare.py -c configs/compare.yml -o"
LAUNCH = "python -m paddle.distributed.launch"
SOURCE = "PADDLEOCR_SOURCE=PaddleOCR"
RELIABILITY = "python -m pytest tests/reliability"

INSTEAD = {
    # --- a working copy ---
    "python -m venv .venv": ci("makes an environment of this one", "python3 -m venv"),
    ". .venv/bin/activate": ci("changes a shell", 'export PATH="$environment/bin:$PATH"'),
    "python -m pip install -r requirements-test.txt": Instead(FETCHES, seen=(INSTALLED,)),
    "python -m pip install -r requirements.txt": Instead(
        FETCHES, seen=(INSTALLED, "requirements-test.txt::-r requirements.txt")
    ),
    "python -m pip install -e .": seen(
        FETCHES, "test_commands_of_all_tools.py::test_the_installed_package_has_the_command"
    ),
    "python -m pip install --no-deps -e .": seen(
        FETCHES, "test_commands_of_all_tools.py::test_the_installed_package_has_the_command"
    ),
    "apt-get install chromium": seen("changes the system", "browser.py::chromium", "test_report_browser.py::browser"),
    "pre-commit install": ci("changes the checkout; its hooks are CI's linters", "python -m ruff check ."),
    "make lint types test": runs("runs this suite", "make --dry-run lint types test"),
    "make test": runs("runs this suite", "make --dry-run test"),
    "make check": runs("runs this suite", "make --dry-run check"),
    "make picture": runs(f"{LONG}; its commands are the README's", "make --dry-run picture"),
    "python -m pytest": ci("is this suite", 'bash -c "$command"'),
    # --- what is not part of requirements-test.txt ---
    'python -m pip install "visualdl>=2.5.3,<3"': Instead(FETCHES, seen=('pyproject.toml::"visualdl>=2.5.3,<3"',)),
    'python -m pip install "tensorboardX>=2.6.5,<3"': Instead(
        FETCHES, seen=('pyproject.toml::"tensorboardX>=2.6.5,<3"',)
    ),
    'python -m pip install "wandb>=0.19"': Instead(FETCHES, seen=('pyproject.toml::"wandb>=0.19"',)),
    "pip install --no-deps rapidocr omegaconf antlr4-python3-runtime==4.9.3 colorlog": seen(
        FETCHES, "test_export.py::test_rapidocr_finds_the_same_boxes_to_a_pixel"
    ),
    f"{TRAIN} -o Global.loggers=[visualdl,tensorboard]": runs(
        "wants visualdl", f"{TRAIN} -o Global.loggers=[tensorboard]"
    ),
    "visualdl --logdir output/det_cml/visualdl": seen("is a server", "loop/test_loggers.py::visualdl"),
    "tensorboard --logdir output/det_cml/tensorboard": seen("is a server", "loop/test_loggers.py::run/tensorboard"),
    # --- devices and machines ---
    f"{TRAIN} -o Global.use_gpu=true": Instead(
        "wants a GPU", refused="but this machine or this build of paddle has no GPU"
    ),
    GLOO: runs("would find the finished run", f"fresh {GLOO}"),
    f"{LAUNCH} --gpus 0,1 tools/train.py -c configs/det_cml.yml": runs("wants two GPUs", f"fresh {GLOO}"),
    f"{LAUNCH} --gpus 0,1,2,3 tools/train.py -c configs/det_cml.yml": runs("wants four GPUs", f"fresh {GLOO}"),
    f"{LAUNCH} --master 10.0.0.1:8090 --nnodes 2 --gpus 0,1 tools/train.py -c configs/det_cml.yml": runs(
        "wants two machines", f"fresh {GLOO}"
    ),
    # --- measurements: the same, small ---
    f"{COMPARE} only=[alone,st,dml2,cml] seeds=[1,2] jobs=2 output=output/compare_small": runs(
        LONG, f"{COMPARE} only=[alone,cml] seeds=[1] jobs=2 output=output/compare_small"
    ),
    "python tools/benchmark.py": runs(LONG, BENCHMARK),
    "python tools/benchmark.py --quick": Instead(
        LONG,
        run=(BENCHMARK,),
        seen=('tests/benchmark/test_side.py::"targets", "scoring", "losses", "memory", "--quick"',),
    ),
    "python tools/benchmark.py targets loader scoring --rounds 15 --json numbers.json": runs(LONG, BENCHMARK),
    "python tools/benchmark.py step memory --rounds 5": runs(LONG, BENCHMARK),
    "python tools/benchmark.py detector evaluation --rounds 5": runs(
        LONG, "python tools/benchmark.py detector --quick"
    ),
    "python tools/benchmark.py losses targets loader scoring detector evaluation students sizes boxes workers "
    "processes --rounds 5 --model_dir inference/student": runs(LONG, BENCHMARK),
    "python -m tests.reliability.kills --count 50 --seed 7 --in-saves 0.3": runs(
        LONG, "python -m tests.reliability.kills --count 1 --seed 2 --in-saves 0.2"
    ),
    "python -m tests.reliability.soak --steps 2000": seen(LONG, "reliability/test_soak.py::soak.main(STEPS"),
    "OCR_CML_STARTS=20 python -m pytest -s tests/reliability/test_workers.py -k starts_and_kills": seen(
        MORE, "reliability/test_workers.py::starts_and_kills", "reliability/test_workers.py::OCR_CML_STARTS"
    ),
    f"OCR_CML_FUZZ=15 {RELIABILITY}/test_fuzz_data.py": seen(
        MORE, "reliability/test_fuzz_data.py::", "reliability/fuzzing.py::OCR_CML_FUZZ"
    ),
    f"OCR_CML_FUZZ=3 {RELIABILITY}/test_fuzz_data.py tests/reliability/test_fuzz_files.py": seen(
        MORE, "reliability/test_fuzz_files.py::", "reliability/fuzzing.py::OCR_CML_FUZZ"
    ),
    f"{RELIABILITY}/test_survival.py": seen(MORE, "reliability/test_survival.py::"),
    f"{RELIABILITY}/test_reproducible.py": seen(MORE, "reliability/test_reproducible.py::"),
    # --- evidence on real photos ---
    "python tools/prepare_data.py sroie --images SROIE2019/train/img --labels SROIE2019/train/box "
    "--output data/sroie": seen("wants the data set", "test_own_data_page.py::SROIE2019/train/img"),
    f"python tools/compare.py -c configs/compare_sroie2019.yml -o {TEACHER}=ch_PP-OCRv3_det_infer "
    "Train.dataset.data_dir=SROIE2019/train/img Train.dataset.label_file_list=[data/sroie/train.txt] "
    "Eval.dataset.data_dir=SROIE2019/train/img Eval.dataset.label_file_list=[data/sroie/val.txt] "
    "PostProcess.thresh=0.3 PostProcess.box_thresh=0.6 PostProcess.unclip_ratio=1.5": seen(
        LONG, "compare/test_plan.py::compare_sroie2019.yml"
    ),
    "python tools/compare.py -c configs/compare_icdar2015.yml -o only=[alone,cml] jobs=2 "
    f"{TEACHER}=pretrain_models/teacher_words_infer": seen(LONG, "compare/test_plan.py::compare_icdar2015.yml"),
    "python tools/compare.py -c configs/compare_icdar2015.yml --differences cml_fading --without-images "
    f"-o only=[alone,cml_fading] seeds=[1,2] {TEACHER}=DIR Global.max_steps=2000 Optimizer.lr.decay_steps=2000 "
    "Global.eval_batch_step=[0,500]": seen(
        LONG, "compare/test_plan.py::compare_icdar2015.yml", "compare/test_runner.py::--without-images"
    ),
    "python tools/compare.py -c configs/compare_sroie2019.yml --differences cml --without-images "
    "-o only=[alone,cml] seeds=[3] Global.max_steps=800 Optimizer.lr.decay_steps=800": seen(
        LONG, "compare/test_plan.py::compare_sroie2019.yml", "compare/test_runner.py::--without-images"
    ),
    # --- coming from PaddleOCR ---
    f"{SOURCE} python -m pytest tests/models/test_paddleocr_parity.py tests/test_paddleocr_yamls.py": seen(
        "wants a checkout of PaddleOCR",
        "models/test_paddleocr_parity.py::PADDLEOCR_SOURCE",
        "test_paddleocr_yamls.py::PADDLEOCR_SOURCE",
    ),
    "-c PaddleOCR/configs/det/PP-OCRv3/PP-OCRv3_det_cml.yml": seen(
        "wants a checkout of PaddleOCR", "test_paddleocr_yamls.py::PP-OCRv3/PP-OCRv3_det_cml"
    ),
    f"-o {TEACHER}=configs/teacher Global.save_model_dir=output/v3": runs(
        "belongs to any tool", f"{TRAIN} --show-config -o {TEACHER}=configs/teacher Global.save_model_dir=output/v3"
    ),
    f"-o {TEACHER}=FOLDER": runs(
        "is a form", f"{TRAIN} -o {TEACHER}=TEACHER_FOLDER Global.save_model_dir=output/a_folder"
    ),
    f"-o {TEACHER}=FILE.onnx": runs(
        "is a form", f"{TRAIN} -o {TEACHER}=output/det_cml/inference/inference.onnx Global.save_model_dir=output/a_file"
    ),
    f"-o {TEACHER}=PP-OCRv5_server_det": seen("fetches a model", "test_named_teacher.py::PP-OCRv5_server_det"),
}
"""Commands of the pages that cannot be run as they stand. Their numbers may change: measurements are made anew."""

PRESUMED = {
    "docs/monitoring.md": ["python tools/train.py -c configs/det_student.yml"],
    "docs/methods.md": [
        "python tools/train.py -c configs/det_teacher.yml",
        "python tools/compare.py -c configs/compare.yml",
    ],
    "docs/troubleshooting.md": [
        "python tools/prepare_data.py ppocrlabel --images my_photos --output data/mine --val-share 0.2"
    ],
}
"""What has been done before by someone who has come to a page, beside the quick start."""


SAYS = {
    "--tune": "fitted, -o",
    "--show-config": "Global:\n",
    "ocr-cml --help": "ocr-cml train -c",
    "--nproc_per_node=2": "2 process(es)",
    "prepare_data.py check": "images",
    "make --dry-run test": 'pytest -m "not slow"',
    "make --dry-run check": "-m mypy",
}
"""Words of a command, and what is then said."""


def numberless(command: str) -> str:
    return re.sub(r"(?<=[ =])\d+(\.\d+)?(?= |$)", "#", command)


TABLE = {numberless(command): instead for command, instead in INSTEAD.items()}


class Reader:
    """Somebody who goes through the pages in one folder; what was done once is not done again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.done = workspace.make(folder / "workspace"), set()
        self.fresh = folder / "fresh"

    def read(self, page: str, tool: Tool) -> None:
        """Do what a page says, after what it presumes."""
        for command in [*COMMANDS["README.md"], *PRESUMED.get(page, []), *COMMANDS[page]]:
            instead = TABLE.get(numberless(command))
            for line in (command,) if instead is None else instead.run:
                self.do(line, tool)
            if instead is not None and instead.refused:
                self.be_refused(command, instead.refused, tool)

    def do(self, command: str, tool: Tool) -> None:
        """Run a command that has not been run yet; it must succeed and leave what the pages promise of it."""
        if command in self.done or (command.startswith("make ") and not MAKE):
            return
        where = self.folder
        if command.startswith("fresh "):
            where = self.fresh if self.fresh.exists() else workspace.make(self.fresh)
        os.chdir(where)
        line = command.removeprefix("fresh ")
        if "tools/train.py" not in line:  # a finished training is left as it is
            for path in workspace.promised(line):
                Path(path).unlink(missing_ok=True)
        code, said = workspace.run(line, tool)
        assert code == 0, f"{line}\n{said[-3000:]}"
        missing = [path for path in workspace.promised(line) if not Path(path).is_file()]
        assert not missing, f"{line}\nmakes no {missing}"
        for option, words in SAYS.items():
            assert option not in line or words in said, f"{line}\n{said[-3000:]}"
        self.done.add(command)

    def be_refused(self, command: str, words: str, tool: Tool) -> None:
        if paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0:
            return self.do(command, tool)
        code, said = workspace.run(command, tool)
        assert code == 2 and words in said
        return None


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(tmp_path_factory.mktemp("pages"))


@pytest.fixture
def here(reader: Reader, tool: Tool, monkeypatch: pytest.MonkeyPatch) -> Tool:
    monkeypatch.chdir(reader.folder)
    workspace.prepare(monkeypatch, tool)
    return tool


@pytest.mark.parametrize("page", [page for page in COMMANDS if COMMANDS[page]])
def test_commands_run(page: str, reader: Reader, here: Tool) -> None:
    reader.read(page, here)
    if not MAKE and any(command.startswith("make ") for command in COMMANDS[page]):
        pytest.skip("make is not installed; the other commands of the page ran")


def test_the_configuration_reference_that_a_command_makes_is_the_committed_one(reader: Reader, here: Tool) -> None:
    reader.do("python -m ocr_cml.reference docs/configuration.md", here)
    name = "docs/configuration.md"
    assert (reader.folder / name).read_bytes() == (REPOSITORY / name).read_bytes()


def test_the_code_of_the_page_about_methods_runs(
    reader: Reader, here: Tool, capsys: pytest.CaptureFixture[str]
) -> None:
    reader.read("README.md", here)
    text = (REPOSITORY / "docs/methods.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^    from ocr_cml import config\n(?:(?: {4}.*)?\n)+", text, re.MULTILINE)
    os.chdir(reader.folder)
    exec(compile(textwrap.dedent(code), "docs/methods.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 6  # three terms beside the labels, two students


def test_what_stands_in_for_a_command_is_there_and_the_command_too() -> None:
    known = {numberless(command) for page in COMMANDS for command in COMMANDS[page]}
    assert not TABLE.keys() - known, "no page has these commands any more"
    for command, instead in INSTEAD.items():
        assert instead.why and (instead.run or instead.seen or instead.refused), command
        for place in instead.seen:
            file, _, words = place.partition("::")
            assert words in (REPOSITORY / file).read_text(encoding="utf-8"), f"{command}: {place}"
