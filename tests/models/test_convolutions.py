"""The fast ways are Paddle's own layers: the same names, values and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn

from ocr_cml.models import convolutions
from ocr_cml.models.convolutions import Conv2D, Conv2DTranspose

NARROWING: dict[str, Any] = {"kernel_size": 3, "padding": 1}
DEPTHWISE: dict[str, Any] = {"kernel_size": 3, "padding": 1, "groups": 6}
CASES: list[tuple[int, int, dict[str, Any]]] = [
    (8, 4, NARROWING),
    (8, 4, NARROWING | {"bias_attr": False}),
    (9, 1, {"kernel_size": 9, "padding": 4}),
    (8, 4, {"kernel_size": 5, "padding": [2, 2]}),
    (8, 4, {"kernel_size": 3, "padding": "SAME"}),
    (8, 4, NARROWING | {"padding": 0}),
    (8, 4, NARROWING | {"stride": 2}),
    (8, 4, NARROWING | {"dilation": 2, "padding": 2}),
    (8, 4, NARROWING | {"groups": 2}),
    (8, 4, {"kernel_size": (3, 1), "padding": (1, 0)}),
    (8, 4, {"kernel_size": 2, "padding": 1}),
    (8, 4, {"kernel_size": 1}),
    (8, 4, NARROWING | {"padding_mode": "reflect"}),
    (4, 8, NARROWING),
    (6, 6, DEPTHWISE),
    (6, 6, DEPTHWISE | {"bias_attr": False, "kernel_size": 5, "padding": 2}),
    (6, 6, DEPTHWISE | {"stride": 2}),
    (6, 6, DEPTHWISE | {"padding": 2, "dilation": 2}),
    (6, 12, DEPTHWISE),
    (1, 1, DEPTHWISE | {"groups": 1}),
]


def pair(ours: type[nn.Layer], plain: type[nn.Layer], *arguments: Any, **named: Any) -> tuple[nn.Layer, nn.Layer]:
    made, twin = ours(*arguments, **named), plain(*arguments, **named)
    assert list(made.state_dict()) == list(twin.state_dict())
    twin.set_state_dict(made.state_dict())
    return made, twin


def learn(layer: nn.Layer, image: np.ndarray) -> list[np.ndarray]:
    """Value, gradient of the input and of each parameter, for a loss that weighs every pixel otherwise."""
    x = paddle.to_tensor(image, stop_gradient=False)
    y = layer(x)
    weights = np.random.default_rng(3).standard_normal(y.shape).astype("float32")
    (y * paddle.to_tensor(weights)).sum().backward()
    return [y.numpy(), x.grad.numpy(), *(parameter.grad.numpy() for parameter in layer.parameters())]


def assert_near(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    assert len(first) == len(second)
    for mine, other in zip(first, second, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5 * max(1.0, float(np.abs(other).max())))


@pytest.mark.parametrize("size", [(1, 12, 10), (3, 5, 7), (2, 1, 40), (1, 3, 3)])
@pytest.mark.parametrize(("inputs", "outputs", "options"), CASES)
def test_a_convolution_learns_what_paddles_does(
    inputs: int, outputs: int, options: dict[str, Any], size: tuple[int, int, int]
) -> None:
    ours, plain = pair(Conv2D, nn.Conv2D, inputs, outputs, **options)
    n, h, w = size
    if options.get("padding_mode") == "reflect" and min(h, w) == 1:
        pytest.skip("there is nothing to mirror")
    if options["kernel_size"] == 3 and options["padding"] == 0 and min(h, w) < 3:
        pytest.skip("the kernel does not fit")
    image = np.random.default_rng(1).standard_normal((n, inputs, h, w)).astype("float32")
    assert_near(learn(ours, image), learn(plain, image))


@pytest.mark.parametrize("bias", [None, False])
@pytest.mark.parametrize("outputs", [1, 4])
def test_a_transposed_convolution_learns_what_paddles_does(outputs: int, bias: bool | None) -> None:
    ours, plain = pair(Conv2DTranspose, nn.Conv2DTranspose, 6, outputs, 2, stride=2, bias_attr=bias)
    image = np.random.default_rng(2).standard_normal((2, 6, 5, 9)).astype("float32")
    assert_near(learn(ours, image), learn(plain, image))


def test_the_fast_ways_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the comparisons above would compare Paddle's layers with themselves."""
    taken: list[str] = []

    def noted(name: str, function: Any) -> Any:
        return lambda *arguments: taken.append(name) or function(*arguments)

    monkeypatch.setattr(convolutions, "narrowing_conv", noted("narrowing", convolutions.narrowing_conv))
    monkeypatch.setattr(convolutions, "add_to_channels", noted("bias", convolutions.add_to_channels))
    monkeypatch.setattr(convolutions._Depthwise, "apply", noted("depthwise", convolutions._Depthwise.apply))
    image = paddle.ones([1, 6, 8, 8])
    Conv2D(6, 3, **NARROWING)(image)
    Conv2D(6, 6, bias_attr=False, **DEPTHWISE)(image)
    Conv2DTranspose(6, 2, 2, stride=2)(image)
    assert taken == ["narrowing", "bias", "depthwise", "bias"]
    with paddle.no_grad():  # no gradient, so nothing of the depthwise operator is slow
        Conv2D(6, 6, bias_attr=False, **DEPTHWISE)(image)
    for layer in (Conv2D(6, 3, **NARROWING), Conv2D(6, 6, **DEPTHWISE), Conv2DTranspose(6, 2, 2, stride=2)):
        layer.eval()
        layer(image)
    assert taken == ["narrowing", "bias", "depthwise", "bias"]


