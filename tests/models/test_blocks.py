"""Blocks that compute their inside again in the backward pass: the same numbers, and less that is held."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn

from ocr_cml.models import build_detector
from ocr_cml.models.backbones import BACKBONES
from ocr_cml.models.blocks import Block, recompute_blocks, running_statistics, statistics_kept
from ocr_cml.models.layers import ConvBN

ALL: dict[str, tuple[str, dict[str, Any], int]] = {
    "MobileNetV3": ("MobileNetV3", {"scale": 0.35, "disable_se": True}, 1 + 15 + 1),
    "with squeeze-excite": ("MobileNetV3", {"model_name": "small", "scale": 0.35}, 1 + 11 + 1),
    "ResNet_vd": ("ResNet_vd", {"layers": 18}, 3 + 8),
    "bottleneck": ("ResNet_vd", {"layers": 50}, 3 + 16),
    "PPLCNetV3": ("PPLCNetV3", {"scale": 0.35}, 1 + 1 + 2 + 2 + 5 + 4),
    "PPLCNetV4": ("PPLCNetV4", {"model_size": "tiny"}, 1 + 2 + 3 + 5 + 3),
    "PPHGNet_small": ("PPHGNet_small", {}, 3 + 3 + 1 + 1 + 2 + 1),
    "PPHGNetV2_B4": ("PPHGNetV2_B4", {}, 1 + 3 + 1 + 1 + 3 + 1),
}


def backbone(case: str) -> nn.Layer:
    name, arguments, _ = ALL[case]
    paddle.seed(3)
    return BACKBONES[name](**arguments)


def image(size: int = 64, seed: int = 0) -> paddle.Tensor:
    return paddle.to_tensor(np.random.default_rng(seed).standard_normal((2, 3, size, size)).astype("float32"))


def learn(network: nn.Layer, x: paddle.Tensor) -> dict[str, np.ndarray]:
    """What is left of a forward and a backward pass: maps, gradients, running statistics."""
    maps = network(x)
    # Every map counts with a weight of its own, as where features are distilled.
    paddle.add_n([(y * y).mean() * (i + 1) for i, y in enumerate(maps)]).backward()
    found = {f"map {i}": y.numpy() for i, y in enumerate(maps)}
    found |= {f"gradient of {k}": p.grad.numpy() for k, p in network.named_parameters() if p.grad is not None}
    return found | {k: value.numpy() for k, value in running_statistics(network).items()}


def assert_same(mine: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    """Equal to the bit, but for gradients: what several layers send to one map is summed in another order.

    Some gradients are zero but for rounding (a factor before a normalisation), so the largest of all is the measure.
    """
    assert mine.keys() == other.keys()
    largest = max((float(np.abs(value).max()) for key, value in other.items() if key.startswith("gradient")), default=0)
    for key, value in other.items():
        if key.startswith("gradient"):
            np.testing.assert_allclose(mine[key], value, rtol=0, atol=2e-5 * largest, err_msg=key)
        else:
            np.testing.assert_array_equal(mine[key], value, err_msg=key)


@pytest.mark.usefixtures("one_math_thread")
@pytest.mark.parametrize("case", ALL)
def test_a_backbone_learns_the_same(case: str) -> None:
    plain, again = backbone(case), backbone(case)
    assert recompute_blocks(again) == ALL[case][2]
    before = {key: value.numpy() for key, value in running_statistics(plain).items()}
    expected = learn(plain, image())
    assert_same(learn(again, image()), expected)
    assert any(not np.array_equal(before[key], expected[key]) for key in before)  # they moved, and no further


@pytest.mark.usefixtures("one_math_thread")
def test_an_input_that_learns_gets_its_gradient() -> None:
    """A block in the middle of a network: what stands before it learns through it."""
    paddle.seed(1)
    blocks = [ConvBN(3, 4, 3, act="hardswish"), ConvBN(4, 5, 3, 2, act="relu")]
    gradients = []
    for recomputed in (False, True):
        blocks[1].recomputed = recomputed
        blocks[0].clear_gradients()
        x = image(16)
        x.stop_gradient = False
        blocks[1](blocks[0](x)).square().sum().backward()
        gradients.append([x.grad.numpy(), blocks[0].conv.weight.grad.numpy()])
    for mine, other in zip(*gradients, strict=True):
        np.testing.assert_array_equal(mine, other)
        assert np.abs(other).max() > 0


def held(work: Callable[[], Any]) -> int:
    """Bytes of the tensors that a graph keeps for its backward pass, each buffer once."""
    found: dict[int, int] = {}

    def note(tensor: paddle.Tensor) -> paddle.Tensor:
        if tensor.data_ptr() not in found:
            kept.append(tensor)  # else a freed buffer's address would come back as another's
            found[tensor.data_ptr()] = tensor.size * tensor.element_size()
        return tensor

    kept: list[paddle.Tensor] = []
    with paddle.autograd.saved_tensors_hooks(note, lambda tensor: tensor):
        work()
    return sum(found.values())


@pytest.mark.parametrize("case", ["MobileNetV3", "ResNet_vd", "PPLCNetV3", "PPLCNetV4"])
def test_less_than_a_fifth_is_held(case: str) -> None:
    plain, again = backbone(case), backbone(case)
    recompute_blocks(again)
    assert held(lambda: again(image())) < 0.2 * held(lambda: plain(image()))


def ran(block: Block, work: Callable[[], Any]) -> int:
    """How often a block's forward was computed."""
    times: list[int] = []
    hook = block.register_forward_pre_hook(lambda *_: times.append(1))
    work()
    hook.remove()
    return len(times)


