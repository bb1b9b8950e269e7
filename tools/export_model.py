#!/usr/bin/env python3
"""Write an inference model: `python tools/export_model.py -c RUN/config.yml -o Global.pretrained_model=RUN/best`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ocr_cml.cli import add_config_arguments, called, exit_cleanly


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Export a student, or the ensemble, as an inference model for Paddle and ONNX Runtime.",
        epilog=(
            f"example: {called('export_model')} -c output/det_cml/config.yml "
            "-o Global.pretrained_model=output/det_cml/best Global.save_inference_dir=output/det_cml/inference"
        ),
    )
    add_config_arguments(parser)
    parser.add_argument(
        "--student",
        default="best",
        metavar="best|ensemble|NAME|all",
        help="which network (default: best); all: every student in one --to-paddleocr file",
    )
    parser.add_argument(
        "--to-paddleocr",
        metavar="FILE",
        help="write a .pdparams checkpoint from which PaddleOCR, or a student of another run, starts",
    )
    return parser


@exit_cleanly
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and export."""
    args = build_parser().parse_args(argv)

    from ocr_cml.commands import export

    return export(args.config, args.override, student=args.student, to_paddleocr=args.to_paddleocr)


if __name__ == "__main__":
    raise SystemExit(main())
