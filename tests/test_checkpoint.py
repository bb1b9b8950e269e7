"""Checkpoints survive kills, damage and full disks, and restore an optimizer bit for bit in another process."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import paddle
import pytest
from disks import files_of_at_most
from paddle import nn

from ocr_cml import checkpoint
from ocr_cml.checkpoint import Arrays, Progress, find, open_checkpoint, restore_layers, restore_optimizer, save
from ocr_cml.records import Best
from ppocr_data.errors import UserError, WeightsError


def content(step: int) -> dict[str, Arrays]:
    """Two files whose every value is the step."""
    return {
        "Student": {"w": np.full((3, 4), step, np.float32), "b": np.full((2,), step, np.float32)},
        "Student.optimizer": {"Student/w/moment1_0": np.full((3, 4), -step, np.float32)},
    }


def saved(folder: Path, *steps: int) -> None:
    """Checkpoints of these steps, one over the other."""
    for step in steps:
        save(folder, content(step), Progress(step), f"step: {step}\n")


def assert_whole(where: Path, *steps: int) -> int:
    """There is a whole checkpoint of one of these steps, all its files of the same step; returns the step."""
    found, _ = find(where)
    step = found.progress.step
    assert step in steps
    for stem, arrays in content(step).items():
        for key, value in arrays.items():
            np.testing.assert_array_equal(found.arrays(stem)[key], value)
    return step


def test_a_checkpoint_that_lies_behind_a_link_is_replaced(tmp_path: Path) -> None:
    """Somebody has moved it to another disk; the next save lies here again, and the link is the one before."""
    saved(tmp_path / "run/latest", 1)
    (tmp_path / "run/latest").rename(tmp_path / "elsewhere")
    (tmp_path / "run/latest").symlink_to(tmp_path / "elsewhere")
    saved(tmp_path / "run/latest", 2, 3, 4)
    assert [open_checkpoint(tmp_path / "run" / name).progress.step for name in ("latest", "latest.previous")] == [4, 3]
    assert open_checkpoint(tmp_path / "elsewhere").progress.step == 1


# --- round trip ------------------------------------------------------------------------------------------------------


def test_everything_comes_back(tmp_path: Path) -> None:
    progress = Progress(12, Best("Student2", 0.5, 10), {"T": {"path": "a b", "sha256": "0"}}, overtaken=True)
    files = {
        "Stüdent": {
            "a.b": np.arange(6, dtype=np.float32).reshape(2, 3),
            "scalar": np.float32(7).reshape(()),
            "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
            "empty": np.zeros((0, 3), np.float32),
            "double": np.array([0.1], np.float64),
            "whole": np.array([2**40], np.int64),
        },
        "nothing": {},
    }
    folder = tmp_path / "a run with spaces ü" / "latest"
    save(folder, files, progress, "Global: {seed: 1}\n")
    found, damaged = find(folder.parent)
    assert damaged == []
    assert found.folder == folder
    assert found.progress == progress
    assert set(found.stems) == set(files)
    for key, value in files["Stüdent"].items():
        loaded = found.arrays("Stüdent")[key]
        assert (loaded.dtype, loaded.shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(loaded, value)
    assert found.arrays("nothing") == found.arrays("no such file") == {}
    assert (folder / "config.yml").read_text(encoding="utf-8") == "Global: {seed: 1}\n"


def test_no_file_needs_code_to_be_read(tmp_path: Path) -> None:
    saved(tmp_path / "latest", 1)
    names = sorted(path.name for path in (tmp_path / "latest").iterdir())
    assert names == ["Student.optimizer.safetensors", "Student.safetensors", "config.yml", "state.json"]


def test_progress_before_the_first_evaluation() -> None:
    assert Progress.from_json({"step": 3}) == Progress(3)
    assert Progress.from_json({"step": 3, "best": None}) == Progress(3)


def test_the_previous_one_is_kept_and_no_older_one(tmp_path: Path) -> None:
    saved(tmp_path / "latest", 1, 2, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "latest.previous"]
    assert open_checkpoint(tmp_path / "latest").progress.step == 3
    assert open_checkpoint(tmp_path / "latest.previous").progress.step == 2


# --- finding ---------------------------------------------------------------------------------------------------------


def test_find_takes_a_run_or_a_checkpoint(tmp_path: Path) -> None:
    saved(tmp_path / "latest", 1, 2)
    saved(tmp_path / "best", 5)
    assert find(tmp_path)[0].folder == tmp_path / "latest"
    assert find(tmp_path / "latest")[0].progress.step == 2
    assert find(tmp_path / "latest.previous")[0].progress.step == 1
    assert find(tmp_path / "best")[0].progress.step == 5


@pytest.mark.parametrize("name", ["", "absent", "file"])
def test_where_there_is_none_it_says_what_was_expected(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(WeightsError, match="no checkpoint here; expected a run folder with latest/"):
        find(tmp_path / name)


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 60, -1])
@pytest.mark.parametrize("name", ["Student.safetensors", "Student.optimizer.safetensors", "state.json"])
def test_a_cut_file_is_noticed_and_the_previous_checkpoint_used(tmp_path: Path, name: str, keep: int) -> None:
    saved(tmp_path / "latest", 1, 2)
    path = tmp_path / "latest" / name
    path.write_bytes(path.read_bytes()[:keep])
    found, damaged = find(tmp_path)
    assert found.progress.step == 1
    (line,) = damaged
    assert str(tmp_path / "latest") in line
    assert name in line
    assert find(tmp_path / "latest")[0].progress.step == 1


@pytest.mark.parametrize("name", ["Student.safetensors", "state.json"])
def test_a_missing_file_is_noticed(tmp_path: Path, name: str) -> None:
    saved(tmp_path / "latest", 1, 2)
    (tmp_path / "latest" / name).unlink()
    found, (line,) = find(tmp_path)
    assert found.progress.step == 1
    assert name in line


@pytest.mark.parametrize("lost", ["latest", "latest/state.json"])
def test_a_checkpoint_asked_for_by_name_falls_back_to_its_previous_one(tmp_path: Path, lost: str) -> None:
    """A kill between the two renames leaves latest.previous alone."""
    saved(tmp_path / "latest", 1, 2)
    path = tmp_path / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert find(tmp_path / "latest")[0].progress.step == 1


def test_one_changed_bit_is_noticed(tmp_path: Path) -> None:
    saved(tmp_path / "latest", 1)
    path = tmp_path / "latest" / "Student.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(WeightsError, match=r"Student\.safetensors is damaged"):
        open_checkpoint(tmp_path / "latest")


@pytest.mark.parametrize("name", ["../elsewhere.safetensors", "sub/Student.safetensors"])
def test_a_record_that_names_a_file_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    """However whole that file is: a checkpoint that somebody passed on must not make us open what lies beside it."""
    saved(tmp_path / "latest", 1)
    (tmp_path / "latest" / name).parent.mkdir(exist_ok=True)
    shutil.copy(tmp_path / "latest" / "Student.safetensors", tmp_path / "latest" / name)
    path = tmp_path / "latest" / "state.json"
    state = json.loads(path.read_text())
    state["sha256"][name] = state["sha256"]["Student.safetensors"]
    path.write_text(json.dumps(state))
    with pytest.raises(WeightsError, match="which is no file of this folder"):
        open_checkpoint(tmp_path / "latest")


def test_a_changed_configuration_is_noticed(tmp_path: Path) -> None:
    """The networks are built by it: weights beside another configuration are another model."""
    saved(tmp_path / "latest", 1)
    path = tmp_path / "latest" / "config.yml"
    path.write_text(path.read_text() + "#", encoding="utf-8")
    with pytest.raises(WeightsError, match=r"config\.yml is damaged"):
        open_checkpoint(tmp_path / "latest")


def test_where_all_are_damaged_all_are_named(tmp_path: Path) -> None:
    saved(tmp_path / "latest", 1, 2)
    for name in ("latest", "latest.previous"):
        (tmp_path / name / "Student.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="no whole checkpoint") as refused:
        find(tmp_path)
    assert f"{tmp_path / 'latest'}:" in str(refused.value)
    assert f"{tmp_path / 'latest.previous'}:" in str(refused.value)


def test_another_format_is_named(tmp_path: Path) -> None:
    saved(tmp_path / "latest", 1)
    path = tmp_path / "latest" / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(WeightsError, match="format 99; this version reads format 1"):
        open_checkpoint(tmp_path / "latest")


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": []},
        {"sha256": None},
        {"progress": []},
        {"progress": {}},
        {"progress": {"step": 1, "best": 5}},
        {"progress": {"step": "2"}},
    ],
)
def test_a_state_of_another_shape_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    saved(tmp_path / "latest", 1)
    path = tmp_path / "latest" / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(WeightsError, match=r"state\.json"):
        open_checkpoint(tmp_path / "latest")


# --- kills -----------------------------------------------------------------------------------------------------------

_CALLS = ("rename", "replace", "fsync", "unlink", "rmdir", "mkdir")


def killed_at(number: int, folder: Path, step: int) -> int:
    """Save in a forked process that dies at its `number`-th change of the disk; returns its exit code."""
    child = os.fork()
    if child == 0:  # the real functions, until the moment of death
        left = number
        for name in _CALLS:
            real = getattr(os, name)

            def counted(*args: object, _real: object = real, **kwargs: object) -> object:
                nonlocal left
                left -= 1
                if left == 0:
                    os._exit(9)
                return _real(*args, **kwargs)  # type: ignore[operator]

            setattr(os, name, counted)
        try:
            saved(folder, step)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kills(tmp_path: Path, prepare: object, where: str = "") -> Iterator[tuple[Path, int]]:
    """Every stage of a save of step 3 at which a process can die, each on a freshly prepared folder."""
    for number in range(1, 100):
        run = tmp_path / str(number)
        prepare(run)  # type: ignore[operator]
        code = killed_at(number, run / "latest", 3)
        yield run / where, code
        if code == 0:
            assert number > 5
            return
    raise AssertionError("the save never came to its end")


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    for run, code in kills(tmp_path, lambda run: saved(run / "latest", 1, 2)):
        step = assert_whole(run, 2, 3)
        assert step == 3 or code == 9


def test_a_kill_at_any_moment_of_the_second_save(tmp_path: Path) -> None:
    for run, _ in kills(tmp_path, lambda run: saved(run / "latest", 2)):
        assert_whole(run, 2, 3)


def test_a_kill_at_any_moment_is_survived_by_name_as_well(tmp_path: Path) -> None:
    for latest, _ in kills(tmp_path, lambda run: saved(run / "latest", 1, 2), "latest"):
        assert_whole(latest, 2, 3)


def test_a_kill_while_a_damaged_checkpoint_is_replaced_leaves_a_whole_one(tmp_path: Path) -> None:
    def damaged(run: Path) -> None:
        saved(run / "latest", 1, 2)
        (run / "latest" / "Student.safetensors").write_bytes(b"cut")

    for run, _ in kills(tmp_path, damaged):
        assert_whole(run, 1, 3)


def test_after_a_kill_the_next_save_works(tmp_path: Path) -> None:
    for run, _ in kills(tmp_path, lambda run: saved(run / "latest", 1, 2)):
        before = assert_whole(run, 2, 3)
        saved(run / "latest", 4)
        assert_whole(run, 4)
        assert open_checkpoint(run / "latest.previous").progress.step == before
        assert not (run / "latest.tmp").exists()


def test_the_next_start_takes_what_a_killed_save_had_finished(tmp_path: Path) -> None:
    """Nothing that was written whole is lost: not even by a kill between the two renames."""
    taken = []
    for run, code in kills(tmp_path, lambda run: saved(run / "latest", 1, 2)):
        between = not (run / "latest").exists()
        checkpoint.finish_interrupted_save(run / "latest")
        step = assert_whole(run, 2, 3)
        assert step == 3 or not between
        taken.append((between, code))
    assert any(between for between, _ in taken)


def test_a_half_written_first_checkpoint_is_not_taken(tmp_path: Path) -> None:
    saved(tmp_path / "latest", 1)
    (tmp_path / "latest").rename(tmp_path / "latest.tmp")
    (tmp_path / "latest.tmp/Student.safetensors").write_bytes(b"cut")
    checkpoint.finish_interrupted_save(tmp_path / "latest")
    assert not (tmp_path / "latest").exists()


# --- disks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 50, 200])
def test_a_file_that_cannot_grow_is_a_clear_error(tmp_path: Path, size: int) -> None:
    saved(tmp_path / "latest", 1, 2)
    with files_of_at_most(size), pytest.raises(UserError, match=r"latest: the checkpoint could not be written.*whole"):
        saved(tmp_path / "latest", 3)
    assert_whole(tmp_path, 2)
    assert open_checkpoint(tmp_path / "latest.previous").progress.step == 1
    assert not (tmp_path / "latest.tmp").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, where this process may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode != 0:
        pytest.skip("this process may not mount a file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_a_clear_error(small_disk: Path) -> None:
    saved(small_disk / "latest", 1, 2)
    (small_disk / "filler").write_bytes(b"x" * 8 * 1024)
    big = {"Student": {"w": np.zeros(64 * 1024, np.float32)}}
    with pytest.raises(UserError, match="the checkpoint could not be written"):
        save(small_disk / "latest", big, Progress(3), "")
    assert_whole(small_disk, 2)
    saved(small_disk / "latest", 4)  # what the failed one had taken is free again
    assert_whole(small_disk, 4)


def test_a_read_only_disk_is_a_clear_error(small_disk: Path) -> None:
    saved(small_disk / "latest", 1, 2)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UserError, match=os.strerror(errno.EROFS)):
        saved(small_disk / "latest", 3)
    assert_whole(small_disk, 2)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_a_clear_error(tmp_path: Path) -> None:
    saved(tmp_path / "latest", 1, 2)
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(UserError, match="the checkpoint could not be written"):
            saved(tmp_path / "latest", 3)
        assert_whole(tmp_path, 2)
    finally:
        tmp_path.chmod(0o755)


def test_a_file_in_the_place_of_the_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    with pytest.raises(UserError, match="the checkpoint could not be written"):
        saved(tmp_path / "run" / "latest", 1)
    assert (tmp_path / "run").read_text() == "x"


# --- networks --------------------------------------------------------------------------------------------------------


def network(seed: int) -> nn.Layer:
    paddle.seed(seed)
    return nn.Sequential(nn.Conv2D(1, 2, 3), nn.BatchNorm2D(2), nn.Conv2D(2, 1, 1))


def test_layers_come_back_with_prefixes_and_without() -> None:
    source, target = network(1), network(2)
    arrays = checkpoint.arrays_of(source)
    restore_layers({"": target}, arrays, "here")
    for name, value in target.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), arrays[name])
    both = {"a": network(3), "b": network(4)}
    prefixed = {f"{p}/{k}": v for p, layer in both.items() for k, v in checkpoint.arrays_of(layer).items()}
    fresh = {"a": network(5), "b": network(6)}
    restore_layers(fresh, prefixed, "here")
    for prefix, layer in fresh.items():
        for name, value in layer.state_dict().items():
            np.testing.assert_array_equal(value.numpy(), prefixed[f"{prefix}/{name}"])


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda arrays: arrays.pop("0.bias"), "0.bias"),
        (lambda arrays: arrays.update({"7.extra": np.zeros(1, np.float32)}), "7.extra"),
        (lambda arrays: arrays.update({"0.weight": np.zeros((2, 1, 5, 5), np.float32)}), "0.weight"),
    ],
    ids=["missing", "left over", "other shape"],
)
def test_arrays_that_do_not_fit_are_named_and_nothing_is_changed(change: object, key: str) -> None:
    target, arrays = network(1), checkpoint.arrays_of(network(2))
    before = {name: value.numpy().copy() for name, value in target.state_dict().items()}
    change(arrays)  # type: ignore[operator]
    with pytest.raises(WeightsError, match=r"RUN/latest: Student: is of another network") as refused:
        restore_layers({"": target}, arrays, "RUN/latest: Student")
    assert key in str(refused.value)
    for name, value in target.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_many_wrong_keys_are_counted() -> None:
    with pytest.raises(WeightsError, match="and 3 more"):
        restore_layers({"": network(1)}, {}, "here")  # of 8: two convolutions with bias, one normalisation


# --- optimizers ------------------------------------------------------------------------------------------------------

TRAINING = """
import json, sys
from pathlib import Path
import numpy as np, paddle
from paddle import nn
from ocr_cml import checkpoint
from ocr_cml.optim import build_optimizer
from ocr_cml.schema import OptimizerSection

