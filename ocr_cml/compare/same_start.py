"""Whether the students of a cohort differ at all; asked before hours of work."""

from __future__ import annotations

from collections.abc import Sequence

from ocr_cml.compare.outcome import PlannedRun
from ppocr_data.errors import WeightsError


def refuse_same_students(runs: Sequence[PlannedRun]) -> None:
    """Students from one weight file stay one student: "the best of two" would mean nothing, and mutual terms fail.

    Raises:
        WeightsError: two students of a method start from the same weights.
    """
    from ocr_cml import assemble
    from ocr_cml.assemble.students import from_the_seed, one_student_twice

    lines: dict[str, list[str]] = {}
    for run in {run.method: run for run in runs}.values():
        section = run.config.Global
        from_files = section.pretrained_model or any(net.pretrained for net in run.config.students.values())
        if len(run.config.students) < 2 or not from_files:
            continue
        for one, other, differing in assemble.twins(assemble.starting_students(run.config)[0]):
            if not differing:
                text = f"{one_student_twice(one, other)}; let a part of one start from the seed: {from_the_seed(other)}"
                lines.setdefault(text, []).append(run.method)
    if lines:
        raise WeightsError("\n".join(f"{line} (of {', '.join(methods)})" for line, methods in lines.items()))
