"""What a resumed run takes over, and what it must not."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny

from ocr_cml.checkpoint import open_checkpoint
from ocr_cml.loop import resume
from ocr_cml.trainer import Trainer
from ppocr_data.errors import UserError, WeightsError


def call_it_best(run: Path, hmean: float) -> None:
    """Let a run's checkpoints say that its best student had this hmean."""
    for folder in (run / "latest", run / "best"):
        text = (folder / "state.json").read_text(encoding="utf-8")
        best = open_checkpoint(folder).progress.best
        assert best is not None
        (folder / "state.json").write_text(text.replace(f'"hmean": {best.hmean}', f'"hmean": {hmean}'))


@pytest.fixture
def finished(tiny_set: Path, tmp_path: Path) -> Path:
    """A run of two steps whose best student is better than any will be."""
    tiny.fit(tiny.settings(tiny_set, tmp_path / "old"), max_steps=2)
    call_it_best(tmp_path / "old", 0.99)
    return tmp_path / "old"


@pytest.mark.parametrize("steps", [2, 3])
def test_a_best_student_that_lies_elsewhere_is_not_this_runs(
    finished: Path, steps: int, tiny_set: Path, tmp_path: Path
) -> None:
    """Even where nothing is left to train, what is printed as the best lies where it is said to lie."""
    data = tiny.settings(tiny_set, tmp_path / "new", Global__checkpoints=str(finished))
    best = tiny.fit(data, max_steps=steps).progress.best
    assert best is not None
    assert best.hmean < 0.99
    assert open_checkpoint(tmp_path / "new/best").progress.best == best


def test_a_best_student_in_the_folder_stays_the_best(finished: Path, tiny_set: Path) -> None:
    best = tiny.fit(tiny.settings(tiny_set, finished), max_steps=3).progress.best
    assert best is not None
    assert (best.hmean, best.step) == (0.99, 2)


def test_a_best_student_whose_weights_are_gone_is_looked_for_anew(finished: Path, tiny_set: Path) -> None:
    (finished / "best").rename(finished / "elsewhere")
    assert [record["step"] for record in tiny.records(finished, "eval")] == [2]
    best = tiny.fit(tiny.settings(tiny_set, finished), max_steps=3).progress.best
    assert best is not None
    assert best.hmean < 0.99
    assert [record["step"] for record in tiny.records(finished, "eval")] == [2, 3]  # each once


def test_an_hmean_of_another_post_process_is_another_number(finished: Path, tiny_set: Path) -> None:
    data = tiny.settings(tiny_set, finished, Global__checkpoints=str(finished), PostProcess__box_thresh=0.4)
    best = tiny.fit(data, max_steps=3).progress.best
    assert best is not None
    assert best.hmean < 0.99


