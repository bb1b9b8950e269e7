"""report.html and compare.html: the numbers that stand in them, what they escape, and that they ask no host."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ocr_cml.records import Best
from ocr_cml.report import read_run, write_report
from ocr_cml.report.charts import Chart, Series, figure, thinned, ticks
from ocr_cml.report.run import Run
from ocr_cml.report.series import loss_charts, score_chart
from ocr_cml.report.validation import curve, gallery
from ppocr_data.errors import UserError

HOSTILE = "</pre><script>alert('x')</script><img src=x onerror=alert(1)>&\""
VOID = {"meta", "link", "img"}


def score(hmean: float) -> dict[str, float]:
    return {"precision": hmean + 0.01, "recall": hmean - 0.01, "hmean": hmean, "tp": 7, "num_gt": 10, "num_det": 9}


RECORDS = [
    {"step": 0, "teacher": {"Teacher": score(0.66)}},
    {"step": 10, "loss": 9.5, "lr": 0.001, "seconds": 20.0, "db/Student": 8.25, "mutual/Student<-Student2": 0.5},
    {"step": 15, "eval": {"Student": score(0.1), "Student2": score(0.2), "ensemble": score(0.15)}},
    {"step": 20, "loss": 7.5, "lr": 0.002, "seconds": 10.0, "db/Student": 6.25, "mutual/Student<-Student2": 0.25},
    {"step": 30, "eval": {"Student": score(0.7123), "Student2": score(0.6), "ensemble": score(0.75)}},
]
LOG = """2026-11-24 04:00:00,000 INFO command: tools/train.py -c old.yml
2026-11-24 04:22:54,591 INFO command: tools/train.py -c a.yml -o "x=<b>"
2026-11-24 04:22:54,592 INFO paddle 3.2.2, numpy 2.3.5
2026-11-24 04:22:55,000 INFO networks
  Student: student, 0.60 M parameters
2026-11-24 04:23:36,909 INFO step 1/3  loss 28.4400
2026-11-24 04:23:37,000 WARNING something <is> odd
"""


def make_run(
    folder: Path, records: list[dict] = RECORDS, *, config: str = "Global: {seed: 1}\n", log: str = LOG
) -> Path:
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "config.yml").write_text(config)
    (folder / "train.log").write_text(log)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


class Page(HTMLParser):
    """A plain reader of our pages: tags must nest, tables become lists of rows, ids are collected."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data


def read(path: Path) -> tuple[str, Page]:
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert max(Counter(page.ids).values()) == 1, "an id stands twice"
    assert not [link for link in page.links if not link.startswith(("#", "data:"))]
    return text, page


def coordinates(text: str) -> list[float]:
    found = re.findall(r' (?:x1|x2|y1|y2|cx|cy|x|y)="([^"]*)"', text)
    found += [number for points in re.findall(r' points="([^"]*)"', text) for number in re.split("[ ,]", points)]
    return [float(number) for number in found]


# --- one run ----------------------------------------------------------------------------------------------------------


def test_the_tables_hold_the_recorded_scores_and_mark_the_best(run: Path) -> None:
    _, page = read(write_report(run))
    at_best, over_time = page.tables
    assert at_best == [
        ["network", "hmean", "precision", "recall", "found", "texts", "boxes"],
        ["Student", "0.7123", "0.7223", "0.7023", "7", "10", "9"],
        ["Student2", "0.6000", "0.6100", "0.5900", "7", "10", "9"],
        ["ensemble", "0.7500", "0.7600", "0.7400", "7", "10", "9"],
        ["Teacher", "0.6600", "0.6700", "0.6500", "7", "10", "9"],
    ]
    assert over_time == [
        ["step", "Student", "Student2", "ensemble"],
        ["15", "0.1000", "0.2000", "0.1500"],
        ["30", "★ 0.7123", "0.6000", "0.7500"],
    ]


def test_the_top_names_command_best_student_teacher_and_time(run: Path) -> None:
    text, page = read(write_report(run))
    words = "|".join(page.words)
    assert 'tools/train.py -c a.yml -o "x=<b>"' in words and "old.yml" not in words
    assert "Best student|Student 0.7123|hmean at step 30" in words
    assert "Ensemble|0.7500|best hmean, at step 30" in words
    assert "Teacher|0.6600|hmean of Teacher" in words
    assert "Training time|30 s" in words
    assert text.index("<h1>") < text.index("Best student") < text.index("<svg")


