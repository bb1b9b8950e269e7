"""The stream of batches: the same for any number of workers, resumable, and loud when something breaks."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from processes import alive

from ppocr_data.dataset import DetDataset
from ppocr_data.errors import DataError
from ppocr_data.loader import Batch, KeyStream, TrainLoader, train_loader
from ppocr_data.transforms import build_ops
from ppocr_data.workers import WorkerPool

OPS: list[dict[str, Any]] = [
    {"DecodeImage": None},
    {"CopyPaste": None},
    {"IaaAugment": None},
    {"EastRandomCropData": {"size": [64, 32]}},
    {"MakeBorderMap": None},
    {"MakeShrinkMap": None},
]


def make_set(folder: Path, count: int = 5, **arguments: object) -> DetDataset:
    rows = []
    for i in range(count):
        image = np.random.default_rng(i).integers(0, 256, (60, 90, 3), np.uint8)
        (folder / f"{i}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
        box = [[10, 20], [70, 20], [70, 40], [10, 40]]
        rows.append(f"{i}.png\t" + json.dumps([{"transcription": "word", "points": box}]))
    (folder / "labels.txt").write_text("\n".join(rows))
    return DetDataset.from_label_files(folder / "labels.txt", folder, build_ops(OPS), **arguments)  # type: ignore[arg-type]


def take(loader: TrainLoader, count: int) -> list[Batch]:
    with loader:
        return [next(loader) for _ in range(count)]


def assert_same(one: list[Batch], other: list[Batch]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for field in dataclasses.fields(Batch):
            mine, yours = getattr(a, field.name), getattr(b, field.name)
            if isinstance(mine, np.ndarray):
                assert mine.dtype == yours.dtype
                assert np.array_equal(mine, yours)
            else:
                assert mine == yours


# KeyStream


@pytest.mark.parametrize(("length", "size", "world"), [(10, 3, 1), (10, 4, 2), (7, 5, 3), (3, 8, 2)])
def test_every_sample_comes_once_an_epoch(length: int, size: int, world: int) -> None:
    streams = [KeyStream(length, size, seed=3, rank=rank, world_size=world) for rank in range(world)]
    epochs = 6
    keys = [key for s in streams for b in range(epochs * length // (size * world) + 1) for key in s.keys(b)]
    assert len(set(keys)) == len(keys)
    for epoch in range(epochs - 1):
        assert sorted(index for e, index in keys if e == epoch) == list(range(length))


def test_order_is_seeded_and_new_each_epoch() -> None:
    def epochs(seed: int, shuffle: bool = True) -> list[list[int]]:
        stream = KeyStream(50, 50, seed=seed, shuffle=shuffle)
        return [[index for _, index in stream.keys(batch)] for batch in range(3)]

    assert epochs(1) == epochs(1)
    assert epochs(1) != epochs(2)
    first, second, _ = epochs(1)
    assert first != second
    assert first != sorted(first)
    assert epochs(1, shuffle=False) == [list(range(50))] * 3


def test_keys_can_be_asked_for_in_any_order() -> None:
    forward, backward = KeyStream(7, 3, seed=1), KeyStream(7, 3, seed=1)
    there = [forward.keys(b) for b in range(20)]
    back = [backward.keys(b) for b in reversed(range(20))]
    assert there == back[::-1]


def test_streams_of_one_training_have_orders_of_their_own() -> None:
    """Where the unlabelled images are the labelled ones, a batch would else show each of them twice."""
    labelled, unlabelled = (KeyStream(40, 4, seed=5, number=number) for number in (0, 1))
    same = sum(labelled.keys(batch) == unlabelled.keys(batch) for batch in range(50))
    assert same == 0
    assert sorted(index for b in range(10) for _, index in unlabelled.keys(b)) == list(range(40))


# Batches


def test_batches_do_not_depend_on_workers(tmp_path: Path) -> None:
    data = make_set(tmp_path)
    alone = take(train_loader(data, 2, num_workers=0, seed=7), 9)
    for workers in (1, 2):
        assert_same(alone, take(train_loader(data, 2, num_workers=workers, seed=7), 9))
    batch = alone[0]
    assert batch.image.shape == (2, 32, 64, 3)
    for name in ("shrink_map", "shrink_mask", "threshold_map", "threshold_mask"):
        assert getattr(batch, name).shape == (2, 32, 64)
        assert getattr(batch, name).dtype == np.uint8
    assert batch.has_label.tolist() == [True, True]
    assert [b.epoch for b in alone] == [0, 0, 1, 1, 1, 2, 2, 3, 3]  # five samples, two a batch


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_resumes_at_any_batch(tmp_path: Path, workers: int) -> None:
    data = make_set(tmp_path)
    whole = take(train_loader(data, 2, seed=7), 8)
    assert_same(whole[5:], take(train_loader(data, 2, num_workers=workers, seed=7, start_batch=5), 3))


def test_ranks_share_an_epoch(tmp_path: Path) -> None:
    data = make_set(tmp_path, 6)
    sources = [
        source
        for rank in range(2)
        for batch in take(train_loader(data, 1, rank=rank, world_size=2), 3)
        for source in batch.sources
    ]
    assert len(set(sources)) == 6


def test_unlabelled_samples_follow_in_every_batch(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    data = make_set(tmp_path)
    make_set(tmp_path / "more", 3)
    unlabeled = DetDataset.from_images(tmp_path / "more", build_ops(OPS), seed=1)
    arguments = {"unlabeled": unlabeled, "unlabeled_per_batch": 2, "seed": 4}
    alone = take(train_loader(data, 3, **arguments), 3)  # type: ignore[arg-type]
    assert_same(alone, take(train_loader(data, 3, num_workers=2, **arguments), 3))  # type: ignore[arg-type]
    for batch in alone:
        assert batch.has_label.tolist() == [True] * 3 + [False] * 2
        assert batch.image.shape[0] == 5
        assert not batch.shrink_map[3:].any()
    # The unlabelled set is a stream of its own: six samples are two epochs of three.
    unseen = [source for batch in alone for source in batch.sources[3:]]
    assert sorted(unseen[:3]) == sorted(unseen[3:])
    assert [b.epoch for b in alone] == [0, 1, 1]
    with pytest.raises(DataError, match="together"):
        train_loader(data, 3, unlabeled_per_batch=2)


# What goes wrong


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_image_reaches_the_caller_as_it_is(tmp_path: Path, workers: int) -> None:
    data = make_set(tmp_path)
    (tmp_path / "3.png").write_bytes(b"")
    with train_loader(data, 2, num_workers=workers) as loader, pytest.raises(DataError) as caught:
        for _ in range(6):
            next(loader)
    assert str(caught.value).startswith(f"{tmp_path / 'labels.txt'}:4: image {tmp_path / '3.png'}: the file is empty")
    assert "Traceback" not in str(caught.value)


def test_skipped_images_are_told_in_the_batch(tmp_path: Path) -> None:
    data = make_set(tmp_path, on_bad="skip")
    (tmp_path / "3.png").write_bytes(b"")
    with train_loader(data, 5, num_workers=1) as loader:
        problems = next(loader).problems
    assert len(problems) == 1
    assert "3.png: the file is empty" in problems[0]


@dataclasses.dataclass
class Answer:
    value: np.ndarray
    number: int


def square(task: int) -> Answer:
    if task == 5:
        raise KeyError("five")
    if task == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    if task == 8:
        raise MemoryError
    if task == 7:
        time.sleep(60)
    return Answer(np.full((300, 1000), task, np.uint8), os.getpid())


def test_a_defect_in_a_worker_keeps_its_traceback() -> None:
    pool = WorkerPool(square, iter([1, 2, 5] + [1] * 100), 2)
    assert [pool.get().value[0, 0] for _ in range(2)] == [1, 2]
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"(?s)failed on 5:.*KeyError: 'five'"):
            pool.get()
    pool.close()


@pytest.mark.parametrize("count", [1, 2])
def test_a_dead_worker_is_named(count: int) -> None:
    pool = WorkerPool(square, iter([1, 2, 6] + [1] * 100), count, restarts=0)
    assert [pool.get().value[0, 0] for _ in range(2)] == [1, 2]
    with pytest.raises(DataError, match=r"data worker 0 \(pid \d+\) was killed by signal 9; .*memory.*it was making 6"):
        pool.get()
    pool.close()


def test_a_worker_short_of_memory_is_replaced_and_named() -> None:
    """Another one may have more: it is no fault of the sample."""
    with pytest.raises(DataError, match=r"data worker 0 \(pid \d+\) ran out of memory; .*lower num_workers"):
        WorkerPool(square, iter([8] * 100), 1, restarts=2).get()


def test_a_stuck_worker_is_named() -> None:
    pool = WorkerPool(square, iter([1, 7] + [1] * 100), 2, patience=1.0, restarts=0)
    assert pool.get().value[0, 0] == 1
    with pytest.raises(DataError, match=r"data worker 1 \(pid \d+\) has not answered for 1 s"):
        pool.get()
    pool.close()


def test_close_ends_the_workers(tmp_path: Path) -> None:
    loader = train_loader(make_set(tmp_path), 2, num_workers=2)
    next(loader)
    assert loader._pool is not None
    pids = [worker.process.pid for worker in loader._pool._workers]
    assert all(pid and alive(pid) for pid in pids)
    loader.close()
    loader.close()
    assert not any(pid and alive(pid) for pid in pids)
    assert list(loader) == []


ORPHANS = """
import sys
sys.path[:0] = sys.argv[1:]
import test_loader
from ppocr_data.workers import WorkerPool
pool = WorkerPool(test_loader.square, iter([1, 2] * 100), 2)
print(pool.get().number, pool.get().number, flush=True)
sys.stdin.read()
"""


def test_workers_die_with_their_parent(repository: Path) -> None:
    """Even with a parent killed outright, and with results larger than a pipe on the way."""
    command = [sys.executable, "-c", ORPHANS, str(repository), str(Path(__file__).parent), str(repository / "tests")]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    assert all(alive(pid) for pid in pids)
    parent.kill()
    parent.wait()
    for _ in range(100):
        if not any(alive(pid) and "Z" not in state(pid) for pid in pids):
            break
        time.sleep(0.1)
    assert not any(alive(pid) and "Z" not in state(pid) for pid in pids)


def state(pid: int) -> str:
    """The process's state where the system tells it; an orphan may stay a zombie until someone reaps it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "?"


