"""The loop: against a plain one, and against itself interrupted at any point."""

from __future__ import annotations

import json
import math
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
import tiny
from safetensors.numpy import load_file

from ocr_cml import assemble
from ocr_cml.cohort import Cohort
from ocr_cml.evaluate import Evaluator
from ocr_cml.loop.signals import Interrupted
from ocr_cml.losses.db import dice_loss
from ocr_cml.losses.divergences import bernoulli_kl
from ocr_cml.losses.targets import decode_targets
from ocr_cml.losses.teacher import TeacherLoss
from ocr_cml.models import DetOutput
from ocr_cml.trainer import Trainer
from ppocr_data.errors import UserError, WeightsError
from ppocr_data.loader import train_loader


def initial(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The students as a run of this configuration starts them, and its normalisation and data."""
    config = tiny.load(data, folder)
    students, _ = assemble.starting_students(config)
    return {"students": students, "config": config}


# --- the step --------------------------------------------------------------------------------------------------------


def test_three_steps_equal_a_plain_two_network_loop(tiny_set: Path, tmp_path: Path) -> None:
    """Adam, the rate's warm-up and cosine, DB and mutual losses, written out, on the loader's batches."""
    # One at a time as the loop below: with their share of the cores products are rounded otherwise, and Adam's first
    # steps make much of that. test_side_by_side.py holds both ways against each other.
    data = tiny.settings(tiny_set, tmp_path / "run", Global__students_at_once=1)
    trainer = tiny.fit(data)

    start = initial(data, tmp_path / "plain")
    first, second = start["students"].values()
    optimizers = []
    for network in (first, second):
        network.train()
        moved = [p for p in network.parameters() if not p.stop_gradient]
        optimizers.append(paddle.optimizer.Adam(learning_rate=0.0, parameters=moved))
    losses, alike = [], []
    with train_loader(assemble.labelled_dataset(start["config"]), batch_size=2, seed=5) as batches:
        for step in range(3):
            batch = next(batches)
            images, targets = assemble.normalization(start["config"]).to_device(batch.image), decode_targets(batch)
            outputs = [first(images), second(images)]
            total = paddle.zeros([])
            for own, peer in ((0, 1), (1, 0)):
                output, guide = outputs[own], outputs[peer].shrink_logit.detach()
                border = targets.threshold_mask
                error = paddle.abs(output.threshold_prob - targets.threshold_map) * border
                total = total + 5 * dice_loss(output.shrink_prob, targets.shrink_map, targets.shrink_mask)
                total = total + 10 * error.sum() / (border.sum() + 1e-6)
                total = total + dice_loss(output.binary_prob, targets.shrink_map, targets.shrink_mask)
                total = total + bernoulli_kl(guide, output.shrink_logit).mean()
            total.backward()
            # 4 epochs of 6 samples by 2 are 12 steps, of which 2 are warm-up.
            rate = 0.003 * (step + 1) / 2 if step < 2 else 0.003 * (1 + math.cos(math.pi * (step - 2) / 10)) / 2
            for optimizer in optimizers:
                optimizer.set_lr(rate)
                optimizer.step()
                optimizer.clear_grad()
            losses.append(float(total))
            a, b = (output.shrink_prob.numpy() > 0.3 for output in outputs)
            alike.append(2 * (a & b).sum() / (a.sum() + b.sum()))

    assert [record["loss"] for record in tiny.records(tmp_path / "run", "loss")] == pytest.approx(losses, rel=1e-5)
    found = [record["agreement/Student,Student2"] for record in tiny.records(tmp_path / "run", "loss")]
    assert found == pytest.approx(alike, abs=0.01)  # a pixel at the threshold may fall on either side
    for name, network in start["students"].items():
        found, expected = tiny.state_of(trainer.cohort.students[name]), tiny.state_of(network)
        for key in expected:
            np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=2e-4, err_msg=key)


def test_two_batches_of_one_step_by_their_mean_gradient(tiny_set: Path, tmp_path: Path) -> None:
    optimizer = {"name": "Momentum", "momentum": 0.0, "accumulate": 2, "lr": {"name": "Const", "learning_rate": 0.01}}
    loader = {"batch_size_per_card": 1, "num_workers": 0}
    data = tiny.settings(
        tiny_set, tmp_path / "run", terms=[tiny.LABELS], students=1, Optimizer=optimizer, Train__loader=loader
    )
    trainer = tiny.fit(data, max_steps=1)

    start = initial(data, tmp_path / "plain")
    student = start["students"]["Student"]
    before = {name: p.numpy().copy() for name, p in student.named_parameters()}
    totals, gradients = [], []
    with train_loader(assemble.labelled_dataset(start["config"]), batch_size=1, seed=5) as batches:
        cohort: Cohort = assemble.build_cohort(start["config"], start["students"], {})
        cohort.train()
        for _ in range(2):
            result = cohort(next(batches), 0.0, {})
            result.total.backward()
            gradients.append({n: p.grad.numpy() for n, p in student.named_parameters() if p.grad is not None})
            student.clear_gradients()
            totals.append(float(result.total))
    assert gradients[0]["head.binarize.conv3.weight"].any()
    after = tiny.state_of(trainer.cohort.students["Student"])
    for name in gradients[0]:
        expected = before[name] - 0.01 * (gradients[0][name] + gradients[1][name]) / 2
        np.testing.assert_allclose(after[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
    assert tiny.records(tmp_path / "run", "loss")[0]["loss"] == pytest.approx(sum(totals) / 2, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("students", [2, 3])
def test_one_student_after_the_other_learns_what_all_at_once_do(
    students: int, tiny_set: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    """`save_memory` changes what is held, and no bit of any weight, statistic or term."""
    trainers, terms = [], [tiny.LABELS, tiny.MUTUAL, tiny.TEACHER]
    for name, saves in (("together", False), ("apart", True)):
        data = tiny.settings(tiny_set, tmp_path / name, terms=terms, students=students, teacher=tiny_teacher)
        data["Global"] |= {"save_memory": saves, "students_at_once": 1}
        data["Optimizer"]["accumulate"] = 2
        trainers.append(tiny.fit(data, max_steps=2))
    tiny.assert_same(tiny.states(trainers[1]), tiny.states(trainers[0]))
    for mine, other in zip(
        tiny.records(tmp_path / "apart", "loss"), tiny.records(tmp_path / "together", "loss"), strict=True
    ):
        assert mine.pop("loss") == pytest.approx(other.pop("loss"), rel=1e-6)  # the sum alone has another order
        assert mine == other
        assert any(label.startswith("mutual") and value > 0 for label, value in mine.items())


@pytest.mark.usefixtures("one_math_thread")
@pytest.mark.parametrize("students", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_what_is_computed_again_is_what_was_held(
    students: int, tiny_set: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    """`recompute` changes what is held, and no bit of any weight, statistic or term."""
    terms = [tiny.LABELS, tiny.TEACHER] + [tiny.MUTUAL] * (students > 1)
    trainers = []
    for name, again in (("held", False), ("again", True)):
        data = tiny.settings(tiny_set, tmp_path / name, terms=terms, students=students, teacher=tiny_teacher)
        data["Global"] |= {"recompute": again, "students_at_once": 1}
        trainers.append(tiny.fit(data, max_steps=3))
    assert [trainer.recomputes for trainer in trainers] == [False, True]
    tiny.assert_same(tiny.states(trainers[1]), tiny.states(trainers[0]))
    assert tiny.records(tmp_path / "again", "loss") == tiny.records(tmp_path / "held", "loss")


def test_a_non_finite_term_stops_the_run_before_any_weight_moves(tiny_set: Path, tmp_path: Path) -> None:
    data = tiny.settings(tiny_set, tmp_path / "run")
    with tiny.Run(data) as trainer:
        tiny.say(trainer.cohort.students["Student2"], math.nan)
        before = {key: value for key, value in tiny.states(trainer).items() if not key.endswith(("_mean", "_variance"))}
        with pytest.raises(UserError) as caught:
            trainer.fit()
        after = tiny.states(trainer)
    message = str(caught.value)
    assert message.startswith("step 1: ")
    assert "db/Student2" in message
    assert "mutual/Student<-Student2" in message
    assert "db/Student " not in message
    assert "train.txt:" in message  # the batch's samples
    for key, value in before.items():
        np.testing.assert_array_equal(after[key], value)
    assert not (tmp_path / "run" / "latest").exists()


def test_the_exponential_mean_follows_its_recurrence(tiny_set: Path, tmp_path: Path) -> None:
    data = tiny.settings(tiny_set, tmp_path / "run", terms=[tiny.LABELS], students=1, Optimizer__ema_decay=0.15)
    start = initial(data, tmp_path / "plain")
    expected = tiny.state_of(start["students"]["Student"])
    statistics = {name for name in expected if name.endswith(("_mean", "_variance"))}
    for step, decay in ((1, 1 / 10), (2, 0.15), (3, 0.15)):
        tiny.fit(data, max_steps=step)
        weights = load_file(tmp_path / "run/latest/Student.safetensors")
        expected = {
            name: weights[name] if name in statistics else expected[name] * decay + weights[name] * (1 - decay)
            for name in weights
        }
    mean = load_file(tmp_path / "run/latest/Student.mean.safetensors")
    for name in expected:
        np.testing.assert_allclose(mean[name], expected[name], rtol=1e-5, atol=1e-7, err_msg=name)
    # The evaluation saw the mean, so what is called best is the mean.
    first = load_file(tmp_path / "run/best/Student.safetensors")
    assert not np.array_equal(first["head.binarize.conv3.weight"], weights["head.binarize.conv3.weight"])


# --- going on --------------------------------------------------------------------------------------------------------

FEATURES = [{"OFDLoss": {"layers": [["backbone.2", "backbone.3"], ["neck", "neck"]]}}]
CASES: dict[str, dict[str, Any]] = {
    "one worker": {"Train__loader": {"batch_size_per_card": 2, "num_workers": 1}},
    "exponential mean": {"Optimizer__ema_decay": 0.9, "Optimizer__clip_norm": 1.0},
    "connectors": {"terms": [tiny.LABELS, tiny.MUTUAL, tiny.TEACHER, *FEATURES]},
    "in turns, accumulated": {"Loss__update": "alternating", "Optimizer__accumulate": 2},
    "momentum, weight decay": {
        "Optimizer__name": "Momentum",
        "Optimizer__regularizer": {"name": "L2", "factor": 1e-4},
        "terms": [{"DBLoss": {"weight": {"start": 0.0, "end": 1.0, "over": [0.0, 0.5]}}}, tiny.MUTUAL],
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_ends_with_the_same_bits(case: str, tiny_set: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    choices = CASES[case]
    teacher = tiny_teacher if case == "connectors" else None
    whole = tiny.fit(tiny.settings(tiny_set, tmp_path / "whole", teacher=teacher, **choices), max_steps=4)
    half = tiny.fit(tiny.settings(tiny_set, tmp_path / "half", teacher=teacher, **choices), max_steps=2)
    assert any(not np.array_equal(value, tiny.states(half)[name]) for name, value in tiny.states(whole).items())
    resumed = tiny.fit(tiny.settings(tiny_set, tmp_path / "half", teacher=teacher, **choices), max_steps=4)

    tiny.assert_same(tiny.states(resumed), tiny.states(whole))
    assert tiny.records(tmp_path / "half", "loss") == tiny.records(tmp_path / "whole", "loss")
    for name in whole.learners.means:
        means = [{k: v.numpy() for k, v in trainer.learners.means[name].values.items()} for trainer in (resumed, whole)]
        tiny.assert_same(*means)
    saved = [sorted(file.name for file in (tmp_path / run / "latest").iterdir()) for run in ("half", "whole")]
    assert saved[0] == saved[1]
    for file in (tmp_path / "whole/latest").glob("*.safetensors"):
        tiny.assert_same(load_file(tmp_path / "half/latest" / file.name), load_file(file))


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_and_stops(number: signal.Signals, code: int, tiny_set: Path, tmp_path: Path) -> None:
    """Before the evaluation that its step would have had: who asks may not wait for one. It comes after the resume."""
    data = tiny.settings(tiny_set, tmp_path / "run", Global__eval_batch_step=[0, 2])
    asked = []
    with tiny.Run(data) as trainer:

        def in_the_second_step(*_: object) -> None:
            asked.append(1)
            if len(asked) == 2:
                signal.raise_signal(number)

        trainer.cohort.students["Student"].register_forward_pre_hook(in_the_second_step)
        asking = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        handlers = [signal.getsignal(each) for each in asking]
        with pytest.raises(Interrupted) as caught:
            trainer.fit()
    assert caught.value.code == code
    assert [signal.getsignal(each) for each in asking] == handlers
    state = json.loads((tmp_path / "run/latest/state.json").read_text())
    assert (state["progress"]["step"], state["progress"]["evaluation_due"]) == (2, True)
    assert not (tmp_path / "run/best").exists() and not tiny.records(tmp_path / "run", "eval")

    resumed, whole = (
        tiny.fit(data),
        tiny.fit({**data, "Global": {**data["Global"], "save_model_dir": str(tmp_path / "w")}}),
    )
    tiny.assert_same(tiny.states(resumed), tiny.states(whole))
    for kind in ("loss", "eval"):
        assert tiny.records(tmp_path / "run", kind) == tiny.records(tmp_path / "w", kind)
    assert resumed.progress.best == whole.progress.best
    assert [record["step"] for record in tiny.records(tmp_path / "w", "eval")] == [2, 3]


def test_who_asks_during_an_evaluation_that_was_due_is_heard(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where no step is left: what comes after the training, pictures and a report, may take long as well."""
    data = tiny.settings(tiny_set, tmp_path / "run")

    def fail(self: Evaluator, *_: object, **__: object) -> None:
        raise UserError("stopped")

    with monkeypatch.context() as patch, pytest.raises(UserError):
        patch.setattr(Evaluator, "score", fail)
        tiny.fit(data)
    score = Evaluator.score

    def interrupted(self: Evaluator, *arguments: object, **named: object) -> object:
        signal.raise_signal(signal.SIGTERM)
        return score(self, *arguments, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Evaluator, "score", interrupted)
        tiny.fit(data)
    state = json.loads((tmp_path / "run/latest/state.json").read_text())
    assert (state["progress"]["step"], state["progress"]["evaluation_due"]) == (3, False)
    assert [record["step"] for record in tiny.records(tmp_path / "run", "eval")] == [3]


def test_every_process_knows_of_a_save(tiny_set: Path, tmp_path: Path) -> None:
    """Whether to save once more is asked before statistics are averaged, for which all wait for each other."""
    with tiny.Run(tiny.settings(tiny_set, tmp_path / "run")) as trainer:
        trainer.rank, trainer.progress.step = 1, 5
        trainer.save("latest")
        assert trainer.saved_step == 5
        assert not (tmp_path / "run/latest").exists()


def test_a_run_that_dies_in_its_evaluation_loses_no_step(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `save_batch_step: null` nothing else is written between two evaluations, and one may take long."""

    class Killed(BaseException):
        """Nothing in the program catches it, as nothing catches SIGKILL."""

    def die(*_: object, **__: object) -> None:
        raise Killed

    data = tiny.settings(tiny_set, tmp_path / "run", Global__eval_batch_step=[0, 2], Global__save_batch_step=None)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Evaluator, "score", die)
        tiny.fit(data)
    state = json.loads((tmp_path / "run/latest/state.json").read_text())
    assert (state["progress"]["step"], state["progress"]["evaluation_due"]) == (2, True)
    tiny.fit(data)
    assert [record["step"] for record in tiny.records(tmp_path / "run", "eval")] == [2, 3]
    assert [record["step"] for record in tiny.records(tmp_path / "run", "loss")] == [1, 2, 3]


def test_a_finished_run_trains_nothing_more(tiny_set: Path, tmp_path: Path) -> None:
    data = tiny.settings(tiny_set, tmp_path / "run")
    first = tiny.fit(data)
    weights = {f.name: f.read_bytes() for f in (tmp_path / "run").glob("*/*.safetensors")}
    lines = tiny.records(tmp_path / "run", "loss")
    again = tiny.fit(data)
    assert again.progress == first.progress
    assert {f.name: f.read_bytes() for f in (tmp_path / "run").glob("*/*.safetensors")} == weights
    assert tiny.records(tmp_path / "run", "loss") == lines


def test_a_fresh_start_forgets_what_an_unsaved_run_recorded(tiny_set: Path, tmp_path: Path) -> None:
    """A run killed before its first checkpoint leaves records of steps that the next start repeats."""
    data = tiny.settings(tiny_set, tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/metrics.jsonl").write_text('{"step": 1, "loss": 9.0}\n{"step": 2, "lo')
    tiny.fit(data)
    assert [record["step"] for record in tiny.records(tmp_path / "run", "loss")] == [1, 2, 3]
    assert tiny.records(tmp_path / "run", "loss")[0]["loss"] != 9.0


def test_best_is_no_state_to_resume_from(tiny_set: Path, tmp_path: Path) -> None:
    """It has no optimizer's moments: going on from it would silently be another training."""
    tiny.fit(tiny.settings(tiny_set, tmp_path / "run"))
    data = tiny.settings(tiny_set, tmp_path / "other", Global__checkpoints=str(tmp_path / "run/best"))
    with tiny.Run(data, max_steps=5) as trainer, pytest.raises(WeightsError, match=r"best.*optimizer"):
        trainer.fit()


def test_another_runs_checkpoint_goes_on_in_a_new_folder(tiny_set: Path, tmp_path: Path) -> None:
    tiny.fit(tiny.settings(tiny_set, tmp_path / "run"), max_steps=2)
    data = tiny.settings(tiny_set, tmp_path / "other", Global__checkpoints=str(tmp_path / "run"))
    resumed = tiny.fit(data, max_steps=3)
    whole = tiny.fit(tiny.settings(tiny_set, tmp_path / "whole"), max_steps=3)
    tiny.assert_same(tiny.states(resumed), tiny.states(whole))
    assert [record["step"] for record in tiny.records(tmp_path / "other", "loss")] == [3]
    # What the other run calls its best does not lie here: the students are evaluated where they stand.
    assert [record["step"] for record in tiny.records(tmp_path / "other", "eval")] == [2, 3]


def test_what_a_run_left_that_died_early_is_not_the_record_of_one_that_goes_on_from_elsewhere(
    tiny_set: Path, tmp_path: Path
) -> None:
    tiny.fit(tiny.settings(tiny_set, tmp_path / "run"), max_steps=2)
    with tiny.Run(tiny.settings(tiny_set, tmp_path / "other")) as trainer:
        trainer.run.record({"step": 1, "loss": 4.0})
    data = tiny.settings(tiny_set, tmp_path / "other", Global__checkpoints=str(tmp_path / "run"))
    tiny.fit(data, max_steps=3)
    assert [record["step"] for record in tiny.records(tmp_path / "other", "loss")] == [3]


def test_teachers_alone_teach_without_any_label_file(tiny_set: Path, tmp_path: Path) -> None:
    """Label-free: two teachers' weighted mean map, images from a folder, and the numbers of a plain loop."""
    data_dir = tmp_path / "set"
    shutil.copytree(tiny_set, data_dir)
    (data_dir / "train.txt").unlink()
    data = tiny.settings(data_dir, tmp_path / "run", terms=[tiny.TEACHER], students=1)
    for name, seed, weight in (("Teacher", 77, 1.0), ("Other", 78, 3.0)):
        weights = tiny.teacher_weights(tmp_path / f"{name}.safetensors", seed)
        frozen = {"freeze_params": True, "pretrained": str(weights), "weight": weight, "engine": "layer"}
        data["Architecture"]["Models"][name] = {**frozen, **tiny.STUDENT}
    data["Train"]["dataset"]["label_file_list"] = []
    data["Train"]["unlabeled"] = {"images": [str(data_dir / "train")], "batch_size_per_card": 2}
    tiny.fit(data, max_steps=1)
    (record,) = tiny.records(tmp_path / "run", "loss")

    start = initial(data, tmp_path / "plain")
    (student,) = start["students"].values()
    student.train()
    teachers, _ = assemble.build_teachers(start["config"], 1, "cpu")
    with train_loader(assemble.unlabelled_dataset(start["config"]), batch_size=2, seed=5) as batches:
        batch = next(batches)
    assert not batch.has_label.any()
    first, second = (teacher.probability(batch.image) for teacher, _ in teachers.values())
    answer = DetOutput.from_probability(paddle.to_tensor((first + 3 * second) / 4).unsqueeze(1))
    images = assemble.normalization(start["config"]).to_device(batch.image)
    expected = TeacherLoss()(student(images), answer, decode_targets(batch))
    assert set(record) == {"step", "loss", "lr", "steps", "teacher/Student<-Teachers"}
    assert record["loss"] == record["teacher/Student<-Teachers"] == pytest.approx(float(expected), rel=1e-5)


def test_students_that_move_in_turns_are_compared_on_one_batch(tiny_set: Path, tmp_path: Path) -> None:
    """Each turn runs the one that learns and those that guide it; without a mutual term the other turn has the rest.

    Students of the same weights that do not move agree to the last pixel on one batch, and on two batches they do not.
    """
    for name, terms in (("mutual", [tiny.LABELS, tiny.MUTUAL]), ("apart", [tiny.LABELS])):
        data = tiny.settings(tiny_set, tmp_path / name, terms=terms, Loss__update="alternating")
        data["Optimizer"]["accumulate"] = 2
        data["Optimizer"]["lr"]["learning_rate"] = 1e-30
        with tiny.Run(data, max_steps=1) as trainer:
            first, second = trainer.cohort.students.values()
            tiny.sharpen(first)
            second.set_state_dict(first.state_dict())
            trainer.fit()
        (record,) = tiny.records(tmp_path / name, "loss")
        assert record["agreement/Student,Student2"] == 1.0


# --- what it keeps and says ------------------------------------------------------------------------------------------


def test_a_log_point_has_step_loss_rate_and_each_term_at_full_precision(tiny_set: Path, tmp_path: Path) -> None:
    tiny.fit(tiny.settings(tiny_set, tmp_path / "run"))
    terms = {"db/Student", "db/Student2", "mutual/Student<-Student2", "mutual/Student2<-Student"}
    found = tiny.records(tmp_path / "run", "loss")
    assert [record["step"] for record in found] == [1, 2, 3]
    for record in found:
        assert set(record) == {"step", "loss", "lr", "steps", "agreement/Student,Student2", *terms}
        assert record["loss"] == pytest.approx(sum(record[term] for term in terms), rel=1e-6)
        assert float(np.float32(record["loss"])) == record["loss"]  # every bit of the float32
    assert found[0]["lr"] == pytest.approx(0.0015)
    (evaluation,) = tiny.records(tmp_path / "run", "eval")
    assert evaluation["step"] == 3
    assert set(evaluation["eval"]) == {"Student", "Student2", "ensemble"}


def test_a_weight_that_rises_is_that_of_the_steps_made_before(tiny_set: Path, tmp_path: Path) -> None:
    """Of two steps the first stands at 0, where a weight from 0 on adds nothing, and the second at one half."""
    rising = {"DMLLoss": {"weight": {"start": 0.0, "end": 1.0, "over": [0.0, 1.0]}}}
    choices = {"Global__print_batch_step": 1, "Optimizer__lr__decay_steps": 2}
    data = tiny.settings(tiny_set, tmp_path / "run", terms=[tiny.LABELS, rising], **choices)
    tiny.fit(data, max_steps=2)
    for record, weight in zip(tiny.records(tmp_path / "run", "loss"), (0.0, 0.5), strict=True):
        labels, mutual = (sum(v for k, v in record.items() if k.startswith(part)) for part in ("db/", "mutual/"))
        assert mutual > 1e-4
        assert record["loss"] == pytest.approx(labels + weight * mutual, rel=1e-6)


def test_seconds_are_those_of_all_steps_since_the_last_log_point_and_of_nothing_else(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 3 lies between a log point and an evaluation that is none; a clock that steps and evaluations move."""
    clock = [0.0]
    step, evaluate, save = Trainer.step, Trainer._evaluate, Trainer.save

    def taking(seconds: float, what: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            clock[0] += seconds
            return what(*arguments)

        return timed

    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(Trainer, "step", taking(1, step))
    monkeypatch.setattr(Trainer, "_evaluate", taking(100, evaluate))
    monkeypatch.setattr(Trainer, "save", taking(10, save))
    trainer = tiny.fit(
        tiny.settings(tiny_set, tmp_path / "run", Global__print_batch_step=2, Global__eval_batch_step=[0, 3]),
        max_steps=5,
        save_batch_step=1,
    )
    assert trainer.display.pace.seconds_a_step == 1.0  # what is shown is what is written
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    told = [(line["step"], line["seconds"], line["steps"]) for line in lines if "loss" in line]
    assert told == [(2, 2.0, 2), (4, 2.0, 2), (5, 1.0, 1)]


def test_a_checkpoint_holds_students_and_optimizers_and_no_teacher(
    tiny_set: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    terms = [tiny.LABELS, {"ATLoss": {"layers": [["neck", "neck"]]}}]
    trainer = tiny.fit(
        tiny.settings(tiny_set, tmp_path / "run", terms=terms, students=1, teacher=tiny_teacher), max_steps=1
    )
    latest = {file.name for file in (tmp_path / "run/latest").iterdir()}
    assert latest == {"Student.safetensors", "Student.optimizer.safetensors", "config.yml", "state.json"}
    assert {f.name for f in (tmp_path / "run/best").iterdir()} == {"Student.safetensors", "config.yml", "state.json"}
    assert trainer.progress.teachers["Teacher"]["path"] == str(tiny_teacher)
    assert re.fullmatch("[0-9a-f]{64}", trainer.progress.teachers["Teacher"]["sha256"])
    assert (tmp_path / "run/latest/config.yml").read_text() == (tmp_path / "run/config.yml").read_text()


def test_the_teacher_is_bit_identical_after_a_training(tiny_set: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    terms = [tiny.LABELS, tiny.MUTUAL, tiny.TEACHER, {"ATLoss": {"layers": [["neck", "neck"]]}}]
    data = tiny.settings(tiny_set, tmp_path / "run", terms=terms, teacher=tiny_teacher)
    data["Global"]["teacher_check"] = True
    trainer = tiny.fit(data)
    teacher, _ = trainer.cohort.teachers["Teacher"]
    tiny.assert_same(tiny.state_of(teacher.layer), load_file(tiny_teacher))
    assert not teacher.layer.training


def test_images_without_labels_and_a_teacher_need_no_label_file(
    tiny_set: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    """The limit case: label-free distillation. And beside labelled images, batch by batch."""
    free = {"images": [str(tiny_set / "train")], "batch_size_per_card": 2}
    terms = [{"TeacherLoss": {"kind": "soft"}}, {"ATLoss": {"layers": [["neck", "neck"]]}}]
    data = tiny.settings(tiny_set, tmp_path / "free", terms=terms, students=1, teacher=tiny_teacher)
    data["Train"]["unlabeled"] = free
    data["Train"]["dataset"]["label_file_list"] = []
    trainer = tiny.fit(data)
    assert trainer.labelled is None
    assert trainer.timetable.steps_per_epoch == 3
    assert all(record["teacher/Student<-Teacher"] > 0 for record in tiny.records(tmp_path / "free", "loss"))

    data = tiny.settings(tiny_set, tmp_path / "mixed", terms=[tiny.LABELS, *terms], students=1, teacher=tiny_teacher)
    data["Train"]["unlabeled"] = free
    mixed = tiny.fit(data)
    assert (len(mixed.dataset), mixed.timetable.steps_per_epoch) == (6, 3)
    assert all(record["db/Student"] > 0 for record in tiny.records(tmp_path / "mixed", "loss"))


def test_best_is_the_maximum_over_students_and_time(tiny_set: Path, tmp_path: Path) -> None:
    """A map of text everywhere finds the one text and one that is none: P 1/2, R 1, hmean 2/3."""
    data = tiny.settings(tiny_set, tmp_path / "run")
    data["Eval"]["dataset"] |= tiny.whole_images(tmp_path, tiny_set)
    with tiny.Run(data) as trainer:
        first, second = trainer.cohort.students.values()
        history = []
        for step, logits in enumerate([(-9, -9), (-9, 9), (9, -9), (-9, -9)], start=1):
            tiny.say(first, logits[0])
            tiny.say(second, logits[1])
            trainer.progress.step = step
            trainer._evaluate()
            best = trainer.progress.best
            history.append((best.student, round(best.hmean, 4), best.step))
    assert history == [("Student", 0.0, 1), *[("Student2", 0.6667, 2)] * 3]
    kept = load_file(tmp_path / "run/best/Student2.safetensors")
    assert (kept["head.binarize.conv3.bias"] == 9).all()
    assert json.loads((tmp_path / "run/best/state.json").read_text())["progress"]["best"]["student"] == "Student2"


def test_a_student_that_overtakes_its_teacher_is_said_once(tiny_set: Path, tmp_path: Path, log: list[str]) -> None:
    weights = tiny.answering(-9, tmp_path / "blind.safetensors")
    terms = [tiny.LABELS, {"ATLoss": {"layers": [["neck", "neck"]]}}]
    data = tiny.settings(tiny_set, tmp_path / "run", terms=terms, students=1, teacher=weights)
    data["Optimizer"]["lr"] = {"name": "Const", "learning_rate": 1e-9}
    data["Global"]["teacher_check"] = True
    data["Eval"]["dataset"] |= tiny.whole_images(tmp_path, tiny_set)
    with tiny.Run(data, eval_batch_step=[0, 1]) as trainer:
        tiny.say(trainer.cohort.students["Student"], 9)
        trainer.fit()
    said = [line for line in log if "overtaken" in line]
    assert said == ["Student has overtaken its teacher: hmean 0.6667 against 0.0000"]
    (scored,) = tiny.records(tmp_path / "run", "teacher")
    assert scored["teacher"]["Teacher"]["hmean"] == 0.0
