"""The log: to people on standard error, to a run's file, whatever becomes of the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ocr_cml.log import LOG, start_logging


@pytest.fixture
def quiet_afterwards() -> Iterator[None]:
    yield
    for handler in list(LOG.handlers):
        LOG.removeHandler(handler)
        handler.close()


@pytest.mark.usefixtures("quiet_afterwards")
def test_the_log_goes_to_standard_error_and_the_file_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start_logging(tmp_path / "train.log")
    start_logging(tmp_path / "train.log")
    LOG.info("größe %d", 3)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "größe 3\n"
    (line,) = (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()
    assert line.endswith("INFO größe 3")


@pytest.mark.usefixtures("quiet_afterwards")
def test_a_full_disk_ends_the_log_file_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "train.log").symlink_to("/dev/full")
    start_logging(tmp_path / "train.log")
    for number in range(3):
        LOG.info("message %d", number)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("message")] == ["message 0", "message 1", "message 2"]
    (told,) = [line for line in lines if not line.startswith("message")]
    assert "train.log: cannot be written any more: " in told


@pytest.mark.usefixtures("quiet_afterwards")
def test_a_name_that_is_no_unicode_is_logged(tmp_path: Path) -> None:
    start_logging(tmp_path / "train.log")
    LOG.info("image %s", b"\xff.jpg".decode("utf-8", "surrogateescape"))
    assert (tmp_path / "train.log").read_text(encoding="utf-8").endswith("image \\udcff.jpg\n")
