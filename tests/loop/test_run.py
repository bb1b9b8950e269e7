"""The run folder: one owner, one configuration, each step recorded once."""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ocr_cml import config
from ocr_cml.checkpoint import Progress, save
from ocr_cml.loop.run import RunFolder
from ocr_cml.schema import Config
from ppocr_data.errors import ConfigError, UserError

GIVEN = Path(__file__).resolve().parent.parent.parent / "configs" / "det_cml.yml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A name with spaces and letters beyond ASCII."""
    return tmp_path / "läufe mit leerzeichen" / "run 1 – 文字"


def settings(folder: Path, *overrides: str) -> Config:
    return config.load(GIVEN, [f"Global.save_model_dir={json.dumps(str(folder))}", *overrides])


@contextmanager
def started(folder: Path, *overrides: str) -> Iterator[RunFolder]:
    """A run that has begun, or has taken up its checkpoint."""
    given = settings(folder, *overrides)
    with closing(RunFolder(given)) as run:
        run.record_config(given)
        yield run


def checkpointed(folder: Path, *overrides: str, step: int = 2) -> None:
    """A run that stands at a checkpoint."""
    with started(folder, *overrides) as run:
        for number in range(1, step + 1):
            run.record({"step": number, "loss": 0.1})
        save(folder / "latest", {}, Progress(step), "")


