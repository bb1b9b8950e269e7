"""The evidence of finished runs: each measure by hand, and the tool on two real ones."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import paddle
import pytest
import tiny
from matplotlib.figure import Figure

from ocr_cml import assemble, config
from ocr_cml.binding import Binding
from ocr_cml.checkpoint import open_checkpoint, restore_layers
from ocr_cml.cohort import BoundTerm, Cohort
from ocr_cml.figures import save_figure
from ocr_cml.losses import DBLoss, DMLLoss, decode_targets
from ocr_cml.models import Detector, build_detector
from ocr_cml.runtime import Normalization
from ocr_cml.why import data as why_data
from ocr_cml.why import runner as why
from ocr_cml.why.data import crops, students, text_page
from ocr_cml.why.evidence import Doubt, DoubtMeter, Evidence, NetworkEvidence, noise_curve, noisy, supervised_loss
from ocr_cml.why.pull import Pull, _cohort, pulls, pulls_at, pulls_of
from ocr_cml.why.report import draw_agreement, draw_doubt, draw_noise, pull_table, table, write
from ocr_cml.why.runs import FinishedRun, agreement_of, label_of, other_crops, read_run
from ppocr_data.dataset import EvalDataset
from ppocr_data.geometry import fill
from ppocr_data.targets import MakeShrinkMap, shrink_target
from ppocr_data.transforms import DecodeImage, DetResizeForTest

Tool = Callable[..., tuple[int, str, str]]


def network(seed: int = 1) -> Detector:
    paddle.seed(seed)
    made = build_detector(tiny.STUDENT)
    tiny.sharpen(made)
    made.eval()
    return made


def shown(count: int = 2) -> list[tuple[paddle.Tensor, Any]]:
    batch = tiny.batch(count)
    return [(Normalization().to_device(batch.image), decode_targets(batch))]


# --- flat minima -----------------------------------------------------------------------------------------------------


def test_noise_has_the_size_that_was_asked_for_and_leaves_no_trace() -> None:
    student = network()
    before = tiny.state_of(student)
    trained = {name for name, parameter in student.named_parameters() if not parameter.stop_gradient}
    with noisy(student, 0.1, seed=0):
        during = tiny.state_of(student)
    tiny.assert_same(tiny.state_of(student), before)
    large = [name for name in trained if before[name].size > 2000 and before[name].std() > 0]
    assert large
    for name in large:
        size = np.sqrt(np.mean((during[name] - before[name]) ** 2) / np.mean(before[name] ** 2))
        assert size == pytest.approx(0.1, rel=0.1), name
    for name in before.keys() - trained:
        np.testing.assert_array_equal(during[name], before[name])


def test_absolute_noise_does_not_ask_how_large_a_weight_is() -> None:
    student = network()
    before = tiny.state_of(student)
    with noisy(student, 0.25, seed=0, scale="absolute"):
        during = tiny.state_of(student)
    for name in ("backbone.conv.conv.weight", "head.binarize.conv1.weight"):
        assert (during[name] - before[name]).std() == pytest.approx(0.25, rel=0.15)


def test_the_weights_come_back_after_an_error() -> None:
    student = network()
    before = tiny.state_of(student)
    with pytest.raises(KeyError), noisy(student, 0.1, seed=0):
        raise KeyError
    tiny.assert_same(tiny.state_of(student), before)


def test_equal_networks_meet_equal_noise_and_other_draws_differ() -> None:
    first, second = network(), network()
    found = []
    for student, seed in ((first, 0), (second, 0), (first, 1)):
        with noisy(student, 0.1, seed):
            found.append(tiny.state_of(student)["backbone.conv.conv.weight"])
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 0


def test_the_loss_is_the_labels_term_of_a_network_that_evaluates() -> None:
    student, batches = network(), shown()
    before = tiny.state_of(student)
    value = supervised_loss(student, DBLoss(), batches)
    assert not any(layer.training for layer in student.sublayers(include_self=True))
    tiny.assert_same(tiny.state_of(student), before)  # no running statistic has moved
    images, targets = batches[0]
    student.head.training = True
    expected = DBLoss()(student(images), None, targets)
    assert value == pytest.approx(float(expected), rel=1e-6)


def test_a_curve_begins_at_the_plain_loss_and_means_its_draws() -> None:
    student, batches = network(), shown()
    curve = noise_curve(student, DBLoss(), batches, [0.0, 0.3], draws=2)
    assert curve[0] == supervised_loss(student, DBLoss(), batches)
    each = []
    for seed in range(2):
        with noisy(student, 0.3, seed):
            each.append(supervised_loss(student, DBLoss(), batches))
    assert each[0] != each[1]
    assert curve[1] == pytest.approx(sum(each) / 2)


# --- doubt -----------------------------------------------------------------------------------------------------------


def doubt_of(probability: list[float], label: list[int], bins: int = 10) -> Doubt:
    meter = DoubtMeter(bins)
    meter.add(np.array([probability]), np.array([label], bool), np.ones((1, len(label)), bool))
    found = meter.result()
    assert found is not None
    return found


def test_doubt_by_hand() -> None:
    found = doubt_of([0.1, 0.3, 0.8, 0.9], [0, 1, 1, 1], bins=2)
    assert found.counts == [2, 2]
    assert found.predicted == pytest.approx([0.2, 0.85])
    assert found.observed == pytest.approx([0.5, 1.0])
    assert found.error == pytest.approx((2 * 0.3 + 2 * 0.15) / 4)
    assert found.brier == pytest.approx((0.01 + 0.49 + 0.04 + 0.01) / 4)
    entropies = [-(p * math.log(p) + (1 - p) * math.log(1 - p)) for p in (0.1, 0.3, 0.8, 0.9)]
    assert found.entropy == pytest.approx(sum(entropies) / 4)


def test_a_coin_is_as_uncertain_as_can_be_and_rightly_so() -> None:
    found = doubt_of([0.5] * 4, [0, 1, 0, 1])
    assert found.entropy == pytest.approx(math.log(2))
    assert found.error == 0
    assert [count for count in found.counts if count] == [4]
    assert found.predicted[0] is None


def test_certainty_has_no_entropy_and_the_last_bin_holds_one() -> None:
    found = doubt_of([0.0, 1.0, 1.0], [0, 1, 0])
    assert found.entropy == pytest.approx(0, abs=1e-9)
    assert (found.counts[0], found.counts[-1]) == (1, 2)
    assert found.error == pytest.approx(2 * 0.5 / 3)


def test_pixels_of_several_maps_are_pooled_and_others_left_out() -> None:
    rng = np.random.default_rng(0)
    p, y = rng.random((2, 5, 7)), rng.random((2, 5, 7)) > 0.5
    seen = rng.random((2, 5, 7)) > 0.3
    meter = DoubtMeter()
    for number in range(2):
        meter.add(p[number], y[number], seen[number])
    assert meter.result() == doubt_of(p[seen].tolist(), y[seen].tolist())
    assert DoubtMeter().result() is None


def test_text_pixels_are_whole_words_at_the_networks_size(tiny_set: Path) -> None:
    from ocr_cml.assemble import eval_dataset

    data = tiny.settings(tiny_set, tiny_set / "none")
    data["Eval"]["dataset"]["transforms"][1]["DetResizeForTest"]["limit_side_len"] = 192  # twice the image
    dataset: EvalDataset = eval_dataset(tiny.load(data, tiny_set.with_name("doubled")))
    rule = MakeShrinkMap(shrink_ratio=0.5, min_text_size=4)
    page = text_page(dataset, 0, rule)
    record = dataset[0]
    doubled = [np.asarray(polygon) * 2 for polygon in record["polygons"]]
    label, mask = shrink_target((192, 192), doubled, record["ignore"], 0.5, 4)
    whole = np.zeros((192, 192), np.uint8)
    for polygon in doubled:
        fill(whole, np.asarray(polygon, np.float32), 1)
    np.testing.assert_array_equal(page.label, label > 0)
    np.testing.assert_array_equal(page.seen, (whole > 0) & (mask > 0))
    assert 0 < (page.label & page.seen).sum() < page.seen.sum() < page.seen.size


# --- pull ------------------------------------------------------------------------------------------------------------


def test_a_pull_is_the_gradient_beside_that_of_the_labels() -> None:
    """The same term again with half its weight pulls half as hard the same way; its opposite is not to be had."""
    student, other = network(), network(2)
    db, half = (
        BoundTerm(Binding(0, name, "A", None, 1.0), DBLoss(), w) for name, w in (("db/A", 1.0), ("again/A", 0.5))
    )
    mutual = BoundTerm(Binding(1, "mutual/A<-B", "A", "B", 0.25), DMLLoss(), 2.0)
    cohort = Cohort({"A": student, "B": other}, {}, [db, half, mutual], Normalization())
    before = {name: p.numpy().copy() for name, p in student.named_parameters() if not p.stop_gradient}
    again, peer = pulls(cohort, ["db/A"], [tiny.batch(2)], 1.0)
    for name, parameter in student.named_parameters():
        if name in before:
            np.testing.assert_array_equal(parameter.numpy(), before[name])
    assert again == Pull("again/A", pytest.approx(0.5, rel=1e-4), pytest.approx(1.0, abs=1e-5))

    batch = tiny.batch(2)
    images, targets = Normalization().to_device(batch.image), decode_targets(batch)
    vectors = []
    for guide, term in ((None, DBLoss()), (other(images), DMLLoss())):
        term(student(images), guide, targets).backward()
        trained = [p for p in student.parameters() if not p.stop_gradient]
        vectors.append(
            np.concatenate([np.zeros(p.size) if p.grad is None else p.grad.numpy().ravel() for p in trained])
        )
        student.clear_gradients()
    labels, towards = vectors
    assert peer.label == "mutual/A<-B"
    assert peer.strength == pytest.approx(0.5 * np.linalg.norm(towards) / np.linalg.norm(labels), rel=1e-3)
    cosine = towards @ labels / np.linalg.norm(towards) / np.linalg.norm(labels)
    assert peer.direction == pytest.approx(cosine, abs=1e-3)


def taught(
    tiny_set: Path, teacher: Path, folder: Path, term: dict[str, Any], steps: int, **sections: Any
) -> FinishedRun:
    """A student of labels and one term with a teacher, trained for some steps."""
    terms = [tiny.LABELS, term]
    data = tiny.settings(tiny_set, folder, terms=terms, students=1, teacher=teacher, **sections)
    with tiny.Run(data, max_steps=steps) as trainer:
        trainer.fit()
    return read_run(str(folder))


@pytest.mark.parametrize(("sections", "share"), [({}, 3 / 12), ({"Optimizer__lr__decay_steps": 30}, 3 / 30)])
def test_a_schedule_is_where_the_run_stands(
    sections: dict[str, Any], share: float, tiny_set: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    """Three steps, of four epochs of six images in twos or of a longer schedule: the teacher has not faded yet."""
    fading = {"TeacherLoss": {"weight": {"start": 1.0, "end": 0.0, "over": [0.0, 1.0]}}}
    run = taught(tiny_set, tiny_teacher, tmp_path / "run", fading, 3, **sections)
    batches = crops(run.config, 2, 2)
    ((found,), left_out) = pulls_at(run, "latest", students(run, "latest"), batches, 1)
    constant = config.load(run.folder / "config.yml", [f"Loss.loss_config_list.1.TeacherLoss.weight={1 - share}"])
    (expected,) = pulls_of(constant, students(run, "latest"), batches, 1)
    assert left_out == []
    assert found.strength == pytest.approx(expected.strength, rel=1e-4)
    assert found.direction == pytest.approx(expected.direction, rel=1e-4)


def test_students_of_whom_one_taught_the_other_may_both_have_been_dropped(tiny_set: Path, tmp_path: Path) -> None:
    data = tiny.settings(tiny_set, tmp_path / "run")
    models = data["Architecture"]["Models"]
    models["Student3"] = dict(models["Student2"])
    data["Loss"]["loss_config_list"] = [
        {"DBLoss": {"model_name_list": ["Student", "Student3"]}},
        {"DMLLoss": {"model_name_pairs": [["Student2", "Student"]]}},
    ]
    cohort = _cohort(tiny.load(data, tmp_path / "it.yml"), {"Student3": network()}, 1)
    assert list(cohort.students) == ["Student3"]
    assert [term.binding.label for term in cohort.terms] == ["db/Student3"]


def test_terms_are_measured_with_the_connectors_that_they_were_trained_with(
    tiny_set: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    run = taught(tiny_set, tiny_teacher, tmp_path / "run", {"OFDLoss": {"layers": [["neck", "neck"]]}}, 3)
    batches = crops(run.config, 2, 2)
    teachers, _ = assemble.build_teachers(run.config, 1, "cpu")
    cohort = assemble.build_cohort(run.config, students(run, "latest"), teachers)
    found = open_checkpoint(run.folder / "latest")
    restore_layers(cohort.connectors("Student"), found.arrays("Student.connectors"), "here")
    expected = pulls(cohort, ["db/Student"], batches, 1.0)
    assert len(expected) == 1
    assert pulls_at(run, "latest", students(run, "latest"), batches, 1) == (expected, [])
    assert pulls_of(run.config, students(run, "latest"), batches, 1) != expected, "fresh ones pull elsewhere"
    assert pulls_at(run, "best", students(run, "best"), batches, 1) == ([], [expected[0].label])
    (note,) = why._add_pulls(Evidence("ofd"), run, "best", students(run, "best"), batches)
    assert expected[0].label in note and "best/ does not hold the connectors" in note


def test_pulls_are_meant_by_kind() -> None:
    some = [Pull("mutual/A<-B", 0.2, 0.5), Pull("mutual/B<-A", 0.4, -0.1), Pull("teacher/A<-T", 1.0, 0.9)]
    entry = Evidence("x", pulls=some)
    assert entry.mean_pulls() == [("mutual", pytest.approx(0.3), pytest.approx(0.2)), ("teacher", 1.0, 0.9)]
    assert pull_table([entry])[2:] == ["| x | mutual | 0.300 | +0.20 |", "| x | teacher | 1.000 | +0.90 |"]
    assert pull_table([Evidence("alone")]) == []


# --- runs ------------------------------------------------------------------------------------------------------------


def test_labels_pool_the_seeds_of_a_method(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "dml2" / "seed3"
    folder.mkdir(parents=True)
    assert label_of(str(folder)) == ("dml2", folder)
    assert label_of(str(folder.parent)) == ("dml2", folder.parent)
    assert label_of(f"mine={folder}") == ("mine", folder)
    assert label_of(str(tmp_path / "seedling"))[0] == "seedling"
    odd = tmp_path / "a=b"
    odd.mkdir()
    assert label_of(str(odd)) == ("a=b", odd)


def test_a_run_with_what_is_refused_today_is_read(tmp_path: Path) -> None:
    data = tiny.settings(tmp_path / "data", tmp_path / "run", Global__model_name="mine")
    tiny.write(data, tmp_path / "config.yml")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    assert read_run(str(tmp_path)).config.Global.model_name == "mine"


def test_agreement_is_the_mean_over_pairs_at_the_log_points() -> None:
    records = [
        {"step": 10, "loss": 1.0, "agreement/A,B": 0.2, "agreement/A,C": 0.4},
        {"step": 10, "eval": {}, "agreement": {"A/B": 0.9}},
        {"step": 20, "loss": 1.0, "agreement/A,B": 0.6, "agreement/A,C": 0.8},
    ]
    assert agreement_of(records) == [(10, pytest.approx(0.3)), (20, pytest.approx(0.7))]
    assert agreement_of([{"step": 1, "loss": 2.0}]) == []


def test_a_label_means_its_networks_and_pools_their_pixels() -> None:
    a = doubt_of([0.1, 0.3], [0, 1], bins=10)
    b = doubt_of([0.15, 0.15, 0.15], [1, 1, 0], bins=10)
    entry = Evidence("x", [NetworkEvidence("r", "S", [1.0, 2.0], a), NetworkEvidence("r", "T", [3.0, 6.0], b)])
    assert entry.mean_losses() == [2.0, 4.0]
    assert entry.rise() == 2.0
    assert entry.mean_of("error") == pytest.approx((a.error + b.error) / 2)
    assert entry.reliability() == [pytest.approx((0.55 / 4, 0.5, 4)), pytest.approx((0.3, 1.0, 1))]
    blind = Evidence("y", [NetworkEvidence("r", "S", [1.0, 2.0], None)])
    assert blind.mean_of("entropy") is None
    assert table([blind])[-1] == "| y | 1 | 1.0000 | 1.0000 | – | – | – | – |"


def test_more_labels_than_colours_are_told_apart() -> None:
    evidence = [Evidence(f"{i}", [NetworkEvidence("r", "S", [1.0, 2.0], None)]) for i in range(17)]
    figure = Figure()
    draw_noise(figure, evidence, {"sigmas": [0, 0.1], "scale": "relative"})
    lines = [line for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(lines) == 17


def test_every_name_is_in_the_legend() -> None:
    """Matplotlib leaves out a line whose label begins with `_`; a folder may be called so."""
    doubt = doubt_of([0.1, 0.9], [0, 1])
    names = ["_old", "学生", *(f"{place}" for place in range(15))]
    evidence = [Evidence(name, [NetworkEvidence("r", "S", [1.0, 2.0], doubt)], [[(1, 0.5)]]) for name in names]
    for draw, more in ((draw_noise, []), (draw_doubt, ["rightly certain"]), (draw_agreement, [])):
        figure = Figure(figsize=(9, 5), layout="constrained")
        draw(figure, evidence, {"sigmas": [0, 0.1], "scale": "relative"})
        (legend,) = figure.legends
        shown = [text.get_text() for text in legend.get_texts()]
        assert [text.split(" (")[0].split(":")[0].strip() for text in shown] == [*names, *more]


def test_letters_that_no_font_has_are_no_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    figure = Figure()
    figure.add_subplot().set_title("学生")
    save_figure(figure, [tmp_path / "a.png"])
    assert (tmp_path / "a.png").is_file() and not recwarn.list


# --- the tool --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_set: Path) -> dict[str, Path]:
    """A student alone and a cohort of two, two steps each; the cohort keeps the mean of its weights."""
    folder = tmp_path_factory.mktemp("finished")
    alone = tiny.settings(tiny_set, folder / "alone", terms=[tiny.LABELS], students=1)
    pair = tiny.settings(tiny_set, folder / "pair", Optimizer__ema_decay=0.5)
    for data in (alone, pair):
        with tiny.Run(data, max_steps=2) as trainer:
            trainer.fit()
    return {"alone": folder / "alone", "pair": folder / "pair"}


@pytest.fixture
def tool_here(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> Tool:
    monkeypatch.setattr(why, "tune_process", list)  # paddle is imported already
    return tool


@pytest.mark.slow
def test_two_runs_in_three_figures(finished: dict[str, Path], tool_here: Tool, tmp_path: Path) -> None:
    options = ["--output", tmp_path, "--images", 3, "--draws", 2, "--noise", 0, 0.2]
    code, out, err = tool_here("why", finished["alone"], finished["pair"], *options)
    assert code == 0, err
    assert "| alone | 1 |" in out
    assert "| pair | 2 |" in out
    for name in ("noise", "doubt", "agreement"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert b"<svg " in (tmp_path / f"{name}.svg").read_bytes()
        assert f"({name}.png)" in (tmp_path / "why.md").read_text(encoding="utf-8")
    data = json.loads((tmp_path / "why.json").read_text(encoding="utf-8"))
    assert data["settings"] == {
        "weights": "latest",
        "crops": 3,
        "pages": 2,
        "draws": 2,
        "sigmas": [0, 0.2],
        "scale": "relative",
        "data": finished["alone"].as_posix(),
    }
    alone, pair = data["runs"]
    assert [pull["label"] for pull in pair["pulls"]] == ["mutual/Student<-Student2", "mutual/Student2<-Student"]
    assert alone["pulls"] == []
    assert "| pair | mutual | " in out
    assert [network["student"] for network in pair["networks"]] == ["Student", "Student2"]
    logged = [json.loads(line) for line in (finished["pair"] / "metrics.jsonl").read_text().splitlines()]
    series = [[r["step"], r["agreement/Student,Student2"]] for r in logged if "loss" in r]
    assert pair["agreement"] == [series]
    assert (len(series), alone["agreement"]) == (2, [])
    assert 0 < alone["networks"][0]["doubt"]["entropy"] <= math.log(2)

    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert tool_here("why", finished["alone"], finished["pair"], *options)[0] == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    mean = students(read_run(str(finished["pair"])), "latest")["Student"]  # what the run would have exported
    best = students(read_run(str(finished["pair"])), "best")["Student"]
    tiny.assert_same(tiny.state_of(mean), tiny.state_of(best))


@pytest.mark.slow
def test_a_run_whose_teacher_is_gone_is_still_looked_at(tiny_set: Path, tool_here: Tool, tmp_path: Path) -> None:
    teacher = tiny.teacher_weights(tmp_path / "teacher.safetensors")
    terms = [tiny.LABELS, tiny.TEACHER]
    data = tiny.settings(tiny_set, tmp_path / "taught", terms=terms, students=1, teacher=teacher)
    with tiny.Run(data, max_steps=1) as trainer:
        trainer.fit()
    options = [tmp_path / "taught", "--output", tmp_path / "out", "--images", 2, "--noise", 0, 0.1]
    assert "| taught | teacher | " in tool_here("why", *options)[1]
    teacher.unlink()
    code, out, _ = tool_here("why", *options)
    assert code == 0
    assert f"{tmp_path / 'taught'}: how hard its terms pull was not measured: " in out
    assert "| taught | teacher |" not in out
    assert str(teacher) in (tmp_path / "out/why.md").read_text(encoding="utf-8")


def test_runs_that_learned_from_other_crops_are_told(tiny_set: Path, finished: dict[str, Path], tmp_path: Path) -> None:
    alone = read_run(str(finished["alone"]))
    assert other_crops(read_run(str(finished["pair"])), alone, "latest") == ""
    lines = (tiny_set / "train.txt").read_text(encoding="utf-8").splitlines()
    for name, kept in (("renamed", lines), ("fewer", lines[:4])):
        (tmp_path / f"{name}.txt").write_text("\n".join(kept), encoding="utf-8")
        data = tiny.settings(tiny_set, tmp_path / name, terms=[tiny.LABELS], students=1)
        data["Train"]["dataset"]["label_file_list"] = [str(tmp_path / f"{name}.txt")]
        with tiny.Run(data, max_steps=1) as trainer:
            trainer.fit()
    assert other_crops(read_run(str(tmp_path / "renamed")), alone, "latest") == ""
    note = other_crops(read_run(str(tmp_path / "fewer")), alone, "latest")
    assert note.startswith(f"{tmp_path / 'fewer'}: learned from other crops than {finished['alone']}")
    assert "(Train.dataset.label_file_list)" in note


def test_mistakes_are_one_message(finished: dict[str, Path], tool_here: Tool, tmp_path: Path, tiny_set: Path) -> None:
    def refused(*arguments: object) -> str:
        code, out, err = tool_here("why", *arguments, "--output", tmp_path / "out")
        assert (code, out) == (2, "")
        assert not (tmp_path / "out").exists()
        return err

    assert "no finished run, it has no config.yml" in refused(tmp_path)
    assert "--noise: give 0 and then larger" in refused(finished["alone"], "--noise", 0.1, 0.2)
    assert "--draws: must be at least 1" in refused(finished["alone"], "--draws", 0)
    other = tiny.settings(tiny_set, tmp_path / "other", terms=[tiny.LABELS], students=1)
    for step in other["Train"]["dataset"]["transforms"]:
        for name in ("MakeShrinkMap", "MakeBorderMap"):
            if name in step:
                step[name]["shrink_ratio"] = 0.4
    with tiny.Run(other, max_steps=1) as trainer:
        trainer.fit()
    assert "MakeShrinkMap differs" in refused(finished["alone"], tmp_path / "other")
    (tmp_path / "other/latest/state.json").unlink()
    assert "state.json" in refused(tmp_path / "other")
    assert "--noise: give 0 and then larger" in refused(finished["alone"], "--noise", 0, "nan")
    assert "--noise: give 0 and then larger" in refused(finished["alone"], "--noise", 0, "inf")


def test_a_line_that_a_kill_cut_is_left_out_and_told(finished: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(finished["alone"], folder)
    whole = read_run(str(folder)).records
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 9, "lo\xc3')
    run = read_run(str(folder))
    assert (run.records, run.damaged) == (whole, 1)


def test_too_much_noise_leaves_gaps_and_is_told(finished: dict[str, Path], tmp_path: Path) -> None:
    """A freshly begun student overflows under the paper's noise of one deviation on all weights."""
    entry = Evidence("alone", [NetworkEvidence("run", "Student", [1.0, math.nan], None)])
    settings = {"weights": "latest", "crops": 1, "pages": 1, "draws": 1, "sigmas": [0, 3.0], "scale": "absolute"}
    text = write(
        [entry], settings | {"data": "run"}, why._too_noisy("run: Student", [1.0, math.nan], [0, 3.0]), tmp_path
    )
    assert "| alone | 1 | 1.0000 | – |" in text
    assert "run: Student: has no loss at a deviation of 3, where activations overflow; give --noise smaller" in text
    assert json.loads((tmp_path / "why.json").read_text())["runs"][0]["networks"][0]["losses"] == [1.0, None]
    assert why._too_noisy("run: Student", [1.0, 2.0], [0, 3.0]) == []


