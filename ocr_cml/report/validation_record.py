"""The form of `validation/validation.json`, which `ocr_cml.loop.validation` writes and a report draws."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

Point = Annotated[list[float], Field(min_length=2, max_length=2)]


class _Truth(BaseModel):
    points: list[Point]
    ignore: bool


class _Box(BaseModel):
    points: list[Point]
    score: float
    right: bool | None


class _Answer(BaseModel):
    tp: float
    num_gt: float
    num_det: float
    hmean: float
    boxes: list[_Box]


class _Page(BaseModel):
    source: str
    size: Point
    picture: str
    truth: list[_Truth]
    networks: dict[str, _Answer]
    maps: dict[str, str]


class ValidationRecord(BaseModel):
    """What a report reads of the record; more may stand there."""

    student: str
    step: int
    images: int
    of: int
    box_thresh: float
    curves: dict[str, list[dict[str, float]]]
    best: list[_Page]
    worst: list[_Page]
