"""Measure the ImageNet accuracy of a net: Caffe2, fp32 or int8, an ONNX or TensorFlow Lite file, or PyTorch.

NET is a folder, predict file, prefix or published name of Caffe2, F.onnx, F.tflite, or a name of the zoo; flags name
the same, each form by its own.
"""

import argparse
import sys
from collections.abc import Callable

from caffe2_common.errors import ModelError
from caffe2_common.files import require_writable
from caffe2_common.images import INTERPOLATIONS, describe
from caffe2_common.machine import cores
from caffe2_mobile.api.validate import (
    Caffe2Model,
    Model,
    OnnxModel,
    TfliteModel,
    TorchModel,
    ValidateOptions,
    ValidateResult,
    judge,
    model_of,
    prepare,
)
from caffe2_mobile.commands.preprocessing_arguments import add_max_pixels_argument, add_preprocessing_arguments
from caffe2_mobile.commands.program import ArgumentParser, note, options_from, positive, size
from caffe2_models.runtimes import BACKENDS, DEFAULT_KERNELS, KERNELS
from validate.predictions import Predictions, compare_predictions
from validate.results import Result, check_results_path, merge
from validate.validation import BATCH_SIZE

DEFAULT = "default %(default)s"  # in a flag's help


def main(
    argv: list[str], description: str | None = __doc__, forms: tuple[str, ...] = ("caffe2", "onnx", "tflite", "torch")
) -> int:
    """Measure or merge or compare, print and save; 1 where the result does not hold against the published one."""
    parser = parser_of(description, forms)
    args = parser.parse_args(argv)
    for path in filter(None, (args.results_file, args.predictions)):
        require_writable(path)
    if args.results_file is not None:
        check_results_path(args.results_file)
    if args.merge:
        return report(args, judge(merge([Result.from_json(path) for path in args.merge]), args.published))
    if args.data is None and args.compare is not None and len(args.compare) == 2:
        return compare_files(args)
    if args.data is None:
        parser.error("the following arguments are required: DIR")
    if args.compare is not None and len(args.compare) != 1:
        raise ModelError("--compare takes one file of predictions beside DIR, or two without DIR")
    return run(args, forms)


def run(args: argparse.Namespace, forms: tuple[str, ...]) -> int:
    """One validation, from the first line to the files."""
    if args.state is None and args.results_file is not None:
        args.state = f"{args.results_file}.state"
    others = [Predictions.load(path) for path in args.compare or ()]
    prepared = prepare(args.data, named_model(args, forms), options_from(ValidateOptions, args))
    validation = prepared.validation
    print(f"preprocessing: {describe(validation.preprocessing)}")
    print(f"labels: {validation.dataset.labelled_by}")
    if validation.resumed:
        print(f"resumed: {validation.resumed} of {len(validation.indices)} images were done")
    sys.stdout.flush()
    for line in prepared.warnings():
        note(line)
    result = prepared.run()
    predictions = validation.predictions()
    if args.predictions is not None:
        predictions.save(args.predictions)
    status = report(args, result)
    validation.drop_state()
    figures = result.figures
    for path, other in zip(args.compare or (), others, strict=True):
        print(compare_predictions(other, predictions).to_text(path, f"{figures.model} {figures.form}"))
    return status


def report(args: argparse.Namespace, result: ValidateResult) -> int:
    print(result)
    if args.results_file is not None:
        result.save(args.results_file)
    return 0 if result.holds else 1


def compare_files(args: argparse.Namespace) -> int:
    agreement = compare_predictions(*map(Predictions.load, args.compare))
    if args.results_file is not None:
        agreement.save(args.results_file, *args.compare)
    print(agreement.to_text(*args.compare))
    return 0