def records(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_fresh_folder_gets_the_runnable_configuration(folder: Path) -> None:
    given = settings(folder)
    with closing(RunFolder(given)) as run:
        assert run.path == folder
        assert run.resume_from is None
        assert not (folder / "config.yml").exists()  # until the run stands where it goes on from
        run.record_config(given)
    assert config.load(folder / "config.yml") == given


# --- one owner -------------------------------------------------------------------------------------------------------

OTHER = """
import sys
from ocr_cml import config
from ocr_cml.loop.run import RunFolder
from ppocr_data.errors import UserError
try:
    given = config.load(sys.argv[1], [f"Global.save_model_dir='{sys.argv[2]}'"])
    run = RunFolder(given)
    run.record_config(given)
except UserError as error:
    sys.exit(str(error))
if len(sys.argv) > 3:
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_is_gone_however_it_went(folder: Path, repository: Path) -> None:
    command = [sys.executable, "-c", OTHER, str(GIVEN), str(folder), "wait"]
    first = subprocess.Popen(command, cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "locked\n"
        before = (folder / "config.yml").read_bytes()
        with pytest.raises(UserError, match=r"Global\.save_model_dir: another process is training in"):
            RunFolder(settings(folder, "Global.seed=3"))
        assert (folder / "config.yml").read_bytes() == before
    finally:
        first.kill()
        first.communicate()
    with started(folder):
        pass


def test_where_a_file_system_has_no_locks_a_run_starts(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Some network mounts: it was taken for another process, and no training ever started there."""
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with started(folder):
        assert (folder / "config.yml").is_file()


def test_the_lock_ends_with_close(folder: Path) -> None:
    with started(folder), pytest.raises(UserError, match="another process"), started(folder):
        pass
    with started(folder):
        pass


def test_a_refused_start_gives_the_lock_back(folder: Path) -> None:
    checkpointed(folder)
    with pytest.raises(ConfigError) as kept:
        RunFolder(settings(folder, "Global.seed=3"))
    assert "another run" in str(kept.value)
    with started(folder) as run:
        assert run.resume_from == folder


def test_other_ranks_neither_lock_nor_write(folder: Path) -> None:
    checkpointed(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with started(folder), closing(RunFolder(settings(folder), is_owner=False)) as other:
        assert other.resume_from == folder
        other.record({"step": 99})
        other.forget_after(0)
        other.record_config(settings(folder, "Global.seed=3"))
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


# --- the same run or another -----------------------------------------------------------------------------------------


def test_the_same_configuration_resumes(folder: Path) -> None:
    checkpointed(folder)
    with started(folder) as run:
        assert run.resume_from == folder


def test_a_previous_checkpoint_alone_is_a_run_too(folder: Path) -> None:
    checkpointed(folder)
    (folder / "latest").rename(folder / "latest.previous")
    with started(folder) as run:
        assert run.resume_from == folder


def test_another_configuration_is_refused_naming_the_keys(folder: Path) -> None:
    checkpointed(folder)
    before = (folder / "config.yml").read_bytes()
    other = [
        "Global.seed=3",
        "Optimizer.lr.learning_rate=0.5",
        "Train.dataset.transforms.MakeShrinkMap.min_text_size=9",
    ]
    with pytest.raises(ConfigError, match="holds another run") as refused:
        RunFolder(settings(folder, *other))
    for key in ("Global.seed", "Optimizer.lr.learning_rate", "MakeShrinkMap.min_text_size", "Global.checkpoints="):
        assert key in str(refused.value)
    assert (folder / "config.yml").read_bytes() == before


@pytest.mark.parametrize(
    "key",
    [
        "Architecture.Models.Student2.Backbone.scale=0.35",
        "Optimizer.name=Momentum",
        "Optimizer.ema_decay=0.9",
        "Train.loader.batch_size_per_card=3",
        "Optimizer.accumulate=2",
    ],
)
def test_going_on_is_not_offered_where_a_resume_would_refuse(folder: Path, key: str) -> None:
    checkpointed(folder)
    with pytest.raises(ConfigError) as refused:
        RunFolder(settings(folder, key))
    assert re.search(r"holds another run \(.*differ\); choose another folder, or move it away", str(refused.value))
    told = f"if a step takes as many images as before, it goes on with -o 'Global.checkpoints={folder}'" in str(
        refused.value
    )
    assert told is key.endswith(("card=3", "accumulate=2"))


def test_a_full_disk_is_told_once(folder: Path) -> None:
    """What could not be written stays in the file's buffer; its end must not hide the message."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").symlink_to("/dev/full")
    with (
        pytest.raises(UserError, match=r"metrics\.jsonl: cannot be written: No space left"),
        closing(RunFolder(settings(folder))) as run,
    ):
        run.record({"step": 1})


@pytest.mark.parametrize("change", ["Global.seed=2026", "Global.seed=3"])
@pytest.mark.parametrize("name", ["best", "best.previous"])
def test_a_best_student_alone_is_not_overwritten(folder: Path, name: str, change: str) -> None:
    """Somebody removed latest/ to save space: the same command would begin anew, and take it for its own."""
    checkpointed(folder)
    (folder / "latest").rename(folder / name)
    before = (folder / "metrics.jsonl").read_bytes()
    reason = r"holds the best student of a run that cannot go on, as its latest/ is gone; put that back, move"
    with pytest.raises(ConfigError, match=reason):
        RunFolder(settings(folder, change))
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_on_purpose_it_goes_on(folder: Path) -> None:
    checkpointed(folder)
    with started(folder, "Global.seed=3", f"Global.checkpoints={json.dumps(str(folder))}") as run:
        assert run.resume_from == folder


def test_that_it_went_on_on_purpose_is_not_recorded(folder: Path, tmp_path: Path) -> None:
    """Else the next run that starts from the record, elsewhere and from other weights, would be continued as well."""
    checkpointed(folder)
    own = f"Global.checkpoints={json.dumps(str(folder / 'latest'))}"
    with started(folder, "Global.seed=3", own) as run:
        assert run.as_recorded(settings(folder, own)).Global.checkpoints is None
    assert config.load(folder / "config.yml").Global.checkpoints is None
    with started(folder, "Global.seed=3", own) as run:  # the same command again
        assert run.resume_from == folder / "latest"
    other = settings(tmp_path / "new", own)
    with closing(RunFolder(other)) as run:  # where another run began is a part of this one
        assert run.as_recorded(other) is other


def test_a_checkpoint_of_elsewhere_does_not_overwrite_the_run_that_is_here(folder: Path, tmp_path: Path) -> None:
    checkpointed(tmp_path / "source")
    checkpointed(folder, "Global.seed=3")
    before = (folder / "config.yml").read_bytes()
    with pytest.raises(ConfigError, match="holds another run"):
        RunFolder(settings(folder, f"Global.checkpoints={tmp_path / 'source'}"))
    assert (folder / "config.yml").read_bytes() == before


def test_a_checkpoint_of_elsewhere_starts_a_fresh_folder(folder: Path, tmp_path: Path) -> None:
    checkpointed(tmp_path / "source")
    with started(folder, f"Global.checkpoints={tmp_path / 'source'}") as run:
        assert run.resume_from == tmp_path / "source"


def test_a_run_that_began_elsewhere_goes_on_from_its_own_checkpoint(folder: Path, tmp_path: Path) -> None:
    """The same command given again after a kill must not throw away what was trained since."""
    checkpointed(tmp_path / "source")
    elsewhere = f"Global.checkpoints={tmp_path / 'source'}"
    with started(folder, elsewhere) as run:
        assert run.resume_from == tmp_path / "source"
        save(folder / "latest", {}, Progress(5), "")
    with started(folder, elsewhere) as run:
        assert run.resume_from == folder
    with pytest.raises(ConfigError, match=r"holds another run \(Global\.checkpoints differ\)"):
        RunFolder(settings(folder, f"Global.checkpoints={tmp_path / 'third'}"))


def test_the_checkpoint_before_may_be_asked_for_where_it_is_the_last(folder: Path) -> None:
    """Beside `latest/` it would be gone back to by every start of the same command."""
    checkpointed(folder)
    inside = folder / "latest.previous"
    asked = f"Global.checkpoints={json.dumps(str(inside))}"
    with pytest.raises(ConfigError, match=r"is the checkpoint before .*latest; to go back to it remove that"):
        RunFolder(settings(folder, asked))
    (folder / "latest").rename(inside)
    with started(folder, asked) as run:
        assert run.resume_from == inside


def test_a_record_of_an_older_version_without_keys_of_today_is_the_same_run(folder: Path) -> None:
    checkpointed(folder)
    recorded = folder / "config.yml"
    lines = recorded.read_text(encoding="utf-8").splitlines()
    older = [line for line in lines if "ema_decay" not in line]
    assert len(older) < len(lines)
    recorded.write_text("\n".join(older) + "\n", encoding="utf-8")
    with started(folder) as run:
        assert run.resume_from == folder


def test_a_record_of_another_version_with_unknown_keys_says_so(folder: Path) -> None:
    checkpointed(folder)
    recorded = folder / "config.yml"
    recorded.write_text(recorded.read_text(encoding="utf-8") + "Sorcery: {wand: 1}\n", encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"(?s)config\.yml: what the run in this folder recorded cannot be read.*Sorcery"
    ):
        RunFolder(settings(folder))


@pytest.mark.parametrize(
    "change",
    [
        "Global.epoch_num=9",
        "Global.max_steps=7",
        "Global.print_batch_step=3",
        "Global.save_batch_step=3",
        "Global.eval_batch_step=[1, 3]",
        "Global.save_inference_dir=elsewhere",
        "Global.teacher_check=false",
        "Global.use_gpu=false",
        "Train.loader.num_workers=0",
        "Optimizer.lr.decay_steps=7",
    ],
)
def test_how_long_and_how_loudly_may_differ(folder: Path, change: str) -> None:
    checkpointed(folder)
    given = settings(folder, change)
    with closing(RunFolder(given)) as run:
        assert run.resume_from == folder
        run.record_config(given)
    assert config.load(folder / "config.yml") == given


@pytest.mark.parametrize("content", [b"", b"Global: [1", b"\xff\xfe", b"- 1\n", None], ids=str)
def test_a_record_that_cannot_be_read_is_a_clear_error(folder: Path, content: bytes | None) -> None:
    checkpointed(folder)
    recorded = folder / "config.yml"
    recorded.unlink() if content is None else recorded.write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.yml"):
        RunFolder(settings(folder))


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"Global\.save_model_dir: .*cannot be written"):
        RunFolder(settings(tmp_path / "file" / "run"))


@pytest.mark.parametrize("name", ["config.yml", "metrics.jsonl"])
def test_a_file_that_cannot_be_written_is_a_clear_error(folder: Path, name: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / ".lock").touch()  # a run's folder
    with pytest.raises(UserError, match=r"Global\.save_model_dir: .*cannot be written"), started(folder):
        pass


# --- records ---------------------------------------------------------------------------------------------------------


def test_a_run_that_died_before_its_first_checkpoint_begins_its_records_anew(folder: Path) -> None:
    with started(folder) as run:
        run.record({"step": 1, "loss": 1.0})
    with started(folder, "Global.seed=3") as run:
        assert run.resume_from is None
        run.record({"step": 1, "loss": 2.0})
    assert records(folder) == [{"step": 1, "loss": 2.0}]


# --- what is somebody's ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["validation", "preview.jpg", "config.yml", "report.html"])
def test_a_folder_with_files_that_a_run_would_replace_is_refused(folder: Path, name: str) -> None:
    """`validation/` is a usual name for a data set's images; every evaluation writes one anew."""
    folder.mkdir(parents=True)
    if "." in name:
        (folder / name).write_text("mine")
    else:
        (folder / name).mkdir()
        (folder / name / "mine.jpg").touch()
    with pytest.raises(ConfigError, match=f"is no run's folder and holds {name}, which a run would replace"):
        RunFolder(settings(folder))
    assert [path.name for path in folder.iterdir()] == [name]


def test_other_ranks_do_not_look_for_files_that_the_first_one_makes_meanwhile(folder: Path) -> None:
    """They would see its log, and of its lock perhaps not yet anything, where a disk is one of the network."""
    folder.mkdir(parents=True)
    (folder / "train.log").touch()
    RunFolder(settings(folder), is_owner=False).close()


def test_other_files_in_the_folder_do_no_harm(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    with started(folder):
        (folder / "validation").mkdir()
    with started(folder):  # a run's folder by now
        assert (folder / "notes.txt").read_text() == "mine"
