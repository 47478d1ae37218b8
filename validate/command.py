"""The flags and the flow that caffe2_validate.py, scripts/onnx_validate.py and scripts/validate.py share."""

import argparse
import os
from collections.abc import Callable

from caffe2_models.preprocessing import Preprocessing
from validate.classifier import Classifier
from validate.dataset import Dataset, open_dataset, select
from validate.images import INTERPOLATIONS, complete, describe
from validate.outcomes import Outcomes
from validate.results import Result, check_results_path
from validate.runner import Resources, Run

BATCH_SIZE = 8  # small batches stay in the caches, and nothing is gained by larger ones


def main(
    argv: list[str],
    description: str,
    add_model_arguments: Callable[[argparse.ArgumentParser], None],
    open_classifier: Callable[[argparse.Namespace], Classifier],
) -> int:
    """A validation command: parse, run, print, save; returns the exit status.

    add_model_arguments adds the flags that name the net; open_classifier makes the Classifier from them.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "data", metavar="DIR", help="class folders, a flat folder with its ground truth, or a .tar of either"
    )
    add_model_arguments(parser.add_argument_group("net"))
    add_arguments(parser)
    args = parser.parse_args(argv)
    for path in [args.results_file]:
        if path is not None:
            check_results_path(path)
    result = validate(args, open_classifier(args), open_dataset(args.data, args.ground_truth, args.label_map))
    print(result.to_text())
    if args.results_file is not None:
        result.save(args.results_file)
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All flags but those that name the net."""
    data = parser.add_argument_group("images")
    data.add_argument("--ground-truth", metavar="FILE", help="labels of images without class folders")
    data.add_argument("--label-map", metavar="FILE", help="which class is which output of the net")
    data.add_argument("--limit", type=_positive, metavar="N", help="only N images, evenly spaced over all")
    data.add_argument("--skip-broken", action="store_true", help="leave broken images out, and name them")

    rules = parser.add_argument_group("preprocessing", "Default: what the net's file records.")
    rules.add_argument("--img-size", type=_positive, metavar="N", help="the net's input, pixels")
    rules.add_argument("--interpolation", choices=list(INTERPOLATIONS), help="of the resize")
    rules.add_argument(
        "--crop-pct", type=float, metavar="X", help="the shorter side becomes floor(img-size / X)"
    )
    rules.add_argument(
        "--mean", type=float, nargs="+", metavar="M", help="in the order of the net's channels"
    )
    rules.add_argument("--std", type=float, nargs="+", metavar="S", help="likewise")
    rules.add_argument("--divisor", type=float, metavar="D", help="of pixels before mean and std: 255, or 1")
    rules.add_argument("--bgr", action="store_true", default=None, help="blue is the net's first channel")
    rules.add_argument(
        "--tf-preprocessing", action="store_true", default=None, help="crop and resize as TensorFlow 1 did"
    )

    machine = parser.add_argument_group("machine")
    cores = os.cpu_count() or 1
    machine.add_argument(
        "-b", "--batch-size", type=_positive, default=BATCH_SIZE, metavar="N", help="default %(default)s"
    )
    machine.add_argument(
        "-j",
        "--workers",
        type=_positive,
        default=cores,
        metavar="N",
        help="decoding processes, default %(default)s",
    )
    machine.add_argument(
        "--threads", type=_positive, default=cores, metavar="N", help="inference threads, default %(default)s"
    )

    output = parser.add_argument_group("results")
    output.add_argument("--results-file", metavar="F", help="also write them to F.json, F.csv or F.txt")


def validate(args: argparse.Namespace, classifier: Classifier, dataset: Dataset) -> Result:
    """Run the classifier over the images that the flags select."""
    preprocessing = resolve_preprocessing(args, classifier)
    print(f"preprocessing: {describe(preprocessing)}", flush=True)
    indices = select(dataset, args.limit)
    outcomes = Outcomes(len(indices))
    resources = Resources(args.workers, args.threads, classifier.fixed_batch or args.batch_size)
    run = Run(classifier, dataset, indices, preprocessing, outcomes, resources, args.skip_broken)
    run()
    return Result(
        model=classifier.name,
        form=classifier.form,
        backend=classifier.backend,
        preprocessing=preprocessing,
        param_count=classifier.param_count,
        totals=outcomes.totals(),
        seconds=run.seconds,
        now=run.done,
        fingerprint=classifier.fingerprint,
        dataset=dataset.fingerprint,
        broken=run.broken,
    )


def resolve_preprocessing(args: argparse.Namespace, classifier: Classifier) -> Preprocessing:
    """Flags, over what the file records, over the defaults.

    Those are the net's own size, else 224, and else what Preprocessing() says: bicubic, crop 0.875, RGB,
    ImageNet's mean and std.
    """
    base = classifier.preprocessing or Preprocessing().replace(size=classifier.size)
    chosen = base.replace(
        size=args.img_size,
        interpolation=args.interpolation,
        crop_pct=args.crop_pct,
        mean=args.mean and tuple(args.mean),
        std=args.std and tuple(args.std),
        divisor=args.divisor,
        channel_order=args.bgr and "BGR",
        tf_preprocessing=args.tf_preprocessing,
    )
    return complete(chosen, classifier.channels)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value
