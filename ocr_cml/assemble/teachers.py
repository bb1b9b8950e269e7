"""Frozen networks, ready to answer, and the record of their files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ocr_cml import inference_yml, model_store
from ocr_cml.assemble.data import normalization
from ocr_cml.binding import stated_terms
from ocr_cml.config import load_record
from ocr_cml.fastest import fastest
from ocr_cml.log import LOG
from ocr_cml.model_files import find_files
from ocr_cml.models import Detector, build_detector
from ocr_cml.models.weight_files import find_weights, read_weights
from ocr_cml.models.weights import LoadReport, load_into, select
from ocr_cml.run_files import CONFIG, is_checkpoint
from ocr_cml.runtime import FrozenDetector, LayerDetector, Normalization, open_detector
from ocr_cml.schema import Config
from ppocr_data.digests import sha256_of
from ppocr_data.errors import ConfigError, ModelError, WeightsError


def build_teachers(
    config: Config, threads: int, device: str
) -> tuple[dict[str, tuple[FrozenDetector, float]], dict[str, LoadReport]]:
    """Every frozen network, ready to answer, with its weight among several; and what was loaded."""
    teachers: dict[str, tuple[FrozenDetector, float]] = {}
    reports: dict[str, LoadReport] = {}
    on_gpu = device.startswith("gpu")
    seen_inside = any(term.looks_inside for term in stated_terms(config))
    for name, network in config.teachers.items():
        if network.inference_model:
            where, place = _found(name, network.inference_model), "gpu" if on_gpu else "cpu"
            teacher: FrozenDetector = open_detector(where, network.engine, place, threads)
        else:
            layer = build_detector(network.spec)
            source = str(network.pretrained)
            try:
                file, reports[name] = _load(layer, name, source)
            except WeightsError as error:
                raise WeightsError(f"Architecture.Models.{name}.pretrained: {error}") from None
            pixels = _pixels_of(file, config, name)
            if seen_inside or network.engine == "layer":
                teacher = LayerDetector(layer, pixels, source)
            else:
                teacher = fastest(layer, pixels, threads, source)
        teachers[name] = (teacher, network.weight)
    return teachers, reports


def _load(layer: Detector, name: str, source: str) -> tuple[Path, LoadReport]:
    """Give a frozen network all of its weights; their file, and what was loaded."""
    file = find_weights(model_store.weight_file(source), name)
    weights, rest = select(read_weights(file), name)
    return file, replace(load_into(layer, weights, frozen=True, source=source), left_aside=rest)


def _pixels_of(file: Path, config: Config, name: str) -> Normalization:
    """How a teacher's own training turned pixels into its input, where a run's record beside its weights says so."""
    ours, record = normalization(config), file.parent / CONFIG
    if not (record.is_file() and is_checkpoint(file.parent)):
        return ours
    try:
        theirs = normalization(load_record(record))
    except ConfigError:  # of another version: taken to be as ours
        return ours
    if theirs != ours:
        LOG.info("%s is shown pixels as it was trained: mean %s, std %s", name, list(theirs.mean), list(theirs.std))
    return theirs


def _found(name: str, inference_model: str) -> Path:
    try:
        return model_store.resolve(inference_model)
    except ModelError as error:
        raise ModelError(f"Architecture.Models.{name}.inference_model: {error}") from None


def _answering(model: Path) -> list[Path]:
    """The files of an inference model that its answers depend on: a page beside them may be written anew."""
    found = find_files(model)
    files = (found.onnx, found.program, found.params, inference_yml.beside(model))
    return sorted(path for path in files if path and path.is_file())


def teacher_record(config: Config) -> dict[str, dict[str, str]]:
    """Each teacher's path and the SHA-256 of its files, for the checkpoint's record."""
    record = {}
    for name, network in config.teachers.items():
        if network.inference_model:
            files = _answering(model_store.resolve(network.inference_model))
        else:
            files = [find_weights(model_store.weight_file(str(network.pretrained)), name)]
        named = str(network.inference_model or network.pretrained)
        record[name] = {"path": named, "sha256": sha256_of(*files)}
    return record
