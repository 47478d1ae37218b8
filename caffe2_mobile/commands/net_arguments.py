"""The flags by which commands name a Caffe2 net and the shapes of its inputs."""

import argparse
import json
from pathlib import Path

from caffe2_common.errors import ModelError
from caffe2_models.net import Net, load_net
from caffe2_models.published import NAMES, published_net


def add_net_arguments(parser: argparse.ArgumentParser) -> None:
    """The net, by its place or by flags: a prefix, two files, or a folder; then the shapes of its inputs."""
    group = parser.add_argument_group("net")
    group.add_argument("net", nargs="?", metavar="NET", help="a folder, predict file, prefix or published name")
    group.add_argument("--c2-prefix", metavar="P", help="P.init.pb and P.predict.pb")
    group.add_argument("--c2-predict", metavar="Q", help="the net's graph, .pb or .pbtxt")
    group.add_argument("--c2-init", metavar="I", help="the net's parameters")
    group.add_argument("--model-dir", metavar="D", help="a folder with both, or a published net, say FBNet-C/int8")
    group.add_argument("--img-size", type=int, metavar="N", help="height and width (default: the net's own)")
    group.add_argument("--batch-size", type=int, default=1, metavar="N", help="default %(default)s")
    group.add_argument("--input-dims", metavar="JSON", help='the inputs\' shapes, say {"data": [1, 3, 224, 224]}')


def open_net(args: argparse.Namespace) -> Net:
    """The net that the flags name; raises ModelError for none, or more than one."""
    if sum(given is not None for given in (args.net, args.c2_prefix, args.c2_predict, args.model_dir)) != 1:
        raise ModelError("name one net: NET, --c2-prefix P, --c2-predict Q [--c2-init I] or --model-dir D")
    if args.net is not None:
        return find_net(args.net, args.c2_init)
    if args.c2_prefix is not None:
        return load_net(f"{args.c2_prefix}.predict.pb", f"{args.c2_prefix}.init.pb")
    if args.c2_predict is not None:
        return load_net(args.c2_predict, args.c2_init)
    return published_net(args.model_dir) if args.model_dir in NAMES else load_net(args.model_dir)


def find_net(place: str, init: str | None) -> Net:
    """The net of a folder, a predict file, the prefix of a pair of files, or a published name, in this order."""
    if place in NAMES and not Path(place).exists():
        return published_net(place)
    if not Path(place).exists() and Path(f"{place}.predict.pb").exists():
        return load_net(f"{place}.predict.pb", init or f"{place}.init.pb")
    return load_net(place, init)


def input_shapes(net: Net, args: argparse.Namespace) -> dict[str, tuple[int, ...]]:
    """The inputs' shapes that the flags, or else the net's own files, tell; ModelError where neither does."""
    if args.input_dims is None:
        return net.input_shapes(args.img_size, args.batch_size)
    try:
        dims = json.loads(args.input_dims)
        return {name: tuple(int(dim) for dim in shape) for name, shape in dims.items()}
    except (ValueError, TypeError, AttributeError):
        raise ModelError(f'--input-dims {args.input_dims}: not of the form {{"data": [1, 3, 224, 224]}}') from None
