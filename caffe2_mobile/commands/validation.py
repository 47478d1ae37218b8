"""The flags and the flow that caffe2_validate.py, scripts/onnx_validate.py and scripts/validate.py share.

A command names its net by flags of its own and makes a Classifier of them; all else is here.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from caffe2_common.errors import ModelError
from caffe2_common.images import INTERPOLATIONS, complete, describe
from caffe2_common.machine import cores
from caffe2_common.preprocessing import Preprocessing
from caffe2_mobile.commands.preprocessing_arguments import add_preprocessing_arguments, override
from caffe2_mobile.commands.program import ArgumentParser
from validate import published
from validate.classifier import Classifier
from validate.dataset import Dataset, open_dataset, select
from validate.outcomes import Outcomes
from validate.predictions import Predictions, compare_predictions
from validate.results import Result, check_results_path, merge
from validate.runner import Resources, Run

BATCH_SIZE = 8  # small batches stay in the caches, and nothing is gained by larger ones
DEFAULT = "default %(default)s"  # in a flag's help

OpenClassifier = Callable[[argparse.Namespace], Classifier]


def main(
    argv: list[str],
    description: str,
    add_model_arguments: Callable[[argparse._ArgumentGroup], None],
    open_classifier: OpenClassifier,
) -> int:
    """A validation command: parse, run, print, save; returns the exit status.

    add_model_arguments adds the flags that name the net; open_classifier makes the Classifier from them,
    given args.backend where the command has one.
    """
    parser = ArgumentParser(description=description, epilog="See docs/validation.md.")
    data_help = "class folders, a flat folder with its ground truth, or a .tar of either"
    parser.add_argument("data", metavar="DIR", nargs="?", help=data_help)
    add_model_arguments(parser.add_argument_group("net"))
    add_arguments(parser)
    args = parser.parse_args(argv)
    if args.results_file is not None:
        check_results_path(args.results_file)
    if args.published is not None:
        published.find_published(args.published)
    if args.merge:
        return report(args, merge([Result.from_json(path) for path in args.merge]))
    if args.data is None:
        if args.compare is not None and len(args.compare) == 2:
            agreement = compare_predictions(*map(Predictions.load, args.compare))
            if args.results_file is not None:
                agreement.save(args.results_file, *args.compare)
            print(agreement.to_text(*args.compare))
            return 0
        parser.error("the following arguments are required: DIR")
    if args.compare is not None and len(args.compare) != 1:
        raise ModelError("--compare takes one file of predictions beside DIR, or two without DIR")
    others = [Predictions.load(path) for path in args.compare or ()]
    result, predictions = validate(args, open_classifier)
    if args.predictions is not None:
        predictions.save(args.predictions)
    status = report(args, result)
    if (state := state_path(args)) is not None:
        state.unlink(missing_ok=True)
    for path, other in zip(args.compare or (), others, strict=True):
        print(compare_predictions(other, predictions).to_text(path, f"{result.model} {result.form}"))
    return status


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All flags but those that name the net."""
    data = parser.add_argument_group("images")
    data.add_argument("--ground-truth", metavar="FILE", help="labels of images without class folders")
    data.add_argument("--label-map", metavar="FILE", help="which class is which output of the net")
    data.add_argument("--limit", type=_positive, metavar="N", help="only N images, evenly spaced over all")
    data.add_argument("--skip-broken", action="store_true", help="leave broken images out, and name them")

    rules = parser.add_argument_group("preprocessing", "Default: what the net's file records.")
    rules.add_argument("--img-size", type=_positive, metavar="N", help="the net's input, pixels")
    add_preprocessing_arguments(rules, INTERPOLATIONS)

    machine = parser.add_argument_group("machine")
    machine.add_argument("-b", "--batch-size", type=_positive, default=BATCH_SIZE, metavar="N", help=DEFAULT)
    machine.add_argument(
        "-j",
        "--workers",
        type=_positive,
        default=cores(),
        metavar="N",
        help=f"decoding processes, {DEFAULT}",
    )
    machine.add_argument(
        "--threads", type=_positive, default=cores(), metavar="N", help=f"inference threads, {DEFAULT}"
    )
    machine.add_argument("--ray", metavar="ADDRESS", help="spread over a Ray cluster (auto, local, or its address)")

    pieces = parser.add_argument_group("runs in pieces")
    pieces.add_argument("--shard", type=_shard, default=(0, 1), metavar="I/N", help="only the I-th of N parts")
    pieces.add_argument("--merge", nargs="+", metavar="F.json", help="put the results of all shards together")
    pieces.add_argument("--resume", action="store_true", help="go on where an interrupted run stopped")
    pieces.add_argument("--state", metavar="F", help="of the run, for --resume (default: beside --results-file)")

    output = parser.add_argument_group("results")
    output.add_argument("--results-file", metavar="F", help="also write them to F.json, F.csv or F.txt")
    output.add_argument("--predictions", metavar="F.csv", help="write what was predicted for each image")
    output.add_argument(
        "--compare",
        nargs="+",
        metavar="F.csv",
        help="agreement with these predictions; of two files without DIR",
    )
    output.add_argument("--published", metavar="NAME", help="hold the result against this published row")


def validate(args: argparse.Namespace, open_classifier: OpenClassifier) -> tuple[Result, Predictions]:
    """What the flags ask for, here or on a cluster."""
    if args.ray is None:
        return validate_shard(args, open_classifier)
    from caffe2_mobile.cluster import validate_on_cluster

    result, predictions = validate_on_cluster(args, open_classifier)
    print(f"preprocessing: {describe(result.preprocessing)}")
    return result, predictions


