"""Images: how they become a network's input, those of the training, and those of the evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ocr_cml.assemble.seeds import mixed
from ocr_cml.log import LOG
from ocr_cml.progress_bar import progress_bar
from ocr_cml.run_files import METRICS
from ocr_cml.runtime import Normalization
from ocr_cml.schema import Config
from ppocr_data import synth
from ppocr_data.dataset import DetDataset, EvalDataset
from ppocr_data.errors import DataError
from ppocr_data.folders import visible_files
from ppocr_data.labels import of_other_kinds, read_images
from ppocr_data.op import first_of
from ppocr_data.targets import MakeShrinkMap
from ppocr_data.transforms import DetResizeForTest, NormalizeImage, build_op, build_ops

_UNLABELLED = 2000
"""Seeds the samples of the unlabelled images apart from the labelled ones' and from the networks'."""


def normalization(config: Config) -> Normalization:
    """How pixels become the students' input, as the training transforms state it."""
    op = first_of(map(build_op, config.Train.dataset.transforms), NormalizeImage)
    return Normalization() if op is None else Normalization(op.mean, op.std, op.scale)


def resize_rule(config: Config) -> DetResizeForTest:
    """The one resize rule of evaluation, export and inference."""
    rule = first_of(map(build_op, config.Eval.dataset.transforms), DetResizeForTest)
    assert rule is not None, "the configuration was checked to have one"
    return rule


def shrink_rule(config: Config) -> MakeShrinkMap:
    """How the labels' text is shrunk in training."""
    rule = first_of(map(build_op, config.Train.dataset.transforms), MakeShrinkMap)
    assert rule is not None, "the configuration was checked to have one"
    return rule


def prepare_embedded_set(config: Config, *, training: bool = True) -> None:
    """Make the synthetic set where what is to be read lies in its folder and it is not there yet.

    Not where a label file elsewhere is missing: what is refused anyway replaces nothing. Without `training` the
    evaluation images alone are read.
    """
    embedded = config.Global.embedded_set
    if embedded is None:
        return
    train, evaluated = config.Train.dataset, config.Eval.dataset
    sets = [(evaluated.label_file_list, evaluated.data_dir)]
    if training and train.label_file_list:
        sets.append((train.label_file_list, train.data_dir))
    read = [Path(path) for files, folder in sets for path in (*files, folder)]
    if training and config.Train.unlabeled:
        read += [Path(path) for path in config.Train.unlabeled.images]
    inside = [Path(embedded.dir) in (path, *path.parents) for path in read]
    if any(inside) and all(within or path.exists() for path, within in zip(read, inside, strict=True)):
        with progress_bar("making the synthetic set") as progress:
            synth.ensure(
                Path(embedded.dir),
                train=embedded.train,
                val=embedded.val,
                size=(embedded.size[1], embedded.size[0]),
                seed=embedded.seed,
                fonts=Path(embedded.fonts) if embedded.fonts else None,
                progress=progress,
            )


def labelled_dataset(config: Config) -> DetDataset | None:
    """The labelled training images with their augmentation and targets; None where all images are unlabelled."""
    section = config.Train.dataset
    if not section.label_file_list:
        return None
    return DetDataset.from_label_files(
        section.label_file_list,
        section.data_dir,
        build_ops(section.transforms),
        ratio_list=section.ratio_list or 1.0,
        seed=config.Global.seed,
        on_bad=section.on_bad_sample,
        allow_outside=section.allow_outside,
    )


def unlabelled_dataset(config: Config) -> DetDataset | None:
    """The training images without labels, or None."""
    section = config.Train.unlabeled
    if section is None:
        return None
    transforms = section.transforms or config.Train.dataset.transforms
    images: list[Path] = []
    pictures = 0
    for entry in section.images:
        kept, of_runs, others = _images_of(Path(entry))
        if of_runs:
            LOG.info("left out: %d images in run folders below %s", of_runs, entry)
        if others:
            LOG.info("left out: %s below %s", others, entry)
        images += kept
        pictures += of_runs
    if not images:
        but = f" but {pictures} in run folders, which are left out" if pictures else ""
        raise DataError(f"Train.unlabeled.images: there is no image in {', '.join(section.images)}{but}")
    return DetDataset.from_images(
        images,
        build_ops(transforms),
        seed=mixed(config.Global.seed, _UNLABELLED),
        on_bad=section.on_bad_sample,
    )