def parser_of(description: str | None, forms: tuple[str, ...]) -> ArgumentParser:
    parser = ArgumentParser(
        description=description,
        epilog="See docs/validation.md.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    data_help = "class folders, a flat folder with its ground truth, or a .tar of either"
    parser.add_argument("data", metavar="DIR", nargs="?", help=data_help)
    if len(forms) > 1:
        parser.add_argument("net", metavar="NET", nargs="?", help="of any form; what it is, its name tells")
    for form in forms:
        FORMS[form][0](parser.add_argument_group(TITLES[form] if len(forms) > 1 else "net"))
    add_arguments(parser)
    return parser


def add_caffe2_arguments(parser: argparse._ArgumentGroup) -> None:
    parser.add_argument("--c2-prefix", metavar="P", help="the files P.init.pb and P.predict.pb")
    parser.add_argument("--c2-init", metavar="F", help="the init net")
    parser.add_argument("--c2-predict", metavar="F", help="the predict net")
    parser.add_argument("--model-dir", metavar="D", help="a folder that holds both")
    parser.add_argument("--backend", default="auto", choices=BACKENDS, help="what runs it (default: %(default)s)")
    parser.add_argument(
        "--approximate", action="store_true", help="let onnxruntime run an int8 net, some steps off Caffe2's"
    )


def caffe2_models(args: argparse.Namespace) -> list[Model]:
    places: list[tuple[str, str | None]] = []
    if args.c2_prefix:
        places.append((f"{args.c2_prefix}.predict.pb", f"{args.c2_prefix}.init.pb"))
    if args.model_dir:
        places.append((args.model_dir, None))
    if args.c2_predict:
        places.append((args.c2_predict, args.c2_init))
    return [Caffe2Model(*place, args.backend, args.approximate) for place in places]


def add_onnx_arguments(parser: argparse._ArgumentGroup) -> None:
    parser.add_argument("--onnx-input", metavar="F", help="the ONNX file")


def onnx_models(args: argparse.Namespace) -> list[Model]:
    return [OnnxModel(args.onnx_input)] if args.onnx_input else []


def add_tflite_arguments(parser: argparse._ArgumentGroup) -> None:
    parser.add_argument("--tflite-input", metavar="F", help="the TensorFlow Lite file")
    parser.add_argument(
        "--kernels", default=DEFAULT_KERNELS, choices=KERNELS, help="LiteRT's set (default: %(default)s)"
    )


def tflite_models(args: argparse.Namespace) -> list[Model]:
    return [TfliteModel(args.tflite_input, args.kernels)] if args.tflite_input else []


def add_torch_arguments(parser: argparse._ArgumentGroup) -> None:
    parser.add_argument(
        "--model",
        "-m",
        metavar="NAME",
        help="of `caffe2-mobile list`, or a definition F.json, or int8 TorchScript F.jpt",
    )
    parser.add_argument("--checkpoint", metavar="F", help="weights from a file (default: the published ones)")
    parser.add_argument("--num-classes", type=int, metavar="N")
    parser.add_argument("--in-chans", type=int, default=3, metavar="N")


def torch_models(args: argparse.Namespace) -> list[Model]:
    return [TorchModel(args.model, args.checkpoint, args.num_classes, args.in_chans)] if args.model else []


# form -> (adds the flags that name it, finds the models that they name, those flags)
FORMS: dict[str, tuple[Callable[[argparse._ArgumentGroup], None], Callable[[argparse.Namespace], list[Model]], str]] = {
    "caffe2": (add_caffe2_arguments, caffe2_models, "--c2-prefix, --model-dir, --c2-predict (with --c2-init)"),
    "onnx": (add_onnx_arguments, onnx_models, "--onnx-input"),
    "tflite": (add_tflite_arguments, tflite_models, "--tflite-input"),
    "torch": (add_torch_arguments, torch_models, "--model"),
}
TITLES = {
    "caffe2": "Caffe2 net",
    "onnx": "ONNX net",
    "tflite": "TensorFlow Lite file, for LiteRT",
    "torch": "PyTorch model",
}


def named_model(args: argparse.Namespace, forms: tuple[str, ...]) -> Model:
    """The one model that the flags name; raises ModelError for none, or more than one."""
    models = [model for form in forms for model in FORMS[form][1](args)]
    if getattr(args, "net", None):
        models.append(named_by_place(args))
    if len(models) != 1:
        flags = ", ".join(FORMS[form][2] for form in forms)
        flags = f"NET, {flags}" if len(forms) > 1 else flags
        raise ModelError(f"name the net by {'one of ' * (',' in flags)}{flags}")
    return models[0]


def named_by_place(args: argparse.Namespace) -> Model:
    """What NET means, with the flags of its form."""
    model = model_of(args.net)
    if isinstance(model, Caffe2Model):
        return Caffe2Model(args.net, args.c2_init, args.backend, args.approximate)
    if isinstance(model, TfliteModel):
        return TfliteModel(args.net, args.kernels)
    if isinstance(model, TorchModel):
        return TorchModel(args.net, args.checkpoint, args.num_classes, args.in_chans)
    return model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All flags but those that name the net."""
    data = parser.add_argument_group("images")
    data.add_argument("--ground-truth", metavar="FILE", help="labels of images without class folders")
    data.add_argument("--label-map", metavar="FILE", help="which class is which output of the net")
    data.add_argument("--limit", type=positive, metavar="N", help="only N images, evenly spaced over all")
    data.add_argument("--skip-broken", action="store_true", help="leave broken images out, and name them")
    add_max_pixels_argument(data)

    rules = parser.add_argument_group("preprocessing", "Default: what the net's file records.")
    rules.add_argument("--img-size", type=size, metavar="N|HxW", help="the net's input, pixels")
    add_preprocessing_arguments(rules, INTERPOLATIONS)

    machine = parser.add_argument_group("machine")
    all_cores = f"(default: all cores, {cores()} here)"
    machine.add_argument("-b", "--batch-size", type=positive, default=BATCH_SIZE, metavar="N", help=DEFAULT)
    machine.add_argument("-j", "--workers", type=positive, metavar="N", help=f"decoding processes {all_cores}")
    machine.add_argument("--threads", type=positive, metavar="N", help=f"inference threads {all_cores}")
    machine.add_argument(
        "--ray", metavar="ADDRESS", help="spread over a Ray cluster (auto, local, or its address), -j cores a piece"
    )

    pieces = parser.add_argument_group("runs in pieces")
    pieces.add_argument("--shard", type=shard, default=(0, 1), metavar="I/N", help="only the I-th of N parts")
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


def shard(text: str) -> tuple[int, int]:
    """I/N as (I, N), I from 0; the last may be called N/N or 0/N."""
    first, _, last = text.partition("/")
    number, count = int(first), int(last)
    if count < 1 or not 0 <= number <= count:
        raise argparse.ArgumentTypeError(f"invalid shard {text}: expected one of 1/N ... N/N")
    return number % count, count
