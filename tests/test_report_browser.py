"""report.html in a real browser: nothing is asked of any host, nothing complains, phones and keyboards can use it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import Browser, find_browser
from test_report import HOSTILE, RECORDS, make_run

from ocr_cml.report import write_report

NAMES = ["Student", "Student2", "ensemble", "Teacher"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = find_browser()
    if executable is None:
        pytest.skip("no headless browser here; Debian and Ubuntu have one: apt-get install chromium")
    with Browser(executable) as opened:
        yield opened


def validated_run(folder: Path) -> Path:
    """A run with a preview and two validation pictures, whose labels and paths are hostile."""
    records = [dict(record) for record in RECORDS]
    for record in records:
        if "loss" in record:
            record["agreement/Student,Student2"] = 0.5 + record["step"] / 100
    make_run(folder, records, config=f"Global: {json.dumps(HOSTILE)}\n")
    cv2.imwrite(str(folder / "preview.jpg"), np.full((300, 1600, 3), 90, np.uint8))
    pages = folder / "validation"
    pages.mkdir()
    for name, colour in (("a.jpg", (200, 120, 60)), ("a-0.jpg", (255, 255, 255))):
        cv2.imwrite(str(pages / name), np.full((96, 192, 3), colour, np.uint8))
    box = [[20, 20], [100, 20], [100, 60], [20, 60]]
    answer = {"hmean": 0.5, "tp": 1, "num_gt": 2, "num_det": 2,
              "boxes": [{"points": box, "score": 0.9, "right": right} for right in (True, False, None)]}  # fmt: skip
    page = {
        "source": f"val.txt:1 {HOSTILE}", "size": [384, 192], "picture": "a.jpg",
        "truth": [{"points": box, "ignore": False}, {"points": box, "ignore": True}],
        "maps": dict.fromkeys(NAMES, "a-0.jpg"), "networks": dict.fromkeys(NAMES, answer),
    }  # fmt: skip
    curve = [{"box_thresh": t, "precision": p, "recall": 1 - p, "num_det": 1} for t, p in ((0.9, 0.9), (0.1, 0.4))]
    found = {"student": "Student", "step": 30, "images": 2, "of": 5, "box_thresh": 0.6,
             "curves": dict.fromkeys(NAMES, curve), "best": [page], "worst": [page]}  # fmt: skip
    (pages / "validation.json").write_text(json.dumps(found))
    return folder


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(validated_run(tmp_path_factory.mktemp("runs") / "run"))


def visible(css: str) -> str:
    """JavaScript: how many elements of a selector are shown."""
    return f"[...document.querySelectorAll({css!r})].filter(e => e.getClientRects().length).length"


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (360, False), (360, True)])
def test_nothing_is_asked_or_complained_of_and_nothing_sticks_out(
    browser: Browser, report: Path, tmp_path: Path, width: int, dark: bool
) -> None:
    browser.requests.clear()
    browser.complaints.clear()
    browser.open(report, width, dark=dark)
    assert browser.complaints == []
    asked = [url for url in browser.requests if not url.startswith("data:")]
    assert asked == [report.as_uri()]
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    ground = browser.ask("getComputedStyle(document.body).backgroundColor")
    lightness = sum(int(part) for part in ground[4:-1].split(","))
    assert lightness < 150 if dark else lightness > 700
    seen = cv2.imread(str(browser.picture(tmp_path / "page.png", whole=False)))
    assert seen.shape[:2] == (900, width)
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 20


def test_the_contrast_of_text_is_readable(browser: Browser, report: Path) -> None:
    """WCAG AA: at least 4.5 to 1 against the page and its panels, for every colour of text, light and dark."""
    for dark in (False, True):
        browser.open(report, dark=dark)
        names = ["paper", "panel", "ink", "dim", "mark"]
        colours = browser.ask(
            f"Object.fromEntries({names}.map(n => [n, getComputedStyle(document.documentElement)"
            ".getPropertyValue('--' + n).trim()]))"
        )
        for text, ground in (("ink", "paper"), ("ink", "panel"), ("dim", "paper"), ("dim", "panel"), ("ink", "mark")):
            assert contrast(colours[text], colours[ground]) >= 4.5, (dark, text, ground)


def contrast(first: str, second: str) -> float:
    """The ratio of relative luminances of two `#rgb` or `#rrggbb` colours (WCAG 2)."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_boxes_and_maps_are_toggled(browser: Browser, report: Path) -> None:
    browser.open(report)
    button = "document.querySelector('button[data-class={}]')"
    assert [browser.ask(visible(f"#gallery .layer.b{n}")) for n in range(4)] == [2, 0, 0, 0]
    assert browser.ask(visible("#gallery .truth")) == 2 and browser.ask(visible("#gallery .map")) == 0
    browser.ask(button.format("b3") + ".click()")
    browser.ask(button.format("truths") + ".click()")
    browser.ask(button.format("m1") + ".click()")
    assert [browser.ask(visible(f"#gallery .layer.b{n}")) for n in range(4)] == [2, 0, 0, 2]
    assert browser.ask(visible("#gallery .truth")) == 0
    assert browser.ask(visible("#gallery .m1")) == browser.ask(visible("#gallery .map")) == 2
    browser.ask(button.format("m2") + ".click()")  # one map at a time
    assert browser.ask(visible("#gallery .m2")) == browser.ask(visible("#gallery .map")) == 2
    assert browser.ask(button.format("m1") + ".getAttribute('aria-pressed')") == "false"
    browser.ask(button.format("m2") + ".click()")
    assert browser.ask(visible("#gallery .map")) == 0


