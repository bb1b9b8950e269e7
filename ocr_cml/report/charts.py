"""Line charts as inline SVG: no library, readable on a phone, described in words for those who do not see them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = 8
"""Series colours that the page's style sheet defines for light and dark, as `--s0` to `--s7`."""

_MOST_POINTS = 600
_MARKED_POINTS = 60  # up to so many points each has a dot with its value
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 26, 40
_DASHES = ("", "7 4", "2 3", "9 3 2 3")


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: as it stands in the legend.
        points: finite (x, y), by rising x; one point is drawn as a dot.
        colour: which of the page's series colours, taken modulo `COLOURS`.
        dash: which dash pattern, 0 for a whole line.
        labels: what the dots say, one for each point; by default their value.
        level: the (single) point's height is drawn across the whole chart.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    dash: int = 0
    labels: Sequence[str] = ()
    level: bool = False


@dataclass(frozen=True)
class Chart:
    """What a chart shows.

    Attributes:
        key: an id, unique on the page.
        title: above the chart.
        unit, x_unit: names of the axes.
        series: its lines.
        wide: it has a second form, for large screens, across the page.
        from_zero: the y axis starts at 0, so that heights compare as amounts.
        x_range: what the x axis spans; by default from step 0 to the last point.
    """

    key: str
    title: str
    unit: str
    series: Sequence[Series]
    x_unit: str = "step"
    wide: bool = False
    from_zero: bool = False
    x_range: tuple[float, float] | None = None


def charts(shown: Iterable[Chart]) -> str:
    """Charts side by side, as many as the page is wide."""
    return f'<div class="charts">{"".join(figure(chart) for chart in shown)}</div>'


def figure(chart: Chart) -> str:
    """A chart with its legend as an HTML figure. Without any point it says so."""
    shown = [series for series in chart.series if series.points]
    if not shown:
        nothing = '<p class="missing">Nothing recorded.</p>'
        return f'<figure class="chart"><figcaption>{escape(chart.title)}</figcaption>{nothing}</figure>'
    sizes = [(400, 250, "narrow"), (1130, 320, "broad")] if chart.wide else [(400, 250, "")]
    drawings = "".join(_svg(chart, shown, *size) for size in sizes)
    legend = "".join(_legend_entry(chart, number, series) for number, series in enumerate(shown))
    kind = "chart wide" if chart.wide else "chart"
    return (
        f'<figure class="{kind}" id="{escape(chart.key)}"><figcaption>{escape(chart.title)}</figcaption>{drawings}'
        f'<div class="legend" role="group" aria-label="{escape(chart.title)}: shown lines">{legend}</div></figure>'
    )


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that cover [low, high], about `wanted` of them."""
    raw = (high - low) / max(1, wanted - 1)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def thinned(points: Sequence[tuple[float, float]], most: int = _MOST_POINTS) -> list[tuple[float, float]]:
    """At most about `most` points that keep each stretch's lowest and highest, so that no spike is lost."""
    if len(points) <= most:
        return list(points)
    stretch = math.ceil(len(points) / (most // 2))
    kept: list[tuple[float, float]] = []
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return sorted({points[0], *kept, points[-1]})


# --- drawing ----------------------------------------------------------------------------------------------------------


def _span(values: Sequence[float], from_zero: bool) -> tuple[float, float]:
    """A range with some extent; it starts at 0 where that costs little of the height."""
    low, high = min(values), max(values)
    if low > 0 and (from_zero or low < 0.5 * high):
        low = 0.0
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # the same number, but for its last bits
        low, high = (low - abs(low) * 0.1, high + abs(high) * 0.1) if high else (0.0, 1.0)
    return low, high


def _number(value: float) -> str:
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        mantissa, _, exponent = f"{value:.3g}".partition("e")
        return f"{mantissa}e{int(exponent)}" if exponent else mantissa
    return f"{value:.5g}"


def _svg(chart: Chart, shown: Sequence[Series], width: int, height: int, kind: str) -> str:
    steps = [x for series in shown for x, _ in series.points if not series.level] or [0.0]
    x_low, x_high = chart.x_range or (min(0.0, *steps), max(1.0, *steps))
    y_ticks = ticks(*_span([y for series in shown for _, y in series.points], chart.from_zero))
    inner_width, inner_height = width - _LEFT - _RIGHT, height - _TOP - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low)
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return round(_LEFT + across * inner_width, 1), round(_TOP + (1 - up) * inner_height, 1)

    parts = [_axes(chart, place, y_ticks, (x_low, x_high), width, height)]
    for number, series in enumerate(shown):
        points = [(x_low, series.points[0][1]), (x_high, series.points[0][1])] if series.level else series.points
        parts.append(_line(number, series, [(*place(x, y), x, y) for x, y in thinned(points)]))
    name = f"{escape(chart.key)}-{kind or 'plot'}"
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{escape(chart.title)}</title>'
        f'<desc id="{name}-d">{escape(_in_words(chart, shown))}</desc>'
        f"{''.join(parts)}</svg>"
    )


