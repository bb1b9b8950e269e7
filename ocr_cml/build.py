"""From a Config to objects: students with their weights, teachers that answer, bound terms, data."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import paddle

from ocr_cml import model_store
from ocr_cml.binding import TEACHERS, bind, split_arguments
from ocr_cml.cohort import BoundTerm, Cohort
from ocr_cml.environment import process_threads
from ocr_cml.fastest import fastest
from ocr_cml.losses import TERMS
from ocr_cml.losses.base import FeatureTerm
from ocr_cml.models import build_detector
from ocr_cml.models.detector import Detector
from ocr_cml.models.weights import (
    UNUSED_WHEN_FROZEN,
    LoadReport,
    find_weights,
    load_into,
    read_weights,
    select,
    under,
)
from ocr_cml.runtime import FrozenDetector, LayerDetector, Normalization, open_detector
from ocr_cml.schema import Config, Network
from ocr_cml.side_by_side import SideBySide
from ppocr_data import synth
from ppocr_data.dataset import DetDataset, EvalDataset
from ppocr_data.errors import ConfigError, DataError, WeightsError
from ppocr_data.labels import read_images
from ppocr_data.spelling import hint
from ppocr_data.transforms import DetResizeForTest, NormalizeImage, build_op

_UNLABELLED = 2000
"""Seeds the samples of the unlabelled images apart from the labelled ones' and from the networks'."""


def use_device(config: Config) -> str:
    """Choose the device that Global.use_gpu names; returns `cpu` or `gpu:N`."""
    wanted = config.Global.use_gpu
    present = paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if wanted is True and not present:
        raise ConfigError(
            "Global.use_gpu: true, but this machine or this build of paddle has no GPU; use auto, "
            "or install requirements-gpu.txt"
        )
    use = present if wanted == "auto" else bool(wanted)
    return paddle.set_device("gpu" if use else "cpu") and paddle.get_device()


def normalization(config: Config) -> Normalization:
    """How pixels become the students' input, as the training transforms state it."""
    for entry in config.Train.dataset.transforms:
        op = build_op(entry)
        if isinstance(op, NormalizeImage):
            return Normalization(op.mean, op.std, op.scale)
    return Normalization()


def resize_rule(config: Config) -> DetResizeForTest:
    """The one resize rule of evaluation, export and inference."""
    ops = [build_op(entry) for entry in config.Eval.dataset.transforms]
    return next(op for op in ops if isinstance(op, DetResizeForTest))


# --- networks --------------------------------------------------------------------------------------------------------


def build_students(
    config: Config, without: Collection[str] = (), *, trained: bool = False
) -> tuple[dict[str, Detector], dict[str, LoadReport]]:
    """Every student with its initial weights, and what was loaded into which.

    The weights come from `Global.pretrained_model` (a file for all, or a run's folder with one for each), else from the
    student's own `pretrained`, else from the seed: student i is initialised from (seed, i), whoever its peers are, so a
    student alone starts from the weights that it would have in a cohort. `without` names those that are not wanted.

    `trained` says that the weights are a training's result and not its start: they must be whole, whatever a start is
    allowed to lack (`allow_missing`, `pretrained_share`) or to leave aside (`fresh`).
    """
    students: dict[str, Detector] = {}
    reports: dict[str, LoadReport] = {}
    for position, (name, network) in enumerate(config.students.items()):
        if name in without:
            continue
        paddle.seed(_mixed(config.Global.seed, position))
        students[name] = build_detector(network.spec)
        where = config.Global.pretrained_model or network.pretrained
        if where:
            reports[name] = (load_trained if trained else load_student)(students[name], name, network, where)
    return students, reports