@pytest.mark.parametrize("layer", [Conv2D(8, 4, **NARROWING), Conv2D(8, 8, **(DEPTHWISE | {"groups": 8}))])
def test_an_answer_without_gradient_is_that_with_one(layer: nn.Layer) -> None:
    """A peer that is only asked must say, to the bit, what it says when it learns (`save_memory`)."""
    image = paddle.to_tensor(np.random.default_rng(5).standard_normal((2, 8, 24, 40)).astype("float32"))
    with paddle.no_grad():
        asked = layer(image)
    np.testing.assert_array_equal(asked.numpy(), layer(image).numpy())


def test_what_does_not_learn_gets_no_gradient() -> None:
    layer = Conv2D(6, 6, bias_attr=False, **DEPTHWISE)
    layer.weight.stop_gradient = True
    x = paddle.ones([1, 6, 4, 4])
    x.stop_gradient = False
    layer(x).sum().backward()
    assert layer.weight.grad is None
    assert x.grad is not None
    layer.weight.stop_gradient = False
    still = paddle.ones([1, 6, 4, 4])
    layer(still).sum().backward()
    assert layer.weight.grad is not None
    assert still.grad is None


def test_the_same_step_twice_is_the_same_to_the_bit() -> None:
    layers = [Conv2D(8, 4, **NARROWING), Conv2D(8, 8, kernel_size=5, padding=2, groups=8)]
    image = np.random.default_rng(4).standard_normal((2, 8, 32, 32)).astype("float32")
    for layer in layers:
        first = learn(layer, image)
        layer.clear_gradients()
        for mine, other in zip(first, learn(layer, image), strict=True):
            np.testing.assert_array_equal(mine, other)


def test_what_is_exported_is_the_plain_operator(tmp_path: Any) -> None:
    layers = nn.Sequential(Conv2D(8, 4, **NARROWING), Conv2D(4, 4, 3, padding=1, groups=4), Conv2DTranspose(4, 1, 2, 2))
    layers.eval()
    paddle.jit.save(layers, str(tmp_path / "net"), input_spec=[paddle.static.InputSpec([None, 8, None, None])])
    program = paddle.jit.load(str(tmp_path / "net")).program()
    names = [op.name().removeprefix("pd_op.") for op in program.global_block().ops]
    kept = [name for name in names if "conv" in name or "flip" in name]
    assert kept == ["conv2d", "depthwise_conv2d", "conv2d_transpose"]
    image = paddle.ones([1, 8, 6, 6])
    np.testing.assert_allclose(paddle.jit.load(str(tmp_path / "net"))(image).numpy(), layers(image).numpy(), atol=1e-6)
