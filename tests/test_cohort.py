"""The cohort against plain loops over two and three networks, written out here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
import tiny

from ocr_cml.binding import TEACHERS, Binding
from ocr_cml.cohort import BoundTerm, Cohort
from ocr_cml.inference_yml import InferenceConfig
from ocr_cml.losses import DBLoss, DMLLoss, TeacherLoss
from ocr_cml.losses.db import dice_loss
from ocr_cml.losses.divergences import bernoulli_kl
from ocr_cml.losses.kd.at import ATLoss
from ocr_cml.losses.kd.ofd import OFDLoss
from ocr_cml.losses.targets import Targets, decode_targets
from ocr_cml.losses.teacher import dilated_target
from ocr_cml.models import Detector, DetOutput, build_detector
from ocr_cml.runtime import FrozenDetector, LayerDetector, Normalization
from ocr_cml.schema import WeightSchedule
from ppocr_data.loader import Batch

NORMALIZATION = Normalization()
NAMES = ("Student", "Student2", "Student3")


def networks(count: int) -> dict[str, Detector]:
    """Students that differ, the same at every call."""
    made = {}
    for index, name in enumerate(NAMES[:count]):
        paddle.seed(index + 1)
        made[name] = build_detector(tiny.OTHER_STUDENT if index == 1 else tiny.STUDENT)
        tiny.sharpen(made[name])
    return made


def frozen(seed: int = 9) -> LayerDetector:
    paddle.seed(seed)
    network = build_detector(tiny.STUDENT)
    tiny.sharpen(network)
    return LayerDetector(network, NORMALIZATION)


class Counting(FrozenDetector):
    """A teacher that has only a map, and counts how often it is asked."""

    engine = "layer"

    def __init__(self, inner: FrozenDetector) -> None:
        super().__init__("counting", InferenceConfig(normalization=NORMALIZATION))
        self.inner, self.asked = inner, 0

    def _run(self, images: np.ndarray) -> np.ndarray:
        self.asked += 1
        return self.inner._run(images)


def label(learner: str, role: str = "db", guide: str | None = None, weight: float | WeightSchedule = 1.0) -> BoundTerm:
    term = {"db": DBLoss(), "mutual": DMLLoss(), "teacher": TeacherLoss(dilation=2)}[role]
    name = f"{role}/{learner}" + (f"<-{guide}" if guide else "")
    return BoundTerm(Binding(0, name, learner, guide, 1.0), term, weight)


def mutual(names: Sequence[str], share: float = 1.0) -> list[BoundTerm]:
    pairs = [(a, b) for a in names for b in names if a != b]
    return [BoundTerm(Binding(0, f"mutual/{a}<-{b}", a, b, share), DMLLoss(), 1.0) for a, b in pairs]


def test_students_that_leave_together_are_judged_together() -> None:
    """A learns from labels, B from A and C from B: without B alone C would have no teacher left."""
    students = networks(3)
    a, b, c = students
    terms = [label(a), label(b, "mutual", a), label(c, "mutual", b)]
    cohort = Cohort(students, {}, terms, NORMALIZATION)
    for gone in ((b,), (a,), (a, c)):
        with pytest.raises(ValueError, match=f"without {', '.join(gone)}"):
            cohort.drop(*gone)
        assert (list(cohort.students), cohort.terms) == ([a, b, c], terms)
    cohort.drop(b, c)
    assert (list(cohort.students), [term.binding.label for term in cohort.terms]) == ([a], [f"db/{a}"])


def gradients(layer: paddle.nn.Layer) -> dict[str, np.ndarray]:
    return {name: p.grad.numpy() for name, p in layer.named_parameters() if p.grad is not None}


def assert_close(first: dict[str, np.ndarray], second: dict[str, np.ndarray], tolerance: float = 3e-6) -> None:
    """Equal to `tolerance` of the largest of all values: a bias before a batch norm has but rounding."""
    assert first.keys() == second.keys()
    scale = max(float(np.abs(value).max()) for value in second.values())
    for name, expected in second.items():
        np.testing.assert_allclose(first[name], expected, rtol=0, atol=tolerance * scale, err_msg=name)


def supervised(output: DetOutput, targets: Targets) -> paddle.Tensor:
    """The DB loss, written out."""
    p, t = F.sigmoid(output.shrink_logit), F.sigmoid(output.threshold_logit)
    mask, border = targets.shrink_mask * targets.has_label, targets.threshold_mask * targets.has_label
    band = (paddle.abs(t - targets.threshold_map) * border).sum() / (border.sum() + 1e-6)
    binary = F.sigmoid(50.0 * (p - t))
    dice = [dice_loss(x, targets.shrink_map, mask) for x in (p, binary)]
    return 5.0 * dice[0] + 10.0 * band + dice[1]


def towards_teacher(output: DetOutput, answer: paddle.Tensor, targets: Targets) -> paddle.Tensor:
    """The teacher term of PP-OCRv2, written out; `answer` is the teacher's logit."""
    mask = 1.0 - (1.0 - targets.shrink_mask) * targets.has_label
    wanted = dilated_target(answer, 0.3, 2)
    p, t = F.sigmoid(output.shrink_logit), F.sigmoid(output.threshold_logit)
    return 5.0 * dice_loss(p, wanted, mask) + dice_loss(F.sigmoid(50.0 * (p - t)), wanted, mask)


