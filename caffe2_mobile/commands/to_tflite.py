"""Convert a Caffe2 net to a TensorFlow Lite file, and compare it with the net in each of LiteRT's kernel sets."""

import argparse
from pathlib import Path

from caffe2_common.errors import ModelError
from caffe2_common.files import require_writable
from caffe2_mobile.api.to_tflite import ToTfliteOptions, to_tflite
from caffe2_mobile.commands.net_arguments import add_shape_arguments
from caffe2_mobile.commands.preprocessing_arguments import add_preprocessing_arguments
from caffe2_mobile.commands.program import ArgumentParser, options_from, positive
from exporters.caffe2_to_tflite import KINDS


def main(argv: list[str]) -> int:
    """Convert, write and compare; 1 where float outputs differ, or bytes that are proved equal."""
    args = parse(argv)
    require_writable(args.output)
    args.labels = read_labels(args.labels)
    options = options_from(ToTfliteOptions, args)
    result = to_tflite(args.net, options)
    result.save(args.output)
    print(f"{args.output}: {result}")
    return 0 if result.holds else 1


def read_labels(path: Path | None) -> tuple[str, ...]:
    """The lines of a file; raises ModelError where it is no text."""
    if path is None:
        return ()
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError:
        raise ModelError(f"{path}: no text file of labels, one a line") from None


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("net", metavar="NET", help="a folder, predict file or prefix")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.tflite")
    parser.add_argument("--type", choices=KINDS, help="default: uint8 for an int8 net, float for a float net")
    add_shape_arguments(parser)
    parser.add_argument("--labels", type=Path, metavar="F", help="the classes' names, one a line, to go into the file")
    parser.add_argument("--images", metavar="DIR", help="compare on these (default: inputs that look like images)")
    parser.add_argument("--image-count", type=positive, default=40, metavar="N", help="default %(default)s")
    rules = parser.add_argument_group(
        "preprocessing", "Of the images, for the file. Default: what the net's file records."
    )
    add_preprocessing_arguments(rules)
    return parser.parse_args(argv)
