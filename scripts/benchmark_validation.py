#!/usr/bin/env python3
"""Measure how fast validation is beside its two halves alone: decoding only, and inference only.

First with half of the cores for each, then with all cores for both; in each the three take turns over the
same images, with the same processes and threads, and medians are printed. Where the halves share their
cores, no run can be faster than the CPU time that both take, which is the last line's measure.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from caffe2_common.images import complete
from caffe2_common.machine import cores
from caffe2_common.preprocessing import Preprocessing
from caffe2_mobile.commands.program import ArgumentParser, run
from validate.classifier import Classifier, load_caffe2, load_file
from validate.dataset import Dataset, open_dataset, select
from validate.loader import Loader
from validate.outcomes import Outcomes
from validate.runner import Resources, Run
from validate.validation import BATCH_SIZE


def main(argv: list[str]) -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DIR", help="images, as for caffe2_validate.py")
    net = parser.add_mutually_exclusive_group(required=True)
    net.add_argument("--c2-prefix", metavar="P", help="P.init.pb and P.predict.pb")
    net.add_argument("--model-dir", metavar="D", help="a folder with both")
    net.add_argument("--onnx-input", metavar="F", help="an ONNX file")
    parser.add_argument("--img-size", type=int, metavar="N", help="default: the net's own")
    parser.add_argument("--limit", type=int, metavar="N", help="only N images")
    parser.add_argument("-b", "--batch-size", type=int, default=BATCH_SIZE, metavar="N", help="default %(default)s")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default %(default)s")
    args = parser.parse_args(argv)
    if args.onnx_input:
        classifier = load_file(args.onnx_input)
    elif args.model_dir:
        classifier = load_caffe2(args.model_dir, size=args.img_size)
    else:
        classifier = load_caffe2(f"{args.c2_prefix}.predict.pb", f"{args.c2_prefix}.init.pb", size=args.img_size)
    preprocessing = classifier.preprocessing or Preprocessing().replace(size=classifier.size)
    preprocessing = complete(preprocessing.replace(size=args.img_size), classifier.channels)
    dataset = open_dataset(args.data)
    batch_size = classifier.fixed_batch or args.batch_size
    for share, title in ((max(cores() // 2, 1), "half of the cores each"), (cores(), "all cores for both")):
        print(f"{title}:")
        resources = Resources(share, share, batch_size)
        measure(classifier, dataset, select(dataset, args.limit), preprocessing, resources, args.rounds)
    return 0


def measure(
    classifier: Classifier,
    dataset: Dataset,
    indices: np.ndarray,
    preprocessing: Preprocessing,
    resources: Resources,
    rounds: int,
) -> None:
    """Print images per second and CPU milliseconds per image of each half and of both together."""
    tasks = {
        f"decoding only, {resources.workers} processes": lambda: decode(
            dataset, indices, preprocessing, classifier.channels, resources
        ),
        f"inference only, {resources.threads} threads": lambda: infer(
            classifier, len(indices), preprocessing, resources
        ),
        "validation": lambda: Run(classifier, dataset, indices, preprocessing, Outcomes(len(indices)), resources)(),
    }
    samples = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            samples[name].append(timed(task))
    n = len(indices)
    speeds, burdens = [], []
    for name, values in samples.items():
        wall, cpu = (statistics.median(column) for column in zip(*values, strict=True))
        speeds.append(n / wall)
        burdens.append(1000 * cpu / n)
        print(f"{name:32} {speeds[-1]:8.1f} images/s {burdens[-1]:8.2f} ms CPU/image")
    print(f"validation / slower half         {speeds[2] / min(speeds[:2]):8.2f}")
    bound = 1000 * cores() / (burdens[0] + burdens[1])
    print(f"{f'{cores()} cores / CPU of both halves':32} {bound:8.1f} images/s")
    print(f"validation / that                {speeds[2] / bound:8.2f}")


def decode(dataset, indices, preprocessing, channels: int, resources: Resources) -> None:
    batches = np.split(np.arange(len(indices)), range(resources.batch_size, len(indices), resources.batch_size))
    with Loader(
        dataset,
        indices,
        batches,
        preprocessing,
        channels,
        resources.batch_size,
        resources.workers,
        resources.threads,
    ) as loader:
        while (batch := loader.next()) is not None:
            loader.release(batch)


def infer(classifier: Classifier, n: int, preprocessing: Preprocessing, resources: Resources) -> None:
    size = preprocessing.size
    images = np.random.default_rng(0).normal(size=(resources.batch_size, classifier.channels, size, size))
    images = images.astype(np.float32)
    batches = iter(range(0, n, resources.batch_size))

    def one_thread() -> None:
        session = classifier.open_session()
        while next(batches, None) is not None:
            session(images)

    with ThreadPoolExecutor(resources.threads) as pool:
        for future in [pool.submit(one_thread) for _ in range(resources.threads)]:
            future.result()


def timed(task: Callable[[], None]) -> tuple[float, float]:
    """(wall seconds, CPU seconds of this process and of those that it ended)."""
    usage = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    start = time.perf_counter()
    task()
    wall = time.perf_counter() - start
    after = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    return wall, sum(b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime for a, b in zip(usage, after, strict=True))


if __name__ == "__main__":
    run(main)