def load_student(student: Detector, name: str, network: Network, where: str) -> LoadReport:
    """Load a student's start from a weight file (a path, or an address) or from a run's folder.

    Raises:
        ConfigError: `fresh` or `allow_missing` name no part of the network or the file.
        WeightsError: there is no such file, or keys do not fit.
    """
    weights, rest = select(read_weights(model_store.weight_file(where), name), name)
    _check_prefixes([*student.state_dict(), *weights], name, network)
    report = load_into(
        student,
        {key: value for key, value in weights.items() if not under(key, network.fresh)},
        frozen=False,
        min_share=network.pretrained_share,
        allow_missing=[*network.allow_missing, *network.fresh],
        source=where,
    )
    return replace(report, left_aside=rest)


def load_trained(student: Detector, name: str, network: Network, where: str) -> LoadReport:
    """Load what a training made of a student: all that it answers with.

    Raises:
        WeightsError: there is no such file, or it is not whole.
    """
    weights, rest = select(read_weights(model_store.weight_file(where), name), name)
    report = load_into(student, weights, frozen=False, allow_missing=UNUSED_WHEN_FROZEN, source=where)
    return replace(report, left_aside=rest)


def _check_prefixes(keys: Collection[str], name: str, network: Network) -> None:
    """A misspelled part would be loaded, or be missed, against what the user wrote."""
    usual = Network.model_fields["allow_missing"].default
    for field, prefixes in (("fresh", network.fresh), ("allow_missing", network.allow_missing)):
        for prefix in prefixes:
            if prefix not in usual and not any(under(key, [prefix]) for key in keys):
                parts = sorted({".".join(key.split(".")[:depth]) for key in keys for depth in (1, 2)})
                raise ConfigError(
                    f"Architecture.Models.{name}.{field}: {prefix!r} is no part of this network; "
                    f"{hint(prefix, parts, 'its parts are')}"
                )


def refuse_twins(cohort: Cohort) -> list[str]:
    """Students that start from the same weights see the same images and stay the same for ever: mutual learning is off.

    Returns:
        A warning for each pair whose maps are the same at the start and that drift apart through the threshold branch
        alone, as students do that all start from one exported model.

    Raises:
        WeightsError: a mutual term binds two students that are the same in everything.
    """
    pairs = {(term.binding.learner, term.binding.guide) for term in cohort.terms}
    warnings = []
    for (one, a), (other, b) in itertools.combinations(cohort.students.items(), 2):
        differing = _differing(a, b)
        if not {(one, other), (other, one)} & pairs or any(not key.startswith("head.thresh") for key in differing):
            continue
        remedy = (
            f"give one another `pretrained`, or let a part of it start from the seed: "
            f"-o Architecture.Models.{other}.fresh=[head]"
        )
        if not differing:
            raise WeightsError(
                f"{one} and {other} start from the same weights, so they stay the same and have nothing to teach each "
                f"other; {remedy}"
            )
        warnings.append(
            f"{one} and {other} answer alike at the start (only head.thresh differs), so mutual learning begins at "
            f"zero and grows slowly; {remedy}"
        )
    return warnings


def _differing(a: Detector, b: Detector) -> list[str]:
    """The weights that two networks do not share."""
    ours, theirs = a.state_dict(), b.state_dict()
    shared = [key for key in ours if key in theirs and ours[key].shape == theirs[key].shape]
    unlike = [key for key in shared if not bool((ours[key] == theirs[key]).all())]
    return unlike + sorted((ours.keys() | theirs.keys()) - set(shared))


def build_teachers(
    config: Config, threads: int, device: str
) -> tuple[dict[str, tuple[FrozenDetector, float]], dict[str, LoadReport]]:
    """Every frozen network, ready to answer, with its weight among several; and what was loaded."""
    teachers: dict[str, tuple[FrozenDetector, float]] = {}
    reports: dict[str, LoadReport] = {}
    on_gpu = device.startswith("gpu")
    for name, network in config.teachers.items():
        if network.inference_model:
            engine = "auto" if network.engine in ("auto", "layer") else network.engine
            where = model_store.resolve(network.inference_model)
            teacher: FrozenDetector = open_detector(
                where, engine=engine, device="gpu" if on_gpu else "cpu", threads=threads
            )
        else:
            layer = build_detector(network.spec)
            file = model_store.weight_file(str(network.pretrained))
            weights, rest = select(read_weights(file, name), name)
            report = load_into(layer, weights, frozen=True, source=str(network.pretrained))
            reports[name] = replace(report, left_aside=rest)
            seen_inside = any(getattr(TERMS[name], "needs_layers", False) for name in _term_names(config))
            as_layer = seen_inside or network.engine in ("layer", "paddle")
            source = str(network.pretrained)
            if as_layer:
                teacher = LayerDetector(layer, normalization(config), source)
            else:
                teacher = fastest(layer, normalization(config), threads, source)
        teachers[name] = (teacher, network.weight)
    return teachers, reports


