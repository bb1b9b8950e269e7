"""From a network to a folder that Paddle Inference, ONNX Runtime and PaddleOCR run; checked, then put in place."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import paddle
from paddle import Tensor, nn

from ocr_cml import inference_yml
from ocr_cml.inference_yml import InferenceConfig
from ocr_cml.log import LOG
from ocr_cml.normalization import Normalization
from ocr_cml.paddle_to_onnx import ConversionError, NoRoomError, to_onnx
from ocr_cml.postprocess import DBPostProcess
from ocr_cml.run_files import is_checkpoint
from ocr_cml.runtime import open_detector, probe_images
from ppocr_data.errors import ModelError
from ppocr_data.locks import is_held, lock
from ppocr_data.transforms import DetResizeForTest

MAP_TOLERANCE = 1e-4
"""How far rounding moves the map of a network that has settled; a map that lies further away is told."""

MAP_LIMIT = 1e-3
"""A map that lies further away is refused, whatever its boxes: the runtime demands no less of two engines."""

# inference.yml goes first: by it a folder is known as ours, that of an export which was cut short as well.
PRODUCTS = (inference_yml.FILE_NAME, "inference.pdiparams", "inference.json", "inference.onnx")
_WORKSPACE, _LOCK = ".export-", ".lock"


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how well it answers.

    Attributes:
        folder: where it lies.
        map_difference: largest absolute difference between the network's maps and those of both engines.
        boxes: boxes found in the check images, the same by the network and both engines.
        images: check images.
        runtime_call: the expression that runs the folder with PaddleOCR and gives these boxes.
    """

    folder: Path
    map_difference: float
    boxes: int
    images: int
    runtime_call: str


class Ensemble(nn.Layer):
    """The mean of the probability maps of K networks, as one network: `[N,3,H,W]` -> `[N,1,H,W]`."""

    def __init__(self, networks: Sequence[nn.Layer]) -> None:
        super().__init__()
        if not networks:
            raise ModelError("an ensemble needs at least one network")
        self.networks = nn.LayerList(networks)

    def forward(self, x: Tensor) -> Tensor:
        return paddle.add_n([network.probability(x) for network in self.networks]) / len(self.networks)

    def probability(self, x: Tensor) -> Tensor:
        """The same as calling it."""
        return self.forward(x)

    def fuse_for_export(self) -> Ensemble:
        """The mean of fused copies."""
        return Ensemble([_deployable(network) for network in self.networks])


class _Probability(nn.Layer):
    """The exported graph: of all that a detector says, only its probability map leaves."""

    def __init__(self, network: nn.Layer) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self.network, "probability"):
            return self.network.probability(x)
        return self.network(x)


def export_detector(
    network: nn.Layer,
    folder: Path | str,
    *,
    normalization: Normalization,
    postprocess: DBPostProcess,
    resize: DetResizeForTest,
    check_images: Sequence[np.ndarray],
    model_name: str = inference_yml.MODEL_NAME,
) -> ExportReport:
    """Write inference.json, .pdiparams, .onnx and .yml, and put them in place only if they answer as the network does.

    The network itself is left as it is. Other files in the folder stay.

    Args:
        network: `[N,3,H,W]` -> `[N,1,H,W]`, or with a method `probability` that does so; H and W multiples of 32.
        folder: where to; made if need be.
        normalization, postprocess, resize: stated in inference.yml.
        check_images: uint8 BGR `[H,W,3]` of any size, on which network and product are compared; a picture of our own
            where there is none.
        model_name: the name that PaddleOCR's runtime registers its defaults under; one of its own.

    Raises:
        ModelError: the product differs, or cannot be made, or the folder holds a model that was not exported here: what
            lay in it before is whole. Or it cannot be put in place; a folder in which that was cut short has no
            program, and does not open, rather than old weights under new settings.
    """
    folder = Path(folder)
    _refuse_foreign(folder)
    config = InferenceConfig(model_name, normalization, resize, postprocess)
    call = inference_yml.runtime_call(config, str(folder))
    images = list(check_images) or [probe_images()[0]]
    try:
        with _workspace(folder) as workspace, _on_cpu():
            graph = save_graph(network, workspace / "inference")
            _refuse_cut_short(workspace / "inference.json")
            _complete(config, workspace)
            difference, boxes = _check(graph, config, workspace, images)
            _put_in_place(workspace, folder)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be written ({error.strerror or error})") from error
    return ExportReport(folder, difference, boxes, len(images), call)


def _refuse_cut_short(program: Path) -> None:
    """Paddle writes as much of a program as the disk takes, and says nothing."""
    try:
        json.loads(program.read_bytes())
    except ValueError:
        raise ModelError(f"{program.name} was cut short as it was written; is the disk full?") from None


def _refuse_foreign(folder: Path) -> None:
    """A model that came from elsewhere, a teacher perhaps, is not replaced; a checkpoint is, with what lies in it."""
    if is_checkpoint(folder):
        raise ModelError(
            f"Global.save_inference_dir: {folder} is a checkpoint, which its training replaces; choose another folder"
        )
    found = [name for name in ("inference.pdmodel", *reversed(PRODUCTS)) if (folder / name).exists()]
    if found and not inference_yml.is_ours(folder / inference_yml.FILE_NAME):
        raise ModelError(
            f"Global.save_inference_dir: {folder} holds a model that this tool did not export ({found[0]}); choose "
            "another folder"
        )


