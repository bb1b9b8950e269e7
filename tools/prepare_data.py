"""Prepare data: convert a public data set or a labelling tool's folder, check labels, or make the synthetic set."""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ocr_cml.cli import called, exit_cleanly, given_path
from ocr_cml.progress_bar import progress_bar
from ppocr_data import synth
from ppocr_data.check import check
from ppocr_data.check import report as check_report
from ppocr_data.check.sheets import draw_sheets
from ppocr_data.convert import FORMATS, Part, Source, convert, refuse_to_replace
from ppocr_data.convert.choice import OWN_RULES, SEED, SHARE, Wanted, chosen_rule, refuse_options_of_chance
from ppocr_data.convert.report import next_steps, summary
from ppocr_data.convert.split import Rule
from ppocr_data.decode import DecodeImage
from ppocr_data.errors import DataError

EXAMPLES = """examples:
  {program} icdar2015 --images ch4_training_images \\
      --labels ch4_training_localization_transcription_gt --output data/icdar2015
  {program} totaltext --images Images/Train --labels Polygon/Train \\
      --val-images Images/Test --val-labels Polygon/Test --output data/totaltext
  {program} sroie --images train/img --labels train/box --output data/sroie --val-count 30
  {program} ppocrlabel --images my_photos --output data/mine --val-share 0.2
  {program} synth --output data/synth --train 400 --val 60
  {program} check data/mine/train.txt data/mine/val.txt --data-dir my_photos
"""
CHECK = """Look for label mistakes: what a training would refuse, and what is allowed but looks wrong.

Prints what was found and writes OUTPUT/check.json, and OUTPUT/KIND.jpg with the suspicious texts drawn. The exit code
is 0 where a training would accept the labels, 1 where it would refuse some (with --strict: where anything was found),
2 where the check itself cannot be done.
"""
BESIDE_IMAGES = ("labelme", "ppocrlabel", "td500")  # formats whose labels lie in the image folder as a rule


@exit_cleanly
def main(argv: list[str] | None = None) -> int:
    """Run one sub-command. Returns the exit code."""
    arguments = build_parser().parse_args(argv)
    return arguments.run(arguments)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    style = argparse.RawDescriptionHelpFormatter
    examples = EXAMPLES.format(program=called("prepare_data"))
    parser = argparse.ArgumentParser(description=__doc__, epilog=examples, formatter_class=style)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for name, reader in FORMATS.items():
        text = (reader.__doc__ or "").strip()
        command = commands.add_parser(
            name,
            help=str(sys.modules[reader.__module__].__doc__).partition("\n")[0].partition(":")[0].rstrip("."),
            description=text.replace("\n    ", "\n"),
            epilog=examples,
            formatter_class=style,
        )
        _add_source(command, name)
        _add_split(command, name)
    synthetic = commands.add_parser("synth", help="the synthetic set", epilog=examples, formatter_class=style)
    _add_synth(synthetic)
    checker = commands.add_parser(
        "check", help="look for label mistakes", description=CHECK, epilog=examples, formatter_class=style
    )
    _add_check(checker)
    return parser


def _add_source(parser: argparse.ArgumentParser, data_format: str) -> None:
    parser.set_defaults(run=functools.partial(_convert, data_format))
    parser.add_argument(
        "--images", type=given_path, required=True, metavar="FOLDER", help="the set's images (only read)"
    )
    beside = data_format in BESIDE_IMAGES
    parser.add_argument(
        "--labels",
        type=given_path,
        required=not beside,
        metavar="FILE" if data_format == "cocotext" else "FOLDER",
        help="the set's labels (only read)" + "; the image folder if left out" * beside,
    )
    parser.add_argument(
        "--output", type=given_path, required=True, metavar="FOLDER", help="where train.txt and val.txt are written"
    )
    parser.add_argument("--copy", action="store_true", help="copy the images to OUTPUT, instead of naming their folder")
    parser.add_argument("--only-with-text", action="store_true", help="leave out images without a readable text")


def _add_split(parser: argparse.ArgumentParser, data_format: str) -> None:
    usual = OWN_RULES[data_format][0] if data_format in OWN_RULES else f"--val-share {SHARE}"
    group = parser.add_argument_group("validation", f"one of these; default: {usual}")
    split = group.add_mutually_exclusive_group()
    split.add_argument(
        "--val-images", type=given_path, metavar="FOLDER", help="a second folder, such as the official test"
    )
    split.add_argument("--val", type=given_path, metavar="LIST_FILE", help="the images named there, one a line")
    split.add_argument("--val-first-id", type=int, metavar="N", help="the images from this number on")
    split.add_argument("--val-share", type=float, metavar="S", help="this share of the images, drawn by chance")
    if data_format == "sroie":
        split.add_argument("--val-count", type=int, metavar="N", help="about N receipts, whole companies")
    if data_format == "cocotext":
        split.add_argument("--val-part", action="store_true", help="what the set itself calls val")
    group.add_argument("--val-labels", type=given_path, metavar="FOLDER", help="the labels of --val-images")
    group.add_argument("--seed", type=int, metavar="N", help=f"of --val-share ({SEED})")
    group.add_argument(
        "--group-by",
        metavar="REGEX",
        help="with --val-share: keep images together for which this finds the same in their names, such as '^[^_]+'",
    )
    group.add_argument(
        "--allow-near-duplicates",
        action="store_true",
        help="with --val-share: do not look for images that look the same, which are kept together otherwise",
    )