def test_only_a_block_that_learns_is_computed_twice() -> None:
    block = ConvBN(3, 4, 3, act="relu")
    block.recomputed = True
    assert ran(block, lambda: block(image()).sum().backward()) == 2

    def asked() -> None:
        with paddle.no_grad():
            block(image())

    assert ran(block, asked) == 1
    block.eval()
    assert ran(block, lambda: block(image()).sum().backward()) == 1
    block.train()
    for weight in block.parameters():
        weight.stop_gradient = True
    y = block(image())
    assert y.stop_gradient  # nothing to learn, so no graph
    x = image()
    x.stop_gradient = False
    assert ran(block, lambda: block(x).sum().backward()) == 2
    assert x.grad is not None


def test_blocks_inside_a_block_are_part_of_it() -> None:
    network = backbone("MobileNetV3")
    recompute_blocks(network)
    flagged = {name for name, layer in network.named_sublayers() if getattr(layer, "recomputed", False)}
    assert {"conv", "stage0.0", "stage3.3"} <= flagged
    assert not [name for name in flagged if name.startswith("stage0.0.")]
    assert recompute_blocks(network) == len(flagged)  # saying it twice changes nothing


@pytest.mark.usefixtures("one_math_thread")
def test_two_threads_learn_at_once() -> None:
    """Students that compute side by side, each with its own graph inside the backward pass."""
    expected = [learn(backbone("MobileNetV3"), image(seed=seed)) for seed in range(2)]
    networks = [backbone("MobileNetV3") for _ in range(2)]
    for network in networks:
        recompute_blocks(network)
    found: dict[int, dict[str, np.ndarray]] = {}

    def work(seed: int) -> None:
        found[seed] = learn(networks[seed], image(seed=seed))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(2):
        assert_same(found[seed], expected[seed])


def test_what_is_exported_is_the_same() -> None:
    spec = {
        "Backbone": {"name": "PPLCNetV3", "scale": 0.35},
        "Neck": {"name": "RSEFPN", "out_channels": 24},
        "Head": {"name": "DBHead"},
    }
    paddle.seed(4)
    plain = build_detector(spec)
    again = copy.deepcopy(plain)
    recompute_blocks(again.backbone)
    assert list(again.state_dict()) == list(plain.state_dict())
    maps = [network.fuse_for_export().probability(image()).numpy() for network in (plain, again)]
    np.testing.assert_array_equal(maps[0], maps[1])


def test_statistics_are_put_back() -> None:
    network = ConvBN(3, 4, 3)
    before = {key: value.numpy() for key, value in running_statistics(network).items()}
    with statistics_kept(network):
        network(image())
        assert not np.array_equal(network.bn._mean.numpy(), before["bn._mean"])
    assert_same({key: value.numpy() for key, value in running_statistics(network).items()}, before)
    assert sorted(before) == ["bn._mean", "bn._variance"]


def test_statistics_are_put_back_after_an_error() -> None:
    network = ConvBN(3, 4, 3)
    before = {key: value.numpy() for key, value in running_statistics(network).items()}
    with pytest.raises(ZeroDivisionError), statistics_kept(network):
        network(image())
        raise ZeroDivisionError
    assert_same({key: value.numpy() for key, value in running_statistics(network).items()}, before)


def test_a_weight_that_is_never_moved_is_no_statistic() -> None:
    network = ConvBN(3, 4, 3)
    network.conv.weight.stop_gradient = True
    assert sorted(running_statistics(network)) == ["bn._mean", "bn._variance"]
