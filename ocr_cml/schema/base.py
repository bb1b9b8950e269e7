"""What every section is, and types that several use."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
OneKey = dict[str, dict[str, Any] | None]
"""A one-key mapping, PaddleOCR's form of a named step: `- MakeShrinkMap: {shrink_ratio: 0.4}`."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, (str, float, int)) else value


OneOrMore = BeforeValidator(_listed)
"""Of a list: PaddleOCR's files may give its only entry without brackets."""


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, types are not coerced, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=(), allow_inf_nan=False)
