"""Search a network for a latency on a device; train it, convert it, and say how good it is.

    caffe2-mobile search --space fbnet --data digits --target-ms 0.12
    caffe2-mobile search --space fbnet --data cifar10 --data-dir ~/data --target-ms 5 --device my-phone --db-dir tables
    torchrun --nproc-per-node 4 -m caffe2_mobile search --space fbnet --data /imagenet -j 8 --target-ms 20

FBNet's differentiable search over a supernet of all candidates, with their latencies from the device's table
(estimated where it has none); then the most probable network within the target, trained from scratch, as
ONNX, Caffe2 and Caffe2 int8, each validated on the images held out; beside it random networks of the same
latency, trained alike. Prints one table; leaves everything in --out: network.json (a model for the other commands),
network.pth, network.onnx, network_int8.*.pb, results.json, accuracy_latency.png and more.

The same command again goes on where an interrupted one stopped, exactly as if it had not been.
"""

import argparse
import dataclasses
from pathlib import Path

from caffe2_mobile.api.search import FORMS, PLOT, RESULTS, SearchOptions, search
from caffe2_mobile.commands.program import ArgumentParser, options_from, show_log
from caffe2_mobile.commands.run_arguments import add_run_arguments, add_settings, given_settings
from mobile_cv.settings import SearchSettings, TrainingSettings


def main(argv: list[str]) -> int:
    """Search, train, convert, compare; 1 where the net of --form misses the target."""
    args = parse(argv)
    show_log()
    options = dataclasses.replace(
        options_from(SearchOptions, args),
        settings=given_settings(args, SearchSettings),
        train_settings=given_settings(args, TrainingSettings, "train-"),
    )
    result = search(args.target_ms, options)
    if result is None:
        return 0
    written = [path for path in (result.out / RESULTS, result.out / PLOT) if path.exists()]
    print(f"\n{result}\n{', '.join(map(str, written))}")
    return 0 if result.holds else 1


def parse(argv: list[str]) -> argparse.Namespace:
    defaults = SearchOptions()
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = parser.add_argument_group("what is sought")
    target.add_argument(
        "--space", default=defaults.space, metavar="NAME", help="fbnet (in its form for the data), or F.json"
    )
    target.add_argument("--target-ms", type=float, required=True, metavar="X", help="latency of the network")
    target.add_argument(
        "--device", default=defaults.device, metavar="NAME", help="whose latency (default: %(default)s)"
    )
    target.add_argument("--db-dir", type=Path, metavar="D", help="folder of latency tables (caffe2-mobile latency)")
    target.add_argument("--strict", action="store_true", help="estimate nothing that the device's table lacks")
    target.add_argument("--form", choices=FORMS, default=defaults.form, help="whose latency is meant")
    target.add_argument(
        "--text-table",
        type=Path,
        metavar="F",
        help="latencies of the layers from lookup_table.txt of AnnaAraslanova/FBNet instead",
    )
    target.add_argument(
        "--loss", default=defaults.loss, metavar="NAME", help="target, paper or annafbnet (default: %(default)s)"
    )
    target.add_argument("--alpha", type=float, metavar="X", help="of the losses paper and annafbnet")
    target.add_argument("--beta", type=float, metavar="X", help="likewise")
    target.add_argument("--strength", type=float, metavar="X", help="of the loss target's penalty")
    target.add_argument(
        "--random",
        type=int,
        default=defaults.random,
        metavar="N",
        help="networks to compare with (default: %(default)s)",
    )
    add_run_arguments(parser)
    add_settings(parser, SearchSettings, "search")
    add_settings(parser, TrainingSettings, "training of the networks", "train-")
    return parser.parse_args(argv)
