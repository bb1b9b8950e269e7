#!/usr/bin/env python3
"""Find text in pictures: `python tools/infer_det.py --model_dir DIR --image FILE_OR_FOLDER --output OUT`."""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ocr_cml.cli import USER_MISTAKE, called, exit_cleanly, given_path
from ppocr_data.errors import ConfigError


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Find text in pictures with an exported detector; writes OUT/results.txt and pictures.",
        epilog=f"example: {called('infer_det')} --model_dir output/det_cml/inference --image photos --output found",
    )
    parser.add_argument(
        "--model_dir",
        type=given_path,
        required=True,
        metavar="DIR",
        help="an exported folder, an .onnx file, or a published detector's name",
    )
    parser.add_argument(
        "--image",
        type=given_path,
        required=True,
        nargs="+",
        metavar="FILE_OR_FOLDER",
        help="what to look at, one or several",
    )
    parser.add_argument(
        "--output", type=given_path, required=True, metavar="OUT", help="folder for results.txt and pictures"
    )
    parser.add_argument(
        "--engine", choices=("auto", "paddle", "onnx"), default="auto", help="default: the fastest here"
    )
    parser.add_argument("--device", default="cpu", help="cpu (default), gpu or gpu:N")
    parser.add_argument("--batch_size", type=int, default=1, help="images of equal size at once; worth it on a GPU")
    return parser


@exit_cleanly
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and detect; exit code 2 if an image could not be read."""
    args = build_parser().parse_args(argv)

    if args.batch_size < 1:
        raise ConfigError(f"--batch_size: must be at least 1, is {args.batch_size}")
    from ocr_cml.environment import tune_process

    tune_process()
    from tqdm import tqdm

    from ocr_cml import model_store
    from ocr_cml.infer import detect_files, find_images, further_pages, left_out, load_detector, without_settings
    from ocr_cml.log import only_warn

    only_warn()
    paths = list(dict.fromkeys(path for given in args.image for path in find_images(given)))
    for others in filter(None, [*map(left_out, args.image), further_pages(paths)]):
        print(f"note: {others}", file=sys.stderr)
    model = model_store.resolve(args.model_dir)
    detector = load_detector(model, args.engine, args.device)
    if stated := without_settings(model):
        print(f"note: {stated}", file=sys.stderr)
    progress = functools.partial(tqdm, total=len(paths), unit="image", file=sys.stderr)
    summary = detect_files(detector, paths, args.output, args.batch_size, progress)
    for failure in summary.failures:
        print(f"error: {failure}", file=sys.stderr)
    print(f"{summary.images} images, {summary.boxes} boxes, {len(summary.failures)} failed: {args.output}")
    return USER_MISTAKE if summary.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
