"""Loss: terms and their weights."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from ocr_cml.schema.base import OneKey, Section


class WeightSchedule(Section):
    """A weight that moves linearly from `start` to `end` between two shares of the training, constant outside."""

    start: Annotated[float, Field(ge=0)] = Field(0.0, description="Weight before the ramp.")
    end: Annotated[float, Field(ge=0)] = Field(1.0, description="Weight after the ramp.")
    over: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]] = Field(
        (0.0, 0.3), description="The ramp's begin and end as shares of the training."
    )

    @model_validator(mode="after")
    def _ordered(self) -> WeightSchedule:
        if self.over[0] > self.over[1]:
            raise ValueError("over: the ramp must begin before it ends")
        return self


def _kind_of_weight(value: Any) -> str:
    return "schedule" if isinstance(value, (dict, WeightSchedule)) else "number"


Weight = Annotated[
    Annotated[float, Field(ge=0), Tag("number")] | Annotated[WeightSchedule, Tag("schedule")],
    Discriminator(_kind_of_weight),
]
"""A constant weight, or its schedule over the training."""

UNION_TAGS = ("number", "schedule")
"""Tags that pydantic puts into the locations of errors in a `Weight`; messages leave them out."""


class LossSection(Section):
    """The sum of terms. Each list entry is one key, the term's name, over its arguments."""

    name: Literal["CombinedLoss"] = Field("CombinedLoss", description="PaddleOCR's name for a sum of terms.")
    update: Literal["synchronous", "alternating"] = Field(
        "synchronous", description="alternating: Algorithm 1 of Deep Mutual Learning, one student after the other."
    )
    loss_config_list: Annotated[list[OneKey], Field(min_length=1)] = Field(description="The terms.")
