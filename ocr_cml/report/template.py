"""The look of a report: one page without any file or host beside it, for phones, keyboards, light and dark."""

from __future__ import annotations

from html import escape

# The policy forbids the browser every request, whatever a config or a log line may hold.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'"

_LIGHT = ("#1f5fbf", "#b3461b", "#18794e", "#8a3ffc", "#846500", "#b5176b", "#0b6f87", "#57606a")
_DARK = ("#79b0ff", "#ff9a6b", "#5fd39a", "#c4a1ff", "#e3c14d", "#ff8ac4", "#5cd0e6", "#b4bcc6")
_MOST_LINES = 32  # lines of one chart that the legend can hide

_STYLE = """
:root{color-scheme:light dark;--paper:#fff;--panel:#f5f6f8;--ink:#1c2128;--dim:#57606a;--rule:#d4d9df;
--mark:#e2f3e8;LIGHT}
@media (prefers-color-scheme:dark){:root{--paper:#12161b;--panel:#1b2128;--ink:#e8ebef;--dim:#a3adb8;--rule:#38414b;
--mark:#17392a;DARK}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1180px;padding:20px 16px 48px;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Noto Sans CJK SC",sans-serif}
h1{font-size:1.55rem;line-height:1.25;margin:0 0 .4rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2.2rem 0 .7rem}
p{margin:.4rem 0}
.skip{position:absolute;left:-999px}.skip:focus{left:12px;top:8px;background:var(--paper);padding:6px 10px;z-index:2}
:focus-visible{outline:3px solid var(--s0);outline-offset:2px}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin:1rem 0;padding:0}
.facts div{background:var(--panel);border:1px solid var(--rule);border-radius:8px;padding:8px 12px}
.facts dt{color:var(--dim);font-size:.85rem}.facts dd{margin:0;font-size:1.2rem;font-weight:600;overflow-wrap:anywhere}
.facts small{display:block;font-weight:400;font-size:.8rem;color:var(--dim)}
.facts .best{background:var(--mark)}
pre{margin:0;padding:10px 12px;background:var(--panel);border:1px solid var(--rule);border-radius:8px;overflow:auto;
font:.85rem/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;tab-size:2}
pre.wrap{white-space:pre-wrap;overflow-wrap:anywhere}
.charts{margin:12px 0;display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,345px),1fr));gap:18px}
figure{margin:0}
.chart{background:var(--panel);border:1px solid var(--rule);border-radius:8px;padding:10px 10px 8px;min-width:0}
.chart.wide{grid-column:1/-1}
figcaption{font-weight:600;font-size:.95rem;margin-bottom:4px;overflow-wrap:anywhere}
.chart>svg{display:block;width:100%;max-width:560px;height:auto}
.chart>svg.broad{display:none;max-width:none}
@media (min-width:860px){.chart>svg.narrow{display:none}.chart>svg.broad{display:block}}
svg polyline,.key line{fill:none;stroke-width:2;stroke-linejoin:round}
svg .grid{stroke:var(--rule);stroke-width:1}svg .axis{stroke:var(--dim);stroke-width:1}
svg text{font-size:12px;fill:var(--dim)}svg .unit{fill:var(--ink)}
.legend{display:flex;flex-wrap:wrap;gap:4px 6px;margin-top:4px}
button{font:inherit;font-size:.85rem;color:var(--ink);background:var(--paper);border:1px solid var(--rule);
border-radius:6px;padding:4px 8px;min-height:32px;cursor:pointer;display:inline-flex;align-items:center;gap:6px;
overflow-wrap:anywhere;text-align:left}
.legend button[aria-pressed=false]{text-decoration:line-through;color:var(--dim)}
.key{width:28px;height:10px;flex:none}
.scroll{overflow:auto;max-height:70vh;border:1px solid var(--rule);border-radius:8px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--dim);padding:6px 12px;font-size:.9rem}
th,td{padding:5px 12px;text-align:right;white-space:nowrap;border-top:1px solid var(--rule)}
thead th{position:sticky;top:0;background:var(--panel);border-top:0}
th:first-child{text-align:left}
td.best{background:var(--mark);font-weight:700}
@media (max-width:500px){th,td{padding:5px 8px;font-size:.9rem}}
.missing{color:var(--dim);font-style:italic}
.warnings{border-left:4px solid var(--s1);padding-left:12px}
.preview{overflow:auto;border-radius:8px;border:1px solid var(--rule);margin-top:8px}
.preview img{display:block;width:100%;height:auto}
.preview.full img{width:auto;max-width:none}
h3{font-size:1rem;margin:1.2rem 0 .5rem}
.controls{position:sticky;top:0;z-index:1;background:var(--paper);padding:6px 0;border-bottom:1px solid var(--rule)}
.controls>div{display:flex;flex-wrap:wrap;gap:4px 6px;align-items:center;padding:2px 0}
.controls span{color:var(--dim);font-size:.85rem;min-width:5.2em}
.controls button[aria-pressed=true]{background:var(--mark);border-color:var(--dim)}
.controls button[aria-pressed=false]{color:var(--dim)}
.dot{width:12px;height:12px;border-radius:3px;flex:none;border:1px solid #0008}
.shots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,260px),1fr));gap:14px;align-items:start}
.shot{background:var(--panel);border:1px solid var(--rule);border-radius:8px;overflow:hidden;min-width:0}
.shot.big{grid-column:1/-1}
.shot.big .stack{max-width:min(100%,calc(88vh * var(--ratio)));margin:0 auto}
.shot figcaption{font-weight:400;font-size:.85rem;padding:6px 10px;margin:0}
.shot figcaption b{overflow-wrap:anywhere}
.stack{position:relative;display:block;width:100%;padding:0;border:0;border-radius:0;background:none;cursor:zoom-in;
aspect-ratio:var(--ratio)}
.shot.big .stack{cursor:zoom-out}
.stack>*{position:absolute;inset:0;width:100%;height:100%}
.stack .map{opacity:.82}
.stack polygon{fill:none;stroke-width:2;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.stack g{filter:drop-shadow(0 0 1px #000)}.stack .truth{filter:drop-shadow(0 0 1px #000) drop-shadow(0 0 1px #000)}
.stack .truth polygon{stroke:#fff;stroke-dasharray:5 4;stroke-width:2}
.stack .truth .care{stroke:#c9c9c9;stroke-dasharray:1 4;stroke-width:2.5}
.stack .wrong{fill:#f002;stroke-dasharray:9 4}
.stack .free{stroke-dasharray:2 4}
.layer{display:none}
@media (max-width:500px){.shots{grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:8px}
.shot figcaption{padding:4px 6px;font-size:.8rem;line-height:1.35}}
details{margin-top:.6rem}summary{cursor:pointer;font-weight:600;padding:4px 0}
footer{margin-top:2.5rem;color:var(--dim);font-size:.85rem}
"""

