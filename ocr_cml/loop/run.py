"""The run folder: who owns it, what it records, and where a start finds what an earlier one left."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any, TextIO

from ocr_cml import config as configuration
from ocr_cml.changed_keys import different_keys
from ocr_cml.checkpoint import BEST, LATEST, finish_interrupted_save, is_kept, previous_of
from ocr_cml.loop.loggers import Logger, close, tell
from ocr_cml.records import Records
from ocr_cml.run_files import CONFIG, METRICS, PREVIEW, REPORT, TRAIN_LOG, VALIDATION
from ocr_cml.schema import Config
from ppocr_data.atomic import remove_leftovers
from ppocr_data.errors import ConfigError, UserError
from ppocr_data.locks import is_held, lock

_LOCK = ".lock"
_DOES_NOT_FIT = re.compile(r"Architecture\.Models\.[^.]+\.(Backbone|Neck|Head)\b|Optimizer\.(name|ema_decay)$")
"""Keys by which a checkpoint is one of other students, or lacks what is trained now, and cannot be gone on with."""
_OTHER_STEPS = re.compile(r"Train\..*\.batch_size_per_card$|Optimizer\.accumulate$")
"""Keys that say how many images a step takes: it must stay as many, by another number of processes perhaps."""
_SIGNS = (_LOCK, METRICS, *(name for folder in (LATEST, BEST) for name in (folder, previous_of(Path(folder)).name)))
"""By which a folder is known as a run's; a run makes the first before anything else."""
_WRITTEN = (CONFIG, PREVIEW, REPORT, TRAIN_LOG, VALIDATION)


def is_trained_in(folder: Path) -> bool:
    """Whether a process trains in a run's folder now. False where that cannot be known."""
    return is_held(folder / _LOCK) is True


class RunFolder:
    """A run's folder, locked by one process (rank 0) at a time.

    Attributes:
        path: the folder.
        resume_from: the folder to resume from, or None for a fresh start.
        loggers: what is shown every record beside `metrics.jsonl`; closed with the run.

    Raises:
        ConfigError: the folder holds a run of another configuration, and resuming was not asked for; or a run's best
            student alone, from which it cannot go on; or files of somebody's that a run would replace.
        UserError: the folder cannot be written, or another process is training in it.
    """

    def __init__(self, config: Config, *, is_owner: bool = True) -> None:
        self.path = Path(config.Global.save_model_dir)
        self._lock: TextIO | None = None
        self._records: Records | None = None
        self.loggers: list[Logger] = []
        try:
            if is_owner:  # the others write none of these files, and might look while the owner makes them
                self._refuse_foreign()
                self._acquire()
            self.resume_from = self._decide(config)
            if is_owner:
                self._records = self._open_records()
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
            self._lock = (self.path / _LOCK).open("w+")
            taken = lock(self._lock) is False
        except OSError as error:
            raise self._unwritable(error) from None
        if taken:
            raise UserError(
                f"Global.save_model_dir: another process is training in {self.path}; choose another folder or stop it"
            )
        for name in (LATEST, BEST):
            finish_interrupted_save(self.path / name)
        for name in (CONFIG, METRICS, PREVIEW, REPORT):
            remove_leftovers(self.path / name)

    def _open_records(self) -> Records:
        try:
            # Those of a run that died before its first checkpoint go, also where another's checkpoint is gone on from.
            return Records(self.path / METRICS, keep=self.resume_from is not None and self.holds(self.resume_from))
        except OSError as error:
            raise self._unwritable(error) from None

    def as_recorded(self, config: Config) -> Config:
        """The configuration to keep: without `Global.checkpoints` where that is this run itself.

        That a run was once continued on purpose is no part of it. A later start from the record, in another folder and
        from other weights, would be continued as well.
        """
        asked = config.Global.checkpoints
        if not asked or not self.holds(Path(asked)):
            return config
        return configuration.with_global(config, checkpoints=None)

    def record_config(self, config: Config) -> None:
        """Write `config.yml`, where this process owns the folder. Raises UserError where it cannot be written."""
        if self._records is None:
            return
        try:
            configuration.save(self.as_recorded(config), self.path / CONFIG)
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"Global.save_model_dir: {self.path} cannot be written: {error.strerror}")

    def _decide(self, config: Config) -> Path | None:
        """Where to resume from. A run that is here is never overwritten by another without being asked."""
        asked = Path(config.Global.checkpoints) if config.Global.checkpoints else None
        kept = {name for name in (LATEST, BEST) if is_kept(self.path / name)}
        latest, before = self.path / LATEST, previous_of(self.path / LATEST)
        if asked is not None and asked.resolve() == before.resolve() and latest.is_dir():
            # The records of the steps since would go while a checkpoint of them stays, and the same command, given
            # again, would go back once more.
            raise ConfigError(
                f"Global.checkpoints: {before} is the checkpoint before {latest}; to go back to it remove that, and "
                "the run goes on from the one before by itself"
            )
        if not kept or (asked is not None and self.holds(asked)):
            return asked
        if LATEST not in kept:
            raise ConfigError(
                f"Global.save_model_dir: {self.path} holds the best student of a run that cannot go on, as its "
                f"{LATEST}/ is gone; put that back, move the folder away, or choose another (a new run begins from "
                f"these weights with -o {quote(f'Global.pretrained_model={self.path / BEST}')})"
            )
        recorded = self.path / CONFIG
        if not recorded.is_file():
            raise ConfigError(self._taken("its config.yml is missing"))
        # A run that began from another's checkpoint goes on from its own: the same command, given again, is no rewind.
        differing = different_keys(recorded, config, also=("Global.checkpoints",) if asked is not None else ())
        if differing:
            some = f"{', '.join(differing[:5])}{' and more' if len(differing) > 5 else ''} differ"
            raise ConfigError(self._taken(some, differing))
        return self.path

    def holds(self, folder: Path) -> bool:
        """Whether `folder` is this one or lies in it."""
        return self.path.resolve() in (folder.resolve(), *folder.resolve().parents)

    def _taken(self, why: str, differing: Sequence[str] = ()) -> str:
        how = f"-o {quote(f'Global.checkpoints={self.path}')}"
        if any(map(_DOES_NOT_FIT.match, differing)):
            purpose = "move it away"
        elif any(map(_OTHER_STEPS.match, differing)):
            purpose = f"move it away; if a step takes as many images as before, it goes on with {how}"
        else:
            purpose = f"continue it on purpose with {how}"
        return f"Global.save_model_dir: {self.path} holds another run ({why}); choose another folder, or {purpose}"

    def record(self, entry: Mapping[str, Any]) -> None:
        """Append one object to `metrics.jsonl` and show it to the loggers. Raises UserError where the disk is full."""
        if self._records is None:
            return
        try:
            self._records.append(entry)
        except OSError as error:
            raise UserError(
                f"{self._records.path}: cannot be written: {error.strerror}; checkpoints are whole"
            ) from None
        tell(self.loggers, entry)

    def last(self, key: str) -> Any:
        """The value of the last record of `metrics.jsonl` that has this key; None where there is none."""
        return self._records.last(key) if self._records is not None else None

    def forget_after(self, step: int, *, evaluated_anew: bool = False) -> int:
        """Drop records of steps that a resumed run is about to repeat; see `Records.forget_after`."""
        if self._records is None:
            return step
        try:
            return self._records.forget_after(step, evaluated_anew=evaluated_anew)
        except OSError as error:
            raise self._unwritable(error) from None

    def close(self) -> None:
        """Release the lock and close the files and the loggers."""
        close(self.loggers)
        for file in (self._records, self._lock):
            if file is not None:
                file.close()
