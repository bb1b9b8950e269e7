"""The schema of `compare.yml`: strictly typed, one sentence a field, as `ocr_cml.schema` is for a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from ocr_cml.losses import TERMS
from ocr_cml.schema import Network, NotNegative, OneKey, Positive, Section

_FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=40)]
"""Longer ones leave no room in the charts."""


class Method(Section):
    """One way to train: how many students, by which terms, with which teacher."""

    name: _FolderName = Field(description="Its row in the table and its folder; letters, digits and . _ - only.")
    students: Positive | Literal["max"] = Field(
        1, description="How many students learn together; max: as many as the largest of the methods that run."
    )
    teacher: Literal["none", "inference", "network"] = Field(
        "none", description="inference shows its map alone; network can be looked into, which feature terms need."
    )
    terms: Annotated[list[OneKey], Field(min_length=1)] = Field(
        description="The loss terms, as in Loss.loss_config_list."
    )
    overrides: list[str] = Field([], description="Further changes of this method alone, Key.sub=value.")

    @property
    def count(self) -> int:
        """The number of students, once `max` has been resolved."""
        assert isinstance(self.students, int)
        return self.students

    @property
    def learns_alone(self) -> bool:
        """Whether its students learn from labels alone, unchanged otherwise: each as if there were no other."""
        supervised = all(TERMS[name].role == "supervised" for entry in self.terms for name in entry if name in TERMS)
        return supervised and self.teacher == "none" and not self.overrides


def references(methods: Sequence[Method], of: Sequence[Method]) -> list[Method]:
    """Those of `methods` whose students are what "alone" means: K of them are K students trained alone.

    Of all methods of a file, `of`, the first that learns alone says by which terms; one with other terms, another loss
    on the labels, is a method like any other.
    """
    first = next((method for method in of if method.learns_alone), None)
    return [method for method in methods if first and method.learns_alone and method.terms == first.terms]


class Teachers(Section):
    """The frozen networks that methods ask for by kind."""

    inference: Network | None = Field(None, description="An inference model; null: the base's.")
    network: Network | None = Field(None, description="Backbone, Neck, Head and pretrained; null: the base's.")


class CompareConfig(Section):
    """A comparison."""

    base: str = Field(description="The configuration that every method starts from.")
    overrides: list[str] = Field([], description="Changes of the base for all methods, Key.sub=value.")
    output: str = Field("output/compare", description="Folder of the runs, the tables and the chart.")
    seeds: Annotated[list[NotNegative], Field(min_length=1)] = Field(
        description="Global.seed of the runs; each method is trained once with each."
    )
    jobs: Positive = Field(1, description="Trainings at once, each on its share of the cores and all on one GPU.")
    score: Literal["last", "best"] = Field(
        "last", description="The evaluation that counts for a network: at the end, or its own best."
    )
    only: list[str] | None = Field(None, description="Names of the methods to run and to report; null: all.")
    teachers: Teachers = Field(Teachers(), description="The frozen networks.")
    methods: Annotated[list[Method], Field(min_length=1)] = Field(description="The methods.")