def test_a_run_that_goes_on_under_another_post_process_is_scored_at_once(
    finished: Path, tiny_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only where it would have been scored next: until then nobody could say how good it is."""
    evaluate, evaluated = Trainer._evaluate, []

    def noted(trainer: Trainer, *more: Any) -> Any:
        evaluated.append(trainer.progress.step)
        return evaluate(trainer, *more)

    monkeypatch.setattr(Trainer, "_evaluate", noted)
    choices = {"PostProcess__box_thresh": 0.4, "Global__eval_batch_step": [0, 4]}
    tiny.fit(tiny.settings(tiny_set, finished, Global__checkpoints=str(finished), **choices), max_steps=4)
    assert evaluated == [2, 4]


def test_an_hmean_of_images_of_another_size_is_another_number(finished: Path, tiny_set: Path) -> None:
    data = tiny.settings(tiny_set, finished, Global__checkpoints=str(finished))
    data["Eval"]["dataset"]["transforms"][-1]["DetResizeForTest"]["limit_side_len"] = 64
    best = tiny.fit(data, max_steps=3).progress.best
    assert best is not None
    assert best.hmean < 0.99


def test_another_batch_of_the_evaluation_is_the_same_number(finished: Path, tiny_set: Path) -> None:
    """What somebody lowers whose memory did not suffice."""
    data = tiny.settings(tiny_set, finished, Global__checkpoints=str(finished))
    data["Eval"]["loader"] = {"batch_size_per_card": 2}
    best = tiny.fit(data, max_steps=3).progress.best
    assert best is not None
    assert best.hmean == 0.99


def test_a_best_of_steps_that_are_made_anew_makes_room(finished: Path, tiny_set: Path) -> None:
    """latest/ is of step 2; a later best of another future lies in best/, and that of step 2 in best.previous/."""
    shutil.copytree(finished / "best", finished / "best.previous")
    state = finished / "best" / "state.json"
    state.write_text(state.read_text(encoding="utf-8").replace('"hmean": 0.99', '"hmean": 0.995'), encoding="utf-8")
    best = tiny.fit(tiny.settings(tiny_set, finished), max_steps=3).progress.best
    assert best is not None
    assert best.hmean == 0.99
    kept = [open_checkpoint(finished / name).progress.best for name in ("best", "best.previous")]
    assert [found.hmean for found in kept if found] == [0.99, 0.995]


def test_a_record_with_what_is_refused_today_is_the_same_run(finished: Path, tiny_set: Path) -> None:
    """Global.model_name may be changed by a resume, and a name was once accepted under which no runtime runs."""
    recorded = finished / "config.yml"
    text = recorded.read_text(encoding="utf-8")
    recorded.write_text(text.replace("model_name: PP-OCRv4_mobile_det", "model_name: mine"), encoding="utf-8")
    assert tiny.fit(tiny.settings(tiny_set, finished), max_steps=3).progress.step == 3


def test_a_checkpoint_that_does_not_fit_leaves_the_folder_as_it_was(finished: Path, tiny_set: Path) -> None:
    before = (finished / "config.yml").read_bytes()
    data = tiny.settings(tiny_set, finished, Global__checkpoints=str(finished))
    data["Architecture"]["Models"]["Student"]["Backbone"]["scale"] = 0.5
    with tiny.Run(data, max_steps=3) as trainer, pytest.raises(WeightsError, match="another network"):
        trainer.fit()
    assert (finished / "config.yml").read_bytes() == before
    tiny.fit(tiny.settings(tiny_set, finished), max_steps=3)


def test_a_checkpoint_with_more_students_is_refused(finished: Path, tiny_set: Path) -> None:
    alone = tiny.settings(
        tiny_set, finished, students=1, terms=[tiny.LABELS], Global__checkpoints=str(finished / "latest")
    )
    with tiny.Run(alone, max_steps=3) as trainer, pytest.raises(WeightsError, match=r"Student2, which Arch.*lacks"):
        trainer.fit()


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"students": 3}, r"it lacks Student3; .*<Name>\.pretrained=.*/latest/Student\.safetensors$"),
        ({"Optimizer__ema_decay": 0.9}, r"trained without Optimizer\.ema_decay"),
    ],
)
def test_what_a_checkpoint_lacks_is_said(choices: dict[str, Any], message: str, finished: Path, tiny_set: Path) -> None:
    data = tiny.settings(tiny_set, finished, Global__checkpoints=str(finished / "latest"), **choices)
    with tiny.Run(data, max_steps=3) as trainer, pytest.raises(WeightsError, match=message):
        trainer.fit()


def test_a_student_that_was_dropped_may_leave_the_configuration(finished: Path, tiny_set: Path) -> None:
    for folder in (finished / "latest", finished / "best"):
        state = folder / "state.json"
        state.write_text(state.read_text(encoding="utf-8").replace('"dropped": {}', '"dropped": {"Student3": 1}'))
    trainer = tiny.fit(tiny.settings(tiny_set, finished), max_steps=3)
    assert (trainer.progress.step, list(trainer.cohort.students)) == (3, ["Student", "Student2"])


def test_a_loss_that_cannot_do_without_the_dropped_student_is_refused(finished: Path, tiny_set: Path) -> None:
    state = finished / "latest/state.json"
    state.write_text(state.read_text(encoding="utf-8").replace('"dropped": {}', '"dropped": {"Student2": 1}'))
    terms = [{"DBLoss": {"model_name_list": ["Student2"]}}, tiny.MUTUAL]
    data = tiny.settings(tiny_set, finished, terms=terms, Global__checkpoints=str(finished / "latest"))
    with (
        tiny.Run(data, max_steps=3) as trainer,
        pytest.raises(WeightsError, match="that run has dropped Student2, and without Student2 nobody could go on"),
    ):
        trainer.fit()


@pytest.mark.parametrize(("ours", "theirs"), [(0, 4), (4, 0)])
def test_processes_that_do_not_stand_at_one_step_stop(
    ours: int, theirs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two machines without a shared disk: one of them sees no checkpoint."""
    given = iter([-theirs, theirs])
    monkeypatch.setattr(resume, "largest_of_ranks", lambda value, _: max(value, next(given)))
    trainer = SimpleNamespace(world_size=2, rank=1, run=SimpleNamespace(path=tmp_path))
    with pytest.raises(UserError, match=rf"process 1 stands at step {ours}, others at {theirs}.*machines share"):
        resume._stand_together(trainer, ours)  # type: ignore[arg-type]


def test_a_step_of_another_size_is_refused(tiny_set: Path, tmp_path: Path) -> None:
    """Steps say where the data stand: with twice the images a step, half an epoch would be left out unseen."""
    run = tmp_path / "run"
    tiny.fit(tiny.settings(tiny_set, run), max_steps=2)
    before = (run / "config.yml").read_bytes()
    data = tiny.settings(tiny_set, run, Global__checkpoints=str(run))
    data["Train"]["loader"]["batch_size_per_card"] = 4
    with pytest.raises(UserError, match=r"2 labelled images a step until step 2, today's settings make 4 labelled"):
        tiny.fit(data, max_steps=3)
    assert (run / "config.yml").read_bytes() == before


def test_the_same_images_in_two_batches_go_on(tiny_set: Path, tmp_path: Path) -> None:
    """What somebody does whose second card is gone: half the batch, and two of them a step."""
    run = tmp_path / "run"
    tiny.fit(tiny.settings(tiny_set, run), max_steps=2)
    data = tiny.settings(tiny_set, run, Global__checkpoints=str(run), Optimizer__accumulate=2)
    data["Train"]["loader"]["batch_size_per_card"] = 1
    assert tiny.fit(data, max_steps=3).progress.step == 3


def test_a_run_that_is_to_be_no_longer_than_it_is_ends_with_a_best_student(tiny_set: Path, tmp_path: Path) -> None:
    """Stopped after two steps, before any evaluation, and started again with two as its length."""
    data = tiny.settings(tiny_set, tmp_path / "run", Global__save_batch_step=1)

    def stop(self: Trainer, *_: object) -> None:
        raise UserError("stopped")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError, match="stopped"):
        patch.setattr(Trainer, "_evaluate", stop)
        tiny.fit(data, max_steps=2)
    state = tmp_path / "run/latest/state.json"
    state.write_text(state.read_text(encoding="utf-8").replace('"evaluation_due": true', '"evaluation_due": false'))
    best = tiny.fit(data, max_steps=2).progress.best
    assert best is not None and best.step == 2
    assert open_checkpoint(tmp_path / "run/best").progress.best == best