def kl(guide: DetOutput, learner: DetOutput) -> paddle.Tensor:
    return bernoulli_kl(guide.shrink_logit.detach(), learner.shrink_logit).mean()


def run(cohort: Cohort, batch: Batch, progress: float = 0.0, learners: Sequence[str] | None = None):
    cohort.train()
    return cohort(batch, progress, cohort.ask_teachers(batch), learners)


# --- against plain loops ---------------------------------------------------------------------------------------------


def test_two_students_and_a_teacher_give_the_numbers_of_a_plain_loop() -> None:
    batch, teacher = tiny.batch(2), frozen()
    students = networks(2)
    terms = [label(name) for name in students] + mutual(list(students))
    terms += [label(name, "teacher", "Teacher") for name in students]
    result = run(Cohort(students, {"Teacher": (teacher, 1.0)}, terms, NORMALIZATION), batch)
    result.total.backward()

    plain = networks(2)
    first, second = plain.values()
    first.train(), second.train()
    targets, images = decode_targets(batch), NORMALIZATION.to_device(batch.image)
    with paddle.no_grad():
        answer = teacher.layer(images).shrink_logit
    a, b = first(images), second(images)
    total_a = supervised(a, targets) + kl(b, a) + towards_teacher(a, answer, targets)
    total_b = supervised(b, targets) + kl(a, b) + towards_teacher(b, answer, targets)
    (total_a + total_b).backward()

    assert result.total.shape == []
    np.testing.assert_allclose(float(result.total), float(total_a + total_b), rtol=1e-6)
    np.testing.assert_allclose(float(result.parts["db/Student"]), float(supervised(a, targets)), rtol=1e-6)
    np.testing.assert_allclose(float(result.parts["mutual/Student2<-Student"]), float(kl(a, b)), rtol=1e-6)
    assert float(kl(a, b)) > 1e-3  # the students do differ
    for name in students:
        assert_close(gradients(students[name]), gradients(plain[name]))
        assert_close(tiny.state_of(students[name]), tiny.state_of(plain[name]))


def test_three_students_learn_from_the_mean_over_their_two_peers() -> None:
    batch, students = tiny.batch(2), networks(3)
    result = run(Cohort(students, {}, mutual(list(students), share=1 / 2), NORMALIZATION), batch)
    result.total.backward()

    plain = networks(3)
    images = NORMALIZATION.to_device(batch.image)
    outputs = []
    for network in plain.values():
        network.train()
        outputs.append(network(images))
    losses = [
        sum(kl(outputs[peer], outputs[own]) for peer in range(3) if peer != own) / 2  # type: ignore[misc]
        for own in range(3)
    ]
    paddle.add_n(losses).backward()
    np.testing.assert_allclose(float(result.total), float(sum(losses)), rtol=1e-6)
    for name in students:
        assert_close(gradients(students[name]), gradients(plain[name]))


def test_a_peer_gets_no_gradient_from_the_term_that_it_guides() -> None:
    students = networks(2)
    run(Cohort(students, {}, mutual(list(students))[:1], NORMALIZATION), tiny.batch(2)).total.backward()
    assert any(np.abs(value).max() > 0 for value in gradients(students["Student"]).values())
    assert all(np.abs(value).max() == 0 for value in gradients(students["Student2"]).values())


def test_weights_and_their_schedules_scale_the_total_and_not_the_parts() -> None:
    ramp = WeightSchedule(start=0.0, end=2.0, over=(0.2, 0.6))
    totals = {}
    for progress in (0.1, 0.3, 1.0):
        students = networks(1)
        cohort = Cohort(students, {}, [label("Student", weight=ramp), label("Student", weight=0.5)], NORMALIZATION)
        result = run(cohort, tiny.batch(2), progress)
        totals[progress] = float(result.total) / float(result.parts["db/Student"])
    assert totals == pytest.approx({0.1: 0.5, 0.3: 1.0, 1.0: 2.5}, rel=1e-6)


