"""PaddleOCR's loss section: one loss by name, or a list of `Distillation...` terms -> this package's terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ocr_cml.compat.reading import Reading
from ocr_cml.yaml_source import KeyPath

_MAPS = {"thrink_maps": "shrink", "shrink_maps": "shrink", "threshold_maps": "threshold", "binary_maps": "binary"}
_IGNORED_BY_PADDLEOCR = ("balance_loss", "main_loss_type", "alpha", "beta", "ohem_ratio", "eps")


def translate_loss(reading: Reading) -> None:
    """Turn the section into a CombinedLoss of native terms. What is not known stays, for the schema to refuse."""
    _wrap_single(reading)
    ignored: dict[str, None] = {}
    for path, name, arguments in list(reading.steps("Loss", "loss_config_list")):
        if name not in _TERMS:
            continue
        native, read_arguments = _TERMS[name]
        read_arguments(reading, path, arguments)
        if name != "DistillationDMLLoss":
            ignored |= dict.fromkeys(key for key in _IGNORED_BY_PADDLEOCR if key in arguments)
        reading.source.data["Loss"]["loss_config_list"][int(path[2])] = {native: arguments}
        reading.source.move(path, (*path[:-1], native))
    if ignored:
        reading.note(
            ("Loss", "loss_config_list"),
            f"{', '.join(ignored)} of the distillation losses are honoured; PaddleOCR reads them and computes with "
            "alpha 5, beta 10, ohem_ratio 3 and DiceLoss whatever they say",
        )


def _wrap_single(reading: Reading) -> None:
    """`Loss: {name: DBLoss, ...}` is a list of one term."""
    loss = reading.section("Loss")
    name = loss.get("name")
    if "loss_config_list" in loss or not isinstance(name, str) or name == "CombinedLoss":
        return
    own = {key: value for key, value in loss.items() if key in ("update",)}
    arguments = {key: value for key, value in loss.items() if key not in ("name", *own)}
    place = reading.source.lines.pop(("Loss", "name"), None)
    path: KeyPath = ("Loss", "loss_config_list", "0", name)
    for key in arguments:
        reading.source.move(("Loss", key), (*path, key))
    for length in range(2, len(path) + 1) if place else ():
        reading.source.lines[path[:length]] = str(place)
    reading.source.data["Loss"] = {"name": "CombinedLoss", **own, "loss_config_list": [{name: arguments}]}


def _supervised(reading: Reading, path: KeyPath, arguments: dict[str, Any]) -> None:
    for key in ("name", "key"):
        reading.take(arguments, path, key)


def _teacher(reading: Reading, path: KeyPath, arguments: dict[str, Any]) -> None:
    reading.take(arguments, path, "name")
    key = reading.take(arguments, path, "key")
    if key not in ("maps", None):
        reading.problem(path, f"key: {key} is no output of a detector that can be compared; write key: maps")
    if "beta" in arguments:
        reading.note((*path, "beta"), "is left out: the term compares no threshold map, which is what beta weighs")
        reading.take(arguments, path, "beta")
    _pairs(reading, path, arguments)
    arguments.setdefault("kind", "dilated")
    if arguments["kind"] == "dilated" and "dilation" not in arguments:
        arguments["dilation"] = 2
        reading.note(
            path,
            "the teacher's text grows by a pixel on every side; PaddleOCR's 2x2 kernel grows it to the right and "
            "downwards, which moves every box by half a pixel",
        )


def _mutual(reading: Reading, path: KeyPath, arguments: dict[str, Any]) -> None:
    key = arguments.get("key")
    if key not in ("maps", None):
        reading.problem(
            (*path, "key"),
            f"{key!r} compares features, which DistillationDMLLoss cannot do between detectors; write key: maps, or "
            "use ATLoss, NSTLoss, RKDLoss, OFDLoss or AFDLoss with a teacher",
        )
    for flag in ("use_log", "multi_head"):
        if arguments.get(flag):
            reading.problem((*path, flag), "is for text recognisers and undefined on a detector's maps; remove it")
    for name in ("key", "use_log", "multi_head", "dis_head", "name"):
        reading.take(arguments, path, name)
    _activation(reading, path, arguments)
    _maps(reading, path, arguments)
    _pairs(reading, path, arguments)
    if "divergence" not in arguments:
        arguments["divergence"] = "ppocr"
        reading.note(
            path,
            "is computed by PaddleOCR's formula (divergence: ppocr), which leaves out the part of 1 - p; the whole "
            "divergence of the paper is -o Loss.loss_config_list.DistillationDMLLoss.divergence=kl",
        )
    _several_peers(reading, path, arguments)
    reading.note(
        path,
        "the total loss is one number; PaddleOCR's has one for each image beside this term, and their sum makes "
        "gradients grow with the batch size",
    )


def _several_peers(reading: Reading, path: KeyPath, arguments: dict[str, Any]) -> None:
    given = arguments.get("model_name_pairs")
    pairs = [pair for pair in given if isinstance(pair, list)] if isinstance(given, list) else []
    names = [str(name) for pair in pairs for name in pair]
    most = max((names.count(name) for name in names), default=0)
    if most > 1:
        reading.note(
            (*path, "model_name_pairs"),
            f"a student of {most} pairs learns from the mean of its {most} peers; PaddleOCR adds them up, as a weight "
            f"{most} times as large would",
        )


def _activation(reading: Reading, path: KeyPath, arguments: dict[str, Any]) -> None:
    here = (*path, "act")
    act = arguments.get("act")
    if act == "softmax":
        reading.problem(
            here,
            "softmax runs over the width of the image here and makes the term vanish (about 0.0001); remove act: the "
            "maps are probabilities already",
        )
    elif act == "sigmoid":
        reading.note(
            here,
            "is left out: the maps are probabilities already, and a second sigmoid, as PaddleOCR takes it, presses "
            "them into 0.5 to 0.73",
        )
    elif act not in (None, "None", ""):
        reading.problem(here, f"{act!r} is unknown; remove act: the maps are probabilities already")
    reading.take(arguments, path, "act")


def _maps(reading: Reading, path: KeyPath, arguments: dict[str, Any]) -> None:
    """`maps_name`, one name or a list, becomes `maps`."""
    here = (*path, "maps_name")
    given = arguments.get("maps_name")
    names = given if isinstance(given, list) else [given]
    unknown = [name for name in names if not (isinstance(name, str) and name in _MAPS)]
    if unknown and given is not None:
        reading.problem(here, f"no map is called {unknown[0]!r}; choose thrink_maps, threshold_maps or binary_maps")
    elif not given:
        if "maps" not in arguments:
            arguments["maps"] = ["shrink", "threshold", "binary"]
            reading.note(
                path,
                "without maps_name all three maps are compared, each by its mean; PaddleOCR sums over the columns of "
                "the image instead",
            )
    elif "maps" in arguments:
        reading.note(here, "is left aside, because maps is given")
    else:
        maps = list(dict.fromkeys(_MAPS[str(name)] for name in names))
        reading.note(here, _about_maps(given, maps))
        arguments["maps"] = maps
    reading.take(arguments, path, "maps_name")


def _about_maps(given: Any, maps: list[str]) -> str:
    text = f"{given if isinstance(given, str) else ', '.join(given)} is read as maps: [{', '.join(maps)}]"
    if isinstance(given, list):
        return f"{text}; PaddleOCR finds no map in a list and computes 0"
    if given == "shrink_maps":
        return f"{text}; PaddleOCR knows it as thrink_maps only and computes 0 for this spelling"
    return text + ("; the name is PaddleOCR's spelling of shrink" if given == "thrink_maps" else "")


def _pairs(reading: Reading, path: KeyPath, arguments: dict[str, Any]) -> None:
    """One flat pair is a list of one; PaddleOCR's own files write the key twice, which is forgiven if they agree."""
    here = (*path, "model_name_pairs")
    if "model_name_pairs" in arguments:
        arguments["model_name_pairs"] = _nested(arguments["model_name_pairs"])
    if here not in reading.source.repeats:
        return
    if reading.is_override(here) or _nested(reading.source.repeats[here]) == arguments.get("model_name_pairs"):
        repeated = f"{'.'.join(here)}: written twice"
        reading.source.problems[:] = [text for text in reading.source.problems if not text.startswith(repeated)]
        reading.note(here, "is written twice with one meaning; keep one")


def _nested(pairs: Any) -> Any:
    return [pairs] if isinstance(pairs, list) and pairs and all(isinstance(name, str) for name in pairs) else pairs


_TERMS: dict[str, tuple[str, Callable[[Reading, KeyPath, dict[str, Any]], None]]] = {
    "DistillationDBLoss": ("DBLoss", _supervised),
    "DistillationDilaDBLoss": ("TeacherLoss", _teacher),
    "DistillationDMLLoss": ("DMLLoss", _mutual),
}
