"""Folders that cannot be read are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppocr_data.errors import DataError
from ppocr_data.folders import visible_files


def test_a_folder_that_may_be_listed_and_not_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its names are known and no more; root, who runs many tests, may enter any, so the answer is given here."""
    (tmp_path / "a.jpg").write_bytes(b"1")
    assert list(visible_files(tmp_path)) == [tmp_path / "a.jpg"]

    def denied(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", denied)
    with pytest.raises(DataError, match=r"a\.jpg: cannot be read \(Permission denied\)"):
        list(visible_files(tmp_path))
