"""From a Config to objects: students with their weights, teachers that answer, bound terms, data."""

from __future__ import annotations

from ocr_cml.assemble.data import (
    batch_of,
    check_images,
    eval_dataset,
    labelled_dataset,
    labels_digest,
    names_digest,
    normalization,
    prepare_embedded_set,
    resize_rule,
    samples_a_step,
    shrink_rule,
    unlabelled_dataset,
    unlabelled_images,
)
from ocr_cml.assemble.machine import recomputes, side_by_side, use_device, uses_amp
from ocr_cml.assemble.students import (
    refuse_twins,
    seeded_students,
    start_of,
    start_record,
    starting_students,
    students_of,
    trained_students,
    twins,
)
from ocr_cml.assemble.teachers import build_teachers, teacher_record
from ocr_cml.assemble.terms import build_cohort

__all__ = [
    "batch_of",
    "build_cohort",
    "build_teachers",
    "check_images",
    "eval_dataset",
    "labelled_dataset",
    "labels_digest",
    "names_digest",
    "normalization",
    "prepare_embedded_set",
    "recomputes",
    "refuse_twins",
    "resize_rule",
    "samples_a_step",
    "seeded_students",
    "shrink_rule",
    "side_by_side",
    "start_of",
    "start_record",
    "starting_students",
    "students_of",
    "teacher_record",
    "trained_students",
    "twins",
    "unlabelled_dataset",
    "unlabelled_images",
    "use_device",
    "uses_amp",
]