def test_the_checkpoint_says_which_student_is_best(run: Path) -> None:
    (run / "best").mkdir()
    state = {"format": 1, "progress": {"step": 15, "best": {"student": "Student2", "hmean": 0.2, "step": 15}}}
    (run / "best" / "state.json").write_text(json.dumps(state))
    _, page = read(write_report(run))
    assert page.tables[1][1:] == [["15", "0.1000", "★ 0.2000", "0.1500"], ["30", "0.7123", "0.6000", "0.7500"]]
    (run / "best" / "state.json").write_text("{")
    assert read_run(run).best == Best("Student", 0.7123, 30)


def test_the_ensemble_is_never_the_best_student(run: Path) -> None:
    assert read_run(run).best == Best("Student", 0.7123, 30)
    assert read_run(run).best_hmean() == [(15, 0.2), (30, 0.7123)]


def test_every_series_is_drawn_described_and_can_be_hidden(run: Path) -> None:
    text, _ = read(write_report(run))
    buttons = [html.unescape(name) for name in re.findall(r"</svg>([^<]*)</button>", text)]
    assert buttons == [
        "Student", "Student2", "ensemble", "Teacher", "total", "Student", "Student ← Student2", "learning rate",
        "seconds a step",
    ]  # fmt: skip
    titles = re.findall(r"<figcaption>([^<]*)<", text)
    assert titles[1:4] == ["Total loss (weighted)", "Term db (unweighted)", "Term mutual (unweighted)"]
    drawings = re.findall(r'<svg class="[^k"]*" viewBox.*?</svg>(?=<svg|<div)', text)
    assert len(drawings) == 7  # six charts, one of them in two widths
    for drawing in drawings:
        name, description = re.search(r'aria-labelledby="(\S+) (\S+)"', drawing).groups()
        assert f'<title id="{name}">' in drawing and f'<desc id="{description}">' in drawing and 'role="img"' in drawing
    assert "from 8.25 at step 10 to 6.25 at step 20, lowest 6.25, highest 8.25." in text
    assert "Teacher: constant at 0.66." in text


def test_the_teacher_is_a_dashed_level_line_across_the_chart(run: Path) -> None:
    text, _ = read(write_report(run))
    for left, right in ((54.0, 388.0), (54.0, 1118.0)):
        points = re.search(rf'stroke-dasharray="[^"]+" points="{left},([\d.]+) {right},([\d.]+)"', text)
        assert points and points[1] == points[2]


def test_time_a_step_counts_from_the_last_log_point(run: Path) -> None:
    """20 s for the ten steps to 10; 10 s for the ten steps to 20, whose `seconds` leave out the evaluation at 15."""
    assert read_run(run).step_seconds == [(10, 2.0), (20, 1.0)]


def test_steps_of_a_resumed_run_are_those_of_its_process(tmp_path: Path) -> None:
    """Stopped at 18 and resumed: the two steps to 20 took 2 s, the eight before are in no record and count alike."""
    records = [{"step": 10, "loss": 1.0, "seconds": 20.0, "steps": 10}, {"step": 20, "seconds": 2.0, "steps": 2}]
    found = read_run(make_run(tmp_path / "resumed", records))
    assert found.step_seconds == [(10, 2.0), (20, 1.0)]
    assert found.seconds == 30.0
    assert read_run(make_run(tmp_path / "elsewhere", records[1:])).seconds == 2.0, "another run made the steps to 18"
    starts = [{"step": step, "program": {"paddle": "3.2.2"}} for step in (0, 18)]
    told = read_run(make_run(tmp_path / "told", [starts[0], records[0], starts[1], records[1]]))
    assert (told.seconds, told.logged) == (30.0, found.logged)


def test_hostile_text_is_shown_not_run(tmp_path: Path) -> None:
    name = f"St{HOSTILE}"
    records = [
        {"step": 1, "loss": 1.0, f"db/{name}": 2.0, HOSTILE: 3.0},
        {"step": 1, "eval": {name: score(0.5)}},
        {"step": 0, "teacher": {HOSTILE: score(0.5)}},
    ]
    log = f"2026-11-24 04:22:54,591 INFO command: {HOSTILE}\n2026-11-24 04:22:54,591 WARNING {HOSTILE}\n"
    folder = make_run(tmp_path / "a<b>&", records, config=f"Global: {json.dumps(HOSTILE)}\n", log=log)
    _, page = read(write_report(folder))
    assert (page.tags["script"], page.tags["img"]) == (1, 0)
    assert "".join(page.words).count("<script>alert('x')</script>") >= 6
    _, page = read(write_report([folder, make_run(tmp_path / HOSTILE.replace("/", "∕"))]))
    assert (page.tags["script"], page.tags["img"]) == (1, 0)


