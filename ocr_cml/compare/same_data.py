"""Whether a comparison's runs had the same labels, teachers and start: their files may change between two calls."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from ocr_cml import assemble
from ocr_cml.checkpoint import Progress, progress_in
from ocr_cml.compare.outcome import PlannedRun
from ocr_cml.compare.plan import Plan
from ocr_cml.run_files import BEST, LATEST, previous_of
from ppocr_data.errors import ConfigError, UserError

_Digests = dict[tuple[str, str], str]
"""SHA-256 by what it is of, and by what the configuration names it: only of equal names must the files be equal."""


def refuse_other_data(plan: Plan, *, today: bool) -> None:
    """Methods are compared on equal data: runs that began with other files beside each other are refused.

    Args:
        plan: the comparison.
        today: compare with the files that are there now as well, from which the next training would learn. Those that
            cannot be read count for nothing: a training says that itself.

    Raises:
        ConfigError: lines of label files, images without labels, a teacher's files or a student's initial weights are
            not those of a run's start.
    """
    known: dict[tuple[str, str], tuple[str, str]] = {}
    differing: dict[tuple[str, str], list[str]] = {}
    for run in plan.runs:
        recorded = _recorded(run)
        if today and recorded.keys() - known.keys():
            known = {key: (digest, "today's") for key, digest in _todays(run).items()} | known
        for key, digest in recorded.items():
            if digest != known.setdefault(key, (digest, f"those of {run.folder}"))[0]:
                differing.setdefault(key, []).append(str(run.folder))
    if differing:
        lines = [
            f"{', '.join(folders[:3])}{f' and {len(folders) - 3} more' if len(folders) > 3 else ''}: "
            f"{key[0]} ({key[1]}) were not {known[key][1]}"
            for key, folders in differing.items()
        ]
        raise ConfigError(
            ";\n".join(lines) + ", and methods are compared on equal data; put the files back as they were, choose "
            "another output, or remove the folders of one side"
        )


def refuse_other_labels_to_score(runs: Sequence[PlannedRun]) -> None:
    """What is drawn and counted beside the table must be what the table's numbers count.

    Raises:
        ConfigError: the lines of a run's Eval.dataset.label_file_list are not those of its start.
    """
    for run in runs:
        files = run.config.Eval.dataset.label_file_list
        then, now = _progress_of(run).scored_on, _labels(files)
        if then and now and then != now:
            raise ConfigError(
                f"{run.folder}: was scored with other lines of Eval.dataset.label_file_list ({' '.join(files)}) than "
                "stand there now, which pictures would count; put them back as they were"
            )


def _recorded(run: PlannedRun) -> _Digests:
    return _digests(run, _progress_of(run))


def _progress_of(run: PlannedRun) -> Progress:
    """What a run's checkpoint says of its files; nothing where there is none, or an old one."""
    folders = (run.folder / LATEST, previous_of(run.folder / LATEST), run.folder / BEST)
    return next(filter(None, map(progress_in, folders)), Progress())  # one that is damaged is told when it is opened


def _todays(run: PlannedRun) -> _Digests:
    found = Progress()
    found.trained_on, found.scored_on = (
        _labels(s.dataset.label_file_list) for s in (run.config.Train, run.config.Eval)
    )
    with contextlib.suppress(UserError, OSError):
        found.unlabelled = assemble.names_digest(assemble.unlabelled_images(run.config))
    with contextlib.suppress(UserError, OSError):
        found.teachers = assemble.teacher_record(run.config)
    with contextlib.suppress(UserError, OSError):
        found.started_from = assemble.start_record(run.config)
    return _digests(run, found)


def _labels(files: list[str]) -> str:
    try:
        return assemble.labels_digest(files)
    except OSError:
        return ""


def _digests(run: PlannedRun, progress: Progress) -> _Digests:
    config = run.config
    learnt, scored = (" ".join(section.dataset.label_file_list) for section in (config.Train, config.Eval))
    found = {
        ("the lines of Train.dataset.label_file_list", learnt): progress.trained_on,
        ("the lines of Eval.dataset.label_file_list", scored): progress.scored_on,
    }
    if config.Train.unlabeled is not None:
        found["the images of Train.unlabeled.images", " ".join(config.Train.unlabeled.images)] = progress.unlabelled
    for name, network in config.teachers.items():
        where = str(network.inference_model or network.pretrained)
        found[f"the files of Architecture.Models.{name}", where] = progress.teachers.get(name, {}).get("sha256", "")
    for name, network in config.students.items():
        where = str(assemble.start_of(config, network))
        found[f"the initial weights of Architecture.Models.{name}", where] = progress.started_from.get(name, "")
    return {key: digest for key, digest in found.items() if digest}
