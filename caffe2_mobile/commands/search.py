"""Search a network for a latency on a device; train it, convert it, and say how good it is.

    search.py --space fbnet --data digits --target-ms 0.12
    search.py --space fbnet --data cifar10 --data-dir ~/data --target-ms 5 --device my-phone --db-dir tables
    torchrun --nproc-per-node 4 scripts/search.py --space fbnet --data /imagenet -j 8 --target-ms 20

FBNet's differentiable search over a supernet of all candidates, with their latencies from the device's table
(estimated where it has none); then the most probable network within the target, trained from scratch, as
ONNX, Caffe2 and Caffe2 int8, each validated on the images held out; beside it random networks of the same
latency, trained alike. Prints one table; leaves everything in --out: network.json (for create_model),
network.pth, network.onnx, network_int8.*.pb, results.json, accuracy_latency.png and more.

The same command again goes on where an interrupted one stopped, exactly as if it had not been.
"""

import argparse
import dataclasses
import json
import statistics
import sys
from collections import Counter
from pathlib import Path

import torch

from caffe2_common.errors import ModelError
from caffe2_common.files import write_atomically
from caffe2_mobile.commands.program import ArgumentParser
from caffe2_mobile.commands.training_arguments import (
    add_run_arguments,
    add_settings,
    chosen_settings,
    epoch_log,
    forget,
    in_turn,
    load_data,
    start,
)
from mobile_cv.model_zoo.networks import build
from mobile_cv.search import (
    LOSSES,
    Data,
    Found,
    LatencyTable,
    Processes,
    Search,
    SearchSettings,
    SearchSpace,
    Training,
    TrainingSettings,
    get_space,
    random_networks,
    read_text_table,
    violations,
)
from mobile_cv.search import search as searching
from mobile_cv.search import training as trainings
from mobile_cv.search.latency import count_orderings
from mobile_cv.search.search import TOLERANCE

SHOWN = 5  # violated orderings


def main(argv: list[str]) -> int:
    """Search, train, convert, compare; 1 where the int8 net misses the target."""
    args = parse(argv)
    processes = start(args)
    data = load_data(args, processes)
    space = get_space(args.space, data.name).fit(len(data.classes), data.mean, data.std)
    if data.size not in (None, space.network.size):
        raise ModelError(f"{data.name}: images of {data.size} pixels; space {space.name} is for {space.network.size}")
    args.out = args.out or Path("runs") / f"{space.name}-{args.device}-{args.target_ms:g}ms"
    settings = chosen_settings(args, searching.PRESETS.get(data.name, SearchSettings()))
    train_settings = chosen_settings(args, trainings.PRESETS.get(data.name, TrainingSettings()), "train-")
    train_settings = dataclasses.replace(train_settings, seed=settings.seed)
    table = find_latencies(args, space, processes)
    require_reachable(args.target_ms, table, space)
    if processes.is_first:
        print(describe(space, table, data), flush=True)

    found = search(args, space, table, data, settings, processes)
    if processes.is_first:
        print(f"found: {space.describe(found.choices)}, {found.latency_ms:.4g} ms", flush=True)
    training = train(args, "network", space, found.choices, data, train_settings, processes)
    low, high = (1 - TOLERANCE) * args.target_ms, args.target_ms
    others = random_networks(space, table, low, high, args.random, settings.seed) if args.random else []
    rivals = [
        (choices, train(args, f"random/{index:02}", space, choices, data, train_settings, processes))
        for index, choices in enumerate(others)
    ]
    status = 0
    if processes.is_first:
        status = finish(args, space, table, data, found, training, rivals)
    processes.stop()
    return status


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = parser.add_argument_group("what is sought")
    target.add_argument("--space", default="fbnet", metavar="NAME", help="fbnet (in its form for the data), or F.json")
    target.add_argument("--target-ms", type=float, required=True, metavar="X", help="latency of the network")
    target.add_argument(
        "--device", default="SM-G950U-7.0-24", metavar="NAME", help="whose latency (default: %(default)s)"
    )
    target.add_argument("--db-dir", type=Path, metavar="D", help="folder of latency tables (get_runtime.py)")
    target.add_argument("--strict", action="store_true", help="estimate nothing that the device's table lacks")
    target.add_argument("--form", choices=["int8", "fp32"], default="int8", help="whose latency is meant")
    target.add_argument(
        "--text-table",
        type=Path,
        metavar="F",
        help="latencies of the layers from lookup_table.txt of AnnaAraslanova/FBNet instead",
    )
    target.add_argument("--loss", choices=list(LOSSES), default="target", help="default: %(default)s")
    target.add_argument("--alpha", type=float, metavar="X", help="of the losses paper and annafbnet")
    target.add_argument("--beta", type=float, metavar="X", help="likewise")
    target.add_argument("--strength", type=float, metavar="X", help="of the loss target's penalty")
    target.add_argument(
        "--random", type=int, default=8, metavar="N", help="networks to compare with (default: %(default)s)"
    )
    add_run_arguments(parser)
    add_settings(parser, SearchSettings, "search")
    add_settings(parser, TrainingSettings, "training of the networks", "train-")
    args = parser.parse_args(argv)
    if not 0 < args.target_ms < float("inf"):
        parser.error("--target-ms must be above zero")
    return args