# --- update in turns -------------------------------------------------------------------------------------------------


def descend(layer: paddle.nn.Layer, rate: float = 0.01) -> None:
    """One step of plain gradient descent."""
    with paddle.no_grad():
        for parameter in layer.parameters():
            if parameter.grad is not None:
                paddle.assign(parameter - rate * parameter.grad, parameter)
                parameter.clear_grad()


def test_alternating_is_algorithm_1() -> None:
    """Update 1 against 2; recompute 1's prediction; update 2 against it. Statistics move in a student's own turn."""
    batches = [tiny.batch(2, seed) for seed in range(2)]
    students = networks(2)
    terms = [label(name) for name in students] + mutual(list(students))
    cohort = Cohort(students, {}, terms, NORMALIZATION, "alternating")
    assert cohort.turns == [("Student",), ("Student2",)]
    totals = []
    for batch in batches:
        for turn in cohort.turns:
            result = run(cohort, batch, learners=turn)
            result.total.backward()
            totals.append(float(result.total))
            for name in turn:
                descend(students[name])

    plain = networks(2)
    expected = []
    for batch in batches:
        targets, images = decode_targets(batch), NORMALIZATION.to_device(batch.image)
        for own, peer in (("Student", "Student2"), ("Student2", "Student")):
            before = tiny.state_of(plain[peer])
            with paddle.no_grad():
                guide = plain[peer](images)
            plain[peer].set_state_dict(before)
            output = plain[own](images)
            loss = supervised(output, targets) + kl(guide, output)
            loss.backward()
            expected.append(float(loss))
            descend(plain[own])

    np.testing.assert_allclose(totals, expected, rtol=1e-6)
    for name in students:
        assert_close(tiny.state_of(students[name]), tiny.state_of(plain[name]))


def test_a_student_that_is_only_asked_stays_as_it_was() -> None:
    students = networks(2)
    before = tiny.state_of(students["Student2"])
    own = tiny.state_of(students["Student"])
    terms = [label(name) for name in students] + mutual(list(students))
    run(Cohort(students, {}, terms, NORMALIZATION, "alternating"), tiny.batch(2), learners=["Student"]).total.backward()
    tiny.assert_same(tiny.state_of(students["Student2"]), before)
    assert gradients(students["Student2"]) == {}
    moved = [name for name, value in tiny.state_of(students["Student"]).items() if not np.array_equal(value, own[name])]
    assert moved
    assert all(name.endswith(("_mean", "_variance")) for name in moved)


def test_a_student_without_a_part_in_a_turn_is_not_run() -> None:
    """Without mutual terms the others' forward passes would be wasted."""
    students, ran = networks(2), []
    students["Student2"].register_forward_pre_hook(lambda *_: ran.append(1))
    cohort = Cohort(students, {}, [label(name) for name in students], NORMALIZATION, "alternating")
    run(cohort, tiny.batch(2), learners=["Student"])
    assert ran == []


# --- teachers --------------------------------------------------------------------------------------------------------


def parameters_of(layers: Iterable[paddle.nn.Layer]) -> set[int]:
    """What is trained. Paddle counts running statistics among a network's parameters; no optimizer may move them."""
    return {id(p) for layer in layers for p in layer.parameters() if not p.stop_gradient}


def test_the_teacher_is_asked_once_a_step_and_never_changes() -> None:
    inner = frozen()
    teacher = Counting(inner)
    before = tiny.state_of(inner.layer)
    students = networks(2)
    terms = [label(name) for name in students] + mutual(list(students))
    terms += [label(name, "teacher", "Teacher") for name in students]
    cohort = Cohort(students, {"Teacher": (teacher, 1.0)}, terms, NORMALIZATION, "alternating")
    for step in range(3):
        batch = tiny.batch(2, step)
        answers = cohort.ask_teachers(batch)
        for turn in cohort.turns:
            cohort.train()
            cohort(batch, 0.0, answers, turn).total.backward()
            for name in turn:
                descend(students[name])
        assert teacher.asked == step + 1
    assert not inner.layer.training
    assert all(p.grad is None for p in inner.layer.parameters())
    tiny.assert_same(tiny.state_of(inner.layer), before)


