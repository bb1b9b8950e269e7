"""A whole training in miniature: students of 0.1 M parameters, six images of 96x96, steps of a tenth of a second."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import yaml
from safetensors.numpy import load_file

from ocr_cml import config
from ocr_cml.loop.run import RunFolder
from ocr_cml.models import Detector, build_detector
from ocr_cml.models.weight_files import save_weights
from ocr_cml.schema import Config
from ocr_cml.trainer import Trainer
from ppocr_data.loader import Batch

STUDENT: dict[str, Any] = {
    "Backbone": {"name": "MobileNetV3", "model_name": "small", "scale": 0.35, "disable_se": True},
    "Neck": {"name": "RSEFPN", "out_channels": 24, "shortcut": True},
    "Head": {"name": "DBHead", "k": 50},
}
OTHER_STUDENT: dict[str, Any] = {**STUDENT, "Neck": {"name": "DBFPN", "out_channels": 32}}
LABELS: dict[str, Any] = {"DBLoss": {}}
MUTUAL: dict[str, Any] = {"DMLLoss": {}}
TEACHER: dict[str, Any] = {"TeacherLoss": {}}
CROP = 64


def settings(
    data: Path,
    run: Path,
    *,
    terms: Sequence[dict[str, Any]] = (LABELS, MUTUAL),
    students: int = 2,
    teacher: Path | None = None,
    **sections: Any,
) -> dict[str, Any]:
    """A configuration as its YAML would be read: `sections` replaces values by dotted key, `Global__seed=3`.

    The teacher answers as a network: to convert it for `engine: auto` takes longer than all that most tests train.
    """
    names = ["Student", *(f"Student{number}" for number in range(2, students + 1))]
    models: dict[str, Any] = {name: copy.deepcopy(STUDENT) for name in names}
    if teacher is not None:
        models["Teacher"] = {
            "freeze_params": True,
            "pretrained": str(teacher),
            "engine": "layer",
            **copy.deepcopy(STUDENT),
        }
    decode = [{"DecodeImage": {"img_mode": "BGR", "channel_first": False}}]
    augment: list[dict[str, Any]] = [
        {"DetLabelEncode": None},
        {"IaaAugment": {"augmenter_args": [{"type": "Fliplr", "args": {"p": 0.5}}]}},
        {"EastRandomCropData": {"size": [CROP, CROP], "max_tries": 10, "keep_ratio": True}},
        {"MakeBorderMap": {"shrink_ratio": 0.5}},
        {"MakeShrinkMap": {"shrink_ratio": 0.5, "min_text_size": 4}},
    ]
    resize: list[dict[str, Any]] = [{"DetResizeForTest": {"limit_side_len": 96, "limit_type": "min"}}]
    made: dict[str, Any] = {
        "Global": {
            "use_gpu": False,
            "seed": 5,
            "epoch_num": 4,
            "max_steps": 3,
            "save_model_dir": str(run),
            "print_batch_step": 1,
            "eval_batch_step": [0, 100],
            "teacher_check": False,
        },
        "Architecture": {"Models": models},
        "Loss": {"loss_config_list": copy.deepcopy(list(terms))},
        "Optimizer": {"name": "Adam", "lr": {"name": "Cosine", "learning_rate": 0.003, "warmup_steps": 2}},
        "Train": {
            "dataset": {"data_dir": str(data), "label_file_list": [str(data / "train.txt")]},
            "loader": {"batch_size_per_card": 2, "num_workers": 0},
        },
        "Eval": {"dataset": {"data_dir": str(data), "label_file_list": [str(data / "val.txt")]}},
    }
    made["Train"]["dataset"]["transforms"] = decode + augment
    made["Eval"]["dataset"]["transforms"] = decode + resize
    for key, value in sections.items():
        *parents, last = key.split("__")
        node = made
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return made


def write(data: dict[str, Any], path: Path) -> Path:
    """The configuration as a file."""
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return path


def load(data: dict[str, Any], folder: Path) -> Config:
    """The configuration, validated, by way of a file in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    return config.load(write(data, folder / "given.yml"))


class Run:
    """A training in this process: `with Run(settings) as trainer: trainer.fit()`."""

    def __init__(self, data: dict[str, Any], **sections: Any) -> None:
        for key, value in sections.items():
            data["Global"][key] = value
        self.path = Path(data["Global"]["save_model_dir"])
        self.config = load(data, self.path.with_name(f"{self.path.name}-given"))

    def __enter__(self) -> Trainer:
        self._folder = RunFolder(self.config)
        try:
            return Trainer(self.config, self._folder, 0, 1, "cpu")
        except BaseException:
            self._folder.close()
            raise

    def __exit__(self, *_: object) -> None:
        self._folder.close()


