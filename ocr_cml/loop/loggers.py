"""A training's numbers in other viewers: VisualDL, TensorBoard, Weights & Biases, each through its own library.

`Global.loggers` chooses; `metrics.jsonl` is written in any case and holds the same numbers at full precision. What a
logger is shown: `loss`, `lr`, every loss term (`db/Student`), the agreement of the students, `hmean/Student`,
`precision/Student` and `recall/Student` of every evaluation.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from ocr_cml.log import LOG
from ppocr_data.errors import ConfigError

LIBRARIES = {"visualdl": "visualdl", "tensorboard": "tensorboardX", "wandb": "wandb"}
"""Name in `Global.loggers` -> the module that it needs; `pip install "ocr-cml[NAME]"` brings it."""

_SCORES = ("hmean", "precision", "recall")
_NOT_SHOWN = ("step", "seconds", "steps", "eval_seconds")


class Logger(Protocol):
    """Takes the records of `metrics.jsonl` one by one."""

    def record(self, entry: Mapping[str, Any]) -> None:
        """Show one record."""

    def close(self) -> None:
        """Write what is left."""


def check(names: Sequence[str]) -> None:
    """Refuse what is not installed. Raises ConfigError with the command that brings it."""
    for name in names:
        _library(name)


def open_loggers(names: Sequence[str], run: Path, config_yaml: str, step: int = 0) -> list[Logger]:
    """The loggers of a run.

    Args:
        names: of `LIBRARIES`.
        run: the run folder; files go to `RUN/visualdl`, `RUN/tensorboard`, `RUN/wandb`.
        config_yaml: the resolved configuration, shown where the viewer has a place for it.
        step: where a resumed run goes on; what a viewer holds of later steps is overwritten where it can be.

    A viewer that cannot be opened (nobody is logged in, say) is left out with a warning.

    Raises:
        ConfigError: a library is not installed.
    """
    opened: list[Logger] = []
    for name in names:
        library = _library(name)
        try:
            opened.append(_OPEN[name](library, run / name, config_yaml, step))
        except Exception as error:  # noqa: BLE001  as in `_no_harm`
            LOG.warning("%s cannot be opened and gets no records: %s", name, error)
    return opened


def tell(loggers: list[Logger], entry: Mapping[str, Any]) -> None:
    """Show a record to every logger."""
    for logger in list(loggers):
        with _no_harm(logger, loggers):
            logger.record(entry)


def close(loggers: list[Logger]) -> None:
    """Let every logger write what is left."""
    for logger in list(loggers):
        with _no_harm(logger, loggers):
            logger.close()


@contextlib.contextmanager
def _no_harm(logger: Logger, loggers: list[Logger]) -> Iterator[None]:
    """A logger that fails is left out from then on: a viewer must not stop a training."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  whatever a viewer's library or its server raises
        loggers.remove(logger)
        LOG.warning("%s failed and gets no more records: %s", type(logger).__name__.strip("_"), error)


def scalars(entry: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The finite numbers of a record by the names that viewers show."""
    scored = entry.get("eval", entry.get("teacher"))
    if isinstance(scored, Mapping):
        for network, scores in scored.items():
            for key in _SCORES:
                yield f"{key}/{network}", float(scores[key])
        return
    for key, value in entry.items():
        if key not in _NOT_SHOWN and isinstance(value, (int, float)) and math.isfinite(value):
            # TensorBoard takes no `<`, `,` or `#` in a name.
            yield key.replace("<-", "_from_").replace(",", "_and_").replace("#", "_"), float(value)


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(LIBRARIES[name])
    except ImportError as error:
        raise ConfigError(
            f"Global.loggers: {name} needs {LIBRARIES[name]}, which cannot be imported ({error}); "
            f'install it with: python -m pip install "{LIBRARIES[name]}", or leave {name} out'
        ) from None


class _TensorBoard:
    def __init__(self, library: ModuleType, folder: Path, config_yaml: str, step: int) -> None:
        self._writer = library.SummaryWriter(str(folder), purge_step=step + 1 if step else 0)
        self._writer.add_text("config.yml", f"```yaml\n{config_yaml}\n```", step)

    def record(self, entry: Mapping[str, Any]) -> None:
        for name, value in scalars(entry):
            self._writer.add_scalar(name, value, entry["step"])
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _VisualDL:
    def __init__(self, library: ModuleType, folder: Path, config_yaml: str, step: int) -> None:
        self._writer = library.LogWriter(logdir=str(folder))
        self._writer.add_text(tag="config.yml", text_string=config_yaml, step=step)

    def record(self, entry: Mapping[str, Any]) -> None:
        for name, value in scalars(entry):
            self._writer.add_scalar(tag=name, value=value, step=entry["step"])

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    """Project, entity, name and mode are its own variables': WANDB_PROJECT, WANDB_ENTITY, WANDB_NAME, WANDB_MODE."""

    def __init__(self, library: ModuleType, folder: Path, config_yaml: str, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # The same folder goes on with the same run there, too.
        name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        self._run = library.init(dir=str(folder), id=name, resume="allow", config={"config.yml": config_yaml})

    def record(self, entry: Mapping[str, Any]) -> None:
        self._run.log(dict(scalars(entry)), step=entry["step"])

    def close(self) -> None:
        self._run.finish()


_OPEN: dict[str, Callable[[ModuleType, Path, str, int], Logger]] = {
    "tensorboard": _TensorBoard,
    "visualdl": _VisualDL,
    "wandb": _WeightsAndBiases,
}