def _axes(
    chart: Chart,
    place: Callable[[float, float], tuple[float, float]],
    y_ticks: Sequence[float],
    x_range: tuple[float, float],
    width: int,
    height: int,
) -> str:
    parts = [f'<text class="unit" x="4" y="13">{escape(chart.unit)}</text>']
    for tick in y_ticks:
        _, y = place(x_range[0], tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{_number(tick)}</text>')
    for tick in ticks(*x_range, wanted=max(4, width // 110)):
        if x_range[0] <= tick <= x_range[1] and (chart.x_range or tick == int(tick)):
            x, y = place(tick, y_ticks[0])
            parts.append(f'<line class="axis" x1="{x}" x2="{x}" y1="{y}" y2="{y + 4}"/>')
            parts.append(f'<text class="tick" x="{x}" y="{y + 17}" text-anchor="middle">{_number(tick)}</text>')
    bottom = height - _BOTTOM
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    middle = _LEFT + (width - _LEFT - _RIGHT) / 2
    parts.append(f'<text class="unit" x="{middle}" y="{height - 6}" text-anchor="middle">{escape(chart.x_unit)}</text>')
    return "".join(parts)


def _line(number: int, series: Series, points: Sequence[tuple[float, float, float, float]]) -> str:
    """One series; `points` are (x on the page, y on the page, x, y)."""
    style = f"stroke:var(--s{series.colour % COLOURS})"
    parts = []
    if len(points) > 1:
        dash = _DASHES[series.dash % len(_DASHES)]
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        path = " ".join(f"{px},{py}" for px, py, _, _ in points)
        parts.append(f'<polyline style="{style}"{dashed} points="{path}"/>')
    if len(points) <= _MARKED_POINTS and not series.level:
        labels = series.labels if len(series.labels) == len(points) else [f"{y:.5g} at {x:g}" for *_, x, y in points]
        for (px, py, _, _), label in zip(points, labels, strict=True):
            value = escape(f"{series.name}: {label}")
            fill = f"fill:var(--s{series.colour % COLOURS})"
            parts.append(f'<circle style="{fill}" cx="{px}" cy="{py}" r="2.6"><title>{value}</title></circle>')
    return f'<g class="series l{number}">{"".join(parts)}</g>'


def _legend_entry(chart: Chart, number: int, series: Series) -> str:
    dash = _DASHES[series.dash % len(_DASHES)]
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    sample = (
        '<svg class="key" viewBox="0 0 28 10" aria-hidden="true">'
        f'<line style="stroke:var(--s{series.colour % COLOURS})"{dashed} x1="0" x2="28" y1="5" y2="5"/></svg>'
    )
    return (
        f'<button type="button" aria-pressed="true" data-hides="{escape(chart.key)}" data-class="off{number}">'
        f"{sample}{escape(series.name)}</button>"
    )


def _in_words(chart: Chart, shown: Sequence[Series]) -> str:
    sentences = []
    for series in shown:
        values = [y for _, y in series.points]
        (first, begin), (last, end) = series.points[0], series.points[-1]
        if series.level:
            sentences.append(f"{series.name}: constant at {begin:.4g}.")
        elif len(values) == 1:
            sentences.append(f"{series.name}: {begin:.4g} at {chart.x_unit} {first:g}.")
        else:
            sentences.append(
                f"{series.name}: from {begin:.4g} at {chart.x_unit} {first:g} to {end:.4g} at {chart.x_unit} {last:g}, "
                f"lowest {min(values):.4g}, highest {max(values):.4g}."
            )
    return f"{chart.unit} by {chart.x_unit}. " + " ".join(sentences)