def test_a_teacher_of_nobody_who_is_left_is_not_asked() -> None:
    """Neither is a student, as a guide, whose learner has gone."""
    students, teachers = networks(3), {"T": (Counting(frozen(9)), 1.0), "U": (Counting(frozen(10)), 1.0)}
    a, b, c = students
    terms = [label(a), label(b, "teacher", "T"), label(b, "mutual", a), label(c, "teacher", "U")]
    cohort = Cohort(students, teachers, terms, NORMALIZATION)
    batch = tiny.batch(1)
    assert (list(cohort.ask_teachers(batch)), list(cohort.ask_students(batch, [a, b, c]))) == (["T", "U"], [a])
    cohort.drop(b)
    assert (list(cohort.ask_teachers(batch)), list(cohort.ask_students(batch, [a, c]))) == (["U"], [])
    assert [teacher.asked for teacher, _ in teachers.values()] == [1, 2]


def test_no_student_owns_a_teachers_weight() -> None:
    students, teacher = networks(2), frozen()
    term = ATLoss(layers=[("neck", "neck")])
    term.bind(students["Student"].feature_channels, teacher.layer.feature_channels)
    terms = [BoundTerm(Binding(0, "at/Student<-Teacher", "Student", "Teacher", 1.0), term, 1.0), label("Student2")]
    cohort = Cohort(students, {"Teacher": (teacher, 1.0)}, terms, NORMALIZATION)
    moved = {id(p) for name in students for p in cohort.parameters(name)}
    assert moved == parameters_of(students.values())
    assert not moved & parameters_of([teacher.layer])


def test_a_connector_is_moved_by_its_learners_optimizer_alone() -> None:
    students, teacher = networks(2), frozen()
    term = OFDLoss(layers=[("neck", "neck")])
    term.bind(students["Student"].feature_channels, teacher.layer.feature_channels)
    terms = [BoundTerm(Binding(0, "ofd/Student<-Teacher", "Student", "Teacher", 1.0), term, 1.0), label("Student2")]
    cohort = Cohort(students, {"Teacher": (teacher, 1.0)}, terms, NORMALIZATION)
    assert cohort.connectors("Student") == {"ofd/Student<-Teacher": term}
    assert cohort.connectors("Student2") == {}
    assert {id(p) for p in cohort.parameters("Student")} == parameters_of([students["Student"], term])
    result = run(cohort, tiny.batch(2))
    result.total.backward()
    assert all(p.grad is not None for p in term.parameters() if not p.stop_gradient)


def test_several_teachers_are_the_weighted_mean_of_their_maps() -> None:
    teachers = {"A": (frozen(9), 1.0), "B": (frozen(10), 3.0)}
    cohort = Cohort(networks(1), teachers, [label("Student", "teacher", TEACHERS)], NORMALIZATION)
    batch = tiny.batch(2)
    a, b = (teacher.probability(batch.image) for teacher, _ in teachers.values())
    assert np.abs(a - b).max() > 0.1
    answers = cohort.ask_teachers(batch)
    np.testing.assert_allclose(answers[TEACHERS].shrink_prob.numpy()[:, 0], (a + 3 * b) / 4, atol=2e-6)
    np.testing.assert_allclose(answers["A"].shrink_prob.numpy()[:, 0], a, atol=2e-6)


def test_teachers_of_another_stride_are_averaged_at_the_first_ones_pixels() -> None:
    class Coarse(Counting):
        def _run(self, images: np.ndarray) -> np.ndarray:
            return super()._run(images)[:, :, ::2, ::2]

    whole, coarse = Counting(frozen(9)), Coarse(frozen(10))
    cohort = Cohort(
        networks(1), {"A": (whole, 1.0), "B": (coarse, 1.0)}, [label("Student", "teacher", TEACHERS)], NORMALIZATION
    )
    batch = tiny.batch(2)
    found = cohort.ask_teachers(batch)[TEACHERS].shrink_prob
    a, b = (paddle.to_tensor(teacher.probability(batch.image)).unsqueeze(1) for teacher in (whole, coarse))
    b = F.interpolate(b, size=a.shape[2:], mode="bilinear", align_corners=False)
    np.testing.assert_allclose(found.numpy(), ((a + b) / 2).numpy(), atol=3e-6)
    assert np.isfinite(float(run(cohort, batch).total))


# --- labels, batch size ----------------------------------------------------------------------------------------------


def test_without_any_label_only_the_guides_teach() -> None:
    batch, teacher = tiny.batch(2, labelled=[False, False]), frozen()
    students = networks(2)
    terms = [label(name) for name in students] + mutual(list(students))
    terms += [label(name, "teacher", "Teacher") for name in students]
    result = run(Cohort(students, {"Teacher": (teacher, 1.0)}, terms, NORMALIZATION), batch)
    result.total.backward()
    assert float(result.parts["db/Student"]) == float(result.parts["db/Student2"]) == 0.0
    assert float(result.parts["mutual/Student<-Student2"]) > 0
    assert float(result.parts["teacher/Student<-Teacher"]) > 0
    assert all(np.isfinite(value).all() for value in gradients(students["Student"]).values())

    # The labels of unlabelled images mean nothing: others change nothing.
    other = tiny.batch(2, labelled=[False, False])
    other.shrink_map[:], other.shrink_mask[:], other.threshold_mask[:] = 1, 0, 1
    again = run(Cohort(networks(2), {"Teacher": (teacher, 1.0)}, terms, NORMALIZATION), other)
    assert float(again.total) == float(result.total)


