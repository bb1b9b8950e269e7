"""The run folder: who owns it, what it records, and where a start finds what an earlier one left."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import yaml

from ocr_cml import config as configuration
from ocr_cml.checkpoint import BEST, LATEST, finish_interrupted_save, is_kept, previous_of
from ocr_cml.loggers import Logger, close, tell
from ocr_cml.progress import ToPeople
from ocr_cml.schema import Config
from ppocr_data.atomic import write_text
from ppocr_data.errors import ConfigError, UserError

LOG = logging.getLogger("ocr_cml")

# A run may be continued with other values of these: they say how long, where and how loudly, not what is learned how.
_FREE_KEYS = (
    "Global.epoch_num",
    "Global.max_steps",
    "Global.print_batch_step",
    "Global.save_batch_step",
    "Global.eval_batch_step",
    "Global.checkpoints",
    "Global.save_model_dir",
    "Global.save_inference_dir",
    "Global.model_name",
    "Global.teacher_check",
    "Global.on_divergence",
    "Global.use_gpu",
    "Global.loggers",
    "Train.loader.num_workers",
    "Train.loader.worker_timeout",
    "Train.loader.worker_restarts",
    "Optimizer.lr.decay_steps",
)

_LOCK, METRICS = ".lock", "metrics.jsonl"
_SIGNS = (_LOCK, METRICS, *(name for folder in (LATEST, BEST) for name in (folder, previous_of(Path(folder)).name)))
"""By which a folder is known as a run's; a run makes the first before anything else."""
_WRITTEN = ("config.yml", "preview.jpg", "report.html", "train.log", "validation")


class RunFolder:
    """A run's folder, locked by one process (rank 0) at a time.

    Attributes:
        path: the folder.
        resume_from: the folder to resume from, or None for a fresh start.
        loggers: what is shown every record beside `metrics.jsonl`; closed with the run.

    Raises:
        ConfigError: the folder holds a run of another configuration, and resuming was not asked for; or files of
            somebody's that a run would replace.
        UserError: the folder cannot be written, or another process is training in it.
    """

    def __init__(self, config: Config, *, is_owner: bool = True) -> None:
        self.path = Path(config.Global.save_model_dir)
        self._lock: TextIO | None = None
        self._metrics: TextIO | None = None
        self.loggers: list[Logger] = []
        try:
            self._refuse_foreign()
            if is_owner:
                self._acquire()
            self.resume_from = self._decide(config)
            if is_owner:
                self._open_metrics()
        except BaseException:
            self.close()
            raise

    def _refuse_foreign(self) -> None:
        """A run replaces what has the names of its own files: none of a folder that no run began in may be lost so."""
        if any((self.path / sign).exists() for sign in _SIGNS):
            return
        theirs = [name for name in _WRITTEN if (self.path / name).exists()]
        if theirs:
            raise ConfigError(
                f"Global.save_model_dir: {self.path} is no run's folder and holds {', '.join(theirs)}, which a run "
                "would replace; choose another folder"
            )

    def _acquire(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / _LOCK).open("w")
        except OSError as error:
            raise self._unwritable(error) from None
        if not _lock_file(self._lock):
            raise UserError(
                f"Global.save_model_dir: another process is training in {self.path}; choose another folder or stop it"
            )
        for name in (LATEST, BEST):
            finish_interrupted_save(self.path / name)

    def _open_metrics(self) -> None:
        """A run that starts from nothing begins its metrics anew."""
        try:
            self._metrics = (self.path / METRICS).open("a" if self.resume_from else "w", encoding="utf-8")
        except OSError as error:
            raise self._unwritable(error) from None

    def as_recorded(self, config: Config) -> Config:
        """The configuration to keep: without `Global.checkpoints` where that is this run itself.

        That a run was once continued on purpose is no part of it. A later start from the record, in another folder and
        from other weights, would be continued as well.
        """
        asked = config.Global.checkpoints
        if not asked or not self._is_here(Path(asked)):
            return config
        return config.model_copy(update={"Global": config.Global.model_copy(update={"checkpoints": None})})

    def record_config(self, config: Config) -> None:
        """Write `config.yml`, where this process owns the folder. Raises UserError where it cannot be written."""
        if self._metrics is None:
            return
        try:
            configuration.save(self.as_recorded(config), self.path / "config.yml")
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"Global.save_model_dir: {self.path} cannot be written: {error.strerror}")

    def _decide(self, config: Config) -> Path | None:
        """Where to resume from. A run that is here is never overwritten by another without being asked."""
        asked = Path(config.Global.checkpoints) if config.Global.checkpoints else None
        kept = {name for name in (LATEST, BEST) if is_kept(self.path / name)}
        if not kept or (asked is not None and self._is_here(asked)):
            return asked
        recorded = self.path / "config.yml"
        if not recorded.is_file():
            raise ConfigError(self._taken(["config.yml is missing"], LATEST in kept))
        # A run that began from another's checkpoint goes on from its own: the same command, given again, is no rewind.
        differing = different_keys(recorded, config, also=("Global.checkpoints",) if asked is not None else ())
        if differing:
            raise ConfigError(self._taken(differing, LATEST in kept))
        return self.path if LATEST in kept else asked  # killed before its first latest/: it begins again

    def _is_here(self, folder: Path) -> bool:
        return self.path.resolve() in (folder.resolve(), *folder.resolve().parents)

    def _taken(self, differing: list[str], resumable: bool) -> str:
        purpose = f"continue it on purpose with -o Global.checkpoints={self.path}" if resumable else "move it away"
        return (
            f"Global.save_model_dir: {self.path} holds another run ({', '.join(differing[:5])}"
            f"{' and more' if len(differing) > 5 else ''} differ); choose another folder, or {purpose}"
        )

    def record(self, entry: Mapping[str, Any]) -> None:
        """Append one object to `metrics.jsonl`, at full precision."""
        if self._metrics is None:
            return
        try:
            self._metrics.write(json.dumps(entry) + "\n")
            self._metrics.flush()
        except OSError as error:
            raise UserError(
                f"{self.path / 'metrics.jsonl'}: cannot be written: {error.strerror}; checkpoints are whole"
            ) from None
        tell(self.loggers, entry)

    def forget_after(self, step: int) -> int:
        """Drop records of steps that a resumed run is about to repeat, so that each step stands there once.

        Returns:
            The last step that was dropped; `step` where there is none.
        """
        path = self.path / METRICS
        if self._metrics is None:
            return step
        self._metrics.close()
        # A kill may have cut a line within a letter: it is no JSON then, and counts as never written.
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        steps = [_step_of(line) for line in lines]
        kept = [line for line, at in zip(lines, steps, strict=True) if at <= step]
        try:
            write_text(path, "".join(f"{line}\n" for line in kept))
            self._metrics = path.open("a", encoding="utf-8")
        except OSError as error:
            raise self._unwritable(error) from None
        return max([step, *(at for at in steps if at != sys.maxsize)])

    def close(self) -> None:
        """Release the lock and close the files and the loggers."""
        close(self.loggers)
        for file in (self._metrics, self._lock):
            if file is not None:
                file.close()