def test_a_picture_grows_and_shrinks(browser: Browser, report: Path) -> None:
    browser.open(report)
    width = "document.querySelector('#worst0 .stack').getBoundingClientRect().width"
    before = browser.ask(width)
    browser.ask("document.querySelector('#worst0 .stack').click()")
    assert browser.ask(width) > 1.5 * before
    browser.ask("document.querySelector('#worst0 .stack').click()")
    assert browser.ask(width) == before


def test_all_of_it_can_be_reached_and_worked_by_keyboard(browser: Browser, report: Path) -> None:
    browser.open(report)
    reached = set()
    total = browser.ask("document.querySelectorAll('button, summary, [tabindex=\"0\"], a').length")
    for _ in range(total + 5):
        browser.press("Tab")
        active = browser.ask("document.activeElement.dataset.class || document.activeElement.tagName")
        reached.add(active)
        outline = browser.ask("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none" or active == "BODY"
        if active == "b1":
            before = browser.ask(visible("#gallery .layer.b1"))
            browser.press("Space")
            after = browser.ask(visible("#gallery .layer.b1"))
            browser.press("Enter")
            assert (before, after, browser.ask(visible("#gallery .layer.b1"))) == (0, 2, 0)
    assert {"off0", "truths", "b0", "b1", "b2", "b3", "m0", "m3", "big", "full", "SUMMARY", "A"} <= reached


def test_hostile_labels_run_nothing(browser: Browser, report: Path) -> None:
    browser.open(report)
    assert browser.ask("document.querySelectorAll('script').length") == 1
    assert browser.ask("document.body.innerText.split(\"<script>alert('x')</script>\").length") > 2
    assert browser.ask("[...document.images].every(i => i.src.startsWith('data:'))")


def test_several_runs_side_by_side(browser: Browser, report: Path, tmp_path: Path) -> None:
    browser.requests.clear()
    browser.complaints.clear()
    page = write_report([report.parent, make_run(tmp_path / "other")], tmp_path / "compare.html")
    browser.open(page, 360)
    assert browser.complaints == [] and [url for url in browser.requests if not url.startswith("data:")] == [
        page.as_uri()
    ]
    assert browser.ask("document.documentElement.scrollWidth") <= 360
    assert browser.ask(visible("#pr")) == 1


def test_this_browser_would_tell(browser: Browser, tmp_path: Path) -> None:
    """The checks above can fail: a page that asks a host and throws is told of."""
    page = tmp_path / "bad.html"
    page.write_text(
        "<img src='http://127.0.0.1:9/x.png'><script>console.error('told'); throw new Error('thrown')</script>"
    )
    browser.requests.clear()
    browser.complaints.clear()
    browser.open(page)
    assert "http://127.0.0.1:9/x.png" in browser.requests
    assert any("told" in text for text in browser.complaints) and len(browser.complaints) >= 2
