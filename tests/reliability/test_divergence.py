"""Numbers that are no longer finite are named at their source, and one student's failure is not its peer's."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
import tiny
from safetensors.numpy import load_file

from ocr_cml.checkpoint import open_checkpoint
from ocr_cml.log import LOG
from ocr_cml.loop.divergence import LossScale, broken_weights
from ocr_cml.trainer import Trainer
from ocr_cml.why import data as why_data
from ocr_cml.why.pull import pulls_at
from ocr_cml.why.runs import read_run
from ppocr_data.errors import UserError

pytestmark = pytest.mark.slow

Tool = Callable[..., tuple[int, str, str]]
NAN = math.nan


def weights(trainer: Trainer) -> dict[str, np.ndarray]:
    """Without running statistics, which a forward pass moves."""
    return {key: value for key, value in tiny.states(trainer).items() if not key.endswith(("_mean", "_variance"))}


def poison(trainer: Trainer, name: str, *at: int) -> None:
    """Make a student's weights NaN just before its forward passes of these steps, counted from 1."""
    done: set[int] = set()

    def hook(layer: paddle.nn.Layer, _: object) -> None:
        step = trainer.progress.step + 1
        if step in at and step not in done:
            done.add(step)
            tiny.say(layer, NAN)

    trainer.cohort.students[name].register_forward_pre_hook(hook)


def train(data: dict[str, Any], *at: int, student: str = "Student2", steps: int = 4, mode: str = "stop") -> Trainer:
    with tiny.Run(data, max_steps=steps, on_divergence=mode) as trainer:
        poison(trainer, student, *at)
        trainer.fit()
    return trainer


def after_the_move(data: dict[str, Any], step: int, name: str, value: float, **sections: Any) -> Trainer:
    """Train to the end; a student's own move of a step gives it weights of `value`: NaN, or so large that activations
    overflow."""
    with tiny.Run(data, **sections) as trainer:
        move = trainer.learners.move

        def moved(student: str, rate: float, **more: Any) -> None:
            move(student, rate, **more)
            if student == name and trainer.progress.step + 1 == step and not trainer.progress.restarts:
                branch = trainer.cohort.students[name].head.binarize
                for weight in (branch.conv2.weight, branch.conv3.weight):
                    signs = np.where(np.arange(weight.shape[0]) % 2, -1, 1).reshape(-1, 1, 1, 1)
                    weight.set_value(np.broadcast_to(value * signs, weight.shape).astype(np.float32))

        trainer.learners.move = moved
        trainer.fit()
    return trainer


def use_scale(trainer: Trainer) -> LossScale:
    """Scale the loss as for float16; the one object that all parts of the training hold."""
    scale = trainer.loss_scale
    assert scale is trainer.gradients.loss_scale is trainer.learners.loss_scale
    scale.used, scale.value = True, LossScale(used=True).value
    return scale


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the log says; it does not reach the root's handlers by itself."""
    LOG.addHandler(caplog.handler)
    yield caplog
    LOG.removeHandler(caplog.handler)


# --- the source ------------------------------------------------------------------------------------------------------