def different_keys(recorded: Path, config: Config, also: tuple[str, ...] = ()) -> list[str]:
    """Dotted keys in which a recorded configuration differs from this one, beside those that a resume may change.

    The record is read by today's schema: a key that came later has its default there, and is no difference.

    Args:
        recorded: a run's config.yml.
        config: this start's.
        also: keys that a resume may change and that are compared this time.

    Raises:
        ConfigError: the record cannot be read, or holds keys that this version does not know.
    """
    try:
        then = configuration.load_record(recorded)
    except ConfigError as error:
        raise ConfigError(
            f"{recorded}: the run in this folder was recorded in a form that this version does not read; choose "
            f"another Global.save_model_dir, or go on with the version that made it\n{error}"
        ) from None
    before, now = (_flat(yaml.safe_load(configuration.dump(each))) for each in (then, config))
    free = [key for key in _FREE_KEYS if key not in also]
    differing = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
    return sorted(key for key in differing if not any(key == f or key.startswith(f + ".") for f in free))


class _LogFile(logging.FileHandler):
    """A log that a full disk stops with one line, not with a traceback for every message."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once that the file takes no more, and leave it."""
        for logger in (LOG, logging.getLogger("ppocr_data")):
            logger.removeHandler(self)
        LOG.warning("%s: cannot be written any more: %s", self.baseFilename, sys.exc_info()[1])


def start_logging(path: Path | None) -> None:
    """Log to standard error, and to `path` where given. Standard output is left to results."""
    to_people = ToPeople()
    to_people.setFormatter(logging.Formatter("%(message)s"))
    handlers: list[logging.Handler] = [to_people]
    if path is not None:
        to_file = _LogFile(path, encoding="utf-8", errors="backslashreplace")
        to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        handlers.append(to_file)
    for logger in (LOG, logging.getLogger("ppocr_data")):
        logger.setLevel(logging.INFO)
        logger.propagate = False
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        for handler in handlers:
            logger.addHandler(handler)


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(data, dict) and data:
        return {k: v for key, value in data.items() for k, v in _flat(value, f"{prefix}.{key}".lstrip(".")).items()}
    if isinstance(data, list) and data:
        return {k: v for i, value in enumerate(data) for k, v in _flat(value, f"{prefix}.{i}").items()}
    return {prefix: data}


def _step_of(line: str) -> int:
    """The step of a record; a line cut short by a kill counts as never written."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return sys.maxsize


def _lock_file(file: TextIO) -> bool:
    """Take an exclusive lock that the kernel drops with the process, however it dies."""
    try:
        import fcntl
    except ImportError:  # Windows: no advisory lock in the standard library that dies with the process
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
