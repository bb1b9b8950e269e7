"""Viewers beside metrics.jsonl: what they are shown, by their real libraries where they are installed."""

from __future__ import annotations

import json
import logging
import struct
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny

from ocr_cml.loop import loggers
from ppocr_data.errors import ConfigError

SCORES = {"precision": 0.5, "recall": 0.25, "hmean": 1 / 3, "tp": 1, "num_gt": 4, "num_det": 2}
RECORDS: list[dict[str, Any]] = [
    {"step": 0, "teacher": {"Teacher": SCORES}},
    {"step": 10, "loss": 2.5, "lr": 0.001, "seconds": 3.0, "db/Student": 2.0, "agreement/Student,Student2": 0.75},
    {"step": 10, "eval": {"Student": SCORES}, "eval_seconds": 4.0},
    {"step": 10, "divergence": {"students": ["Student"], "drop": "NaN"}},
]


def test_scalars_are_the_finite_numbers_by_their_names() -> None:
    assert list(loggers.scalars(RECORDS[0])) == [
        ("hmean/Teacher", 1 / 3), ("precision/Teacher", 0.5), ("recall/Teacher", 0.25)
    ]  # fmt: skip
    assert dict(loggers.scalars(RECORDS[1])) == {
        "loss": 2.5, "lr": 0.001, "db/Student": 2.0, "agreement/Student_and_Student2": 0.75
    }  # fmt: skip
    assert [name for name, _ in loggers.scalars(RECORDS[2])] == ["hmean/Student", "precision/Student", "recall/Student"]
    assert list(loggers.scalars(RECORDS[3])) == []
    assert list(loggers.scalars({"step": 1, "loss": float("nan")})) == []


@pytest.mark.parametrize("name", list(loggers.LIBRARIES))
def test_a_missing_library_is_an_error_with_the_command_that_brings_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, loggers.LIBRARIES[name], None)
    with pytest.raises(ConfigError, match=rf'python -m pip install "{loggers.LIBRARIES[name]}"'):
        loggers.check([name])


def test_the_tool_says_so_before_it_makes_anything(
    tiny_set: Path, tmp_path: Path, tool: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "visualdl", None)
    path = tiny.write(tiny.settings(tiny_set, tmp_path / "run"), tmp_path / "a.yml")
    code, out, err = tool("train", "-c", path, "-o", "Global.loggers=[visualdl]")
    assert (code, out) == (2, "")
    assert "Global.loggers: visualdl needs visualdl" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("step", "purged"), [(0, 0), (5, 6)])
def test_tensorboard_forgets_the_steps_that_are_made_again(
    step: int, purged: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    class Writer:
        def __init__(self, folder: str, **more: Any) -> None:
            given.update(more)

        def add_text(self, *_: Any) -> None:
            pass

    monkeypatch.setitem(sys.modules, loggers.LIBRARIES["tensorboard"], types.SimpleNamespace(SummaryWriter=Writer))
    loggers.open_loggers(["tensorboard"], tmp_path, "a: 1", step)
    assert given == {"purge_step": purged}


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What a TensorBoard folder holds: its files are records of (length, checksum, protobuf, checksum)."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.glob("events*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for value in event.summary.value:
                if value.WhichOneof("value") == "simple_value":
                    found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_a_training_shows_tensorboard_what_metrics_jsonl_holds(tiny_set: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    with tiny.Run(tiny.settings(tiny_set, tmp_path / "run"), loggers=["tensorboard"]) as trainer:
        trainer.fit()
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    found = events(tmp_path / "run/tensorboard")
    losses = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    assert [step for step, _ in found["loss"]] == [step for step, _ in losses] == [1, 2, 3]
    assert [value for _, value in found["loss"]] == pytest.approx([value for _, value in losses], rel=1e-6)
    assert {"lr", "db/Student", "mutual/Student_from_Student2", "hmean/Student", "hmean/ensemble"} <= found.keys()


def test_visualdl_holds_the_numbers(tmp_path: Path) -> None:
    pytest.importorskip("visualdl", reason="visualdl is not installed; it is an option")
    from visualdl import LogReader

    opened = loggers.open_loggers(["visualdl"], tmp_path, "Global: {}")
    for entry in RECORDS:
        loggers.tell(opened, entry)
    loggers.close(opened)
    (path,) = (tmp_path / "visualdl").glob("*.log")
    reader = LogReader(file_path=str(path))
    tags = set(reader.get_tags()["scalar"])
    assert {"loss", "lr", "hmean/Student", "hmean/Teacher"} <= tags
    assert [(item.id, item.value) for item in reader.get_data("scalar", "loss")] == [(10, 2.5)]


class StandIn:
    """Weights & Biases' `init` and run, as its documentation has them; the library itself wants an account."""

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.finished = 0

    def init(self, **settings: Any) -> StandIn:
        self.begun.append(settings)
        return self

    def log(self, data: dict[str, float], step: int) -> None:
        self.logged.append((step, data))

    def finish(self) -> None:
        self.finished += 1


def test_weights_and_biases_go_on_with_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = StandIn()
    module = types.ModuleType("wandb")
    module.init = library.init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    for _ in range(2):
        opened = loggers.open_loggers(["wandb"], tmp_path, "Global: {}")
        loggers.tell(opened, RECORDS[1])
        loggers.close(opened)
    assert library.begun[0]["id"] == library.begun[1]["id"] and library.begun[0]["resume"] == "allow"
    assert library.begun[0]["config"] == {"config.yml": "Global: {}"}
    assert library.logged[0] == (10, dict(loggers.scalars(RECORDS[1])))
    assert library.finished == 2


def test_a_viewer_that_cannot_be_opened_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def nobody_is_logged_in(**_: object) -> None:
        raise RuntimeError("api_key not configured")

    stub = types.ModuleType("wandb")
    stub.init = nobody_is_logged_in  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", stub)
    assert loggers.open_loggers(["wandb"], tmp_path, "Global: {}") == []
    assert "wandb cannot be opened and gets no records: api_key not configured" in caplog.text


def test_a_viewer_that_fails_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        def record(self, entry: object) -> None:
            raise ConnectionError("no server")

        def close(self) -> None:
            raise AssertionError("is left out")

    class Kept:
        seen = 0

        def record(self, entry: object) -> None:
            self.seen += 1

        def close(self) -> None:
            pass

    kept = Kept()
    both: list[Any] = [Failing(), kept]
    logger = logging.getLogger("ocr_cml")
    logger.propagate, before = True, logger.propagate
    try:
        loggers.tell(both, RECORDS[1])
        loggers.tell(both, RECORDS[1])
    finally:
        logger.propagate = before
    loggers.close(both)
    assert (both, kept.seen) == ([kept], 2)
    assert [record.getMessage() for record in caplog.records] == ["Failing failed and gets no more records: no server"]