def test_text_pixels_of_a_page_that_is_stretched_and_not_those_of_dont_care(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((32, 64, 3), np.uint8))
    boxes = [
        {"transcription": "text", "points": [[40, 8], [60, 8], [60, 24], [40, 24]]},
        {"transcription": "###", "points": [[4, 8], [24, 8], [24, 24], [4, 24]]},
    ]
    (tmp_path / "l.txt").write_text(f"a.png\t{json.dumps(boxes)}\n")
    ops = [DecodeImage(), DetResizeForTest(image_shape=(64, 64))]
    dataset = EvalDataset.from_label_files(tmp_path / "l.txt", tmp_path, ops)
    page = text_page(dataset, 0, MakeShrinkMap(shrink_ratio=0.5, min_text_size=4))
    rows, columns = np.nonzero(page.seen)  # twice as high as the file's, and as wide
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (16, 48, 40, 60)


def test_crops_are_of_an_epoch_that_no_run_reaches(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    class Labelled:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, key: tuple[int, int]) -> tuple[int, int]:
            asked.append(key)
            return key

    monkeypatch.setattr(why_data.assemble, "labelled_dataset", lambda config: Labelled())
    monkeypatch.setattr(why_data, "collate", list)
    assert [len(batch) for batch in why_data.crops(None, 3, 2)] == [2, 1]
    assert [index for _, index in asked] == [0, 1, 2]
    assert all(epoch >= 100_000 for epoch, _ in asked)


def test_shrunken_text_of_a_page_is_that_of_the_schedules_end(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((64, 64, 3), np.uint8))
    boxes = [{"transcription": "text", "points": [[4, 8], [60, 8], [60, 56], [4, 56]]}]
    (tmp_path / "l.txt").write_text(f"a.png\t{json.dumps(boxes)}\n")
    ops = [DecodeImage(), DetResizeForTest(image_shape=(64, 64))]
    dataset = EvalDataset.from_label_files(tmp_path / "l.txt", tmp_path, ops)
    rising = MakeShrinkMap(shrink_ratio=0.4, min_text_size=4, total_epoch=10)
    end = MakeShrinkMap(shrink_ratio=rising.schedule.at(10), min_text_size=4)
    begin = MakeShrinkMap(shrink_ratio=rising.schedule.at(0), min_text_size=4)
    found, last, first = (text_page(dataset, 0, rule).label for rule in (rising, end, begin))
    np.testing.assert_array_equal(found, last)
    assert last.sum() != first.sum()
