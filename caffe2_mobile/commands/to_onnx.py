"""Convert a Caffe2 net to ONNX, and check that ONNX Runtime computes the same."""

import argparse

from caffe2_mobile.commands.program import ArgumentParser
from caffe2_models import load_net
from caffe2_models.preprocessing import get_preprocessing
from exporters.caffe2_to_onnx import INT8_FORMS, compare_int8, to_onnx
from exporters.onnx_files import save_onnx
from exporters.verification import compare, make_samples, report, run_net, run_onnx

INT8_SAMPLES = 16


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
    if net.is_quantized:
        samples = [make_samples(shapes, preprocessing, seed)[-1] for seed in range(INT8_SAMPLES)]
        print(compare_int8(net, model, samples))
        return 0
    if dims[0] == "batch":  # try the free batch too
        shapes = {name: (2, *shape[1:]) for name, shape in shapes.items()}
    samples = make_samples(shapes, preprocessing)
    pairs = zip(samples, run_net(net, samples), run_onnx(model, samples), strict=True)
    return report(compare("ONNX Runtime against the Caffe2 net", *pair) for pair in pairs)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--c2-prefix", metavar="P", help="read P.init.pb and P.predict.pb")
    source.add_argument("--model-dir", metavar="D", help="read the net in this folder")
    parser.add_argument("output", metavar="OUT.onnx")
    parser.add_argument("--img-size", type=int, metavar="N", help="height and width, if not recorded")
    parser.add_argument("--int8", choices=INT8_FORMS, help="form of an int8 net (rounds elsewhere than QNNPACK)")
    return parser.parse_args(argv)
