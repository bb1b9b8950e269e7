"""Pictures of what two networks answer differently."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from compared import DML, finish, finish_both, plan_of

from ocr_cml import config as configuration
from ocr_cml.assemble import labels_digest
from ocr_cml.compare import differences
from ocr_cml.compare.differences import WINDOW, Answer, Compared, reference_of, write_differences
from ocr_cml.compare.same_data import refuse_other_labels_to_score
from ocr_cml.evaluate import Page
from ocr_cml.postprocess import DBPostProcess
from ocr_cml.schema import Config
from ppocr_data.errors import ConfigError, UserError


def box(x: float, y: float, width: float = 40, height: float = 20) -> np.ndarray:
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], float)


def answer(*found: bool) -> Answer:
    return Answer([], np.zeros(0, bool), np.zeros(0, bool), np.array(found, bool))


def page(truth: list[np.ndarray], alone: Answer, method: Answer, care: list[bool] | None = None) -> Compared:
    return Compared(truth, np.array(care or [True] * len(truth)), (2000, 1500), alone, method)


def test_a_gain_is_a_text_that_one_alone_found_and_is_no_dont_care() -> None:
    found = page(
        [box(0, 0)] * 5,
        answer(True, True, False, False, False),
        answer(True, False, True, False, True),
        [True] * 4 + [False],
    )
    assert found.gain.tolist() == [0, -1, 1, 0, 0]


def test_a_window_lies_where_most_was_gained_and_inside_the_page() -> None:
    far = [box(1900, 1400), box(1950, 1450), box(1900, 1450)]
    near = [box(10, 10), box(60, 60)]
    both = page([*far, *near], answer(*[False] * 5), answer(*[True] * 5))
    more, corner = both.window(1)
    assert more == 3
    assert corner == (2000 - WINDOW[0], 1500 - WINDOW[1])
    assert both.window(-1) == (0, (0, 0))
    assert page([*far, *near], answer(*[True] * 5), answer(True, True, True, False, False)).window(-1) == (2, (0, 0))


def test_losses_beside_gains_are_taken_off() -> None:
    mixed = page([box(100, 100), box(150, 100), box(200, 100)], answer(False, False, True), answer(True, True, False))
    assert mixed.window(1)[0] == 1


def test_a_page_without_text_has_no_window() -> None:
    assert page([], answer(), answer()).window(1) == (0, (0, 0))


class Painter:
    """Answers with what it was told, whatever it is shown."""

    def __init__(self, *boxes: np.ndarray) -> None:
        self.boxes = boxes

    def probability(self, images: np.ndarray) -> np.ndarray:
        map_ = np.zeros(images.shape[1:3], np.float32)
        for polygon in self.boxes:
            cv2.fillPoly(map_, [polygon.astype(np.int32)], 1.0)
        return map_[None]


def test_answers_are_judged_in_the_original_and_kept_in_the_pages_pixels() -> None:
    truth = [box(200, 100, 400, 100), box(200, 400, 400, 100), box(200, 600, 400, 100)]
    shown = Page(np.full((480, 640, 3), 255, np.uint8), truth, np.array([False, False, True]), (960, 1280), "page.jpg")
    post = DBPostProcess(unclip_ratio=0.01)
    first, second, dont_care, elsewhere = (
        box(100, 50, 200, 50),
        box(100, 200, 200, 50),
        box(100, 300, 200, 50),
        box(500, 400),
    )
    compared = differences._compared(shown, [Painter(first, elsewhere), Painter(first, second, dont_care)], post)  # type: ignore[list-item]
    assert compared.alone.found.tolist() == [True, False, False]
    assert compared.method.found.tolist()[:2] == [True, True]
    assert compared.gain.tolist() == [0, 1, 0]
    assert sum(compared.alone.false) == 1 and sum(compared.method.false) == 0
    wrong = compared.alone.boxes[int(np.argmax(compared.alone.false))]
    np.testing.assert_allclose(wrong.mean(axis=0), elsewhere.mean(axis=0), atol=2)
    picture = differences._picture(shown.image, compared, (50, 0))
    assert picture.shape[:2] == (round(WINDOW[1] * 1.5) + 8, 2 * (round(WINDOW[0] * 1.5) + 8))
    left, right = np.hsplit(picture.astype(int), 2)
    red = [(side[..., 2] - side[..., 1] > 150).sum() for side in (left, right)]
    assert red[0] > 500 and red[1] == 0, "only the left one missed a text"
    grey = [(np.abs(side - 150).max(axis=-1) < 5).sum() for side in (left, right)]
    assert grey[0] == 0 and grey[1] > 250, "only the right one has a box that does not count, and it is not green"


def test_without_its_image_a_picture_shows_the_labels_alone() -> None:
    compared = page([box(10, 10), box(10, 50), box(10, 52)], answer(True, True, False), answer(True, True, False))
    compared.care[1] = False
    ground = differences._labels_alone((90, 60, 3), compared)
    assert ground.shape == (90, 60, 3) and ground.dtype == np.uint8
    assert (ground[15, 30] == 220).all(), "a text that counts"
    assert (ground[51, 30] == 243).all(), "one that does not"
    assert (ground[60, 30] == 220).all(), "where both lie, the one that counts is seen"
    assert (ground[80, 30] == 255).all() and (ground[15, 55] == 255).all()


def test_pictures_of_an_earlier_page_are_gone_and_others_stay(tmp_path: Path) -> None:
    own = ["dml2.more0.jpg", "dml2.less12.jpg"]
    others = ["dml2.more.more0.jpg", "dml23.more0.jpg", "dml2.more0.png", "dml2.md"]
    for name in own + others:
        (tmp_path / name).write_bytes(b"kept")
    differences._remove_pictures(tmp_path, "dml2")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


def test_weights_are_found_whatever_the_folder_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An override is read as YAML, where ` #` begins a comment and `: ` a mapping."""
    asked: list[str] = []

    def refuse(settings: Config) -> None:
        asked.append(str(settings.Global.pretrained_model))
        raise UserError("far enough")

    monkeypatch.setattr(differences, "load_trained", refuse)
    for name in ("out #2", "out: 2", "out's \\ [x]"):
        run = plan_of(tmp_path, output=str(tmp_path / name)).run("dml2", 1)
        run.config_file.parent.mkdir(parents=True)
        configuration.save(run.config, run.config_file)
        with pytest.raises(UserError, match="far enough"):
            differences._network(run, "Student", "last")
        assert asked.pop() == str(run.folder / "latest")


