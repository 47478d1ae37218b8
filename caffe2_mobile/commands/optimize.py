"""Fold BatchNorm and constants in an ONNX file, and check that it still computes the same."""

from caffe2_mobile.commands.program import ArgumentParser
from exporters.onnx_files import get_onnx_preprocessing, load_onnx, save_onnx
from exporters.onnx_optimization import optimize
from exporters.verification import compare, input_shapes, make_samples, report, run_onnx


def main(argv: list[str]) -> int:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("input", metavar="IN.onnx")
    parser.add_argument("output", metavar="OUT.onnx")
    arguments = parser.parse_args(argv)
    model = load_onnx(arguments.input)
    optimized = optimize(model)
    save_onnx(optimized, arguments.output)
    print(f"{arguments.output}: {len(optimized.graph.node)} nodes, from {len(model.graph.node)}")
    preprocessing = get_onnx_preprocessing(model)
    samples = make_samples(input_shapes(model, preprocessing), preprocessing)
    pairs = zip(samples, run_onnx(model, samples), run_onnx(optimized, samples), strict=True)
    return report(compare("optimized against original", *pair) for pair in pairs)