def _add_synth(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_synthesise)
    parser.add_argument(
        "--output",
        type=given_path,
        required=True,
        metavar="FOLDER",
        help="the folder to make; an earlier set is replaced",
    )
    parser.add_argument("--train", type=int, default=400, metavar="N", help="training images (400)")
    parser.add_argument("--val", type=int, default=60, metavar="N", help="validation images (60)")
    parser.add_argument("--size", type=int, nargs=2, default=(384, 384), metavar=("H", "W"), help="pixels (384 384)")
    parser.add_argument("--seed", type=int, default=2026, help="the whole set follows from it (2026)")
    parser.add_argument(
        "--fonts", type=given_path, metavar="FOLDER", help=".ttf and .otf files instead of the shipped fonts"
    )


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_check)
    parser.add_argument(
        "labels", type=given_path, nargs="+", metavar="LABELS", help="label files, such as train.txt val.txt"
    )
    parser.add_argument(
        "--data-dir",
        type=given_path,
        nargs="+",
        metavar="FOLDER",
        help="what the image names are relative to, one for all or one for each; default: the label file's folder",
    )
    parser.add_argument(
        "--output",
        type=given_path,
        default=Path("output/check"),
        metavar="FOLDER",
        help="for the results (output/check)",
    )
    parser.add_argument("--pictures", type=int, default=24, metavar="N", help="texts drawn of each kind; 0: none (24)")
    parser.add_argument("--tiny", type=float, default=4, metavar="PIXELS", help="readable text thinner than this (4)")
    parser.add_argument("--allow-outside", action="store_true", help="accept images outside of their folder")
    parser.add_argument(
        "--ignore-orientation",
        action="store_true",
        help="read images as they are stored, whatever EXIF says, as DecodeImage.ignore_orientation does in a training",
    )
    parser.add_argument("--strict", action="store_true", help="exit code 1 for suspicious labels too")


# --- converting -------------------------------------------------------------------------------------------------------


def _convert(data_format: str, arguments: argparse.Namespace) -> int:
    source = Source(arguments.images, arguments.labels or arguments.images)
    if arguments.val_labels is not None and arguments.val_images is None:
        raise DataError("--val-labels needs --val-images, the images that they belong to")
    if arguments.val is not None:
        refuse_to_replace(arguments.output, [arguments.val])
    val_source = None
    if arguments.val_images:
        if arguments.val_labels is None and data_format not in BESIDE_IMAGES:
            raise DataError("--val-images needs --val-labels, the labels of those images")
        val_source = Source(arguments.val_images, arguments.val_labels or arguments.val_images)
    with progress_bar() as progress:
        done = convert(
            data_format,
            source,
            arguments.output,
            split=_rule(data_format, arguments),
            val_source=val_source,
            only_with_text=arguments.only_with_text,
            copy=arguments.copy,
            progress=progress,
        )
    print(summary(done.train, done.val, done.notes, called("prepare_data")))
    return 0


def _rule(data_format: str, arguments: argparse.Namespace) -> Rule:
    """The split that the arguments ask for, else that of the format."""
    wanted = Wanted(
        listing=arguments.val,
        first_id=arguments.val_first_id,
        count=getattr(arguments, "val_count", None),
        share=arguments.val_share,
        seed=arguments.seed,
        group_by=arguments.group_by,
        allow_near_duplicates=arguments.allow_near_duplicates,
    )
    if arguments.val_images is not None:
        refuse_options_of_chance(wanted)
    return chosen_rule(data_format, wanted, arguments.images, progress_bar)


def _among(output: Path, images: Path) -> bool:
    """Whether what is drawn would lie among images, and be taken for some; the usual output lies where people work."""
    return output == images or (output.is_relative_to(images) and not Path.cwd().is_relative_to(images))


def _check(arguments: argparse.Namespace) -> int:
    if arguments.pictures < 0:
        raise DataError(f"--pictures: must be at least 0, is {arguments.pictures}")
    check_report.refuse_foreign(arguments.output)
    with progress_bar() as progress:
        report = check(
            arguments.labels,
            arguments.data_dir or [path.parent for path in arguments.labels],
            tiny=arguments.tiny,
            allow_outside=arguments.allow_outside,
            decode=DecodeImage(ignore_orientation=arguments.ignore_orientation),
            progress=progress,
        )
    folders = {sample.image.parent.resolve() for sample in report.samples.values()}
    folders |= {folder.resolve() for folder in arguments.data_dir or ()}  # all of it, whichever images the lines name
    if any(_among(arguments.output.resolve(), folder) for folder in folders):
        raise DataError(
            f"--output {arguments.output}: is, or lies in, a folder that holds the images; name another folder for "
            "what was found in them"
        )
    # The listing first: by it a later check knows the pictures of one that was stopped here for its own.
    listing = check_report.write_json(report, arguments.output / check_report.LISTING)
    sheets = draw_sheets(report, arguments.output, arguments.pictures) if arguments.pictures > 0 else []
    print(check_report.summary(report))
    if not arguments.data_dir and not report.images and report.findings:
        print(
            "\nImages are looked for beside the label files; if they lie elsewhere, name their folder: --data-dir DIR"
        )
    print("\n".join(["", "Look at:", *map(str, sheets), str(listing)]))
    return int(report.broken > 0 or (arguments.strict and bool(report.findings)))


def _synthesise(arguments: argparse.Namespace) -> int:
    folder = arguments.output
    with progress_bar() as progress:
        synth.generate(
            folder,
            train=arguments.train,
            val=arguments.val,
            size=tuple(arguments.size),
            seed=arguments.seed,
            fonts=arguments.fonts,
            progress=progress,
        )
    print(f"train: {arguments.train} images\nval: {arguments.val} images\n")
    print(next_steps(Part(folder / "train.txt", folder), Part(folder / "val.txt", folder), called("prepare_data")))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
