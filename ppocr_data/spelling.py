"""What a misspelled word most likely meant, as every message of a user's mistake says it."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def nearest(word: str, known: Collection[str]) -> str | None:
    """The known word that `word` most likely meant, or None."""
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if found:
        return found[0]
    folded = {name.lower().replace("_", ""): name for name in known}
    return folded.get(word.lower().replace("_", ""))


def hint(word: object, known: Collection[str], otherwise: str = "known") -> str:
    """`did you mean 'shrink_ratio'?`; where nothing is like it, all that there is: `known: shrink_ratio, thresh`.

    Args:
        word: what was written.
        known: what could have been.
        otherwise: what the known words are called, where all of them are named.
    """
    guess = nearest(str(word), known)
    return f"did you mean {guess!r}?" if guess else f"{otherwise}: {', '.join(known) or 'none'}"
