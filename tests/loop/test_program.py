"""The state of the program: it changes with any source and with nothing else."""

from __future__ import annotations

from pathlib import Path

import paddle
import pytest
import tiny

from ocr_cml.loop import program


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    for name, text in (("ocr_cml/a.py", "x = 1\n"), ("ocr_cml/losses/b.py", ""), ("ppocr_data/c.py", "y = 2\n")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_a_changed_a_renamed_and_a_moved_source_are_other_states(sources: Path) -> None:
    found = [program._digest(sources)]
    (sources / "ppocr_data/c.py").write_text("y = 3\n", encoding="utf-8")
    found.append(program._digest(sources))
    (sources / "ppocr_data/c.py").rename(sources / "ppocr_data/d.py")
    found.append(program._digest(sources))
    (sources / "ppocr_data/d.py").rename(sources / "ocr_cml/d.py")
    found.append(program._digest(sources))
    assert len(set(found)) == 4
    assert all(len(digest) == 12 for digest in found)


def test_what_is_no_source_changes_nothing(sources: Path) -> None:
    before = program._digest(sources)
    (sources / "ocr_cml/__pycache__").mkdir()
    (sources / "ocr_cml/__pycache__/a.pyc").write_bytes(b"cached")
    (sources / "tests").mkdir()
    (sources / "tests/test_a.py").write_text("z = 1\n", encoding="utf-8")
    assert program._digest(sources) == before


def test_a_run_states_what_computed_it_and_where_that_changed(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tiny.settings(tiny_set, tmp_path / "run")
    mine = dict(program.state())
    other = mine | {"ocr_cml": "another"}
    for steps, state in ((1, mine), (2, mine), (3, other), (3, mine)):  # the last one finds nothing left to do
        monkeypatch.setattr(program, "state", lambda said=state: said)
        tiny.fit(data, max_steps=steps)
    here = {"device": "CPU", "precision": "float32"}  # tiny runs ask for a CPU
    assert tiny.records(tmp_path / "run", "program") == [
        {"step": 0, "program": mine | here},
        {"step": 2, "program": other | here},
    ]
    assert mine["paddle"] == paddle.__version__
