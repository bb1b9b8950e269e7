"""What terms are: their roles, the checks of their arguments, and those that compare pairs of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import paddle
from paddle import Tensor, nn

from ocr_cml.losses.targets import Targets
from ocr_cml.models.detector import DetOutput, as_float32
from ppocr_data.errors import ConfigError, ModelError
from ppocr_data.spelling import hint

Role = Literal["supervised", "mutual", "teacher"]
"""supervised: learns from labels; mutual: its guide is a peer that learns as well; teacher: its guide is frozen."""


def require(condition: bool, message: str) -> None:
    """Raise ConfigError unless a user's argument is valid."""
    if not condition:
        raise ConfigError(message)


def require_choice(term: str, key: str, value: Any, choices: Sequence[str]) -> None:
    """Raise ConfigError naming the nearest choice unless `value` is one of `choices`."""
    if value not in choices:
        raise ConfigError(f"{term}.{key}: unknown {value!r}; {hint(value, choices)}")


class FeatureTerm(nn.Layer):
    """The mean of a loss over pairs of features.

    A subclass gives `pair_loss` and, if it carries weights (trained with the learner, never exported), `connector`.
    `bind` is called once, before the optimizer is made; a term with connectors serves one learner and one guide.

    Args:
        layers: pairs of feature names, [learner's, guide's], for example [[backbone.2, backbone.2], [neck, neck]].

    Raises:
        ConfigError: an entry is no pair of names.
    """

    role: ClassVar[Role] = "teacher"
    log_name: ClassVar[str]

    def __init__(self, *, layers: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        name = type(self).__name__
        require(len(layers) > 0, f"{name}.layers: name at least one pair of features: [[neck, neck]]")
        for pair in layers:
            fine = not isinstance(pair, str) and len(pair) == 2 and all(isinstance(end, str) for end in pair)
            require(fine, f"{name}.layers: {pair!r} is no pair [learner's feature, guide's feature]")
        self.layers = [(ours, theirs) for ours, theirs in layers]
        self.connectors = nn.LayerList()

    def bind(self, learner_channels: Mapping[str, int], guide_channels: Mapping[str, int]) -> None:
        """Check that both networks have the named features, and make the connectors between their channels.

        Args:
            learner_channels: channels of every feature of the learner, by name.
            guide_channels: the same of the guide.

        Raises:
            ConfigError: a feature that a network does not have, with the nearest that it has.
        """
        for ours, theirs in self.layers:
            require_choice(type(self).__name__, "layers (learner)", ours, tuple(learner_channels))
            require_choice(type(self).__name__, "layers (guide)", theirs, tuple(guide_channels))
        made = [self.connector(learner_channels[ours], guide_channels[theirs]) for ours, theirs in self.layers]
        some = any(layer is not None for layer in made)  # then one for each pair, which `pair_loss` finds by its index
        self.connectors = nn.LayerList([nn.Identity() if layer is None else layer for layer in made] if some else [])

    def connector(self, learner: int, guide: int) -> nn.Layer | None:
        """The trained layer between a pair's features of so many channels; None: this pair needs none."""
        return None

    def pair_loss(self, index: int, learner: Tensor, guide: Tensor) -> Tensor:
        """The scalar loss of pair `index`; float32 features `[N,C,h,w]` as the networks gave them, guide detached."""
        raise NotImplementedError

    def forward(self, learner: DetOutput, guide: DetOutput | None, targets: Targets) -> Tensor:
        """The mean of the pairs' losses. Labels are not used.

        Raises:
            ModelError: a network does not give a feature, as an inference model does not.
        """
        assert guide is not None, f"{type(self).__name__} needs a guide"
        with paddle.amp.auto_cast(enable=False):  # Gram matrices and norms lose too much in 16 bits
            losses = [
                self.pair_loss(index, self._feature(learner, ours), self._feature(guide, theirs).detach())
                for index, (ours, theirs) in enumerate(self.layers)
            ]
        return paddle.add_n(losses) / len(losses)

    def _feature(self, output: DetOutput, name: str) -> Tensor:
        if name not in output.features:
            has = ", ".join(output.features) or "none"
            raise ModelError(f"{type(self).__name__}.layers: the network gives no feature {name!r}; it gives {has}")
        return as_float32(output.features[name])