def train(name, folder, first, last):
    net = nn.Sequential(nn.Conv2D(1, 2, 3), nn.BatchNorm2D(2), nn.Conv2D(2, 1, 1))
    learned = [p for p in net.parameters() if not p.stop_gradient]
    optimizer = build_optimizer(OptimizerSection(name=name), learned)
    if first:
        found, _ = checkpoint.find(folder)
        assert found.progress.step == first
        checkpoint.restore_layers({"": net}, found.arrays("Student"), "Student")
        checkpoint.restore_optimizer(optimizer, {"Student": net}, found.arrays("Student.optimizer"))
    for step in range(first, last):
        x = paddle.to_tensor(np.random.default_rng(step).normal(size=(2, 1, 8, 8)).astype(np.float32))
        (net(x) ** 2).mean().backward()
        optimizer.set_lr(0.01 / (step + 1))
        optimizer.step()
        optimizer.clear_grad()
    files = {"Student": checkpoint.arrays_of(net)}
    files["Student.optimizer"] = checkpoint.optimizer_arrays(optimizer, {"Student": net})
    checkpoint.save(folder / "latest", files, checkpoint.Progress(last), "")

seed, jobs = json.loads(sys.argv[1])
for _ in range(seed):
    nn.Conv2D(1, 1, 1)  # moves paddle's process-wide name counters
