"""What holds for every loss term."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import paddle
import pytest
from paddle import nn

from ocr_cml.losses import TERMS, FeatureTerm
from ppocr_data.errors import ConfigError, ModelError

LAYERS = [["backbone.1", "backbone.1"], ["neck", "neck"]]
CASES = [
    ("DBLoss", {}),
    ("DBLoss", {"main_loss_type": "BCELoss"}),
    ("DBLoss", {"main_loss_type": "BCELoss", "balance_loss": False}),
    ("DMLLoss", {}),
    ("DMLLoss", {"divergence": "js"}),
    ("DMLLoss", {"divergence": "symmetric_kl"}),
    ("DMLLoss", {"divergence": "ppocr"}),
    ("DMLLoss", {"temperature": 2.0, "use_mask": True, "confidence": 0.7, "balance": "text"}),
    ("DMLLoss", {"maps": ["shrink", "threshold", "binary"]}),
    ("TeacherLoss", {}),
    ("TeacherLoss", {"main_loss_type": "BCELoss", "dilation": 0}),
    ("TeacherLoss", {"kind": "soft", "temperature": 2.0, "balance": "text"}),
    ("LogitsLoss", {"use_mask": True}),
    ("STLoss", {}),
    ("ATLoss", {"layers": LAYERS}),
    ("ATLoss", {"layers": LAYERS, "mode": "code", "p": 1.5}),
    ("NSTLoss", {"layers": LAYERS}),
    ("RKDLoss", {"layers": LAYERS, "grid": 3}),
    ("OFDLoss", {"layers": LAYERS}),
    ("AFDLoss", {"layers": LAYERS}),
    ("AFDLoss", {"layers": LAYERS, "mode": "paper"}),
]
IDS = ["-".join([name, *(f"{k}={v}" for k, v in arguments.items() if k != "layers")]) for name, arguments in CASES]
every_term = pytest.mark.parametrize(("name", "arguments"), CASES, ids=IDS)


def build(name, arguments, inputs):
    paddle.seed(3)
    term = TERMS[name](**arguments)
    if isinstance(term, FeatureTerm):
        channels = {feature: size[0] for feature, size in inputs.FEATURES.items()}
        term.bind(channels, channels)
    return term


def test_every_term_is_exercised_here():
    assert {name for name, _ in CASES} == set(TERMS)


@every_term
def test_scalar_non_negative_and_reaching_only_the_learner(name, arguments, inputs):
    term = build(name, arguments, inputs)
    learner, guide = inputs.learner(), inputs.guide()
    loss = term(learner, guide, inputs.targets())
    loss.backward()
    assert loss.shape == [] and loss.dtype == paddle.float32
    assert float(loss) > 0
    assert guide.shrink_logit.grad is None and guide.threshold_logit.grad is None
    assert all(feature.grad is None for feature in guide.features.values())
    leaves = list(learner.features.values()) if isinstance(term, FeatureTerm) else [learner.shrink_logit]
    trained = [p for p in term.parameters() if not p.stop_gradient]  # without running statistics
    for leaf in [*leaves, *trained]:
        assert np.isfinite(leaf.grad.numpy()).all() and np.abs(leaf.grad.numpy()).sum() > 0


@every_term
def test_duplicating_the_batch_changes_neither_value_nor_total_gradient(name, arguments, inputs):
    once, twice = inputs.learner(), inputs.learner(repeat=2)
    value = build(name, arguments, inputs)(once, inputs.guide(), inputs.targets())
    double = build(name, arguments, inputs)(twice, inputs.guide(repeat=2), inputs.targets(repeat=2))
    assert float(double) == pytest.approx(float(value), rel=1e-5)
    value.backward()
    double.backward()
    leaf = "neck" if arguments.get("layers") else None
    a, b = (out.features[leaf].grad if leaf else out.shrink_logit.grad for out in (once, twice))
    np.testing.assert_allclose(b.numpy()[:2] * 2, a.numpy(), rtol=2e-3, atol=2e-6)


@every_term
def test_one_image_of_another_shape(name, arguments, make_inputs):
    inputs = make_inputs(images=1, height=14, width=4)
    assert np.isfinite(float(build(name, arguments, inputs)(inputs.learner(), inputs.guide(), inputs.targets())))


@every_term
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bit_outputs_are_computed_in_float32(name, arguments, dtype, inputs):
    learner = inputs.learner(dtype)
    loss = build(name, arguments, inputs)(learner, inputs.guide(dtype), inputs.targets())
    loss.backward()
    assert loss.dtype == paddle.float32
    wide = build(name, arguments, inputs)(inputs.learner(), inputs.guide(), inputs.targets())
    assert float(loss) == pytest.approx(float(wide), rel=0.05)
    for leaf in learner.features.values() if issubclass(TERMS[name], FeatureTerm) else [learner.shrink_logit]:
        gradient = leaf.grad.astype("float32").numpy()  # what was widened is learnt from
        assert np.isfinite(gradient).all() and np.abs(gradient).sum() > 0


@pytest.mark.parametrize(("name", "arguments"), [case for case in CASES if "layers" not in case[1]])
@pytest.mark.parametrize("scale", [1e4, 1e-6])
def test_extreme_logits_stay_finite(name, arguments, scale, inputs):
    inputs.z, inputs.u = inputs.z * scale, inputs.u * scale
    learner = inputs.learner()
    loss = build(name, arguments, inputs)(learner, inputs.guide(), inputs.targets())
    loss.backward()
    assert np.isfinite(float(loss)) and np.isfinite(learner.shrink_logit.grad.numpy()).all()


@pytest.mark.parametrize("scale", [0.0, 1e4])
@pytest.mark.parametrize(("name", "arguments"), [case for case in CASES if "layers" in case[1]])
def test_dead_and_large_features_stay_finite(name, arguments, scale, inputs):
    inputs.features = {key: feature * scale for key, feature in inputs.features.items()}
    learner = inputs.learner()
    loss = build(name, arguments, inputs)(learner, inputs.guide(), inputs.targets())
    loss.backward()
    assert np.isfinite(float(loss))
    assert all(np.isfinite(feature.grad.numpy()).all() for feature in learner.features.values())


@pytest.mark.parametrize(
    ("name", "arguments"),
    [case for case in CASES if case[0] in {"DMLLoss", "LogitsLoss", "STLoss", "ATLoss", "NSTLoss"}],
)
def test_zero_where_learner_and_guide_agree(name, arguments, inputs):
    value = build(name, arguments, inputs)(inputs.learner(), inputs.learner(), inputs.targets())
    rounding = 1e-5 if arguments.get("divergence") == "ppocr" else 2e-6  # PaddleOCR adds its eps inside the logarithm
    assert float(value) == pytest.approx(0, abs=rounding)


@pytest.mark.parametrize(("name", "arguments"), [case for case in CASES if case[0] == "DBLoss"])
def test_supervised_terms_see_labelled_images_only(name, arguments, inputs):
    alone = build(name, arguments, inputs)(inputs.learner(), None, inputs.targets())
    z, has_label = inputs.z, inputs.has_label
    inputs.has_label = np.concatenate([has_label, np.zeros_like(has_label)])
    for map_name in ("shrink_map", "shrink_mask", "threshold_map", "threshold_mask", "t"):
        setattr(inputs, map_name, np.concatenate([getattr(inputs, map_name)] * 2))
    inputs.z = np.concatenate([z, -5 * z])
    learner = inputs.learner()
    mixed = build(name, arguments, inputs)(learner, None, inputs.targets())
    mixed.backward()
    assert float(mixed) == pytest.approx(float(alone), rel=1e-6)
    assert np.abs(learner.shrink_logit.grad.numpy()[2:]).max() == 0


@pytest.mark.parametrize(("name", "arguments"), [case for case in CASES if case[0] == "DBLoss"])
def test_a_batch_without_labels_gives_zero_on_the_graph(name, arguments, inputs):
    inputs.has_label[:] = 0
    learner = inputs.learner()
    loss = build(name, arguments, inputs)(learner, None, inputs.targets())
    loss.backward()
    assert float(loss) == 0
    assert np.abs(learner.shrink_logit.grad.numpy()).max() == 0


@pytest.mark.parametrize(
    ("name", "arguments"), [case for case in CASES if case[0] in {"DMLLoss", "TeacherLoss", "STLoss"}]
)
def test_unlabelled_images_teach_between_networks(name, arguments, inputs):
    inputs.has_label[1] = 0
    inputs.shrink_mask[1] = 0  # means nothing without a label
    learner = inputs.learner()
    build(name, arguments, inputs)(learner, inputs.guide(), inputs.targets()).backward()
    assert np.abs(learner.shrink_logit.grad.numpy()[1]).sum() > 0


@pytest.mark.parametrize(
    ("name", "arguments"),
    [case for case in CASES if case[0] in {"DMLLoss", "TeacherLoss", "LogitsLoss", "STLoss"}],
)
@pytest.mark.parametrize("size", [(4, 6), (16, 12)])
def test_a_guide_of_another_stride_is_read_at_the_learners_pixels(name, arguments, size, make_inputs):
    """A guide that says one thing everywhere says it at any size; one that does not is resized bilinearly."""
    inputs, other = make_inputs(2, 8, 12), make_inputs(2, *size)
    for given in (inputs, other):
        given.u[:], given.t[:] = -1.3, 0.4
    same = build(name, arguments, inputs)(inputs.learner(), inputs.guide(), inputs.targets())
    learner = inputs.learner()
    value = build(name, arguments, inputs)(learner, other.guide(), inputs.targets())
    assert float(value) == pytest.approx(float(same), rel=1e-5)
    value.backward()
    assert np.abs(learner.shrink_logit.grad.numpy()).sum() > 0


def test_resizing_is_bilinear(make_inputs):
    inputs, half = make_inputs(2, 8, 12), make_inputs(2, 4, 6)
    whole = paddle.nn.functional.interpolate(
        paddle.to_tensor(half.u.astype(np.float32)), size=[8, 12], mode="bilinear", align_corners=False
    ).numpy()
    value = TERMS["LogitsLoss"]()(inputs.learner(), half.guide(), inputs.targets())
    assert float(value) == pytest.approx(((inputs.z - whole) ** 2).mean(), rel=1e-5)


NOTHING = {"main_loss_type": "DiceFocalLoss", "dice_weight": 0, "focal_weight": 0, "beta": 0}


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        (
            "DBLoss",
            {"main_loss_type": "DiceLos"},
            r"DBLoss.main_loss_type: unknown 'DiceLos'; did you mean 'DiceLoss'\?",
        ),
        ("DBLoss", {"beta": -1}, "DBLoss.beta: must be at least 0, is -1"),
        ("DMLLoss", {"divergence": "symetric_kl"}, "did you mean 'symmetric_kl'"),
        ("DMLLoss", {"confidence": 0.3}, r"DMLLoss.confidence: .* lies in \[0.5, 0.999999\], .* is 0.3"),
        ("TeacherLoss", {"confidence": 0.9999995}, "TeacherLoss.confidence: .*, as maps are clipped; is 0.9999995"),
        ("DMLLoss", {"divergence": "ppocr", "temperature": 2}, "DMLLoss.temperature: PaddleOCR's divergence has none"),
        ("DMLLoss", {"maps": ["thrink"]}, "DMLLoss.maps: unknown 'thrink'; did you mean 'shrink'"),
        ("DMLLoss", {"maps": []}, "at least one map"),
        ("DBLoss", {"eps": 0.5}, "DBLoss.eps: must lie between 0 and 0.5, is 0.5"),
        ("DBLoss", NOTHING, "dice_weight, focal_weight, beta: are all 0, so the term teaches nothing"),
        ("TeacherLoss", {"kind": "soft", "alpha": 0}, "TeacherLoss.alpha: is the whole of kind: soft"),
        ("RKDLoss", {"layers": LAYERS, "distance_weight": 0, "angle_weight": 0}, "both 0, so the term"),
        ("TeacherLoss", {"dilation": 1}, "TeacherLoss.dilation: .* 0, 2, 4"),
        ("TeacherLoss", {"thresh": 1.0}, "TeacherLoss.thresh"),
        ("STLoss", {"temperature": 0}, "STLoss.temperature"),
        ("ATLoss", {"layers": []}, "ATLoss.layers: name at least one pair"),
        ("ATLoss", {"layers": ["neck"]}, "'neck' is no pair"),
        ("ATLoss", {"layers": LAYERS, "p": 0}, "ATLoss.p"),
        ("RKDLoss", {"layers": LAYERS, "grid": 1}, "RKDLoss.grid"),
        ("AFDLoss", {"layers": LAYERS, "mode": "SE"}, "AFDLoss.mode: unknown 'SE'; known: paper, zoo"),
    ],
)
def test_wrong_arguments_are_refused_by_name(name, arguments, says):
    with pytest.raises(ConfigError, match=says):
        TERMS[name](**arguments)


def test_a_feature_that_a_network_lacks_is_refused_with_the_nearest():
    term = TERMS["ATLoss"](layers=[["backbone.1", "bakbone.1"]])
    with pytest.raises(ConfigError, match=r"ATLoss.layers \(guide\): unknown 'bakbone.1'; did you mean 'backbone.1'"):
        term.bind({"backbone.1": 6}, {"backbone.1": 6, "neck": 4})


def test_a_pair_may_do_without_a_connector():
    """And the others still find theirs by their index."""

    class WhereChannelsDiffer(FeatureTerm):
        def connector(self, learner, guide):
            return None if learner == guide else nn.Conv2D(learner, guide, 1)

    term = WhereChannelsDiffer(layers=[["same", "same"], ["few", "many"]])
    term.bind({"same": 4, "few": 2}, {"same": 4, "many": 6})
    assert [type(layer) for layer in term.connectors] == [nn.Identity, nn.Conv2D]
    assert len(term.parameters()) == 2
    term = WhereChannelsDiffer(layers=[["same", "same"]])
    term.bind({"same": 4}, {"same": 4})
    assert len(term.connectors) == 0


def test_a_guide_without_features_is_refused(inputs):
    term = TERMS["ATLoss"](layers=LAYERS)
    guide = replace(inputs.guide(), features={})
    with pytest.raises(ModelError, match=r"gives no feature 'backbone.1'; it gives none"):
        term(inputs.learner(), guide, inputs.targets())


@pytest.mark.parametrize("name", ["DBLoss", "TeacherLoss"])
def test_a_network_without_threshold_map_is_refused(name, inputs):
    learner = replace(inputs.learner(), threshold_logit=None)
    with pytest.raises(ModelError, match=f"{name}: the network gives no threshold map"):
        TERMS[name]()(learner, inputs.guide(), inputs.targets())
