"""Checkpoints that survive a kill at any moment and load without running code.

A checkpoint is a folder: one safetensors file for each student, one for each student's optimizer, one for connectors
and exponential means where there are any, and `state.json` with the step, the best result and a SHA-256 of every file.
It is written beside its place and renamed into it, and the one before is kept, so that there is a whole one at every
moment.

What is *not* in it: the teachers (their path and hash are), and the state of a random number generator: samples are
drawn from (seed, epoch, index) and no operation of a step is random, so the step alone says where the data order
stands.
"""

from __future__ import annotations

from ocr_cml.checkpoint.arrays import Arrays, arrays_of, optimizer_arrays, restore_layers, restore_optimizer
from ocr_cml.checkpoint.progress import Progress
from ocr_cml.checkpoint.reading import Checkpoint, find, open_checkpoint, progress_in
from ocr_cml.checkpoint.writing import finish_interrupted_save, save, swap_with_previous
from ocr_cml.run_files import BEST, LATEST, is_checkpoint, is_kept, previous_of

__all__ = [
    "BEST",
    "LATEST",
    "Arrays",
    "Checkpoint",
    "Progress",
    "arrays_of",
    "find",
    "finish_interrupted_save",
    "is_checkpoint",
    "is_kept",
    "open_checkpoint",
    "optimizer_arrays",
    "previous_of",
    "progress_in",
    "restore_layers",
    "restore_optimizer",
    "save",
    "swap_with_previous",
]
