"""The flags by which commands name a net and the shapes of its inputs."""

import argparse
import json
from pathlib import Path
from typing import Any

from caffe2_common.errors import ModelError
from caffe2_mobile.api.nets import Source, open_net, read_net
from caffe2_mobile.commands.program import shape, size
from caffe2_models.model_files import is_model_file
from caffe2_models.net import Net, load_net


def add_net_arguments(parser: argparse.ArgumentParser) -> None:
    """The net, by its place or by flags: a prefix, two files, or a folder; then the shapes of its inputs."""
    group = parser.add_argument_group("net")
    group.add_argument(
        "net", nargs="?", metavar="NET", help="a folder, predict file, prefix, published name, .onnx or .tflite file"
    )
    group.add_argument("--c2-prefix", metavar="P", help="P.init.pb and P.predict.pb")
    group.add_argument("--c2-predict", metavar="Q", help="the net's graph, .pb or .pbtxt")
    group.add_argument("--c2-init", metavar="I", help="the net's parameters")
    group.add_argument("--model-dir", metavar="D", help="a folder with both, or a published net, say FBNet-C/int8")
    add_shape_arguments(group)
    group.add_argument("--batch-size", type=int, default=1, metavar="N", help="default %(default)s")


def add_shape_arguments(parser: argparse._ActionsContainer) -> None:
    """The shapes of a net's inputs, where they shall not be, or are not, the net's own."""
    parser.add_argument(
        "--img-size", "--img_size", type=size, metavar="N|HxW", help="height and width (default: the net's own)"
    )
    parser.add_argument(
        "--shape", dest="input_dims", type=whole_shape, action=Update, metavar="NAME=1x3x48x320",
        help="of an input, by its name; may be given for each",
    )  # fmt: skip
    parser.add_argument(
        "--input-dims", "--input_dims", type=dims, action=Update, metavar="JSON",
        help='the same for all in one, {"data": [1, 3, 224, 224]}',
    )  # fmt: skip


class Update(argparse.Action):
    """Adds to a dictionary what each flag gives."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        setattr(namespace, self.dest, {**(getattr(namespace, self.dest) or {}), **values})


def named_source(args: argparse.Namespace) -> Source:
    """The net that the flags name, or the name of a file of another format.

    Raises ModelError for none, or more than one.
    """
    place = args.net or args.model_dir
    return place if place is not None and is_model_file(place) and _is_one(args) else named_net(args)


def named_net(args: argparse.Namespace) -> Net:
    """The net that the flags name; raises ModelError for none, or more than one.

    A folder is read as it is; of published names that were not downloaded the weights are stand-ins.
    """
    if not _is_one(args):
        raise ModelError("name one net: NET, --c2-prefix P, --c2-predict Q [--c2-init I] or --model-dir D")
    if args.c2_prefix is not None:
        return load_net(f"{args.c2_prefix}.predict.pb", f"{args.c2_prefix}.init.pb")
    if args.c2_predict is not None:
        return load_net(args.c2_predict, args.c2_init)
    place = args.net or args.model_dir
    return (read_net if Path(place).exists() else open_net)(place, args.c2_init)


def _is_one(args: argparse.Namespace) -> bool:
    return sum(given is not None for given in (args.net, args.c2_prefix, args.c2_predict, args.model_dir)) == 1


def whole_shape(text: str) -> dict[str, tuple[int, ...]]:
    """NAME=1x3x48x320, for argparse."""
    name, shape_of_it = shape(text)
    if None in shape_of_it:
        raise argparse.ArgumentTypeError(f"invalid shape {text!r}: no dimension can be left free here")
    return {name: tuple(dim for dim in shape_of_it if dim is not None)}


def dims(text: str) -> dict[str, tuple[int, ...]]:
    """Shapes of inputs from JSON, for argparse."""
    try:
        shapes = {name: tuple(shape) for name, shape in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError):
        shapes = {}
    sizes = [dim for shape in shapes.values() for dim in shape] if shapes else [None]
    if not all(isinstance(dim, int) and not isinstance(dim, bool) and dim > 0 for dim in sizes):
        raise argparse.ArgumentTypeError(f'{text!r} is not of the form {{"data": [1, 3, 224, 224]}}')
    return shapes
