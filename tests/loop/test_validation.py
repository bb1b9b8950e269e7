"""RUN/validation: precision and recall over the box threshold, the best and worst pictures, and their files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from ocr_cml.loop.validation import Examination, _quality, forget, is_recorded, record
from ocr_cml.metrics import Counts, overlap
from ocr_cml.postprocess import DBPostProcess
from ocr_cml.records import Best
from ocr_cml.run_files import VALIDATION, VALIDATION_RECORD
from ppocr_data.dataset import EvalDataset
from ppocr_data.transforms import build_ops

SIDE = 128
LEFT, RIGHT = [[8, 20], [56, 20], [56, 40], [8, 40]], [[72, 20], [120, 20], [120, 40], [72, 40]]
POST = DBPostProcess(thresh=0.3, box_thresh=0.6, unclip_ratio=0.01)


def dataset(folder: Path, texts: list[list[tuple[list[list[int]], str]]]) -> EvalDataset:
    """One grey image a list of (polygon, transcription)."""
    lines = []
    for number, found in enumerate(texts):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((SIDE, SIDE, 3), number, np.uint8))
        label = [{"transcription": word, "points": points} for points, word in found]
        lines.append(f"{number}.png\t{json.dumps(label)}")
    (folder / "val.txt").write_text("\n".join(lines))
    ops = build_ops([{"DecodeImage": None}, {"DetResizeForTest": {"limit_side_len": SIDE, "limit_type": "min"}}])
    return EvalDataset.from_label_files(folder / "val.txt", folder, ops)


def saying(*boxes: tuple[list[list[int]], float]) -> Callable[[np.ndarray], np.ndarray]:
    """A network that answers every image with these boxes at these probabilities."""
    map_ = np.zeros((SIDE, SIDE), np.float32)
    for points, probability in boxes:
        cv2.fillPoly(map_, [np.array(points, np.int32)], probability)
    return lambda images: np.stack([map_] * len(images))


def examined(folder: Path) -> Examination:
    """Left is always there; right is text in image 0, don't care in image 1, nothing in image 2."""
    texts = [[(LEFT, "a"), (RIGHT, "b")], [(LEFT, "a"), (RIGHT, "###")], [(LEFT, "a")]]
    students = {"Student": saying((LEFT, 0.9), (RIGHT, 0.7)), "Student2": saying((LEFT, 0.5))}
    return Examination(dataset(folder, texts), POST, students, {"Teacher": saying()}, batch_size=2)


def test_curves_count_what_each_threshold_keeps(tmp_path: Path) -> None:
    """By hand: left right thrice of 4 readable texts; right is right once, swallowed once, wrong once."""
    examination = examined(tmp_path)
    curve = {point["box_thresh"]: (point["tp"], point["num_gt"], point["num_det"]) for point in
             examination.curve("Student")}  # fmt: skip
    assert curve[0.95] == (0, 4, 0)
    assert curve[0.8] == (3, 4, 3)
    assert curve[0.6] == curve[0.1] == (4, 4, 5)
    assert list(curve) == sorted(curve, reverse=True)
    # The ensemble's left is (0.9 + 0.5) / 2, its right 0.35; the second student's left is below 0.6.
    points = {point["box_thresh"]: point for point in examination.curve("ensemble")}
    assert (points[0.65]["tp"], points[0.75]["tp"], points[0.3]["num_det"]) == (3, 0, 5)
    assert {p["tp"] for p in examination.curve("Student2") if p["box_thresh"] > 0.5} == {0}
    assert examination.curve("Teacher")[-1]["num_det"] == 0


def test_images_are_ranked_by_the_best_students_hmean(tmp_path: Path) -> None:
    """Both perfect images before the one with a wrong box; of the perfect ones that with more text first."""
    order = [source.rpartition(":")[2] for source in examined(tmp_path).ranked("Student")]
    assert order == ["1", "2", "3"]


def test_what_is_written_can_be_read_back(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    best = Best("Student", 0.5, 7)
    assert not is_recorded(best, run)
    record(examined(tmp_path), best, run)
    assert is_recorded(best, run) and not is_recorded(Best("Student2", 0.5, 7), run)
    assert not is_recorded(Best("Student", 0.6, 7), run)  # scored otherwise
    found = json.loads((run / VALIDATION / VALIDATION_RECORD).read_text())
    assert (found["images"], found["of"], found["student"], found["step"]) == (3, 3, "Student", 7)
    assert list(found["curves"]) == ["Student", "Student2", "ensemble", "Teacher"]
    assert [page["source"].rpartition(":")[2] for page in found["best"]] == ["1", "2"]
    assert [page["source"].rpartition(":")[2] for page in found["worst"]] == ["3"]
    second = found["best"][1]
    assert [truth["ignore"] for truth in second["truth"]] == [False, True]
    boxes = {(box["points"][0][0] > 60): box for box in second["networks"]["Student"]["boxes"]}
    assert (boxes[False]["right"], boxes[True]["right"]) == (True, None)  # don't care: neither right nor wrong
    assert boxes[False]["score"] == pytest.approx(0.9, abs=1e-3)
    wrong = [box["right"] for box in found["worst"][0]["networks"]["Student"]["boxes"]]
    assert sorted(wrong) == [False, True]
    for page in found["best"] + found["worst"]:
        assert cv2.imread(str(run / VALIDATION / page["picture"])).shape == (SIDE, SIDE, 3)
        grey = cv2.imread(str(run / VALIDATION / page["maps"]["Student"]), cv2.IMREAD_GRAYSCALE)
        assert grey[30, 30] == pytest.approx(0.9 * 255, abs=6)
    assert not (run / "validation.tmp").exists()
    record(examined(tmp_path), best, run)  # a second time replaces it
    assert is_recorded(best, run)


def test_a_damaged_record_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / VALIDATION).mkdir()
    for text in ("", "[]", "{}", '{"student": "Student"'):
        (tmp_path / VALIDATION / VALIDATION_RECORD).write_text(text)
        assert not is_recorded(Best("Student", 0.5, 7), tmp_path)