for name, folder, first, last in jobs:
    paddle.seed(seed)
    train(name, Path(folder), first, last)
"""
OPTIMIZERS = ("Adam", "AdamW", "Momentum")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """For each optimizer `whole`: five steps in one process, and `parts`: three, and two more in another process."""
    root = tmp_path_factory.mktemp("trained")
    both = [(n, str(root / n / run), 0, last) for n in OPTIMIZERS for run, last in (("whole", 5), ("parts", 3))]
    resumed = [(name, str(root / name / "parts"), 3, 5) for name in OPTIMIZERS]
    for seed, jobs in ((1, both), (4, resumed)):
        arguments = [sys.executable, "-c", TRAINING, json.dumps([seed, jobs])]
        done = subprocess.run(arguments, cwd=repository, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return root


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_resumed_optimizer_in_a_new_process_goes_on_bit_for_bit(trained: Path, name: str) -> None:
    first, second = (find(trained / name / run)[0] for run in ("whole", "parts"))
    for stem in ("Student", "Student.optimizer"):
        assert first.arrays(stem).keys() == second.arrays(stem).keys()
        for key, value in first.arrays(stem).items():
            np.testing.assert_array_equal(second.arrays(stem)[key], value, err_msg=f"{stem}: {key}")
    assert any(np.any(value != 0) for value in first.arrays("Student.optimizer").values())


def fresh(layer: nn.Layer) -> paddle.optimizer.Optimizer:
    return paddle.optimizer.Adam(parameters=[p for p in layer.parameters() if not p.stop_gradient])


def stepped(layer: nn.Layer) -> paddle.optimizer.Optimizer:
    optimizer = fresh(layer)
    (layer(paddle.ones([1, 1, 4, 4])) ** 2).mean().backward()
    optimizer.step()
    optimizer.clear_grad()
    return optimizer


def test_optimizer_state_has_structured_names() -> None:
    layer = network(1)
    arrays = checkpoint.optimizer_arrays(stepped(layer), {"Student": layer})
    assert arrays["Student/0.weight/moment1_0"].shape == (2, 1, 3, 3)
    learned = {f"Student/{name}" for name, p in layer.named_parameters() if not p.stop_gradient}
    assert {key.rpartition("/")[0] for key in arrays} == learned


def test_the_state_of_another_network_s_optimizer_is_refused() -> None:
    layer = network(1)
    arrays = checkpoint.optimizer_arrays(stepped(layer), {"Student": layer})
    with pytest.raises(WeightsError, match=r"another network.*'Student/"):
        restore_optimizer(fresh(layer), {"Student2": layer}, {"Student/0.weight/moment1_0": np.zeros(1)} | arrays)


def test_weights_without_optimizer_state_are_no_place_to_resume_from() -> None:
    """RUN/best holds the students alone: a resume from it would quietly begin with empty moments."""
    layer = network(1)
    with pytest.raises(WeightsError, match="optimizer"):
        restore_optimizer(fresh(layer), {"Student": layer}, {})


def test_a_parameter_that_no_term_reaches_is_no_obstacle_to_a_resume() -> None:
    """The threshold branch of a student that learns from soft maps alone never gets a gradient."""
    layer = nn.LayerDict({"used": nn.Linear(2, 1), "idle": nn.Linear(2, 1)})
    optimizer = fresh(layer)
    layer["used"](paddle.ones([1, 2])).sum().backward()
    optimizer.step()
    arrays = checkpoint.optimizer_arrays(optimizer, {"Student": layer})
    resumed = fresh(layer)
    restore_optimizer(resumed, {"Student": layer}, arrays)
    optimizer.clear_grad()
    layer["used"](paddle.ones([1, 2])).sum().backward()
    resumed.step()
    after = checkpoint.optimizer_arrays(resumed, {"Student": layer})
    assert after.keys() == arrays.keys()
    assert float(after["Student/used.weight/moment1_0"].max()) == pytest.approx(0.19)  # 0.1, then 0.9 * 0.1 + 0.1


def test_all_that_a_checkpoint_says_comes_back() -> None:
    given = Progress(
        step=7,
        best=Best("A", 0.5, 6),
        teachers={"T": {"path": "p", "sha256": "s"}},
        started_from={"A": "x"},
        overtaken=True,
        dropped={"B": 3},
        restarts={"A": [2, 4]},
        loss_scale=(1024.0, 5),
        evaluation_due=True,
        trained_on="t",
        scored_on="s",
        unlabelled="u",
        mean_updates={"A": 6},
        samples_a_step=(8, 4),
    )
    default = Progress()
    assert all(getattr(given, f.name) != getattr(default, f.name) for f in fields(Progress))
    assert Progress.from_json(json.loads(json.dumps(asdict(given)))) == given
