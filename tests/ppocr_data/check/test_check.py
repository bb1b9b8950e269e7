"""Checking whole label files, with real images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ppocr_data.check import check
from ppocr_data.check.findings import KINDS
from ppocr_data.check.report import CheckReport, refuse_foreign, summary, write_json
from ppocr_data.check.sheets import draw_sheets
from ppocr_data.convert import Source, convert
from ppocr_data.convert.split import by_number
from ppocr_data.errors import DataError

WORD = [[20, 30], [80, 30], [80, 50], [20, 50]]


def entry(text: str = "WORD", points: Any = WORD) -> dict[str, Any]:
    return {"transcription": text, "points": points}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Noise images a, b, c (120x80), d a copy of a, white, cream, large, small, broken (cut off)."""
    random = np.random.default_rng(0)
    for name in "abc":
        cv2.imwrite(str(tmp_path / f"{name}.png"), random.integers(0, 256, (80, 120, 3), np.uint8))
    (tmp_path / "d.png").write_bytes((tmp_path / "a.png").read_bytes())
    cv2.imwrite(str(tmp_path / "white.png"), np.full((80, 120, 3), 250, np.uint8))
    cv2.imwrite(str(tmp_path / "cream.png"), np.full((80, 120, 3), (200, 230, 250), np.uint8))
    cv2.imwrite(str(tmp_path / "large.png"), random.integers(0, 256, (400, 500, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "small.png"), random.integers(0, 256, (12, 24, 3), np.uint8))
    (tmp_path / "broken.png").write_bytes((tmp_path / "b.png").read_bytes()[:500])
    return tmp_path


def labels(folder: Path, *lines: str, name: str = "train.txt") -> Path:
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder / name


def line(image: str, *entries: dict[str, Any]) -> str:
    return f"{image}\t{json.dumps(entries)}"


def found(report: CheckReport) -> list[tuple[str, int, int | None]]:
    """Kind, line and text of each finding."""
    return [(f.kind, int(f.source.rpartition(":")[2]), f.text) for f in report.findings]


def test_clean_labels(folder: Path) -> None:
    report = check(
        [labels(folder, line("a.png", entry()), line("b.png", entry(), entry("###", [*WORD[:3], [19, 70]])))], [folder]
    )
    assert report.findings == () and report.broken == 0 and report.counts == {}
    assert (report.images, report.texts, report.ignored) == (2, 3, 1)
    assert summary(report).endswith("Nothing suspicious was found.")


def test_what_a_training_would_refuse(folder: Path) -> None:
    crossing, flat = [[20, 30], [80, 50], [80, 30], [20, 50]], [[0, 0], [9, 0], [5, 0], [1, 0]]
    path = labels(
        folder,
        "no tab",
        line("absent.png", entry()),
        line("broken.png", entry()),
        line(
            "a.png",
            entry("flat", flat),
            entry("x): no such image", crossing),
            entry("far", [[300, 1], [340, 1], [340, 9], [300, 9]]),
            entry("hull", WORD),  # of the crossing one, and no duplicate of it
        ),
        line("b.png", entry("x", [[1, 2], [3]])),
        line("c.png", entry("x", [[1, 2], [30, 4], [5, 60]])),
    )
    report = check([path], [folder])
    assert found(report) == [
        ("bad-line", 1, None),
        ("bad-line", 5, 1),
        ("bad-line", 6, 1),
        ("missing", 2, None),
        ("unreadable", 3, None),
        ("crossing", 4, 2),
        ("no-area", 4, 1),
        ("outside", 4, 3),
        ("no-text", 6, None),
    ]
    assert report.broken == 7
    by_kind = {finding.kind: finding for finding in report.findings}
    assert by_kind["crossing"].points is not None and by_kind["crossing"].points.tolist() == crossing
    assert (
        by_kind["crossing"].word == "x): no such image"
        and by_kind["no-area"].word == "flat"
        and by_kind["outside"].word == "far"
    )
    assert by_kind["unreadable"].reason == "the file is truncated; copy it again"
    assert all(f.reason and not f.reason.startswith("text ") for f in report.findings)


def test_what_is_wrong_with_whole_images(folder: Path) -> None:
    path = labels(
        folder,
        line("a.png", entry()),
        line("b.png"),
        line("c.png", entry("###")),
        line("white.png", entry()),
        line("large.png", entry()),
        line("a.png", entry()),
        line("d.png", entry()),
        line("small.png", entry("word", [[1, 1], [20, 1], [20, 8], [1, 8]])),
    )
    report = check([path], [folder])
    assert found(report) == [
        ("repeated", 6, None),
        ("repeated", 7, None),
        ("blank", 4, None),
        ("no-text", 2, None),
        ("no-text", 3, None),
        ("odd-size", 5, None),
        ("odd-size", 8, None),
    ]
    assert report.broken == 0
    assert report.findings[0].reason == f"the same image, labelled before at {path}:1"
    assert report.findings[1].reason == f"the same picture as {folder / 'a.png'}, labelled before at {path}:1"
    assert report.findings[-2].reason == "500x400 pixels, where the longer side is 120 as a rule"


def test_a_page_of_one_colour_is_blank_whatever_the_colour(folder: Path) -> None:
    report = check([labels(folder, line("a.png", entry()), line("cream.png", entry()))], [folder])
    assert found(report) == [("blank", 2, None)]


def test_an_image_in_both_training_and_validation(folder: Path) -> None:
    train = labels(folder, line("a.png", entry()))
    (folder / "other").mkdir()
    (folder / "other" / "z.png").write_bytes((folder / "a.png").read_bytes())
    val = labels(folder, line("z.png", entry()), name="val.txt")
    (finding,) = check([train, val], [folder, folder / "other"]).findings
    assert finding.kind == "repeated" and finding.source == f"{val}:1" and f"{train}:1" in finding.reason


def test_a_picture_of_the_training_part_saved_anew_for_validation(folder: Path) -> None:
    coarse = np.random.default_rng(5).integers(0, 256, (9, 12, 3), np.uint8)
    cv2.imwrite(str(folder / "e.png"), cv2.resize(coarse, (120, 80)))
    cv2.imwrite(str(folder / "f.jpg"), cv2.resize(coarse, (120, 80)), [cv2.IMWRITE_JPEG_QUALITY, 60])
    train = labels(folder, line("a.png", entry()), line("e.png", entry()))
    val = labels(folder, line("b.png", entry()), line("f.jpg", entry()), name="val.txt")
    report = check([train, val], [folder])
    (finding,) = report.findings
    assert (finding.kind, finding.source, finding.other) == ("look-alike", f"{val}:2", folder / "e.png")
    assert finding.reason == f"looks nearly like e.png at {train}:2"
    assert check([labels(folder, line("e.png", entry()), line("f.jpg", entry()))], [folder]).findings == ()
    (sheet,) = draw_sheets(report, folder / "out")
    page = cv2.imread(str(sheet)).astype(int)[64 : 64 + 210, 12 : 12 + 300]
    left, right = page[57:153, 4:147], page[57:153, 154:297]  # 146x97 pixels each, side by side
    assert np.abs(left - right).mean() < 25 < np.abs(left - right[::-1]).mean()


def test_every_image_counts_as_progress(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = labels(folder, line("a.png", entry()), line("broken.png"), line("c.png", entry()))
    check([path], [folder], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_thresholds_and_folders(folder: Path) -> None:
    path = labels(folder, line("a.png", entry()), line("b.png", entry()))
    assert check([path], [folder], tiny=21).counts == {"tiny": 2}
    with pytest.raises(DataError, match="2 label files but 3 data folders"):
        check([path, path], [folder] * 3)
    with pytest.raises(DataError, match=r"nowhere\.txt"):
        check([folder / "nowhere.txt"], [folder])


def test_images_outside_of_their_folder(folder: Path) -> None:
    (folder / "inner").mkdir()
    path = labels(folder, line("../a.png", entry()))
    assert check([path], [folder / "inner"]).counts == {"bad-line": 1}
    assert check([path], [folder / "inner"], allow_outside=True).counts == {}


def test_the_summary_shows_some_of_each_kind(folder: Path) -> None:
    path = labels(folder, *[line(f"{name}.png", entry("up", WORD[::-1])) for name in "abc"])
    text = summary(check([path], [folder]), shown=2)
    assert f"3 images, 3 texts, 0 of them don't care, in {path}" in text
    assert "order: 3 suspicious; the points do not go clockwise" in text
    assert text.count("counter-clockwise") == 2 and "... and 1 more" in text
    assert text.endswith("3 findings; a training would accept all of them.")


def test_everything_for_programs(folder: Path, tmp_path: Path) -> None:
    path = labels(folder, line("a.png", entry("\u51fa\u53e3", WORD[::-1])), line("absent.png"))
    written = write_json(check([path], [folder]), tmp_path / "new" / "check.json")
    content = json.loads(written.read_text(encoding="utf-8"))
    assert content["counts"] == {"missing": 1, "order": 1} and content["broken"] == 1
    assert (content["images"], content["texts"], content["dont_care"]) == (1, 1, 0)
    assert content["label_files"] == [str(path)]
    missing, order = content["findings"]
    assert missing["image"] is None and missing["points"] is None and missing["severity"] == "broken"
    assert order == {
        "kind": "order",
        "severity": "suspicious",
        "source": f"{path}:1",
        "image": str(folder / "a.png"),
        "text": 1,
        "transcription": "\u51fa\u53e3",
        "other": None,
        "reason": "the points go counter-clockwise",
        "points": WORD[::-1],
    }
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_json(check([path], [folder]), tmp_path / "file" / "check.json")


def test_half_an_emoji_is_listed_as_json_escapes_it(folder: Path, tmp_path: Path) -> None:
    given = [{**entry("a\ud83d"), "points": [[20, 30], [80, 30], [80, 31], [20, 31]]}]
    report = check([labels(folder, f"a.png\t{json.dumps(given)}")], [folder])
    listed = write_json(report, tmp_path / "out" / "check.json").read_text(encoding="utf-8")
    assert json.loads(listed) == report.as_json()
    assert "a\\ud83d" in listed


# --- sheets -----------------------------------------------------------------------------------------------------------


def test_a_sheet_for_each_kind_and_no_stale_ones(folder: Path) -> None:
    path = labels(folder, "no tab", line("a.png", entry("up", WORD[::-1])), line("b.png"))
    report = check([path], [folder])
    sheets = draw_sheets(report, folder / "out")
    assert [sheet.name for sheet in sheets] == ["bad-line.jpg", "order.jpg", "no-text.jpg"]
    write_json(report, folder / "out" / "check.json")
    draw_sheets(check([labels(folder, line("b.png"))], [folder]), folder / "out")
    assert {sheet.name for sheet in (folder / "out").iterdir()} == {"no-text.jpg", "check.json"}


@pytest.mark.parametrize("name", ["no-text.jpg", "check.json"])
def test_a_folder_with_somebody_s_files_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text('{"findings": "mine"}')
    with pytest.raises(DataError, match=f"{name}: is there and was not written by this tool; choose another --output"):
        refuse_foreign(tmp_path)


def test_an_earlier_check_s_folder_is_taken(folder: Path) -> None:
    report = check([labels(folder, line("b.png"))], [folder])
    write_json(report, folder / "out" / "check.json")
    draw_sheets(report, folder / "out")
    refuse_foreign(folder / "out")
    refuse_foreign(folder / "new")


def test_the_outline_is_drawn_where_it_is(folder: Path) -> None:
    """On a white picture only the drawing has colour: red lies on the outline, at the tile's scale."""
    path = labels(folder, line("white.png", entry("up", WORD[::-1])), line("a.png", entry()))
    draw_sheets(check([path], [folder]), folder / "out")
    page = cv2.imread(str(folder / "out" / "order.jpg")).astype(int)
    red = (page[..., 2] > 180) & (page[..., 1] < 120) & (page[..., 0] < 120)
    rows, columns = np.nonzero(red[64 : 64 + 210, 12 : 12 + 300])
    # The outline is 60x20 in an area of 168x128 that is shown in 300x210: 98x33 pixels about the middle.
    zoom = min(300 / (60 + 2 * 54), 210 / (20 + 2 * 54))
    for values, middle, side in ((rows, 105, 20), (columns, 150, 60)):
        assert abs(values.min() - (middle - zoom * side / 2)) < 3 and abs(values.max() - (middle + zoom * side / 2)) < 5
    assert ((np.abs(rows - 105) > zoom * 10 - 5) | (np.abs(columns - 150) > zoom * 30 - 5)).all()


def test_a_large_picture_is_shown_whole(folder: Path) -> None:
    """1200x900 pixels in a tile of 300x210: 280x210 in its middle, with a black quarter at the bottom right."""
    picture = np.full((900, 1200, 3), 255, np.uint8)
    picture[450:, 600:] = 0
    cv2.imwrite(str(folder / "page.png"), picture)
    (sheet,) = draw_sheets(check([labels(folder, line("page.png"))], [folder]), folder / "out")
    tile = cv2.imread(str(sheet), cv2.IMREAD_GRAYSCALE)[64 : 64 + 210, 12 : 12 + 300]
    assert tile[110:200, 158:282].max() < 40 and tile[5:95, 18:282].min() > 215 and tile[110:200, 18:140].min() > 215
    assert abs(int(tile[100, 4]) - 60) < 15 and abs(int(tile[100, 296]) - 60) < 15  # beside the picture


def test_many_findings_are_taken_evenly(folder: Path) -> None:
    path = labels(folder, line("a.png", *[entry("up", WORD[::-1])] * 30))
    few, many = (
        cv2.imread(
            str(next(s for s in draw_sheets(check([path], [folder]), folder / f"out{n}", n) if s.stem == "order"))
        )
        for n in (1, 24)
    )
    assert few.shape == (64 + 272, 636, 3) and many.shape == (64 + 6 * 272, 1260, 3)


def test_sheets_that_cannot_be_written(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        draw_sheets(check([labels(folder, line("a.png"))], [folder]), folder / "file" / "out")


def test_every_kind_is_explained() -> None:
    assert all(kind.meaning and kind.severity in ("broken", "suspicious") for kind in KINDS.values())


def test_real_receipts(shared: Path, tmp_path: Path) -> None:
    """What this check found in them, and was then seen in its pictures."""
    folder = shared / "data" / "sroie2019" / "train"
    source = Source(folder / "img", folder / "box")
    # Divided by number, forms of one company come into both parts.
    done = convert("sroie", source, tmp_path, split=lambda records: by_number(records, 500))
    report = check([done.train.label_file, done.val.label_file], [folder / "img"])
    assert report.counts.keys() == {"tiny", "look-alike"} and report.broken == 0
    tiny, *alike = report.findings
    assert (tiny.image, tiny.reason) == (folder / "img" / "178.jpg", "1.0 pixels thin")
    assert {finding.image.name for finding in alike if finding.image} >= {"582.jpg", "602.jpg", "609.jpg"}


def test_a_label_file_without_a_line_is_nothing_to_train_on(folder: Path) -> None:
    report = check([labels(folder)], [folder])
    assert report.counts == {"bad-line": 1} and report.broken == 1
    assert "nothing to train on" in summary(report)
