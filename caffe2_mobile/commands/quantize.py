"""A float net becomes an int8 net for QNNPACK, LiteRT or ONNX Runtime, with a report of what that costs."""

import argparse
import dataclasses
from pathlib import Path

from caffe2_common.errors import ModelError
from caffe2_common.files import require_writable
from caffe2_mobile.api.convert import ConvertOptions, convert
from caffe2_mobile.api.nets import read_net
from caffe2_mobile.api.quantize import QuantizeOptions, quantize
from caffe2_mobile.commands.preprocessing_arguments import add_max_pixels_argument, add_preprocessing_arguments
from caffe2_mobile.commands.program import ArgumentParser, options_from, positive, require_writable_net, size
from caffe2_models import Net
from exporters.int8.quantizer import TARGETS, Target
from exporters.int8.ranges import METHODS
from exporters.int8.recipe import DEFAULT, RECIPES, Recipe, find_recipe
from exporters.int8.report import check_path
from exporters.int8.targets import require_suffix, target_of

SWITCHES = {
    "dead_channels": "zero the weights around channels that never fire",
    "equalization": "scale channels between layers",
    "absorption": "move constant parts of activations into biases",
    "bias_correction": "give every channel its mean back",
    "clipping": "narrow weight ranges where that errs less",
    "compensation": "round weights so that their errors cancel",
    "room": "let activation ranges be wider than what was seen",
    "splitting": "make dead channels copies of others, whose steps are finer together",
    "refitting": "change weights for what their inputs err by",
    "fine_scores": "give scores of classes twice as many steps",
    "exact_pixels": "put pixels that are bytes exactly on the input's steps",
}


def main(argv: list[str]) -> int:
    """Quantize, save, report; 1 where a check does not hold."""
    args = parse(argv)
    if args.net is not None and args.net.endswith((".onnx", ".tflite")):
        return quantize_onnx(args.net, args)
    return quantize_caffe2(args.net or args.c2_predict, args)


def quantize_onnx(path: str, args: argparse.Namespace) -> int:
    """Convert to float, compare, and quantize what was converted; the exit status."""
    options = checked_options(args)
    conversion = convert(path, dataclasses.replace(options_from(ConvertOptions, args), keep_quantization=False))
    print("\n".join(conversion.comparison_lines()), flush=True)
    return quantize_net(conversion.net, options, args) if conversion.holds else 1


def quantize_caffe2(place: str, args: argparse.Namespace) -> int:
    """Quantize a Caffe2 float net; the exit status."""
    options = checked_options(args)
    return quantize_net(read_net(place, args.c2_init), options, args)


def quantize_net(net: Net, options: QuantizeOptions, args: argparse.Namespace) -> int:
    result = quantize(net, args.calibration_data, options)
    result.save(args.c2_prefix)
    written = [f"{args.c2_prefix}.init.pb", f"{args.c2_prefix}.predict.pb"]
    print(f"{', '.join(written) if result.file is None else args.c2_prefix}:\n{result}")
    for path in args.report:
        result.report.save(path)
    return 0 if result.holds else 1


