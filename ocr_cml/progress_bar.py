"""A bar for work whose length is known only as it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

_PATIENCE = 0.2
"""Seconds before a bar shows: what is done by then needs none."""


@contextmanager
def progress_bar(what: str | None = None) -> Iterator[Callable[[int, int], None]]:
    """A bar of images on standard error where that is a terminal, else nothing; yields its `progress(done, total)`."""
    with tqdm(desc=what, unit="image", disable=None, leave=False, delay=_PATIENCE) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            if done < bar.n:  # a second folder
                bar.update(-bar.n)
            bar.update(done - bar.n)

        yield progress
