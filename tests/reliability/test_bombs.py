"""Small files that would become large ones are refused before memory is asked for."""

from __future__ import annotations

import io
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ocr_cml.models import weight_files
from ocr_cml.models.weight_files import read_weights
from ppocr_data.decode import DecodeImage
from ppocr_data.errors import WeightsError

SIDE = 60000


@pytest.fixture
def little_memory() -> Iterator[None]:
    """What Python and numpy ask for stays under 20 MB."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def png() -> bytes:
    data = bytearray(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    data[16:24] = SIDE.to_bytes(4, "big") * 2
    return bytes(data)


def jpeg(*, second: bool = False) -> bytes:
    data = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    at = data.index(b"\xff\xc0")
    length = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    frame = bytearray(data[at : at + length])
    frame[5:9] = SIDE.to_bytes(2, "big") * 2
    return data[:at] + bytes(frame) + data[at if second else at + length :]


def bmp() -> bytes:
    data = bytearray(cv2.imencode(".bmp", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    data[18:26] = struct.pack("<ii", SIDE, SIDE)
    return bytes(data)


def webp() -> bytes:
    body = bytearray(cv2.imencode(".webp", np.zeros((4, 4, 3), np.uint8), [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes())
    at = body.index(b"VP8L") + 9
    body[at : at + 4] = (16383 | 16383 << 14).to_bytes(4, "little")
    return bytes(body)


def tiff() -> bytes:
    out = io.BytesIO()
    Image.new("1", (12000, 12000)).save(out, "TIFF", compression="group4")
    return out.getvalue()


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    "data",
    [png(), jpeg(), jpeg(second=True), bmp(), webp(), tiff()],
    ids=["png", "jpeg", "two frames", "bmp", "webp", "tiff"],
)
def test_an_image_that_unfolds_beyond_the_limit(data: bytes) -> None:
    assert len(data) < 50_000
    with pytest.raises(ValueError, match="pixels"):
        DecodeImage().decode(data)


def test_the_tiff_is_an_image() -> None:
    """It is refused for its size alone."""
    assert DecodeImage(max_megapixels=150).decode(tiff()).shape == (12000, 12000, 3)


@pytest.mark.parametrize("kind", ["GIF", "PPM", "ICO"])
def test_other_kinds_of_files_are_not_decoded_at_all(kind: str) -> None:
    out = io.BytesIO()
    Image.new("RGB", (32, 32)).save(out, kind)
    with pytest.raises(ValueError, match="no JPEG, PNG, BMP, WebP or TIFF file"):
        DecodeImage().decode(out.getvalue())


@pytest.mark.usefixtures("little_memory")
def test_an_archive_that_unfolds_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "w.npz", a=np.zeros(10**6, np.float32))
    assert (tmp_path / "w.npz").stat().st_size < 10_000
    monkeypatch.setattr(weight_files, "MOST_BYTES", 10**6)
    with pytest.raises(WeightsError, match=r"w\.npz: unpacked it has 4,000,128 bytes"):
        read_weights(tmp_path / "w.npz")


def refused_pickle(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "w.pdparams").write_bytes(content)
    with pytest.raises(WeightsError, match=reason):
        read_weights(tmp_path / "w.pdparams")


@pytest.mark.usefixtures("little_memory")
def test_a_pickle_that_remembers_under_a_huge_number(tmp_path: Path) -> None:
    refused_pickle(tmp_path, b"\x80\x02}r\xff\xff\xff\x7f.", "remembers something under the number 2147483647")


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("name", [b"_codecs\nencode", b"builtins\ntuple", b"collections\nOrderedDict"])
def test_a_pickle_that_copies_one_thing_over_and_over(tmp_path: Path, name: bytes) -> None:
    """A text of 100 kB (or a list as long), copied by eight bytes of the file at a time."""
    pairs = b"(" + b"".join(b"U\x05%05dK\x01\x86" % number for number in range(20_000)) + b"l"
    what = b"X" + (100_000).to_bytes(4, "little") + b"x" * 100_000 if b"encode" in name else pairs
    counted = b"Nq\x000" * 300  # so that the numbers below are honest
    kept = b"c" + name + b"\n" + b"q\xfe0" + what + b"q\xff0"
    copies = b"](" + b"h\xfeh\xff\x85R" * 400 + b"e."
    refused_pickle(tmp_path, b"\x80\x02" + counted + kept + copies, "unfolds to far more than it holds")


PAIRS = {
    "doubled on the stack": b"2\x86" * 60,
    "remembered": b"".join(
        b"r" + n.to_bytes(4, "little") + b"0" + 2 * (b"j" + n.to_bytes(4, "little")) + b"\x86" for n in range(60)
    ),
}
"""A pair of a pair of a pair, and so on: whoever looks at all of it looks 2^60 times."""


@pytest.mark.parametrize("doubling", PAIRS)
@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (b"}K\x01", b"K\x01s", "keys are no plain texts"),
        (b"}(K\x01", b"K\x01u", "keys are no plain texts"),
        (b"(K\x01", b"K\x01d", "keys are no plain texts"),
        (b"ccollections\nOrderedDict\n((K\x01", b"K\x01lt\x85R", "a table with a key of type tuple"),
        (b"cnumpy\ndtype\nK\x01", b"\x85R", "an array of type tuple"),
        (b"c_codecs\nencode\nX\x01\0\0\0xK\x01", b"\x86R", "another encoding"),
        (b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01K\x01", b"cnumpy\ndtype\nU\x02f4\x85R\x89C\0tb", "shape"),
    ],
)
def test_a_pickle_of_pairs_of_pairs(tmp_path: Path, doubling: str, before: bytes, after: bytes, reason: str) -> None:
    content = b"\x80\x02" + before + PAIRS[doubling] + after + b"."
    refused_pickle(tmp_path, content, "instruction DUP" if doubling == "doubled on the stack" else reason)


def test_a_large_array_cut_into_pieces_by_no_names(tmp_path: Path) -> None:
    pairs = PAIRS["remembered"]
    info = b"}X\x15\0\0\0UnpackBigParamInfor@@}X\x01\0\0\0w}(X\x0b\0\0\0OriginShape]X\x06\0\0\0slices]K\x01"
    refused_pickle(tmp_path, b"\x80\x02" + info + pairs + b"auss.", "a table with a key of type tuple")
