#!/usr/bin/env python3
"""Score students, ensemble and teachers: `tools/eval.py -c RUN/config.yml -o Global.pretrained_model=RUN/best`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ocr_cml.cli import add_config_arguments, called, exit_cleanly, given_path


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Score every student, the ensemble and the teachers on the evaluation set, or an inference model.",
        epilog=(
            f"example: {called('eval')} -c output/det_cml/config.yml "
            "-o Global.pretrained_model=output/det_cml/best --tune"
        ),
    )
    add_config_arguments(parser)
    parser.add_argument(
        "--model_dir",
        type=given_path,
        metavar="DIR",
        help="score this inference model instead of a run's networks: an exported folder, an .onnx file, or the name "
        "of a published detector; of the configuration the evaluation set, PostProcess and the resize rule count",
    )
    parser.add_argument("--json", metavar="FILE", help="write the scores there as well")
    parser.add_argument(
        "--tune", action="store_true", help="fit thresh, box_thresh and unclip_ratio on the evaluation set"
    )
    return parser


@exit_cleanly
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and evaluate."""
    args = build_parser().parse_args(argv)

    from ocr_cml.commands import evaluate

    return evaluate(args.config, args.override, json_path=args.json, tune=args.tune, model=args.model_dir)


if __name__ == "__main__":
    raise SystemExit(main())