@pytest.mark.parametrize(("counts", "expected"), [(Counts(), 1.0), (Counts(0, 0, 1), 0.0), (Counts(1, 2, 2), 0.5)])
def test_an_empty_image_with_nothing_found_is_perfect(counts: Counts, expected: float) -> None:
    assert _quality(counts) == expected


def test_matches_name_the_detection_of_each_ground_truth() -> None:
    def box(x: int) -> np.ndarray:
        return np.array([[x, 0], [x + 10, 0], [x + 10, 10], [x, 10]])

    laid = overlap([box(100), box(1), box(51)], [box(50), box(0), box(200), box(100)], [False, False, False, True])
    assert laid.matches().tolist() == [2, 1, -1, -1]
    assert laid.matches(np.array([True, True, False])).tolist() == [-1, 1, -1, -1]


def test_a_folder_of_that_name_that_is_not_ours_stays(tmp_path: Path) -> None:
    """Somebody's images, put there while a run was training."""
    run = tmp_path / "run"
    (run / VALIDATION).mkdir(parents=True)
    (run / VALIDATION / "mine.jpg").touch()
    with pytest.raises(OSError):
        record(examined(tmp_path), Best("Student", 0.5, 7), run)
    forget(run)
    assert (run / VALIDATION / "mine.jpg").exists()


def test_a_removal_that_is_cut_short_is_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    run.mkdir()
    record(examined(tmp_path), Best("Student", 0.5, 7), run)

    def killed(folder: Path, **_: object) -> None:
        for file in [folder / VALIDATION_RECORD, *folder.glob("best*")]:
            file.unlink(missing_ok=True)

    with monkeypatch.context() as patched:
        patched.setattr("ocr_cml.loop.validation.shutil.rmtree", killed)
        forget(run)
    record(examined(tmp_path), Best("Student", 0.6, 9), run)
    assert is_recorded(Best("Student", 0.6, 9), run)
    record(examined(tmp_path), Best("Student", 0.7, 11), run)
    assert [file.name for file in run.iterdir()] == [VALIDATION]


def test_boxes_are_shown_that_reach_the_threshold(tmp_path: Path) -> None:
    """A score of exactly the threshold reaches it, as in the post-process; 0.5 is a number that float32 has."""
    post = DBPostProcess(thresh=0.3, box_thresh=0.5, unclip_ratio=0.01)
    students = {"Student": saying((LEFT, 0.5), (RIGHT, 0.4375))}
    examination = Examination(dataset(tmp_path, [[(LEFT, "a")]]), post, students, {}, batch_size=1)
    (tmp_path / "run").mkdir()
    record(examination, Best("Student", 0.5, 7), tmp_path / "run")
    found = json.loads((tmp_path / "run" / VALIDATION / VALIDATION_RECORD).read_text())
    assert [box["score"] for box in found["best"][0]["networks"]["Student"]["boxes"]] == [0.5]
    assert {point["box_thresh"]: point["num_det"] for point in found["curves"]["Student"]}[0.5] == 1


def test_the_size_of_a_page_is_its_width_and_height(tmp_path: Path) -> None:
    data = dataset(tmp_path, [[(LEFT, "a")]])
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((SIDE, 2 * SIDE, 3), np.uint8))
    wide = np.zeros((SIDE, 2 * SIDE), np.float32)
    examination = Examination(data, POST, {"Student": lambda images: np.stack([wide] * len(images))}, {}, batch_size=1)
    (tmp_path / "run").mkdir()
    record(examination, Best("Student", 0.5, 7), tmp_path / "run")
    found = json.loads((tmp_path / "run" / VALIDATION / VALIDATION_RECORD).read_text())
    assert found["best"][0]["size"] == [2 * SIDE, SIDE]


def test_pictures_of_an_earlier_best_are_none_of_a_later_one(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    record(examined(tmp_path), Best("Student", 0.5, 7), run)
    assert is_recorded(Best("Student", 0.5, 7), run)
    assert not is_recorded(Best("Student", 0.5, 9), run)  # as good, by other weights


def test_a_threshold_below_those_of_the_curve_is_looked_at_as_well(tmp_path: Path) -> None:
    post = DBPostProcess(thresh=0.02, box_thresh=0.05, unclip_ratio=0.01)
    data = dataset(tmp_path, [[(LEFT, "a")]])
    curve = Examination(data, post, {"Student": saying((LEFT, 0.07))}, {}, batch_size=1).curve("Student")
    assert {point["box_thresh"]: point["tp"] for point in curve if point["box_thresh"] <= 0.1} == {0.05: 1, 0.1: 0}


def test_of_images_that_are_all_wrong_the_one_with_most_text_is_the_worst(tmp_path: Path) -> None:
    data = dataset(tmp_path, [[(LEFT, "a"), (RIGHT, "b")], [(LEFT, "a")]])
    examination = Examination(data, POST, {"Student": saying()}, {}, batch_size=2)
    assert [source.rpartition(":")[2] for source in examination.ranked("Student")] == ["2", "1"]