def _term_names(config: Config) -> list[str]:
    return [next(iter(entry)) for entry in config.Loss.loss_config_list]


def teacher_record(config: Config) -> dict[str, dict[str, str]]:
    """Each teacher's path and the SHA-256 of its file or of its folder's files, for the checkpoint's record."""
    record = {}
    for name, network in config.teachers.items():
        if network.inference_model:
            where = model_store.resolve(network.inference_model)
        else:
            where = find_weights(model_store.weight_file(str(network.pretrained)), name)
        files = (
            sorted(p for p in where.iterdir() if p.is_file()) if where.is_dir() else [p for p in [where] if p.is_file()]
        )
        digest = hashlib.sha256()
        for path in files:
            digest.update(path.read_bytes())
        named = str(network.inference_model or network.pretrained)
        record[name] = {"path": named, "sha256": digest.hexdigest()}
    return record


def build_cohort(
    config: Config,
    students: Mapping[str, Detector],
    teachers: Mapping[str, tuple[FrozenDetector, float]],
    at_once: SideBySide | None = None,
) -> Cohort:
    """Bind the loss terms to the networks. Connectors are initialised from the seed.

    Args:
        config: the validated configuration.
        students, teachers: what the terms are between.
        at_once: how many students compute at the same time; by default one.
    """
    channels = {name: student.feature_channels for name, student in students.items()}
    for name, (teacher, _) in teachers.items():
        channels[name] = teacher.layer.feature_channels if isinstance(teacher, LayerDetector) else {}
    channels[TEACHERS] = {}
    terms = []
    for number, binding in enumerate(bind(config)):
        ((name, arguments),) = config.Loss.loss_config_list[binding.term].items()
        common, own = split_arguments(arguments)
        paddle.seed(_mixed(config.Global.seed, 1000 + number))
        term = TERMS[name](**own)
        if isinstance(term, FeatureTerm):
            term.bind(channels[binding.learner], channels[binding.guide or binding.learner])
        terms.append(BoundTerm(binding, term, common.weight))
    update, compiled = config.Loss.update, config.Global.to_static
    return Cohort(students, teachers, terms, normalization(config), update, compiled=compiled, side_by_side=at_once)


def uses_amp(config: Config, device: str) -> bool:
    """Whether the students' forward runs in mixed precision, which Paddle has on a GPU alone."""
    return device.startswith("gpu") and config.Global.use_amp is not False


def recomputes(config: Config, device: str) -> bool:
    """Whether the students compute the inside of their backbones' blocks anew in the backward pass.

    By default where the activations of several students are held in the memory of the whole machine.
    """
    wanted = config.Global.recompute
    if wanted == "auto":
        several = device == "cpu" and len(config.students) > 1
        return not config.Global.to_static and (several or config.Global.save_memory)
    return wanted