def fit(data: dict[str, Any], before: Callable[[int], object] = lambda step: None, **sections: Any) -> Trainer:
    """Train to the end; the trainer as it stands then.

    Args:
        data: of `settings`.
        before: called with the number of each step, from 1, before its batch is drawn.
        sections: values of `Global`, such as `max_steps=3`.
    """
    with Run(data, **sections) as trainer:
        draw = trainer._draw

        def watched(batches: Any) -> list[Batch]:
            before(trainer.progress.step + 1)
            return draw(batches)

        trainer._draw = watched
        trainer.fit()
    return trainer


def records(run: Path, kind: str = "step") -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl` that have this key, without times."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in line.items() if not k.endswith("seconds")} for line in lines if kind in line]


def states(trainer: Trainer) -> dict[str, np.ndarray]:
    """Everything that learns, students and connectors, by one name each."""
    layers = dict(trainer.cohort.students)
    for name in trainer.cohort.students:
        layers |= trainer.cohort.connectors(name)
    return {f"{owner}/{key}": value for owner, layer in layers.items() for key, value in state_of(layer).items()}


def saved(run: Path) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of a run's `latest/`, by file."""
    return {file.name: load_file(file) for file in (run / "latest").glob("*.safetensors")}


def teacher_weights(path: Path, seed: int = 77) -> Path:
    """Weights of a tiny network whose map is not flat, as a file."""
    paddle.seed(seed)
    network = build_detector(STUDENT)
    sharpen(network)
    save_weights({name: value.numpy() for name, value in network.state_dict().items()}, path)
    return path


@paddle.no_grad()
def sharpen(network: Detector, factor: float = 400.0) -> None:
    """Spread a fresh network's map over (0, 1), which else lies around one half everywhere."""
    weight = network.head.binarize.conv3.weight
    paddle.assign(weight * factor, weight)


@paddle.no_grad()
def set_places_apart(network: Detector) -> None:
    """Give each place that a pixel becomes weights of its own, as in a trained head; from scratch they start alike."""
    for layer in network.sublayers():
        if isinstance(layer, paddle.nn.Conv2DTranspose):
            layer.weight.set_value(paddle.randn(layer.weight.shape) / layer.weight.shape[0] ** 0.5)
            layer.bias.set_value(paddle.randn(layer.bias.shape))


@paddle.no_grad()
def say(network: Detector, logit: float) -> None:
    """Make a network answer with one logit everywhere."""
    last = network.head.binarize.conv3
    paddle.assign(paddle.zeros_like(last.weight), last.weight)
    paddle.assign(paddle.full_like(last.bias, logit), last.bias)


def answering(logit: float, path: Path) -> Path:
    """Weights of a network that answers with one logit everywhere, as a file."""
    paddle.seed(1)
    network = build_detector(STUDENT)
    say(network, logit)
    save_weights(state_of(network), path)
    return path


def batch(count: int = 2, seed: int = 0, *, labelled: Sequence[bool] | None = None, size: int = CROP) -> Batch:
    """Noise images with a rectangle of text, its border and a don't-care corner; lower from image to image."""
    rng = np.random.default_rng(seed)
    maps = {name: np.zeros((count, size, size), np.uint8) for name in ("text", "value", "border")}
    care = np.ones((count, size, size), np.uint8)
    for index in range(count):
        top = 8 + 4 * index
        maps["border"][index, top - 3 : top + 19, 5:47] = 1
        maps["value"][index, top - 3 : top + 19, 5:47] = 150 + 10 * index
        maps["text"][index, top : top + 16, 8:44] = 1
        care[index, size - 9 :, size - 12 :] = 0
    return Batch(
        image=rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8),
        shrink_map=maps["text"],
        shrink_mask=care,
        threshold_map=maps["value"],
        threshold_mask=maps["border"],
        has_label=np.ones(count, bool) if labelled is None else np.array(labelled, bool),
        sources=[f"labels.txt:{index + 1}" for index in range(count)],
    )


def whole_images(folder: Path, tiny_set: Path) -> dict[str, Any]:
    """Two evaluation images, as keys of `Eval.dataset`: text that fills the first, none on the second."""
    box = json.dumps([{"transcription": "text", "points": [[1, 1], [94, 1], [94, 94], [1, 94]]}])
    path = folder / "whole.txt"
    path.write_text(f"{tiny_set}/val/000000.jpg\t{box}\n{tiny_set}/val/000001.jpg\t[]\n")
    return {"label_file_list": [str(path)], "allow_outside": True}


def state_of(layer: paddle.nn.Layer) -> dict[str, np.ndarray]:
    """Copies of a network's parameters and running statistics."""
    return {name: value.numpy().copy() for name, value in layer.state_dict().items()}


def assert_same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    """Both hold the same arrays, bit for bit."""
    assert first.keys() == second.keys()
    differing = [name for name in first if not np.array_equal(first[name], second[name])]
    assert not differing, f"{len(differing)} of {len(first)} arrays differ: {differing[:5]}"
