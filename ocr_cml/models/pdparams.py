"""`.pdparams`, PaddleOCR's weight files: read without running anything in them, and written for PaddleOCR to read.

Such a file is a pickle, which is a program. Here it is decoded by stand-ins that can only become arrays; any other name
in it is refused before it is looked up.
"""

from __future__ import annotations

import codecs
import math
import os
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NoReturn

import numpy as np

from ocr_cml.models.pickle_program import check_program
from ppocr_data.atomic import replacing
from ppocr_data.errors import WeightsError

Weights = dict[str, np.ndarray]
_PADDLES_NAMES = "StructuredToParameterName@@"
"""Beside the arrays: under which name paddle's optimizers know each."""
_NUMBERS = frozenset({"f2", "f4", "f8", "b1", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))})
"""The types of arrays that a weight file may hold, as numpy writes them into a pickle."""
_MOST_AXES = 32


class _Inert:
    """A stand-in for a class named in a pickle. BUILD on the class itself, which could change it, is a TypeError."""

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"{type(self).__name__} takes no state")


class _NdArray(_Inert):
    """numpy.ndarray: only a name to hand to _reconstruct."""

    def __new__(cls, *_: Any) -> NoReturn:  # type: ignore[misc]
        raise pickle.UnpicklingError("numpy.ndarray is called directly")


class _Dtype(_Inert):
    """numpy.dtype("f4", align, copy), then its state (version, byte order, ...)."""

    def __init__(self, code: str, *_: Any) -> None:
        # numpy itself takes far more for a type: lists of types, and texts that its parser chokes on.
        if not isinstance(code, str) or code not in _NUMBERS:
            shown = code[:40] if isinstance(code, str) else f"type {type(code).__name__}"
            raise pickle.UnpicklingError(f"an array of {shown}, where numbers are expected")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(state[1] if state[1] in ("<", ">") else "=")


def _decode(dtype: Any, raw: Any, shape: tuple[int, ...], fortran: bool = False) -> np.ndarray:
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes):
        raise pickle.UnpicklingError("an array that holds objects, not numbers")
    if len(shape) > _MOST_AXES or not all(isinstance(length, int) and 0 <= length < 2**63 for length in shape):
        raise pickle.UnpicklingError("an array whose shape is not a few whole numbers")
    flat = np.frombuffer(raw, dtype.dtype)
    if flat.size != math.prod(shape):
        raise pickle.UnpicklingError(f"an array of shape {shape} with {flat.size} numbers")
    return flat.reshape(shape, order="F" if fortran else "C")


class _Reconstruct(_Inert):
    """numpy's _reconstruct(ndarray, (0,), b"b"): an empty array that BUILD fills with its state."""

    def __init__(self, *_: Any) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        self.array = _decode(dtype, raw, tuple(shape), bool(fortran))


class _Scalar(_Inert):
    """numpy's scalar(dtype, bytes)."""

    def __init__(self, dtype: Any, raw: Any) -> None:
        self.array = _decode(dtype, raw, ())


class _Copy(_Inert):
    """What makes a new object of its argument. A pickle may ask for that over and over: three bytes a time."""

    allowance: ClassVar[list[int]] = [0]

    @classmethod
    def spend(cls, size: int) -> None:
        """Raise once all copies together are larger than the file could hold."""
        cls.allowance[0] -= size
        if cls.allowance[0] < 0:
            raise pickle.UnpicklingError("it unfolds to far more than it holds")


class _Encode(_Copy):
    """_codecs.encode(text, "latin1"): how protocol 2 writes bytes."""

    def __new__(cls, text: str, encoding: str = "latin1") -> bytes:  # type: ignore[misc]
        if not isinstance(encoding, str) or codecs.lookup(encoding).name != "iso8859-1":
            raise pickle.UnpicklingError("text in another encoding than latin1")
        cls.spend(len(text))
        return text.encode("latin1")


class _Tuple(_Copy):
    """builtins.tuple: paddle.save writes each tensor outside a state_dict as (name, array)."""

    def __new__(cls, items: Iterable[Any] = ()) -> tuple[Any, ...]:  # type: ignore[misc]
        made = tuple(items)
        cls.spend(len(made))
        return made


def _is_name(key: Any) -> bool:
    """True. Raises where a key is none that weights have: a pair of pairs of pairs is hashed for ever."""
    if not isinstance(key, str):
        raise pickle.UnpicklingError(f"a table with a key of type {type(key).__name__}, where names are expected")
    return True


