"""What is drawn of a run: its records as charts."""

from __future__ import annotations

from ocr_cml.records import AGREEMENT
from ocr_cml.report.charts import Chart, Series, charts
from ocr_cml.report.run import Run
from ocr_cml.report.template import missing
from ocr_cml.report.validation import curve, precision_recall

TEACHER_COLOUR = 7
_OWN = ("step", "loss", "lr", "seconds", "steps")


def score_chart(run: Run) -> str:
    """hmean of every student and the ensemble over time, and the teachers' as level lines."""
    if not run.evaluations:
        return missing("No evaluation is recorded.")
    series = [Series(name, run.hmean(name), *_style(run, name)) for name in run.networks]
    start = min(run.evaluations)
    for number, (name, score) in enumerate(run.teachers.items(), start=1):
        if "hmean" in score:
            series.append(Series(as_teacher(name), [(start, score["hmean"])], TEACHER_COLOUR, dash=number, level=True))
    return charts([Chart("hmean", "hmean on the evaluation set", "hmean", series, wide=True)])


def colours(run: Run) -> dict[str, int]:
    """A network has one colour on the whole page; the teachers have the last."""
    return {name: number % TEACHER_COLOUR for name, number in _places(run).items()}


def _places(run: Run) -> dict[str, int]:
    """Students and ensemble, numbered."""
    names = run.networks or list(dict.fromkeys(_learner(label) for label in _terms(run)))
    return {name: number for number, name in enumerate(names)}


def _style(run: Run, name: str) -> tuple[int, int]:
    """Colour and dash of a network's line: where colours come again, its dashes are others."""
    place = _places(run).get(name)
    return (TEACHER_COLOUR, 0) if place is None else (place % TEACHER_COLOUR, place // TEACHER_COLOUR)


def score_details(run: Run) -> list[Chart]:
    """Precision over recall of every network, and how far the students agree over time."""
    found = []
    if run.validation:
        curves = run.validation["curves"]
        found.append(precision_recall([curve(name, points, *_style(run, name)) for name, points in curves.items()]))
    pairs = [key for key in _keys(run) if key.startswith(AGREEMENT)]
    series = [
        Series(
            pair[len(AGREEMENT) :].replace(",", " and "),
            _values(run, pair),
            number % TEACHER_COLOUR,
            dash=number // TEACHER_COLOUR,
        )
        for number, pair in enumerate(pairs)
    ]
    if series:
        found.append(Chart("agreement", "Agreement of the students on training batches", "Dice", series))
    return found


def as_teacher(name: str) -> str:
    """A teacher's name that says that it is one."""
    return name if "teacher" in name.lower() else f"{name} (teacher)"


def _keys(run: Run) -> list[str]:
    """What the log points hold beside the step's own numbers, in the order of their first record."""
    return list(dict.fromkeys(key for entry in run.logged for key in entry if key not in _OWN))


def _terms(run: Run) -> list[str]:
    """Labels of the loss terms."""
    return [key for key in _keys(run) if not key.startswith(AGREEMENT)]


def _learner(label: str) -> str:
    """`Student` of `mutual/Student<-Student2#2`."""
    return label.partition("/")[2].partition("<-")[0].partition("#")[0]


def _values(run: Run, key: str) -> list[tuple[float, float]]:
    return [(entry["step"], entry[key]) for entry in run.logged if key in entry]


def loss_charts(run: Run) -> list[Chart]:
    """The weighted total, then one chart for each kind of term: kinds differ in size by orders of magnitude."""
    drawn_charts = [
        Chart("loss", "Total loss (weighted)", "loss", [Series("total", _values(run, "loss"), TEACHER_COLOUR)])
    ]
    kinds: dict[str, list[Series]] = {}
    for label in _terms(run):
        kind, _, rest = label.partition("/")
        colour, _ = _style(run, _learner(label))
        drawn = kinds.setdefault(kind, [])
        dash = sum(series.colour == colour for series in drawn)
        drawn.append(Series(rest.replace("<-", " ← ") or label, _values(run, label), colour, dash))
    for number, (kind, series) in enumerate(kinds.items()):
        drawn_charts.append(Chart(f"term{number}", f"Term {kind} (unweighted)", "loss", series))
    return drawn_charts


def pace_charts(run: Run) -> list[Chart]:
    """The learning rate, and seconds a step."""
    rate = Series("learning rate", _values(run, "lr"), TEACHER_COLOUR)
    pace = Series("seconds a step", run.step_seconds, TEACHER_COLOUR)
    return [
        Chart("lr", "Learning rate", "rate", [rate], from_zero=True),
        Chart("pace", "Time a step", "seconds", [pace], from_zero=True),
    ]