def test_the_page_names_no_host_and_forbids_requests(run: Path) -> None:
    for path in (write_report(run), write_report([run, run])):
        text, _ = read(path)
        assert not re.search(r"https?://|//[a-z]|@import|url\(", text)
        assert "default-src 'none'" in text


def test_the_preview_travels_inside(run: Path) -> None:
    (run / "preview.jpg").write_bytes(b"\xff\xd8jpeg")
    text, _ = read(write_report(run))
    assert 'src="data:image/jpeg;base64,/9hqcGVn"' in text
    assert "preview.jpg is missing" not in text


def test_start_and_warnings_come_from_the_last_start_of_the_log(run: Path) -> None:
    text, _ = read(write_report(run))
    assert "paddle 3.2.2, numpy 2.3.5\nnetworks\n  Student: student, 0.60 M parameters</pre>" in text
    assert "something &lt;is&gt; odd" in text
    assert "28.4400" not in text


# --- what may be missing or broken ------------------------------------------------------------------------------------


def test_a_cut_last_line_is_left_out_and_told(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "loss": 5.')
    text, _ = read(write_report(run))
    assert "1 damaged line of metrics.jsonl left out." in text
    assert read_run(run).last_step == 30


@pytest.mark.parametrize("present", ["metrics.jsonl", "config.yml", "train.log"])
def test_an_empty_run_says_what_is_missing(tmp_path: Path, present: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / present).write_text("")
    text, _ = read(write_report(folder))
    for name in ("metrics.jsonl", "config.yml", "train.log"):
        assert f"{name} is missing or empty." in text
    for words in ("No evaluation is recorded.", "No step was logged.", "preview.jpg is missing.", "none yet"):
        assert words in text


def test_more_networks_than_colours_are_told_apart(tmp_path: Path) -> None:
    scores = {f"Student{number}": {"hmean": number / 10} for number in range(1, 10)} | {"ensemble": {"hmean": 0.95}}
    run = make_run(tmp_path / "run", [{"step": step, "eval": scores} for step in (1, 2)])
    chart, _, _ = score_chart(read_run(run)).partition("</svg>")
    lines = re.findall(r'<polyline style="([^"]*)"((?: stroke-dasharray="[^"]*")?)', chart)
    assert len(lines) == len(set(lines)) == 10


@pytest.mark.parametrize("harm", ["networks", "picture", "size"])
def test_a_damaged_entry_of_the_pictures_is_told(tmp_path: Path, harm: str) -> None:
    box = [[20, 20], [100, 20], [100, 60]]
    answer = {"hmean": 0.5, "tp": 1, "num_gt": 2, "num_det": 2, "boxes": [{"points": box, "score": 0.9, "right": None}]}
    page = {"source": "val.txt:1", "size": [384, 192], "picture": "a.jpg", "maps": {}, "networks": {"Student": answer}}
    page["truth"] = [{"points": box, "ignore": False}]
    found = {"student": "Student", "step": 30, "images": 2, "of": 5, "box_thresh": 0.6, "curves": {}, "worst": [page]}
    run = make_run(tmp_path / "run")
    (run / "validation").mkdir()
    for best, whole in (([page], True), ([page, {key: page[key] for key in page if key != harm}], False)):
        (run / "validation/validation.json").write_text(json.dumps({**found, "best": best}))
        text, _ = read(write_report(run))
        assert ("validation/validation.json is damaged." in text) != whole
        assert ("Best and worst" in text and 'id="best0"' in text) == whole


def test_a_single_point_is_a_dot_inside_the_plot(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [{"step": 5, "loss": 2.0}, {"step": 5, "eval": {"Student": score(0.0)}}])
    text, _ = read(write_report(folder))
    assert "<polyline" not in text
    circles = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"[^>]*><title>([^<]*)<', text)
    assert {title for _, _, title in circles} == {"Student: 0 at 5", "total: 2 at 5"}
    assert all(54 <= float(x) <= 1118 and 26 <= float(y) <= 280 for x, y, _ in circles)


def test_non_finite_and_odd_values_reach_no_chart(tmp_path: Path) -> None:
    lines = [
        '{"step": 1, "loss": NaN, "lr": Infinity, "db/Student": 1.0}',
        '{"step": 2, "loss": -Infinity, "lr": null, "db/Student": "x"}',
        '{"step": 3, "loss": 4.0, "lr": true, "db/Student": 2.0}',
        '{"step": 3, "eval": {"Student": {"hmean": NaN}, "Student2": 3}}',
        '{"step": "a"}', "[1]", "7", '{"loss": 1}',
    ]  # fmt: skip
    folder = make_run(tmp_path / "run", [])
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    text, page = read(write_report(folder))
    drawn = "".join(re.findall(r"<svg.*?</svg>", text))
    assert "nan" not in drawn.lower() and "inf" not in drawn.lower()
    assert len(coordinates(text)) > 20
    assert "4 damaged lines" in text
    assert read_run(folder).logged == [
        {"step": 1, "db/Student": 1.0},
        {"step": 2},
        {"step": 3, "loss": 4.0, "db/Student": 2.0},
    ]
    assert page.tables[1] == [["step", "Student"], ["3", "–"]]


def test_a_folder_that_is_no_run_is_refused_by_name(tmp_path: Path, run: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=re.escape(str(folder))):
            write_report([run, folder])
    assert not (run / "compare.html").exists()


# --- several runs -----------------------------------------------------------------------------------------------------


def test_a_checkpoint_names_the_run_that_it_is_of(run: Path) -> None:
    (run / "latest").mkdir(exist_ok=True)
    (run / "latest/state.json").write_text("{}")
    with pytest.raises(UserError, match=r"latest: is a checkpoint of a run; the run's folder is .*") as caught:
        read_run(run / "latest")
    assert str(caught.value).endswith(str(run.resolve()))


def test_a_comparison_lists_runs_scores_and_differing_settings(tmp_path: Path, run: Path) -> None:
    config = "Global: {seed: 2, save_model_dir: b}\nLoss: [{DBLoss: {weight: 1.0}}]\n"
    records = [{"step": 10, "eval": {"Solo": score(0.9)}}]
    other = make_run(tmp_path / "other", records, config=config)
    path = write_report([run, other, make_run(tmp_path / "x" / "run", [])])
    assert path == run / "compare.html"
    text, page = read(path)
    runs, settings = page.tables
    assert runs[1:] == [
        [str(run), "0.7123", "Student", "30", "0.7500", "0.6600", "30", "30 s"],
        ["other", "★ 0.9000", "Solo", "10", "–", "–", "10", "0 s"],
        [str(tmp_path / "x" / "run"), "–", "–", "–", "–", "–", "0", "0 s"],
    ]
    assert settings[1:] == [["Global.seed", "1", "2", "1"], ["Loss.0.DBLoss.weight", "–", "1.0", "–"]]
    assert text.count('data-class="off') == 2  # the run without evaluations has no line


def test_long_settings_that_differ_at_their_ends_are_told_apart(tmp_path: Path) -> None:
    paths = [f"/mnt/storage/projects/receipts/2026/experiments/fold-1/train_{name}.txt" for name in ("one", "two")]
    runs = [make_run(tmp_path / path[-7:-4], [], config=f"Train: {{labels: {path}}}") for path in paths]
    _, page = read(write_report(runs))
    (row,) = page.tables[1][1:]
    assert row == ["Train.labels", *(f"{path[:19]}…{path[-40:]}" for path in paths)]


def test_settings_that_unfold_without_end_are_left_out(tmp_path: Path, run: Path) -> None:
    bomb = "a0: &a0 [x, x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    _, page = read(write_report([run, make_run(tmp_path / "other", [], config=bomb)]))
    assert "config.yml of other cannot be read." in " ".join(page.words)


def test_output_goes_where_it_is_asked_for(tmp_path: Path, run: Path) -> None:
    assert write_report(run, tmp_path / "page.html") == tmp_path / "page.html"
    assert sorted(p.name for p in run.iterdir()) == ["config.yml", "metrics.jsonl", "train.log"]
    with pytest.raises(UserError, match="cannot be written"):
        write_report(run, tmp_path / "nowhere" / "page.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_report(run, tmp_path / "file" / "page.html")


def test_what_somebody_else_made_is_not_replaced_by_a_report(tmp_path: Path, run: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8 somebody's")
    with pytest.raises(UserError, match=r"photo\.jpg: is there and is no report of this tool; choose another --output"):
        write_report(run, tmp_path / "photo.jpg")
    assert (tmp_path / "photo.jpg").read_bytes() == b"\xff\xd8 somebody's"
    (tmp_path / "made").touch()  # as `mktemp` makes a place
    (tmp_path / "link.html").symlink_to("made")
    for _ in range(2):  # the second time in place of the first one's
        write_report(run, tmp_path / "link.html")
        assert (tmp_path / "link.html").is_symlink()
        assert (tmp_path / "made").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_takes_a_report(tmp_path: Path, run: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE, text=True)
    write_report(run, tmp_path / "pipe")
    assert reader.communicate(timeout=60)[0].startswith("<!DOCTYPE html>")
    assert not (tmp_path / "pipe").is_file()


def test_what_is_missing_of_a_run_is_told_beside_the_page(tmp_path: Path, run: Path) -> None:
    told: list[str] = []
    write_report(run, tell=told.append)
    assert told == []
    (run / "metrics.jsonl").write_text("nonsense\n")
    write_report([run, make_run(tmp_path / "other", log="")], tell=told.append)
    assert told == [
        f"{run}: 1 damaged line of metrics.jsonl left out.",
        f"{tmp_path / 'other'}: train.log is missing or empty.",
    ]


@pytest.mark.parametrize("output", [".", "folder", "/"])
def test_an_output_that_is_a_folder_is_refused(
    output: str, tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="the report is a file, and this is a folder"):
        write_report(run, Path(output))


def test_the_tool_prints_what_it_wrote_and_refuses_with_2(repository: Path, tmp_path: Path, run: Path) -> None:
    def call(*arguments: Path | str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(repository / "tools" / "report.py"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = call(run)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{run / 'report.html'}\n", "")
    done = call(run, tmp_path / "nowhere", "--output", tmp_path / "x.html")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {tmp_path / 'nowhere'}: is not a folder")


# --- charts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 0.72, [0.0, 0.2, 0.4, 0.6, 0.8]),
        (0.0, 30.0, [0.0, 10.0, 20.0, 30.0]),
        (10.0, 600.0, [0.0, 200.0, 400.0, 600.0]),
        (0.0, 0.003, [0.0, 0.001, 0.002, 0.003]),
        (0.71, 0.73, [0.71, 0.715, 0.72, 0.725, 0.73]),
        (-1.0, 1.0, [-1.0, -0.5, 0.0, 0.5, 1.0]),
    ],
)
def test_ticks_are_round_and_cover_the_range(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_equal_numbers_but_for_the_last_bit_are_drawn(tmp_path: Path) -> None:
    """4 of 20 texts by 4 boxes, and 5 by 10: a third either way, and not the same float."""
    scores = [2 * tp / (20 + boxes) for tp, boxes in ((4, 4), (5, 10))]
    precise = [2 * p * r / (p + r) for p, r in ((1.0, 0.2), (0.5, 0.25))]
    assert len({*scores, *precise}) > 1
    run = tmp_path / "run"
    run.mkdir()
    lines = [
        json.dumps({"step": step, "eval": {"Student": {"precision": 1, "recall": 1, "hmean": hmean}}})
        for step, hmean in enumerate([*scores, *precise], start=1)
    ]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert write_report(run).is_file()


def test_thinning_keeps_ends_and_spikes() -> None:
    points = [(float(x), 1.0) for x in range(10_000)]
    points[4321] = (4321.0, 99.0)
    points[7777] = (7777.0, -99.0)
    kept = thinned(points, most=100)
    assert len(kept) <= 102 and kept == sorted(kept)
    assert {points[0], points[4321], points[7777], points[-1]} <= set(kept)
    assert thinned(points[:100], most=100) == points[:100]


def test_points_stand_where_their_values_say() -> None:
    drawn = figure(Chart("c", "t", "u", [Series("s", [(0, 0.0), (50, 10.0), (100, 5.0)])]))
    # The plot spans x 54..388 and y 26..210; the axis goes from 0 to 10.
    assert 'points="54.0,210.0 221.0,26.0 388.0,118.0"' in drawn


# --- in a browser -----------------------------------------------------------------------------------------------------

PROBE = """<script>
const button = document.querySelector(".legend button"), line = document.querySelector(".chart svg:not(.key) .l0");
const shown = () => getComputedStyle(line).display !== "none" && button.getAttribute("aria-pressed") === "true";
const states = [shown()]; button.click(); states.push(shown()); button.click(); states.push(shown());
const zoom = document.querySelector("[data-shows]"), box = document.getElementById("preview"); zoom.click();
parent.postMessage(JSON.stringify({states, full: box.classList.contains("full"), size: button.offsetHeight,
  over: document.documentElement.scrollWidth - innerWidth, width: innerWidth,
  requests: performance.getEntriesByType("resource").length}), "*");
</script>"""


@pytest.mark.parametrize("width", [390, 1200])
def test_in_a_real_browser_nothing_overflows_nothing_is_asked_for_and_toggles_work(run: Path, width: int) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no chromium is installed")
    (run / "preview.jpg").write_bytes(b"\xff\xd8jpeg")
    path = write_report(run)
    path.write_text(path.read_text(encoding="utf-8").replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    # A browser's window has a least width above a phone's; a frame has not.
    frame = f'<iframe src="{path.as_uri()}" style="width:{width}px;height:900px;border:0"></iframe>'
    outer = run / "outer.html"
    outer.write_text(f"<script>onmessage = event => document.title = event.data</script>{frame}", encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1300,900"]
    command += ["--virtual-time-budget=2000", f"--user-data-dir={run / 'profile'}", "--enable-logging=stderr"]
    command += ["--dump-dom", outer.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "CONSOLE" not in done.stderr
    seen = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", done.stdout)[1]))
    assert seen["states"] == [True, False, True] and seen["full"]
    assert seen["size"] >= 32 and seen["over"] <= 0 and seen["width"] == width
    assert seen["requests"] == 0


def test_thresholds_that_keep_no_box_are_left_out_of_the_curve() -> None:
    points = [
        {"box_thresh": 0.9, "precision": 0.0, "recall": 0.0, "num_det": 0},
        {"box_thresh": 0.5, "precision": 0.75, "recall": 0.5, "num_det": 4},
    ]
    found = curve("net", points, 0)
    assert (found.points, len(found.labels)) == ([(0.5, 0.75)], 1)


def test_a_picture_has_its_own_shape_and_wrong_boxes_are_marked_wrong(tmp_path: Path) -> None:
    def box(right: bool | None, x: int) -> dict:
        return {"points": [[x, 1], [x + 9, 1], [x + 9, 9], [x, 9]], "score": 0.5, "right": right}

    answer = {"hmean": 0.5, "tp": 1, "num_gt": 2, "num_det": 2, "boxes": [box(True, 1), box(False, 20), box(None, 40)]}
    page = {"source": "a", "size": [200, 100], "picture": "a.jpg", "truth": [], "networks": {"S": answer}, "maps": {}}
    record = {"student": "S", "step": 1, "images": 1, "of": 1, "box_thresh": 0.6, "curves": {"S": []}}
    text = gallery(Run(tmp_path, "run", validation=record | {"best": [page], "worst": []}), {"S": 0})
    assert "--ratio:2.0000" in text and 'viewBox="0 0 200 100"' in text
    assert '<polygon points="1,1' in text
    assert '<polygon class="wrong" points="20,1' in text
    assert '<polygon class="free" points="40,1' in text
    assert "S 0.50: 1 of 2 found, 1 wrong" in text


def test_log_points_are_drawn_by_rising_step_however_they_stand(tmp_path: Path) -> None:
    lines = [{"step": step, "loss": 1.0, "lr": 0.1, "seconds": 1.0} for step in (20, 10)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [entry["step"] for entry in read_run(tmp_path).logged] == [10, 20]


def test_two_terms_of_one_student_and_kind_are_dashed_apart(tmp_path: Path) -> None:
    line = {"step": 10, "loss": 1.0, "lr": 0.1, "seconds": 1.0, "mutual/A<-B": 0.5, "mutual/A<-C": 0.25}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    (_, mutual) = loss_charts(read_run(tmp_path))
    assert len({series.colour for series in mutual.series}) == 1
    assert [series.dash for series in mutual.series] == [0, 1]
