"""The embedded set: reproducible, tightly labelled, safe against interruption and against other people's folders."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from shapely.geometry import Polygon

from ppocr_data import synth, synth_text
from ppocr_data.errors import DataError
from ppocr_data.labels import read_label_file
from ppocr_data.synth_fonts import LATIN, load_fonts
from ppocr_data.synth_page import MARGIN, Page, _finish

SMALL = {"train": 3, "val": 2, "size": (160, 192)}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def shipped_fonts() -> Path:
    spec = importlib.util.find_spec("matplotlib")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf"


@pytest.fixture(scope="module")
def pages() -> list[Page]:
    fonts = load_fonts()
    return [synth.sample_page("train", i, size=(384, 384), seed=7, fonts=fonts) for i in range(40)]


def test_two_generations_are_equal_to_the_last_byte(tmp_path: Path) -> None:
    synth.generate(tmp_path / "a", **SMALL)
    synth.generate(tmp_path / "b", **SMALL)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert len(contents(tmp_path / "a")) == 3 + 2 + 2 + 1
    assert cv2.imread(str(tmp_path / "a" / "train" / "000002.jpg")).shape == (160, 192, 3)


def test_an_image_depends_on_seed_part_and_index_alone(tmp_path: Path) -> None:
    synth.generate(tmp_path / "more", **SMALL)
    synth.generate(tmp_path / "fewer", **{**SMALL, "train": 1})
    synth.generate(tmp_path / "other", **SMALL, seed=1)
    more, fewer, other = (contents(tmp_path / name) for name in ("more", "fewer", "other"))
    assert more["train/000000.jpg"] == fewer["train/000000.jpg"]
    assert more["val/000001.jpg"] == fewer["val/000001.jpg"]
    assert more["train/000000.jpg"] != more["val/000000.jpg"]
    assert more["train/000000.jpg"] != other["train/000000.jpg"]


def test_label_files_say_what_the_pages_hold(tmp_path: Path) -> None:
    synth.generate(tmp_path / "set", **SMALL)
    fonts = load_fonts()
    for part in ("train", "val"):
        for i, sample in enumerate(read_label_file(tmp_path / "set" / f"{part}.txt", tmp_path / "set")):
            page = synth.sample_page(part, i, size=(160, 192), seed=2026, fonts=fonts)
            assert sample.texts == page.texts
            np.testing.assert_array_equal(sample.ignore, page.ignore)
            np.testing.assert_allclose(np.stack(sample.polygons), page.polygons, atol=0.0501)


def test_polygons_are_convex_inside_the_image_and_apart(pages: list[Page]) -> None:
    for page in pages:
        shapes = [Polygon(polygon) for polygon in page.polygons]
        assert page.image.dtype == np.uint8 and page.image.shape == (384, 384, 3)
        assert page.polygons.min() >= 0 and page.polygons.max() <= 383
        for i, shape in enumerate(shapes):
            assert shape.is_valid and shape.area > 20 and cv2.isContourConvex(page.polygons[i])
            assert all(shape.intersection(other).area < 1e-3 for other in shapes[:i])


def test_all_ink_lies_within_polygons(pages: list[Page]) -> None:
    for page in pages:
        ys, xs = np.nonzero(page.ink > 0.5)
        for x, y in zip(xs[::7].tolist(), ys[::7].tolist(), strict=True):
            distance = max(cv2.pointPolygonTest(polygon, (x, y), True) for polygon in page.polygons)
            assert distance >= 0, (x, y)


def upright(values: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """What lies under a quadrilateral, warped to a rectangle of its size."""
    w, h = (round(float(np.linalg.norm(polygon[0] - polygon[i]))) for i in (1, 3))
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
    return cv2.warpPerspective(values, cv2.getPerspectiveTransform(polygon, corners), (w, h))


def test_polygons_are_tight_around_the_glyphs(pages: list[Page]) -> None:
    for page in pages:
        for polygon, ignore in zip(page.polygons, page.ignore, strict=True):
            if not ignore:
                ink = upright(page.ink, polygon) > 0.15
                for profile in (ink.any(axis=0), ink.any(axis=1)):
                    touched = np.flatnonzero(profile)
                    assert touched[0] <= 4 and len(profile) - 1 - touched[-1] <= 4


def test_readable_text_stands_out_from_what_surrounds_it(pages: list[Page]) -> None:
    for page in pages:
        for polygon, ignore in zip(page.polygons, page.ignore, strict=True):
            if not ignore:
                ink, pixels = upright(page.ink, polygon), upright(page.image.astype(np.float32), polygon)
                written = pixels[ink > ink.max() * 0.8].mean(axis=0)
                blank = pixels[ink < 0.02].mean(axis=0)
                assert np.abs(written - blank).max() > 12


def test_the_task_is_moderately_easy_and_varied(pages: list[Page]) -> None:
    readable = np.concatenate([page.polygons[~page.ignore] for page in pages])
    heights = np.linalg.norm(readable[:, 3] - readable[:, 0], axis=1)
    assert np.mean((heights >= 14) & (heights <= 40)) > 0.75
    counts = [len(page.polygons) for page in pages]
    assert 5 <= np.mean(counts) <= 10 and max(counts) <= 12
    ignored = np.mean(np.concatenate([page.ignore for page in pages]))
    assert 0.02 < ignored < 0.25
    brightness = [page.image.mean() for page in pages]
    assert min(brightness) < 90 and max(brightness) > 180


def test_dont_care_is_marked_in_the_transcription(pages: list[Page]) -> None:
    for page in pages:
        assert [text == "###" for text in page.texts] == page.ignore.tolist()
        assert all(text.strip() for text in page.texts)


def test_receipt_rows_have_an_item_and_an_amount() -> None:
    rows = synth_text.receipt(np.random.default_rng(0), 5)
    assert len(rows) == 5
    assert all(len(row) == 2 and row[1][-3] == "." and row[1][-2:].isdecimal() for row in rows)


def test_shipped_fonts_draw_every_letter_and_digit() -> None:
    fonts = load_fonts()
    assert len(fonts) >= 15
    for font in fonts:
        assert font.characters >= set(LATIN)


def test_characters_that_a_font_lacks_are_left_out() -> None:
    font = load_fonts()[0]
    ink, _, drawn = font.ink(20, "a\uffffb")
    assert drawn == "ab"
    np.testing.assert_array_equal(ink, font.ink(20, "ab")[0])


def test_own_fonts_are_used_and_recorded(tmp_path: Path) -> None:
    (tmp_path / "fonts").mkdir()
    shutil.copy(shipped_fonts() / "cmtt10.ttf", tmp_path / "fonts" / "mine.TTF")
    synth.generate(tmp_path / "set", **SMALL, fonts=tmp_path / "fonts")
    assert list(json.loads((tmp_path / "set" / "dataset.json").read_text())["fonts"]) == ["mine.TTF"]


@pytest.mark.parametrize("symbols", ["STIXSizOneSymReg.ttf", "LastResortHE-Regular.ttf", "DejaVuSansDisplay.ttf"])
def test_a_font_without_latin_letters_is_named(tmp_path: Path, symbols: str) -> None:
    shutil.copy(shipped_fonts() / symbols, tmp_path / "odd.ttf")
    with pytest.raises(DataError, match=r"odd\.ttf: does not draw the Latin letters"):
        load_fonts(tmp_path)


def test_a_file_that_is_no_font_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.otf").write_text("not a font")
    with pytest.raises(DataError, match=r"broken\.otf: cannot be opened as a font"):
        load_fonts(tmp_path)


def test_a_font_folder_must_exist_and_hold_fonts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load_fonts(tmp_path / "absent")
    with pytest.raises(DataError, match=r"holds no \.ttf or \.otf"):
        load_fonts(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": 0}, "at least 1"),
        ({"size": (64, 384)}, "at least 96"),
        ({"size": (96, 70000)}, "at most 65500"),
        ({"size": (20000, 6000)}, "100 mega"),
        ({"seed": -1}, "seed must be 0 or more"),
    ],
)
def test_parameters_out_of_range(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        synth.generate(tmp_path / "set", **{**SMALL, **change})
    assert not (tmp_path / "set").exists()


def test_ensure_makes_a_set_once(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    assert synth.ensure(tmp_path / "set", **SMALL, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i, 5) for i in range(1, 6)]
    before = contents(tmp_path / "set")
    assert not synth.ensure(tmp_path / "set", **SMALL)
    assert contents(tmp_path / "set") == before


def test_ensure_replaces_a_set_with_other_parameters_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    synth.ensure(tmp_path / "set", **SMALL, seed=1)
    assert not caplog.messages
    assert synth.ensure(tmp_path / "set", **SMALL, seed=2)  # the process that read the former asks for this one
    assert "holds the synthetic set of seed 1 and is made anew with seed 2; a run that" in caplog.text
    synth.generate(tmp_path / "fresh", **SMALL, seed=2)
    assert contents(tmp_path / "set") == contents(tmp_path / "fresh")


@pytest.mark.parametrize("lost", ["val/000001.jpg", "train.txt"])
def test_ensure_repairs_a_damaged_set(tmp_path: Path, lost: str) -> None:
    synth.ensure(tmp_path / "set", **SMALL)
    whole = contents(tmp_path / "set")
    (tmp_path / "set" / lost).unlink()
    assert synth.ensure(tmp_path / "set", **SMALL)
    assert contents(tmp_path / "set") == whole


def interrupt(done: int, total: int) -> None:
    if done == 4:
        raise KeyboardInterrupt


def test_an_interrupt_leaves_nothing_half_made(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        synth.generate(tmp_path / "set", **SMALL, progress=interrupt)
    assert not (tmp_path / "set").exists()
    assert not list(tmp_path.glob(".set.making-*"))


def test_an_interrupt_keeps_the_set_made_before(tmp_path: Path) -> None:
    synth.ensure(tmp_path / "set", **SMALL, seed=1)
    before = contents(tmp_path / "set")
    with pytest.raises(KeyboardInterrupt):
        synth.ensure(tmp_path / "set", **SMALL, seed=2, progress=interrupt)
    assert contents(tmp_path / "set") == before
    assert not synth.ensure(tmp_path / "set", **SMALL, seed=1)


KILLED = """
import os, signal, sys
from ppocr_data import synth
def die(done, total):
    if done == 4:
        os.kill(os.getpid(), signal.SIGKILL)