def validate_shard(args: argparse.Namespace, open_classifier: OpenClassifier) -> tuple[Result, Predictions]:
    """Run the classifier over the images that the flags select; prints the preprocessing first."""
    classifier = open_classifier(args)
    dataset = open_dataset(args.data, args.ground_truth, args.label_map)
    preprocessing = resolve_preprocessing(args, classifier)
    print(f"preprocessing: {describe(preprocessing)}", flush=True)
    batch_size = classifier.fixed_batch or min(args.batch_size, args.limit or len(dataset), len(dataset))
    threads = 1 if classifier.lone_session else args.threads
    resources = Resources(args.workers, threads, batch_size)
    indices = select(dataset, args.limit, args.shard, resources.batch_size)
    state = State.of(args, classifier, dataset, preprocessing, resources, len(indices))
    if classifier.preprocessing is None and args.published is None:
        warn_of_assumptions(args, classifier)
    run = Run(classifier, dataset, indices, preprocessing, state.outcomes, resources, args.skip_broken)
    run(state.save)
    outcomes = state.outcomes
    result = Result(
        model=classifier.name,
        form=classifier.form,
        backend=classifier.backend,
        preprocessing=preprocessing,
        param_count=classifier.param_count,
        totals=outcomes.totals(),
        seconds=run.seconds,
        now=run.done,
        fingerprint=classifier.fingerprint,
        images=f"{dataset.fingerprint}, limit {args.limit}, batch size {resources.batch_size}",
        shard=args.shard,
        broken={str(dataset.path / dataset.names[indices[p]]): reason for p, reason in outcomes.broken.items()},
    )
    return result, Predictions.of_run(dataset, indices, outcomes)


def report(args: argparse.Namespace, result: Result) -> int:
    """Print and save a result; 1 where it does not hold against the published one that was named."""
    print(result.to_text())
    if args.results_file is not None:
        result.save(args.results_file)
    if args.published is None:
        return 0
    row = published.find_published(args.published, result.weights, result.preprocessing.tf_preprocessing)
    comparisons = published.compare(result.totals, row)
    print(f"published: {row}")
    for comparison in comparisons:
        print(comparison)
    return 0 if all(comparison.holds for comparison in comparisons) else 1


def resolve_preprocessing(args: argparse.Namespace, classifier: Classifier) -> Preprocessing:
    """Flags, over what the file records, over the published row's, over the defaults.

    The defaults are the net's own size, else 224, and else what Preprocessing() says: bicubic, crop 0.875,
    RGB, ImageNet's mean and std.
    """
    base = classifier.preprocessing
    if base is None and args.published is not None:
        row = published.find_published(args.published, classifier.weights, bool(args.tf_preprocessing))
        base = row.preprocessing
    if base is None:
        base = Preprocessing().replace(size=classifier.size)
    return complete(override(base, args, args.img_size), classifier.channels)


def warn_of_assumptions(args: argparse.Namespace, classifier: Classifier) -> None:
    """Say which flags would have to tell what the file does not: wrong ones cost all of the accuracy."""
    size = args.img_size or classifier.size
    unknown = [flag for flag, given in (("--img-size", size), ("--mean", args.mean), ("--std", args.std)) if not given]
    if unknown:
        print(
            f"{classifier.name}: the file records no preprocessing; ImageNet's is assumed for {', '.join(unknown)}",
            file=sys.stderr,
        )


def state_path(args: argparse.Namespace) -> Path | None:
    """Where the state of a run is kept until its results are written, if anywhere."""
    path = args.state or (f"{args.results_file}.state" if args.results_file else None)
    return None if path is None else Path(path)


@dataclass
class State:
    """The state file of a run: its outcomes so far, and which run it is the state of."""

    path: Path | None
    identity: dict
    outcomes: Outcomes

    @classmethod
    def of(
        cls,
        args: argparse.Namespace,
        classifier: Classifier,
        dataset: Dataset,
        preprocessing: Preprocessing,
        resources: Resources,
        n: int,
    ) -> "State":
        """Read with --resume where there is one, else new. Raises ModelError for another run's state."""
        path = state_path(args)
        if args.resume and path is None:
            raise ModelError("--resume needs --state F, or --results-file F whose state lies beside it")
        identity = {
            "net": classifier.fingerprint,
            "backend": classifier.backend,
            "images": dataset.fingerprint,
            "preprocessing": preprocessing.to_json(),
            "limit": args.limit,
            "shard": list(args.shard),
            "batch size": resources.batch_size,
        }
        if args.resume and path.exists():
            outcomes = Outcomes.load(path, identity, n)
            print(f"resumed: {n - len(outcomes.pending)} of {n} images were done", flush=True)
        else:
            outcomes = Outcomes(n)
        return cls(path, identity, outcomes)

    def save(self) -> None:
        if self.path is not None:
            self.outcomes.save(self.path, self.identity)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


def _shard(text: str) -> tuple[int, int]:
    """I/N as (I, N), I from 0; the last may be called N/N or 0/N."""
    number, _, count = text.partition("/")
    number, count = int(number), int(count)
    if count < 1 or not 0 <= number <= count:
        raise argparse.ArgumentTypeError(f"{text} is not one of 1/N ... N/N")
    return number % count, count