def find_latencies(args: argparse.Namespace, space: SearchSpace, processes: Processes) -> LatencyTable:
    """The candidates' latencies, found once by the first process; kept in --out for the others."""
    path = args.out / "latencies.json"

    def make() -> LatencyTable:
        if processes.is_first:
            write_atomically(path, look_up(args, space).to_json())
        return LatencyTable.from_json(path)

    return in_turn(processes, make)


def look_up(args: argparse.Namespace, space: SearchSpace) -> LatencyTable:
    from caffe2_mobile.commands.latency import choose_sources
    from caffe2_mobile.space_nets import latency_table

    if args.text_table is not None:
        table = read_text_table(args.text_table, space)
    else:
        flags = argparse.Namespace(db_dir=args.db_dir, device=args.device, mode="ave", estimate=not args.strict)
        origins: Counter[str] = Counter()
        table = latency_table(space, args.form, *choose_sources(flags), lambda net: origins.update(net.provenance))
        listed = ", ".join(f"{count} {origin}" for origin, count in origins.most_common())
        print(f"latencies of the candidates' operators on {args.device}: {listed}", file=sys.stderr)
    wrong = violations(table, space)
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        print(
            f"warning: {len(wrong)} of {count_orderings(space)} orderings that must hold are violated: "
            f"{'; '.join(wrong if args.text_table else wrong[:SHOWN])}{'' if args.text_table else more}",
            file=sys.stderr,
        )
    return table


def require_reachable(target_ms: float, table: LatencyTable, space: SearchSpace) -> None:
    fastest, slowest = table.range(space.available)
    if not fastest <= target_ms or not (1 - TOLERANCE) * target_ms <= slowest:
        raise ModelError(
            f"--target-ms {target_ms:g}: the networks of space {space.name} take "
            f"{fastest:.4g} to {slowest:.4g} ms on {table.device}"
        )


def describe(space: SearchSpace, table: LatencyTable, data: Data) -> str:
    fastest, slowest = table.range(space.available)
    return (
        f"space {space.name}: {len(space.layers)} layers, {space.size:.3g} networks of "
        f"{fastest:.4g} to {slowest:.4g} ms on {table.device}\n"
        f"data {data.name}: {len(data.train)} images to learn from, {len(data.test)} held out"
    )


def search(
    args: argparse.Namespace,
    space: SearchSpace,
    table: LatencyTable,
    data: Data,
    settings: SearchSettings,
    processes: Processes,
) -> Found:
    """Search, or take up what --out holds of this search."""
    kind = LOSSES[args.loss]
    given = {"target_ms": args.target_ms, "alpha": args.alpha, "beta": args.beta, "strength": args.strength}
    names = {field.name for field in dataclasses.fields(kind)}
    loss = kind(**{key: value for key, value in given.items() if key in names and value is not None})
    state = args.out / "search.pt"
    forget(args, processes, state)
    run = Search(space, table, loss, data, settings, processes, args.workers)
    run.run(state, epoch_log(args, "search") if processes.is_first else None)
    found = run.result(args.target_ms)
    if processes.is_first:
        write_atomically(args.out / "search.json", json.dumps({**vars(found), "history": run.history}))
    return found


