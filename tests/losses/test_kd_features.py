"""Distillation on features: each method against a plain reference written as its paper writes it."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

from ocr_cml.losses.features import same_size
from ocr_cml.losses.kd.afd import AFDLoss, ChannelAttention, attended_distance
from ocr_cml.losses.kd.at import ATLoss, attention_loss
from ocr_cml.losses.kd.nst import NSTLoss, mmd
from ocr_cml.losses.kd.ofd import OFDLoss, margins_of_batch, partial_l2
from ocr_cml.losses.kd.rkd import RKDLoss, cells, relation_losses

REPOSITORY = Path(__file__).resolve().parents[2]


def feature(shape, frequency, phase=0.0):
    return (2 * np.sin(np.arange(np.prod(shape)) * frequency + phase)).reshape(shape).astype(np.float32)


def tensor(x):
    return paddle.to_tensor(np.asarray(x, np.float32))


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_same_size_averages_down_each_side():
    a, b = same_size(tensor(np.arange(8).reshape(1, 1, 2, 4)), tensor(np.arange(6).reshape(1, 1, 3, 2)))
    assert a.shape == b.shape == [1, 1, 2, 2]
    assert a.flatten().tolist() == [0.5, 2.5, 4.5, 6.5]


# --- attention transfer ----------------------------------------------------------------------------------------------


def test_attention_by_hand():
    learner = tensor([[[[3.0, 0.0]], [[4.0, 0.0]]]])  # sum of squares 25, 0 -> direction (1, 0)
    guide = tensor([[[[0.0, 7.0]]]])  # direction (0, 1)
    assert float(attention_loss(learner, guide, 2, "paper")) == pytest.approx(math.sqrt(2), rel=1e-5)
    assert float(attention_loss(learner, guide, 2, "code")) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_attention_against_a_plain_reference(p):
    ours, theirs = feature((2, 5, 4, 6), 0.61), feature((2, 3, 4, 6), 0.43)

    def normalised(x):
        flat = (np.abs(x) ** p).sum(axis=1).reshape(len(x), -1)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    difference = normalised(ours) - normalised(theirs)
    paper = attention_loss(tensor(ours), tensor(theirs), p, "paper")
    code = attention_loss(tensor(ours), tensor(theirs), p, "code")
    assert float(paper) == pytest.approx(np.linalg.norm(difference, axis=1).mean(), rel=1e-4)
    assert float(code) == pytest.approx((difference**2).mean(), rel=1e-4)


def test_attention_ignores_the_scale_of_features():
    ours, theirs = feature((1, 5, 4, 6), 0.61), feature((1, 3, 4, 6), 0.43)
    a = attention_loss(tensor(ours), tensor(theirs), 2, "paper")
    assert float(attention_loss(tensor(ours * 10), tensor(theirs), 2, "paper")) == pytest.approx(float(a), rel=1e-5)


@pytest.mark.parametrize("p", [1.0, 2.0, 4.0])
def test_attention_ignores_that_features_are_tiny(p):
    """Their eighth power would be nothing beside any number that keeps a square root from zero."""
    ours, theirs = feature((1, 5, 4, 6), 0.61), feature((1, 3, 4, 6), 0.43)
    expected = float(attention_loss(tensor(ours), tensor(theirs), p, "paper"))
    for scale in (1e-3, 1e-6):
        learner = tensor(ours * scale)
        learner.stop_gradient = False
        loss = attention_loss(learner, tensor(theirs * scale), p, "paper")
        loss.backward()
        assert float(loss) == pytest.approx(expected, rel=1e-4)
        assert scale * np.abs(learner.grad.numpy()).max() > 1e-3


def test_attention_of_nothing_is_finite():
    learner = tensor(np.zeros((1, 5, 4, 6)))
    learner.stop_gradient = False
    loss = attention_loss(learner, tensor(feature((1, 3, 4, 6), 0.43)), 2, "paper")
    loss.backward()
    assert np.isfinite(float(loss)) and np.isfinite(learner.grad.numpy()).all()


# --- neuron selectivity transfer -------------------------------------------------------------------------------------


def test_mmd_by_hand():
    ours = tensor([[[[2.0, 0.0]], [[0.0, 3.0]]]])  # two orthogonal unit patterns
    theirs = tensor([[[[5.0, 0.0]]]])  # one
    # within: 2 of 4 kernel values are 1; guide: 1; across: 1 of 2
    assert float(mmd(ours, theirs)) == pytest.approx(0.5 + 1 - 2 * 0.5, rel=1e-5)


def test_mmd_against_the_broadcast_form():
    ours, theirs = feature((2, 5, 4, 6), 0.61), feature((2, 3, 4, 6), 0.43)

    def unit(x):
        flat = x.reshape(len(x), x.shape[1], -1).astype(np.float64)
        return flat / np.linalg.norm(flat, axis=2, keepdims=True)

    def kernel(a, b):
        return ((a[:, None] * b[:, :, None]).sum(axis=-1) ** 2).mean()

    a, b = unit(ours), unit(theirs)
    expected = kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)
    assert float(mmd(tensor(ours), tensor(theirs))) == pytest.approx(expected, rel=1e-4)


PEAK_OF_NST = """
from pathlib import Path
import paddle
from ocr_cml.losses.kd.nst import mmd
ours, theirs = paddle.randn([1, 4, 8, 8]), paddle.randn([1, 4, 8, 8])
ours.stop_gradient = False
mmd(ours, theirs).backward()  # what the libraries keep for themselves is there
shape = [8, 96, 160, 160]