_SCRIPT = """
function press(button, pressed) {
  button.setAttribute("aria-pressed", pressed);
  const target = document.getElementById(button.dataset.hides || button.dataset.shows);
  target.classList.toggle(button.dataset.class, button.dataset.hides ? !pressed : pressed);
}
for (const button of document.querySelectorAll("button[data-class]")) button.addEventListener("click", () => {
  const pressed = button.getAttribute("aria-pressed") !== "true";
  // Of buttons with one data-group at most one is pressed.
  if (pressed && button.dataset.group)
    for (const other of document.querySelectorAll(`button[data-group="${button.dataset.group}"][aria-pressed=true]`))
      press(other, false);
  press(button, pressed);
});
"""


BEGIN = (
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta http-equiv="Content-Security-Policy" content="'
)
"""Of every page; by it a file is known as one of ours."""


def page(title: str, body: str) -> str:
    """A whole HTML document. `title` is plain text; `body` is HTML whose values are escaped already."""
    layers = "".join(f"#gallery.{kind}{n} .{kind}{n}{{display:block}}" for kind in "bm" for n in range(_MOST_LINES))
    layers += "#gallery.truths .truth{display:block}"
    hidden = "".join(f".off{n} .l{n}{{display:none}}" for n in range(_MOST_LINES))
    style = _STYLE.replace("LIGHT", _variables(_LIGHT)).replace("DARK", _variables(_DARK)) + hidden + layers
    return (
        f'{BEGIN}{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n'
        f'<a class="skip" href="#content">Skip to the content</a>\n<main id="content">\n{body}\n</main>\n'
        f"<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def section(heading: str, *parts: str) -> str:
    """A section under a plain-text heading."""
    return f"<section><h2>{escape(heading)}</h2>{''.join(parts)}</section>"


def code(text: str) -> str:
    """Plain text in the typeface of code; long lines wrap."""
    return f'<pre class="wrap">{escape(text)}</pre>'


def missing(words: str) -> str:
    """A line that says what there is not."""
    return f'<p class="missing">{escape(words)}</p>'


def facts(entries: list[tuple[str, str, str]]) -> str:
    """Cards of (name, value, remark); the first is marked as the result."""
    cards = []
    for number, (name, value, remark) in enumerate(entries):
        small = f"<small>{escape(remark)}</small>" if remark else ""
        kind = ' class="best"' if number == 0 else ""
        cards.append(f"<div{kind}><dt>{escape(name)}</dt><dd>{escape(value)}{small}</dd></div>")
    return f'<dl class="facts">{"".join(cards)}</dl>'


def table(
    caption: str, header: list[str], rows: list[list[str]], best: frozenset[tuple[int, int]] = frozenset()
) -> str:
    """A table of plain-text cells in a box that scrolls; the first cell of a row is its heading.

    Args:
        caption: what the table shows.
        header: one cell a column.
        rows: as many cells each.
        best: (row, column) of the cells to mark.
    """
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    lines = []
    for number, (first, *cells) in enumerate(rows):
        line = f'<th scope="row">{escape(first)}</th>'
        for column, cell in enumerate(cells, start=1):
            marked = (number, column) in best
            line += f'<td class="best">★ {escape(cell)}</td>' if marked else f"<td>{escape(cell)}</td>"
        lines.append(f"<tr>{line}</tr>")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def fold(summary: str, text: str) -> str:
    """Plain text behind a line to open."""
    return f'<details><summary>{escape(summary)}</summary><pre tabindex="0">{escape(text)}</pre></details>'


def _variables(colours: tuple[str, ...]) -> str:
    return "".join(f"--s{number}:{colour};" for number, colour in enumerate(colours))
