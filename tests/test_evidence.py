"""The gains that the pages name, computed again from the committed rows."""

from __future__ import annotations

import csv
import re
import statistics
from collections import defaultdict
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "docs" / "results"
METHODS = {
    "CML as ours": "cml",
    "the teacher fading out": "cml_fading",
    "DML, no teacher": "dml2",
    "CML as PP-OCRv2": "cml_ppocrv2",
    "ST": "st",
}
FILES = {
    ("photos of words", "300"): ["photos300"],
    ("photos of words", "1000"): ["photos1000"],
    ("photos of words", "2000"): ["photos2000"],
    ("receipts (SROIE 2019)", "100"): ["receipts100", "receipts100_again", "receipts100_more"],
    ("receipts (SROIE 2019)", "200"): ["receipts200"],
    ("receipts (SROIE 2019)", "400"): ["receipts400"],
    ("receipts (SROIE 2019)", "800"): ["receipts800"],
}
GAIN = re.compile(r"([+-]?\d*\.\d) ± (\d*\.\d)")


def table(page: str) -> list[list[str]]:
    """The cells of the first table of a page about so many `steps`, its heading first; an empty first cell filled."""
    lines = (REPOSITORY / page).read_text(encoding="utf-8").replace("−", "-").splitlines()
    start = next(
        i for i, line in enumerate(lines) if line.startswith("|") and ("| steps |" in line or "| 步数 |" in line)
    )
    rows: list[list[str]] = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not set(line) <= set("|-"):
            rows.append([cells[0] or rows[-1][0], *cells[1:]])
    return rows


def gain(files: list[str], method: str) -> tuple[float, float] | None:
    """The best student's gain over as many alone, in points, and its standard error; draws of a seed count as one."""
    by_seed: dict[str, list[float]] = defaultdict(list)
    for name in files:
        with (RESULTS / f"{name}.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        alone = {row["seed"]: numbers(row) for row in rows if row["method"] == "alone"}
        for row in rows:
            if row["method"] == method:
                students = numbers(row)
                by_seed[row["seed"]].append(max(students) - max(alone[row["seed"]][: len(students)]))
    gains = [100 * statistics.mean(draws) for draws in by_seed.values()]
    return (statistics.mean(gains), statistics.stdev(gains) / len(gains) ** 0.5) if len(gains) > 1 else None


def numbers(row: dict[str, str]) -> list[float]:
    return [float(score) for score in row["each_student"].split()]


CELLS = [
    (*key, column, row[place])
    for heading, *rows in [table("docs/evidence.md")]
    for row in rows
    for key in FILES
    if row[0].startswith(key[0]) and row[1] == key[1]
    for place, column in enumerate(heading)
    if column in METHODS and GAIN.match(row[place])
]


@pytest.mark.parametrize(("data", "steps", "column", "cell"), CELLS)
def test_a_gain_follows_from_its_rows(data: str, steps: str, column: str, cell: str) -> None:
    found = gain(FILES[data, steps], METHODS[column])
    stated = GAIN.match(cell)
    assert found is not None and stated is not None
    assert [float(number) for number in stated.groups()] == pytest.approx(found, abs=0.051)


def test_every_row_is_looked_at() -> None:
    assert {cell[:2] for cell in CELLS} == set(FILES)
    assert len(CELLS) >= 28


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_the_readme_says_what_the_evidence_does(page: str) -> None:
    """Whichever of its columns a page shows: each of its figures stands in the row of the same place and length."""
    evidence = {(row[1], row[2].replace(" to ", "-")): " ".join(row[3:]) for row in table("docs/evidence.md")[1:]}
    shown = table(page)[1:]
    assert len(shown) >= 8
    for row in shown:
        stated = [match.group() for cell in row[3:] for match in GAIN.finditer(cell)]
        known = evidence[row[1], row[2].replace(" to ", "-").replace(" 至 ", "-")]
        assert stated
        assert all(figure in known for figure in stated), (page, row)