def _put_in_place(workspace: Path, folder: Path) -> None:
    settings, *model = PRODUCTS
    (workspace / settings).replace(folder / settings)
    for name in model:  # before any is new: none of them answers rightly under these settings
        (folder / name).unlink(missing_ok=True)
    for name in model:
        (workspace / name).replace(folder / name)


def save_graph(network: nn.Layer, path: Path) -> nn.Layer:
    """Write `path`.json and `path`.pdiparams, with free N, H and W; returns the network that was traced, in eval."""
    graph = _Probability(_deployable(network))
    graph.eval()
    spec = paddle.static.InputSpec([None, 3, None, None], "float32", name="x")
    paddle.jit.save(graph, str(path), input_spec=[spec])
    return graph


def _deployable(network: nn.Layer) -> nn.Layer:
    """A copy on the CPU, with parallel branches fused where it can."""
    ready = network.fuse_for_export() if hasattr(network, "fuse_for_export") else copy.deepcopy(network)
    return ready.to(device="cpu")


def _complete(config: InferenceConfig, workspace: Path) -> None:
    """Add inference.onnx and inference.yml to Paddle's two files."""
    try:
        converted = to_onnx(workspace / "inference.json", workspace / "inference.pdiparams")
    except NoRoomError:
        raise  # told as any file that cannot be written
    except ConversionError as error:
        raise ModelError(f"the network cannot be converted to ONNX: {error}") from error
    (workspace / "inference.onnx").write_bytes(converted)
    inference_yml.write(config, workspace / inference_yml.FILE_NAME)


_UNSETTLED = (
    "so does a network of a training's first steps, whose running statistics do not fit yet, by rounding alone: train "
    "it further, or export another checkpoint or student"
)


def _check(
    graph: nn.Layer, config: InferenceConfig, workspace: Path, images: Sequence[np.ndarray]
) -> tuple[float, int]:
    """Compare what was written, read back from the disk, with the network: (largest difference, boxes)."""
    stated = replace(config, resize=inference_yml.canonical(config.resize))
    if inference_yml.read(workspace / inference_yml.FILE_NAME) != stated:
        raise ModelError("inference.yml does not read back as what was exported; the resize rule has no runtime form")
    largest, boxes = 0.0, 0
    engines = [open_detector(workspace, engine) for engine in ("paddle", "onnx")]
    for number, image in enumerate(images):
        pixels = config.resize.resize(image)[None]
        with paddle.no_grad():
            expected = graph(paddle.to_tensor(config.normalization.apply(pixels))).numpy()[0, 0]
        found = config.postprocess(expected, image.shape[:2])[0]
        boxes += len(found)
        for detector in engines:
            answer = detector.probability(pixels)[0]
            difference = float(np.abs(answer - expected).max())
            where = f"check image {number + 1} of {len(images)}, {detector.engine}"
            if not difference <= MAP_LIMIT:
                raise ModelError(
                    f"{where}: the map differs from the network's by {difference:.2g} > {MAP_LIMIT:g}; {_UNSETTLED}"
                )
            if not _same_boxes(expected, answer, image.shape[:2], config.postprocess, found):
                raise ModelError(
                    f"{where}: the boxes differ from the network's by more than pixels on the threshold; {_UNSETTLED}"
                )
            largest = max(largest, difference)
    if largest > MAP_TOLERANCE:
        LOG.warning(
            "maps differ from the network's by up to %.1e, more than rounding does in a network that has settled; the "
            "%d boxes of %d check images are the same",
            largest,
            boxes,
            len(images),
        )
    return largest, boxes


def _same_boxes(
    expected: np.ndarray, answer: np.ndarray, image_hw: tuple[int, int], post: DBPostProcess, found: list[np.ndarray]
) -> bool:
    """Whether two maps give the same boxes.

    A pixel may lie so near the threshold that rounding puts it on either side, which can move a corner by a pixel. Such
    pixels, nearer than the maps' own difference, are decided as in the expected map.
    """
    if _equal(post(answer, image_hw)[0], found):
        return True
    undecided = np.abs(expected - np.float32(post.thresh)) <= np.abs(answer - expected).max()
    return _equal(post(np.where(undecided, expected, answer), image_hw)[0], found)


def _equal(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) and all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


@contextlib.contextmanager
def _workspace(folder: Path) -> Iterator[Path]:
    """A new folder inside the target, on the same disk so that a rename puts files in place; removed in the end."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{_WORKSPACE}*"):
        if is_held(left / _LOCK) is False:  # an export was killed; the system has dropped its lock
            shutil.rmtree(left, ignore_errors=True)
    workspace = Path(tempfile.mkdtemp(prefix=_WORKSPACE, dir=folder))
    try:
        with (workspace / _LOCK).open("w+") as held:
            lock(held)
            yield workspace
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


@contextlib.contextmanager
def _on_cpu() -> Iterator[None]:
    """The comparison is made on the CPU: a GPU's convolutions round to less than the tolerance."""
    device = paddle.get_device()
    paddle.set_device("cpu")
    try:
        yield
    finally:
        paddle.set_device(device)