@pytest.mark.parametrize("change", ["nothing", "post-process", "teacher"])
def test_that_a_teacher_was_overtaken_is_said_again_of_another_measure(
    change: str, tiny_set: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    data = tiny.settings(tiny_set, run, terms=[tiny.LABELS, tiny.TEACHER], teacher=tiny_teacher, students=1)
    tiny.fit(data, max_steps=2)
    state = run / "latest/state.json"
    state.write_text(state.read_text(encoding="utf-8").replace('"overtaken": false', '"overtaken": true'))
    data["Global"]["checkpoints"] = str(run)
    if change == "post-process":
        data["PostProcess"] = {"name": "DBPostProcess", "box_thresh": 0.45}
    if change == "teacher":
        data["Architecture"]["Models"]["Teacher"]["pretrained"] = str(tiny.answering(-9, tmp_path / "t.safetensors"))
    with tiny.Run(data, max_steps=3) as trainer:
        resume.resume(trainer)
        assert trainer.progress.overtaken is (change == "nothing")


def test_weights_that_a_checkpoint_replaces_are_told(
    finished: Path, tiny_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = f"Global.pretrained_model has no effect: every weight is that of {finished / 'latest'}"
    choices = {"Global__pretrained_model": str(finished / "best")}
    data = tiny.settings(tiny_set, tmp_path / "new", Global__checkpoints=str(finished), **choices)
    tiny.fit(data, max_steps=3)
    assert caplog.messages.count(told) == 1
    caplog.clear()
    tiny.fit(data, max_steps=4)  # its own run goes on: what it began with is no mistake
    assert "has no effect" not in caplog.text


def test_a_longer_schedule_and_other_settings_are_told(
    tiny_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ocr_cml")
    data = tiny.settings(tiny_set, tmp_path / "run", Global__epoch_num=2)
    tiny.fit(data, max_steps=6)
    data["Global"] |= {"epoch_num": 20, "checkpoints": str(tmp_path / "run")}
    data["Optimizer"]["clip_norm"] = 5.0
    tiny.fit(data, max_steps=7)
    assert "settings that differ from the checkpoint's: Optimizer.clip_norm" in caplog.messages
    (jump,) = [text for text in caplog.messages if text.startswith("the learning rate goes on at ")]
    assert jump.endswith("the schedule spans 60 steps now, which were 6")
    caplog.clear()
    tiny.fit(data, max_steps=8)
    assert not [text for text in caplog.messages if "goes on at" in text or "settings that differ" in text]


def test_a_ramp_that_begins_again_is_told(
    tiny_set: Path, tiny_teacher: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A teacher that had faded out is back when the schedules are drawn out; the rate, a constant, says nothing."""
    fading = {"TeacherLoss": {"weight": {"start": 1.0, "end": 0.0, "over": [0.3, 0.8]}}}
    data = tiny.settings(tiny_set, tmp_path / "run", terms=[tiny.LABELS, fading], teacher=tiny_teacher)
    data["Optimizer"]["lr"] = {"name": "Const", "learning_rate": 0.003}
    data["Global"]["epoch_num"] = 1
    tiny.fit(data, max_steps=None)
    caplog.clear()
    data["Global"] |= {"epoch_num": 4, "checkpoints": str(tmp_path / "run")}
    tiny.fit(data, max_steps=4)
    (told,) = [text for text in caplog.messages if "goes on at" in text]
    assert told == (
        "Loss.loss_config_list.1.TeacherLoss.weight goes on at 1, where it had come to 0: the schedule spans 12 steps "
        "now, which were 3"
    )


def test_other_evaluation_labels_are_another_yardstick(finished: Path, tiny_set: Path) -> None:
    """Corrected labels at the same path: the best of the old ones could never be replaced."""
    labels = tiny_set / "val.txt"
    before = labels.read_bytes()
    labels.write_bytes(before.rstrip(b"\n").rpartition(b"\n")[0] + b"\n")
    try:
        best = tiny.fit(tiny.settings(tiny_set, finished), max_steps=3).progress.best
    finally:
        labels.write_bytes(before)
    assert best is not None
    assert best.hmean < 0.99
    assert open_checkpoint(finished / "best").progress.best == best


def test_other_training_labels_are_told(finished: Path, tiny_set: Path, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("ocr_cml").addHandler(caplog.handler)
    labels = tiny_set / "train.txt"
    before = labels.read_bytes()
    labels.write_bytes(before.rstrip(b"\n").rpartition(b"\n")[0] + b"\n")
    try:
        tiny.fit(tiny.settings(tiny_set, finished), max_steps=3)
    finally:
        labels.write_bytes(before)
        logging.getLogger("ocr_cml").removeHandler(caplog.handler)
    assert "the training labels are not those of the checkpoint" in caplog.text


def test_a_checkpoint_from_before_labels_were_noted_goes_on(finished: Path, tiny_set: Path) -> None:
    for folder in (finished / "latest", finished / "best"):
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        for key in ("trained_on", "scored_on", "samples_a_step", "mean_updates"):
            del state["progress"][key]
        (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
    best = tiny.fit(tiny.settings(tiny_set, finished), max_steps=3).progress.best
    assert best is not None
    assert best.hmean == 0.99


def test_labels_that_changed_once_are_told_once(
    finished: Path, tiny_set: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The next resume knows that the best was scored on today's labels, and that the training goes by them."""
    before = {name: (tiny_set / name).read_bytes() for name in ("train.txt", "val.txt")}
    for name, text in before.items():
        (tiny_set / name).write_bytes(text.rstrip(b"\n").rpartition(b"\n")[0] + b"\n")
    try:
        tiny.fit(tiny.settings(tiny_set, finished), max_steps=3)
        assert "the training labels are not those" in caplog.text and "was scored on other labels" in caplog.text
        call_it_best(finished, 0.99)
        caplog.clear()
        best = tiny.fit(tiny.settings(tiny_set, finished), max_steps=4).progress.best
    finally:
        for name, text in before.items():
            (tiny_set / name).write_bytes(text)
    assert best is not None
    assert best.hmean == 0.99
    assert "labels are not those" not in caplog.text and "other labels" not in caplog.text


def told_after(run: Path, data: dict[str, Any], caplog: pytest.LogCaptureFixture) -> list[str]:
    """What one more step of a run warns of."""
    caplog.clear()
    tiny.fit(data, max_steps=open_checkpoint(run / "latest").progress.step + 1)
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_another_teacher_under_the_same_name_is_told_once(
    tiny_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    teacher = tiny.teacher_weights(tmp_path / "teacher.safetensors")
    data = tiny.settings(tiny_set, tmp_path / "run", terms=[tiny.LABELS, {"TeacherLoss": {}}], teacher=teacher)
    tiny.fit(data, max_steps=2)
    assert not [text for text in told_after(tmp_path / "run", data, caplog) if "teachers" in text]
    tiny.teacher_weights(teacher, seed=78)
    told = "the teachers are not those of the checkpoint (path or SHA-256 differ); going on with today's"
    assert told in told_after(tmp_path / "run", data, caplog)
    assert told not in told_after(tmp_path / "run", data, caplog)


def test_other_images_without_labels_are_told_once(
    tiny_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(tiny_set / "train", tmp_path / "free")
    unlabelled = {"images": [str(tmp_path / "free")], "batch_size_per_card": 1}
    data = tiny.settings(tiny_set, tmp_path / "run", Train__unlabeled=unlabelled)
    tiny.fit(data, max_steps=2)
    assert not [text for text in told_after(tmp_path / "run", data, caplog) if "without labels" in text]
    next((tmp_path / "free").iterdir()).unlink()
    told = "the images without labels are not those of the checkpoint; going on with today's, in an order that "
    assert [text for text in told_after(tmp_path / "run", data, caplog) if text.startswith(told)]
    assert not [text for text in told_after(tmp_path / "run", data, caplog) if text.startswith(told)]


@pytest.mark.parametrize("mode", ["stop", "restart"])
def test_other_weights_to_restart_from_are_told(
    mode: str, tiny_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = tiny.teacher_weights(tmp_path / "start.safetensors")
    data = tiny.settings(tiny_set, tmp_path / "run", Global__on_divergence=mode)
    data["Architecture"]["Models"]["Student"]["pretrained"] = str(weights)
    tiny.fit(data, max_steps=2)
    tiny.teacher_weights(weights, seed=78)
    told = [text for text in told_after(tmp_path / "run", data, caplog) if "files that students begin with" in text]
    assert len(told) == (mode == "restart")


@pytest.mark.parametrize("key", ["pretrained", "pretrained_model"])
def test_a_run_goes_on_where_its_initial_weights_are_not(key: str, tiny_set: Path, tmp_path: Path) -> None:
    """The folder of a run is all that another machine needs of it: its checkpoint has every weight."""
    weights = tiny.teacher_weights(tmp_path / "start.safetensors")
    data = tiny.settings(tiny_set, tmp_path / "run", students=1, terms=[tiny.LABELS])
    section = data["Global"] if key == "pretrained_model" else data["Architecture"]["Models"]["Student"]
    section[key] = str(weights)
    tiny.fit(data, max_steps=2)
    before = open_checkpoint(tmp_path / "run/latest").progress.started_from
    weights.unlink()
    assert tiny.fit(data, max_steps=3).progress.step == 3
    assert open_checkpoint(tmp_path / "run/latest").progress.started_from == before != {}
    data["Global"]["on_divergence"] = "restart"  # it may need them
    with pytest.raises(WeightsError, match="no such"):
        tiny.fit(data, max_steps=4)


AFD = [{"AFDLoss": {"mode": mode, "weight": 0.5, "layers": [["neck", "neck"]]}} for mode in ("zoo", "paper")]


def test_connectors_that_go_on_under_another_setting_are_told(
    tiny_set: Path, tiny_teacher: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two entries of one kind that change places take each other's."""

    def of(*terms: dict[str, Any]) -> dict[str, Any]:
        data = tiny.settings(tiny_set, tmp_path / "run", students=1, terms=[tiny.LABELS, *terms], teacher=tiny_teacher)
        data["Global"]["checkpoints"] = str(tmp_path / "run") if (tmp_path / "run").exists() else None
        return data

    tiny.fit(of(*AFD), max_steps=2)
    assert not [text for text in told_after(tmp_path / "run", of(*AFD), caplog) if "connectors" in text]
    told = [text for text in told_after(tmp_path / "run", of(*AFD[::-1]), caplog) if "connectors" in text]
    assert [text.partition(":")[0] for text in told] == [
        f"Loss.loss_config_list.{position}.AFDLoss.mode" for position in (1, 2)
    ]
    with pytest.raises(WeightsError, match=r"afd/Student<-Teacher#2.*go on with them as they were, or start a new run"):
        tiny.fit(of(AFD[0]), max_steps=5)
