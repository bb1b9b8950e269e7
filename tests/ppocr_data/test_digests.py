"""The digest of a file, and of several as one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ppocr_data.digests import sha256_of


def test_of_one_file_and_of_several_one_after_the_other(tmp_path: Path) -> None:
    """FIPS 180-2's example, and more than is read at once."""
    (tmp_path / "a").write_bytes(b"ab")
    (tmp_path / "b").write_bytes(b"c")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "a", tmp_path / "b") == known
    (tmp_path / "large").write_bytes(bytes(range(256)) * 10_000)
    assert sha256_of(tmp_path / "large") == hashlib.sha256(bytes(range(256)) * 10_000).hexdigest()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sha256_of(tmp_path / "absent")