def test_an_unlabelled_image_does_not_change_the_supervised_part() -> None:
    """In eval mode, where images do not meet in the batch statistics."""
    both, one = tiny.batch(2, labelled=[True, False]), tiny.batch(2)
    for field in ("image", "shrink_map", "shrink_mask", "threshold_map", "threshold_mask", "has_label"):
        setattr(one, field, getattr(one, field)[:1])
    values = []
    for batch in (both, one):
        student = networks(1)["Student"]
        student.eval()
        student.head.training = True  # the threshold map is given in training only
        cohort = Cohort({"Student": student}, {}, [label("Student")], NORMALIZATION)
        values.append(float(cohort(batch, 0.0, {}).total))
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_a_batch_given_twice_is_the_same_total_and_the_same_gradient() -> None:
    """Batch statistics of a repeated batch are those of the batch, so nothing may depend on the number of images."""
    once = tiny.batch(2)
    twice = tiny.batch(2)
    for field in ("image", "shrink_map", "shrink_mask", "threshold_map", "threshold_mask", "has_label"):
        setattr(twice, field, np.concatenate([getattr(once, field)] * 2))
    teacher, found = frozen(), []
    for batch in (once, twice):
        students = networks(2)
        terms = [label(name) for name in students] + mutual(list(students))
        terms += [label(name, "teacher", "Teacher") for name in students]
        result = run(Cohort(students, {"Teacher": (teacher, 1.0)}, terms, NORMALIZATION), batch)
        result.total.backward()
        found.append((float(result.total), gradients(students["Student"])))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    name = "head.binarize.conv3.weight"
    np.testing.assert_allclose(found[0][1][name], found[1][1][name], rtol=1e-3, atol=1e-6)


def test_features_of_a_teacher_are_held_only_where_a_term_looks_at_them() -> None:
    """They take fifty times the memory of its map, for as long as a step's batches are accumulated."""
    students, teachers = networks(1), {"T": (frozen(), 1.0), "Other": (frozen(10), 1.0)}
    feature = BoundTerm(Binding(0, "at/Student<-T", "Student", "T", 1.0), ATLoss(layers=[["neck", "neck"]]), 1.0)
    terms = [label("Student", "teacher", "T"), label("Student", "teacher", "Other")]
    for given, seen in ((terms, set()), ([*terms, feature], {"T"})):
        said = Cohort(students, teachers, given, NORMALIZATION).ask_teachers(tiny.batch(1))
        assert {name for name, answer in said.items() if answer.features} == seen
        assert all(answer.threshold_logit is None for answer in said.values())


def test_a_teacher_that_is_a_layer_says_what_its_map_says() -> None:
    """Logits of 80 in one engine and of 13.8 in another would make one configuration two objectives."""
    student, layer = networks(1)["Student"], frozen()
    last = layer.layer.head.binarize.conv3
    with paddle.no_grad():
        paddle.assign(last.weight * 30.0, last.weight)
    batch, said = tiny.batch(2, 0), []
    for teacher in (layer, Counting(layer)):
        cohort = Cohort({"Student": student}, {"T": (teacher, 1.0)}, [label("Student", "teacher", "T")], NORMALIZATION)
        said.append(cohort.ask_teachers(batch)["T"].shrink_logit.numpy())
    assert np.abs(layer.output(batch.image).shrink_logit.numpy()).max() > 30
    assert np.abs(said[0]).max() == pytest.approx(13.8155, abs=1e-3)
    np.testing.assert_allclose(said[0], said[1], atol=0.3)  # 1 - 1e-6 in float32 has a digit or two
    np.testing.assert_allclose(said[0].clip(-14, 7), said[1].clip(-14, 7), atol=2e-3)


def test_a_label_that_never_counts_reaches_nobody_who_is_left() -> None:
    students = networks(2)
    a, b = students
    terms = [label(a), label(b, weight=0.0), label(b, "mutual", a)]
    cohort = Cohort(students, {}, terms, NORMALIZATION)
    with pytest.raises(ValueError, match=f"neither a label nor a teacher reaches {b}"):
        cohort.drop(a)
    assert list(cohort.students) == [a, b]
