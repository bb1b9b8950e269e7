"""The package's log: to people on standard error, and to a run's `train.log`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from tqdm import tqdm

LOG = logging.getLogger("ocr_cml")


class ToPeople(logging.Handler):
    """Log messages on standard error, above a live display where there is one.

    A record with `live` set says what the display shows already; it is for the log file alone.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        if getattr(record, "live", False):
            return
        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except Exception:  # noqa: BLE001  a log that cannot be written must not stop a training
            self.handleError(record)


class _LogFile(logging.FileHandler):
    """A log that a full disk stops with one line, not with a traceback for every message."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once that the file takes no more, and leave it."""
        for logger in (LOG, logging.getLogger("ppocr_data")):
            logger.removeHandler(self)
        LOG.warning("%s: cannot be written any more: %s", self.baseFilename, sys.exc_info()[1])


def start_logging(path: Path | None) -> None:
    """Log to standard error, and to `path` where given. Standard output is left to results.

    Raises:
        OSError: the file cannot be written.
    """
    to_people = ToPeople()
    to_people.setFormatter(logging.Formatter("%(message)s"))
    handlers: list[logging.Handler] = [to_people]
    if path is not None:
        to_file = _LogFile(path, encoding="utf-8", errors="backslashreplace")
        to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        handlers.append(to_file)
    _install(handlers, logging.INFO)


def only_warn() -> None:
    """Show warnings alone, as `warning: ...` on standard error, by tools that keep no log."""
    to_people = ToPeople()
    to_people.setFormatter(logging.Formatter("warning: %(message)s"))
    _install([to_people], logging.WARNING)


def _install(handlers: list[logging.Handler], level: int) -> None:
    for logger in (LOG, logging.getLogger("ppocr_data")):
        logger.setLevel(level)
        logger.propagate = False
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        for handler in handlers:
            logger.addHandler(handler)
