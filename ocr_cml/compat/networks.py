"""PaddleOCR's architecture section: one network without a name, or several; and the weights that they start from."""

from __future__ import annotations

import re
from typing import Any

from ocr_cml.compat.reading import Reading
from ocr_cml.model_store import is_address
from ocr_cml.yaml_source import KeyPath
from ppocr_data.errors import ConfigError

PARTS = ("Backbone", "Neck", "Head")
_BACKBONE_FILE = re.compile(
    r"(MobileNetV3|PPLCNetV3|PPHGNetV2_B4|PPHGNet_small|ResNet\d+_vd)_(?:.*_)?(?:pretrained|ocr_det)(?:\.pdparams)?"
)
# What only a detector adds to a backbone: the published file may or may not have it.
_ADDED_FOR_DETECTION = {"PPLCNetV3": ["backbone.layer_list"], "PPHGNetV2_B4": ["backbone.last_conv"]}
_WITHOUT_EFFECT = {"ResNet_vd": ("disable_se",)}


def refuse_other_models(reading: Reading) -> None:
    """Raise ConfigError for what is no DB text detector: one sentence instead of a hundred unknown keys."""
    models = reading.section("Architecture", "Models")
    several = bool(models) or reading.section("Architecture").get("name") == "DistillationModel"
    for path in (("Architecture",), *(("Architecture", "Models", name) for name in models)):
        network = reading.section(*path)
        accepted = (None, "Distillation", "DB") if several and len(path) == 1 else (None, "DB")
        for key, known in (("model_type", (None, "det")), ("algorithm", accepted)):
            if network.get(key) not in known:
                raise ConfigError(
                    reading.source.placed(
                        (*path, key),
                        f"{network[key]!r} is not supported; this package trains text detectors: model_type det, "
                        "algorithm DB, one network or several (DistillationModel)",
                    )
                )


def translate_networks(reading: Reading) -> None:
    """Name a single network `Student`, and say what is read otherwise inside each network."""
    _name_single(reading)
    frozen = []
    for name in reading.section("Architecture", "Models"):
        path = ("Architecture", "Models", name)
        network = reading.section(*path)
        _inference_model(reading, path, network)
        _arguments_without_effect(reading, path)
        if network.get("freeze_params"):
            frozen.append(name)
        if reading.section(*path, "Head").get("name") == "PFHeadLocal":
            reading.note(
                (*path, "Head"),
                "PFHeadLocal's map is the mean of the base and the refined one in training too; PaddleOCR trains both "
                "apart and answers with their mean",
            )
    if frozen:
        reading.note(
            ("Architecture", "Models", frozen[0]),
            "stays in evaluation mode while the students train; PaddleOCR's teacher runs in training mode, so its "
            "answers depend on the batch and its statistics drift",
        )


def translate_weights(reading: Reading) -> None:
    """Say what addresses mean, and let a backbone's file leave neck and head as they are."""
    shared = reading.section("Global").get("pretrained_model")
    _tell_address(reading, ("Global", "pretrained_model"), shared)
    several = len(reading.section("Architecture", "Models")) > 1
    if isinstance(shared, str) and several:
        reading.note(
            ("Global", "pretrained_model"),
            "goes into every student; PaddleOCR looks in it for names such as Student.backbone and, where there are "
            "none, goes on with random weights",
        )
    told: set[KeyPath] = set()
    for name in reading.section("Architecture", "Models"):
        path = ("Architecture", "Models", name)
        network = reading.section(*path)
        _tell_address(reading, (*path, "pretrained"), network.get("pretrained"))
        if network.get("freeze_params"):
            _frozen_in_shared(reading, path, network, shared)
        elif network:
            own = ("Global", "pretrained_model") if shared else (*path, "pretrained")
            _backbone_file(reading, path, own, shared or network.get("pretrained"), told)


