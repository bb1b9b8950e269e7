#!/usr/bin/env python3
"""Measure ours beside a plain implementation and beside PaddleOCR, in turn in one run: `python tools/benchmark.py`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ocr_cml.cli import called, exit_cleanly, given_path


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    from ocr_cml.benchmark.suite import CASES, Settings

    defaults = Settings()
    parser = argparse.ArgumentParser(
        description="Measure training, loading, evaluation and the exported detector; one table of medians.",
        epilog=f"example: {called('benchmark')} targets loader --peer_python peer/bin/python",
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"what to measure: {', '.join(CASES)}; default: all")
    parser.add_argument(
        "--rounds", type=int, default=defaults.rounds, help="rounds of each case (default: %(default)s)"
    )
    parser.add_argument(
        "--peer_python",
        default=os.environ.get("OCR_CML_PEER_PYTHON"),
        metavar="FILE",
        help="interpreter of a virtual environment with paddleocr 2.10.0 (default: $OCR_CML_PEER_PYTHON)",
    )
    parser.add_argument(
        "--peer_source",
        type=given_path,
        default=os.environ.get("OCR_CML_PEER_SOURCE"),
        metavar="DIR",
        help="a checkout of PaddleOCR, for its metric, losses and training step (default: $OCR_CML_PEER_SOURCE)",
    )
    parser.add_argument(
        "--label_file", type=given_path, metavar="FILE", help="your own pictures instead of synthetic ones"
    )
    parser.add_argument("--data_dir", type=given_path, metavar="DIR", help="where the label file's pictures are")
    parser.add_argument(
        "--model_dir", type=given_path, default=defaults.model_dir, metavar="DIR", help="an exported detector to run"
    )
    parser.add_argument("--quick", action="store_true", help="small inputs, few rounds: to see that everything works")
    parser.add_argument("--json", type=given_path, metavar="FILE", help="write every number to this file too")
    return parser


@exit_cleanly
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and measure."""
    args = build_parser().parse_args(argv)

    from ocr_cml.benchmark.command import benchmark
    from ocr_cml.benchmark.suite import Settings

    settings = Settings(
        1 if args.quick else args.rounds,
        args.peer_python,
        Path(args.peer_source) if args.peer_source else None,
        args.label_file,
        args.data_dir,
        args.model_dir,
        args.quick,
    )
    return benchmark(args.cases, settings, args.json)


if __name__ == "__main__":
    raise SystemExit(main())
