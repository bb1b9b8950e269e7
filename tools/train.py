#!/usr/bin/env python3
"""Train a cohort of detectors: `python tools/train.py -c configs/det_cml.yml`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ocr_cml.cli import add_config_arguments, called, exit_cleanly


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Train a cohort of text detectors.",
        epilog=f"example: {called('train')} -c configs/det_cml.yml -o Global.max_steps=100",
    )
    add_config_arguments(parser)
    parser.add_argument("--show-config", action="store_true", help="print the resolved configuration and leave")
    return parser


@exit_cleanly
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and train."""
    args = build_parser().parse_args(argv)

    from ocr_cml.commands import train

    return train(args.config, args.override, show_config=args.show_config)


if __name__ == "__main__":
    raise SystemExit(main())
