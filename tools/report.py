#!/usr/bin/env python3
"""Remake a run's report, or compare runs: `python tools/report.py RUN [RUN ...]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ocr_cml.cli import called, exit_cleanly, given_path


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Write RUN/report.html; of several runs, a comparison into the first one's compare.html.",
        epilog=f"example: {called('report')} output/det_cml output/det_student --output compare.html",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", type=given_path, help="a run folder (Global.save_model_dir)")
    parser.add_argument("--output", metavar="FILE", type=given_path, help="write the page there instead")
    return parser


@exit_cleanly
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and write the page."""
    args = build_parser().parse_args(argv)

    from ocr_cml.report import write_report

    print(write_report(args.runs, args.output, lambda note: print(f"warning: {note}", file=sys.stderr)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
