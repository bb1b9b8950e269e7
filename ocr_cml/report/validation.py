"""The validation pictures of a report: ground truth, everyone's boxes and maps, laid over each other by buttons."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from ocr_cml.report.charts import Chart, Series
from ocr_cml.report.run import Run
from ocr_cml.report.template import missing
from ocr_cml.run_files import VALIDATION

# Boxes lie on photos, not on the page: one set of bright colours, for the light and the dark page alike.
_BRIGHT = ("#4aa8ff", "#ff9340", "#3ee08f", "#cf9bff", "#ffd83d", "#ff7cc0", "#48e5f5", "#ff5c5c")
_TEACHER = 7


def curve(name: str, points: Sequence[Mapping[str, float]], colour: int, dash: int = 0) -> Series:
    """Precision over recall; thresholds that keep no box have no precision and are left out."""
    kept = [point for point in points if point.get("num_det")]
    return Series(
        name,
        [(point["recall"], point["precision"]) for point in kept],
        colour,
        dash,
        labels=[f"precision {p['precision']:.3f}, recall {p['recall']:.3f} at {p['box_thresh']:g}" for p in kept],
    )


def precision_recall(series: Sequence[Series]) -> Chart:
    """The chart of `curve`s."""
    title = "Precision and recall over box_thresh"
    return Chart("pr", title, "precision", series, x_unit="recall", x_range=(0.0, 1.0), from_zero=True)


def gallery(run: Run, colours: Mapping[str, int]) -> str:
    """The pictures that the best student does best and worst, with the buttons that choose what is seen.

    Args:
        run: its `validation` may be {}.
        colours: of the students and the ensemble by name; the others are teachers.
    """
    found = run.validation
    if not found:
        return missing("No pictures were recorded; they are at the end of a training.")
    names = list(found["curves"])
    shown = {name: (number, _BRIGHT[colours.get(name, _TEACHER)]) for number, name in enumerate(names)}
    first = names.index(found["student"]) if found["student"] in names else 0
    images = f"{found['images']} of {found['of']}" if found["images"] < found["of"] else f"all {found['of']}"
    words = (
        f"By the hmean of {found['student']} at step {found['step']}, of {images} evaluation images, boxes from "
        f"box_thresh {found['box_thresh']:g}. White dashes: ground truth; dots: don't care; red: a wrong box. "
        "A picture grows when it is pressed."
    )
    parts = [f"<p>{escape(words)}</p>", _controls(shown, first)]
    for kind, heading in (("worst", "Worst"), ("best", "Best")):
        shots = "".join(_shot(run, f"{kind}{n}", page, shown) for n, page in enumerate(found[kind]))
        parts.append(f'<h3>{heading}</h3><div class="shots">{shots or missing("None.")}</div>')
    return f'<div id="gallery" class="truths b{first}">{"".join(parts)}</div>'


def _controls(shown: Mapping[str, tuple[int, str]], first: int) -> str:
    boxes = _button("Ground truth", "truths", "#fff", pressed=True)
    boxes += "".join(_button(name, f"b{n}", colour, pressed=n == first) for name, (n, colour) in shown.items())
    maps = "".join(_button(name, f"m{n}", colour, group="map") for name, (n, colour) in shown.items())
    return (
        '<div class="controls">'
        f'<div role="group" aria-label="Boxes to show"><span>Boxes</span>{boxes}</div>'
        f'<div role="group" aria-label="Probability map to show"><span>Map</span>{maps}</div></div>'
    )


def _button(name: str, css: str, colour: str, *, pressed: bool = False, group: str = "") -> str:
    grouped = f' data-group="{group}"' if group else ""
    return (
        f'<button type="button" aria-pressed="{str(pressed).lower()}" data-shows="gallery" data-class="{css}"{grouped}>'
        f'<i class="dot" style="background:{colour}"></i>{escape(name)}</button>'
    )


def _shot(run: Run, key: str, page: Mapping[str, Any], shown: Mapping[str, tuple[int, str]]) -> str:
    width, height = (max(1, int(side)) for side in page["size"])
    results = [_result(name, page["networks"][name]) for name in shown if name in page["networks"]]
    words = f"{page['source']}: {', '.join(results)}"
    maps = "".join(
        f'<img class="layer map m{number}" alt="" src="{data}">'
        for name, (number, _) in shown.items()
        if (data := _picture(run, page["maps"].get(name, "")))
    )
    layers = f'<g class="layer truth">{"".join(_truth(page["truth"]))}</g>'
    for name, (number, colour) in shown.items():
        boxes = "".join(_boxes(page["networks"].get(name, {}).get("boxes", ())))
        layers += f'<g class="layer b{number}" stroke="{colour}">{boxes}</g>'
    picture = _picture(run, page["picture"])
    lines = "".join(f"<br>{escape(result)}" for result in results)
    image = f'<img alt="{escape(words)}" src="{picture}">' if picture else missing("The picture is missing.")
    return (
        f'<figure class="shot" id="{key}" style="--ratio:{width / height:.4f}">'
        f'<button type="button" class="stack" aria-pressed="false" data-shows="{key}" data-class="big">{image}{maps}'
        f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true">{layers}</svg></button>'
        f"<figcaption><b>{escape(str(page['source']))}</b>{lines}</figcaption></figure>"
    )


def _result(name: str, answer: Mapping[str, Any]) -> str:
    wrong = int(answer["num_det"]) - int(answer["tp"])
    return f"{name} {answer['hmean']:.2f}: {answer['tp']:g} of {answer['num_gt']:g} found, {wrong} wrong"


def _truth(truth: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for entry in truth:
        kind = ' class="care"' if entry["ignore"] else ""
        yield f'<polygon{kind} points="{_points(entry["points"])}"/>'


def _boxes(boxes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for box in boxes:
        kind = {True: "", False: ' class="wrong"', None: ' class="free"'}[box["right"]]
        yield f'<polygon{kind} points="{_points(box["points"])}"><title>{float(box["score"]):.3f}</title></polygon>'


def _points(points: Sequence[Sequence[float]]) -> str:
    return " ".join(f"{float(x):g},{float(y):g}" for x, y in points)


def _picture(run: Run, name: str) -> str:
    """A recorded JPEG as a data URI; "" where it is gone. `name` is a plain file name, whatever the record says."""
    path = run.path / VALIDATION / name.replace("\\", "/").rpartition("/")[2]
    if not path.is_file():
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"
