#!/usr/bin/env python3
"""Compare methods over seeds, on your data: `python tools/compare.py -c configs/compare.yml`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ocr_cml.cli import add_config_arguments, called, exit_cleanly
from ppocr_data.errors import ConfigError


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Train each method over several seeds and say which helps, by how much, with its uncertainty.",
        epilog=(
            f"example: {called('compare')} -c configs/compare.yml -o only=[alone,dml2,cml] seeds=[1,2] "
            "Global.max_steps=200; started again, it goes on where it was stopped"
        ),
    )
    add_config_arguments(parser, "configs/compare.yml")
    parser.add_argument("--report-only", action="store_true", help="train nothing; remake the tables of finished runs")
    parser.add_argument(
        "--differences",
        metavar="METHOD",
        help="afterwards, show evaluation images that this method's best student and the best alone answer differently",
    )
    parser.add_argument(
        "--without-images",
        action="store_true",
        help="with --differences: draw on white, beside the labels, for images that must not be passed on",
    )
    return parser


@exit_cleanly
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and compare."""
    args = build_parser().parse_args(argv)
    if args.without_images and not args.differences:
        raise ConfigError("--without-images draws nothing by itself: say of which method, --differences METHOD")

    from ocr_cml.compare import compare

    return compare(
        args.config,
        args.override,
        report_only=args.report_only,
        differences=args.differences,
        images=not args.without_images,
    )


if __name__ == "__main__":
    raise SystemExit(main())