def checked_options(args: argparse.Namespace) -> QuantizeOptions:
    """The options; raises ModelError for a recipe that is none, or files that could not be written in the end."""
    target: Target = getattr(args, "target", target_of(args.c2_prefix))
    require_suffix(args.c2_prefix, target)
    if target == "qnnpack":
        require_writable_net(args.c2_prefix)
    else:
        require_writable(args.c2_prefix)
    for path in args.report:
        check_path(path)
        require_writable(path)
    args.target = target
    return dataclasses.replace(options_from(QuantizeOptions, args), recipe=chosen_recipe(args))


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description="Quantize a Caffe2 or ONNX net to int8.")
    parser.add_argument(
        "net",
        nargs="?",
        metavar="NET|IN.onnx|IN.tflite",
        help="a folder, predict file, prefix P of P.predict.pb, ONNX or .tflite file",
    )
    parser.add_argument(
        "--c2-prefix",
        "-o",
        required=True,
        metavar="P|OUT.tflite|OUT.onnx",
        help="write P.init.pb and P.predict.pb for QNNPACK, a file for LiteRT, or one for ONNX Runtime",
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    if (args.net is None) == (args.c2_predict is None):
        raise ModelError("name one net: NET, IN.onnx, or --c2-predict Q --c2-init I")
    if args.calibration_data is None:
        raise ModelError("give --calibration-data DIR: images from which the ranges are measured")
    require_data(args.calibration_data)
    return args


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of an int8 conversion."""
    defaults = QuantizeOptions()
    parser.add_argument("--c2-init", metavar="I", help="instead of an ONNX file: quantize this Caffe2 net")
    parser.add_argument("--c2-predict", metavar="Q")
    parser.add_argument(
        "--img-size", type=size, metavar="N|HxW", help="height and width, where the file leaves them free"
    )
    parser.add_argument(
        "--calibration-data",
        type=Path,
        metavar="DIR|F.npz",
        help="images, in class folders or not, or arrays called after the inputs",
    )
    parser.add_argument(
        "--calibration-images",
        type=positive,
        default=defaults.calibration_images,
        metavar="N",
        help="of them, evenly spaced (default: %(default)s)",
    )
    group = parser.add_argument_group("int8", "See docs/quantization.md.")
    names = ", ".join(RECIPES)
    group.add_argument(
        "--recipe", default=DEFAULT, metavar="NAME", help=f"{names}, or a .json file (default: {DEFAULT})"
    )
    group.add_argument(
        "--target",
        choices=TARGETS,
        default=argparse.SUPPRESS,
        help="whose kernels (default: as the output's name ends)",
    )
    group.add_argument("--ranges", choices=list(METHODS), help="how activation ranges are chosen")
    for name, what in SWITCHES.items():
        flag = f"--{name.replace('_', '-')}"
        group.add_argument(flag, action=argparse.BooleanOptionalAction, help=what)
    group.add_argument(
        "--widening",
        type=not_negative,
        metavar="SHARE",
        help="add copies of channels, up to this share of the multiplications more (0.5: by half)",
    )
    group.add_argument(
        "--seconds", type=not_negative, metavar="S", help="then round what is left to the nearest step (default: never)"
    )
    group.add_argument("--threads", type=positive, metavar="N", help="default: all cores")
    rules = parser.add_argument_group("calibration images", "Default: what the net's file records.")
    add_preprocessing_arguments(rules)
    add_max_pixels_argument(rules)
    output = parser.add_argument_group("int8 report")
    output.add_argument("--report", nargs="+", default=[], metavar="FILE", help="write it as .html, .json or .txt")
    output.add_argument(
        "--evaluation-data", type=Path, metavar="DIR", help="labelled images for the accuracy of both nets"
    )
    output.add_argument("--evaluation-images", type=positive, metavar="N", help="only N of them, evenly spaced")
    output.add_argument(
        "--hold-out",
        action=argparse.BooleanOptionalAction,
        default=defaults.hold_out,
        help="without those, let images judge that do not calibrate: others of DIR, else every 5th (default: yes)",
    )
    output.add_argument(
        "--max-drop",
        type=float,
        metavar="X",
        help="exit with 1 where int8 loses more than X points of top-1 (of agreement, without labels)",
    )


def chosen_recipe(args: argparse.Namespace) -> Recipe:
    """The recipe with what flags say of it."""
    given = {name: getattr(args, name) for name in (*SWITCHES, "ranges", "widening", "seconds")}
    return dataclasses.replace(
        find_recipe(args.recipe),
        **{name: value for name, value in given.items() if value is not None},
    )


def require_data(path: Path | None) -> None:
    """Raises ModelError for calibration images that are named and not there."""
    if path is not None and not path.is_dir() and not (path.is_file() and path.suffix in (".npz", ".tar")):
        raise ModelError(f"{path}: no such folder of calibration images")


def not_negative(text: str) -> float:
    """A number from zero on, for argparse."""
    number = float(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number from zero on")
    return number
