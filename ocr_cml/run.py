"""The run folder: who owns it, what it records, and where a start finds what an earlier one left."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import yaml

from ocr_cml import config as configuration
from ocr_cml.checkpoint import LATEST
from ocr_cml.schema import Config
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
    "Global.use_gpu",
    "Train.loader.num_workers",
    "Optimizer.lr.decay_steps",
)


class RunFolder:
    """A run's folder, locked by one process (rank 0) at a time.

    Attributes:
        path: the folder.
        resume_from: the folder to resume from, or None for a fresh start.

    Raises:
        ConfigError: the folder holds a run of another configuration, and resuming was not asked for.
        UserError: the folder cannot be written, or another process is training in it.
    """

    def __init__(self, config: Config, *, is_owner: bool = True) -> None:
        self.path = Path(config.Global.save_model_dir)
        self._lock: TextIO | None = None
        self._metrics: TextIO | None = None
        if is_owner:
            self._acquire()
        self.resume_from = self._decide(config)
        if is_owner:
            configuration.save(config, self.path / "config.yml")
            self._metrics = (self.path / "metrics.jsonl").open("a", encoding="utf-8")

    def _acquire(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("w")
        except OSError as error:
            raise UserError(f"Global.save_model_dir: {self.path} cannot be written: {error.strerror}") from None
        if not _lock_file(self._lock):
            raise UserError(
                f"Global.save_model_dir: another process is training in {self.path}; choose another folder or stop it"
            )

    def _decide(self, config: Config) -> Path | None:
        if config.Global.checkpoints:
            return Path(config.Global.checkpoints)
        recorded = self.path / "config.yml"
        has_checkpoint = any((self.path / name).is_dir() for name in (LATEST, f"{LATEST}.previous"))
        if not has_checkpoint:
            return None
        differing = different_keys(recorded, config) if recorded.is_file() else ["config.yml is missing"]
        if differing:
            raise ConfigError(
                f"Global.save_model_dir: {self.path} holds another run ({', '.join(differing[:5])}"
                f"{' and more' if len(differing) > 5 else ''} differ); choose another folder, or continue it "
                f"on purpose with -o Global.checkpoints={self.path}"
            )
        return self.path

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

    def forget_after(self, step: int) -> None:
        """Drop records of steps that a resumed run is about to repeat, so that each step stands there once."""
        path = self.path / "metrics.jsonl"
        if self._metrics is None:
            return
        self._metrics.close()
        kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
        temporary = path.with_name("metrics.jsonl.tmp")
        temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        os.replace(temporary, path)
        self._metrics = path.open("a", encoding="utf-8")

    def close(self) -> None:
        """Release the lock and close the files."""
        for file in (self._metrics, self._lock):
            if file is not None:
                file.close()


def different_keys(recorded: Path, config: Config) -> list[str]:
    """Dotted keys in which a recorded configuration differs from this one, beside those that a resume may change."""
    before = _flat(yaml.safe_load(recorded.read_text(encoding="utf-8")))
    now = _flat(yaml.safe_load(configuration.dump(config)))
    differing = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
    return sorted(key for key in differing if not any(key == f or key.startswith(f + ".") for f in _FREE_KEYS))


def start_logging(path: Path | None) -> None:
    """Log to standard error, and to `path` where given. Standard output is left to results."""
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    for handler in list(LOG.handlers):
        LOG.removeHandler(handler)
        handler.close()
    to_people = logging.StreamHandler(sys.stderr)
    to_people.setFormatter(logging.Formatter("%(message)s"))
    LOG.addHandler(to_people)
    if path is not None:
        to_file = logging.FileHandler(path, encoding="utf-8")
        to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        LOG.addHandler(to_file)


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
