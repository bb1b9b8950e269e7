"""The tools' work: what `tools/train.py`, `tools/eval.py` and `tools/export_model.py` do after reading their arguments.

Paddle is imported inside the functions, after `tune_process`: threads and memory can only be set up before.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from ocr_cml.cli import check_writable, command_line, tell_result, write_json
from ocr_cml.environment import process_threads, tune_process
from ocr_cml.run_files import BEST, LATEST, TRAIN_LOG
from ppocr_data.errors import ConfigError, DataError, UserError

if TYPE_CHECKING:
    from ocr_cml.evaluate import MapFunction
    from ocr_cml.models.detector import Detector
    from ocr_cml.schema import Config
    from ocr_cml.trained import Trained


def train(config_path: str, overrides: Sequence[str], *, show_config: bool = False) -> int:
    """Train; the last line on standard output names the best student. Returns the exit code."""
    environment = tune_process()
    from ocr_cml import config

    source = config.read(config_path, overrides)
    settings = config.from_source(source)
    if show_config:
        for note in source.notes:
            print(f"# {note}")
        print(config.dump(settings), end="")
        return 0
    from ocr_cml import assemble, distributed
    from ocr_cml.log import LOG, start_logging
    from ocr_cml.loop import loggers
    from ocr_cml.loop.run import RunFolder
    from ocr_cml.loop.signals import Interrupted
    from ocr_cml.trainer import Trainer

    loggers.check(settings.Global.loggers)
    device = assemble.use_device(settings)
    rank, world_size = distributed.start()
    with contextlib.closing(RunFolder(settings, is_owner=rank == 0)) as run:
        log = run.path / TRAIN_LOG if rank == 0 else None
        try:
            start_logging(log)
        except OSError as error:
            raise UserError(f"Global.save_model_dir: {log} cannot be written: {error.strerror}") from None
        try:
            if rank == 0:
                LOG.info("command: %s", command_line())
                LOG.info("environment: %s", ", ".join(environment))
                for note in source.notes:
                    LOG.info("read from PaddleOCR's configuration: %s", note)
            trainer = Trainer(settings, run, rank, world_size, device)
            best = trainer.fit()
        except Interrupted as stop:
            LOG.warning("stopped by %s; run the same command again to go on", stop)
            return stop.code
        except UserError as error:
            LOG.error("error: %s", error, extra={"live": True})  # for train.log; people see it when the tool ends
            raise
        except Exception:
            LOG.exception("stopped by what was not foreseen", extra={"live": True})  # likewise
            raise
    if rank == 0:
        if best is None:
            tell_result(f"best student=none step={trainer.progress.step} dir={run.path / LATEST}")
        else:
            tell_result(f"best student={best.student} hmean={best.hmean:.4f} step={best.step} dir={run.path / BEST}")
    return 0


def evaluate(
    config_path: str,
    overrides: Sequence[str],
    *,
    json_path: str | None = None,
    tune: bool = False,
    model: Path | None = None,
) -> int:
    """Score students, ensemble and teachers, or one inference model in their place.

    Args:
        config_path, overrides: the run's configuration, or any that names the evaluation images.
        json_path: where to write the scores as well.
        tune: fit the post-process.
        model: an inference folder, an ONNX file or a published detector's name.

    Returns:
        The exit code.
    """
    tune_process()
    if json_path:
        check_writable(Path(json_path))  # before minutes of work
    from ocr_cml import assemble, config
    from ocr_cml.evaluate import Evaluator, scored, table, without_text
    from ocr_cml.log import only_warn
    from ocr_cml.tune import Tuner

    only_warn()
    settings = config.load(config_path, overrides)
    device = assemble.use_device(settings)
    trained = None if model else _named_weights(settings, config_path, overrides)
    _tell(trained.better_elsewhere() if trained else "")
    assemble.prepare_embedded_set(settings, training=False)
    dataset = assemble.eval_dataset(settings)
    if warning := without_text(dataset):
        if tune:
            raise DataError(f"--tune: {warning}")
        _tell(warning)
    students = trained.students if trained else {}
    networks = _inference_model(model, settings, device) if model else _networks(students, settings, device)
    evaluator = Evaluator(dataset, settings.PostProcess, settings.Eval.loader.batch_size_per_card)
    tuners = {name: Tuner(base=settings.PostProcess) for name in scored(networks, students)} if tune else {}
    scores = evaluator.score(networks, ensemble_of=list(students), tuners=tuners)
    print(table(scores))
    fitted = {name: tuner.result() for name, tuner in tuners.items()}
    for name, result in fitted.items():
        print(f"{name}: hmean {result.trial.hmean:.4f} fitted, -o {result.overrides()}")
        for sentence in result.at_the_edge():
            print(f"  {sentence}")
    if json_path:
        tuned = {name: {"hmean": r.trial.hmean, "PostProcess": r.best.model_dump()} for name, r in fitted.items()}
        write_json(Path(json_path), {"scores": scores, "tuned": tuned} if tune else {"scores": scores})
    return 0


def _named_weights(settings: Config, config_path: str, overrides: Sequence[str]) -> Trained:
    """The students whose weights the command line names."""
    from ocr_cml.trained import load_trained

    _refuse_unnamed_weights(settings, config_path, overrides)
    return load_trained(settings)


def _networks(students: Mapping[str, Detector], settings: Config, device: str) -> dict[str, MapFunction]:
    """Students and teachers as what answers a batch of images."""
    from ocr_cml import assemble
    from ocr_cml.fastest import fastest

    threads, normalization = process_threads(), assemble.normalization(settings)
    teachers, _ = assemble.build_teachers(settings, threads, device)
    asked = {name: fastest(student, normalization, threads, name).probability for name, student in students.items()}
    return asked | {name: teacher.probability for name, (teacher, _) in teachers.items()}


def _inference_model(model: Path, settings: Config, device: str) -> dict[str, MapFunction]:
    """The same of an inference model, which is scored as a student would be; its own settings are told where others."""
    from ocr_cml import assemble, inference_yml, model_store
    from ocr_cml.runtime import open_detector

    path = model_store.resolve(model)
    detector = open_detector(path, device=device, threads=process_threads())
    stated, resize = inference_yml.beside(path), inference_yml.canonical(assemble.resize_rule(settings))
    if stated.is_file() and (detector.config.postprocess, detector.config.resize) != (settings.PostProcess, resize):
        _tell(
            f"{stated} has another post-process or resize rule than this configuration, whose PostProcess and "
            "DetResizeForTest are scored with"
        )
    return {path.resolve().name: detector.probability}


_NOT_BOTH = {
    "all": "is for a checkpoint alone (--to-paddleocr without Global.save_inference_dir); ",
    "ensemble": "is for an inference model alone (Global.save_inference_dir without --to-paddleocr); ",
}
"""Students that only one of the two can hold."""


def export(
    config_path: str, overrides: Sequence[str], *, student: str = "best", to_paddleocr: str | None = None
) -> int:
    """Write the inference model of one student or of the ensemble, checked, or a checkpoint, or both.

    Args:
        config_path, overrides: the run's configuration.
        student: `best`, `ensemble` or a name; for a checkpoint also `all`.
        to_paddleocr: where to write weights that PaddleOCR and other runs start from; None writes none.

    Returns:
        The exit code.
    """
    tune_process()
    from ocr_cml import assemble, config
    from ocr_cml.log import only_warn

    only_warn()
    settings = config.load(config_path, overrides)
    assemble.use_device(settings)
    target = settings.Global.save_inference_dir
    if not target and not to_paddleocr:
        raise ConfigError(
            "Global.save_inference_dir: says where to export to; set it with -o Global.save_inference_dir=DIR "
            "(or write a checkpoint with --to-paddleocr FILE)"
        )
    several = {"ensemble": bool(target) and not to_paddleocr, "all": bool(to_paddleocr) and not target}
    trained = _named_weights(settings, config_path, overrides)
    students = trained.students
    name = trained.best() if student == "best" else student
    _tell(trained.better_elsewhere())
    choices = ["best", *(choice for choice, possible in several.items() if possible), *students]
    if name not in choices[1:]:
        why = _NOT_BOTH.get(name, "")
        raise ConfigError(f"--student {name}: {why}choose one of {', '.join(choices)}")
    if to_paddleocr:
        _write_checkpoint(students, name, Path(to_paddleocr))
    if target:
        _write_inference_model(settings, students, name, target)
    return 0


def _write_checkpoint(students: Mapping[str, Detector], name: str, file: Path) -> None:
    """One student under PaddleOCR's names; or all of them, each name behind its student's, as PaddleOCR distils."""
    from ocr_cml.models.pdparams import write_pdparams
    from ocr_cml.models.weight_files import is_ours

    if not file.name or file.is_dir():
        raise ConfigError(f"--to-paddleocr {file}: is a folder; name a file, such as {file / 'best_accuracy'}")
    file = file if file.suffix == ".pdparams" else file.with_name(f"{file.name}.pdparams")
    if file.exists() and not is_ours(file):
        raise ConfigError(f"--to-paddleocr {file}: holds what this tool did not write; choose another file")
    chosen = {f"{owner}.": layer for owner, layer in students.items()} if name == "all" else {"": students[name]}
    weights = {
        prefix + key: value.numpy() for prefix, layer in chosen.items() for key, value in layer.state_dict().items()
    }
    write_pdparams(weights, file)
    print(f"in PaddleOCR: -o {quote('Global.pretrained_model=' + str(file.with_suffix('')))}")
    print(f"wrote student={name} file={file} arrays={len(weights)}")


def _write_inference_model(settings: Config, students: Mapping[str, Detector], name: str, target: str) -> None:
    from ocr_cml import assemble
    from ocr_cml.export import Ensemble, export_detector

    for teacher, section in settings.teachers.items():
        theirs = Path(section.inference_model or "")
        folder = theirs.parent if theirs.suffix == ".onnx" else theirs
        if section.inference_model and Path(target).resolve() == folder.resolve():
            raise ConfigError(f"Global.save_inference_dir: {target} is {teacher}'s own folder; choose another")
    network = Ensemble(list(students.values())) if name == "ensemble" else students[name]
    try:
        images = assemble.check_images(settings)
    except DataError as error:
        images = []
        _tell(f"checked on a picture of our own, not on your evaluation images: {error}")
    report = export_detector(
        network,
        Path(target),
        model_name=settings.Global.model_name,
        normalization=assemble.normalization(settings),
        postprocess=settings.PostProcess,
        resize=assemble.resize_rule(settings),
        check_images=images,
    )
    print(f"in PaddleOCR: {report.runtime_call}")
    print(f"exported student={name} dir={target} map_difference={report.map_difference:.1e} boxes={report.boxes}")


def _refuse_unnamed_weights(settings: Config, config_path: str, overrides: Sequence[str]) -> None:
    """What is scored or exported is named on the command line: a run's config.yml names what the run began with.

    Raises:
        ConfigError: `Global.pretrained_model` is not given, or something else is in its place.
    """
    given = {key.strip(): value.strip() for key, _, value in (override.partition("=") for override in overrides)}
    if "Global.checkpoints" in given:
        raise ConfigError(
            f"Global.checkpoints: is what a training goes on from; here weights come from "
            "Global.pretrained_model; write -o "
            f"{quote('Global.pretrained_model=' + given['Global.checkpoints'])} in its place"
        )
    run = Path(config_path).parent
    made = next((run / name for name in (BEST, LATEST) if (run / name).is_dir()), "RUN/best")
    remedy = f"set it with -o {quote(f'Global.pretrained_model={made}')}"
    if not settings.Global.pretrained_model:
        raise ConfigError(f"Global.pretrained_model: says which weights; {remedy}")
    if isinstance(made, Path) and "Global.pretrained_model" not in given:
        began = settings.Global.pretrained_model
        raise ConfigError(f"Global.pretrained_model: {began} is what this run began with; for what it made {remedy}")


def _tell(warning: str) -> None:
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