def train(
    args: argparse.Namespace,
    name: str,
    space: SearchSpace,
    choices: list[int] | tuple[int, ...],
    data: Data,
    settings: TrainingSettings,
    processes: Processes,
) -> Training:
    """Train a network of the space from scratch, or take up what --out holds of it."""
    torch.manual_seed(settings.seed)
    model = build(space.architecture(choices))
    state = args.out / f"{name}.pt"
    forget(args, processes, state)
    training = Training(model, data, settings, processes, args.workers)
    training.run(state, epoch_log(args, name) if processes.is_first else None)
    if processes.is_first:
        training.save_weights(args.out / f"{name}.pth")
        definition = model.architecture.to_json(comment=space.describe(choices))
        write_atomically(args.out / f"{name}.json", definition)
    return training


def finish(
    args: argparse.Namespace,
    space: SearchSpace,
    table: LatencyTable,
    data: Data,
    found: Found,
    training: Training,
    rivals: list[tuple[list[int], Training]],
) -> int:
    """Convert, validate, print the table, save it and the plot."""
    from caffe2_mobile.chain import Chain, Row, to_text, write_images

    flags = ["--device", args.device, *(["--db_dir", args.db_dir.resolve()] if args.db_dir else [])]
    flags += [] if args.strict else ["--estimate"]
    images = write_images(data, args.out.resolve() / "images")
    chain = Chain(args.out / "network.json", args.out / "network.pth", images, flags)
    rows = chain.run()
    random = [(table.of(choices), rival.history[-1]["test_accuracy"]) for choices, rival in rivals]
    print(f"\n{to_text(rows, args.device)}")
    if random:
        accuracies = [accuracy for _, accuracy in random]
        latencies = [latency for latency, _ in random]
        print(
            f"random networks ({len(random)}) of {min(latencies):.4g} to {max(latencies):.4g} ms, "
            f"in PyTorch: top-1 {statistics.median(accuracies):.2f} % (median), "
            f"{min(accuracies):.2f} to {max(accuracies):.2f} %"
        )
    results = {
        "space": space.name,
        "choices": found.choices,
        "target_ms": args.target_ms,
        "device": args.device,
        "latency_ms": found.latency_ms,
        "test_accuracy": training.history[-1]["test_accuracy"],
        "forms": [vars(row) for row in rows],
        "random": [{"latency_ms": latency, "test_accuracy": accuracy} for latency, accuracy in random],
    }
    write_atomically(args.out / "results.json", json.dumps(results, indent=1) + "\n")
    plot = args.out / "accuracy_latency.png"
    drawn = save_plot(plot, results)
    print(f"{args.out / 'results.json'}{f', {plot}' if drawn else ''}")
    form: Row = next(row for row in rows if row.form == f"Caffe2 {args.form}")
    if args.text_table is None and not form.latency_ms <= (1 + TOLERANCE) * args.target_ms:
        print(f"the {form.form} net takes {form.latency_ms:.4g} ms, over the target of {args.target_ms:g} ms")
        return 1
    return 0


def save_plot(path: Path, results: dict) -> bool:
    """Accuracy over latency: the network found, and the random ones; nothing without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        print("no plot: it needs matplotlib", file=sys.stderr)
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    points = results["random"]
    axes.scatter([p["latency_ms"] for p in points], [p["test_accuracy"] for p in points], c="0.6", label="random")
    axes.scatter([results["latency_ms"]], [results["test_accuracy"]], c="C3", marker="*", s=150, label="found")
    axes.axvline(results["target_ms"], color="0.8", linestyle="--", label="target")
    axes.set_xlabel(f"latency on {results['device']}, ms")
    axes.set_ylabel("top-1 of images held out, %")
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return True
