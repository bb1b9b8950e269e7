"""Whether every network can be built, and is told nothing that is meant for the other kind."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Sequence

from ocr_cml.binding import TEACHERS
from ocr_cml.models.detector import PARTS, build_detector
from ocr_cml.records import ENSEMBLE
from ocr_cml.schema import Config, Network
from ocr_cml.yaml_source import KeyPath
from ppocr_data.errors import ModelError
from ppocr_data.spelling import nearest

_CHANNELS = 3
"""Of the images that all networks of a cohort are shown."""
_Problem = tuple[KeyPath, str]
"""The key inside the network's section, and what is wrong with it."""
_OF_TEACHERS = ("engine", "weight")
_OF_STUDENTS = ("fresh", "pretrained_share", "allow_missing")


def network_problems(config: Config) -> list[tuple[KeyPath, str]]:
    """Every reason why a network cannot be built or run as it is stated, with its dotted key."""
    problems: list[tuple[KeyPath, str]] = []
    for name, network in config.Architecture.Models.items():
        path = ("Architecture", "Models", name)
        meant = _meant(name, config)
        problems += [((*path, *key), text + meant) for key, text in _of_network(name, network)]
    return problems


def _meant(name: str, config: Config) -> str:
    """Of a network without parts, as a misspelt name in a key makes one: the network whose key it may have been."""
    networks = config.Architecture.Models
    other = None if _parts(networks[name]) else nearest(name, [other for other in networks if other != name])
    return f"; or did you mean {other!r}?" if other else ""


def _of_network(name: str, network: Network) -> Iterator[_Problem]:
    yield from _of_name(name)
    yield from _of_kind(network)
    yield from _of_engine(network)
    yield from _of_channels(network)
    if network.inference_model:
        yield from _of_inference_model(network)
    else:
        yield from _of_parts(network)


def _of_name(name: str) -> Iterator[_Problem]:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        yield (), "names become file names; use letters, digits, - and _"
    if name in (ENSEMBLE, TEACHERS):
        yield (), f"{name!r} means something else here; choose another name"


def _of_kind(network: Network) -> Iterator[_Problem]:
    """A teacher has weights, and neither kind has keys of the other."""
    if network.freeze_params:
        if not (network.pretrained or network.inference_model):
            yield (), "is frozen but has no weights, so it would teach noise; set pretrained or inference_model"
        yield from (((key,), "is for students; this network is frozen") for key in _stated(network, _OF_STUDENTS))
    else:
        yield from (((key,), "is for teachers; this network learns") for key in _stated(network, _OF_TEACHERS))


def _of_engine(network: Network) -> Iterator[_Problem]:
    if network.inference_model and network.engine == "layer":
        yield ("engine",), "an inference model cannot run as a layer; choose auto, paddle or onnx"
    if network.freeze_params and not network.inference_model and network.engine == "paddle":
        yield (
            ("engine",),
            "runs exported models; a network of parts runs as a layer or in ONNX: choose auto, layer or onnx",
        )


def _of_inference_model(network: Network) -> Iterator[_Problem]:
    if not network.freeze_params:
        yield ("inference_model",), "only a frozen network can be one; set freeze_params: true"
    superfluous = _parts(network) or (["pretrained"] if network.pretrained else [])
    if superfluous:
        yield ("inference_model",), f"is used as it is; remove {', '.join(superfluous)}"


def _of_channels(network: Network) -> Iterator[_Problem]:
    channels = (network.Backbone or {}).get("in_channels", _CHANNELS)
    if channels != _CHANNELS:
        text = f"is {channels}, and every network of a cohort is shown the same BGR images; set {_CHANNELS}"
        yield ("Backbone", "in_channels"), text


def _of_parts(network: Network) -> Iterator[_Problem]:
    given = _parts(network)
    if len(given) < len(PARTS):
        yield (), f"needs {', '.join(part for part in PARTS if part not in given)}"
    elif any(_of_channels(network)):
        return  # it could not be built either, for a reason that says less
    elif isinstance(text := _built(json.dumps(network.spec, default=list)), str):
        key, colon, reason = text.partition(": ")
        inside = tuple(key.split(".")) if colon and key.split(".")[0] in PARTS else ()
        yield inside, reason if inside else text


def _parts(network: Network) -> list[str]:
    return [part for part in PARTS if getattr(network, part) is not None]


def feature_channels(network: Network) -> dict[str, int]:
    """Channels of every feature that a network of parts shows, by name; empty where it cannot be built."""
    built = _built(json.dumps(network.spec, default=list)) if len(_parts(network)) == len(PARTS) else ""
    return {} if isinstance(built, str) else built


@functools.lru_cache(maxsize=64)
def _built(spec: str) -> dict[str, int] | str:
    """The features of a network, or why it cannot be built: what its parts alone know of their arguments."""
    try:
        return build_detector(json.loads(spec)).feature_channels
    except ModelError as error:
        return str(error)


def _stated(network: Network, keys: Sequence[str]) -> list[str]:
    """Those keys that have another value than their default."""
    return [
        key for key in keys if getattr(network, key) != Network.model_fields[key].get_default(call_default_factory=True)
    ]
