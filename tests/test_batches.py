"""Batches on their way to a GPU, with a stand-in for the copies: when they start, what is held, where errors arrive."""

from __future__ import annotations

import json
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
import tiny

from ocr_cml import batches as under_test
from ocr_cml.batches import SentBatch, TrainBatches, on_device, pixels
from ocr_cml.losses.targets import decode_targets
from ocr_cml.normalization import Normalization
from ppocr_data.errors import DataError
from ppocr_data.loader import Batch

to_tensor = paddle.to_tensor
"""As it is before a test counts its calls."""


class Point:
    """A mark that the device reaches when a test says so."""

    reached = False

    def query(self) -> bool:
        return self.reached


class Copies:
    """A device of its own: what happens is written down, a mark is reached when the test says so."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.marks: list[Point] = []
        self.pinned: list[weakref.ref[Any]] = []

    def pin(self, array: np.ndarray) -> paddle.Tensor:
        self.events.append("pin")
        source = to_tensor(array)
        self.pinned.append(weakref.ref(source))
        return source

    def start(self, pinned: paddle.Tensor) -> paddle.Tensor:
        assert any(each() is pinned for each in self.pinned), "only pinned memory can be copied without waiting"
        self.events.append("start")
        return pinned.clone()

    def mark(self) -> Point:
        self.events.append("mark")
        self.marks.append(Point())
        return self.marks[-1]

    @property
    def held(self) -> list[bool]:
        """For each array pinned so far whether its memory is still held."""
        return [each() is not None for each in self.pinned]


ARRAYS = ("image", "shrink_map", "shrink_mask", "threshold_map", "threshold_mask", "has_label")


def source(count: int, drawn: list[int], failure: Exception | None = None) -> Iterator[Batch]:
    """Batches of noise with their numbers as epochs; then an error."""
    for number in range(count):
        drawn.append(number)
        batch = tiny.batch(seed=number, labelled=[True, number % 2 == 0])
        batch.epoch, batch.problems = number, [f"problem {number}"]
        yield batch
    if failure is not None:
        raise failure


def test_on_a_cpu_batches_pass_as_they_are_and_none_is_fetched_in_advance() -> None:
    drawn: list[int] = []
    made = list(source(2, []))
    found = TrainBatches(iter(made))
    found.prepare()
    assert next(found) is made[0]
    assert next(found) is made[1]
    counted = TrainBatches(source(2, drawn))
    counted.prepare()
    assert drawn == []


def test_a_sent_batch_is_the_loader_s_with_every_array_on_the_device() -> None:
    (expected,), found = list(source(1, [])), next(TrainBatches(source(1, []), Copies()))
    assert isinstance(found, SentBatch)
    assert tuple(found.tensors) == ARRAYS
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert on_device(found, name) is found.tensors[name]
        assert found.tensors[name].numpy().dtype == getattr(expected, name).dtype
        np.testing.assert_array_equal(found.tensors[name].numpy(), getattr(expected, name))
    assert (found.sources, found.epoch, found.problems) == (expected.sources, expected.epoch, expected.problems)


@pytest.mark.parametrize("order", ["BGR", "RGB"])
def test_pixels_and_targets_are_made_of_what_was_sent(order: Any) -> None:
    normalization = Normalization(channel_order=order)
    (plain,), sent = list(source(1, [])), next(TrainBatches(source(1, []), Copies()))
    for name in ARRAYS:
        setattr(sent, name, np.zeros_like(getattr(sent, name)))  # the host's copy is not looked at again
    np.testing.assert_array_equal(normalization.to_device(pixels(sent)).numpy(), normalization.apply(plain.image))
    expected, found = decode_targets(plain), decode_targets(sent)
    for name in ("shrink_map", "shrink_mask", "threshold_map", "threshold_mask", "has_label"):
        assert getattr(found, name).dtype == paddle.float32
        np.testing.assert_array_equal(getattr(found, name).numpy(), getattr(expected, name).numpy())


def test_batches_sent_in_advance_keep_their_order_and_their_number() -> None:
    drawn: list[int] = []
    copies = Copies()
    found = TrainBatches(source(6, drawn), copies, depth=2)
    assert next(found).epoch == 0
    assert drawn == [0]
    found.prepare()
    found.prepare()
    assert drawn == [0, 1, 2]  # two, however often it is asked
    assert copies.events.count("mark") == 3  # and they are under way before anybody takes them
    assert [next(found).epoch for _ in range(3)] == [1, 2, 3]
    found.prepare()
    assert [next(found).epoch for _ in range(2)] == [4, 5]
    assert drawn == [0, 1, 2, 3, 4, 5]


def test_all_arrays_are_pinned_then_copied_then_marked() -> None:
    copies = Copies()
    next(TrainBatches(source(1, []), copies))
    assert copies.events == ["pin"] * 6 + ["start"] * 6 + ["mark"]


def test_pinned_memory_is_held_until_the_device_has_read_it() -> None:
    copies = Copies()
    found = TrainBatches(source(4, []), copies)
    next(found)  # nobody keeps the batch
    next(found)
    assert copies.held == [True] * 12
    copies.marks[0].reached = True
    next(found)
    assert copies.held == [False] * 6 + [True] * 12
    copies.marks[2].reached = True  # a device works in order: the second is done if the third is, but did not say so
    next(found)
    assert copies.held == [False] * 6 + [True] * 18


def test_an_error_of_the_loader_is_raised_where_its_batch_is_due() -> None:
    found = TrainBatches(source(2, [], DataError("train.txt:3: no image")), Copies(), depth=3)
    found.prepare()
    assert [next(found).epoch for _ in range(2)] == [0, 1]
    found.prepare()
    for _ in range(2):
        with pytest.raises(DataError, match=r"train.txt:3"):
            next(found)


def test_the_end_of_the_loader_is_the_end() -> None:
    found = TrainBatches(source(1, []), Copies(), depth=3)
    found.prepare()
    assert [batch.epoch for batch in found] == [0]


# --- a training whose batches are sent in advance --------------------------------------------------------------------


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> Copies:
    """As on a GPU."""
    made = Copies()
    monkeypatch.setattr(under_test, "copier_here", lambda: made)
    return made


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_training_learns_from_the_same_batches_and_goes_on_at_the_same_place(
    workers: int, tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two batches a step, both of the next sent in advance; a run that is resumed takes up those that it dropped."""
    sections = {"Train__loader": {"batch_size_per_card": 1, "num_workers": workers}, "Optimizer__accumulate": 2}
    tiny.fit(tiny.settings(tiny_set, tmp_path / "plain", **sections), max_steps=3)
    copies = Copies()
    monkeypatch.setattr(under_test, "copier_here", lambda: copies)
    tiny.fit(tiny.settings(tiny_set, tmp_path / "sent", **sections), max_steps=2)
    assert len(copies.marks) == 4  # nothing is fetched for a step that does not come
    tiny.fit(tiny.settings(tiny_set, tmp_path / "sent", **sections), max_steps=3)
    assert len(copies.marks) == 6
    plain, sent = tiny.saved(tmp_path / "plain"), tiny.saved(tmp_path / "sent")
    assert plain.keys() == sent.keys()
    for name in plain:
        tiny.assert_same(sent[name], plain[name])


def test_what_comes_before_a_bad_sample_is_learned_and_saved(copies: Copies, tiny_set: Path, tmp_path: Path) -> None:
    """The image of the third step vanishes: that is met during the second, and said when the third begins."""
    images = shutil.copytree(tiny_set, tmp_path / "set")
    data = tiny.settings(images, tmp_path / "run")
    data["Train"]["loader"]["shuffle"] = False
    last = Path(images, (images / "train.txt").read_text(encoding="utf-8").splitlines()[5].split("\t")[0])
    with tiny.Run(data) as trainer:
        # After the look at the data with which a run begins.
        trainer.cohort.students["Student"].register_forward_pre_hook(lambda *_: last.unlink(missing_ok=True))
        with pytest.raises(DataError, match=r"train.txt:6"):
            trainer.fit()
    assert trainer.progress.step == 2
    assert json.loads((tmp_path / "run/latest/state.json").read_text())["progress"]["step"] == 2
    assert len(copies.marks) == 2
