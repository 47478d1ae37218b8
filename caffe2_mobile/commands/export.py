"""A model of the zoo becomes an ONNX file that has proved itself."""

import argparse

from caffe2_common.files import require_writable
from caffe2_mobile.api.export import EXPORTERS, INTERPOLATIONS, ExportOptions, export
from caffe2_mobile.commands.program import ArgumentParser, options_from, positive, size


def main(argv: list[str]) -> int:
    """Export, check, compare with PyTorch; 1 where the outputs differ."""
    args = parse(argv)
    options = options_from(ExportOptions, args)
    require_writable(args.output)
    result = export(args.model, options)
    result.save(args.output)
    print(f"{args.output}: {result}")
    return 0 if result.holds else 1


def parse(argv: list[str]) -> argparse.Namespace:
    defaults = ExportOptions()
    parser = ArgumentParser(description="Export a model of the zoo to ONNX.")
    parser.add_argument("output", metavar="OUT.onnx")
    parser.add_argument("--model", "-m", required=True, metavar="NAME", help="see caffe2-mobile list, or F.json")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--checkpoint", metavar="PATH", help="weights from a file")
    weights.add_argument(
        "--pretrained", action="store_true", help="the published weights (default without --checkpoint)"
    )
    weights.add_argument("--random-weights", action="store_true", help="no weights: to try the chain out")
    parser.add_argument("--img-size", type=size, metavar="N|HxW", help="height and width (default: the model's own)")
    parser.add_argument("--batch-size", "-b", type=positive, metavar="N", help="fix the batch (default: left free)")
    parser.add_argument("--opset", type=int, metavar="N", help="9 or newer (default: 17; with dynamo 18)")
    parser.add_argument("--dynamic-size", action="store_true", help="leave height and width free (not for tf_ models)")
    parser.add_argument("--num-classes", type=positive, metavar="N")
    parser.add_argument(
        "--in-chans",
        type=positive,
        default=defaults.in_chans,
        metavar="N",
        help="input channels (default: %(default)s)",
    )
    parser.add_argument(
        "--mean", type=float, nargs="+", metavar="X", help="recorded in the file: one for each channel, or for all"
    )
    parser.add_argument("--std", type=float, nargs="+", metavar="X")
    parser.add_argument("--interpolation", choices=INTERPOLATIONS)
    parser.add_argument("--crop-pct", type=float, metavar="X")
    parser.add_argument(
        "--exporter",
        choices=EXPORTERS,
        default=defaults.exporter,
        help="which of torch's exporters (default: the first that works)",
    )
    parser.add_argument("--keep-init", action="store_true", help="list weights among the inputs; no longer needed")
    parser.add_argument("--aten-fallback", action="store_true", help="accepted; no longer needed, and without effect")
    return parser.parse_args(argv)