def resident(key):
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)]
    return int(line.split()[1])

Path("/proc/self/clear_refs").write_text("5")  # the highest mark so far is that of the imports: begin anew
before = resident("VmRSS")
ours, theirs = paddle.randn(shape), paddle.randn(shape)
ours.stop_gradient = False
mmd(ours, theirs).backward()
assert ours.grad.shape == shape
print(resident("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel does not tell of peak memory")
def test_nst_on_large_features_stays_under_a_gigabyte():
    """Both features (79 MB each), their gradient and all between, in a process that held nothing larger before."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK_OF_NST], check=True, capture_output=True, text=True, cwd=REPOSITORY
    )
    grown = int(done.stdout.split()[-1])  # KiB
    assert 3 * 8 * 96 * 160 * 160 * 4 / 1024 < grown < 1000**3 / 1024


# --- relational distillation -----------------------------------------------------------------------------------------


def huber(a, b):
    difference = np.abs(a - b)
    return np.where(difference < 1, 0.5 * difference**2, difference - 0.5)


def plain_relations(points):
    """Normalised distances of all ordered pairs and cosines of all ordered triples of different points."""
    count = len(points)
    pairs = list(itertools.permutations(range(count), 2))
    far = np.array([np.linalg.norm(points[i] - points[j]) for i, j in pairs])
    cosines = []
    for i, j, k in itertools.permutations(range(count), 3):
        a, b = points[j] - points[i], points[k] - points[i]
        cosines.append(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
    return far / far.mean(), np.array(cosines)


def test_relations_against_a_plain_reference():
    ours, theirs = feature((2, 5, 3), 0.61).astype(np.float64), feature((2, 5, 7), 0.43).astype(np.float64)
    expected = []
    for a, b in zip(ours, theirs, strict=True):
        (da, ca), (db, cb) = plain_relations(a), plain_relations(b)
        expected.append([huber(da, db).mean(), huber(ca, cb).mean()])
    distance, angle = relation_losses(tensor(ours), tensor(theirs))
    assert [float(distance), float(angle)] == pytest.approx(np.mean(expected, axis=0), rel=1e-4)


def test_relations_survive_scaling_and_rotation():
    points = feature((1, 6, 2), 0.61)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]], np.float32)
    distance, angle = relation_losses(tensor(points), tensor(3 * points @ turn + 5))
    assert float(distance) == pytest.approx(0, abs=1e-6) and float(angle) == pytest.approx(0, abs=1e-6)


def test_relations_of_features_of_any_scale() -> None:
    ours, theirs = feature((1, 5, 3), 0.61), feature((1, 5, 3), 0.43)
    at_one = [float(value) for value in relation_losses(tensor(ours), tensor(theirs))]
    tiny = [float(value) for value in relation_losses(tensor(1e-4 * ours), tensor(1e-4 * theirs))]
    assert min(at_one) > 0.01 and tiny == pytest.approx(at_one, rel=1e-3)


def test_three_points_by_hand():
    right = tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])  # cosines 0, 1/sqrt 2, 1/sqrt 2
    line = tensor([[[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]])  # cosines 1, -1, 1; distances 1, 1, 2
    root = math.sqrt(2)
    mean = (2 + root) / 3
    normalised = np.array([1, 1, root]) / mean, np.array([1, 2, 1]) / (4 / 3)
    distance, angle = relation_losses(right, line)
    assert float(distance) == pytest.approx(huber(*normalised).mean(), rel=1e-4)
    cosines = np.array([0, 1 / root, 1 / root]), np.array([1.0, -1.0, 1.0])
    assert float(angle) == pytest.approx(huber(*cosines).mean(), rel=1e-4)


def test_places_that_coincide_but_for_rounding_have_no_direction():
    """Cells of black padding: nudged apart by a rounding, they get no gradient of the size of a million."""
    points = feature((1, 6, 3), 0.61)
    gradients = []
    for nudge in (0.0, 1e-7):
        given = points.copy()
        given[0, 4:] = given[0, 3] + np.array([[nudge], [-nudge]])
        learner = tensor(given)
        learner.stop_gradient = False
        relation_losses(learner, tensor(feature((1, 6, 4), 0.43)))[1].backward()
        gradients.append(learner.grad.numpy())
    assert np.abs(gradients[0]).max() < 10
    assert gradients[1] == pytest.approx(gradients[0], abs=1e-4)


def test_cells_are_means_of_places():
    x = np.arange(2 * 4 * 6).reshape(1, 2, 4, 6)
    embedded = cells(tensor(x), 2).numpy()
    assert embedded.shape == (1, 4, 2)
    assert embedded[0, 1, 0] == x[0, 0, :2, 3:].mean() and embedded[0, 2, 1] == x[0, 1, 2:, :3].mean()


def test_rkd_weights_and_zero(inputs):
    pair = inputs.learner(), inputs.guide(), inputs.targets()
    layers = [["neck", "neck"]]
    distance = float(RKDLoss(layers=layers, grid=3, distance_weight=1, angle_weight=0)(*pair))
    angle = float(RKDLoss(layers=layers, grid=3, distance_weight=0, angle_weight=1)(*pair))
    assert float(RKDLoss(layers=layers, grid=3)(*pair)) == pytest.approx(25 * distance + 50 * angle, rel=1e-5)
    same = RKDLoss(layers=layers, grid=3)(inputs.learner(), inputs.learner(), inputs.targets())
    assert float(same) == pytest.approx(0, abs=1e-6)


# --- overhaul of feature distillation --------------------------------------------------------------------------------


def test_partial_l2_by_hand():
    guide = tensor([2.0, -3.0, -3.0, -0.5]).reshape([1, 1, 1, 4])
    learner = tensor([1.0, -5.0, 0.0, -0.2]).reshape([1, 1, 1, 4])
    margin = tensor([-1.0]).reshape([1, 1, 1, 1])
    # (1-2)^2; below the target -1 already; (0+1)^2; (-.2+.5)^2
    assert float(partial_l2(learner, guide, margin)) == pytest.approx((1 + 0 + 1 + 0.09) / 4, rel=1e-5)


def test_margins_of_a_batch_are_the_means_of_negatives():
    x = np.array([[[[1.0, -2.0, -4.0]], [[0.0, 5.0, 1.0]]]])
    assert margins_of_batch(tensor(x)).flatten().tolist() == [-3.0, 0.0]


def test_ofd_is_zero_through_a_connector_that_changes_nothing(inputs):
    """Equal features without a negative part, an identity convolution, no normalisation: nothing is left."""
    inputs.features = {name: np.abs(feature) for name, feature in inputs.features.items()}
    term = OFDLoss(layers=[["neck", "neck"]])
    term.bind({"neck": 4}, {"neck": 4})
    term.eval()
    convolution, normalisation = term.connectors[0]
    convolution.weight.set_value(tensor(np.eye(4)).reshape([4, 4, 1, 1]))
    normalisation._epsilon = 0.0
    assert float(term(inputs.learner(), inputs.learner(), inputs.targets())) == pytest.approx(0, abs=1e-6)
    assert float(term(inputs.learner(), inputs.guide(), inputs.targets())) > 0.1


# --- attentive feature distillation ----------------------------------------------------------------------------------


def test_attended_distance_by_hand():
    ours = tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])
    theirs = tensor([[[[0.0, 3.0]], [[0.0, 4.0]]]])
    attention = tensor([[0.25, 0.75]])
    # means of squares: (1 + 9) / 2 = 5 and (0 + 4) / 2 = 2
    assert float(attended_distance(ours, theirs, attention, "paper")) == pytest.approx(0.25 * 5 + 0.75 * 2, rel=1e-5)
    # normalised over space: (1, 0) and (0, 1) are 1 apart, (0, 1) and (0, 1) are equal
    assert float(attended_distance(ours, theirs, attention, "zoo")) == pytest.approx(0.25, rel=1e-5)


@pytest.mark.parametrize("mode", ["paper", "zoo"])
def test_attention_against_a_plain_reference_and_for_one_image(mode):
    paddle.seed(5)
    layer = ChannelAttention(32, mode)
    x = feature((1, 32, 3, 5), 0.61)
    pooled = (np.abs(x) if mode == "paper" else x).mean(axis=(2, 3))
    hidden = np.maximum(pooled @ layer.squeeze.weight.numpy() + layer.squeeze.bias.numpy(), 0)
    score = hidden @ layer.excite.weight.numpy() + layer.excite.bias.numpy()
    gate = np.exp(score) if mode == "paper" else 1 / (1 + np.exp(-score))
    assert hidden.shape == (1, 4)
    np.testing.assert_allclose(layer(tensor(x)).numpy(), gate / gate.sum(), rtol=1e-4)


def test_ofd_against_a_plain_reference(inputs):
    """A 1x1 convolution, batch statistics, the margin of the batch, and the partial L2, one element after the other."""
    paddle.seed(2)
    term = OFDLoss(layers=[["backbone.1", "neck"]])
    term.bind({"backbone.1": 6}, {"neck": 4})
    convolution, normalisation = term.connectors[0]
    weight = convolution.weight.numpy()[:, :, 0, 0]
    x = np.einsum("oc,nchw->nohw", weight, inputs.features["backbone.1"])
    mean, variance = (f(x, axis=(0, 2, 3), keepdims=True) for f in (np.mean, np.var))
    x = (x - mean) / np.sqrt(variance + normalisation._epsilon)
    x = x.reshape(2, 4, 3, 2, 5, 2).mean(axis=(3, 5))  # 6x10 down to the guide's 3x5
    guide = inputs.guide_features["neck"]
    total = 0.0
    for n, c, i, j in np.ndindex(*x.shape):
        negative = guide[:, c][guide[:, c] < 0]
        target = max(guide[n, c, i, j], negative.mean())
        if x[n, c, i, j] > target or target > 0:
            total += (x[n, c, i, j] - target) ** 2
    value = term(inputs.learner(), inputs.guide(), inputs.targets())
    assert float(value) == pytest.approx(total / x.size, rel=1e-3)


@pytest.mark.parametrize("mode", ["paper", "zoo"])
def test_afd_against_a_plain_reference(mode, inputs):
    paddle.seed(2)
    term = AFDLoss(layers=[["neck", "neck"]], mode=mode)
    term.bind({"neck": 4}, {"neck": 4})
    ours, theirs = inputs.features["neck"], inputs.guide_features["neck"]
    attention = term.connectors[0].attention
    total = 0.0
    for a, b in zip(ours, theirs, strict=True):
        pooled = (np.abs(b) if mode == "paper" else b).mean(axis=(1, 2))
        hidden = np.maximum(pooled @ attention.squeeze.weight.numpy() + attention.squeeze.bias.numpy(), 0)
        score = hidden @ attention.excite.weight.numpy() + attention.excite.bias.numpy()
        gate = np.exp(score) if mode == "paper" else 1 / (1 + np.exp(-score))
        for share, x, y in zip(gate / gate.sum(), a, b, strict=True):
            if mode == "zoo":
                x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
            total += share * ((x - y) ** 2).mean()
    value = term(inputs.learner(), inputs.guide(), inputs.targets())
    assert float(value) == pytest.approx(total / 2, rel=1e-4)


@pytest.mark.parametrize("mode", ["paper", "zoo"])
def test_afd_is_zero_where_features_agree(mode, inputs):
    term = AFDLoss(layers=[["neck", "neck"]], mode=mode)
    term.bind({"neck": 4}, {"neck": 4})
    assert float(term(inputs.learner(), inputs.learner(), inputs.targets())) == pytest.approx(0, abs=1e-6)


# --- unequal networks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [ATLoss, NSTLoss, RKDLoss, OFDLoss, AFDLoss])
def test_features_of_unequal_channels_and_sizes(make, inputs):
    paddle.seed(1)
    term = make(layers=[["backbone.1", "neck"], ["neck", "backbone.1"]])
    channels = {"backbone.1": 6, "neck": 4}
    term.bind(channels, channels)
    learner = inputs.learner()
    loss = term(learner, inputs.guide(), inputs.targets())
    loss.backward()
    assert float(loss) > 0
    trained = [p for p in term.parameters() if not p.stop_gradient]  # without running statistics
    for leaf in (*learner.features.values(), *trained):
        assert np.isfinite(leaf.grad.numpy()).all() and np.abs(leaf.grad.numpy()).sum() > 0
    carries_weights = make in (OFDLoss, AFDLoss)
    assert bool(term.parameters()) == carries_weights and bool(term.state_dict()) == carries_weights


def test_the_mean_over_pairs(inputs):
    pair = inputs.learner(), inputs.guide(), inputs.targets()
    one = float(ATLoss(layers=[["backbone.1", "backbone.1"]])(*pair))
    other = float(ATLoss(layers=[["neck", "neck"]])(*pair))
    both = float(ATLoss(layers=[["backbone.1", "backbone.1"], ["neck", "neck"]])(*pair))
    assert both == pytest.approx((one + other) / 2, rel=1e-6)


def test_usual_attention_is_the_papers_with_squares(inputs):
    pair, layers = (inputs.learner(), inputs.guide(), inputs.targets()), [["neck", "neck"]]
    assert float(ATLoss(layers=layers)(*pair)) == float(ATLoss(layers=layers, p=2, mode="paper")(*pair))
