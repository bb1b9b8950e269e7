"""Data-parallel training without a second process: a single one changes nothing, and the flat buffer is cut right."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn

from ocr_cml import distributed


def test_a_process_that_nobody_launched_is_rank_0_of_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PADDLE_TRAINERS_NUM", raising=False)
    assert distributed.start() == (0, 1)
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "1")
    assert distributed.start() == (0, 1)


def test_alone_nothing_changes() -> None:
    paddle.seed(1)
    layer = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm(2))
    (layer(paddle.to_tensor([[1.0, 2.0], [3.0, 5.0]])) ** 3).sum().backward()
    before = {name: value.numpy().copy() for name, value in layer.state_dict().items()}
    learned = [p for p in layer.parameters() if not p.stop_gradient]
    gradients = [p.grad.numpy().copy() for p in learned]
    distributed.average_gradients(layer.parameters(), 1)
    distributed.average_statistics([layer], 1)
    distributed.broadcast_weights([layer], 1)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])
    for parameter, gradient in zip(learned, gradients, strict=True):
        np.testing.assert_array_equal(parameter.grad.numpy(), gradient)


def test_alone_a_parameter_without_gradient_stays_without() -> None:
    parameter = paddle.create_parameter([2], "float32")
    distributed.average_gradients([parameter], 1)
    assert parameter.grad is None


def test_what_no_term_reaches_in_any_process_stays_without_gradient() -> None:
    """Zeros would let weight decay, and Adam with it, eat a branch that nothing teaches."""
    reached, elsewhere, nowhere = (paddle.create_parameter([2], "float32") for _ in range(3))
    reached.sum().backward()
    distributed._scatter_back(paddle.to_tensor([1.0, 2.0, 0.0, 3.0, 0.0, 0.0]), [reached, elsewhere, nowhere])
    np.testing.assert_array_equal(reached.grad.numpy(), [1, 2])
    np.testing.assert_array_equal(elsewhere.grad.numpy(), [0, 3])
    assert nowhere.grad is None


def test_a_flat_buffer_is_cut_back_into_gradients_of_each_shape() -> None:
    first, second, third = (paddle.create_parameter(shape, "float32") for shape in ([2, 2], [1], [3]))
    (first.sum() + 2 * third.sum()).backward()
    assert second.grad is None
    kept = first.grad
    distributed._scatter_back(paddle.arange(8, dtype="float32"), [first, second, third])
    np.testing.assert_array_equal(first.grad.numpy(), [[0, 1], [2, 3]])
    np.testing.assert_array_equal(second.grad.numpy(), [4])
    np.testing.assert_array_equal(third.grad.numpy(), [5, 6, 7])
    np.testing.assert_array_equal(kept.numpy(), first.grad.numpy())