def test_opencv_threads_of_the_parent_do_no_harm(tmp_path: Path) -> None:
    """A fork does not take the threads of OpenCV's pool along; a worker that waited for them would hang."""
    cv2.setNumThreads(4)
    try:
        cv2.warpAffine(np.zeros((3000, 3000, 3), np.uint8), np.eye(2, 3), (3000, 3000))
        assert len(take(train_loader(make_set(tmp_path), 2, num_workers=1), 2)) == 2
    finally:
        cv2.setNumThreads(-1)


def test_labelled_images_that_are_unlabelled_ones_too_are_not_shown_twice_in_a_batch(tmp_path: Path) -> None:
    data = make_set(tmp_path, 12)
    unlabeled = DetDataset.from_images([sample.image for sample in data.samples], build_ops(OPS), seed=1)
    batches = take(train_loader(data, 3, unlabeled=unlabeled, unlabeled_per_batch=3, seed=4), 8)
    halves = [(set(image_names(b.sources[:3], data)), {Path(s).name for s in b.sources[3:]}) for b in batches]
    assert sum(one == other for one, other in halves) == 0


def image_names(sources: list[str], data: DetDataset) -> list[str]:
    """The images that labelled sources speak of."""
    return [sample.image.name for source in sources for sample in data.samples if sample.source == source]


def test_what_opencv_refuses_is_told_with_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_set(tmp_path, 3)

    def refuse(*_: object, **__: object) -> None:
        raise cv2.error("src.cols < SHRT_MAX")

    monkeypatch.setattr("ppocr_data.crop.cv2.resize", refuse)
    monkeypatch.setattr("ppocr_data.warps.cv2.warpAffine", refuse)
    with pytest.raises(DataError, match=r"labels\.txt:\d: image .*cannot be augmented"):
        data[0, 0]


def test_the_epoch_of_a_batch_without_labels_is_its_last_samples(tmp_path: Path) -> None:
    make_set(tmp_path)
    unlabelled = DetDataset.from_images(tmp_path, build_ops(OPS))
    assert [batch.epoch for batch in take(train_loader(unlabelled, 2), 5)] == [0, 0, 1, 1, 1]
