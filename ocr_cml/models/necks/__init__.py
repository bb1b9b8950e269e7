"""Necks: four feature maps at 1/4 ... 1/32 -> one map [N,out_channels,H/4,W/4] that joins all scales."""

from __future__ import annotations

from paddle import nn

from ocr_cml.models.necks.pyramids import DBFPN, LKPAN, RSEFPN
from ocr_cml.models.necks.replk import RepLKFPN, RepLKPAN

NECKS: dict[str, type[nn.Layer]] = {
    "DBFPN": DBFPN,
    "RSEFPN": RSEFPN,
    "LKPAN": LKPAN,
    "RepLKFPN": RepLKFPN,
    "RepLKPAN": RepLKPAN,
}