synth.ensure(sys.argv[1], train=3, val=2, size=(160, 192), progress=die)
"""


def test_a_killed_generator_is_cleared_away_by_the_next(tmp_path: Path, repository: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "set")], env=environment, check=False)
    assert killed.returncode < 0
    assert len(list(tmp_path.glob(".set.making-*"))) == 1 and not (tmp_path / "set").exists()
    assert synth.ensure(tmp_path / "set", **SMALL)
    assert not list(tmp_path.glob(".set.making-*"))


TWICE = """
import sys
from ppocr_data import synth
print(synth.ensure(sys.argv[1], train=6, val=2, size=(160, 192)))
"""


def test_processes_that_start_at_once_share_one_set(tmp_path: Path, repository: Path) -> None:
    pytest.importorskip("fcntl", reason="without file locks each process generates")
    command = [sys.executable, "-c", TWICE, str(tmp_path / "set")]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = sorted(process.communicate()[0].strip() for process in running)
    assert answers == ["False", "False", "True"]
    synth.generate(tmp_path / "alone", train=6, val=2, size=(160, 192))
    assert contents(tmp_path / "set") == contents(tmp_path / "alone")


READS = """
import sys
from ppocr_data import synth
synth.ensure(sys.argv[1], train=3, val=2, size=(160, 192))
print("reads", flush=True)
sys.stdin.read()
"""


def test_a_set_that_another_process_reads_is_not_replaced_by_another(tmp_path: Path, repository: Path) -> None:
    """A training has its labels in memory, and takes images by their names."""
    pytest.importorskip("fcntl", reason="without file locks nobody knows of readers")
    command = [sys.executable, "-c", READS, str(tmp_path / "set")]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as reader:
        assert reader.stdout.readline() == "reads\n"
        before = contents(tmp_path / "set")
        assert not synth.ensure(tmp_path / "set", **SMALL)  # the same set is shared
        for replace in (synth.ensure, synth.generate):
            with pytest.raises(DataError, match="another process reads this set"):
                replace(tmp_path / "set", **SMALL, seed=9)
            assert contents(tmp_path / "set") == before
        reader.stdin.close()
    assert synth.ensure(tmp_path / "set", **SMALL, seed=9)


def test_what_a_link_names_is_filled(tmp_path: Path) -> None:
    """The large disk, say: the link stays one."""
    (tmp_path / "large").mkdir()
    (tmp_path / "set").symlink_to(tmp_path / "large", target_is_directory=True)
    synth.generate(tmp_path / "set", **SMALL)
    assert (tmp_path / "set").is_symlink()
    assert (tmp_path / "large" / "dataset.json").is_file()


@pytest.mark.parametrize("name", ["holiday.jpg", "train.txt"])
def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(DataError, match="holds something else than a synthetic set"):
        synth.ensure(tmp_path, **SMALL)
    assert contents(tmp_path) == {name: b"mine"}


def test_own_files_beside_a_set_are_not_lost(tmp_path: Path) -> None:
    synth.ensure(tmp_path / "set", **SMALL)
    (tmp_path / "set" / "notes.md").write_text("mine")
    with pytest.raises(DataError, match=r"holds notes\.md, which is not of the synthetic set"):
        synth.ensure(tmp_path / "set", **SMALL, seed=3)
    assert (tmp_path / "set" / "notes.md").read_text() == "mine"


def test_own_pictures_and_labels_within_a_set_are_not_lost(tmp_path: Path) -> None:
    """Somebody labels a photo of his own in the quick start's folder, and starts the next training."""
    synth.ensure(tmp_path / "set", **SMALL)
    (tmp_path / "set" / "train" / "mine.jpg").write_bytes((tmp_path / "set" / "train" / "000000.jpg").read_bytes())
    before = contents(tmp_path / "set")
    assert not synth.ensure(tmp_path / "set", **SMALL)  # the set itself is whole
    with pytest.raises(DataError, match=r"holds train/mine\.jpg, which is not of the synthetic set"):
        synth.ensure(tmp_path / "set", **SMALL, seed=3)
    with (tmp_path / "set" / "train.txt").open("a") as file:
        file.write("train/mine.jpg\t[]\n")
    with pytest.raises(DataError, match=r"has a train\.txt that was changed .*name a new or an empty folder"):
        synth.ensure(tmp_path / "set", **SMALL)
    assert contents(tmp_path / "set") == {**before, "train.txt": before["train.txt"] + b"train/mine.jpg\t[]\n"}


def test_a_place_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        synth.generate(tmp_path / "file" / "set", **SMALL)


def test_a_blurred_texts_box_grows_with_its_blur() -> None:
    alpha, boxes = np.zeros((60, 80), np.uint8), np.array([[20, 20, 60, 40]], np.float32)
    for flaw, least, most in (("blurred", MARGIN + 0.16 * 20, MARGIN + 0.24 * 20), ("", MARGIN, MARGIN)):
        block = _finish(np.random.default_rng(0), alpha, boxes, ["###"], 20, flaw)
        grown = np.abs(block.boxes - boxes)[0]
        assert least - 1e-3 <= grown.min() and grown.max() <= most + 1e-3
