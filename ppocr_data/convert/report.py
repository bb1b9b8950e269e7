"""What a person is told after a conversion: the figures, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ppocr_data.convert.write import Part, overrides


def summary(train: Part, val: Part, notes: Sequence[str], program: str) -> str:
    """The notes, a table of figures, what a training would refuse, and the next steps (see `next_steps`)."""
    refused = [_refused(part, part is train) for part in (train, val) if part.problems]
    return "\n\n".join(["\n".join(notes), _table(train, val), *refused, next_steps(train, val, program)])


def next_steps(train: Part, val: Part, program: str) -> str:
    """The command that checks the labels and, on the last line, the arguments that train on them.

    Args:
        train, val: what was written.
        program: how the tool was called, such as "python tools/prepare_data.py".
    """
    files = shlex.join([str(train.label_file), str(val.label_file)])
    folders = [str(part.data_dir) for part in ((train,) if train.data_dir == val.data_dir else (train, val))]
    return (
        f"To look for label mistakes:\n{program} check {files} --data-dir {shlex.join(folders)}\n\n"
        "To train on it, add this to tools/train.py, and look at preview.jpg in the run folder at once:\n"
        f"{overrides(train, val)}"
    )


def _table(train: Part, val: Part) -> str:
    rows: list[tuple[object, ...]] = [("", "images", "boxes", "readable", "don't care", "without text")]
    for name, part in (("train", train), ("val", val)):
        rows.append((name, part.images, part.boxes, part.boxes - part.ignored, part.ignored, part.empty))
    return "\n".join(f"{row[0]:5}" + "".join(f"{figure:>14}" for figure in row[1:]) for row in rows)


def _refused(part: Part, trains: bool) -> str:
    skip = "Mend them, or add Train.dataset.on_bad_sample=skip to what follows."
    mend = "Mend them: whoever is scored on them would be on other texts than the next."
    return (
        f"{len(part.problems)} labels in {part.label_file} cannot be used as they are, the first:\n"
        f"  {part.problems[0]}\n"
        f"The check below shows them. {skip if trains else mend}"
    )