def test_what_cannot_be_compared_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    with pytest.raises(ConfigError, match="--differences cml: there is no such method; choose one of alone, dml2"):
        reference_of(plan, "cml")
    with pytest.raises(ConfigError, match="--differences alone: is what the others are held against"):
        reference_of(plan, "alone")
    assert reference_of(plan, "dml2") == "alone"
    with pytest.raises(ConfigError, match="no seed of dml2 and of alone has finished"):
        write_differences(plan, "dml2")


def test_pictures_with_other_labels_than_the_numbers_beside_them_are_refused(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, seeds=[1])
    finish_both(plan_of(tmp_path))
    labels = tmp_path / "data" / "val.txt"
    labels.parent.mkdir()
    labels.write_text("a.jpg\t[]\n")
    for run in plan.runs:
        state = {"progress": {"step": 1, "scored_on": labels_digest([str(labels)])}}
        (run.folder / "latest").mkdir()
        (run.folder / "latest/state.json").write_text(json.dumps(state))
    refuse_other_labels_to_score(plan.runs)
    labels.write_text("b.jpg\t[]\n")
    with pytest.raises(ConfigError, match=r"seed1: was scored with other lines of Eval\.dataset\."):
        write_differences(plan, "dml2")
    labels.unlink()  # said when it is read
    refuse_other_labels_to_score(plan.runs)


def test_pictures_are_of_the_weights_that_were_kept(tmp_path: Path) -> None:
    """best/ holds all students as they were when the best of them was best, and not each at its own best."""
    three = {"name": "three", "students": 3, "terms": DML["terms"][:1]}
    plan = plan_of(tmp_path, [three, DML], score="best", seeds=[1])
    finish(plan.run("three", 1), [0.75, 0.10, 0.20], [0.40, 0.60, 0.90])
    finish(plan.run("dml2", 1), [0.66, 0.62])
    (alone, first), _ = differences._pair(plan, "dml2")
    assert first == list(alone.config.students)[1]  # of the first two at the second evaluation


def test_the_best_of_as_many_students_with_the_first_seed_of_both(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    finish_both(plan)
    (alone, first), (method, second) = differences._pair(plan, "dml2")
    assert (alone.method, alone.seed, method.method, method.seed) == ("alone", 1, "dml2", 1)
    students = list(alone.config.students)
    assert (first, second) == (students[1], students[0])  # .50 and .60 alone, .66 and .62 together
