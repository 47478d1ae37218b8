"""The command onnx_export.py: a model of the zoo becomes an ONNX file that has proved itself."""

import argparse

import onnx

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import Preprocessing
from caffe2_mobile.commands.program import ArgumentParser, positive
from exporters.onnx_files import save_onnx
from exporters.verification import make_samples, report

SIZE_STEP = 17  # of the second size at which --dynamic-size is tried: odd, and no multiple of any stride


def main(argv: list[str]) -> int:
    """Export, check, compare with PyTorch; 1 where the outputs differ."""
    arguments = parse(argv)
    from exporters import torch_to_onnx  # here, so that --help answers at once

    module = torch_to_onnx.create_module(
        arguments.model,
        pretrained=arguments.pretrained,
        checkpoint_path=arguments.checkpoint,
        num_classes=arguments.num_classes,
        in_chans=arguments.in_chans,
        img_size=arguments.img_size,
    )
    if arguments.dynamic_size and module.architecture.same_padding:
        raise ModelError(f"{arguments.model}: SAME padding is made for one size; leave out --dynamic-size")
    preprocessing = preprocessing_of(module, arguments)
    shape = (arguments.batch_size or 1, arguments.in_chans, preprocessing.size, preprocessing.size)
    model = torch_to_onnx.export(
        module,
        shape,
        opset=arguments.opset,
        dynamic_batch=arguments.batch_size is None,
        dynamic_size=arguments.dynamic_size,
        exporter=arguments.exporter,
        keep_init=arguments.keep_init,
        preprocessing=preprocessing,
        name=arguments.model,
    )
    check(model)
    save_onnx(model, arguments.output)
    print(describe(model, arguments, torch_to_onnx.count_parameters(module)), flush=True)
    samples = make_samples({torch_to_onnx.INPUT: shape}, preprocessing)
    if arguments.dynamic_size:
        other = (*shape[:2], shape[2] + SIZE_STEP, shape[3] + 2 * SIZE_STEP)
        samples += make_samples({torch_to_onnx.INPUT: other}, preprocessing)
    return report(torch_to_onnx.verify(module, arguments.output, samples))


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description="Export a model of the zoo to ONNX.")
    parser.add_argument("output", metavar="OUT.onnx")
    parser.add_argument("--model", "-m", required=True, metavar="NAME", help="see scripts/list_models.py")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--checkpoint", metavar="PATH", help="weights from a file")
    weights.add_argument(
        "--pretrained", action="store_true", help="the published weights (default without --checkpoint)"
    )
    weights.add_argument("--random-weights", action="store_true", help="no weights: to try the chain out")
    parser.add_argument("--img-size", type=positive, metavar="N", help="height and width (default: the model's own)")
    parser.add_argument("--batch-size", "-b", type=positive, metavar="N", help="fix the batch (default: left free)")
    parser.add_argument("--opset", type=int, metavar="N", help="9 or newer (default: 17; with dynamo 18)")
    parser.add_argument("--dynamic-size", action="store_true", help="leave height and width free (not for tf_ models)")
    parser.add_argument("--num-classes", type=positive, metavar="N")
    parser.add_argument(
        "--in-chans", type=positive, default=3, metavar="N", help="input channels (default: %(default)s)"
    )
    parser.add_argument(
        "--mean", type=float, nargs="+", metavar="X", help="recorded in the file: one for each channel, or for all"
    )
    parser.add_argument("--std", type=float, nargs="+", metavar="X")
    parser.add_argument("--interpolation", choices=["bilinear", "bicubic"])
    parser.add_argument("--crop-pct", type=float, metavar="X")
    parser.add_argument("--exporter", choices=["auto", "torchscript", "dynamo"], default="auto",
                        help="which of torch's exporters (default: the first that works)")  # fmt: skip
    parser.add_argument("--keep-init", action="store_true",
                        help="list weights among the inputs; no longer needed")  # fmt: skip
    parser.add_argument("--aten-fallback", action="store_true", help="accepted; no longer needed, and without effect")
    arguments = parser.parse_args(argv)
    arguments.pretrained = not (arguments.checkpoint or arguments.random_weights)
    return arguments


def preprocessing_of(module, arguments: argparse.Namespace) -> Preprocessing:
    """The model's own preprocessing, where no flag says otherwise."""
    return Preprocessing(**module.default_cfg).replace(
        size=arguments.img_size,
        mean=per_channel("--mean", arguments.mean, arguments.in_chans),
        std=per_channel("--std", arguments.std, arguments.in_chans),
        interpolation=arguments.interpolation,
        crop_pct=arguments.crop_pct,
    )


def per_channel(flag: str, values: list[float] | None, channels: int) -> tuple[float, ...] | None:
    """A number for each channel; one stands for all."""
    if values is None:
        return None
    if len(values) not in (1, channels):
        raise ModelError(f"{flag}: {len(values)} numbers for {channels} input channels")
    return tuple(values * channels if len(values) == 1 else values)


def check(model: onnx.ModelProto) -> None:
    """onnx.checker on the whole model, shapes too."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"torch exported an invalid ONNX model: {str(error).splitlines()[0]}") from error


def describe(model: onnx.ModelProto, arguments: argparse.Namespace, parameters: int) -> str:
    dims = [dim.dim_param or str(dim.dim_value) for dim in model.graph.input[0].type.tensor_type.shape.dim]
    opset = model.opset_import[0].version
    return (
        f"{arguments.output}: {arguments.model}, {parameters / 1e6:.2f} M parameters, "
        f"{len(model.graph.node)} nodes, opset {opset}, input {' x '.join(dims)}; onnx.checker finds it valid"
    )
