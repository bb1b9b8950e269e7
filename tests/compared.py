"""Comparisons in miniature: what is planned over a tiny base, and what finished runs leave behind, made up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tiny

from ocr_cml import config
from ocr_cml.compare import OUTCOME
from ocr_cml.compare.outcome import PlannedRun
from ocr_cml.compare.plan import Plan, make_plan

REPOSITORY = Path(__file__).resolve().parent.parent
ALONE: dict[str, Any] = {"name": "alone", "students": "max", "terms": [tiny.LABELS]}
DML: dict[str, Any] = {"name": "dml2", "students": 2, "terms": [tiny.LABELS, tiny.MUTUAL]}
ONE: dict[str, Any] = {"name": "one", "teacher": "network", "terms": [tiny.LABELS, {"STLoss": {"temperature": 2.0}}]}


def described(folder: Path, methods: Sequence[dict[str, Any]] = (ALONE, DML), **keys: Any) -> Path:
    """A compare.yml over a tiny base (which need not have data: nothing is read before a training)."""
    base = tiny.write(tiny.settings(folder / "data", folder / "elsewhere"), folder / "base.yml")
    given = {"base": str(base), "output": str(folder / "out"), "seeds": [1, 2], "methods": list(methods)} | keys
    return tiny.write(given, folder / "compare.yml")


def plan_of(folder: Path, methods: Sequence[dict[str, Any]] = (ALONE, DML), **keys: Any) -> Plan:
    return make_plan(described(folder, methods, **keys))


def finish(
    run: PlannedRun,
    *evaluations: Sequence[float],
    ensemble: float = 0.9,
    code: int = 0,
    cores: Sequence[int] | None = None,
) -> None:
    """The folder of a run that evaluated each student every ten steps: a second for every two steps."""
    run.folder.mkdir(parents=True, exist_ok=True)
    config.save(run.config, run.folder / "config.yml")
    names = list(run.config.students)
    records: list[dict[str, Any]] = []
    for number, scores in enumerate(evaluations, start=1):
        records.append({"step": 10 * number, "loss": 1.0, "lr": 0.1, "seconds": 5.0})
        each = {name: {"hmean": score} for name, score in zip(names, scores, strict=True)}
        if len(names) > 1:
            each["ensemble"] = {"hmean": ensemble}
        records.append({"step": 10 * number, "eval": each})
    text = "".join(json.dumps(record) + "\n" for record in records)
    (run.folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    outcome: dict[str, Any] = {"exit_code": code, "wall_seconds": 61.25, "peak_bytes": 300 * 1024 * 1024}
    outcome |= {"cores": list(cores)} if cores else {}
    (run.folder / OUTCOME).write_text(json.dumps(outcome), encoding="utf-8")


def finish_both(plan: Plan) -> None:
    """Two seeds of two students alone and of a cohort of two."""
    finish(plan.run("alone", 1), [0.50, 0.60])
    finish(plan.run("alone", 2), [0.70, 0.40])
    finish(plan.run("dml2", 1), [0.66, 0.62], ensemble=0.70)
    finish(plan.run("dml2", 2), [0.60, 0.72], ensemble=0.80)
