"""Convert a Caffe2 net to ONNX, and check that ONNX Runtime computes the same."""

import argparse

import onnx

from caffe2_mobile.commands.program import ArgumentParser
from caffe2_models import Net, load_net
from caffe2_models.preprocessing import get_preprocessing
from exporters.caffe2_to_onnx import INT8_FORMS, Int8Form, compare_onnx, to_onnx
from exporters.onnx_files import save_onnx
from exporters.verification import compare, make_samples, report, run_net, run_onnx

INT8_SAMPLES = 8  # of each kind, batches of two where the batch is free


def main(argv: list[str]) -> int:
    arguments = parse(argv)
    if arguments.model_dir is not None:
        net = load_net(arguments.model_dir)
    else:
        net = load_net(f"{arguments.c2_prefix}.predict.pb", f"{arguments.c2_prefix}.init.pb")
    shapes = net.input_shapes(arguments.img_size)
    model = to_onnx(net, shapes, arguments.int8)
    save_onnx(model, arguments.output)
    data = model.graph.input[0]
    dims = [dim.dim_param or str(dim.dim_value) for dim in data.type.tensor_type.shape.dim]
    print(f"{arguments.output}: {len(model.graph.node)} nodes, input {data.name} {' x '.join(dims)}")
    preprocessing = get_preprocessing(net.predict)
    if dims[0] == "batch":  # try the free batch too
        shapes = {name: (2, *shape[1:]) for name, shape in shapes.items()}
    if net.is_quantized:
        return compare_forms(net, model, shapes, arguments.int8)
    samples = make_samples(shapes, preprocessing)
    pairs = zip(samples, run_net(net, samples), run_onnx(model, samples), strict=True)
    return report(compare("ONNX Runtime against the Caffe2 net", *pair) for pair in pairs)


def compare_forms(net: Net, model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]], form: Int8Form) -> int:
    """Print how near the form is; the exit status: 1 where it should be exact and is not."""
    drawn = [make_samples(shapes, get_preprocessing(net.predict), seed) for seed in range(INT8_SAMPLES)]
    if form == "exact":
        found = compare_onnx(net, model, [sample for both in drawn for sample in both], form)
        print(found)
        return 0 if found.equal else 1
    print(compare_onnx(net, model, [image_like for *_, image_like in drawn], form))
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--c2-prefix", metavar="P", help="read P.init.pb and P.predict.pb")
    source.add_argument("--model-dir", metavar="D", help="read the net in this folder")
    parser.add_argument("output", metavar="OUT.onnx")
    parser.add_argument("--img-size", type=int, metavar="N", help="height and width, if not recorded")
    parser.add_argument(
        "--int8",
        choices=INT8_FORMS,
        default="exact",
        help="form of an int8 net: equal to the byte, or (qdq, qlinear) near and in some runtimes faster",
    )
    return parser.parse_args(argv)
