"""Which keys of a configuration differ from those that a run was begun with, beside what a resume may change."""

from __future__ import annotations

from pathlib import Path

import yaml

from ocr_cml import config as configuration
from ocr_cml.checkpoint import LATEST
from ocr_cml.schema import Config
from ocr_cml.yaml_source import dotted
from ppocr_data.errors import ConfigError

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
            f"{recorded}: what the run in this folder recorded cannot be read: either the file is damaged "
            f"({LATEST}/config.yml is a copy), or another version made the run; choose another Global.save_model_dir, "
            f"or go on with that version\n{error}"
        ) from None
    return keys_that_differ(then, config, also)


def keys_that_differ(then: Config, today: Config, also: tuple[str, ...] = ()) -> list[str]:
    """As `different_keys`, of a record that has been read."""
    before, now = (dotted(yaml.safe_load(configuration.dump(each))) for each in (then, today))
    free = [key for key in _FREE_KEYS if key not in also]
    differing = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
    return sorted(key for key in differing if not any(key == f or key.startswith(f + ".") for f in free))