def _name_single(reading: Reading) -> None:
    """`Architecture: {Backbone, Neck, Head, ...}` is the network `Student`; networks added by -o stay beside it."""
    architecture = reading.section("Architecture")
    models = architecture.get("Models")
    if not any(part in architecture for part in PARTS) or not isinstance(models, (dict, type(None))):
        return
    own = {key: value for key, value in architecture.items() if key != "Models"}
    added = models or {}
    student = added.get("Student")
    for key in own:
        reading.source.move(("Architecture", key), ("Architecture", "Models", "Student", key))
    if place := reading.source.where(("Architecture",)):
        reading.source.lines.setdefault(("Architecture", "Models", "Student"), place)
    named = {"Student": _merged(own, student) if isinstance(student, dict) else own}
    reading.source.data["Architecture"] = {
        "Models": named | {name: net for name, net in added.items() if name != "Student"}
    }


def _merged(section: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """A section with what -o gave for single keys of it, whole parts or keys of a part."""
    merged = dict(section)
    for key, value in given.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _inference_model(reading: Reading, path: KeyPath, network: dict[str, Any]) -> None:
    """`-o ...Teacher.inference_model=` replaces what the file says that teacher is made of."""
    here = (*path, "inference_model")
    replaced = [key for key in (*PARTS, "pretrained") if network.get(key) is not None]
    if network.get("inference_model") and replaced and reading.is_override(here):
        reading.note(here, f"takes the place of {', '.join(replaced)}")
        for key in replaced:
            reading.take(network, path, key)


def _arguments_without_effect(reading: Reading, path: KeyPath) -> None:
    here = (*path, "Backbone")
    backbone = reading.section(*here)
    if isinstance(backbone.get("pretrained"), bool):
        where = ".".join((*path, "pretrained"))
        reading.note(
            (*here, "pretrained"), f"is left out: PaddleOCR loads nothing for it; weights are named in {where}"
        )
        reading.take(backbone, here, "pretrained")
    for key in _WITHOUT_EFFECT.get(str(backbone.get("name")), ()):
        if key in backbone:
            reading.note((*here, key), f"is left out: {backbone['name']} has no such argument, in PaddleOCR either")
            reading.take(backbone, here, key)


def _tell_address(reading: Reading, path: KeyPath, value: Any) -> None:
    if is_address(value):
        reading.note(
            path,
            "is downloaded when it is needed, once, to a place of its own under ~/.cache/ocr_cml; PaddleOCR keeps "
            "only the file's name, so that one teacher.pdparams is taken for another",
        )


def _frozen_in_shared(reading: Reading, path: KeyPath, network: dict[str, Any], shared: Any) -> None:
    """A frozen network without weights of its own has them in the distillation checkpoint that all start from."""
    own = network.get("pretrained") or network.get("inference_model")
    if own or not isinstance(shared, str) or _backbone_of(shared):
        return
    network["pretrained"] = shared
    reading.note(
        path, f"has no weights of its own, so it takes those of its name from Global.pretrained_model, {shared}"
    )


def _backbone_file(reading: Reading, path: KeyPath, place: KeyPath, value: Any, told: set[KeyPath]) -> None:
    """PaddleOCR's ImageNet files hold a backbone only; of any other file everything must fit.

    `told` are the places of which people have been told already: one file may be for several students.
    """
    family = _backbone_of(value)
    backbone = reading.section(*path, "Backbone").get("name")
    if family is None or not isinstance(backbone, str):
        return
    network = reading.section(*path)
    if family != backbone:
        text = (
            f"{value} is a file of {family}, and the Backbone of {path[-1]} is {backbone}; PaddleOCR would start from "
            f"random weights and go on; name another file, or -o {'.'.join(place)}=null for random weights"
        )
        if place not in told:
            reading.problem(place, text)
    elif "allow_missing" not in network:
        network["allow_missing"] = ["neck", "head", *_ADDED_FOR_DETECTION.get(backbone, [])]
        if place not in told:
            reading.note(
                place,
                "is a backbone's file by its name, so neck and head may start from random weights; of other files "
                "everything must fit, where PaddleOCR takes what fits",
            )
    told.add(place)


def _backbone_of(file: Any) -> str | None:
    """The backbone that a file of PaddleOCR's holds alone, by its name; None for any other."""
    found = _BACKBONE_FILE.fullmatch(file.replace("\\", "/").rsplit("/", 1)[-1]) if isinstance(file, str) else None
    if found is None:
        return None
    return "ResNet_vd" if found[1].startswith("ResNet") else found[1]
