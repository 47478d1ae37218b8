#!/usr/bin/env python3
"""Does the search beat chance? Networks found with several seeds beside random ones of the same latency.

    benchmark_search.py --target-ms 0.12 --seeds 5 --random 20

All are trained alike, from scratch, several times each: accuracy is the mean of these trainings. Prints a
Markdown table; exit status 1 where a network found misses the target by more than 5 %, or is less accurate
than the median of the random ones. What is done is kept in --out, so that an interrupted run goes on.
"""

import argparse
import dataclasses
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from caffe2_mobile.api.search import SearchOptions, look_up, require_reachable
from caffe2_mobile.commands.program import ArgumentParser, options_from, run, show_log
from mobile_cv.model_zoo.networks import build
from mobile_cv.search import (
    Data,
    Found,
    LatencyTable,
    Search,
    SearchSettings,
    SearchSpace,
    TargetLoss,
    Training,
    TrainingSettings,
    get_space,
    open_data,
    random_networks,
)
from mobile_cv.settings import SEARCH_PRESETS, TOLERANCE, TRAINING_PRESETS


def main(argv: list[str]) -> int:
    """Search and train, print the table; 1 where the search does not hold what it promises."""
    args = parse(argv)
    show_log()
    torch.set_num_threads(args.threads)
    data = open_data(args.data, args.data_dir)
    space = get_space(args.space, data.name).fit(len(data.classes), data.mean, data.std)
    table = look_up(options_from(SearchOptions, args), space)
    require_reachable(args.target_ms, table, space)
    found = []
    for seed in range(args.seeds):
        result = search(args, space, table, data, seed)
        found.append((result, train(args, f"found-{seed}", space, result.choices, data)))
    low, high = (1 - TOLERANCE) * args.target_ms, args.target_ms
    rivals = [
        (table.of(choices), train(args, f"random-{index}", space, choices, data))
        for index, choices in enumerate(random_networks(space, table, low, high, args.random))
    ]
    accuracies = sorted(accuracy for _, accuracy in rivals)
    median = statistics.median(accuracies)
    print("| network | candidates | ms | top-1 % | random networks it beats |")
    print("|---|---|---:|---:|---:|")
    for seed, (result, accuracy) in enumerate(found):
        beaten = sum(accuracy > other for other in accuracies)
        print(
            f"| found, seed {seed} | {space.describe(result.choices)} | {result.latency_ms:.4g} | "
            f"{accuracy:.2f} | {beaten} of {len(accuracies)} |"
        )
    latencies = [latency for latency, _ in rivals]
    print(
        f"| {len(rivals)} random | median (lowest to highest) | "
        f"{min(latencies):.4g} to {max(latencies):.4g} | "
        f"{median:.2f} ({accuracies[0]:.2f} to {accuracies[-1]:.2f}) | |"
    )
    met = [abs(result.latency_ms / args.target_ms - 1) <= TOLERANCE for result, _ in found]
    better = [accuracy >= median for _, accuracy in found]
    print(
        f"\nTarget {args.target_ms:g} ms on {args.device}, met within {100 * TOLERANCE:.0f} %: "
        f"{sum(met)} of {len(met)}; at least as accurate as the median of the random networks: "
        f"{sum(better)} of {len(better)}."
    )
    return 0 if all(met) and all(better) else 1


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="fbnet")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--data-dir", metavar="DIR")
    parser.add_argument("--target-ms", type=float, default=0.12, metavar="X")
    parser.add_argument("--device", default="SM-G950U-7.0-24", metavar="NAME")
    parser.add_argument("--db-dir", type=Path, metavar="D")
    parser.add_argument("--seeds", type=int, default=5, metavar="N")
    parser.add_argument("--random", type=int, default=20, metavar="N")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="trainings of each network")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"), metavar="DIR")
    return parser.parse_args(argv)


def search(args: argparse.Namespace, space: SearchSpace, table: LatencyTable, data: Data, seed: int) -> Found:
    preset = SEARCH_PRESETS.get(data.name, SearchSettings())
    run = Search(space, table, TargetLoss(args.target_ms), data, dataclasses.replace(preset, seed=seed))
    run.run(args.out / f"search-{seed}.pt")
    return run.result(args.target_ms)


def train(args: argparse.Namespace, name: str, space: SearchSpace, choices, data: Data) -> float:
    """Top-1 on the images held out, percent, after the last epoch; mean over the repeats."""
    preset = TRAINING_PRESETS.get(data.name, TrainingSettings())
    accuracies = []
    for seed in range(args.repeats):
        torch.manual_seed(seed)
        run = Training(build(space.architecture(choices)), data, dataclasses.replace(preset, seed=seed))
        run.run(args.out / f"{name}-{seed}.pt")
        accuracies.append(run.history[-1]["test_accuracy"])
    return statistics.mean(accuracies)


if __name__ == "__main__":
    run(main)