def unlabelled_images(config: Config) -> list[Path]:
    """The images that `Train.unlabeled` names, in their order. Raises DataError where one cannot be read."""
    section = config.Train.unlabeled
    return [path for entry in section.images for path in _images_of(Path(entry))[0]] if section else []


def names_digest(images: Iterable[Path]) -> str:
    """SHA-256 of images' names, in their order; of none the empty text."""
    names = "\n".join(path.name for path in images)
    return hashlib.sha256(names.encode("utf-8", "backslashreplace")).hexdigest() if names else ""


def labels_digest(files: Sequence[str]) -> str:
    """SHA-256 of label files' lines, however they end; of no file the empty text."""
    digest = hashlib.sha256()
    for path in files:
        lines = Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
        digest.update(hashlib.sha256(b"\n".join(line.strip() for line in lines if line.strip())).digest())
    return digest.hexdigest() if files else ""


def batch_of(config: Config) -> tuple[int, int]:
    """Labelled and unlabelled samples of a batch of one process."""
    train = config.Train
    labelled = train.loader.batch_size_per_card if train.dataset.label_file_list else 0
    return labelled, train.unlabeled.batch_size_per_card if train.unlabeled else 0


def samples_a_step(config: Config, processes: int) -> tuple[int, int]:
    """Labelled and unlabelled samples of an optimizer step, in all processes and with accumulation."""
    (labelled, unlabelled), times = batch_of(config), processes * config.Optimizer.accumulate
    return labelled * times, unlabelled * times


def _images_of(entry: Path) -> tuple[list[Path], int, str]:
    """The images that one entry of `Train.unlabeled.images` names, and what was left out of its folder.

    A run's folder below a folder of images is left out: the pictures of its report are those of held-out images.

    Returns:
        the images, how many more lie in runs' folders, and how many other files elsewhere are none, in words.
    """
    if entry.is_dir():
        found, files = [sample.image for sample in read_images(entry)], list(visible_files(entry))
        folders = {path.parent for path in files}
        of_runs = {folder for folder in folders if any(map(_is_run, _between(folder, entry)))}
        kept = [path for path in found if path.parent not in of_runs]
        others = of_other_kinds(path for path in files if path.parent not in of_runs)
        return kept, len(found) - len(kept), others
    if entry.suffix != ".txt":
        return [entry], 0, ""
    try:
        lines = entry.read_text(encoding="utf-8-sig").split("\n")  # str.splitlines parts names at U+2028 as well
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Train.unlabeled.images: {entry} cannot be read: {error}") from None
    for number, line in enumerate(lines, start=1):
        if "\t" in line.strip():
            raise DataError(
                f"Train.unlabeled.images: {entry}:{number}: has more than a path, as a label file's lines have; a list "
                "names one image a line, relative to its own folder (or name the folder of the images)"
            )
    return [entry.parent / line.strip() for line in lines if line.strip()], 0, ""


def _between(folder: Path, top: Path) -> list[Path]:
    """A folder and those above it, below `top`."""
    return [above for above in (folder, *folder.parents) if top in above.parents]


def _is_run(folder: Path) -> bool:
    return (folder / METRICS).is_file()


def eval_dataset(config: Config) -> EvalDataset:
    """The evaluation images at network size."""
    section = config.Eval.dataset
    return EvalDataset.from_label_files(
        section.label_file_list,
        section.data_dir,
        build_ops(section.transforms),
        allow_outside=section.allow_outside,
    )


def check_images(config: Config, count: int = 4) -> list[np.ndarray]:
    """A few evaluation images `[H,W,3]` at network size, to compare an export on.

    Raises:
        DataError: the evaluation images are not there.
    """
    dataset = eval_dataset(config)
    return [dataset[index]["image"] for index in range(min(count, len(dataset)))]
