"""Convert a public data set to PaddleOCR label files, or generate the synthetic one."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ocr_cml.cli import exit_cleanly
from ppocr_data import synth
from ppocr_data.convert import convert, overrides
from ppocr_data.convert_split import by_company, by_list, by_number

EXAMPLES = """examples:
  python tools/prepare_data.py icdar2015 --images ch4_training_images \\
      --labels ch4_training_localization_transcription_gt --output data/icdar2015 --val-first-id 901
  python tools/prepare_data.py sroie --images train/img --labels train/box --output data/sroie --val-count 30
  python tools/prepare_data.py synth --output data/synth --train 400 --val 60
"""


@exit_cleanly
def main(argv: list[str] | None = None) -> int:
    """Run one sub-command and print the `-o` arguments that make a training use its result."""
    arguments = _parser().parse_args(argv)
    arguments.run(arguments)
    return 0


def _parser() -> argparse.ArgumentParser:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES, formatter_class=style)
    commands = parser.add_subparsers(required=True, metavar="icdar2015|sroie|synth")
    icdar = commands.add_parser(
        "icdar2015", help="ICDAR 2015 Incidental Scene Text", epilog=EXAMPLES, formatter_class=style
    )
    split = _add_source(icdar, "icdar2015")
    split.add_argument("--val-first-id", type=int, default=901, metavar="N", help="validate on images N and up (901)")
    sroie = commands.add_parser("sroie", help="ICDAR 2019 SROIE receipts", epilog=EXAMPLES, formatter_class=style)
    split = _add_source(sroie, "sroie")
    split.add_argument(
        "--val-count", type=int, default=30, metavar="N", help="validate on N receipts, whole companies (30)"
    )
    synthetic = commands.add_parser("synth", help="the synthetic set", epilog=EXAMPLES, formatter_class=style)
    synthetic.set_defaults(run=_synthesise)
    synthetic.add_argument(
        "--output", type=Path, required=True, help="the folder to make; a set made earlier is replaced"
    )
    synthetic.add_argument("--train", type=int, default=400, metavar="N", help="training images (400)")
    synthetic.add_argument("--val", type=int, default=60, metavar="N", help="validation images (60)")
    synthetic.add_argument("--size", type=int, nargs=2, default=(384, 384), metavar=("H", "W"), help="pixels (384 384)")
    synthetic.add_argument("--seed", type=int, default=2026, help="the whole set follows from it (2026)")
    synthetic.add_argument(
        "--fonts", type=Path, metavar="FOLDER", help=".ttf and .otf files instead of the shipped fonts"
    )
    return parser


def _add_source(parser: argparse.ArgumentParser, data_format: str) -> argparse._MutuallyExclusiveGroup:
    """The options that all converters share; the group that takes further ways to split."""
    parser.set_defaults(run=functools.partial(_convert, data_format))
    parser.add_argument("--images", type=Path, required=True, help="the set's image folder (only read)")
    parser.add_argument("--labels", type=Path, required=True, help="the set's label folder (only read)")
    parser.add_argument("--output", type=Path, required=True, help="where train.txt and val.txt go")
    parser.add_argument("--copy", action="store_true", help="copy the images to OUTPUT/images")
    split = parser.add_mutually_exclusive_group()
    split.add_argument("--val", type=Path, metavar="LIST_FILE", help="validate on the images named there, one a line")
    return split


def _convert(data_format: str, arguments: argparse.Namespace) -> None:
    if arguments.val is not None:
        split = functools.partial(by_list, listing=arguments.val)
    elif data_format == "sroie":
        split = functools.partial(by_company, count=arguments.val_count)
    else:
        split = functools.partial(by_number, first=arguments.val_first_id)
    source = {"images": arguments.images, "labels": arguments.labels, "output": arguments.output}
    with _progress_bar() as progress:
        done = convert(data_format, **source, split=split, copy=arguments.copy, progress=progress)
    print(done.summary)
    print(f"\nTo train on it, add:\n{done.overrides()}")


def _synthesise(arguments: argparse.Namespace) -> None:
    with _progress_bar() as progress:
        synth.generate(
            arguments.output,
            train=arguments.train,
            val=arguments.val,
            size=tuple(arguments.size),
            seed=arguments.seed,
            fonts=arguments.fonts,
            progress=progress,
        )
    folder = arguments.output
    print(f"train: {arguments.train} images\nval: {arguments.val} images")
    print(f"\nTo train on it, add:\n{overrides(folder, folder / 'train.txt', folder / 'val.txt')}")


@contextmanager
def _progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error where that is a terminal, else nothing."""
    with tqdm(unit="image", disable=None, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


if __name__ == "__main__":
    raise SystemExit(main())
