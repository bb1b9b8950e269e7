"""Sides are real processes: what they answer, how they fail, and the whole tool in miniature."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from ocr_cml.benchmark import inputs, worker
from ocr_cml.benchmark.side import OURS, Side
from ppocr_data.errors import ModelError, UserError


def answers(cases: SimpleNamespace, *requests: dict) -> list[dict]:
    lines, out = io.StringIO("".join(json.dumps(request) + "\n" for request in requests)), io.StringIO()
    worker.serve(cases, lines, out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_request_prepares_and_the_next_repeat() -> None:
    def counting(start: int) -> Callable[[], dict]:
        seen = iter(range(start, start + 10))
        return lambda: {"seconds": next(seen)}

    given = answers(SimpleNamespace(counting=counting), {"case": "counting", "arguments": {"start": 3}}, {}, {})
    assert [answer["seconds"] for answer in given] == [3, 4, 5]


def test_the_processor_time_of_a_round_is_its_own() -> None:
    def counting() -> Callable[[], dict]:
        return lambda: {"sum": sum(range(1_000_000))}

    began = time.perf_counter()
    given = answers(SimpleNamespace(counting=counting), {"case": "counting", "arguments": {}}, {})
    wall = time.perf_counter() - began
    assert all(0 < answer["cpu"] <= 2 * wall + 0.1 for answer in given)


@pytest.mark.skipif(worker.resource is None, reason="Windows counts by hundredths of a second")
def test_cpu_seconds_are_finer_than_a_tick() -> None:
    taken = []
    for _ in range(20):
        before = worker._cpu_seconds()
        sum(range(100_000))  # about two milliseconds
        taken.append(worker._cpu_seconds() - before)
    assert min(taken) > 0


def test_an_error_is_an_answer_and_the_next_request_is_served() -> None:
    def broken(at: int) -> Callable[[], dict]:
        return lambda: {"value": 1 // at}

    first, second = answers(
        SimpleNamespace(broken=broken),
        {"case": "broken", "arguments": {"at": 0}},
        {"case": "broken", "arguments": {"at": 1}},
    )
    assert first["error"].startswith("Traceback") and "ZeroDivisionError" in first["error"]
    assert second["value"] == 1


def test_a_users_mistake_is_told_without_a_traceback() -> None:
    def broken() -> Callable[[], dict]:
        raise ModelError("nope: does not exist")

    (answer,) = answers(SimpleNamespace(broken=broken), {"case": "broken", "arguments": {}})
    assert answer == {"error": "nope: does not exist"}


@pytest.mark.slow
def test_a_process_answers_its_errors_are_named_and_its_end_too(tmp_path: Path) -> None:
    inputs.target_polygons(tmp_path / "polygons.json", 1, 3, (64, 64))
    with Side("plain one", "plain") as side:
        first = side.prepare("targets", path=str(tmp_path / "polygons.json"), size=64)
        again = side.round()
        assert first["text"] == again["text"] > 0
        assert again["seconds"] > 0
        with pytest.raises(UserError, match=r"(?s)plain one failed.*no_such_case"):
            side.prepare("no_such_case")
        side._process.kill()
        with pytest.raises(UserError, match="plain one failed: exit code -9"):
            side.round()


@pytest.mark.slow
def test_the_tool_prints_machine_and_table_and_says_what_it_skipped(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "tools/benchmark.py", "targets", "scoring", "losses", "memory", "--quick"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OCR_CML_PEER")}
    command += ["--json", str(tmp_path / "numbers.json")]
    done = subprocess.run(command, cwd=repository, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ppocr: skipped, --peer_python names no environment" in done.stdout
    assert "machine: " in done.stdout and "paddlepaddle 3.2.2" in done.stdout
    rows = {row["label"]: row["values"] for row in json.loads((tmp_path / "numbers.json").read_text())["rows"]}
    for label in ("targets, 640x640, 50 polygons", "both, 120 boxes, 1280x736", "losses of CML, batch 4, 64x64"):
        assert set(rows[label]) == {"ours", "plain"}
        assert f"| {label} " in done.stdout
    ((side, peaks),) = rows["peak memory, CML, batch 4, 64x64"].items()
    assert (side, len(peaks)) == ("ours", 1)
    assert 200 < peaks[0] < 4000


def test_an_unknown_case_is_a_message(tool: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = tool("benchmark", "lodaer")
    assert code == 2
    assert "there is no case lodaer; choose among targets, loader" in err


def test_what_cannot_be_measured_or_written_is_said_first(
    tool: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    code, _, err = tool("benchmark", "targets", "detector", "--label_file", tmp_path / "any.txt")
    assert (code, "detector runs on synthetic pictures" in err) == (2, True)
    code, _, err = tool("benchmark", "loader", "--label_file", tmp_path / "absent.txt", "--data_dir", tmp_path)
    assert (code, "--label_file: " in err, "Traceback" in err) == (2, True, False)
    (tmp_path / "empty.txt").touch()
    code, _, err = tool("benchmark", "loader", "--label_file", tmp_path / "empty.txt")
    assert (code, f"--label_file: {tmp_path / 'empty.txt'} has no line" in err) == (2, True)
    (tmp_path / "one.txt").write_text("absent.jpg\t[]\n")
    code, _, err = tool("benchmark", "loader", "--label_file", tmp_path / "one.txt")
    assert (code, f"{tmp_path / 'one.txt'}:1" in err, "pictures" in err) == (2, True, False)
    code, _, err = tool("benchmark", "targets", "evaluation", "--model_dir", tmp_path / "absent")
    assert (code, f"--model_dir: {tmp_path / 'absent'} does not exist" in err) == (2, True)
    code, _, err = tool("benchmark", "targets", "--quick", "--peer_python", tmp_path / "absent")
    assert (code, f"{tmp_path / 'absent'} cannot be started" in err, "Traceback" in err) == (2, True, False)
    (tmp_path / "file").write_text("")
    code, _, err = tool("benchmark", "targets", "--json", tmp_path / "file" / "numbers.json")
    assert (code, "cannot be written" in err) == (2, True)


def test_what_our_environment_sets_is_taken_away_from_a_side() -> None:
    """So that a side that is to have PaddleOCR's defaults does not inherit ours."""
    from ocr_cml.environment import cpu_environment

    assert set(cpu_environment()) <= set(OURS)
