"""Inference: files in, results.txt and pictures out; what cannot be read is named and the rest is done."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx_models
import pytest

import ocr_cml
from ocr_cml.infer import (
    TextDetector,
    detect_files,
    draw,
    find_images,
    further_pages,
    left_out,
    load_detector,
    read_image,
    without_settings,
)
from ocr_cml.pictures import save_picture
from ocr_cml.postprocess import DBPostProcess
from ppocr_data.errors import DataError, ModelError
from ppocr_data.labels import read_label_file
from ppocr_data.transforms import DetResizeForTest


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a detector of dark bars."""
    folder = tmp_path_factory.mktemp("model")
    onnx_models.dark_detector(folder / "inference.onnx")
    (folder / "inference.yml").write_text(
        "Global: {model_name: PP-OCRv4_mobile_det}\n"
        "PreProcess:\n  transform_ops:\n  - DecodeImage: {channel_first: false, img_mode: BGR}\n"
        "  - DetResizeForTest: {limit_side_len: 128, limit_type: max, resize_long: 128}\n"
        "PostProcess: {name: DBPostProcess, thresh: 0.5, box_thresh: 0.6, unclip_ratio: 1.2}\n"
    )
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten pages of two sizes, and something that is no image."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(1, 11):
        cv2.imwrite(str(folder / f"img_{number}.png"), onnx_models.page(96, 160 if number % 3 else 96, 2, number))
    (folder / "notes.txt").write_text("no image")
    return folder


def run_tool(repository: Path, **arguments: object) -> subprocess.CompletedProcess[str]:
    """`tools/infer_det.py` as a user calls it; it sets up threads, so it needs a process of its own."""
    options = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, str(repository / "tools" / "infer_det.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def results(folder: Path) -> list[tuple[str, list[dict]]]:
    lines = (folder / "results.txt").read_text(encoding="utf-8").splitlines()
    return [(path, json.loads(found)) for path, found in (line.split("\t") for line in lines)]


def test_settings_come_from_the_folder(model: Path) -> None:
    detector = load_detector(model)
    assert detector.resize == DetResizeForTest(limit_side_len=128, limit_type="max")
    assert detector.postprocess == DBPostProcess(thresh=0.5, box_thresh=0.6, unclip_ratio=1.2)
    assert ocr_cml.load_detector is load_detector


def test_bars_are_found_where_they_are(model: Path) -> None:
    image = np.full((128, 256, 3), 240, np.uint8)
    image[20:60, 40:200] = 10
    found = load_detector(model)(image)
    (polygon,) = found.polygons
    # Scaled by a half the bar's outline is 79 x 19 and grows by 79 * 19 * 1.2 / 196 = 9.2 pixels, 18.4 of the image.
    expected = np.array([[40 - 18.4, 20 - 18.4], [198 + 18.4, 1.6], [216.4, 58 + 18.4], [21.6, 76.4]])
    assert np.abs(polygon - expected).max() <= 4
    assert found.scores[0] > 0.9


def test_a_path_an_array_and_a_batch_agree(model: Path, photos: Path) -> None:
    detector = load_detector(model)
    paths = [photos / "img_1.png", photos / "img_2.png"]
    images = [read_image(path) for path in paths]
    for path, image, found in zip(paths, images, detector.batch(images), strict=True):
        for other in (detector(path), detector(str(path)), detector(image)):
            np.testing.assert_array_equal(other.polygons, found.polygons)
            assert other.scores == pytest.approx(found.scores, abs=1e-6)
    assert len(detector(images[0]).polygons) == 2


def test_grey_and_transparent_arrays_are_images_too(model: Path) -> None:
    detector = load_detector(model)
    grey = onnx_models.page()[..., 0]
    expected = detector(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)).polygons
    assert len(expected) == 3
    np.testing.assert_array_equal(detector(grey).polygons, expected)
    np.testing.assert_array_equal(detector(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGRA)).polygons, expected)


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 2), np.uint8)])
def test_an_array_that_is_no_image_is_refused(model: Path, image: np.ndarray) -> None:
    with pytest.raises(DataError, match="an image must"):
        load_detector(model)(image)


