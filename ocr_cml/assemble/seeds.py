"""One seed of the configuration, many that are drawn from."""

from __future__ import annotations

import numpy as np


def mixed(seed: int, position: int) -> int:
    """A seed for each part, without the correlation of neighbouring seeds."""
    return int(np.random.SeedSequence([seed, position]).generate_state(1)[0])
