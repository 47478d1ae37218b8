"""Write a page that shows a net: its graph, where its time goes and, with images, where its accuracy goes.

One HTML file that loads nothing. NET is a Caffe2 or ONNX net, float or int8; with NET2, a float net and its int8
form. Prints what it found; exit status 1 where something is wrong with the net.
"""

import argparse
import webbrowser
from pathlib import Path

from caffe2_common.files import require_writable
from caffe2_mobile.api.view import ViewOptions, check_path, view
from caffe2_mobile.commands.net_arguments import add_shape_arguments
from caffe2_mobile.commands.preprocessing_arguments import add_max_pixels_argument, add_preprocessing_arguments
from caffe2_mobile.commands.program import ArgumentParser, options_from, positive


def main(argv: list[str]) -> int:
    """Write the page and say what it holds; 1 where something is wrong."""
    args = parse(argv)
    path = Path(args.output or f"{default_name(args.net2 or args.net)}.html")
    check_path(path)
    require_writable(path)
    result = view(args.net, args.net2, options_from(ViewOptions, args))
    result.save(path)
    print(result)
    print(path)
    if args.open:
        webbrowser.open(path.absolute().as_uri())
    return 0 if result.inspected.is_good else 1


def default_name(net: str) -> str:
    """What to call the page of a net: FBNet-C/int8 -> FBNet-C-int8, models/mbv2.predict.pb -> mbv2."""
    path = Path(net)
    if not path.exists() and len(path.parts) == 2:
        return "-".join(path.parts)
    return path.name.split(".pb")[0].removesuffix(".predict").removesuffix(".onnx") or "net"


def parse(argv: list[str]) -> argparse.Namespace:
    defaults = ViewOptions()
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", metavar="NET", help="a folder, predict file, prefix, .onnx file, published or zoo name")
    parser.add_argument("net2", nargs="?", metavar="NET2", help="its other form: int8 beside float")
    parser.add_argument(
        "-o", "--output", metavar="F", help="where to write it, .html or .json (default: NET.html here)"
    )
    parser.add_argument("--open", action="store_true", help="show it in the browser")
    add_shape_arguments(parser)
    images = parser.add_argument_group("images")
    images.add_argument("--images", type=Path, metavar="DIR", help="in class folders or not")
    images.add_argument("--image-count", type=positive, default=defaults.image_count, metavar="N",
                        help="of them, evenly spaced (default: %(default)s)")  # fmt: skip
    images.add_argument("--class-names", type=Path, metavar="F", help="the classes' names, one on a line")
    add_max_pixels_argument(images)
    add_preprocessing_arguments(parser.add_argument_group("preprocessing", "Default: as recorded."))
    times = parser.add_argument_group("times")
    times.add_argument("--device", metavar="NAME", help="whose latencies (default: the Samsung S8's)")
    times.add_argument("--db-dir", type=Path, metavar="D", help="folder of latency tables (default: that of downloads)")
    times.add_argument("--runs", type=int, default=defaults.runs, metavar="N",
                       help="time the net here N times, 0: not at all (default: %(default)s)")  # fmt: skip
    times.add_argument("--threads", type=positive, default=defaults.threads, metavar="N", help="default %(default)s")
    return parser.parse_args(argv)
