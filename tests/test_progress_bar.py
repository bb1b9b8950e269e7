"""A bar that shows on a terminal alone, and there only once something takes time."""

from __future__ import annotations

import io
import time

import pytest

from ocr_cml.progress_bar import progress_bar


class Terminal(io.StringIO):
    """What is written to it, and a word on what it is."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, seconds: float) -> str:
    """What two folders of two images leave on standard error, where an image takes so many seconds."""
    screen = Terminal(terminal=terminal)
    monkeypatch.setattr("sys.stderr", screen)
    with progress_bar("reading") as progress:
        for done in (1, 2, 1, 2):
            time.sleep(seconds)
            progress(done, 2)
    return screen.getvalue()


def test_what_takes_time_is_shown_folder_by_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, terminal=True, seconds=0.25)
    assert text.count("reading:  50%") == text.count("reading: 100%") == 2
    assert text.endswith("\r")  # removed in the end


@pytest.mark.parametrize(("terminal", "seconds"), [(False, 0.25), (True, 0.0)])
def test_nothing_is_shown_in_a_log_or_of_what_is_done_at_once(
    terminal: bool, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(monkeypatch, terminal=terminal, seconds=seconds).strip() == ""