class _OrderedDict(_Copy):
    """collections.OrderedDict: a dict."""

    def __new__(cls, items: Iterable[tuple[Any, Any]] = ()) -> dict[Any, Any]:  # type: ignore[misc]
        pairs = list(items)
        cls.spend(len(pairs))
        return {key: value for key, value in pairs if _is_name(key)}


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _NdArray,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _Reconstruct,
    ("numpy.core.multiarray", "scalar"): _Scalar,
    ("numpy._core.multiarray", "scalar"): _Scalar,
    ("_codecs", "encode"): _Encode,
    ("builtins", "tuple"): _Tuple,
    ("__builtin__", "tuple"): _Tuple,
    ("collections", "OrderedDict"): _OrderedDict,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Every name in the pickle is looked up in a table of stand-ins; nothing is imported, no foreign code is called."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__(file, encoding="latin1")
        self._allowance = [2 * size]

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise WeightsError(f"it names {module}.{name}, which is not a weight; nothing of it was run")
        admitted = _ADMITTED[module, name]
        if issubclass(admitted, _Copy):
            return type(admitted.__name__, (admitted,), {"allowance": self._allowance})
        return admitted


def read_pdparams(file: BinaryIO) -> Weights:
    """The arrays of an open `.pdparams` file by name.

    Raises:
        WeightsError: it names anything but arrays; nothing of it was run. What else unpickling raises over a damaged
            file is left to the caller.
    """
    content = _table(file)
    content.pop(_PADDLES_NAMES, None)
    # Arrays above 1 GB are cut up under protocols 2 and 3; the misspelling is paddle's.
    cut = content.pop("UnpackBigParamInfor@@", {})
    pieces = {
        key: (info["OriginShape"], [content.pop(name) for name in info["slices"] if _is_name(name)])
        for key, info in cut.items()
    }
    weights = {str(key): _as_array(str(key), value) for key, value in content.items()}
    for key, (shape, values) in pieces.items():
        weights[str(key)] = np.concatenate([_as_array(str(key), value) for value in values]).reshape(shape)
    return weights


def is_ours(file: BinaryIO) -> bool:
    """Whether `write_pdparams` wrote an open file: in one of Paddle's own, layers and parameters have different names.

    Raises:
        As `read_pdparams`.
    """
    names = _table(file).get(_PADDLES_NAMES)
    return isinstance(names, dict) and bool(names) and all(name == own for name, own in names.items())


def _table(file: BinaryIO) -> dict[Any, Any]:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    check_program(file)
    content = _ArrayUnpickler(file, size).load()
    if not isinstance(content, dict):
        raise WeightsError(f"it holds a {type(content).__name__}, not a table of weights by name")
    return content


def _as_array(key: str, value: Any) -> np.ndarray:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        value = value[1]
    if isinstance(value, (bool, int, float)):
        return np.asarray(value)
    if not isinstance(value, (_Reconstruct, _Scalar)) or value.array is None:
        raise WeightsError(
            f"{key!r} is a {type(value).__name__}, not an array; is this an optimizer's or a run's state?"
        )
    return value.array


# --- writing ---------------------------------------------------------------------------------------------------------

_NEW_NAME, _NAME = b"cnumpy._core.multiarray\n_reconstruct\n", b"cnumpy.core.multiarray\n_reconstruct\n"


def write_pdparams(weights: Mapping[str, np.ndarray], path: Path) -> None:
    """Write arrays by name as `paddle.save(layer.state_dict(), path)` does: PaddleOCR loads them as tensors.

    The file holds arrays and names, and is whole or, if this fails, what it was before. Protocol 3, and numpy's module
    under the name that every release of numpy knows, so that older installations read it too.

    Args:
        weights: float arrays by PaddleOCR's names, each below 1 GB.
        path: ends in `.pdparams`; folders are made.

    Raises:
        WeightsError: the disk is full or the folder cannot be written.
    """
    content: dict[str, Any] = {name: np.ascontiguousarray(value) for name, value in weights.items()}
    content[_PADDLES_NAMES] = {name: name for name in weights}
    # The name stands once, as text between opcodes; later arrays refer to it by number.
    data = pickle.dumps(content, protocol=3).replace(_NEW_NAME, _NAME, 1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, sync=True) as fresh:
            fresh.write_bytes(data)
    except OSError as error:
        raise WeightsError(
            f"{path}: the weights could not be written ({error.strerror}); no earlier file was touched"
        ) from None