def test_a_folder_is_read_in_natural_order(photos: Path) -> None:
    (photos / "IMG_3b.JPG").write_bytes(b"")
    (photos / "12.png").write_bytes(b"")
    (photos / "sub.png").mkdir()
    names = [path.name for path in find_images(photos)]
    middle = ["img_3.png", "IMG_3b.JPG"]
    assert names == ["12.png", "img_1.png", "img_2.png", *middle, *(f"img_{n}.png" for n in range(4, 11))]
    assert find_images(photos / "img_1.png") == [photos / "img_1.png"]


def test_nothing_to_look_at_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no image"):
        find_images(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        find_images(tmp_path / "nowhere")


@pytest.mark.parametrize("batch_size", [1, 4])
def test_every_image_gets_a_line_and_a_picture(model: Path, photos: Path, tmp_path: Path, batch_size: int) -> None:
    detector, output = load_detector(model), tmp_path / "a" / "found"
    paths = find_images(photos)
    summary = detect_files(detector, paths, output, batch_size)
    lines = results(output)
    assert [path for path, _ in lines] == [str(path) for path in paths]
    assert (summary.images, summary.boxes, summary.failures) == (10, 20, [])
    for path, found in lines:
        expected = detector(path)
        assert [entry["points"] for entry in found] == [polygon.tolist() for polygon in expected.polygons]
        assert [entry["score"] for entry in found] == pytest.approx(expected.scores, abs=1e-6)
        picture = cv2.imread(str(output / Path(path).name))
        np.testing.assert_array_equal(picture, draw(read_image(Path(path)), expected.polygons))


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_a_stream_answers_as_single_calls_do(model: Path, photos: Path, batch_size: int) -> None:
    """Reading, network and post-process overlap; batches end where the size changes."""
    detector, paths = load_detector(model), find_images(photos)
    streamed = list(detector.stream(iter(paths), batch_size))
    assert [path for path, _ in streamed] == paths
    for path, found in streamed:
        expected = detector(path)
        assert [polygon.tolist() for polygon in found.polygons] == [polygon.tolist() for polygon in expected.polygons]
        assert found.scores == pytest.approx(expected.scores, abs=1e-6)
    assert list(detector.stream([], batch_size)) == []


def test_a_stream_stops_at_a_file_that_is_no_image(model: Path, photos: Path) -> None:
    (photos / "img_4.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"img_4\.png"):
        list(load_detector(model).stream(find_images(photos), 2))


def test_images_that_cannot_be_read_are_named_and_the_others_done(
    model: Path, photos: Path, tmp_path: Path, repository: Path
) -> None:
    whole = (photos / "img_2.png").read_bytes()
    (photos / "img_2.png").write_bytes(whole[: len(whole) // 2])
    (photos / "img_5.png").write_bytes(b"")
    done = run_tool(repository, model_dir=model, image=photos, output=tmp_path / "found", engine="onnx")
    assert done.returncode == 2
    assert "img_2.png: the file is truncated" in done.stderr and "img_5.png: the file is empty" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("8 images, 16 boxes, 2 failed")
    names = [Path(path).name for path, _ in results(tmp_path / "found")]
    assert names == [f"img_{number}.png" for number in (1, 3, 4, 6, 7, 8, 9, 10)]


def test_the_tool_does_one_file_and_refuses_a_folder_without_a_model(
    model: Path, photos: Path, tmp_path: Path, repository: Path
) -> None:
    image = photos / "img_4.png"
    done = run_tool(repository, model_dir=model, image=image, output=tmp_path / "one")
    assert (done.returncode, [path for path, _ in results(tmp_path / "one")]) == (0, [str(image)])
    refused = run_tool(repository, model_dir=photos, image=image, output=tmp_path / "two")
    assert refused.returncode == 2 and not (tmp_path / "two").exists()
    assert "inference.pdiparams missing" in refused.stderr and "Traceback" not in refused.stderr


def test_its_results_are_labels_that_another_detector_may_be_scored_against(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    """The teacher's own boxes, where nobody has labelled anything."""
    paths = find_images(photos)
    detector = load_detector(model)
    detect_files(detector, paths, tmp_path / "out")
    samples = read_label_file(tmp_path / "out" / "results.txt", tmp_path, allow_outside=True)
    assert [sample.image for sample in samples] == paths
    for sample in samples:
        found = detector(sample.image)
        assert len(sample.polygons) == len(found.polygons)
        for polygon, again in zip(sample.polygons, found.polygons, strict=True):
            np.testing.assert_allclose(polygon, again, atol=0.01)
        assert not sample.ignore.any()
    assert sum(len(sample.polygons) for sample in samples) > 0


def test_the_given_images_are_never_overwritten(model: Path, photos: Path) -> None:
    before = (photos / "img_1.png").read_bytes()
    with pytest.raises(DataError, match="would overwrite"):
        detect_files(load_detector(model), find_images(photos), photos)
    assert (photos / "img_1.png").read_bytes() == before


def test_images_behind_links_are_not_overwritten(model: Path, photos: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / "a.png").symlink_to(photos / "img_1.png")
    before = (photos / "img_1.png").read_bytes()
    out = tmp_path / "out"
    out.mkdir()
    (out / "img_1.png").symlink_to(photos / "img_1.png")
    with pytest.raises(DataError, match="would overwrite"):
        detect_files(load_detector(model), find_images(photos), out)
    for output in (links, photos):
        with pytest.raises(DataError, match="would overwrite"):
            detect_files(load_detector(model), find_images(links), output)
    assert (photos / "img_1.png").read_bytes() == before


@pytest.mark.parametrize("name", ["scan.jfif", "scan", "scan.pjpeg", "scan.txt"])
def test_a_picture_of_a_file_of_any_name(name: str, model: Path, photos: Path, tmp_path: Path) -> None:
    """A browser on Windows saves JPEG files as .jfif."""
    image = (photos / "img_1.png").rename(tmp_path / name)
    summary = detect_files(load_detector(model), [image], tmp_path / "out")
    assert (summary.images, summary.failures) == (1, [])
    assert cv2.imread(str(tmp_path / "out" / f"{name}.png")).shape == (96, 160, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text there")
def test_a_picture_of_a_file_whose_name_is_not_utf8(model: Path, photos: Path, tmp_path: Path) -> None:
    image = (photos / "img_1.png").rename(tmp_path / os.fsdecode(b"caf\xe9.png"))
    assert detect_files(load_detector(model), [image], tmp_path / "out").images == 1
    assert (tmp_path / "out" / image.name).is_file()


def test_a_suffix_without_a_format_is_an_error(tmp_path: Path) -> None:
    for name in ("a.nothing", "a"):
        with pytest.raises(DataError, match="OpenCV cannot write"):
            save_picture(tmp_path / name, np.zeros((8, 8, 3), np.uint8))


def test_drawing_leaves_the_image_alone() -> None:
    image = np.zeros((50, 50, 3), np.uint8)
    picture = draw(image, [np.array([[10, 10], [40, 10], [40, 30], [10, 30]])])
    assert not image.any()
    assert picture[10, 25, 1] > 100 and not picture[20, 25].any() and not picture[45, 45].any()


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no model"):
        load_detector(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["paddle", "onnx"])
def test_the_official_model_finds_what_the_runtimes_processing_finds(shared: Path, engine: str) -> None:
    """paddlex's own resizing, normalising and post-processing around the same network."""
    processors = pytest.importorskip("paddlex.inference.models.text_detection.processors")
    resize, post = DetResizeForTest(limit_side_len=960, limit_type="max"), DBPostProcess()
    network = load_detector(shared / "models/ch_PP-OCRv3_det_infer", engine).network
    detector = TextDetector(network, resize, post)
    folder = shared / "data/icdar2015/ch4_training_images"
    boxes = 0
    for number in range(901, 907):
        image = cv2.imread(str(folder / f"img_{number}.jpg"))
        pixels, shapes = processors.DetResizeForTest(limit_side_len=960, limit_type="max")([image])
        np.testing.assert_array_equal(pixels[0], resize.resize(image))
        reference = processors.DBPostProcess(**post.model_dump(exclude={"name"}))
        (expected,), (scores,) = reference([network.probability(pixels[0][None])[:, None]], shapes)
        found = detector(image)
        assert found.scores == scores
        assert [polygon.tolist() for polygon in found.polygons] == expected.tolist()
        boxes += len(scores)
    assert boxes > 10


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("img_2.png", b"somebody's own\n"),
        *(("results.txt", c) for c in (b"their own\n", b"[1, 2]\n", b"a.jpg\t{}\n", b"hmean .87, ask Li first")),
        *(("results.txt", c) for c in (b"a.jpg\t[]\nand a word more", b"a.jpg\t[1]\n", b"")),
        (
            "results.txt",
            b'a.jpg\t[{"transcription": "put right", "points": [[0, 0], [9, 0], [9, 9], [0, 9]]}]\n',
        ),
        ("results.txt.part", b"their own, unfinished"),
    ],
)
def test_what_this_tool_did_not_write_is_not_replaced(
    name: str, content: bytes, model: Path, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "found"
    output.mkdir()
    (output / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: is there and was not written by this tool; choose another --output"):
        detect_files(load_detector(model), find_images(photos), output)
    assert [(file.name, file.read_bytes()) for file in output.iterdir()] == [(name, content)]


def test_a_file_of_no_call_is_not_replaced_beside_the_results_of_one(model: Path, photos: Path, tmp_path: Path) -> None:
    detector, output = load_detector(model), tmp_path / "found"
    detect_files(detector, [photos / "img_1.png"], output)
    (output / "img_2.png").write_bytes(b"somebody's own\n")
    with pytest.raises(DataError, match=r"img_2\.png: is there and was not written by this tool"):
        detect_files(detector, [photos / "img_1.png", photos / "img_2.png"], output)
    assert (output / "img_2.png").read_bytes() == b"somebody's own\n"


def test_a_progress_that_cannot_be_shown_is_no_fault_of_the_folder(model: Path, photos: Path, tmp_path: Path) -> None:
    def gone(_items: Iterable[object]) -> Iterable[Any]:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        detect_files(load_detector(model), find_images(photos), tmp_path / "found", progress=gone)


def pages(path: Path, count: int, bits: str = "<") -> Path:
    """A TIFF of empty pages, one entry each, by the format's own rule (TIFF 6.0, section 2)."""
    data = (b"II" if bits == "<" else b"MM") + struct.pack(f"{bits}HI", 42, 8)
    for page in range(count):
        following = len(data) + 18 if page + 1 < count else 0
        data += struct.pack(f"{bits}HHHIII", 1, 256, 4, 1, 32, following)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("bits", ["<", ">"])
def test_pages_that_are_not_read_are_said(bits: str, photos: Path, tmp_path: Path) -> None:
    one, several = pages(tmp_path / "one.tif", 1, bits), pages(tmp_path / "fax.TIFF", 3, bits)
    (tmp_path / "cut.tif").write_bytes(several.read_bytes()[:12])
    assert further_pages([photos / "img_1.png", one, tmp_path / "cut.tif", tmp_path / "gone.tif"]) == ""
    text = "of several pages the first is read; save each as an image to have all"
    assert further_pages([one, several]) == f"{several}: {text}"
    assert further_pages([several, one, pages(tmp_path / "b.tif", 2)]) == f"{several} and 1 more: {text}"


def test_pages_as_opencv_writes_them(tmp_path: Path) -> None:
    page = np.zeros((32, 32, 3), np.uint8)
    for name, count in (("one.tif", 1), ("three.tif", 3)):
        assert cv2.imwritemulti(str(tmp_path / name), [page] * count)
        assert bool(further_pages([tmp_path / name])) == (count > 1)


def test_a_batch_is_of_one_size(model: Path) -> None:
    detector = load_detector(model)
    small, large = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 256, 3), np.uint8)
    assert detector.batch([]) == []
    assert len(detector.batch([small, small])) == 2
    with pytest.raises(DataError, match="images of a batch have several sizes after resizing"):
        detector.batch([small, large])


@pytest.mark.parametrize("killed", [False, True])
def test_what_an_earlier_call_wrote_is(killed: bool, model: Path, photos: Path, tmp_path: Path) -> None:
    detector, output = load_detector(model), tmp_path / "found"
    detect_files(detector, find_images(photos), output)
    whole = (output / "results.txt").read_bytes()
    if killed:  # in the middle of a line
        (output / "results.txt").rename(output / "results.txt.part")
        (output / "results.txt.part").write_bytes(whole[:-30])
    detect_files(detector, find_images(photos), output)
    assert (output / "results.txt").read_bytes() == whole


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, "got NoneType (cv2.imread answers so for a file that it cannot read)"),
        (["a.png"], "got list"),
        (3, "got int"),
    ],
)
def test_what_is_no_image_at_all(given: Any, text: str, model: Path) -> None:
    with pytest.raises(DataError, match=re.escape(text)):
        load_detector(model)(given)


def test_two_images_of_one_name_are_refused(model: Path, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(photos / "img_1.png", other / "img_1.png")
    with pytest.raises(DataError, match=r"photos/img_1\.png and .*other/img_1\.png have one name, and so would"):
        detect_files(load_detector(model), [photos / "img_1.png", other / "img_1.png"], tmp_path / "found")
    assert not (tmp_path / "found").exists()


@pytest.mark.parametrize("results", ["results.txt", "results.txt.part"])
def test_pictures_of_an_earlier_call_go_and_others_stay(
    results: str, model: Path, photos: Path, tmp_path: Path
) -> None:
    found, detector = tmp_path / "found", load_detector(model)
    detect_files(detector, [photos / "img_1.png", photos / "img_2.png"], found)
    (found / "results.txt").rename(found / results)  # as a kill leaves them
    (found / "notes.png").write_bytes(b"mine")
    detect_files(detector, [photos / "img_2.png", photos / "img_3.png"], found)
    assert {path.name for path in found.iterdir()} == {"results.txt", "notes.png", "img_2.png", "img_3.png"}
    assert len(read_label_file(found / "results.txt", photos, allow_outside=True)) == 2


def test_a_model_without_its_settings_says_how_it_is_read(model: Path, photos: Path, tmp_path: Path) -> None:
    assert without_settings(model) == without_settings(tmp_path / "absent") == ""
    bare = shutil.copytree(model, tmp_path / "bare")
    (bare / "inference.yml").unlink()
    assert without_settings(bare).startswith(f"{bare}: has no inference.yml beside it, so images are resized by limit_")
    assert "limit_side_len 736, limit_type min, and maps are read with thresh 0.3, box_t" in without_settings(bare)


def test_a_name_that_no_line_can_hold_fails_alone(model: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "img_1.png").rename(photos / "img\t1.png")
    summary = detect_files(load_detector(model), find_images(photos), tmp_path / "found")
    assert (summary.images, len(summary.failures)) == (9, 1)
    assert "cannot hold a name with a tab or a line end; rename the image" in summary.failures[0]
    assert len(read_label_file(tmp_path / "found/results.txt", photos)) == 9


def test_hidden_files_are_no_images_and_a_folder_of_folders_says_so(photos: Path, tmp_path: Path) -> None:
    before = find_images(photos)
    (photos / "._img_1.png").write_bytes(b"what macOS leaves on foreign disks")
    assert find_images(photos) == before
    (tmp_path / "outer").mkdir()
    photos.rename(tmp_path / "outer/photos")
    with pytest.raises(DataError, match=r"holds no image \(.*\); left out 1 subfolder"):
        find_images(tmp_path / "outer")


def test_a_call_that_reads_nothing_leaves_what_an_earlier_one_found(model: Path, photos: Path, tmp_path: Path) -> None:
    detector, output = load_detector(model), tmp_path / "found"
    detect_files(detector, find_images(photos), output)
    before = (output / "results.txt").read_bytes()
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    summary = detect_files(detector, [broken], output)
    assert (summary.images, len(summary.failures)) == (0, 1)
    assert (output / "results.txt").read_bytes() == before
    assert not (output / "results.txt.part").exists()


def test_what_of_a_folder_is_left_out_is_said(photos: Path) -> None:
    assert left_out(photos) == f"{photos}: left out 1 file of other kinds (.txt)"
    (photos / "sub").mkdir()
    (photos / "a.gif").touch()
    assert left_out(photos).endswith("left out 2 files of other kinds (.gif, .txt) and 1 subfolder")
    assert left_out(photos / "img_1.png") == ""
    (photos / "notes.txt").unlink()
    assert left_out(photos / "sub") == ""
    (photos / "b.jpg").symlink_to(photos / "moved away.jpg")
    assert left_out(photos).endswith(" and 1 subfolder and 1 link to what is not there")