def side_by_side(config: Config, device: str, processes: int) -> SideBySide:
    """How many students of one of `processes` on this machine compute at the same time.

    Raises:
        ConfigError: Global.students_at_once asks for what cannot be here.
    """
    wanted, threads = config.Global.students_at_once, process_threads(processes)
    against = [
        reason
        for reason, holds in {
            "a GPU computes one student after the other": device != "cpu",
            "Global.to_static's programs take turns": config.Global.to_static,
            "Global.save_memory holds one student's activations": config.Global.save_memory,
        }.items()
        if holds
    ]
    if wanted == "auto":
        # All of them even where there are fewer cores: three on two cores would else leave one idle half of the time.
        return SideBySide(len(config.students) if threads > 1 and not against else 1, threads)
    if wanted > 1 and against:
        raise ConfigError(
            f"Global.students_at_once: {wanted} cannot be, because {' and '.join(against)}; set it to auto"
        )
    return SideBySide(wanted, threads)


def _mixed(seed: int, position: int) -> int:
    """A seed for each part, without the correlation of neighbouring seeds."""
    return int(np.random.SeedSequence([seed, position]).generate_state(1)[0])


# --- data ------------------------------------------------------------------------------------------------------------


def prepare_embedded_set(config: Config) -> None:
    """Make the synthetic set where the configuration reads from its folder and it is not there yet."""
    embedded = config.Global.embedded_set
    if embedded is None:
        return
    unlabelled = config.Train.unlabeled.images if config.Train.unlabeled else []
    used = [Path(path) for path in (config.Train.dataset.data_dir, config.Eval.dataset.data_dir, *unlabelled)]
    if any(Path(embedded.dir) in (path, *path.parents) for path in used):
        synth.ensure(
            Path(embedded.dir),
            train=embedded.train,
            val=embedded.val,
            size=(embedded.size[1], embedded.size[0]),
            seed=embedded.seed,
            fonts=Path(embedded.fonts) if embedded.fonts else None,
        )


def labelled_dataset(config: Config) -> DetDataset | None:
    """The labelled training images with their augmentation and targets; None where all images are unlabelled."""
    section = config.Train.dataset
    if not section.label_file_list:
        return None
    return DetDataset.from_label_files(
        section.label_file_list,
        section.data_dir,
        [build_op(entry) for entry in section.transforms],
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
    return DetDataset.from_images(
        [path for entry in section.images for path in _images_of(Path(entry))],
        [build_op(entry) for entry in transforms],
        seed=_mixed(config.Global.seed, _UNLABELLED),
        on_bad=section.on_bad_sample,
    )


def labels_digest(files: Sequence[str]) -> str:
    """SHA-256 of label files' lines, however they end; of no file the empty text."""
    digest = hashlib.sha256()
    for path in files:
        lines = Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
        digest.update(hashlib.sha256(b"\n".join(line.strip() for line in lines if line.strip())).digest())
    return digest.hexdigest() if files else ""


def samples_a_step(config: Config, processes: int) -> tuple[int, int]:
    """Labelled and unlabelled samples of an optimizer step, in all processes and with accumulation."""
    train, times = config.Train, processes * config.Optimizer.accumulate
    labelled = train.loader.batch_size_per_card if train.dataset.label_file_list else 0
    unlabelled = train.unlabeled.batch_size_per_card if train.unlabeled else 0
    return labelled * times, unlabelled * times


def _images_of(entry: Path) -> list[Path]:
    """The images that one entry of `Train.unlabeled.images` names."""
    if entry.is_dir():
        return [sample.image for sample in read_images(entry)]
    if entry.suffix != ".txt":
        return [entry]
    try:
        lines = entry.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Train.unlabeled.images: {entry} cannot be read: {error}") from None
    return [entry.parent / line.strip() for line in lines if line.strip()]


def eval_dataset(config: Config) -> EvalDataset:
    """The evaluation images at network size."""
    section = config.Eval.dataset
    return EvalDataset.from_label_files(
        section.label_file_list,
        section.data_dir,
        [build_op(entry) for entry in section.transforms],
        allow_outside=section.allow_outside,
    )


def check_images(config: Config, count: int = 4) -> list[np.ndarray]:
    """A few evaluation images `[H,W,3]` at network size, to compare an export on; none where there are no data."""
    try:
        dataset = eval_dataset(config)
    except DataError:
        return []
    return [dataset[index]["image"] for index in range(min(count, len(dataset)))]
