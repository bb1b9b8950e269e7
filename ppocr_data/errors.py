"""Errors that are a person's to mend, not a programmer's.

Everything a user can get wrong (a config key, a label line, a weight file) raises a `UserError`. The scripts under
`tools/` print its message on standard error and leave with exit code 2; any other exception is a defect of ours and
keeps its traceback.
"""

from __future__ import annotations


class UserError(Exception):
    """A mistake the user can mend. The message says what is wrong, where, and what to do."""


class DataError(UserError):
    """A label file, an image or a data folder cannot be used. The message names file and line."""


class ConfigError(UserError):
    """The configuration cannot be used. The message lists every problem with its dotted key."""


class WeightsError(UserError):
    """Weights do not fit the network. The message lists missing, unexpected and misshapen keys."""


class ModelError(UserError):
    """A network or an inference model cannot be built, opened, or does not answer as a detector does."""
