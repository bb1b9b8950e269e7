"""What a comparison trains: its methods, seeds and teachers, and the mistakes of its file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from compared import ALONE, DML, ONE, REPOSITORY, described, finish, plan_of

from ocr_cml import assemble, config
from ocr_cml.compare.plan import Plan, make_plan
from ocr_cml.compare.results import (
    gains,
    read_results,
)
from ocr_cml.compare.runner import compare as compare_runs
from ppocr_data.errors import ConfigError, UserError

SHIPPED = REPOSITORY / "configs" / "compare.yml"


def flat(data: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(data, dict) and data:
        return {k: v for key, value in data.items() for k, v in flat(value, f"{prefix}.{key}").items()}
    return {prefix: data}


def shipped(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> Plan:
    monkeypatch.chdir(REPOSITORY)
    return make_plan(SHIPPED, overrides)


def test_the_shipped_comparison_has_every_method(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = shipped(monkeypatch)
    counts = {method.name: method.count for method in plan.methods}
    one = dict.fromkeys(("logits", "st", "at", "nst", "rkd", "ofd", "afd"), 1)
    two = dict.fromkeys(("dml2", "dml2_text", "taught", "cml", "cml_fading", "cml_text", "cml_ppocrv2"), 2)
    assert counts == {"alone": 4, **one, "dml3": 3, "dml4": 4, **two}
    assert len(plan.runs) == len(counts) * len(plan.settings.seeds)
    assert [run.seed for run in plan.runs] == sorted(run.seed for run in plan.runs)


def test_every_shipped_method_differs_from_the_base_where_it_says_and_loads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = shipped(monkeypatch)
    base = config.load(plan.settings.base)
    assert plan.settings.overrides == []
    for run in plan.runs:
        config.save(run.config, tmp_path / "run.yml")
        assert config.load(tmp_path / "run.yml") == run.config
        before, now = flat(base.model_dump(mode="json")), flat(run.config.model_dump(mode="json"))
        differing = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
        free = (".Architecture.Models.", ".Loss.loss_config_list", ".Global.seed", ".Global.save_model_dir")
        assert [key for key in differing if not key.startswith(free)] == []
        assert run.config.Global.seed == run.seed
        assert Path(run.config.Global.save_model_dir) == run.folder
        for student in run.config.students.values():
            assert student == base.students["Student"]


@pytest.mark.parametrize("name", ["compare_sroie2019.yml", "compare_icdar2015.yml", "compare_few_labels.yml"])
def test_comparisons_on_real_photos_load_with_equal_terms_under_equal_names(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    plan = make_plan(REPOSITORY / "configs" / name)
    terms = {method.name: method.terms for method in shipped(monkeypatch).methods}
    assert len(plan.settings.seeds) >= 2
    assert plan.reference(2).name == "alone"
    for method in plan.methods:
        named = "alone" if method.learns_alone else method.name.removesuffix("_unlabelled")
        assert method.terms == (terms["cml"][1:] if named == "label_free" else terms[named])
    for run in plan.runs:
        assert run.config.Global.max_steps == run.config.Optimizer.lr.decay_steps


def test_receipts_have_three_seeds_and_cohorts_of_three_their_own_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    receipts = make_plan(REPOSITORY / "configs" / "compare_sroie2019.yml")
    assert len(receipts.settings.seeds) >= 3
    assert receipts.reference(3).name == "alone3"


def test_with_few_labels_every_step_has_as_many_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    for run in make_plan(REPOSITORY / "configs" / "compare_few_labels.yml").runs:
        train = run.config.Train
        labelled = train.loader.batch_size_per_card if train.dataset.label_file_list else 0
        assert labelled + (train.unlabeled.batch_size_per_card if train.unlabeled else 0) == 4


def test_the_shipped_baselines_are_those_of_their_own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = shipped(monkeypatch)
    files = {path.stem: path for path in (REPOSITORY / "configs" / "kd").glob("*.yml")}
    assert files.keys() >= {"logits", "st", "at", "nst", "rkd", "ofd", "afd"}
    for name in files.keys() & {method.name for method in plan.methods}:
        own, other = config.load(files[name]), plan.run(name, 1).config
        assert other.Loss.loss_config_list == own.Loss.loss_config_list
        assert {net.spec == own.teachers["Teacher"].spec for net in other.teachers.values()} == {True}


def test_methods_of_a_seed_start_from_the_same_weights(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    alone, peers = (assemble.starting_students(plan.run(name, 2).config)[0] for name in ("alone", "dml2"))
    assert list(alone) == list(peers) == ["Student", "Student2"]
    for name in alone:
        tiny.assert_same(tiny.state_of(alone[name]), tiny.state_of(peers[name]))
    first, second = tiny.state_of(alone["Student"]), tiny.state_of(alone["Student2"])
    assert not np.array_equal(first["backbone.conv.conv.weight"], second["backbone.conv.conv.weight"])


def test_students_beyond_the_base_are_its_students_in_turn(tmp_path: Path) -> None:
    base = tiny.settings(tmp_path / "data", tmp_path / "run")
    base["Architecture"]["Models"]["Student2"] = tiny.OTHER_STUDENT
    tiny.write(base, tmp_path / "hetero.yml")
    three = {**DML, "students": 3}
    plan = plan_of(tmp_path, [ALONE, three], base=str(tmp_path / "hetero.yml"))
    necks = [student.spec["Neck"]["name"] for student in plan.run("dml2", 1).config.students.values()]
    assert necks == ["RSEFPN", "DBFPN", "RSEFPN"]


def test_largest_is_that_of_the_methods_that_run(tmp_path: Path) -> None:
    four = {**DML, "name": "dml4", "students": 4}
    assert plan_of(tmp_path, [ALONE, DML, four]).methods[0].count == 4
    assert plan_of(tmp_path, [ALONE, DML, four], only=["alone", "dml2"]).methods[0].count == 2


def test_the_reference_is_the_smallest_that_has_enough_students(tmp_path: Path) -> None:
    alone = {**ALONE, "name": "single", "students": 1}
    other = {**ALONE, "name": "slower", "students": 2, "overrides": ["Optimizer.lr.learning_rate=0.001"]}
    plan = plan_of(tmp_path, [ALONE, alone, other, DML])
    assert (plan.reference(1).name, plan.reference(2).name) == ("single", "alone")
    assert plan.run("slower", 1).config.Optimizer.lr.learning_rate == 0.001
    assert plan.run("dml2", 1).config.Optimizer.lr.learning_rate == 0.003


def test_another_loss_on_the_labels_is_a_method_and_not_what_alone_means(tmp_path: Path) -> None:
    bce = {"name": "bce", "terms": [{"DBLoss": {"main_loss_type": "BCELoss"}}]}
    slower = {**ALONE, "name": "slower", "students": 1, "overrides": ["Optimizer.lr.learning_rate=0.001"]}
    plan = plan_of(tmp_path, [ALONE, bce, slower, DML], seeds=[1])
    scored = {"alone": [0.80, 0.81], "bce": [0.60], "slower": [0.80], "dml2": [0.82, 0.83]}
    for name, scores in scored.items():
        finish(plan.run(name, 1), scores)
    results = read_results(plan)
    found = {method.name: gains(plan, method, 1, results) for method in plan.methods}
    assert found.pop("alone") is None
    assert {name: pytest.approx(both) for name, both in found.items()} == {
        "bce": (-0.2, -0.2),
        "slower": (0.0, 0.0),
        "dml2": (0.02, 0.02),
    }
    with pytest.raises(ConfigError, match=r"`only` leaves out alone, which trains them; set only=\[alone,bce,slower\]"):
        plan_of(tmp_path, [ALONE, bce, slower], only=["bce", "slower"])


def test_the_command_line_reaches_the_comparison_and_the_base(tmp_path: Path) -> None:
    plan = make_plan(described(tmp_path, overrides=["Global.max_steps=9"]), ["seeds=[7]", "Global.max_steps=2"])
    assert [run.seed for run in plan.runs] == [7, 7]
    assert {run.config.Global.max_steps for run in plan.runs} == {2}


def test_the_teacher_is_the_one_that_a_method_asks_for(tmp_path: Path) -> None:
    base = tiny.settings(tmp_path / "data", tmp_path / "run", terms=[tiny.LABELS, tiny.TEACHER])
    base["Architecture"]["Models"]["Guide"] = {"freeze_params": True, "inference_model": "models/guide"}
    tiny.write(base, tmp_path / "taught.yml")
    shown = {"name": "shown", "teacher": "inference", "terms": [tiny.LABELS, tiny.TEACHER]}
    teachers = {"network": {"pretrained": "best", **tiny.OTHER_STUDENT}}
    plan = plan_of(tmp_path, [ALONE, shown, ONE], base=str(tmp_path / "taught.yml"), teachers=teachers)
    found = {name: plan.run(name, 1).config.teachers for name in ("alone", "shown", "one")}
    assert found["alone"] == {}
    assert [net.inference_model for net in found["shown"].values()] == ["models/guide"]
    assert [(net.pretrained, net.spec) for net in found["one"].values()] == [("best", tiny.OTHER_STUDENT)]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"sedes": [1]}, r"sedes: unknown key 'sedes'; did you mean 'seeds'\?"),
        ({"seeds": []}, r"seeds: "),
        ({"seeds": [1, 1]}, r"seeds: a seed stands twice"),
        ({"only": ["dml"]}, r"only\.0: no method is called 'dml'; did you mean 'dml2'\?"),
        ({"score": "mean"}, r"score: "),
        ({"methods": [ALONE, DML, DML]}, r"methods\.2\.name: 'dml2' is the name of another method"),
        ({"methods": [{**ALONE, "name": "a/b"}]}, r"methods\.0\.name: "),
        ({"methods": [ALONE, {**DML, "students": 0}]}, r"methods\.1\.students: "),
        ({"methods": [{**ALONE, "students": 1}, DML]}, r"methods\.1\.students: 2 students are compared .* there are 1"),
        ({"methods": [DML]}, r"methods\.0\.students: .* there are 0; add a method of labels alone"),
        ({"only": ["dml2"]}, r"methods\.1\.students: .*; `only` leaves out alone, .* set only=\[alone,dml2\]"),
        ({"methods": [ALONE, {**DML, "students": 1}]}, r"methods\.1\.terms\.1\.DMLLoss: .*two students"),
        ({"methods": [ALONE, {**DML, "terms": [{"DMLoss": {}}]}]}, r"methods\.1\.terms\.0: .* did you mean 'DMLLoss'"),
        ({"methods": [ALONE, {**DML, "overrides": ["Loss.updat=1"]}]}, r"methods\.1 \(dml2\): Loss\.updat: unknown"),
        ({"methods": [ALONE, ONE]}, r"methods\.1\.teacher: network, .* teachers\.network"),
        (
            {
                "methods": [ALONE, ONE],
                "teachers": {"network": {"pretrained": "x", **tiny.STUDENT, "Neck": {"name": "R"}}},
            },
            r"teachers\.network\.Neck\.name: unknown neck 'R'.*\(.*compare\.yml:\d+\)",
        ),
        ({"overrides": ["Global.max_step=1"]}, r"base: .*base\.yml.*\n.*did you mean 'max_steps'"),
        ({"overrides": ["Global.checkpoints=there"]}, r"overrides\.0: Global\.checkpoints: no method may start"),
        ({"overrides": ["Global.seed=3"]}, r"overrides\.0: Global\.seed: set seeds"),
        ({"overrides": ["Loss.loss_config_list.0.DBLoss.alpha=3"]}, r"overrides\.0: .* set methods\.N\.terms"),
        (
            {"methods": [ALONE, {**DML, "overrides": ["Global.checkpoints=there"]}]},
            r"methods\.1\.overrides\.0: Global\.c",
        ),
        (
            {"methods": [ALONE, {**DML, "overrides": ["Global={epoch_num: 3, checkpoints: there}"]}]},
            r"methods\.1\.overrides\.0: Global: replaces the whole section, Global\.seed with it; set its keys",
        ),
        ({"overrides": ["Loss={loss_config_list: []}"]}, r"overrides\.0: Loss: replaces .*Loss\.loss_config_list with"),
    ],
)
def test_mistakes_are_named_by_their_key(tmp_path: Path, keys: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_of(tmp_path, **keys)
    assert re.search(expected, str(caught.value)), str(caught.value)


def test_a_misspelt_key_hides_no_other_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"seds: unknown key 'seds'; did you mean 'seeds'\?") as caught:
        plan_of(tmp_path, seds=[1], only=["alone", "dlm2"])
    assert re.search(r"only\.1: .*'dlm2'", str(caught.value)), str(caught.value)


@pytest.mark.parametrize("key", ["Global.seed", "Global.save_model_dir", "Loss.loss_config_list", "Global.checkpoints"])
def test_what_a_comparison_sets_itself_is_refused_on_the_command_line(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"-o: {re.escape(key)}: "):
        make_plan(described(tmp_path), [f"{key}=7"])


def test_a_training_is_no_comparison_and_the_other_way_round() -> None:
    training, comparison = REPOSITORY / "configs" / "det_cml.yml", REPOSITORY / "configs" / "compare.yml"
    with pytest.raises(ConfigError, match=r"det_cml\.yml: is the configuration of one training, for tools/train\.py"):
        make_plan(training)
    with pytest.raises(ConfigError, match=r"compare\.yml: is a comparison.*of one is its base, configs/det_cml\.yml"):
        config.load(comparison)


def test_a_base_that_goes_on_from_a_checkpoint_is_refused(tmp_path: Path) -> None:
    path = described(tmp_path)
    base = tiny.settings(tmp_path / "data", tmp_path / "elsewhere", Global__checkpoints="there")
    tiny.write(base, tmp_path / "base.yml")
    with pytest.raises(ConfigError, match=r"base: Global\.checkpoints is set"):
        make_plan(path)


@pytest.mark.parametrize("taken", ["out", "out/compare.log", "out/configs"])
def test_an_output_that_cannot_be_written_is_named(tmp_path: Path, taken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocr_cml.compare.runner.tune_process", list)  # paddle was imported already
    path, place = described(tmp_path), tmp_path / taken
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.name == "compare.log":
        place.mkdir()
    else:
        place.write_text("a file where a folder is to be", encoding="utf-8")
    with pytest.raises(UserError, match=rf"output: {place} cannot be written \(.*\); choose another folder"):
        compare_runs(str(path), [])


def test_what_drops_students_is_refused(tmp_path: Path) -> None:
    drop = ["Global.on_divergence=drop"]
    with pytest.raises(ConfigError, match=r"(?s)methods\.0.*on_divergence is drop.*methods\.1.*on_divergence is drop"):
        plan_of(tmp_path, overrides=drop)
    with pytest.raises(ConfigError, match=r"1 mistake:\n.*methods\.1.*on_divergence is drop"):
        plan_of(tmp_path, [ALONE, {**DML, "overrides": drop}])
