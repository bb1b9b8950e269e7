"""Loss terms by the name that a configuration gives them (PaddleOCR's names without their prefix `Distillation`).

A term is an `nn.Layer` with keyword-only arguments: `term(learner, guide, targets)` -> unweighted scalar. Its class
says what it needs: `role` is "supervised" (no guide), "mutual" (its guide is a peer) or "teacher" (its guide is
frozen); `log_name` begins its name in logs; a `FeatureTerm` compares intermediate features and must be bound.
"""

from __future__ import annotations

from paddle import nn

from ocr_cml.losses.base import FeatureTerm
from ocr_cml.losses.db import DBLoss
from ocr_cml.losses.kd.afd import AFDLoss
from ocr_cml.losses.kd.at import ATLoss
from ocr_cml.losses.kd.logits import LogitsLoss
from ocr_cml.losses.kd.nst import NSTLoss
from ocr_cml.losses.kd.ofd import OFDLoss
from ocr_cml.losses.kd.rkd import RKDLoss
from ocr_cml.losses.kd.st import STLoss
from ocr_cml.losses.mutual import DMLLoss
from ocr_cml.losses.targets import Targets, decode_targets
from ocr_cml.losses.teacher import TeacherLoss

TERMS: dict[str, type[nn.Layer]] = {
    "DBLoss": DBLoss,
    "DMLLoss": DMLLoss,
    "TeacherLoss": TeacherLoss,
    "LogitsLoss": LogitsLoss,
    "STLoss": STLoss,
    "ATLoss": ATLoss,
    "NSTLoss": NSTLoss,
    "RKDLoss": RKDLoss,
    "OFDLoss": OFDLoss,
    "AFDLoss": AFDLoss,
}

__all__ = ["TERMS", "FeatureTerm", "Targets", "decode_targets"]
