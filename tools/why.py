#!/usr/bin/env python3
"""What mutual learning did to finished runs: `python tools/why.py output/det_student output/det_cml`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ocr_cml.cli import called, exit_cleanly, given_path


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=(
            "Measure every student of finished runs: loss under weight noise (flat minima), entropy and calibration on "
            "text pixels, and agreement between students over the training. One figure each, a table, and the numbers."
        ),
        epilog=f"example: {called('why')} output/compare/runs/{{alone,dml2,cml}}/seed* --output output/why",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="a run folder, or LABEL=FOLDER; equal labels are pooled")
    parser.add_argument("--output", metavar="DIR", type=given_path, default=Path("output/why"), help="(%(default)s)")
    parser.add_argument(
        "--weights", choices=("latest", "best"), default="latest", help="the end of each run, or its best (%(default)s)"
    )
    parser.add_argument("--images", type=int, default=40, help="crops and held-out images, each at most (%(default)s)")
    parser.add_argument("--draws", type=int, default=3, help="draws of noise for each deviation (%(default)s)")
    parser.add_argument("--noise", type=float, nargs="+", metavar="SIGMA", help="its deviations, 0 first, rising")
    parser.add_argument(
        "--scale",
        choices=("relative", "absolute"),
        default="relative",
        help="noise in shares of each weight tensor's root mean square, or absolute as in the paper (%(default)s)",
    )
    return parser


@exit_cleanly
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and measure."""
    args = build_parser().parse_args(argv)

    from ocr_cml.why import SIGMAS, explain

    return explain(
        args.runs,
        args.output,
        weights=args.weights,
        images=args.images,
        draws=args.draws,
        sigmas=args.noise or SIGMAS,
        scale=args.scale,
    )


if __name__ == "__main__":
    raise SystemExit(main())