def test_weights_are_named_with_student_and_parameter(tiny_set: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        train(tiny.settings(tiny_set, tmp_path / "run"), 2)
    message = str(caught.value)
    assert message.startswith("step 2: Student2's weights are not finite (head.binarize.conv3.")
    assert "Global.on_divergence" in message
    assert "train.txt:" in message


def test_a_teacher_that_answers_nan_is_named_and_no_student_is_dropped_for_it(
    tiny_set: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    data = tiny.settings(tiny_set, tmp_path / "run", terms=[tiny.LABELS, tiny.TEACHER], teacher=tiny_teacher)
    data["Architecture"]["Models"]["Teacher"]["engine"] = "auto"
    with tiny.Run(data, on_divergence="drop") as trainer:
        teacher, _ = trainer.cohort.teachers["Teacher"]
        teacher._run = lambda images: np.full((len(images), 1, *images.shape[1:3]), NAN, np.float32)
        before = weights(trainer)
        with pytest.raises(UserError, match="step 1: the answer of the teacher Teacher is not finite"):
            trainer.fit()
        tiny.assert_same(weights(trainer), before)
        assert list(trainer.cohort.students) == ["Student", "Student2"]


def test_activations_that_overflow_are_told_from_weights(tiny_set: Path, tmp_path: Path) -> None:
    with tiny.Run(tiny.settings(tiny_set, tmp_path / "run")) as trainer:
        weight = trainer.cohort.students["Student"].head.binarize.conv3.weight
        with paddle.no_grad():
            paddle.assign(paddle.full_like(weight, 3e38), weight)
        with pytest.raises(UserError, match=r"step 1: Student's answer is not finite though its weights are"):
            trainer.fit()


def test_a_connectors_running_statistics_are_no_weights(tiny_set: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    """Activations that overflow go through them too, before anybody looks."""
    ofd = {"OFDLoss": {"weight": 1.0, "layers": [["neck", "neck"]]}}
    data = tiny.settings(tiny_set, tmp_path / "run", terms=[tiny.LABELS, tiny.MUTUAL, ofd], teacher=tiny_teacher)
    with tiny.Run(data) as trainer:
        (connector,) = trainer.cohort.connectors("Student").values()
        statistics = [value for key, value in connector.state_dict().items() if key.endswith("_mean")]
        assert statistics
        weight = trainer.cohort.students["Student"].head.binarize.conv3.weight
        with paddle.no_grad():
            paddle.assign(paddle.full_like(weight, 3e38), weight)
            paddle.assign(paddle.full_like(statistics[0], NAN), statistics[0])
        with pytest.raises(UserError, match=r"step 1: Student's answer is not finite though its weights are"):
            trainer.fit()


def test_weights_of_a_connector_that_broke_are_its_student_s(
    tiny_set: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    ofd = {"OFDLoss": {"layers": [["neck", "neck"]]}}
    data = tiny.settings(tiny_set, tmp_path / "run", students=1, terms=[tiny.LABELS, ofd], teacher=tiny_teacher)
    with tiny.Run(data, max_steps=1) as trainer:
        (connector,) = trainer.cohort.connectors("Student").values()
        weight = next(parameter for parameter in connector.parameters() if not parameter.stop_gradient)
        assert broken_weights(trainer.cohort) is None
        weight.set_value(np.full(weight.shape, NAN, np.float32))
        found = broken_weights(trainer.cohort)
    assert found is not None and found.culprits == ("Student",) and "ofd" in found.text


def test_where_students_take_turns_it_is_said_that_nobody_of_this_turn_moved(tiny_set: Path, tmp_path: Path) -> None:
    data = tiny.settings(tiny_set, tmp_path / "run", Loss__update="alternating")
    with tiny.Run(data) as trainer:
        trainer.cohort.students["Student2"].head.binarize.conv1.weight.register_hook(lambda grad: grad * NAN)
        before = weights(trainer)
        with pytest.raises(UserError, match="though its loss is; nobody of this turn was updated"):
            trainer.fit()
        moved = {key.split("/")[0] for key, value in weights(trainer).items() if not np.array_equal(value, before[key])}
    assert moved == {"Student"}


def test_a_gradient_is_named_and_nothing_moves(tiny_set: Path, tmp_path: Path) -> None:
    with tiny.Run(tiny.settings(tiny_set, tmp_path / "run")) as trainer:
        trainer.cohort.students["Student2"].head.binarize.conv1.weight.register_hook(lambda grad: grad * NAN)
        before = weights(trainer)
        with pytest.raises(UserError) as caught:
            trainer.fit()
        tiny.assert_same(weights(trainer), before)
    assert "step 1: the gradient of Student2 is not finite (head.binarize.conv1.weight)" in str(caught.value)


def test_a_term_that_fails_on_sound_inputs_is_its_learners_and_not_its_guides(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tiny.Run(tiny.settings(tiny_set, tmp_path / "run"), on_divergence="drop", max_steps=1) as trainer:
        (term,) = [bound.term for bound in trainer.cohort.terms if bound.binding.label == "mutual/Student<-Student2"]
        forward = type(term).forward

        def failing(self: Any, *inputs: Any) -> paddle.Tensor:
            return forward(self, *inputs) * (NAN if self is term else 1.0)

        monkeypatch.setattr(type(term), "forward", failing)
        trainer.fit()
        assert trainer.progress.dropped == {"Student": 0}
    (event,) = tiny.records(tmp_path / "run", "divergence")
    assert "the term mutual/Student<-Student2 is not finite though its inputs are" in event["divergence"]["drop"]


def test_a_scale_that_makes_pixels_infinite_is_named(tiny_set: Path, tmp_path: Path) -> None:
    data = tiny.settings(tiny_set, tmp_path / "run")
    for part in ("Train", "Eval"):
        normalize = {"NormalizeImage": {"std": [1e-44, 1.0, 1.0], "mean": [0.5, 0.5, 0.5]}}
        data[part]["dataset"]["transforms"].append(normalize)
    with tiny.Run(data) as trainer, pytest.raises(UserError, match="normalised pixels"):
        trainer.fit()


# --- the others go on ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("update", ["synchronous", "alternating"])
def test_a_dropped_student_leaves_its_peer_whole(
    update: str, tiny_set: Path, tmp_path: Path, told: pytest.LogCaptureFixture
) -> None:
    data = tiny.settings(tiny_set, tmp_path / "run", Loss__update=update, Optimizer__ema_decay=0.9)
    trainer = train(data, 3, mode="drop")
    assert list(trainer.cohort.students) == ["Student"]
    assert trainer.progress.step == 4
    assert all(np.isfinite(value).all() for value in tiny.states(trainer).values())
    lines = tiny.records(tmp_path / "run", "loss")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert "mutual/Student<-Student2" in lines[1]
    assert {key for key in lines[2] if "/" in key} == {"db/Student"}
    (event,) = tiny.records(tmp_path / "run", "divergence")
    assert event["step"] == 3  # which a run that was killed after step 2 makes once more, and records once
    assert event["divergence"]["students"] == ["Student2"]
    assert "step 3: Student2's weights are not finite" in told.text
    assert "Student2: dropped; the others go on" in told.text
    assert {file.name for file in (tmp_path / "run/latest").glob("*.safetensors")} == {
        *("Student.safetensors", "Student.optimizer.safetensors", "Student.mean.safetensors")
    }


def test_a_run_without_the_dropped_one_resumes_and_ends_with_the_same_bits(tiny_set: Path, tmp_path: Path) -> None:
    whole = train(tiny.settings(tiny_set, tmp_path / "whole"), 2, mode="drop", steps=4)
    train(tiny.settings(tiny_set, tmp_path / "half"), 2, mode="drop", steps=3)
    resumed = train(tiny.settings(tiny_set, tmp_path / "half"), steps=4)  # even where it is not asked for any more
    assert resumed.progress.dropped == {"Student2": 1}
    tiny.assert_same(tiny.states(resumed), tiny.states(whole))


def test_of_three_the_two_left_share_what_three_shared(tiny_set: Path, tmp_path: Path) -> None:
    trainer = train(tiny.settings(tiny_set, tmp_path / "run", students=3), 2, mode="drop", steps=2)
    shares = {term.binding.label: term.binding.share for term in trainer.cohort.terms}
    assert shares == {
        **{f"db/{name}": 1.0 for name in ("Student", "Student3")},
        "mutual/Student<-Student3": 1.0,
        "mutual/Student3<-Student": 1.0,
    }


def test_tools_know_that_a_student_was_dropped(tiny_set: Path, tmp_path: Path, tool: Tool) -> None:
    data = tiny.settings(tiny_set, tmp_path / "run")
    train(data, 2, mode="drop", steps=3)
    path = tiny.write(data, tmp_path / "config.yml")
    code, out, err = tool("eval", "-c", path, "-o", f"Global.pretrained_model={tmp_path / 'run/best'}")
    assert code == 0, err
    assert [line.split()[0] for line in out.splitlines()] == ["network", "Student"]


def test_what_is_asked_of_a_run_leaves_out_the_student_that_was_dropped(tiny_set: Path, tmp_path: Path) -> None:
    data = tiny.settings(tiny_set, tmp_path / "run", students=3)
    train(data, 2, mode="drop", steps=3)
    run = read_run(str(tmp_path / "run"))
    networks = why_data.students(run, "latest")
    assert list(networks) == ["Student", "Student3"]
    found, left_out = pulls_at(run, "latest", networks, why_data.crops(run.config, 2, 2), 1)
    assert [pull.label for pull in found] == ["mutual/Student<-Student3", "mutual/Student3<-Student"]
    assert left_out == []


TAUGHT = [{"DBLoss": {"model_name_list": ["Student"]}}, tiny.MUTUAL]
"""The others have but their peers."""


@pytest.mark.parametrize(
    ("students", "terms", "reason"),
    [
        (1, [tiny.LABELS], "without Student nobody"),
        (2, TAUGHT, "without Student nobody"),
        (3, TAUGHT, "without Student neither a label nor a teacher reaches Student2, Student3"),
    ],
)
def test_where_nobody_could_go_on_the_run_stops(
    students: int, terms: list[dict[str, Any]], reason: str, tiny_set: Path, tmp_path: Path
) -> None:
    data = tiny.settings(tiny_set, tmp_path / "run", students=students, terms=terms)
    with pytest.raises(UserError, match=f"step 2: Student's weights.*{reason}"):
        train(data, 2, student="Student", mode="drop")


# --- beginning anew --------------------------------------------------------------------------------------------------


def test_a_restarted_student_has_its_first_weights_and_no_past(tiny_set: Path, tmp_path: Path) -> None:
    data = tiny.settings(tiny_set, tmp_path / "run", Optimizer__ema_decay=0.9)
    with tiny.Run(data, max_steps=3, on_divergence="restart") as trainer:
        first = tiny.state_of(trainer.cohort.students["Student2"])
        poison(trainer, "Student2", 3)
        restart, seen = trainer.learners.restart, {}

        def watched(name: str) -> None:
            restart(name)
            seen["state"] = tiny.state_of(trainer.cohort.students[name])
            seen["mean"] = {key: value.numpy().copy() for key, value in trainer.learners.means[name].values.items()}
            seen["optimizer"] = trainer.learners.optimizers[name].state_dict()

        trainer.learners.restart = watched
        trainer.fit()
    tiny.assert_same(seen["state"], first)
    tiny.assert_same(seen["mean"], first)
    assert not [value for value in seen["optimizer"].values() if isinstance(value, paddle.Tensor)]
    assert trainer.progress.restarts == {"Student2": [2]}
    after = tiny.state_of(trainer.cohort.students["Student2"])
    assert all(np.isfinite(value).all() for value in after.values())
    assert any(not np.array_equal(after[key], first[key]) for key in after)  # and it learned again in the same step
    assert "mutual/Student<-Student2" in tiny.records(tmp_path / "run", "loss")[2]


def test_all_that_broke_in_a_step_begin_anew(tiny_set: Path, tmp_path: Path) -> None:
    with tiny.Run(tiny.settings(tiny_set, tmp_path / "run"), max_steps=3, on_divergence="restart") as trainer:
        poison(trainer, "Student", 2)
        poison(trainer, "Student2", 2)
        trainer.fit()
    assert trainer.progress.restarts == {"Student": [1], "Student2": [1]}
    assert len(tiny.records(tmp_path / "run", "divergence")) == 1


def test_a_restarted_student_s_connectors_begin_anew(tiny_set: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    ofd = {"OFDLoss": {"weight": 1.0, "layers": [["neck", "neck"]]}}
    data = tiny.settings(tiny_set, tmp_path / "run", students=1, terms=[tiny.LABELS, ofd], teacher=tiny_teacher)
    with tiny.Run(data, max_steps=2, on_divergence="restart") as trainer:
        (connector,) = trainer.cohort.connectors("Student").values()
        first = tiny.state_of(connector)
        trainer.fit()
        moved = tiny.state_of(connector)
        assert any(not np.array_equal(moved[key], first[key]) for key in first)
        trainer.learners.restart("Student")
        tiny.assert_same(tiny.state_of(connector), first)


def test_a_run_with_a_restarted_student_resumes_and_ends_with_the_same_bits(tiny_set: Path, tmp_path: Path) -> None:
    terms = [tiny.LABELS, tiny.MUTUAL]
    settings = {"terms": terms, "Optimizer__ema_decay": 0.5}
    whole = train(tiny.settings(tiny_set, tmp_path / "whole", **settings), 2, mode="restart", steps=5)
    train(tiny.settings(tiny_set, tmp_path / "half", **settings), 2, mode="restart", steps=3)
    resumed = train(tiny.settings(tiny_set, tmp_path / "half", **settings), mode="restart", steps=5)
    assert resumed.progress.restarts == {"Student2": [1]}
    tiny.assert_same(tiny.states(resumed), tiny.states(whole))
    for file in (tmp_path / "whole/latest").glob("*.safetensors"):
        tiny.assert_same(load_file(tmp_path / "half/latest" / file.name), load_file(file))


def test_a_student_that_is_blamed_after_its_own_move_resumes_with_its_mean(tiny_set: Path, tmp_path: Path) -> None:
    """In turns, its broken weights show in its peer's turn; its mean has one update fewer than the step says."""
    settings = {"Optimizer__ema_decay": 0.5, "Loss__update": "alternating"}

    def blamed(run: str, steps: int) -> Trainer:
        data = tiny.settings(tiny_set, tmp_path / run, **settings)
        return after_the_move(data, 2, "Student", NAN, max_steps=steps)

    settings["Global__on_divergence"] = "restart"
    whole, _ = blamed("whole", 4), blamed("half", 3)
    resumed = blamed("half", 4)
    assert whole.progress.restarts == {"Student": [1]}
    updates = [[mean.updates for mean in trainer.learners.means.values()] for trainer in (whole, resumed)]
    assert updates == [[2, 4], [2, 4]]
    for file in (tmp_path / "whole/latest").glob("*.safetensors"):
        tiny.assert_same(load_file(tmp_path / "half/latest" / file.name), load_file(file))


def test_a_checkpoint_from_before_means_were_counted_counts_from_the_restart(tiny_set: Path, tmp_path: Path) -> None:
    data = tiny.settings(tiny_set, tmp_path / "run", Optimizer__ema_decay=0.5)
    train(data, 2, steps=3, mode="restart")
    state = tmp_path / "run/latest/state.json"
    record = json.loads(state.read_text(encoding="utf-8"))
    assert record["progress"].pop("mean_updates") == {"Student": 3, "Student2": 2}
    state.write_text(json.dumps(record), encoding="utf-8")
    trainer = train(data, steps=4, mode="restart")
    assert {name: mean.updates for name, mean in trainer.learners.means.items()} == {"Student": 4, "Student2": 3}


def test_a_student_that_diverges_again_and_again_stops_the_run(tiny_set: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"step 5: Student2's weights.* again after 3 restarts"):
        train(tiny.settings(tiny_set, tmp_path / "run"), 2, 3, 4, 5, mode="restart", steps=6)


# --- found by a save or an evaluation --------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [{"eval_batch_step": [0, 2]}, {"eval_batch_step": [0, 100], "save_batch_step": 2}])
@pytest.mark.parametrize("value", [NAN, 3e38])
@pytest.mark.parametrize("mode", ["drop", "restart"])
def test_whoever_breaks_in_the_step_before_is_dealt_with_as_at_any_other(
    mode: str, value: float, every: dict[str, Any], tiny_set: Path, tmp_path: Path
) -> None:
    data = tiny.settings(tiny_set, tmp_path / "run")
    trainer = after_the_move(data, 2, "Student2", value, max_steps=4, on_divergence=mode, **every)
    assert trainer.progress.step == 4
    assert trainer.progress.dropped == ({"Student2": 2} if mode == "drop" else {})
    assert trainer.progress.restarts == ({"Student2": [2]} if mode == "restart" else {})
    (event,) = tiny.records(tmp_path / "run", "divergence")
    evaluated = every["eval_batch_step"] == [0, 2]
    assert event["step"] == (2 if evaluated or math.isnan(value) else 3)
    assert event["divergence"]["students"] == ["Student2"]
    left = {"Student"} if mode == "drop" else {"Student", "Student2", "ensemble"}
    scores = {record["step"]: set(record["eval"]) for record in tiny.records(tmp_path / "run", "eval")}
    assert scores == ({2: left, 4: left} if evaluated else {4: left})


def test_weights_that_broke_are_not_saved(tiny_set: Path, tmp_path: Path) -> None:
    data = tiny.settings(tiny_set, tmp_path / "run", Global__save_batch_step=1)
    with pytest.raises(UserError, match=r"step 2: Student2's weights.*, since its own move; nothing was saved"):
        after_the_move(data, 2, "Student2", NAN)
    assert open_checkpoint(tmp_path / "run/latest").progress.step == 1


def test_answers_that_overflow_end_an_evaluation_with_the_way_on(tiny_set: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    data = tiny.settings(tiny_set, run, Global__save_batch_step=1, Global__eval_batch_step=[0, 2])
    with pytest.raises(UserError) as caught:
        after_the_move(data, 2, "Student2", 3e38)
    assert str(caught.value) == (
        "step 2: Student2's answers to evaluation images are not finite: activations overflow; it began with step 2. "
        "Lower Optimizer.lr.learning_rate or set Optimizer.clip_norm; Global.on_divergence says whether others go on; "
        f"{run / 'latest'} holds them already: remove it, and the run goes on from the one before, "
        f"{run / 'latest.previous'}"
    )
    shutil.rmtree(run / "latest")
    assert tiny.fit(data, max_steps=3).progress.step == 3
    assert [record["step"] for record in tiny.records(run, "loss")] == [1, 2, 3]
    assert tiny.fit(data, max_steps=5).progress.step == 5, "and the same command goes on"
    assert [record["step"] for record in tiny.records(run, "loss")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("every", [{"eval_batch_step": [0, 2]}, {"eval_batch_step": [0, 100], "save_batch_step": 2}])
@pytest.mark.parametrize("value", [NAN, 3e38])
def test_who_began_anew_just_before_a_save_goes_on_from_it(
    value: float, every: dict[str, Any], tiny_set: Path, tmp_path: Path
) -> None:
    """It has not moved since, so there is no optimizer's state of it."""
    settings = {"on_divergence": "restart", **every}
    whole = after_the_move(tiny.settings(tiny_set, tmp_path / "whole"), 2, "Student2", value, max_steps=4, **settings)
    data = tiny.settings(tiny_set, tmp_path / "half")
    half = after_the_move(data, 2, "Student2", value, max_steps=2, **settings)
    assert half.progress.restarts == {"Student2": [2]}
    resumed = tiny.fit(data, max_steps=4, **settings)
    assert resumed.progress.restarts == {"Student2": [2]}
    if math.isnan(value) or "save_batch_step" not in every:  # else the whole one met it a step later, in the third
        assert whole.progress.restarts == {"Student2": [2]}
        tiny.assert_same(tiny.states(resumed), tiny.states(whole))


@pytest.mark.parametrize("mode", ["drop", "restart"])
def test_running_statistics_move_once_a_batch_however_often_a_step_is_made(
    mode: str, tiny_set: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    """A student's own, and those of its connectors."""

    def settings(run: str) -> dict[str, Any]:
        terms = [tiny.LABELS, {"OFDLoss": {"layers": [["neck", "neck"]]}}]
        return tiny.settings(tiny_set, tmp_path / run, terms=terms, teacher=tiny_teacher)

    def statistics(trainer: Trainer) -> dict[str, np.ndarray]:
        layers = trainer.cohort.layers_of("Student")
        states = [
            (number, key, value.numpy())
            for number, layer in enumerate(layers)
            for key, value in layer.state_dict().items()
        ]
        return {f"{number} {key}": value for number, key, value in states if key.endswith(("_mean", "_variance"))}

    whole = statistics(tiny.fit(settings("whole"), max_steps=1))
    broken = statistics(train(settings("run"), 1, mode=mode, steps=1))
    assert {key.split()[0] for key in whole} == {"0", "1"}
    for key, value in whole.items():
        np.testing.assert_allclose(broken[key], value, rtol=1e-4, atol=1e-6, err_msg=key)


def test_a_restart_from_one_evaluation_to_the_next_resumes_with_the_same_bits(tiny_set: Path, tmp_path: Path) -> None:
    """Killed behind the save that comes before the evaluation, it is met once more and recorded once."""
    settings = {"max_steps": 4, "on_divergence": "restart", "eval_batch_step": [0, 2]}
    whole = after_the_move(tiny.settings(tiny_set, tmp_path / "whole"), 2, "Student2", 3e38, **settings)
    data = tiny.settings(tiny_set, tmp_path / "half")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ocr_cml.trainer.table", lambda scores: 1 / 0)  # behind the event, before the next save
        with pytest.raises(ZeroDivisionError):
            after_the_move(data, 2, "Student2", 3e38, **settings)
    assert len(tiny.records(tmp_path / "half", "divergence")) == 1
    resumed = tiny.fit(data, **settings)
    assert resumed.progress.restarts == {"Student2": [2]}
    assert len(tiny.records(tmp_path / "half", "divergence")) == 1
    tiny.assert_same(tiny.states(resumed), tiny.states(whole))


# --- float16's loss scale --------------------------------------------------------------------------------------------


def test_the_scale_halves_at_an_overflow_and_doubles_after_2000_good_steps() -> None:
    scale = LossScale(used=True)
    first = scale.value
    scale.update(overflowed=True)
    scale.update(overflowed=True)
    assert scale.value == first / 4
    for _ in range(1999):
        scale.update(overflowed=False)
    assert scale.value == first / 4
    scale.update(overflowed=False)
    assert scale.value == first / 2
    for _ in range(100):
        scale.update(overflowed=True)
    assert scale.value == 1.0
    assert not scale.may_back_off


def test_the_scale_grows_no_further_than_it_began() -> None:
    scale = LossScale(used=True)
    for _ in range(4001):
        scale.update(overflowed=False)
    assert scale.value == LossScale(used=True).value


def test_a_turn_that_is_made_again_counts_once_for_the_scale(tiny_set: Path, tmp_path: Path) -> None:
    with tiny.Run(tiny.settings(tiny_set, tmp_path / "run"), max_steps=4, on_divergence="drop") as trainer:
        scale = use_scale(trainer)
        poison(trainer, "Student2", 2)
        trainer.fit()
    assert (scale.good_turns, list(trainer.cohort.students)) == (4, ["Student"])


def test_an_overflow_costs_the_student_a_step_and_halves_the_scale(tiny_set: Path, tmp_path: Path) -> None:
    """What float16 does on a GPU, with an infinity put in by hand: gradients overflow above a scale of 2 ** 13."""

    def run(name: str, *steps: int) -> Trainer:
        for last in steps:
            with tiny.Run(tiny.settings(tiny_set, tmp_path / name), max_steps=last) as trainer:
                scale = use_scale(trainer)
                weight = trainer.cohort.students["Student2"].head.binarize.conv1.weight
                weight.register_hook(lambda grad, scale=scale: grad * (math.inf if scale.value > 2**13 else 1.0))
                start = weights(trainer)
                trainer.fit()
                moved = {key for key, value in weights(trainer).items() if not np.array_equal(value, start[key])}
                if last == 2:
                    assert moved
                    assert all(key.startswith("Student/") for key in moved)
        return trainer

    assert run("half", 2, 3).loss_scale.good_turns == 1
    halved = run("half", 4)
    assert halved.loss_scale.value == 2.0**13
    assert halved.loss_scale.good_turns == 2
    whole = run("whole", 4)
    tiny.assert_same(tiny.states(halved), tiny.states(whole))


def test_scaling_the_loss_by_a_power_of_two_changes_no_weight(tiny_set: Path, tmp_path: Path) -> None:
    plain = train(tiny.settings(tiny_set, tmp_path / "plain"), steps=2)
    factors: list[float] = []
    with tiny.Run(tiny.settings(tiny_set, tmp_path / "scaled"), max_steps=2) as trainer:
        use_scale(trainer)
        backward = trainer.cohort.backward
        trainer.cohort.backward = lambda result, factor: factors.append(factor) or backward(result, factor)
        trainer.fit()
    assert factors == [2.0**15, 2.0**15]
    tiny.assert_same(tiny.states(trainer), tiny.states(plain))
