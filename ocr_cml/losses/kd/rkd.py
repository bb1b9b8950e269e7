"""Relational knowledge distillation (Park et al., CVPR 2019, sections 3.2.1 and 3.2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import paddle
import paddle.nn.functional as F
from paddle import Tensor

from ocr_cml.losses.base import FeatureTerm, require
from ocr_cml.losses.features import length, pooled

_COINCIDING = 1e-3
"""Share of the mean distance of an image's embeddings below which two of them are one."""


def cells(feature: Tensor, grid: int) -> Tensor:
    """A feature `[N,C,h,w]` pooled to grid x grid cells: embeddings `[N, grid^2, C]`."""
    return pooled(feature, [grid, grid]).flatten(2).transpose([0, 2, 1])


def _differences(points: Tensor) -> Tensor:
    """`[N,M,C]` -> `[N,M,M,C]`, entry (i, j) is point j minus point i."""
    return points.unsqueeze(1) - points.unsqueeze(2)


def distances(differences: Tensor) -> Tensor:
    """Distances between an image's embeddings over their mean: `[N,M,M]`, zero on the diagonal."""
    count = differences.shape[1]
    apart = 1.0 - paddle.eye(count)
    far = length(differences, -1) * apart
    return far / (far.sum(axis=[1, 2], keepdim=True) / (count * (count - 1)) + 1e-12)


def angles(differences: Tensor) -> Tensor:
    """Cosine at vertex i between j and k: `[N,M,M,M]`, zero unless j and k differ from i and from each other.

    Embeddings that coincide but for rounding, those of cells of black padding, have no direction: theirs would be the
    rounding's, with a gradient a million times that of the others.
    """
    count = differences.shape[1]
    apart = 1.0 - paddle.eye(count)
    far = length(differences, -1, keepdim=True)
    usual = far.detach().sum(axis=[1, 2], keepdim=True) / (count * (count - 1))
    directed = (far.detach() > _COINCIDING * usual).astype("float32")
    towards = differences * directed / (far * directed + (1.0 - directed))
    cosine = paddle.matmul(towards, towards, transpose_y=True)
    return cosine * (apart.unsqueeze(2) * apart.unsqueeze(1) * apart.unsqueeze(0))


def relation_losses(learner: Tensor, guide: Tensor) -> tuple[Tensor, Tensor]:
    """The Huber losses of distances and of angles between two sets of embeddings `[N,M,C]` and `[N,M,C']`.

    Means over the pairs and triples of *different* embeddings of one image, as the paper's sums; the authors' code
    divides by M^2 and M^3 instead, with the zeros of the diagonals.
    """
    ours, theirs = _differences(learner), _differences(guide)
    images, count = learner.shape[0], learner.shape[1]
    pairs, triples = images * count * (count - 1), images * count * (count - 1) * (count - 2)
    distance = F.smooth_l1_loss(distances(ours), distances(theirs), reduction="sum") / pairs
    angle = F.smooth_l1_loss(angles(ours), angles(theirs), reduction="sum") / triples
    return distance, angle


class RKDLoss(FeatureTerm):
    """Keep the teacher's distances and angles between places of an image.

    The paper relates the images of a batch of 64; a detector's batch has a few. Here the embeddings are the cells of
    one image's pooled feature, so that a batch of 1 has pairs and the value does not depend on the batch size.

    Args:
        layers: pairs of feature names, [learner's, guide's]. Channels and sizes may differ.
        distance_weight: weight of the distances (the paper's 25), >= 0.
        angle_weight: weight of the angles (the paper's 50), >= 0.
        grid: cells along each side, 2 to 8; work and memory grow with its sixth power.

    Raises:
        ConfigError: a negative weight, two of 0, or a grid outside 2 to 8.
    """

    log_name: ClassVar[str] = "rkd"

    def __init__(
        self,
        *,
        layers: Sequence[tuple[str, str]],
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        grid: int = 4,
    ) -> None:
        super().__init__(layers=layers)
        require(distance_weight >= 0, f"RKDLoss.distance_weight: must be at least 0, is {distance_weight}")
        require(angle_weight >= 0, f"RKDLoss.angle_weight: must be at least 0, is {angle_weight}")
        some = distance_weight + angle_weight > 0
        require(some, "RKDLoss.distance_weight, angle_weight: are both 0, so the term teaches nothing; raise one")
        require(2 <= grid <= 8, f"RKDLoss.grid: must lie between 2 and 8, is {grid}")
        self.distance_weight, self.angle_weight, self.grid = distance_weight, angle_weight, grid

    def pair_loss(self, index: int, learner: Tensor, guide: Tensor) -> Tensor:
        """See `relation_losses`."""
        distance, angle = relation_losses(cells(learner, self.grid), cells(guide, self.grid))
        return self.distance_weight * distance + self.angle_weight * angle
